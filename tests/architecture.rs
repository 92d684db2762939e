//! What the project's structure promises, checked on its text.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use heatlens::kernels::{Matrices, MatrixEdge, cases};

/// Rooms from the highest to the lowest, each with those it may use beside the foundation. A room's own name needn't
/// be listed.
const ROOMS: [(&str, &[&str]); 14] = [
    (
        "cli",
        &["bench", "report", "semantics", "dataset", "models", "gpu", "plan", "kernels", "weights", "image", "text"],
    ),
    ("bench", &["semantics", "dataset", "models", "gpu", "plan", "layers", "kernels", "weights", "image"]),
    ("report", &["semantics", "gpu"]),
    ("semantics", &["dataset", "models", "gpu", "plan", "layers", "kernels", "weights", "image", "text"]),
    ("dataset", &["image"]),
    ("models", &["plan", "layers", "kernels", "weights", "image", "text"]),
    ("gpu", &["plan", "layers", "kernels"]),
    ("plan", &["layers", "kernels"]),
    ("layers", &["kernels"]),
    ("kernels", &[]),
    ("weights", &[]),
    ("image", &[]),
    ("text", &[]),
    ("foundation", &[]),
];

/// What every room may use.
const FOUNDATION: [&str; 5] = ["error", "files", "progress", "tensor", "fetch"];

/// Files that say `unsafe`, each with the reason why.
const UNSAFE: [(&str, &str); 1] = [("src/gpu/pipeline.rs", "shader modules without run-time checks")];

/// Files that are longer than [`LONGEST`] lines, each with the reason why.
const LONG: [(&str, &str); 0] = [];

/// Lines of a file that is still one room.
const LONGEST: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files under `folder` with the given extension, with their paths from the root and their texts.
fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    let mut folders = vec![root().join(folder)];
    let mut found: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|found| found == extension) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no {extension} files under {folder}");
    let name = |path: &PathBuf| path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
    found.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// The lines of code, numbered from 1, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    (1..).zip(code).filter(|(_, line)| !line.trim().is_empty())
}

/// Whether `word` stands in `line` on its own, not as part of another name.
fn says(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(is_name)
            && !line[at + word.len()..].chars().next().is_some_and(is_name)
    })
}

/// The room that a file under src belongs to; `lib.rs` and `main.rs` belong to none.
fn room(path: &str) -> Option<&str> {
    let first = path.strip_prefix("src/")?.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    match name {
        "lib" | "main" => None,
        _ if FOUNDATION.contains(&name) => Some("foundation"),
        _ => Some(name),
    }
}

#[test]
fn wgpu_is_named_only_under_gpu() {
    for (path, text) in files("src", "rs") {
        if room(&path) != Some("gpu") {
            for (number, line) in code(&text) {
                assert!(!says(line, "wgpu"), "{path}:{number} names wgpu: {line}");
            }
        }
    }
}

#[test]
fn rooms_use_only_those_below() {
    for (path, text) in files("src", "rs") {
        let Some(room) = room(&path) else { continue };
        let (_, allowed) = ROOMS.iter().find(|(name, _)| *name == room).unwrap_or_else(|| {
            panic!("{path}: the room `{room}` isn't in the table of rooms");
        });
        // Unit tests may set up what they need from anywhere.
        let is_test = |line: &str| line.trim_start().starts_with("#[cfg(test)]");
        if path.ends_with("tests.rs") || path.ends_with("testing.rs") {
            continue;
        }
        for (number, line) in code(&text).take_while(|(_, line)| !is_test(line)) {
            for (at, prefix) in line.match_indices("crate::") {
                let name = line[at + prefix.len()..].split(|c: char| !(c.is_alphanumeric() || c == '_')).next();
                let name = name.unwrap_or_default();
                // Names that start with a capital are re-exports of the foundation.
                let is_free = name == room
                    || FOUNDATION.contains(&name)
                    || ["Error", "ErrorKind", "Result", "Tensor"].contains(&name);
                assert!(is_free || allowed.contains(&name), "{path}:{number}: `{room}` may not use `{name}`: {line}");
            }
        }
    }
}

/// A shader without a kernel is dead, and one without a case in the shape table is untested.
#[test]
fn every_shader_has_a_kernel_and_a_case() {
    let kernels = files("src/kernels", "rs");
    let on_disk: BTreeSet<String> = files("shaders", "wgsl")
        .iter()
        .map(|(path, _)| path.trim_start_matches("shaders/").trim_end_matches(".wgsl").to_owned())
        .collect();
    for label in &on_disk {
        let users: Vec<&str> = kernels
            .iter()
            .filter(|(_, text)| text.contains(&format!("shader!(\"{label}\"")))
            .map(|(path, _)| path.as_str())
            .collect();
        let [user] = users[..] else { panic!("shaders/{label}.wgsl is the shader of {users:?}, not of one kernel") };
        let essay: String = kernels.iter().filter(|(path, _)| path == user).map(|(_, text)| text.as_str()).collect();
        let named = essay.lines().take_while(|line| line.starts_with("//!")).any(|line| line.contains(label.as_str()));
        assert!(named, "the head of {user} doesn't name shaders/{label}.wgsl");
    }
    let cooperative = MatrixEdge::ALL.map(|edge| cases::cooperative(Matrices { edge, lanes: 32 })).concat();
    let launched: BTreeSet<String> = [cases::all(), cooperative]
        .concat()
        .iter()
        .flat_map(|case| case.kernel.variants())
        .map(|variant| variant.launch.shader.label.to_owned())
        .collect();
    assert_eq!(launched, on_disk, "the shaders of the shape table and those on disk");
}

#[test]
fn files_stay_small() {
    let sources = ["src", "tests", "benches", "examples"].into_iter().flat_map(|folder| files(folder, "rs"));
    let shaders = files("shaders", "wgsl");
    let long: Vec<String> = sources
        .chain(shaders)
        .filter(|(_, text)| text.lines().count() > LONGEST)
        .map(|(path, _)| path)
        .filter(|path| !LONG.iter().any(|(listed, _)| listed == path))
        .collect();
    assert!(long.is_empty(), "over {LONGEST} lines: {long:?}");
}

#[test]
fn nothing_is_left_unfinished() {
    // Put together, so that this file doesn't hold them.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("#[ign", "ore"),
    ];
    let sources = ["src", "tests", "benches", "examples"].into_iter().flat_map(|folder| files(folder, "rs"));
    for (path, text) in sources.chain(files("shaders", "wgsl")) {
        for mark in marks {
            assert!(!text.contains(mark), "{path} holds `{mark}`");
        }
    }
}

#[test]
fn unsafe_code_is_listed() {
    let found: BTreeSet<String> = files("src", "rs")
        .into_iter()
        .filter(|(_, text)| code(text).any(|(_, line)| says(line, "unsafe")))
        .map(|(path, _)| path)
        .collect();
    let listed = UNSAFE.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(found, listed, "files with unsafe code, and those that are listed");
}
