//! The maps as the page's script reads them: compact, rounded to what a person can use.

use serde::Serialize;

use super::colors::{Rgb, color_at, color_at_in_the_dark};
use super::data::{ReportData, ReportMap};
use super::map::MapKind;
use crate::error::{Error, ErrorKind, Result};

/// Steps of a colour scale; between two of them no eye sees a difference.
const STEPS: usize = 65;

#[derive(Serialize)]
struct Data<'a> {
    classes: &'a [String],
    concepts: &'a [String],
    light: Scales,
    dark: Scales,
    maps: Vec<Map<'a>>,
}

/// Colours by rising value.
#[derive(Serialize)]
struct Scales {
    strength: Vec<String>,
    differential: Vec<String>,
}

impl Scales {
    fn of(color_at: fn(MapKind, f64) -> Rgb) -> Self {
        let color = |kind, step| hex(color_at(kind, step as f64 / (STEPS - 1) as f64));
        let scale = |kind| (0..STEPS).map(|step| color(kind, step)).collect();
        Self { strength: scale(MapKind::Strength), differential: scale(MapKind::Differential) }
    }
}

#[derive(Serialize)]
struct Map<'a> {
    class: usize,
    set: &'a str,
    kind: MapKind,
    title: &'a str,
    support: String,
    supported: bool,
    range: f64,
    values: Vec<Option<f64>>,
    means: Vec<Option<f64>>,
    sides: Vec<Side<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low: Option<Vec<Option<f64>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high: Option<Vec<Option<f64>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<Vec<Option<f64>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Flags<'a>>,
}

#[derive(Serialize)]
struct Side<'a> {
    name: &'a str,
    n: u64,
    counts: &'a [u64],
}

#[derive(Serialize)]
struct Flags<'a> {
    meaning: &'a str,
    /// The indices of the flagged cells.
    cells: Vec<usize>,
}

/// The script's data as JSON that is safe inside a `<script>` element.
pub(super) fn json(data: &ReportData) -> Result<String> {
    let page = Data {
        classes: &data.classes,
        concepts: &data.concepts,
        light: Scales::of(color_at),
        dark: Scales::of(color_at_in_the_dark),
        maps: data.maps.iter().map(|map| compact(map, common_range(data, &map.set))).collect(),
    };
    let json = serde_json::to_string(&page)
        .map_err(|error| Error::new(ErrorKind::Data, format!("report {}", data.title)).caused_by(error))?;
    // `<` occurs only inside strings, where an escape means the same; without it neither `</script>` nor `<!--` can.
    Ok(json.replace('<', "\\u003c"))
}

/// The range that the colours of all supported maps of a set share, so that classes can be compared.
fn common_range(data: &ReportData, set: &str) -> f64 {
    let alike = data.maps.iter().filter(|map| map.set == set && map.view.supported);
    let largest = alike.map(|map| map.view.range()).fold(0.0, f64::max);
    if largest > 0.0 { largest } else { 1.0 }
}

fn compact(map: &ReportMap, range: f64) -> Map<'_> {
    let view = &map.view;
    let rounded = |values: &[f64]| values.iter().map(|&value| four_digits(value)).collect::<Vec<_>>();
    Map {
        class: map.class,
        set: &map.set,
        kind: view.kind,
        title: &view.title,
        support: view.support(),
        supported: view.supported,
        range,
        values: rounded(&view.values),
        means: (0..view.size()).map(|row| view.row_mean(row).and_then(four_digits)).collect(),
        sides: view.sides.iter().map(|side| Side { name: &side.name, n: side.n, counts: &side.counts }).collect(),
        low: view.intervals.as_ref().map(|intervals| rounded(&intervals.low)),
        high: view.intervals.as_ref().map(|intervals| rounded(&intervals.high)),
        p: view.p.as_ref().map(|p| p.iter().map(|&p| two_significant(p)).collect()),
        flags: view.flags.as_ref().map(|flags| Flags {
            meaning: &flags.meaning,
            cells: (0..flags.cells.len()).filter(|&cell| flags.cells[cell]).collect(),
        }),
    }
}

/// A value to four digits after the point; `None` for NaN.
fn four_digits(value: f64) -> Option<f64> {
    value.is_finite().then(|| (value * 1e4).round() / 1e4)
}

/// A p-value to two significant digits; `None` for NaN.
fn two_significant(p: f64) -> Option<f64> {
    p.is_finite().then(|| format!("{p:.1e}").parse().unwrap_or(p))
}

fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}
