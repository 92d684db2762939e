//! Tensors that a network lacks or doesn't use, each with what it was probably meant to be.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::weights::{Missing, Weights};

/// The least similarity of two names (1 = equal) that makes one worth showing: of tensors of the same shape, and of others.
const LEAST_SIMILARITY: [f64; 2] = [0.3, 0.5];

/// Last parts of the names of tensors that no forward pass reads.
const BUFFERS: [&str; 7] = [
    "num_batches_tracked",
    "position_ids",
    "attn_mask",
    "input_resolution",
    "context_length",
    "vocab_size",
    "logit_bias",
];

/// What doesn't fit between a file and its network.
#[derive(Debug, Default, Serialize)]
pub struct TensorFindings {
    /// Tensors that the network needs and the file lacks, or has in another shape.
    pub missing: Vec<Unmatched>,
    /// Tensors of the file that the network doesn't use.
    pub unused: Vec<Unmatched>,
    /// How many tensors of each name were left aside, because no forward pass needs them.
    pub ignored: BTreeMap<String, usize>,
}

/// A tensor without its counterpart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unmatched {
    /// Its name.
    pub name: String,
    /// Its shape: of a missing one, that which is expected, as far as it can be told.
    pub shape: Option<Vec<usize>>,
    /// The tensor most like it on the other side.
    pub nearest: Option<Nearest>,
}

/// A tensor that resembles another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nearest {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Option<Vec<usize>>,
}

impl TensorFindings {
    /// Of weights that a model was loaded from.
    pub(super) fn of(weights: &Weights) -> Self {
        let missing = weights.missing();
        let is_buffer = |name: &&str| BUFFERS.iter().any(|buffer| last(name) == *buffer);
        let (ignored, unused): (Vec<&str>, Vec<&str>) = weights.unread().into_iter().partition(is_buffer);
        let mut counts = BTreeMap::new();
        for name in ignored {
            *counts.entry(last(name).to_owned()).or_default() += 1;
        }
        let shaped = |name: &str| Nearest { name: name.to_owned(), shape: weights.shape(name).map(<[usize]>::to_vec) };
        let candidates: Vec<Nearest> = unused.iter().map(|name| shaped(name)).collect();
        let wanted: Vec<Nearest> =
            missing.iter().cloned().map(|Missing { name, shape }| Nearest { name, shape }).collect();
        let is_unused: BTreeSet<&str> = unused.iter().copied().collect();
        let used: Vec<Nearest> = weights.names().filter(|name| !is_unused.contains(name)).map(shaped).collect();
        Self {
            missing: missing_of(weights, &candidates),
            unused: candidates
                .iter()
                .map(|Nearest { name, shape }| Unmatched {
                    nearest: nearest(name, shape.as_ref(), &wanted).or_else(|| nearest(name, shape.as_ref(), &used)),
                    name: name.clone(),
                    shape: shape.clone(),
                })
                .collect(),
            ignored: counts,
        }
    }

    /// Of weights that no model could be made of: only what was missed by then.
    pub(super) fn of_missing(weights: &Weights) -> Self {
        let shaped = |name: &str| Nearest { name: name.to_owned(), shape: weights.shape(name).map(<[usize]>::to_vec) };
        let candidates: Vec<Nearest> = weights.unread().into_iter().map(shaped).collect();
        Self { missing: missing_of(weights, &candidates), ..Self::default() }
    }
}

/// What was missed, each with the nearest of `candidates`, or the tensor of the same name that has another shape.
fn missing_of(weights: &Weights, candidates: &[Nearest]) -> Vec<Unmatched> {
    let unmatched = |Missing { name, shape }: Missing| {
        let nearest = match weights.shape(&name) {
            Some(found) => Some(Nearest { name: name.clone(), shape: Some(found.to_vec()) }),
            None => nearest(&name, shape.as_ref(), candidates),
        };
        Unmatched { name, shape, nearest }
    };
    weights.missing().into_iter().map(unmatched).collect()
}

fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The candidate most like a tensor: one of the same shape first, then by name.
fn nearest(name: &str, shape: Option<&Vec<usize>>, candidates: &[Nearest]) -> Option<Nearest> {
    let rank = |candidate: &&Nearest| {
        let same = shape.is_some() && shape == candidate.shape.as_ref();
        let similarity = strsim::normalized_levenshtein(name, &candidate.name);
        let [of_same_shape, of_others] = LEAST_SIMILARITY;
        (similarity >= if same { of_same_shape } else { of_others }).then_some((same, similarity))
    };
    let ranked = candidates.iter().filter_map(|candidate| Some((rank(&candidate)?, candidate)));
    // Of equal ones the first, so that the answer doesn't depend on how many there are.
    let best = ranked.reduce(|best, next| {
        let (a, b) = (best.0, next.0);
        if (b.0, b.1) > (a.0, a.1) { next } else { best }
    });
    best.map(|(_, candidate)| candidate.clone())
}
