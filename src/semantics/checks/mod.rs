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

/// An image that doesn't satisfy a formula.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Counterexample {
    /// Its path.
    pub path: String,
    /// Its ground truth.
    pub label: String,
    /// Its prediction.
    pub prediction: String,
    /// By how much the formula fails: how far the scores that decide it are on the wrong side (at most 0). None where a
    /// prediction or annotation decides.
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
    /// The images that satisfy it least.
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
        self.checks.iter().enumerate().map(carry_out).collect()
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
        let mut against: Vec<(usize, f32)> = Vec::new();
        let mut vacuous = matches!(formula, Formula::Implies(..)).then_some(0);
        for &row in &rows {
            let image = image(row);
            if !formula.holds(&image) {
                against.push((row, formula.margin(&image)));
            } else if let (Formula::Implies(premise, _), Some(vacuous)) = (&formula, &mut vacuous) {
                *vacuous += u64::from(!premise.holds(&image));
            }
        }
        against.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (n, satisfied) = (rows.len() as u64, (rows.len() - against.len()) as u64);
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
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::semantics::testing;

    const OPTIONS: CheckOptions<'static> =
        CheckOptions { space: Space::Classifier, mode: ScoreMode::Raw, annotations: None, strict: false, worst: 3 };

    fn run(text: &str, options: &CheckOptions<'_>) -> Result<Vec<CheckResult>> {
        Checks::parse(text, "spec")?.run(&testing::bundle(), options, &Silent)
    }

    /// Whether a formula holds for each image of the test bundle, by its text in the checks' language and in Rust.
    #[test]
    fn formulas_mean_what_they_say() {
        let bundle = testing::bundle();
        let Samples { scores, predictions, .. } = &bundle.samples;
        type Twin = fn(&[f32], usize) -> bool;
        let rows: [(&str, Twin); 9] = [
            ("wings > wheels", |s, _| s[0] > s[1]),
            ("wings < wheels", |s, _| s[1] > s[0]),
            ("not wings > wheels", |s, _| s[0] <= s[1]),
            ("predict(ship)", |_, p| p == 1),
            ("wings > wet and wings > metallic or predict(cat)", |s, p| (s[0] > s[3] && s[0] > s[2]) || p == 2),
            ("wings > wet and (wings > metallic or predict(cat))", |s, p| s[0] > s[3] && (s[0] > s[2] || p == 2)),
            ("predict(plane) implies wings > wet", |s, p| p != 0 || s[0] > s[3]),
            ("wings > wet implies wet > metallic implies predict(plane)", |s, p| {
                s[0] <= s[3] || s[3] <= s[2] || p == 0
            }),
            ("not (predict(plane) or predict(ship)) and not not \"wet\" > wings", |s, p| p == 2 && s[3] > s[0]),
        ];
        for (text, twin) in rows {
            let found = &run(&format!("check c for all: {text} at least 0 %"), &OPTIONS).unwrap()[0];
            let expected = (0..25).filter(|&row| twin(scores.row(row), predictions[row])).count() as u64;
            assert_eq!((found.n, found.satisfied), (25, expected), "{text}");
            assert_eq!(found.formula, text);
        }
    }

    #[test]
    fn bounds_scopes_and_support_decide() {
        let text = "
            # 17 planes, of which 9 are predicted so
            check a for class plane: predict(plane) at least 52.9 %
            check b for class plane: predict(plane) at least 53 %
            check c for class plane, ship: predict(plane) at most 43.9 %   # 11 of 25
            check d for predicted cat: wings > wet at least 0 %
            check e for predicted plane: predict(plane) implies
                not wet > wet  # no concept is above itself
                at least 100 %
        ";
        let found = run(text, &OPTIONS).unwrap();
        use CheckVerdict::{Fail, Pass, Unsupported};
        let verdicts: Vec<CheckVerdict> = found.iter().map(|check| check.verdict).collect();
        assert_eq!(verdicts, [Pass, Fail, Fail, Unsupported, Pass]);
        assert_eq!((found[2].n, found[2].satisfied, found[2].bound.as_str()), (25, 11, "at most 43.9 %"));
        assert!(!found[0].certain && found[0].vacuous.is_none());
        assert_eq!((found[4].formula.as_str(), found[4].vacuous), ("predict(plane) implies not wet > wet", Some(0)));
        assert_eq!((found[4].name.as_str(), found[4].line, found[4].scope.as_str()), ("e", 7, "predicted plane"));
        let strict = run(text, &CheckOptions { strict: true, ..OPTIONS }).unwrap();
        // 11 of 11 leave room for less than 100 %.
        assert_eq!(strict.iter().map(|check| check.verdict).collect::<Vec<_>>(), [Fail, Fail, Fail, Unsupported, Fail]);
    }

    #[test]
    fn the_worst_images_come_first() {
        let bundle = testing::bundle();
        let found = &run("check c for all: wings > wet and wings > wheels at least 99 %", &OPTIONS).unwrap()[0];
        let margin = |row: usize| {
            let scores = bundle.samples.scores.row(row);
            (scores[0] - scores[3]).min(scores[0] - scores[1])
        };
        let mut margins: Vec<f32> = (0..25).map(margin).filter(|margin| *margin <= 0.0).collect();
        margins.sort_by(f32::total_cmp);
        assert_eq!(found.worst.iter().map(|image| image.margin.unwrap()).collect::<Vec<_>>(), margins[..3]);
        let found = &run("check c for all: predict(plane) at least 99 %", &OPTIONS).unwrap()[0];
        assert_eq!((found.worst[0].margin, found.worst[0].prediction == "plane"), (None, false));
    }

    #[test]
    fn annotated_concepts_are_looked_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.csv");
        let rows: String = (0..10).map(|row| format!("plane/{row}.png,{}\n", row % 2)).collect();
        std::fs::write(&path, format!("file_name,wings\n{rows}")).unwrap();
        let annotations = Annotations::open(&path).unwrap();
        let options = CheckOptions { annotations: Some(&annotations), ..OPTIONS };
        let found = &run("check c for class plane: hasCon(wings) at least 50 %", &options).unwrap()[0];
        assert_eq!((found.n, found.satisfied, found.unannotated, found.verdict), (10, 5, 7, CheckVerdict::Pass));
    }

    #[test]
    fn mistakes_are_named_with_line_and_column() {
        for (text, expected) in [
            ("", "spec: no check"),
            ("chek a", "spec:1:1: found `chek`, expected `check`"),
            ("check a\n  for plane: wings > wet", "spec:2:7: found `plane`, expected `all`, `class` or `predicted`"),
            ("check for", "spec:1:7: found the keyword `for`, expected the name of a check"),
            ("check a for all wings > wet", "spec:1:17: found `wings`, expected `:`"),
            ("check a for all: wings wet", "spec:1:24: found `wet`, expected `>` or `<` and another concept"),
            (
                "check a for all: wings > wet",
                "spec:1:29: found the end of the file, expected `and`, `or`, `implies` or a bound",
            ),
            ("check a for all: (wings > wet at", "spec:1:31: found the keyword `at`, expected `)`"),
            ("check a for all: wings > wet at least 101 %", "spec:1:39: found `101`, expected a number from 0 to 100"),
            ("check a for all: wings > wet at least 5", "spec:1:40: found the end of the file, expected `%`"),
            ("check a for all: wings >= wet", "spec:1:25: unexpected character '='"),
            ("check a for all: \"wings > wet", "spec:1:18: the quotes of this name aren't closed"),
            ("check é for all: wings > «", "spec:1:26: unexpected character '«'"),
            (
                "check a for all: wing > wet at least 5 %",
                "spec:1:18: there is no concept `wing`, expected one of: wings,",
            ),
            ("check a for class boat: wings > wet at least 5 %", "spec:1:19: there is no class `boat`"),
            ("check a for all: hasCon(wet) at least 5 %", "spec:1:25: `hasCon` needs annotated images"),
            (
                "check a for all: wings > wet at least 5 %\ncheck a for all: wings > wet at least 5 %",
                "spec:2:7: check `a` is already on line 1",
            ),
        ] {
            let error = run(text, &OPTIONS).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{text}: {error}");
            assert_eq!(error.kind(), ErrorKind::Data);
        }
        let hint = run("check a for all: wing > wet at least 5 %", &OPTIONS).unwrap_err();
        assert_eq!(hint.hint_text(), Some("did you mean `wings`?"));
        let deep = format!("check a for all: {}wings > wet{} at least 5 %", "(".repeat(99_999), ")".repeat(99_999));
        assert!(run(&deep, &OPTIONS).unwrap_err().to_string().contains("nested at most 50 deep"));
    }
}
