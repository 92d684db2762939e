//! End-token pooling (`shaders/end_pool.wgsl`).

use super::{Data, Kernel, Launch, Operand, Profile, Shader, fold, pad4, params, shader, size};

static SHADER: Shader = shader!("end_pool", reads: 2);

/// Which token of a prompt holds its embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndToken {
    /// The first token of the largest id, as OpenAI's and open_clip's models take it.
    LargestId,
    /// The first token of this id, or the first token of all where it doesn't occur, as Hugging Face's models take it.
    First(u32),
}

/// The row of each prompt's end token.
#[derive(Debug, Clone)]
pub struct EndPool {
    /// Prompts.
    pub images: usize,
    /// Tokens a prompt.
    pub tokens: usize,
    /// Channels.
    pub channels: usize,
    /// Which token it is.
    pub end: EndToken,
}

impl Kernel for EndPool {
    fn name(&self) -> &'static str {
        "end_pool"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.images, self.tokens, self.channels]
    }

    fn reads(&self) -> Vec<Operand> {
        vec![Operand::f32(self.images * self.tokens * pad4(self.channels)), Operand::u32(self.images * self.tokens)]
    }

    fn output(&self) -> Operand {
        Operand::f32(self.images * pad4(self.channels))
    }

    fn flops(&self) -> u64 {
        0
    }

    fn launch(&self, _: Profile) -> Launch {
        let end = match self.end {
            EndToken::LargestId => 0,
            EndToken::First(id) => id + 1,
        };
        let params = params(&[size(self.images), size(self.tokens), size(pad4(self.channels) / 4), end]);
        Launch { shader: &SHADER, constants: Vec::new(), params, grid: fold(self.output().len.div_ceil(256)) }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let channels = pad4(self.channels);
        let mut output = Vec::with_capacity(self.output().len);
        for (image, ids) in reads[1].u32().chunks_exact(self.tokens).enumerate() {
            let end = match self.end {
                EndToken::LargestId => ids.iter().max().copied().unwrap_or_default(),
                EndToken::First(id) => id,
            };
            let token = ids.iter().position(|&id| id == end).unwrap_or(0);
            let row = &reads[0].f32()[(image * self.tokens + token) * channels..][..channels];
            output.extend(row.iter().map(|&v| f64::from(v)));
        }
        output
    }
}
