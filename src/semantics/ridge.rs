//! Ridge regression from Gram matrices, in f64.

use faer::linalg::solvers::Solve;
use faer::{Mat, Side};

use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Observer, step};

/// λ is chosen among `10^k · tr/D`.
const EXPONENTS: std::ops::RangeInclusive<i32> = -6..=1;

/// Sums over some rows of z and x, both less a fixed provisional mean: n, Σz, Σx, Σz zᵀ, Σz xᵀ and Σ‖x‖².
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    pub(crate) n: f64,
    pub(crate) z: Mat<f64>,
    pub(crate) x: Mat<f64>,
    pub(crate) zz: Mat<f64>,
    pub(crate) zx: Mat<f64>,
    pub(crate) xx: f64,
}

impl Moments {
    /// Of no rows, of z with `inputs` and x with `outputs` columns.
    pub(crate) fn empty(inputs: usize, outputs: usize) -> Self {
        Self {
            n: 0.0,
            z: Mat::zeros(inputs, 1),
            x: Mat::zeros(outputs, 1),
            zz: Mat::zeros(inputs, inputs),
            zx: Mat::zeros(inputs, outputs),
            xx: 0.0,
        }
    }

    /// Adds the sums over other rows.
    pub(crate) fn add(&mut self, other: &Self) {
        self.n += other.n;
        self.z += &other.z;
        self.x += &other.x;
        self.zz += &other.zz;
        self.zx += &other.zx;
        self.xx += other.xx;
    }

    /// Those of all folds but one.
    pub(crate) fn all_but(left_out: usize, folds: &[Self]) -> Self {
        let mut others = Self::empty(folds[left_out].z.nrows(), folds[left_out].x.nrows());
        folds.iter().enumerate().filter(|(fold, _)| *fold != left_out).for_each(|(_, fold)| others.add(fold));
        others
    }

    /// Σ(z − z̄)(z − z̄)ᵀ.
    fn centered_zz(&self) -> Mat<f64> {
        &self.zz - &self.z * self.z.transpose() * faer::Scale(1.0 / self.n)
    }

    /// tr Σ(z − z̄)(z − z̄)ᵀ / D: the scale of λ.
    pub(crate) fn scale(&self) -> f64 {
        let inputs = self.zz.nrows();
        let variance = |i: usize| self.zz[(i, i)] - self.z[(i, 0)].powi(2) / self.n;
        (0..inputs).map(variance).sum::<f64>() / inputs as f64
    }
}

/// `x ≈ M z + d`, M as `[D, E]` (transposed), about the provisional means.
#[derive(Debug, Clone)]
pub(crate) struct Fit {
    pub(crate) weight: Mat<f64>,
    pub(crate) bias: Mat<f64>,
}

/// Fits with each of several λ: `(Σ(z−z̄)(z−z̄)ᵀ + λI) Mᵀ = Σ(z−z̄)(x−x̄)ᵀ`, `d = x̄ − M z̄`.
///
/// # Errors
/// [`ErrorKind::Data`] if the matrix isn't positive definite (λ = 0 and fewer rows than columns).
pub(crate) fn fit(moments: &Moments, lambda: f64) -> Result<Fit> {
    let mut matrix = moments.centered_zz();
    (0..matrix.nrows()).for_each(|i| matrix[(i, i)] += lambda);
    let right = &moments.zx - &moments.z * moments.x.transpose() * faer::Scale(1.0 / moments.n);
    let factor = matrix.llt(Side::Lower).map_err(|_| {
        let what = format!("a ridge regression can't be solved with lambda {lambda} from {} images", moments.n);
        Error::new(ErrorKind::Data, what).hint("give more images or a larger lambda")
    })?;
    let weight = factor.solve(&right);
    let bias = (&moments.x - weight.transpose() * &moments.z) * faer::Scale(1.0 / moments.n);
    Ok(Fit { weight, bias })
}

/// Σ‖M z + d − x‖² over the rows behind `moments`.
pub(crate) fn squared_error(fit: &Fit, moments: &Moments) -> f64 {
    let Fit { weight, bias } = fit;
    let dot = |a: &Mat<f64>, b: &Mat<f64>| {
        let column = |j: usize| (0..a.nrows()).map(move |i| (i, j));
        (0..a.ncols()).flat_map(column).map(|at| a[at] * b[at]).sum::<f64>()
    };
    let quadratic = dot(weight, &(&moments.zz * weight));
    let predicted = weight.transpose() * &moments.z;
    let products = dot(weight, &moments.zx);
    quadratic - 2.0 * products + moments.xx + 2.0 * dot(bias, &predicted) - 2.0 * dot(bias, &moments.x)
        + moments.n * dot(bias, bias)
}

/// The λ of the grid with the least squared error over the folds left out in turn; `scale` is that of all rows. A λ is passed over
/// with which a fold can't be solved: where rows span few directions the smallest are lost in the rounding of f32 products.
///
/// # Errors
/// [`ErrorKind::Data`] if none can, and those of the observer.
pub(crate) fn choose_lambda(folds: &[Moments], scale: f64, observer: &dyn Observer) -> Result<f64> {
    const STAGE: &str = "choosing lambda";
    let lambdas: Vec<f64> = EXPONENTS.map(|k| 10_f64.powi(k) * scale).collect();
    let mut errors = vec![0.0; lambdas.len()];
    for (left_out, validation) in folds.iter().enumerate() {
        let training = Moments::all_but(left_out, folds);
        for (number, (&lambda, error)) in lambdas.iter().zip(&mut errors).enumerate() {
            step(observer, STAGE, left_out * lambdas.len() + number, folds.len() * lambdas.len())?;
            *error += fit(&training, lambda).map_or(f64::INFINITY, |fit| squared_error(&fit, validation));
        }
    }
    step(observer, STAGE, folds.len() * lambdas.len(), folds.len() * lambdas.len())?;
    let solved = lambdas.into_iter().zip(errors).filter(|(_, error)| error.is_finite());
    let best = solved.min_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map(|(lambda, _)| lambda).ok_or_else(|| {
        let what = format!("no ridge regression can be solved from {} folds of images", folds.len());
        Error::new(ErrorKind::Data, what).hint("give more images")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cases::noise;

    /// Rows of z and x, and their moments by plain sums.
    fn moments(rows: usize, inputs: usize, outputs: usize) -> (Mat<f64>, Mat<f64>, Moments) {
        let values = noise(3, rows * (inputs + outputs));
        let at = |i: usize, j: usize| f64::from(values[i * (inputs + outputs) + j]) + 0.3;
        let z = Mat::from_fn(rows, inputs, at);
        let x = Mat::from_fn(rows, outputs, |i, j| at(i, inputs + j) + 2.0 * at(i, j % inputs));
        let ones = Mat::from_fn(rows, 1, |_, _| 1.0);
        let xx = (0..rows).flat_map(|i| (0..outputs).map(move |j| (i, j))).map(|at| x[at] * x[at]).sum();
        let moments = Moments {
            n: rows as f64,
            z: z.transpose() * &ones,
            x: x.transpose() * &ones,
            zz: z.transpose() * &z,
            zx: z.transpose() * &x,
            xx,
        };
        (z, x, moments)
    }

    #[test]
    fn the_gradient_vanishes_and_the_error_is_that_of_the_rows() {
        let (z, x, moments) = moments(40, 7, 3);
        for lambda in [1e-3, 1.0, 50.0] {
            let fit = fit(&moments, lambda).unwrap();
            let residual = |i: usize, j: usize| {
                (0..7).map(|k| z[(i, k)] * fit.weight[(k, j)]).sum::<f64>() + fit.bias[(j, 0)] - x[(i, j)]
            };
            let residuals = Mat::from_fn(40, 3, residual);
            let gradient = z.transpose() * &residuals + &fit.weight * faer::Scale(lambda);
            for j in 0..3 {
                assert!((0..7).all(|k| gradient[(k, j)].abs() < 1e-9), "{lambda}");
                assert!((0..40).map(|i| residuals[(i, j)]).sum::<f64>().abs() < 1e-9, "the bias isn't penalised");
            }
            let expected: f64 = (0..40).flat_map(|i| (0..3).map(move |j| (i, j))).map(|at| residuals[at].powi(2)).sum();
            assert!((squared_error(&fit, &moments) - expected).abs() < 1e-9 * moments.xx, "{lambda}");
        }
    }

    #[test]
    fn sums_over_parts_are_sums_over_all() {
        let (_, _, all) = moments(12, 4, 2);
        let mut twice = all.clone();
        twice.add(&all);
        assert_eq!(twice.n, 24.0);
        assert!((twice.scale() - 2.0 * all.scale()).abs() < 1e-12);
        let (half, whole) = (fit(&all, 1.0).unwrap(), fit(&twice, 2.0).unwrap());
        assert!((0..4).all(|i| (half.weight[(i, 0)] - whole.weight[(i, 0)]).abs() < 1e-10));
    }

    #[test]
    fn too_few_rows_without_lambda_are_an_error() {
        let (_, _, few) = moments(3, 7, 2);
        assert!(fit(&few, 0.0).is_err() || fit(&few, 0.0).unwrap().weight[(0, 0)].abs() < 1e9);
        assert!(fit(&few, 1e-3).is_ok());
    }
}
