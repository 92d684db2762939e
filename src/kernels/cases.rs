//! The shape table: every kernel at sizes that hurt, with operands to run it on.
//!
//! The kernel tests, `heatlens doctor` and the benches share it.

use std::sync::Arc;

use half::f16;

use super::{
    Activation, Argmax, Attention, AvgPool, Chunk, CopyPeak, Data, DepthwiseConv, DistanceForm, Element, EmbedPatches,
    EmbedTokens, EndPool, EndToken, FmaPeak, Gemm, Gram, GroupedConv, Kernel, L2Normalize, LayerNorm, MapConstants,
    MapCounts, MapDistances, Matrices, MaxPool, MeanPool, NO_MAP, Normalization, NormalizeImage, Operand, Window,
    WinogradInput, WinogradOutput, pad4,
};

/// A kernel at given sizes with operands.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is special about it.
    pub label: &'static str,
    /// The kernel.
    pub kernel: Arc<dyn Kernel>,
    /// Its operands, padding zeroed.
    pub reads: Vec<Values>,
}

/// Values of one operand.
#[derive(Debug, Clone)]
pub enum Values {
    /// Floats.
    F32(Vec<f32>),
    /// Floats of 16 bits.
    F16(Vec<f16>),
    /// Unsigned integers.
    U32(Vec<u32>),
}

impl Values {
    /// The values as a kernel's reference reads them.
    pub fn data(&self) -> Data<'_> {
        match self {
            Self::F32(values) => Data::F32(values),
            Self::F16(values) => Data::F16(values),
            Self::U32(values) => Data::U32(values),
        }
    }
}

impl Case {
    /// A case whose f32 operands are pseudo-random on [−1, 1) with `columns` of them real and the rest padding (0 for
    /// operands without padding).
    fn new(label: &'static str, kernel: impl Kernel + 'static, columns: &[usize]) -> Self {
        Self::of(label, Arc::new(kernel), columns)
    }

    pub(super) fn of(label: &'static str, kernel: Arc<dyn Kernel>, columns: &[usize]) -> Self {
        let values = |(index, operand): (usize, &Operand)| match operand.element {
            Element::F32 => Values::F32(padded_noise(index as u32 + 1, operand.len, columns[index])),
            Element::F16 => {
                let noise = padded_noise(index as u32 + 1, operand.len, columns[index]);
                Values::F16(noise.into_iter().map(f16::from_f32).collect())
            }
            Element::U32 => Values::U32((0..operand.len as u32).map(|i| hash(i ^ 0x5bd1_e995)).collect()),
        };
        let reads = kernel.reads().iter().enumerate().map(values).collect();
        Self { label, reads, kernel }
    }

    pub(super) fn with(mut self, operand: usize, values: Values) -> Self {
        self.reads[operand] = values;
        self
    }

    /// What the kernel should give, in f64.
    pub fn expected(&self) -> Vec<f64> {
        self.kernel.reference(&self.reads.iter().map(Values::data).collect::<Vec<_>>())
    }
}

/// A fixed scramble of `x` (Murmur3's finaliser).
fn hash(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}

/// Pseudo-random integers below `below`.
pub(super) fn ids(len: usize, below: usize) -> Values {
    Values::U32((0..len as u32).map(|i| hash(i) % below as u32).collect())
}

/// Pseudo-random values on [−1, 1).
pub fn noise(seed: u32, len: usize) -> Vec<f32> {
    let scale = 1.0 / 8_388_608.0;
    (0..len as u32).map(|i| (hash(i.wrapping_add(seed.wrapping_mul(0x9e37_79b9))) >> 8) as f32 * scale - 1.0).collect()
}

fn padded_noise(seed: u32, len: usize, columns: usize) -> Vec<f32> {
    let mut values = noise(seed, len);
    if columns > 0 {
        for row in values.chunks_mut(pad4(columns)) {
            row[columns..].fill(0.0);
        }
    }
    values
}

/// Every kernel's cases.
pub fn all() -> Vec<Case> {
    [gemm(), winograd(), grouped(), pooling(), rows(), sequences(), maps(), gram(), peaks()].concat()
}

/// Cases of every kernel that runs on cooperative matrices, which [`all`] doesn't have: few adapters can run them.
pub fn cooperative(matrices: Matrices) -> Vec<Case> {
    let on_matrices = |case: Case| Some(Case { kernel: case.kernel.cooperative(matrices)?, ..case });
    gemm().into_iter().filter_map(on_matrices).collect()
}

/// A convolution of a `size`² image.
fn conv(images: usize, size: usize, inputs: usize, outputs: usize, window: [usize; 3]) -> Gemm {
    let [extent, stride, padding] = window;
    Gemm {
        images,
        height: size,
        width: size,
        window: Window { height: extent, width: extent, stride, padding },
        ..Gemm::product(1, inputs, outputs)
    }
}

fn gemm_case(label: &'static str, kernel: Gemm) -> Case {
    let columns = [kernel.inputs, kernel.outputs, kernel.outputs, kernel.outputs];
    Case::new(label, kernel, &columns)
}

fn gemm() -> Vec<Case> {
    let activated = |activation, residual, kernel| Gemm { activation, residual, ..kernel };
    let in_f16 = |kernel| Gemm { weights: Element::F16, ..kernel };
    let mut extremes = gemm_case("GELU far out", activated(Activation::Gelu, false, Gemm::product(9, 1, 5)));
    let ends = [-100.0, -10.5, -4.0, -1e-4, 0.0, 1e-4, 4.0, 10.5, 100.0];
    extremes.reads[0] = Values::F32(ends.iter().flat_map(|&x| [x, 0.0, 0.0, 0.0]).collect());
    extremes.reads[1] = Values::F32([vec![1.0; 5], vec![0.0; 27]].concat());
    extremes.reads[2] = Values::F32(vec![0.0; 8]);
    extremes.reads[3] = Values::F32(vec![0.0; 8]);
    vec![
        gemm_case("one value", Gemm::product(1, 1, 1)),
        gemm_case("product, primes", Gemm::product(67, 37, 29)),
        gemm_case("product, exact tiles", Gemm::product(128, 64, 128)),
        gemm_case("product, long inner", Gemm::product(3, 1031, 5)),
        gemm_case("product, wide", Gemm::product(2, 12, 1000)),
        gemm_case("QuickGELU", activated(Activation::QuickGelu, false, Gemm::product(33, 20, 36))),
        gemm_case("GELU and residual", activated(Activation::Gelu, true, Gemm::product(33, 20, 36))),
        extremes,
        gemm_case("3×3", conv(2, 9, 8, 12, [3, 1, 1])),
        gemm_case("3×3 stride 2, odd", conv(3, 7, 5, 6, [3, 2, 1])),
        gemm_case("stem 7×7 stride 2", activated(Activation::Relu, false, conv(2, 23, 3, 16, [7, 2, 3]))),
        gemm_case("1×1 stride 2", conv(2, 8, 16, 8, [1, 2, 0])),
        gemm_case("patches", conv(2, 24, 3, 20, [8, 8, 0])),
        gemm_case("3×3 with residual", activated(Activation::Relu, true, conv(1, 14, 32, 32, [3, 1, 1]))),
        gemm_case("window as large as the image", conv(2, 3, 4, 8, [3, 1, 0])),
        gemm_case("three products", Gemm { products: 3, ..Gemm::product(3 * 37, 20, 36) }),
        gemm_case("16 products with residual", Gemm { products: 16, residual: true, ..Gemm::product(16 * 5, 9, 70) }),
        gemm_case("f16 weights, two products", in_f16(Gemm { products: 2, ..Gemm::product(2 * 65, 12, 40) })),
        gemm_case("f16 weights, primes", in_f16(Gemm::product(67, 37, 29))),
        gemm_case(
            "f16 weights, GELU and residual",
            activated(Activation::Gelu, true, in_f16(Gemm::product(33, 20, 36))),
        ),
        gemm_case("f16 weights, 3×3 stride 2, odd", in_f16(conv(3, 7, 5, 6, [3, 2, 1]))),
        gemm_case("f16 weights, one value", in_f16(Gemm::product(1, 1, 1))),
        gemm_case("f16 weights, exact tiles", in_f16(Gemm::product(128, 64, 128))),
        gemm_case("f16 weights, long inner", in_f16(Gemm::product(3, 1031, 5))),
        gemm_case(
            "f16 weights, stem 7×7 stride 2",
            activated(Activation::Relu, false, in_f16(conv(2, 23, 3, 16, [7, 2, 3]))),
        ),
        gemm_case(
            "f16 weights, 3×3 with residual",
            activated(Activation::Relu, true, in_f16(conv(1, 14, 32, 72, [3, 1, 1]))),
        ),
        gemm_case("flat image", Gemm { height: 1, width: 17, ..conv(2, 1, 8, 8, [3, 1, 1]) }),
    ]
}

/// Tiles that reach past the image, more channels than lanes and channels that fill no vec4.
fn winograd() -> Vec<Case> {
    let input = |label, [images, height, width, channels, padding]: [usize; 5]| {
        let kernel = WinogradInput { all: images, images: 0..images, height, width, channels, padding };
        Case::new(label, kernel, &[channels])
    };
    let output = |label, [all, height, width, channels]: [usize; 4], relu| {
        let kernel = WinogradOutput { all, images: 0..all, height, width, channels, relu, residual: relu };
        Case::new(label, kernel, &[channels; 3])
    };
    vec![
        input("one pixel", [1, 1, 1, 1, 1]),
        input("odd edges", [2, 7, 5, 36, 1]),
        input("without padding", [1, 9, 8, 70, 0]),
        input("padding of 2", [3, 4, 4, 8, 2]),
        output("one output", [1, 1, 1, 1], false),
        output("odd edges, residual and ReLU", [2, 7, 5, 36], true),
        output("many channels", [1, 4, 6, 131], false),
    ]
}

/// Grouped convolutions of an image that is one wider than high, and depthwise ones.
fn grouped() -> Vec<Case> {
    let sized = |groups, inputs, outputs, size, [extent, stride, padding]: [usize; 3]| GroupedConv {
        images: 2,
        height: size,
        width: size + 1,
        inputs,
        outputs,
        groups,
        window: Window { height: extent, width: extent, stride, padding },
        activation: Activation::Identity,
        residual: false,
    };
    let grouped = |label, kernel: GroupedConv| {
        let columns = [kernel.inputs, kernel.outputs, kernel.outputs, kernel.outputs];
        Case::new(label, kernel, &columns)
    };
    let depthwise = |label, [images, size, channels]: [usize; 3], [extent, stride, padding]: [usize; 3], activation| {
        let kernel = DepthwiseConv {
            images,
            height: size,
            width: size + 1,
            channels,
            window: Window { height: extent, width: extent, stride, padding },
            activation,
            residual: activation == Activation::Relu,
        };
        Case::new(label, kernel, &[channels; 4])
    };
    let ends = |kernel| GroupedConv { activation: Activation::Relu, residual: true, ..kernel };
    vec![
        grouped("groups of 4", sized(8, 32, 32, 7, [3, 1, 1])),
        grouped("groups of 8, residual, ReLU", ends(sized(5, 40, 40, 8, [3, 2, 1]))),
        grouped("groups of 6, the last block half empty", sized(3, 18, 18, 5, [3, 1, 1])),
        grouped("groups of 1 to 3", ends(sized(5, 5, 15, 6, [3, 2, 1]))),
        grouped("groups of 12 to 2", sized(3, 36, 6, 4, [1, 1, 0])),
        grouped("two wide groups", sized(2, 64, 128, 3, [3, 1, 0])),
        depthwise("7×7", [2, 9, 20], [7, 1, 3], Activation::Gelu),
        depthwise("3×3 stride 2, residual, ReLU", [3, 8, 6], [3, 2, 1], Activation::Relu),
        depthwise("stride past the window", [1, 11, 36], [2, 3, 0], Activation::Identity),
        depthwise("window past the image", [1, 1, 1], [7, 1, 3], Activation::QuickGelu),
    ]
}

fn pooling() -> Vec<Case> {
    let window = Window { height: 3, width: 3, stride: 2, padding: 1 };
    let pool = |images, height, width, channels| MaxPool { images, height, width, channels, window };
    let avg = |label, [images, height, width, channels]: [usize; 4], [window, stride]: [usize; 2], ceil| {
        Case::new(label, AvgPool { images, height, width, channels, window, stride, ceil }, &[channels])
    };
    let mut negative = Case::new("all negative at the border", pool(1, 3, 3, 4), &[4]);
    negative.reads[0] = Values::F32((0..36).map(|i| -1.0 - i as f32).collect());
    vec![
        Case::new("even", pool(2, 8, 8, 16), &[16]),
        Case::new("odd, padded channels", pool(3, 7, 5, 6), &[6]),
        Case::new("one pixel", pool(1, 1, 1, 4), &[4]),
        negative,
        avg("2×2, odd, rounded up", [2, 7, 5, 6], [2, 2], true),
        avg("2×2, odd, rounded down", [1, 7, 5, 16], [2, 2], false),
        avg("one pixel", [3, 1, 1, 4], [2, 2], true),
        avg("3×3 overlapping", [1, 6, 9, 12], [3, 2], true),
        avg("4×4", [1, 8, 4, 5], [4, 4], false),
        Case::new("one row", MeanPool { images: 3, rows: 1, channels: 5 }, &[5]),
        Case::new("49 rows", MeanPool { images: 2, rows: 49, channels: 512 }, &[512]),
        Case::new("prime rows", MeanPool { images: 5, rows: 101, channels: 17 }, &[17]),
        Case::new("pixels", image(35), &[0]),
        Case::new("one pixel", image(1), &[0]),
        Case::new("past a workgroup", image(64 * 3 + 1), &[0]),
    ]
}

fn image(pixels: usize) -> NormalizeImage {
    let colors = Normalization { scale: 1.0 / 255.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    NormalizeImage { pixels, colors }
}

fn rows() -> Vec<Case> {
    let norm = |rows, channels| LayerNorm { rows, channels, epsilon: 1e-5 };
    let mut shifted = Case::new("far from zero", norm(3, 64), &[64, 64, 64]);
    shifted.reads[0] = Values::F32(noise(9, 192).iter().map(|v| 1000.0 + v).collect());
    let mut tiny = Case::new("tiny and huge rows", L2Normalize { rows: 3, channels: 8 }, &[8]);
    let scaled = |scale: f32| noise(4, 8).into_iter().map(move |v| v * scale);
    tiny.reads[0] = Values::F32(scaled(1e-30).chain(scaled(1e30)).chain([0.0; 8]).collect());
    let ties =
        Values::F32([[1.0, 7.0, 7.0, 0.0].as_slice(), &[-3.0, -3.0, -3.0, 0.0], &[-5.0, -4.0, -9.0, 0.0]].concat());
    let mut late_tie = noise(5, 2 * 1000);
    (late_tie[77], late_tie[940], late_tie[1999]) = (2.0, 2.0, 3.0);
    vec![
        Case::new("one channel", norm(2, 1), &[1, 1, 1]),
        Case::new("padded channels", norm(5, 7), &[7, 7, 7]),
        Case::new("768 channels", norm(4, 768), &[768, 768, 768]),
        Case::new("past the lanes", norm(2, 1031), &[1031, 1031, 1031]),
        shifted,
        Case::new("512 channels", L2Normalize { rows: 3, channels: 512 }, &[512]),
        Case::new("padded channels", L2Normalize { rows: 7, channels: 13 }, &[13]),
        tiny,
        Case::new("one class", Argmax { rows: 2, channels: 1 }, &[1]),
        Case::new("ties and padding", Argmax { rows: 3, channels: 3 }, &[3]).with(0, ties),
        Case::new("1000 classes, ties", Argmax { rows: 2, channels: 1000 }, &[1000]).with(0, Values::F32(late_tie)),
        Case::new("ten classes", Argmax { rows: 70, channels: 10 }, &[10]),
    ]
}

fn sequences() -> Vec<Case> {
    let attention = |images, tokens, heads, width, causal| {
        let kernel = Attention { images, tokens, heads, width, causal };
        Case::new(if causal { "causal" } else { "full" }, kernel, &[0])
    };
    let mut sharp = attention(1, 9, 1, 8, false);
    sharp.label = "scores in the hundreds";
    sharp.reads[0] = Values::F32(noise(6, 9 * 24).iter().map(|v| 20.0 * v).collect());
    let tokens = EmbedTokens { images: 3, tokens: 5, channels: 12, vocabulary: 101, context: 7 };
    let past = EmbedTokens { images: 1, tokens: 2, channels: 4, vocabulary: 3, context: 2 };
    let pool = |end| EndPool { images: 3, tokens: 5, channels: 6, end };
    let marks = || Values::U32(vec![9, 1, 4, 9, 0, 9, 2, 9, 9, 9, 3, 3, 3, 3, 3]);
    vec![
        attention(2, 50, 3, 64, false),
        attention(2, 77, 2, 64, true),
        attention(1, 1, 1, 4, false),
        attention(3, 5, 2, 12, true),
        attention(1, 67, 2, 32, false),
        sharp,
        Case::new("patches", EmbedPatches { images: 2, tokens: 10, channels: 12, classes: 1 }, &[12, 12, 12]),
        Case::new("one patch, padding", EmbedPatches { images: 1, tokens: 2, channels: 5, classes: 1 }, &[5, 5, 5]),
        Case::new("own class tokens", EmbedPatches { images: 3, tokens: 5, channels: 7, classes: 3 }, &[7, 7, 7]),
        Case::new("tokens", tokens, &[0, 12, 12]).with(0, ids(15, 101)),
        Case::new("ids past the vocabulary", past, &[0, 4, 4]).with(0, Values::U32(vec![2, 9])),
        Case::new("largest id", pool(EndToken::LargestId), &[6, 0]).with(1, marks()),
        Case::new("first of an id", pool(EndToken::First(2)), &[6, 0]).with(1, marks()),
        Case::new("id 0 and an absent one", pool(EndToken::First(0)), &[6, 0]).with(1, marks()),
    ]
}

/// Rows of scores with many ties, both zeros and denormals among them.
fn scores(rows: usize, concepts: usize) -> Vec<f32> {
    let special = [0.0, -0.0, 1e-40, 2e-40, -1e-40, 0.5, 0.5, f32::MIN_POSITIVE];
    let mut values = padded_noise(8, rows * pad4(concepts), concepts);
    for row in values.chunks_mut(pad4(concepts)) {
        for (i, value) in row[..concepts].iter_mut().enumerate() {
            if i % 3 == 1 {
                *value = special[(value.to_bits() >> 4) as usize % special.len()];
            }
        }
    }
    values
}

fn maps() -> Vec<Case> {
    let count = |label, rows: usize, concepts: usize, groups: Vec<Vec<u32>>| {
        let chunks = Chunk::split(&groups);
        let listed: Vec<u32> = groups.concat();
        let kernel = MapCounts {
            rows,
            concepts,
            listed: listed.len(),
            chunks: chunks.len(),
            groups: groups.len(),
            above: 0..concepts,
            joint: false,
        };
        let words = chunks.iter().flat_map(Chunk::words).collect();
        let scores = || Values::F32(scores(rows, concepts));
        Case::new(label, kernel, &[concepts, concepts, 0, 0])
            .with(0, scores())
            .with(1, scores())
            .with(2, Values::U32(listed))
            .with(3, Values::U32(words))
    };
    let mut joint = count("in both of two", 40, 18, vec![(0..40).collect()]);
    let all = MapCounts { rows: 40, concepts: 18, listed: 40, chunks: 1, groups: 1, above: 0..18, joint: true };
    joint.kernel = Arc::new(all.clone());
    joint.reads[1] = Values::F32(padded_noise(11, 40 * 20, 18));
    let mut middle = joint.clone();
    middle.label = "concepts 8 to 13 above all, in both of two";
    middle.kernel = Arc::new(MapCounts { above: 8..14, ..all.clone() });
    let mut last = joint.clone();
    last.label = "the last concepts above all";
    last.kernel = Arc::new(MapCounts { above: 12..18, joint: false, ..all });
    last.reads[1] = last.reads[0].clone();
    let distance = |label, rows: usize, concepts: usize, form| {
        let (maps, classes, slots) = (5, 3, 2);
        let kernel = MapDistances { rows, concepts, maps, classes, slots };
        let constants = MapConstants { form, offset: 3.0, product: 0.25, sum: 0.5 };
        let constants = (0..maps).flat_map(|_| constants.values()).collect();
        Case::new(label, kernel, &[concepts, 0, concepts, 0, 0])
            .with(0, Values::F32(scores(rows, concepts)))
            .with(1, Values::U32((0..rows as u32).map(|row| row % 3).collect()))
            .with(3, Values::F32(constants))
            .with(4, Values::U32(vec![4, 0, NO_MAP, 2, 1, 3]))
    };
    let ties = distance("all scores equal", 2, 6, DistanceForm::Cosine).with(0, Values::F32(vec![0.25; 16]));
    vec![
        count("18 concepts", 40, 18, vec![(0..20).collect(), vec![], (5..40).collect()]),
        count("two concepts", 9, 2, vec![vec![8, 8, 0]]),
        count("many chunks", 700, 5, vec![(0..700).collect(), (0..256).collect()]),
        joint,
        middle,
        last,
        count("67 concepts", 33, 67, vec![(0..33).rev().collect()]),
        distance("affine", 7, 18, DistanceForm::Affine),
        distance("root", 4, 67, DistanceForm::Root),
        distance("cosine", 5, 100, DistanceForm::Cosine),
        distance("two concepts", 5, 2, DistanceForm::Cosine),
        ties,
    ]
}

fn gram() -> Vec<Case> {
    let case = |label, rows, left, right| Case::new(label, Gram { rows, left, right }, &[left, right, left, right]);
    vec![
        case("one row", 1, 3, 5),
        case("primes", 101, 37, 29),
        case("square", 64, 32, 32),
        case("an odd number of vec4s", 17, 20, 12),
    ]
}

fn peaks() -> Vec<Case> {
    let fma = |label, coefficients| {
        Case::new(label, FmaPeak { lanes: 77, rounds: 5 }, &[0]).with(0, Values::F32(coefficients))
    };
    let copy = |label, vectors| Case::new(label, CopyPeak { vectors }, &[0]);
    vec![
        fma("exact", FmaPeak::exact()),
        fma("one factor a component", vec![0.5, -0.25, 0.0, 1.0, 0.75, 1.0, -3.0, 0.0]),
        copy("one vector", 1),
        copy("past a workgroup", 64 * 16 + 5),
    ]
}
