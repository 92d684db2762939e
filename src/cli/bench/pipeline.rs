//! `heatlens bench pipeline`: how much of decoding and of the GPU is left from files to embeddings.

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use heatlens::bench::{PipelineOptions, PipelineRow, pipeline};
use heatlens::dataset::Dataset;
use heatlens::gpu::AdapterSummary;
use heatlens::weights::formula;
use heatlens::{Error, ErrorKind, Result};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;
use serde::Serialize;
use tempfile::TempDir;

use super::listing::Listing;
use super::{Common, NetworkArgs};
use crate::cli::Context;
use crate::cli::output::{Align, Outcome};

/// The size of pictures from the formula, as many cameras of old and many data sets have it.
const HEIGHT: usize = 480;
const WIDTH: usize = 640;
const QUALITY: u8 = 90;

/// Measure the way from files to embeddings, beside decoding alone and the GPU alone
///
/// Three times, in turns and over the same pictures: reading, decoding and resizing them with nothing run; running the same batches
/// from memory; and both, by the code that embed and build use, which decodes the next batches while one runs. "of slower" is the
/// rate of both over the smaller of the two others: 100 % where the faster hides behind the slower.
///
/// A software adapter computes on the processors that decode, so that nothing can hide and "of slower" stays below 100 % by what decoding takes. There
/// "of serial" is what to read: the time of decoding plus that of the GPU, over the time of both; 100 % where they take as long
/// together as one after the other.
///
/// The network has weights from a formula. The batches are kept in memory (size² · 3 bytes a picture).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens bench pipeline
  heatlens bench pipeline --images photos/ --arch vit-b-32 --batch 32 --json")]
pub(super) struct Args {
    /// A folder of pictures [default: JPEG files of 640×480 pixels from a formula, in a temporary folder]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// How many pictures from the formula
    #[arg(long, value_name = "N", default_value = "64", conflicts_with = "images")]
    count: NonZeroUsize,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    common: Common,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Findings<'a> {
    adapter: &'a AdapterSummary,
    rows: &'a [PipelineRow],
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let format = args.common.format(context)?;
    let &NetworkArgs { arch, size } = &args.network;
    arch.check_size(size)?;
    let device = context.device()?;
    let made = args.images.is_none().then(|| made_pictures(args.count.get())).transpose()?;
    let folders: Vec<PathBuf> =
        args.images.iter().cloned().chain(made.iter().map(|made| made.path().to_owned())).collect();
    let images = Dataset::from_paths(&folders, &mut io::empty())?;
    let options = PipelineOptions {
        architecture: arch,
        size,
        batch: context.global.batch(),
        repetitions: args.common.repetitions(),
    };
    let rows = [pipeline(device, &images, &options, &context.progress)?];
    let cells = |row: &PipelineRow| {
        let rate = |rate: f64, ms: f64, spread: f64| format!("{rate:.1} ± {:.1}", rate * spread / ms);
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        [
            format!("{} {}×{}", row.arch, row.size, row.size),
            row.images.to_string(),
            row.batch.to_string(),
            rate(row.decode_images_per_second, row.decode_ms, row.decode_spread_ms),
            rate(row.gpu_images_per_second, row.gpu_ms, row.gpu_spread_ms),
            rate(row.together_images_per_second, row.together_ms, row.together_spread_ms),
            percent(row.share_of_slower),
            row.share_of_serial.map_or_else(String::new, percent),
        ]
    };
    let listing = Listing {
        adapter: device.summary(),
        notes: vec![format!("images/s, {} threads decode; {} repetitions", rows[0].threads, rows[0].repetitions)],
        header: [
            ("network", Align::Left),
            ("images", Align::Right),
            ("batch", Align::Right),
            ("decode", Align::Right),
            ("GPU", Align::Right),
            ("together", Align::Right),
            ("of slower", Align::Right),
            ("of serial", Align::Right),
        ],
        cells: rows.iter().map(cells).collect(),
        whole: Findings { adapter: device.summary(), rows: &rows },
        rows: &rows,
    };
    listing.print(format, context)?;
    Ok(Outcome::Done)
}

/// A temporary folder with `count` pictures from the formula.
fn made_pictures(count: usize) -> Result<TempDir> {
    let folder = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
    (0..count).into_par_iter().try_for_each(|number| {
        let path = folder.path().join(format!("{number:06}.jpg"));
        let pixels = formula::picture(&format!("bench/{number}"), HEIGHT, WIDTH);
        let mut file = Vec::new();
        JpegEncoder::new_with_quality(&mut file, QUALITY)
            .encode(&pixels, WIDTH as u32, HEIGHT as u32, ExtendedColorType::Rgb8)
            .map_err(|e| Error::new(ErrorKind::Image, format!("{}: can't be made", path.display())).caused_by(e))?;
        std::fs::write(&path, file).map_err(|e| Error::io(&path, e))
    })?;
    Ok(folder)
}
