//! What is wrong with a list of concepts, as far as a bundle can tell.

use std::collections::HashMap;

use faer::Mat;
use rayon::prelude::*;
use serde::Serialize;

use super::bundle::{Bundle, Space};
use super::concepts::{Concepts, Templates};
use super::scores::Wins;
use super::statistics::{Bootstrap, CONFIDENCE, Estimate, correlation_interval};
use crate::error::{Error, ErrorKind, Result};
use crate::models::Clip;
use crate::tensor::Tensor;

/// Where findings begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LintOptions {
    /// The cosine of two directions from which on the concepts are near-synonyms.
    pub synonyms: f64,
    /// The correlation of two concepts' scores in clip space from which on CLIP doesn't tell them apart.
    pub correlation: f64,
    /// The share of comparisons from which on a concept wins (or loses) nearly always.
    pub dominance: f64,
}

impl Default for LintOptions {
    fn default() -> Self {
        Self { synonyms: 0.95, correlation: 0.95, dominance: 0.9 }
    }
}

/// Two concepts whose prompts mean nearly the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Synonyms {
    /// The first concept.
    pub first: String,
    /// The second concept.
    pub second: String,
    /// The cosine of their directions.
    pub cosine: f64,
}

/// Two concepts whose scores move together over the images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inseparable {
    /// The first concept.
    pub first: String,
    /// The second concept.
    pub second: String,
    /// Pearson's correlation of their scores in clip space, with Fisher's interval, whose lower end is past the bound.
    pub correlation: Estimate,
}

/// A concept that wins or loses nearly all comparisons, whatever is in the image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Biased {
    /// The concept.
    pub concept: String,
    /// The space of the scores.
    pub space: Space,
    /// The share of comparisons with other concepts that it wins, with its bootstrap interval, all of which is past the bound.
    pub win_rate: Estimate,
    /// Its class-balanced mean score.
    pub mean: f32,
}

/// A prompt that doesn't say what it should.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PromptFault {
    /// The concept.
    pub concept: String,
    /// The prompt.
    pub prompt: String,
    /// What is wrong with it.
    pub fault: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Lint {
    /// Near-synonyms, the nearest first.
    pub synonyms: Vec<Synonyms>,
    /// Pairs that CLIP doesn't tell apart on these images, the most alike first.
    pub inseparable: Vec<Inseparable>,
    /// Concepts that nearly always win or lose with raw scores.
    pub biased: Vec<Biased>,
    /// Prompts that are cut or empty, or stand for two concepts; none are looked for without the list.
    pub prompts: Vec<PromptFault>,
    /// Pairs of concepts that were looked at.
    pub pairs: u64,
    /// Images behind correlations and win rates.
    pub images: u64,
}

impl Lint {
    /// The number of findings.
    pub fn count(&self) -> usize {
        self.synonyms.len() + self.inseparable.len() + self.biased.len() + self.prompts.len()
    }
}

impl Bundle {
    /// Looks for faults in the bundle's concepts and, given the list, its templates and CLIP, in their prompts. Intervals are of 95 %
    /// each; what is found lies past its bound with its whole interval.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for fewer images than the minimum support; [`ErrorKind::Mismatch`] for a list of other concepts or
    /// another CLIP; those of the tokenizer.
    pub fn lint(&self, options: &LintOptions, list: Option<(&Concepts, &Templates, &Clip)>) -> Result<Lint> {
        let names = &self.manifest.concepts;
        let (images, minimum) = (self.manifest.n as u64, self.manifest.minimum_support);
        if images < minimum {
            let message = format!("{}: {images} images, at least {minimum} are needed", self.place());
            return Err(Error::new(ErrorKind::Data, message));
        }
        let name = |index: usize| names[index].clone();
        let cosines = products(&self.directions, |row| row.iter().map(|&value| f64::from(value)).collect());
        let mut synonyms: Vec<Synonyms> = pairs(names.len())
            .filter(|&(i, j)| cosines[(i, j)] >= options.synonyms)
            .map(|(i, j)| Synonyms { first: name(i), second: name(j), cosine: cosines[(i, j)] })
            .collect();
        synonyms.sort_by(|a, b| b.cosine.total_cmp(&a.cosine));
        let order: Vec<usize> = self.order().rows().into_iter().map(|row| row as usize).collect();
        let correlations = products(&self.samples.clip_scores.select_rows(&order).transpose(), standardised);
        let mut inseparable: Vec<Inseparable> = pairs(names.len())
            .filter_map(|(i, j)| {
                let r = correlations[(i, j)].clamp(-1.0, 1.0);
                let correlation = Estimate::new(r, correlation_interval(r, images, CONFIDENCE));
                (correlation.low >= options.correlation).then(|| Inseparable {
                    first: name(i),
                    second: name(j),
                    correlation,
                })
            })
            .collect();
        inseparable.sort_by(|a, b| b.correlation.value.total_cmp(&a.correlation.value));
        let mut biased = self.biased(Space::Classifier, options.dominance)?;
        biased.extend(self.biased(Space::Clip, options.dominance)?);
        let prompts = list.map(|(list, templates, clip)| self.prompt_faults(list, templates, clip)).transpose()?;
        let pairs = (names.len() * (names.len() - 1) / 2) as u64;
        Ok(Lint { synonyms, inseparable, biased, prompts: prompts.unwrap_or_default(), pairs, images })
    }

    fn biased(&self, space: Space, dominance: f64) -> Result<Vec<Biased>> {
        let means = self.concept_means(space)?;
        let wins = Wins::of_scores(self.samples.scores_in(space));
        let (rows, others) = (self.order().rows(), (wins.concepts() - 1) as f64);
        let of_concept = |concept: usize| {
            let rates: Vec<f64> = rows.iter().map(|&row| f64::from(wins.row(row)[concept]) / others).collect();
            let win_rate = Bootstrap::default().mean(&rates)?;
            let is_past = win_rate.low >= dominance || win_rate.high <= 1.0 - dominance;
            is_past.then(|| Biased {
                concept: self.manifest.concepts[concept].clone(),
                space,
                win_rate,
                mean: means[concept],
            })
        };
        Ok((0..wins.concepts()).filter_map(of_concept).collect())
    }

    fn prompt_faults(&self, list: &Concepts, templates: &Templates, clip: &Clip) -> Result<Vec<PromptFault>> {
        self.check_clip(clip)?;
        if list.names() != self.manifest.concepts {
            return Err(Error::new(ErrorKind::Mismatch, format!("{}: was built with other concepts", self.place())));
        }
        let context = clip.text().context();
        let mut faults = Vec::new();
        let mut owners = HashMap::new();
        for (concept, prompts) in list.names().iter().zip(list.prompts(templates)) {
            for prompt in prompts {
                let mut fault = |fault: String| {
                    faults.push(PromptFault { concept: concept.clone(), prompt: prompt.clone(), fault });
                };
                let tokens = clip.tokenizer().encode(&prompt, context)?;
                if tokens.truncated {
                    fault(format!("has more than {context} tokens: its end is cut off"));
                }
                if clip.tokenizer().encode(prompt.trim(), context)?.ids == clip.tokenizer().encode("", context)?.ids {
                    fault("has no token: it is the empty prompt".to_owned());
                }
                match owners.insert(tokens.ids, concept) {
                    Some(other) if other == concept => fault("says the same as another of its prompts".to_owned()),
                    Some(other) => fault(format!("says the same as one of '{other}'")),
                    None => {}
                }
            }
        }
        Ok(faults)
    }

    /// Refuses another CLIP than the one the bundle was built with.
    pub(super) fn check_clip(&self, clip: &Clip) -> Result<()> {
        if clip.sha256() == self.manifest.clip.sha256 {
            return Ok(());
        }
        let message = format!("{}: was built with another CLIP", self.place());
        Err(Error::new(ErrorKind::Mismatch, message).hint(format!("it was {}", self.manifest.clip.path.display())))
    }
}

fn pairs(concepts: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..concepts).flat_map(move |i| (i + 1..concepts).map(move |j| (i, j)))
}

/// The products of all pairs of rows, each row made by `map` first.
fn products(rows: &Tensor, map: impl Fn(&[f32]) -> Vec<f64> + Sync) -> Mat<f64> {
    let columns: Vec<Vec<f64>> = (0..rows.rows()).into_par_iter().map(|row| map(rows.row(row))).collect();
    let matrix = Mat::from_fn(rows.columns(), rows.rows(), |at, row| columns[row][at]);
    matrix.transpose() * &matrix
}

/// `values` less their mean, over the norm of what is left; zeros if they are all the same.
fn standardised(values: &[f32]) -> Vec<f64> {
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64;
    let rest: Vec<f64> = values.iter().map(|&value| f64::from(value) - mean).collect();
    let norm = rest.iter().map(|value| value * value).sum::<f64>().sqrt();
    if norm > 0.0 { rest.into_iter().map(|value| value / norm).collect() } else { vec![0.0; values.len()] }
}
