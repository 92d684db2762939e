//! Convolution and matrix product on cooperative matrices (`shaders/gemm_cooperative_16x2.wgsl`, `shaders/gemm_cooperative_16x1.wgsl`
//! on those of 16×16, `shaders/gemm_cooperative_8x4.wgsl`, `shaders/gemm_cooperative_8x2.wgsl` on those of 8×8).
//!
//! The same implicit GEMM as [`Gemm`] with weights in f16, the input rounded to f16 as well: the adapter multiplies whole tiles of
//! halves at once and adds them in f32, in an order and with a rounding of its own.

use std::ops::Range;

use half::f16;

use super::gemm::Extent;
use super::{Block, Data, Gemm, Kernel, Launch, Operand, Profile, Shader, Variant, shader};

static SIXTEEN: Shader = shader!("gemm_cooperative_16x2", reads: 4);
static SIXTEEN_SMALL: Shader = shader!("gemm_cooperative_16x1", reads: 4);
static EIGHT: Shader = shader!("gemm_cooperative_8x4", reads: 4);
static EIGHT_SMALL: Shader = shader!("gemm_cooperative_8x2", reads: 4);

/// Cooperative matrices of halves whose products a device adds in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Matrices {
    /// Rows and columns of each.
    pub edge: MatrixEdge,
    /// Lanes of a subgroup, which multiplies them. Where subgroups have another number of lanes the result is the same.
    pub lanes: u32,
}

/// Rows and columns of a cooperative matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatrixEdge {
    /// 16.
    Sixteen,
    /// 8.
    Eight,
}

impl MatrixEdge {
    /// Every edge, the one to prefer first.
    pub const ALL: [Self; 2] = [Self::Sixteen, Self::Eight];

    /// The number.
    pub fn size(self) -> u32 {
        match self {
            Self::Sixteen => 16,
            Self::Eight => 8,
        }
    }
}

impl Matrices {
    /// Subgroups of a workgroup.
    pub const SUBGROUPS: u32 = 4;
    /// The most workgroup memory that a kernel on cooperative matrices takes, in bytes.
    pub const WORKGROUP_BYTES: u32 = 20_480;
}

/// A way to compute a tile.
struct Tile {
    edge: MatrixEdge,
    shader: &'static Shader,
    extent: Extent,
}

/// Every tile, an edge's largest first.
static TILES: [Tile; 4] = [
    Tile { edge: MatrixEdge::Sixteen, shader: &SIXTEEN, extent: Extent { rows: 64, columns4: 16 } },
    Tile { edge: MatrixEdge::Sixteen, shader: &SIXTEEN_SMALL, extent: Extent { rows: 32, columns4: 8 } },
    Tile { edge: MatrixEdge::Eight, shader: &EIGHT, extent: Extent { rows: 64, columns4: 16 } },
    Tile { edge: MatrixEdge::Eight, shader: &EIGHT_SMALL, extent: Extent { rows: 32, columns4: 8 } },
];

/// A [`Gemm`] with weights in f16 on cooperative matrices, made by [`Kernel::cooperative`].
#[derive(Debug, Clone)]
pub struct CooperativeGemm {
    pub(super) gemm: Gemm,
    pub(super) matrices: Matrices,
}

impl CooperativeGemm {
    /// The kernel's name, with which those of its shaders begin.
    pub const NAME: &str = "gemm_cooperative";

    fn tiles(&self) -> impl DoubleEndedIterator<Item = &'static Tile> + Clone + use<> {
        let edge = self.matrices.edge;
        TILES.iter().filter(move |tile| tile.edge == edge)
    }

    /// As [`Gemm`] chooses: what one image fills, or the smallest.
    fn tile(&self) -> &'static Tile {
        let smallest = self.tiles().next_back().expect("every edge has a tile");
        self.tiles().find(|tile| self.gemm.fills(tile.extent)).unwrap_or(smallest)
    }

    fn launch_columns(&self, tile: &Tile, columns: &Range<usize>) -> Launch {
        let constants = vec![("LANES", Matrices::SUBGROUPS * self.matrices.lanes)];
        self.gemm.launch_shader(tile.shader, constants, tile.extent, columns)
    }
}

impl Kernel for CooperativeGemm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shape(&self) -> Vec<usize> {
        self.gemm.shape()
    }

    fn reads(&self) -> Vec<Operand> {
        self.gemm.reads()
    }

    fn output(&self) -> Operand {
        self.gemm.output()
    }

    fn flops(&self) -> u64 {
        self.gemm.flops()
    }

    /// Relative to the largest value 4e-5: adapters add a matrix's products without rounding each sum to nearest. Sums in f16 would be off
    /// by ten times as much.
    fn tolerance(&self) -> f64 {
        4e-5
    }

    fn launch(&self, _: Profile) -> Launch {
        self.launch_columns(self.tile(), &self.gemm.columns())
    }

    fn variants(&self) -> Vec<Variant> {
        let of = |tile| {
            let launch = self.launch_columns(tile, &self.gemm.columns());
            let name = launch.shader.label.strip_prefix("gemm_").expect("a GEMM's shader is named by its tile");
            Variant { name, profiles: Profile::ALL.to_vec(), launch }
        };
        self.tiles().map(of).collect()
    }

    fn split(&self, _: Profile, operand: usize, largest: u64) -> Option<Vec<(Block, Launch)>> {
        let (blocks, tile) = (self.gemm.blocks(operand, largest)?, self.tile());
        Some(blocks.into_iter().map(|block| (block.clone(), self.launch_columns(tile, &block.columns))).collect())
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let rounded: Vec<f32> = reads[0].f32().iter().map(|&value| f16::from_f32(value).to_f32()).collect();
        self.gemm.reference(&[&[Data::F32(&rounded)], &reads[1..]].concat())
    }
}
