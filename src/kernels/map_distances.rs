//! Distances between single-input maps and stored maps (`shaders/map_distances.wgsl`).

use std::ops::Range;

use super::{Block, Data, Kernel, Launch, Operand, Profile, Shader, fold, pad4, params, row_lanes, shader, size};

static SHADER: Shader = shader!("map_distances", reads: 5);

/// The entry of a table where a class has no map.
pub const NO_MAP: u32 = u32::MAX;

/// How a distance follows from ⟨h, W⟩ and Σh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DistanceForm {
    /// `offset + product·⟨h, W⟩ + sum·Σh`.
    Affine,
    /// The square root of the affine form, of 0 where that is negative.
    Root,
    /// `1 − product·⟨h, W⟩ / √Σh`.
    Cosine,
}

/// What turns ⟨h, W⟩ and Σh into a distance for one map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MapConstants {
    /// The form of the distance.
    pub form: DistanceForm,
    /// The constant term.
    pub offset: f32,
    /// The factor of ⟨h, W⟩.
    pub product: f32,
    /// The factor of Σh.
    pub sum: f32,
}

impl MapConstants {
    /// The constants as the shader reads them.
    pub fn values(&self) -> [f32; 4] {
        let form = match self.form {
            DistanceForm::Affine => 0.0,
            DistanceForm::Root => 1.0,
            DistanceForm::Cosine => 2.0,
        };
        [self.offset, self.product, self.sum, form]
    }
}

/// Each row's distances to the maps of its class: rows of `slots` quadruples distance, ⟨h, W⟩, Σh, 0.
///
/// All four are 0 where the class has no map in a slot, and the distance is 0 where Σh is: neither is a distance, and
/// callers tell them by the table and by Σh.
#[derive(Debug, Clone)]
pub struct MapDistances {
    /// Rows of scores.
    pub rows: usize,
    /// Concepts C.
    pub concepts: usize,
    /// Stored maps.
    pub maps: usize,
    /// Rows of the table: classes.
    pub classes: usize,
    /// Columns of the table: maps that a row is compared with.
    pub slots: usize,
}

/// The weights' place among the operands.
const WEIGHTS: usize = 2;

impl MapDistances {
    /// Compares with the maps whose weights are bound.
    fn launch_maps(&self, profile: Profile, maps: &Range<usize>) -> Launch {
        let params = params(&[
            size(self.rows),
            size(self.concepts),
            size(pad4(self.concepts) / 4),
            size(self.slots),
            size(self.classes),
            size(maps.start),
            size(maps.len()),
        ]);
        Launch { shader: &SHADER, constants: row_lanes(profile), params, grid: fold(self.rows * self.slots) }
    }
}

impl Kernel for MapDistances {
    fn name(&self) -> &'static str {
        "map_distances"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.rows, self.concepts, self.maps, self.slots]
    }

    fn reads(&self) -> Vec<Operand> {
        let concepts4 = pad4(self.concepts);
        vec![
            Operand::f32(self.rows * concepts4),
            Operand::u32(self.rows),
            Operand::f32(self.maps * self.concepts * concepts4),
            Operand::f32(self.maps * 4),
            Operand::u32(self.classes * self.slots),
        ]
    }

    fn output(&self) -> Operand {
        Operand::f32(self.rows * self.slots * 4)
    }

    fn flops(&self) -> u64 {
        4 * (self.rows * self.slots * self.concepts * self.concepts) as u64
    }

    fn launch(&self, profile: Profile) -> Launch {
        self.launch_maps(profile, &(0..self.maps))
    }

    /// Whole maps: each distance is written by the dispatch that has its map.
    fn split(&self, profile: Profile, operand: usize, largest: u64) -> Option<Vec<(Block, Launch)>> {
        let cells = self.concepts * pad4(self.concepts);
        let maps = (largest / (4 * cells.max(1) as u64)) as usize;
        let blocks = (operand == WEIGHTS).then(|| Block::of_rows(self.maps, cells, maps))??;
        Some(blocks.into_iter().map(|block| (block.clone(), self.launch_maps(profile, &block.rows))).collect())
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let (scores, classes, weights) = (reads[0].f32(), reads[1].u32(), reads[2].f32());
        let (constants, table) = (reads[3].f32(), reads[4].u32());
        let concepts4 = pad4(self.concepts);
        let mut output = vec![0.0; self.output().len];
        for (index, cell) in output.chunks_exact_mut(4).enumerate() {
            let row = index / self.slots;
            let map = table[classes[row] as usize * self.slots + index % self.slots];
            if map == NO_MAP {
                continue;
            }
            let scores = &scores[row * concepts4..][..self.concepts];
            for (i, left) in scores.iter().enumerate() {
                let weights = &weights[(map as usize * self.concepts + i) * concepts4..];
                for (right, &weight) in scores.iter().zip(weights) {
                    if left > right {
                        cell[1] += f64::from(weight);
                        cell[2] += 1.0;
                    }
                }
            }
            let c: Vec<f64> = constants[map as usize * 4..][..4].iter().map(|&v| f64::from(v)).collect();
            let affine = c[0] + c[1] * cell[1] + c[2] * cell[2];
            cell[0] = match c[3] {
                _ if cell[2] == 0.0 => 0.0,
                2.0 => 1.0 - cell[1] * c[1] / cell[2].sqrt(),
                1.0 => affine.max(0.0).sqrt(),
                _ => affine,
            };
        }
        output
    }
}
