//! Localisation set against planted faults.

use std::collections::BTreeMap;
use std::path::Path;

use super::figures::{Decided, LocalizationEvaluation, LostConcept, OracleRow, Origin, PlantResult};
use super::{Plant, PlantedCause};
use crate::dataset::{ContentHash, Dataset};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Device, Input};
use crate::layers::{Activation, Linear};
use crate::models::{Classifier, Clip};
use crate::plan::Plan;
use crate::progress::{Observer, Silent, step};
use crate::semantics::align::tell;
use crate::semantics::build::{build, rebuild};
use crate::semantics::forward::{Pass, run_images};
use crate::semantics::{
    Aligner, BuildInputs, BuildOptions, Bundle, Concepts, Localization, LocalizeOptions, RunOptions, Samples, Templates,
};
use crate::tensor::Tensor;
use crate::weights::ModelFiles;

/// What localisation is evaluated with.
#[derive(Debug, Clone, Copy)]
pub struct LocalizationInputs<'a> {
    /// The intact classifier's files.
    pub classifier: &'a ModelFiles,
    /// Where they were read from.
    pub classifier_path: &'a Path,
    /// CLIP.
    pub clip: &'a Clip,
    /// Where it was read from.
    pub clip_path: &'a Path,
    /// The faults planted in the classifier.
    pub plants: &'a [Plant],
    /// The concepts.
    pub concepts: &'a Concepts,
    /// The classes, in logit order.
    pub classes: &'a [String],
    /// The prompt templates.
    pub templates: &'a Templates,
    /// Images that each variant's aligner is fitted to.
    pub align: &'a Dataset,
    /// Labelled images whose errors are localised.
    pub images: &'a Dataset,
    /// Where they are.
    pub images_path: &'a Path,
}

/// Fits each variant its aligner, localises its errors and compares the verdicts with where the errors come from. CLIP's embeddings
/// are computed once.
///
/// # Errors
/// [`ErrorKind::Weights`] for a plant that doesn't fit the classifier; [`ErrorKind::Data`] for one whose errors don't come from the part
/// that it names, or that loses a class or concept that isn't known; those of fitting, reading and running.
pub fn evaluate_localization(
    device: &Device,
    inputs: &LocalizationInputs<'_>,
    options: &LocalizeOptions,
    run: &RunOptions,
    observer: &dyn Observer,
) -> Result<LocalizationEvaluation> {
    inputs.plants.iter().try_for_each(|plant| check_names(plant, inputs))?;
    let aligning = Aligning::new(device, inputs, run, observer)?;
    let classifier = Classifier::load(inputs.classifier, observer)?;
    let aligner = aligning.fit(device, &classifier, inputs, run)?;
    let build_options = BuildOptions { run: *run, ..BuildOptions::default() };
    let (intact, _) = build(device, &inputs.of(&classifier, &aligner), &build_options, observer, None)?;
    let before = intact.localize(device, options, &Silent)?;
    let mut results = Vec::with_capacity(inputs.plants.len());
    let mut decided = Vec::new();
    for (number, plant) in inputs.plants.iter().enumerate() {
        step(observer, "plants", number, inputs.plants.len())?;
        let variant = Classifier::load(&inputs.classifier.replaced(&plant.weights)?, &Silent)?;
        let of_plant = |e: Error| e.at(plant.path.display());
        let aligner = aligning.fit(device, &variant, inputs, run).map_err(of_plant)?;
        let bundle = rebuild(device, &intact, &inputs.of(&variant, &aligner), run, &Silent).map_err(of_plant)?;
        let origins = origins(device, [&classifier, &variant], [&intact, &bundle]).map_err(of_plant)?;
        check_cause(plant, &origins)?;
        let found = bundle.localize(device, options, &Silent).map_err(of_plant)?;
        results.push(result(plant, &bundle, &origins, [&before, &found], &mut decided));
    }
    step(observer, "plants", inputs.plants.len(), inputs.plants.len())?;
    Ok(LocalizationEvaluation::new(&intact.manifest, *options, results, &decided))
}

impl<'a> LocalizationInputs<'a> {
    fn of(&self, classifier: &'a Classifier, aligner: &'a Aligner) -> BuildInputs<'a> {
        BuildInputs {
            classifier,
            classifier_path: self.classifier_path,
            clip: self.clip,
            clip_path: self.clip_path,
            aligner,
            concepts: self.concepts,
            classes: self.classes,
            templates: self.templates,
            images: self.images,
            images_path: self.images_path,
        }
    }
}

/// CLIP's embeddings of the images that aligners are fitted to.
struct Aligning {
    embeddings: Tensor,
    hashes: Vec<ContentHash>,
}

impl Aligning {
    fn new(
        device: &Device,
        inputs: &LocalizationInputs<'_>,
        run: &RunOptions,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let pass = Pass {
            stage: "embeddings",
            preprocess: &[inputs.clip.preprocess()],
            record: &|plan, pixels| {
                let embeddings = inputs.clip.record_image(plan, pixels[0]);
                plan.output("clip", embeddings);
            },
            thumbnails: false,
            journal: None,
        };
        let mut collected = run_images(device, &pass, &inputs.align.samples, run, observer)?;
        tell(&collected, observer);
        Ok(Self { embeddings: collected.take("clip"), hashes: collected.hashes })
    }

    fn fit(
        &self,
        device: &Device,
        classifier: &Classifier,
        inputs: &LocalizationInputs<'_>,
        run: &RunOptions,
    ) -> Result<Aligner> {
        let pass = Pass {
            stage: "features",
            preprocess: &[classifier.preprocess()],
            record: &|plan, pixels| {
                let features = classifier.record(plan, pixels[0]).features;
                plan.output("features", features);
            },
            thumbnails: false,
            journal: None,
        };
        let mut collected = run_images(device, &pass, &inputs.align.samples, run, &Silent)?;
        if collected.hashes != self.hashes {
            return Err(Error::new(ErrorKind::Data, "the images to align with changed while they were used"));
        }
        Aligner::of_pairs(device, &collected.take("features"), &self.embeddings, &self.hashes, None, &Silent)
    }
}

/// A plant may only lose what there is.
fn check_names(plant: &Plant, inputs: &LocalizationInputs<'_>) -> Result<()> {
    let Some((class, concept)) = &plant.lost else { return Ok(()) };
    for (what, name, known) in [("class", class, inputs.classes), ("concept", concept, inputs.concepts.names())] {
        if !known.contains(name) {
            let message =
                format!("{}: {what} '{name}' is unknown, expected one of: {}", plant.path.display(), known.join(", "));
            return Err(
                Error::new(ErrorKind::Data, message).hint("evaluate with the lists that the plant was made for")
            );
        }
    }
    Ok(())
}

/// A pure plant's errors must come from the part that it names.
fn check_cause(plant: &Plant, origins: &[Option<Origin>]) -> Result<()> {
    let expected = match plant.cause {
        PlantedCause::Head => Origin::Head,
        PlantedCause::Encoder => Origin::Encoder,
        PlantedCause::Mixed => return Ok(()),
    };
    let errors = origins.iter().flatten();
    let (others, all) = (errors.clone().filter(|origin| **origin != expected).count(), errors.count());
    if others == 0 {
        return Ok(());
    }
    let message = format!(
        "{}: says that its cause is the {}, but {others} of its {all} errors don't come from it alone",
        plant.path.display(),
        plant.cause
    );
    Err(Error::new(ErrorKind::Data, message).hint("a plant that changes both parts has the cause `mixed`"))
}

/// Where each error of the variant comes from; none for images that aren't errors of it.
fn origins(
    device: &Device,
    [intact, variant]: [&Classifier; 2],
    [before, after]: [&Bundle; 2],
) -> Result<Vec<Option<Origin>>> {
    let by_head = predictions(device, variant.network().head(), &before.samples.features)?;
    let by_encoder = predictions(device, intact.network().head(), &after.samples.features)?;
    let (was, is, labels) = (&before.samples.predictions, &after.samples.predictions, &after.samples.labels);
    let origin = |row: usize| {
        let label = labels[row];
        (was[row] == label && is[row] != label).then(|| match (by_head[row] != label, by_encoder[row] != label) {
            (true, false) => Origin::Head,
            (false, true) => Origin::Encoder,
            (true, true) => Origin::Either,
            (false, false) => Origin::Together,
        })
    };
    Ok((0..labels.len()).map(origin).collect())
}

/// The classes that a head gives features.
fn predictions(device: &Device, head: &Linear, features: &Tensor) -> Result<Vec<usize>> {
    const ROWS_AT_ONCE: usize = 1024;
    let mut classes = Vec::with_capacity(features.rows());
    for rows in features.data().chunks(ROWS_AT_ONCE * features.columns()) {
        let mut plan = Plan::new(rows.len() / features.columns());
        let given = plan.input("features", 1, features.columns());
        let logits = plan.linear(given, head, Activation::Identity);
        let class = plan.argmax(logits);
        plan.output("class", class);
        let found = device.compile(&plan)?.run(&[("features", Input::F32(rows))])?;
        classes.extend(found.integers("class").iter().map(|&class| class as usize));
    }
    Ok(classes)
}

/// One plant's figures, from the localisation of the intact classifier's errors and of the variant's.
fn result(
    plant: &Plant,
    bundle: &Bundle,
    origins: &[Option<Origin>],
    [before, found]: [&Localization; 2],
    decided: &mut Vec<Decided>,
) -> PlantResult {
    let Samples { labels, predictions, .. } = bundle.samples();
    let wrong = (0..labels.len()).filter(|&row| labels[row] != predictions[row]);
    let mut rows = BTreeMap::new();
    for (sample, origin) in found.samples.iter().zip(wrong.map(|row| origins[row])) {
        let Some(origin) = origin else { continue };
        rows.entry(origin).or_insert_with(|| OracleRow::new(origin)).add(sample);
        if plant.cause != PlantedCause::Mixed {
            decided.push(Decided::new(plant, origin, sample.counterfactual));
        }
    }
    let lost = plant.lost.as_ref().map(|(class, concept)| LostConcept::new(class, concept, before, found));
    PlantResult {
        kind: plant.kind.clone(),
        cause: plant.cause,
        seed: plant.seed,
        description: plant.description.clone(),
        accuracy: bundle.manifest.accuracy,
        aligner_r2: bundle.manifest.aligner.as_ref().map(|figures| figures.r2),
        errors: rows.into_values().collect(),
        lost,
    }
}
