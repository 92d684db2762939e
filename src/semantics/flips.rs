//! How many comparisons of concepts two models decide differently on one image.

use std::cmp::Ordering;

/// The share of the C(C − 1) off-diagonal cells in which the single-input maps of two rows of scores differ.
///
/// A pair of concepts in opposite orders differs in both of its cells, one that ties in one row alone in one cell. The pairs in
/// opposite orders are Kendall's discordant pairs, which a merge sort counts in C log C steps (W. R. Knight, 1966).
///
/// # Panics
/// If the rows aren't of the same two concepts or more.
pub fn flipped_share(first: &[f32], second: &[f32]) -> f64 {
    let concepts = first.len();
    assert!(concepts >= 2 && second.len() == concepts, "{concepts} and {} scores of one image", second.len());
    // Adding 0 makes -0 into +0, which it ties with.
    let mut pairs: Vec<(f32, f32)> = first.iter().zip(second).map(|(a, b)| (a + 0.0, b + 0.0)).collect();
    let by_both = |a: &(f32, f32), b: &(f32, f32)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1));
    pairs.sort_unstable_by(by_both);
    let tied_in_first = tied(&pairs, |pair| pair.0.to_bits());
    let tied_in_both = tied(&pairs, |pair| (pair.0.to_bits(), pair.1.to_bits()));
    let mut second: Vec<f32> = pairs.into_iter().map(|(_, b)| b).collect();
    let discordant = inversions(&mut second);
    let tied_in_second = tied(&second, |score| score.to_bits());
    let cells = 2 * discordant + tied_in_first + tied_in_second - 2 * tied_in_both;
    cells as f64 / (concepts * (concepts - 1)) as f64
}

/// The pairs of neighbours' runs that share a key.
fn tied<T, K: PartialEq>(sorted: &[T], key: impl Fn(&T) -> K) -> u64 {
    let runs = sorted.chunk_by(|a, b| key(a) == key(b));
    runs.map(|run| (run.len() * (run.len() - 1) / 2) as u64).sum()
}

/// Sorts `values` and counts the pairs that stood in falling order.
fn inversions(values: &mut [f32]) -> u64 {
    if values.len() < 2 {
        return 0;
    }
    let (left, right) = values.split_at_mut(values.len() / 2);
    let mut count = inversions(left) + inversions(right);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut l, mut r) = (0, 0);
    while l < left.len() && r < right.len() {
        if right[r].total_cmp(&left[l]) == Ordering::Less {
            count += (left.len() - l) as u64;
            merged.push(right[r]);
            r += 1;
        } else {
            merged.push(left[l]);
            l += 1;
        }
    }
    merged.extend_from_slice(&left[l..]);
    merged.extend_from_slice(&right[r..]);
    values.copy_from_slice(&merged);
    count
}
