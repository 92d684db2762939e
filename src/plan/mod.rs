//! Recorded computations: what to run, on which values, before any GPU is involved.
//!
//! A model's forward pass appends plain data to a [`Plan`]. A plan prints, counts its work and is unit-tested on any
//! machine; [`Device::compile`](crate::gpu::Device::compile) makes it runnable.
//!
//! ```
//! use heatlens::layers::{Activation, Linear};
//! use heatlens::{Plan, Tensor};
//!
//! let head = Linear::new("fc", &Tensor::zeros([10, 64]), None);
//! let mut plan = Plan::new(8);
//! let features = plan.input("features", 1, 64);
//! let logits = plan.linear(features, &head, Activation::Identity);
//! plan.output("logits", logits);
//! assert_eq!(plan.flops(), 2 * 8 * 64 * 12); // ten outputs are computed as twelve
//! ```

mod lifetimes;
mod limits;
mod lowering;
mod verbs;

use std::fmt;
use std::sync::Arc;

pub use lifetimes::Slots;
pub use limits::{Limits, Memory};
pub use verbs::StoredMaps;

use crate::kernels::{Element, Kernel, Operand, pad4, winograd_weights};
use crate::layers::Parameter;

/// A value in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var(pub(crate) usize);

/// The extents of a value: `images · height · width` rows of `channels`. Token sequences have their length as height
/// and width 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Images (or prompts, or whatever a batch is of).
    pub images: usize,
    /// Rows of pixels, or tokens.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Channels, without padding.
    pub channels: usize,
}

impl Shape {
    /// The number of rows, `images · height · width`.
    pub fn rows(&self) -> usize {
        self.images * self.height * self.width
    }
}

/// What a plan knows of one of its values.
#[derive(Debug, Clone)]
pub struct Value {
    /// Its extents.
    pub shape: Shape,
    /// Its element type.
    pub element: Element,
    /// Its length in elements, padding included.
    pub len: usize,
    /// Whether its rows are padded to a multiple of 4 channels.
    pub padded: bool,
}

impl Value {
    /// The bytes of it, in whole words.
    pub fn bytes(&self) -> u64 {
        (self.element.bytes() * self.len as u64).next_multiple_of(4)
    }
}

/// What an operand of a dispatch refers to.
#[derive(Debug, Clone)]
pub enum Source {
    /// A value of the plan.
    Var(Var),
    /// A layer's parameter.
    Parameter(Parameter),
    /// The weights of a 3×3 convolution, a layer's parameter, in Winograd's basis.
    Winograd(Parameter),
    /// Constant integers of the plan itself (row lists, chunk tables), or zeros.
    Constant(Arc<Vec<u32>>),
}

impl Source {
    /// The parameter as a device keeps it.
    pub fn stored(&self) -> Option<Stored<'_>> {
        match self {
            Self::Parameter(parameter) => Some(Stored::packed(parameter)),
            Self::Winograd(parameter) => Some(Stored::in_winograd_basis(parameter)),
            Self::Var(_) | Self::Constant(_) => None,
        }
    }
}

/// A parameter as a device keeps it.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    parameter: &'a Parameter,
    is_in_basis: bool,
}

/// What tells the parameters of a device apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoredKey(usize, bool);

impl<'a> Stored<'a> {
    /// As the layer packs it.
    pub fn packed(parameter: &'a Parameter) -> Self {
        Self { parameter, is_in_basis: false }
    }

    /// The weights of a 3×3 convolution in Winograd's basis.
    pub fn in_winograd_basis(parameter: &'a Parameter) -> Self {
        Self { parameter, is_in_basis: true }
    }

    /// The layer's parameter.
    pub fn parameter(self) -> &'a Parameter {
        self.parameter
    }

    /// What tells it apart from any other.
    pub fn key(self) -> StoredKey {
        StoredKey(self.parameter.key(), self.is_in_basis)
    }

    /// Its elements.
    pub fn operand(self) -> Operand {
        let data = self.parameter.data();
        Operand { element: data.element(), len: if self.is_in_basis { data.len() / 9 * 16 } else { data.len() } }
    }

    /// The size.
    pub fn bytes(self) -> u64 {
        self.operand().bytes()
    }

    /// Hands the values, as they lie in memory, to `take`.
    pub fn with_values<T>(self, take: impl FnOnce(&[u8]) -> T) -> T {
        let data = self.parameter.data();
        if self.is_in_basis { take(bytemuck::cast_slice(&winograd_weights(data.f32()))) } else { take(data.bytes()) }
    }
}

/// One kernel with its operands.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The kernel at its sizes.
    pub kernel: Arc<dyn Kernel>,
    /// What it reads, in binding order.
    pub reads: Vec<Source>,
    /// What it writes.
    pub output: Var,
}

/// A computation that is recorded once and compiled for a device.
#[derive(Debug, Clone)]
pub struct Plan {
    batch: usize,
    values: Vec<Value>,
    dispatches: Vec<Dispatch>,
    inputs: Vec<(String, Var)>,
    outputs: Vec<(String, Var)>,
}

impl Plan {
    /// An empty plan for `batch` images (or prompts) at a time.
    pub fn new(batch: usize) -> Self {
        Self { batch, values: Vec::new(), dispatches: Vec::new(), inputs: Vec::new(), outputs: Vec::new() }
    }

    /// A plan of one kernel alone: its operands are the inputs `0`, `1`, … and its result is `output`, all as they lie in
    /// memory, padding included.
    pub fn of_kernel(kernel: Arc<dyn Kernel>) -> Self {
        let mut plan = Self::new(1);
        let flat = |len| Shape { images: 1, height: 1, width: 1, channels: len };
        let mut reads = Vec::new();
        for (index, operand) in kernel.reads().iter().enumerate() {
            let var = plan.add_input(&index.to_string(), flat(operand.len), operand.element, false);
            reads.push(Source::Var(var));
        }
        let result = kernel.output();
        let output = plan.add_value(flat(result.len), result.element, false);
        plan.dispatches.push(Dispatch { kernel, reads, output });
        plan.output("output", output);
        plan
    }

    /// The number of images a run takes.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// All dispatches, in order.
    pub fn dispatches(&self) -> &[Dispatch] {
        &self.dispatches
    }

    /// Names and values of the inputs.
    pub fn inputs(&self) -> &[(String, Var)] {
        &self.inputs
    }

    /// Names and values of the outputs.
    pub fn outputs(&self) -> &[(String, Var)] {
        &self.outputs
    }

    /// What is known of a value.
    pub fn value(&self, var: Var) -> &Value {
        &self.values[var.0]
    }

    /// The extents of a value.
    pub fn shape(&self, var: Var) -> Shape {
        self.values[var.0].shape
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether nothing has been recorded.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The operations of one run, a multiply-add counted as two.
    pub fn flops(&self) -> u64 {
        self.dispatches.iter().map(|dispatch| dispatch.kernel.flops()).sum()
    }

    /// The bytes of one run if every operand of every dispatch is touched once.
    pub fn bytes(&self) -> u64 {
        self.dispatches.iter().map(|dispatch| dispatch.kernel.bytes()).sum()
    }

    /// All distinct parameters, in order of first use.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.stored().map(|stored| stored.parameter().clone()).collect()
    }

    /// All distinct parameters as a device keeps them, in order of first use.
    fn stored(&self) -> impl Iterator<Item = Stored<'_>> {
        let mut seen = std::collections::HashSet::new();
        let sources = self.dispatches.iter().flat_map(|dispatch| &dispatch.reads);
        sources.filter_map(Source::stored).filter(move |stored| seen.insert(stored.key()))
    }

    /// How many dispatches each kernel has, by name.
    pub fn dispatch_counts(&self) -> std::collections::BTreeMap<&'static str, usize> {
        let mut counts = std::collections::BTreeMap::new();
        for dispatch in &self.dispatches {
            *counts.entry(dispatch.kernel.name()).or_default() += 1;
        }
        counts
    }

    /// Names `var` as a result of the plan. Any value may be one, so that a wrong model can be bisected.
    pub fn output(&mut self, name: impl Into<String>, var: Var) {
        self.outputs.push((name.into(), var));
    }

    fn add_value(&mut self, shape: Shape, element: Element, padded: bool) -> Var {
        let columns = if padded { pad4(shape.channels) } else { shape.channels };
        self.values.push(Value { shape, element, len: shape.rows() * columns, padded });
        Var(self.values.len() - 1)
    }

    fn add_input(&mut self, name: &str, shape: Shape, element: Element, padded: bool) -> Var {
        let var = self.add_value(shape, element, padded);
        self.inputs.push((name.to_owned(), var));
        var
    }

    /// Appends a dispatch whose result has `shape`.
    fn dispatch(&mut self, kernel: impl Kernel + 'static, reads: Vec<Source>, shape: Shape, padded: bool) -> Var {
        let operand = kernel.output();
        let output = self.add_value(shape, operand.element, padded);
        assert_eq!(self.values[output.0].len, operand.len, "{}: the output's shape is {shape:?}", kernel.name());
        let expected = kernel.reads();
        assert_eq!(expected.len(), reads.len(), "{}: number of operands", kernel.name());
        for (index, (operand, source)) in expected.iter().zip(&reads).enumerate() {
            let given = match source {
                Source::Var(var) => Operand { element: self.values[var.0].element, len: self.values[var.0].len },
                Source::Parameter(parameter) => Stored::packed(parameter).operand(),
                Source::Winograd(parameter) => Stored::in_winograd_basis(parameter).operand(),
                // Zeros are zeros in f32 as well.
                Source::Constant(words) if operand.element == Element::F32 && words.iter().all(|&word| word == 0) => {
                    Operand::f32(words.len())
                }
                Source::Constant(words) => Operand::u32(words.len()),
            };
            assert_eq!(*operand, given, "{}: operand {index}", kernel.name());
        }
        self.dispatches.push(Dispatch { kernel: Arc::new(kernel), reads, output });
        output
    }
}

/// Lists the dispatches with their results' shapes and work.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>4}  {:<18} {:>22} {:>12} {:>12}", "#", "kernel", "images×h×w×channels", "MFLOP", "KiB")?;
        for (index, dispatch) in self.dispatches.iter().enumerate() {
            let Shape { images, height, width, channels } = self.shape(dispatch.output);
            let shape = format!("{images}×{height}×{width}×{channels}");
            let mega = dispatch.kernel.flops() as f64 / 1e6;
            let kib = dispatch.kernel.bytes() as f64 / 1024.0;
            writeln!(f, "{index:>4}  {:<18} {shape:>22} {mega:>12.2} {kib:>12.1}", dispatch.kernel.name())?;
        }
        let (dispatches, giga) = (self.dispatches.len(), self.flops() as f64 / 1e9);
        write!(f, "{dispatches} dispatches, {giga:.3} GFLOP, {:.1} MiB moved", self.bytes() as f64 / 1_048_576.0)
    }
}
