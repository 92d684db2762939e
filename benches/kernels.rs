//! Every kernel family at sizes of real work, and the GEMM against a naive kernel.
//!
//! `cargo bench` measures; without `--bench` (as in `cargo test --benches`) every row runs once, which keeps the benches
//! working. A filter chooses rows: `cargo bench --bench kernels -- layer_norm`.
//!
//! Cheap kernels are dispatched several times a run, so that uploading and reading back don't count for much. In the
//! comparison with the naive kernel both sides carry the same transfers, and runs of the two take turns, so that
//! whatever else the machine does slows both.

mod naive;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use heatlens::gpu::{Device, Executable, Input};
use heatlens::kernels::cases::noise;
use heatlens::kernels::{
    Activation, DepthwiseConv, DistanceForm, EndToken, Gemm, GroupedConv, Kernel, MapConstants, Operand, Window,
};
use heatlens::layers::{LayerNorm, Linear, Normalization, Parameter, PatchEmbedding, TokenEmbedding};
use heatlens::plan::StoredMaps;
use heatlens::{Plan, Tensor, Var};
use naive::NaiveGemm;

/// How often a cheap kernel is dispatched in one run.
const REPEATS: usize = 16;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let device = Device::best().unwrap_or_else(|error| panic!("{error}"));
    eprintln!("{}", device.summary());
    against_naive(&mut criterion, &device);
    families(&mut criterion, &device);
    criterion.final_summary();
}

/// Layers of ResNet-18 at 64×64 pixels and of ViT-B/32, and a large square product.
fn gemm_shapes() -> Vec<(&'static str, Gemm)> {
    let conv = |images, size, inputs, outputs, [extent, stride, padding]: [usize; 3]| Gemm {
        images,
        height: size,
        width: size,
        window: Window { height: extent, width: extent, stride, padding },
        ..Gemm::product(1, inputs, outputs)
    };
    vec![
        ("gemm 512×512×512", Gemm::product(512, 512, 512)),
        ("gemm ViT-B/32 QKV, 50 rows", Gemm::product(50, 768, 2304)),
        ("convolution stem 7×7, batch 4", conv(4, 64, 3, 64, [7, 2, 3])),
        ("convolution 3×3, 64 channels at 16×16, batch 4", conv(4, 16, 64, 64, [3, 1, 1])),
        ("convolution 3×3, 256 channels at 4×4, batch 4", conv(4, 4, 256, 256, [3, 1, 1])),
        ("convolution 1×1 stride 2, 64 to 128 channels, batch 4", conv(4, 16, 64, 128, [1, 2, 0])),
        ("convolution patches 32×32, one image", conv(1, 224, 3, 768, [32, 32, 0])),
    ]
}

/// The GEMM and the naive kernel, run in turns; the ratio of their median times is printed after each row.
fn against_naive(criterion: &mut Criterion, device: &Device) {
    let mut group = criterion.benchmark_group("against naive");
    group.sampling_mode(SamplingMode::Flat);
    for (label, gemm) in gemm_shapes() {
        let inputs: Vec<Vec<f32>> = (1..).zip(gemm.reads()).map(|(seed, operand)| noise(seed, operand.len)).collect();
        let compile = |kernel: Arc<dyn Kernel>| {
            device.compile(&Plan::of_kernel(kernel)).unwrap_or_else(|error| panic!("{label}: {error}"))
        };
        // A group's closures run only where the filter lets them, and compiling takes longer than a run.
        let sides =
            std::cell::LazyCell::new(|| [compile(Arc::new(gemm.clone())), compile(Arc::new(NaiveGemm(gemm.clone())))]);
        let times = RefCell::new([Vec::new(), Vec::new()]);
        group.throughput(Throughput::Elements(gemm.flops()));
        group.bench_function(label, |bencher| {
            let [ours, naive] = &*sides;
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    let (values, time) = run(ours, &inputs);
                    let (expected, naive_time) = run(naive, &inputs[..3]);
                    assert_close(label, &values, &expected);
                    total += time;
                    let mut times = times.borrow_mut();
                    times[0].push(time);
                    times[1].push(naive_time);
                }
                total
            });
        });
        let [ours, naive] = times.into_inner().map(median);
        if let (Some(ours), Some(naive)) = (ours, naive) {
            let rate = gemm.flops() as f64 / ours.as_secs_f64() / 1e9;
            let ratio = naive.as_secs_f64() / ours.as_secs_f64();
            eprintln!("{label}: {rate:.2} GFLOP/s, {ratio:.2}× the naive kernel ({ours:.2?} against {naive:.2?})\n");
        }
    }
    group.finish();
}

fn run(executable: &Executable, inputs: &[Vec<f32>]) -> (Tensor, Duration) {
    let names: Vec<String> = (0..inputs.len()).map(|i| i.to_string()).collect();
    let inputs: Vec<(&str, Input<'_>)> =
        names.iter().zip(inputs).map(|(name, values)| (name.as_str(), Input::F32(values))).collect();
    let start = Instant::now();
    let outputs = executable.run(&inputs).unwrap_or_else(|error| panic!("{error}"));
    let time = start.elapsed();
    (outputs.tensor("output"), time)
}

/// A fast kernel that computes something else proves nothing.
fn assert_close(label: &str, values: &Tensor, expected: &Tensor) {
    let largest = expected.data().iter().fold(0.0, |largest: f32, v| largest.max(v.abs()));
    let pairs = values.data().iter().zip(expected.data());
    let error = pairs.fold(0.0, |worst: f32, (a, b)| worst.max((a - b).abs()));
    assert!(
        error <= 1e-5 * largest,
        "{label}: differs from the naive kernel by {error}, the largest value is {largest}"
    );
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// A plan with values for its inputs.
struct Row {
    label: &'static str,
    plan: Plan,
    inputs: Vec<Values>,
}

enum Values {
    F32(Vec<f32>),
    U32(Vec<u32>),
}

impl Row {
    /// A plan in which `record` is repeated on the same inputs; only its last result is read back.
    fn repeated(
        label: &'static str,
        mut plan: Plan,
        inputs: Vec<Values>,
        record: impl Fn(&mut Plan, &[Var]) -> Var,
    ) -> Self {
        let vars: Vec<Var> = plan.inputs().iter().map(|(_, var)| *var).collect();
        let results: Vec<Var> = (0..REPEATS).map(|_| record(&mut plan, &vars)).collect();
        plan.output("output", results[REPEATS - 1]);
        Self { label, plan, inputs }
    }

    /// A plan of one kernel on noise.
    fn once(label: &'static str, kernel: impl Kernel + 'static) -> Self {
        let values = |(seed, operand): (u32, &Operand)| Values::F32(noise(seed, operand.len));
        let inputs = (1..).zip(&kernel.reads()).map(values).collect();
        Self { label, plan: Plan::of_kernel(Arc::new(kernel)), inputs }
    }
}

/// A plan for `images` with one f32 input of `rows` rows an image, and noise for it.
fn rows(images: usize, rows: usize, channels: usize) -> (Plan, Vec<Values>) {
    let mut plan = Plan::new(images);
    plan.input("x", rows, channels);
    (plan, vec![Values::F32(noise(1, images * rows * channels))])
}

fn norm(channels: usize) -> LayerNorm {
    LayerNorm::new("norm", &noise(2, channels), &noise(3, channels), 1e-5)
}

fn tensor(shape: [usize; 2], seed: u32) -> Tensor {
    Tensor::new(shape, noise(seed, shape[0] * shape[1]))
}

/// The vision kernels at the sizes of ResNet-18 and ViT-B/32, batch 4.
fn vision_rows() -> Vec<Row> {
    let mut pixels = Plan::new(4);
    pixels.input_pixels("pixels", 224, 224);
    let bytes = vec![Values::U32((0..4 * 224 * 224 * 3 / 4).map(|i: u32| i.wrapping_mul(0x9e37_79b9)).collect())];
    let colors = Normalization { scale: 1.0 / 255.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    let (image, image_values) = rows(4, 32 * 32, 64);
    let (pooled, pooled_values) = rows(4, 32 * 32, 64);
    let grouped = GroupedConv {
        images: 4,
        height: 28,
        width: 28,
        inputs: 256,
        outputs: 256,
        groups: 32,
        window: Window { height: 3, width: 3, stride: 1, padding: 1 },
        activation: Activation::Relu,
        residual: false,
    };
    let depthwise = DepthwiseConv {
        images: 4,
        height: 28,
        width: 28,
        channels: 192,
        window: Window { height: 7, width: 7, stride: 1, padding: 3 },
        activation: Activation::Identity,
        residual: false,
    };
    let (features, feature_values) = rows(32, 49, 512);
    let (tokens, token_values) = rows(4, 50, 768);
    let (qkv, qkv_values) = rows(4, 50, 3 * 768);
    let (causal, causal_values) = rows(4, 77, 3 * 512);
    let (patches, patch_values) = rows(4, 49, 768);
    let embedding = PatchEmbedding::new("patches", &noise(5, 768), &tensor([50, 768], 6));
    vec![
        Row::repeated("normalize_image 224×224", pixels, bytes, move |p, x| {
            p.normalize_image(x[0], [224, 224], colors)
        }),
        Row::repeated("max_pool 32×32×64", image, image_values, |p, x| p.max_pool(x[0], 3, 2, 1)),
        Row::repeated("avg_pool 32×32×64", pooled, pooled_values, |p, x| p.avg_pool(x[0], 2, 2, true)),
        Row::once("grouped_conv 3×3, 32 groups of 8 at 28×28, batch 4", grouped),
        Row::once("depthwise_conv 7×7, 192 channels at 28×28, batch 4", depthwise),
        Row::repeated("mean_pool 49×512, batch 32", features, feature_values, |p, x| p.mean_pool(x[0])),
        Row::repeated("embed_patches 50×768", patches, patch_values, move |p, x| p.embed_patches(x[0], &embedding)),
        Row::repeated("layer_norm 50×768", tokens, token_values, |p, x| p.layer_norm(x[0], &norm(768))),
        Row::repeated("attention 50 tokens, 12 heads", qkv, qkv_values, |p, x| p.attention(x[0], 12, false)),
        Row::repeated("attention 77 tokens, 8 heads, causal", causal, causal_values, |p, x| p.attention(x[0], 8, true)),
    ]
}

/// The text kernels at the sizes of CLIP's text tower.
fn text_rows() -> Vec<Row> {
    let ids = || Values::U32((0..16 * 77).map(|i| (i * 7919) % 4000).collect());
    let mut prompts = Plan::new(16);
    prompts.input_indices("ids", 77);
    let table = TokenEmbedding::new("tokens", &tensor([4000, 512], 7), &tensor([77, 512], 8));
    let (mut states, mut state_values) = rows(16, 77, 512);
    states.input_indices("ids", 77);
    state_values.push(ids());
    vec![
        Row::repeated("embed_tokens 77×512, batch 16", prompts, vec![ids()], move |p, x| p.embed_tokens(x[0], &table)),
        Row::repeated("end_pool 77×512, batch 16", states, state_values, |p, x| {
            p.pool_end_token(x[0], x[1], EndToken::LargestId)
        }),
    ]
}

/// The method's kernels: scores, maps, distances and the aligner's sums.
fn semantics_rows() -> Vec<Row> {
    let concepts = 100;
    let directions = Linear::new("directions", &tensor([concepts, 512], 9), None);
    let groups: Vec<Vec<u32>> = (0..10).map(|class| (0..2000).filter(|row| row % 10 == class).collect()).collect();
    let weights: Vec<Vec<f32>> = (0..20).map(|map| noise(20 + map, concepts * concepts)).collect();
    let constants = MapConstants { form: DistanceForm::Cosine, offset: 1.0, product: 0.01, sum: 0.5 };
    let maps: Vec<(&[f32], MapConstants)> = weights.iter().map(|weights| (weights.as_slice(), constants)).collect();
    let stored = StoredMaps::new(concepts, &maps, (0..20).collect(), 2);
    let (embeddings, embedding_values) = rows(256, 1, 512);
    let (logits, logit_values) = rows(256, 1, 1000);
    let (lengths, length_values) = rows(256, 1, 512);
    let (scores, score_values) = rows(2000, 1, concepts);
    let (mut selected, mut selected_values) = rows(64, 1, concepts);
    selected.input_indices("select", 1);
    selected_values.push(Values::U32((0..64).map(|row| row % 10).collect()));
    let (features, feature_values) = rows(256, 1, 512);
    let mean = Parameter::new("mean", noise(10, 512));
    vec![
        Row::repeated("l2_normalize 256×512", lengths, length_values, |p, x| p.l2_normalize(x[0])),
        Row::repeated("cosine_scores 256×512, 100 concepts", embeddings, embedding_values, move |p, x| {
            p.cosine_scores(x[0], &directions)
        }),
        Row::repeated("argmax 256×1000", logits, logit_values, |p, x| p.argmax(x[0])),
        Row::repeated("map_counts 2000 rows, 100 concepts", scores, score_values, move |p, x| {
            p.map_counts(x[0], None, &groups)
        }),
        Row::repeated("map_distances 64 rows, 100 concepts", selected, selected_values, move |p, x| {
            p.map_distances(x[0], x[1], &stored)
        }),
        Row::repeated("gram 256×512×512", features, feature_values, move |p, x| p.gram(x[0], x[0], &mean, &mean)),
    ]
}

fn families(criterion: &mut Criterion, device: &Device) {
    let mut group = criterion.benchmark_group("kernels");
    group.sampling_mode(SamplingMode::Flat);
    for Row { label, plan, inputs } in vision_rows().into_iter().chain(text_rows()).chain(semantics_rows()) {
        group.throughput(Throughput::Elements(plan.flops()));
        let names: Vec<&str> = plan.inputs().iter().map(|(name, _)| name.as_str()).collect();
        let inputs: Vec<(&str, Input<'_>)> = names
            .into_iter()
            .zip(&inputs)
            .map(|(name, values)| match values {
                Values::F32(values) => (name, Input::F32(values)),
                Values::U32(values) => (name, Input::U32(values)),
            })
            .collect();
        group.bench_function(label, |bencher| {
            let executable = device.compile(&plan).unwrap_or_else(|error| panic!("{label}: {error}"));
            bencher.iter(|| executable.run(&inputs).unwrap_or_else(|error| panic!("{label}: {error}")));
        });
    }
    group.finish();
}
