//! Cooperative matrices (tensor cores): which adapters have those that the kernels multiply, and the test that a device passes before
//! any are used.

use std::fmt;

use super::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{Matrices, MatrixEdge, cases};
use crate::plan::Plan;

/// What the kernels on cooperative matrices need.
pub(super) const FEATURES: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16).union(wgpu::Features::SUBGROUP);

/// How to go on without them.
const HINT: &str = "leave --cooperative-matrix (HEATLENS_COOPERATIVE_MATRIX) out, or choose an adapter that `heatlens doctor` lists \
    with f16 matrices of 16×16×16 or 8×8×8 and sums in f32; on Vulkan a newer driver may add them (VK_KHR_cooperative_matrix)";

/// Lanes of a subgroup where an adapter has subgroups of several sizes.
const USUAL_LANES: u32 = 32;

/// How the kernels on cooperative matrices did on a device when it was opened.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct MatrixTest {
    /// Rows and columns of the matrices in use.
    pub edge: u32,
    /// Cases that were run, all of which passed.
    pub cases: usize,
    /// The largest error of all cases, relative to the largest magnitude of the reference.
    pub worst: f64,
    /// The largest that passes.
    pub tolerance: f64,
}

impl fmt::Display for MatrixTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { edge, cases, worst, tolerance } = self;
        write!(f, "{edge}×{edge}×{edge} in use, {cases} cases pass, the worst error {worst:.1e} of {tolerance:.0e}")
    }
}

/// Each configuration that an adapter multiplies, in words.
pub(super) fn listing(adapter: &wgpu::Adapter) -> Vec<String> {
    adapter.cooperative_matrix_properties().iter().map(described).collect()
}

fn described(found: &wgpu::CooperativeMatrixProperties) -> String {
    let name = |scalar| match scalar {
        wgpu::CooperativeScalarType::F32 => "f32",
        wgpu::CooperativeScalarType::F16 => "f16",
        wgpu::CooperativeScalarType::I32 => "i32",
        wgpu::CooperativeScalarType::U32 => "u32",
    };
    let wgpu::CooperativeMatrixProperties { m_size, n_size, k_size, ab_type, cr_type, .. } = *found;
    format!("{m_size}×{n_size}×{k_size} of {}, sums in {}", name(ab_type), name(cr_type))
}

/// The matrices of an adapter that the kernels use.
///
/// # Errors
/// [`ErrorKind::Device`] saying what the adapter lacks.
pub(super) fn of(adapter: &wgpu::Adapter) -> Result<Matrices> {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let refused = |why: String| Err(Error::new(ErrorKind::Device, format!("{} {why}", info.name)).hint(HINT));
    let found = adapter.cooperative_matrix_properties();
    let lacking = FEATURES - adapter.features();
    if found.is_empty() || lacking.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        return refused("has no cooperative matrices".to_owned());
    }
    if !lacking.is_empty() {
        return refused(format!("has cooperative matrices, but lacks {lacking}"));
    }
    let is_usable = |edge: &MatrixEdge| {
        let size = edge.size();
        found.iter().any(|found| {
            [found.m_size, found.n_size, found.k_size] == [size; 3]
                && found.ab_type == wgpu::CooperativeScalarType::F16
                && found.cr_type == wgpu::CooperativeScalarType::F32
        })
    };
    let Some(edge) = MatrixEdge::ALL.into_iter().find(is_usable) else {
        let all: Vec<String> = found.iter().map(described).collect();
        return refused(format!("has no cooperative matrices that heatlens multiplies, only {}", all.join("; ")));
    };
    let lanes = if info.subgroup_min_size == info.subgroup_max_size { info.subgroup_max_size } else { USUAL_LANES };
    let needed = Matrices::SUBGROUPS * lanes;
    let most = limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x);
    if most < needed || limits.max_compute_workgroup_storage_size < Matrices::WORKGROUP_BYTES {
        let (bytes, least) = (limits.max_compute_workgroup_storage_size, Matrices::WORKGROUP_BYTES);
        return refused(format!(
            "has workgroups of {most} lanes and {bytes} bytes, and the kernels on cooperative matrices need {needed} lanes and {least} bytes"
        ));
    }
    Ok(Matrices { edge, lanes })
}

impl Device {
    /// Refuses a lowered plan that still has kernels for cooperative matrices which this device doesn't have.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] saying so.
    pub(super) fn check_matrices(&self, plan: &Plan) -> Result<()> {
        if !plan.dispatches().iter().any(|dispatch| dispatch.kernel.needs_matrices()) {
            return Ok(());
        }
        let name = &self.summary().name;
        let message = format!("the model's weights are for cooperative matrices, and {name} wasn't opened with any");
        Err(Error::new(ErrorKind::Device, message)
            .hint("use --cooperative-matrix (in a program DeviceOptions::cooperative_matrix), as when bundle or filter was made"))
    }

    /// Runs every kernel on cooperative matrices against its f64 reference.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] naming the case that gives another result or doesn't run.
    pub(super) fn test_matrices(&self, matrices: Matrices) -> Result<MatrixTest> {
        let cases = cases::cooperative(matrices);
        let edge = matrices.edge.size();
        let mut test = MatrixTest { edge, cases: cases.len(), worst: 0.0, tolerance: 0.0 };
        for case in &cases {
            let refused = |why: String| {
                let name = &self.summary().name;
                let message = format!(
                    "{name} isn't used with cooperative matrices of {edge}×{edge}: in the test at the start {} ({}) {why}",
                    case.kernel.name(),
                    case.label
                );
                Error::new(ErrorKind::Device, message).hint(HINT)
            };
            let check = self.check(case).map_err(|e| refused("doesn't run".to_owned()).caused_by(e))?;
            if !check.passes() {
                return Err(refused(format!("is off by {:.1e}, {:.0e} at most passes", check.error, check.tolerance)));
            }
            (test.worst, test.tolerance) = (test.worst.max(check.error), test.tolerance.max(check.tolerance));
        }
        Ok(test)
    }
}
