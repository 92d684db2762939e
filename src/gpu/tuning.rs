//! From how many workgroups on the GEMM takes its larger tile on hardware: a table by kind of adapter, or measured once and kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::adapter::AdapterSummary;
use super::device::Device;
use super::executable::Executable;
use crate::error::{Error, Result};
use crate::files::{create_parent, write_atomic};
use crate::kernels::{Gemm, Kernel, Profile, Target, Variant};
use crate::plan::Plan;

/// How a device chooses tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tuning {
    /// Workgroups that one image must make with the larger tile for a layer to take it.
    pub least_workgroups: usize,
    /// Where the number comes from.
    pub origin: TuningOrigin,
}

/// Where a device's choice of tiles comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TuningOrigin {
    /// The table by kind of adapter.
    Table,
    /// A measurement when the device was opened.
    Measured,
    /// A measurement of an earlier run, from the cache.
    Kept,
}

impl TuningOrigin {
    /// Its name in listings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "by table",
            Self::Measured => "measured now",
            Self::Kept => "measured earlier",
        }
    }
}

/// What a measurement leaves for later runs.
#[derive(Serialize, Deserialize)]
struct Kept {
    adapter: String,
    least_workgroups: usize,
}

/// Workgroups of the larger tile at which the tiles are compared.
const COMPARED: [usize; 6] = [4, 8, 16, 32, 64, 128];

/// Rows and output channels of the larger tile.
const TILE: usize = 64;

/// Output channels and inner dimension of the products that are compared: a late layer's.
const OUTPUTS: usize = 256;
const INPUTS: usize = 512;

/// Measurements of a tile, of which the fastest counts.
const MEASUREMENTS: usize = 5;

/// What a measurement lasts at least, in seconds: shorter ones say more of the clock.
const LEAST_SECONDS: f64 = 3e-4;

/// After this no further size is compared.
const PATIENCE: Duration = Duration::from_millis(500);

impl Tuning {
    /// The table: larger tiles from about as many workgroups on as adapters of the kind have cores, of which most integrated ones have
    /// a dozen.
    pub(super) fn of_kind(summary: &AdapterSummary) -> Self {
        let least_workgroups = if summary.kind == "integrated" { 12 } else { Target::LEAST_WORKGROUPS };
        Self { least_workgroups, origin: TuningOrigin::Table }
    }

    /// What an earlier run measured on the adapter, or a measurement now, which is kept in `folder`. Where every size that there was time
    /// for is faster in small tiles, twice the largest is taken.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) if the device fails, [`ErrorKind::Io`](crate::ErrorKind::Io) naming the
    /// file that can't be written.
    pub(super) fn kept_or_measured(device: &Device, folder: &Path) -> Result<Self> {
        let file = file(device.summary(), folder);
        // A file that holds something else is made anew.
        let kept = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        if let Some(Kept { least_workgroups, .. }) = kept {
            return Ok(Self { least_workgroups, origin: TuningOrigin::Kept });
        }
        let least_workgroups = measure(device)?;
        create_parent(&file)?;
        write_atomic(&file, |out| {
            let kept = Kept { adapter: device.summary().to_string(), least_workgroups };
            serde_json::to_writer_pretty(out, &kept).map_err(|e| Error::io(&file, e.into()))
        })?;
        Ok(Self { least_workgroups, origin: TuningOrigin::Measured })
    }
}

/// The file of an adapter with its driver, for these shaders.
fn file(summary: &AdapterSummary, folder: &Path) -> PathBuf {
    let mut hasher = Sha256::new();
    for variant in tiles(&Gemm::product(1, 1, 1)) {
        hasher.update(variant.launch.shader.source);
    }
    let AdapterSummary { name, backend, driver, driver_info, .. } = summary;
    for part in [name, backend, driver, driver_info] {
        hasher.update(part);
        hasher.update([0]);
    }
    let hash: String = hasher.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("tiles-{hash}.json"))
}

/// The tiles of the hardware profile, the larger first.
fn tiles(kernel: &dyn Kernel) -> [Variant; 2] {
    let mut tiles = kernel.variants();
    tiles.retain(|variant| variant.profiles.contains(&Profile::Hardware));
    tiles.try_into().expect("the hardware profile has two tiles")
}

/// The least of [`COMPARED`] from which on the larger tile is as fast as the smaller one.
fn measure(device: &Device) -> Result<usize> {
    let start = Instant::now();
    let mut least = None;
    let mut last = COMPARED[0];
    for workgroups in COMPARED {
        if start.elapsed() > PATIENCE {
            break;
        }
        last = workgroups;
        let [large, small] = fastest(device, workgroups)?;
        if large > small {
            least = None;
        } else if least.is_none() {
            least = Some(workgroups);
        }
    }
    Ok(least.unwrap_or(2 * last))
}

/// The rows of a product that makes so many workgroups of the larger tile.
fn rows(workgroups: usize) -> usize {
    TILE * workgroups.div_ceil(OUTPUTS / TILE)
}

/// The least seconds that a product takes which makes so many workgroups of the larger tile, in that tile and in the smaller one.
fn fastest(device: &Device, workgroups: usize) -> Result<[f64; 2]> {
    let kernel = Arc::new(Gemm::product(rows(workgroups), INPUTS, OUTPUTS));
    let compiled = |variant: &Variant| device.compile(&Plan::of_kernel(Arc::new(variant.of(kernel.clone()))));
    let tiles = tiles(&*kernel);
    let tiles = [compiled(&tiles[0])?, compiled(&tiles[1])?];
    let clock = device.clock();
    // The first run of each isn't counted, and says how many it takes for the clock.
    let repeats = |executable: &Executable| {
        let seconds = executable.time(1, clock)?;
        Ok((LEAST_SECONDS / seconds.max(1e-6)).ceil() as usize)
    };
    let repeats = [repeats(&tiles[0])?, repeats(&tiles[1])?];
    let mut fastest = [f64::INFINITY; 2];
    for _ in 0..MEASUREMENTS {
        for ((executable, repeats), fastest) in tiles.iter().zip(repeats).zip(&mut fastest) {
            *fastest = fastest.min(executable.time(repeats, clock)?);
        }
    }
    Ok(fastest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_are_compared_make_the_workgroups_they_say() {
        for workgroups in COMPARED {
            let [large, small] = tiles(&Gemm::product(rows(workgroups), INPUTS, OUTPUTS));
            let groups = |tile: &Variant| tile.launch.grid.iter().product::<u32>() as usize;
            assert_eq!([groups(&large), groups(&small)], [workgroups, 4 * workgroups]);
        }
    }
}
