//! A map in the terminal: a number and, where colours are wanted, a coloured cell per pair of concepts.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::colors::{Rgb, color_of, ink_on};
use super::map::{Intervals, MapKind, MapView};

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal; a wider map is printed in several blocks.
    pub width: usize,
    /// Whether to colour cells by 24-bit ANSI sequences.
    pub color: bool,
}

/// Columns of the terminal that the mean of a row takes, with the space before it.
const MEAN: usize = 5;
/// Blanks between the mean and the cells.
const GAP: usize = 2;
/// The longest name of a row.
const NAME: usize = 18;
/// Letters in a concept's abbreviation.
const CODE: usize = 3;

/// The map as text, a line per concept: its abbreviation, which heads its column as well, its name, the mean of its row
/// and its cells, all in percent.
///
/// # Panics
/// If the map isn't well-formed ([`MapView::check`]).
pub fn render(map: &MapView, style: Style) -> String {
    let codes = abbreviations(&map.concepts);
    let name_width = map.concepts.iter().map(|name| name.width()).max().unwrap_or(0).min(NAME);
    let margin = CODE + 1 + name_width + MEAN + GAP;
    let narrow = cell_width(map);
    let width = if margin + map.size() * (narrow + 1) <= style.width { narrow + 1 } else { narrow };
    let grid = Grid { map, width, range: map.range(), color: style.color && map.supported };
    let per_block = (style.width.saturating_sub(margin) / width).max(1);
    let mut text = heading(map);
    let columns: Vec<usize> = (0..map.size()).collect();
    for block in columns.chunks(per_block) {
        text.push('\n');
        let heads = block.iter().map(|&column| format!("{:>w$} ", codes[column], w = width - 1));
        push_line(&mut text, &format!("{:>w$}{:GAP$}{}", "mean", "", heads.collect::<String>(), w = margin - GAP));
        for (row, code) in codes.iter().enumerate() {
            let mean = map.row_mean(row).map_or_else(String::new, |mean| map.kind.percent(mean));
            let name = padded(&map.concepts[row], name_width);
            let cells: String = block.iter().map(|&column| grid.cell(row, column)).collect();
            push_line(&mut text, &format!("{} {name}{mean:>MEAN$}{:GAP$}{cells}", padded(code, CODE), ""));
        }
    }
    text
}

/// The title, what the map rests on and how to read it.
fn heading(map: &MapView) -> String {
    let mut text = map.title.clone();
    if !map.sides.is_empty() {
        let _ = write!(text, "  ({})", map.support());
    }
    if !map.supported {
        text.push_str("  UNSUPPORTED: too few images");
    }
    text.push('\n');
    text.push_str(match map.kind {
        MapKind::Strength => "% of images in which the row's concept scores above the column's; mean: of its row",
        MapKind::Binarised => {
            "1: the row's concept scores above the column's in a share of images above the threshold; mean: % of its row"
        }
        MapKind::Differential => "difference in % points; mean: of its row, the change in the concept's win rate",
    });
    if let Some(flags) = &map.flags {
        let _ = write!(text, "; *: {}", flags.meaning);
    }
    text.push('\n');
    if let Some(reach) = widest(map) {
        let _ = writeln!(
            text,
            "95 % intervals reach up to {:.0} points from a cell; as CSV and JSON each is told",
            100.0 * reach
        );
    }
    text
}

/// How far an interval reaches from its value at most; none without intervals.
fn widest(map: &MapView) -> Option<f64> {
    let Intervals { low, high } = map.intervals.as_ref()?;
    let reaches =
        map.values.iter().zip(low.iter().zip(high)).map(|(value, (low, high))| (value - low).max(high - value));
    reaches.filter(|reach| reach.is_finite()).max_by(f64::total_cmp)
}

/// Columns that a cell takes: its number and a mark, which also parts it from the next.
fn cell_width(map: &MapView) -> usize {
    let longest = map.values.iter().filter(|value| value.is_finite()).map(|&value| map.kind.number(value).len()).max();
    longest.unwrap_or(0).max(CODE) + 1
}

/// Adds `line` without the blanks at its end.
fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// What all cells share.
struct Grid<'a> {
    map: &'a MapView,
    /// Columns of the terminal that a cell takes.
    width: usize,
    /// What the colours span.
    range: f64,
    color: bool,
}

impl Grid<'_> {
    fn cell(&self, row: usize, column: usize) -> String {
        let map = self.map;
        let flag = map.flags.as_ref().is_some_and(|flags| flags.cells[row * map.size() + column]);
        let mark = if flag { '*' } else { ' ' };
        let digits = self.width - 1;
        match map.value(row, column) {
            _ if row == column => " ".repeat(self.width),
            None => format!("{:>digits$}{mark}", "·"),
            Some(value) => {
                let number = format!("{:>digits$}{mark}", map.kind.number(value));
                match self.color {
                    true => painted(&number, color_of(map.kind, value, self.range)),
                    false => number,
                }
            }
        }
    }
}

/// `text` on a coloured background (SGR 48 and 38, 24-bit).
fn painted(text: &str, background: Rgb) -> String {
    let [r, g, b] = background;
    let [ink, ..] = ink_on(background);
    format!("\x1b[48;2;{r};{g};{b};38;2;{ink};{ink};{ink}m{text}\x1b[0m")
}

/// `text` cut or padded to `width` columns of the terminal.
fn padded(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    let fits = text.width() <= width;
    for character in text.chars() {
        let next = character.width().unwrap_or(0);
        if !fits && used + next > width.saturating_sub(1) {
            out.push('…');
            used += 1;
            break;
        }
        out.push(character);
        used += next;
    }
    out.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
    out
}

/// Distinct abbreviations of three characters: the first letters of a single word, the first letter of a first word and
/// two of the second; where those are taken, later letters of the name, then numbers.
fn abbreviations(names: &[String]) -> Vec<String> {
    let mut codes: Vec<String> = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        // Names in scripts of wide characters would break the grid, so only narrow ones are used.
        let narrow = |word: &str| -> Vec<char> {
            word.chars().filter(|c| c.is_alphanumeric() && c.width() == Some(1)).collect()
        };
        let words: Vec<Vec<char>> =
            name.split(|c: char| !c.is_alphanumeric()).map(narrow).filter(|w| !w.is_empty()).collect();
        let stem: Vec<char> = match words.as_slice() {
            [first, second, ..] => [&first[..1], second].concat(),
            [only] => only.clone(),
            [] => Vec::new(),
        };
        let head: String = stem.iter().take(CODE - 1).collect();
        let by_letter = stem.iter().skip(CODE - 1).map(|&last| format!("{head}{last}"));
        let by_number = (0..1000).map(|number| {
            let number = (at + number).to_string();
            let kept: String = stem.iter().take(CODE.saturating_sub(number.len())).collect();
            kept + &number
        });
        let short = (!stem.is_empty() && stem.len() < CODE).then_some(head.clone());
        let free = short.into_iter().chain(by_letter).chain(by_number).find(|code| !codes.contains(code));
        codes.push(free.unwrap_or_else(|| at.to_string()));
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::map::tests::example;
    use crate::report::{Flags, Side};

    /// The case study's attributes, in their order.
    const ATTRIBUTES: [&str; 18] = [
        "long-snout",
        "wings",
        "wheels",
        "text",
        "horns",
        "floppy-ears",
        "ears",
        "colored-eyes",
        "tail",
        "mane",
        "beak",
        "hairy",
        "metallic",
        "rectangular",
        "wet",
        "long",
        "tall",
        "patterned",
    ];

    #[test]
    fn eighteen_concepts_fit_into_100_columns() {
        let mut map = example(MapKind::Differential, &ATTRIBUTES);
        map.values.iter_mut().for_each(|value| *value *= 0.9);
        let text = render(&map, Style { width: 100, color: false });
        assert_eq!(text.lines().filter(|line| line.contains("floppy-ears")).count(), 1);
        assert!(text.lines().all(|line| line.width() <= 100), "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn numbers_are_the_maps() {
        let mut map = example(MapKind::Strength, &["wings", "long tail", "wet"]);
        map.values = vec![f64::NAN, 1.0, 0.25, 0.0, f64::NAN, f64::NAN, 0.746, 0.5, f64::NAN];
        map.sides = vec![Side { name: "correct".into(), n: 12, counts: vec![0; 9] }];
        map.flags = Some(Flags { meaning: "at the threshold".into(), cells: (0..9).map(|at| at == 7).collect() });
        let text = render(&map, Style { width: 80, color: false });
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(text.starts_with("plane  (n = 12)\n"));
        assert!(text.contains("*: at the threshold"));
        assert_eq!(lines[3], ["mean", "win", "lta", "wet"]);
        assert_eq!(lines[4], ["win", "wings", "63", "100", "25"]);
        assert_eq!(lines[5], ["lta", "long", "tail", "0", "0", "·"]);
        assert_eq!(lines[6], ["wet", "wet", "62", "75", "50*"]);
    }

    #[test]
    fn binarised_cells_are_zero_one_or_marked() {
        let mut map = example(MapKind::Binarised, &["wings", "wheels", "ears"]);
        map.values[2] = f64::NAN;
        map.flags = Some(Flags { meaning: "at the threshold".into(), cells: (0..9).map(|at| at == 2).collect() });
        let text = render(&map, Style { width: 80, color: false });
        let lines: Vec<Vec<&str>> = text.lines().skip(4).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["win", "wings", "100", "1", "·*"]);
        assert_eq!(lines[1], ["whe", "wheels", "50", "0", "1"]);
    }

    #[test]
    fn cells_align_in_every_line() {
        let mut map = example(MapKind::Differential, &["wings", "尾巴", "a name that is far too long to print"]);
        map.supported = false;
        let text = render(&map, Style { width: 80, color: false });
        assert!(text.contains("UNSUPPORTED"));
        let header = text.lines().nth(3).unwrap();
        for (row, line) in text.lines().skip(4).enumerate() {
            assert!(line.width() <= header.width() + 1, "{text}");
            let value = map.kind.percent(map.value(row, usize::from(row == 0)).unwrap());
            assert!(line.contains(&value), "{value} in {line}");
        }
    }

    #[test]
    fn a_narrow_terminal_gets_blocks_that_hold_every_column_once() {
        let map = example(MapKind::Strength, &ATTRIBUTES);
        let text = render(&map, Style { width: 60, color: false });
        assert!(text.lines().skip(3).all(|line| line.width() <= 60), "{text}");
        let headers: Vec<&str> = text
            .lines()
            .filter(|l| l.trim_start().starts_with("mean"))
            .flat_map(|l| l.split_whitespace().skip(1))
            .collect();
        assert_eq!(headers, abbreviations(&map.concepts));
    }

    #[test]
    fn colored_cells_carry_the_scales_color() {
        let map = example(MapKind::Strength, &["a", "b"]);
        let text = render(&map, Style { width: 80, color: true });
        let [r, g, b] = color_of(MapKind::Strength, map.value(0, 1).unwrap(), 1.0);
        assert!(text.contains(&format!("\x1b[48;2;{r};{g};{b};")));
        assert_eq!(text.matches("\x1b[48").count(), text.matches("\x1b[0m").count());
    }

    #[test]
    fn abbreviations_are_distinct() {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(abbreviations(&owned(&["tail", "tall", "long-snout", "wet"])), ["tai", "tal", "lsn", "wet"]);
        let mut many: Vec<String> = (0..200).map(|at| format!("concept {}", "x".repeat(at % 5))).collect();
        many.extend(owned(&["", "尾", "a", "a"]));
        let codes = abbreviations(&many);
        let distinct: std::collections::HashSet<_> = codes.iter().collect();
        assert_eq!(distinct.len(), many.len());
        assert!(codes.iter().all(|code| (1..=CODE).contains(&code.width())), "{codes:?}");
    }
}
