//! What the runtime filter costs beside the classifier.

use serde::Serialize;

use super::models::input;
use super::peak::Timed;
use super::sample::{in_turns, timed, wrong};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Device, Input};
use crate::kernels::cases::noise;
use crate::kernels::{DistanceForm, MapConstants};
use crate::layers::{Activation, Linear};
use crate::models::{Architecture, SampleSize};
use crate::plan::{Plan, StoredMaps, Var};
use crate::progress::Observer;
use crate::tensor::Tensor;

/// Maps that an image is compared with: correct, false alarm, adversarial.
const MAPS: usize = 3;

/// Bytes of maps at most: they are in the host's memory several times while they are made.
const MOST_BYTES: u64 = 1 << 30;

/// The width of CLIP ViT-B/32's embeddings.
const EMBEDDING: usize = 512;

/// Which classifier is measured with a filter, and how.
#[derive(Debug, Clone, Copy)]
pub struct FilterOptions {
    /// The classifier, with weights from the formula.
    pub architecture: Architecture,
    /// The edge of its pictures in pixels, as [`Architecture::load`] takes it.
    pub size: Option<usize>,
    /// Concepts.
    pub concepts: usize,
    /// Repetitions.
    pub repetitions: usize,
}

/// A classifier with and without a filter, one picture at a time.
#[derive(Debug, Serialize)]
pub struct FilterRow {
    /// The architecture's name.
    pub arch: &'static str,
    /// How large its pictures are.
    #[serde(flatten)]
    pub sample: SampleSize,
    /// Concepts.
    pub concepts: usize,
    /// Classes, each with three stored maps.
    pub classes: usize,
    /// Milliseconds of the classifier's dispatches.
    pub forward_ms: f64,
    /// Half of their interquartile range.
    pub forward_spread_ms: f64,
    /// Milliseconds of the filter's dispatches: aligner, scores, argmax, distances.
    pub heatmap_ms: f64,
    /// Half of their interquartile range.
    pub heatmap_spread_ms: f64,
    /// `heatmap_ms` over `forward_ms`.
    pub heatmap_share: f64,
    /// Milliseconds from a picture's bytes to its distances: upload, all dispatches, readback.
    pub image_ms: f64,
    /// Half of their interquartile range.
    pub image_spread_ms: f64,
    /// Submissions to the GPU that a picture takes.
    pub submissions: u64,
    /// Repetitions.
    pub repetitions: usize,
}

/// What a filter adds to a classifier's plan, with numbers from a formula.
struct Work {
    aligner: Linear,
    directions: Linear,
    maps: StoredMaps,
}

impl Work {
    fn new(features: usize, concepts: usize, classes: usize) -> Self {
        let matrix = |seed, outputs, inputs| Tensor::new([outputs, inputs], noise(seed, outputs * inputs));
        // Cosine distances, as if each map were of 100 images.
        let weights: Vec<Vec<f32>> = (0..classes * MAPS)
            .map(|map| noise(7 + map as u32, concepts * concepts).iter().map(|w| (100.0 * w.abs()).round()).collect())
            .collect();
        let constants = MapConstants { form: DistanceForm::Cosine, offset: 1.0, product: 0.01, sum: 0.5 };
        let maps: Vec<(&[f32], MapConstants)> = weights.iter().map(|weights| (&weights[..], constants)).collect();
        Self {
            aligner: Linear::new("aligner", &matrix(5, EMBEDDING, features), Some(&vec![0.0; EMBEDDING])),
            directions: Linear::new("concept directions", &matrix(6, concepts, EMBEDDING), None),
            maps: StoredMaps::new(concepts, &maps, (0..maps.len() as u32).collect(), MAPS),
        }
    }

    /// Records it on a classifier's features and logits.
    fn record(&self, plan: &mut Plan, features: Var, logits: Var) {
        let prediction = plan.argmax(logits);
        let aligned = plan.linear(features, &self.aligner, Activation::Identity);
        let scores = plan.cosine_scores(aligned, &self.directions);
        let distances = plan.map_distances(scores, prediction, &self.maps);
        plan.output("scores", scores);
        plan.output("distances", distances);
    }
}

/// Measures in turns a classifier's dispatches, a filter's, and both in one run on one picture.
///
/// # Errors
/// [`ErrorKind::Usage`] if the architecture is no classifier or there are fewer than two concepts or too many; those of
/// [`Architecture::load`] and of the device; [`ErrorKind::Device`] if runs differ.
pub fn filter(device: &Device, options: &FilterOptions, observer: &dyn Observer) -> Result<FilterRow> {
    let &FilterOptions { architecture, size, concepts, repetitions } = options;
    if concepts < 2 {
        let message = format!("{concepts} concepts make no pair to compare");
        return Err(Error::new(ErrorKind::Usage, message).hint("use --concepts 2 or more"));
    }
    let network = architecture.load(size)?;
    network.check_batch(1)?;
    let picture = network.samples(1);
    let (mut forward, mut whole) = (Plan::new(1), Plan::new(1));
    let [output, with_filter] = [&mut forward, &mut whole].map(|plan| {
        let pixels = network.add_input(plan);
        network.classify_on(plan, pixels).inspect(|output| {
            plan.output("features", output.features);
            plan.output("logits", output.logits);
        })
    });
    let (Some(output), Some(with_filter)) = (output, with_filter) else {
        let message = format!("{} is no classifier", architecture.name());
        return Err(Error::new(ErrorKind::Usage, message).hint("use --arch resnet18 or resnet50"));
    };
    let [features, classes] = [output.features, output.logits].map(|var| forward.shape(var).channels);
    let bytes = (classes * MAPS * 4) as u64 * (concepts as u64).saturating_pow(2);
    if bytes > MOST_BYTES {
        let message = format!(
            "{concepts} concepts make maps of {bytes} bytes for {classes} classes, expected at most {MOST_BYTES}"
        );
        return Err(Error::new(ErrorKind::Usage, message).hint("use fewer --concepts"));
    }
    let work = Work::new(features, concepts, classes);
    work.record(&mut whole, with_filter.features, with_filter.logits);
    let mut alone = Plan::new(1);
    let inputs = [alone.input("features", 1, features), alone.input("logits", 1, classes)];
    work.record(&mut alone, inputs[0], inputs[1]);

    let clock = device.clock();
    let [classifier, heatmap, both] = [device.compile(&forward)?, device.compile(&alone)?, device.compile(&whole)?];
    let outputs = classifier.run(&[(network.input(), input(&picture))])?;
    let [features, logits] = ["features", "logits"].map(|name| outputs.tensor(name).into_data());
    let apart = heatmap.run(&[("features", Input::F32(&features)), ("logits", Input::F32(&logits))])?;
    let before = device.submissions();
    let image = || Ok(both.run(&[(network.input(), input(&picture))])?.tensor("distances"));
    if image()?.data() != apart.tensor("distances").data() {
        return Err(wrong(device, "a filter computed something else apart from its classifier"));
    }
    let submissions = device.submissions() - before;
    let [classifier, heatmap] = [(classifier, &forward), (heatmap, &alone)]
        .map(|(executable, plan)| Timed::new(executable, plan.flops(), plan.bytes(), clock));
    let (classifier, heatmap) = (classifier?, heatmap?);
    let measurements: [&dyn Fn() -> Result<f64>; 3] =
        [&|| classifier.seconds(), &|| heatmap.seconds(), &|| Ok(timed(image)?.0)];
    let measured = in_turns(repetitions, &measurements, observer)?;
    let [forward, heatmap, image] = [measured[0], measured[1], measured[2]];
    Ok(FilterRow {
        arch: architecture.name(),
        sample: network.sample_size(),
        concepts,
        classes,
        forward_ms: 1e3 * forward.median,
        forward_spread_ms: 1e3 * forward.spread,
        heatmap_ms: 1e3 * heatmap.median,
        heatmap_spread_ms: 1e3 * heatmap.spread,
        heatmap_share: heatmap.median / forward.median,
        image_ms: 1e3 * image.median,
        image_spread_ms: 1e3 * image.spread,
        submissions,
        repetitions,
    })
}
