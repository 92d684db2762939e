//! Models over images without the method: classes and embeddings.

use std::path::Path;

use serde::Serialize;

use super::align::tell;
use super::container::Container;
use super::forward::{Collected, Pass, RunOptions, run_images};
use super::manifest::json;
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Device;
use crate::image::Preprocess;
use crate::models::{Classifier, Model};
use crate::plan::{Plan, Var};
use crate::progress::Observer;
use crate::tensor::Tensor;

/// What a classifier says of one image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classified {
    /// The image's path as given.
    pub path: String,
    /// The most probable classes, the most probable first and of equal ones that with the lowest index.
    pub classes: Vec<ClassProbability>,
}

/// A class and how sure the classifier is of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassProbability {
    /// The class's name, or its index where there are no names.
    pub class: String,
    /// Its softmax probability.
    pub probability: f64,
    /// Its logit.
    pub logit: f32,
}

/// Embeddings of images or prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// `[N, E]`, not normalised.
    pub values: Tensor,
    /// The images' paths as given, or the prompts.
    pub paths: Vec<String>,
    /// Paths of the images left out, and why.
    pub skipped: Vec<(String, String)>,
}

impl Embeddings {
    /// Writes a safetensors file with the tensor `embeddings` and, in its metadata, `paths` as a JSON list.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] naming the file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut container = Container::default();
        container.insert_tensor("embeddings", &self.values);
        container.describe("paths", json(&self.paths)?);
        container.save(path)
    }
}

/// Classifies images: of each that decodes the `top` most probable classes, in order, by their `names` in logit order.
///
/// # Errors
/// Those of reading and running the images; [`ErrorKind::Data`] if none of them decodes.
///
/// # Panics
/// If there are fewer `names` than logits.
pub fn classify(
    device: &Device,
    classifier: &Classifier,
    names: Option<&[String]>,
    images: &Dataset,
    top: usize,
    options: &RunOptions,
    observer: &dyn Observer,
) -> Result<Vec<Classified>> {
    let record = |plan: &mut Plan, pixels: &[Var]| {
        let logits = classifier.record(plan, pixels[0]).logits;
        plan.output("logits", logits);
    };
    let mut collected = run(device, "classifying", classifier.preprocess(), &record, images, options, observer)?;
    let logits = collected.take("logits");
    let rows = collected.indices.iter().enumerate();
    Ok(rows
        .map(|(row, &index)| Classified {
            path: images.samples[index].path.clone(),
            classes: most_probable(logits.row(row), names, top),
        })
        .collect())
}

/// Embeds images: a classifier's pooled features, or CLIP's image embeddings.
///
/// # Errors
/// Those of reading and running the images; [`ErrorKind::Data`] if none of them decodes.
pub fn embed_images(
    device: &Device,
    model: &Model,
    images: &Dataset,
    options: &RunOptions,
    observer: &dyn Observer,
) -> Result<Embeddings> {
    let record = |plan: &mut Plan, pixels: &[Var]| {
        let embeddings = match model {
            Model::Classifier(classifier) => classifier.record(plan, pixels[0]).features,
            Model::Clip(clip) => clip.record_image(plan, pixels[0]),
        };
        plan.output("embeddings", embeddings);
    };
    let mut collected = run(device, "embedding", model.preprocess(), &record, images, options, observer)?;
    let paths = collected.indices.iter().map(|&index| images.samples[index].path.clone()).collect();
    Ok(Embeddings { values: collected.take("embeddings"), paths, skipped: collected.skipped })
}

/// Runs one model, and says what was left out.
fn run(
    device: &Device,
    stage: &str,
    preprocess: &Preprocess,
    record: &dyn Fn(&mut Plan, &[Var]),
    images: &Dataset,
    options: &RunOptions,
    observer: &dyn Observer,
) -> Result<Collected> {
    let pass = Pass { stage, preprocess: &[preprocess], record, thumbnails: false, journal: None };
    let collected = run_images(device, &pass, &images.samples, options, observer)?;
    tell(&collected, observer);
    if collected.indices.is_empty() {
        return Err(Error::new(ErrorKind::Data, "none of the images decodes"));
    }
    Ok(collected)
}

fn most_probable(logits: &[f32], names: Option<&[String]>, top: usize) -> Vec<ClassProbability> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    // Shifted by the largest logit, so that no exponential overflows.
    let exponential = |class: usize| (f64::from(logits[class]) - largest).exp();
    let sum: f64 = (0..logits.len()).map(exponential).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let probable = |class: usize| ClassProbability {
        class: names.map_or_else(|| class.to_string(), |names| names[class].clone()),
        probability: exponential(class) / sum,
        logit: logits[class],
    };
    order.into_iter().take(top).map(probable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_softmax_and_ties_keep_their_order() {
        let found = most_probable(&[1000.0, 999.0, 1000.0], None, 2);
        assert_eq!(found.iter().map(|c| c.class.as_str()).collect::<Vec<_>>(), ["0", "2"]);
        let expected = 1.0 / (2.0 + (-1.0_f64).exp());
        assert!(found.iter().all(|c| (c.probability - expected).abs() < 1e-12), "{found:?}");
        assert_eq!(most_probable(&[0.5], Some(&["a".to_owned()]), 5)[0].probability, 1.0);
    }
}
