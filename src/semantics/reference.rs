//! The maps and distances as their definitions read, on the host.
//!
//! In production the GPU counts and measures; these are the plain twins that its kernels, and the closed forms of
//! [`StoredMap`](super::StoredMap), are tested against.

use super::distance::Distance;
use super::fraction::Fraction;
use super::heatmap::{Cell, Counts, binarised_cell};
use crate::error::Result;
use crate::tensor::Tensor;

/// The single-input map of one image's scores: h[i, j] = 1 iff s_i > s_j, row-major `[C, C]`.
pub fn single_map(scores: &[f32]) -> Vec<bool> {
    scores.iter().flat_map(|&i| scores.iter().map(move |&j| i > j)).collect()
}

/// The counts of the images `rows` of scores `[N, C]`.
///
/// # Errors
/// If there are fewer than two concepts.
pub fn counts(scores: &Tensor, rows: &[u32]) -> Result<Counts> {
    let mut cells = vec![0; scores.columns() * scores.columns()];
    for &row in rows {
        let map = single_map(scores.row(row as usize));
        cells.iter_mut().zip(map).for_each(|(cell, holds)| *cell += u32::from(holds));
    }
    Counts::new(scores.columns(), rows.len() as u64, cells)
}

/// For every cell the number of images among `rows` whose predicate holds in both of two sets of scores `[N, C]`.
pub fn joint_counts(first: &Tensor, second: &Tensor, rows: &[u32]) -> Vec<u32> {
    let mut cells = vec![0; first.columns() * first.columns()];
    for &row in rows {
        let (a, b) = (single_map(first.row(row as usize)), single_map(second.row(row as usize)));
        cells.iter_mut().zip(a.iter().zip(b)).for_each(|(cell, (a, b))| *cell += u32::from(*a && b));
    }
    cells
}

/// `counts` without the contribution of one of its images.
///
/// # Errors
/// If the image can't be one of those counted.
pub fn without(counts: &Counts, scores: &[f32]) -> Result<Counts> {
    let map = single_map(scores);
    let cells = counts.cells().iter().zip(map).map(|(&count, holds)| count.saturating_sub(u32::from(holds))).collect();
    Counts::new(counts.concepts(), counts.n().saturating_sub(1), cells)
}

/// The distance between an image's single-input map and a map, cell by cell in f64; `None` where it isn't defined.
pub fn distance(scores: &[f32], counts: &Counts, distance: Distance, tau: Fraction) -> Option<f64> {
    let (n, concepts) = (counts.n() as f64, counts.concepts());
    let h = single_map(scores);
    if counts.n() == 0 || !h.contains(&true) {
        return None;
    }
    let off_diagonal = || (0..h.len()).filter(|cell| cell % (concepts + 1) != 0);
    let size = (concepts * (concepts - 1)) as f64;
    let hit = |cell: usize| if h[cell] { 1.0 } else { 0.0 };
    let count = |cell: usize| f64::from(counts.cells()[cell]);
    let sum = |term: &dyn Fn(usize) -> f64| off_diagonal().map(term).sum::<f64>();
    let plain = sum(&|cell| (count(cell) / n).powi(2));
    let unbiased = sum(&|cell| count(cell) * (count(cell) - 1.0) / (n * (n - 1.0)));
    let squares = if counts.n() == 1 { plain } else { unbiased };
    let cosine = |squares: f64| {
        let product = sum(&|cell| hit(cell) * count(cell) / n);
        (squares > 0.0).then(|| 1.0 - product / (sum(&hit).sqrt() * squares.sqrt()))
    };
    match distance {
        Distance::L1 => Some(sum(&|cell| (hit(cell) - count(cell) / n).abs()) / size),
        Distance::L2 => {
            let inner = sum(&|cell| hit(cell) - 2.0 * hit(cell) * count(cell) / n);
            Some(((inner + squares) / size).max(0.0).sqrt())
        }
        Distance::Cosine => cosine(if squares > 0.0 { squares } else { plain }),
        Distance::CosinePlain => cosine(plain),
        Distance::Hamming => {
            let cells: Vec<(bool, Cell)> = off_diagonal()
                .map(|cell| (h[cell], binarised_cell(u64::from(counts.cells()[cell]), counts.n(), tau)))
                .filter(|&(_, cell)| cell != Cell::Even)
                .collect();
            let differ = cells.iter().filter(|&&(holds, cell)| holds != (cell == Cell::One)).count();
            (!cells.is_empty()).then(|| differ as f64 / cells.len() as f64)
        }
        Distance::Loglik => Some(-sum(&|cell| {
            let p = (count(cell) + 1.0) / (n + 2.0);
            if h[cell] { p.ln() } else { (1.0 - p).ln() }
        })),
    }
}
