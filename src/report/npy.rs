//! Arrays as NumPy's `.npy` files.

use std::path::Path;

use npyz::{AutoSerialize, WriterBuilder};

use crate::error::{Error, Result};
use crate::files;

/// A type that an `.npy` file may hold.
pub trait Element: AutoSerialize + Copy {}

impl Element for f32 {}
impl Element for f64 {}
impl Element for i64 {}
impl Element for u64 {}

/// Writes `data`, row-major, as a little-endian `.npy` array of `shape` (empty for a scalar).
///
/// # Errors
/// [`ErrorKind::Io`](crate::ErrorKind::Io) that names `path`; nothing is half-written.
///
/// # Panics
/// If `data` doesn't hold exactly the product of `shape`.
pub fn write_npy<T: Element>(path: impl AsRef<Path>, shape: &[usize], data: &[T]) -> Result<()> {
    assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?} doesn't fit the data");
    write_parts(path.as_ref(), shape, [Ok(data)])
}

/// [`write_npy`] of data that comes part by part, together exactly the product of `shape`.
///
/// # Errors
/// Those of the parts as well.
pub(super) fn write_parts<T: Element, P: AsRef<[T]>>(
    path: &Path,
    shape: &[usize],
    parts: impl IntoIterator<Item = Result<P>>,
) -> Result<()> {
    let extents: Vec<u64> = shape.iter().map(|&extent| extent as u64).collect();
    let failed = |source| Error::io(path, source);
    files::write_atomic(path, |file| {
        let options = npyz::WriteOptions::new().default_dtype().shape(&extents);
        let mut array = options.writer(file).begin_nd().map_err(failed)?;
        for part in parts {
            array.extend(part?.as_ref().iter().copied()).map_err(failed)?;
        }
        array.finish().map_err(failed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(shape: &[usize], data: &[i64]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        write_npy(&path, shape, data).unwrap();
        std::fs::read(path).unwrap()
    }

    /// The format as NumPy's own specification gives it (numpy.lib.format, version 1.0).
    #[test]
    fn the_file_is_numpys() {
        let file = bytes(&[2, 3], &[1, -1, 2, 3, 5, 8]);
        assert_eq!(&file[..8], b"\x93NUMPY\x01\x00");
        let header = usize::from(u16::from_le_bytes([file[8], file[9]]));
        let text = std::str::from_utf8(&file[10..10 + header]).unwrap();
        for part in ["'descr': '<i8'", "'fortran_order': False", "'shape': (2, 3"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!((10 + header) % 64, 0);
        let values: Vec<i64> =
            file[10 + header..].chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(values, [1, -1, 2, 3, 5, 8]);
    }

    #[test]
    fn any_rank_and_type_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        for shape in [&[][..], &[1], &[0], &[3, 0, 2], &[7], &[2, 1, 3]] {
            let len = shape.iter().product::<usize>();
            let data: Vec<f32> = (0..len).map(|i| i as f32 - 0.5).collect();
            write_npy(&path, shape, &data).unwrap();
            let array = npyz::NpyFile::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap())).unwrap();
            assert_eq!(array.shape(), shape.iter().map(|&e| e as u64).collect::<Vec<_>>());
            assert_eq!(array.into_vec::<f32>().unwrap(), data);
        }
        write_npy(&path, &[2], &[u64::MAX, 0]).unwrap();
        let array = npyz::NpyFile::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap())).unwrap();
        assert_eq!(array.into_vec::<u64>().unwrap(), [u64::MAX, 0]);
    }
}
