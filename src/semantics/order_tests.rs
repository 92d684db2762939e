//! Nothing that is found depends on the order in which a bundle holds its images.

use super::bundle::AttackedSamples;
use super::merge::samples_of;
use super::testing;
use super::*;
use crate::gpu::Device;
use crate::progress::Silent;

/// The bundle with its images and its attacks in other places.
fn moved(bundle: &Bundle, turn: usize) -> Bundle {
    let place = |row: usize, n: usize| (row * turn + 3) % n;
    let (n, attacks) = (bundle.samples.labels.len(), bundle.attacked.paths.len());
    let rows: Vec<(usize, usize)> = (0..n).map(|row| (0, place(row, n))).collect();
    let attacked: Vec<usize> = (0..attacks).map(|row| place(row, attacks)).collect();
    let mut moved = bundle.clone();
    moved.samples = samples_of(std::slice::from_ref(bundle), &rows);
    moved.attacked = AttackedSamples {
        paths: attacked.iter().map(|&row| bundle.attacked.paths[row].clone()).collect(),
        predictions: attacked.iter().map(|&row| bundle.attacked.predictions[row]).collect(),
        scores: bundle.attacked.scores.select_rows(&attacked),
        contents: bundle.attacked.contents.clone(),
    };
    moved.counts = Some(testing::counts_of(&moved));
    moved
}

/// A bundle of the same images in which some predictions and scores are others.
fn later() -> Bundle {
    let mut later = testing::bundle();
    later.samples.predictions.iter_mut().step_by(4).for_each(|class| *class = (*class + 1) % 3);
    later.samples.scores.data_mut().iter_mut().step_by(5).for_each(|score| *score += 0.4);
    later.counts = Some(testing::counts_of(&later));
    later
}

#[test]
fn the_order_of_the_images_does_not_show() {
    let (bundle, later, device) = (testing::bundle(), later(), Device::best().unwrap());
    let text = "check a for all: wings > wheels implies predict(plane) or wet > metallic at least 50 %
        check b for predicted plane, ship: wings > wheels at most 40 %";
    let checks = Checks::parse(text, "spec").unwrap();
    let all = |bundle: &Bundle, later: &Bundle| {
        let localized = |heatmap_rule: HeatmapRule| {
            let options = LocalizeOptions { heatmap_rule, ..LocalizeOptions::default() };
            let mut found = bundle.localize(&device, &options, &Silent).unwrap();
            // Images are listed as they come.
            found.samples.sort_by(|a, b| a.path.cmp(&b.path));
            found
        };
        let checked = |mode: ScoreMode| {
            let options = CheckOptions { space: Space::Clip, mode, annotations: None, strict: false, worst: 4 };
            checks.run(bundle, &options, &Silent).unwrap()
        };
        let compared = |space: Space, mode: ScoreMode| {
            let options = CompareOptions { space, mode, max_drift: Some(0.1) };
            bundle.compare(later, &device, &options, &Silent).unwrap()
        };
        let loosely = LintOptions { synonyms: 0.0, correlation: 0.0, dominance: 0.5 };
        (
            (bundle.counts().cloned(), bundle.findings(&device, &Silent).unwrap()),
            [HeatmapRule::Percentile, HeatmapRule::Nearer].map(localized),
            ScoreMode::ALL.map(checked),
            [Space::Classifier, Space::Clip].map(|space| ScoreMode::ALL.map(|mode| compared(space, mode))),
            bundle.lint(&loosely, None).unwrap(),
        )
    };
    let expected = all(&bundle, &later);
    assert!(!expected.4.inseparable.is_empty() && !expected.4.biased.is_empty(), "there is something to find");
    // None shares a factor with the 25 images or the seven attacks.
    for (turn, other) in [(2, 4), (4, 6), (8, 11), (9, 3)] {
        let found = all(&moved(&bundle, turn), &moved(&later, other));
        assert_eq!(found.0, expected.0);
        assert_eq!(found.1, expected.1);
        assert_eq!(found.2, expected.2);
        assert_eq!(found.3, expected.3);
        assert_eq!(found.4, expected.4);
    }
}
