//! One network or tower of a golden, run with all that it hands to its tap.

use heatlens::gpu::{Device, Input};
use heatlens::kernels::Element;
use heatlens::models::Tap;
use heatlens::weights::Precision;
use heatlens::{Plan, Tensor};

/// Inputs for a tower, cut into items of equal length.
pub(crate) enum Items {
    Pixels(Vec<u8>),
    Ids(Vec<u32>),
}

impl Items {
    /// The items of these numbers, of `count`.
    fn select(&self, numbers: &[usize], count: usize) -> Self {
        fn cut<T: Clone>(values: &[T], numbers: &[usize], count: usize) -> Vec<T> {
            let len = values.len() / count;
            numbers.iter().flat_map(|&number| values[number * len..(number + 1) * len].iter().cloned()).collect()
        }
        match self {
            Self::Pixels(bytes) => Self::Pixels(cut(bytes, numbers, count)),
            Self::Ids(ids) => Self::Ids(cut(ids, numbers, count)),
        }
    }

    fn input(&self) -> (&'static str, Input<'_>) {
        match self {
            Self::Pixels(bytes) => ("pixels", Input::Bytes(bytes)),
            Self::Ids(ids) => ("ids", Input::U32(ids)),
        }
    }
}

/// One network or tower: how it is recorded, with every intermediate result handed to the tap, and the golden's inputs.
pub(crate) struct Tower<'a> {
    pub(crate) device: &'a Device,
    pub(crate) precision: Precision,
    pub(crate) record: &'a dyn Fn(&mut Plan, &mut Tap<'_>),
    pub(crate) items: Items,
    pub(crate) count: usize,
}

impl Tower<'_> {
    fn run(&self, items: &Items, batch: usize, wanted: impl Fn(&str) -> bool) -> Vec<(String, Tensor)> {
        let mut plan = Plan::new(batch);
        (self.record)(&mut plan, &mut |plan, name, var| {
            if wanted(name) {
                plan.output(name, var);
            }
        });
        let element = if self.precision == Precision::F32 { Element::F32 } else { Element::F16 };
        let mut products = plan.dispatches().iter().filter(|dispatch| dispatch.kernel.name() == "gemm");
        assert!(products.all(|product| product.kernel.reads()[1].element == element), "all weights in {element:?}");
        let outputs = self.device.compile(&plan).unwrap().run(&[items.input()]).unwrap();
        plan.outputs().iter().map(|(name, _)| (name.clone(), outputs.tensor(name))).collect()
    }

    /// The values of all taps on the golden's inputs.
    pub(crate) fn taps(&self) -> Vec<(String, Tensor)> {
        self.run(&self.items, self.count, |_| true)
    }

    /// Fails unless the rows of the last tap, `expected` for the golden's inputs in one batch, have the same bits in
    /// batches of other sizes and orders, run by plans that hold on to nothing else.
    pub(crate) fn assert_same_bits(&self, (name, expected): &(String, Tensor), batches: &[usize]) {
        let bits = |row: &[f32]| row.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        for &batch in batches {
            let numbers: Vec<usize> = (0..batch).map(|row| (5 * row + batch) % self.count).collect();
            let found = self.run(&self.items.select(&numbers, self.count), batch, |tap| tap == name).remove(0).1;
            for (row, &number) in numbers.iter().enumerate() {
                let same = bits(found.row(row)) == bits(expected.row(number));
                assert!(same, "{name} of input {number} differs in row {row} of a batch of {batch}");
            }
        }
    }
}
