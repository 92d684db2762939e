//! Words of a large vocabulary that tell a classifier's correct images from its misclassified ones.
//!
//! The directions of all words share a part: prompts are alike, and CLIP's text embeddings lie in a narrow cone. Where misclassified
//! images lie nearer to that cone, or farther from it, every word scores higher in them, or lower, and nearly all would be flagged for
//! one and the same reason that has nothing to do with what they mean. So a word's score is taken less the image's mean score over
//! the vocabulary: does this word stand out more in correct images than in misclassified ones? As scores are products with
//! directions of norm 1, that is the product with the word's direction less the mean direction.
//!
//! What is left still isn't independent: words have near-synonyms, and an embedding space has few directions in which misclassified
//! images differ, each of which moves thousands of words a little. With many images all of these are significant and say nothing.
//! So a large vocabulary is its own yardstick: a word is flagged if its statistic is large against the spread of all words'
//! ([`null_scale`]). The vocabulary is part of the question: it should be large and of all kinds of words. Of fewer than 200 there is
//! no spread to speak of, and chance is the yardstick.

use std::borrow::Cow;

use rayon::prelude::*;
use serde::Serialize;

use super::bundle::{Bundle, Samples, Space};
use super::concepts::{Concepts, Templates};
use super::differential::FALSE_DISCOVERY_RATE;
use super::forward::text_directions;
use super::statistics::{Bootstrap, Estimate, RankTest, benjamini_hochberg, null_scale, rank_test, two_sided_p};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Device, Input};
use crate::layers::{Activation, Linear};
use crate::models::Clip;
use crate::plan::{Plan, Var};
use crate::progress::{Observer, step};
use crate::tensor::Tensor;

/// Words that are scored at a time.
const WORDS_AT_ONCE: usize = 512;

/// Images that are scored at a time: a tile of scores takes 8 MB.
const IMAGES_AT_ONCE: usize = 4096;

/// Words from which on the vocabulary is its own yardstick.
const LARGE_VOCABULARY: usize = 200;

/// How words are looked for.
#[derive(Debug, Clone, Copy)]
pub struct SuggestOptions {
    /// The space of the scores.
    pub space: Space,
    /// One class alone; otherwise all that have enough images of both kinds.
    pub class: Option<usize>,
    /// How many words are kept.
    pub top: usize,
    /// Prompts a batch; none = as many as suit the adapter.
    pub batch: Option<usize>,
}

/// A word that tells correct from misclassified images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suggestion {
    /// The word.
    pub word: String,
    /// The probability that the word stands out more, by its score less the mean over the vocabulary, in a correct image than in a
    /// misclassified one of the same class. Its bootstrap interval isn't adjusted for the word having been chosen among many.
    pub auroc: Estimate,
    /// The two-sided p of the rank-sum test within classes, its statistic taken over [`Suggestions::spread`].
    pub p: f64,
    /// That p adjusted for all words (Benjamini–Hochberg).
    pub adjusted: f64,
    /// Whether it is flagged at a false-discovery rate of 5 %.
    pub flagged: bool,
    /// The bundle's concept whose direction is nearest.
    pub nearest: String,
    /// The cosine of the two.
    pub cosine: f64,
}

/// The words that tell most.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suggestions {
    /// Words that were tested: one family.
    pub tested: usize,
    /// How far the words' statistics spread, in multiples of what chance does to one: 1 for a small vocabulary.
    pub spread: f64,
    /// Those flagged.
    pub flagged: usize,
    /// Prompts that were cut.
    pub truncated: usize,
    /// The classes with enough images of both kinds, within which images were compared.
    pub classes: Vec<String>,
    /// Their correctly classified images.
    pub correct: usize,
    /// Their misclassified images.
    pub misclassified: usize,
    /// The words, those with the AUROC farthest from one half first.
    pub words: Vec<Suggestion>,
}

impl Bundle {
    /// Ranks the words of a vocabulary by how well their scores, less each image's mean over the vocabulary, tell correct from
    /// misclassified images of the same class.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for another CLIP than the bundle's; [`ErrorKind::Data`] if no class has the minimum support of both
    /// kinds of images; those of the text tower, the device and the observer.
    pub fn suggest(
        &self,
        device: &Device,
        clip: &Clip,
        vocabulary: &Concepts,
        templates: &Templates,
        options: &SuggestOptions,
        observer: &dyn Observer,
    ) -> Result<Suggestions> {
        self.check_clip(clip)?;
        let strata = self.strata(options.class)?;
        let (directions, truncated) =
            text_directions(device, clip, &vocabulary.prompts(templates), options.batch, observer)?;
        let distinct = less_their_mean(&directions);
        let units = self.unit_embeddings(device, options.space)?;
        let mut tests: Vec<RankTest> = Vec::with_capacity(vocabulary.count());
        for first in (0..vocabulary.count()).step_by(WORDS_AT_ONCE) {
            step(observer, "testing words", first, vocabulary.count())?;
            let words: Vec<usize> = (first..vocabulary.count().min(first + WORDS_AT_ONCE)).collect();
            let scores = scored(device, &units, &distinct.select_rows(&words))?.transpose();
            // There is a stratum, and each has both groups.
            let test = |word: usize| rank_test(&grouped(scores.row(word), &strata));
            tests.extend((0..words.len()).into_par_iter().map(test).collect::<Vec<_>>().into_iter().flatten());
        }
        step(observer, "testing words", vocabulary.count(), vocabulary.count())?;
        let z: Vec<f64> = tests.iter().map(|test| test.z).collect();
        let spread = if z.len() < LARGE_VOCABULARY { 1.0 } else { null_scale(&z) };
        let p: Vec<f64> = z.iter().map(|z| two_sided_p(z / spread)).collect();
        let family = benjamini_hochberg(&p, FALSE_DISCOVERY_RATE);
        let mut order: Vec<usize> = (0..tests.len()).collect();
        let strength = |word: usize| (tests[word].auroc - 0.5).abs();
        order.sort_by(|&a, &b| strength(b).total_cmp(&strength(a)));
        order.truncate(options.top);
        let scores = scored(device, &units, &distinct.select_rows(&order))?.transpose();
        let suggestion = |(place, &word): (usize, &usize)| {
            let (nearest, cosine) = nearest(directions.row(word), &self.directions);
            Suggestion {
                word: vocabulary.names()[word].clone(),
                auroc: Bootstrap::default().auroc(tests[word].auroc, &grouped(scores.row(place), &strata)),
                p: p[word],
                adjusted: family.adjusted[word],
                flagged: family.flagged[word],
                nearest: self.manifest.concepts[nearest].clone(),
                cosine,
            }
        };
        Ok(Suggestions {
            tested: tests.len(),
            spread,
            flagged: family.flagged.iter().filter(|&&flagged| flagged).count(),
            truncated,
            classes: strata.iter().map(|stratum| self.manifest.classes[stratum.class].clone()).collect(),
            correct: strata.iter().map(|stratum| stratum.rows[0].len()).sum(),
            misclassified: strata.iter().map(|stratum| stratum.rows[1].len()).sum(),
            words: order.iter().enumerate().map(suggestion).collect(),
        })
    }

    /// The classes with enough correct and misclassified images, rows in content order.
    fn strata(&self, class: Option<usize>) -> Result<Vec<Stratum>> {
        let (sets, order) = (self.sets()?, self.order());
        let minimum = self.manifest.minimum_support.max(1) as usize;
        let classes = class.map_or(0..sets.classes(), |class| class..class + 1);
        let stratum = |class: usize| {
            let rows = [order.sorted(sets.correct(class)), order.sorted(sets.missed(class))];
            rows.iter().all(|rows| rows.len() >= minimum).then_some(Stratum { class, rows })
        };
        let strata: Vec<Stratum> = classes.filter_map(stratum).collect();
        if strata.is_empty() {
            let which = class
                .map_or("no class has".to_owned(), |class| format!("{} doesn't have", self.manifest.classes[class]));
            let message = format!("{which} at least {minimum} correct and {minimum} misclassified images");
            return Err(Error::new(ErrorKind::Data, message));
        }
        Ok(strata)
    }

    /// The images' embeddings in a space, each of norm 1: `[N, E]`.
    fn unit_embeddings(&self, device: &Device, space: Space) -> Result<Tensor> {
        let Samples { features, clip, .. } = &self.samples;
        let aligner = self.aligner.layer();
        match space {
            Space::Clip => by_rows(device, clip, Plan::l2_normalize),
            Space::Classifier => by_rows(device, features, |plan, rows| {
                let aligned = plan.linear(rows, &aligner, Activation::Identity);
                plan.l2_normalize(aligned)
            }),
        }
    }
}

/// The images of a class that are compared with each other: the correct ones and the misclassified ones.
struct Stratum {
    class: usize,
    rows: [Vec<u32>; 2],
}

/// The scores of the images of each stratum.
fn grouped(scores: &[f32], strata: &[Stratum]) -> Vec<[Vec<f64>; 2]> {
    let of = |rows: &Vec<u32>| rows.iter().map(|&row| f64::from(scores[row as usize])).collect();
    strata.iter().map(|stratum| stratum.rows.each_ref().map(of)).collect()
}

/// `directions` `[V, E]` less their mean, which is summed in f64.
fn less_their_mean(directions: &Tensor) -> Tensor {
    let mut mean = vec![0.0; directions.columns()];
    for row in 0..directions.rows() {
        mean.iter_mut().zip(directions.row(row)).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    mean.iter_mut().for_each(|sum| *sum /= directions.rows() as f64);
    let rows = directions.data().chunks_exact(mean.len());
    let data = rows.flat_map(|row| row.iter().zip(&mean).map(|(&value, mean)| (f64::from(value) - mean) as f32));
    Tensor::new(directions.shape(), data.collect())
}

/// The row of `directions` with the largest product with `direction`, and that product.
fn nearest(direction: &[f32], directions: &Tensor) -> (usize, f64) {
    let product = |row: usize| -> f64 {
        directions.row(row).iter().zip(direction).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let products = (0..directions.rows()).map(|row| (row, product(row)));
    products.fold((0, f64::NEG_INFINITY), |best, found| if found.1 > best.1 { found } else { best })
}

/// The scores of `units` `[N, E]` by `directions` `[V, E]`: `[N, V]`.
fn scored(device: &Device, units: &Tensor, directions: &Tensor) -> Result<Tensor> {
    let layer = Linear::new("word directions", directions, None);
    by_rows(device, units, |plan, rows| plan.linear(rows, &layer, Activation::Identity))
}

/// Runs what `record` makes of `[N, …]` on some rows at a time.
fn by_rows(device: &Device, input: &Tensor, record: impl Fn(&mut Plan, Var) -> Var) -> Result<Tensor> {
    let (mut data, mut columns) = (Vec::new(), 0);
    for first in (0..input.rows()).step_by(IMAGES_AT_ONCE) {
        let rows: Vec<usize> = (first..input.rows().min(first + IMAGES_AT_ONCE)).collect();
        let part = if rows.len() == input.rows() { Cow::Borrowed(input) } else { Cow::Owned(input.select_rows(&rows)) };
        let mut plan = Plan::new(rows.len());
        let var = plan.input("rows", 1, input.columns());
        let output = record(&mut plan, var);
        plan.output("output", output);
        let output = device.compile(&plan)?.run(&[("rows", Input::F32(part.data()))])?.tensor("output");
        columns = output.columns();
        data.extend(output.into_data());
    }
    Ok(Tensor::new([input.rows(), columns], data))
}
