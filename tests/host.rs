//! A host program's own device, and what it may share between its threads.

use heatlens::gpu::{Device, Executable, wgpu};
use heatlens::kernels::cases;
use heatlens::models::{Classifier, Clip};
use heatlens::{Bundle, ErrorKind, Filter, Result};

/// A device as a host opens it, with these limits and no features.
fn host(required_limits: wgpu::Limits) -> Result<Device> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).unwrap();
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..wgpu::DeviceDescriptor::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
    Device::from_wgpu(&adapter, device, queue)
}

#[test]
fn a_hosts_device_runs_every_kernel() {
    let device = host(wgpu::Limits::default()).unwrap();
    for case in cases::all() {
        assert!(device.check(&case).unwrap().passes(), "{} ({})", case.kernel.name(), case.label);
    }
}

#[test]
fn a_device_that_lacks_limits_is_refused_by_their_names() {
    let limits = wgpu::Limits {
        max_compute_invocations_per_workgroup: 32,
        max_compute_workgroup_size_x: 32,
        ..wgpu::Limits::default()
    };
    let error = host(limits).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    let text = error.to_string();
    for part in ["max_compute_invocations_per_workgroup is 32, needed are 64", "max_compute_workgroup_size_x is 32"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("max_storage_buffers_per_shader_stage"), "{text}");
}

#[test]
fn threads_may_share_what_is_made_once() {
    fn shared<T: Send + Sync>() {}
    shared::<Device>();
    shared::<Executable>();
    shared::<Filter>();
    shared::<Bundle>();
    shared::<Classifier>();
    shared::<Clip>();
}
