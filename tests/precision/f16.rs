//! Networks whose weights are held in f16, on every kind of kernel: how far rounding moves their outputs, and that it moves nothing else.

use heatlens::gpu::{Device, DeviceOptions};
use heatlens::weights::Precision;

use crate::BATCHES;
use crate::support::accuracy::Table;
use crate::support::golden::{Golden, least_cosine};
use crate::support::networks::{Taps, all_profiles, own_profile, run_classifier, run_clip, value};

/// Per network how far rounding its weights to f16 may move an output: `max|Δ| / max|golden|`, and 1 − cosine. They are about
/// three times what was measured; ResNet-50 with its made-up weights amplifies rounding here too.
const WEIGHTS: [(&str, f64, f64); 9] = [
    ("small-basic", 3e-3, 5e-6),
    ("small-bottleneck", 5e-3, 6e-6),
    ("small-clip-hf", 2e-3, 1e-6),
    ("small-clip-resnet", 5e-3, 4e-6),
    ("small-vit-hf", 2e-3, 2e-6),
    ("small-convnext-hf", 2e-3, 1e-6),
    ("resnet18", 4e-3, 4e-6),
    ("resnet50", 6e-2, 2e-3),
    ("clip-vit-b-32-hf", 4e-3, 3e-6),
];

/// The same where activations are rounded as well, on cooperative matrices.
const BOTH: [(&str, f64, f64); 9] = [
    ("small-basic", 5e-3, 1.2e-5),
    ("small-bottleneck", 8e-3, 2e-5),
    ("small-clip-hf", 3e-3, 1.5e-6),
    ("small-clip-resnet", 5e-3, 4e-6),
    ("small-vit-hf", 4e-3, 3e-6),
    ("small-convnext-hf", 2e-3, 1e-6),
    ("resnet18", 5e-3, 8e-6),
    ("resnet50", 1.2e-1, 4e-3),
    ("clip-vit-b-32-hf", 5e-3, 5e-6),
];

const SMALL: [&str; 6] =
    ["small-basic", "small-bottleneck", "small-clip-hf", "small-clip-resnet", "small-vit-hf", "small-convnext-hf"];
const LARGE: [&str; 3] = ["resnet18", "resnet50", "clip-vit-b-32-hf"];

static WEIGHTS_TABLE: Table = Table::new("f16", HEAD);
static BOTH_TABLE: Table = Table::new("cooperative", HEAD);
const HEAD: &str = "| network, output | error | 1 − cosine |";

fn run(golden: &Golden, precision: Precision, devices: &[Device], batches: &[usize]) -> Taps {
    let run = if golden.tokens.is_empty() { run_classifier } else { run_clip };
    run(golden, precision, devices, batches)
}

/// Prints how far rounding moves each output and holds it to `bounds`.
fn check(name: &str, devices: &[Device], batches: &[usize], bounds: &[(&str, f64, f64)], table: &Table) {
    let golden = Golden::open(name);
    let &(_, error, cosine) = bounds.iter().find(|(network, ..)| *network == name).unwrap();
    for found in run(&golden, Precision::F16, devices, batches) {
        for figures in &golden.header.outputs {
            let output = value(&found, &figures.name);
            let deviation = golden.deviation(figures, output);
            let least = least_cosine(output, golden.array(&figures.name));
            println!("{name} in f16: {} error {:.1e}, 1 - cosine {:.1e}", figures.name, deviation.error, 1.0 - least);
            let cells = [format!("{:.1e}", deviation.error), format!("{:.1e}", 1.0 - least)];
            table.row(&format!("`{name}` {}", figures.name), &cells);
            assert!(deviation.error <= error, "{name}: {} is off by {:.1e}", figures.name, deviation.error);
            assert!(1.0 - least <= cosine, "{name}: {} has a cosine of {least}", figures.name);
            assert!(deviation.error > 0.0, "{name}: {} doesn't show the rounding", figures.name);
        }
    }
}

#[test]
fn small_networks() {
    for name in SMALL {
        check(name, &all_profiles(), &BATCHES, &WEIGHTS, &WEIGHTS_TABLE);
    }
}

#[test]
fn large_networks() {
    for name in LARGE {
        check(name, &own_profile(), &[], &WEIGHTS, &WEIGHTS_TABLE);
    }
}

/// A device with cooperative matrices; none on adapters without them, which must say so.
fn cooperative() -> Option<Device> {
    let opened = Device::open(&DeviceOptions { cooperative_matrix: true, ..DeviceOptions::default() });
    opened.inspect_err(|error| assert!(error.to_string().contains("has no cooperative matrices"), "{error}")).ok()
}

fn ran_on_matrices(device: &Device) -> bool {
    device.dispatches().keys().any(|shader| shader.starts_with("gemm_cooperative"))
}

/// They have the same bits at any batch size, too.
#[test]
fn networks_on_cooperative_matrices() {
    let Some(device) = cooperative() else { return };
    assert!(!ran_on_matrices(&device), "the test at the start is counted");
    for name in SMALL {
        check(name, std::slice::from_ref(&device), &BATCHES, &BOTH, &BOTH_TABLE);
    }
    for name in LARGE {
        check(name, std::slice::from_ref(&device), &[], &BOTH, &BOTH_TABLE);
    }
    assert!(ran_on_matrices(&device));
}

/// Cooperative matrices are for weights in f16 alone: with them in use, all other results keep their bits.
#[test]
fn cooperative_matrices_leave_f32_as_it_is() {
    let Some(device) = cooperative() else { return };
    for name in SMALL {
        let golden = Golden::open(name);
        let devices = [Device::best().unwrap(), device.clone()];
        let [without, with] = run(&golden, Precision::F32, &devices, &[]).try_into().unwrap();
        for (name, tensor) in &without {
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert!(bits(tensor.data()) == bits(value(&with, name).data()), "{}: {name}", golden.name);
        }
    }
    assert!(!ran_on_matrices(&device));
}
