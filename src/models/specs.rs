//! Names and shapes of whole networks' tensors, for networks that are made rather than read.

/// Names and shapes of a file's tensors.
pub(super) type Specs = Vec<(String, Vec<usize>)>;

/// A ResNet's tensors as torchvision names them.
pub(super) fn resnet(widths: &[usize], depths: &[usize], bottleneck: bool, classes: usize) -> Specs {
    let mut specs = Specs::new();
    let mut conv = |conv: String, norm: String, shape: [usize; 4]| {
        specs.push((format!("{conv}.weight"), shape.to_vec()));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            specs.push((format!("{norm}.{part}"), vec![shape[0]]));
        }
        specs.push((format!("{norm}.num_batches_tracked"), vec![]));
    };
    conv("conv1".into(), "bn1".into(), [widths[0], 3, 7, 7]);
    let mut channels = widths[0];
    for (layer, (&width, &depth)) in widths.iter().zip(depths).enumerate() {
        for block in 0..depth {
            let prefix = format!("layer{}.{block}", layer + 1);
            let outputs = if bottleneck { 4 * width } else { width };
            let shapes = match bottleneck {
                false => vec![[width, channels, 3, 3], [width, width, 3, 3]],
                true => vec![[width, channels, 1, 1], [width, width, 3, 3], [outputs, width, 1, 1]],
            };
            for (index, shape) in (1..).zip(shapes) {
                conv(format!("{prefix}.conv{index}"), format!("{prefix}.bn{index}"), shape);
            }
            if block == 0 && (layer > 0 || channels != outputs) {
                let shape = [outputs, channels, 1, 1];
                conv(format!("{prefix}.downsample.0"), format!("{prefix}.downsample.1"), shape);
            }
            channels = outputs;
        }
    }
    specs.push(("fc.weight".into(), vec![classes, channels]));
    specs.push(("fc.bias".into(), vec![classes]));
    specs
}

/// The sizes of a CLIP's image tower.
pub(super) struct VisionSizes {
    pub(super) width: usize,
    pub(super) depth: usize,
    /// Pixels along an edge of a patch.
    pub(super) patch: usize,
    /// Patches along an edge of the image.
    pub(super) grid: usize,
    pub(super) embedding: usize,
}

impl VisionSizes {
    /// The tower's tensors as OpenAI and open_clip name them.
    pub(super) fn open_clip(&self) -> Specs {
        let Self { width, depth, patch, grid, embedding } = *self;
        let mut specs = Specs::new();
        let mut add = |name: &str, shape: &[usize]| specs.push((name.to_owned(), shape.to_vec()));
        add("visual.conv1.weight", &[width, 3, patch, patch]);
        add("visual.class_embedding", &[width]);
        add("visual.positional_embedding", &[grid * grid + 1, width]);
        add("visual.proj", &[width, embedding]);
        layer(&mut specs, "visual.ln_pre.", &[width]);
        layer(&mut specs, "visual.ln_post.", &[width]);
        transformer(&mut specs, "visual.transformer.resblocks", width, depth);
        specs
    }
}

/// The sizes of a CLIP's text tower.
pub(super) struct TextSizes {
    pub(super) width: usize,
    pub(super) depth: usize,
    pub(super) vocabulary: usize,
    /// Tokens of a prompt.
    pub(super) context: usize,
    pub(super) embedding: usize,
}

impl TextSizes {
    /// The tower's tensors as OpenAI and open_clip name them.
    pub(super) fn open_clip(&self) -> Specs {
        let Self { width, depth, vocabulary, context, embedding } = *self;
        let mut specs = Specs::new();
        let mut add = |name: &str, shape: &[usize]| specs.push((name.to_owned(), shape.to_vec()));
        add("token_embedding.weight", &[vocabulary, width]);
        add("positional_embedding", &[context, width]);
        add("text_projection", &[width, embedding]);
        layer(&mut specs, "ln_final.", &[width]);
        transformer(&mut specs, "transformer.resblocks", width, depth);
        specs
    }
}

/// A layer's weight of this shape, and its bias; `name` stands before both words.
fn layer(specs: &mut Specs, name: &str, weight: &[usize]) {
    specs.push((format!("{name}weight"), weight.to_vec()));
    specs.push((format!("{name}bias"), weight[..1].to_vec()));
}

/// The blocks of a tower as OpenAI and open_clip name them.
fn transformer(specs: &mut Specs, prefix: &str, width: usize, depth: usize) {
    for block in 0..depth {
        let mut add = |name: &str, weight: &[usize]| layer(specs, &format!("{prefix}.{block}.{name}"), weight);
        add("ln_1.", &[width]);
        add("attn.in_proj_", &[3 * width, width]);
        add("attn.out_proj.", &[width, width]);
        add("ln_2.", &[width]);
        add("mlp.c_fc.", &[4 * width, width]);
        add("mlp.c_proj.", &[width, 4 * width]);
    }
}
