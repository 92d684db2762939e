//! The kernel that the real ones are measured against (`gemm_naive.wgsl`).

use heatlens::kernels::{Data, Gemm, Kernel, Launch, Operand, Profile, Shader, pad4};

static SHADER: Shader = Shader { label: "gemm_naive", source: include_str!("gemm_naive.wgsl"), reads: 3 };

/// Lanes of a workgroup, one output each.
const LANES: usize = 64;

/// What [`Gemm`] computes without activation and residual, on operands that lie alike.
#[derive(Debug, Clone)]
pub(crate) struct NaiveGemm(pub(crate) Gemm);

impl Kernel for NaiveGemm {
    fn name(&self) -> &'static str {
        "gemm_naive"
    }

    fn shape(&self) -> Vec<usize> {
        self.0.shape()
    }

    fn reads(&self) -> Vec<Operand> {
        self.0.reads()[..3].to_vec()
    }

    fn output(&self) -> Operand {
        self.0.output()
    }

    fn flops(&self) -> u64 {
        self.0.flops()
    }

    fn launch(&self, _: Profile) -> Launch {
        let Gemm { images, height, width, inputs, outputs, window, .. } = self.0;
        let (out_height, out_width) = self.0.output_size();
        let [inputs, outputs] = [pad4(inputs), pad4(outputs)];
        let rows = images * out_height * out_width;
        let words = [
            rows,
            inputs,
            outputs,
            height,
            width,
            out_height,
            out_width,
            window.height,
            window.width,
            window.stride,
            window.padding,
            0,
        ];
        let params = words.iter().flat_map(|&word| (word as u32).to_le_bytes()).collect();
        let groups = (rows * outputs).div_ceil(LANES);
        assert!(groups <= 65_535, "the naive kernel's grid has one dimension");
        Launch { shader: &SHADER, constants: Vec::new(), params, grid: [groups as u32, 1, 1] }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        self.0.reference(&[reads, &reads[2..]].concat())
    }
}
