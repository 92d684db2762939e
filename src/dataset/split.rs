//! Disjoint parts of a set of pictures, for several machines to work on.

use std::fmt;
use std::str::FromStr;

use super::ContentHash;
use crate::error::{Error, ErrorKind, Result};

/// One of several parts, written `2/5`: the second of five.
///
/// A picture's content alone says to which part it falls. So the split doesn't depend on how files are named, listed or
/// copied, and two copies of a picture never come into different parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    number: u64,
    count: u64,
}

impl Shard {
    /// Part `number`, from 1, of `count`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] unless 1 ≤ number ≤ count.
    pub fn new(number: u64, count: u64) -> Result<Self> {
        if (1..=count).contains(&number) {
            return Ok(Self { number, count });
        }
        Err(Error::new(ErrorKind::Usage, format!("there is no shard {number}/{count}, expected 1/N to N/N")))
    }

    /// Whether a picture of this content falls to it. What has no content to go by falls to part 1.
    pub fn holds(self, hash: Option<ContentHash>) -> bool {
        let part = hash.map_or(0, |hash| {
            let (first, _) = hash.0.split_first_chunk().expect("a hash has 32 bytes");
            u64::from_be_bytes(*first) % self.count
        });
        part == self.number - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('/').and_then(|(number, count)| Some((number.parse().ok()?, count.parse().ok()?)));
        let (number, count) = parts
            .ok_or_else(|| Error::new(ErrorKind::Usage, format!("'{text}' isn't a shard, expected one such as 2/5")))?;
        Self::new(number, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_content_falls_to_one_shard() {
        for count in 1..=7 {
            let shards: Vec<Shard> = (1..=count).map(|number| Shard::new(number, count).unwrap()).collect();
            let mut sizes = vec![0; shards.len()];
            for picture in 0..700_u32 {
                let hash = ContentHash::of(&picture.to_le_bytes());
                let holding: Vec<usize> = (0..shards.len()).filter(|&at| shards[at].holds(Some(hash))).collect();
                let [at] = holding[..] else { panic!("{hash} falls to {holding:?} of {count}") };
                sizes[at] += 1;
            }
            assert!(sizes.iter().all(|&size| size > 50), "{sizes:?}");
            assert!((0..shards.len()).all(|at| shards[at].holds(None) == (at == 0)));
        }
    }

    #[test]
    fn only_parts_that_exist_are_read() {
        assert_eq!("2/5".parse::<Shard>().unwrap().to_string(), "2/5");
        for bad in ["0/5", "6/5", "1/0", "2", "a/b", "-1/2", "1/2/3", ""] {
            assert_eq!(bad.parse::<Shard>().unwrap_err().kind(), ErrorKind::Usage, "{bad}");
        }
    }
}
