//! The commands of `docs/evaluation.md`, and what they print.
//!
//! `make evaluation` sets `HEATLENS_EVALUATION`, with which the commands are run in the page's order and their output is written
//! behind them.

use std::path::{Path, PathBuf};
use std::process::Command;

const PAGE: &str = "docs/evaluation.md";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
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
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_is_there_with_its_options() {
    let page = read(PAGE);
    if std::env::var_os("HEATLENS_EVALUATION").is_some() {
        std::fs::write(root().join(PAGE), measured(&page)).unwrap();
        std::fs::write(root().join("tests/goldens/filter_scores.json"), filter_scores()).unwrap();
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

/// The page with what its commands print now.
fn measured(page: &str) -> String {
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
