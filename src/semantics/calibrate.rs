//! From a bundle and fresh labelled images to a runtime filter.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use super::attacked::AttackedSet;
use super::baselines::Baseline;
use super::bundle::{Bundle, Space};
use super::calibration::{Calibration, Stratum, Threshold};
use super::choose::{Candidate, Choice, Examples, LEAST_TO_CHOOSE};
use super::diagnosis::{ImageSet, ScoreMode};
use super::distance::Distance;
use super::filter::{Filter, Scored, check_classifier};
use super::filter_file::{ClassMaps, EmbeddedModel, FILTER_SCHEMA, FilterFile, FilterHeader};
use super::forward::RunOptions;
use super::fraction::Fraction;
use super::manifest::ModelIdentity;
use super::method::Method;
use super::overlap::{Given, Used};
use super::split::{Place, Split};
use crate::dataset::{ContentHash, Dataset};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Device;
use crate::models::Classifier;
use crate::progress::Observer;
use crate::weights::ModelFiles;

/// How a filter is calibrated. What isn't given is chosen by cross-validation on one half of the images, and the other half sets
/// the thresholds. With too few images to choose by, or nothing to choose, all of them set the thresholds.
#[derive(Debug, Clone)]
pub struct CalibrateOptions {
    /// α: the share of correct predictions that may be rejected.
    pub false_reject_rate: Fraction,
    /// How maps are compared; cosine where there are too few images to choose by.
    pub distance: Option<Distance>,
    /// Whether scores are centred; raw where there are too few images to choose by.
    pub scores: Option<ScoreMode>,
    /// Whether the heatmap score is combined with the softmax; it isn't where there are too few images to choose by.
    pub combine: Option<bool>,
    /// Sets of attacked versions of some of the images, by their names: the filter is to tell the successful ones as well as
    /// misclassified images.
    pub attacked: Vec<(String, Dataset)>,
    /// Put the classifier's weights into the file.
    pub self_contained: bool,
    /// How images are read and run.
    pub run: RunOptions,
    /// Let images in, or attacked ones or their originals, that the bundle or the aligner has seen.
    pub allow_overlap: bool,
}

impl CalibrateOptions {
    /// Every way to score images that is open, the simplest first.
    fn open(&self) -> Vec<(Distance, ScoreMode, bool)> {
        let open = |combined: bool| {
            let is_open = move |&(distance, scores): &(Distance, ScoreMode)| {
                self.distance.is_none_or(|given| given == distance)
                    && self.scores.is_none_or(|given| given == scores)
                    && self.combine.is_none_or(|given| given == combined)
            };
            configurations().into_iter().filter(is_open).map(move |(distance, scores)| (distance, scores, combined))
        };
        open(false).chain(open(true)).collect()
    }
}

/// All distances of raw and of centred scores, those taken by default first.
fn configurations() -> Vec<(Distance, ScoreMode)> {
    let mut distances = Distance::ALL;
    distances.sort_by_key(|&distance| distance != Distance::default());
    ScoreMode::ALL.into_iter().flat_map(|scores| distances.map(|distance| (distance, scores))).collect()
}

impl Filter {
    /// Makes a filter from a bundle and calibrates it on labelled images that it hasn't seen. The classifier is read from
    /// `classifier`, or from where the bundle's was, and has the bundle's precision.
    ///
    /// # Errors
    /// [`ErrorKind::Overlap`] for images, attacked ones or originals of those that the bundle or its aligner has seen;
    /// [`ErrorKind::Data`] for too few images or successful attacks, or if one of several images may be an attacked one's original;
    /// [`ErrorKind::Usage`] for attacked images where nothing is left to choose; [`ErrorKind::Mismatch`] for another
    /// classifier.
    pub fn calibrate(
        device: &Device,
        bundle: &Bundle,
        classifier: Option<&Path>,
        images: &Dataset,
        options: &CalibrateOptions,
        observer: &dyn Observer,
    ) -> Result<FilterFile> {
        let manifest = bundle.manifest();
        let path = classifier.unwrap_or(&manifest.classifier.path);
        let files = ModelFiles::open(path).map_err(|e| e.hint("say where the classifier is with --classifier DIR"))?;
        let files = files.with_precision(manifest.classifier.precision);
        let model = Classifier::load(&files, observer)?;
        let header = FilterHeader {
            schema: FILTER_SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            classes: manifest.classes.clone(),
            concepts: manifest.concepts.clone(),
            method: Method {
                distance: options.distance.unwrap_or_default(),
                scores: options.scores.unwrap_or_default(),
                combination: None,
                calibration: Calibration { own: None, pooled: None },
            },
            alternatives: Vec::new(),
            choice: None,
            tau: Fraction::HALF.value(),
            false_reject_rate: options.false_reject_rate.value(),
            baselines: BTreeMap::new(),
            minimum_support: manifest.minimum_support,
            classifier: ModelIdentity::new(path, model.sha256(), model.preprocess(), model.precision())?,
            clip: manifest.clip.clone(),
            adapter: device.summary().to_string(),
            notices: Vec::new(),
            overlap_allowed: options.allow_overlap || manifest.overlap_allowed,
        };
        check_classifier(&model, path, &manifest.classifier)?;
        let file = FilterFile {
            header,
            raw: class_maps(device, bundle, ScoreMode::Raw)?,
            centered: class_maps(device, bundle, ScoreMode::Centered)?,
            directions: bundle.directions().clone(),
            class_directions: bundle.class_directions().clone(),
            means: bundle.concept_means(Space::Classifier)?,
            aligner: bundle.aligner().clone(),
            images: bundle.image_hashes(),
            classifier: if options.self_contained { Some(EmbeddedModel::of_files(&files)?) } else { None },
        };
        let filter = Self::new(device, file, model)?;
        let clean = filter.score("calibration images", &images.samples, &options.run, observer)?;
        let mut notices = clean.collected.notices.clone();
        let mut note = |notice: String| {
            observer.notice(&notice);
            notices.push(notice);
        };
        let what = "the bundle or its aligner was made from";
        let used = Used { what, images: &filter.file().images, is_allowed: options.allow_overlap };
        let given = clean.given(images);
        used.refuse(&given, None, &mut note)?;
        let mut seen: HashSet<ContentHash> = given.iter().flat_map(Given::contents).collect();
        let mut attacked = Vec::with_capacity(options.attacked.len());
        for (name, images) in &options.attacked {
            let scored = filter.score(&format!("attacked: {name}"), &images.samples, &options.run, observer)?;
            let set = AttackedSet::new(&scored.collected, images)?;
            used.refuse(&set.given, Some(name), &mut note)?;
            seen.extend(set.given.iter().flat_map(Given::contents));
            attacked.push((scored, name.as_str(), set));
        }
        let split = Split::new((clean, images), attacked, filter.routes())?;
        let fitted = filter.fit(&split, options, &mut note)?;
        let mut file = filter.into_file();
        file.header = FilterHeader { notices, ..fitted };
        file.images.extend(seen);
        Ok(file)
    }

    /// The header with method, alternatives and baselines chosen and calibrated.
    fn fit(&self, split: &Split, options: &CalibrateOptions, note: &mut dyn FnMut(String)) -> Result<FilterHeader> {
        let (alpha, strata) = (options.false_reject_rate, self.strata());
        if strata.is_empty() {
            let message = "no class has enough correct and enough defective images for a filter";
            return Err(Error::new(ErrorKind::Data, message).hint("build the bundle from more images"));
        }
        for (name, unmatched) in split.sets.iter().filter(|(_, unmatched)| *unmatched > 0) {
            note(format!("{name}: {unmatched} attacked images have no original among the calibration images"));
        }
        let heatmaps = configurations().into_iter().map(|(distance, scores)| {
            let of = |scored: &Scored| self.heatmap_scores(scored, distance, scores);
            Ok(((distance, scores), split.scored.iter().map(of).collect::<Result<_>>()?))
        });
        let heatmaps = Heatmaps(heatmaps.collect::<Result<_>>()?);

        let [first, second] = split.halves();
        let open = options.open();
        let places = split.places(&first);
        let examples = split.examples(&places);
        let is_given = open.len() == 1 && !open[0].2;
        let suffices = examples.suffice() && split.suffices(&second, &strata, alpha);
        check_attacked(&examples, is_given)?;
        if !is_given && !suffices {
            let message = format!(
                "choosing by one half of the images takes {LEAST_TO_CHOOSE} misclassified and {LEAST_TO_CHOOSE} correct ones there, and \
                 enough correct ones in the other half for a false-reject rate of {alpha}"
            );
            if options.combine == Some(true) || !split.sets.is_empty() {
                let hint = "calibrate on more images, or with --combine never and without attacked images";
                return Err(Error::new(ErrorKind::Data, message).hint(hint));
            }
            note(format!("{message}: too few, so the filter's distance, scores and combination are the default ones"));
        }
        let is_chosen = !is_given && suffices;
        let choice = if is_chosen { Some(heatmaps.choose(&open, &examples, &places)?) } else { None };
        let threshold_rows = if is_chosen { second } else { split.all() };

        let correct = split.correct(&threshold_rows);
        let calibrated = |distance: Distance, scores: ScoreMode, is_combined: bool| -> Result<Method> {
            let heatmap = heatmaps.at(distance, scores, &places);
            let combination = if is_combined { Some(examples.fit(&heatmap)?) } else { None };
            let clean: Vec<Place> = correct.iter().map(|&row| (0, row)).collect();
            let heatmap = heatmaps.at(distance, scores, &clean);
            let mut method =
                Method { distance, scores, combination, calibration: Calibration { own: None, pooled: None } };
            let score = |(&(source, row), &heatmap): (&Place, &Option<f64>)| {
                let score = method.score(heatmap, split.log_odds((source, row)));
                // Images of a class without its maps are rejected whatever the threshold is.
                Some((split.stratum(row)?, score.unwrap_or(f64::INFINITY)))
            };
            let suspicions: Vec<(Stratum, f64)> = clean.iter().zip(&heatmap).filter_map(score).collect();
            method.calibration = Calibration::fit(&suspicions, &strata, alpha)?;
            Ok(method)
        };
        let best = choice.as_ref().and_then(|choice| choice.best(|_| true));
        let given = self.header().method.clone();
        let chosen =
            best.map_or((given.distance, given.scores, false), |best| (best.distance, best.scores, best.combined));
        let combined = choice.as_ref().and_then(|choice| choice.best(|candidate| candidate.combined));
        let others = configurations().into_iter().map(|(distance, scores)| (distance, scores, false));
        let others = others.chain(combined.map(|best| (best.distance, best.scores, true)));
        let others = others.filter(|other| *other != chosen);
        let mut header = self.header().clone();
        header.method = calibrated(chosen.0, chosen.1, chosen.2)?;
        header.alternatives = others.map(|other| calibrated(other.0, other.1, other.2)).collect::<Result<_>>()?;
        header.choice = choice;
        let unbounded = |stratum: &Stratum| {
            header.method.calibration.threshold(*stratum).is_some_and(|threshold| threshold.threshold.is_infinite())
        };
        for stratum in strata.iter().filter(|stratum| unbounded(stratum)) {
            note(format!(
                "stratum '{stratum}': so many correct images have no distance to their maps, and are rejected whatever the threshold, that a \
                 false-reject rate of {alpha} can't be held"
            ));
        }
        for baseline in Baseline::ALL {
            let suspicions: Vec<f64> =
                correct.iter().map(|&row| baseline.suspicion(split.scored[0].logits.row(row))).collect();
            let threshold = Threshold::fit(&suspicions, alpha)?;
            header.baselines.insert(baseline.name().to_owned(), threshold);
        }
        Ok(header)
    }
}

/// Refuses attacked images where there is nothing to choose, or too few of a set to choose by.
fn check_attacked(examples: &Examples, is_given: bool) -> Result<()> {
    let Some(first) = examples.kinds.get(1) else { return Ok(()) };
    if is_given {
        let message = format!("{first}: attacked images have no say where distance, scores and combination are given");
        return Err(Error::new(ErrorKind::Usage, message).hint("leave one of them to be chosen, or the images out"));
    }
    for (kind, name) in examples.kinds.iter().enumerate().skip(1) {
        let found = examples.count(Some(kind));
        if found < LEAST_TO_CHOOSE {
            let message = format!(
                "{name}: {found} successful attacks on correctly classified images of the half to choose by, expected \
                 {LEAST_TO_CHOOSE}"
            );
            let hint = "give more attacked versions of the calibration images, of the same class folders and names";
            return Err(Error::new(ErrorKind::Data, message).hint(hint));
        }
    }
    Ok(())
}

/// The heatmap scores of all calibration images, of the clean ones and of each set of attacked ones, by every distance of raw and of
/// centred scores.
struct Heatmaps(HashMap<(Distance, ScoreMode), Vec<Vec<Option<f64>>>>);

impl Heatmaps {
    fn at(&self, distance: Distance, scores: ScoreMode, places: &[Place]) -> Vec<Option<f64>> {
        let all = &self.0[&(distance, scores)];
        places.iter().map(|&(source, row)| all[source][row]).collect()
    }

    /// Cross-validates what is `open` on the images at `places`, which are the `examples`.
    fn choose(&self, open: &[(Distance, ScoreMode, bool)], examples: &Examples, places: &[Place]) -> Result<Choice> {
        let candidate = |&(distance, scores, combined): &(Distance, ScoreMode, bool)| {
            let (auroc, kinds) = examples.cross_validate(&self.at(distance, scores, places), combined)?;
            Ok(Candidate { distance, scores, combined, auroc, kinds })
        };
        let count = |kind: Option<usize>| examples.rows_of(kind).count() as u64;
        let attacked = examples.kinds.iter().enumerate().skip(1);
        Ok(Choice {
            correct: count(None),
            misclassified: count(Some(0)),
            attacked: attacked.map(|(kind, name)| (name.clone(), count(Some(kind)))).collect(),
            candidates: open.iter().map(candidate).collect::<Result<_>>()?,
        })
    }
}

/// Every class's maps of one kind of scores.
fn class_maps(device: &Device, bundle: &Bundle, scores: ScoreMode) -> Result<ClassMaps> {
    let classes = bundle.manifest().classes.len();
    let sets = |set: fn(usize) -> ImageSet| -> Result<_> {
        let sets: Vec<ImageSet> = (0..classes).map(set).collect();
        bundle.maps(device, &sets, Space::Classifier, scores)
    };
    let has_attacks = !bundle.manifest().attacks.is_empty();
    Ok(ClassMaps {
        correct: sets(ImageSet::Correct)?,
        false_alarm: sets(ImageSet::FalseAlarm)?,
        adversarial: if has_attacks { sets(ImageSet::Adversarial)? } else { Vec::new() },
    })
}
