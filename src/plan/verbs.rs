//! What a model can record: one verb per operation.

use std::ops::Range;
use std::sync::Arc;

use super::{Plan, Shape, Source, Var};
use crate::kernels::{
    Argmax, Attention, AvgPool, Chunk, DepthwiseConv, Element, EmbedPatches, EmbedTokens, EndPool, EndToken, Gemm,
    Gram, GroupedConv, L2Normalize, LayerNorm as LayerNormKernel, MapConstants, MapCounts, MapDistances, MaxPool,
    MeanPool, Normalization, NormalizeImage, Window,
};
use crate::layers::{
    Activation, Conv2d, LayerNorm, Linear, Parameter, PatchEmbedding, PositionEmbedding, TokenEmbedding, padded_rows,
};

impl Plan {
    /// An f32 input of `rows` rows an image.
    pub fn input(&mut self, name: &str, rows: usize, channels: usize) -> Var {
        let shape = Shape { images: self.batch, height: rows, width: 1, channels };
        self.add_input(name, shape, Element::F32, true)
    }

    /// An input of 8-bit RGB pixels, `height · width · 3` bytes an image.
    pub fn input_pixels(&mut self, name: &str, height: usize, width: usize) -> Var {
        let words = (self.batch * height * width * 3).div_ceil(4);
        let shape = Shape { images: 1, height: 1, width: 1, channels: words };
        self.add_input(name, shape, Element::U32, false)
    }

    /// An input of `columns` unsigned integers an image (token ids, class indices).
    pub fn input_indices(&mut self, name: &str, columns: usize) -> Var {
        let shape = Shape { images: self.batch, height: 1, width: 1, channels: columns };
        self.add_input(name, shape, Element::U32, false)
    }

    /// `(byte · scale − mean) / std` per colour: pixels to an activation of 3 channels.
    pub fn normalize_image(&mut self, pixels: Var, [height, width]: [usize; 2], colors: Normalization) -> Var {
        let kernel = NormalizeImage { pixels: self.batch * height * width, colors };
        let shape = Shape { images: self.batch, height, width, channels: 3 };
        self.dispatch(kernel, vec![Source::Var(pixels)], shape, true)
    }

    /// Convolution (grouped and depthwise ones as well), bias and activation.
    pub fn conv2d(&mut self, x: Var, layer: &Conv2d, activation: Activation) -> Var {
        self.convolution(x, layer, None, activation)
    }

    /// Convolution, bias, `+ residual` and activation.
    pub fn conv2d_add(&mut self, x: Var, layer: &Conv2d, residual: Var, activation: Activation) -> Var {
        self.convolution(x, layer, Some(residual), activation)
    }

    /// Matrix product with bias, row by row, and activation.
    pub fn linear(&mut self, x: Var, layer: &Linear, activation: Activation) -> Var {
        self.convolution(x, &pointwise(layer), None, activation)
    }

    /// Matrix product with bias, row by row, `+ residual` and activation.
    pub fn linear_add(&mut self, x: Var, layer: &Linear, residual: Var, activation: Activation) -> Var {
        self.convolution(x, &pointwise(layer), Some(residual), activation)
    }

    fn convolution(&mut self, x: Var, layer: &Conv2d, residual: Option<Var>, activation: Activation) -> Var {
        let Shape { images, height, width, channels } = self.shape(x);
        let &Conv2d { inputs, outputs, groups, window, .. } = layer;
        assert_eq!(channels, inputs, "{}: input channels", layer.weight.name());
        let bias = Source::Parameter(layer.bias.clone());
        let added = residual.map_or_else(|| bias.clone(), Source::Var);
        let reads = vec![Source::Var(x), Source::Parameter(layer.weight.clone()), bias, added];
        let residual = residual.is_some();
        let (down, across) = window.output_size(height, width);
        let shape = Shape { images, height: down, width: across, channels: outputs };
        if groups == 1 {
            let weights = layer.weight.data().element();
            let product = Gemm::product(1, inputs, outputs);
            let on_matrices = layer.weight.is_for_matrices();
            let kernel = Gemm { images, height, width, window, activation, weights, on_matrices, residual, ..product };
            self.dispatch(kernel, reads, shape, true)
        } else if layer.is_depthwise() {
            let kernel = DepthwiseConv { images, height, width, channels, window, activation, residual };
            self.dispatch(kernel, reads, shape, true)
        } else {
            let kernel = GroupedConv { images, height, width, inputs, outputs, groups, window, activation, residual };
            self.dispatch(kernel, reads, shape, true)
        }
    }

    /// The largest value under each position of a square window (padding never wins).
    pub fn max_pool(&mut self, x: Var, window: usize, stride: usize, padding: usize) -> Var {
        let Shape { images, height, width, channels } = self.shape(x);
        let window = Window { height: window, width: window, stride, padding };
        let kernel = MaxPool { images, height, width, channels, window };
        let (height, width) = kernel.output_size();
        self.dispatch(kernel, vec![Source::Var(x)], Shape { images, height, width, channels }, true)
    }

    /// The mean under each position of a square window without padding. With `ceil` the windows cover the whole image, and
    /// those that reach past it average what they cover.
    pub fn avg_pool(&mut self, x: Var, window: usize, stride: usize, ceil: bool) -> Var {
        let Shape { images, height, width, channels } = self.shape(x);
        let kernel = AvgPool { images, height, width, channels, window, stride, ceil };
        let (height, width) = kernel.output_size();
        self.dispatch(kernel, vec![Source::Var(x)], Shape { images, height, width, channels }, true)
    }

    /// The mean over all rows of each image.
    pub fn mean_pool(&mut self, x: Var) -> Var {
        let Shape { images, height, width, channels } = self.shape(x);
        let kernel = MeanPool { images, rows: height * width, channels };
        self.dispatch(kernel, vec![Source::Var(x)], Shape { images, height: 1, width: 1, channels }, true)
    }

    /// Layer normalisation of each row.
    pub fn layer_norm(&mut self, x: Var, layer: &LayerNorm) -> Var {
        let shape = self.shape(x);
        let kernel = LayerNormKernel { rows: shape.rows(), channels: shape.channels, epsilon: layer.epsilon };
        let reads =
            vec![Source::Var(x), Source::Parameter(layer.weight.clone()), Source::Parameter(layer.bias.clone())];
        self.dispatch(kernel, reads, shape, true)
    }

    /// Multi-head attention from packed rows `Q|K|V` (Q already scaled by `1/√d`); a causal one lets a token see
    /// itself and those before it.
    pub fn attention(&mut self, qkv: Var, heads: usize, causal: bool) -> Var {
        let shape = self.shape(qkv);
        let channels = shape.channels / 3;
        let kernel = Attention {
            images: shape.images,
            tokens: shape.height * shape.width,
            heads,
            width: channels / heads,
            causal,
        };
        self.dispatch(kernel, vec![Source::Var(qkv)], Shape { channels, ..shape }, true)
    }

    /// Puts the class token before each image's patches and adds the positions.
    pub fn embed_patches(&mut self, patches: Var, layer: &PatchEmbedding) -> Var {
        let Shape { images, channels, .. } = self.shape(patches);
        let kernel = EmbedPatches { images, tokens: layer.tokens, channels, classes: 1 };
        let reads = vec![
            Source::Var(patches),
            Source::Parameter(layer.class.clone()),
            Source::Parameter(layer.position.clone()),
        ];
        self.dispatch(kernel, reads, Shape { images, height: layer.tokens, width: 1, channels }, true)
    }

    /// Puts the mean of each image's rows before them and adds the positions (CLIP's attention pooling).
    pub fn embed_mean(&mut self, x: Var, layer: &PositionEmbedding) -> Var {
        let Shape { images, channels, .. } = self.shape(x);
        let mean = self.mean_pool(x);
        let kernel = EmbedPatches { images, tokens: layer.tokens, channels, classes: images };
        let reads = vec![Source::Var(x), Source::Var(mean), Source::Parameter(layer.position.clone())];
        self.dispatch(kernel, reads, Shape { images, height: layer.tokens, width: 1, channels }, true)
    }

    /// Looks up token ids and adds the positions. Ids past the vocabulary must have been refused by the tokenizer.
    pub fn embed_tokens(&mut self, ids: Var, layer: &TokenEmbedding) -> Var {
        let Shape { images, channels: tokens, .. } = self.shape(ids);
        let kernel = EmbedTokens {
            images,
            tokens,
            channels: layer.channels,
            vocabulary: layer.vocabulary,
            context: layer.context,
        };
        let table = Source::Parameter(layer.table.clone());
        let reads = vec![Source::Var(ids), table, Source::Parameter(layer.position.clone())];
        self.dispatch(kernel, reads, Shape { images, height: tokens, width: 1, channels: layer.channels }, true)
    }

    /// The row of each prompt's end token.
    pub fn pool_end_token(&mut self, x: Var, ids: Var, end: EndToken) -> Var {
        let Shape { images, height: tokens, channels, .. } = self.shape(x);
        let kernel = EndPool { images, tokens, channels, end };
        let reads = vec![Source::Var(x), Source::Var(ids)];
        self.dispatch(kernel, reads, Shape { images, height: 1, width: 1, channels }, true)
    }

    /// The first row of each image (a vision transformer's class token).
    pub fn first_token(&mut self, x: Var) -> Var {
        let Shape { images, height: tokens, channels, .. } = self.shape(x);
        let first = Source::Constant(Arc::new(vec![0; images * tokens]));
        let kernel = EndPool { images, tokens, channels, end: EndToken::LargestId };
        self.dispatch(kernel, vec![Source::Var(x), first], Shape { images, height: 1, width: 1, channels }, true)
    }

    /// Each row divided by its Euclidean length.
    pub fn l2_normalize(&mut self, x: Var) -> Var {
        let shape = self.shape(x);
        let kernel = L2Normalize { rows: shape.rows(), channels: shape.channels };
        self.dispatch(kernel, vec![Source::Var(x)], shape, true)
    }

    /// Cosine of each row with each of `directions`, a linear layer whose rows have length 1.
    pub fn cosine_scores(&mut self, x: Var, directions: &Linear) -> Var {
        let unit = self.l2_normalize(x);
        self.linear(unit, directions, Activation::Identity)
    }

    /// The index of the largest value of each row, the lowest where several are equal.
    pub fn argmax(&mut self, x: Var) -> Var {
        let shape = self.shape(x);
        let kernel = Argmax { rows: shape.rows(), channels: shape.channels };
        self.dispatch(kernel, vec![Source::Var(x)], Shape { channels: 1, ..shape }, false)
    }

    /// For each group the number of its rows in which score i is above score j, `[groups, above, C]`: the rows
    /// `above`, from a multiple of 4 on, of each group's map.
    ///
    /// `groups` lists row indices; a row may be in several groups. With `other` scores of the same rows, a row counts only
    /// if its order holds in both.
    pub fn map_counts(&mut self, scores: Var, other: Option<Var>, groups: &[Vec<u32>], above: Range<usize>) -> Var {
        let shape = self.shape(scores);
        let chunks = Chunk::split(groups);
        let rows: Vec<u32> = groups.concat();
        let kernel = MapCounts {
            rows: shape.rows(),
            concepts: shape.channels,
            listed: rows.len(),
            chunks: chunks.len(),
            groups: groups.len(),
            above: above.clone(),
            joint: other.is_some(),
        };
        let chunks = chunks.iter().flat_map(Chunk::words).collect();
        let constants = [rows, chunks].map(|words| Source::Constant(Arc::new(words)));
        let reads = [scores, other.unwrap_or(scores)].map(Source::Var).into_iter().chain(constants).collect();
        let (images, concepts) = (groups.len(), shape.channels);
        self.dispatch(kernel, reads, Shape { images, height: above.len(), width: 1, channels: concepts }, false)
    }

    /// Distances of each row's map to stored maps: row n against the maps `table[select[n]]`, `slots` of them.
    ///
    /// `weights` are the maps' `[C, C]` weight matrices, `constants` turn ⟨h, W⟩ and Σh into a distance, and `table`
    /// holds `[classes, slots]` indices of maps, [`NO_MAP`](crate::kernels::NO_MAP) where there is none. The result is
    /// `[rows, slots · 4]`: distance, ⟨h, W⟩, Σh and 0.
    pub fn map_distances(&mut self, scores: Var, select: Var, maps: &StoredMaps) -> Var {
        let shape = self.shape(scores);
        let kernel = MapDistances {
            rows: shape.rows(),
            concepts: shape.channels,
            maps: maps.maps,
            classes: maps.table.len() / maps.slots,
            slots: maps.slots,
        };
        let reads = vec![
            Source::Var(scores),
            Source::Var(select),
            Source::Parameter(maps.weights.clone()),
            Source::Parameter(maps.constants.clone()),
            Source::Constant(maps.table.clone()),
        ];
        self.dispatch(kernel, reads, Shape { channels: 4 * maps.slots, ..shape }, true)
    }

    /// `(A − ā)ᵀ (B − b̄)` summed over all rows: the Gram matrix of an aligner's fit, `[a, b]`.
    pub fn gram(&mut self, a: Var, b: Var, a_mean: &Parameter, b_mean: &Parameter) -> Var {
        let (left, right) = (self.shape(a), self.shape(b));
        let kernel = Gram { rows: left.rows(), left: left.channels, right: right.channels };
        let reads =
            vec![Source::Var(a), Source::Var(b), Source::Parameter(a_mean.clone()), Source::Parameter(b_mean.clone())];
        let shape = Shape { images: 1, height: kernel.padded_left(), width: 1, channels: right.channels };
        self.dispatch(kernel, reads, shape, true)
    }
}

/// Maps packed for [`Plan::map_distances`].
#[derive(Debug, Clone)]
pub struct StoredMaps {
    weights: Parameter,
    constants: Parameter,
    table: Arc<Vec<u32>>,
    maps: usize,
    slots: usize,
}

impl StoredMaps {
    /// Packs `[C, C]` weight matrices, each with its constants, and the `[classes, slots]` table of map indices.
    ///
    /// # Panics
    /// If a matrix isn't `concepts²` long or the table isn't made of whole rows.
    pub fn new(concepts: usize, maps: &[(&[f32], MapConstants)], table: Vec<u32>, slots: usize) -> Self {
        assert!(maps.iter().all(|(weights, _)| weights.len() == concepts * concepts), "maps of {concepts}² cells");
        assert_eq!(table.len() % slots, 0, "a table of whole rows of {slots}");
        let weights = maps.iter().flat_map(|(weights, _)| padded_rows(weights, concepts)).collect();
        let constants = maps.iter().flat_map(|(_, constants)| constants.values()).collect();
        Self {
            weights: Parameter::new("stored maps", weights),
            constants: Parameter::new("constants of stored maps", constants),
            table: Arc::new(table),
            maps: maps.len(),
            slots,
        }
    }
}

fn pointwise(layer: &Linear) -> Conv2d {
    Conv2d {
        weight: layer.weight.clone(),
        bias: layer.bias.clone(),
        inputs: layer.inputs,
        outputs: layer.outputs,
        groups: 1,
        window: Window { height: 1, width: 1, stride: 1, padding: 0 },
    }
}
