//! What is measured: the kernels of well-known networks' layers, and those of the method.

use crate::error::Result;
use crate::kernels::shapes::{Shaped, written};
use crate::models::Architecture;
use crate::weights::Precision;

/// A kernel at one shape, and what uses it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The kernel.
    pub shaped: Shaped,
    /// Which networks have such a layer and how many of them, or what part of the method it is.
    pub used_by: String,
}

/// The kernels of the method at 100 concepts and embeddings of 512 values, of CLIP's text tower at 16 prompts, and of layers
/// that no [`Architecture`] has.
const OTHERS: [(&str, &[usize], &str); 12] = [
    ("l2_normalize", &[256, 512], "scores"),
    ("gemm", &[256, 512, 100], "scores"),
    ("argmax", &[256, 1000], "predictions"),
    ("map_counts", &[2000, 100, 10], "maps"),
    ("map_distances", &[64, 100, 20, 2], "filter"),
    ("gram", &[256, 512, 512], "aligner"),
    ("gemm", &[512, 512, 512], "a square product"),
    ("embed_tokens", &[16, 77, 512, 4000], "text tower"),
    ("attention", &[16, 77, 8, 64], "text tower, without its mask"),
    ("grouped_conv", &[1, 28, 28, 256, 256, 32, 3, 1, 1], "ResNeXt-50"),
    ("depthwise_conv", &[1, 28, 28, 192, 7, 1, 3], "ConvNeXt-T"),
    ("avg_pool", &[1, 56, 56, 256, 2, 2], "ResNet-D"),
];

/// The edge of the networks' pictures.
const SIZE: usize = 224;

impl Subject {
    /// A kernel at sizes that nobody has to use.
    ///
    /// # Errors
    /// Those of [`Shaped::new`].
    pub fn new(kernel: &str, sizes: &[usize]) -> Result<Self> {
        Ok(Self { shaped: Shaped::new(kernel, sizes)?, used_by: String::new() })
    }

    /// The same with weights held in `precision`, if the kernel has weights that models hold so.
    #[must_use]
    pub fn in_precision(self, precision: Precision) -> Self {
        let shaped = match precision {
            Precision::F32 => self.shaped,
            Precision::F16 | Precision::F16Matrices => self.shaped.in_f16(),
        };
        Self { shaped, ..self }
    }

    /// The kernel's name.
    pub fn kernel(&self) -> &'static str {
        self.shaped.kernel.name()
    }

    /// Its sizes as they are written, `512x512x512`.
    pub fn shape(&self) -> String {
        written(&self.shaped.kernel.shape())
    }
}

/// The distinct kernels of the layers of every [`Architecture`] that takes pictures, on `batch` of 224×224, as their plans record them with
/// weights held in `precision`, and those of the method.
///
/// # Errors
/// Those of [`FormulaNetwork::record`](crate::models::FormulaNetwork::record), if the batch is too large.
pub fn subjects(batch: usize, precision: Precision) -> Result<Vec<Subject>> {
    let mut subjects: Vec<Subject> = Vec::new();
    for architecture in Architecture::ALL.into_iter().filter(|architecture| architecture.takes_pictures()) {
        let plan = architecture.load(Some(SIZE))?.record(batch)?;
        let mut layers: Vec<(&str, Vec<usize>, usize)> = Vec::new();
        for dispatch in plan.dispatches() {
            let (kernel, shape) = (dispatch.kernel.name(), dispatch.kernel.shape());
            match layers.iter_mut().find(|(name, sizes, _)| *name == kernel && *sizes == shape) {
                Some((.., count)) => *count += 1,
                None => layers.push((kernel, shape, 1)),
            }
        }
        for (kernel, shape, count) in layers {
            let subject = Subject::new(kernel, &shape)?.in_precision(precision);
            add(&mut subjects, subject, format!("{}×{count}", architecture.name()));
        }
    }
    for (kernel, shape, used_by) in OTHERS {
        add(&mut subjects, Subject::new(kernel, shape)?, used_by.to_owned());
    }
    Ok(subjects)
}

/// Adds a subject and what uses it, to the equal one if there is one.
fn add(subjects: &mut Vec<Subject>, subject: Subject, used_by: String) {
    let what = |subject: &Subject| (subject.kernel(), subject.shape(), subject.shaped.kernel.reads());
    match subjects.iter_mut().find(|found| what(found) == what(&subject)) {
        Some(found) => found.used_by += &format!(" {used_by}"),
        None => subjects.push(Subject { used_by, ..subject }),
    }
}
