//! Rows of measurements in every format.

use clap::ValueEnum;
use heatlens::gpu::AdapterSummary;
use heatlens::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::Context;
use crate::cli::output::{Align, print, print_json, print_json_line, table};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns, for reading
    Table,
    /// Comma-separated values, with the adapter in every row
    Csv,
    /// One object
    Json,
    /// An object a row, with the adapter in each
    Jsonl,
    /// A Markdown table
    Md,
}

impl Format {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Md => "md",
        }
    }
}

/// What a subcommand prints.
pub(super) struct Listing<'a, const N: usize, T, R> {
    pub(super) adapter: &'a AdapterSummary,
    /// What stands above the rows in a table, beside the adapter.
    pub(super) notes: Vec<String>,
    pub(super) header: [(&'static str, Align); N],
    pub(super) cells: Vec<[String; N]>,
    /// All of it, as one object.
    pub(super) whole: T,
    /// A row each, as objects.
    pub(super) rows: &'a [R],
}

impl<const N: usize, T: Serialize, R: Serialize> Listing<'_, N, T, R> {
    pub(super) fn print(&self, format: Format, context: &Context) -> Result<()> {
        context.progress.clear();
        let heading =
            || format!("{}\n{}", self.adapter, self.notes.iter().map(|n| format!("{n}\n")).collect::<String>());
        match format {
            Format::Json => print_json(&self.whole),
            Format::Jsonl => self.objects()?.iter().try_for_each(print_json_line),
            Format::Csv => print(&self.csv()?),
            Format::Table => print(&format!("{}\n{}", heading(), table(self.header, &self.cells))),
            Format::Md => print(&format!("{}\n{}", heading(), self.markdown())),
        }
    }

    /// The rows with the adapter and its driver before their own fields.
    fn objects(&self) -> Result<Vec<Map<String, Value>>> {
        let AdapterSummary { name, driver, driver_info, .. } = self.adapter;
        let object = |row: &R| {
            let mut object = Map::new();
            object.insert("adapter".to_owned(), name.as_str().into());
            object.insert("driver".to_owned(), format!("{driver} {driver_info}").into());
            if let Value::Object(fields) = serde_json::to_value(row).map_err(unwritable)? {
                object.extend(fields);
            }
            Ok(object)
        };
        self.rows.iter().map(object).collect()
    }

    fn csv(&self) -> Result<String> {
        let objects = self.objects()?;
        let mut writer = csv::Writer::from_writer(Vec::new());
        if let Some(first) = objects.first() {
            writer.write_record(first.keys()).map_err(unwritable)?;
        }
        for object in &objects {
            let text = |value: &Value| match value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            writer.write_record(object.values().map(text)).map_err(unwritable)?;
        }
        let bytes = writer.into_inner().map_err(unwritable)?;
        String::from_utf8(bytes).map_err(unwritable)
    }

    fn markdown(&self) -> String {
        let line = |cells: &mut dyn Iterator<Item = String>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
        let escaped = |cell: &String| cell.replace('|', "\\|");
        let rule = |(_, align): &(&str, Align)| if *align == Align::Right { "---:" } else { "---" }.to_owned();
        let mut text = line(&mut self.header.iter().map(|(name, _)| (*name).to_owned()));
        text += &line(&mut self.header.iter().map(rule));
        text.extend(self.cells.iter().map(|cells| line(&mut cells.iter().map(escaped))));
        text
    }
}

fn unwritable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Io, "the results can't be written").caused_by(cause)
}
