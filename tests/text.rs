//! The tokenizer against transformers' CLIPTokenizer, on a small vocabulary.
//!
//! Vocabulary and goldens are made by `tests/reference/text_clip.py`.

use std::fs;
use std::path::{Path, PathBuf};

use heatlens::ErrorKind;
use heatlens::text::Tokenizer;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

const CONTEXT: usize = 77;

#[derive(Deserialize)]
struct Case {
    text: String,
    /// Without the padding.
    ids: Vec<u32>,
    truncated: bool,
}

fn goldens(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

/// A folder with copies of some of the small vocabulary's files.
fn copy(files: &[&str]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for file in files {
        fs::copy(goldens("tokenizer").join(file), dir.path().join(Path::new(file).file_name().unwrap())).unwrap();
    }
    dir
}

#[test]
fn ids_equal_those_of_transformers_from_either_form_of_the_files() {
    let cases: Vec<Case> = serde_json::from_slice(&fs::read(goldens("text.json")).unwrap()).unwrap();
    assert!(cases.iter().any(|case| case.truncated) && cases.len() > 100);
    for form in ["tokenizer/whole", "tokenizer/pair"] {
        let tokenizer = Tokenizer::from_dir(&goldens(form)).unwrap();
        for Case { text, ids, truncated } in &cases {
            let found = tokenizer.encode(text, CONTEXT).unwrap();
            assert_eq!(found.ids[..ids.len()], ids[..], "{form}: {text:?}");
            // The padding token of these files is the end token.
            assert_eq!(found.ids[ids.len()..], vec![tokenizer.end(); CONTEXT - ids.len()], "{form}: {text:?}");
            assert_eq!(found.truncated, *truncated, "{form}: {text:?}");
        }
    }
}

#[test]
fn every_context_begins_with_start_and_ends_with_end() {
    let tokenizer = Tokenizer::from_dir(&goldens("tokenizer/pair")).unwrap();
    let long = "a photo of a cat and a dog";
    let whole = tokenizer.encode(long, CONTEXT).unwrap();
    let length = whole.ids.iter().position(|&id| id == tokenizer.end()).unwrap() + 1;
    for context in 2..length + 3 {
        let found = tokenizer.encode(long, context).unwrap();
        let kept = context.min(length) - 1;
        assert_eq!(found.ids.len(), context);
        assert_eq!(found.ids[0], tokenizer.start());
        assert_eq!(found.ids[..kept], whole.ids[..kept]);
        assert_eq!(found.ids.iter().position(|&id| id == tokenizer.end()), Some(kept));
        assert_eq!(found.truncated, context < length);
    }
    assert_eq!(tokenizer.encode(long, 1).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(tokenizer.vocabulary_size(), tokenizer.end() as usize + 1);
}

#[test]
fn the_padding_token_is_the_one_that_the_files_name() {
    let dir = copy(&["pair/vocab.json", "pair/merges.txt"]);
    // As in the second text encoder of some diffusion models.
    fs::write(dir.path().join("special_tokens_map.json"), r#"{"pad_token": {"content": "!", "lstrip": false}}"#)
        .unwrap();
    let tokenizer = Tokenizer::from_dir(dir.path()).unwrap();
    let exclamation_mark = 0; // The first byte of the vocabulary.
    assert_eq!(
        tokenizer.encode("", 4).unwrap().ids,
        [tokenizer.start(), tokenizer.end(), exclamation_mark, exclamation_mark]
    );
}

/// The files there, the name and content of the file that's written over them, and what the error must be and say.
type BadFiles<'a> = (&'a [&'a str], &'a str, &'a str, ErrorKind, &'a [&'a str]);

#[test]
fn files_that_are_missing_or_malformed_are_named() {
    let vocab = fs::read_to_string(goldens("tokenizer/pair/vocab.json")).unwrap();
    let whole = fs::read_to_string(goldens("tokenizer/whole/tokenizer.json")).unwrap();
    let pair = ["pair/vocab.json", "pair/merges.txt"];
    let no_end = vocab.replace("<|endoftext|>", "<|endoftexts|>");
    let mut no_processor: Value = serde_json::from_str(&whole).unwrap();
    no_processor["post_processor"] = Value::Null;
    let no_processor = no_processor.to_string();
    let cases: [BadFiles; 9] = [
        (&[], "readme.md", "", ErrorKind::Config, &["tokenizer.json", "vocab.json", "merges.txt"]),
        (&pair[..1], "readme.md", "", ErrorKind::Config, &["no merges.txt"]),
        (&pair[1..], "readme.md", "", ErrorKind::Config, &["no vocab.json"]),
        (&pair, "tokenizer.json", &whole[..whole.len() / 2], ErrorKind::Format, &["tokenizer.json"]),
        (&[], "tokenizer.json", &no_processor, ErrorKind::Format, &["tokenizer.json", "start"]),
        (&pair, "vocab.json", "[1, 2]", ErrorKind::Format, &["vocab.json"]),
        (&pair, "vocab.json", &no_end, ErrorKind::Format, &["vocab.json", "<|endoftext|>"]),
        (&pair, "merges.txt", "#version: 0.2\na b\na b c\n", ErrorKind::Format, &["merges.txt", "line 3"]),
        (
            &pair,
            "tokenizer_config.json",
            r#"{"bos_token": 5}"#,
            ErrorKind::Format,
            &["tokenizer_config.json", "bos_token"],
        ),
    ];
    for (files, name, content, kind, words) in cases {
        let dir = copy(files);
        fs::write(dir.path().join(name), content).unwrap();
        let error = Tokenizer::from_dir(dir.path()).expect_err(name);
        assert_eq!(error.kind(), kind, "{error}");
        let message = error.to_string();
        let place = dir.path().display().to_string();
        assert!(message.contains(&place) && words.iter().all(|word| message.contains(word)), "{words:?}: {message}");
    }
}

#[test]
fn merges_of_unknown_tokens_are_an_error() {
    let dir = copy(&["pair/vocab.json"]);
    fs::write(dir.path().join("merges.txt"), "#version: 0.2\nnot known\n").unwrap();
    let error = Tokenizer::from_dir(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Format);
    assert!(error.to_string().contains("vocab.json") && error.to_string().contains("not"), "{error}");
}
