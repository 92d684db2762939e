//! The files that make a model: its weights and the configuration beside them.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Config, Precision, Weights, hub};
use crate::error::{Error, ErrorKind, Result};

/// What to do with a file that only Python can read.
pub(super) const CONVERT: &str = "this looks like a PyTorch checkpoint; convert it once with Python: \
    safetensors.torch.save_file(torch.load(\"OLD.bin\", weights_only=True), \"model.safetensors\")";

/// The names that ecosystems give their one weight file, in the order of preference.
const USUAL: [&str; 2] = ["model.safetensors", "open_clip_model.safetensors"];
/// The table of contents of a Hugging Face model in several files.
const INDEX: &str = "model.safetensors.index.json";
/// The file of transformers' processors, which from its version 5 on may hold the image processor's settings.
const PROCESSOR: &str = "processor_config.json";
/// The configuration files that are read when they are there.
const CONFIGS: [&str; 4] = ["config.json", "preprocessor_config.json", PROCESSOR, "open_clip_config.json"];

/// A model's weights and configuration files, from a folder in its ecosystem's layout or from memory.
#[derive(Debug)]
pub struct ModelFiles {
    weights: Weights,
    configs: Vec<(String, Config)>,
    folder: Option<PathBuf>,
}

impl ModelFiles {
    /// Reads the model at `path`: a `.safetensors` file or an index of shards, with the configuration files beside it, or a folder that holds
    /// `model.safetensors`, `open_clip_model.safetensors`, shards with their index, or one `.safetensors` file of
    /// any name. A name such as `openai/clip-vit-base-patch32` stands for its snapshot in the local Hugging Face cache, as
    /// [`locate`](super::locate) finds it.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] or [`ErrorKind::Weights`] if there are no weights (saying what there is instead), or a file's
    /// own error.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let located = hub::find(path.as_ref())?;
        Self::open_located(&located.path).map_err(|error| located.explain(error))
    }

    fn open_located(path: &Path) -> Result<Self> {
        let index_of = path.file_name().filter(|name| *name == INDEX).and_then(|_| path.parent());
        let (weights, folder) = if let Some(folder) = index_of {
            (open_shards(folder)?, folder.to_owned())
        } else if path.is_dir() {
            (open_folder(path)?, path.to_owned())
        } else {
            (Weights::open(path)?, path.parent().map(Path::to_owned).unwrap_or_default())
        };
        let mut configs = Vec::new();
        for name in CONFIGS {
            let file = folder.join(name);
            if file.exists() {
                configs.push((name.to_owned(), Config::open(file)?));
            }
        }
        Ok(Self { weights, configs, folder: Some(folder) })
    }

    /// A model from memory: its weights and its configuration files by their usual names.
    pub fn from_parts(weights: Weights, configs: Vec<(String, Config)>) -> Self {
        Self { weights, configs, folder: None }
    }

    /// The same files for a model whose weights are of this precision on the GPU.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        self.map_weights(|weights| weights.with_precision(precision))
    }

    /// The same files with the weights that `change` makes of theirs.
    pub(crate) fn map_weights(self, change: impl FnOnce(Weights) -> Weights) -> Self {
        Self { weights: change(self.weights), ..self }
    }

    /// The same model with other values for some of its tensors; see [`Weights::replaced`].
    ///
    /// # Errors
    /// Those of [`Weights::replaced`].
    pub fn replaced(&self, others: &Weights) -> Result<Self> {
        let weights = self.weights.replaced(others)?;
        Ok(Self { weights, configs: self.configs.clone(), folder: self.folder.clone() })
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The configuration files that were found, by name.
    pub fn configs(&self) -> &[(String, Config)] {
        &self.configs
    }

    /// One configuration file, if it was found.
    pub fn config(&self, name: &str) -> Option<&Config> {
        self.configs.iter().find(|(found, _)| found == name).map(|(_, config)| config)
    }

    /// One configuration file that the model can't do without.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if it isn't there; `purpose` says what it is needed for.
    pub fn require_config(&self, name: &str, purpose: &str) -> Result<&Config> {
        self.config(name).ok_or_else(|| {
            let message = format!("{}: no {name} beside it, which says {purpose}", self.weights.name());
            Error::new(ErrorKind::Config, message)
                .hint("put the configuration file that came with the weights beside them")
        })
    }

    /// transformers' settings of the image processor, with the file that they are from: those nested in
    /// `processor_config.json` come before `preprocessor_config.json`, as in transformers itself.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if neither is there.
    pub fn image_processor(&self) -> Result<(&serde_json::Value, &Config)> {
        let nested = self.config(PROCESSOR).and_then(|config| Some((config.get("image_processor")?, config)));
        nested.map_or_else(
            || {
                let config = self.require_config("preprocessor_config.json", "how pictures are prepared")?;
                Ok((config.value(), config))
            },
            Ok,
        )
    }

    /// The folder that the other files (a tokenizer's, say) lie in; models from memory have none.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }
}

fn open_folder(folder: &Path) -> Result<Weights> {
    let names = list(folder)?;
    let has = |name: &str| names.iter().any(|found| found == name);
    if let Some(name) = USUAL.iter().find(|name| has(name)) {
        return Weights::open(folder.join(name));
    }
    if has(INDEX) {
        return open_shards(folder);
    }
    let safetensors: Vec<_> = names.iter().filter(|name| name.ends_with(".safetensors")).collect();
    match &safetensors[..] {
        [only] => Weights::open(folder.join(only)),
        [] => Err(no_weights(folder, &names)),
        several => {
            let several: Vec<_> = several.iter().map(|name| name.as_str()).collect();
            let message = format!("{}: several weight files: {}", folder.display(), several.join(", "));
            Err(Error::new(ErrorKind::Weights, message).hint("give the path of the one to use"))
        }
    }
}

/// Opens the files that an index names, in the order of their names.
fn open_shards(folder: &Path) -> Result<Weights> {
    let index = Config::open(folder.join(INDEX))?;
    let files = index.get("weight_map").and_then(|map| map.as_object());
    let files = files.ok_or_else(|| index.error("weight_map", "is missing; it says which file holds a tensor"))?;
    let mut shards = Vec::new();
    for (tensor, file) in files {
        let plain = file.as_str().filter(|file| Path::new(file).file_name().is_some_and(|name| name == *file));
        shards.push(plain.ok_or_else(|| index.error(&format!("weight_map.{tensor}"), "isn't the name of a file"))?);
    }
    shards.sort_unstable();
    shards.dedup();
    let read = |file: &&str| {
        let path = folder.join(file);
        fs::read(&path).map_err(|e| Error::io(path, e))
    };
    let bytes = shards.iter().map(read).collect::<Result<_>>()?;
    Weights::from_shards(folder.join(INDEX).display().to_string(), bytes)
}

fn no_weights(folder: &Path, names: &[String]) -> Error {
    let found = match names {
        [] => "nothing".to_owned(),
        names if names.len() > 8 => format!("{} and {} more", names[..8].join(", "), names.len() - 8),
        names => names.join(", "),
    };
    let wanted = "model.safetensors or another .safetensors file";
    let error = Error::new(ErrorKind::Weights, format!("{}: no {wanted}; it holds {found}", folder.display()));
    let is_checkpoint = |name: &String| [".bin", ".pt", ".pth"].iter().any(|ending| name.ends_with(ending));
    if names.iter().any(is_checkpoint) { error.hint(CONVERT) } else { error }
}

/// The names of a folder's entries, sorted.
pub(super) fn list(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(|e| Error::io(folder, e))?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    fn bytes(tensor: &str) -> Vec<u8> {
        Weights::from_tensors("", &[(tensor.to_owned(), Tensor::zeros([2]))]).shards()[0].clone()
    }

    /// A folder of the given files.
    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn usual_names_come_before_others() {
        let (a, b, c) = (bytes("a"), bytes("b"), bytes("c"));
        let all = folder(&[("model.safetensors", &a), ("open_clip_model.safetensors", &b), ("other.safetensors", &c)]);
        assert!(ModelFiles::open(all.path()).unwrap().weights().contains("a"));
        let some = folder(&[("open_clip_model.safetensors", &b), ("other.safetensors", &c)]);
        assert!(ModelFiles::open(some.path()).unwrap().weights().contains("b"));
        let one = folder(&[("resnet18-f37072fd.safetensors", &c), ("config.json", br#"{"architecture": "resnet18"}"#)]);
        for path in [one.path().to_owned(), one.path().join("resnet18-f37072fd.safetensors")] {
            let files = ModelFiles::open(path).unwrap();
            assert!(files.weights().contains("c"));
            assert_eq!(files.config("config.json").unwrap().text("architecture").unwrap(), Some("resnet18"));
            assert_eq!(files.folder(), Some(one.path()));
        }
    }

    #[test]
    fn several_files_are_refused_by_name() {
        let folder = folder(&[("one.safetensors", &bytes("a")), ("two.safetensors", &bytes("b"))]);
        let error = ModelFiles::open(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Weights);
        assert!(error.to_string().ends_with("several weight files: one.safetensors, two.safetensors"), "{error}");
    }

    #[test]
    fn missing_weights_say_what_is_there() {
        let folder = folder(&[("config.json", b"{}"), ("pytorch_model.bin", b"")]);
        let error = ModelFiles::open(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("it holds config.json, pytorch_model.bin"), "{error}");
        assert!(error.hint_text().unwrap().contains("save_file"), "{:?}", error.hint_text());
        let empty = tempfile::tempdir().unwrap();
        let error = ModelFiles::open(empty.path()).unwrap_err();
        assert!(error.to_string().ends_with("it holds nothing") && error.hint_text().is_none(), "{error}");
        let error = ModelFiles::open(empty.path().join("nowhere")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("nowhere"), "{error}");
    }

    #[test]
    fn shards_make_one_model() {
        let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
        let (a, b) = (bytes("a"), bytes("b"));
        let whole = folder(&[
            ("model.safetensors.index.json", index),
            ("model-1.safetensors", &a),
            ("model-2.safetensors", &b),
        ]);
        let files = ModelFiles::open(whole.path()).unwrap();
        assert_eq!(files.weights().names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(files.weights().tensor("b").unwrap().shape(), [2]);

        let files = ModelFiles::open(whole.path().join("model.safetensors.index.json")).unwrap();
        assert_eq!(files.weights().names().collect::<Vec<_>>(), ["a", "b"]);

        let half = folder(&[("model.safetensors.index.json", index), ("model-1.safetensors", &a)]);
        let error = ModelFiles::open(half.path()).unwrap_err();
        assert!(error.kind() == ErrorKind::Io && error.to_string().contains("model-2.safetensors"), "{error}");

        let outside = folder(&[("model.safetensors.index.json", br#"{"weight_map": {"a": "../a.safetensors"}}"#)]);
        let error = ModelFiles::open(outside.path()).unwrap_err();
        assert!(error.to_string().contains("`weight_map.a` isn't the name of a file"), "{error}");
    }

    #[test]
    fn nested_settings_of_the_image_processor_come_first() {
        let old = ("preprocessor_config.json", &br#"{"crop_pct": 1}"#[..]);
        let found = |processor: &[u8]| {
            let weights = bytes("a");
            let folder = folder(&[("model.safetensors", &weights), ("processor_config.json", processor), old]);
            let files = ModelFiles::open(folder.path()).unwrap();
            let (settings, config) = files.image_processor().unwrap();
            (settings.clone(), Path::new(config.name()).file_name().unwrap().to_owned())
        };
        let nested = (serde_json::json!({"crop_pct": 2}), "processor_config.json".into());
        assert_eq!(found(br#"{"image_processor": {"crop_pct": 2}}"#), nested);
        let beside = (serde_json::json!({"crop_pct": 1}), "preprocessor_config.json".into());
        assert_eq!(found(br#"{"processor_class": "CLIPProcessor"}"#), beside);
    }

    #[test]
    fn missing_configs_are_named() {
        let files = ModelFiles::from_parts(Weights::from_tensors("clip.safetensors", &[]), Vec::new());
        let error = files.require_config("config.json", "which activation is used").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            error.to_string(),
            "clip.safetensors: no config.json beside it, which says which activation is used"
        );
    }
}
