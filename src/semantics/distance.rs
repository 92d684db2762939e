//! How far an image's single-input map is from a stored map.
//!
//! Every distance is written as a few sums over the single-input map h: ⟨h, W⟩ with weights W that depend on the stored map
//! alone, and Σh. The GPU makes the sums, [`StoredMap`] holds W and turns sums into distances. All sums are over the
//! N = C(C − 1) off-diagonal cells.
//!
//! With c the stored counts of n images, P = c/n and ΣP² the unbiased Σ c(c − 1)/(n(n − 1)) (plug-in for n = 1):
//!
//! | distance | value | W |
//! |---|---|---|
//! | `l1` | (Σh + ΣP − 2⟨h, P⟩)/N | c |
//! | `l2` | √((Σh − 2⟨h, P⟩ + ΣP²)/N) | c |
//! | `cosine` | 1 − ⟨h, P⟩/√(Σh ΣP²) | c |
//! | `cosine-plain` | the same with the plug-in ΣP² = Σc²/n² | c |
//! | `hamming` | the share of cells off the threshold at which h and the binarised map differ | ±1, 0 at the threshold |
//! | `loglik` | −Σ ln(h p + (1 − h)(1 − p)), p = (c + 1)/(n + 2) | ln p − ln(1 − p) |
//!
//! The weights of the first four are the counts themselves: their products are sums of integers, exact in f32 up to 2²⁴ in
//! whatever order a GPU adds.
//!
//! The unbiased ΣP² is 0 when no cell counts more than one image; cosine then uses the plug-in, as for n = 1. It can also be so
//! small that the distance is below 0: the value is kept, since clamping would make ties.
//!
//! Where an image belongs to the map it is compared with, its own contribution is taken out first
//! ([`Membership::Inside`]): c → c − h, n → n − 1. As h² = h, the sums above keep their form, for example
//! Σ(c − h)(c − h − 1) = Σc(c − 1) − 2⟨h, c⟩ + 2Σh. Only `hamming` then needs a second product, since taking h out moves cells onto
//! and off the threshold.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::fraction::Fraction;
use super::heatmap::{Cell, Counts, binarised_cell};
use crate::error::{Error, ErrorKind, Result};

/// How a single-input map is compared with a stored map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distance {
    /// Mean absolute difference.
    L1,
    /// Root of the mean squared difference, unbiased.
    L2,
    /// 1 − cosine, unbiased.
    #[default]
    Cosine,
    /// 1 − cosine with the plug-in norm, which puts maps of few images farther away.
    CosinePlain,
    /// The share of cells that differ from the binarised map.
    Hamming,
    /// Minus the log-likelihood under independent cells, Laplace-smoothed.
    Loglik,
}

impl Distance {
    /// All distances.
    pub const ALL: [Self; 6] = [Self::L1, Self::L2, Self::Cosine, Self::CosinePlain, Self::Hamming, Self::Loglik];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::Cosine => "cosine",
            Self::CosinePlain => "cosine-plain",
            Self::Hamming => "hamming",
            Self::Loglik => "loglik",
        }
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Distance {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|distance| distance.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::new(ErrorKind::Usage, format!("'{text}' isn't a distance, expected one of: {known}"))
        })
    }
}

/// Whether the images compared with a map are among those it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Membership {
    /// Other images.
    Outside,
    /// Images of the map: each is compared with the map of the others.
    Inside,
}

/// What a distance needs to know of a single-input map h.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Products {
    /// ⟨h, W⟩ with [`StoredMap::weights`].
    pub dot: f64,
    /// ⟨h, W₂⟩ with [`StoredMap::second_weights`]; 0 where there are none.
    pub second: f64,
    /// Σh.
    pub ones: u64,
}

/// A stored map, ready for distances of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMap {
    distance: Distance,
    membership: Membership,
    concepts: usize,
    n: u64,
    weights: Vec<f32>,
    second_weights: Option<Vec<f32>>,
    constants: Constants,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Constants {
    /// Σc and Σc².
    Moments { sum: f64, squares: f64 },
    /// The distance's numerator and denominator for h = 0.
    Hamming { differ: f64, cells: f64 },
    /// The distance for h = 0.
    Loglik { base: f64 },
}

impl StoredMap {
    /// Prepares `counts` for `distance`; `tau` is the threshold of the binarised map, which `hamming` alone uses.
    pub fn new(counts: &Counts, distance: Distance, tau: Fraction, membership: Membership) -> Self {
        let (concepts, n) = (counts.concepts(), counts.n());
        let mut map = Self {
            distance,
            membership,
            concepts,
            n,
            weights: Vec::new(),
            second_weights: None,
            constants: Constants::Moments { sum: 0.0, squares: 0.0 },
        };
        match distance {
            Distance::L1 | Distance::L2 | Distance::Cosine | Distance::CosinePlain => {
                map.weights = counts.cells().iter().map(|&count| count as f32).collect();
                let sum: u128 = counts.cells().iter().map(|&count| u128::from(count)).sum();
                let squares: u128 = counts.cells().iter().map(|&count| u128::from(count).pow(2)).sum();
                map.constants = Constants::Moments { sum: sum as f64, squares: squares as f64 };
            }
            Distance::Hamming => map.prepare_hamming(counts, tau),
            Distance::Loglik => map.prepare_loglik(counts),
        }
        map
    }

    /// W `[C, C]`, row-major; the diagonal is 0.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The weights of the second product, which only `hamming` of a map's own images has.
    pub fn second_weights(&self) -> Option<&[f32]> {
        self.second_weights.as_deref()
    }

    /// The kind of distance.
    pub fn kind(&self) -> Distance {
        self.distance
    }

    /// C.
    pub fn concepts(&self) -> usize {
        self.concepts
    }

    /// Whether the images compared with the map are its own.
    pub fn membership(&self) -> Membership {
        self.membership
    }

    /// The number of images a single-input map is compared with: n, or n − 1 for [`Membership::Inside`].
    pub fn images(&self) -> u64 {
        match self.membership {
            Membership::Outside => self.n,
            Membership::Inside => self.n.saturating_sub(1),
        }
    }

    /// ΣP of `l1`, `l2` and the cosines, for [`Membership::Outside`]; 0 for the others and of no images.
    pub fn mass(&self) -> f64 {
        match self.constants {
            Constants::Moments { sum, .. } if self.n > 0 => sum / self.n as f64,
            _ => 0.0,
        }
    }

    /// ΣP² as the distance uses it, for [`Membership::Outside`]: `None` of no images, for distances without it, and for the cosines
    /// of a map that is 0 everywhere.
    pub fn squared_norm(&self) -> Option<f64> {
        if self.n == 0 || !matches!(self.constants, Constants::Moments { .. }) {
            return None;
        }
        match self.distance {
            Distance::L1 => None,
            Distance::L2 => Some(self.squares(0.0, 0.0, false)),
            _ => self.norm_of_cosine(0.0, 0.0),
        }
    }

    /// The numerator and the denominator of `hamming` for h = 0, for [`Membership::Outside`]; `None` if every cell is at the threshold.
    pub fn hamming_base(&self) -> Option<(f64, f64)> {
        match self.constants {
            Constants::Hamming { differ, cells } if cells > 0.0 => Some((differ, cells)),
            _ => None,
        }
    }

    /// `loglik` for h = 0.
    pub fn loglik_base(&self) -> Option<f64> {
        match self.constants {
            Constants::Loglik { base } => Some(base),
            _ => None,
        }
    }

    /// The distance of a single-input map with the given sums, or `None` where it isn't defined: the stored map has no images
    /// (besides this one), h is 0 everywhere, the stored map is (cosine), or every cell is at the threshold (hamming).
    pub fn distance(&self, Products { dot, second, ones }: Products) -> Option<f64> {
        if self.images() == 0 || ones == 0 {
            return None;
        }
        let (n, h) = (self.images() as f64, ones as f64);
        let size = (self.concepts * (self.concepts - 1)) as f64;
        match self.constants {
            Constants::Hamming { differ, cells } => (cells + second > 0.5).then(|| (differ + dot) / (cells + second)),
            Constants::Loglik { base } => Some(base - dot),
            Constants::Moments { sum, .. } => {
                let inside = self.membership == Membership::Inside;
                let product = (if inside { dot - h } else { dot }) / n;
                let sum = (if inside { sum - h } else { sum }) / n;
                match self.distance {
                    Distance::L1 => Some((h + sum - 2.0 * product) / size),
                    Distance::L2 => {
                        // Not below 0 but for rounding: a cell of h = 1 gives (n − c)(n − c − 1)/(n(n − 1)).
                        Some(((h - 2.0 * product + self.squares(dot, h, false)) / size).max(0.0).sqrt())
                    }
                    _ => self.norm_of_cosine(dot, h).map(|squares| 1.0 - product / (h * squares).sqrt()),
                }
            }
        }
    }

    /// The distance of an image's scores, summed on the host in f64.
    pub fn distance_of_scores(&self, scores: &[f32]) -> Option<f64> {
        let mut products = Products::default();
        for (i, &above) in scores.iter().enumerate() {
            for (j, _) in scores.iter().enumerate().filter(|&(_, &below)| above > below) {
                let cell = i * self.concepts + j;
                products.dot += f64::from(self.weights[cell]);
                products.second += self.second_weights.as_ref().map_or(0.0, |weights| f64::from(weights[cell]));
                products.ones += 1;
            }
        }
        self.distance(products)
    }

    /// What one cell adds to the distance (to its square for `l2`, to the distance − 1 for `cosine`) of a single-input map
    /// with `ones` = Σh whose predicate there `holds`. For [`Membership::Outside`] alone.
    pub(super) fn term(&self, cell: usize, holds: bool, ones: u64) -> f64 {
        let (n, w) = (self.n as f64, f64::from(self.weights[cell]));
        let size = (self.concepts * (self.concepts - 1)) as f64;
        match (self.distance, self.constants) {
            (Distance::L1, _) => (if holds { 1.0 - w / n } else { w / n }) / size,
            (Distance::L2, _) => {
                let square = if self.n == 1 { w } else { w * (w - 1.0) / (n * (n - 1.0)) };
                (square + if holds { 1.0 - 2.0 * w / n } else { 0.0 }) / size
            }
            (_, Constants::Hamming { cells, .. }) => {
                // W is 1 where the binarised map is 0 and −1 where it is 1.
                let differs = if holds { w == 1.0 } else { w == -1.0 };
                if differs { 1.0 / cells } else { 0.0 }
            }
            (_, Constants::Loglik { .. }) => (if holds { -w } else { w }).exp().ln_1p(),
            _ if !holds => 0.0,
            _ => self.norm_of_cosine(0.0, 0.0).map_or(0.0, |squares| -w / n / (ones as f64 * squares).sqrt()),
        }
    }

    /// ΣP² of the cosines: the plug-in where the unbiased one is 0, and `None` where that is as well.
    fn norm_of_cosine(&self, dot: f64, h: f64) -> Option<f64> {
        let squares = self.squares(dot, h, self.distance == Distance::CosinePlain);
        let squares = if squares > 0.0 { squares } else { self.squares(dot, h, true) };
        (squares > 0.0).then_some(squares)
    }

    /// ΣP²: Σc(c − 1)/(n(n − 1)), or Σc²/n² where `plain` or n = 1; without this image's contribution for its own map.
    fn squares(&self, dot: f64, h: f64, plain: bool) -> f64 {
        let Constants::Moments { sum, squares } = self.constants else { return 0.0 };
        let n = self.images() as f64;
        let (sum, squares) = match self.membership {
            Membership::Outside => (sum, squares),
            Membership::Inside => (sum - h, squares - 2.0 * dot + h),
        };
        if plain || self.images() == 1 {
            return squares / (n * n);
        }
        // The numerator is an even integer: below 1 there is nothing but the rounding of a large product.
        let numerator = squares - sum;
        if numerator < 1.0 { 0.0 } else { numerator / (n * (n - 1.0)) }
    }

    fn prepare_hamming(&mut self, counts: &Counts, tau: Fraction) {
        let (mut differ, mut cells) = (0.0, 0.0);
        let mut second = vec![0.0; counts.cells().len()];
        self.weights = vec![0.0; counts.cells().len()];
        for (cell, &count) in counts.cells().iter().enumerate() {
            if cell % (self.concepts + 1) == 0 {
                continue;
            }
            // What the cell adds to numerator and denominator, by h: taking out an h of 1 lowers the count as well as n.
            let add = |holds: bool| {
                let removed = u64::from(holds && self.membership == Membership::Inside);
                let stored = binarised_cell(u64::from(count).saturating_sub(removed), self.images(), tau);
                match stored {
                    Cell::Even => (0.0, 0.0),
                    stored => (if holds == (stored == Cell::One) { 0.0 } else { 1.0 }, 1.0),
                }
            };
            let ((differ_0, cells_0), (differ_1, cells_1)) = (add(false), add(true));
            differ += f64::from(differ_0);
            cells += f64::from(cells_0);
            self.weights[cell] = differ_1 - differ_0;
            second[cell] = cells_1 - cells_0;
        }
        self.constants = Constants::Hamming { differ, cells };
        self.second_weights = (self.membership == Membership::Inside).then_some(second);
    }

    fn prepare_loglik(&mut self, counts: &Counts) {
        let n = counts.n();
        let mut base = 0.0;
        self.weights = vec![0.0; counts.cells().len()];
        for (cell, &count) in counts.cells().iter().enumerate() {
            if cell % (self.concepts + 1) == 0 {
                continue;
            }
            let count = u64::from(count);
            // The smoothed odds are hits : rest. Inside, they are (c − h + 1) : (n − c + h), so c : (n + 1 − c) if h is 1 and
            // (c + 1) : (n − c) if it is 0, each over n + 1: the hits matter for h = 1 only, the rest for h = 0 only. A member's h
            // can't be 1 where c is 0 nor 0 where c is n, so what stands there instead of ln 0 is never used alone.
            let (hits, rest) = match self.membership {
                Membership::Outside => (count + 1, n - count + 1),
                Membership::Inside => (count.max(1), (n - count).max(1)),
            };
            let (ln_hits, ln_rest) = ((hits as f64).ln(), (rest as f64).ln());
            base += ((self.images() + 2) as f64).ln() - ln_rest;
            self.weights[cell] = (ln_hits - ln_rest) as f32;
        }
        self.constants = Constants::Loglik { base };
    }
}
