//! Heatmap aggregation (`shaders/map_counts.wgsl`, `shaders/map_counts_subgroup.wgsl`).

use std::ops::Range;

use super::{Data, Kernel, Launch, Operand, Profile, Shader, fold, pad4, params, shader, size};

static SHADER: Shader = shader!("map_counts", reads: 4);
static SUBGROUP: Shader = shader!("map_counts_subgroup", reads: 4);

/// Rows that one chunk holds at most.
const CHUNK_ROWS: usize = 256;

/// A run of listed rows that belong to one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The group.
    pub group: usize,
    /// The first listed row.
    pub first: usize,
    /// The number of rows.
    pub rows: usize,
}

impl Chunk {
    /// Cuts groups, listed one after the other, into chunks of a size that spreads over a GPU.
    pub fn split(groups: &[Vec<u32>]) -> Vec<Self> {
        let mut chunks = Vec::new();
        let mut first = 0;
        for (group, rows) in groups.iter().enumerate() {
            for chunk in rows.chunks(CHUNK_ROWS) {
                chunks.push(Self { group, first, rows: chunk.len() });
                first += chunk.len();
            }
        }
        chunks
    }

    /// The chunk as the shader reads it.
    pub fn words(&self) -> [u32; 4] {
        [size(self.group), size(self.first), size(self.rows), 0]
    }
}

/// For each group the number of its rows in which score i is above score j, strictly, for the i of a range.
///
/// The second operand holds other scores of the same rows: where `joint`, a row counts only if its order holds in both
/// (otherwise it is the first operand once more).
#[derive(Debug, Clone)]
pub struct MapCounts {
    /// Rows of scores.
    pub rows: usize,
    /// Concepts C.
    pub concepts: usize,
    /// Length of the row list over all groups.
    pub listed: usize,
    /// Chunks the list is cut into.
    pub chunks: usize,
    /// Groups.
    pub groups: usize,
    /// The concepts i, from a multiple of 4 on: a map too large to be bound is counted in several ranges.
    pub above: Range<usize>,
    /// Whether the order must hold in both operands.
    pub joint: bool,
}

impl Kernel for MapCounts {
    fn name(&self) -> &'static str {
        "map_counts"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.rows, self.concepts, self.groups]
    }

    fn reads(&self) -> Vec<Operand> {
        let scores = Operand::f32(self.rows * pad4(self.concepts));
        vec![scores, scores, Operand::u32(self.listed), Operand::u32(4 * self.chunks)]
    }

    fn output(&self) -> Operand {
        Operand::u32(self.groups * self.above.len() * self.concepts)
    }

    fn accumulates(&self) -> bool {
        true
    }

    fn flops(&self) -> u64 {
        (self.listed * self.above.len() * self.concepts) as u64
    }

    fn launch(&self, profile: Profile) -> Launch {
        let concepts4 = pad4(self.concepts) / 4;
        let above4 = pad4(self.above.len()) / 4;
        // Counts in both of two operands are rare enough to have no shader of their own for subgroups.
        let is_subgroup = profile == Profile::SoftwareSubgroups && !self.joint;
        let block_groups =
            if is_subgroup { above4.div_ceil(8) * concepts4.div_ceil(8) } else { (above4 * concepts4).div_ceil(64) };
        let params = params(&[
            size(self.concepts),
            size(concepts4),
            size(self.chunks),
            size(block_groups),
            size(self.above.start / 4),
            size(self.above.len()),
            size(above4),
        ]);
        let grid = fold(block_groups * self.chunks);
        if is_subgroup {
            return Launch { shader: &SUBGROUP, constants: Vec::new(), params, grid };
        }
        Launch { shader: &SHADER, constants: vec![("JOINT", u32::from(self.joint))], params, grid }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let (listed, chunks) = (reads[2].u32(), reads[3].u32());
        let cells = self.above.len() * self.concepts;
        let mut counts = vec![0.0; self.groups * cells];
        for chunk in chunks.chunks_exact(4) {
            let [group, first, rows] = [chunk[0] as usize, chunk[1] as usize, chunk[2] as usize];
            for &row in &listed[first..first + rows] {
                let scores =
                    [0, 1].map(|read| &reads[read].f32()[row as usize * pad4(self.concepts)..][..self.concepts]);
                for (cells, i) in counts[group * cells..].chunks_exact_mut(self.concepts).zip(self.above.clone()) {
                    for (j, count) in cells.iter_mut().enumerate() {
                        let holds = scores.iter().all(|scores| scores[i] > scores[j]);
                        *count += f64::from(u8::from(holds));
                    }
                }
            }
        }
        counts
    }
}
