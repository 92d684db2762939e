//! A host program's own device, and what it may share between its threads.

use heatlens::gpu::{Device, Executable, Input, wgpu};
use heatlens::kernels::cases;
use heatlens::models::{Architecture, Classifier, Clip, Samples};
use heatlens::{Bundle, ErrorKind, Filter, Result};

/// A device as a host opens it, with these limits and no features.
fn host(required_limits: wgpu::Limits) -> Result<Device> {
    open(required_limits).1
}

/// A host's device, and what heatlens makes of it.
fn open(required_limits: wgpu::Limits) -> (wgpu::Device, Result<Device>) {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).unwrap();
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..wgpu::DeviceDescriptor::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
    (device.clone(), Device::from_wgpu(&adapter, device, queue))
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

/// Live allocations of the driver's memory and their bytes are the same after 1,000 more runs. wgpu reports neither on Metal.
#[cfg(not(target_os = "macos"))]
#[test]
fn a_thousand_runs_leave_nothing_behind() {
    let (host, device) = open(wgpu::Limits::default());
    let network = Architecture::Resnet18.load(Some(8)).unwrap();
    let executable = device.unwrap().compile(&network.record(1).unwrap()).unwrap();
    let Samples::Pictures(pictures) = network.samples(1) else { panic!("ResNet-18 takes pictures") };
    let after = |runs: usize| {
        for _ in 0..runs / 2 {
            let two = [(); 2].map(|()| executable.start(&[("pixels", Input::Bytes(&pictures))]).unwrap());
            for run in two {
                run.wait().unwrap();
            }
        }
        host.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let report = host.generate_allocator_report().unwrap();
        (report.allocations.len(), report.total_allocated_bytes)
    };
    let first = after(4);
    assert!(first.0 > 0 && first.1 >= executable.bytes(), "{first:?}");
    assert_eq!(after(1000), first);
}

#[test]
fn runs_in_flight_give_what_each_gives_alone() {
    let device = Device::best().unwrap();
    let network = Architecture::Resnet18.load(Some(8)).unwrap();
    let executable = device.compile(&network.record(1).unwrap()).unwrap();
    let Samples::Pictures(pictures) = network.samples(3) else { panic!("ResNet-18 takes pictures") };
    let picture = |number: usize| [("pixels", Input::Bytes(&pictures[number * 8 * 8 * 3..][..8 * 8 * 3]))];
    let alone = [0, 1, 2].map(|number| executable.run(&picture(number)).unwrap().tensor("logits"));
    assert_ne!(alone[0], alone[1]);
    // The last is waited for first, and one not at all.
    drop(executable.start(&picture(1)).unwrap());
    let [first, second, third] = [0, 1, 2].map(|number| executable.start(&picture(number)).unwrap());
    let together = [third, second, first].map(|run| run.wait().unwrap().tensor("logits"));
    assert_eq!(together, [2, 1, 0].map(|number: usize| alone[number].clone()));
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
