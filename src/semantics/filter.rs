//! The runtime filter: which predictions to trust.

use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;

use super::baselines::Baseline;
use super::build::refuse_overlap;
use super::bundle::{Bundle, Space};
use super::calibration::{Calibration, Threshold, Verdict, suspicion};
use super::diagnosis::{ImageSet, ScoreMode};
use super::distance::Distance;
use super::filter_file::{ADVERSARIAL, CORRECT, EmbeddedModel, FALSE_ALARM, FilterFile, FilterHeader, FilterMaps};
use super::forward::{Collected, Pass, RunOptions, run_images};
use super::fraction::Fraction;
use super::manifest::{ModelIdentity, SCHEMA, preprocess_hash};
use super::reasons::reasons;
use crate::dataset::{ContentHash, Dataset, Sample};
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

/// How a filter is calibrated.
#[derive(Debug, Clone)]
pub struct CalibrateOptions {
    /// α: the share of correct predictions that may be rejected.
    pub false_reject_rate: Fraction,
    /// How maps are compared.
    pub distance: Distance,
    /// Whether scores are centred.
    pub scores: ScoreMode,
    /// Put the classifier's weights into the file.
    pub self_contained: bool,
    /// How images are read and run.
    pub run: RunOptions,
    /// Let images in that the bundle or the aligner has seen.
    pub allow_overlap: bool,
}

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
pub(crate) struct Checked {
    pub(crate) collected: Collected,
    pub(crate) predictions: Vec<usize>,
    pub(crate) logits: Tensor,
    scores: Tensor,
    distances: Vec<Vec<Option<f64>>>,
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

    fn new(device: &Device, file: FilterFile, classifier: Classifier) -> Result<Self> {
        let maps = file.maps()?;
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

    /// Makes a filter from a bundle and calibrates it on labelled images that it hasn't seen. The classifier is read from
    /// `classifier`, or from where the bundle's was, and has the bundle's precision.
    ///
    /// # Errors
    /// [`ErrorKind::Overlap`] for images the bundle or its aligner has seen; [`ErrorKind::Data`] for too few images;
    /// [`ErrorKind::Mismatch`] for another classifier.
    pub fn calibrate(
        device: &Device,
        bundle: &Bundle,
        classifier: Option<&Path>,
        images: &Dataset,
        options: &CalibrateOptions,
        observer: &dyn Observer,
    ) -> Result<FilterFile> {
        let manifest = bundle.manifest();
        let path = classifier.unwrap_or(&manifest.classifier.path);
        let files = ModelFiles::open(path).map_err(|e| e.hint("say where the classifier is with --classifier DIR"))?;
        let files = files.with_precision(manifest.classifier.precision);
        let model = Classifier::load(&files, observer)?;
        let classes = manifest.classes.len();
        let sets = |set: fn(usize) -> ImageSet| -> Result<_> {
            let sets: Vec<ImageSet> = (0..classes).map(set).collect();
            bundle.maps(device, &sets, Space::Classifier, options.scores)
        };
        let means = match options.scores {
            ScoreMode::Raw => vec![0.0; manifest.concepts.len()],
            ScoreMode::Centered => bundle.concept_means(Space::Classifier)?,
        };
        let has_attacks = !manifest.attacks.is_empty();
        let header = FilterHeader {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            classes: manifest.classes.clone(),
            concepts: manifest.concepts.clone(),
            distance: options.distance.name().to_owned(),
            scores: options.scores,
            tau: Fraction::HALF.value(),
            false_reject_rate: options.false_reject_rate.value(),
            calibration: Calibration { own: None, pooled: None },
            baselines: std::collections::BTreeMap::new(),
            minimum_support: manifest.minimum_support,
            classifier: ModelIdentity::new(path, model.sha256(), model.preprocess(), model.precision())?,
            clip: manifest.clip.clone(),
            adapter: device.summary().to_string(),
            notices: Vec::new(),
            overlap_allowed: options.allow_overlap || manifest.overlap_allowed,
        };
        check_classifier(&model, path, &manifest.classifier)?;
        let file = FilterFile {
            header,
            correct: sets(ImageSet::Correct)?,
            false_alarm: sets(ImageSet::FalseAlarm)?,
            adversarial: if has_attacks { sets(ImageSet::Adversarial)? } else { Vec::new() },
            directions: bundle.directions().clone(),
            class_directions: bundle.class_directions().clone(),
            means,
            aligner: bundle.aligner().clone(),
            images: bundle.image_hashes(),
            classifier: if options.self_contained { Some(EmbeddedModel::of_files(&files)?) } else { None },
        };
        let mut filter = Self::new(device, file, model)?;
        filter.fit(images, options, observer)?;
        Ok(filter.file)
    }

    fn fit(&mut self, images: &Dataset, options: &CalibrateOptions, observer: &dyn Observer) -> Result<()> {
        let checked = self.run("calibration images", &images.samples, &options.run, observer)?;
        let own: HashSet<ContentHash> = checked.collected.hashes.iter().copied().collect();
        let mut notices = checked.collected.notices.clone();
        let mut note = |notice: String| {
            observer.notice(&notice);
            notices.push(notice);
        };
        let what = "the bundle or its aligner was made from";
        refuse_overlap(what, &own, &self.file.images, options.allow_overlap, &mut note)?;
        let is_correct =
            |row: &usize| images.samples[checked.collected.indices[*row]].label == Some(checked.predictions[*row]);
        let correct: Vec<usize> = (0..checked.predictions.len()).filter(is_correct).collect();
        let mut scores = Vec::with_capacity(correct.len());
        for &row in &correct {
            let class = checked.predictions[row];
            // Images of a class without its maps are rejected whatever the threshold is.
            if let Ok(stratum) = self.maps.routes[class] {
                scores.push((stratum, self.suspicion(&checked, row).unwrap_or(f64::INFINITY)));
            }
        }
        let strata = self.maps.strata();
        if strata.is_empty() {
            let message = "no class has enough correct and enough defective images for a filter";
            return Err(Error::new(ErrorKind::Data, message).hint("build the bundle from more images"));
        }
        let header = &mut self.file.header;
        header.calibration = Calibration::fit(&scores, &strata, options.false_reject_rate)?;
        for baseline in Baseline::ALL {
            let suspicions: Vec<f64> = correct.iter().map(|&row| baseline.suspicion(checked.logits.row(row))).collect();
            let threshold = Threshold::fit(&suspicions, options.false_reject_rate)?;
            header.baselines.insert(baseline.name().to_owned(), threshold);
        }
        header.notices = notices;
        self.file.images.extend(own);
        Ok(())
    }

    /// Classifier, aligner, scores, argmax and map distances, all in one plan.
    fn record(&self, plan: &mut Plan, pixels: Var) {
        let output = self.classifier.record(plan, pixels);
        let prediction = plan.argmax(output.logits);
        let aligned = plan.linear(output.features, &self.file.aligner.layer(), Activation::Identity);
        let unit = plan.l2_normalize(aligned);
        let shift: Vec<f32> = self.file.means.iter().map(|mean| -mean).collect();
        let directions = Linear::new("concept directions", &self.file.directions, Some(&shift));
        let scores = plan.linear(unit, &directions, Activation::Identity);
        let distances = plan.map_distances(scores, prediction, &self.maps.table.packed());
        plan.output("logits", output.logits);
        plan.output("prediction", prediction);
        plan.output("scores", scores);
        plan.output("distances", distances);
    }

    /// Runs the filter's plan over images.
    pub(crate) fn run(
        &self,
        stage: &str,
        samples: &[Sample],
        options: &RunOptions,
        observer: &dyn Observer,
    ) -> Result<Checked> {
        let pass = Pass {
            stage,
            preprocess: &[self.classifier.preprocess()],
            record: &|plan, pixels| self.record(plan, pixels[0]),
            thumbnails: false,
            journal: None,
        };
        let mut collected = run_images(&self.device, &pass, samples, options, observer)?;
        if collected.indices.is_empty() {
            return Err(Error::new(ErrorKind::Data, "none of the images decodes"));
        }
        let predictions: Vec<usize> = collected.take_integers("prediction").into_iter().map(|c| c as usize).collect();
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

    /// The score of a row, none where it isn't defined.
    pub(crate) fn suspicion(&self, checked: &Checked, row: usize) -> Option<f64> {
        let distances = &checked.distances[row];
        suspicion(distances[CORRECT], &[distances[FALSE_ALARM], distances[ADVERSARIAL]])
    }

    /// The verdict on a row.
    pub(crate) fn verdict(&self, checked: &Checked, row: usize) -> Verdict {
        self.judge(checked.predictions[row], &checked.distances[row], checked.scores.row(row))
    }

    fn judge(&self, class: usize, distances: &[Option<f64>], scores: &[f32]) -> Verdict {
        let correct = self.maps.table.map(class, CORRECT);
        let defects = [distances[FALSE_ALARM], distances[ADVERSARIAL]];
        let nearest = match defects {
            [Some(false_alarm), Some(adversarial)] if adversarial < false_alarm => ADVERSARIAL,
            [None, Some(_)] => ADVERSARIAL,
            _ => FALSE_ALARM,
        };
        self.file.header.calibration.verdict(
            &self.file.header.classes[class],
            self.maps.routes[class],
            distances[CORRECT],
            &defects,
            || match (correct, self.maps.table.map(class, nearest)) {
                (Some(correct), Some(defect)) => reasons(scores, correct, defect, &self.file.header.concepts, REASONS),
                _ => Vec::new(),
            },
        )
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
        super::check_finite(&outputs.tensor("logits"), "logits", &[])?;
        let class = outputs.integers("prediction")[0] as usize;
        let distances = self.maps.table.distances(outputs.tensor("distances").row(0), class);
        Ok(self.judge(class, &distances, scores.row(0)))
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
fn check_classifier(classifier: &Classifier, path: &Path, expected: &ModelIdentity) -> Result<()> {
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
