//! Attacked images: whose attacks they are, and what became of them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::align::tell;
use super::build::{BuildInputs, BuildOptions, Scorer};
use super::bundle::{AttackedSamples, Samples};
use super::forward::{Pass, run_images};
use super::manifest::AttackSummary;
use super::sets::Attacks;
use crate::dataset::{Dataset, Sample, Shard};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Device;
use crate::progress::Observer;
use crate::tensor::Tensor;

/// The successful attacks of all sets, and what became of each set.
pub(crate) struct AttackResults {
    pub(crate) samples: AttackedSamples,
    pub(crate) by_prediction: Vec<Vec<u32>>,
    pub(crate) summaries: Vec<AttackSummary>,
}

/// Runs the classifier over every set of attacked images.
///
/// # Errors
/// Those of reading and running them.
pub(crate) fn attacked(
    device: &Device,
    scorer: &Scorer<'_>,
    inputs: &BuildInputs<'_>,
    options: &BuildOptions,
    samples: &Samples,
    dispatches: &mut BTreeMap<String, u64>,
    observer: &dyn Observer,
) -> Result<AttackResults> {
    let concepts = inputs.concepts.count();
    let mut results = AttackResults {
        samples: AttackedSamples { scores: Tensor::zeros([0, concepts]), ..AttackedSamples::default() },
        by_prediction: vec![Vec::new(); inputs.classes.len()],
        summaries: Vec::new(),
    };
    let originals = clean_predictions(&samples.paths, &samples.labels, &samples.predictions);
    for (name, images) in &options.attacked {
        let stage = format!("attacked: {name}");
        let pass = Pass {
            stage: &stage,
            preprocess: &[inputs.classifier.preprocess()],
            record: &|plan, pixels| scorer.record_classifier(plan, pixels[0]),
            thumbnails: false,
            journal: None,
        };
        let mut collected = run_images(device, &pass, &images.samples, &options.run, observer)?;
        tell(&collected, observer);
        for (kernel, count) in &collected.dispatches {
            *dispatches.entry(kernel.clone()).or_default() += count;
        }
        if collected.indices.is_empty() {
            // A shard may hold no original of this set.
            results.summaries.push(AttackSummary { name: name.clone(), ..AttackSummary::default() });
            continue;
        }
        let rows: Vec<&Sample> = collected.indices.iter().map(|&index| &images.samples[index]).collect();
        let found = match_attacks(&rows, &collected.take_integers("prediction"), &originals, inputs.classes.len())?;
        if found.unmatched > 0 {
            observer.notice(&format!(
                "{name}: {} attacked images have no original of the same class and name; they are taken as correctly \
                 classified before the attack",
                found.unmatched
            ));
        }
        let scores = collected.take("scores");
        let first = results.samples.paths.len() as u32;
        let mut kept = Vec::new();
        for (class, rows_of_class) in found.attacks.succeeded.iter().enumerate() {
            for &row in rows_of_class {
                results.by_prediction[class].push(first + kept.len() as u32);
                results.samples.paths.push(rows[row as usize].path.clone());
                results.samples.predictions.push(class);
                kept.push(row as usize);
            }
        }
        let mut data = std::mem::take(&mut results.samples.scores).into_data();
        data.extend(scores.select_rows(&kept).into_data());
        results.samples.scores = Tensor::new([data.len() / concepts, concepts], data);
        results.summaries.push(AttackSummary {
            name: name.clone(),
            succeeded: kept.len(),
            failed: found.attacks.failed.len(),
            misclassified_before: found.attacks.misclassified_before.len(),
            unmatched: found.unmatched,
        });
    }
    Ok(results)
}

/// The part of labelled images that falls to a shard, and of each set of their attacked versions those whose originals do.
/// Attacked images without an original fall to the first shard.
///
/// # Errors
/// [`ErrorKind::Data`] if none of the images falls to the shard; [`ErrorKind::Cancelled`].
pub fn shard(
    images: &Dataset,
    attacked: &[(String, Dataset)],
    shard: Shard,
    observer: &dyn Observer,
) -> Result<(Dataset, Vec<(String, Dataset)>)> {
    let selected = shard.select(&images.samples, observer)?;
    if !selected.contains(&true) {
        let message = format!("shard {shard} holds none of the {} images", images.samples.len());
        return Err(Error::new(ErrorKind::Data, message).hint("split them into fewer shards"));
    }
    let part = |whole: &Dataset, is_here: &dyn Fn(usize, &Sample) -> bool| {
        let samples = whole.samples.iter().enumerate().filter(|(row, sample)| is_here(*row, sample));
        Dataset { samples: samples.map(|(_, sample)| sample.clone()).collect(), ..whole.clone() }
    };
    let originals = images.samples.iter().map(original_key).zip(&selected);
    let originals: HashMap<OriginalKey, bool> = originals.map(|(key, &selected)| (key, selected)).collect();
    let follows =
        |_: usize, sample: &Sample| originals.get(&original_key(sample)).copied().unwrap_or_else(|| shard.is_first());
    let attacked = attacked.iter().map(|(name, set)| (name.clone(), part(set, &follows))).collect();
    Ok((part(images, &|row, _| selected[row]), attacked))
}

/// What an image and its attacked versions share.
pub(super) fn original_key(sample: &Sample) -> OriginalKey {
    (sample.label.unwrap_or_default(), stem(&sample.path))
}

/// Attacked images sorted by what became of them.
pub(crate) struct MatchedAttacks {
    pub(crate) attacks: Attacks,
    pub(crate) unmatched: usize,
}

/// What identifies an image and its attacked version: the class and the file's name without extension.
pub(super) type OriginalKey = (usize, String);

/// The predictions of clean images, by which attacked ones find their originals.
pub(crate) fn clean_predictions(
    paths: &[String],
    labels: &[usize],
    predictions: &[usize],
) -> HashMap<OriginalKey, usize> {
    let rows = paths.iter().zip(labels).zip(predictions);
    rows.map(|((path, &label), &prediction)| ((label, stem(path)), prediction)).collect()
}

/// Finds each attacked image's original and sorts the attacks. An image without one is taken as correctly classified.
pub(crate) fn match_attacks(
    images: &[&Sample],
    predictions: &[u32],
    originals: &HashMap<OriginalKey, usize>,
    classes: usize,
) -> Result<MatchedAttacks> {
    let labels: Vec<usize> = images.iter().map(|sample| sample.label.unwrap_or_default()).collect();
    let mut unmatched = 0;
    let mut clean = Vec::with_capacity(images.len());
    for (&sample, &label) in images.iter().zip(&labels) {
        clean.push(originals.get(&original_key(sample)).copied().unwrap_or_else(|| {
            unmatched += 1;
            label
        }));
    }
    let attacked: Vec<usize> = predictions.iter().map(|&class| class as usize).collect();
    Ok(MatchedAttacks { attacks: Attacks::new(&labels, &clean, &attacked, classes)?, unmatched })
}

fn stem(path: &str) -> String {
    Path::new(path).file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
