//! From a bundle and fresh labelled images to a runtime filter.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use super::baselines::{Baseline, log_odds};
use super::build::refuse_overlap;
use super::bundle::{Bundle, Space};
use super::calibration::{Calibration, Stratum, Threshold};
use super::choose::{Candidate, Choice, Examples, LEAST_TO_CHOOSE};
use super::diagnosis::{ImageSet, ScoreMode};
use super::distance::Distance;
use super::filter::{Filter, Scored, check_classifier};
use super::filter_file::{ClassMaps, EmbeddedModel, FILTER_SCHEMA, FilterFile, FilterHeader};
use super::folds::Images;
use super::forward::RunOptions;
use super::fraction::Fraction;
use super::manifest::ModelIdentity;
use super::method::Method;
use super::scores::ContentOrder;
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
    /// Put the classifier's weights into the file.
    pub self_contained: bool,
    /// How images are read and run.
    pub run: RunOptions,
    /// Let images in that the bundle or the aligner has seen.
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

/// The calibration images as every way to score them sees them.
struct Split<'a> {
    scored: &'a Scored,
    wrong: Vec<bool>,
    /// Each image's stratum; none where it is rejected without a score.
    strata: Vec<Option<Stratum>>,
    order: ContentOrder,
}

impl Split<'_> {
    /// The images dealt into two halves: the first for what is chosen or fitted, the second for the threshold.
    fn halves(&self) -> [Vec<u32>; 2] {
        let images = Images::new(&self.order, &self.order.rows(), &self.scored.collected.hashes);
        let mut halves = images.deal(2).into_iter();
        std::array::from_fn(|_| halves.next().unwrap_or_default())
    }

    /// The images of `rows` that are classified correctly, each once: a threshold takes what it is set by for independent.
    fn correct(&self, rows: &[u32]) -> Vec<usize> {
        let mut correct: Vec<usize> = rows.iter().map(|&row| row as usize).filter(|&row| !self.wrong[row]).collect();
        correct.dedup_by_key(|row| self.scored.collected.hashes[*row]);
        correct
    }

    /// The images of `rows` that a choice may be made by.
    fn eligible(&self, rows: &[u32]) -> Vec<usize> {
        rows.iter().map(|&row| row as usize).filter(|&row| self.strata[row].is_some()).collect()
    }

    fn examples(&self, rows: &[usize]) -> Examples {
        Examples {
            hashes: rows.iter().map(|&row| self.scored.collected.hashes[row]).collect(),
            strata: rows.iter().filter_map(|&row| self.strata[row]).collect(),
            wrong: rows.iter().map(|&row| self.wrong[row]).collect(),
            log_odds: rows.iter().map(|&row| log_odds(self.scored.logits.row(row))).collect(),
        }
    }

    /// Whether each of `strata` has enough correct images among `rows` for a threshold at `alpha`.
    fn suffices(&self, rows: &[u32], strata: &[Stratum], alpha: Fraction) -> bool {
        let correct = self.correct(rows);
        let of = |stratum: Stratum| correct.iter().filter(|&&row| self.strata[row] == Some(stratum)).count() as u64;
        strata.iter().all(|&stratum| alpha.floor_of(of(stratum) + 1) > 0)
    }
}

impl Filter {
    /// Makes a filter from a bundle and calibrates it on labelled images that it hasn't seen. The classifier is read from
    /// `classifier`, or from where the bundle's was, and has the bundle's precision.
    ///
    /// # Errors
    /// [`ErrorKind::Overlap`] for images the bundle or its aligner has seen; [`ErrorKind::Data`] for too few images;
    /// [`ErrorKind::Mismatch`] for another classifier.
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
        let scored = filter.score("calibration images", &images.samples, &options.run, observer)?;
        let own: HashSet<ContentHash> = scored.collected.hashes.iter().copied().collect();
        let mut notices = scored.collected.notices.clone();
        let mut note = |notice: String| {
            observer.notice(&notice);
            notices.push(notice);
        };
        let what = "the bundle or its aligner was made from";
        refuse_overlap(what, &own, &filter.file().images, options.allow_overlap, &mut note)?;
        let fitted = filter.fit(&scored, images, options, &mut note)?;
        let mut file = filter.into_file();
        file.header = FilterHeader { notices, ..fitted };
        file.images.extend(own);
        Ok(file)
    }

    /// The header with method, alternatives and baselines chosen and calibrated.
    fn fit(
        &self,
        scored: &Scored,
        images: &Dataset,
        options: &CalibrateOptions,
        note: &mut dyn FnMut(String),
    ) -> Result<FilterHeader> {
        let (alpha, strata) = (options.false_reject_rate, self.strata());
        if strata.is_empty() {
            let message = "no class has enough correct and enough defective images for a filter";
            return Err(Error::new(ErrorKind::Data, message).hint("build the bundle from more images"));
        }
        let labels: Vec<_> = scored.collected.indices.iter().map(|&index| images.samples[index].label).collect();
        let keys: Vec<_> = scored.collected.hashes.iter().copied().zip(labels.iter().copied()).collect();
        let split = Split {
            scored,
            wrong: labels.iter().zip(&scored.predictions).map(|(label, found)| *label != Some(*found)).collect(),
            strata: scored.predictions.iter().map(|&class| self.routes()[class].ok()).collect(),
            order: ContentOrder::new(&keys),
        };
        let heatmaps = configurations()
            .into_iter()
            .map(|(distance, scores)| Ok(((distance, scores), self.heatmap_scores(scored, distance, scores)?)));
        let heatmaps = Heatmaps(heatmaps.collect::<Result<_>>()?);

        let all = split.order.rows();
        let [first, second] = split.halves();
        let open = options.open();
        let rows = split.eligible(&first);
        let examples = split.examples(&rows);
        let is_given = open.len() == 1 && !open[0].2;
        let suffices = examples.suffice() && split.suffices(&second, &strata, alpha);
        if !is_given && !suffices {
            let message = format!(
                "choosing by one half of the images takes {LEAST_TO_CHOOSE} misclassified and {LEAST_TO_CHOOSE} correct ones there, and \
                 enough correct ones in the other half for a false-reject rate of {alpha}"
            );
            if options.combine == Some(true) {
                let hint = "calibrate on more images, or with --combine never";
                return Err(Error::new(ErrorKind::Data, message).hint(hint));
            }
            note(format!("{message}: too few, so the filter's distance, scores and combination are the default ones"));
        }
        let is_chosen = !is_given && suffices;
        let choice = if is_chosen { Some(heatmaps.choose(&open, &examples, &rows)?) } else { None };
        let threshold_rows = if is_chosen { second } else { all };

        let correct = split.correct(&threshold_rows);
        let calibrated = |distance: Distance, scores: ScoreMode, is_combined: bool| -> Result<Method> {
            let heatmap = heatmaps.of(distance, scores);
            let on = |rows: &[usize]| rows.iter().map(|&row| heatmap[row]).collect::<Vec<_>>();
            let combination = if is_combined { Some(examples.fit(&on(&rows))?) } else { None };
            let mut method =
                Method { distance, scores, combination, calibration: Calibration { own: None, pooled: None } };
            let score = |row: usize| {
                let score = method.score(heatmap[row], log_odds(scored.logits.row(row)));
                // Images of a class without its maps are rejected whatever the threshold is.
                Some((split.strata[row]?, score.unwrap_or(f64::INFINITY)))
            };
            let suspicions: Vec<(Stratum, f64)> = correct.iter().filter_map(|&row| score(row)).collect();
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
            let suspicions: Vec<f64> = correct.iter().map(|&row| baseline.suspicion(scored.logits.row(row))).collect();
            let threshold = Threshold::fit(&suspicions, alpha)?;
            header.baselines.insert(baseline.name().to_owned(), threshold);
        }
        Ok(header)
    }
}

/// The heatmap scores of all calibration images by every distance of raw and of centred scores.
struct Heatmaps(HashMap<(Distance, ScoreMode), Vec<Option<f64>>>);

impl Heatmaps {
    fn of(&self, distance: Distance, scores: ScoreMode) -> &[Option<f64>] {
        &self.0[&(distance, scores)]
    }

    /// Cross-validates what is `open` on the images `rows`, which are the `examples`.
    fn choose(&self, open: &[(Distance, ScoreMode, bool)], examples: &Examples, rows: &[usize]) -> Result<Choice> {
        let candidate = |&(distance, scores, combined): &(Distance, ScoreMode, bool)| {
            let heatmap = self.of(distance, scores);
            let heatmap: Vec<Option<f64>> = rows.iter().map(|&row| heatmap[row]).collect();
            Ok(Candidate { distance, scores, combined, auroc: examples.cross_validate(&heatmap, combined)? })
        };
        let misclassified = examples.wrong.iter().filter(|&&wrong| wrong).count() as u64;
        Ok(Choice {
            correct: rows.len() as u64 - misclassified,
            misclassified,
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
