//! Which images enter which map.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// The maps that can be asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MapKind {
    /// Label and prediction are k.
    Correct,
    /// The label is k, the prediction isn't.
    Missed,
    /// The prediction is k, the label isn't.
    FalseAlarm,
    /// The label is k: correct and missed.
    GroundTruth,
    /// The prediction is k: correct and false alarm.
    OutputLabel,
    /// Correct minus missed.
    Differential,
    /// The ground-truth map in clip space minus that in classifier space.
    Loss,
    /// Attacks on correctly classified images that turned the prediction into k.
    Adversarial,
}

impl MapKind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Correct,
        Self::Missed,
        Self::FalseAlarm,
        Self::GroundTruth,
        Self::OutputLabel,
        Self::Differential,
        Self::Loss,
        Self::Adversarial,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::Missed => "missed",
            Self::FalseAlarm => "false-alarm",
            Self::GroundTruth => "ground-truth",
            Self::OutputLabel => "output-label",
            Self::Differential => "differential",
            Self::Loss => "loss",
            Self::Adversarial => "adversarial",
        }
    }
}

impl fmt::Display for MapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for MapKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::new(ErrorKind::Usage, format!("'{text}' isn't a map, expected one of: {known}"))
        })
    }
}

/// The rows of a data set by class and by what became of them. Rows are ascending in every list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sets {
    labels: Vec<usize>,
    predictions: Vec<usize>,
    correct: Vec<Vec<u32>>,
    missed: Vec<Vec<u32>>,
    false_alarm: Vec<Vec<u32>>,
}

impl Sets {
    /// Sorts rows by their labels and predictions, both below `classes`.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] naming the first row whose label or prediction is no class, or if there isn't one of each a row.
    pub fn new(labels: &[usize], predictions: &[usize], classes: usize) -> Result<Self> {
        if labels.len() != predictions.len() {
            let what = format!("found {} labels and {} predictions", labels.len(), predictions.len());
            return Err(Error::new(ErrorKind::Data, what));
        }
        let empty = || vec![Vec::new(); classes];
        let (mut correct, mut missed, mut false_alarm) = (empty(), empty(), empty());
        for (row, (&label, &prediction)) in labels.iter().zip(predictions).enumerate() {
            if label >= classes || prediction >= classes {
                let what = format!("row {row}: label {label} and prediction {prediction}, expected below {classes}");
                return Err(Error::new(ErrorKind::Data, what));
            }
            if label == prediction {
                correct[label].push(row as u32);
            } else {
                missed[label].push(row as u32);
                false_alarm[prediction].push(row as u32);
            }
        }
        Ok(Self { labels: labels.to_vec(), predictions: predictions.to_vec(), correct, missed, false_alarm })
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.correct.len()
    }

    /// The rows of class k that were predicted as k.
    pub fn correct(&self, class: usize) -> &[u32] {
        &self.correct[class]
    }

    /// The rows of class k that were predicted as another.
    pub fn missed(&self, class: usize) -> &[u32] {
        &self.missed[class]
    }

    /// The rows predicted as k that are of another class.
    pub fn false_alarm(&self, class: usize) -> &[u32] {
        &self.false_alarm[class]
    }

    /// The rows of class k.
    pub fn ground_truth(&self, class: usize) -> Vec<u32> {
        union(&self.correct[class], &self.missed[class])
    }

    /// The rows predicted as k.
    pub fn output_label(&self, class: usize) -> Vec<u32> {
        union(&self.correct[class], &self.false_alarm[class])
    }

    /// The rows of class `truth` that were predicted as `prediction` (the correct rows if they are the same class).
    pub fn confusion(&self, truth: usize, prediction: usize) -> Vec<u32> {
        let rows = if truth == prediction { &self.correct[truth] } else { &self.missed[truth] };
        rows.iter().copied().filter(|&row| self.predictions[row as usize] == prediction).collect()
    }

    /// The number of rows of each class (outer index) by prediction (inner index).
    pub fn confusion_matrix(&self) -> Vec<Vec<u64>> {
        let mut matrix = vec![vec![0; self.classes()]; self.classes()];
        self.labels.iter().zip(&self.predictions).for_each(|(&label, &prediction)| matrix[label][prediction] += 1);
        matrix
    }
}

/// What became of attacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attacks {
    /// By class k: attacks on correctly classified images that changed the prediction to k.
    pub succeeded: Vec<Vec<u32>>,
    /// Attacks on correctly classified images whose prediction stayed: they enter no map.
    pub failed: Vec<u32>,
    /// Attacks on images that were misclassified to begin with: they enter no map either and say nothing of the attack.
    pub misclassified_before: Vec<u32>,
}

impl Attacks {
    /// Sorts attacked images by their label, the prediction of the clean image and that of the attacked one.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] as for [`Sets::new`].
    pub fn new(labels: &[usize], clean: &[usize], attacked: &[usize], classes: usize) -> Result<Self> {
        Sets::new(labels, clean, classes)?;
        Sets::new(labels, attacked, classes)?;
        let mut attacks = Self { succeeded: vec![Vec::new(); classes], ..Self::default() };
        for (row, (&label, (&before, &after))) in labels.iter().zip(clean.iter().zip(attacked)).enumerate() {
            let list = if before != label {
                &mut attacks.misclassified_before
            } else if after == label {
                &mut attacks.failed
            } else {
                &mut attacks.succeeded[after]
            };
            list.push(row as u32);
        }
        Ok(attacks)
    }
}

fn union(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut rows = [a, b].concat();
    rows.sort_unstable();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fall_into_their_sets() {
        let sets = Sets::new(&[0, 0, 1, 2, 2, 0], &[0, 1, 1, 0, 2, 2], 4).unwrap();
        assert_eq!(sets.correct(0), [0]);
        assert_eq!(sets.missed(0), [1, 5]);
        assert_eq!(sets.false_alarm(0), [3]);
        assert_eq!(sets.ground_truth(0), [0, 1, 5]);
        assert_eq!(sets.output_label(2), [4, 5]);
        assert_eq!(sets.confusion(0, 2), [5]);
        assert_eq!(sets.confusion(1, 1), [2]);
        assert_eq!(sets.ground_truth(3), [0_u32; 0]);
        assert_eq!(sets.confusion_matrix()[0], [1, 1, 1, 0]);
        assert!(Sets::new(&[0], &[1], 1).unwrap_err().to_string().starts_with("row 0"));
        assert!(Sets::new(&[0], &[], 1).is_err());
    }

    #[test]
    fn attacks_count_only_where_they_changed_a_correct_prediction() {
        let attacks = Attacks::new(&[0, 0, 0, 1], &[0, 0, 1, 1], &[1, 0, 1, 0], 2).unwrap();
        assert_eq!(attacks.succeeded, [vec![3], vec![0]]);
        assert_eq!(attacks.failed, [1]);
        assert_eq!(attacks.misclassified_before, [2]);
    }

    #[test]
    fn names_are_read_back() {
        for kind in MapKind::ALL {
            assert_eq!(kind.to_string().parse::<MapKind>().unwrap(), kind);
        }
        assert!("wrong".parse::<MapKind>().unwrap_err().to_string().contains("false-alarm"));
    }
}
