//! Every kernel on the adapter against its f64 reference.

use heatlens::Plan;
use heatlens::gpu::{Device, DeviceOptions, Input};
use heatlens::kernels::cases::{self, Case, Values};
use heatlens::kernels::{Element, Profile};

/// Largest error over the largest magnitude of the reference.
const TOLERANCE: f64 = 2e-6;

fn device(profile: Profile, checked_shaders: bool) -> Device {
    let options = DeviceOptions { checked_shaders, profile: Some(profile), ..DeviceOptions::default() };
    Device::open(&options).unwrap()
}

fn error_of(device: &Device, case: &Case) -> f64 {
    let executable = device.compile(&Plan::of_kernel(case.kernel.clone())).unwrap();
    executable.poison();
    let names: Vec<String> = (0..case.reads.len()).map(|i| i.to_string()).collect();
    let inputs: Vec<(&str, Input<'_>)> = names
        .iter()
        .zip(&case.reads)
        .map(|(name, values)| match values {
            Values::F32(values) => (name.as_str(), Input::F32(values)),
            Values::U32(values) => (name.as_str(), Input::U32(values)),
        })
        .collect();
    let outputs = executable.run(&inputs).unwrap();
    let found: Vec<f64> = match case.kernel.output().element {
        Element::F32 => outputs.tensor("output").data().iter().map(|&v| f64::from(v)).collect(),
        Element::U32 => outputs.integers("output").iter().map(|&v| f64::from(v)).collect(),
    };
    let expected = case.expected();
    assert_eq!(found.len(), expected.len(), "{}: {}", case.kernel.name(), case.label);
    let largest = expected.iter().fold(1e-30, |largest: f64, v| largest.max(v.abs()));
    found.iter().zip(&expected).fold(0.0, |worst: f64, (found, expected)| {
        let error = (found - expected).abs() / largest;
        if error.is_nan() { f64::INFINITY } else { worst.max(error) }
    })
}

fn check(profile: Profile, checked_shaders: bool) {
    let device = device(profile, checked_shaders);
    let failures: Vec<String> = cases::all()
        .iter()
        .map(|case| (case, error_of(&device, case)))
        .filter(|(case, error)| *error > if case.kernel.output().element == Element::U32 { 0.0 } else { TOLERANCE })
        .map(|(case, error)| format!("{} ({}): {error:.2e}", case.kernel.name(), case.label))
        .collect();
    assert!(failures.is_empty(), "{profile:?}, checks {checked_shaders}: {failures:#?}");
}

#[test]
fn software_kernels_match_their_references() {
    check(Profile::Software, false);
}

#[test]
fn hardware_kernels_match_their_references() {
    check(Profile::Hardware, false);
}

#[test]
fn kernels_with_run_time_checks_match_their_references() {
    check(Profile::Software, true);
    check(Profile::Hardware, true);
}
