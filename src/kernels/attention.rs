//! Multi-head attention (`shaders/attention.wgsl`).

use super::{Data, Kernel, Launch, Operand, Profile, Shader, fold, params, row_lanes, shader, size};

static SHADER: Shader = shader!("attention", reads: 1);

/// Queries a workgroup takes, as the shader has it.
const QUERIES: usize = 4;

/// `softmax(Q Kᵀ) V` for each head, from packed rows `Q|K|V` with Q already scaled by `1/√width`.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Images or prompts.
    pub images: usize,
    /// Tokens of each.
    pub tokens: usize,
    /// Heads.
    pub heads: usize,
    /// Channels of one head, a multiple of 4.
    pub width: usize,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
}

impl Attention {
    fn channels(&self) -> usize {
        self.heads * self.width
    }
}

impl Kernel for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.images, self.tokens, self.heads, self.width]
    }

    fn reads(&self) -> Vec<Operand> {
        vec![Operand::f32(self.images * self.tokens * 3 * self.channels())]
    }

    fn output(&self) -> Operand {
        Operand::f32(self.images * self.tokens * self.channels())
    }

    fn flops(&self) -> u64 {
        let pairs = if self.causal { self.tokens * (self.tokens + 1) / 2 } else { self.tokens * self.tokens };
        4 * (self.images * pairs * self.channels()) as u64
    }

    fn launch(&self, profile: Profile) -> Launch {
        let groups = self.images * self.heads * self.tokens.div_ceil(QUERIES);
        let params = params(&[
            size(self.images),
            size(self.tokens),
            size(self.heads),
            size(self.width / 4),
            u32::from(self.causal),
        ]);
        let mut constants = row_lanes(profile);
        constants.push(("TOKENS", size(self.tokens)));
        Launch { shader: &SHADER, constants, params, grid: fold(groups) }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let channels = self.channels();
        let row = |image: usize, token: usize, part: usize, head: usize| {
            let first = ((image * self.tokens + token) * 3 + part) * channels + head * self.width;
            &reads[0].f32()[first..first + self.width]
        };
        let mut output = vec![0.0; self.output().len];
        for image in 0..self.images {
            for query in 0..self.tokens {
                for head in 0..self.heads {
                    let keys = if self.causal { query + 1 } else { self.tokens };
                    let q = row(image, query, 0, head);
                    let dot = |k: &[f32]| q.iter().zip(k).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
                    let scores: Vec<f64> = (0..keys).map(|key| dot(row(image, key, 1, head))).collect();
                    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    let first = (image * self.tokens + query) * channels + head * self.width;
                    for (key, weight) in weights.iter().enumerate() {
                        for (c, &v) in row(image, key, 2, head).iter().enumerate() {
                            output[first + c] += weight / sum * f64::from(v);
                        }
                    }
                }
            }
        }
        output
    }
}
