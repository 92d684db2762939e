//! A map as a picture: cells, names along both axes, a colour bar, the title and what it rests on.

use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use super::canvas::{Area, Canvas, Font, shortened};
use super::colors::{Rgb, color_at, color_of, ink_on};
use super::map::{MapKind, MapView};
use crate::error::{Error, Result};
use crate::files;

const INK: Rgb = [0x22, 0x25, 0x2b];
const FAINT: Rgb = [0x6b, 0x70, 0x7a];
const BLANK: Rgb = [0xff; 3];
const UNSUPPORTED: Rgb = [0xf0, 0xf0, 0xf2];
const HATCH: Rgb = [0x8a, 0x8f, 0x99];
/// Between cells, so that a difference of nothing, which is white, keeps its outline.
const GRID: Rgb = [0xe4, 0xe5, 0xe8];

/// Space around the picture and between its parts, in pixels.
const MARGIN: u32 = 20;
const GAP: u32 = 6;
/// The longest name along an axis, in characters.
const NAME: usize = 22;
const BAR: u32 = 18;

/// Writes the picture of `map`.
///
/// # Errors
/// [`ErrorKind::Io`](crate::ErrorKind::Io) that names `path`, [`ErrorKind::Data`](crate::ErrorKind::Data) for a malformed
/// map; nothing is half-written.
pub fn write_png(path: impl AsRef<Path>, map: &MapView) -> Result<()> {
    let path = path.as_ref();
    map.check()?;
    let picture = draw(map);
    files::write_atomic(path, |file| {
        PngEncoder::new_with_quality(file, CompressionType::Best, FilterType::Adaptive)
            .write_image(&picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)
            .map_err(|source| Error::io(path, std::io::Error::other(source)))
    })
}

/// Draws the picture of a well-formed map.
fn draw(map: &MapView) -> RgbImage {
    let layout = Layout::of(map);
    let mut canvas = Canvas::new(layout.width, layout.height);
    canvas.text((MARGIN, MARGIN), Font::Title, &map.title, INK);
    canvas.text((MARGIN, MARGIN + Font::Title.height() + GAP), Font::Text, &map.support(), FAINT);
    names(&mut canvas, map, &layout);
    canvas.fill(layout.map, GRID);
    for row in 0..map.size() {
        for column in 0..map.size() {
            cell(&mut canvas, map, &layout, (row, column));
        }
    }
    color_bar(&mut canvas, map, &layout);
    for (line, note) in layout.notes.iter().enumerate() {
        let y = layout.map.y + layout.map.height + 2 * GAP + line as u32 * (Font::Text.height() + 2);
        canvas.text((MARGIN, y), Font::Text, note, FAINT);
    }
    canvas.into_pixels()
}

/// Where everything goes.
struct Layout {
    width: u32,
    height: u32,
    /// The side of a cell.
    cell: u32,
    /// All cells.
    map: Area,
    /// Every how many-th name is written.
    stride: usize,
    /// What the colours span ([`MapView::range`]).
    range: f64,
    notes: Vec<String>,
}

impl Layout {
    fn of(map: &MapView) -> Self {
        let size = map.size() as u32;
        let cell = match size {
            0..=20 => 36,
            21..=40 => 26,
            41..=64 => 18,
            _ => (1200 / size).max(6),
        };
        let names = map.concepts.iter().map(|name| Font::Text.width(&shortened(name, NAME))).max().unwrap_or(0);
        let head = MARGIN + Font::Title.height() + Font::Text.height() + 4 * GAP;
        let area = Area {
            x: MARGIN + names + GAP,
            y: head + names + GAP,
            width: size * cell,
            // A map of two or three concepts still needs room for the ticks of its colour bar.
            height: size * cell,
        };
        let notes = notes(map);
        let texts = notes.iter().map(|note| Font::Text.width(note));
        let text_width =
            texts.chain([Font::Title.width(&map.title), Font::Text.width(&map.support())]).max().unwrap_or(0);
        let bar = 2 * MARGIN + BAR + GAP + Font::Text.width("+0.25");
        Self {
            width: (area.x + area.width + bar).max(MARGIN + text_width) + MARGIN,
            height: area.y + area.height + 2 * GAP + notes.len() as u32 * (Font::Text.height() + 2) + MARGIN,
            cell,
            map: area,
            stride: (Font::Text.height() as usize).div_ceil(cell as usize),
            range: map.range(),
            notes,
        }
    }

    /// The area of one cell, without the line that parts it from its neighbours.
    fn cell(&self, row: usize, column: usize) -> Area {
        let line = u32::from(self.cell > 8);
        Area {
            x: self.map.x + column as u32 * self.cell,
            y: self.map.y + row as u32 * self.cell,
            width: self.cell - line,
            height: self.cell - line,
        }
    }
}

/// What a reader has to know, a line each.
fn notes(map: &MapView) -> Vec<String> {
    let share = "Share of images in which the row's concept scores above the column's";
    let meaning = match (map.kind, map.sides.as_slice()) {
        (MapKind::Strength, _) => format!("{share}."),
        (MapKind::Binarised, _) => format!("{share}: 1 above the threshold, 0 below."),
        (MapKind::Differential, [first, second]) => format!("{share}: in {} less in {}.", first.name, second.name),
        (MapKind::Differential, _) => format!("{share}: difference of two sets."),
    };
    let flags = map.flags.as_ref().map(|flags| format!("Dots: {}.", flags.meaning));
    let gaps = (0..map.size() * map.size()).any(|at| at % (map.size() + 1) != 0 && !map.values[at].is_finite());
    let hatched = match (map.supported, gaps) {
        (false, _) => Some("Hatched: unsupported, too few images.".to_owned()),
        (true, true) => Some("Hatched: no value.".to_owned()),
        (true, false) => None,
    };
    [Some(meaning), flags, hatched].into_iter().flatten().collect()
}

/// Writes the concepts' names along both axes.
fn names(canvas: &mut Canvas, map: &MapView, layout: &Layout) {
    for (at, name) in map.concepts.iter().enumerate().step_by(layout.stride) {
        let name = shortened(name, NAME);
        let left = layout.map.x - GAP - Font::Text.width(&name);
        // Both axes begin far enough inside the canvas that half a line before their first cell is still on it.
        let middle = at as u32 * layout.cell + layout.cell / 2;
        let along = |start: u32| start + middle - Font::Text.height() / 2;
        canvas.text((left, along(layout.map.y)), Font::Text, &name, INK);
        canvas.text_upwards((along(layout.map.x), layout.map.y - GAP), Font::Text, &name, INK);
    }
}

/// Draws one cell; those of the diagonal are blank.
fn cell(canvas: &mut Canvas, map: &MapView, layout: &Layout, (row, column): (usize, usize)) {
    let area = layout.cell(row, column);
    if row == column {
        canvas.fill(area, BLANK);
        return;
    }
    let value = map.value(row, column);
    let color = value.map_or(UNSUPPORTED, |value| color_of(map.kind, value, layout.range));
    let ink = ink_on(color);
    canvas.fill(area, color);
    match value {
        None => canvas.hatch(area, HATCH),
        Some(_) if !map.supported => canvas.hatch(area, ink),
        Some(value) if layout.cell >= 36 => {
            let number = map.kind.number(value);
            let x = area.x + (area.width.saturating_sub(Font::Text.width(&number))) / 2;
            canvas.text((x, area.y + (area.height - Font::Text.height()) / 2), Font::Text, &number, ink);
        }
        Some(_) => {}
    }
    if map.flags.as_ref().is_some_and(|flags| flags.cells[row * map.size() + column]) {
        let dot = (layout.cell / 7).max(2);
        canvas.fill(Area { x: area.x + area.width - 2 * dot + 1, y: area.y + dot - 1, width: dot, height: dot }, ink);
    }
}

/// Draws the colour bar right of the map, with five ticks.
fn color_bar(canvas: &mut Canvas, map: &MapView, layout: &Layout) {
    let x = layout.map.x + layout.map.width + MARGIN;
    let (top, height) = (layout.map.y, layout.map.height.saturating_sub(1).max(1));
    for down in 0..height {
        let position = 1.0 - f64::from(down) / f64::from(height);
        canvas.fill(Area { x, y: top + down, width: BAR, height: 1 }, color_at(map.kind, position));
    }
    let room = height > 5 * Font::Text.height() && map.kind != MapKind::Binarised;
    let ticks: &[f64] = if room { &[0.0, 0.25, 0.5, 0.75, 1.0] } else { &[0.0, 1.0] };
    for &position in ticks {
        let value = match map.kind {
            MapKind::Strength | MapKind::Binarised => position * layout.range,
            MapKind::Differential => (2.0 * position - 1.0) * layout.range,
        };
        let y = top + (f64::from(height - 1) * (1.0 - position)).round() as u32;
        let label = match map.kind {
            MapKind::Differential if value != 0.0 => format!("{value:+}"),
            _ => value.to_string(),
        };
        canvas.fill(Area { x: x + BAR, y, width: 4, height: 1 }, INK);
        canvas.text((x + BAR + 4 + GAP, y.saturating_sub(Font::Text.height() / 2)), Font::Text, &label, INK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::map::tests::example;
    use crate::report::{Flags, Side};

    /// The pixels of one cell.
    fn pixels(map: &MapView, row: usize, column: usize) -> Vec<Rgb> {
        let area = Layout::of(map).cell(row, column);
        let picture = draw(map);
        (area.y..area.y + area.height)
            .flat_map(|y| (area.x..area.x + area.width).map(move |x| (x, y)))
            .map(|(x, y)| picture.get_pixel(x, y).0)
            .collect()
    }

    /// The colour that covers most of a cell.
    fn ground(map: &MapView, row: usize, column: usize) -> Rgb {
        let pixels = pixels(map, row, column);
        let share = |color: &Rgb| pixels.iter().filter(|&pixel| pixel == color).count();
        pixels.iter().copied().max_by_key(share).unwrap()
    }

    #[test]
    fn cells_have_their_values_color_and_the_diagonal_is_blank() {
        for kind in [MapKind::Strength, MapKind::Binarised, MapKind::Differential] {
            let map = example(kind, &["wings", "wheels", "ears", "a name longer than any axis has room for"]);
            for (row, column) in (0..4).flat_map(|row| (0..4).map(move |column| (row, column))) {
                let expected = map.value(row, column).map_or(BLANK, |value| color_of(kind, value, map.range()));
                assert_eq!(ground(&map, row, column), expected, "{kind:?} {row} {column}");
            }
        }
    }

    #[test]
    fn gaps_and_unsupported_maps_are_hatched_and_say_so() {
        let mut map = example(MapKind::Differential, &["wings", "wheels", "ears"]);
        let colors = |map: &MapView| pixels(map, 0, 1).into_iter().collect::<std::collections::HashSet<_>>();
        map.values[1] = f64::NAN;
        assert!(notes(&map).contains(&"Hatched: no value.".to_owned()));
        assert!(colors(&map).contains(&UNSUPPORTED) && colors(&map).len() > 2);
        map.values[1] = 0.5;
        map.supported = false;
        assert!(notes(&map).contains(&"Hatched: unsupported, too few images.".to_owned()));
        assert!(colors(&map).len() > 2);
    }

    #[test]
    fn a_flag_is_a_dot_in_its_cell_alone() {
        let names: Vec<String> = (0..30).map(|at| format!("concept {at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut map = example(MapKind::Strength, &names);
        map.flags =
            Some(Flags { meaning: "at the threshold".into(), cells: (0..900).map(|at| at == 31 * 2 + 1).collect() });
        let plain = |row, column| {
            let pixels = pixels(&map, row, column);
            pixels.iter().all(|&pixel| pixel == pixels[0])
        };
        assert!(!plain(2, 3));
        assert!(plain(3, 2) && plain(2, 4));
    }

    #[test]
    fn a_cell_at_the_threshold_is_hatched_and_dotted() {
        let mut map = example(MapKind::Binarised, &["wings", "wheels", "ears"]);
        map.values[1] = f64::NAN;
        map.flags = Some(Flags { meaning: "at the threshold".into(), cells: (0..9).map(|at| at == 1).collect() });
        let found = pixels(&map, 0, 1);
        assert!(found.contains(&UNSUPPORTED) && found.contains(&[0; 3]));
    }

    #[test]
    fn any_size_has_room_for_all_its_text() {
        for size in [2, 3, 18, 20, 21, 64, 65, 130, 400] {
            let names: Vec<String> = (0..size).map(|at| format!("concept {at}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut map = example(MapKind::Differential, &names);
            let side = |name: &str| Side { name: name.into(), n: 1_000_000, counts: vec![0; size * size] };
            map.sides = vec![side("correct images of a class"), side("missed images of a class")];
            let layout = Layout::of(&map);
            let picture = draw(&map);
            assert_eq!((picture.width(), picture.height()), (layout.width, layout.height));
            // Nothing touches the frame, so no text was cut off.
            let frame = |x: u32, y: u32| x < 2 || y < 2 || x + 2 >= layout.width || y + 2 >= layout.height;
            let cut = picture.enumerate_pixels().filter(|&(x, y, pixel)| frame(x, y) && pixel.0 != [255; 3]).count();
            assert_eq!(cut, 0, "{size} concepts");
        }
    }

    #[test]
    fn the_file_decodes_to_the_drawing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.png");
        let map = example(MapKind::Strength, &["wings", "尾巴"]);
        write_png(&path, &map).unwrap();
        assert_eq!(image::open(&path).unwrap().into_rgb8(), draw(&map));
    }
}
