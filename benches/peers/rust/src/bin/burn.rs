//! The networks in burn's own modules, on its wgpu backend.

use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::nn::{
    BatchNorm, BatchNormConfig, Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig,
    PaddingConfig2d, Relu,
};
use burn::prelude::*;
use burn::tensor::{DeviceKind, Distribution};
use peers::{CLASSES, EMBEDDING, Network, Noise, PATCH, SIZE, TEXT, Task, Tower, VISION, VOCABULARY, WIDTHS};

#[derive(Module, Debug)]
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(inputs: usize, outputs: usize, window: usize, stride: usize, device: &Device) -> Self {
        let padding = window / 2;
        let conv = Conv2dConfig::new([inputs, outputs], [window, window])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
            .with_bias(false)
            .init(device);
        Self { conv, norm: BatchNormConfig::new(outputs).init(device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

/// Convolutions with rectifiers between them, and what is added to their result.
#[derive(Module, Debug)]
struct Block {
    convs: Vec<ConvNorm>,
    shortcut: Option<ConvNorm>,
    relu: Relu,
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut y = x.clone();
        for (number, conv) in self.convs.iter().enumerate() {
            y = conv.forward(y);
            if number + 1 < self.convs.len() {
                y = self.relu.forward(y);
            }
        }
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x),
            None => x,
        };
        self.relu.forward(y + shortcut)
    }
}

#[derive(Module, Debug)]
struct Resnet {
    stem: ConvNorm,
    relu: Relu,
    max_pool: MaxPool2d,
    blocks: Vec<Block>,
    mean_pool: AdaptiveAvgPool2d,
    head: Linear,
}

impl Resnet {
    fn new(depths: [usize; 4], bottleneck: bool, device: &Device) -> Self {
        let mut blocks = Vec::new();
        let mut channels = WIDTHS[0];
        for (layer, (width, depth)) in WIDTHS.into_iter().zip(depths).enumerate() {
            for block in 0..depth {
                let stride = if layer > 0 && block == 0 { 2 } else { 1 };
                let outputs = if bottleneck { 4 * width } else { width };
                let convs = match bottleneck {
                    false => vec![
                        ConvNorm::new(channels, width, 3, stride, device),
                        ConvNorm::new(width, width, 3, 1, device),
                    ],
                    true => vec![
                        ConvNorm::new(channels, width, 1, 1, device),
                        ConvNorm::new(width, width, 3, stride, device),
                        ConvNorm::new(width, outputs, 1, 1, device),
                    ],
                };
                let shortcut =
                    (channels != outputs || stride > 1).then(|| ConvNorm::new(channels, outputs, 1, stride, device));
                blocks.push(Block { convs, shortcut, relu: Relu::new() });
                channels = outputs;
            }
        }
        Self {
            stem: ConvNorm::new(3, WIDTHS[0], 7, 2, device),
            relu: Relu::new(),
            max_pool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(),
            blocks,
            mean_pool: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            head: LinearConfig::new(channels, CLASSES).init(device),
        }
    }

    fn forward(&self, pixels: Tensor<4>) -> Tensor<2> {
        let x = self.max_pool.forward(self.relu.forward(self.stem.forward(pixels)));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        self.head.forward(self.mean_pool.forward(x).flatten(1, 3))
    }
}

fn transformer(tower: &Tower, device: &Device) -> TransformerEncoder {
    TransformerEncoderConfig::new(tower.width, 4 * tower.width, tower.heads(), tower.depth)
        .with_norm_first(true)
        .init(device)
}

fn norm(tower: &Tower, device: &Device) -> LayerNorm {
    LayerNormConfig::new(tower.width).init(device)
}

fn projection(tower: &Tower, device: &Device) -> Linear {
    LinearConfig::new(tower.width, EMBEDDING).with_bias(false).init(device)
}

fn noise<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 0.02), device)
}

#[derive(Module, Debug)]
struct Vision {
    patches: Conv2d,
    class: Tensor<3>,
    positions: Tensor<3>,
    first_norm: LayerNorm,
    transformer: TransformerEncoder,
    last_norm: LayerNorm,
    projection: Linear,
}

impl Vision {
    fn new(device: &Device) -> Self {
        Self {
            patches: Conv2dConfig::new([3, VISION.width], [PATCH, PATCH])
                .with_stride([PATCH, PATCH])
                .with_bias(false)
                .init(device),
            class: noise([1, 1, VISION.width], device),
            positions: noise([1, VISION.rows, VISION.width], device),
            first_norm: norm(&VISION, device),
            transformer: transformer(&VISION, device),
            last_norm: norm(&VISION, device),
            projection: projection(&VISION, device),
        }
    }

    fn forward(&self, pixels: Tensor<4>) -> Tensor<2> {
        let batch = pixels.dims()[0];
        let patches: Tensor<3> = self.patches.forward(pixels).flatten(2, 3);
        let class = self.class.clone().expand([batch, 1, VISION.width]);
        let x = Tensor::cat(vec![class, patches.swap_dims(1, 2)], 1) + self.positions.clone();
        let x = self.transformer.forward(TransformerEncoderInput::new(self.first_norm.forward(x)));
        let class: Tensor<2> = x.narrow(1, 0, 1).squeeze_dim(1);
        self.projection.forward(self.last_norm.forward(class))
    }
}

#[derive(Module, Debug)]
struct Text {
    tokens: Embedding,
    positions: Tensor<3>,
    mask: Tensor<3, Bool>,
    transformer: TransformerEncoder,
    last_norm: LayerNorm,
    projection: Linear,
}

impl Text {
    fn new(batch: usize, device: &Device) -> Self {
        Self {
            tokens: EmbeddingConfig::new(VOCABULARY, TEXT.width).init(device),
            positions: noise([1, TEXT.rows, TEXT.width], device),
            mask: generate_autoregressive_mask(batch, TEXT.rows, device),
            transformer: transformer(&TEXT, device),
            last_norm: norm(&TEXT, device),
            projection: projection(&TEXT, device),
        }
    }

    /// The embeddings of prompts whose last token is their end.
    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let x = self.tokens.forward(ids) + self.positions.clone();
        let x = self.transformer.forward(TransformerEncoderInput::new(x).mask_attn(self.mask.clone()));
        let end: Tensor<2> = x.narrow(1, TEXT.rows - 1, 1).squeeze_dim(1);
        self.projection.forward(self.last_norm.forward(end))
    }
}

fn read(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("results are f32")
}

fn main() {
    let task = Task::from_arguments();
    let batch = task.batch;
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    let mut numbers = Noise::new();
    let mut pictures = |size: usize| {
        let values = numbers.values(batch * 3 * size * size, 1.0);
        let device = device.clone();
        move || Tensor::<4>::from_data(TensorData::new(values.clone(), [batch, 3, size, size]), &device)
    };
    match task.network {
        Network::Resnet { depths, bottleneck, size } => {
            let (network, pixels) = (Resnet::new(depths, bottleneck, &device), pictures(size));
            task.measure(|| read(network.forward(pixels())));
        }
        Network::Vision => {
            let (network, pixels) = (Vision::new(&device), pictures(SIZE));
            task.measure(|| read(network.forward(pixels())));
        }
        Network::Text => {
            let network = Text::new(batch, &device);
            let ids: Vec<i32> = (0..batch).flat_map(|_| numbers.prompt()).map(|id| id as i32).collect();
            let ids = TensorData::new(ids, [batch, TEXT.rows]);
            task.measure(|| read(network.forward(Tensor::from_data(ids.clone(), &device))));
        }
    }
}
