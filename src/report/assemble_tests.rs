//! The report's data against the bundle it is gathered from.

use std::path::Path;

use super::assemble::{notices, of_bundle};
use super::{Verdicts, html};
use crate::gpu::Device;
use crate::progress::Silent;
use crate::semantics::{Bundle, testing};

/// The bundle of [`testing`] with thumbnails, written and read back.
fn stored(folder: &Path) -> Bundle {
    let mut bundle = testing::bundle();
    let thumbnails: Vec<Vec<u8>> = (0..bundle.manifest().n).map(|row| vec![0xff, 0xd8, 0xff, row as u8]).collect();
    bundle.save(&folder.join("planes"), thumbnails.into_iter().map(Ok)).unwrap();
    Bundle::open(&folder.join("planes")).unwrap()
}

#[test]
fn every_part_is_filled_from_the_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = stored(folder.path());
    let data = of_bundle(&bundle, &Device::best().unwrap(), None, &Silent).unwrap();
    assert_eq!(data.title, "planes");
    assert_eq!(data.confusion, [[9, 7, 1], [2, 6, 0], [0, 0, 0]]);
    assert_eq!(data.accuracy.value, 15.0 / 25.0);
    assert_eq!(data.recall[1].unwrap().value, 6.0 / 8.0);
    assert_eq!(data.recall[2], None);
    assert!(data.notices.iter().any(|notice| notice.contains("images/ship/broken.png")), "{:?}", data.notices);
    assert!(data.facts.iter().any(|fact| fact.value == "7 changed the prediction, 2 failed"));
    // One differential, one against intruders, two losses.
    assert!(data.facts.iter().any(|fact| fact.value == "4 families of 6"), "{:?}", data.facts);
    assert!(data.evaluation.is_none());

    let sets: Vec<&str> = data.maps.iter().filter(|map| map.class == 1).map(|map| map.set.as_str()).collect();
    let expected =
        ["differential", "false-alarm-differential", "loss", "correct", "missed", "false-alarm", "adversarial"];
    assert_eq!(sets, expected);
    let map = |class: usize, set: &str| {
        &data.maps.iter().find(|map| (map.class, map.set.as_str()) == (class, set)).unwrap().view
    };
    assert!(map(0, "differential").supported && !map(1, "differential").supported);
    assert_eq!(map(1, "loss").sides[1].n, 8);
    assert!(!map(2, "loss").supported);

    let of = |class: usize, origin: &str| {
        data.responsible.iter().find(|found| found.class == class && found.origin == origin).unwrap()
    };
    let findings = bundle.findings(&Device::best().unwrap(), &Silent).unwrap();
    let expected = findings[0].responsible.as_ref().unwrap();
    let shown = of(0, "differential");
    assert_eq!((shown.lost.len(), shown.pairs.len()), (expected.lost.len(), expected.pairs.len()));
    let (change, found) = (&shown.intruding[0], &expected.intruding[0]);
    assert_eq!((&change.concept, change.change.value, change.change.low), (&found.concept, found.change, found.low));
    let (pair, found) = (&shown.pairs[0], &expected.pairs[0]);
    assert_eq!((&pair.stronger, &pair.weaker, pair.significant), (&found.stronger, &found.weaker, found.flagged));
    assert!(of(0, "loss").supported && !of(1, "differential").supported && of(1, "differential").lost.is_empty());

    let found = data.localization.as_ref().unwrap();
    assert_eq!(found.totals.n(), 10);
    assert_eq!(found.classes.iter().map(Verdicts::n).collect::<Vec<_>>(), [8, 2, 0]);
    let counted = |verdict: &str| data.examples.iter().filter(|e| e.verdict.as_deref() == Some(verdict)).count();
    assert_eq!(data.examples.len(), 25, "few enough to show all");
    assert_eq!(
        [counted("head"), counted("encoder"), counted("undetermined")].map(|count| count as u64),
        [found.totals.head, found.totals.encoder, found.totals.undetermined]
    );
    let ninth = data.examples.iter().find(|example| example.path == "images/plane/9.png").unwrap();
    assert_eq!((ninth.label, ninth.prediction, ninth.thumbnail[3]), (0, 1, 9));
    let scores = bundle.samples().scores.row(9);
    let best = (0..4).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
    assert_eq!(ninth.concepts[0], bundle.manifest().concepts[best]);

    let page = html(&data).unwrap();
    assert!(page.contains("Not evaluated") && page.contains("planes"));
}

#[test]
fn overlap_and_near_ties_are_noticed() {
    let mut bundle = testing::bundle();
    bundle.manifest.overlap_allowed = true;
    let texts = notices(&bundle).join("\n");
    assert!(texts.contains("--allow-overlap") && texts.contains("2.0 %"), "{texts}");
    bundle.manifest.near_ties = 0;
    bundle.manifest.notices = vec!["overlap allowed: the aligner was fitted on 3 of these".into()];
    bundle.manifest.skipped.clear();
    assert_eq!(notices(&bundle), bundle.manifest.notices);
}
