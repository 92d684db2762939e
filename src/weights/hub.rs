//! Models by name: snapshots that Hugging Face's own tools have downloaded, found without a network.
//!
//! The cache holds a folder `models--ORG--NAME` for each model, in it `refs/main`, a file with the hash of a commit, and
//! `snapshots/HASH` with the model's files: links into `blobs`, or, where the system has no links, copies.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::files::list;
use crate::error::{Error, ErrorKind, Result};

/// Where a model's files lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located {
    /// The folder or file.
    pub(super) path: PathBuf,
    /// The model's name, if it was found by name.
    name: Option<String>,
}

impl Located {
    /// An error about these files with what to do about it, if it has no hint of its own.
    pub(super) fn explain(&self, error: Error) -> Error {
        match &self.name {
            Some(name) if error.hint_text().is_none() => {
                error.hint(format!("the downloaded snapshot is incomplete; {}", fetch(name)))
            }
            _ => error,
        }
    }
}

/// Where the model that a user calls `path` lies: `path` itself if anything is there, or else the snapshot of the model
/// of that name (`ORG/NAME`, with an optional `@REVISION`) in the local Hugging Face cache: `$HF_HUB_CACHE`, else
/// `$HF_HOME/hub`, else `huggingface/hub` under `$XDG_CACHE_HOME` or `~/.cache`.
///
/// # Errors
/// [`ErrorKind::Io`] if there is nothing at `path` and no such model in the cache, saying where it was looked for.
pub fn locate(path: impl AsRef<Path>) -> Result<PathBuf> {
    find(path.as_ref()).map(|located| located.path)
}

/// Whether `text` has the form of a model's name, `ORG/NAME` or `ORG/NAME@REVISION`.
pub fn is_model_name(text: &str) -> bool {
    Name::parse(text).is_some_and(|name| name.repository.contains('/'))
}

/// [`locate`], remembering whether the model was found by name.
pub(super) fn find(path: &Path) -> Result<Located> {
    let missing = match fs::metadata(path) {
        Ok(_) => return Ok(Located { path: path.to_owned(), name: None }),
        Err(error) => error,
    };
    let Some(name) = path.to_str().and_then(Name::parse) else { return Err(Error::io(path, missing)) };
    let cache = cache_folder(|variable| env::var_os(variable), env::home_dir().as_deref());
    let Some(cache) = cache else { return Err(Error::io(path, missing)) };
    let folder = cache.join(format!("models--{}", name.repository.replace('/', "--")));
    if folder.is_dir() {
        let path = snapshot(&folder, &name)?;
        return Ok(Located { path, name: Some(name.repository.to_owned()) });
    }
    if !name.repository.contains('/') {
        return Err(Error::io(path, missing));
    }
    let message = format!(
        "{}: no such file or folder, and no model of this name in the Hugging Face cache {}",
        path.display(),
        cache.display()
    );
    Err(Error::new(ErrorKind::Io, message).hint(format!("check the path, or {}", fetch(name.repository))))
}

/// What to do where a model isn't in the cache.
fn fetch(repository: &str) -> String {
    format!("fetch the model once: huggingface-cli download {repository} (in newer releases: hf download {repository})")
}

/// A model's name and, where one is asked for, its revision: a branch, a tag or the hash of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name<'a> {
    repository: &'a str,
    revision: Option<&'a str>,
}

impl<'a> Name<'a> {
    /// `NAME` or `ORG/NAME`, of letters, digits, `-`, `_` and `.`, none but a letter, digit or `_` first.
    fn parse(text: &'a str) -> Option<Self> {
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (text, None),
        };
        let is_part = |part: &str| {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            part.starts_with(is_word) && part.chars().all(|c| is_word(c) || c == '-' || c == '.')
        };
        let parts = repository.split('/').count();
        let plain = |revision: &str| {
            !revision.is_empty() && Path::new(revision).components().all(|part| matches!(part, Component::Normal(_)))
        };
        (parts <= 2 && repository.split('/').all(is_part) && revision.is_none_or(plain))
            .then_some(Self { repository, revision })
    }
}

/// The cache's folder, from environment variables in huggingface_hub's order; none only if there is no home either.
fn cache_folder(variable: impl Fn(&str) -> Option<OsString>, home: Option<&Path>) -> Option<PathBuf> {
    let set = |name: &str| {
        let path = PathBuf::from(variable(name).filter(|value| !value.is_empty())?);
        Some(match (path.strip_prefix("~"), home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path,
        })
    };
    set("HF_HUB_CACHE").or_else(|| Some(set("HF_HOME")?.join("hub"))).or_else(|| {
        let caches = set("XDG_CACHE_HOME").or_else(|| Some(home?.join(".cache")))?;
        Some(caches.join("huggingface").join("hub"))
    })
}

/// The snapshot of a model's `folder` that `name` asks for: without a revision `main`, or the only one there is.
fn snapshot(folder: &Path, name: &Name<'_>) -> Result<PathBuf> {
    let snapshots = folder.join("snapshots");
    let failed = |what: String| {
        let message = format!("{}: {what} in {}", name.repository, folder.display());
        Error::new(ErrorKind::Io, message).hint(fetch(name.repository))
    };
    let revision = name.revision.unwrap_or("main");
    let reference = folder.join("refs").join(revision);
    if reference.is_file() {
        let commit = fs::read_to_string(&reference).map_err(|e| Error::io(&reference, e))?;
        let commit = commit.trim();
        let is_plain = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric());
        let found = snapshots.join(commit);
        return match is_plain && found.is_dir() {
            true => Ok(found),
            false => Err(failed(format!("`{revision}` stands for snapshot {commit:?}, which isn't there"))),
        };
    }
    if name.revision.is_some() {
        let found = snapshots.join(revision);
        return if found.is_dir() { Ok(found) } else { Err(failed(format!("no revision `{revision}`"))) };
    }
    match &list(&snapshots).unwrap_or_default()[..] {
        [] => Err(failed("no snapshot".to_owned())),
        [only] => Ok(snapshots.join(only)),
        several => {
            let message = format!("{}: several snapshots and no `main`: {}", folder.display(), several.join(", "));
            Err(Error::new(ErrorKind::Io, message).hint(format!("name one: {}@{}", name.repository, several[0])))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        for name in ["openai/clip-vit-base-patch32", "timm/resnet50.a1_in1k", "a/b@main", "a/b@refs/pr/3", "_a/b"] {
            assert!(is_model_name(name), "{name}");
        }
        for path in
            ["a/b/c", "/a/b", "./a", "../a", "a/", "a/..", "a b/c", "a/b@", "a/b@../x", "a/b@/x", "a\\b", "", "a"]
        {
            assert!(!is_model_name(path), "{path}");
        }
        assert_eq!(Name::parse("gpt2@v1"), Some(Name { repository: "gpt2", revision: Some("v1") }));
    }

    #[test]
    fn the_cache_follows_the_environment() {
        let folder = |set: &[(&str, &str)], home: Option<&str>| {
            let variable = |name: &str| set.iter().find(|(found, _)| *found == name).map(|(_, value)| value.into());
            cache_folder(variable, home.map(Path::new))
        };
        let home = Some("/home/u");
        assert_eq!(folder(&[], home), Some("/home/u/.cache/huggingface/hub".into()));
        assert_eq!(folder(&[("HF_HUB_CACHE", "")], home), Some("/home/u/.cache/huggingface/hub".into()));
        let mut set = vec![("XDG_CACHE_HOME", "/xdg")];
        assert_eq!(folder(&set, home), Some("/xdg/huggingface/hub".into()));
        set.push(("HF_HOME", "~/hf"));
        assert_eq!(folder(&set, home), Some("/home/u/hf/hub".into()));
        set.push(("HF_HUB_CACHE", "/hub"));
        assert_eq!(folder(&set, None), Some("/hub".into()));
        assert_eq!(folder(&[], None), None);
    }

    /// A model's folder in a cache, with these references and snapshots.
    fn model(references: &[(&str, &str)], snapshots: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, commit) in references {
            let path = folder.path().join("refs").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, commit).unwrap();
        }
        for commit in snapshots {
            fs::create_dir_all(folder.path().join("snapshots").join(commit)).unwrap();
        }
        folder
    }

    #[test]
    fn revisions_are_branches_tags_and_commits() {
        let folder = model(&[("main", "c0ffee\n"), ("refs/pr/1", "beef")], &["c0ffee", "beef", "f00d"]);
        let found = |text: &str| snapshot(folder.path(), &Name::parse(text).unwrap());
        for (text, commit) in
            [("a/b", "c0ffee"), ("a/b@main", "c0ffee"), ("a/b@refs/pr/1", "beef"), ("a/b@f00d", "f00d")]
        {
            assert_eq!(found(text).unwrap(), folder.path().join("snapshots").join(commit), "{text}");
        }
        let error = found("a/b@v9").unwrap_err();
        assert!(error.to_string().starts_with("a/b: no revision `v9` in "), "{error}");
        assert!(error.hint_text().unwrap().contains("huggingface-cli download a/b"), "{error:?}");
    }

    #[test]
    fn without_main_the_only_snapshot_counts() {
        let name = Name::parse("a/b").unwrap();
        let one = model(&[], &["f00d"]);
        assert_eq!(snapshot(one.path(), &name).unwrap(), one.path().join("snapshots/f00d"));
        let two = model(&[], &["beef", "f00d"]);
        let error = snapshot(two.path(), &name).unwrap_err();
        assert!(error.to_string().ends_with("several snapshots and no `main`: beef, f00d"), "{error}");
        assert_eq!(error.hint_text(), Some("name one: a/b@beef"));
        let none = model(&[], &[]);
        assert!(snapshot(none.path(), &name).unwrap_err().to_string().starts_with("a/b: no snapshot in "));
    }

    #[test]
    fn a_reference_cannot_lead_out_of_the_cache() {
        for commit in ["gone", "", "../../elsewhere"] {
            let folder = model(&[("main", commit)], &["f00d"]);
            fs::create_dir_all(folder.path().join("elsewhere")).unwrap();
            let error = snapshot(folder.path(), &Name::parse("a/b").unwrap()).unwrap_err();
            assert!(error.to_string().contains("which isn't there"), "{commit}: {error}");
        }
    }
}
