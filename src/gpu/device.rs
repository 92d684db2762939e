//! An open device: what it shares between plans.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use super::adapter::{self, AdapterSummary, DeviceOptions};
use super::matrices::{self, MatrixTest};
use super::pipeline::{self, Pipeline, Pipelines};
use super::tuning::Tuning;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{Block, Matrices, Profile, Target};
use crate::plan::{Limits, Stored, StoredKey};

/// An adapter opened for computing. Cloning shares it; it is `Send` and `Sync`.
///
/// Weights are uploaded once however many plans use them, and pipelines are compiled once.
#[derive(Clone)]
pub struct Device(Arc<Shared>);

pub(super) struct Shared {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) profile: Profile,
    /// The cooperative matrices in use, if any are.
    matrices: Option<Matrices>,
    /// How their test went, once it has.
    matrix_test: OnceLock<MatrixTest>,
    /// The largest range that is bound.
    pub(super) binding: u64,
    memory: Option<u64>,
    cache: Option<PathBuf>,
    /// What was measured of the adapter, now or earlier.
    tuning: OnceLock<Tuning>,
    summary: AdapterSummary,
    pipelines: Pipelines,
    dispatches: Mutex<BTreeMap<&'static str, u64>>,
    submissions: AtomicU64,
    /// By parameter and the block of it; none = whole.
    uploads: Mutex<HashMap<(StoredKey, Option<Block>), Upload>>,
}

struct Upload {
    buffer: wgpu::Buffer,
    is_alive: Box<dyn Fn() -> bool + Send + Sync>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Device").field(&self.0.summary).finish()
    }
}

impl Device {
    /// Opens the fastest kind of adapter there is.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if there is none.
    pub fn best() -> Result<Self> {
        Self::open(&DeviceOptions::default())
    }

    /// Opens an adapter with the limits it has.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if there is no such adapter, it can't be opened or tuned, or it lacks the cooperative matrices that were asked
    /// for or doesn't compute right with them; [`ErrorKind::Io`] if what was measured can't be kept.
    pub fn open(options: &DeviceOptions) -> Result<Self> {
        let instance = adapter::instance();
        let (index, adapter) = adapter::choose(&instance, &options.adapter)?;
        let summary = adapter::summary(index, &adapter);
        let profile = options.profile.unwrap_or_else(|| adapter::profile(&adapter, adapter.features()));
        let matrices = options.cooperative_matrix.then(|| matrices::of(&adapter)).transpose()?;
        let mut descriptor = wgpu::DeviceDescriptor {
            label: Some("heatlens"),
            required_features: adapter::wanted_features(&adapter, profile)?,
            required_limits: adapter.limits(),
            ..Default::default()
        };
        if matrices.is_some() {
            descriptor.required_features |= matrices::FEATURES;
            descriptor.experimental_features = pipeline::experimental_features();
        }
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|e| Error::new(ErrorKind::Device, format!("{summary} can't be opened")).caused_by(e))?;
        let mut pipelines = Pipelines::new(options.checked_shaders, options.replaced_shaders.clone());
        if let Some(folder) = options.own_cache() {
            pipelines.keep_in(folder, &device, &adapter.get_info());
        }
        let device = Self::new(summary, (profile, matrices), pipelines, (device, queue), options);
        if let Some(matrices) = matrices {
            let test = device.test_matrices(matrices)?;
            device.0.matrix_test.get_or_init(|| test);
            // What the test ran is nobody's work.
            lock(&device.0.dispatches).clear();
        }
        if let Some(folder) = options.own_cache().filter(|_| options.tune && profile == Profile::Hardware) {
            let tuning = Tuning::kept_or_measured(&device, folder)?;
            device.0.tuning.get_or_init(|| tuning);
        }
        Ok(device)
    }

    /// Uses a host program's own device, so that it can share one between its window and heatlens.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] naming each limit of the device that is under what the kernels need.
    pub fn from_wgpu(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        let limits = device.limits();
        let needs = [
            ("max_storage_buffers_per_shader_stage", limits.max_storage_buffers_per_shader_stage, 6),
            ("max_compute_invocations_per_workgroup", limits.max_compute_invocations_per_workgroup, 64),
            ("max_compute_workgroup_size_x", limits.max_compute_workgroup_size_x, 64),
            ("max_compute_workgroup_storage_size", limits.max_compute_workgroup_storage_size, 16_384),
            ("max_compute_workgroups_per_dimension", limits.max_compute_workgroups_per_dimension, 65_535),
        ];
        let lacking: Vec<String> = needs
            .iter()
            .filter(|(_, has, needed)| has < needed)
            .map(|(name, has, needed)| format!("{name} is {has}, needed are {needed}"))
            .collect();
        if !lacking.is_empty() {
            let message = format!("the host's wgpu device lacks limits: {}", lacking.join("; "));
            return Err(Error::new(ErrorKind::Limit, message)
                .hint("request the device with these limits, or with adapter.limits()"));
        }
        let pipelines = Pipelines::new(false, BTreeMap::new());
        let (summary, profile) = (adapter::summary(0, adapter), adapter::profile(adapter, device.features()));
        Ok(Self::new(summary, (profile, None), pipelines, (device, queue), &DeviceOptions::default()))
    }

    fn new(
        summary: AdapterSummary,
        (profile, matrices): (Profile, Option<Matrices>),
        pipelines: Pipelines,
        (device, queue): (wgpu::Device, wgpu::Queue),
        options: &DeviceOptions,
    ) -> Self {
        let limits = device.limits();
        let binding = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let binding = binding.min(options.max_binding_bytes.unwrap_or(u64::MAX));
        let (dispatches, uploads) = (Mutex::default(), Mutex::default());
        let (memory, cache) = (options.memory, options.own_cache().cloned());
        let submissions = AtomicU64::default();
        Self(Arc::new(Shared {
            device,
            queue,
            profile,
            matrices,
            matrix_test: OnceLock::new(),
            binding,
            memory,
            cache,
            tuning: OnceLock::new(),
            summary,
            pipelines,
            dispatches,
            submissions,
            uploads,
        }))
    }

    /// What is known of the adapter.
    pub fn summary(&self) -> &AdapterSummary {
        &self.0.summary
    }

    /// The shader family in use.
    pub fn profile(&self) -> Profile {
        self.0.profile
    }

    /// How tiles are chosen.
    pub fn tuning(&self) -> Tuning {
        self.0.tuning.get().copied().unwrap_or_else(|| Tuning::of_kind(&self.0.summary))
    }

    /// What plans are lowered for.
    pub fn target(&self) -> Target {
        let least_workgroups = self.tuning().least_workgroups;
        Target { profile: self.0.profile, least_workgroups, matrices: self.0.matrices }
    }

    /// The cooperative matrices that it multiplies weights on which are for them; none if it wasn't opened with
    /// [`DeviceOptions::cooperative_matrix`].
    pub fn matrices(&self) -> Option<Matrices> {
        self.0.matrices
    }

    /// How the cooperative matrices in use were tested when it was opened.
    pub fn matrix_test(&self) -> Option<&MatrixTest> {
        self.0.matrix_test.get()
    }

    /// What plans may have. The memory is that free now with what uploaded parameters already take, unless the device was
    /// opened with an amount of its own.
    pub fn limits(&self) -> Limits {
        Limits {
            binding: self.0.binding,
            buffer: self.0.device.limits().max_buffer_size,
            memory: self.0.memory.or_else(|| Some(adapter::system_memory(&self.0.summary)? + self.0.uploaded_bytes())),
        }
    }

    /// How often each shader has been dispatched so far, by its name.
    pub fn dispatches(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.0.dispatches).clone()
    }

    /// The bytes that the device's allocator has given to buffers, once everything submitted is done; none where the driver
    /// allocates (Metal).
    pub fn allocated_bytes(&self) -> Option<u64> {
        // What is waiting to be freed is freed by a poll.
        self.0.device.poll(wgpu::PollType::wait_indefinitely()).ok()?;
        Some(self.0.device.generate_allocator_report()?.total_allocated_bytes)
    }

    /// The folder in which text embeddings and pipelines are kept ([`DeviceOptions::cache`]).
    pub fn cache(&self) -> Option<&Path> {
        self.0.cache.as_deref()
    }

    /// Writes pipelines that were compiled since the device was opened to the cache, if it has one and the backend can: on Vulkan
    /// the next device starts from what the driver made of the shaders.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] naming the file that can't be written.
    pub fn save_pipelines(&self) -> Result<()> {
        self.0.pipelines.save()
    }

    /// How often runs have submitted work so far.
    pub fn submissions(&self) -> u64 {
        self.0.submissions.load(Ordering::Relaxed)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }
}

impl Shared {
    /// Runs `build` and turns what the device has to say against it into an error.
    pub(super) fn checked<T>(&self, what: &str, build: impl FnOnce() -> Result<T>) -> Result<T> {
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let result = build();
        let errors = [pollster::block_on(internal.pop()), pollster::block_on(memory.pop())];
        let errors = errors.into_iter().chain([pollster::block_on(validation.pop())]);
        match errors.flatten().next() {
            None => result,
            Some(error @ wgpu::Error::OutOfMemory { .. }) => {
                Err(Error::new(ErrorKind::Limit, format!("{}: out of memory while {what}", self.summary.name))
                    .hint("use a smaller --batch, or leave memory to it by closing other programs")
                    .caused_by(error))
            }
            Some(error) => {
                Err(Error::new(ErrorKind::Device, format!("{}: {what}", self.summary.name)).caused_by(error))
            }
        }
    }

    /// Maps a buffer, waits as `wait` says and hands its bytes to `read`.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] saying `what` failed.
    pub(super) fn read<T>(
        &self,
        what: &str,
        buffer: &wgpu::Buffer,
        wait: wgpu::PollType,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(ErrorKind::Device, format!("{}: {what}", self.summary.name)).caused_by(e)
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver lives until the map has answered.
            let _ = sender.send(result);
        });
        self.device.poll(wait).map_err(|e| failed(e.into()))?;
        receiver.recv().map_err(|e| failed(e.into()))?.map_err(|e| failed(e.into()))?;
        let found = read(&buffer.get_mapped_range(..).map_err(|e| failed(e.into()))?);
        buffer.unmap();
        Ok(found)
    }

    /// Submits a part of a run.
    pub(super) fn submit(&self, commands: wgpu::CommandBuffer) -> wgpu::SubmissionIndex {
        self.submissions.fetch_add(1, Ordering::Relaxed);
        self.queue.submit([commands])
    }

    /// Counts dispatches of shaders.
    pub(super) fn count_dispatches(&self, shaders: impl Iterator<Item = &'static str>) {
        let mut dispatches = lock(&self.dispatches);
        shaders.for_each(|shader| *dispatches.entry(shader).or_default() += 1);
    }

    /// The pipelines of `launches`, the new ones compiled side by side.
    pub(super) fn pipelines(&self, launches: &[&crate::kernels::Launch]) -> Result<Vec<Arc<Pipeline>>> {
        self.pipelines.get(self, launches)
    }

    /// The buffer of a parameter or a block of it, uploaded if it isn't there yet. Those that no layer holds any more are
    /// dropped.
    pub(super) fn upload(&self, stored: Stored<'_>, block: Option<&Block>) -> wgpu::Buffer {
        let parameter = stored.parameter();
        let mut uploads = lock(&self.uploads);
        uploads.retain(|_, upload| (upload.is_alive)());
        let entry = uploads.entry((stored.key(), block.cloned())).or_insert_with(|| {
            let element = stored.operand().element.bytes() as usize;
            let buffer = stored.with_values(|values| {
                let bytes = block.map_or(Cow::Borrowed(values), |block| Cow::Owned(block.cut(values, element)));
                self.filled_buffer(parameter.name(), &bytes)
            });
            Upload { buffer, is_alive: Box::new(parameter.liveness()) }
        });
        entry.buffer.clone()
    }

    /// Forgets all uploads: after a failure some may be empty. Executables keep those that they use.
    pub(super) fn forget_uploads(&self) {
        lock(&self.uploads).clear();
    }

    /// A storage buffer holding `bytes`: written in place where the device lets the host do that, otherwise by way of a copy.
    pub(super) fn filled_buffer(&self, label: &str, bytes: &[u8]) -> wgpu::Buffer {
        let in_place = self.device.features().contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: (bytes.len() as u64).max(16).next_multiple_of(16),
            usage: if in_place { usage | wgpu::BufferUsages::MAP_WRITE } else { usage },
            mapped_at_creation: in_place,
        });
        if in_place {
            // A buffer that couldn't be made has no range; the error scope around tells why.
            if let Ok(mut range) = buffer.get_mapped_range_mut(..bytes.len() as u64) {
                range.copy_from_slice(bytes);
            }
            buffer.unmap();
        } else {
            self.queue.write_buffer(&buffer, 0, bytes);
        }
        buffer
    }

    /// The bytes of all uploaded parameters.
    pub(super) fn uploaded_bytes(&self) -> u64 {
        lock(&self.uploads).values().map(|upload| upload.buffer.size()).sum()
    }
}

/// Locks, also after a panic elsewhere: what is guarded is a cache whose entries are complete or absent.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
