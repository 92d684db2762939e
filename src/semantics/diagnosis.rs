//! What a bundle's scores say about the classifier: maps on demand, responsible concepts, fault localisation.

use std::ops::Range;

use super::bundle::{Bundle, Samples, Space};
use super::counterfactual::counterfactuals;
use super::counting::{count_joint, count_maps};
use super::differential::Differential;
use super::distance::{Distance, Membership, StoredMap};
use super::fraction::Fraction;
use super::heatmap::{Counts, Support};
use super::localize::{Evidence, Localization, LocalizeOptions, localize};
use super::map_table::MapTable;
use super::responsible::{Change, Responsible};
use super::scores::{Wins, centered, class_balanced_means};
use super::statistics::Bootstrap;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Device;
use crate::progress::{Observer, step};
use crate::tensor::Tensor;

/// Cells of maps that are held at once: 120 MB of counts.
const CELLS_AT_ONCE: usize = 30_000_000;

/// The images a map is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSet {
    /// Label and prediction are the class.
    Correct(usize),
    /// The label is the class, the prediction isn't.
    Missed(usize),
    /// The prediction is the class, the label isn't.
    FalseAlarm(usize),
    /// The label is the class.
    GroundTruth(usize),
    /// The prediction is the class.
    OutputLabel(usize),
    /// Of the first class, predicted as the second.
    Confusion(usize, usize),
    /// Attacks that turned the prediction into the class.
    Adversarial(usize),
    /// One image, by its row.
    Image(usize),
}

/// How scores are made comparable before they are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreMode {
    /// As they are.
    #[default]
    Raw,
    /// Less each concept's class-balanced mean over the images of the bundle.
    Centered,
}

impl ScoreMode {
    /// Both modes.
    pub const ALL: [Self; 2] = [Self::Raw, Self::Centered];
}

impl std::fmt::Display for ScoreMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Raw => "raw",
            Self::Centered => "centered",
        })
    }
}

impl std::str::FromStr for ScoreMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "raw" => Ok(Self::Raw),
            "centered" => Ok(Self::Centered),
            _ => Err(Error::new(ErrorKind::Usage, format!("'{text}' isn't a score mode, expected raw or centered"))),
        }
    }
}

/// What separates a class's failures from its successes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClassFindings {
    /// Correct less missed; none where either is unsupported.
    pub differential: Option<Differential>,
    /// The concepts responsible for it.
    pub responsible: Option<Responsible>,
    /// Clip space less classifier space over all images of the class; none where unsupported.
    pub loss: Option<Differential>,
    /// The concepts responsible for it.
    pub lost_by_encoder: Option<Responsible>,
}

/// The centred win rate in clip space from which on a class is taken to have a concept: chosen on planted faults, seeds 0 to 4.
const OWN: f64 = 0.7;

impl ClassFindings {
    /// What the class has by CLIP's word and its failures lack, strongest first: the concepts `lost` by the differential, or where
    /// that is unsupported by the loss map, whose centred win rate over the class's images in clip space is at least 0.7. A class
    /// loses only what it has; other concepts are lost by the way, as those of the class that the failures are taken for change places
    /// with all others.
    pub fn missing(&self, concepts: &[String]) -> Vec<Change> {
        let (Some(loss), Some(by)) = (&self.loss, self.responsible.as_ref().or(self.lost_by_encoder.as_ref())) else {
            return Vec::new();
        };
        let seen = loss.first();
        let others = seen.n() as f64 * (concepts.len() - 1) as f64;
        let wins = |at: usize| (0..concepts.len()).map(|other| u64::from(seen.at(at, other))).sum::<u64>() as f64;
        let has =
            |name: &String| concepts.iter().position(|own| own == name).is_some_and(|at| wins(at) >= OWN * others);
        by.lost.iter().filter(|change| has(&change.concept)).cloned().collect()
    }
}

impl Bundle {
    /// The class-balanced mean of each concept's score.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for a bundle without images.
    pub fn concept_means(&self, space: Space) -> Result<Vec<f32>> {
        let Samples { labels, .. } = &self.samples;
        class_balanced_means(self.samples.scores_in(space), labels, self.manifest.classes.len(), &self.order())
    }

    /// The scores `[N, C]` in a space and mode.
    pub(super) fn scores(&self, space: Space, mode: ScoreMode) -> Result<Tensor> {
        let scores = self.samples.scores_in(space);
        match mode {
            ScoreMode::Raw => Ok(scores.clone()),
            ScoreMode::Centered => Ok(centered(scores, &self.concept_means(space)?)),
        }
    }

    /// The maps of several sets of images. Those of raw scores in classifier space that the bundle stores are read, all
    /// others counted on the device.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for adversarial maps of a bundle without attacks or outside classifier space; those of the
    /// device.
    pub fn maps(&self, device: &Device, sets: &[ImageSet], space: Space, mode: ScoreMode) -> Result<Vec<Counts>> {
        let is_raw = (space, mode) == (Space::Classifier, ScoreMode::Raw);
        let mut maps = vec![None; sets.len()];
        let (mut images, mut attacks) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        let rows = self.sets()?;
        for (at, set) in sets.iter().enumerate() {
            if matches!(set, ImageSet::Adversarial(_)) {
                self.check_adversarial(space)?;
            }
            if let Some(counts) = self.stored(set).filter(|_| is_raw) {
                maps[at] = Some(counts.clone());
                continue;
            }
            match *set {
                ImageSet::Adversarial(class) => {
                    attacks.0.push(at);
                    attacks.1.push(self.attacked_as(class));
                }
                ref set => {
                    images.0.push(at);
                    images.1.push(match *set {
                        ImageSet::Correct(class) => rows.correct(class).to_vec(),
                        ImageSet::Missed(class) => rows.missed(class).to_vec(),
                        ImageSet::FalseAlarm(class) => rows.false_alarm(class).to_vec(),
                        ImageSet::GroundTruth(class) => rows.ground_truth(class),
                        ImageSet::OutputLabel(class) => rows.output_label(class),
                        ImageSet::Confusion(truth, prediction) => rows.confusion(truth, prediction),
                        ImageSet::Adversarial(class) => self.attacked_as(class),
                        ImageSet::Image(row) => vec![row as u32],
                    });
                }
            }
        }
        let mut count = |scores: &Tensor, (places, groups): (Vec<usize>, Vec<Vec<u32>>)| -> Result<()> {
            let counted = count_maps(device, scores, &groups)?;
            places.into_iter().zip(counted).for_each(|(at, counts)| maps[at] = Some(counts));
            Ok(())
        };
        if !images.0.is_empty() {
            count(&self.scores(space, mode)?, images)?;
        }
        if !attacks.0.is_empty() && is_raw {
            count(&self.attacked.scores, attacks)?;
        } else if !attacks.0.is_empty() {
            count(&centered(&self.attacked.scores, &self.concept_means(space)?), attacks)?;
        }
        Ok(maps.into_iter().flatten().collect())
    }

    fn check_adversarial(&self, space: Space) -> Result<()> {
        let failed = |message: &str, hint: &str| Err(Error::new(ErrorKind::Usage, message).hint(hint));
        if self.manifest.attacks.is_empty() {
            return failed("the bundle has no adversarial maps", "build it with --attacked NAME=DIR");
        }
        if space == Space::Clip {
            return failed("attacked images have no scores in clip space", "use --space classifier");
        }
        Ok(())
    }

    fn attacked_as(&self, class: usize) -> Vec<u32> {
        let predictions = self.attacked.predictions.iter();
        (0..).zip(predictions).filter(|(_, prediction)| **prediction == class).map(|(row, _)| row).collect()
    }

    /// `counts` if enough images are behind it.
    pub fn supported<'a>(&self, counts: &'a Counts) -> Option<&'a Counts> {
        match counts.support(self.manifest.minimum_support) {
            Support::Supported(counts) => Some(counts),
            _ => None,
        }
    }

    /// The difference of the maps of two disjoint sets, in classifier space; none where either is unsupported.
    ///
    /// # Errors
    /// Those of the device.
    pub fn difference(&self, device: &Device, first: ImageSet, second: ImageSet) -> Result<Option<Differential>> {
        let maps = self.maps(device, &[first, second], Space::Classifier, ScoreMode::Raw)?;
        match (self.supported(&maps[0]), self.supported(&maps[1])) {
            (Some(first), Some(second)) => Differential::of_sets(first, second).map(Some),
            _ => Ok(None),
        }
    }

    /// The loss maps of several classes: all images of the class in clip space less the same in classifier space, both
    /// centred. None of a class without images; whether one has [support](Self::supported) is for the caller to ask.
    ///
    /// # Errors
    /// Those of the device.
    pub fn losses(&self, device: &Device, classes: &[usize]) -> Result<Vec<Option<Differential>>> {
        let sets = self.sets()?;
        let of_class: Vec<Vec<u32>> = classes.iter().map(|&class| sets.ground_truth(class)).collect();
        losses(device, &self.centered_scores()?, &of_class)
    }

    /// Centred scores in clip space and in classifier space.
    fn centered_scores(&self) -> Result<[Tensor; 2]> {
        Ok([self.scores(Space::Clip, ScoreMode::Centered)?, self.scores(Space::Classifier, ScoreMode::Centered)?])
    }

    /// Each class's differential and loss map with the responsible concepts.
    ///
    /// # Errors
    /// Those of the device and the observer.
    pub fn findings(&self, device: &Device, observer: &dyn Observer) -> Result<Vec<ClassFindings>> {
        let mut findings = Vec::with_capacity(self.manifest.classes.len());
        self.each_finding(device, observer, |found| findings.push(found))?;
        Ok(findings)
    }

    /// Hands `take` the findings of each class, in order. Only the maps of some classes are held at once.
    fn each_finding(
        &self,
        device: &Device,
        observer: &dyn Observer,
        mut take: impl FnMut(ClassFindings),
    ) -> Result<()> {
        let classes = self.manifest.classes.len();
        let names = &self.manifest.concepts;
        let (sets, order, bootstrap) = (self.sets()?, self.order(), Bootstrap::default());
        let wins = Wins::of_scores(&self.samples.scores);
        let in_spaces = self.centered_scores()?;
        let centered_wins = [Wins::of_scores(&in_spaces[0]), Wins::of_scores(&in_spaces[1])];
        for some in self.classes_at_once() {
            let of_class: Vec<Vec<u32>> = some.clone().map(|class| sets.ground_truth(class)).collect();
            let losses = losses(device, &in_spaces, &of_class)?;
            for ((class, loss), rows_of_class) in some.zip(losses).zip(&of_class) {
                step(observer, "responsible concepts", class, classes)?;
                let mut found = ClassFindings::default();
                if let Some(map) = self.difference(device, ImageSet::Correct(class), ImageSet::Missed(class))? {
                    let rows = [sets.correct(class), sets.missed(class)];
                    found.responsible = Some(Responsible::of_sets(&map, names, &wins, rows, &order, bootstrap)?);
                    found.differential = Some(map);
                }
                if let Some(map) = loss.filter(|map| self.supported(map.first()).is_some()) {
                    let wins = [&centered_wins[0], &centered_wins[1]];
                    let responsible = Responsible::paired(&map, names, wins, rows_of_class, &order, bootstrap)?;
                    found.lost_by_encoder = Some(responsible);
                    found.loss = Some(map);
                }
                take(found);
            }
        }
        step(observer, "responsible concepts", classes, classes)
    }

    /// The classes in runs whose maps are held at once.
    pub(super) fn classes_at_once(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (classes, concepts) = (self.manifest.classes.len(), self.manifest.concepts.len());
        let run = (CELLS_AT_ONCE / (concepts * concepts)).max(1);
        (0..classes).step_by(run).map(move |first| first..classes.min(first + run))
    }

    /// Tells encoder faults from head faults.
    ///
    /// # Errors
    /// Those of the device and the observer.
    pub fn localize(
        &self,
        device: &Device,
        options: &LocalizeOptions,
        observer: &dyn Observer,
    ) -> Result<Localization> {
        let mut of_classes = Vec::with_capacity(self.manifest.classes.len());
        self.each_finding(device, observer, |found| of_classes.push(self.concepts_of(&found)))?;
        self.localize_by(device, options, of_classes)
    }

    /// [`localize`](Self::localize) with findings that are there already.
    ///
    /// # Errors
    /// Those of the device.
    pub fn localize_with(
        &self,
        device: &Device,
        options: &LocalizeOptions,
        findings: &[ClassFindings],
    ) -> Result<Localization> {
        self.localize_by(device, options, findings.iter().map(|found| self.concepts_of(found)).collect())
    }

    /// What localisation reports of a class's concepts: those responsible, and those missing.
    fn concepts_of(&self, found: &ClassFindings) -> (Option<Responsible>, Vec<Change>) {
        (found.responsible.clone(), found.missing(&self.manifest.concepts))
    }

    fn localize_by(
        &self,
        device: &Device,
        options: &LocalizeOptions,
        of_classes: Vec<(Option<Responsible>, Vec<Change>)>,
    ) -> Result<Localization> {
        let Samples { labels, predictions, paths, features, logits, hashes, .. } = &self.samples;
        let support = self.manifest.minimum_support;
        let counterfactuals = counterfactuals(features, logits, labels, predictions, hashes, support)?;
        let distances = self.distances_to_own_class(device)?;
        let rows = labels.iter().zip(predictions).zip(&distances);
        let to_correct: Vec<Option<f64>> =
            rows.map(|((label, prediction), to)| if label == prediction { to[1] } else { to[0] }).collect();
        let to_missed: Vec<Option<f64>> = distances.iter().map(|to| to[2]).collect();
        let (responsible, missing): (Vec<_>, Vec<_>) = of_classes.into_iter().unzip();
        let evidence = Evidence {
            paths,
            classes: &self.manifest.classes,
            labels,
            predictions,
            aligned: &self.samples.class_scores,
            clip: &self.samples.clip_class_scores,
            to_correct: &to_correct,
            to_missed: &to_missed,
            counterfactuals: &counterfactuals,
            responsible: &responsible,
            missing: &missing,
        };
        localize(&evidence, *options)
    }

    /// Each image's distances to its class's correct map (as an outsider and as a member) and missed map (as a member).
    fn distances_to_own_class(&self, device: &Device) -> Result<Vec<[Option<f64>; 3]>> {
        let Samples { labels, scores, .. } = &self.samples;
        let stored = |counts: &Counts, membership| {
            self.supported(counts).map(|counts| StoredMap::new(counts, Distance::Cosine, Fraction::HALF, membership))
        };
        let mut distances = vec![[None; 3]; labels.len()];
        for classes in self.classes_at_once() {
            let sets: Vec<ImageSet> =
                classes.clone().flat_map(|class| [ImageSet::Correct(class), ImageSet::Missed(class)]).collect();
            let maps = self.maps(device, &sets, Space::Classifier, ScoreMode::Raw)?;
            let table = MapTable::new(scores.columns(), classes.len(), 3, |class, slot| match slot {
                0 => stored(&maps[2 * class], Membership::Outside),
                1 => stored(&maps[2 * class], Membership::Inside),
                _ => stored(&maps[2 * class + 1], Membership::Inside),
            });
            let rows: Vec<usize> = (0..labels.len()).filter(|&row| classes.contains(&labels[row])).collect();
            let of_class: Vec<usize> = rows.iter().map(|&row| labels[row] - classes.start).collect();
            let found = table.run(device, &scores.select_rows(&rows), &of_class)?;
            rows.into_iter().zip(found).for_each(|(row, found)| distances[row] = [found[0], found[1], found[2]]);
        }
        Ok(distances)
    }
}

/// The differences between the maps of the same rows in two spaces; none of no rows.
fn losses(device: &Device, [first, second]: &[Tensor; 2], groups: &[Vec<u32>]) -> Result<Vec<Option<Differential>>> {
    let firsts = count_maps(device, first, groups)?;
    let seconds = count_maps(device, second, groups)?;
    let joint = count_joint(device, first, second, groups)?;
    let maps = firsts.iter().zip(&seconds).zip(joint);
    let difference = |((first, second), both): ((&Counts, &Counts), _)| match first.n() {
        0 => Ok(None),
        _ => Differential::paired(first, second, both).map(Some),
    };
    maps.map(difference).collect()
}
