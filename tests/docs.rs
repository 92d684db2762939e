//! What the pages say of tests is so.

use std::collections::BTreeSet;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The names of the goldens of whole networks.
fn goldens() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/models");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let names = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// What stands between backquotes in the cells of this number of a table's rows; the table begins behind `head`.
fn quoted<'a>(page: &'a str, head: &str, cell: usize) -> Vec<&'a str> {
    let table = page.split(head).nth(1).unwrap_or_else(|| panic!("no table behind {head:?}"));
    let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let cells = rows.take_while(|line| line.starts_with('|')).map(|row| row.split('|').nth(cell).unwrap());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_golden_has_its_errors_written_down() {
    let page = read("docs/accuracy.md");
    let rows: BTreeSet<String> = quoted(&page, "<!-- table: networks -->", 1).into_iter().map(str::to_owned).collect();
    assert_eq!(rows, goldens(), "the rows of docs/accuracy.md and the goldens; `make accuracy` writes them");
}

/// Each row of README's table of models names goldens that are there, and each golden backs a row.
#[test]
fn every_supported_model_is_backed_by_a_golden() {
    let page = read("README.md");
    let named: Vec<&str> = quoted(&page, "## Supported models", 3);
    let named: BTreeSet<String> = named.into_iter().map(str::to_owned).collect();
    assert_eq!(named, goldens(), "the goldens that README's table of models names, and those there are");
}
