//! Heatmaps as integer counts: how often concept i scored above concept j over a set of images.
//!
//! Counts and the number of images are kept, never their ratio, so maps of disjoint sets merge exactly in any order.

use serde::Serialize;

use super::fraction::Fraction;
use super::statistics::{Interval, wilson};
use crate::error::{Error, ErrorKind, Result};

/// The number of images below which a map is [`Support::Unsupported`], unless an option says otherwise.
pub const MINIMUM_SUPPORT: u64 = 5;

/// The map of a set of images as counts `[C, C]`: cell (i, j) is the number of images whose score for concept i is strictly
/// above that for concept j. The diagonal is 0, and (i, j) and (j, i) together are at most n (less where scores tie).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    concepts: usize,
    n: u64,
    cells: Vec<u32>,
}

/// A map as shares of the images, row-major `[C, C]`, each in [0, 1].
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// C.
    pub concepts: usize,
    /// The number of images behind the map (at least 1).
    pub n: u64,
    /// The shares `count / n`, row-major.
    pub cells: Vec<f64>,
}

/// One cell of a binarised map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    /// The share is below the threshold (and every cell of the diagonal).
    Zero,
    /// The share is above the threshold.
    One,
    /// The share is exactly at the threshold: left out of distances.
    Even,
}

/// Whether enough images are behind a map for it to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support<'a> {
    /// At least the minimum: here are its counts.
    Supported(&'a Counts),
    /// Too few: to be shown as such, never to be used.
    Unsupported {
        /// The number of images there are.
        n: u64,
        /// The number of images there should be.
        minimum: u64,
    },
}

impl<'a> Support<'a> {
    /// The counts, if they may be used.
    pub fn counts(self) -> Option<&'a Counts> {
        match self {
            Self::Supported(counts) => Some(counts),
            Self::Unsupported { .. } => None,
        }
    }
}

impl Counts {
    /// Counts `cells` `[C, C]`, row-major, of `n` images.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] if there are fewer than two concepts or the cells can't be counts of n images (wrong number, a
    /// diagonal cell above 0, a pair of mirrored cells above n); [`ErrorKind::Limit`] if n is past 2³² − 1.
    pub fn new(concepts: usize, n: u64, cells: Vec<u32>) -> Result<Self> {
        check_concepts(concepts)?;
        check_images(n)?;
        let data = |what: String| Err(Error::new(ErrorKind::Data, what));
        if cells.len() != concepts * concepts {
            return data(format!("found {} counts, expected {concepts} x {concepts}", cells.len()));
        }
        for i in 0..concepts {
            for j in 0..=i {
                let (above, below) = (u64::from(cells[i * concepts + j]), u64::from(cells[j * concepts + i]));
                let limit = if i == j { 0 } else { n };
                if above + below > limit {
                    return data(format!("counts ({i}, {j}) and ({j}, {i}) are {above} and {below} of {n} images"));
                }
            }
        }
        Ok(Self { concepts, n, cells })
    }

    /// The counts of no images.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] if there are fewer than two concepts.
    pub fn empty(concepts: usize) -> Result<Self> {
        check_concepts(concepts)?;
        Ok(Self { concepts, n: 0, cells: vec![0; concepts * concepts] })
    }

    /// The sum of maps of disjoint sets over `concepts` concepts: the pool.
    ///
    /// # Errors
    /// As [`Counts::merge`].
    pub fn pooled<'a>(concepts: usize, maps: impl IntoIterator<Item = &'a Self>) -> Result<Self> {
        let mut pool = Self::empty(concepts)?;
        maps.into_iter().try_for_each(|map| pool.merge(map))?;
        Ok(pool)
    }

    /// Adds the counts of another, disjoint set.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for another number of concepts, [`ErrorKind::Limit`] past 2³² − 1 images. On error nothing is
    /// changed.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.concepts != other.concepts {
            let what = format!("a map of {} concepts can't be added to one of {}", other.concepts, self.concepts);
            return Err(Error::new(ErrorKind::Mismatch, what));
        }
        let n = self.n + other.n;
        check_images(n)?;
        // No cell is above n, so none overflows once n is within the limit.
        self.cells.iter_mut().zip(&other.cells).for_each(|(cell, more)| *cell += more);
        self.n = n;
        Ok(())
    }

    /// C.
    pub fn concepts(&self) -> usize {
        self.concepts
    }

    /// The number of images.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// All counts, row-major `[C, C]`.
    pub fn cells(&self) -> &[u32] {
        &self.cells
    }

    /// The count of cell (i, j).
    pub fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.concepts + j]
    }

    /// Whether at least `minimum` images (and at least one) are behind the map.
    pub fn support(&self, minimum: u64) -> Support<'_> {
        if self.n >= minimum.max(1) { Support::Supported(self) } else { Support::Unsupported { n: self.n, minimum } }
    }

    /// The shares `count / n`, or `None` of no images.
    pub fn map(&self) -> Option<Map> {
        let share = |&count: &u32| f64::from(count) / self.n as f64;
        let (concepts, n) = (self.concepts, self.n);
        (n > 0).then(|| Map { concepts, n, cells: self.cells.iter().map(share).collect() })
    }

    /// Wilson's 95 % interval of cell (i, j)'s share.
    pub fn interval(&self, i: usize, j: usize) -> Interval {
        wilson(u64::from(self.at(i, j)), self.n, super::statistics::CONFIDENCE)
    }

    /// Each cell against the threshold `tau`, by whole numbers; `None` of no images.
    pub fn binarised(&self, tau: Fraction) -> Option<Vec<Cell>> {
        let diagonal = self.concepts + 1;
        let cell = |(at, &count): (usize, &u32)| {
            if at % diagonal == 0 { Cell::Zero } else { binarised_cell(u64::from(count), self.n, tau) }
        };
        (self.n > 0).then(|| self.cells.iter().enumerate().map(cell).collect())
    }
}

impl Map {
    /// The share of cell (i, j).
    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.cells[i * self.concepts + j]
    }
}

/// `count` of `n` against `tau`, without rounding: at one half, 1 iff 2·count > n.
pub(super) fn binarised_cell(count: u64, n: u64, tau: Fraction) -> Cell {
    match tau.compare(count, n) {
        std::cmp::Ordering::Less => Cell::Zero,
        std::cmp::Ordering::Equal => Cell::Even,
        std::cmp::Ordering::Greater => Cell::One,
    }
}

fn check_concepts(concepts: usize) -> Result<()> {
    if concepts < 2 {
        return Err(Error::new(ErrorKind::Data, format!("found {concepts} concept(s), a heatmap compares at least 2")));
    }
    Ok(())
}

fn check_images(n: u64) -> Result<()> {
    if n > u64::from(u32::MAX) {
        return Err(Error::new(ErrorKind::Limit, format!("a map of {n} images passes the limit of {}", u32::MAX)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_cannot_be_counts() {
        assert!(Counts::new(2, 3, vec![0, 2, 1, 0]).is_ok());
        assert!(Counts::new(2, 3, vec![0, 2, 2, 0]).is_err(), "more wins than images");
        assert!(Counts::new(2, 3, vec![1, 2, 1, 0]).is_err(), "a concept above itself");
        assert!(Counts::new(2, 3, vec![0, 2, 1]).is_err());
        assert_eq!(Counts::new(1, 0, vec![0]).unwrap_err().kind(), ErrorKind::Data);
        assert_eq!(Counts::new(2, 1 << 32, vec![0; 4]).unwrap_err().kind(), ErrorKind::Limit);
    }

    #[test]
    fn merging_is_checked_and_leaves_the_map_alone_on_error() {
        let mut map = Counts::new(2, 4_000_000_000, vec![0, 4_000_000_000, 0, 0]).unwrap();
        let before = map.clone();
        assert_eq!(map.merge(&before).unwrap_err().kind(), ErrorKind::Limit);
        assert_eq!(map.merge(&Counts::empty(3).unwrap()).unwrap_err().kind(), ErrorKind::Mismatch);
        assert_eq!(map, before);
        map.merge(&Counts::new(2, 2, vec![0, 1, 1, 0]).unwrap()).unwrap();
        assert_eq!((map.n(), map.at(0, 1), map.at(1, 0)), (4_000_000_002, 4_000_000_001, 1));
    }

    #[test]
    fn binarises_by_integers() {
        let map = Counts::new(3, 10, vec![0, 5, 7, 5, 0, 6, 3, 3, 0]).unwrap();
        use Cell::{Even, One, Zero};
        assert_eq!(map.binarised(Fraction::HALF).unwrap(), [Zero, Even, One, Even, Zero, One, Zero, Zero, Zero]);
        let tau = "0.7".parse().unwrap();
        assert_eq!(map.binarised(tau).unwrap()[2], Even, "0.7 * 10 is exactly 7");
        assert_eq!(Counts::empty(2).unwrap().binarised(tau), None);
    }

    #[test]
    fn few_images_are_unsupported() {
        let map = Counts::new(2, 4, vec![0, 4, 0, 0]).unwrap();
        assert_eq!(map.support(MINIMUM_SUPPORT), Support::Unsupported { n: 4, minimum: 5 });
        assert_eq!(map.support(4).counts(), Some(&map));
        assert_eq!(Counts::empty(2).unwrap().support(0).counts(), None, "no images never support anything");
        assert_eq!(Counts::empty(2).unwrap().map(), None);
    }
}
