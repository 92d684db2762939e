//! Kernels by name and sizes, with operands to run them on: the shapes of real work that the benches share.
//!
//! ```
//! use heatlens::kernels::shapes::Shaped;
//!
//! let product = Shaped::new("gemm", &[512, 256, 128])?;
//! assert_eq!(product.kernel.flops(), 2 * 512 * 256 * 128);
//! # Ok::<(), heatlens::Error>(())
//! ```

use std::sync::Arc;

use super::cases::{Case, Values, ids, noise};
use super::{
    Activation, Argmax, Attention, AvgPool, Chunk, CopyPeak, DepthwiseConv, DistanceForm, EmbedPatches, EmbedTokens,
    EndPool, EndToken, FmaPeak, Gemm, Gram, GroupedConv, Kernel, L2Normalize, LayerNorm, MapConstants, MapCounts,
    MapDistances, MaxPool, MeanPool, Normalization, NormalizeImage, Window, WinogradInput, WinogradOutput,
};
use crate::error::{Error, ErrorKind, Result};

/// The product of all sizes that is still taken: no count of elements or operations overflows under it.
const LARGEST: f64 = 1e13;

/// Rows up to which counts are exact in f32 as well, wherever they are used as weights.
const MOST_COUNTED: usize = 1 << 24;

/// The window of a convolution, behind its other sizes.
const WINDOW: [&str; 3] = ["window", "stride", "padding"];

/// How the sizes of one kernel are written.
#[derive(Debug)]
pub struct Form {
    /// The kernel's name.
    pub kernel: &'static str,
    /// What each size is, in order.
    pub sizes: &'static [&'static str],
    make: fn(&[usize]) -> Made,
}

/// What a form makes of sizes: the kernel and the columns of each f32 operand (0 = no padding).
type Made = (Arc<dyn Kernel>, Vec<usize>);

fn made(kernel: impl Kernel + 'static, columns: &[usize]) -> Made {
    (Arc::new(kernel), columns.to_vec())
}

/// The forms of all kernels; the GEMM has one for a product, one for several and one for convolutions.
pub const FORMS: [Form; 23] = [
    Form {
        kernel: "gemm",
        sizes: &["rows", "inputs", "outputs"],
        make: |s| made(Gemm::product(s[0], s[1], s[2]), &[s[1], s[2], s[2], s[2]]),
    },
    Form {
        kernel: "gemm",
        sizes: &["products", "rows", "inputs", "outputs"],
        make: |s| {
            let kernel = Gemm { products: s[0], ..Gemm::product(s[0] * s[1], s[2], s[3]) };
            made(kernel, &[s[2], s[3], s[3], s[3]])
        },
    },
    Form {
        kernel: "gemm",
        sizes: &["images", "height", "width", "inputs", "outputs", WINDOW[0], WINDOW[1], WINDOW[2]],
        make: |s| {
            let kernel = Gemm {
                images: s[0],
                height: s[1],
                width: s[2],
                window: window(&s[5..]),
                ..Gemm::product(1, s[3], s[4])
            };
            made(kernel, &[s[3], s[4], s[4], s[4]])
        },
    },
    Form {
        kernel: "grouped_conv",
        sizes: &["images", "height", "width", "inputs", "outputs", "groups", WINDOW[0], WINDOW[1], WINDOW[2]],
        make: |s| {
            let kernel = GroupedConv {
                images: s[0],
                height: s[1],
                width: s[2],
                inputs: s[3],
                outputs: s[4],
                groups: s[5],
                window: window(&s[6..]),
                activation: Activation::Identity,
                residual: false,
            };
            made(kernel, &[s[3], s[4], s[4], s[4]])
        },
    },
    Form {
        kernel: "depthwise_conv",
        sizes: &["images", "height", "width", "channels", WINDOW[0], WINDOW[1], WINDOW[2]],
        make: |s| {
            let kernel = DepthwiseConv {
                images: s[0],
                height: s[1],
                width: s[2],
                channels: s[3],
                window: window(&s[4..]),
                activation: Activation::Identity,
                residual: false,
            };
            made(kernel, &[s[3]; 4])
        },
    },
    Form {
        kernel: "avg_pool",
        sizes: &["images", "height", "width", "channels", WINDOW[0], WINDOW[1]],
        make: |s| {
            let [images, height, width, channels, window, stride] = [s[0], s[1], s[2], s[3], s[4], s[5]];
            made(AvgPool { images, height, width, channels, window, stride, ceil: true }, &[channels])
        },
    },
    Form {
        kernel: "winograd_input",
        sizes: &["images", "height", "width", "channels", "padding"],
        make: |s| {
            let [images, height, width, channels, padding] = [s[0], s[1], s[2], s[3], s[4]];
            made(WinogradInput { all: images, images: 0..images, height, width, channels, padding }, &[channels])
        },
    },
    Form {
        kernel: "winograd_output",
        sizes: &["images", "height", "width", "channels"],
        make: |s| {
            let (all, height, width, channels) = (s[0], s[1], s[2], s[3]);
            let (relu, residual) = (true, false);
            let kernel = WinogradOutput { all, images: 0..all, height, width, channels, relu, residual };
            made(kernel, &[channels; 3])
        },
    },
    Form {
        kernel: "attention",
        sizes: &["images", "tokens", "heads", "width"],
        make: |s| {
            let kernel = Attention { images: s[0], tokens: s[1], heads: s[2], width: s[3], causal: false };
            made(kernel, &[0])
        },
    },
    Form {
        kernel: "layer_norm",
        sizes: &["rows", "channels"],
        make: |s| made(LayerNorm { rows: s[0], channels: s[1], epsilon: 1e-5 }, &[s[1]; 3]),
    },
    Form {
        kernel: "l2_normalize",
        sizes: &["rows", "channels"],
        make: |s| made(L2Normalize { rows: s[0], channels: s[1] }, &s[1..]),
    },
    Form {
        kernel: "argmax",
        sizes: &["rows", "channels"],
        make: |s| made(Argmax { rows: s[0], channels: s[1] }, &s[1..]),
    },
    Form {
        kernel: "max_pool",
        sizes: &["images", "height", "width", "channels", WINDOW[0], WINDOW[1], WINDOW[2]],
        make: |s| {
            let kernel = MaxPool { images: s[0], height: s[1], width: s[2], channels: s[3], window: window(&s[4..]) };
            made(kernel, &[s[3]])
        },
    },
    Form {
        kernel: "mean_pool",
        sizes: &["images", "rows", "channels"],
        make: |s| made(MeanPool { images: s[0], rows: s[1], channels: s[2] }, &s[2..]),
    },
    Form {
        kernel: "normalize_image",
        sizes: &["pixels"],
        make: |s| {
            let colors = Normalization { scale: 1.0 / 255.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
            made(NormalizeImage { pixels: s[0], colors }, &[0])
        },
    },
    Form {
        kernel: "embed_patches",
        sizes: &["images", "tokens", "channels"],
        make: |s| made(EmbedPatches { images: s[0], tokens: s[1], channels: s[2], classes: 1 }, &[s[2]; 3]),
    },
    Form {
        kernel: "embed_tokens",
        sizes: &["images", "tokens", "channels", "vocabulary"],
        make: |s| {
            let kernel = EmbedTokens { images: s[0], tokens: s[1], channels: s[2], vocabulary: s[3], context: s[1] };
            made(kernel, &[0, s[2], s[2]])
        },
    },
    Form {
        kernel: "end_pool",
        sizes: &["images", "tokens", "channels"],
        make: |s| made(EndPool { images: s[0], tokens: s[1], channels: s[2], end: EndToken::LargestId }, &[s[2], 0]),
    },
    Form {
        kernel: "map_counts",
        sizes: &["rows", "concepts", "groups"],
        make: |s| {
            let chunks = Chunk::split(&groups(s[0], s[2])).len();
            let [rows, concepts, groups] = [s[0], s[1], s[2]];
            let kernel = MapCounts { rows, concepts, listed: rows, chunks, groups, above: 0..concepts, joint: false };
            made(kernel, &[s[1], s[1], 0, 0])
        },
    },
    Form {
        kernel: "map_distances",
        sizes: &["rows", "concepts", "maps", "slots"],
        make: |s| {
            let kernel = MapDistances { rows: s[0], concepts: s[1], maps: s[2], classes: s[2], slots: s[3] };
            made(kernel, &[s[1], 0, s[1], 0, 0])
        },
    },
    Form {
        kernel: "gram",
        sizes: &["rows", "left", "right"],
        make: |s| made(Gram { rows: s[0], left: s[1], right: s[2] }, &[s[1], s[2], s[1], s[2]]),
    },
    Form {
        kernel: "fma_peak",
        sizes: &["lanes", "rounds"],
        make: |s| made(FmaPeak { lanes: s[0], rounds: s[1] }, &[0]),
    },
    Form { kernel: "copy_peak", sizes: &["vectors"], make: |s| made(CopyPeak { vectors: s[0] }, &[0]) },
];

fn window(sizes: &[usize]) -> Window {
    Window { height: sizes[0], width: sizes[0], stride: sizes[1], padding: sizes[2] }
}

/// All rows, dealt out to groups.
fn groups(rows: usize, groups: usize) -> Vec<Vec<u32>> {
    (0..groups).map(|group| (group..rows).step_by(groups).map(|row| row as u32).collect()).collect()
}

/// The names of all kernels, sorted.
fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = FORMS.iter().map(|form| form.kernel).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Fails unless there is a kernel of this name.
///
/// # Errors
/// [`ErrorKind::Usage`] naming those there are.
pub fn known(kernel: &str) -> Result<()> {
    if FORMS.iter().any(|form| form.kernel == kernel) {
        return Ok(());
    }
    let hint = format!("the kernels are {}", names().join(", "));
    Err(Error::new(ErrorKind::Usage, format!("there is no kernel `{kernel}`")).hint(hint))
}

/// How a kernel's sizes are written, such as `ROWSxINPUTSxOUTPUTS`; one text for each form.
pub fn forms(kernel: &str) -> Vec<String> {
    let of = FORMS.iter().filter(|form| form.kernel == kernel);
    of.map(|form| form.sizes.iter().map(|size| size.to_uppercase()).collect::<Vec<_>>().join("x")).collect()
}

/// Sizes as they are written: `512x512x512`.
pub fn written(sizes: &[usize]) -> String {
    sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// A kernel at given sizes.
#[derive(Debug, Clone)]
pub struct Shaped {
    /// The kernel.
    pub kernel: Arc<dyn Kernel>,
    sizes: Vec<usize>,
    columns: Vec<usize>,
}

impl Shaped {
    /// The kernel of this name at these sizes.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is no such kernel (naming those there are), if it doesn't have as many sizes, or if
    /// they don't fit one another; [`ErrorKind::Limit`] if they are beyond anything that could be run.
    pub fn new(kernel: &str, sizes: &[usize]) -> Result<Self> {
        let usage = |message: String| Error::new(ErrorKind::Usage, message);
        known(kernel)?;
        let forms = forms(kernel);
        let fits = |form: &&Form| form.kernel == kernel && form.sizes.len() == sizes.len();
        let Some(form) = FORMS.iter().find(fits) else {
            let message = format!("{kernel} has no shape of {} sizes, such as {}", sizes.len(), written(sizes));
            return Err(usage(message).hint(format!("its shapes are {}", forms.join(" or "))));
        };
        check(form, sizes).map_err(|complaint| {
            usage(format!("{kernel} {}: {complaint}", written(sizes)))
                .hint(format!("its shapes are {}", forms.join(" or ")))
        })?;
        if sizes.iter().map(|&size| size.max(1) as f64).product::<f64>() > LARGEST {
            let message = format!("{kernel} {} is beyond anything that could be run", written(sizes));
            return Err(Error::new(ErrorKind::Limit, message));
        }
        let (kernel, columns) = (form.make)(sizes);
        Ok(Self { kernel, sizes: sizes.to_vec(), columns })
    }

    /// The same with weights held in f16, where the kernel has such.
    pub fn in_f16(self) -> Self {
        let kernel = self.kernel.in_f16().unwrap_or(self.kernel);
        Self { kernel, ..self }
    }

    /// The kernel with operands: noise, and where it reads integers those that it is given in real work.
    pub fn case(&self) -> Case {
        let case = Case::of("at a shape of real work", self.kernel.clone(), &self.columns);
        let s = &self.sizes;
        match self.kernel.name() {
            "fma_peak" => case.with(0, Values::F32(FmaPeak::exact())),
            "embed_tokens" => case.with(0, ids(s[0] * s[1], s[3])),
            "map_counts" => {
                let groups = groups(s[0], s[2]);
                let chunks = Chunk::split(&groups).iter().flat_map(Chunk::words).collect();
                let same = case.reads[0].clone();
                case.with(1, same).with(2, Values::U32(groups.concat())).with(3, Values::U32(chunks))
            }
            "map_distances" => {
                let (rows, maps, slots) = (s[0], s[2], s[3]);
                let constants = MapConstants { form: DistanceForm::Cosine, offset: 1.0, product: 0.01, sum: 0.5 };
                // Weights as counts have them: with both signs a sum may be next to nothing, and its error is not.
                let weights = noise(3, self.kernel.reads()[2].len).iter().map(|w| w.abs()).collect();
                case.with(1, ids(rows, maps))
                    .with(2, Values::F32(weights))
                    .with(3, Values::F32((0..maps).flat_map(|_| constants.values()).collect()))
                    .with(4, ids(maps * slots, maps))
            }
            _ => case,
        }
    }
}

/// Says what is wrong with sizes of the right number.
fn check(form: &Form, sizes: &[usize]) -> Result<(), String> {
    let size = |name: &str| form.sizes.iter().position(|&found| found == name).map(|at| sizes[at]);
    if let Some(at) = (0..sizes.len()).find(|&at| sizes[at] == 0 && form.sizes[at] != "padding") {
        return Err(format!("{} is 0, expected at least 1", form.sizes[at]));
    }
    if let (Some(window), Some(padding)) = (size("window"), size("padding")) {
        if padding > window / 2 {
            return Err(format!("a padding of {padding} is more than half of a window of {window}"));
        }
        let smallest = size("height").into_iter().chain(size("width")).min().unwrap_or(window);
        if smallest.saturating_add(2 * padding) < window {
            return Err(format!("a window of {window} is larger than the image of {smallest} with its padding"));
        }
    }
    match form.kernel {
        "attention" if !sizes[3].is_multiple_of(4) => {
            Err(format!("a head's width is {}, expected a multiple of 4", sizes[3]))
        }
        "grouped_conv" if !sizes[3].is_multiple_of(sizes[5]) || !sizes[4].is_multiple_of(sizes[5]) => {
            Err(format!("{} groups, expected a divisor of both {} inputs and {} outputs", sizes[5], sizes[3], sizes[4]))
        }
        "avg_pool" if sizes[5] > sizes[4] => {
            Err(format!("a stride of {} is more than the window of {}", sizes[5], sizes[4]))
        }
        "map_counts" if sizes[0] > MOST_COUNTED => Err(format!("{} rows, expected at most {MOST_COUNTED}", sizes[0])),
        "map_counts" if sizes[2] > sizes[0] => {
            Err(format!("{} groups of {} rows, expected no more groups than rows", sizes[2], sizes[0]))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cases;

    #[test]
    fn every_kernel_has_a_form_that_gives_its_shape_back() {
        for case in cases::all() {
            let (name, shape) = (case.kernel.name(), case.kernel.shape());
            let shaped = Shaped::new(name, &shape).unwrap_or_else(|e| panic!("{name} {}: {e}", case.label));
            assert_eq!((shaped.kernel.name(), shaped.kernel.shape()), (name, shape.clone()), "{}", case.label);
            let lens = |reads: &[Values]| reads.iter().map(|values| values.data().len()).collect::<Vec<_>>();
            let expected: Vec<usize> = shaped.kernel.reads().iter().map(|operand| operand.len).collect();
            assert_eq!(lens(&shaped.case().reads), expected, "{name} {}", written(&shape));
        }
    }

    #[test]
    fn sizes_that_fit_no_kernel_are_refused() {
        let error = |kernel: &str, sizes: &[usize]| Shaped::new(kernel, sizes).unwrap_err().to_string();
        assert_eq!(error("gem", &[1]), "there is no kernel `gem`");
        assert_eq!(error("gemm", &[1, 2]), "gemm has no shape of 2 sizes, such as 1x2");
        assert_eq!(error("gemm", &[1, 0, 2]), "gemm 1x0x2: inputs is 0, expected at least 1");
        let window = error("gemm", &[1, 2, 9, 4, 4, 7, 1, 1]);
        assert_eq!(window, "gemm 1x2x9x4x4x7x1x1: a window of 7 is larger than the image of 2 with its padding");
        assert!(error("max_pool", &[1, 9, 9, 4, 3, 2, 2]).contains("more than half"));
        assert!(error("attention", &[1, 9, 2, 6]).contains("a multiple of 4"));
        let huge = Shaped::new("gemm", &[usize::MAX; 3]).unwrap_err();
        assert_eq!(huge.kind(), ErrorKind::Limit);
        assert_eq!(forms("gram"), ["ROWSxLEFTxRIGHT"]);
    }
}
