//! The kernels: one struct per shader, which says everything about a dispatch but the buffers.
//!
//! `shaders/layer_norm.wgsl` belongs to `kernels/layer_norm.rs` and to [`LayerNorm`]. A kernel knows its uniform
//! parameters, its grid, the work it does and, as [`Kernel::reference`], the same computation in f64 on the host, which
//! the tests and `heatlens doctor` compare it with. Nothing in here runs anything on a GPU.
//!
//! Every shader follows one convention: binding 0 is the uniform `Params`, then come the operands that are read, in
//! order, and last the one that is written. Activations are rows of channels, channels padded to a multiple of 4 with
//! zeros, and bound as `array<vec4<f32>>`.

mod argmax;
mod attention;
mod block;
pub mod cases;
mod depthwise_conv;
mod embed;
mod end_pool;
mod gemm;
mod gemm_cooperative;
mod gram;
mod grouped_conv;
mod l2_normalize;
mod layer_norm;
mod map_counts;
mod map_distances;
mod normalize_image;
mod peak;
mod pool;
pub mod shapes;
mod variant;
mod winograd;

pub use argmax::Argmax;
pub use attention::Attention;
pub use block::Block;
pub use depthwise_conv::DepthwiseConv;
pub use embed::{EmbedPatches, EmbedTokens};
pub use end_pool::{EndPool, EndToken};
pub use gemm::{Activation, Gemm, Window};
pub use gemm_cooperative::{CooperativeGemm, Matrices, MatrixEdge};
pub use gram::Gram;
pub use grouped_conv::GroupedConv;
pub(crate) use grouped_conv::packed_groups;
pub use l2_normalize::L2Normalize;
pub use layer_norm::LayerNorm;
pub use map_counts::{Chunk, MapCounts};
pub use map_distances::{DistanceForm, MapConstants, MapDistances, NO_MAP};
pub use normalize_image::{Normalization, NormalizeImage};
pub use peak::{CopyPeak, FmaPeak};
pub use pool::{AvgPool, MaxPool, MeanPool};
pub use variant::Variant;
pub(crate) use winograd::winograd_weights;
pub use winograd::{Winograd, WinogradInput, WinogradOutput};

use std::borrow::Cow;
use std::sync::Arc;

use half::f16;

/// The shader families that a plan is compiled for, chosen by the kind of adapter.
///
/// Hardware likes tiles in workgroup memory. On software Vulkan a lane is one invocation of a CPU's vector unit, a
/// barrier is a coroutine switch, and register tiles without workgroup memory are several times faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// A discrete, integrated or virtual GPU.
    Hardware,
    /// A software rasteriser such as WARP.
    Software,
    /// A software rasteriser with subgroups of at least [`SUBGROUP_LANES`](Self::SUBGROUP_LANES), such as llvmpipe.
    SoftwareSubgroups,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 3] = [Self::Hardware, Self::Software, Self::SoftwareSubgroups];

    /// The lanes that kernels with subgroup operations count on.
    pub const SUBGROUP_LANES: u32 = 8;

    /// The profile's name in listings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Software => "software",
            Self::SoftwareSubgroups => "software with subgroups",
        }
    }

    /// Whether the adapter is a CPU.
    pub fn is_software(self) -> bool {
        self != Self::Hardware
    }
}

/// What a plan is lowered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The shader family.
    pub profile: Profile,
    /// Workgroups that one image must make with the GEMM's larger tile on hardware for a layer to take it: fewer leave most cores of a GPU
    /// idle, and a smaller tile loads more for each multiply-add.
    pub least_workgroups: usize,
    /// The cooperative matrices that there are for kernels that need some.
    pub matrices: Option<Matrices>,
}

impl Target {
    /// [`least_workgroups`](Self::least_workgroups) where nothing is known of the adapter.
    pub const LEAST_WORKGROUPS: usize = 32;
}

impl From<Profile> for Target {
    fn from(profile: Profile) -> Self {
        Self { profile, least_workgroups: Self::LEAST_WORKGROUPS, matrices: None }
    }
}

/// One WGSL module: its name (that of its file), its text and how it uses its operands.
#[derive(Debug)]
pub struct Shader {
    /// The file's name without `.wgsl`; the pipelines and dispatches are labelled with it.
    pub label: &'static str,
    /// The WGSL text.
    pub source: &'static str,
    /// The number of operands that are read; they are bound at 1, 2, … and the output after them.
    pub reads: usize,
}

/// Defines the [`Shader`] of a file under `shaders/`.
macro_rules! shader {
    ($label:literal, reads: $reads:literal) => {
        $crate::kernels::Shader {
            label: $label,
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $label, ".wgsl")),
            reads: $reads,
        }
    };
}
pub(crate) use shader;

/// How to launch a kernel on one profile.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The module to run.
    pub shader: &'static Shader,
    /// Values of its `override` constants; with the module they identify a pipeline.
    pub constants: Vec<(&'static str, u32)>,
    /// The bytes of its uniform `Params`, a multiple of 16.
    pub params: Vec<u8>,
    /// Workgroups in x, y and z.
    pub grid: [u32; 3],
}

impl Launch {
    /// What tells pipelines apart: the module and the values of its constants.
    pub fn pipeline_key(&self) -> (&'static str, &[(&'static str, u32)]) {
        (self.shader.label, &self.constants)
    }
}

/// The element type of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 32-bit float.
    F32,
    /// 16-bit float, two a word.
    F16,
    /// 32-bit unsigned integer (indices, token ids, counts, packed bytes).
    U32,
}

impl Element {
    /// Its size.
    pub fn bytes(self) -> u64 {
        if self == Self::F16 { 2 } else { 4 }
    }
}

/// One buffer a kernel reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    /// Its element type.
    pub element: Element,
    /// Its length in elements, padding included.
    pub len: usize,
}

impl Operand {
    /// An f32 operand of `len` elements.
    pub fn f32(len: usize) -> Self {
        Self { element: Element::F32, len }
    }

    /// A u32 operand of `len` elements.
    pub fn u32(len: usize) -> Self {
        Self { element: Element::U32, len }
    }

    /// The operand's size in bytes.
    pub fn bytes(&self) -> u64 {
        self.element.bytes() * self.len as u64
    }
}

/// Operand values on the host, as the references read them.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// Values of an f32 operand.
    F32(&'a [f32]),
    /// Values of an f16 operand.
    F16(&'a [f16]),
    /// Values of a u32 operand.
    U32(&'a [u32]),
}

impl<'a> Data<'a> {
    /// The f32 values.
    ///
    /// # Panics
    /// If the operand holds others.
    pub fn f32(self) -> &'a [f32] {
        match self {
            Self::F32(values) => values,
            Self::F16(_) | Self::U32(_) => panic!("the operand doesn't hold f32"),
        }
    }

    /// The u32 values.
    ///
    /// # Panics
    /// If the operand holds floats.
    pub fn u32(self) -> &'a [u32] {
        match self {
            Self::U32(values) => values,
            Self::F32(_) | Self::F16(_) => panic!("the operand doesn't hold u32"),
        }
    }

    /// The number of elements.
    pub fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::U32(values) => values.len(),
        }
    }

    /// The floats, exactly.
    ///
    /// # Panics
    /// If the operand holds integers.
    pub fn floats(self) -> Cow<'a, [f32]> {
        match self {
            Self::F16(values) => values.iter().map(|value| value.to_f32()).collect(),
            Self::F32(_) | Self::U32(_) => self.f32().into(),
        }
    }

    /// The element type.
    pub fn element(self) -> Element {
        match self {
            Self::F32(_) => Element::F32,
            Self::F16(_) => Element::F16,
            Self::U32(_) => Element::U32,
        }
    }

    /// The values as they lie in memory.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::F32(values) => bytemuck::cast_slice(values),
            Self::F16(values) => bytemuck::cast_slice(values),
            Self::U32(values) => bytemuck::cast_slice(values),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// A computation on the GPU at fixed sizes.
pub trait Kernel: std::fmt::Debug + Send + Sync {
    /// The kernel's name in plans, listings and `doctor`.
    fn name(&self) -> &'static str;

    /// Its sizes, in the order in which [`shapes`] names them.
    fn shape(&self) -> Vec<usize>;

    /// The operands that are read, in binding order.
    fn reads(&self) -> Vec<Operand>;

    /// The operand that is written.
    fn output(&self) -> Operand;

    /// Whether the output must be all zeros before the dispatch, because the kernel adds to it.
    fn accumulates(&self) -> bool {
        false
    }

    /// The floating-point (or, for maps, comparing) operations done, a multiply-add counted as two.
    fn flops(&self) -> u64;

    /// How to run on `profile`.
    fn launch(&self, profile: Profile) -> Launch;

    /// Blocks that cover the operand `operand`, each of at most `largest` bytes, and how to run with each of them in its
    /// place: one after the other these write what [`launch`](Self::launch) does, bit for bit. None if the kernel needs
    /// the operand whole.
    fn split(&self, _profile: Profile, _operand: usize, _largest: u64) -> Option<Vec<(Block, Launch)>> {
        None
    }

    /// The kernel as a convolution in Winograd's basis, where that is possible and was measured to be faster.
    fn winograd(&self, _profile: Profile) -> Option<Winograd> {
        None
    }

    /// The same with its weights held in f16, if it has weights that can be.
    fn in_f16(&self) -> Option<Arc<dyn Kernel>> {
        None
    }

    /// Whether cooperative matrices are asked for, which [`cooperative`](Self::cooperative) is there for.
    fn needs_matrices(&self) -> bool {
        false
    }

    /// The kernel that computes the same on cooperative matrices from its floats rounded to f16, if there is one: of products whose
    /// weights are held in f16.
    fn cooperative(&self, _matrices: Matrices) -> Option<Arc<dyn Kernel>> {
        None
    }

    /// The kernel with tiles for a target, and on its cooperative matrices if it needs such and there are any; none if it has no choice.
    fn tuned(&self, _target: Target) -> Option<Arc<dyn Kernel>> {
        None
    }

    /// The largest error of floats that passes, relative to the largest magnitude of the reference, for sums of up to 2048 terms.
    fn tolerance(&self) -> f64 {
        2e-6
    }

    /// Every distinct way to run, whichever adapter it is for.
    ///
    /// A variant is called what its shader's file has behind the kernel's name (`direct_8`), or, where only constants
    /// differ, by its profile; the only one of a kernel is called `any`.
    fn variants(&self) -> Vec<Variant> {
        let mut variants: Vec<Variant> = Vec::new();
        for profile in Profile::ALL {
            let launch = self.launch(profile);
            match variants.iter_mut().find(|variant| variant.launch.pipeline_key() == launch.pipeline_key()) {
                Some(same) => same.profiles.push(profile),
                None => {
                    let name = self.suffix(&launch).unwrap_or(profile.name());
                    variants.push(Variant { name, profiles: vec![profile], launch });
                }
            }
        }
        if let [only] = &mut variants[..] {
            only.name = "any";
        }
        variants
    }

    /// What a shader's name has behind the kernel's.
    fn suffix(&self, launch: &Launch) -> Option<&'static str> {
        launch.shader.label.strip_prefix(self.name())?.strip_prefix('_')
    }

    /// The output by plain loops in f64 over `reads`, padding included.
    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64>;

    /// The bytes moved if each operand is touched once.
    fn bytes(&self) -> u64 {
        self.reads().iter().map(Operand::bytes).sum::<u64>() + self.output().bytes()
    }
}

/// `channels` rounded up to a multiple of 4.
pub fn pad4(channels: usize) -> usize {
    channels.next_multiple_of(4)
}

/// A size as a shader sees it.
///
/// # Panics
/// If the size doesn't fit: plans check sizes against the adapter's limits, which are far smaller.
pub(crate) fn size(value: usize) -> u32 {
    u32::try_from(value).expect("sizes are checked against 32 bits when a plan is recorded")
}

/// A grid of `groups` workgroups, folded into y where x would pass the 65,535 that every adapter has.
///
/// Shaders take `id.y * count.x + id.x` as the group's number and leave the groups past the end idle.
pub(crate) fn fold(groups: usize) -> [u32; 3] {
    const LARGEST: usize = 65_535;
    let groups = groups.max(1);
    let y = groups.div_ceil(LARGEST);
    [size(groups.div_ceil(y)), size(y), 1]
}

/// The lanes that share a row in the kernels that reduce one: a software adapter's vector unit, or two subgroups.
pub(crate) fn row_lanes(profile: Profile) -> Vec<(&'static str, u32)> {
    vec![("LANES", if profile.is_software() { 8 } else { 64 })]
}

/// The constants of the kernels whose lanes lie along positions and output channels, and how many lie along either.
///
/// On software adapters all lanes of a workgroup share the channels, so that none is idle where there are few.
pub(crate) fn tile(profile: Profile) -> (Vec<(&'static str, u32)>, [usize; 2]) {
    if profile.is_software() {
        (vec![("LANES", 8), ("ACROSS", 1)], [8, 1])
    } else {
        (vec![("LANES", 64), ("ACROSS", 8)], [8, 8])
    }
}

/// The bytes of a uniform made of 32-bit words, padded to 16.
pub(crate) fn params(words: &[u32]) -> Vec<u8> {
    let mut bytes = bytemuck::cast_slice(words).to_vec();
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    bytes
}
