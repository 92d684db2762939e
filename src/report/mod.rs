//! Writers of results: maps as npy, PNG, CSV, JSON and in the terminal, and the self-contained offline HTML report.
//!
//! Everything here takes plain data ([`MapView`], [`ReportData`]) and runs no model, so that it works from a bundle on a
//! machine without a GPU and can be tested with numbers made up on the spot.
//!
//! ```
//! use heatlens::report::{MapKind, MapView, terminal};
//!
//! let concepts = vec!["wings".to_owned(), "wheels".to_owned()];
//! let map = MapView::new("plane", MapKind::Strength, concepts, vec![f64::NAN, 0.94, 0.06, f64::NAN]);
//! let text = terminal::render(&map, terminal::Style { width: 80, color: false });
//! assert!(text.contains("wings"));
//! ```

mod assemble;
#[cfg(test)]
mod assemble_tests;
mod canvas;
mod chart;
mod colors;
mod data;
mod evaluation;
mod explorer;
mod export;
mod from_counts;
mod html;
#[cfg(test)]
mod html_tests;
mod junit;
mod map;
mod npy;
mod png;
mod summary;
mod table;
pub mod terminal;
mod view;
#[cfg(test)]
mod view_tests;

pub use assemble::of_bundle;
pub use data::{
    ConceptChange, CoverageCurve, DefectKind, Estimate, Evaluation, Example, Fact, Localization, MethodScores,
    OtherOracle, PairChange, ReportData, ReportMap, Responsible, TwoByTwo, Verdicts,
};
pub use export::export;
pub use html::{html, write_html};
pub use junit::write_junit;
pub use map::{Flags, Intervals, MapKind, MapView, Side};
pub use npy::{Element, write_npy};
pub use png::write_png;
pub use summary::sentences;
pub use table::{write_csv, write_json, write_map};
pub use view::{MapRequest, view};
