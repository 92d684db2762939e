//! A small bundle whose every number follows from a formula.

use std::path::PathBuf;

use super::align::Aligner;
use super::bundle::{AttackedSamples, Bundle, ClassCounts, Samples};
use super::container::Container;
use super::manifest::{AttackSummary, Manifest, ModelIdentity, SCHEMA};
use super::reference;
use super::sets::Sets;
use crate::dataset::ContentHash;
use crate::tensor::Tensor;
use crate::weights::Precision;

/// (label, prediction, images): `plane` has both maps, `ship` too few misses, `cat` no image at all though one is taken for it.
const GROUPS: [(usize, usize, usize); 5] = [(0, 0, 9), (0, 1, 7), (1, 1, 6), (1, 0, 2), (0, 2, 1)];

/// A bundle of three classes (`plane`, `ship`, `cat`), four concepts and 25 images, with seven successful attacks.
pub(crate) fn bundle() -> Bundle {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let (classes, concepts) = (names(&["plane", "ship", "cat"]), names(&["wings", "wheels", "metallic", "wet"]));
    let [k, c, d, e] = [3, 4, 2, 3];
    let rows = || GROUPS.iter().flat_map(|&(label, prediction, n)| std::iter::repeat_n((label, prediction), n));
    let (labels, predictions): (Vec<usize>, Vec<usize>) = rows().unzip();
    let n = labels.len();
    let tensor = |columns: usize, value: &dyn Fn(usize, usize) -> f32| {
        Tensor::new([n, columns], (0..n * columns).map(|at| value(at / columns, at % columns)).collect())
    };
    // Misses lack the first concept and have more of the last; the rest is a pattern with a few ties.
    let pattern = |row: usize, concept: usize| ((row * 7 + concept * 5) % 11) as f32 / 16.0;
    let scores = tensor(c, &|row, concept| match (labels[row] == predictions[row], concept) {
        (true, 0) | (false, 3) => pattern(row, concept) + 0.25,
        _ => pattern(row, concept),
    });
    let clip_scores = tensor(c, &|row, concept| pattern(row, concept) + if concept == 1 { 0.25 } else { 0.0 });
    let one_hot = |class: usize, at: usize| if class == at { 1.0 } else { 0.1 * at as f32 };
    let samples = Samples {
        paths: (0..n).map(|row| format!("images/{}/{row}.png", classes[labels[row]])).collect(),
        hashes: (0..n).map(|row| ContentHash([(row * 37) as u8; 32])).collect(),
        features: tensor(d, &|row, at| (row + at) as f32),
        logits: tensor(k, &|row, at| 4.0 * one_hot(predictions[row], at)),
        clip: tensor(e, &|row, at| (row * 3 + at) as f32 * 0.5),
        // The oracle is right on every other image, CLIP on two of three.
        class_scores: tensor(k, &|row, at| one_hot(if row % 2 == 0 { labels[row] } else { 2 }, at)),
        clip_class_scores: tensor(k, &|row, at| one_hot(if row % 3 == 0 { 2 } else { labels[row] }, at)),
        scores,
        clip_scores,
        labels,
        predictions,
    };
    let attacked = AttackedSamples {
        paths: (0..7).map(|row| format!("attacked/plane/{row}.png")).collect(),
        predictions: vec![1; 7],
        scores: samples.scores.select_rows(&(0..7).collect::<Vec<_>>()),
        contents: (0..7).map(attack).collect(),
    };
    let mut aligner = Container::default();
    aligner.insert("weight", &[e, d], &[1.0_f32, 0.0, 0.0, 1.0, 0.5, 0.5]);
    aligner.insert("bias", &[e], &[0.0_f32; 3]);
    let directions =
        |rows: usize| Tensor::new([rows, e], (0..rows * e).map(|at| if at % 4 == 0 { 1.0 } else { 0.0 }).collect());
    let model = |name: &str| ModelIdentity {
        path: PathBuf::from("models").join(name),
        sha256: format!("{name}-weights"),
        preprocess: format!("{name}-preprocessing"),
        precision: Precision::F32,
    };
    let mut bundle = Bundle {
        manifest: Manifest {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            classes,
            concepts,
            templates: names(&["a photo of a {}."]),
            classifier: model("resnet"),
            clip: model("clip"),
            aligner: None,
            adapter: "an adapter".to_owned(),
            images: PathBuf::from("images"),
            n,
            accuracy: samples.accuracy(),
            minimum_support: 5,
            near_ties: 3,
            cells: (n * c * (c - 1) / 2) as u64,
            stores_counts: true,
            dispatches: [("gemm".to_owned(), 12)].into(),
            attacks: vec![AttackSummary {
                name: "pgd8".to_owned(),
                succeeded: 7,
                failed: 2,
                misclassified_before: 1,
                unmatched: 0,
            }],
            skipped: vec![("images/ship/broken.png".to_owned(), "not a picture".to_owned())],
            notices: Vec::new(),
            overlap_allowed: false,
        },
        samples,
        attacked,
        directions: directions(c),
        class_directions: directions(k),
        counts: None,
        aligner: Aligner::of_container(&aligner, "").unwrap(),
        thumbnails: PathBuf::new(),
    };
    bundle.counts = Some(counts_of(&bundle));
    bundle
}

/// What the test bundle's attacked image `row` is known by.
pub(crate) fn attack(row: usize) -> ContentHash {
    ContentHash::of(&row.to_le_bytes())
}

/// The counts of a bundle's images and attacks.
pub(crate) fn counts_of(bundle: &Bundle) -> ClassCounts {
    let (sets, classes) = (bundle.sets().unwrap(), bundle.manifest.classes.len());
    let maps = |rows: fn(&Sets, usize) -> &[u32]| {
        (0..classes).map(|class| reference::counts(&bundle.samples.scores, rows(&sets, class)).unwrap()).collect()
    };
    let adversarial = |class: usize| {
        let predictions = bundle.attacked.predictions.iter().enumerate();
        let rows: Vec<u32> = predictions.filter(|(_, found)| **found == class).map(|(row, _)| row as u32).collect();
        reference::counts(&bundle.attacked.scores, &rows).unwrap()
    };
    ClassCounts {
        correct: maps(Sets::correct),
        missed: maps(Sets::missed),
        false_alarm: maps(Sets::false_alarm),
        adversarial: (0..classes).map(adversarial).collect(),
    }
}
