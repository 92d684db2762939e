//! Goldens of whole networks, as `tests/reference/models.py` writes them, and the comparison with them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use heatlens::Tensor;
use heatlens::layers::Normalization;
use heatlens::weights::formula;
use safetensors::{Dtype, SafeTensors, View};
use serde::Deserialize;

/// A vocabulary that only has to load: the token rows come from the golden.
const VOCABULARY: &str = r#"{"a": 0, "a</w>": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}"#;
const MERGES: &str = "#version: 0.2\n";

/// One network's golden.
pub(crate) struct Golden {
    pub(crate) name: String,
    pub(crate) header: Header,
    /// Token rows, in the order of prompts; empty for classifiers.
    pub(crate) tokens: Vec<u32>,
    arrays: HashMap<String, Tensor>,
}

/// The golden's json.
#[derive(Deserialize)]
pub(crate) struct Header {
    /// The library, its version and the class.
    pub(crate) source: String,
    dtype: String,
    pub(crate) pictures: Vec<String>,
    height: usize,
    width: usize,
    mean: [f32; 3],
    std: [f32; 3],
    /// Tokens of each prompt, up to and with its end token.
    #[serde(default)]
    pub(crate) lengths: Vec<usize>,
    file: String,
    pub(crate) configs: serde_json::Map<String, serde_json::Value>,
    pub(crate) blocks: Vec<Figures>,
    pub(crate) outputs: Vec<Figures>,
    keys: Vec<(String, Vec<usize>)>,
}

/// What is known of one activation as a whole.
#[derive(Deserialize)]
pub(crate) struct Figures {
    pub(crate) name: String,
    rows: usize,
    channels: usize,
    max: f64,
    rms: f64,
    reference_error: f64,
}

/// How far one activation lies from its golden.
pub(crate) struct Deviation {
    pub(crate) name: String,
    /// Largest difference over the compared elements, over the largest magnitude of the whole activation.
    pub(crate) error: f64,
    /// Relative difference of the root mean square over the whole activation.
    pub(crate) rms: f64,
    pub(crate) reference_error: f64,
}

impl Golden {
    pub(crate) fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/models");
        let read = |extension: &str| {
            let path = folder.join(format!("{name}.{extension}"));
            fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        let header = serde_json::from_slice(&read("json")).unwrap();
        let bytes = read("safetensors");
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut tokens = Vec::new();
        let mut arrays = HashMap::new();
        for (array, view) in file.iter() {
            if view.dtype() == Dtype::I64 {
                let ids = view.data().as_chunks().0.iter().map(|&id| i64::from_le_bytes(id));
                tokens = ids.map(|id| u32::try_from(id).unwrap()).collect();
            } else {
                let values = view.data().as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
                arrays.insert(array.to_owned(), Tensor::new(view.shape(), values));
            }
        }
        Self { name: name.to_owned(), header, tokens, arrays }
    }

    /// An output in full.
    pub(crate) fn array(&self, name: &str) -> &Tensor {
        &self.arrays[name]
    }

    /// How the golden's pictures become activations.
    pub(crate) fn normalization(&self) -> Normalization {
        Normalization { scale: 1.0 / 255.0, mean: self.header.mean, std: self.header.std }
    }

    /// Height and width of the pictures.
    pub(crate) fn size(&self) -> [usize; 2] {
        [self.header.height, self.header.width]
    }

    /// The bytes of all pictures, one after another.
    pub(crate) fn pixels(&self) -> Vec<u8> {
        let [height, width] = self.size();
        self.header.pictures.iter().flat_map(|picture| formula::picture(picture, height, width)).collect()
    }

    /// The rows of `[prompts · context]` that count: those up to each prompt's end token.
    pub(crate) fn token_rows(&self) -> Vec<usize> {
        let lengths = &self.header.lengths;
        let context = self.tokens.len() / lengths.len();
        let row = |(prompt, &length): (usize, &usize)| prompt * context..prompt * context + length;
        lengths.iter().enumerate().flat_map(row).collect()
    }

    /// Writes the model's files into `folder`, in its ecosystem's layout, with weights from the formula; returns the
    /// weight file's path.
    pub(crate) fn write_model(&self, folder: &Path) -> PathBuf {
        let path = folder.join(&self.header.file);
        let views =
            self.header.keys.iter().map(|(name, shape)| (name, FormulaView { name, shape, dtype: self.dtype() }));
        safetensors::serialize_to_file(views, None, &path).unwrap();
        for (name, config) in &self.header.configs {
            fs::write(folder.join(name), config.to_string()).unwrap();
        }
        if !self.header.lengths.is_empty() {
            fs::write(folder.join("vocab.json"), VOCABULARY).unwrap();
            fs::write(folder.join("merges.txt"), MERGES).unwrap();
        }
        path
    }

    fn dtype(&self) -> Dtype {
        match self.header.dtype.as_str() {
            "float32" => Dtype::F32,
            "float16" => Dtype::F16,
            "bfloat16" => Dtype::BF16,
            other => panic!("{}: dtype {other}", self.name),
        }
    }

    /// The deviation of an activation, or of an output, from its golden.
    pub(crate) fn deviation(&self, figures: &Figures, found: &Tensor) -> Deviation {
        let name = &figures.name;
        assert_eq!(found.shape(), [figures.rows, figures.channels], "{}: shape of {name}", self.name);
        let values = found.data();
        let pairs: Vec<(f32, f32)> = match self.arrays.get(&format!("samples/{name}")) {
            Some(sample) => {
                let index = |number| (formula::word(formula::seed(name), number) % values.len() as u64) as usize;
                sample.data().iter().enumerate().map(|(number, &golden)| (values[index(number)], golden)).collect()
            }
            None => values.iter().zip(self.array(name).data()).map(|(&found, &golden)| (found, golden)).collect(),
        };
        let worst = pairs.iter().fold(0.0, |worst: f64, &(found, golden)| {
            let error = (f64::from(found) - f64::from(golden)).abs();
            if error.is_nan() { f64::INFINITY } else { worst.max(error) }
        });
        let squares: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
        let rms = (squares / values.len() as f64).sqrt();
        Deviation {
            name: name.clone(),
            error: worst / figures.max,
            rms: (rms / figures.rms - 1.0).abs(),
            reference_error: figures.reference_error,
        }
    }
}

/// A formula tensor as it is written to a file.
struct FormulaView<'a> {
    name: &'a str,
    shape: &'a [usize],
    dtype: Dtype,
}

impl View for FormulaView<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let tensor = formula::tensor(self.name, self.shape);
        let values = tensor.data().iter();
        match self.dtype {
            Dtype::F16 => values.flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect(),
            Dtype::BF16 => values.flat_map(|&value| half::bf16::from_f32(value).to_le_bytes()).collect(),
            _ => values.flat_map(|value| value.to_le_bytes()).collect(),
        }
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// A table of deviations beside the reference library's own f32 error.
pub(crate) fn table(title: &str, deviations: &[Deviation]) -> String {
    let mut text = format!("{title}\n  {:<18} {:>9} {:>9} {:>15}\n", "", "error", "rms", "reference's f32");
    for Deviation { name, error, rms, reference_error } in deviations {
        let _ = writeln!(text, "  {name:<18} {error:>9.1e} {rms:>9.1e} {reference_error:>15.1e}");
    }
    text
}

/// The least cosine between rows of the same number.
pub(crate) fn least_cosine(found: &Tensor, golden: &Tensor) -> f64 {
    let rows = (0..golden.rows()).map(|row| cosine(found.row(row), golden.row(row)));
    rows.fold(1.0, |least, cosine| if cosine.is_nan() { f64::NEG_INFINITY } else { cosine.min(least) })
}

/// The cosine between two vectors.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
