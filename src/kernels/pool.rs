//! Spatial pooling (`shaders/max_pool.wgsl`, `shaders/avg_pool.wgsl`, `shaders/mean_pool.wgsl`).

use super::{Data, Kernel, Launch, Operand, Profile, Shader, Window, fold, pad4, params, shader, size};

static MAX: Shader = shader!("max_pool", reads: 1);
static AVG: Shader = shader!("avg_pool", reads: 1);
static MEAN: Shader = shader!("mean_pool", reads: 1);

/// The largest value under each position of a window; padding never wins.
#[derive(Debug, Clone)]
pub struct MaxPool {
    /// Images.
    pub images: usize,
    /// Input height.
    pub height: usize,
    /// Input width.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// The sliding window; its padding is at most half its size, so that it always covers a pixel.
    pub window: Window,
}

impl MaxPool {
    /// Output height and width.
    pub fn output_size(&self) -> (usize, usize) {
        self.window.output_size(self.height, self.width)
    }
}

impl Kernel for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn shape(&self) -> Vec<usize> {
        let Window { height: window, stride, padding, .. } = self.window;
        vec![self.images, self.height, self.width, self.channels, window, stride, padding]
    }

    fn reads(&self) -> Vec<Operand> {
        vec![Operand::f32(self.images * self.height * self.width * pad4(self.channels))]
    }

    fn output(&self) -> Operand {
        let (height, width) = self.output_size();
        Operand::f32(self.images * height * width * pad4(self.channels))
    }

    fn flops(&self) -> u64 {
        (self.output().len * self.window.height * self.window.width) as u64
    }

    fn launch(&self, _: Profile) -> Launch {
        let (height, width) = self.output_size();
        let params = params(&[
            size(self.images),
            size(self.height),
            size(self.width),
            size(height),
            size(width),
            size(pad4(self.channels) / 4),
            size(self.window.height),
            size(self.window.width),
            size(self.window.stride),
            size(self.window.padding),
        ]);
        Launch { shader: &MAX, constants: Vec::new(), params, grid: fold(self.output().len.div_ceil(256)) }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let input = reads[0].f32();
        let channels = pad4(self.channels);
        let (height, width) = self.output_size();
        let mut output = Vec::with_capacity(self.output().len);
        for (image, y, x) in super::gemm::positions(self.images, height, width) {
            for channel in 0..channels {
                let taps = self.window.taps(y, x, self.height, self.width);
                let values = taps.map(|(_, iy, ix)| {
                    let row = (image * self.height + iy) * self.width + ix;
                    f64::from(input[row * channels + channel])
                });
                output.push(values.fold(f64::NEG_INFINITY, f64::max));
            }
        }
        output
    }
}

/// The mean under each position of a window without padding.
///
/// In ceil mode the windows cover the whole image, and those that reach past it average what they cover, as PyTorch's
/// `AvgPool2d(window, stride, ceil_mode=True, count_include_pad=False)` does.
#[derive(Debug, Clone)]
pub struct AvgPool {
    /// Images.
    pub images: usize,
    /// Input height.
    pub height: usize,
    /// Input width.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// The edge of the window.
    pub window: usize,
    /// Distance between positions, in both directions, at most the window's edge.
    pub stride: usize,
    /// Whether sizes are rounded up.
    pub ceil: bool,
}

impl AvgPool {
    /// Output height and width.
    ///
    /// # Panics
    /// If a window that must lie on the image is larger than it; models check their input sizes first.
    pub fn output_size(&self) -> (usize, usize) {
        let across = |extent: usize| {
            if self.ceil {
                extent.saturating_sub(self.window).div_ceil(self.stride) + 1
            } else {
                let free = extent.checked_sub(self.window);
                free.expect("the window fits the image") / self.stride + 1
            }
        };
        (across(self.height), across(self.width))
    }
}

impl Kernel for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.images, self.height, self.width, self.channels, self.window, self.stride]
    }

    fn reads(&self) -> Vec<Operand> {
        vec![Operand::f32(self.images * self.height * self.width * pad4(self.channels))]
    }

    fn output(&self) -> Operand {
        let (height, width) = self.output_size();
        Operand::f32(self.images * height * width * pad4(self.channels))
    }

    fn flops(&self) -> u64 {
        (self.output().len * self.window * self.window) as u64
    }

    fn launch(&self, _: Profile) -> Launch {
        let (height, width) = self.output_size();
        let params = params(&[
            size(self.images),
            size(self.height),
            size(self.width),
            size(height),
            size(width),
            size(pad4(self.channels) / 4),
            size(self.window),
            size(self.stride),
        ]);
        Launch { shader: &AVG, constants: Vec::new(), params, grid: fold(self.output().len.div_ceil(256)) }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let input = reads[0].f32();
        let channels = pad4(self.channels);
        let (height, width) = self.output_size();
        let window = Window { height: self.window, width: self.window, stride: self.stride, padding: 0 };
        let mut output = Vec::with_capacity(self.output().len);
        for (image, y, x) in super::gemm::positions(self.images, height, width) {
            for channel in 0..channels {
                let (mut sum, mut covered) = (0.0, 0);
                for (_, iy, ix) in window.taps(y, x, self.height, self.width) {
                    sum += f64::from(input[((image * self.height + iy) * self.width + ix) * channels + channel]);
                    covered += 1;
                }
                output.push(sum / f64::from(covered));
            }
        }
        output
    }
}

/// The mean over all rows of each image.
#[derive(Debug, Clone)]
pub struct MeanPool {
    /// Images.
    pub images: usize,
    /// Rows an image.
    pub rows: usize,
    /// Channels.
    pub channels: usize,
}

impl Kernel for MeanPool {
    fn name(&self) -> &'static str {
        "mean_pool"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.images, self.rows, self.channels]
    }

    fn reads(&self) -> Vec<Operand> {
        vec![Operand::f32(self.images * self.rows * pad4(self.channels))]
    }

    fn output(&self) -> Operand {
        Operand::f32(self.images * pad4(self.channels))
    }

    fn flops(&self) -> u64 {
        self.reads()[0].len as u64
    }

    fn launch(&self, _: Profile) -> Launch {
        let params = params(&[size(self.images), size(self.rows), size(pad4(self.channels) / 4)]);
        Launch { shader: &MEAN, constants: Vec::new(), params, grid: fold(self.output().len.div_ceil(256)) }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let channels = pad4(self.channels);
        let mut output = Vec::with_capacity(self.output().len);
        for image in reads[0].f32().chunks_exact(self.rows * channels) {
            for channel in 0..channels {
                let sum: f64 = image.iter().skip(channel).step_by(channels).map(|&v| f64::from(v)).sum();
                output.push(sum / self.rows as f64);
            }
        }
        output
    }
}
