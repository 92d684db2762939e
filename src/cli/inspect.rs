//! `heatlens inspect`: what a model's files hold, and what becomes of a picture before the network sees it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use heatlens::image::{DecodeOptions, Stage};
use heatlens::models::{FileFacts, Inspection, ModelFacts, PlanFacts, TensorFindings, Unmatched};
use heatlens::{Error, ErrorKind, Observer, Result};
use serde::Serialize;
use serde_json::json;

use super::Context;
use super::output::{Align, Outcome, table};

/// Inputs a run for which memory is planned if --batch says nothing: the most that other commands take at a time.
const BATCH: usize = 32;
/// How many tensors of each kind are listed; --json has all.
const LISTED: usize = 20;

/// Say what a model's files hold: whose layout, which network, preprocessing, work and memory
///
/// Needs no GPU. A model that doesn't load is described as far as it can be, each missing or unused tensor with the one most
/// like it; the error comes last, and the exit code is 2.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens inspect models/resnet18
  heatlens inspect openai/clip-vit-base-patch32 --batch 64     from the Hugging Face cache
  heatlens inspect model.safetensors --json
  heatlens inspect models/clip --explain-preprocess cat.jpg

The hash behind `decode`, in Python:
  from PIL import Image; from hashlib import sha256
  sha256(Image.open(\"cat.jpg\").convert(\"RGB\").tobytes()).hexdigest()
Those behind `resize` and `crop` are of the same bytes later on, that behind `normalize` is of tensor.numpy().tobytes().")]
pub(crate) struct Args {
    /// The model: a folder in its ecosystem's layout, a .safetensors file, or a name in the Hugging Face cache
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Show each stage of this picture's way to the network, with its size and the SHA-256 of its bytes
    #[arg(long, value_name = "IMAGE")]
    explain_preprocess: Option<PathBuf>,
    /// Turn that picture as its EXIF orientation says; the usual training pipelines don't
    #[arg(long, requires = "explain_preprocess")]
    exif: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Findings<'a> {
    #[serde(flatten)]
    inspection: &'a Inspection,
    #[serde(skip_serializing_if = "Option::is_none")]
    stages: Option<&'a [Stage]>,
    error: Option<serde_json::Value>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let batch = context.global.batch().unwrap_or(BATCH);
    let mut inspection = Inspection::of(&args.model, batch, context.global.precision().unwrap_or_default())?;
    for notice in &inspection.notices {
        context.progress.notice(notice);
    }
    let mut failed = inspection.error.take();
    let stages = match (&args.explain_preprocess, &failed) {
        (Some(picture), None) => explain(picture, &inspection, args.exif).map_err(|error| failed = Some(error)).ok(),
        _ => None,
    };
    let error =
        failed.as_ref().map(|e| json!({"code": e.kind().code(), "message": e.to_string(), "hint": e.hint_text()}));
    let findings = Findings { inspection: &inspection, stages: stages.as_deref(), error };
    context.print(&findings, || text(&inspection) + &stages.as_deref().map(stages_text).unwrap_or_default())?;
    failed.map_or(Ok(Outcome::Done), Err)
}

fn explain(picture: &Path, inspection: &Inspection, exif: bool) -> Result<Vec<Stage>> {
    let Some(preprocess) = &inspection.preprocess else {
        let message = format!("{}: how it prepares pictures isn't known", inspection.path.display());
        return Err(Error::new(ErrorKind::Config, message));
    };
    let bytes = std::fs::read(picture).map_err(|e| Error::io(picture, e))?;
    preprocess.explain(&bytes, &picture.display().to_string(), &DecodeOptions { exif })
}

fn text(inspection: &Inspection) -> String {
    let Inspection { path, dialect, file, model, tensors, .. } = inspection;
    let mut rows = vec![("path", path.display().to_string())];
    rows.extend(file_rows(file));
    rows.push(("layout", dialect.unwrap_or("unknown").to_owned()));
    rows.extend(model.iter().flat_map(model_rows));
    if !tensors.ignored.is_empty() {
        let counted = tensors.ignored.iter().map(|(name, count)| format!("{count} {name}"));
        rows.push(("left aside", counted.collect::<Vec<_>>().join(", ")));
    }
    let mut text = String::new();
    let mut before = "";
    for (name, value) in rows {
        let label = if name == before { "" } else { name };
        before = name;
        // Writing to a String can't fail.
        let _ = writeln!(text, "{label:<14} {value}");
    }
    for plan in model.iter().flat_map(|model| &model.plans) {
        text += &plan_text(plan);
    }
    text + &tensors_text(tensors)
}

fn file_rows(file: &FileFacts) -> Vec<(&'static str, String)> {
    let dtypes: Vec<String> = file.dtypes.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect();
    let shards = if file.shards == 1 { String::new() } else { format!(" in {} files", file.shards) };
    let size = mib(file.bytes);
    let mut rows = vec![
        ("weights", format!("{}{shards}, {size}, tensors: {}", file.name, dtypes.join(", "))),
        ("parameters", grouped(file.parameters as u64)),
        ("sha256", file.sha256.clone()),
    ];
    let configs = if file.configs.is_empty() { "none beside them".to_owned() } else { file.configs.join(", ") };
    rows.push(("configuration", configs));
    let groups: Vec<String> = file.groups.iter().map(|(name, count)| format!("{name} {count}")).collect();
    rows.push(("tensor names", groups.join(", ")));
    rows
}

fn model_rows(model: &ModelFacts) -> Vec<(&'static str, String)> {
    let mut rows: Vec<_> = model.architecture.iter().map(|line| ("architecture", line.clone())).collect();
    rows.extend(model.activations.iter().map(|(tower, activation)| ("activation", format!("{activation} ({tower})"))));
    rows.push(("features", format!("{} values", model.features)));
    if let Some(classes) = &model.classes {
        let named = match (&classes.names_from, &classes.names) {
            (Some(from), Some(names)) => format!(", named by {from}: {}", sample(names)),
            _ => ", without names (give them with --classes)".to_owned(),
        };
        rows.push(("classes", format!("{}{named}", classes.count)));
    }
    rows.push(("preprocessing", model.preprocess.clone()));
    let source = model.preprocess_source.as_deref().unwrap_or("no configuration says so: torchvision's IMAGENET1K_V1");
    rows.push(("preprocessing", format!("({source})")));
    if let Some(text) = &model.text {
        let tokens = format!("{} ids, start {}, end {}", text.tokenizer, text.start, text.end);
        rows.push(("tokenizer", format!("{tokens}; token embedding of {} rows", text.vocabulary)));
        rows.push(("context", format!("{} tokens", text.context)));
        rows.push(("logit scale", text.logit_scale.to_string()));
    }
    rows
}

/// The first few of many names.
fn sample(names: &[String]) -> String {
    let shown = names[..names.len().min(3)].join(", ");
    if names.len() > 3 { shown + ", …" } else { shown }
}

fn plan_text(plan: &PlanFacts) -> String {
    let PlanFacts { input, flops, dispatches, pipelines, batch, .. } = plan;
    let one = format!("{:.2} GFLOP", *flops as f64 / 1e9);
    let [parameters, values, all] = [plan.parameter_bytes, plan.value_bytes, plan.gpu_bytes].map(mib);
    let mut text = format!(
        "\none {input:<10} {one}, {dispatches} dispatches, {pipelines} pipelines\nGPU memory     {all} at {batch} {input}s a \
         run: {parameters} of weights, {values} of values\n"
    );
    for (label, largest) in [("largest weight", &plan.largest_parameter), ("largest value", &plan.largest_value)] {
        if let Some(largest) = largest {
            text += &format!("{label:<14} {} ({} bytes)\n", largest.name, grouped(largest.bytes));
        }
    }
    text
}

fn tensors_text(tensors: &TensorFindings) -> String {
    let list = |what: &str, unmatched: &[Unmatched]| match unmatched {
        [] => String::new(),
        all => {
            let shape =
                |shape: &Option<Vec<usize>>| shape.as_ref().map_or_else(|| "?".to_owned(), |s| format!("{s:?}"));
            let row = |tensor: &Unmatched| {
                let nearest = tensor.nearest.as_ref();
                let nearest = nearest.map(|nearest| format!("{} {}", nearest.name, shape(&nearest.shape)));
                [tensor.name.clone(), shape(&tensor.shape), nearest.unwrap_or_else(|| "-".to_owned())]
            };
            let rows: Vec<_> = all.iter().take(LISTED).map(row).collect();
            let header = [(what, Align::Left), ("shape", Align::Left), ("most like", Align::Left)];
            let more = all.len().saturating_sub(LISTED);
            let more = if more == 0 { String::new() } else { format!("and {more} more (--json lists them all)\n") };
            format!("\n{}{more}", table(header, &rows))
        }
    };
    list("missing tensor", &tensors.missing) + &list("unused tensor", &tensors.unused)
}

fn stages_text(stages: &[Stage]) -> String {
    let row = |stage: &Stage| {
        let size = stage.size.map_or_else(|| "-".to_owned(), |[width, height]| format!("{width}×{height}"));
        let hash = stage.sha256.clone().unwrap_or_else(|| "too large to be made whole".to_owned());
        [stage.name.to_owned(), size, hash, stage.what.clone()]
    };
    let rows: Vec<_> = stages.iter().map(row).collect();
    let header = [("stage", Align::Left), ("size", Align::Right), ("sha256", Align::Left), ("", Align::Left)];
    format!("\n{}", table(header, &rows))
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let group = |group: &[u8]| group.iter().map(|&digit| char::from(digit)).collect::<String>();
    digits.as_bytes().rchunks(3).rev().map(group).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 25_557_032].map(grouped), ["0", "999", "1,000", "25,557,032"]);
    }
}
