//! Layer normalisation (`shaders/layer_norm.wgsl`).

use super::{Data, Kernel, Launch, Operand, Profile, Shader, fold, pad4, params, row_lanes, shader, size};

static SHADER: Shader = shader!("layer_norm", reads: 3);

/// `(x − mean) / √(variance + ε) · γ + β` over the channels of each row.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// Rows.
    pub rows: usize,
    /// Channels.
    pub channels: usize,
    /// ε, added to the (biased) variance.
    pub epsilon: f32,
}

impl Kernel for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.rows, self.channels]
    }

    fn reads(&self) -> Vec<Operand> {
        let channels = pad4(self.channels);
        vec![Operand::f32(self.rows * channels), Operand::f32(channels), Operand::f32(channels)]
    }

    fn output(&self) -> Operand {
        Operand::f32(self.rows * pad4(self.channels))
    }

    fn flops(&self) -> u64 {
        8 * (self.rows * self.channels) as u64
    }

    fn launch(&self, profile: Profile) -> Launch {
        let channels4 = size(pad4(self.channels) / 4);
        let params = params(&[size(self.rows), size(self.channels), channels4, self.epsilon.to_bits()]);
        Launch { shader: &SHADER, constants: row_lanes(profile), params, grid: fold(self.rows) }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let [input, weight, bias] = [reads[0].f32(), reads[1].f32(), reads[2].f32()];
        let mut output = Vec::with_capacity(input.len());
        for row in input.chunks_exact(pad4(self.channels)) {
            let values = || row[..self.channels].iter().map(|&v| f64::from(v));
            let mean = values().sum::<f64>() / self.channels as f64;
            let variance = values().map(|v| (v - mean).powi(2)).sum::<f64>() / self.channels as f64;
            let scale = (variance + f64::from(self.epsilon)).sqrt().recip();
            output.extend(
                values().enumerate().map(|(c, v)| (v - mean) * scale * f64::from(weight[c]) + f64::from(bias[c])),
            );
            output.resize(output.len() + row.len() - self.channels, 0.0);
        }
        output
    }
}
