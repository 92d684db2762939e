//! Content hashes, by which splits are kept apart.

use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Sample;
use crate::error::Result;
use crate::progress::{Observer, step};

/// The SHA-256 of a picture's file, or of what else is told by its content. Printed, parsed and serialised as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// The hash of a file's or another thing's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for ContentHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for ContentHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let failed = || format!("{text:?} isn't a SHA-256 of 64 hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(failed());
        }
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = str::from_utf8(digits).map_err(|_| failed())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| failed())?;
        }
        Ok(Self(hash))
    }
}

/// Pictures that are hashed between two looks at the observer.
const PICTURES_AT_ONCE: usize = 256;

/// Each picture's hash; none of one that can't be read.
///
/// # Errors
/// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled) if the observer, which is told the `stage`, asks for it.
pub fn content_hashes(samples: &[Sample], stage: &str, observer: &dyn Observer) -> Result<Vec<Option<ContentHash>>> {
    let mut hashes = Vec::with_capacity(samples.len());
    for some in samples.chunks(PICTURES_AT_ONCE) {
        step(observer, stage, hashes.len(), samples.len())?;
        hashes.par_extend(some.par_iter().map(|sample| sample.read().ok().map(|bytes| ContentHash::of(&bytes))));
    }
    step(observer, stage, samples.len(), samples.len())?;
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn a_hash_is_sha256_and_survives_printing() {
        let hash = ContentHash::of(b"abc");
        // FIPS 180-2, appendix B.1.
        assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(serde_json::from_str::<ContentHash>(&serde_json::to_string(&hash).unwrap()).unwrap(), hash);
        for bad in ["", "ba78", &"g".repeat(64), &"+1".repeat(32), &"é".repeat(32)] {
            assert!(bad.parse::<ContentHash>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_read_has_no_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, b"abc").unwrap();
        let samples = [Sample::file(&path, None), Sample::file("no/such/picture.png".as_ref(), None)];
        let expected = [Some(ContentHash::of(b"abc")), None];
        assert_eq!(content_hashes(&samples, "hashing", &Silent).unwrap(), expected);
    }
}
