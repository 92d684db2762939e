//! The counterfactual oracle: would another head have read this feature, and does this one misread typical features?
//!
//! Whether a head refitted to the encoder's features gets a misclassified image right tells little about the old one. After damage
//! to the encoder, too, most errors lie near a boundary that a head fitted to the damaged features draws elsewhere: it rescues
//! four fifths of them. So the head is tried where the encoder's failure on the image plays no part, on a typical feature of the
//! true class. With the refitted head's margin of the true class k over the prediction p, and the classifier's own, the head is at
//! fault iff
//!
//! 1. the refitted head puts k above p on the image's own feature, so that another head would have done, and
//! 2. on a typical feature of k, the own head's margin falls short of the refitted head's by more than a threshold.
//!
//! Otherwise the encoder is. Both margins on typical features are medians over all images of k, divided by the standard deviation
//! of the same head's margins within the classes k and p, pooled: units that don't depend on how a head scales its logits. A
//! head that has swapped two classes falls short by 6 of them. A damaged encoder costs the own head about one, as does every
//! difference between the images that it was trained on and those of the bundle.
//!
//! The refitted head is a ridge regression on one-hot labels, in f64. It is cross-fitted: no image is judged by a head that has seen
//! it or a copy of it; λ minimises the squared error of these same left-out scores. CLIP has no say here; labels have. An image with a
//! wrong label is an error of neither part, and looks like the encoder's.

use std::collections::BTreeMap;

use faer::Mat;
use serde::Serialize;

use super::folds::Images;
use super::ridge::{Moments, choose_lambda, fit};
use super::scores::ContentOrder;
use crate::error::Result;
use crate::progress::Silent;
use crate::tensor::Tensor;

/// Parts in which heads are refitted: each image is judged by a head fitted to the other four fifths.
const FOLDS: usize = 5;
/// Rows whose products are summed at once.
const ROWS_AT_ONCE: usize = 1024;

/// What a refitted head says of one misclassified image and of its confusion. Margins are those of the true class over the
/// prediction, in standard deviations within the two classes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Counterfactual {
    /// The refitted head's class.
    #[serde(skip)]
    pub class: usize,
    /// The refitted head's margin on the image's own feature.
    pub margin: f64,
    /// The refitted head's margin on a typical feature of the true class.
    pub typical_refit: f64,
    /// The classifier's own margin on a typical feature of the true class.
    pub typical_own: f64,
}

impl Counterfactual {
    /// By how much the own head's margin on a typical feature falls short of the refitted head's.
    pub fn shortfall(&self) -> f64 {
        self.typical_refit - self.typical_own
    }

    /// Whether the head is at fault, if falling short by `shortfall` is still in order.
    pub fn blames_head(&self, shortfall: f64) -> bool {
        self.margin > 0.0 && self.shortfall() > shortfall
    }
}

/// The counterfactuals of every misclassified image of features `[N, D]` and logits `[N, K]`; images with equal `hashes`, N, are
/// copies.
///
/// None for correctly classified images, for classes with fewer images than `minimum_support`, where margins don't vary within
/// the two classes, and for everything where there are fewer than ten different images or all have the same feature.
///
/// # Errors
/// [`ErrorKind::Data`](crate::ErrorKind::Data) if a head can't be solved for.
pub fn counterfactuals<H: Ord>(
    features: &Tensor,
    logits: &Tensor,
    labels: &[usize],
    predictions: &[usize],
    hashes: &[H],
    minimum_support: u64,
) -> Result<Vec<Option<Counterfactual>>> {
    let mut found = vec![None; labels.len()];
    let mut pairs = BTreeMap::<(usize, usize), Vec<usize>>::new();
    for (row, (&label, &prediction)) in labels.iter().zip(predictions).enumerate().filter(|(_, (l, p))| l != p) {
        pairs.entry((label, prediction)).or_default().push(row);
    }
    if pairs.is_empty() {
        return Ok(found);
    }
    let order = ContentOrder::new(&hashes.iter().zip(labels).collect::<Vec<_>>());
    let Some(folds) = folds(&order, hashes) else { return Ok(found) };
    let classes = logits.columns();
    let Some(refit) = cross_fitted(features, labels, classes, &folds)? else { return Ok(found) };
    let own = Mat::from_fn(labels.len(), classes, |row, class| f64::from(logits.row(row)[class]));
    let mut of_class = vec![Vec::new(); classes];
    order.rows().into_iter().for_each(|row| of_class[labels[row as usize]].push(row as usize));
    for (pair, rows) in pairs {
        let (members, others) = (&of_class[pair.0], &of_class[pair.1]);
        if (members.len() as u64) < minimum_support {
            continue;
        }
        let [by_refit, by_own] = [&refit, &own].map(|scores| Margins::new(scores, pair, members, others));
        let (Some(by_refit), Some(by_own)) = (by_refit, by_own) else { continue };
        for row in rows {
            found[row] = Some(Counterfactual {
                class: largest(&refit, row),
                margin: margin(&refit, row, pair) / by_refit.deviation,
                typical_refit: by_refit.typical,
                typical_own: by_own.typical,
            });
        }
    }
    Ok(found)
}

/// The margins of one class over another in scores `[N, K]`.
struct Margins {
    /// Their standard deviation within the two classes.
    deviation: f64,
    /// The median over the members of the first class, in standard deviations.
    typical: f64,
}

impl Margins {
    /// None where the margins don't vary within the classes.
    fn new(scores: &Mat<f64>, pair: (usize, usize), members: &[usize], others: &[usize]) -> Option<Self> {
        let margins = |rows: &[usize]| rows.iter().map(|&row| margin(scores, row, pair)).collect::<Vec<_>>();
        let (mut members, others) = (margins(members), margins(others));
        let groups = [&members, &others].into_iter().filter(|margins| !margins.is_empty()).count();
        let degrees = (members.len() + others.len()).checked_sub(groups).filter(|&degrees| degrees > 0)?;
        let deviation = ((squares(&members) + squares(&others)) / degrees as f64).sqrt();
        members.sort_by(f64::total_cmp);
        let middle = members.len() / 2;
        let median =
            if members.len() % 2 == 1 { members[middle] } else { (members[middle - 1] + members[middle]) / 2.0 };
        (deviation > 0.0).then(|| Self { deviation, typical: median / deviation })
    }
}

fn margin(scores: &Mat<f64>, row: usize, (class, other): (usize, usize)) -> f64 {
    scores[(row, class)] - scores[(row, other)]
}

/// The sum of squares about the mean.
fn squares(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// The class with the largest score, the lowest of equal ones.
fn largest(scores: &Mat<f64>, row: usize) -> usize {
    (1..scores.ncols()).fold(0, |best, class| if scores[(row, class)] > scores[(row, best)] { class } else { best })
}

/// The rows of each fold, or `None` if there are fewer than two different images a fold.
fn folds<H: Ord>(order: &ContentOrder, hashes: &[H]) -> Option<Vec<Vec<usize>>> {
    let images = Images::new(order, &order.rows(), hashes);
    let places = |rows: Vec<u32>| rows.into_iter().map(|row| row as usize).collect();
    (images.len() >= 2 * FOLDS).then(|| images.deal(FOLDS).into_iter().map(places).collect())
}

/// Scores `[N, K]` of each row by a head fitted to the rows of the other folds, or `None` if all features are the same.
fn cross_fitted(features: &Tensor, labels: &[usize], classes: usize, folds: &[Vec<usize>]) -> Result<Option<Mat<f64>>> {
    let mean = mean(features, folds);
    let moments: Vec<Moments> = folds.iter().map(|rows| moments(features, labels, classes, &mean, rows)).collect();
    let mut all = Moments::empty(features.columns(), classes);
    moments.iter().for_each(|fold| all.add(fold));
    if all.scale() <= 0.0 {
        return Ok(None);
    }
    let lambda = choose_lambda(&moments, all.scale(), &Silent)?;
    let mut scores = Mat::zeros(labels.len(), classes);
    for (left_out, rows) in folds.iter().enumerate() {
        let head = fit(&Moments::all_but(left_out, &moments), lambda)?;
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let found = centered_rows(features, &mean, rows) * &head.weight;
            for (at, &row) in rows.iter().enumerate() {
                (0..classes).for_each(|class| scores[(row, class)] = found[(at, class)] + head.bias[(class, 0)]);
            }
        }
    }
    Ok(Some(scores))
}

/// The mean of the features, added in the order of the folds.
fn mean(features: &Tensor, folds: &[Vec<usize>]) -> Vec<f64> {
    let mut sums = vec![0.0_f64; features.columns()];
    for &row in folds.iter().flatten() {
        sums.iter_mut().zip(features.row(row)).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sums.into_iter().map(|sum| sum / features.rows() as f64).collect()
}

fn centered_rows(features: &Tensor, mean: &[f64], rows: &[usize]) -> Mat<f64> {
    Mat::from_fn(rows.len(), mean.len(), |row, column| f64::from(features.row(rows[row])[column]) - mean[column])
}

/// Moments of features about `mean` and one-hot labels.
fn moments(features: &Tensor, labels: &[usize], classes: usize, mean: &[f64], rows: &[usize]) -> Moments {
    let mut moments = Moments::empty(mean.len(), classes);
    for rows in rows.chunks(ROWS_AT_ONCE) {
        let z = centered_rows(features, mean, rows);
        let x = Mat::from_fn(rows.len(), classes, |row, class| if labels[rows[row]] == class { 1.0 } else { 0.0 });
        let ones = Mat::from_fn(rows.len(), 1, |_, _| 1.0);
        moments.add(&Moments {
            n: rows.len() as f64,
            z: z.transpose() * &ones,
            x: x.transpose() * &ones,
            zz: z.transpose() * &z,
            zx: z.transpose() * &x,
            xx: rows.len() as f64,
        });
    }
    moments
}

#[cfg(test)]
mod tests;
