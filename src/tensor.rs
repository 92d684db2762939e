//! Dense row-major f32 tensors on the host.

/// A dense row-major tensor of f32 on the host.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor of `shape` over `data`.
    ///
    /// # Panics
    /// If `data` doesn't hold exactly the product of `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?} doesn't fit the data");
        Self { shape, data }
    }

    /// A tensor of zeros.
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        let len = shape.iter().product();
        Self { shape, data: vec![0.0; len] }
    }

    /// The extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// All values, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All values, row-major, to change in place.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The values alone.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The outermost extent: the number of [`row`](Self::row)s (1 for a scalar).
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The number of values in one row.
    pub fn columns(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// The values of one row: all that share the outermost index `row`.
    pub fn row(&self, row: usize) -> &[f32] {
        let columns = self.columns();
        &self.data[row * columns..(row + 1) * columns]
    }

    /// The tensor of the given rows, in their order (rows may repeat).
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        Self::new(shape, rows.iter().flat_map(|&row| self.row(row)).copied().collect())
    }

    /// The same values under another shape.
    ///
    /// # Panics
    /// If the two shapes hold different numbers of values.
    #[must_use]
    pub fn reshape(self, shape: impl Into<Vec<usize>>) -> Self {
        Self::new(shape, self.data)
    }

    /// The transpose of a matrix.
    ///
    /// # Panics
    /// If the tensor isn't a matrix.
    #[must_use]
    pub fn transpose(&self) -> Self {
        let [rows, columns] = self.shape[..] else { panic!("transpose takes a matrix, not {:?}", self.shape) };
        let data = (0..columns).flat_map(|c| (0..rows).map(move |r| self.data[r * columns + c])).collect();
        Self::new([columns, rows], data)
    }
}
