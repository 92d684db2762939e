//! The two colour scales, the same in pictures, in the terminal and on the page.

use super::map::MapKind;

/// An opaque sRGB colour.
pub(crate) type Rgb = [u8; 3];

const WHITE: Rgb = [255; 3];

/// The colour at `position` in [0, 1] of the scale of `kind`; positions outside are clamped.
///
/// Strength is Viridis. Differentials run from red through white at ½ to blue: `ColorBrewer`'s `RdBu`, with its pale
/// middle bent to pure white so that a difference of nothing looks like nothing.
pub(crate) fn color_at(kind: MapKind, position: f64) -> Rgb {
    let position = position.clamp(0.0, 1.0);
    match kind {
        MapKind::Strength | MapKind::Binarised => colorous::VIRIDIS.eval_continuous(position).as_array(),
        MapKind::Differential => {
            let distance = (2.0 * position - 1.0).abs();
            blend(WHITE, colorous::RED_BLUE.eval_continuous(position).as_array(), (distance / 0.3).min(1.0))
        }
    }
}

/// As [`color_at`] for a dark ground: there a difference of nothing is nearly the ground itself, since white would glare.
pub(crate) fn color_at_in_the_dark(kind: MapKind, position: f64) -> Rgb {
    const NOTHING: Rgb = [0x26, 0x29, 0x2e];
    const BELOW: Rgb = [0xff, 0x86, 0x6b];
    const ABOVE: Rgb = [0x6c, 0xb4, 0xff];
    let distance = 2.0 * position.clamp(0.0, 1.0) - 1.0;
    match kind {
        MapKind::Strength | MapKind::Binarised => color_at(kind, position),
        MapKind::Differential if distance < 0.0 => blend(NOTHING, BELOW, -distance),
        MapKind::Differential => blend(NOTHING, ABOVE, distance),
    }
}

/// The colour of `value` in a map of `kind` whose colours span `range` (to both sides of 0 for differentials).
pub(crate) fn color_of(kind: MapKind, value: f64, range: f64) -> Rgb {
    match kind {
        MapKind::Strength | MapKind::Binarised => color_at(kind, value / range),
        MapKind::Differential => color_at(kind, 0.5 + 0.5 * value / range),
    }
}

/// `share` of the way from `from` to `to`.
pub(crate) fn blend(from: Rgb, to: Rgb, share: f64) -> Rgb {
    std::array::from_fn(|at| (f64::from(from[at]) + (f64::from(to[at]) - f64::from(from[at])) * share).round() as u8)
}

/// Black or white, whichever stands out more against `background` (by relative luminance, WCAG 2.1).
pub(crate) fn ink_on(background: Rgb) -> Rgb {
    let linear = background.map(|channel| {
        let c = f64::from(channel) / 255.0;
        if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    });
    let luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    // Contrast with white is 1.05 / (L + 0.05), with black (L + 0.05) / 0.05: they meet at L = 0.179.
    if luminance > 0.179 { [0; 3] } else { WHITE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strength_is_viridis() {
        // The ends of matplotlib's viridis.
        assert_eq!(color_of(MapKind::Strength, 0.0, 1.0), [0x44, 0x01, 0x54]);
        assert_eq!(color_of(MapKind::Strength, 1.0, 1.0), [0xfd, 0xe7, 0x25]);
    }

    #[test]
    fn differentials_are_white_at_zero_and_blue_above_it() {
        assert_eq!(color_of(MapKind::Differential, 0.0, 0.25), WHITE);
        let (lost, intruding) =
            (color_of(MapKind::Differential, 0.2, 0.25), color_of(MapKind::Differential, -0.2, 0.25));
        assert!(lost[2] > lost[0] && intruding[0] > intruding[2], "{lost:?} {intruding:?}");
        assert_eq!(color_of(MapKind::Differential, 7.0, 1.0), color_at(MapKind::Differential, 1.0));
    }

    #[test]
    fn ink_stands_out() {
        assert_eq!(ink_on([0x44, 0x01, 0x54]), WHITE);
        assert_eq!(ink_on([0xfd, 0xe7, 0x25]), [0; 3]);
    }
}
