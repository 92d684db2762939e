//! Every kernel on the adapter against its f64 reference.

use heatlens::gpu::{Device, DeviceOptions};
use heatlens::kernels::{Profile, cases};

fn device(profile: Profile, checked_shaders: bool) -> Device {
    let options = DeviceOptions { checked_shaders, profile: Some(profile), ..DeviceOptions::default() };
    Device::open(&options).unwrap()
}

fn check(profile: Profile, checked_shaders: bool) {
    let device = device(profile, checked_shaders);
    let failures: Vec<String> = cases::all()
        .iter()
        .map(|case| (case, device.check(case).unwrap()))
        .filter(|(_, check)| !check.passes())
        .map(|(case, check)| format!("{} ({}): {:.2e}", case.kernel.name(), case.label, check.error))
        .collect();
    assert!(failures.is_empty(), "{profile:?}, checks {checked_shaders}: {failures:#?}");
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
