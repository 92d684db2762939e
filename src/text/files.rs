//! The files in which tokenizers come.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};

/// CLIP's split into words: contractions, runs of letters, single numerals, runs of anything else but space.
const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// The special tokens as the vocabulary spells them.
pub(super) struct SpecialNames {
    start: String,
    end: String,
    unknown: String,
    /// Where a file names it.
    pub(super) pad: Option<String>,
}

impl SpecialNames {
    /// The names in `tokenizer_config.json`, else in `special_tokens_map.json`, else CLIP's.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let mut found = [const { None }; 4];
        for file in ["tokenizer_config.json", "special_tokens_map.json"] {
            let path = dir.join(file);
            if !path.is_file() {
                continue;
            }
            let value: Value = read_json(&path)?;
            for (name, key) in found.iter_mut().zip(["bos_token", "eos_token", "unk_token", "pad_token"]) {
                let token = value.get(key).filter(|token| !token.is_null());
                let Some(token) = token.filter(|_| name.is_none()) else { continue };
                // Either the text itself or an object that also says how it is matched.
                let text = token.as_str().or_else(|| token.get("content")?.as_str());
                let text = text.ok_or_else(|| malformed(&path, &format!("`{key}` is {token}, expected a token")))?;
                *name = Some(text.to_owned());
            }
        }
        let [start, end, unknown, pad] = found;
        let end = end.unwrap_or_else(|| "<|endoftext|>".to_owned());
        Ok(Self {
            start: start.unwrap_or_else(|| "<|startoftext|>".to_owned()),
            unknown: unknown.unwrap_or_else(|| end.clone()),
            end,
            pad,
        })
    }
}

/// The tokenizer in `dir` and the file that errors about it should name.
pub(super) fn read(dir: &Path, names: &SpecialNames) -> Result<(tokenizers::Tokenizer, PathBuf)> {
    let whole = dir.join("tokenizer.json");
    let (vocab, merges) = (dir.join("vocab.json"), dir.join("merges.txt"));
    if whole.is_file() {
        let bytes = fs::read(&whole).map_err(|e| Error::io(&whole, e))?;
        return Ok((parse(&bytes, &whole)?, whole));
    }
    if !vocab.is_file() || !merges.is_file() {
        let found = match (vocab.is_file(), merges.is_file()) {
            (true, _) => "has vocab.json but no merges.txt",
            (_, true) => "has merges.txt but no vocab.json",
            _ => "has neither tokenizer.json nor vocab.json and merges.txt",
        };
        let message = format!("{}: {found}, so there is no tokenizer", dir.display());
        return Err(
            Error::new(ErrorKind::Config, message).hint("copy the tokenizer's files from where the model came from")
        );
    }
    let value = assemble(&vocab, &merges, names)?;
    Ok((parse(value.to_string().as_bytes(), &vocab)?, vocab))
}

fn parse(bytes: &[u8], path: &Path) -> Result<tokenizers::Tokenizer> {
    tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| malformed(path, "not a tokenizer").caused_by(e))
}

/// The `tokenizer.json` that belongs to a vocabulary and its merges: transformers' `CLIPTokenizer`, written down.
fn assemble(vocab_path: &Path, merges_path: &Path, names: &SpecialNames) -> Result<Value> {
    let vocab: Map<String, Value> = read_json(vocab_path)?;
    let id = |name: &str| {
        let id = vocab.get(name).and_then(Value::as_u64);
        id.ok_or_else(|| malformed(vocab_path, &format!("has no token {name:?}")))
    };
    let (start, end) = (id(&names.start)?, id(&names.end)?);
    id(&names.unknown)?;
    let added = |content: &str, id: u64| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    Ok(json!({
        "version": "1.0",
        "added_tokens": [added(&names.start, start), added(&names.end, end)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]},
        "post_processor": {"type": "RobertaProcessing", "sep": [names.end, end], "cls": [names.start, start],
                           "trim_offsets": false, "add_prefix_space": false},
        "model": {"type": "BPE", "dropout": null, "unk_token": names.unknown, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "</w>", "fuse_unk": false, "byte_fallback": false,
                  "vocab": vocab, "merges": read_merges(merges_path)?},
    }))
}

/// One pair of tokens for each line, after an optional `#version` line.
fn read_merges(path: &Path) -> Result<Vec<[String; 2]>> {
    let text = fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with("#version"));
    let pair = |(number, line): (usize, &str)| match line.split(' ').collect::<Vec<_>>()[..] {
        [first, second] => Ok([first.to_owned(), second.to_owned()]),
        _ => Err(malformed(path, &format!("line {}: {line:?}, expected two tokens", number + 1))),
    };
    lines.map(pair).collect()
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| malformed(path, "not the JSON object it should be").caused_by(e))
}

fn malformed(path: &Path, message: &str) -> Error {
    Error::new(ErrorKind::Format, format!("{}: {message}", path.display()))
}
