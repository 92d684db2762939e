//! How long a plan's dispatches take, without uploads and readbacks.

use std::time::Instant;

use serde::Serialize;

use super::device::lock;
use super::executable::Executable;
use crate::error::{Error, ErrorKind, Result};

/// What a time was taken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The adapter's timestamps at the beginning and end of the compute pass.
    Gpu,
    /// The host's clock around submission and completion, for adapters without timestamps.
    Wall,
}

impl super::Device {
    /// The best clock that the adapter offers.
    pub fn clock(&self) -> Clock {
        match self.shared().device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            true => Clock::Gpu,
            false => Clock::Wall,
        }
    }
}

impl Executable {
    /// Runs every dispatch `repeats` times in one compute pass, on the inputs of the last [`run`](Self::run), and gives
    /// the seconds of one time by `clock`.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if the device fails, or has timestamps that don't advance.
    ///
    /// # Panics
    /// If `clock` is the GPU's on a device without timestamps.
    pub fn time(&self, repeats: usize, clock: Clock) -> Result<f64> {
        let _one_at_a_time = lock(&self.running);
        let shared = self.device.shared();
        shared.checked("timing a plan", || {
            let queries = (clock == Clock::Gpu).then(|| Queries::new(&shared.device));
            let descriptor = wgpu::CommandEncoderDescriptor { label: Some("timed plan") };
            let mut encoder = shared.device.create_command_encoder(&descriptor);
            self.clear_accumulators(&mut encoder);
            {
                let timestamp_writes = queries.as_ref().map(Queries::writes);
                let descriptor = wgpu::ComputePassDescriptor { label: Some("timed plan"), timestamp_writes };
                let mut pass = encoder.begin_compute_pass(&descriptor);
                (0..repeats).for_each(|_| Self::encode(&mut pass, &self.steps));
            }
            if let Some(queries) = &queries {
                queries.resolve(&mut encoder);
            }
            let commands = encoder.finish();
            let start = Instant::now();
            shared.queue.submit([commands]);
            self.wait()?;
            let wall = start.elapsed().as_secs_f64();
            (0..repeats).for_each(|_| self.count());
            let seconds = match &queries {
                None => wall,
                Some(queries) => {
                    let wait = wgpu::PollType::wait_indefinitely();
                    let words: Vec<u64> = shared.read(
                        "reading timestamps back",
                        &queries.readback,
                        wait,
                        bytemuck::pod_collect_to_vec,
                    )?;
                    let (begin, end) = (words[0], words[1]);
                    if end <= begin {
                        let name = &self.device.summary().name;
                        let message = format!("{name}: its timestamps don't advance ({begin} to {end})");
                        return Err(Error::new(ErrorKind::Device, message).hint("use --clock wall"));
                    }
                    (end - begin) as f64 * f64::from(shared.queue.get_timestamp_period()) * 1e-9
                }
            };
            Ok(seconds / repeats as f64)
        })
    }

    /// Waits for everything that was submitted.
    fn wait(&self) -> Result<()> {
        let polled = self.device.shared().device.poll(wgpu::PollType::wait_indefinitely());
        polled.map(|_| ()).map_err(|e| {
            Error::new(ErrorKind::Device, format!("{}: waiting for results", self.device.summary().name)).caused_by(e)
        })
    }
}

/// Where the timestamps of a pass go.
struct Queries {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: wgpu::Buffer,
}

/// Bytes of two timestamps.
const BYTES: u64 = 16;

impl Queries {
    fn new(device: &wgpu::Device) -> Self {
        let buffer = |usage| {
            let label = Some("timestamps");
            device.create_buffer(&wgpu::BufferDescriptor { label, size: BYTES, usage, mapped_at_creation: false })
        };
        Self {
            set: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            readback: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
        }
    }

    fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readback, 0, BYTES);
    }
}
