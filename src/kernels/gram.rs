//! Gram matrices for the aligner (`shaders/gram.wgsl`).

use super::{Data, Kernel, Launch, Operand, Profile, Shader, fold, pad4, params, shader, size};

static SHADER: Shader = shader!("gram", reads: 4);

/// `(A − ā)ᵀ (B − b̄)` summed over the rows, both column counts padded to 4.
#[derive(Debug, Clone)]
pub struct Gram {
    /// Rows of both matrices.
    pub rows: usize,
    /// Columns of A.
    pub left: usize,
    /// Columns of B.
    pub right: usize,
}

impl Gram {
    /// Rows of the product: the columns of A, padded.
    pub fn padded_left(&self) -> usize {
        pad4(self.left)
    }
}

impl Kernel for Gram {
    fn name(&self) -> &'static str {
        "gram"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.rows, self.left, self.right]
    }

    fn reads(&self) -> Vec<Operand> {
        let [left, right] = [pad4(self.left), pad4(self.right)];
        vec![Operand::f32(self.rows * left), Operand::f32(self.rows * right), Operand::f32(left), Operand::f32(right)]
    }

    fn output(&self) -> Operand {
        Operand::f32(pad4(self.left) * pad4(self.right))
    }

    fn flops(&self) -> u64 {
        2 * (self.rows * self.left * self.right) as u64
    }

    fn launch(&self, _: Profile) -> Launch {
        let [left4, right4] = [pad4(self.left) / 4, pad4(self.right) / 4];
        let right_blocks = right4.div_ceil(2);
        let blocks = left4.div_ceil(2) * right_blocks;
        let params = params(&[size(self.rows), size(left4), size(right4), size(right_blocks), size(blocks)]);
        Launch { shader: &SHADER, constants: Vec::new(), params, grid: fold(blocks.div_ceil(64)) }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let [left, right] = [reads[0].f32(), reads[1].f32()];
        let [left_mean, right_mean] = [reads[2].f32(), reads[3].f32()];
        let columns = pad4(self.right);
        let mut output = vec![0.0; self.output().len];
        for (a, b) in left.chunks_exact(pad4(self.left)).zip(right.chunks_exact(columns)) {
            for (i, (&a, &a_mean)) in a.iter().zip(left_mean).enumerate() {
                let a = f64::from(a) - f64::from(a_mean);
                for (j, (&b, &b_mean)) in b.iter().zip(right_mean).enumerate() {
                    output[i * columns + j] += a * (f64::from(b) - f64::from(b_mean));
                }
            }
        }
        output
    }
}
