//! Making a bundle: classifier, CLIP and aligner over labelled images.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::align::{Aligner, tell};
use super::attacked::{AttackResults, attacked};
use super::bundle::{Bundle, ClassCounts, Samples};
use super::class_prompts;
use super::concepts::{Concepts, Templates};
use super::counting::count_maps;
use super::forward::{Collected, Pass, RunOptions, add_dispatches, run_images, text_directions};
use super::heatmap::{Counts, MINIMUM_SUPPORT};
use super::journal::Journal;
use super::manifest::{Manifest, ModelIdentity, SCHEMA, TIE_TOLERANCE, hash, json};
use super::overlap::{Given, Used};
use super::scores::near_ties;
use super::sets::Sets;
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Device;
use crate::layers::{Activation, Linear};
use crate::models::{Classifier, Clip};
use crate::plan::{Plan, Var};
use crate::progress::Observer;
use crate::tensor::Tensor;

/// What a bundle is made of.
#[derive(Debug, Clone, Copy)]
pub struct BuildInputs<'a> {
    /// The classifier.
    pub classifier: &'a Classifier,
    /// Where it was read from.
    pub classifier_path: &'a Path,
    /// CLIP.
    pub clip: &'a Clip,
    /// Where it was read from.
    pub clip_path: &'a Path,
    /// The map from the one's features to the other's embeddings.
    pub aligner: &'a Aligner,
    /// The concepts.
    pub concepts: &'a Concepts,
    /// The classes, in logit order.
    pub classes: &'a [String],
    /// The prompt templates.
    pub templates: &'a Templates,
    /// Labelled images.
    pub images: &'a Dataset,
    /// Where they are.
    pub images_path: &'a Path,
}

/// How a bundle is made.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// How images are read and run.
    pub run: RunOptions,
    /// Attacked versions of some of the images, each set under a name.
    pub attacked: Vec<(String, Dataset)>,
    /// Let images in, or attacked ones of images, that the aligner was fitted on.
    pub allow_overlap: bool,
    /// Images in a map's set under which it is unsupported.
    pub minimum_support: u64,
    /// Cells that the maps of a bundle may have for their counts to be stored. With more, only the scores are, and maps are
    /// counted from them when they are asked for.
    pub stored_cells: u64,
}

/// Cells of maps that are stored, by default: 400 MB.
const STORED_CELLS: u64 = 100_000_000;

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            run: RunOptions::default(),
            attacked: Vec::new(),
            allow_overlap: false,
            minimum_support: MINIMUM_SUPPORT,
            stored_cells: STORED_CELLS,
        }
    }
}

impl Bundle {
    /// Runs the models over the images, counts the maps, and writes the bundle to `out`.
    ///
    /// Finished batches are kept beside `out` until the bundle is written: a build that was cancelled or cut off goes on
    /// where it was.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] if models, aligner, classes and images don't fit each other; [`ErrorKind::Overlap`] if the
    /// aligner was fitted on some of the images, the attacked ones or their originals; [`ErrorKind::Data`] if one of several images
    /// may be an attacked one's original; those of reading, running and writing.
    pub fn build(
        device: &Device,
        inputs: &BuildInputs<'_>,
        options: &BuildOptions,
        observer: &dyn Observer,
        out: &Path,
    ) -> Result<Self> {
        let journal = Journal::open(&beside(out), &key(device, inputs, options)?)?;
        let result = build(device, inputs, options, observer, Some(&journal));
        let keep = result.as_ref().err().is_some_and(|error| error.kind() == ErrorKind::Cancelled);
        let result = result.map_err(|e| if keep { e.hint("the same build goes on from here") } else { e });
        let result = result.and_then(|(mut bundle, thumbnails)| {
            bundle.save(out, thumbnails.into_iter().map(Ok))?;
            Ok(bundle)
        });
        if !keep {
            journal.remove()?;
        }
        result
    }
}

/// The folder for finished batches.
fn beside(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    out.with_file_name(name)
}

/// What identifies a build: everything its scores depend on.
fn key(device: &Device, inputs: &BuildInputs<'_>, options: &BuildOptions) -> Result<String> {
    let samples = |dataset: &Dataset| dataset.samples.iter().map(|s| (s.path.clone(), s.label)).collect::<Vec<_>>();
    let aligner: Vec<u8> = bytemuck::cast_slice(inputs.aligner.weight().data()).to_vec();
    let text = json(&(
        (SCHEMA, inputs.classifier.sha256(), inputs.clip.sha256(), hash(&aligner)),
        (inputs.classifier.preprocess(), inputs.clip.preprocess()),
        (inputs.classifier.precision(), inputs.clip.precision()),
        (inputs.concepts.prompts(inputs.templates), inputs.classes, inputs.templates.as_slice()),
        (device.summary().to_string(), samples(inputs.images), options.run.exif),
    ))?;
    Ok(hash(text.as_bytes()))
}

/// The bundle and its images' thumbnails, which are only made where the finished batches are kept for writing.
pub(super) fn build(
    device: &Device,
    inputs: &BuildInputs<'_>,
    options: &BuildOptions,
    observer: &dyn Observer,
    journal: Option<&Journal>,
) -> Result<(Bundle, Vec<Vec<u8>>)> {
    check(inputs)?;
    let mut notices = Vec::new();
    let directions = directions(device, inputs, options, &mut notices, observer)?;
    let scorer = Scorer::new(inputs, &directions);
    let pass = Pass {
        stage: "images",
        preprocess: &[inputs.classifier.preprocess(), inputs.clip.preprocess()],
        record: &|plan, pixels| {
            scorer.record_classifier(plan, pixels[0]);
            scorer.record_clip(plan, pixels[1]);
        },
        thumbnails: journal.is_some(),
        journal,
    };
    let mut collected = run_images(device, &pass, &inputs.images.samples, &options.run, observer)?;
    tell(&collected, observer);
    if collected.indices.is_empty() {
        return Err(Error::new(
            ErrorKind::Data,
            format!("{}: none of its images decodes", inputs.images_path.display()),
        ));
    }
    notices.append(&mut collected.notices);
    let thumbnails = std::mem::take(&mut collected.thumbnails);
    let skipped = std::mem::take(&mut collected.skipped);
    let mut dispatches = std::mem::take(&mut collected.dispatches);
    let samples = samples_of(collected, inputs.images);
    let mut note = |notice: String| {
        observer.notice(&notice);
        notices.push(notice);
    };
    let (fitted, unknown) = (inputs.aligner.images(), HashSet::new());
    if fitted.is_none() {
        note("the aligner doesn't say which images it was fitted on: that they are others isn't checked".to_owned());
    }
    let used = Used {
        what: "the aligner was fitted on",
        images: fitted.unwrap_or(&unknown),
        is_allowed: options.allow_overlap,
    };
    used.refuse(&samples.given(), None, &mut note)?;
    let sets = Sets::new(&samples.labels, &samples.predictions, inputs.classes.len())?;
    let mut check = |given: &[Given<'_>], set: &str| used.refuse(given, Some(set), &mut note);
    let attacks = attacked(device, &scorer, inputs, options, &samples, &mut check, observer)?;
    add_dispatches(&mut dispatches, &attacks.dispatches);
    let concepts = inputs.concepts.count();
    let kinds = 3 + u64::from(!options.attacked.is_empty());
    let stores_counts = kinds * (inputs.classes.len() * concepts * concepts) as u64 <= options.stored_cells;
    let counts = stores_counts.then(|| counts_of(device, &samples, &sets, &attacks)).transpose()?;
    if stores_counts {
        *dispatches.entry("map_counts".to_owned()).or_default() += kinds - 2;
    }
    let near = near_ties(&samples.scores, TIE_TOLERANCE);
    let (classifier, clip, identity) = (inputs.classifier, inputs.clip, ModelIdentity::new);
    let manifest = Manifest {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        classes: inputs.classes.to_vec(),
        concepts: inputs.concepts.names().to_vec(),
        templates: inputs.templates.as_slice().to_vec(),
        classifier: identity(
            inputs.classifier_path,
            classifier.sha256(),
            classifier.preprocess(),
            classifier.precision(),
        )?,
        clip: identity(inputs.clip_path, clip.sha256(), clip.preprocess(), clip.precision())?,
        aligner: inputs.aligner.figures().cloned(),
        adapter: device.summary().to_string(),
        images: inputs.images_path.to_owned(),
        n: samples.labels.len(),
        accuracy: samples.accuracy(),
        minimum_support: options.minimum_support,
        near_ties: near,
        cells: (samples.labels.len() * concepts * (concepts - 1) / 2) as u64,
        stores_counts,
        dispatches,
        attacks: attacks.summaries,
        skipped,
        notices,
        overlap_allowed: options.allow_overlap,
    };
    let bundle = Bundle {
        manifest,
        samples,
        attacked: attacks.samples,
        directions: directions.concepts,
        class_directions: directions.classes,
        counts,
        aligner: inputs.aligner.clone(),
        thumbnails: PathBuf::new(),
    };
    Ok((bundle, thumbnails))
}

/// The bundle of another classifier and aligner on the images of `bundle`, from which all that is CLIP's is taken.
///
/// # Errors
/// [`ErrorKind::Mismatch`] if models, aligner and classes don't fit each other; [`ErrorKind::Data`] if the images have changed; those
/// of reading and running them.
pub(super) fn rebuild(
    device: &Device,
    bundle: &Bundle,
    inputs: &BuildInputs<'_>,
    run: &RunOptions,
    observer: &dyn Observer,
) -> Result<Bundle> {
    check(inputs)?;
    let directions = Directions { concepts: bundle.directions.clone(), classes: bundle.class_directions.clone() };
    let scorer = Scorer::new(inputs, &directions);
    let pass = Pass {
        stage: "images",
        preprocess: &[inputs.classifier.preprocess()],
        record: &|plan, pixels| scorer.record_classifier(plan, pixels[0]),
        thumbnails: false,
        journal: None,
    };
    let mut collected = run_images(device, &pass, &inputs.images.samples, run, observer)?;
    if collected.hashes != bundle.samples.hashes {
        let message = format!("{}: its images changed while they were used", inputs.images_path.display());
        return Err(Error::new(ErrorKind::Data, message));
    }
    let mut rebuilt = Bundle { counts: None, aligner: inputs.aligner.clone(), ..bundle.clone() };
    let samples = &mut rebuilt.samples;
    samples.predictions = classes_of(&mut collected);
    samples.features = collected.take("features");
    samples.logits = collected.take("logits");
    samples.scores = collected.take("scores");
    samples.class_scores = collected.take("class_scores");
    rebuilt.manifest.accuracy = samples.accuracy();
    rebuilt.manifest.aligner = inputs.aligner.figures().cloned();
    rebuilt.manifest.stores_counts = false;
    let (classifier, path) = (inputs.classifier, inputs.classifier_path);
    rebuilt.manifest.classifier =
        ModelIdentity::new(path, classifier.sha256(), classifier.preprocess(), classifier.precision())?;
    Ok(rebuilt)
}

/// The predictions of a pass.
pub(super) fn classes_of(collected: &mut Collected) -> Vec<usize> {
    collected.take_integers("prediction").into_iter().map(|class| class as usize).collect()
}

fn check(inputs: &BuildInputs<'_>) -> Result<()> {
    let network = inputs.classifier.network();
    let (found, expected) = (inputs.classes.len(), network.num_classes());
    if found != expected {
        let message = format!("{found} classes are given, and the classifier has {expected} logits");
        return Err(Error::new(ErrorKind::Mismatch, message).hint("give the classes in logit order with --classes"));
    }
    let (features, embeddings) = (network.feature_dim(), inputs.clip.embedding_dim());
    inputs.aligner.check(features, embeddings, inputs.classifier.sha256(), Some(inputs.clip.sha256()))
}

/// Concept and class directions.
struct Directions {
    concepts: Tensor,
    classes: Tensor,
}

fn directions(
    device: &Device,
    inputs: &BuildInputs<'_>,
    options: &BuildOptions,
    notices: &mut Vec<String>,
    observer: &dyn Observer,
) -> Result<Directions> {
    let prompts = [inputs.concepts.prompts(inputs.templates), class_prompts(inputs.classes, inputs.templates)].concat();
    let (all, truncated) = text_directions(device, inputs.clip, &prompts, options.run.batch, observer)?;
    if truncated > 0 {
        let notice = format!("{truncated} prompts are longer than the text tower's context and were cut");
        observer.notice(&notice);
        notices.push(notice);
    }
    let count = inputs.concepts.count();
    let part = |rows: std::ops::Range<usize>| all.select_rows(&rows.collect::<Vec<_>>());
    Ok(Directions { concepts: part(0..count), classes: part(count..all.rows()) })
}

/// The layers behind the models: aligner and directions.
pub(crate) struct Scorer<'a> {
    classifier: &'a Classifier,
    clip: &'a Clip,
    aligner: Linear,
    concepts: Linear,
    classes: Linear,
}

impl<'a> Scorer<'a> {
    fn new(inputs: &BuildInputs<'a>, directions: &Directions) -> Self {
        Self {
            classifier: inputs.classifier,
            clip: inputs.clip,
            aligner: inputs.aligner.layer(),
            concepts: Linear::new("concept directions", &directions.concepts, None),
            classes: Linear::new("class directions", &directions.classes, None),
        }
    }

    pub(crate) fn record_classifier(&self, plan: &mut Plan, pixels: Var) {
        let output = self.classifier.record(plan, pixels);
        let aligned = plan.linear(output.features, &self.aligner, Activation::Identity);
        let prediction = plan.argmax(output.logits);
        plan.output("features", output.features);
        plan.output("logits", output.logits);
        plan.output("prediction", prediction);
        self.record_scores(plan, aligned, ["scores", "class_scores"]);
    }

    fn record_clip(&self, plan: &mut Plan, pixels: Var) {
        let embedding = self.clip.record_image(plan, pixels);
        plan.output("clip", embedding);
        self.record_scores(plan, embedding, ["clip_scores", "clip_class_scores"]);
    }

    fn record_scores(&self, plan: &mut Plan, embedding: Var, [concepts, classes]: [&str; 2]) {
        let unit = plan.l2_normalize(embedding);
        let concept_scores = plan.linear(unit, &self.concepts, Activation::Identity);
        let class_scores = plan.linear(unit, &self.classes, Activation::Identity);
        plan.output(concepts, concept_scores);
        plan.output(classes, class_scores);
    }
}

fn samples_of(mut collected: Collected, images: &Dataset) -> Samples {
    let of = |index: &usize| &images.samples[*index];
    let label = |index: &usize| of(index).label.unwrap_or_default();
    Samples {
        paths: collected.indices.iter().map(|index| of(index).path.clone()).collect(),
        labels: collected.indices.iter().map(label).collect(),
        predictions: classes_of(&mut collected),
        features: collected.take("features"),
        logits: collected.take("logits"),
        clip: collected.take("clip"),
        scores: collected.take("scores"),
        clip_scores: collected.take("clip_scores"),
        class_scores: collected.take("class_scores"),
        clip_class_scores: collected.take("clip_class_scores"),
        hashes: collected.hashes,
    }
}

fn counts_of(device: &Device, samples: &Samples, sets: &Sets, attacks: &AttackResults) -> Result<ClassCounts> {
    let classes = sets.classes();
    let groups = |rows: fn(&Sets, usize) -> &[u32]| (0..classes).map(move |class| rows(sets, class).to_vec());
    let all: Vec<Vec<u32>> =
        groups(Sets::correct).chain(groups(Sets::missed)).chain(groups(Sets::false_alarm)).collect();
    let mut maps = count_maps(device, &samples.scores, &all)?;
    let false_alarm: Vec<Counts> = maps.split_off(2 * classes);
    let missed = maps.split_off(classes);
    let adversarial = match attacks.summaries[..] {
        [] => Vec::new(),
        _ => count_maps(device, &attacks.samples.scores, &attacks.by_prediction)?,
    };
    Ok(ClassCounts { correct: maps, missed, false_alarm, adversarial })
}
