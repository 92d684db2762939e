//! Measured errors as tables of `docs/accuracy.md`.
//!
//! `make accuracy` sets `HEATLENS_ACCURACY`, with which the tests that measure write what they found.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// Rows of one table, gathered by tests that run side by side.
pub(crate) struct Table {
    /// What stands behind `<!-- table:` and `<!-- end:` in the page.
    name: &'static str,
    head: &'static str,
    rows: Mutex<BTreeMap<String, String>>,
}

impl Table {
    pub(crate) const fn new(name: &'static str, head: &'static str) -> Self {
        Self { name, head, rows: Mutex::new(BTreeMap::new()) }
    }

    /// Adds a row, `key` its first cell, and writes the table as far as it goes. The first row of a key stays.
    pub(crate) fn row(&self, key: &str, cells: &[String]) {
        static PAGE: Mutex<()> = Mutex::new(());
        if std::env::var_os("HEATLENS_ACCURACY").is_none() {
            return;
        }
        let mut rows = self.rows.lock().unwrap();
        rows.entry(key.to_owned()).or_insert_with(|| format!("| {key} | {} |", cells.join(" | ")));
        let rule = "|---".repeat(self.head.matches('|').count() - 1) + "|";
        let lines: Vec<&str> = [self.head, &rule].into_iter().chain(rows.values().map(String::as_str)).collect();
        let _guard = PAGE.lock().unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/accuracy.md");
        let page = std::fs::read_to_string(path).unwrap();
        let [open, close] = ["table", "end"].map(|mark| format!("<!-- {mark}: {} -->\n", self.name));
        let start = page.find(&open).unwrap_or_else(|| panic!("{path} has no place for {}", self.name)) + open.len();
        let end = start + page[start..].find(&close).unwrap_or_else(|| panic!("{path} lacks the end of {}", self.name));
        std::fs::write(path, format!("{}{}\n{}", &page[..start], lines.join("\n"), &page[end..])).unwrap();
    }
}
