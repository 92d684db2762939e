//! How well a filter does on labelled images it hasn't seen, beside the usual baselines.

use serde::{Deserialize, Serialize};

use super::attacked::{AttackedSet, Originals};
use super::baselines::{Baseline, clip_disagreement, log_odds};
use super::filter::{Filter, Scored};
use super::filter_file::FilterHeader;
use super::forward::{Pass, RunOptions, run_images};
use super::manifest::ModelIdentity;
use super::method::Method;
use super::metrics::{CoveragePoint, Detection, Ranking, Selective};
use super::overlap::Used;
use super::scores::ContentOrder;
use super::statistics::{Bootstrap, Estimate};
use crate::dataset::{BadImages, ContentHash, Dataset, Sample};
use crate::error::{Error, ErrorKind, Result};
use crate::layers::Linear;
use crate::models::Clip;
use crate::progress::Observer;

/// The name of the defects that clean images have.
pub const MISCLASSIFIED: &str = "misclassified";

/// What a method is to the filter that is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It is the filter's own.
    Filter,
    /// The filter might have been calibrated to it.
    Alternative,
    /// It needs no heatmap.
    Baseline,
}

/// How one score ranks one kind of defect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodResult {
    /// The method's name: `cosine raw`, `max-softmax`.
    pub method: String,
    /// What it is to the filter.
    pub role: Role,
    /// AUROC, AUPR and FPR95; none where there are no defects or no sound images.
    pub detection: Option<Detection>,
    /// The area under the risk–coverage curve and accuracies at coverages, over the defects and the sound images: how many of the
    /// least suspicious are sound. None of no images.
    pub selective: Option<Selective>,
    /// The share of the defects over the method's calibrated threshold; none for methods without one.
    pub detected: Option<Estimate>,
}

/// One kind of defect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindResult {
    /// [`MISCLASSIFIED`] or the name of a set of attacks.
    pub kind: String,
    /// Defective images.
    pub defects: usize,
    /// Correctly classified clean images, which they are told from.
    pub sound: usize,
    /// Attacks on correctly classified images that changed nothing; they aren't defects.
    pub failed_attacks: usize,
    /// Every method's figures, the filter's first.
    pub methods: Vec<MethodResult>,
}

/// What a method keeps of the clean images, whose defects are those of the kind [`MISCLASSIFIED`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelectiveResult {
    /// The method's name.
    pub method: String,
    /// What it is to the filter.
    pub role: Role,
    /// Accuracy against coverage.
    pub curve: Vec<CoveragePoint>,
    /// What its calibrated threshold keeps; none for methods without one.
    pub kept: Option<Kept>,
}

/// What a threshold keeps of the clean images, with Wilson's intervals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The share of the images that is kept.
    pub coverage: Estimate,
    /// The share of those that is classified correctly; none where none is kept.
    pub accuracy: Option<Estimate>,
    /// The share of correctly classified images that isn't kept; none without any.
    pub false_rejects: Option<Estimate>,
}

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The classifier that the filter guards.
    pub classifier: ModelIdentity,
    /// The concepts that the filter compares.
    pub concepts: Vec<String>,
    /// How the filter scores images.
    pub method: Method,
    /// Clean images.
    pub images: usize,
    /// The share of them that is classified correctly.
    pub accuracy: Estimate,
    /// What the filter keeps.
    pub kept: Kept,
    /// The false-reject rate that calibration promises.
    pub promised_false_rejects: f64,
    /// Every kind of defect.
    pub kinds: Vec<KindResult>,
    /// Accuracy against coverage, method by method.
    pub selective: Vec<SelectiveResult>,
    /// Images left out, and why.
    pub skipped: Vec<(String, String)>,
    /// What the user should know.
    pub notices: Vec<String>,
    /// Whether splits were allowed to share images.
    pub overlap_allowed: bool,
    /// The adapter.
    pub adapter: String,
}

/// How a filter is evaluated.
#[derive(Debug, Clone, Copy, Default)]
pub struct EvaluateOptions {
    /// How images are read and run.
    pub run: RunOptions,
    /// Let images in, or attacked ones or their originals, that filter, bundle or aligner have seen.
    pub allow_overlap: bool,
}

/// The suspicions of some images by one method, and the threshold over which it rejects.
struct Suspicions {
    method: String,
    role: Role,
    threshold: Option<f64>,
    values: Vec<f64>,
}

impl Suspicions {
    /// What the threshold keeps of images of which `wrong` marks the misclassified.
    fn kept(&self, wrong: &[bool]) -> Option<Kept> {
        self.threshold.map(|threshold| Kept::of(wrong, |row| self.values[row] <= threshold))
    }
}

impl Kept {
    fn of(wrong: &[bool], is_kept: impl Fn(usize) -> bool) -> Self {
        let count = |is_counted: &dyn Fn(usize) -> bool| (0..wrong.len()).filter(|&row| is_counted(row)).count() as u64;
        let (kept, sound) = (count(&is_kept), count(&|row| !wrong[row]));
        let right = count(&|row| is_kept(row) && !wrong[row]);
        Self {
            coverage: Estimate::of_some(kept, wrong.len() as u64),
            accuracy: Estimate::of_share(right, kept),
            false_rejects: Estimate::of_share(sound - right, sound),
        }
    }
}

impl Filter {
    /// Measures the filter on labelled images and on attacked versions of them. `clip` adds the baseline that asks CLIP.
    ///
    /// # Errors
    /// [`ErrorKind::Overlap`] for images, attacked ones or originals of those that the filter, its bundle or its aligner has seen;
    /// [`ErrorKind::Mismatch`] for another CLIP than the filter's; [`ErrorKind::Data`] if one of several images may be an attacked
    /// one's original; those of reading and running images.
    pub fn evaluate(
        &self,
        images: &Dataset,
        attacked: &[(String, Dataset)],
        clip: Option<&Clip>,
        options: &EvaluateOptions,
        observer: &dyn Observer,
    ) -> Result<Evaluation> {
        clip.map_or(Ok(()), |clip| self.check_clip(clip))?;
        let run = &options.run;
        let clean = self.score("test images", &images.samples, run, observer)?;
        let mut notices = clean.collected.notices.clone();
        let mut note = |notice: String| {
            observer.notice(&notice);
            notices.push(notice);
        };
        let what = "the filter, its bundle or its aligner was made from";
        let used = Used { what, images: &self.file().images, is_allowed: options.allow_overlap };
        used.refuse(&clean.given(images), None, &mut note)?;

        let samples = |checked: &Scored, of: &Dataset| -> Vec<Sample> {
            checked.collected.indices.iter().map(|&index| of.samples[index].clone()).collect()
        };
        let clean_samples = samples(&clean, images);
        let labels: Vec<usize> = clean_samples.iter().map(|sample| sample.label.unwrap_or_default()).collect();
        let wrong: Vec<bool> = labels.iter().zip(&clean.predictions).map(|(label, found)| label != found).collect();
        let methods = self.suspicions(&clean, &clean_samples, clip, run, observer)?;
        let keys: Vec<_> = clean.collected.hashes.iter().copied().zip(wrong.iter().copied()).collect();
        let order = ContentOrder::new(&keys);
        let mut kinds = vec![KindResult {
            kind: MISCLASSIFIED.to_owned(),
            defects: wrong.iter().filter(|wrong| **wrong).count(),
            sound: wrong.iter().filter(|wrong| !**wrong).count(),
            failed_attacks: 0,
            methods: methods.iter().map(|method| measure(method, &wrong, &order)).collect::<Result<_>>()?,
        }];

        let rows = clean_samples.iter().zip(&labels).zip(&clean.collected.hashes);
        let originals = Originals::new(rows.map(|((sample, &label), &hash)| (sample.path.as_str(), label, hash)));
        for (name, images) in attacked {
            let checked = self.score(&format!("attacked: {name}"), &images.samples, run, observer)?;
            let set = AttackedSet::new(&checked.collected, images)?;
            used.refuse(&set.given, Some(name), &mut note)?;
            let found =
                set.matched(&checked.predictions, &originals, &clean.predictions, self.header().classes.len())?;
            if found.unmatched > 0 {
                note(format!("{name}: {} attacked images have no original among the test images", found.unmatched));
            }
            let attacks: Vec<usize> = found.attacks.succeeded.concat().into_iter().map(|row| row as usize).collect();
            let attacked_methods = self.suspicions(&checked, &samples(&checked, images), clip, run, observer)?;
            let sound: Vec<usize> = (0..wrong.len()).filter(|&row| !wrong[row]).collect();
            let hashes = attacks.iter().map(|&row| checked.collected.hashes[row]);
            let hashes: Vec<ContentHash> = hashes.chain(sound.iter().map(|&row| clean.collected.hashes[row])).collect();
            let order = ContentOrder::new(&hashes);
            let positive: Vec<bool> = (0..hashes.len()).map(|row| row < attacks.len()).collect();
            let both = |(attacked, clean): (Suspicions, &Suspicions)| Suspicions {
                values: attacks
                    .iter()
                    .map(|&row| attacked.values[row])
                    .chain(sound.iter().map(|&row| clean.values[row]))
                    .collect(),
                ..attacked
            };
            let merged = attacked_methods.into_iter().zip(&methods).map(both);
            kinds.push(KindResult {
                kind: name.clone(),
                defects: attacks.len(),
                sound: sound.len(),
                failed_attacks: found.attacks.failed.len(),
                methods: merged.map(|method| measure(&method, &positive, &order)).collect::<Result<_>>()?,
            });
        }

        let selective = methods.iter().map(|method| {
            Ok(SelectiveResult {
                method: method.method.clone(),
                role: method.role,
                curve: Ranking::new(&method.values, &wrong)?.coverage_curve(),
                kept: method.kept(&wrong),
            })
        });
        let selective = selective.collect::<Result<_>>()?;
        let sound = wrong.iter().filter(|wrong| !**wrong).count();
        Ok(Evaluation {
            classifier: self.header().classifier.clone(),
            concepts: self.header().concepts.clone(),
            method: self.header().method.clone(),
            images: wrong.len(),
            accuracy: Estimate::of_some(sound as u64, wrong.len() as u64),
            kept: Kept::of(&wrong, |row| methods[0].values[row] <= 0.0),
            promised_false_rejects: self.header().false_reject_rate,
            kinds,
            selective,
            skipped: clean.collected.skipped.clone(),
            notices,
            overlap_allowed: options.allow_overlap || self.header().overlap_allowed,
            adapter: self.device().summary().to_string(),
        })
    }

    /// Refuses a CLIP other than the one that made the filter's directions.
    fn check_clip(&self, clip: &Clip) -> Result<()> {
        let made = &self.header().clip;
        let message = if clip.sha256() != made.sha256 {
            "another CLIP than the one that made the filter's directions: the weights' hashes differ".to_owned()
        } else if clip.precision() != made.precision {
            let (found, expected) = (clip.precision(), made.precision);
            format!("a CLIP with weights in {found}, and the filter's directions were made in {expected}")
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Mismatch, message).hint(format!("that one was at {}", made.path.display())))
    }

    /// The suspicions by the filter's method, by each alternative and by every baseline. What is rejected without a score is most
    /// suspicious.
    fn suspicions(
        &self,
        scored: &Scored,
        samples: &[Sample],
        clip: Option<&Clip>,
        run: &RunOptions,
        observer: &dyn Observer,
    ) -> Result<Vec<Suspicions>> {
        let rows = 0..scored.predictions.len();
        let log_odds: Vec<f64> = rows.clone().map(|row| log_odds(scored.logits.row(row))).collect();
        let FilterHeader { method, alternatives, baselines, .. } = self.header();
        let ours = std::iter::once((method, Role::Filter));
        let ours = ours.chain(alternatives.iter().map(|method| (method, Role::Alternative)));
        let suspicions = |(method, role): (&Method, Role)| -> Result<Suspicions> {
            let heatmap = self.heatmap_scores(scored, method.distance, method.scores)?;
            let margin = |row: usize| {
                let stratum = self.routes()[scored.predictions[row]].ok()?;
                method.calibration.margin(stratum, method.score(heatmap[row], log_odds[row])?)
            };
            let values = rows.clone().map(|row| margin(row).unwrap_or(f64::INFINITY)).collect();
            Ok(Suspicions { method: method.to_string(), role, threshold: Some(0.0), values })
        };
        let mut methods = ours.map(suspicions).collect::<Result<Vec<_>>>()?;
        for baseline in Baseline::ALL {
            let threshold = baselines.get(baseline.name());
            methods.push(Suspicions {
                method: baseline.name().to_owned(),
                role: Role::Baseline,
                threshold: threshold.map(|threshold| threshold.threshold),
                values: rows.clone().map(|row| baseline.suspicion(scored.logits.row(row))).collect(),
            });
        }
        if let Some(clip) = clip {
            let directions = Linear::new("class directions", &self.file().class_directions, None);
            let pass = Pass {
                stage: "CLIP's opinion",
                preprocess: &[clip.preprocess()],
                record: &|plan, pixels| {
                    let embedding = clip.record_image(plan, pixels[0]);
                    let scores = plan.cosine_scores(embedding, &directions);
                    plan.output("class_scores", scores);
                },
                thumbnails: false,
                journal: None,
            };
            let options = RunOptions { bad_images: BadImages::Fail, ..*run };
            let scores = run_images(self.device(), &pass, samples, &options, observer)?.take("class_scores");
            methods.push(Suspicions {
                method: "clip-disagreement".to_owned(),
                role: Role::Baseline,
                threshold: None,
                values: rows.map(|row| clip_disagreement(scores.row(row), scored.predictions[row])).collect(),
            });
        }
        Ok(methods)
    }
}

fn measure(method: &Suspicions, positive: &[bool], order: &ContentOrder) -> Result<MethodResult> {
    let defects = positive.iter().filter(|positive| **positive).count();
    let detected = method.threshold.and_then(|threshold| {
        let over = method.values.iter().zip(positive).filter(|(value, positive)| **positive && **value > threshold);
        Estimate::of_share(over.count() as u64, defects as u64)
    });
    Ok(MethodResult {
        method: method.method.clone(),
        role: method.role,
        detection: Detection::measure(&method.values, positive, order, Bootstrap::default())?,
        selective: Selective::measure(&method.values, positive, order, Bootstrap::default())?,
        detected,
    })
}
