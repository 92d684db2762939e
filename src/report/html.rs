//! The report: one HTML page that holds its data, style and script and loads nothing.
//!
//! `page.html` is the page as a template, `page.css` its style, `page.js` the map explorer. Tables are static, so the page
//! can be read without its script. Template values are escaped by the engine; the data block is escaped here.

use std::path::Path;
use std::sync::LazyLock;

use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde::Serialize;

use super::chart;
use super::data::{Estimate, Localization, ReportData, Verdicts};
use super::explorer;
use super::summary;
use crate::error::{Error, ErrorKind, Result};
use crate::files;

/// The most classes whose confusion matrix is shown whole; above it the page lists the most frequent confusions alone.
const CONFUSION_CLASSES: usize = 40;
/// How many of the most frequent confusions are listed.
const CONFUSIONS: usize = 10;

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// The page's template with everything it calls.
#[expect(clippy::expect_used, reason = "the template is part of the program, and every test of the page parses it")]
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_filter("percent", |value: f64| summary::percent(value));
    environment.add_filter("signed", |value: f64| format!("{value:+.2}").replace('-', "−"));
    environment.add_filter("decimal", |value: f64| format!("{value:.3}"));
    environment.add_filter("thousands", summary::thousands);
    environment.add_filter("known", |value: f64| value.is_finite());
    environment.add_filter("bar", |estimate: Serde<Estimate>, limit: f64| between(0.0, estimate.value, limit));
    environment.add_filter("whisker", |e: Serde<Estimate>, limit: f64| between(e.low, e.high, limit));
    environment.add_template("page.html", include_str!("page.html")).expect("the page's template is well-formed");
    environment
}

/// The CSS that spans `a` to `b` on an axis from `-limit` to `limit`.
fn between(a: f64, b: f64, limit: f64) -> String {
    let at = |value: f64| 50.0 + 50.0 * (value / limit).clamp(-1.0, 1.0);
    let (left, right) = (at(a.min(b)), at(a.max(b)));
    format!("left:{left:.2}%;width:{:.2}%", right - left)
}

/// Writes the report of `data`.
///
/// # Errors
/// As [`html`], and [`ErrorKind::Io`] that names `path`; nothing is half-written.
pub fn write_html(path: impl AsRef<Path>, data: &ReportData) -> Result<()> {
    let path = path.as_ref();
    let page = html(data)?;
    files::write_atomic(path, |file| file.write_all(page.as_bytes()).map_err(|source| Error::io(path, source)))
}

/// The report of `data` as one HTML page.
///
/// # Errors
/// [`ErrorKind::Data`] if the parts of `data` don't fit together; it names the part.
pub fn html(data: &ReportData) -> Result<String> {
    check(data)?;
    let images: u64 = data.confusion.iter().flatten().sum();
    let right: u64 = (0..data.classes.len()).map(|class| data.confusion[class][class]).sum();
    let judged = data.localization.as_ref().map_or(0, |localization| localization.totals.n());
    let bounds = data.localization.as_ref().and_then(|localization| localization.totals.head_share());
    let kinds: Vec<_> =
        data.evaluation.iter().flat_map(|evaluation| &evaluation.kinds).filter_map(summary::contest).collect();
    let curve = data.evaluation.as_ref().and_then(|evaluation| chart::coverage(&evaluation.curves));
    let confusion = (data.classes.len() <= CONFUSION_CLASSES).then(|| confusion_rows(data));
    let fault_rows = data.localization.as_ref().map(|localization| fault_rows(data, localization));
    let context = context! {
        version => env!("CARGO_PKG_VERSION"),
        css => safe(include_str!("page.css")),
        js => safe(include_str!("page.js")),
        json => safe(&explorer::json(data)?),
        data => Serde(data),
        images,
        right,
        summary => summary::sentences(data),
        class_rows => Serde(class_rows(data)),
        confusion => Serde(confusion),
        confusions => Serde(confusions(data)),
        origins => Serde(origins(data)),
        limit => change_limit(data),
        judged,
        bounds => Serde(bounds),
        fault_rows => Serde(fault_rows),
        examples => Serde(examples(data)),
        kinds => Serde(kinds),
        curve => curve.as_deref().map(safe),
    };
    TEMPLATES
        .get_template("page.html")
        .and_then(|page| page.render(context))
        .map_err(|error| Error::new(ErrorKind::Data, format!("report {}", data.title)).caused_by(error))
}

/// Text that is HTML already.
fn safe(text: &str) -> Value {
    Value::from_safe_string(text.to_owned())
}

/// Checks that lengths and indices fit together.
fn check(data: &ReportData) -> Result<()> {
    let classes = data.classes.len();
    let localization = data.localization.as_ref();
    let lengths = [
        ("confusion", data.confusion.len()),
        ("recall", data.recall.len()),
        ("localization.classes", localization.map_or(classes, |l| l.classes.len())),
        ("localization.class_agreement", localization.map_or(classes, |l| l.class_agreement.len())),
    ];
    let rows = data.confusion.iter().map(|row| ("a row of confusion", row.len()));
    if let Some((name, len)) = lengths.into_iter().chain(rows).find(|&(_, len)| len != classes) {
        let text = format!("report {}: {name} has {len} entries, expected {classes} (one per class)", data.title);
        return Err(Error::new(ErrorKind::Data, text));
    }
    let named = data
        .maps
        .iter()
        .map(|map| ("a map", map.class))
        .chain(data.responsible.iter().map(|r| ("responsible", r.class)))
        .chain(data.examples.iter().flat_map(|e| [("an example's label", e.label), ("a prediction", e.prediction)]));
    if let Some((name, class)) = named.into_iter().find(|&(_, class)| class >= classes) {
        let text = format!("report {}: {name} is of class {class}, expected less than {classes}", data.title);
        return Err(Error::new(ErrorKind::Data, text));
    }
    data.maps.iter().try_for_each(|map| {
        if map.view.concepts != data.concepts {
            let text = format!("report {}: map {} has other concepts", data.title, map.view.title);
            return Err(Error::new(ErrorKind::Data, text));
        }
        map.view.check()
    })
}

/// A line of the classifier's table.
#[derive(Serialize)]
struct ClassRow<'a> {
    name: &'a str,
    n: u64,
    missed: u64,
    false_alarms: u64,
    recall: Option<Estimate>,
}

fn class_rows<'a>(data: &'a ReportData) -> Vec<ClassRow<'a>> {
    let row = |(class, name): (usize, &'a String)| {
        let n: u64 = data.confusion[class].iter().sum();
        let predicted: u64 = data.confusion.iter().map(|row| row[class]).sum();
        let right = data.confusion[class][class];
        ClassRow { name, n, missed: n - right, false_alarms: predicted - right, recall: data.recall[class] }
    };
    data.classes.iter().enumerate().map(row).collect()
}

/// A line of the confusion matrix.
#[derive(Serialize)]
struct ConfusionRow<'a> {
    name: &'a str,
    n: u64,
    cells: Vec<ConfusionCell>,
}

#[derive(Serialize)]
struct ConfusionCell {
    count: u64,
    /// Its share of the row, for its colour.
    share: String,
    tone: &'static str,
}

fn confusion_rows(data: &ReportData) -> Vec<ConfusionRow<'_>> {
    let row = |(label, counts): (usize, &Vec<u64>)| {
        let n: u64 = counts.iter().sum();
        let cell = |(prediction, &count): (usize, &u64)| ConfusionCell {
            count,
            share: format!("{:.3}", count as f64 / n.max(1) as f64),
            tone: match (prediction == label, 2 * count > n) {
                (true, true) => "right strong",
                (true, false) => "right",
                (false, true) => "wrong strong",
                (false, false) => "wrong",
            },
        };
        ConfusionRow { name: &data.classes[label], n, cells: counts.iter().enumerate().map(cell).collect() }
    };
    data.confusion.iter().enumerate().map(row).collect()
}

/// One kind of confusion and how often it happens.
#[derive(Serialize)]
pub(super) struct Confusion<'a> {
    pub(super) label: &'a str,
    pub(super) prediction: &'a str,
    pub(super) count: u64,
}

/// The most frequent confusions, the most frequent first.
pub(super) fn confusions(data: &ReportData) -> Vec<Confusion<'_>> {
    let classes = data.classes.len();
    let mut pairs: Vec<(usize, usize)> = (0..classes).flat_map(|label| (0..classes).map(move |p| (label, p))).collect();
    pairs.retain(|&(label, prediction)| label != prediction && data.confusion[label][prediction] > 0);
    pairs.sort_by_key(|&(label, prediction)| std::cmp::Reverse(data.confusion[label][prediction]));
    let confusion = |&(label, prediction): &(usize, usize)| Confusion {
        label: &data.classes[label],
        prediction: &data.classes[prediction],
        count: data.confusion[label][prediction],
    };
    pairs.iter().take(CONFUSIONS).map(confusion).collect()
}

/// Responsible concepts under one heading.
#[derive(Serialize)]
struct Origin<'a> {
    title: &'static str,
    classes: Vec<&'a super::data::Responsible>,
}

fn origins(data: &ReportData) -> Vec<Origin<'_>> {
    const TITLES: [(&str, &str); 3] = [
        ("differential", "Recognised against missed images of a class"),
        ("false-alarm", "Recognised images of a class against intruders"),
        ("loss", "Seen by CLIP against seen by the classifier’s encoder"),
    ];
    let origin = |(name, title): (&str, &'static str)| Origin {
        title,
        classes: data.responsible.iter().filter(|r| r.origin == name).collect(),
    };
    TITLES.into_iter().map(origin).filter(|origin| !origin.classes.is_empty()).collect()
}

/// The end of the axis of changes: the least of a few round numbers that holds every bar and whisker of supported classes.
fn change_limit(data: &ReportData) -> f64 {
    let changes = data.responsible.iter().filter(|r| r.supported).flat_map(|r| r.lost.iter().chain(&r.intruding));
    let ends = changes.flat_map(|c| [c.change.value, c.change.low, c.change.high]).filter(|end| end.is_finite());
    let largest = ends.fold(0.0_f64, |max, end| max.max(end.abs()));
    [0.1, 0.2, 0.3, 0.4, 0.5, 0.75].into_iter().find(|&limit| largest <= limit).unwrap_or(1.0)
}

/// A line of the localisation's table.
#[derive(Serialize)]
struct FaultRow<'a> {
    name: &'a str,
    n: u64,
    verdicts: Verdicts,
    agreement: Option<Estimate>,
}

fn fault_rows<'a>(data: &'a ReportData, localization: &Localization) -> Vec<FaultRow<'a>> {
    let per_class = localization.classes.iter().zip(&localization.class_agreement);
    let row = |(name, (&verdicts, &agreement)): (&'a String, (&Verdicts, &Option<Estimate>))| FaultRow {
        name,
        n: verdicts.n(),
        verdicts,
        agreement,
    };
    data.classes.iter().zip(per_class).map(row).collect()
}

/// An example with its names and its picture as a data URI.
#[derive(Serialize)]
struct ExampleCard<'a> {
    path: &'a str,
    label: &'a str,
    prediction: &'a str,
    verdict: Option<&'a str>,
    concepts: &'a [String],
    image: String,
}

fn examples<'a>(data: &'a ReportData) -> Vec<ExampleCard<'a>> {
    let card = |example: &'a super::data::Example| ExampleCard {
        path: &example.path,
        label: &data.classes[example.label],
        prediction: &data.classes[example.prediction],
        verdict: example.verdict.as_deref(),
        concepts: &example.concepts,
        image: data_uri(&example.thumbnail),
    };
    data.examples.iter().map(card).collect()
}

/// An encoded picture as a `data:` URI; empty for no picture or an unknown format.
fn data_uri(picture: &[u8]) -> String {
    use base64::Engine as _;
    match image::guess_format(picture) {
        Ok(format) => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(picture);
            format!("data:{};base64,{encoded}", format.to_mime_type())
        }
        Err(_) => String::new(),
    }
}
