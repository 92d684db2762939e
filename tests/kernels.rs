//! Every kernel on the adapter against its f64 reference.

use std::collections::BTreeMap;

use heatlens::gpu::{Device, DeviceOptions};
use heatlens::kernels::cases::{self, Case};
use heatlens::kernels::{Matrices, MatrixEdge, Profile};
use heatlens::{Error, ErrorKind};

mod support {
    pub(crate) mod emulated_matrices;
}

fn device(profile: Profile, checked_shaders: bool) -> Device {
    let options = DeviceOptions { checked_shaders, profile: Some(profile), ..DeviceOptions::default() };
    Device::open(&options).unwrap()
}

fn check(profile: Profile, checked_shaders: bool) {
    let failures = failures(&device(profile, checked_shaders), &cases::all());
    assert!(failures.is_empty(), "{profile:?}, checks {checked_shaders}: {failures:#?}");
}

/// The cases that give something else than their references.
fn failures(device: &Device, cases: &[Case]) -> Vec<String> {
    let checked = cases.iter().map(|case| (case, device.check(case).unwrap()));
    checked
        .filter(|(_, check)| !check.passes())
        .map(|(case, check)| format!("{} ({}): {:.2e}", case.kernel.name(), case.label, check.error))
        .collect()
}

#[test]
fn software_kernels_match_their_references() {
    check(Profile::Software, false);
}

/// An adapter whose subgroups are too narrow says so.
#[test]
fn software_kernels_with_subgroups_match_their_references() {
    let options = DeviceOptions { profile: Some(Profile::SoftwareSubgroups), ..DeviceOptions::default() };
    match Device::open(&options) {
        Ok(_) => check(Profile::SoftwareSubgroups, false),
        Err(error) => assert!(error.to_string().contains("no subgroups of at least 8 lanes"), "{error}"),
    }
}

#[test]
fn hardware_kernels_match_their_references() {
    check(Profile::Hardware, false);
}

#[test]
fn kernels_with_run_time_checks_match_their_references() {
    check(Device::best().unwrap().profile(), true);
    check(Profile::Software, true);
    check(Profile::Hardware, true);
}

/// A device with cooperative matrices, or why there is none on this adapter.
fn cooperative(options: DeviceOptions) -> Result<Device, Error> {
    let opened = Device::open(&DeviceOptions { cooperative_matrix: true, ..options });
    opened.inspect_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.to_string().contains("cooperative matrices"), "{error}");
        assert!(error.hint_text().unwrap_or_default().contains("leave --cooperative-matrix"), "{error:?}");
    })
}

/// Adapters without cooperative matrices refuse to be opened with them; on those that have some, every tile is right.
#[test]
fn kernels_on_cooperative_matrices_match_their_references_or_are_refused() {
    for checked_shaders in [false, true] {
        let Ok(device) = cooperative(DeviceOptions { checked_shaders, ..DeviceOptions::default() }) else {
            continue;
        };
        let (matrices, test) = (device.matrices().unwrap(), device.matrix_test().unwrap());
        let cases = cases::cooperative(matrices);
        assert_eq!((test.edge, test.cases), (matrices.edge.size(), cases.len()));
        assert!(test.cases >= 8 && test.worst <= test.tolerance, "{test:?}");
        let failures = failures(&device, &cases);
        assert!(failures.is_empty(), "{matrices:?}: {failures:#?}");
    }
}

/// The shaders on cooperative matrices: their names, texts and matrices' edges.
fn cooperative_shaders() -> Vec<(String, String, MatrixEdge)> {
    let launches = MatrixEdge::ALL.map(|edge| {
        let cases = cases::cooperative(Matrices { edge, lanes: 8 });
        let variants = cases.into_iter().flat_map(|case| case.kernel.variants());
        variants.map(move |variant| (variant.launch.shader.label.to_owned(), (variant.launch.shader.source, edge)))
    });
    let shaders: BTreeMap<_, _> = launches.into_iter().flatten().collect();
    shaders.into_iter().map(|(label, (source, edge))| (label, source.to_owned(), edge)).collect()
}

/// A test at the start that fails is an error, not a slower path.
#[test]
fn wrong_kernels_on_cooperative_matrices_are_refused() {
    let wrong = |(label, source, _): (String, String, MatrixEdge)| {
        let wrong = source.replace("var value = sum + bias[channel];", "var value = 1.001 * sum + bias[channel];");
        assert_ne!(source, wrong, "{label}");
        (label, wrong)
    };
    let replaced_shaders = cooperative_shaders().into_iter().map(wrong).collect();
    let has_matrices = cooperative(DeviceOptions::default()).is_ok();
    let error = cooperative(DeviceOptions { replaced_shaders, ..DeviceOptions::default() }).unwrap_err();
    let what = if has_matrices { "isn't used with cooperative matrices" } else { "has no cooperative matrices" };
    assert!(error.to_string().contains(what), "{error}");
}

/// The tiles around the matrices, also those that this adapter has no matrices for: with more, as many and fewer subgroups than tiles
/// have quarters.
#[test]
fn tiles_of_emulated_matrices_match_their_references() {
    let emulation = |(label, source, edge): (String, String, MatrixEdge)| {
        let text = support::emulated_matrices::emulated(&source, edge.size() as usize);
        (label, text)
    };
    let replaced_shaders = cooperative_shaders().into_iter().map(emulation).collect();
    let profile = Some(Profile::SoftwareSubgroups);
    let device = match Device::open(&DeviceOptions { profile, replaced_shaders, ..DeviceOptions::default() }) {
        Ok(device) => device,
        Err(error) => return assert!(error.to_string().contains("no subgroups of at least 8 lanes"), "{error}"),
    };
    for (edge, lanes) in
        [(MatrixEdge::Sixteen, 8), (MatrixEdge::Eight, 8), (MatrixEdge::Eight, 4), (MatrixEdge::Eight, 16)]
    {
        let failures = failures(&device, &cases::cooperative(Matrices { edge, lanes }));
        assert!(failures.is_empty(), "{edge:?}, {lanes} lanes a quarter: {failures:#?}");
    }
}
