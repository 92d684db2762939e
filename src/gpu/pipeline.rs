//! Compute pipelines, compiled once for a device.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use super::device::{Shared, lock};
use crate::error::{Error, Result};
use crate::files::{create_parent, write_atomic};
use crate::kernels::{Launch, Shader};

/// A compiled kernel with the layout of its bindings.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    /// The number of bindings.
    operands: usize,
}

/// Bytes of a buffer that is bound and not read; no shader's parameters are larger.
const NOTHING: usize = 256;

/// wgpu's experimental features.
pub(super) fn experimental_features() -> wgpu::ExperimentalFeatures {
    #[expect(unsafe_code, reason = "wgpu doesn't vouch for the features that it calls experimental")]
    // SAFETY: they are enabled for cooperative matrices alone, in shaders that are this crate's own and whose results are compared with
    // references when a device is opened (`matrices`).
    unsafe {
        wgpu::ExperimentalFeatures::enabled()
    }
}

type Key = (&'static str, Vec<(&'static str, u32)>);

/// All pipelines of a device.
pub(super) struct Pipelines {
    checked: bool,
    /// WGSL in the place of shaders, by their names.
    replaced: BTreeMap<String, String>,
    compiled: Mutex<HashMap<Key, Arc<Pipeline>>>,
    kept: Option<Kept>,
}

/// What the driver makes of shaders, kept between runs.
struct Kept {
    cache: wgpu::PipelineCache,
    file: PathBuf,
    /// What the file holds.
    written: Mutex<Option<Vec<u8>>>,
    /// Whether something was compiled that the file may not have.
    is_stale: AtomicBool,
}

impl Pipelines {
    pub(super) fn new(checked: bool, replaced: BTreeMap<String, String>) -> Self {
        Self { checked, replaced, compiled: Mutex::default(), kept: None }
    }

    /// Starts from what an earlier run kept in `folder`, where the backend can: wgpu and the driver refuse what another
    /// adapter, driver or version of wgpu made, and compile anew. Why a file can't be read shows when it is written.
    pub(super) fn keep_in(&mut self, folder: &Path, device: &wgpu::Device, info: &wgpu::AdapterInfo) {
        let is_possible = device.features().contains(wgpu::Features::PIPELINE_CACHE);
        let Some(name) = wgpu::util::pipeline_cache_key(info).filter(|_| is_possible) else {
            return;
        };
        let file = folder.join(format!("{name}_{}", env!("CARGO_PKG_VERSION")));
        let data = std::fs::read(&file).ok();
        let descriptor =
            wgpu::PipelineCacheDescriptor { label: Some("pipelines"), data: data.as_deref(), fallback: true };
        #[expect(unsafe_code, reason = "wgpu can't prove that a file holds what it once wrote there")]
        // SAFETY: the file is this program's own, in a folder that only its user writes to (`DeviceOptions::cache`), and written whole
        // or not at all.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        self.kept = Some(Kept { cache, file, written: Mutex::new(data), is_stale: AtomicBool::new(false) });
    }

    /// Writes what was compiled since.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] naming the file.
    pub(super) fn save(&self) -> Result<()> {
        let Some(kept) = self.kept.as_ref().filter(|kept| kept.is_stale.load(Ordering::Relaxed)) else {
            return Ok(());
        };
        let data = kept.cache.get_data();
        let mut written = lock(&kept.written);
        if data.is_some() && *written != data {
            let bytes = data.as_deref().unwrap_or_default();
            create_parent(&kept.file)?;
            write_atomic(&kept.file, |file| file.write_all(bytes).map_err(|e| Error::io(&kept.file, e)))?;
            *written = data;
        }
        kept.is_stale.store(false, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn get(&self, shared: &Shared, launches: &[&Launch]) -> Result<Vec<Arc<Pipeline>>> {
        let mut missing: HashMap<Key, &Launch> = HashMap::new();
        {
            let compiled = lock(&self.compiled);
            for launch in launches.iter().filter(|launch| !compiled.contains_key(&key(launch))) {
                missing.insert(key(launch), launch);
            }
        }
        // Shader compilation is most of a start-up on software Vulkan, and wgpu compiles on the calling thread. Error
        // scopes are per thread.
        let built: Vec<(Key, Pipeline)> = missing
            .into_par_iter()
            .map(|(key, launch)| {
                let what = format!("compiling {}", launch.shader.label);
                let pipeline = shared.checked(&what, || Ok(self.build(&shared.device, launch)))?;
                Ok((key, pipeline))
            })
            .collect::<Result<_>>()?;
        if let Some(kept) = self.kept.as_ref().filter(|_| !built.is_empty()) {
            kept.is_stale.store(true, Ordering::Relaxed);
        }
        if shared.profile.is_software() && !built.is_empty() {
            shared.checked("preparing shaders", || {
                prepare(shared, built.iter().map(|(_, pipeline)| pipeline));
                Ok(())
            })?;
        }
        let mut compiled = lock(&self.compiled);
        for (key, pipeline) in built {
            compiled.entry(key).or_insert_with(|| Arc::new(pipeline));
        }
        Ok(launches.iter().map(|launch| compiled[&key(launch)].clone()).collect())
    }

    fn build(&self, device: &wgpu::Device, launch: &Launch) -> Pipeline {
        let shader = launch.shader;
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(shader.label),
            entries: &bindings(shader),
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(shader.label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let constants: Vec<(&str, f64)> =
            launch.constants.iter().map(|&(name, value)| (name, f64::from(value))).collect();
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(shader.label),
            layout: Some(&pipeline_layout),
            module: &self.module(device, shader),
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                zero_initialize_workgroup_memory: self.is_checked(shader),
            },
            cache: self.kept.as_ref().map(|kept| &kept.cache),
        });
        Pipeline { pipeline, layout, operands: shader.reads + 2 }
    }

    /// Whether a shader gets every run-time check: those of others always do.
    fn is_checked(&self, shader: &Shader) -> bool {
        self.checked || self.replaced.contains_key(shader.label)
    }

    fn module(&self, device: &wgpu::Device, shader: &Shader) -> wgpu::ShaderModule {
        let source = self.replaced.get(shader.label).map_or(shader.source, String::as_str);
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(shader.label), source: wgpu::ShaderSource::Wgsl(source.into()) };
        if self.is_checked(shader) {
            return device.create_shader_module(descriptor);
        }
        #[expect(unsafe_code, reason = "run-time checks cost up to half of a GEMM's speed")]
        // SAFETY: the shaders are this crate's own; plans check every operand's length against the kernel's before a
        // dispatch exists, and the kernel tests run each shader with and without the checks.
        unsafe {
            device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    }
}

/// Dispatches each pipeline over no workgroups. Software Vulkan turns a shader into machine code when it is dispatched for the first
/// time, on its queue's own thread: this begins while weights are still being uploaded.
fn prepare<'a>(shared: &Shared, pipelines: impl Iterator<Item = &'a Pipeline>) {
    let Shared { device, queue, .. } = shared;
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("prepare") });
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    for Pipeline { pipeline, layout, operands } in pipelines {
        let buffer = |_| shared.filled_buffer("nothing", &[0; NOTHING]);
        let buffers: Vec<wgpu::Buffer> = (0..*operands).map(buffer).collect();
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..)
            .zip(&buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let descriptor = wgpu::BindGroupDescriptor { label: Some("nothing"), layout, entries: &entries };
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &device.create_bind_group(&descriptor), &[]);
        pass.dispatch_workgroups(0, 0, 0);
    }
    drop(pass);
    queue.submit([encoder.finish()]);
}

fn key(launch: &Launch) -> Key {
    (launch.shader.label, launch.constants.clone())
}

/// Binding 0 is the uniform, then come the operands that are read, and last the output.
fn bindings(shader: &Shader) -> Vec<wgpu::BindGroupLayoutEntry> {
    let storage = |read_only| wgpu::BufferBindingType::Storage { read_only };
    let types = std::iter::once(wgpu::BufferBindingType::Uniform)
        .chain(std::iter::repeat_n(storage(true), shader.reads))
        .chain([storage(false)]);
    let entry = |(binding, ty)| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    (0..).zip(types).map(entry).collect()
}
