//! Distances to the stored maps of classes: what the GPU gives and what they mean.

use super::distance::{Distance, Membership, Products, StoredMap};
use crate::error::Result;
use crate::gpu::{Device, Input};
use crate::kernels::{DistanceForm, MapConstants, NO_MAP};
use crate::plan::{Plan, StoredMaps};
use crate::tensor::Tensor;

/// For each class the stored maps that its images are compared with, in a fixed number of slots.
#[derive(Debug, Clone)]
pub(crate) struct MapTable {
    concepts: usize,
    slots: usize,
    /// `[classes, slots]`.
    maps: Vec<Option<StoredMap>>,
}

impl MapTable {
    /// A table of `classes` rows of `slots` maps, made by `map`.
    pub(crate) fn new(
        concepts: usize,
        classes: usize,
        slots: usize,
        map: impl Fn(usize, usize) -> Option<StoredMap>,
    ) -> Self {
        let cells = (0..classes * slots).map(|index| map(index / slots, index % slots));
        Self { concepts, slots, maps: cells.collect() }
    }

    /// A class's map in a slot.
    pub(crate) fn map(&self, class: usize, slot: usize) -> Option<&StoredMap> {
        self.maps[class * self.slots + slot].as_ref()
    }

    /// The maps as a plan takes them. A slot takes two places there: the second is for the maps that need a second
    /// product.
    pub(crate) fn packed(&self) -> StoredMaps {
        let mut weights: Vec<(&[f32], MapConstants)> = Vec::new();
        let mut table = Vec::with_capacity(2 * self.maps.len());
        for map in &self.maps {
            let second = map.as_ref().and_then(StoredMap::second_weights);
            for part in [map.as_ref().map(StoredMap::weights), second] {
                let constants = map.as_ref().and_then(StoredMap::constants).unwrap_or(UNUSED);
                table.push(part.map_or(NO_MAP, |_| weights.len() as u32));
                weights.extend(part.map(|part| (part, constants)));
            }
        }
        if weights.is_empty() {
            // A binding can't be empty; no entry of the table leads here.
            let cells: &'static [f32] = &[];
            return StoredMaps::new(0, &[(cells, UNUSED)], table, 2 * self.slots);
        }
        StoredMaps::new(self.concepts, &weights, table, 2 * self.slots)
    }

    /// The distances of one row of [`Plan::map_distances`]' result to a class's maps, slot by slot.
    pub(crate) fn distances(&self, row: &[f32], class: usize) -> Vec<Option<f64>> {
        let cells = row.as_chunks::<8>().0.iter().enumerate();
        cells
            .map(|(slot, &[distance, dot, ones, _, _, second, _, _])| {
                let map = self.map(class, slot)?;
                if map.constants().is_some() {
                    return (ones > 0.0 && map.images() > 0).then(|| f64::from(distance));
                }
                map.distance(Products { dot: f64::from(dot), second: f64::from(second), ones: ones as u64 })
            })
            .collect()
    }

    /// The distances of every row of `scores` `[N, C]` to the maps of its class in `classes`: `[N][slots]`.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn run(&self, device: &Device, scores: &Tensor, classes: &[usize]) -> Result<Vec<Vec<Option<f64>>>> {
        let packed = self.packed();
        let row_bytes = 4 * (scores.columns().next_multiple_of(4)).max(8 * self.slots) as u64;
        let at_once = (device.limits().binding / row_bytes).max(1) as usize;
        let mut distances = Vec::with_capacity(classes.len());
        for first in (0..classes.len()).step_by(at_once) {
            let rows: Vec<usize> = (first..classes.len().min(first + at_once)).collect();
            let mut plan = Plan::new(rows.len());
            let input = plan.input("scores", 1, scores.columns());
            let select = plan.input_indices("classes", 1);
            let result = plan.map_distances(input, select, &packed);
            plan.output("distances", result);
            let part = scores.select_rows(&rows);
            let chosen: Vec<u32> = rows.iter().map(|&row| classes[row] as u32).collect();
            let inputs = [("scores", Input::F32(part.data())), ("classes", Input::U32(&chosen))];
            let found = device.compile(&plan)?.run(&inputs)?.tensor("distances");
            distances.extend(rows.iter().map(|&row| self.distances(found.row(row - first), classes[row])));
        }
        Ok(distances)
    }
}

const UNUSED: MapConstants = MapConstants { form: DistanceForm::Affine, offset: 0.0, product: 0.0, sum: 0.0 };

impl StoredMap {
    /// What turns ⟨h, W⟩ and Σh into the distance on the GPU, for images that aren't the map's own. Those that are take
    /// the closed forms of [`StoredMap::distance`]. A map without images or without any order has no distance.
    pub(crate) fn constants(&self) -> Option<MapConstants> {
        if self.membership() == Membership::Inside || self.images() == 0 {
            return None;
        }
        let n = self.images() as f64;
        let size = (self.concepts() * (self.concepts() - 1)) as f64;
        let affine = |form, offset: f64, product: f64, sum: f64| MapConstants {
            form,
            offset: offset as f32,
            product: product as f32,
            sum: sum as f32,
        };
        Some(match self.kind() {
            Distance::L1 => affine(DistanceForm::Affine, self.mass() / size, -2.0 / (n * size), 1.0 / size),
            Distance::L2 => affine(DistanceForm::Root, self.squared_norm()? / size, -2.0 / (n * size), 1.0 / size),
            Distance::Cosine | Distance::CosinePlain => {
                let norm = self.squared_norm()?;
                affine(DistanceForm::Cosine, 0.0, 1.0 / (n * norm.sqrt()), 0.0)
            }
            Distance::Hamming => {
                let (differ, cells) = self.hamming_base()?;
                affine(DistanceForm::Affine, differ / cells, 1.0 / cells, 0.0)
            }
            Distance::Loglik => affine(DistanceForm::Affine, self.loglik_base()?, -1.0, 0.0),
        })
    }
}
