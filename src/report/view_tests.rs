//! Requested maps against counts made on the host, and requests that make no sense.

use super::{MapRequest, MapView, view};
use crate::error::ErrorKind;
use crate::gpu::Device;
use crate::semantics::{Counts, Differential, Fraction, ImageSet, MapKind, ScoreMode, Space, reference, testing};

fn request(kind: MapKind) -> MapRequest {
    MapRequest {
        kind,
        class: None,
        confusion: None,
        image: None,
        binarised: None,
        space: Space::Classifier,
        mode: ScoreMode::Raw,
    }
}

fn of_class(kind: MapKind, class: &str) -> MapRequest {
    MapRequest { class: Some(class.into()), ..request(kind) }
}

fn of_confusion(kind: MapKind, label: &str, prediction: &str) -> MapRequest {
    MapRequest { confusion: Some((label.into(), prediction.into())), ..request(kind) }
}

fn of_image(kind: MapKind, image: &str) -> MapRequest {
    MapRequest { image: Some(image.into()), ..request(kind) }
}

fn shown(request: &MapRequest) -> MapView {
    let map = view(&testing::bundle(), &Device::best().unwrap(), request).unwrap();
    map.check().unwrap();
    map
}

/// The counts of the rows with this label and prediction, counted on the host.
fn counted(label: usize, prediction: usize) -> Counts {
    let bundle = testing::bundle();
    let samples = bundle.samples();
    let belongs =
        |row: &u32| (samples.labels[*row as usize], samples.predictions[*row as usize]) == (label, prediction);
    let rows: Vec<u32> = (0..samples.labels.len() as u32).filter(belongs).collect();
    reference::counts(&samples.scores, &rows).unwrap()
}

fn share(counts: &Counts, at: usize) -> f64 {
    f64::from(counts.cells()[at]) / counts.n() as f64
}

/// The cells off the diagonal of four concepts.
fn cells() -> impl Iterator<Item = usize> {
    (0..16).filter(|at| at % 5 != 0)
}

#[test]
fn a_set_has_shares_and_wilsons_intervals() {
    let map = shown(&of_class(MapKind::Correct, "plane"));
    let counts = counted(0, 0);
    assert_eq!((map.title.as_str(), map.support().as_str(), map.supported), ("plane · correct", "n = 9", true));
    let intervals = map.intervals.unwrap();
    for at in cells() {
        assert_eq!(map.values[at], share(&counts, at));
        assert_eq!(intervals.low[at], counts.interval(at / 4, at % 4).low);
        assert_eq!(map.sides[0].counts[at], u64::from(counts.cells()[at]));
    }
    assert!((0..4).all(|i| map.values[5 * i].is_nan()));
}

#[test]
fn few_images_are_shown_as_unsupported() {
    let map = shown(&of_class(MapKind::Missed, "ship"));
    assert_eq!((map.sides[0].n, map.supported), (2, false));
    assert!(map.values[1].is_finite());
    let map = shown(&of_class(MapKind::Differential, "ship"));
    assert!(!map.supported && map.p.is_none() && map.flags.is_none() && map.intervals.is_some());
    for kind in [MapKind::Correct, MapKind::Differential, MapKind::Loss] {
        let map = shown(&of_class(kind, "cat"));
        assert!(!map.supported && map.values.iter().all(|value| value.is_nan()), "{kind}");
    }
}

#[test]
fn a_differential_map_has_its_tests() {
    let map = shown(&of_class(MapKind::Differential, "plane"));
    let bundle = testing::bundle();
    let [correct, missed] = [ImageSet::Correct(0), ImageSet::Missed(0)].map(|set| bundle.stored(&set).unwrap());
    let expected = Differential::of_sets(correct, missed).unwrap();
    assert_eq!(map.support(), "correct n = 9, missed n = 8");
    let (p, flags, intervals) = (map.p.unwrap(), map.flags.unwrap(), map.intervals.unwrap());
    assert!(flags.meaning.contains("5 %") && flags.meaning.contains("6 tests"), "{}", flags.meaning);
    for at in cells() {
        let cell = expected.cell(at / 4, at % 4).unwrap();
        assert_eq!(map.values[at], share(correct, at) - share(missed, at));
        assert_eq!((p[at], flags.cells[at], intervals.high[at]), (cell.p, cell.flagged, cell.high));
    }
}

#[test]
fn a_confusion_is_compared_with_the_labels_correct_map() {
    let (correct, taken) = (counted(0, 0), counted(0, 1));
    let map = shown(&of_confusion(MapKind::Differential, "plane", "ship"));
    assert_eq!(map.support(), "correct n = 9, taken for ship n = 7");
    cells().for_each(|at| assert_eq!(map.values[at], share(&correct, at) - share(&taken, at)));
    for kind in [MapKind::Missed, MapKind::FalseAlarm, MapKind::GroundTruth, MapKind::OutputLabel] {
        let map = shown(&of_confusion(kind, "plane", "ship"));
        assert_eq!((map.title.as_str(), map.sides[0].n), ("plane → ship", 7));
        cells().for_each(|at| assert_eq!(map.values[at], share(&taken, at)));
    }
}

#[test]
fn a_loss_map_compares_the_spaces_of_all_images() {
    let map = shown(&of_class(MapKind::Loss, "plane"));
    assert_eq!(map.support(), "clip space n = 17, classifier space n = 17");
    assert!(map.supported && map.flags.unwrap().meaning.contains("McNemar"));
    let bundle = testing::bundle();
    let rows: Vec<u32> = (0..25).filter(|&row| bundle.samples().labels[row as usize] == 0).collect();
    let of_space = |space| {
        let means = bundle.concept_means(space).unwrap();
        let scores = crate::semantics::centered(bundle.samples().scores_in(space), &means);
        reference::counts(&scores, &rows).unwrap()
    };
    let [clip, classifier] = [Space::Clip, Space::Classifier].map(of_space);
    cells().for_each(|at| assert_eq!(map.values[at], share(&clip, at) - share(&classifier, at)));
}

#[test]
fn a_binarised_map_marks_what_is_exactly_at_the_threshold() {
    let tau: Fraction = "1/3".parse().unwrap();
    let map = shown(&MapRequest { binarised: Some(tau), ..of_class(MapKind::Correct, "ship") });
    assert_eq!(map.title, "ship · correct · binarised at 1/3");
    assert_eq!(map.kind, crate::report::MapKind::Binarised);
    let (counts, flags) = (counted(1, 1), map.flags.unwrap());
    assert!(map.intervals.is_none() && counts.cells().contains(&2), "2 of 6 are exactly a third");
    for at in cells() {
        match counts.cells()[at] {
            2 => assert!(flags.cells[at] && map.values[at].is_nan()),
            count => assert_eq!((flags.cells[at], map.values[at]), (false, f64::from(u8::from(count > 2)))),
        }
    }
}

#[test]
fn an_image_is_found_by_its_path_or_a_unique_end_of_it() {
    let scores = testing::bundle().samples().scores.row(16).to_vec();
    for image in ["images/ship/16.png", "ship/16.png", "./ship\\16.png", "16.png"] {
        let map = shown(&of_image(MapKind::GroundTruth, image));
        assert_eq!(map.title, "images/ship/16.png (ship, recognised)");
        assert!(map.supported, "one image is all of its own map");
        cells().for_each(|at| assert_eq!(map.values[at] == 1.0, scores[at / 4] > scores[at % 4]));
    }
    assert_eq!(shown(&of_image(MapKind::Missed, "9.png")).title, "images/plane/9.png (plane → ship)");
    let request = MapRequest { class: Some("ship".into()), ..of_image(MapKind::FalseAlarm, "9.png") };
    assert_eq!(shown(&request).sides[0].n, 1);
}

#[test]
fn other_spaces_and_modes_are_named() {
    let centered = MapRequest { mode: ScoreMode::Centered, ..of_class(MapKind::GroundTruth, "plane") };
    assert_eq!(shown(&centered).title, "plane · ground-truth · centred");
    let clip = shown(&MapRequest { space: Space::Clip, ..of_class(MapKind::Correct, "plane") });
    assert_eq!(clip.title, "plane · correct · clip space");
    let samples = testing::bundle().samples().clone();
    let counts = reference::counts(&samples.clip_scores, &(0..9).collect::<Vec<_>>()).unwrap();
    cells().for_each(|at| assert_eq!(clip.values[at], share(&counts, at)));
    assert_eq!(shown(&of_class(MapKind::Adversarial, "ship")).sides[0].n, 7);
}

#[test]
fn what_makes_no_sense_is_an_error_that_says_why() {
    use MapKind::{Adversarial, Correct, Differential, GroundTruth, Loss, Missed};
    let both = MapRequest { class: Some("plane".into()), ..of_confusion(Missed, "plane", "ship") };
    let all = MapRequest { image: Some("9.png".into()), ..of_confusion(Missed, "plane", "ship") };
    let other_class = MapRequest { class: Some("ship".into()), ..of_image(GroundTruth, "9.png") };
    let half = Some(Fraction::HALF);
    for (request, parts) in [
        (request(Correct), &["none is given", "plane, ship, cat"][..]),
        (of_class(Correct, "truck"), &["'truck'", "plane, ship, cat"]),
        (both, &["more than one", "--class, --confusion and --image"]),
        (all, &["more than one"]),
        (of_confusion(Missed, "plane", "truck"), &["'truck'"]),
        (of_confusion(Differential, "ship", "ship"), &["ship:ship", "--set correct"]),
        (of_confusion(Loss, "plane", "ship"), &["loss", "differential"]),
        (of_image(GroundTruth, "images/ship/61.png"), &["images/ship/61.png", "images/ship/16.png"]),
        (of_image(GroundTruth, "nowhere"), &["nowhere", "images/"]),
        (of_image(Correct, "9.png"), &["images/plane/9.png", "predicted ship", "--set ground-truth"]),
        (other_class, &["not ground-truth of ship"]),
        (of_image(Differential, "9.png"), &["differential", "correct, missed"]),
        (MapRequest { binarised: half, ..of_class(Differential, "plane") }, &["difference"]),
        (MapRequest { space: Space::Clip, ..of_class(Loss, "plane") }, &["both spaces"]),
        (MapRequest { space: Space::Clip, ..of_class(Adversarial, "plane") }, &["clip space"]),
    ] {
        let error = view(&testing::bundle(), &Device::best().unwrap(), &request).unwrap_err();
        let text = format!("{error} {}", error.hint_text().unwrap_or_default());
        assert_eq!(error.kind(), ErrorKind::Usage, "{text}");
        parts.iter().for_each(|part| assert!(text.contains(part), "{part} in: {text}"));
    }
}
