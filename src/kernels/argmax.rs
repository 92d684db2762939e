//! Predictions (`shaders/argmax.wgsl`).

use super::{Data, Kernel, Launch, Operand, Profile, Shader, fold, pad4, params, row_lanes, shader, size};

static SHADER: Shader = shader!("argmax", reads: 1);

/// The index of each row's largest value; the lowest index wins ties. Values must be finite.
#[derive(Debug, Clone)]
pub struct Argmax {
    /// Rows.
    pub rows: usize,
    /// Channels, at least 1.
    pub channels: usize,
}

impl Kernel for Argmax {
    fn name(&self) -> &'static str {
        "argmax"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.rows, self.channels]
    }

    fn reads(&self) -> Vec<Operand> {
        vec![Operand::f32(self.rows * pad4(self.channels))]
    }

    fn output(&self) -> Operand {
        Operand::u32(self.rows)
    }

    fn flops(&self) -> u64 {
        (self.rows * self.channels) as u64
    }

    fn launch(&self, profile: Profile) -> Launch {
        let params = params(&[size(self.rows), size(self.channels), size(pad4(self.channels) / 4)]);
        Launch { shader: &SHADER, constants: row_lanes(profile), params, grid: fold(self.rows) }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let rows = reads[0].f32().chunks_exact(pad4(self.channels));
        rows.map(|row| {
            let values = row[..self.channels].iter().enumerate();
            values.fold((0, f32::NEG_INFINITY), |best, (i, &v)| if v > best.1 { (i, v) } else { best }).0 as f64
        })
        .collect()
    }
}
