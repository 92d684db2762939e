//! What the HTML report shows, as plain data.

use serde::Serialize;

use super::map::MapView;
pub use crate::semantics::statistics::Estimate;
use crate::semantics::{HeadShare, Role};

/// Everything the report shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportData {
    /// The page's title: the bundle's name.
    pub title: String,
    /// What was analysed: models, adapter, images, hashes.
    pub facts: Vec<Fact>,
    /// What a reader should know before believing a number: an allowed overlap, skipped images, cells near ties.
    pub notices: Vec<String>,
    /// The K class names, in logit order.
    pub classes: Vec<String>,
    /// The C concept names.
    pub concepts: Vec<String>,
    /// K×K counts: row the label, column the prediction.
    pub confusion: Vec<Vec<u64>>,
    /// The share of images classified correctly.
    pub accuracy: Estimate,
    /// The K classes' shares of images classified correctly; `None` where a class has no image.
    pub recall: Vec<Option<Estimate>>,
    /// The least number of images that makes a map supported.
    pub min_support: u64,
    /// All maps, in the order in which they are offered.
    pub maps: Vec<ReportMap>,
    /// The responsible concepts, per class and origin.
    pub responsible: Vec<Responsible>,
    /// The localisation of faults.
    pub localization: Option<Localization>,
    /// Example images.
    pub examples: Vec<Example>,
    /// The runtime filter's evaluation on images it has never seen; without it the page says "not evaluated".
    pub evaluation: Option<Evaluation>,
}

/// One line of the header.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fact {
    /// What it is: `classifier`.
    pub name: String,
    /// Its value: `ResNet-18, 10 classes`.
    pub value: String,
    /// A hash or a path, set smaller; may be empty.
    pub detail: String,
}

/// A map and its place among the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportMap {
    /// The index of its class.
    pub class: usize,
    /// Its set, as in the command line: `correct`, `differential`, `loss`.
    pub set: String,
    /// The map itself.
    pub view: MapView,
}

/// The responsible concepts of one class: the row means of its differential map, ranked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Responsible {
    /// The index of the class.
    pub class: usize,
    /// The map they are from: `differential` or `loss`.
    pub origin: String,
    /// Whether both sets have enough images.
    pub supported: bool,
    /// Concepts that win less often in the failures, the strongest first.
    pub lost: Vec<ConceptChange>,
    /// Concepts that win more often in the failures, the strongest first.
    pub intruding: Vec<ConceptChange>,
    /// The cells that changed most, the strongest first.
    pub pairs: Vec<PairChange>,
}

/// The change in a concept's win rate, positive if it was lost, with its bootstrap interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConceptChange {
    /// The concept's name.
    pub concept: String,
    /// The change, in [-1, 1].
    pub change: Estimate,
}

/// The change of one pair: how much more often the stronger beats the weaker in the first set than in the second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairChange {
    /// The concept that wins more often in the successes.
    pub stronger: String,
    /// The other.
    pub weaker: String,
    /// The change, in [0, 1].
    pub change: Estimate,
    /// Whether it survives the correction for many tests.
    pub significant: bool,
}

/// Verdicts on misclassified images: their counts add up to the number of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Verdicts {
    /// The head is at fault.
    pub head: u64,
    /// The encoder is at fault.
    pub encoder: u64,
    /// The oracle can't tell.
    pub undetermined: u64,
}

impl Verdicts {
    /// How many images were judged.
    pub fn n(&self) -> u64 {
        self.head + self.encoder + self.undetermined
    }

    /// The bounds on head's share if every undetermined image were the encoder's fault, or the head's; `None` if there is
    /// no image.
    pub fn head_share(&self) -> Option<HeadShare> {
        HeadShare::new(self.head, self.undetermined, self.n())
    }
}

/// The 2×2 table of (zero-shot oracle says the label?) × (CLIP says the label?).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TwoByTwo {
    /// Both say the label.
    pub both: u64,
    /// Only the oracle does.
    pub oracle_only: u64,
    /// Only CLIP does.
    pub clip_only: u64,
    /// Neither does.
    pub neither: u64,
}

/// What another oracle says of the same images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherOracle {
    /// Its name.
    pub name: String,
    /// Its verdicts over all classes.
    pub totals: Verdicts,
}

/// Where the faults lie.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Localization {
    /// How verdicts were reached, in a sentence: oracle, margin, options.
    pub rule: String,
    /// Over all classes.
    pub totals: Verdicts,
    /// The oracles by whose rules these verdicts weren't reached.
    pub others: Vec<OtherOracle>,
    /// Per class, in logit order.
    pub classes: Vec<Verdicts>,
    /// The share of misclassified images on which the rule's oracle and that of the maps agree, over all and per class; `None` where none can.
    pub agreement: Option<Estimate>,
    /// The same per class.
    pub class_agreement: Vec<Option<Estimate>>,
    /// The table of the misclassified images.
    pub errors: TwoByTwo,
    /// The table of the correctly classified images, where a verdict of "encoder" is a known mistake.
    pub correct: TwoByTwo,
    /// The share of correctly classified images that the zero-shot oracle would blame on the encoder.
    pub false_encoder: Option<Estimate>,
    /// The aligner's figures: R², mean cosine, agreement with CLIP's labels, λ, images.
    pub aligner: Vec<Fact>,
}

/// One example image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// Where it lies.
    pub path: String,
    /// The label's index.
    pub label: usize,
    /// The prediction's index.
    pub prediction: usize,
    /// `head`, `encoder` or `undetermined` for a misclassified image.
    pub verdict: Option<String>,
    /// The concepts with the highest scores, highest first.
    pub concepts: Vec<String>,
    /// An encoded picture (JPEG, PNG or WebP); empty if there is none.
    #[serde(skip)]
    pub thumbnail: Vec<u8>,
}

/// The filter's evaluation on images used for nothing else.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The filter, its distance, threshold and α with its band, and the images: what the figures are of.
    pub facts: Vec<Fact>,
    /// What a reader should know: an allowed overlap, attacks that failed.
    pub notices: Vec<String>,
    /// The share of correctly classified images that is rejected at the threshold.
    pub false_rejects: Estimate,
    /// Per kind of defect.
    pub kinds: Vec<DefectKind>,
    /// Accuracy among the accepted images against their share, one curve per method.
    pub curves: Vec<CoverageCurve>,
}

/// How well one kind of defect is told from correctly classified images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DefectKind {
    /// `misclassified`, or an attack's name.
    pub name: String,
    /// How many defective images.
    pub n: u64,
    /// How many correctly classified ones they are told from.
    pub n_correct: u64,
    /// The filter first, then what it might have been, then the baselines.
    pub methods: Vec<MethodScores>,
}

/// The figures of one method; a larger score is more suspicious.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MethodScores {
    /// `filter: cosine raw`, `max softmax`.
    pub name: String,
    /// What it is to the filter.
    pub role: Role,
    /// Whether it is the filter's heatmap without the softmax that the filter combines it with.
    pub is_heatmap_alone: bool,
    /// Area under the receiver operating characteristic.
    pub auroc: Estimate,
    /// Area under precision and recall.
    pub aupr: Estimate,
    /// False positive rate at 95 % true positives; less is better.
    pub fpr95: Estimate,
    /// Area under risk and coverage, over the defective and the correctly classified images; less is better.
    pub aurc: Estimate,
    /// The share of defects rejected at the threshold of the false reject rate.
    pub detection: Option<Estimate>,
}

/// Accuracy against coverage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CoverageCurve {
    /// The method.
    pub name: String,
    /// Whether this is the filter rather than a baseline.
    pub is_filter: bool,
    /// (share of images accepted, accuracy among them), by rising coverage.
    pub points: Vec<(f64, f64)>,
    /// Area under risk and coverage; less is better.
    pub aurc: Estimate,
}
