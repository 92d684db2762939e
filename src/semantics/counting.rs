//! Heatmap counts on the GPU.

use std::ops::Range;

use super::heatmap::Counts;
use crate::error::Result;
use crate::gpu::{Device, FLOPS_PER_SUBMISSION, Input};
use crate::plan::{Plan, Var};
use crate::tensor::Tensor;

/// Bytes of counts that one dispatch makes at most.
const LARGEST_RESULT: u64 = 64 << 20;

/// The map of each group of rows of `scores` `[N, C]`. Groups may share rows.
///
/// # Errors
/// Those of the device.
pub(crate) fn count_maps(device: &Device, scores: &Tensor, groups: &[Vec<u32>]) -> Result<Vec<Counts>> {
    let sizes = groups.iter().map(|rows| rows.len() as u64);
    let cells = count(device, scores, None, groups)?;
    cells.into_iter().zip(sizes).map(|(cells, n)| Counts::new(scores.columns(), n, cells)).collect()
}

/// For each group the number of rows whose order holds in both `scores` and `other`, both `[N, C]`: row-major `[C, C]`.
///
/// # Errors
/// Those of the device.
pub(crate) fn count_joint(
    device: &Device,
    scores: &Tensor,
    other: &Tensor,
    groups: &[Vec<u32>],
) -> Result<Vec<Vec<u32>>> {
    count(device, scores, Some(other), groups)
}

/// How much of the counting one dispatch does: its scores and its counts both fit the adapter, and its comparisons a submission.
#[derive(Debug, Clone, Copy)]
struct Tile {
    groups: usize,
    /// Rows of a map, a multiple of 4 where they aren't all.
    above: usize,
    /// Rows of scores.
    rows: usize,
}

impl Tile {
    fn new(device: &Device, concepts: usize) -> Self {
        let largest = device.limits().binding;
        let counts = (largest.min(LARGEST_RESULT) / 4) as usize;
        let above = counts / concepts.max(1);
        let row_bytes = 4 * concepts.next_multiple_of(4).max(4) as u64;
        Self {
            groups: (counts / (concepts * concepts).max(1)).max(1),
            above: if above >= concepts { concepts } else { (above / 4 * 4).max(4) },
            rows: (largest / row_bytes).min(FLOPS_PER_SUBMISSION / (counts as u64).max(1)).max(1) as usize,
        }
    }
}

/// Counts tile by tile. Sums over tiles of rows are exact.
fn count(device: &Device, scores: &Tensor, other: Option<&Tensor>, groups: &[Vec<u32>]) -> Result<Vec<Vec<u32>>> {
    let concepts = scores.columns();
    let tile = Tile::new(device, concepts);
    let mut maps = vec![vec![0_u32; concepts * concepts]; groups.len()];
    for first in (0..scores.rows()).step_by(tile.rows) {
        let rows = first..scores.rows().min(first + tile.rows);
        let cells = rows.start * concepts..rows.end * concepts;
        let parts = [Some(scores), other].map(|scores| scores.map(|scores| &scores.data()[cells.clone()]));
        for (maps, groups) in maps.chunks_mut(tile.groups).zip(groups.chunks(tile.groups)) {
            let here = |group: &Vec<u32>| -> Vec<u32> {
                let inside = group.iter().filter(|&&row| rows.contains(&(row as usize)));
                inside.map(|&row| row - first as u32).collect()
            };
            let local: Vec<Vec<u32>> = groups.iter().map(here).collect();
            if local.iter().all(Vec::is_empty) {
                continue;
            }
            for top in (0..concepts).step_by(tile.above) {
                let above = top..concepts.min(top + tile.above);
                let found = count_tile(device, concepts, &parts, &local, above.clone())?;
                for (map, found) in maps.iter_mut().zip(found.chunks_exact(above.len() * concepts)) {
                    let cells = &mut map[above.start * concepts..above.end * concepts];
                    cells.iter_mut().zip(found).for_each(|(sum, &count)| *sum += count);
                }
            }
        }
    }
    Ok(maps)
}

/// The counts of one tile, `[groups, above, C]`.
fn count_tile(
    device: &Device,
    concepts: usize,
    scores: &[Option<&[f32]>; 2],
    groups: &[Vec<u32>],
    above: Range<usize>,
) -> Result<Vec<u32>> {
    let rows = scores[0].map_or(0, |scores| scores.len() / concepts);
    let mut plan = Plan::new(rows);
    let names = ["scores", "other"];
    let given: Vec<(&str, &[f32])> =
        names.into_iter().zip(scores).filter_map(|(name, scores)| Some((name, (*scores)?))).collect();
    let vars: Vec<Var> = given.iter().map(|(name, _)| plan.input(name, 1, concepts)).collect();
    let counts = plan.map_counts(vars[0], vars.get(1).copied(), groups, above);
    plan.output("counts", counts);
    let inputs: Vec<(&str, Input<'_>)> = given.into_iter().map(|(name, scores)| (name, Input::F32(scores))).collect();
    Ok(device.compile(&plan)?.run(&inputs)?.integers("counts").to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::DeviceOptions;
    use crate::kernels::cases::noise;
    use crate::semantics::map_table::MapTable;
    use crate::semantics::{Distance, Fraction, Membership, StoredMap, reference};

    /// Scores of few distinct values, so that ties are common.
    fn scores(images: usize, concepts: usize) -> Tensor {
        Tensor::new(
            [images, concepts],
            noise(5, images * concepts).iter().map(|value| (value * 40.0).round()).collect(),
        )
    }

    #[test]
    fn counts_and_distances_of_thousands_of_concepts_are_those_of_the_definition() {
        let device = Device::best().unwrap();
        // A map takes 100 MB, more than one dispatch makes.
        let scores = scores(9, 5003);
        let groups = [vec![0, 2, 4, 6, 8], vec![1, 3], vec![8, 7, 6, 5, 4, 3]];
        let maps = count_maps(&device, &scores, &groups).unwrap();
        for (map, rows) in maps.iter().zip(&groups) {
            assert_eq!(map, &reference::counts(&scores, rows).unwrap());
        }
        let table = MapTable::new(5003, 3, 1, |class, _| {
            Some(StoredMap::new(&maps[class], Distance::Cosine, Fraction::HALF, Membership::Outside))
        });
        let found = table.run(&device, &scores.select_rows(&[1, 7]), &[0, 1]).unwrap();
        for (found, (row, class)) in found.iter().zip([(1, 0), (7, 1)]) {
            let expected =
                reference::distance(scores.row(row), &maps[class], Distance::Cosine, Fraction::HALF).unwrap();
            assert!((found[0].unwrap() - expected).abs() < 1e-5, "{found:?} {expected}");
        }
    }

    #[test]
    fn counts_in_tiles_are_those_at_once() {
        let scores = scores(300, 61);
        let groups = [(0..300).collect(), (0..300).step_by(7).collect(), vec![299, 0], Vec::new()];
        // Room for everything; for one map and 58 rows of scores; for 20 rows of a map and 19 of scores.
        let limits = [None, Some(4 * 61 * 61), Some(4 * 61 * 20)];
        let [whole, tight, tighter] = limits.map(|max_binding_bytes| {
            let device = Device::open(&DeviceOptions { max_binding_bytes, ..DeviceOptions::default() }).unwrap();
            (count_maps(&device, &scores, &groups).unwrap(), count_joint(&device, &scores, &scores, &groups).unwrap())
        });
        assert_eq!(whole, tight);
        assert_eq!(whole, tighter);
        for (map, rows) in whole.0.iter().zip(&groups) {
            assert_eq!(map, &reference::counts(&scores, rows).unwrap());
        }
    }
}
