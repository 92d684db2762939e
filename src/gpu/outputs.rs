//! What a run brought back.

use crate::kernels::Element;
use crate::plan::Value;
use crate::tensor::Tensor;

/// The named outputs of one run.
#[derive(Debug, Clone)]
pub struct Outputs {
    pub(super) named: Vec<(String, Value, Vec<u32>)>,
}

impl Outputs {
    /// An f32 output as `[rows, channels]`, without padding.
    ///
    /// # Panics
    /// If the plan has no such output or it holds integers.
    pub fn tensor(&self, name: &str) -> Tensor {
        let (value, words) = self.find(name, Element::F32);
        let (rows, channels) = (value.shape.rows(), value.shape.channels);
        let columns = words.len() / rows.max(1);
        let values: &[f32] = bytemuck::cast_slice(words);
        let mut data = Vec::with_capacity(rows * channels);
        for row in values.chunks_exact(columns.max(1)) {
            data.extend_from_slice(&row[..channels]);
        }
        Tensor::new([rows, channels], data)
    }

    /// An integer output, row-major.
    ///
    /// # Panics
    /// If the plan has no such output or it holds floats.
    pub fn integers(&self, name: &str) -> &[u32] {
        self.find(name, Element::U32).1
    }

    fn find(&self, name: &str, element: Element) -> (&Value, &[u32]) {
        let found = self.named.iter().find(|(output, ..)| output == name);
        let (_, value, words) = found.unwrap_or_else(|| panic!("the plan has no output `{name}`"));
        assert_eq!(value.element, element, "the element type of output `{name}`");
        (value, words)
    }
}
