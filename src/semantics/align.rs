//! The aligner: a linear map from the classifier's features to CLIP's embeddings.

use std::collections::HashSet;
use std::path::Path;

use faer::Mat;
use serde::{Deserialize, Serialize};

use super::container::Container;
use super::folds::Images;
use super::forward::{Collected, Pass, RunOptions, run_images, text_directions};
use super::ridge::{Fit, Moments, choose_lambda, fit};
use super::scores::ContentOrder;
use super::statistics::{Bootstrap, Estimate};
use super::{Templates, class_prompts};
use crate::dataset::{ContentHash, Dataset};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Device, Input};
use crate::layers::{Activation, Linear, Parameter, padded_rows};
use crate::models::{Classifier, Clip};
use crate::plan::Plan;
use crate::progress::{Observer, step};
use crate::tensor::Tensor;

/// Rows that a plan takes at a time, and whose products it sums in f32.
const ROWS_AT_ONCE: usize = 1024;
/// Parts of the fitting images that λ is chosen over.
const FOLDS: usize = 5;

/// How an aligner is fitted.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlignOptions {
    /// λ; none = by cross-validation.
    pub lambda: Option<f64>,
    /// How images are read and run.
    pub run: RunOptions,
}

/// What is known of an aligner's quality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlignerFigures {
    /// λ.
    pub lambda: f64,
    /// Images it was fitted on.
    pub fitted: usize,
    /// Images the figures below are measured on: the held-out fifth, or, where λ was given, the fitted ones themselves.
    pub measured: usize,
    /// Whether those images took no part in the fit.
    pub held_out: bool,
    /// `1 − Σ‖r−g‖² / Σ‖g−ḡ‖²`, with its bootstrap interval.
    pub r2: Estimate,
    /// Mean cosine of the aligned feature with CLIP's embedding, with its bootstrap interval.
    pub mean_cosine: Estimate,
    /// The share of images on which both give the same zero-shot class, with Wilson's interval; none where the classifier's
    /// classes have no names.
    pub zero_shot_agreement: Option<Estimate>,
}

/// `r(z) = M z + d`: classifier features to CLIP's space.
#[derive(Debug, Clone)]
pub struct Aligner {
    /// The file it was read from, or what else it is, for errors.
    name: String,
    weight: Tensor,
    bias: Vec<f32>,
    figures: Option<AlignerFigures>,
    classifier: Option<String>,
    clip: Option<String>,
    images: Option<HashSet<ContentHash>>,
}

impl Aligner {
    /// Fits by ridge regression on unlabelled images (method: closed form on centred data; the Gram matrices are made on
    /// the GPU, partials summed and the equations solved in f64).
    ///
    /// Without a given λ, a fifth of the images is held out for the figures, and λ chosen by 5-fold cross-validation on
    /// the others.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for too few images, for features that are all the same and for a λ with which the equations can't be
    /// solved, and those of reading and running the images.
    pub fn fit(
        device: &Device,
        classifier: &Classifier,
        clip: &Clip,
        images: &Dataset,
        options: &AlignOptions,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let pass = Pass {
            stage: "features and embeddings",
            preprocess: &[classifier.preprocess(), clip.preprocess()],
            record: &|plan, pixels| {
                let features = classifier.record(plan, pixels[0]).features;
                plan.output("features", features);
                let embeddings = clip.record_image(plan, pixels[1]);
                plan.output("clip", embeddings);
            },
            thumbnails: false,
            journal: None,
        };
        let mut collected = run_images(device, &pass, &images.samples, &options.run, observer)?;
        tell(&collected, observer);
        let (features, embeddings) = (collected.take("features"), collected.take("clip"));
        let mut aligner = Self::of_pairs(device, &features, &embeddings, &collected.hashes, options.lambda, observer)?;
        aligner.classifier = Some(classifier.sha256().to_owned());
        aligner.clip = Some(clip.sha256().to_owned());
        if let (Some(names), Some(figures)) = (classifier.class_names(), &mut aligner.figures) {
            let rows = Parts::new(&collected.hashes, options.lambda.is_some())?.measured;
            let prompts = class_prompts(names, &Templates::default());
            let (directions, _) = text_directions(device, clip, &prompts, options.run.batch, observer)?;
            figures.zero_shot_agreement =
                agreement(device, &aligner.weight, &aligner.bias, &features, &embeddings, &directions, &rows)?;
        }
        Ok(aligner)
    }

    /// Fits to pairs of features `[N, D]` and embeddings `[N, E]`, whose images have the given content hashes.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn of_pairs(
        device: &Device,
        features: &Tensor,
        embeddings: &Tensor,
        hashes: &[ContentHash],
        lambda: Option<f64>,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let Parts { folds, measured } = Parts::new(hashes, lambda.is_some())?;
        let first: Vec<usize> = folds.iter().flatten().copied().take(ROWS_AT_ONCE).collect();
        let means = [features, embeddings].map(|values| provisional_mean(values, &first));
        let mut moments = Vec::with_capacity(folds.len());
        for (number, rows) in folds.iter().enumerate() {
            step(observer, "Gram matrices", number, folds.len())?;
            moments.push(moments_of(device, features, embeddings, &means, rows)?);
        }
        step(observer, "Gram matrices", folds.len(), folds.len())?;
        let mut all = Moments::empty(features.columns(), embeddings.columns());
        moments.iter().for_each(|fold| all.add(fold));
        if all.scale() <= 0.0 {
            return Err(Error::new(
                ErrorKind::Data,
                format!("the {} images to fit to all have the same features", all.n),
            )
            .hint("nothing can be aligned to them: are these the classifier's weights and its preprocessing?"));
        }
        let chosen = match lambda {
            Some(lambda) => lambda,
            None => choose_lambda(&moments, all.scale(), observer)?,
        };
        let (weight, bias) = uncentered(&fit(&all, chosen)?, &means);
        let aligned = apply(device, &weight, &bias, &features.select_rows(&measured))?;
        let (r2, mean_cosine) = quality(&aligned, &embeddings.select_rows(&measured));
        let figures = AlignerFigures {
            lambda: chosen,
            fitted: all.n as usize,
            measured: measured.len(),
            held_out: lambda.is_none(),
            r2,
            mean_cosine,
            zero_shot_agreement: None,
        };
        let images = Some(hashes.iter().copied().collect());
        Ok(Self {
            name: "the aligner".to_owned(),
            weight,
            bias,
            figures: Some(figures),
            classifier: None,
            clip: None,
            images,
        })
    }

    /// Reads a safetensors file with `weight` `[E, D]` and `bias` `[E]`. One from elsewhere has no figures and no hashes.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] or [`ErrorKind::Format`] naming the file, the latter for NaN and infinity as well.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { name: path.display().to_string(), ..Self::of_container(&Container::open(path)?, "")? })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] naming it.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut container = Container::default();
        self.add_to(&mut container, "")?;
        container.save(path)
    }

    pub(crate) fn of_container(container: &Container, prefix: &str) -> Result<Self> {
        let weight = container.matrix(&format!("{prefix}weight"), [usize::MAX; 2])?;
        let bias = container.finite(&format!("{prefix}bias"), &[weight.rows()])?;
        let text = |key: &str| container.text(&format!("{prefix}{key}"));
        let figures = text("figures").map(serde_json::from_str).transpose();
        let figures =
            figures.map_err(|e| Error::new(ErrorKind::Format, "the aligner's figures can't be read").caused_by(e))?;
        let hashes = format!("{prefix}content_hashes");
        let images = if container.contains(&hashes) { Some(hashes_of(container, &hashes)?) } else { None };
        let [classifier, clip] = ["classifier", "clip"].map(|key| text(key).map(str::to_owned));
        Ok(Self { name: "the aligner".to_owned(), weight, bias, figures, classifier, clip, images })
    }

    pub(crate) fn add_to(&self, container: &mut Container, prefix: &str) -> Result<()> {
        container.insert_tensor(&format!("{prefix}weight"), &self.weight);
        container.insert(&format!("{prefix}bias"), &[self.bias.len()], &self.bias);
        if let Some(figures) = &self.figures {
            let text = serde_json::to_string(figures)
                .map_err(|e| Error::new(ErrorKind::Format, "the aligner's figures can't be written").caused_by(e))?;
            container.describe(&format!("{prefix}figures"), text);
        }
        for (key, value) in [("classifier", &self.classifier), ("clip", &self.clip)] {
            if let Some(value) = value {
                container.describe(&format!("{prefix}{key}"), value.clone());
            }
        }
        if let Some(images) = &self.images {
            insert_hashes(container, &format!("{prefix}content_hashes"), images);
        }
        Ok(())
    }

    /// M, `[E, D]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// d, `[E]`.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// Its quality, if heatlens fitted it.
    pub fn figures(&self) -> Option<&AlignerFigures> {
        self.figures.as_ref()
    }

    /// The content hashes of the images it was fitted on, if it says so.
    pub fn images(&self) -> Option<&HashSet<ContentHash>> {
        self.images.as_ref()
    }

    /// The aligner as a layer of a plan.
    pub(crate) fn layer(&self) -> Linear {
        Linear::new("aligner", &self.weight, Some(&self.bias))
    }

    /// Refuses an aligner that was fitted to other models.
    pub(crate) fn check(&self, features: usize, embeddings: usize, classifier: &str, clip: Option<&str>) -> Result<()> {
        let shape = [self.weight.rows(), self.weight.columns()];
        if shape != [embeddings, features] {
            let message =
                format!("{}: `weight` is {shape:?}, expected [{embeddings}, {features}] for these models", self.name);
            return Err(Error::new(ErrorKind::Mismatch, message).hint("fit one with `heatlens align`"));
        }
        let other = |ours: &Option<String>, given: Option<&str>| {
            ours.as_deref().zip(given).is_some_and(|(ours, given)| ours != given)
        };
        let kinds = [("classifier", &self.classifier, Some(classifier)), ("CLIP", &self.clip, clip)];
        for (kind, ours, given) in kinds {
            if other(ours, given) {
                let message = format!("{}: fitted to another {kind}: the weights' hashes differ", self.name);
                return Err(Error::new(ErrorKind::Mismatch, message).hint("fit one with `heatlens align`"));
            }
        }
        Ok(())
    }
}

/// Passes on what a pass has to say.
pub(crate) fn tell(collected: &Collected, observer: &dyn Observer) {
    for notice in &collected.notices {
        observer.notice(notice);
    }
    for (_, error) in &collected.skipped {
        observer.notice(&format!("skipped {error}"));
    }
}

pub(crate) fn insert_hashes(container: &mut Container, name: &str, hashes: &HashSet<ContentHash>) {
    let mut sorted: Vec<&ContentHash> = hashes.iter().collect();
    sorted.sort_unstable();
    let bytes: Vec<u8> = sorted.iter().flat_map(|hash| hash.0).collect();
    container.insert(name, &[sorted.len(), 32], &bytes);
}

pub(crate) fn hashes_of(container: &Container, name: &str) -> Result<HashSet<ContentHash>> {
    let bytes: Vec<u8> = container.values(name, &[usize::MAX, 32])?;
    Ok(bytes.as_chunks().0.iter().map(|&hash| ContentHash(hash)).collect())
}

/// How the images of an aligner are used.
struct Parts {
    /// The rows of each fold; with a given λ, one of all.
    folds: Vec<Vec<usize>>,
    /// The rows that the figures are measured on: the held-out ones, or with a given λ all.
    measured: Vec<usize>,
}

impl Parts {
    /// Deals the images by their content, copies of one together.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for too few different images.
    fn new(hashes: &[ContentHash], is_fixed: bool) -> Result<Self> {
        let order = ContentOrder::new(hashes);
        let images = Images::new(&order, &order.rows(), hashes);
        let (needed, found) = (if is_fixed { 2 } else { 2 * FOLDS }, images.len());
        if found < needed {
            let message = format!("an aligner needs at least {needed} different images, found {found}");
            return Err(Error::new(ErrorKind::Data, message));
        }
        let places = |rows: Vec<u32>| rows.into_iter().map(|row| row as usize).collect::<Vec<_>>();
        if is_fixed {
            let rows = places(images.rows());
            return Ok(Self { folds: vec![rows.clone()], measured: rows });
        }
        let (fitting, held_out) = images.split_at(found - found / 5);
        let folds = fitting.deal(FOLDS).into_iter().map(places).collect();
        Ok(Self { folds, measured: places(held_out.rows()) })
    }
}

/// The mean of the first rows: subtracting it keeps the f32 products small.
fn provisional_mean(values: &Tensor, rows: &[usize]) -> Vec<f32> {
    let mut sums = vec![0.0_f64; values.columns()];
    for &row in rows {
        sums.iter_mut().zip(values.row(row)).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sums.iter().map(|sum| (sum / rows.len() as f64) as f32).collect()
}

/// Moments of some rows about the provisional means: Gram matrices from the GPU, added in f64.
fn moments_of(
    device: &Device,
    features: &Tensor,
    embeddings: &Tensor,
    means: &[Vec<f32>; 2],
    rows: &[usize],
) -> Result<Moments> {
    let (inputs, outputs) = (features.columns(), embeddings.columns());
    let parameters = [("mean of features", inputs), ("mean of embeddings", outputs)];
    let parameter = |i: usize| Parameter::new(parameters[i].0, padded_rows(&means[i], parameters[i].1));
    let (z_mean, x_mean) = (parameter(0), parameter(1));
    let mut moments = Moments::empty(inputs, outputs);
    for rows in rows.chunks(ROWS_AT_ONCE) {
        let mut plan = Plan::new(rows.len());
        let z = plan.input("features", 1, inputs);
        let x = plan.input("embeddings", 1, outputs);
        let zz = plan.gram(z, z, &z_mean, &z_mean);
        let zx = plan.gram(z, x, &z_mean, &x_mean);
        plan.output("zz", zz);
        plan.output("zx", zx);
        let parts = [features, embeddings].map(|values| values.select_rows(rows));
        let given = [("features", Input::F32(parts[0].data())), ("embeddings", Input::F32(parts[1].data()))];
        let found = device.compile(&plan)?.run(&given)?;
        let (zz, zx) = (found.tensor("zz"), found.tensor("zx"));
        let less_mean = |part: usize, i: usize, j: usize| f64::from(parts[part].row(i)[j]) - f64::from(means[part][j]);
        let sum = |part: usize, j: usize| (0..rows.len()).map(|i| less_mean(part, i, j)).sum::<f64>();
        let xx = (0..rows.len()).flat_map(|i| (0..outputs).map(move |j| (i, j)));
        moments.add(&Moments {
            n: rows.len() as f64,
            z: Mat::from_fn(inputs, 1, |j, _| sum(0, j)),
            x: Mat::from_fn(outputs, 1, |j, _| sum(1, j)),
            zz: Mat::from_fn(inputs, inputs, |i, j| f64::from(zz.row(i)[j])),
            zx: Mat::from_fn(inputs, outputs, |i, j| f64::from(zx.row(i)[j])),
            xx: xx.map(|(i, j)| less_mean(1, i, j).powi(2)).sum(),
        });
    }
    Ok(moments)
}

/// The fit as f32 `[E, D]` and bias about zero instead of the provisional means.
fn uncentered(fit: &Fit, means: &[Vec<f32>; 2]) -> (Tensor, Vec<f32>) {
    let (inputs, outputs) = (fit.weight.nrows(), fit.weight.ncols());
    let weight = (0..outputs).flat_map(|e| (0..inputs).map(move |d| fit.weight[(d, e)] as f32)).collect();
    let bias = |e: usize| {
        let shift: f64 = (0..inputs).map(|d| fit.weight[(d, e)] * f64::from(means[0][d])).sum();
        (fit.bias[(e, 0)] + f64::from(means[1][e]) - shift) as f32
    };
    (Tensor::new([outputs, inputs], weight), (0..outputs).map(bias).collect())
}

/// The aligned features `[N, E]`, on the GPU.
fn apply(device: &Device, weight: &Tensor, bias: &[f32], features: &Tensor) -> Result<Tensor> {
    let aligner = Linear::new("aligner", weight, Some(bias));
    let mut aligned = Vec::with_capacity(features.rows() * aligner.outputs);
    for rows in features.data().chunks(ROWS_AT_ONCE * features.columns()) {
        let mut plan = Plan::new(rows.len() / features.columns());
        let z = plan.input("features", 1, features.columns());
        let part = plan.linear(z, &aligner, Activation::Identity);
        plan.output("aligned", part);
        aligned.extend(device.compile(&plan)?.run(&[("features", Input::F32(rows))])?.tensor("aligned").into_data());
    }
    Ok(Tensor::new([features.rows(), aligner.outputs], aligned))
}

/// R² and mean cosine over rows in content order.
fn quality(aligned: &Tensor, embeddings: &Tensor) -> (Estimate, Estimate) {
    let (rows, columns) = (embeddings.rows(), embeddings.columns());
    let mean = |c: usize| (0..rows).map(|r| f64::from(embeddings.row(r)[c])).sum::<f64>() / rows as f64;
    let means: Vec<f64> = (0..columns).map(mean).collect();
    let (mut errors, mut cosines) = (vec![0.0; rows], vec![0.0; rows]);
    let mut centred: Vec<f64> = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        let (mut dot, mut left, mut right) = (0.0, 0.0, 0.0);
        for ((&r, &g), mean) in aligned.row(row).iter().zip(embeddings.row(row)).zip(&means) {
            let (r, g) = (f64::from(r), f64::from(g));
            errors[row] += (r - g).powi(2);
            centred.push(g - mean);
            dot += r * g;
            left += r * r;
            right += g * g;
        }
        cosines[row] = dot / (left * right).sqrt();
    }
    let r2 = |times: &[u32]| {
        let drawn = || times.iter().enumerate().filter(|(_, times)| **times > 0);
        let error: f64 = drawn().map(|(row, &times)| f64::from(times) * errors[row]).sum();
        let (mut squares, mut sums) = (0.0, vec![0.0; columns]);
        for (row, &times) in drawn() {
            for (sum, value) in sums.iter_mut().zip(&centred[row * columns..]) {
                *sum += f64::from(times) * value;
                squares += f64::from(times) * value * value;
            }
        }
        // The mean of those drawn isn't that of all.
        1.0 - error / (squares - sums.iter().map(|sum| sum * sum).sum::<f64>() / rows as f64)
    };
    let bootstrap = Bootstrap::default();
    let interval = bootstrap.intervals(&[rows], |times| vec![r2(&times[0])]).remove(0);
    let value = r2(&vec![1; rows]);
    let unknown = |value| Estimate { value, low: value, high: value };
    let of_r2 = interval.map_or(unknown(value), |interval| Estimate::new(value, interval));
    (of_r2, bootstrap.mean(&cosines).unwrap_or(unknown(f64::NAN)))
}

/// The share of rows on which aligned features and embeddings have the same nearest class direction.
fn agreement(
    device: &Device,
    weight: &Tensor,
    bias: &[f32],
    features: &Tensor,
    embeddings: &Tensor,
    directions: &Tensor,
    rows: &[usize],
) -> Result<Option<Estimate>> {
    let directions = Linear::new("class directions", directions, None);
    let aligner = Linear::new("aligner", weight, Some(bias));
    let mut agreeing = 0;
    for rows in rows.chunks(ROWS_AT_ONCE) {
        let mut plan = Plan::new(rows.len());
        let z = plan.input("features", 1, features.columns());
        let x = plan.input("embeddings", 1, embeddings.columns());
        let aligned = plan.linear(z, &aligner, Activation::Identity);
        for (name, values) in [("aligned", aligned), ("clip", x)] {
            let scores = plan.cosine_scores(values, &directions);
            let label = plan.argmax(scores);
            plan.output(name, label);
        }
        let parts = [features, embeddings].map(|values| values.select_rows(rows));
        let given = [("features", Input::F32(parts[0].data())), ("embeddings", Input::F32(parts[1].data()))];
        let found = device.compile(&plan)?.run(&given)?;
        let pairs = found.integers("aligned").iter().zip(found.integers("clip"));
        agreeing += pairs.filter(|(aligned, clip)| aligned == clip).count() as u64;
    }
    Ok(Estimate::of_share(agreeing, rows.len() as u64))
}

#[cfg(test)]
mod tests;
