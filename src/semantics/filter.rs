//! The runtime filter: which predictions to trust.

use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;

use super::baselines::log_odds;
use super::calibration::{Cause, Parts, Stratum, Verdict, suspicion};
use super::diagnosis::ScoreMode;
use super::distance::Distance;
use super::filter_file::{ADVERSARIAL, CORRECT, FALSE_ALARM, FilterFile, FilterHeader, FilterMaps};
use super::forward::{Collected, Pass, RunOptions, run_images};
use super::manifest::{ModelIdentity, preprocess_hash};
use super::overlap::Given;
use super::reasons::reasons;
use super::scores::centered;
use crate::dataset::{Dataset, Sample};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Device, Executable, Input};
use crate::image::{DecodeOptions, Rgb8, decode_file};
use crate::layers::{Activation, Linear};
use crate::models::Classifier;
use crate::plan::{Plan, Var};
use crate::progress::{Observer, Silent};
use crate::tensor::Tensor;
use crate::weights::ModelFiles;

/// Concept pairs that a verdict names at most.
const REASONS: usize = 5;

/// A filter ready to check images. `Send` and `Sync`.
///
/// ```no_run
/// # fn main() -> heatlens::Result<()> {
/// let device = heatlens::Device::best()?;
/// let filter = heatlens::Filter::open(&device, "model.heatlens".as_ref(), None)?;
/// let verdict = filter.check_file("cat.jpg".as_ref())?;
/// println!("{} {:?}", verdict.prediction, verdict.verdict);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Filter {
    device: Device,
    file: FilterFile,
    maps: FilterMaps,
    classifier: Classifier,
    single: OnceLock<Executable>,
}

/// What the filter computes of some images.
struct Checked {
    collected: Collected,
    predictions: Vec<usize>,
    logits: Tensor,
    scores: Tensor,
    distances: Vec<Vec<Option<f64>>>,
}

/// What every way to score images starts from.
pub(crate) struct Scored {
    pub(crate) collected: Collected,
    pub(crate) predictions: Vec<usize>,
    pub(crate) logits: Tensor,
    /// The concepts' raw scores.
    scores: Tensor,
}

impl Scored {
    /// The images, which are some of `images`, as they were given.
    pub(crate) fn given<'a>(&self, images: &'a Dataset) -> Vec<Given<'a>> {
        let rows = self.collected.indices.iter().zip(&self.collected.hashes);
        rows.map(|(&index, &hash)| Given { path: &images.samples[index].path, hash, original: None }).collect()
    }
}

impl Filter {
    /// Reads a filter and its classifier: the one in the file, or at `classifier`, or at the path the file names. Its weights
    /// are held in the precision that the filter was calibrated with.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for another classifier or another preprocessing than it was calibrated with; those of
    /// reading the files.
    pub fn open(device: &Device, path: &Path, classifier: Option<&Path>) -> Result<Self> {
        let file = FilterFile::open(path)?;
        let identity = &file.header.classifier;
        let load = |files: ModelFiles| Classifier::load(&files.with_precision(identity.precision), &Silent);
        let (model, from) = match (&file.classifier, classifier) {
            (_, Some(from)) => (load(ModelFiles::open(from)?)?, from),
            (Some(embedded), None) => (load(embedded.files(&path.display().to_string())?)?, path),
            (None, None) => {
                let from = identity.path.as_path();
                let model = ModelFiles::open(from).and_then(load);
                (model.map_err(|e| e.hint("say where the classifier is with --classifier DIR"))?, from)
            }
        };
        check_classifier(&model, from, &file.header.classifier).map_err(|e| e.at(path.display()))?;
        Self::new(device, file, model)
    }

    pub(super) fn new(device: &Device, file: FilterFile, classifier: Classifier) -> Result<Self> {
        let maps = file.maps(file.header.method.distance, file.header.method.scores)?;
        Ok(Self { device: device.clone(), file, maps, classifier, single: OnceLock::new() })
    }

    /// What the filter says of itself.
    pub fn header(&self) -> &FilterHeader {
        &self.file.header
    }

    /// The classifier's preprocessing, which [`check_rgb8`](Self::check_rgb8) applies.
    pub fn preprocess(&self) -> &crate::image::Preprocess {
        self.classifier.preprocess()
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn file(&self) -> &FilterFile {
        &self.file
    }

    pub(super) fn into_file(self) -> FilterFile {
        self.file
    }

    /// Each class's stratum, or why its images are rejected.
    pub(super) fn routes(&self) -> &[Result<Stratum, Cause>] {
        &self.maps.routes
    }

    /// The strata that images can fall into.
    pub(super) fn strata(&self) -> Vec<Stratum> {
        self.maps.strata()
    }

    /// Classifier, aligner, argmax and concept scores less `means`.
    fn record_scores(&self, plan: &mut Plan, pixels: Var, means: Option<&[f32]>) -> (Var, Var) {
        let output = self.classifier.record(plan, pixels);
        let prediction = plan.argmax(output.logits);
        let aligned = plan.linear(output.features, &self.file.aligner.layer(), Activation::Identity);
        let unit = plan.l2_normalize(aligned);
        let shift = means.map(|means| means.iter().map(|mean| -mean).collect::<Vec<f32>>());
        let directions = Linear::new("concept directions", &self.file.directions, shift.as_deref());
        let scores = plan.linear(unit, &directions, Activation::Identity);
        plan.output("logits", output.logits);
        plan.output("prediction", prediction);
        plan.output("scores", scores);
        (scores, prediction)
    }

    /// All that a verdict takes, in one plan.
    fn record(&self, plan: &mut Plan, pixels: Var) {
        let is_centered = self.file.header.method.scores == ScoreMode::Centered;
        let (scores, prediction) = self.record_scores(plan, pixels, is_centered.then_some(&self.file.means[..]));
        let distances = plan.map_distances(scores, prediction, &self.maps.table.packed());
        plan.output("distances", distances);
    }

    /// Runs what is recorded over images.
    fn pass(
        &self,
        stage: &str,
        samples: &[Sample],
        options: &RunOptions,
        observer: &dyn Observer,
        record: &dyn Fn(&mut Plan, Var),
    ) -> Result<Collected> {
        let pass = Pass {
            stage,
            preprocess: &[self.classifier.preprocess()],
            record: &|plan, pixels| record(plan, pixels[0]),
            thumbnails: false,
            journal: None,
        };
        let collected = run_images(&self.device, &pass, samples, options, observer)?;
        if collected.indices.is_empty() {
            return Err(Error::new(ErrorKind::Data, "none of the images decodes"));
        }
        Ok(collected)
    }

    /// Runs the filter's plan over images.
    fn run(&self, stage: &str, samples: &[Sample], options: &RunOptions, observer: &dyn Observer) -> Result<Checked> {
        let mut collected = self.pass(stage, samples, options, observer, &|plan, pixels| self.record(plan, pixels))?;
        let predictions = predictions(&mut collected);
        let rows = collected.take("distances");
        let distances = (0..).zip(&predictions).map(|(row, &class)| self.maps.table.distances(rows.row(row), class));
        let distances = distances.collect();
        Ok(Checked {
            logits: collected.take("logits"),
            scores: collected.take("scores"),
            predictions,
            distances,
            collected,
        })
    }

    /// Runs the models alone over images, for all ways to score them.
    pub(crate) fn score(
        &self,
        stage: &str,
        samples: &[Sample],
        options: &RunOptions,
        observer: &dyn Observer,
    ) -> Result<Scored> {
        let record = |plan: &mut Plan, pixels: Var| {
            self.record_scores(plan, pixels, None);
        };
        let mut collected = self.pass(stage, samples, options, observer, &record)?;
        Ok(Scored {
            logits: collected.take("logits"),
            scores: collected.take("scores"),
            predictions: predictions(&mut collected),
            collected,
        })
    }

    /// The heatmap score of every image by a distance, none where it isn't defined.
    pub(crate) fn heatmap_scores(
        &self,
        scored: &Scored,
        distance: Distance,
        scores: ScoreMode,
    ) -> Result<Vec<Option<f64>>> {
        let maps = self.file.maps(distance, scores)?;
        let values = match scores {
            ScoreMode::Raw => Cow::Borrowed(&scored.scores),
            ScoreMode::Centered => Cow::Owned(centered(&scored.scores, &self.file.means)),
        };
        let distances = maps.table.run(&self.device, &values, &scored.predictions)?;
        Ok(distances.iter().map(|distances| heatmap_score(distances)).collect())
    }

    /// The verdict on a row.
    fn verdict(&self, checked: &Checked, row: usize) -> Verdict {
        let Checked { predictions, distances, scores, logits, .. } = checked;
        self.judge(predictions[row], &distances[row], scores.row(row), logits.row(row))
    }

    fn judge(&self, class: usize, distances: &[Option<f64>], scores: &[f32], logits: &[f32]) -> Verdict {
        let correct = self.maps.table.map(class, CORRECT);
        let nearest = match [distances[FALSE_ALARM], distances[ADVERSARIAL]] {
            [Some(false_alarm), Some(adversarial)] if adversarial < false_alarm => ADVERSARIAL,
            [None, Some(_)] => ADVERSARIAL,
            _ => FALSE_ALARM,
        };
        let FilterHeader { classes, concepts, method, .. } = &self.file.header;
        let (heatmap, log_odds) = (heatmap_score(distances), log_odds(logits));
        let score = method.score(heatmap, log_odds);
        let verdict = method.calibration.verdict(&classes[class], self.maps.routes[class], score, || {
            match (correct, self.maps.table.map(class, nearest)) {
                (Some(correct), Some(defect)) => reasons(scores, correct, defect, concepts, REASONS),
                _ => Vec::new(),
            }
        });
        let heatmap = heatmap.filter(|_| method.combination.is_some() && verdict.score.is_some());
        let parts = heatmap.map(|heatmap| Parts { heatmap, max_softmax: 1.0 / (1.0 + (-log_odds).exp()) });
        Verdict { parts, ..verdict }
    }

    /// Checks an image file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] or [`ErrorKind::Image`] naming it, and those of the device.
    pub fn check_file(&self, path: &Path) -> Result<Verdict> {
        let decoded = decode_file(path, &DecodeOptions::default())?;
        self.check_rgb8(&decoded.image)
    }

    /// Checks pixels, in one submission to the GPU.
    ///
    /// # Errors
    /// Those of the device.
    pub fn check_rgb8(&self, image: &Rgb8) -> Result<Verdict> {
        let preprocess = self.classifier.preprocess();
        let executable = match self.single.get() {
            Some(executable) => executable,
            None => {
                let mut plan = Plan::new(1);
                let pixels = plan.input_pixels("pixels", preprocess.height, preprocess.width);
                self.record(&mut plan, pixels);
                let compiled = self.device.compile(&plan)?;
                self.single.get_or_init(|| compiled)
            }
        };
        let pixels = preprocess.apply(image);
        let outputs = executable.run(&[("pixels", Input::Bytes(&pixels.data))])?;
        let scores = outputs.tensor("scores");
        super::check_finite(&scores, "concept scores", &[])?;
        let logits = outputs.tensor("logits");
        super::check_finite(&logits, "logits", &[])?;
        let class = outputs.integers("prediction")[0] as usize;
        let distances = self.maps.table.distances(outputs.tensor("distances").row(0), class);
        Ok(self.judge(class, &distances, scores.row(0), logits.row(0)))
    }

    /// Checks many images, a batch at a time; `each` gets every image's verdict, or why it couldn't be read, in order.
    ///
    /// # Errors
    /// What `each` returns, and those of the device and the observer.
    pub fn check_many(
        &self,
        images: &Dataset,
        options: &RunOptions,
        observer: &dyn Observer,
        each: &mut dyn FnMut(&str, Result<Verdict>) -> Result<()>,
    ) -> Result<()> {
        /// Images whose verdicts are held back until they are told in order.
        const AT_ONCE: usize = 512;
        let options = RunOptions { bad_images: crate::dataset::BadImages::Skip, ..*options };
        for (turn, samples) in images.samples.chunks(AT_ONCE).enumerate() {
            let part = Part { observer, before: turn * AT_ONCE, total: images.samples.len() };
            let checked = match self.run("images", samples, &options, &part) {
                Ok(checked) => Some(checked),
                Err(error) if error.kind() == ErrorKind::Data => None,
                Err(error) => return Err(error),
            };
            let mut rows =
                checked.as_ref().map_or(&[][..], |checked| &checked.collected.indices).iter().enumerate().peekable();
            for (index, sample) in samples.iter().enumerate() {
                match (rows.next_if(|(_, found)| **found == index), &checked) {
                    (Some((row, _)), Some(checked)) => each(&sample.path, Ok(self.verdict(checked, row)))?,
                    _ => each(&sample.path, Err(unreadable(sample, options.exif)))?,
                }
            }
        }
        Ok(())
    }
}

/// Every row's class.
fn predictions(collected: &mut Collected) -> Vec<usize> {
    collected.take_integers("prediction").into_iter().map(|class| class as usize).collect()
}

/// The heatmap score of an image with these distances.
fn heatmap_score(distances: &[Option<f64>]) -> Option<f64> {
    suspicion(distances[CORRECT], &[distances[FALSE_ALARM], distances[ADVERSARIAL]])
}

/// Why an image was skipped.
fn unreadable(sample: &Sample, exif: bool) -> Error {
    let decoded =
        sample.read().and_then(|bytes| crate::image::decode_bytes(&bytes, &sample.path, &DecodeOptions { exif }));
    match decoded {
        Err(error) => error,
        Ok(_) => Error::new(ErrorKind::Image, format!("{}: couldn't be read a moment ago", sample.path)),
    }
}

/// Progress of a part as progress of the whole.
struct Part<'a> {
    observer: &'a dyn Observer,
    before: usize,
    total: usize,
}

impl Observer for Part<'_> {
    fn progress(&self, stage: &str, done: usize, _: usize) {
        self.observer.progress(stage, self.before + done, self.total);
    }

    fn notice(&self, message: &str) {
        self.observer.notice(message);
    }

    fn is_cancelled(&self) -> bool {
        self.observer.is_cancelled()
    }
}

/// Refuses a classifier, read from `path`, that isn't the expected one or is fed otherwise.
pub(super) fn check_classifier(classifier: &Classifier, path: &Path, expected: &ModelIdentity) -> Result<()> {
    let path = path.display();
    if classifier.sha256() != expected.sha256 {
        let message = format!(
            "{path}: another classifier than the one the maps were made of: its weights' SHA-256 is {}, expected {}",
            classifier.sha256(),
            expected.sha256
        );
        return Err(Error::new(ErrorKind::Mismatch, message)
            .hint("give that classifier, or make bundle and filter anew for this one"));
    }
    if preprocess_hash(classifier.preprocess())? != expected.preprocess {
        let message = format!("{path}: the weights are the expected ones, the preprocessing isn't");
        return Err(Error::new(ErrorKind::Mismatch, message)
            .hint("compare the configuration beside the weights with the original's"));
    }
    Ok(())
}
