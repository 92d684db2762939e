//! Convolutions in Winograd's basis on the adapter against the plain sum over the window in f64.

use heatlens::gpu::Input;
use heatlens::kernels::{Gemm, Kernel, Profile, Window, cases::noise};
use heatlens::layers::{Activation, Conv2d, ConvOptions, Normalization};
use heatlens::{Device, Plan, Tensor};

/// A 3×3 convolution behind a 1×1 one that makes its input.
struct Layer {
    height: usize,
    width: usize,
    inputs: usize,
    outputs: usize,
    padding: usize,
    /// With a residual and ReLU, for which inputs and outputs have the same size.
    ends: bool,
}

impl Layer {
    fn convolution(&self) -> Conv2d {
        let weight = Tensor::new([self.outputs, self.inputs, 3, 3], noise(1, self.outputs * self.inputs * 9));
        let options = ConvOptions { padding: self.padding, ..ConvOptions::default() };
        Conv2d::new("conv", &weight, Some(&noise(2, self.outputs)), options)
    }

    /// A plan with the convolution's input `x` and its result `y`.
    fn plan(&self, convolution: &Conv2d, images: usize) -> Plan {
        let mut plan = Plan::new(images);
        let size = [self.height, self.width];
        let bytes = plan.input_pixels("pixels", self.height, self.width);
        let x = plan.normalize_image(bytes, size, Normalization { scale: 1.0 / 255.0, mean: [0.5; 3], std: [0.25; 3] });
        let weight = Tensor::new([self.inputs, 3, 1, 1], noise(3, self.inputs * 3));
        let x = plan.conv2d(x, &Conv2d::new("first", &weight, None, ConvOptions::default()), Activation::Identity);
        let y = if self.ends {
            plan.conv2d_add(x, convolution, x, Activation::Relu)
        } else {
            plan.conv2d(x, convolution, Activation::Identity)
        };
        plan.output("x", x);
        plan.output("y", y);
        plan
    }

    fn reference(&self, convolution: &Conv2d, images: usize, x: &[f32]) -> Vec<f64> {
        let kernel = Gemm {
            images,
            height: self.height,
            width: self.width,
            window: Window { height: 3, width: 3, stride: 1, padding: self.padding },
            activation: if self.ends { Activation::Relu } else { Activation::Identity },
            residual: self.ends,
            ..Gemm::product(1, self.inputs, self.outputs)
        };
        let x = heatlens::kernels::Data::F32(x);
        kernel.reference(&[x, convolution.weight.data(), convolution.bias.data(), x])
    }
}

fn pixels(len: usize) -> Vec<u8> {
    noise(4, len).iter().map(|x| (127.5 * (x + 1.0)) as u8).collect()
}

/// The inputs and results of the convolution: a plan lowered for software adapters runs on any.
fn run(device: &Device, layer: &Layer, images: usize) -> (Vec<f32>, Vec<f32>, Conv2d) {
    let convolution = layer.convolution();
    let plan = layer.plan(&convolution, images).lowered(Profile::SoftwareSubgroups);
    assert!(plan.dispatch_counts().contains_key("winograd_output"), "the layer isn't lowered\n{plan}");
    let executable = device.compile(&plan).unwrap();
    executable.poison();
    let pixels = pixels(images * layer.height * layer.width * 3);
    let outputs = executable.run(&[("pixels", Input::Bytes(&pixels))]).unwrap();
    (outputs.tensor("x").data().to_vec(), outputs.tensor("y").data().to_vec(), convolution)
}

#[test]
fn convolutions_match_the_plain_sum() {
    let device = Device::best().unwrap();
    for (images, layer) in [
        (1, Layer { height: 8, width: 8, inputs: 32, outputs: 32, padding: 1, ends: true }),
        (3, Layer { height: 7, width: 9, inputs: 36, outputs: 72, padding: 1, ends: false }),
        (2, Layer { height: 14, width: 14, inputs: 256, outputs: 64, padding: 1, ends: false }),
        (1, Layer { height: 11, width: 23, inputs: 40, outputs: 36, padding: 0, ends: false }),
        (2, Layer { height: 9, width: 8, inputs: 32, outputs: 40, padding: 2, ends: false }),
        // Two parts of one image each.
        (2, Layer { height: 113, width: 112, inputs: 64, outputs: 64, padding: 1, ends: true }),
    ] {
        let (x, found, convolution) = run(&device, &layer, images);
        let expected = layer.reference(&convolution, images, &x);
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let error = found.iter().zip(&expected).map(|(&found, expected)| (f64::from(found) - expected).abs());
        let error = error.fold(0.0, |worst: f64, error| if error.is_nan() { f64::INFINITY } else { worst.max(error) });
        let Layer { height, width, inputs, .. } = layer;
        assert!(error <= 2e-6 * largest, "{height}×{width}, {inputs} channels: {:.2e}", error / largest);
    }
}

#[test]
fn a_picture_has_the_same_bits_in_any_batch() {
    let device = Device::best().unwrap();
    let layer = Layer { height: 15, width: 10, inputs: 36, outputs: 44, padding: 1, ends: false };
    let (_, one, _) = run(&device, &layer, 1);
    for images in [2, 5] {
        let (_, many, _) = run(&device, &layer, images);
        assert_eq!(one, many[..one.len()], "{images} images");
    }
}
