//! How many bits a weight has on the GPU.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a model's matrices and convolutions are held on the GPU, whatever type the file has. Sums are f32 in both, and so are
/// grouped convolutions, embedding tables, norms and biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits: the reference.
    #[default]
    F32,
    /// 16 bits: half the memory, each weight rounded to 11 significant bits.
    F16,
    /// 16 bits, multiplied on cooperative matrices after rounding what they are multiplied with in the same way. Only devices that were
    /// opened with them run such a model.
    #[serde(rename = "f16-matrices")]
    F16Matrices,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::F16Matrices => "f16 on cooperative matrices",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    /// How weights are held; where they are multiplied isn't said by name.
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::F32, Self::F16];
        all.into_iter().find(|precision| precision.to_string() == text).ok_or_else(|| "expected f32 or f16".to_owned())
    }
}
