//! The runtime filter's file: one safetensors container with a JSON header.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::align::{Aligner, hashes_of, insert_hashes};
use super::bundle::{insert_counts, read_counts};
use super::calibration::{Cause, Defects, Source, Stratum, Threshold};
use super::choose::Choice;
use super::container::Container;
use super::diagnosis::ScoreMode;
use super::distance::{Distance, Membership, StoredMap};
use super::fraction::Fraction;
use super::heatmap::{Counts, Support};
use super::manifest::{ModelIdentity, check_schema, json};
use super::map_table::MapTable;
use super::method::Method;
use crate::dataset::ContentHash;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;
use crate::weights::Weights;

/// The version of the filters that this program writes and reads. Version 1 held the maps of one kind of scores and neither a
/// combination nor alternatives, version 2 a combination for misclassified images alone; version 3 didn't know attacked images by their
/// content, and gave the kinds' AUROC without intervals.
pub const FILTER_SCHEMA: u32 = 4;

/// Key of the JSON header in the file's metadata.
const HEADER: &str = "heatlens_filter";
/// Prefix of the classifier's own tensors in a self-contained file.
const CLASSIFIER: &str = "classifier/";

/// What a filter says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilterHeader {
    /// The version of the file, [`FILTER_SCHEMA`].
    pub schema: u32,
    /// The version of heatlens that wrote it.
    pub version: String,
    /// The classes, in logit order.
    pub classes: Vec<String>,
    /// The concepts.
    pub concepts: Vec<String>,
    /// How it scores images, with the thresholds.
    #[serde(flatten)]
    pub method: Method,
    /// Other ways to score them, for comparison, calibrated on the same images at the same α.
    pub alternatives: Vec<Method>,
    /// How the method was chosen; none where it was given, or where there were too few images to choose by.
    pub choice: Option<Choice>,
    /// τ of the binarised maps, which `hamming` alone uses.
    pub tau: f64,
    /// α.
    pub false_reject_rate: f64,
    /// Thresholds of the baselines, calibrated on the same images at the same α.
    pub baselines: BTreeMap<String, Threshold>,
    /// Images in a map's set under which it is unsupported.
    pub minimum_support: u64,
    /// The classifier.
    pub classifier: ModelIdentity,
    /// CLIP, by which the directions were made; it isn't needed to run the filter.
    pub clip: ModelIdentity,
    /// The adapter it was calibrated on.
    pub adapter: String,
    /// What the user should know.
    pub notices: Vec<String>,
    /// Whether splits were allowed to share images.
    pub overlap_allowed: bool,
}

/// A filter as it is stored.
#[derive(Debug, Clone)]
pub struct FilterFile {
    pub(crate) header: FilterHeader,
    /// The maps of raw scores.
    pub(crate) raw: ClassMaps,
    /// The maps of centred scores.
    pub(crate) centered: ClassMaps,
    pub(crate) directions: Tensor,
    pub(crate) class_directions: Tensor,
    /// Each concept's mean, which centred scores lack.
    pub(crate) means: Vec<f32>,
    pub(crate) aligner: Aligner,
    /// Images behind aligner, bundle and calibration: clean ones, attacked ones, and the latter's originals where the attack's record
    /// tells them.
    pub(crate) images: HashSet<ContentHash>,
    /// The classifier's weights and configuration files, where the filter is self-contained.
    pub(crate) classifier: Option<EmbeddedModel>,
}

/// The maps of every class.
#[derive(Debug, Clone)]
pub(crate) struct ClassMaps {
    pub(crate) correct: Vec<Counts>,
    pub(crate) false_alarm: Vec<Counts>,
    /// Empty without attacks.
    pub(crate) adversarial: Vec<Counts>,
}

impl ClassMaps {
    fn add_to(&self, container: &mut Container, prefix: &str) {
        insert_counts(container, &format!("{prefix}correct"), &self.correct);
        insert_counts(container, &format!("{prefix}false_alarm"), &self.false_alarm);
        if !self.adversarial.is_empty() {
            insert_counts(container, &format!("{prefix}adversarial"), &self.adversarial);
        }
    }

    fn of_container(container: &Container, prefix: &str, classes: usize, concepts: usize) -> Result<Self> {
        let read = |name: &str| read_counts(container, &format!("{prefix}{name}"), classes, concepts);
        let has_attacks = container.contains(&format!("{prefix}adversarial"));
        Ok(Self {
            correct: read("correct")?,
            false_alarm: read("false_alarm")?,
            adversarial: if has_attacks { read("adversarial")? } else { Vec::new() },
        })
    }
}

/// A model's files inside another file.
#[derive(Debug, Clone)]
pub(crate) struct EmbeddedModel {
    /// The weights' safetensors file.
    pub(crate) weights: Vec<u8>,
    /// Names and texts of the configuration files.
    pub(crate) configs: Vec<(String, String)>,
}

/// The maps that a filter compares images with.
#[derive(Debug, Clone)]
pub(crate) struct FilterMaps {
    pub(crate) table: MapTable,
    /// Each class's stratum, or why its images are rejected.
    pub(crate) routes: Vec<Result<Stratum, Cause>>,
}

/// Slots of the table: the correct map, then the defects.
pub(crate) const CORRECT: usize = 0;
pub(crate) const FALSE_ALARM: usize = 1;
pub(crate) const ADVERSARIAL: usize = 2;

impl FilterMaps {
    /// Chooses each class's maps: its own where they have support, otherwise the pool over classes for the defects.
    pub(crate) fn new(
        ClassMaps { correct, false_alarm, adversarial }: &ClassMaps,
        minimum_support: u64,
        distance: Distance,
        tau: Fraction,
    ) -> Result<Self> {
        let concepts = correct.first().map_or(0, Counts::concepts);
        let pools = [Counts::pooled(concepts, false_alarm)?, Counts::pooled(concepts, adversarial)?];
        let source = |maps: &[Counts], pool: &Counts, class: usize| {
            let own = maps.get(class).map(|own| own.support(minimum_support))?;
            Source::choose(own, pool.support(minimum_support))
        };
        let defects: Vec<Defects> = (0..correct.len())
            .map(|class| Defects {
                false_alarm: source(false_alarm, &pools[0], class),
                adversarial: source(adversarial, &pools[1], class),
            })
            .collect();
        let chosen = |source: Option<Source>, own: &[Counts], pool: &Counts, class: usize| match source? {
            Source::Own => Some(own[class].clone()),
            Source::Pooled => Some(pool.clone()),
        };
        let table = MapTable::new(concepts, correct.len(), 3, |class, slot| {
            let counts = match slot {
                CORRECT => match correct[class].support(minimum_support) {
                    Support::Supported(counts) => Some(counts.clone()),
                    _ => None,
                },
                FALSE_ALARM => chosen(defects[class].false_alarm, false_alarm, &pools[0], class),
                _ => chosen(defects[class].adversarial, adversarial, &pools[1], class),
            };
            counts.map(|counts| StoredMap::new(&counts, distance, tau, Membership::Outside))
        });
        let routes = defects.iter().zip(correct);
        let routes = routes.map(|(defects, correct)| defects.route(correct.support(minimum_support))).collect();
        Ok(Self { table, routes })
    }

    /// The strata that images can fall into.
    pub(crate) fn strata(&self) -> Vec<Stratum> {
        let mut strata: Vec<Stratum> = self.routes.iter().filter_map(|route| route.as_ref().ok().copied()).collect();
        strata.sort_unstable();
        strata.dedup();
        strata
    }
}

impl FilterFile {
    /// What the filter says of itself.
    pub fn header(&self) -> &FilterHeader {
        &self.header
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] naming it.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut container = Container::default();
        container.describe(HEADER, json(&self.header)?);
        self.raw.add_to(&mut container, "raw/");
        self.centered.add_to(&mut container, "centered/");
        container.insert_tensor("directions", &self.directions);
        container.insert_tensor("class_directions", &self.class_directions);
        container.insert("means", &[self.means.len()], &self.means);
        self.aligner.add_to(&mut container, "aligner/")?;
        insert_hashes(&mut container, "content_hashes", &self.images);
        if let Some(model) = &self.classifier {
            container.insert(&format!("{CLASSIFIER}weights"), &[model.weights.len()], &model.weights);
            container.describe(&format!("{CLASSIFIER}configs"), json(&model.configs)?);
        }
        container.save(path)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] or [`ErrorKind::Format`] naming it, also for another version.
    pub fn open(path: &Path) -> Result<Self> {
        let container = Container::open(path)?;
        let name = path.display();
        let malformed =
            |e| Error::new(ErrorKind::Format, format!("{name}: the filter's header can't be read")).caused_by(e);
        let header = container.text(HEADER).ok_or_else(|| {
            Error::new(ErrorKind::Format, format!("{name}: is no filter: it lacks the header `{HEADER}`"))
                .hint("a filter is made by `heatlens calibrate`")
        })?;
        let value: serde_json::Value = serde_json::from_str(header).map_err(malformed)?;
        check_schema(&name.to_string(), &value, FILTER_SCHEMA, "calibrate")?;
        let header: FilterHeader = serde_json::from_value(value).map_err(malformed)?;
        let (classes, concepts) = (header.classes.len(), header.concepts.len());
        let weights = format!("{CLASSIFIER}weights");
        let classifier = if container.contains(&weights) {
            let configs = container.text(&format!("{CLASSIFIER}configs")).unwrap_or("[]");
            let configs = serde_json::from_str(configs).map_err(malformed)?;
            Some(EmbeddedModel { weights: container.array(&weights)?.1, configs })
        } else {
            None
        };
        Ok(Self {
            raw: ClassMaps::of_container(&container, "raw/", classes, concepts)?,
            centered: ClassMaps::of_container(&container, "centered/", classes, concepts)?,
            directions: container.matrix("directions", [concepts, usize::MAX])?,
            class_directions: container.matrix("class_directions", [classes, usize::MAX])?,
            means: container.values("means", &[concepts])?,
            aligner: Aligner::of_container(&container, "aligner/")?,
            images: hashes_of(&container, "content_hashes")?,
            classifier,
            header,
        })
    }

    /// The maps that images are compared with by a distance, of one kind of scores. Which of them have support, and so every class's
    /// route, is the same for all.
    pub(crate) fn maps(&self, distance: Distance, scores: ScoreMode) -> Result<FilterMaps> {
        let maps = match scores {
            ScoreMode::Raw => &self.raw,
            ScoreMode::Centered => &self.centered,
        };
        FilterMaps::new(maps, self.header.minimum_support, distance, Fraction::from_decimal(self.header.tau)?)
    }
}

impl EmbeddedModel {
    /// The files of a model that has been read.
    pub(crate) fn of_files(files: &crate::weights::ModelFiles) -> Result<Self> {
        let [weights] = files.weights().shards() else {
            let message =
                format!("{}: is in several shards, which a self-contained filter can't hold", files.weights().name());
            return Err(Error::new(ErrorKind::Usage, message).hint("calibrate without --self-contained"));
        };
        let config = |(name, config): &(String, crate::weights::Config)| (name.clone(), config.value().to_string());
        Ok(Self { weights: weights.clone(), configs: files.configs().iter().map(config).collect() })
    }

    /// The model's files, under the name of the file that holds them.
    pub(crate) fn files(&self, name: &str) -> Result<crate::weights::ModelFiles> {
        let weights = Weights::from_bytes(format!("{name}: classifier"), self.weights.clone())?;
        let parse = |(file, text): &(String, String)| {
            Ok((file.clone(), crate::weights::Config::parse(format!("{name}: {file}"), text)?))
        };
        let configs = self.configs.iter().map(parse).collect::<Result<_>>()?;
        Ok(crate::weights::ModelFiles::from_parts(weights, configs))
    }
}
