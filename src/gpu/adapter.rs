//! Which adapters there are, and which one to use.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::matrices;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::Profile;

/// How to get an adapter where there is none.
const NO_ADAPTER_HINT: &str = "install a Vulkan driver (on Linux without a GPU: Mesa's software Vulkan, \
    `apt-get install mesa-vulkan-drivers libvulkan1`, or `make setup`); Metal and DX12 come with macOS and Windows";

/// Which adapter to open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AdapterChoice {
    /// The fastest kind there is: discrete, then integrated, virtual, and software last.
    #[default]
    Best,
    /// The adapter of this number in [`adapters`].
    Index(usize),
    /// The only adapter whose name (or backend and name) contains this text, whatever its case.
    Name(String),
    /// The best of a kind.
    Power(Power),
}

impl std::str::FromStr for AdapterChoice {
    type Err = Error;

    /// A number is an index, anything else part of a name.
    fn from_str(text: &str) -> Result<Self> {
        Ok(text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Index))
    }
}

/// The share of memory that is used at most: of the system's free memory, for adapters that compute in it, and of the
/// budget that DX12 and Vulkan drivers give a program, past which wgpu refuses to make buffers. How large that budget is
/// wgpu doesn't tell.
pub const MEMORY_SHARE: f64 = 0.8;

/// What kind of adapter to prefer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// An integrated GPU before a discrete one.
    Low,
    /// A discrete GPU before an integrated one.
    High,
}

/// How to open a device.
#[derive(Debug, Clone, Default)]
pub struct DeviceOptions {
    /// Which adapter.
    pub adapter: AdapterChoice,
    /// Compile the shaders with every run-time check (bounds, loops), as untrusted WGSL is. The kernels' indices are
    /// proven by their plans and tested both ways, so that checks only cost time.
    pub checked_shaders: bool,
    /// Run the kernels of another profile than the adapter's kind calls for (tests run both).
    pub profile: Option<Profile>,
    /// Bind at most this many bytes at a time, as an adapter with a smaller limit would.
    pub max_binding_bytes: Option<u64>,
    /// Memory that one plan may take, weights included, in bytes. Where it isn't said: [`MEMORY_SHARE`] of what is free on
    /// adapters that compute in the system's memory; on others what the driver gives.
    pub memory: Option<u64>,
    /// A folder, made where it's missing, in which compiled pipelines and text embeddings are kept between runs; none = they aren't. Only
    /// this user may write to it: drivers trust what they find there. A device whose shaders are replaced or checked has none.
    pub cache: Option<PathBuf>,
    /// Measure once which tiles suit a hardware adapter, within about half a second, and keep that in the [`cache`](Self::cache), without
    /// which a table by kind of adapter is used.
    pub tune: bool,
    /// Have the adapter's cooperative matrices (tensor cores) for models whose weights are for them
    /// ([`Precision::F16Matrices`](crate::weights::Precision::F16Matrices)). A device that lacks them, or whose results aren't the
    /// reference's, isn't opened; other models run as they do without.
    pub cooperative_matrix: bool,
    /// WGSL to run in the place of the shaders of these names. It has their bindings and constants, and is always compiled
    /// with every run-time check.
    pub replaced_shaders: BTreeMap<String, String>,
}

impl DeviceOptions {
    /// The cache of a device that computes what any other of its adapter does.
    pub(super) fn own_cache(&self) -> Option<&PathBuf> {
        self.cache.as_ref().filter(|_| self.replaced_shaders.is_empty() && !self.checked_shaders)
    }
}

/// What is known of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdapterSummary {
    /// Its number in [`adapters`].
    pub index: usize,
    /// Its name.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// The driver's name.
    pub driver: String,
    /// The driver's version and details.
    pub driver_info: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub kind: String,
    /// The largest buffer, in bytes.
    pub max_buffer_bytes: u64,
    /// The largest range of a buffer that a kernel can read or write, in bytes.
    pub max_binding_bytes: u64,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Lanes a workgroup may have.
    pub workgroup_lanes: u32,
    /// The cooperative matrices that it multiplies, each as `16×16×16 of f16, sums in f32`: rows, columns and inner dimension.
    pub cooperative_matrices: Vec<String>,
    /// Optional features that heatlens uses where they are: `timestamps`, `pipeline cache`, `subgroups`.
    pub features: Vec<String>,
    /// What compiles the shaders.
    pub shader_compiler: String,
}

impl fmt::Display for AdapterSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}, {} {})", self.name, self.backend, self.kind, self.driver, self.driver_info)
    }
}

/// All adapters that can compute, the same ones in the same order each time.
pub fn adapters() -> Vec<AdapterSummary> {
    enumerate(&instance()).iter().enumerate().map(|(index, adapter)| summary(index, adapter)).collect()
}

pub(super) fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle().with_env();
    descriptor.memory_budget_thresholds.for_resource_creation = Some((100.0 * MEMORY_SHARE) as u8);
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    wgpu::Instance::new(descriptor)
}

fn enumerate(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let all = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let compute = wgpu::DownlevelFlags::COMPUTE_SHADERS;
    all.into_iter().filter(|adapter| adapter.get_downlevel_capabilities().flags.contains(compute)).collect()
}

/// The adapter of a choice, with its number among all.
pub(super) fn choose(instance: &wgpu::Instance, choice: &AdapterChoice) -> Result<(usize, wgpu::Adapter)> {
    let all = enumerate(instance);
    if all.is_empty() {
        return Err(Error::new(ErrorKind::Device, "no Vulkan, Metal or DX12 adapter was found").hint(NO_ADAPTER_HINT));
    }
    let listing = || {
        let names: Vec<String> = all.iter().enumerate().map(|(i, a)| format!("{i}: {}", summary(i, a))).collect();
        format!("the adapters are {}", names.join("; "))
    };
    let index = match choice {
        AdapterChoice::Best => best(&all, Power::High),
        AdapterChoice::Power(power) => best(&all, *power),
        AdapterChoice::Index(index) if *index < all.len() => *index,
        AdapterChoice::Index(index) => {
            return Err(Error::new(ErrorKind::Device, format!("there is no adapter {index}")).hint(listing()));
        }
        AdapterChoice::Name(name) => {
            let wanted = name.to_lowercase();
            let matching: Vec<usize> =
                (0..all.len()).filter(|&i| summary(i, &all[i]).to_string().to_lowercase().contains(&wanted)).collect();
            match matching[..] {
                [index] => index,
                [] => {
                    return Err(Error::new(ErrorKind::Device, format!("no adapter is called `{name}`")).hint(listing()));
                }
                _ => {
                    let message = format!("{} adapters are called `{name}`", matching.len());
                    return Err(Error::new(ErrorKind::Device, message).hint(listing()));
                }
            }
        }
    };
    Ok((index, all[index].clone()))
}

fn best(all: &[wgpu::Adapter], power: Power) -> usize {
    let rank = |adapter: &wgpu::Adapter| match (adapter.get_info().device_type, power) {
        (wgpu::DeviceType::DiscreteGpu, Power::High) | (wgpu::DeviceType::IntegratedGpu, Power::Low) => 0,
        (wgpu::DeviceType::DiscreteGpu | wgpu::DeviceType::IntegratedGpu, _) => 1,
        (wgpu::DeviceType::VirtualGpu, _) => 2,
        (wgpu::DeviceType::Other, _) => 3,
        (wgpu::DeviceType::Cpu, _) => 4,
    };
    (0..all.len()).min_by_key(|&i| rank(&all[i])).unwrap_or(0)
}

/// The bytes of the system's memory that a plan may take if the adapter computes there.
pub(super) fn system_memory(summary: &AdapterSummary) -> Option<u64> {
    if !["cpu", "integrated"].contains(&summary.kind.as_str()) {
        return None;
    }
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    if system.total_memory() == 0 {
        // The system doesn't tell, as in a container without /proc.
        return None;
    }
    let group = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
    Some((MEMORY_SHARE * system.available_memory().min(group) as f64) as u64)
}

/// The shader family for an adapter's kind, of a device with `features`.
pub(super) fn profile(adapter: &wgpu::Adapter, features: wgpu::Features) -> Profile {
    match adapter.get_info().device_type {
        wgpu::DeviceType::Cpu if features.contains(wgpu::Features::SUBGROUP) && has_wide_subgroups(adapter) => {
            Profile::SoftwareSubgroups
        }
        wgpu::DeviceType::Cpu => Profile::Software,
        _ => Profile::Hardware,
    }
}

/// Whether the adapter's subgroups have the lanes that the kernels with subgroup operations count on.
fn has_wide_subgroups(adapter: &wgpu::Adapter) -> bool {
    adapter.features().contains(wgpu::Features::SUBGROUP)
        && adapter.get_info().subgroup_min_size >= Profile::SUBGROUP_LANES
}

/// The optional features to request for a profile: subgroups only where its kernels use them, because some drivers compile
/// everything differently once they are requested; buffers that the host writes in place only where they lie in its memory anyway.
///
/// # Errors
/// [`ErrorKind::Device`] if the adapter can't run the profile's kernels.
pub(super) fn wanted_features(adapter: &wgpu::Adapter, profile: Profile) -> Result<wgpu::Features> {
    let in_place =
        if profile.is_software() { wgpu::Features::MAPPABLE_PRIMARY_BUFFERS } else { wgpu::Features::empty() };
    let offered = adapter.features() & (wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE | in_place);
    if profile != Profile::SoftwareSubgroups {
        return Ok(offered);
    }
    if !has_wide_subgroups(adapter) {
        let lanes = Profile::SUBGROUP_LANES;
        let message = format!("{} has no subgroups of at least {lanes} lanes", adapter.get_info().name);
        return Err(Error::new(ErrorKind::Device, message));
    }
    Ok(offered | wgpu::Features::SUBGROUP)
}

pub(super) fn summary(index: usize, adapter: &wgpu::Adapter) -> AdapterSummary {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "cpu",
        wgpu::DeviceType::Other => "other",
    };
    let shader_compiler = match info.backend {
        wgpu::Backend::Vulkan => "naga to SPIR-V",
        wgpu::Backend::Metal => "naga to MSL",
        wgpu::Backend::Dx12 => "naga to HLSL, DXC where dxcompiler.dll is found, otherwise FXC",
        _ => "naga",
    };
    let used = [
        ("timestamps", adapter.features().contains(wgpu::Features::TIMESTAMP_QUERY)),
        ("pipeline cache", adapter.features().contains(wgpu::Features::PIPELINE_CACHE)),
        ("subgroups", profile(adapter, adapter.features()) == Profile::SoftwareSubgroups),
    ];
    AdapterSummary {
        index,
        name: info.name,
        backend: info.backend.to_str().to_owned(),
        driver: info.driver,
        driver_info: info.driver_info,
        kind: kind.to_owned(),
        max_buffer_bytes: limits.max_buffer_size,
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        workgroup_lanes: limits.max_compute_invocations_per_workgroup,
        cooperative_matrices: matrices::listing(adapter),
        features: used.iter().filter(|(_, has)| *has).map(|(name, _)| (*name).to_owned()).collect(),
        shader_compiler: shader_compiler.to_owned(),
    }
}
