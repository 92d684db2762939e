//! Heatmap counts on the GPU.

use super::heatmap::Counts;
use crate::error::Result;
use crate::gpu::{Device, Input};
use crate::plan::Plan;
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

/// Counts groups in turns whose scores and whose counts both fit the adapter; sums over turns are exact.
fn count(device: &Device, scores: &Tensor, other: Option<&Tensor>, groups: &[Vec<u32>]) -> Result<Vec<Vec<u32>>> {
    let concepts = scores.columns();
    let map_bytes = 4 * (concepts * concepts) as u64;
    let largest = device.limits().binding;
    let groups_at_once = (largest.min(LARGEST_RESULT) / map_bytes).max(1) as usize;
    let rows_at_once = (largest / (4 * concepts.next_multiple_of(4)) as u64) as usize;
    let mut maps = vec![vec![0_u32; concepts * concepts]; groups.len()];
    for (turn, groups) in groups.chunks(groups_at_once).enumerate() {
        for first in (0..scores.rows()).step_by(rows_at_once.max(1)) {
            let rows = first..scores.rows().min(first + rows_at_once);
            let here = |group: &Vec<u32>| -> Vec<u32> {
                let inside = group.iter().filter(|&&row| rows.contains(&(row as usize)));
                inside.map(|&row| row - first as u32).collect()
            };
            let local: Vec<Vec<u32>> =
                if rows.len() == scores.rows() { groups.to_vec() } else { groups.iter().map(here).collect() };
            if local.iter().all(Vec::is_empty) {
                continue;
            }
            let mut plan = Plan::new(rows.len());
            let input = plan.input("scores", 1, concepts);
            let second = other.map(|_| plan.input("other", 1, concepts));
            let counts = plan.map_counts(input, second, &local);
            plan.output("counts", counts);
            let parts = [Some(scores), other]
                .map(|scores| scores.map(|scores| scores.select_rows(&rows.clone().collect::<Vec<_>>())));
            let mut inputs = Vec::new();
            for (name, part) in ["scores", "other"].into_iter().zip(&parts) {
                if let Some(part) = part {
                    inputs.push((name, Input::F32(part.data())));
                }
            }
            let outputs = device.compile(&plan)?.run(&inputs)?;
            let found = outputs.integers("counts").chunks_exact(concepts * concepts);
            for (map, found) in maps[turn * groups_at_once..].iter_mut().zip(found) {
                map.iter_mut().zip(found).for_each(|(sum, &count)| *sum += count);
            }
        }
    }
    Ok(maps)
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
        // A map takes 25 MB: three don't fit one dispatch.
        let scores = scores(9, 2503);
        let groups = [vec![0, 2, 4, 6, 8], vec![1, 3], vec![8, 7, 6, 5, 4, 3]];
        let maps = count_maps(&device, &scores, &groups).unwrap();
        for (map, rows) in maps.iter().zip(&groups) {
            assert_eq!(map, &reference::counts(&scores, rows).unwrap());
        }
        let table = MapTable::new(2503, 3, 1, |class, _| {
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
    fn counts_in_turns_are_those_at_once() {
        let scores = scores(300, 61);
        let groups = [(0..300).collect(), (0..300).step_by(7).collect(), vec![299, 0], Vec::new()];
        // Room for one map, and for 60 rows of scores, at a time.
        let options = DeviceOptions { max_binding_bytes: Some(4 * 61 * 61), ..DeviceOptions::default() };
        let [whole, tight] = [DeviceOptions::default(), options].map(|options| {
            let device = Device::open(&options).unwrap();
            (count_maps(&device, &scores, &groups).unwrap(), count_joint(&device, &scores, &scores, &groups).unwrap())
        });
        assert_eq!(whole, tight);
        for (map, rows) in whole.0.iter().zip(&groups) {
            assert_eq!(map, &reference::counts(&scores, rows).unwrap());
        }
    }
}
