//! The map that a person asks for by name.

use std::cmp::Reverse;

use super::map::MapView;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Device;
use crate::semantics::{Bundle, Counts, Differential, Fraction, ImageSet, MapKind, ScoreMode, Space};

/// How many paths an unknown one is answered with.
const NEAREST_PATHS: usize = 3;

/// Which map to show.
///
/// Exactly one of `class`, `confusion` and `image` says of which images; the kind must fit them:
///
/// - a **class** has maps of every kind;
/// - a **confusion** (label, prediction) narrows `missed` and `ground-truth` images of the label, or `false-alarm` and
///   `output-label` images of the prediction, down to those with both; its `differential` is the label's correct map less the
///   confusion's: what the network wrongly saw when it turned the one into the other;
/// - an **image** narrows `correct`, `missed`, `false-alarm`, `ground-truth` or `output-label` down to itself.
#[derive(Debug, Clone, PartialEq)]
pub struct MapRequest {
    /// The kind of map.
    pub kind: MapKind,
    /// The class.
    pub class: Option<String>,
    /// The label and the prediction of a confusion.
    pub confusion: Option<(String, String)>,
    /// The path of one image as the bundle has it, or as much of its end as is unique.
    pub image: Option<String>,
    /// Shares above this become 1, those below 0.
    pub binarised: Option<Fraction>,
    /// The space of the scores.
    pub space: Space,
    /// Whether scores are centred.
    pub mode: ScoreMode,
}

/// What a request comes down to.
enum Resolved {
    /// The share of one set of images.
    Set { title: String, name: String, set: ImageSet },
    /// The first less the second.
    Difference { title: String, names: [String; 2], sets: [ImageSet; 2] },
    /// What the encoder lost of a class.
    Loss(usize),
}

/// Makes the map of `request`. One of too few images says so (`supported` is false).
///
/// # Errors
/// [`ErrorKind::Usage`] for parts of the request that don't fit each other, an unknown class or image (naming the nearest
/// ones), and maps that the bundle doesn't have; those of the device.
pub fn view(bundle: &Bundle, device: &Device, request: &MapRequest) -> Result<MapView> {
    let resolved = resolve(bundle, request)?;
    if request.binarised.is_some() && !matches!(resolved, Resolved::Set { .. }) {
        return Err(usage(format!("a {} map is a difference, only the map of one set is binarised", request.kind)));
    }
    let (concepts, minimum) = (&bundle.manifest().concepts, bundle.manifest().minimum_support);
    let suffix = suffix(request.space, request.mode);
    let maps = |sets: &[ImageSet]| bundle.maps(device, sets, request.space, request.mode);
    match resolved {
        Resolved::Set { title, name, set } => {
            // One image is all there is to its own map.
            let minimum = if matches!(set, ImageSet::Image(_)) { 1 } else { minimum };
            let counts = maps(std::slice::from_ref(&set))?.swap_remove(0);
            let at = request.binarised.map_or_else(String::new, |tau| format!(" · binarised at {tau}"));
            let map = MapView::of_counts(format!("{title}{suffix}{at}"), &name, concepts, &counts, minimum);
            Ok(match request.binarised {
                Some(tau) => map.binarised(&counts, tau),
                None => map,
            })
        }
        Resolved::Difference { title, names, sets } => {
            let counts = maps(&sets)?;
            let known = counts.iter().all(|counts| counts.n() > 0);
            let known = known.then(|| Differential::of_sets(&counts[0], &counts[1])).transpose()?;
            let sides = [(names[0].as_str(), &counts[0]), (names[1].as_str(), &counts[1])];
            Ok(MapView::of_difference(title + &suffix, sides, concepts, known.as_ref(), minimum))
        }
        Resolved::Loss(class) => {
            if request.space == Space::Clip {
                return Err(usage("a loss map compares both spaces, so it is in neither")
                    .hint("leave the space out; --set ground-truth shows the class in one space"));
            }
            let loss = bundle.losses(device, &[class])?.into_iter().flatten().next();
            loss_view(bundle, class, loss.as_ref())
        }
    }
}

/// The loss map of a class, `known` unless the class has no image.
pub(super) fn loss_view(bundle: &Bundle, class: usize, known: Option<&Differential>) -> Result<MapView> {
    let manifest = bundle.manifest();
    let none = Counts::empty(manifest.concepts.len())?;
    let (clip, classifier) = known.map_or((&none, &none), |known| (known.first(), known.second()));
    let sides = [("clip space", clip), ("classifier space", classifier)];
    let title = format!("{} · loss", manifest.classes[class]);
    Ok(MapView::of_difference(title, sides, &manifest.concepts, known, manifest.minimum_support))
}

fn resolve(bundle: &Bundle, request: &MapRequest) -> Result<Resolved> {
    let classes = &bundle.manifest().classes;
    let kind = request.kind;
    match (&request.class, &request.confusion, &request.image) {
        (class, None, Some(image)) => image_set(bundle, kind, class.as_deref(), image),
        (None, Some((label, prediction)), None) => {
            confusion_set(bundle, kind, bundle.class_index(label)?, bundle.class_index(prediction)?)
        }
        (Some(class), None, None) => Ok(class_set(bundle, kind, bundle.class_index(class)?)),
        (None, None, None) => Err(usage(format!("--set {kind} is a map of one class, and none is given"))
            .hint(format!("give --class with one of: {}", classes.join(", ")))),
        _ => Err(usage("a map is of a class, of a confusion or of an image, and more than one is given")
            .hint("give only one of --class, --confusion and --image")),
    }
}

fn class_set(bundle: &Bundle, kind: MapKind, class: usize) -> Resolved {
    let title = format!("{} · {kind}", bundle.manifest().classes[class]);
    let one = |set| Resolved::Set { title: title.clone(), name: kind.to_string(), set };
    match kind {
        MapKind::Correct => one(ImageSet::Correct(class)),
        MapKind::Missed => one(ImageSet::Missed(class)),
        MapKind::FalseAlarm => one(ImageSet::FalseAlarm(class)),
        MapKind::GroundTruth => one(ImageSet::GroundTruth(class)),
        MapKind::OutputLabel => one(ImageSet::OutputLabel(class)),
        MapKind::Adversarial => one(ImageSet::Adversarial(class)),
        MapKind::Differential => Resolved::Difference {
            title,
            names: ["correct", "missed"].map(str::to_owned),
            sets: [ImageSet::Correct(class), ImageSet::Missed(class)],
        },
        MapKind::Loss => Resolved::Loss(class),
    }
}

fn confusion_set(bundle: &Bundle, kind: MapKind, label: usize, prediction: usize) -> Result<Resolved> {
    let [from, to] = [label, prediction].map(|class| bundle.manifest().classes[class].as_str());
    if label == prediction {
        return Err(usage(format!("{from}:{to} isn't a confusion, expected two classes"))
            .hint(format!("--set correct --class {from} shows the images of {from} that are recognised")));
    }
    let set = ImageSet::Confusion(label, prediction);
    let taken = format!("taken for {to}");
    match kind {
        MapKind::Missed | MapKind::FalseAlarm | MapKind::GroundTruth | MapKind::OutputLabel => {
            Ok(Resolved::Set { title: format!("{from} → {to}"), name: taken, set })
        }
        MapKind::Differential => Ok(Resolved::Difference {
            title: format!("{from} → {to} · differential"),
            names: ["correct".to_owned(), taken],
            sets: [ImageSet::Correct(label), set],
        }),
        MapKind::Correct | MapKind::Loss | MapKind::Adversarial => Err(usage(format!("a confusion has no {kind} map"))
            .hint(
                "with --confusion, --set is one of missed, false-alarm, ground-truth, output-label and differential",
            )),
    }
}

/// One image, which must be among those that the rest of the request says.
fn image_set(bundle: &Bundle, kind: MapKind, class: Option<&str>, image: &str) -> Result<Resolved> {
    let row = find_image(&bundle.samples().paths, image)?;
    let (label, prediction) = (bundle.samples().labels[row], bundle.samples().predictions[row]);
    let belongs = match kind {
        MapKind::Correct => label == prediction,
        MapKind::Missed | MapKind::FalseAlarm => label != prediction,
        MapKind::GroundTruth | MapKind::OutputLabel => true,
        MapKind::Differential | MapKind::Loss | MapKind::Adversarial => {
            return Err(usage(format!("a single image has no {kind} map"))
                .hint("with --image, --set is one of correct, missed, false-alarm, ground-truth and output-label"));
        }
    };
    let own = if matches!(kind, MapKind::FalseAlarm | MapKind::OutputLabel) { prediction } else { label };
    let class = class.map_or(Ok(own), |class| bundle.class_index(class))?;
    let classes = &bundle.manifest().classes;
    let path = &bundle.samples().paths[row];
    let [label, prediction] = [label, prediction].map(|class| classes[class].as_str());
    if !belongs || class != own {
        let message =
            format!("{path}: is labelled {label} and predicted {prediction}, not {kind} of {}", classes[class]);
        return Err(usage(message).hint("--set ground-truth with --image alone shows any image"));
    }
    let fate = if label == prediction { format!("{label}, recognised") } else { format!("{label} → {prediction}") };
    Ok(Resolved::Set { title: format!("{path} ({fate})"), name: "image".to_owned(), set: ImageSet::Image(row) })
}

/// The row whose path is `wanted`, or the only one that ends in it.
fn find_image(paths: &[String], wanted: &str) -> Result<usize> {
    let parts = |path: &str| path.split(['/', '\\']).filter(|part| *part != ".").map(str::to_owned).collect::<Vec<_>>();
    if let Some(row) = paths.iter().position(|path| path == wanted) {
        return Ok(row);
    }
    let end = parts(wanted);
    let rows: Vec<usize> = (0..paths.len()).filter(|&row| parts(&paths[row]).ends_with(&end)).collect();
    let listed =
        |rows: &[usize]| rows.iter().take(NEAREST_PATHS).map(|&row| paths[row].as_str()).collect::<Vec<_>>().join(", ");
    match rows[..] {
        [row] => Ok(row),
        [] => {
            let mut nearest: Vec<usize> = (0..paths.len()).collect();
            // Similarities are in [0, 1], so their bits order as they do.
            nearest.sort_by_cached_key(|&row| Reverse(strsim::jaro(&ending(&paths[row]), &ending(wanted)).to_bits()));
            Err(usage(format!("{wanted}: the bundle has no such image"))
                .hint(format!("the nearest it has: {}", listed(&nearest))))
        }
        _ => Err(usage(format!("{wanted}: {} images of the bundle end in this", rows.len()))
            .hint(format!("give more of the path: {}", listed(&rows)))),
    }
}

/// The folder and the file's name, by which people tell images apart.
fn ending(path: &str) -> String {
    let mut parts: Vec<&str> = path.rsplit(['/', '\\']).take(2).collect();
    parts.reverse();
    parts.join("/")
}

fn suffix(space: Space, mode: ScoreMode) -> String {
    let space = if space == Space::Clip { " · clip space" } else { "" };
    let mode = if mode == ScoreMode::Centered { " · centred" } else { "" };
    format!("{space}{mode}")
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, message)
}
