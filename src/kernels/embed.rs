//! Token sequences (`shaders/embed_patches.wgsl`, `shaders/embed_tokens.wgsl`).

use std::ops::Range;

use super::{Block, Data, Kernel, Launch, Operand, Profile, Shader, fold, pad4, params, shader, size};

static PATCHES: Shader = shader!("embed_patches", reads: 3);
static TOKENS: Shader = shader!("embed_tokens", reads: 3);

/// The class token before each image's patches, and a position added to every token.
///
/// The class token is one for all images, or each image has its own (the mean of its patches, say).
#[derive(Debug, Clone)]
pub struct EmbedPatches {
    /// Images.
    pub images: usize,
    /// Tokens an image: patches + 1.
    pub tokens: usize,
    /// Channels.
    pub channels: usize,
    /// Class tokens: 1, or as many as images.
    pub classes: usize,
}

impl Kernel for EmbedPatches {
    fn name(&self) -> &'static str {
        "embed_patches"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.images, self.tokens, self.channels]
    }

    fn reads(&self) -> Vec<Operand> {
        let channels = pad4(self.channels);
        let patches = self.images * (self.tokens - 1) * channels;
        vec![Operand::f32(patches), Operand::f32(self.classes * channels), Operand::f32(self.tokens * channels)]
    }

    fn output(&self) -> Operand {
        Operand::f32(self.images * self.tokens * pad4(self.channels))
    }

    fn flops(&self) -> u64 {
        self.output().len as u64
    }

    fn launch(&self, _: Profile) -> Launch {
        let params = params(&[size(self.images), size(self.tokens), size(pad4(self.channels) / 4), size(self.classes)]);
        Launch { shader: &PATCHES, constants: Vec::new(), params, grid: fold(self.output().len.div_ceil(256)) }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let [patches, class, position] = [reads[0].f32(), reads[1].f32(), reads[2].f32()];
        let channels = pad4(self.channels);
        let image_len = (self.tokens - 1) * channels;
        let mut output = Vec::with_capacity(self.output().len);
        for image in 0..self.images {
            let class = &class[image % self.classes * channels..][..channels];
            let tokens = class.iter().chain(&patches[image * image_len..(image + 1) * image_len]);
            output.extend(tokens.zip(position).map(|(&value, &position)| f64::from(value) + f64::from(position)));
        }
        output
    }
}

/// Token vectors looked up by id, with their positions added. An id past the vocabulary reads its last row.
#[derive(Debug, Clone)]
pub struct EmbedTokens {
    /// Prompts.
    pub images: usize,
    /// Tokens a prompt.
    pub tokens: usize,
    /// Channels.
    pub channels: usize,
    /// Rows of the table.
    pub vocabulary: usize,
    /// Positions, at least as many as tokens.
    pub context: usize,
}

/// The table's place among the operands of [`EmbedTokens`].
const TABLE: usize = 1;

impl EmbedTokens {
    /// Looks up the ids of which the table's rows are bound.
    fn launch_rows(&self, rows: &Range<usize>) -> Launch {
        let params = params(&[
            size(self.images * self.tokens),
            size(self.tokens),
            size(pad4(self.channels) / 4),
            size(self.vocabulary),
            size(rows.start),
            size(rows.len()),
        ]);
        Launch { shader: &TOKENS, constants: Vec::new(), params, grid: fold(self.output().len.div_ceil(256)) }
    }
}

impl Kernel for EmbedTokens {
    fn name(&self) -> &'static str {
        "embed_tokens"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.images, self.tokens, self.channels, self.vocabulary]
    }

    fn reads(&self) -> Vec<Operand> {
        let channels = pad4(self.channels);
        vec![
            Operand::u32(self.images * self.tokens),
            Operand::f32(self.vocabulary * channels),
            Operand::f32(self.context * channels),
        ]
    }

    fn output(&self) -> Operand {
        Operand::f32(self.images * self.tokens * pad4(self.channels))
    }

    fn flops(&self) -> u64 {
        self.output().len as u64
    }

    fn launch(&self, _: Profile) -> Launch {
        self.launch_rows(&(0..self.vocabulary))
    }

    /// Rows of the table: each token is written by the dispatch that has its row.
    fn split(&self, _: Profile, operand: usize, largest: u64) -> Option<Vec<(Block, Launch)>> {
        let channels = pad4(self.channels);
        let rows = (largest / (4 * channels as u64)) as usize;
        let blocks = (operand == TABLE).then(|| Block::of_rows(self.vocabulary, channels, rows))??;
        Some(blocks.into_iter().map(|block| (block.clone(), self.launch_rows(&block.rows))).collect())
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let [table, position] = [reads[1].f32(), reads[2].f32()];
        let channels = pad4(self.channels);
        let mut output = Vec::with_capacity(self.output().len);
        for (row, &id) in reads[0].u32().iter().enumerate() {
            let vector = &table[(id as usize).min(self.vocabulary - 1) * channels..][..channels];
            let position = &position[row % self.tokens * channels..][..channels];
            output
                .extend(vector.iter().zip(position).map(|(&value, &position)| f64::from(value) + f64::from(position)));
        }
        output
    }
}
