//! From names of classes, as a data set writes them, to indices of logits.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::{DatasetOptions, Found, Label, data};
use crate::error::{Error, ErrorKind, Result};

/// More classes than any classifier has; past it, labels are surely not class indices.
const MAX_CLASSES: usize = 1 << 20;

/// Refuses a list of classes that's empty or names a class twice.
pub(super) fn check(classes: &[String]) -> Result<()> {
    let mut seen = BTreeSet::new();
    match classes.iter().find(|class| !seen.insert(class.as_str())) {
        Some(twice) => Err(Error::new(ErrorKind::Data, format!("the list of classes names {twice:?} twice"))),
        None if classes.is_empty() => Err(Error::new(ErrorKind::Data, "the list of classes is empty")),
        None => Ok(()),
    }
}

/// The classes that `found` itself names, in the order that numbers them. If every label is a number, they are the numbers
/// from 0 to the largest.
pub(super) fn collect(found: &Found, options: &DatasetOptions) -> Result<Vec<String>> {
    let mut names: BTreeSet<&str> = found.folders.iter().map(String::as_str).collect();
    let mut largest = found.folders.is_empty().then_some(0);
    for (_, label) in &found.samples {
        let (name, _) = named(label)?;
        names.insert(name);
        largest = largest.zip(name.parse::<usize>().ok()).map(|(a, b)| a.max(b));
    }
    match largest {
        Some(largest) if largest < MAX_CLASSES => return Ok((0..=largest).map(|index| index.to_string()).collect()),
        Some(largest) => return Err(Error::new(ErrorKind::Data, format!("label {largest} is no class's index"))),
        None => {}
    }
    let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    if options.natural_order {
        // Equal but for case or leading zeros: the order of bytes, which the sort keeps.
        names.sort_by(|a, b| natural(a, b));
    }
    Ok(names)
}

fn natural(a: &str, b: &str) -> Ordering {
    natord::compare_ignore_case(a, b)
}

fn named(label: &Label) -> Result<(&str, bool)> {
    match label {
        Label::Name { text, may_be_index, .. } => Ok((text, *may_be_index)),
        Label::Missing(place) => Err(data(place, "has no label")),
    }
}

/// Finds the index of a class by its name.
pub(super) struct Matcher<'a> {
    classes: &'a [String],
    indices: HashMap<&'a str, usize>,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(classes: &'a [String]) -> Self {
        let indices = classes.iter().enumerate().map(|(index, class)| (class.as_str(), index)).collect();
        Self { classes, indices }
    }

    /// Refuses a class folder of `root` that's none of the classes.
    pub(super) fn folder(&self, root: &Path, folder: &str) -> Result<()> {
        if self.indices.contains_key(folder) {
            return Ok(());
        }
        Err(self.unknown(root.join(folder), folder, "the folder's name is none of the model's classes"))
    }

    /// The index of a sample's class: by name, or by number where the layout allows it.
    pub(super) fn index(&self, label: &Label) -> Result<usize> {
        let (name, may_be_index) = named(label)?;
        let by_number = || name.parse::<usize>().ok().filter(|&index| may_be_index && index < self.classes.len());
        let index = self.indices.get(name).copied().or_else(by_number);
        index.ok_or_else(|| {
            let Label::Name { place, .. } = label else { unreachable!("a name was found above") };
            self.unknown(place, name, &format!("label {name:?} is none of the model's {} classes", self.classes.len()))
        })
    }

    fn unknown(&self, place: impl AsRef<Path>, name: &str, message: &str) -> Error {
        let mut near: Vec<(f64, &str)> = self
            .classes
            .iter()
            .map(|class| (likeness(name, class), class.as_str()))
            .filter(|(l, _)| *l > 0.6)
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let near: Vec<String> = near.iter().take(3).map(|(_, class)| format!("{class:?}")).collect();
        let hint = match near.is_empty() {
            false => format!("the nearest classes are {}", near.join(", ")),
            true => format!("the classes begin with {:?}", &self.classes[..self.classes.len().min(3)]),
        };
        data(place, message).hint(format!("{hint}; a list of classes renames the model's, in the order of its logits"))
    }
}

/// How alike two names are, from 0 to 1, whatever their case.
fn likeness(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(&a.to_lowercase(), &b.to_lowercase())
}
