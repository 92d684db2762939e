//! The method: from concept scores to heatmaps, their differences, fault localisation and the runtime filter.
//!
//! The GPU makes the scores, the counts and the sums that distances need; what is here turns those numbers into findings, in
//! f64 or whole numbers and in an order that doesn't depend on how the images came.

mod align;
mod attack;
mod attacked;
mod baselines;
mod build;
mod bundle;
mod calibrate;
mod calibration;
mod checks;
mod choose;
mod compare;
mod concepts;
mod container;
mod counterfactual;
mod counting;
mod diagnosis;
mod differential;
mod distance;
mod embed;
mod evaluate;
mod expect;
mod filter;
mod filter_file;
mod flips;
mod folds;
mod forward;
mod fraction;
mod heatmap;
mod journal;
mod lint;
mod localize;
mod logistic;
mod manifest;
mod map_table;
mod merge;
mod method;
mod metrics;
#[cfg(test)]
mod order_tests;
mod overlap;
mod plants;
mod reasons;
pub mod reference;
mod responsible;
mod ridge;
mod scores;
mod sets;
mod split;
pub mod statistics;
mod suggest;
mod tally;
#[cfg(test)]
pub(crate) mod testing;
mod text_cache;

pub use align::{AlignOptions, Aligner, AlignerFigures};
pub use attack::{AttackMethod, AttackOptions, AttackReport, AttackedImage, SuccessByQueries, attack};
pub use attacked::shard;
pub use baselines::{Baseline, clip_disagreement, log_odds};
pub use build::{BuildInputs, BuildOptions};
pub use bundle::{AttackedSamples, Bundle, ClassCounts, Samples, Space};
pub use calibrate::CalibrateOptions;
pub use calibration::{Calibration, Cause, Decision, Defects, Parts, Source, Stratum, Threshold, Verdict, suspicion};
pub use checks::{Annotations, CheckOptions, CheckResult, CheckVerdict, Checks, Counterexample};
pub use choose::{Candidate, Choice, FOLDS, LEAST_TO_CHOOSE};
pub use compare::{ClassDrift, CompareOptions, Drift, PairDrift, PairedChange};
pub use concepts::{Concepts, Templates, class_prompts, direction};
pub use counterfactual::{Counterfactual, counterfactuals};
pub(crate) use counting::count_maps;
pub use diagnosis::{ClassFindings, ImageSet, ScoreMode};
pub use differential::{Differential, DifferentialCell, FALSE_DISCOVERY_RATE};
pub use distance::{Distance, Membership, Products, StoredMap};
pub use embed::{ClassProbability, Classified, Embeddings, classify, embed_images};
pub use evaluate::{EvaluateOptions, Evaluation, Kept, KindResult, MISCLASSIFIED, MethodResult, Role, SelectiveResult};
pub use expect::{Comparison, Reference, RowDifference, RowName, Tolerance};
pub use filter::Filter;
pub use filter_file::{FILTER_SCHEMA, FilterFile, FilterHeader};
pub use flips::flipped_share;
pub(crate) use forward::{Collected, Compiled, Pass};
pub use forward::{RunOptions, embed_texts, usual_batch};
pub use fraction::Fraction;
pub use heatmap::{Cell, Counts, MINIMUM_SUPPORT, Map, Support};
pub use lint::{Biased, Inseparable, Lint, LintOptions, PromptFault, Synonyms};
pub use localize::{Evidence, HeatmapRule, Localization, LocalizeOptions, Oracle, SHORTFALL, Sample, localize};
pub use logistic::{Logistic, RIDGE};
pub use manifest::{AttackSummary, Manifest, ModelIdentity, SCHEMA, TIE_TOLERANCE};
pub use method::{Combination, KindOdds, Method};
pub use metrics::{Accuracy, COVERAGES, CoveragePoint, Detection, Ranking, Selective};
pub use plants::{
    BestShortfall, KindLocalization, LocalizationEvaluation, LocalizationInputs, LostConcept, OracleRow, Origin, Plant,
    PlantResult, PlantedCause, evaluate_localization,
};
pub use reasons::{Reason, reasons};
pub use responsible::{Change, PairChange, Responsible};
pub use scores::{ContentOrder, Wins, centered, check_finite, class_balanced_means, near_ties};
pub use sets::{Attacks, MapKind, Sets};
pub use suggest::{SuggestOptions, Suggestion, Suggestions};
pub use tally::{Agreement, ClassTally, Fault, HeadShare, OracleTable, Tally, Verdicts};
