//! The method: from concept scores to heatmaps, their differences, fault localisation and the runtime filter.
//!
//! The GPU makes the scores, the counts and the sums that distances need; what is here turns those numbers into findings, in
//! f64 or whole numbers and in an order that doesn't depend on how the images came.

mod baselines;
mod calibration;
mod concepts;
mod differential;
mod distance;
mod fraction;
mod heatmap;
mod localize;
mod metrics;
mod reasons;
pub mod reference;
mod responsible;
mod scores;
mod sets;
pub mod statistics;
mod tally;

pub use baselines::{Baseline, clip_disagreement};
pub use calibration::{Calibration, Cause, Decision, Defects, Source, Stratum, Threshold, Verdict, suspicion};
pub use concepts::{Concepts, Templates, class_prompts, direction};
pub use differential::{Differential, DifferentialCell, FALSE_DISCOVERY_RATE};
pub use distance::{Distance, Membership, Products, StoredMap};
pub use fraction::Fraction;
pub use heatmap::{Cell, Counts, MINIMUM_SUPPORT, Map, Support};
pub use localize::{Evidence, HeatmapRule, Localization, LocalizeOptions, Sample, localize};
pub use metrics::{CoveragePoint, Detection, Ranking, Selective};
pub use reasons::{Reason, reasons};
pub use responsible::{Change, PairChange, Responsible};
pub use scores::{ContentOrder, Wins, centered, check_finite, class_balanced_means, near_ties};
pub use sets::{Attacks, MapKind, Sets};
pub use tally::{Agreement, ClassTally, Fault, OracleTable, Tally};
