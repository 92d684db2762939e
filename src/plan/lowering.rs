//! What a device runs instead of what was recorded.

use std::sync::Arc;

use super::{Dispatch, Plan, Shape, Source, Var};
use crate::kernels::{Gemm, Target, Winograd, pad4};
use crate::layers::Parameter;

impl Plan {
    /// The plan as a device of this kind runs it: with convolutions in Winograd's basis where that is faster, and tiles that were tuned for
    /// it. Values keep their numbers, those in the basis come behind them; [`flops`](Self::flops) are those that are left.
    pub fn lowered(&self, target: impl Into<Target>) -> Self {
        let target = target.into();
        let mut plan = Self { dispatches: Vec::new(), ..self.clone() };
        for dispatch in &self.dispatches {
            match (dispatch.kernel.winograd(target.profile), &dispatch.reads[..]) {
                // Without a parameter there are no weights to take to the basis beforehand.
                (Some(winograd), [Source::Var(x), Source::Parameter(weight), bias, residual]) => {
                    plan.convolve(&winograd, *x, weight, [bias, residual], dispatch.output);
                }
                _ => {
                    let kernel = dispatch.kernel.tuned(target).unwrap_or_else(|| dispatch.kernel.clone());
                    plan.dispatches.push(Dispatch { kernel, ..dispatch.clone() });
                }
            }
        }
        plan
    }

    fn convolve(&mut self, winograd: &Winograd, x: Var, weight: &Parameter, ends: [&Source; 2], output: Var) {
        let Gemm { inputs, outputs, .. } = winograd.conv;
        let zeros = Source::Constant(Arc::new(vec![0; pad4(outputs)]));
        for images in winograd.chunks() {
            let (input, products, end) = winograd.kernels(images);
            let in_basis = |channels| Shape { images: 1, height: products.height, width: 1, channels };
            let (pixels, sums) = (in_basis(inputs), in_basis(outputs));
            let pixels = self.dispatch(input, vec![Source::Var(x)], pixels, true);
            let reads = vec![Source::Var(pixels), Source::Winograd(weight.clone()), zeros.clone(), zeros.clone()];
            let sums = self.dispatch(products, reads, sums, true);
            let [bias, residual] = ends.map(Source::clone);
            let reads = vec![Source::Var(sums), bias, residual];
            self.dispatches.push(Dispatch { kernel: Arc::new(end), reads, output });
        }
    }
}
