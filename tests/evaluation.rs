//! The commands of `docs/evaluation.md`, and what they print.
//!
//! `make evaluation` sets `HEATLENS_EVALUATION`, with which the commands are run in the page's order and their output is written
//! behind them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use safetensors::SafeTensors;

const PAGE: &str = "docs/evaluation.md";
/// The planted fault that `compare` is shown on, and where it stands as a classifier.
const PLANT: &str = "weights/demo/plants/concept/9.safetensors";
const VARIANT: &str = "demo-output/variant";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A part of a page.
enum Part<'a> {
    Prose(&'a str),
    /// The lines between ```` ```sh ```` and ```` ``` ````.
    Commands(&'a str),
    /// The lines between ```` ```text ```` and ```` ``` ````: what the commands before print.
    Output(&'a str),
}

fn parts(page: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for (number, part) in page.split("```").enumerate() {
        parts.push(match part.split_once('\n') {
            Some(("sh", commands)) if number % 2 == 1 => Part::Commands(commands),
            Some(("text", output)) if number % 2 == 1 => Part::Output(output),
            _ => Part::Prose(part),
        });
    }
    parts
}

/// The arguments of each command.
fn commands(lines: &str) -> Vec<Vec<String>> {
    let joined = lines.replace("\\\n", " ");
    let split = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let commands: Vec<Vec<String>> = joined.lines().map(split).collect();
    assert!(commands.iter().all(|words| words.first().is_some_and(|first| first == "heatlens")), "{lines}");
    commands.into_iter().map(|words| words[1..].to_vec()).collect()
}

fn run(args: &[String]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_heatlens"));
    let output = program.args(args).current_dir(root()).env("HEATLENS_NO_CACHE", "1").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    // A gate that fails is no error.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_is_there_with_its_options() {
    let page = read(PAGE);
    if std::env::var_os("HEATLENS_EVALUATION").is_some() {
        fs::write(root().join(PAGE), measured(&page)).unwrap();
        fs::write(root().join("tests/goldens/filter_scores.json"), filter_scores()).unwrap();
    }
    let blocks = parts(&page).into_iter().filter_map(|part| match part {
        Part::Commands(lines) => Some(commands(lines)),
        _ => None,
    });
    for args in blocks.flatten() {
        let named =
            args.iter().take_while(|word| !word.starts_with('-') && !Path::new(word).exists() && !word.contains('/'));
        let named: Vec<String> = named.cloned().collect();
        let help = run(&[&named[..], &["--help".to_owned()]].concat());
        for option in args.iter().filter(|word| word.starts_with('-')) {
            assert!(
                help.contains(&format!("{option} <")) || help.contains(&format!("{option}, ")),
                "{option} of {named:?}"
            );
        }
    }
}

/// Writes the demo's classifier with the planted fault.
fn write_variant() {
    let folder = root().join(VARIANT);
    fs::create_dir_all(&folder).unwrap();
    let [intact, planted] =
        ["weights/demo/classifier/model.safetensors", PLANT].map(|file| fs::read(root().join(file)).unwrap());
    let [intact, planted] = [&intact, &planted].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    let tensors: BTreeMap<_, _> = intact.iter().chain(planted.iter()).collect();
    safetensors::serialize_to_file(tensors, None, &folder.join("model.safetensors")).unwrap();
    fs::copy(root().join("weights/demo/classifier/config.json"), folder.join("config.json")).unwrap();
}

/// The page with what its commands print now.
fn measured(page: &str) -> String {
    write_variant();
    let mut text = String::new();
    let mut printed = String::new();
    for (number, part) in parts(page).into_iter().enumerate() {
        text += if number > 0 { "```" } else { "" };
        match part {
            Part::Prose(prose) => text += prose,
            Part::Commands(lines) => {
                printed = commands(lines).iter().map(|args| run(args)).collect();
                text += &format!("sh\n{lines}");
            }
            Part::Output(_) => text += &format!("text\n{printed}"),
        }
    }
    text
}

/// What the demo's filter makes of the calibration and test pictures, for `tests/resplits.rs`.
fn filter_scores() -> String {
    let args = "filter --filter demo-output/model.heatlens weights/demo/images/calibrate weights/demo/images/test";
    let lines = run(&args.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let row = |line: &str| -> String {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let class = line["path"].as_str().unwrap().rsplit('/').nth(1).unwrap().to_owned();
        let [heatmap, p] = ["heatmap", "max_softmax"].map(|part| line["parts"][part].as_f64().unwrap());
        format!("  [{heatmap:.6}, {:.6}, {}]", (p / (1.0 - p)).ln(), u8::from(line["prediction"] != class.as_str()))
    };
    let rows: Vec<String> = lines.lines().map(row).collect();
    let about =
        "heatmap score, ln(p/(1 - p)) of the largest softmax probability p, and whether the prediction is wrong";
    format!("{{\n \"about\": \"{about}\",\n \"images\": [\n{}\n ]\n}}\n", rows.join(",\n"))
}

/// Every figure that the prose and README's demo tell is one that the commands print.
#[test]
fn what_the_prose_says_is_what_the_tables_say() {
    let page = read(PAGE);
    let (mut prose, mut output) = (String::new(), String::new());
    for part in parts(&page) {
        match part {
            Part::Prose(text) => prose += text,
            Part::Output(text) => output += text,
            Part::Commands(_) => {}
        }
    }
    let readme = read("README.md");
    let demo = readme.split("WHOM TO TRUST").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let figures = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_ascii_digit() && c != '.').map(|word| word.trim_matches('.'));
        words.filter(|word| word.starts_with("0.") && word.len() == 5).map(str::to_owned).collect()
    };
    let known = figures(&output);
    let told = [figures(&prose), figures(demo)].concat();
    assert!(told.len() > 10, "{told:?}");
    for figure in told {
        assert!(known.contains(&figure), "{figure} isn't in any table of {PAGE}: `make evaluation` writes them");
    }
}

/// Of the errors of each kind of pure plant, with the seeds that no threshold was set on, nine in ten are named, and each lost concept
/// is found.
#[test]
fn localisation_names_nine_in_ten() {
    let page = read(PAGE);
    let (mut seeds, mut table) = ("", "");
    for part in parts(&page) {
        match part {
            Part::Commands(lines) => seeds = lines.split("--seeds ").nth(1).map_or("", |rest| &rest[..3]),
            Part::Output(output) if seeds == "5-9" => table = output,
            _ => {}
        }
    }
    let shares = table.split("named rightly").nth(1).expect("the table of seeds 5 to 9");
    for kind in ["concept", "head", "layer"] {
        let row = shares.lines().find(|line| line.starts_with(kind)).unwrap_or_else(|| panic!("{kind} in {shares}"));
        let named: f64 = row.split_whitespace().nth(1).and_then(|share| share.parse().ok()).expect("a share");
        assert!(named >= 90.0, "{row}");
        assert!(kind != "concept" || row.contains("5 of 5"), "{row}");
    }
}
