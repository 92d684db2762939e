//! Compiled plans: everything a run needs is made beforehand, and a run only encodes.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use half::f16;

use super::device::{Device, lock};
use super::outputs::Outputs;
use super::pipeline::Pipeline;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{Block, Element, Launch};
use crate::plan::{Dispatch, Memory, Plan, Source, Stored, Value, Var};

/// Operations after which a run on hardware is cut into another submission, so that no operating system's watchdog
/// takes it for a hang: a fifth of a second at 500 GFLOP/s.
pub(crate) const FLOPS_PER_SUBMISSION: u64 = 100_000_000_000;

/// Values for an input of a plan.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Rows of f32, without padding.
    F32(&'a [f32]),
    /// Floats of 16 bits, as they lie in memory.
    F16(&'a [f16]),
    /// Unsigned integers.
    U32(&'a [u32]),
    /// Bytes (pixels).
    Bytes(&'a [u8]),
}

/// A plan compiled for a device. Runs are serialised; it is `Send` and `Sync`.
pub struct Executable {
    pub(super) device: Device,
    pub(super) steps: Vec<Step>,
    inputs: Vec<(String, Value, wgpu::Buffer)>,
    outputs: Vec<(String, Value, wgpu::Buffer)>,
    /// Buffers that start each run at zero.
    accumulators: Vec<wgpu::Buffer>,
    /// Every buffer that dispatches write.
    values: Vec<wgpu::Buffer>,
    /// Buffers that results are read back through, those that no run holds: one for each run in flight.
    readbacks: Mutex<Vec<wgpu::Buffer>>,
    /// Buffers that inputs are uploaded through, mapped: those that no run holds.
    stagings: Mutex<Vec<wgpu::Buffer>>,
    readback_bytes: u64,
    staging_bytes: u64,
    bytes: u64,
    pub(super) running: Mutex<()>,
}

/// One launch of a dispatch, with a block of a parameter in the place of that operand if all of it can't be bound.
struct Part<'a> {
    dispatch: &'a Dispatch,
    launch: Launch,
    flops: u64,
    block: Option<(usize, Block)>,
}

pub(super) struct Step {
    shader: &'static str,
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    grid: [u32; 3],
    flops: u64,
}

impl std::fmt::Debug for Executable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executable").field("dispatches", &self.steps.len()).field("bytes", &self.bytes).finish()
    }
}

impl Device {
    /// Makes a plan runnable: compiles its pipelines, uploads its parameters and makes its buffers. Parameters that are
    /// larger than the adapter can bind are cut, where their kernels take parts, and take a dispatch each.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if the plan passes a limit of the adapter ([`Plan::check`]) or the device is out of memory;
    /// [`ErrorKind::Device`] if a shader doesn't compile, or if weights are for cooperative matrices and the device wasn't opened with them.
    pub fn compile(&self, plan: &Plan) -> Result<Executable> {
        let plan = &plan.lowered(self.target());
        self.check_matrices(plan)?;
        let limits = self.limits();
        plan.check(&limits).map_err(|e| {
            e.at(&self.summary().name).hint("use a smaller --batch, or an adapter with larger limits (heatlens doctor)")
        })?;
        let shared = self.shared();
        let (parts, pipelines) = self.parts_of(plan)?;
        let Memory { parameters, values, staging, readback } = plan.memory();
        let transfers = staging + readback;
        let what = format!(
            "making a plan's buffers, {parameters} bytes of weights, {values} of values and {transfers} of transfers"
        );
        let made = shared.checked(&what, || Ok(self.assemble(plan, &parts, pipelines)));
        if made.is_err() {
            shared.forget_uploads();
        }
        made
    }

    /// Compiles a plan's pipelines alone. On software Vulkan machine code is then made while the caller goes on, with reading a model for
    /// instance.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if a shader doesn't compile.
    pub fn prepare(&self, plan: &Plan) -> Result<()> {
        self.parts_of(&plan.lowered(self.target())).map(drop)
    }

    /// Every launch of a lowered plan, and its pipeline.
    fn parts_of<'a>(&self, plan: &'a Plan) -> Result<(Vec<Part<'a>>, Vec<Arc<Pipeline>>)> {
        let parts: Vec<Part<'_>> = plan.dispatches().iter().flat_map(|dispatch| self.parts(dispatch)).collect();
        let pipelines = self.shared().pipelines(&parts.iter().map(|part| &part.launch).collect::<Vec<_>>())?;
        Ok((parts, pipelines))
    }

    /// A dispatch as it is, or with a parameter that is too large in blocks.
    fn parts<'a>(&self, dispatch: &'a Dispatch) -> Vec<Part<'a>> {
        let (shared, flops) = (self.shared(), dispatch.kernel.flops());
        let blocks = dispatch.reads.iter().enumerate().find_map(|(operand, source)| {
            let is_too_large = source.stored()?.bytes() > shared.binding;
            let blocks = || dispatch.kernel.split(shared.profile, operand, shared.binding);
            is_too_large.then(blocks)?.map(|blocks| (operand, blocks))
        });
        match blocks {
            None => vec![Part { dispatch, launch: dispatch.kernel.launch(shared.profile), flops, block: None }],
            Some((operand, blocks)) => {
                let flops = flops / blocks.len() as u64;
                let part = |(block, launch)| Part { dispatch, launch, flops, block: Some((operand, block)) };
                blocks.into_iter().map(part).collect()
            }
        }
    }

    fn assemble(&self, plan: &Plan, parts: &[Part<'_>], pipelines: Vec<Arc<Pipeline>>) -> Executable {
        let shared = self.shared();
        let slots = plan.slots();
        let buffers: Vec<wgpu::Buffer> = slots.bytes.iter().map(|&bytes| self.slot_buffer(bytes)).collect();
        let (uniforms, offsets) = self.uniforms(parts.iter().map(|part| &part.launch));
        let bind = |(part, (pipeline, (offset, size))): (&Part<'_>, (Arc<Pipeline>, (u64, u64)))| {
            let Part { dispatch, launch, flops, block } = part;
            let upload = |operand: usize, stored: Stored<'_>| {
                let block = block.as_ref().filter(|(cut, _)| *cut == operand).map(|(_, block)| block);
                shared.upload(stored, block)
            };
            let buffer = |(operand, source): (usize, &Source)| match source {
                Source::Var(var) => buffers[slots.slot_of[var.0]].clone(),
                Source::Parameter(parameter) => upload(operand, Stored::packed(parameter)),
                Source::Winograd(parameter) => upload(operand, Stored::in_winograd_basis(parameter)),
                Source::Constant(words) => shared.filled_buffer("constants", bytemuck::cast_slice(words)),
            };
            let sources: Vec<wgpu::Buffer> = dispatch
                .reads
                .iter()
                .enumerate()
                .map(buffer)
                .chain([buffers[slots.slot_of[dispatch.output.0]].clone()])
                .collect();
            let params = wgpu::BufferBinding { buffer: &uniforms, offset, size: wgpu::BufferSize::new(size) };
            let resources = std::iter::once(wgpu::BindingResource::Buffer(params))
                .chain(sources.iter().map(wgpu::Buffer::as_entire_binding));
            let entries: Vec<wgpu::BindGroupEntry<'_>> =
                (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
            let bind_group = shared.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(launch.shader.label),
                layout: &pipeline.layout,
                entries: &entries,
            });
            Step { shader: launch.shader.label, pipeline, bind_group, grid: launch.grid, flops: *flops }
        };
        let steps = parts.iter().zip(pipelines.into_iter().zip(offsets)).map(bind).collect();
        let named = |list: &[(String, Var)]| {
            let entry = |(name, var): &(String, Var)| {
                (name.clone(), plan.value(*var).clone(), buffers[slots.slot_of[var.0]].clone())
            };
            list.iter().map(entry).collect::<Vec<_>>()
        };
        let outputs = named(plan.outputs());
        let accumulating = plan.dispatches().iter().filter(|dispatch| dispatch.kernel.accumulates());
        let accumulators = accumulating.map(|d| buffers[slots.slot_of[d.output.0]].clone()).collect();
        let readback_bytes = outputs.iter().map(|(_, value, _)| 4 * value.len as u64).sum::<u64>().max(4);
        let readback = self.readback_buffer(readback_bytes);
        let inputs = named(plan.inputs());
        let staging_bytes = inputs.iter().map(|(_, value, _)| value.bytes()).sum::<u64>().max(4);
        let staging = self.staging_buffer(staging_bytes);
        Executable {
            device: self.clone(),
            steps,
            inputs,
            outputs,
            accumulators,
            values: buffers,
            bytes: slots.total_bytes() + staging.size() + readback.size() + uniforms.size() + shared.uploaded_bytes(),
            readbacks: Mutex::new(vec![readback]),
            readback_bytes,
            stagings: Mutex::new(vec![staging]),
            staging_bytes,
            running: Mutex::default(),
        }
    }

    fn readback_buffer(&self, size: u64) -> wgpu::Buffer {
        self.shared().device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// A buffer that the host writes to, mapped.
    fn staging_buffer(&self, size: u64) -> wgpu::Buffer {
        self.shared().device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size,
            usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        })
    }

    fn slot_buffer(&self, bytes: u64) -> wgpu::Buffer {
        self.shared().device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("values"),
            size: bytes.max(16).next_multiple_of(16),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// One buffer with every launch's parameters, and where each lies.
    fn uniforms<'a>(&self, launches: impl ExactSizeIterator<Item = &'a Launch>) -> (wgpu::Buffer, Vec<(u64, u64)>) {
        let alignment = self.shared().device.limits().min_uniform_buffer_offset_alignment as usize;
        let mut bytes = Vec::new();
        let mut places = Vec::with_capacity(launches.len());
        for launch in launches {
            bytes.resize(bytes.len().next_multiple_of(alignment), 0);
            places.push((bytes.len() as u64, launch.params.len() as u64));
            bytes.extend_from_slice(&launch.params);
        }
        (self.shared().filled_buffer("parameters", &bytes), places)
    }
}

impl Executable {
    /// The bytes on the GPU: values, parameters, uniforms, and the staged inputs and the readback of one run.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of dispatches of a run.
    pub fn dispatches(&self) -> usize {
        self.steps.len()
    }

    /// Fills every value but the inputs with NaN (all bits set), so that what a kernel doesn't write shows in the result.
    pub fn poison(&self) {
        let _one_at_a_time = lock(&self.running);
        let queue = &self.device.shared().queue;
        for buffer in &self.values {
            queue.write_buffer(buffer, 0, &vec![0xff; buffer.size() as usize]);
        }
    }

    /// Uploads the inputs, runs every dispatch in one submission (several where their work might try a watchdog's patience), and
    /// reads the outputs back.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if the inputs aren't the plan's, by name, type and length; [`ErrorKind::Device`] if the
    /// device fails.
    pub fn run(&self, inputs: &[(&str, Input<'_>)]) -> Result<Outputs> {
        self.start(inputs)?.wait()
    }

    /// As [`run`](Self::run), without waiting: the next run can be uploaded and submitted while this one computes. A run in flight
    /// holds a buffer for its outputs; runs are done in the order in which they are started.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn start(&self, inputs: &[(&str, Input<'_>)]) -> Result<Run<'_>> {
        let _one_at_a_time = lock(&self.running);
        self.device.shared().checked("running a plan", || {
            let staging = self.stage(inputs)?;
            let spare = lock(&self.readbacks).pop();
            let readback = spare.unwrap_or_else(|| self.device.readback_buffer(self.readback_bytes));
            let submission = self.submit(&staging, &readback);
            Ok(Run { executable: self, staging, readback, submission })
        })
    }

    /// Uploads the inputs without running anything.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn load(&self, inputs: &[(&str, Input<'_>)]) -> Result<()> {
        let _one_at_a_time = lock(&self.running);
        let shared = self.device.shared();
        shared.checked("uploading a plan's inputs", || {
            let descriptor = wgpu::CommandEncoderDescriptor { label: Some("inputs") };
            let mut encoder = shared.device.create_command_encoder(&descriptor);
            let staging = self.stage(inputs)?;
            self.upload(&mut encoder, &staging);
            shared.queue.submit([encoder.finish()]);
            Ok(())
        })
    }

    /// Copies the inputs into a buffer of their own, which the device reads from then on.
    fn stage(&self, inputs: &[(&str, Input<'_>)]) -> Result<wgpu::Buffer> {
        let given: Vec<Cow<'_, [u8]>> =
            self.inputs.iter().map(|(name, value, _)| bytes_of(name, value, inputs)).collect::<Result<_>>()?;
        let spare = lock(&self.stagings).pop();
        let staging = spare.unwrap_or_else(|| self.device.staging_buffer(self.staging_bytes));
        // A buffer that couldn't be made has no range; the error scope around tells why.
        if let Ok(mut range) = staging.get_mapped_range_mut(..) {
            let mut offset = 0;
            for ((_, value, _), bytes) in self.inputs.iter().zip(given) {
                range.slice(offset..offset + bytes.len()).copy_from_slice(&bytes);
                let end = offset + value.bytes() as usize;
                range.slice(offset + bytes.len()..end).fill(0);
                offset = end;
            }
        }
        staging.unmap();
        Ok(staging)
    }

    /// Fills the inputs from what was staged.
    fn upload(&self, encoder: &mut wgpu::CommandEncoder, staging: &wgpu::Buffer) {
        let mut offset = 0;
        for (_, value, buffer) in &self.inputs {
            encoder.copy_buffer_to_buffer(staging, offset, buffer, 0, value.bytes());
            offset += value.bytes();
        }
    }

    fn submit(&self, staging: &wgpu::Buffer, readback: &wgpu::Buffer) -> wgpu::SubmissionIndex {
        let shared = self.device.shared();
        let encoder = || shared.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("plan") });
        let mut current = encoder();
        self.upload(&mut current, staging);
        self.clear_accumulators(&mut current);
        for (number, steps) in self.submissions().into_iter().enumerate() {
            if number > 0 {
                shared.submit(std::mem::replace(&mut current, encoder()).finish());
            }
            let mut pass = current.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            Self::encode(&mut pass, steps);
        }
        let mut offset = 0;
        for (_, value, buffer) in &self.outputs {
            let bytes = 4 * value.len as u64;
            current.copy_buffer_to_buffer(buffer, 0, readback, offset, bytes);
            offset += bytes;
        }
        self.count();
        shared.submit(current.finish())
    }

    pub(super) fn clear_accumulators(&self, encoder: &mut wgpu::CommandEncoder) {
        self.accumulators.iter().for_each(|buffer| encoder.clear_buffer(buffer, 0, None));
    }

    pub(super) fn encode(pass: &mut wgpu::ComputePass<'_>, steps: &[Step]) {
        for step in steps {
            let [x, y, z] = step.grid;
            pass.set_pipeline(&step.pipeline.pipeline);
            pass.set_bind_group(0, &step.bind_group, &[]);
            pass.dispatch_workgroups(x, y, z);
        }
    }

    /// Counts every dispatch once.
    pub(super) fn count(&self) {
        self.device.shared().count_dispatches(self.steps.iter().map(|step| step.shader));
    }

    /// The steps, cut where a watchdog might become impatient.
    fn submissions(&self) -> Vec<&[Step]> {
        if self.device.profile().is_software() {
            return vec![&self.steps];
        }
        let mut spent = 0;
        let same_submission = |_: &Step, next: &Step| {
            spent += next.flops;
            let fits = spent <= FLOPS_PER_SUBMISSION;
            if !fits {
                spent = next.flops;
            }
            fits
        };
        self.steps.chunk_by(same_submission).collect()
    }
}

/// A run that was submitted.
#[derive(Debug)]
pub struct Run<'a> {
    executable: &'a Executable,
    staging: wgpu::Buffer,
    readback: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
}

impl Run<'_> {
    /// Waits for the run's outputs.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if the device fails.
    pub fn wait(self) -> Result<Outputs> {
        const WHAT: &str = "reading results back";
        let Self { executable, staging, readback, submission } = self;
        let shared = executable.device.shared();
        // Ready to be filled again once the run is done, which reading the results back waits for.
        let (sender, is_mapped) = std::sync::mpsc::channel();
        staging.map_async(wgpu::MapMode::Write, .., move |mapped| {
            // The receiver lives until the run is done.
            let _ = sender.send(mapped.is_ok());
        });
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
        let outputs = shared.checked(WHAT, || {
            shared.read(WHAT, &readback, wait, |bytes| {
                let mut offset = 0;
                let output = |(name, value, _): &(String, Value, wgpu::Buffer)| {
                    let words = bytemuck::pod_collect_to_vec(&bytes[offset..offset + 4 * value.len]);
                    offset += 4 * value.len;
                    (name.clone(), value.clone(), words)
                };
                Outputs { named: executable.outputs.iter().map(output).collect() }
            })
        })?;
        lock(&executable.readbacks).push(readback);
        if is_mapped.try_recv() == Ok(true) {
            lock(&executable.stagings).push(staging);
        }
        Ok(outputs)
    }
}

/// The bytes of an input among those that are given, rows padded.
///
/// # Errors
/// [`ErrorKind::Usage`] if it isn't given, or isn't what the plan takes.
fn bytes_of<'a>(name: &str, value: &Value, inputs: &[(&str, Input<'a>)]) -> Result<Cow<'a, [u8]>> {
    let Some((_, input)) = inputs.iter().find(|(given, _)| *given == name) else {
        return Err(Error::new(ErrorKind::Usage, format!("the input `{name}` wasn't given")));
    };
    let channels = value.shape.channels;
    let expected = value.shape.rows() * channels;
    let (bytes, given): (Cow<'a, [u8]>, usize) = match (*input, value.element) {
        (Input::F32(values), Element::F32) if !value.padded || channels.is_multiple_of(4) => {
            (bytemuck::cast_slice(values).into(), values.len())
        }
        (Input::F32(values), Element::F32) => {
            (bytemuck::pod_collect_to_vec(&crate::layers::padded_rows(values, channels)).into(), values.len())
        }
        (Input::F16(values), Element::F16) => (bytemuck::cast_slice(values).into(), values.len()),
        (Input::U32(values), Element::U32) => (bytemuck::cast_slice(values).into(), values.len()),
        (Input::Bytes(bytes), Element::U32) => (bytes.into(), bytes.len().div_ceil(4)),
        (_, element) => {
            return Err(Error::new(ErrorKind::Usage, format!("the input `{name}` takes {element:?} values")));
        }
    };
    if given != expected {
        let message = format!("the input `{name}` takes {expected} values ({:?}), not {given}", value.shape);
        return Err(Error::new(ErrorKind::Usage, message));
    }
    Ok(bytes)
}
