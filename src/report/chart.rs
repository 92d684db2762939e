//! Accuracy against coverage, as an SVG picture.

use std::fmt::Write as _;

use super::data::CoverageCurve;

/// The plot's extents and margins, in user units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// The most points of a curve that are drawn: more than the picture has pixels is waste.
const POINTS: usize = 400;

/// The curves in one plot with a legend, or `None` if there is nothing to draw.
pub(super) fn coverage(curves: &[CoverageCurve]) -> Option<String> {
    let lowest = curves.iter().flat_map(|curve| &curve.points).map(|&(_, accuracy)| accuracy).fold(f64::NAN, f64::min);
    if !lowest.is_finite() {
        return None;
    }
    // The axis begins at a round number below every curve; accuracies near 1 would otherwise be a flat line.
    let bottom = ((lowest * 10.0).floor() / 10.0).clamp(0.0, 0.9);
    let x = |coverage: f64| LEFT + (WIDTH - LEFT - RIGHT) * coverage;
    let y = |accuracy: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (accuracy - bottom) / (1.0 - bottom));

    let mut svg = format!(
        "<figure class=\"curve\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Accuracy among accepted images against the share accepted\">"
    );
    for step in 0..=5 {
        let share = f64::from(step) / 5.0;
        let accuracy = bottom + (1.0 - bottom) * share;
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.0} %</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y(accuracy) + 4.0,
            accuracy * 100.0,
            x(share),
            HEIGHT - BOTTOM + 18.0,
            share * 100.0,
            y = y(accuracy),
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"axis\">share of images accepted</text>",
        x(0.5),
        HEIGHT - 4.0
    );
    // The filter's curve comes last, over the others.
    let mut order: Vec<(usize, &CoverageCurve)> = curves.iter().enumerate().collect();
    order.sort_by_key(|(_, curve)| curve.is_filter);
    for (at, curve) in order {
        let stride = curve.points.len().div_ceil(POINTS).max(1);
        let last = curve.points.len().saturating_sub(1);
        let drawn = curve.points.iter().enumerate().filter(|&(at, _)| at % stride == 0 || at == last);
        let points: Vec<String> = drawn.map(|(_, &(c, a))| format!("{:.1},{:.1}", x(c), y(a))).collect();
        let _ = write!(svg, "<polyline class=\"{}\" points=\"{}\"/>", style(at, curve), points.join(" "));
    }
    svg.push_str("</svg><figcaption><ul class=\"legend-list\">");
    for (at, curve) in curves.iter().enumerate() {
        let name = minijinja::HtmlEscape(&curve.name);
        let _ =
            write!(svg, "<li><i class=\"{}\"></i>{name} <b>AURC {:.3}</b></li>", style(at, curve), curve.aurc.value);
    }
    svg.push_str("</ul></figcaption></figure>");
    Some(svg)
}

/// The class that gives a curve its colour: the filter has its own, the baselines share five.
fn style(at: usize, curve: &CoverageCurve) -> String {
    match curve.is_filter {
        true => "line ours".to_owned(),
        false => format!("line other{}", at % 5),
    }
}
