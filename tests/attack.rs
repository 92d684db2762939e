//! Attacks: what is written stays within ε, is what was measured, and doesn't depend on how the work was done.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use heatlens::dataset::{Dataset, DatasetOptions};
use heatlens::image::{DecodeOptions, decode_file};
use heatlens::models::Classifier;
use heatlens::semantics::{AttackMethod, AttackOptions, AttackReport, RunOptions, attack, classify};
use heatlens::{Device, ErrorKind, Observer, Result, Silent};

const SQUARE: AttackOptions = AttackOptions { method: AttackMethod::Square, levels: 16, queries: 60, seed: 3 };

/// Stops once so many images are attacked.
struct StopAfter {
    images: usize,
    done: AtomicUsize,
}

impl Observer for StopAfter {
    fn progress(&self, stage: &str, done: usize, _total: usize) {
        if stage == "attacking" {
            self.done.store(done, Ordering::Relaxed);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.done.load(Ordering::Relaxed) >= self.images
    }
}

struct Attack {
    classifier: Classifier,
    device: Device,
    images: Dataset,
}

impl Attack {
    fn new() -> Self {
        let path = |part: &str| [env!("CARGO_MANIFEST_DIR"), "weights/demo", part].iter().collect::<PathBuf>();
        let classes = fs::read_to_string(path("classes.txt")).unwrap();
        let classes: Vec<String> = classes.lines().map(str::to_owned).collect();
        let mut images = Dataset::open(&path("images/test"), Some(&classes), &DatasetOptions::default()).unwrap();
        images.samples = images.samples.into_iter().step_by(40).collect();
        let classifier = Classifier::open(path("classifier"), &Silent).unwrap();
        Self { classifier, device: Device::best().unwrap(), images }
    }

    fn run(&self, options: AttackOptions, batch: usize, observer: &dyn Observer, out: &Path) -> Result<AttackReport> {
        let run = RunOptions { batch: Some(batch), ..RunOptions::default() };
        attack(&self.device, &self.classifier, &self.images, options, &run, observer, out)
    }
}

fn pictures(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let folders = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|class| fs::read_dir(class).unwrap().map(|entry| entry.unwrap().path()));
    files.map(|file| (file.strip_prefix(folder).unwrap().to_owned(), fs::read(&file).unwrap())).collect()
}

#[test]
fn attacked_images_are_within_epsilon_and_what_was_measured() {
    let attack = Attack::new();
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("square");
    let report = attack.run(SQUARE, 5, &Silent, &out).unwrap();
    assert_eq!(report.images, 15);
    assert_eq!(report.misclassified + report.attacked.len() as u64, 15);
    assert!(report.attacked.iter().any(|image| image.success) && report.misclassified > 0, "{report:?}");
    assert_eq!(pictures(&out).len(), report.attacked.len());
    let decode = |path: &Path| decode_file(path, &DecodeOptions::default()).unwrap().image;
    for image in &report.attacked {
        assert!(
            image.queries >= 1 && image.queries <= SQUARE.queries && (image.success || image.queries == SQUARE.queries),
            "{image:?}"
        );
        let (original, changed) = (decode(image.path.as_ref()), decode(&out.join(&image.file)));
        assert_eq!((original.width, original.height), (changed.width, changed.height));
        let farthest = original.data.iter().zip(&changed.data).map(|(a, b)| a.abs_diff(*b)).max();
        assert_eq!(farthest, Some(SQUARE.levels), "{}", image.path);
        assert_eq!(Path::new(&image.path).file_stem(), image.file.file_stem());
        assert_eq!(Path::new(&image.path).parent().unwrap().file_name(), image.file.parent().unwrap().file_name());
    }
    // What is read back from disk is misread if and only if the attack says so.
    let files: Vec<PathBuf> = report.attacked.iter().map(|image| out.join(&image.file)).collect();
    let written = Dataset::from_paths(&files, &mut std::io::empty()).unwrap();
    let (classes, run) = (&attack.images.classes, RunOptions::default());
    let found = classify(&attack.device, &attack.classifier, Some(classes), &written, 1, &run, &Silent).unwrap();
    for (image, found) in report.attacked.iter().zip(found) {
        assert_eq!(image.success, Path::new(&found.classes[0].class) != image.file.parent().unwrap(), "{image:?}");
    }
    let last = report.by_queries.last().unwrap();
    assert_eq!((last.queries, Some(last.success)), (SQUARE.queries, report.success));
    assert!(report.by_queries.windows(2).all(|pair| pair[0].success.value <= pair[1].success.value));
}

#[test]
fn neither_the_batch_nor_an_interruption_shows() {
    let attack = Attack::new();
    let root = tempfile::tempdir().unwrap();
    let [whole, resumed] = ["whole", "resumed"].map(|name| root.path().join(name));
    let expected = attack.run(SQUARE, 7, &Silent, &whole).unwrap();
    let stop = StopAfter { images: 2, done: AtomicUsize::new(0) };
    let error = attack.run(SQUARE, 2, &stop, &resumed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let before = pictures(&resumed);
    assert!((2..expected.attacked.len()).contains(&before.len()), "{} are done", before.len());
    // A line that was cut off, and a picture that is gone, are made again.
    let record = root.path().join("resumed.jsonl");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, &text[..text.len() - 9]).unwrap();
    fs::remove_file(resumed.join(before.keys().next().unwrap())).unwrap();
    assert_eq!(attack.run(SQUARE, 3, &Silent, &resumed).unwrap(), expected);
    assert!(pictures(&resumed) == pictures(&whole), "the pictures differ");

    let other = AttackOptions { seed: 4, ..SQUARE };
    let error = attack.run(other, 3, &Silent, &resumed).unwrap_err();
    assert!(error.to_string().contains("resumed.jsonl: is the record of another attack"), "{error}");
    fs::remove_file(&record).unwrap();
    let error = attack.run(SQUARE, 3, &Silent, &resumed).unwrap_err();
    assert!(error.to_string().contains("is a folder with something in it"), "{error}");
}

#[test]
fn noise_is_the_weaker_attack() {
    let attack = Attack::new();
    let root = tempfile::tempdir().unwrap();
    let success = |method| {
        let report =
            attack.run(AttackOptions { method, ..SQUARE }, 7, &Silent, &root.path().join(format!("{method:?}")));
        report.unwrap().success.unwrap().value
    };
    let (noise, square) = (success(AttackMethod::Noise), success(AttackMethod::Square));
    assert!(noise < square, "noise {noise}, square {square}");
}
