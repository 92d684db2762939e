//! What `build` finds out about a classifier, in memory and on disk.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::align::{Aligner, hashes_of, insert_hashes};
use super::concepts::Templates;
use super::container::Container;
use super::diagnosis::ImageSet;
use super::heatmap::Counts;
use super::manifest::Manifest;
use super::overlap::Given;
use super::scores::ContentOrder;
use super::sets::Sets;
use super::statistics::Estimate;
use crate::dataset::ContentHash;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{Occupied, write_atomic, write_dir_atomic};
use crate::tensor::Tensor;

/// The spaces in which concepts are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// The classifier's features through the aligner.
    #[default]
    Classifier,
    /// CLIP's own image embeddings.
    Clip,
}

impl std::str::FromStr for Space {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "classifier" => Ok(Self::Classifier),
            "clip" => Ok(Self::Clip),
            _ => Err(Error::new(ErrorKind::Usage, format!("'{text}' isn't a space, expected classifier or clip"))),
        }
    }
}

/// Per-image results, row by row in the order of the images.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Paths as given.
    pub paths: Vec<String>,
    /// Content hashes.
    pub hashes: Vec<ContentHash>,
    /// Ground truth.
    pub labels: Vec<usize>,
    /// Predictions.
    pub predictions: Vec<usize>,
    /// Pooled features `[N, D]`.
    pub features: Tensor,
    /// Logits `[N, K]`.
    pub logits: Tensor,
    /// CLIP's image embeddings `[N, E]`, un-normalised.
    pub clip: Tensor,
    /// Concept scores in classifier space `[N, C]`.
    pub scores: Tensor,
    /// Concept scores in clip space `[N, C]`.
    pub clip_scores: Tensor,
    /// Class scores in classifier space `[N, K]`.
    pub class_scores: Tensor,
    /// Class scores in clip space `[N, K]`.
    pub clip_class_scores: Tensor,
}

impl Samples {
    /// The share that is classified correctly, with Wilson's interval.
    pub(crate) fn accuracy(&self) -> Estimate {
        let right = self.labels.iter().zip(&self.predictions).filter(|(label, found)| label == found);
        Estimate::of_some(right.count() as u64, self.labels.len() as u64)
    }

    /// The images as they were given.
    pub(crate) fn given(&self) -> Vec<Given<'_>> {
        let rows = self.paths.iter().zip(&self.hashes);
        rows.map(|(path, &hash)| Given { path, hash, original: None }).collect()
    }

    /// Concept scores in a space.
    pub fn scores_in(&self, space: Space) -> &Tensor {
        match space {
            Space::Classifier => &self.scores,
            Space::Clip => &self.clip_scores,
        }
    }

    fn tensors(&self) -> [(&'static str, &Tensor); 7] {
        [
            ("features", &self.features),
            ("logits", &self.logits),
            ("clip", &self.clip),
            ("scores", &self.scores),
            ("clip_scores", &self.clip_scores),
            ("class_scores", &self.class_scores),
            ("clip_class_scores", &self.clip_class_scores),
        ]
    }
}

/// Attacked images that changed the prediction of a correctly classified one, row by row, and what all that were given are known by.
#[derive(Debug, Clone, Default)]
pub struct AttackedSamples {
    /// Paths as given.
    pub paths: Vec<String>,
    /// Predictions after the attack.
    pub predictions: Vec<usize>,
    /// Concept scores in classifier space `[A, C]`.
    pub scores: Tensor,
    /// Content hashes of all attacked images, whatever became of them, and of their originals where the attack's record tells them.
    pub contents: HashSet<ContentHash>,
}

/// Counts of the raw scores in classifier space, class by class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCounts {
    /// Label and prediction are the class.
    pub correct: Vec<Counts>,
    /// The label is the class, the prediction isn't.
    pub missed: Vec<Counts>,
    /// The prediction is the class, the label isn't.
    pub false_alarm: Vec<Counts>,
    /// Attacks that turned the prediction into the class; empty where none were given.
    pub adversarial: Vec<Counts>,
}

/// A classifier's heatmaps and all that they come from.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub(crate) manifest: Manifest,
    pub(crate) samples: Samples,
    pub(crate) attacked: AttackedSamples,
    pub(crate) directions: Tensor,
    pub(crate) class_directions: Tensor,
    pub(crate) counts: Option<ClassCounts>,
    pub(crate) aligner: Aligner,
    pub(crate) thumbnails: PathBuf,
}

impl Bundle {
    /// Reads a bundle.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] or [`ErrorKind::Format`] naming the file that is missing, malformed or of another version.
    pub fn open(folder: &Path) -> Result<Self> {
        let manifest = Manifest::open(&folder.join("manifest.json"))?;
        let [n, k, c] = [manifest.n, manifest.classes.len(), manifest.concepts.len()];
        let any = usize::MAX;
        let file = Container::open(&folder.join("samples.safetensors"))?;
        let indices = |name: &str, rows: usize| -> Result<Vec<usize>> {
            let values: Vec<i64> = file.values(name, &[rows])?;
            let index = |value: i64| usize::try_from(value).ok().filter(|&value| value < k);
            values.into_iter().map(index).collect::<Option<_>>().ok_or_else(|| {
                let path = folder.join("samples.safetensors");
                Error::new(ErrorKind::Format, format!("{}: `{name}` isn't below {k} everywhere", path.display()))
            })
        };
        let hashes: Vec<u8> = file.values("content_hashes", &[n, 32])?;
        let (paths, attacked_paths) = read_paths(&folder.join("samples.jsonl"))?;
        let samples = Samples {
            hashes: hashes.as_chunks().0.iter().map(|&hash| ContentHash(hash)).collect(),
            labels: indices("labels", n)?,
            predictions: indices("predictions", n)?,
            features: file.matrix("features", [n, any])?,
            logits: file.matrix("logits", [n, k])?,
            clip: file.matrix("clip", [n, any])?,
            scores: file.matrix("scores", [n, c])?,
            clip_scores: file.matrix("clip_scores", [n, c])?,
            class_scores: file.matrix("class_scores", [n, k])?,
            clip_class_scores: file.matrix("clip_class_scores", [n, k])?,
            paths,
        };
        let attacked = AttackedSamples {
            predictions: indices("attacked.predictions", attacked_paths.len())?,
            scores: file.matrix("attacked.scores", [attacked_paths.len(), c])?,
            contents: hashes_of(&file, "attacked.content_hashes")?,
            paths: attacked_paths,
        };
        let succeeded = manifest.attacks.iter().map(|set| set.succeeded).sum();
        for (what, found, expected) in
            [("images", samples.paths.len(), n), ("attacked images", attacked.paths.len(), succeeded)]
        {
            if found != expected {
                let path = folder.join("samples.jsonl");
                let message = format!("{}: {found} {what}, expected {expected}", path.display());
                return Err(Error::new(ErrorKind::Format, message));
            }
        }
        let concepts = Container::open(&folder.join("concepts.safetensors"))?;
        let read = || -> Result<ClassCounts> {
            let file = Container::open(&folder.join("counts.safetensors"))?;
            let maps = |name: &str| read_counts(&file, name, k, c);
            Ok(ClassCounts {
                correct: maps("correct")?,
                missed: maps("missed")?,
                false_alarm: maps("false_alarm")?,
                adversarial: if manifest.attacks.is_empty() { Vec::new() } else { maps("adversarial")? },
            })
        };
        Ok(Self {
            directions: concepts.matrix("directions", [c, any])?,
            class_directions: concepts.matrix("class_directions", [k, any])?,
            counts: manifest.stores_counts.then(read).transpose()?,
            aligner: Aligner::open(&folder.join("aligner.safetensors"))?,
            manifest,
            samples,
            attacked,
            thumbnails: folder.join("thumbs"),
        })
    }

    /// Writes the bundle with the thumbnails of its images, all at once.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] naming what can't be written; a folder that is no bundle isn't replaced.
    pub(crate) fn save(&mut self, folder: &Path, thumbnails: impl IntoIterator<Item = Result<Vec<u8>>>) -> Result<()> {
        let is_bundle = folder.join("manifest.json").exists();
        let occupied = if is_bundle { Occupied::Replace } else { Occupied::Refuse };
        write_dir_atomic(folder, occupied, |folder| {
            self.write(folder)?;
            let thumbs = folder.join("thumbs");
            std::fs::create_dir(&thumbs).map_err(|e| Error::io(&thumbs, e))?;
            for (row, thumbnail) in thumbnails.into_iter().enumerate() {
                let path = thumbs.join(thumbnail_name(row));
                std::fs::write(&path, thumbnail?).map_err(|e| Error::io(&path, e))?;
            }
            Ok(())
        })?;
        self.thumbnails = folder.join("thumbs");
        Ok(())
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let mut file = Container::default();
        let Samples { labels, predictions, hashes, .. } = &self.samples;
        let n = labels.len();
        let integers = |values: &[usize]| values.iter().map(|&value| value as i64).collect::<Vec<_>>();
        file.insert("labels", &[n], &integers(labels));
        file.insert("predictions", &[n], &integers(predictions));
        file.insert("content_hashes", &[n, 32], &hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>());
        self.samples.tensors().iter().for_each(|(name, tensor)| file.insert_tensor(name, tensor));
        file.insert("attacked.predictions", &[self.attacked.predictions.len()], &integers(&self.attacked.predictions));
        file.insert_tensor("attacked.scores", &self.attacked.scores);
        insert_hashes(&mut file, "attacked.content_hashes", &self.attacked.contents);
        file.save(&folder.join("samples.safetensors"))?;

        let mut concepts = Container::default();
        concepts.insert_tensor("directions", &self.directions);
        concepts.insert_tensor("class_directions", &self.class_directions);
        concepts.save(&folder.join("concepts.safetensors"))?;

        if let Some(counts) = &self.counts {
            let mut file = Container::default();
            counts.named().for_each(|(name, maps)| insert_counts(&mut file, name, maps));
            file.save(&folder.join("counts.safetensors"))?;
        }
        self.aligner.save(&folder.join("aligner.safetensors"))?;
        self.write_paths(&folder.join("samples.jsonl"))?;
        let manifest = serde_json::to_string_pretty(&self.manifest)
            .map_err(|e| Error::new(ErrorKind::Format, "the manifest can't be written").caused_by(e))?;
        let path = folder.join("manifest.json");
        write_atomic(&path, |file| writeln!(file, "{manifest}").map_err(|e| Error::io(&path, e)))
    }

    fn write_paths(&self, path: &Path) -> Result<()> {
        let class = |index: usize| self.manifest.classes[index].as_str();
        let Samples { paths, labels, predictions, .. } = &self.samples;
        let samples = paths.iter().zip(labels.iter().zip(predictions)).map(|(path, (&label, &prediction))| {
            serde_json::json!({"path": path, "label": class(label), "prediction": class(prediction)})
        });
        let attacked = self.attacked.paths.iter().zip(&self.attacked.predictions).map(
            |(path, &prediction)| serde_json::json!({"path": path, "attacked": true, "prediction": class(prediction)}),
        );
        write_atomic(path, |file| {
            for line in samples.chain(attacked) {
                writeln!(file, "{line}").map_err(|e| Error::io(path, e))?;
            }
            Ok(())
        })
    }

    /// What the bundle says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The images' results.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// The successful attacks' results.
    pub fn attacked(&self) -> &AttackedSamples {
        &self.attacked
    }

    /// Concept directions `[C, E]`.
    pub fn directions(&self) -> &Tensor {
        &self.directions
    }

    /// The prompt templates.
    pub fn templates(&self) -> Templates {
        Templates::stored(&self.manifest.templates)
    }

    /// Class directions `[K, E]`.
    pub fn class_directions(&self) -> &Tensor {
        &self.class_directions
    }

    /// The stored counts; none where there would be too many, so that [`maps`](Self::maps) counts each anew.
    pub fn counts(&self) -> Option<&ClassCounts> {
        self.counts.as_ref()
    }

    /// The map of a set of images, in raw scores and classifier space, if it is stored.
    pub fn stored(&self, set: &ImageSet) -> Option<&Counts> {
        let counts = self.counts.as_ref()?;
        match *set {
            ImageSet::Correct(class) => counts.correct.get(class),
            ImageSet::Missed(class) => counts.missed.get(class),
            ImageSet::FalseAlarm(class) => counts.false_alarm.get(class),
            ImageSet::Adversarial(class) => counts.adversarial.get(class),
            _ => None,
        }
    }

    /// The aligner.
    pub fn aligner(&self) -> &Aligner {
        &self.aligner
    }

    /// The number of a class.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] listing the classes.
    pub fn class_index(&self, name: &str) -> Result<usize> {
        let classes = &self.manifest.classes;
        classes.iter().position(|class| class == name).ok_or_else(|| {
            let message = format!("there is no class '{name}', expected one of: {}", classes.join(", "));
            Error::new(ErrorKind::Usage, message)
        })
    }

    /// The thumbnail of an image, a JPEG of at most 96 pixels.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] naming the file.
    pub fn thumbnail(&self, row: usize) -> Result<Vec<u8>> {
        let path = self.thumbnails.join(thumbnail_name(row));
        std::fs::read(&path).map_err(|e| Error::io(&path, e))
    }

    /// The bundle's folder, for errors.
    pub(crate) fn place(&self) -> std::path::Display<'_> {
        self.thumbnails.parent().unwrap_or(&self.thumbnails).display()
    }

    /// The name of the bundle's folder, or, where it has none (`.`), of that of its images.
    pub(crate) fn name(&self) -> String {
        let folder = self.thumbnails.parent().and_then(Path::file_name);
        let name = folder.or_else(|| self.manifest.images.file_name()).unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The content hashes of all images that went into the bundle, the aligner's and the attacked ones included.
    pub fn image_hashes(&self) -> HashSet<ContentHash> {
        let own = self.samples.hashes.iter().chain(&self.attacked.contents);
        own.chain(self.aligner.images().into_iter().flatten()).copied().collect()
    }

    pub(crate) fn sets(&self) -> Result<Sets> {
        Sets::new(&self.samples.labels, &self.samples.predictions, self.manifest.classes.len())
    }

    pub(crate) fn order(&self) -> ContentOrder {
        let Samples { hashes, labels, .. } = &self.samples;
        ContentOrder::new(&hashes.iter().zip(labels).collect::<Vec<_>>())
    }
}

impl ClassCounts {
    fn named(&self) -> impl Iterator<Item = (&'static str, &[Counts])> {
        let all: [(&str, &[Counts]); 4] = [
            ("correct", &self.correct),
            ("missed", &self.missed),
            ("false_alarm", &self.false_alarm),
            ("adversarial", &self.adversarial),
        ];
        all.into_iter().filter(|(_, maps)| !maps.is_empty())
    }
}

fn thumbnail_name(row: usize) -> String {
    format!("{row:06}.jpg")
}

/// Adds `[K, C, C]` counts and `[K]` supports.
pub(crate) fn insert_counts(container: &mut Container, name: &str, maps: &[Counts]) {
    let concepts = maps.first().map_or(0, Counts::concepts);
    let cells: Vec<u32> = maps.iter().flat_map(Counts::cells).copied().collect();
    container.insert(name, &[maps.len(), concepts, concepts], &cells);
    let support: Vec<u64> = maps.iter().map(Counts::n).collect();
    container.insert(&format!("{name}.n"), &[maps.len()], &support);
}

/// Reads what [`insert_counts`] added.
pub(crate) fn read_counts(container: &Container, name: &str, classes: usize, concepts: usize) -> Result<Vec<Counts>> {
    let cells: Vec<u32> = container.values(name, &[classes, concepts, concepts])?;
    let support: Vec<u64> = container.values(&format!("{name}.n"), &[classes])?;
    let maps = cells.chunks_exact(concepts * concepts).zip(support);
    maps.map(|(cells, n)| Counts::new(concepts, n, cells.to_vec())).collect()
}

/// The paths of the images and of the attacked ones.
fn read_paths(path: &Path) -> Result<(Vec<String>, Vec<String>)> {
    #[derive(Deserialize)]
    struct Line {
        path: String,
        #[serde(default)]
        attacked: bool,
    }
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let (mut paths, mut attacked) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line: Line = serde_json::from_str(line).map_err(|e| {
            Error::new(ErrorKind::Format, format!("{}: line {}", path.display(), number + 1)).caused_by(e)
        })?;
        if line.attacked { attacked.push(line.path) } else { paths.push(line.path) }
    }
    Ok((paths, attacked))
}
