//! Every row of `heatlens bench kernels` by Criterion, and the GEMM against a naive kernel.
//!
//! `cargo bench` measures; without `--bench` (as in `cargo test --benches`) every row runs once, which keeps the benches
//! working. A filter chooses rows: `cargo bench --bench kernels -- layer_norm`.
//!
//! In the comparison with the naive kernel both sides carry the same transfers, and runs of the two take turns, so that
//! whatever else the machine does slows both.

mod naive;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use heatlens::bench::subjects;
use heatlens::gpu::{Device, Executable, Input};
use heatlens::kernels::cases::noise;
use heatlens::kernels::{Gemm, Kernel, Window};
use heatlens::weights::Precision;
use heatlens::{Plan, Tensor};
use naive::NaiveGemm;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let device = Device::best().unwrap_or_else(|error| panic!("{error}"));
    eprintln!("{}", device.summary());
    against_naive(&mut criterion, &device);
    table(&mut criterion, &device);
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

/// Every row of the table that `heatlens bench kernels` measures, without uploads and readbacks.
fn table(criterion: &mut Criterion, device: &Device) {
    let mut group = criterion.benchmark_group("kernels");
    group.sampling_mode(SamplingMode::Flat);
    let clock = device.clock();
    for subject in subjects(1, Precision::F32).unwrap_or_else(|error| panic!("{error}")) {
        let label = format!("{} {}", subject.kernel(), subject.shape());
        let failed = |error: heatlens::Error| -> ! { panic!("{label}: {error}") };
        group.throughput(Throughput::Elements(subject.shaped.kernel.flops()));
        group.bench_function(&label, |bencher| {
            let compiled = device.compile(&Plan::of_kernel(subject.shaped.kernel.clone()));
            let executable = compiled.unwrap_or_else(|error| failed(error));
            executable.load_case(&subject.shaped.case()).unwrap_or_else(|error| failed(error));
            bencher.iter_custom(|iterations| {
                let seconds = executable.time(iterations as usize, clock).unwrap_or_else(|error| failed(error));
                Duration::from_secs_f64(seconds * iterations as f64)
            });
        });
    }
    group.finish();
}
