//! A tiny classifier, a tiny CLIP and drawn pictures, all from the formula, and what the commands make of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::LazyLock;

use assert_cmd::Command;
use heatlens::weights::formula;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// The classes, in logit order.
pub(crate) const CLASSES: [&str; 3] = ["cat", "dog", "ship"];
/// The concepts.
pub(crate) const CONCEPTS: [&str; 5] = ["ears", "fur", "water", "metal", "wheels"];
/// Pixels along an edge of the pictures and of both networks' inputs.
pub(crate) const EDGE: usize = 32;
/// Printable ASCII, in which the prompts are written.
const LETTERS: std::ops::RangeInclusive<u8> = b'!'..=b'~';
/// Pictures of each split.
const SPLITS: [(&str, usize); 4] = [("align", 30), ("build", 48), ("calibrate", 36), ("test", 24)];

/// Everything the commands read and write, made once for all tests.
pub(crate) struct Fixture {
    root: PathBuf,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(Fixture::make);

/// The program. Mesa 22's layer for choosing a device writes to standard error where `XDG_RUNTIME_DIR` isn't set. What
/// one test computes isn't another's to find.
pub(crate) fn program() -> process::Command {
    let mut command = process::Command::new(env!("CARGO_BIN_EXE_heatlens"));
    command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    command.env("HEATLENS_NO_CACHE", "1");
    command
}

/// The program, to be run to its end.
pub(crate) fn heatlens() -> Command {
    Command::from_std(program())
}

/// The fixture, made by whichever test needs it first.
pub(crate) fn fixture() -> &'static Fixture {
    &FIXTURE
}

impl Fixture {
    /// A file or folder of the fixture.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn make() -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        fs::create_dir_all(&root).unwrap();
        let fixture = Self { root };
        write_classifier(&fixture.path("classifier"), CLASSES.len(), 1.0);
        write_clip(&fixture.path("clip"));
        fs::write(fixture.path("concepts.txt"), CONCEPTS.join("\n")).unwrap();
        let check = "check wheels for all: wheels > fur or not wheels > fur at least 100 %";
        fs::write(fixture.path("checks.txt"), check).unwrap();
        fixture.draw();
        fixture.run_all();
        fixture
    }

    /// Draws every split's pictures and labels them by the classifier's own predictions, but each third one wrongly.
    fn draw(&self) {
        let unlabelled = self.path("unlabelled");
        fs::create_dir(&unlabelled).unwrap();
        for (split, count) in SPLITS {
            for number in 0..count {
                write_picture(&unlabelled.join(format!("{split}-{number:02}.png")), &format!("{split}/{number}"));
            }
        }
        let found =
            self.json_lines(&["classify", "--json", "--model", &self.text("classifier"), &self.text("unlabelled")]);
        assert_eq!(found.len(), SPLITS.iter().map(|(_, count)| count).sum::<usize>());
        for line in &found {
            let path = Path::new(line["path"].as_str().unwrap());
            let name = path.file_name().unwrap().to_str().unwrap();
            let (split, number) = name.strip_suffix(".png").unwrap().split_once('-').unwrap();
            let prediction = line["classes"][0]["class"].as_str().unwrap();
            let class = CLASSES.iter().position(|class| *class == prediction).unwrap();
            let is_wrong = number.parse::<usize>().unwrap() % 3 == 0;
            let folder = self.path(split).join(CLASSES[(class + usize::from(is_wrong)) % CLASSES.len()]);
            fs::create_dir_all(&folder).unwrap();
            fs::rename(path, folder.join(name)).unwrap();
        }
        // An "attack": the build pictures under the same names, mirrored.
        for entry in walk(&self.path("build")) {
            let to = self.path("attacked").join(entry.strip_prefix(self.path("build")).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            image::open(&entry).unwrap().fliph().save(to).unwrap();
        }
    }

    /// Makes the aligner, the bundle, the filter and the evaluation.
    fn run_all(&self) {
        let [classifier, clip, aligner, concepts, bundle, filter, evaluation] =
            ["classifier", "clip", "aligner.safetensors", "concepts.txt", "bundle", "model.heatlens", "eval.json"]
                .map(|name| self.text(name));
        let [align, build, calibrate, test, attacked] =
            ["align", "build", "calibrate", "test", "attacked"].map(|name| self.text(name));
        let models = ["--classifier", &classifier, "--clip", &clip];
        let attacked = format!("mirrored={attacked}");
        self.run(&[&["align"], &models[..], &["--images", &align, "-o", &aligner]].concat());
        let build = ["--aligner", &aligner, "--concepts", &concepts, "--images", &build, "-o", &bundle];
        let build = [&build[..], &["--minimum-support", "2", "--attacked", &attacked]].concat();
        self.run(&[&["build"], &models[..], &build].concat());
        self.run(&["calibrate", &bundle, "--images", &calibrate, "--false-reject-rate", "0.5", "-o", &filter]);
        self.run(&["evaluate", "filter", "--filter", &filter, "--images", &test, "-o", &evaluation]);
    }

    /// Runs a command that must succeed, and gives what it printed.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let output = heatlens().args(args).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must succeed and print JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(args)).unwrap()
    }

    /// Runs a command that must succeed and print JSON in every line.
    pub(crate) fn json_lines(&self, args: &[&str]) -> Vec<Value> {
        self.run(args).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// All files under a folder, sorted.
pub(crate) fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// A drawn picture.
pub(crate) fn write_picture(path: &Path, name: &str) {
    let pixels = formula::picture(name, EDGE, EDGE);
    image::save_buffer(path, &pixels, EDGE as u32, EDGE as u32, image::ExtendedColorType::Rgb8).unwrap();
}

/// Tensors by name, each with its shape and values.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Writes a safetensors file.
pub(crate) fn write_tensors(path: &Path, tensors: &Tensors) {
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, (*shape).clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// Tensors of these names and shapes with the formula's values.
pub(crate) fn formula_tensors(shapes: impl IntoIterator<Item = (String, Vec<usize>)>) -> Tensors {
    let values = |name: &str, shape: &[usize]| formula::tensor(name, shape).into_data();
    shapes.into_iter().map(|(name, shape)| (name.clone(), (shape.clone(), values(&name, &shape)))).collect()
}

/// A ResNet of two basic blocks under torchvision's names, with its head's weights times `scale`, and timm's config.
pub(crate) fn write_classifier(folder: &Path, classes: usize, scale: f32) {
    let mut tensors = classifier_tensors(classes);
    let head = tensors.get_mut("fc.weight").unwrap();
    head.1.iter_mut().for_each(|value| *value *= scale);
    fs::create_dir_all(folder).unwrap();
    write_tensors(&folder.join("model.safetensors"), &tensors);
    let preprocess = json!({
        "input_size": [3, EDGE, EDGE], "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
    });
    let config = json!({
        "architecture": "resnet10", "num_classes": classes, "label_names": &CLASSES[..classes.min(CLASSES.len())],
        "pretrained_cfg": preprocess,
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

fn classifier_tensors(classes: usize) -> Tensors {
    let mut shapes = Vec::new();
    let mut conv = |name: &str, norm: &str, shape: [usize; 4]| {
        shapes.push((format!("{name}.weight"), shape.to_vec()));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            shapes.push((format!("{norm}.{part}"), vec![shape[0]]));
        }
    };
    conv("conv1", "bn1", [8, 3, 7, 7]);
    for (layer, inputs, outputs) in [("layer1.0", 8, 8), ("layer2.0", 8, 16)] {
        conv(&format!("{layer}.conv1"), &format!("{layer}.bn1"), [outputs, inputs, 3, 3]);
        conv(&format!("{layer}.conv2"), &format!("{layer}.bn2"), [outputs, outputs, 3, 3]);
        if inputs != outputs {
            conv(&format!("{layer}.downsample.0"), &format!("{layer}.downsample.1"), [outputs, inputs, 1, 1]);
        }
    }
    shapes.push(("fc.weight".to_owned(), vec![classes, 16]));
    shapes.push(("fc.bias".to_owned(), vec![classes]));
    formula_tensors(shapes)
}

/// A CLIP of one block a tower in Hugging Face's layout, with a vocabulary of single letters.
fn write_clip(folder: &Path) {
    const WIDTH: usize = 16;
    const PATCH: usize = 8;
    const EMBEDDING: usize = 12;
    const CONTEXT: usize = 32;
    let letters: Vec<String> = LETTERS.map(|letter| char::from(letter).to_string()).collect();
    let ends = letters.iter().map(|letter| format!("{letter}</w>"));
    let specials = ["<|startoftext|>", "<|endoftext|>"].map(str::to_owned);
    let tokens: Vec<String> = letters.iter().cloned().chain(ends).chain(specials).collect();

    let mut shapes: Vec<(String, Vec<usize>)> = Vec::new();
    let mut add = |name: String, shape: &[usize]| shapes.push((name, shape.to_vec()));
    let grid = EDGE / PATCH;
    add("vision_model.embeddings.class_embedding".into(), &[WIDTH]);
    add("vision_model.embeddings.patch_embedding.weight".into(), &[WIDTH, 3, PATCH, PATCH]);
    add("vision_model.embeddings.position_embedding.weight".into(), &[grid * grid + 1, WIDTH]);
    add("text_model.embeddings.token_embedding.weight".into(), &[tokens.len(), WIDTH]);
    add("text_model.embeddings.position_embedding.weight".into(), &[CONTEXT, WIDTH]);
    add("visual_projection.weight".into(), &[EMBEDDING, WIDTH]);
    add("text_projection.weight".into(), &[EMBEDDING, WIDTH]);
    add("logit_scale".into(), &[]);
    let mut layer = |name: String, shape: &[usize]| {
        add(format!("{name}.weight"), shape);
        add(format!("{name}.bias"), &shape[..1]);
    };
    for norm in ["vision_model.pre_layrnorm", "vision_model.post_layernorm", "text_model.final_layer_norm"] {
        layer(norm.to_owned(), &[WIDTH]);
    }
    for tower in ["vision_model", "text_model"] {
        let block = format!("{tower}.encoder.layers.0");
        for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            layer(format!("{block}.self_attn.{part}"), &[WIDTH, WIDTH]);
        }
        layer(format!("{block}.layer_norm1"), &[WIDTH]);
        layer(format!("{block}.layer_norm2"), &[WIDTH]);
        layer(format!("{block}.mlp.fc1"), &[4 * WIDTH, WIDTH]);
        layer(format!("{block}.mlp.fc2"), &[WIDTH, 4 * WIDTH]);
    }
    fs::create_dir_all(folder).unwrap();
    write_tensors(&folder.join("model.safetensors"), &formula_tensors(shapes));

    let tower = json!({"num_attention_heads": 2, "hidden_act": "quick_gelu"});
    let mut text = tower.clone();
    text["eos_token_id"] = json!(tokens.len() - 1);
    let config = json!({"model_type": "clip", "vision_config": tower, "text_config": text});
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let edge = json!({"height": EDGE, "width": EDGE});
    let preprocess = json!({
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": EDGE}, "crop_size": edge,
    });
    fs::write(folder.join("preprocessor_config.json"), preprocess.to_string()).unwrap();
    let vocabulary: BTreeMap<&String, usize> = tokens.iter().zip(0..).collect();
    fs::write(folder.join("vocab.json"), json!(vocabulary).to_string()).unwrap();
    fs::write(folder.join("merges.txt"), "#version: 0.2\n").unwrap();
}
