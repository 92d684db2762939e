//! Which images two bundles have in common.

use std::collections::{HashMap, VecDeque};

use crate::dataset::ContentHash;
use crate::error::{Error, ErrorKind, Result};
use crate::semantics::bundle::{Bundle, Samples};
use crate::semantics::scores::ContentOrder;

/// The rows of the images that both bundles hold, place by place.
pub(super) struct Matched {
    pub(super) before: Vec<usize>,
    pub(super) after: Vec<usize>,
    labels: Vec<usize>,
    pub(super) order: ContentOrder,
}

impl Matched {
    /// Finds them by their content and label.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] if there is none, or one that is labelled differently.
    pub(super) fn new(first: &Bundle, second: &Bundle) -> Result<Self> {
        // An image may be listed twice, under two labels even.
        let mut theirs: HashMap<(ContentHash, usize), VecDeque<usize>> = HashMap::new();
        for (row, key) in keys(&second.samples).enumerate() {
            theirs.entry(key).or_default().push_back(row);
        }
        let (mut matched, mut only_first) = (Vec::<(usize, usize)>::new(), Vec::new());
        for (row, key) in keys(&first.samples).enumerate() {
            match theirs.get_mut(&key).and_then(VecDeque::pop_front) {
                Some(theirs) => matched.push((row, theirs)),
                None => only_first.push(row),
            }
        }
        let mut only_second: HashMap<ContentHash, usize> = HashMap::new();
        for row in theirs.into_values().flatten() {
            let least = only_second.entry(second.samples.hashes[row]).or_insert(row);
            *least = row.min(*least);
        }
        let relabelled =
            only_first.into_iter().find_map(|row| Some((row, *only_second.get(&first.samples.hashes[row])?)));
        if let Some((a, b)) = relabelled {
            let name = |bundle: &Bundle, row: usize| bundle.manifest.classes[bundle.samples.labels[row]].clone();
            let path = &first.samples.paths[a];
            let message = format!(
                "{path} is labelled {} in {} and {} in {}",
                name(first, a),
                first.place(),
                name(second, b),
                second.place()
            );
            return Err(Error::new(ErrorKind::Data, message).hint("build both with the same labels"));
        }
        if matched.is_empty() {
            let message = format!("{} and {} share no image", first.place(), second.place());
            return Err(
                Error::new(ErrorKind::Data, message).hint("compare bundles that were built from the same files")
            );
        }
        let (before, after): (Vec<usize>, Vec<usize>) = matched.into_iter().unzip();
        let labels: Vec<usize> = before.iter().map(|&row| first.samples.labels[row]).collect();
        let all: Vec<(ContentHash, usize)> = keys(&first.samples).collect();
        let order = ContentOrder::new(&before.iter().map(|&row| all[row]).collect::<Vec<_>>());
        Ok(Self { before, after, labels, order })
    }

    pub(super) fn len(&self) -> usize {
        self.before.len()
    }

    /// The places of a class's images.
    pub(super) fn of_class(&self, class: usize) -> Vec<u32> {
        (0..self.len() as u32).filter(|&row| self.labels[row as usize] == class).collect()
    }
}

/// What a row is matched by: the image and its label.
fn keys(samples: &Samples) -> impl Iterator<Item = (ContentHash, usize)> {
    samples.hashes.iter().copied().zip(samples.labels.iter().copied())
}
