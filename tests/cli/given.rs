//! What a command is given, and the ways in which it is spoiled.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use super::fixture::{CLASSES, Fixture, fixture, walk};

/// What a command is given; each row of the table spoils some of it.
pub(crate) struct Given {
    pub(crate) fixture: &'static Fixture,
    /// A folder for spoiled copies.
    pub(crate) scratch: PathBuf,
    command: &'static str,
    pub(crate) classifier: PathBuf,
    pub(crate) clip: PathBuf,
    pub(crate) aligner: PathBuf,
    pub(crate) concepts: PathBuf,
    pub(crate) images: PathBuf,
    pub(crate) bundle: PathBuf,
    pub(crate) filter: PathBuf,
    pub(crate) spec: PathBuf,
    pub(crate) output: PathBuf,
    pub(crate) class: &'static str,
    pub(crate) false_reject_rate: &'static str,
    pub(crate) epsilon: &'static str,
    pub(crate) extra: Vec<String>,
}

/// Commands that write no file of their own.
const WITHOUT_OUTPUT: [&str; 8] =
    ["check", "classify", "compare", "concepts lint", "concepts suggest", "filter", "inspect", "localize"];

impl Given {
    pub(crate) fn new(command: &'static str, scratch: &Path, out: &Path) -> Self {
        let fixture = fixture();
        let split = match command {
            "align" | "build" | "calibrate" => command,
            _ => "test",
        };
        Self {
            fixture,
            scratch: scratch.to_owned(),
            command,
            classifier: fixture.path("classifier"),
            clip: fixture.path("clip"),
            aligner: fixture.path("aligner.safetensors"),
            concepts: fixture.path("concepts.txt"),
            images: fixture.path(split),
            bundle: fixture.path("bundle"),
            filter: fixture.path("model.heatlens"),
            spec: fixture.path("checks.txt"),
            output: out.join("output"),
            class: CLASSES[0],
            false_reject_rate: "0.5",
            epsilon: "16/255",
            extra: Vec::new(),
        }
    }

    pub(crate) fn args(&self) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let option = |name: &str, path: &Path| vec![name.to_owned(), text(path)];
        let classifier = || option("--classifier", &self.classifier);
        let images = || option("--images", &self.images);
        let mut args: Vec<String> = self.command.split(' ').map(str::to_owned).collect();
        args.extend(match self.command {
            "align" => [classifier(), option("--clip", &self.clip), images()].concat(),
            "build" => [
                classifier(),
                option("--clip", &self.clip),
                option("--aligner", &self.aligner),
                option("--concepts", &self.concepts),
                images(),
                ["--minimum-support", "2"].map(str::to_owned).to_vec(),
            ]
            .concat(),
            "calibrate" => {
                let rate = ["--false-reject-rate", self.false_reject_rate].map(str::to_owned).to_vec();
                [vec![text(&self.bundle)], classifier(), images(), rate].concat()
            }
            "evaluate filter" => [option("--filter", &self.filter), classifier(), images()].concat(),
            "filter" => [option("--filter", &self.filter), classifier(), vec![text(&self.images)]].concat(),
            "classify" | "embed" => [option("--model", &self.classifier), vec![text(&self.images)]].concat(),
            "show" => {
                [vec![text(&self.bundle)], ["--set", "correct", "--class", self.class].map(str::to_owned).to_vec()]
                    .concat()
            }
            "compare" => vec![text(&self.fixture.path("bundle")), text(&self.bundle)],
            "check" => vec![text(&self.spec), text(&self.bundle)],
            "concepts lint" => vec![text(&self.bundle)],
            "concepts suggest" => {
                [vec![text(&self.bundle)], option("--vocabulary", &self.concepts), option("--clip", &self.clip)]
                    .concat()
            }
            "attack" => {
                let attack = ["--epsilon", self.epsilon, "--queries", "3"].map(str::to_owned).to_vec();
                [classifier(), images(), attack].concat()
            }
            "inspect" => vec![text(&self.classifier)],
            "localize" | "export" | "report" | "merge" => vec![text(&self.bundle)],
            other => panic!("no arguments are known for {other}"),
        });
        if !WITHOUT_OUTPUT.contains(&self.command) {
            args.extend(option("-o", &self.output));
        }
        args.extend(self.extra.clone());
        args
    }

    /// A copy of a file or folder, which `spoil` changes.
    pub(crate) fn spoiled(&self, original: &Path, spoil: impl FnOnce(&Path)) -> PathBuf {
        let copy = self.scratch.join(original.file_name().unwrap());
        if original.is_dir() {
            for file in walk(original) {
                let to = copy.join(file.strip_prefix(original).unwrap());
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(&file, to).unwrap();
            }
        } else {
            fs::copy(original, &copy).unwrap();
        }
        spoil(&copy);
        copy
    }

    /// The fixture's attacked images as a set, `mirrored`, that the fixture's bundle was built with.
    pub(crate) fn attacked(&mut self) {
        self.add_attacked("mirrored", &self.fixture.path("attacked"));
    }

    /// New attacks on the images of a split, as a set called `square`.
    pub(crate) fn attack(&mut self, split: &str) {
        let [classifier, images, out] =
            [self.classifier.clone(), self.fixture.path(split), self.scratch.join("square")]
                .map(|path| path.display().to_string());
        let args =
            ["attack", "--classifier", &classifier, "--images", &images, "--epsilon", "16/255", "--queries", "2"];
        self.fixture.run(&[&args[..], &["-o", &out]].concat());
        self.add_attacked("square", out.as_ref());
    }

    fn add_attacked(&mut self, name: &str, folder: &Path) {
        self.extra.extend(["--attacked".to_owned(), format!("{name}={}", folder.display())]);
    }

    /// A file with this text.
    pub(crate) fn list(&self, name: &str, text: &str) -> PathBuf {
        let path = self.scratch.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

/// Bad input: what it is, the command, how its input is spoiled, and what the error must name.
pub(crate) struct Row(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) fn(&mut Given),
    pub(crate) &'static [&'static str],
);

/// Leaves a file without content.
pub(crate) fn empty(path: &Path) {
    fs::write(path, "").unwrap();
}

/// Removes a folder's files.
pub(crate) fn empty_folder(folder: &Path) {
    walk(folder).iter().for_each(|file| fs::remove_file(file).unwrap());
}

/// Changes the last f32 of a file by as little as can be.
pub(crate) fn nudge(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() - 4;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Makes the first value of an f32 tensor in a safetensors file NaN.
pub(crate) fn poison(path: &Path, tensor: &str) {
    let mut bytes = fs::read(path).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let at = 8 + header + metadata.info(tensor).unwrap().data_offsets.0;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

/// Cuts a file in half.
pub(crate) fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Replaces the first occurrence of a text of the same length in a file of any format.
pub(crate) fn replace(path: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
    bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    fs::write(path, bytes).unwrap();
}

/// Replaces a text in a text file.
pub(crate) fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

pub(crate) fn first_picture(folder: &Path) -> PathBuf {
    walk(folder).remove(0)
}
