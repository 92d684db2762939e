use super::*;
use crate::progress::Silent;
use crate::semantics::testing;
use crate::weights::Precision;

#[test]
fn the_same_bundle_has_not_changed() {
    let (bundle, device) = (testing::bundle(), Device::best().unwrap());
    let options = CompareOptions { max_drift: Some(0.0), ..CompareOptions::default() };
    let drift = bundle.compare(&bundle, &device, &options, &Silent).unwrap();
    assert_eq!((drift.images, drift.only_before, drift.only_after, drift.predictions_changed), (25, 0, 0, 0));
    assert_eq!((drift.drift.unwrap().value, drift.accuracy.change.value, drift.accuracy.p), (0.0, 0.0, 1.0));
    assert!(drift.accuracy.change.low <= 0.0 && drift.accuracy.change.high >= 0.0);
    assert!(drift.same_classifier && drift.above.is_empty());
    // No image is a cat: there is nothing to say of the class.
    assert_eq!(drift.classes.iter().map(|class| class.supported).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(drift.classes[2].drift, None);
}

#[test]
fn a_concept_that_rises_everywhere_is_found() {
    let (before, device) = (testing::bundle(), Device::best().unwrap());
    let mut after = before.clone();
    // The second bundle lists its images in reverse and has one that the first doesn't.
    let rows: Vec<usize> = (0..25).rev().collect();
    after.samples.hashes = rows.iter().map(|&row| before.samples.hashes[row]).collect();
    after.samples.labels = rows.iter().map(|&row| before.samples.labels[row]).collect();
    after.samples.predictions = after.samples.labels.clone();
    after.samples.scores = before.samples.scores.select_rows(&rows);
    after.samples.scores.data_mut().chunks_exact_mut(4).for_each(|scores| scores[1] = 2.0);
    after.samples.hashes[0].0[0] ^= 0xff;
    let options = CompareOptions { max_drift: Some(0.0), ..CompareOptions::default() };
    let drift = before.compare(&after, &device, &options, &Silent).unwrap();
    assert_eq!((drift.images, drift.only_before, drift.only_after), (24, 1, 1));
    assert_eq!(drift.accuracy.after, 1.0);
    let plane = &drift.classes[0];
    assert!(plane.pairs.iter().all(|pair| pair.stronger == "wheels"), "{:?}", plane.pairs);
    assert_eq!(plane.pairs.len(), 3);
    assert!(plane.changed && plane.recall.unwrap().change.low > 0.0);
    assert_eq!(drift.above, ["plane", "ship"]);
    let flips = |row: usize| flipped_share(before.samples.scores.row(row), after.samples.scores.row(24 - row));
    let expected = (0..16).map(flips).sum::<f64>() / 16.0;
    let found = plane.drift.unwrap();
    assert!((found.value - expected).abs() < 1e-12 && found.low < found.value && found.value < found.high);
}

#[test]
fn what_cannot_be_compared_is_named() {
    let (first, device) = (testing::bundle(), Device::best().unwrap());
    let failure = |change: &dyn Fn(&mut Bundle)| {
        let mut second = first.clone();
        change(&mut second);
        first.compare(&second, &device, &CompareOptions::default(), &Silent).unwrap_err().to_string()
    };
    assert!(failure(&|b| b.manifest.concepts[1] = "fins".to_owned()).contains("number 2 is 'wheels' and 'fins'"));
    assert!(failure(&|b| b.samples.labels[3] = 2).contains("images/plane/3.png is labelled plane in"));
    assert!(failure(&|b| b.samples.labels.fill(2)).contains("images/plane/0.png is labelled plane in"));
    assert!(failure(&|b| b.samples.hashes.iter_mut().for_each(|h| h.0[31] ^= 1)).contains("share no image"));
    let mut few = first.clone();
    few.manifest.minimum_support = 18;
    let compare = |max_drift| {
        let options = CompareOptions { max_drift, ..CompareOptions::default() };
        first.compare(&few, &device, &options, &Silent)
    };
    let error = compare(Some(0.5)).unwrap_err().to_string();
    assert_eq!(error, "no class has 18 images in both bundles, so none can keep to a drift of 0.5");
    let found = compare(None).unwrap();
    assert!(found.drift.is_some() && found.classes.iter().all(|class| !class.supported && class.drift.is_none()));
}

#[test]
fn copies_are_matched_by_their_labels() {
    let (mut first, device) = (testing::bundle(), Device::best().unwrap());
    // Image 0, a plane, is listed among the ships as well; the second bundle has the ship alone.
    let hash = first.samples.hashes[0];
    (first.samples.hashes[17], first.samples.labels[17]) = (hash, 1);
    let mut second = first.clone();
    second.samples.hashes[0].0[0] ^= 0xff;
    let compare = |a: &Bundle, b: &Bundle| a.compare(b, &device, &CompareOptions::default(), &Silent);
    let found = compare(&first, &second).unwrap();
    assert_eq!((found.images, found.only_before, found.only_after), (24, 1, 1));
    assert_eq!(found.classes.iter().map(|class| class.images).collect::<Vec<_>>(), [16, 8, 0]);
    (second.samples.hashes[0], second.samples.labels[0]) = (hash, 2);
    let error = compare(&first, &second).unwrap_err().to_string();
    assert!(error.contains("is labelled plane in") && error.contains("and cat in"), "{error}");
}

#[test]
fn what_else_differs_is_told() {
    let (first, device) = (testing::bundle(), Device::best().unwrap());
    let found = |change: &dyn Fn(&mut Bundle)| {
        let mut second = first.clone();
        change(&mut second);
        let drift = first.compare(&second, &device, &CompareOptions::default(), &Silent).unwrap();
        (drift.same_classifier, drift.made_differently)
    };
    assert_eq!(found(&|_| ()), (true, Vec::new()));
    assert_eq!(found(&|b| b.manifest.classifier.sha256 = "x".to_owned()), (false, Vec::new()));
    assert_eq!(found(&|b| b.manifest.classifier.precision = Precision::F16).1, ["precisions of the classifier"]);
    assert_eq!(
        found(&|b| {
            b.manifest.clip.sha256 = "x".to_owned();
            b.directions.data_mut()[0] += 1.0;
        })
        .1,
        ["CLIPs", "concept prompts"]
    );
}
