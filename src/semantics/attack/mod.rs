//! Attacks that only ask the classifier: pictures within ε of the original, in every channel of every pixel, that it misreads.
//!
//! What is attacked are the 8-bit pixels of the original picture, whatever its size. Each query goes through the model's own
//! preprocessing, so a result written as PNG is read back as what was measured, and is within ε of the original exactly.

mod record;
mod search;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use record::Record;
pub(crate) use record::originals;
use search::Search;

use super::align::tell;
use super::check_finite;
use super::forward::{Pass, RunOptions, compile_fitting, run_images};
use super::manifest::preprocess_hash;
use super::statistics::Estimate;
use crate::dataset::{ContentHash, Dataset, Sample};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{create_parent, write_atomic};
use crate::gpu::{Device, Input};
use crate::image::{DecodeOptions, Rgb8, decode_bytes};
use crate::models::Classifier;
use crate::plan::Plan;
use crate::progress::{Observer, step};

/// How a picture is searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttackMethod {
    /// Square Attack for the L∞ norm: squares of shrinking size are moved up or down by ε and kept if they help (M. Andriushchenko,
    /// F. Croce, N. Flammarion and M. Hein, ECCV 2020).
    Square,
    /// Uniform noise within ε, anew in each query: the baseline.
    Noise,
}

impl FromStr for AttackMethod {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "square" => Ok(Self::Square),
            "noise" => Ok(Self::Noise),
            _ => Err(Error::new(ErrorKind::Usage, format!("'{text}' isn't a method, expected square or noise"))),
        }
    }
}

/// How pictures are attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackOptions {
    /// The search.
    pub method: AttackMethod,
    /// ε in levels of 0 … 255.
    pub levels: u8,
    /// Queries an image at most.
    pub queries: u64,
    /// The seed of the random numbers.
    pub seed: u64,
}

/// What became of the attack on one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackedImage {
    /// The original's path.
    pub path: String,
    /// The SHA-256 of the original's file.
    pub sha256: ContentHash,
    /// The file that was written, in the folder of the class.
    pub file: PathBuf,
    /// Whether it is misread.
    pub success: bool,
    /// How often the classifier was asked.
    pub queries: u64,
}

/// The share of attacks that had succeeded by a number of queries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SuccessByQueries {
    /// Queries an image.
    pub queries: u64,
    /// The share, with Wilson's interval.
    pub success: Estimate,
}

/// What became of an attack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttackReport {
    /// How it was made.
    #[serde(flatten)]
    pub options: AttackOptions,
    /// Images that the classifier was shown.
    pub images: u64,
    /// Those it misreads without being attacked; they aren't attacked.
    pub misclassified: u64,
    /// The share it reads correctly, with Wilson's interval.
    pub accuracy: Option<Estimate>,
    /// The share it reads correctly after the attack.
    pub robust_accuracy: Option<Estimate>,
    /// The share of correctly classified images whose attack succeeded.
    pub success: Option<Estimate>,
    /// That share by the number of queries.
    pub by_queries: Vec<SuccessByQueries>,
    /// The median number of queries of those that succeeded.
    pub median_queries: Option<u64>,
    /// Each attacked image.
    pub attacked: Vec<AttackedImage>,
    /// Images left out, and why.
    pub skipped: Vec<(String, String)>,
}

/// Attacks the images that the classifier reads correctly, and writes each, misread or not, as PNG into the folder of its class
/// under `out`. Beside that folder, `out.jsonl` keeps what became of each: an attack that was cut off goes on from there.
///
/// An image's result depends on its content, the classifier and the options alone, not on the batch or on what else is attacked.
///
/// # Errors
/// [`ErrorKind::Usage`] if `out` holds another attack or something else; [`ErrorKind::Data`] for two images of one name in one
/// class; those of reading, running and writing.
pub fn attack(
    device: &Device,
    classifier: &Classifier,
    images: &Dataset,
    options: AttackOptions,
    run: &RunOptions,
    observer: &dyn Observer,
    out: &Path,
) -> Result<AttackReport> {
    let files = files(images)?;
    let model = (classifier.sha256(), preprocess_hash(classifier.preprocess())?, classifier.precision());
    let key = (options, model, run.exif);
    let mut record = Record::open(out, &key)?;
    let pass = Pass {
        stage: "classifying",
        preprocess: &[classifier.preprocess()],
        record: &|plan, pixels| {
            let logits = classifier.record(plan, pixels[0]).logits;
            let prediction = plan.argmax(logits);
            plan.output("prediction", prediction);
        },
        thumbnails: false,
        journal: None,
    };
    let mut clean = run_images(device, &pass, &images.samples, run, observer)?;
    tell(&clean, observer);
    if clean.indices.is_empty() {
        return Err(Error::new(ErrorKind::Data, "none of the images decodes"));
    }
    let predictions = clean.take_integers("prediction");
    let is_right = |row: &usize| images.samples[clean.indices[*row]].label == Some(predictions[*row] as usize);
    let targets: Vec<Target<'_>> = (0..predictions.len())
        .filter(is_right)
        .map(|row| {
            let index = clean.indices[row];
            Target { sample: &images.samples[index], hash: clean.hashes[row], file: &files[index] }
        })
        .collect();
    let left: Vec<&Target<'_>> = targets.iter().filter(|target| !record.holds(target.file, target.hash, out)).collect();
    let done = targets.len() - left.len();
    let result = search_all(device, classifier, &left, options, run, out, &mut |finished, total| {
        if let Some(image) = finished {
            record.keep(image)?;
        }
        step(observer, "attacking", done + total, targets.len())
    });
    result.map_err(|e| match e.kind() {
        ErrorKind::Cancelled => e.hint("the same attack goes on from here"),
        _ => e,
    })?;
    let attacked: Vec<AttackedImage> = targets.iter().filter_map(|target| record.image(target.file)).collect();
    Ok(report(options, predictions.len() as u64, attacked, std::mem::take(&mut clean.skipped)))
}

/// An image to attack.
struct Target<'a> {
    sample: &'a Sample,
    hash: ContentHash,
    file: &'a Path,
}

/// The file of each image under the output: its class and its name.
fn files(images: &Dataset) -> Result<Vec<PathBuf>> {
    let mut seen: HashMap<PathBuf, &str> = HashMap::new();
    let file = |sample: &Sample| {
        let class = &images.classes[sample.label.unwrap_or_default()];
        if Path::new(class).components().count() != 1 || class.starts_with('.') {
            let message = format!("the class '{class}' can't be the name of a folder");
            return Err(Error::new(ErrorKind::Data, message));
        }
        let stem = Path::new(&sample.path).file_stem().unwrap_or_default();
        let mut file = Path::new(class).join(stem).into_os_string();
        file.push(".png");
        Ok(PathBuf::from(file))
    };
    let files = images.samples.iter().map(file).collect::<Result<Vec<_>>>()?;
    for (file, sample) in files.iter().zip(&images.samples) {
        if let Some(before) = seen.insert(file.clone(), &sample.path) {
            let message = format!("{before} and {} would both be written as {}", sample.path, file.display());
            return Err(Error::new(ErrorKind::Data, message).hint("give images of one class different names"));
        }
    }
    Ok(files)
}

/// Attacks `targets`, as many at a time as fit a batch. `tell` is told of each that is finished, and how many are.
fn search_all(
    device: &Device,
    classifier: &Classifier,
    targets: &[&Target<'_>],
    options: AttackOptions,
    run: &RunOptions,
    out: &Path,
    tell: &mut dyn FnMut(Option<AttackedImage>, usize) -> Result<()>,
) -> Result<()> {
    tell(None, 0)?;
    if targets.is_empty() {
        return Ok(());
    }
    let record = |batch| {
        let mut plan = Plan::new(batch);
        let pixels = plan.input_pixels("pixels", classifier.preprocess().height, classifier.preprocess().width);
        let logits = classifier.record(&mut plan, pixels).logits;
        plan.output("logits", logits);
        plan
    };
    let (plan, executable) = compile_fitting(device, run.batch, targets.len(), record)?;
    let preprocess = classifier.preprocess();
    let bytes = preprocess.height * preprocess.width * 3;
    let mut waiting = targets.iter();
    let mut running: Vec<(&Target<'_>, Search)> = Vec::new();
    let mut finished = 0;
    loop {
        while running.len() < plan.batch() {
            let Some(target) = waiting.next() else { break };
            running.push((target, Search::new(decoded(target.sample, run)?, target.hash, options)));
        }
        if running.is_empty() {
            return Ok(());
        }
        let mut pixels: Vec<u8> =
            running.par_iter().flat_map_iter(|(_, search)| preprocess.apply(&search.candidate).data).collect();
        // The last batches may be short: the rows past their end are computed on black and dropped.
        pixels.resize(plan.batch() * bytes, 0);
        let logits = executable.run(&[("pixels", Input::Bytes(&pixels))])?.tensor("logits");
        let logits = logits.select_rows(&(0..running.len()).collect::<Vec<_>>());
        let paths: Vec<String> = running.iter().map(|(target, _)| target.sample.path.clone()).collect();
        check_finite(&logits, "logits", &paths)?;
        let mut going_on = Vec::with_capacity(running.len());
        for (row, (target, mut search)) in running.into_iter().enumerate() {
            let success = search.judge(logits.row(row), target.sample.label.unwrap_or_default());
            if !success && !search.is_over() {
                search.propose();
                going_on.push((target, search));
                continue;
            }
            let queries = search.queries;
            write_picture(&out.join(target.file), &search.into_best())?;
            finished += 1;
            let image = AttackedImage {
                path: target.sample.path.clone(),
                sha256: target.hash,
                file: target.file.to_owned(),
                success,
                queries,
            };
            tell(Some(image), finished)?;
        }
        running = going_on;
        // Cancelling mustn't wait for an image that takes all its queries.
        tell(None, finished)?;
    }
}

fn decoded(sample: &Sample, run: &RunOptions) -> Result<Rgb8> {
    Ok(decode_bytes(&sample.read()?, &sample.path, &DecodeOptions { exif: run.exif })?.image)
}

fn write_picture(path: &Path, picture: &Rgb8) -> Result<()> {
    create_parent(path)?;
    write_atomic(path, |file| {
        let [width, height] = [picture.width, picture.height].map(|edge| edge as u32);
        PngEncoder::new(file).write_image(&picture.data, width, height, ExtendedColorType::Rgb8).map_err(|e| {
            Error::new(ErrorKind::Io, format!("{}: the picture can't be written", path.display())).caused_by(e)
        })
    })
}

fn report(
    options: AttackOptions,
    images: u64,
    attacked: Vec<AttackedImage>,
    skipped: Vec<(String, String)>,
) -> AttackReport {
    let n = attacked.len() as u64;
    let mut queries: Vec<u64> = attacked.iter().filter(|image| image.success).map(|image| image.queries).collect();
    queries.sort_unstable();
    let succeeded = queries.len() as u64;
    let steps = (0..).map(|power: u32| 10_u64.saturating_pow(power / 3) * [1, 2, 5][(power % 3) as usize]);
    let steps = steps.take_while(|&step| step < options.queries).chain([options.queries]);
    let by_queries = steps.filter_map(|step| {
        let by_then = queries.partition_point(|&queries| queries <= step) as u64;
        Some(SuccessByQueries { queries: step, success: Estimate::of_share(by_then, n)? })
    });
    AttackReport {
        options,
        images,
        misclassified: images - n,
        accuracy: Estimate::of_share(n, images),
        robust_accuracy: Estimate::of_share(n - succeeded, images),
        success: Estimate::of_share(succeeded, n),
        by_queries: by_queries.collect(),
        median_queries: queries.get(queries.len().saturating_sub(1) / 2).copied(),
        attacked,
        skipped,
    }
}
