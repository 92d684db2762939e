//! A bundle as NumPy arrays and lists, for other programs.

use std::path::Path;

use super::npy::{write_npy, write_parts};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{Occupied, write_atomic, write_dir_atomic};
use crate::gpu::Device;
use crate::semantics::{Bundle, Counts, ImageSet, Samples, ScoreMode, Sets, Space};
use crate::tensor::Tensor;

/// Writes the folder `folder`, which must be new or empty: N images, K classes, C concepts, D features, E dimensions of CLIP.
///
/// | file | shape | type |
/// |---|---|---|
/// | `scores.npy` (raw, classifier space) | `[N, C]` | f32 |
/// | `logits.npy` | `[N, K]` | f32 |
/// | `features.npy` | `[N, D]` | f32 |
/// | `clip.npy` (un-normalised) | `[N, E]` | f32 |
/// | `directions.npy` | `[C, E]` | f32 |
/// | `class_directions.npy` | `[K, E]` | f32 |
/// | `labels.npy`, `predictions.npy` | `[N]` | i64 |
/// | `counts_correct.npy`, `counts_missed.npy`, `counts_false_alarm.npy` | `[K, C, C]` | u64 |
/// | `support.npy` (rows correct, missed, false alarm) | `[3, K]` | u64 |
/// | `concepts.txt`, `classes.txt`, `samples.txt` (paths, in row order) | a line each | UTF-8 |
///
/// `device` counts the maps that the bundle doesn't store; one that stores them needs none.
///
/// # Errors
/// [`ErrorKind::Io`] that names what can't be written, [`ErrorKind::Data`] for a name of more than one line,
/// [`ErrorKind::Usage`] for a missing device, and those of the device; nothing is half-written.
pub fn export(bundle: &Bundle, device: Option<&Device>, folder: &Path) -> Result<()> {
    let Samples { paths, labels, predictions, .. } = bundle.samples();
    let samples = bundle.samples();
    let sets = bundle.sets()?;
    let manifest = bundle.manifest();
    let tensors: [(&str, &Tensor); 6] = [
        ("scores", &samples.scores),
        ("logits", &samples.logits),
        ("features", &samples.features),
        ("clip", &samples.clip),
        ("directions", bundle.directions()),
        ("class_directions", bundle.class_directions()),
    ];
    type SetOf = fn(usize) -> ImageSet;
    let maps: [(&str, SetOf); 3] =
        [("correct", ImageSet::Correct), ("missed", ImageSet::Missed), ("false_alarm", ImageSet::FalseAlarm)];
    let lists = [("concepts", &manifest.concepts), ("classes", &manifest.classes), ("samples", paths)];
    let [classes, concepts] = [manifest.classes.len(), manifest.concepts.len()];
    write_dir_atomic(folder, Occupied::Refuse, |folder| {
        let array = |name: &str| folder.join(format!("{name}.npy"));
        for (name, tensor) in tensors {
            write_npy(array(name), tensor.shape(), tensor.data())?;
        }
        for (name, indices) in [("labels", labels), ("predictions", predictions)] {
            let indices: Vec<i64> = indices.iter().map(|&index| index as i64).collect();
            write_npy(array(name), &[indices.len()], &indices)?;
        }
        for (name, set) in maps {
            let parts = (0..classes).map(|class| cells(bundle, device, &set(class)));
            write_parts(&array(&format!("counts_{name}")), &[classes, concepts, concepts], parts)?;
        }
        let rows: [fn(&Sets, usize) -> &[u32]; 3] = [Sets::correct, Sets::missed, Sets::false_alarm];
        let support = |rows: fn(&Sets, usize) -> &[u32]| (0..classes).map(move |class| (rows, class));
        let support: Vec<u64> =
            rows.into_iter().flat_map(support).map(|(rows, class)| rows(&sets, class).len() as u64).collect();
        write_npy(array("support"), &[rows.len(), classes], &support)?;
        lists.into_iter().try_for_each(|(name, lines)| write_lines(&folder.join(format!("{name}.txt")), lines))
    })
}

/// The cells of a set's map, row-major.
fn cells(bundle: &Bundle, device: Option<&Device>, set: &ImageSet) -> Result<Vec<u64>> {
    let wide = |counts: &Counts| counts.cells().iter().map(|&count| count.into()).collect();
    if let Some(counts) = bundle.stored(set) {
        return Ok(wide(counts));
    }
    let needed = || Error::new(ErrorKind::Usage, "the bundle doesn't store its maps: a device is needed to count them");
    let counts =
        bundle.maps(device.ok_or_else(needed)?, std::slice::from_ref(set), Space::Classifier, ScoreMode::Raw)?;
    Ok(counts.iter().flat_map(|counts| wide(counts) as Vec<u64>).collect())
}

/// Writes a line for each name; a name that is more than one would shift all that follow.
fn write_lines(path: &Path, lines: &[String]) -> Result<()> {
    if let Some(line) = lines.iter().find(|line| line.contains(['\n', '\r'])) {
        let message = format!("{line:?}: the name holds a line break, which a list of one name a line can't");
        return Err(Error::new(ErrorKind::Data, message));
    }
    write_atomic(path, |file| {
        lines.iter().try_for_each(|line| writeln!(file, "{line}").map_err(|source| Error::io(path, source)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::testing;

    fn array<T: npyz::Deserialize>(folder: &Path, name: &str) -> (Vec<u64>, Vec<T>) {
        let file = std::io::BufReader::new(std::fs::File::open(folder.join(name)).unwrap());
        let array = npyz::NpyFile::new(file).unwrap();
        (array.shape().to_vec(), array.into_vec().unwrap())
    }

    fn lines(folder: &Path, name: &str) -> Vec<String> {
        std::fs::read_to_string(folder.join(name)).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_array_has_its_shape_type_and_values() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("arrays");
        let bundle = testing::bundle();
        export(&bundle, None, &folder).unwrap();
        let samples = bundle.samples();
        let [n, k, c, d, e] = [samples.labels.len(), 3, 4, 2, 3].map(|extent| extent as u64);
        for (name, shape, tensor) in [
            ("scores.npy", [n, c], &samples.scores),
            ("logits.npy", [n, k], &samples.logits),
            ("features.npy", [n, d], &samples.features),
            ("clip.npy", [n, e], &samples.clip),
            ("directions.npy", [c, e], bundle.directions()),
            ("class_directions.npy", [k, e], bundle.class_directions()),
        ] {
            assert_eq!(array::<f32>(&folder, name), (shape.to_vec(), tensor.data().to_vec()), "{name}");
        }
        for (name, indices) in [("labels.npy", &samples.labels), ("predictions.npy", &samples.predictions)] {
            let expected: Vec<i64> = indices.iter().map(|&index| index as i64).collect();
            assert_eq!(array::<i64>(&folder, name), (vec![n], expected), "{name}");
        }
        let (shape, support) = array::<u64>(&folder, "support.npy");
        assert_eq!(shape, [3, k]);
        // Counted again from what was written, image by image.
        let (_, scores) = array::<f32>(&folder, "scores.npy");
        for (set, name) in ["counts_correct.npy", "counts_missed.npy", "counts_false_alarm.npy"].into_iter().enumerate()
        {
            let (shape, counts) = array::<u64>(&folder, name);
            assert_eq!(shape, [k, c, c], "{name}");
            for class in 0..3 {
                let belongs = |row: &usize| match (set, samples.labels[*row], samples.predictions[*row]) {
                    (0, label, prediction) => label == class && prediction == class,
                    (1, label, prediction) => label == class && prediction != class,
                    (_, label, prediction) => label != class && prediction == class,
                };
                let rows: Vec<usize> = (0..samples.labels.len()).filter(belongs).collect();
                assert_eq!(support[3 * set + class], rows.len() as u64, "{name}");
                for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
                    let wins = rows.iter().filter(|row| scores[4 * **row + i] > scores[4 * **row + j]).count();
                    assert_eq!(counts[(class * 4 + i) * 4 + j], wins as u64, "{name} {class} {i} {j}");
                }
            }
        }
        assert_eq!(lines(&folder, "concepts.txt"), bundle.manifest().concepts);
        assert_eq!(lines(&folder, "classes.txt"), bundle.manifest().classes);
        assert_eq!(lines(&folder, "samples.txt"), samples.paths);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 15);
    }

    #[test]
    fn a_folder_that_cannot_be_filled_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let mut bundle = testing::bundle();
        std::fs::write(root.path().join("precious"), "x").unwrap();
        assert_eq!(export(&bundle, None, root.path()).unwrap_err().kind(), ErrorKind::Io);
        bundle.samples.paths[3] = "two\nlines.png".into();
        let error = export(&bundle, None, &root.path().join("arrays")).unwrap_err();
        assert!(error.to_string().contains(r"two\nlines.png"), "{error}");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
