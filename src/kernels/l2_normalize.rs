//! Unit vectors (`shaders/l2_normalize.wgsl`).

use super::{Data, Kernel, Launch, Operand, Profile, Shader, fold, pad4, params, row_lanes, shader, size};

static SHADER: Shader = shader!("l2_normalize", reads: 1);

/// Each row divided by its Euclidean length; a row of zeros stays zero.
#[derive(Debug, Clone)]
pub struct L2Normalize {
    /// Rows.
    pub rows: usize,
    /// Channels.
    pub channels: usize,
}

impl Kernel for L2Normalize {
    fn name(&self) -> &'static str {
        "l2_normalize"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.rows, self.channels]
    }

    fn reads(&self) -> Vec<Operand> {
        vec![Operand::f32(self.rows * pad4(self.channels))]
    }

    fn output(&self) -> Operand {
        Operand::f32(self.rows * pad4(self.channels))
    }

    fn flops(&self) -> u64 {
        5 * (self.rows * self.channels) as u64
    }

    fn launch(&self, profile: Profile) -> Launch {
        let params = params(&[size(self.rows), size(pad4(self.channels) / 4)]);
        Launch { shader: &SHADER, constants: row_lanes(profile), params, grid: fold(self.rows) }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let mut output = Vec::with_capacity(reads[0].len());
        for row in reads[0].f32().chunks_exact(pad4(self.channels)) {
            let length = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            output.extend(row.iter().map(|&v| if length == 0.0 { 0.0 } else { f64::from(v) / length }));
        }
        output
    }
}
