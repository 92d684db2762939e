//! What an adapter can do at best, which other kernels are measured against: multiply-adds a second
//! (`shaders/fma_peak.wgsl`) and bytes copied a second (`shaders/copy_peak.wgsl`).

use super::{Data, Kernel, Launch, Operand, Profile, Shader, fold, params, row_lanes, shader, size};

static FMA: Shader = shader!("fma_peak", reads: 1);
static COPY: Shader = shader!("copy_peak", reads: 1);

/// Multiply-adds of a lane in one round, as the shader has them: 16 of a vec4.
const FMAS_PER_ROUND: usize = 16 * 4;
/// Steps of each chain in one round.
const STEPS_PER_ROUND: usize = 8;
/// The vec4s that a lane copies, as the shader has it.
const VECTORS_PER_LANE: usize = 16;

/// `x ← factor · x + summand`, over and over, from other starting values in every lane.
///
/// The operand is the factor and the summand, a vec4 each; the output is each lane's sum of its two chains of vec4s.
/// With −1 and 1 all steps are exact.
#[derive(Debug, Clone)]
pub struct FmaPeak {
    /// Lanes.
    pub lanes: usize,
    /// Rounds of 64 multiply-adds a lane.
    pub rounds: usize,
}

impl FmaPeak {
    /// Coefficients with which every step is exact and no value grows.
    pub fn exact() -> Vec<f32> {
        [[-1.0; 4], [1.0; 4]].concat()
    }
}

impl Kernel for FmaPeak {
    fn name(&self) -> &'static str {
        "fma_peak"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.lanes, self.rounds]
    }

    fn reads(&self) -> Vec<Operand> {
        vec![Operand::f32(8)]
    }

    fn output(&self) -> Operand {
        Operand::f32(4 * self.lanes)
    }

    fn flops(&self) -> u64 {
        2 * (self.lanes * self.rounds * FMAS_PER_ROUND) as u64
    }

    fn launch(&self, profile: Profile) -> Launch {
        let params = params(&[size(self.lanes), size(self.rounds)]);
        let constants = row_lanes(profile);
        let grid = fold(self.lanes.div_ceil(constants[0].1 as usize));
        Launch { shader: &FMA, constants, params, grid }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let coefficients = reads[0].f32();
        let chain = |start: f64, component: usize| {
            let [factor, summand] = [0, 4].map(|first| f64::from(coefficients[first + component]));
            (0..self.rounds * STEPS_PER_ROUND).fold(start, |x, _| x * factor + summand)
        };
        let start = |lane: usize| (lane % 1024) as f64 / 1024.0;
        let value = |i: usize| chain(start(i / 4), i % 4) + chain(start(i / 4) + 1.0, i % 4);
        (0..4 * self.lanes).map(value).collect()
    }
}

/// A copy.
#[derive(Debug, Clone)]
pub struct CopyPeak {
    /// The vec4s to copy.
    pub vectors: usize,
}

impl Kernel for CopyPeak {
    fn name(&self) -> &'static str {
        "copy_peak"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.vectors]
    }

    fn reads(&self) -> Vec<Operand> {
        vec![Operand::f32(4 * self.vectors)]
    }

    fn output(&self) -> Operand {
        Operand::f32(4 * self.vectors)
    }

    fn flops(&self) -> u64 {
        0
    }

    fn launch(&self, profile: Profile) -> Launch {
        let constants = row_lanes(profile);
        let grid = fold(self.vectors.div_ceil(constants[0].1 as usize * VECTORS_PER_LANE));
        Launch { shader: &COPY, constants, params: params(&[size(self.vectors)]), grid }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        reads[0].f32().iter().map(|&value| f64::from(value)).collect()
    }
}
