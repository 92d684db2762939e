//! Checks: named properties over concepts that a classifier must have on a share of its images.
//!
//! The predicates are those of the Con_spec language (arXiv 2403.19837): `wings > horns` is its >(x, wings, horns),
//! `predict(plane)` its predict(x, plane), and `hasCon(wings)` its hasCon(x, wings).
//!
//! ```text
//! check planes-have-wings
//!   for class plane: wings > horns and not predict(ship)
//!   at least 95 %
//! ```

mod annotations;
mod formula;
mod parse;

use std::fmt;
use std::path::Path;

use serde::Serialize;

use formula::{Annotated, Formula, Image, Meaning};

pub use annotations::Annotations;

use super::bundle::{Bundle, Samples, Space};
use super::diagnosis::ScoreMode;
use super::statistics::Estimate;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Observer, step};
use crate::tensor::Tensor;

/// The checks of a file.
#[derive(Debug, Clone)]
pub struct Checks {
    source: String,
    checks: Vec<Check>,
}

#[derive(Debug, Clone)]
struct Check {
    name: Name,
    scope: Scope,
    formula: Formula<Name>,
    /// The formula as written, on one line.
    text: String,
    bound: Bound,
}

/// A name as written, and where.
#[derive(Debug, Clone)]
struct Name {
    text: String,
    line: usize,
    column: usize,
}

/// Which images a check is about.
#[derive(Debug, Clone)]
enum Scope {
    All,
    /// Those labelled so.
    Class(Vec<Name>),
    /// Those classified so.
    Predicted(Vec<Name>),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[Name]| names.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(", ");
        match self {
            Self::All => f.write_str("all"),
            Self::Class(names) => write!(f, "class {}", list(names)),
            Self::Predicted(names) => write!(f, "predicted {}", list(names)),
        }
    }
}

/// The share of images that must satisfy a formula.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn allows(self, share: f64) -> bool {
        match self {
            Self::AtLeast(bound) => share >= bound,
            Self::AtMost(bound) => share <= bound,
        }
    }

    /// Whether an image speaks against the check by satisfying its formula.
    fn is_against_holding(self) -> bool {
        matches!(self, Self::AtMost(_))
    }

    /// The end of an interval that would break the bound first.
    fn doubtful_end(self, share: &Estimate) -> f64 {
        match self {
            Self::AtLeast(_) => share.low,
            Self::AtMost(_) => share.high,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, share) = match self {
            Self::AtLeast(share) => ("at least", share),
            Self::AtMost(share) => ("at most", share),
        };
        // A percentage that was read as a decimal is printed as one.
        write!(f, "{words} {} %", (share * 1e12).round() / 1e10)
    }
}

/// How checks are carried out.
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions<'a> {
    /// The space of the scores.
    pub space: Space,
    /// Whether each concept's mean is taken off its scores first.
    pub mode: ScoreMode,
    /// What `hasCon` goes by.
    pub annotations: Option<&'a Annotations>,
    /// Whether the whole interval must keep the bound, not just the share.
    pub strict: bool,
    /// Images against a check that are listed.
    pub worst: usize,
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckVerdict {
    /// The bound is kept.
    Pass,
    /// It isn't.
    Fail,
    /// There are fewer images than the minimum support.
    Unsupported,
}

/// An image that speaks against a check: one that doesn't satisfy its formula or, where the bound is `at most`, one that does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Counterexample {
    /// Its path.
    pub path: String,
    /// Its ground truth.
    pub label: String,
    /// Its prediction.
    pub prediction: String,
    /// By how much the formula holds: how far the scores that decide it are on its side; at most 0 where it fails. None where
    /// a prediction or annotation decides.
    pub margin: Option<f32>,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckResult {
    /// Its name.
    pub name: String,
    /// The line it begins on.
    pub line: usize,
    /// Which images it is about.
    pub scope: String,
    /// The formula.
    pub formula: String,
    /// The bound.
    pub bound: String,
    /// What became of it.
    pub verdict: CheckVerdict,
    /// Images that were looked at.
    pub n: u64,
    /// Those that satisfy the formula.
    pub satisfied: u64,
    /// Their share, with Wilson's 95 % interval.
    pub share: Option<Estimate>,
    /// Whether the whole interval lies on one side of the bound.
    pub certain: bool,
    /// Images of the scope left out because they aren't annotated.
    pub unannotated: u64,
    /// Of a formula `a implies b`, the images that satisfy it only because `a` doesn't hold.
    pub vacuous: Option<u64>,
    /// The images that speak most against it.
    pub worst: Vec<Counterexample>,
}

impl Checks {
    /// Reads a file of checks.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]; [`ErrorKind::Format`] for what isn't UTF-8; [`ErrorKind::Data`] naming the line and column of a mistake.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let source = path.display().to_string();
        let text = String::from_utf8(bytes)
            .map_err(|e| Error::new(ErrorKind::Format, format!("{source}: not UTF-8 text")).caused_by(e))?;
        Self::parse(&text, &source)
    }

    /// Parses checks; `source` is the file's name, for the errors.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] naming the line and column of a mistake.
    pub fn parse(text: &str, source: &str) -> Result<Self> {
        Ok(Self { source: source.to_owned(), checks: parse::parse(text, source)? })
    }

    /// Carries out every check on the images of a bundle.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] naming the line and column of a concept or class that the bundle doesn't have,
    /// or of a `hasCon` without annotations, and those of [`Annotations::of_concept`] and of the
    /// observer.
    pub fn run(
        &self,
        bundle: &Bundle,
        options: &CheckOptions<'_>,
        observer: &dyn Observer,
    ) -> Result<Vec<CheckResult>> {
        let scores = bundle.scores(options.space, options.mode)?;
        let carry_out = |(done, check): (usize, &Check)| {
            step(observer, "checking", done, self.checks.len())?;
            self.carry_out(check, bundle, &scores, options)
        };
        let results = self.checks.iter().enumerate().map(carry_out).collect::<Result<_>>()?;
        step(observer, "checking", self.checks.len(), self.checks.len())?;
        Ok(results)
    }

    fn carry_out(
        &self,
        check: &Check,
        bundle: &Bundle,
        scores: &Tensor,
        options: &CheckOptions<'_>,
    ) -> Result<CheckResult> {
        let Samples { paths, labels, predictions, .. } = &bundle.samples;
        let classes = &bundle.manifest.classes;
        let (formula, annotated) = self.resolved(&check.formula, bundle, options.annotations)?;
        let in_scope: Vec<bool> = match &check.scope {
            Scope::All => vec![true; paths.len()],
            Scope::Class(names) => self.among(names, classes, labels)?,
            Scope::Predicted(names) => self.among(names, classes, predictions)?,
        };
        let of_scope = bundle.order().rows().into_iter().map(|row| row as usize).filter(|&row| in_scope[row]);
        let (rows, unannotated): (Vec<usize>, Vec<usize>) =
            of_scope.partition(|&row| annotated.values().all(|of_images| of_images[row].is_some()));
        let image =
            |row: usize| Image { row, scores: scores.row(row), prediction: predictions[row], annotated: &annotated };
        let (mut satisfied, mut against) = (0, Vec::<(usize, f32)>::new());
        let mut vacuous = matches!(formula, Formula::Implies(..)).then_some(0);
        for &row in &rows {
            let image = image(row);
            let holds = formula.holds(&image);
            satisfied += u64::from(holds);
            if holds == check.bound.is_against_holding() {
                // Adding 0 makes -0 into +0.
                against.push((row, formula.margin(&image) + 0.0));
            }
            if let (true, Formula::Implies(premise, _), Some(vacuous)) = (holds, &formula, &mut vacuous) {
                *vacuous += u64::from(!premise.holds(&image));
            }
        }
        // Farthest on the wrong side first; images stay in content order among equals.
        against
            .sort_by(|a, b| if check.bound.is_against_holding() { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) });
        let n = rows.len() as u64;
        let share = Estimate::of_share(satisfied, n);
        let worst = against.iter().take(options.worst).map(|&(row, margin)| Counterexample {
            path: paths[row].clone(),
            label: classes[labels[row]].clone(),
            prediction: classes[predictions[row]].clone(),
            margin: margin.is_finite().then_some(margin),
        });
        let decides = |share: &Estimate| {
            check.bound.allows(if options.strict { check.bound.doubtful_end(share) } else { share.value })
        };
        let verdict = match &share {
            Some(share) if n >= bundle.manifest.minimum_support => {
                if decides(share) {
                    CheckVerdict::Pass
                } else {
                    CheckVerdict::Fail
                }
            }
            _ => CheckVerdict::Unsupported,
        };
        Ok(CheckResult {
            name: check.name.text.clone(),
            line: check.name.line,
            scope: check.scope.to_string(),
            formula: check.text.clone(),
            bound: check.bound.to_string(),
            verdict,
            n,
            satisfied,
            certain: share.as_ref().is_some_and(|s| check.bound.allows(s.low) == check.bound.allows(s.high)),
            share,
            unannotated: unannotated.len() as u64,
            vacuous,
            worst: worst.collect(),
        })
    }

    /// For each image whether its class is one of `names`.
    fn among(&self, names: &[Name], classes: &[String], of_images: &[usize]) -> Result<Vec<bool>> {
        let wanted = names.iter().map(|name| self.place(name, "class", classes)).collect::<Result<Vec<_>>>()?;
        Ok(of_images.iter().map(|class| wanted.contains(class)).collect())
    }

    fn place(&self, name: &Name, what: &str, known: &[String]) -> Result<usize> {
        known.iter().position(|known| *known == name.text).ok_or_else(|| {
            let message = format!("there is no {what} `{}`, expected one of: {}", name.text, known.join(", "));
            let likeness = |known: &&String| strsim::jaro_winkler(known, &name.text);
            let likeliest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let error = name.error(&self.source, &message);
            match likeliest.filter(|known| likeness(known) > 0.8) {
                Some(known) => error.hint(format!("did you mean `{known}`?")),
                None => error,
            }
        })
    }

    /// The formula with the places of its names, and what is annotated of the concepts in `hasCon`.
    fn resolved(
        &self,
        formula: &Formula<Name>,
        bundle: &Bundle,
        annotations: Option<&Annotations>,
    ) -> Result<(Formula<usize>, Annotated)> {
        let mut annotated = Annotated::new();
        let mut look_up = |name: &Name, meaning: Meaning| {
            if meaning == Meaning::Class {
                return self.place(name, "class", &bundle.manifest.classes);
            }
            let place = self.place(name, "concept", &bundle.manifest.concepts)?;
            if meaning == Meaning::AnnotatedConcept {
                let annotations = annotations.ok_or_else(|| {
                    let error = name.error(&self.source, "`hasCon` needs annotated images");
                    error.hint("give them with --annotations FILE")
                })?;
                annotated.insert(place, annotations.of_concept(&name.text, &bundle.samples.paths)?);
            }
            Ok(place)
        };
        Ok((formula.resolved(&mut look_up)?, annotated))
    }
}

#[cfg(test)]
mod tests;
