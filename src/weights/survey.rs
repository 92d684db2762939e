//! Finding out all that a loader misses in a file, not only the first.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use super::Weights;
use crate::tensor::Tensor;

/// A tensor that a loader asked for and the file doesn't have, or has in another shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Its name.
    pub(crate) name: String,
    /// The shape that was asked for, as far as it can be told.
    pub(crate) shape: Option<Vec<usize>>,
}

/// What was missed so far.
#[derive(Debug, Default)]
pub(super) struct Survey {
    missing: Mutex<Vec<Missing>>,
}

impl Survey {
    fn note(&self, name: &str, shape: Option<&[usize]>) {
        let missing = Missing { name: name.to_owned(), shape: shape.map(<[usize]>::to_vec) };
        let mut all = self.missing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !all.contains(&missing) {
            all.push(missing);
        }
    }
}

impl Weights {
    /// The same weights, which from now on answer with zeros where a tensor is missing or has another shape, note it, and
    /// call no tensor unused. A model that is loaded from them can be described, never run.
    pub(crate) fn surveyed(mut self) -> Self {
        self.survey = Some(Survey::default());
        for entry in self.tensors.values() {
            entry.used.store(false, Ordering::Relaxed);
        }
        self
    }

    /// What a loader missed.
    pub(crate) fn missing(&self) -> Vec<Missing> {
        let missing = self
            .survey
            .as_ref()
            .map(|survey| survey.missing.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone());
        missing.unwrap_or_default()
    }

    /// The tensors that nobody has read, a survey's included.
    pub(crate) fn unread(&self) -> Vec<&str> {
        let unread = self.tensors.iter().filter(|(_, entry)| !entry.used.load(Ordering::Relaxed));
        unread.map(|(name, _)| name.as_str()).collect()
    }

    /// In a survey, zeros for a tensor of `shape` that the file doesn't have.
    pub(super) fn stand_in(&self, name: &str, shape: &[usize]) -> Option<Tensor> {
        let survey = self.survey.as_ref()?;
        if let Some(entry) = self.tensors.get(name) {
            if entry.shape == shape {
                return None;
            }
            entry.used.store(true, Ordering::Relaxed);
        }
        survey.note(name, Some(shape));
        Some(Tensor::zeros(shape))
    }

    /// In a survey, zeros for a tensor that the file doesn't have and nothing says the shape of.
    pub(super) fn stand_in_of_any_shape(&self, name: &str) -> Option<Tensor> {
        let survey = self.survey.as_ref().filter(|_| !self.contains(name))?;
        survey.note(name, None);
        Some(Tensor::zeros(self.likely_shape(name).unwrap_or_default()))
    }

    /// In a survey, the shape that a tensor which the file doesn't have likely has: that of the one with the nearest name.
    pub(super) fn likely_shape(&self, name: &str) -> Option<&[usize]> {
        self.survey.as_ref().filter(|_| !self.contains(name))?;
        let similarity = |other: &str| strsim::normalized_levenshtein(name, other);
        let near = self.tensors.keys().filter(|other| similarity(other) > 0.6);
        near.max_by(|a, b| similarity(a).total_cmp(&similarity(b))).and_then(|near| self.shape(near))
    }
}
