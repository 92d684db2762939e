//! Attacked images: whose attacks they are, and what became of them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::align::tell;
use super::attack::originals;
use super::build::{BuildInputs, BuildOptions, Scorer, classes_of};
use super::bundle::{AttackedSamples, Samples};
use super::forward::{Collected, Pass, add_dispatches, run_images};
use super::manifest::AttackSummary;
use super::overlap::Given;
use super::sets::Attacks;
use crate::dataset::{ContentHash, Dataset, Sample, Shard, content_hashes};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Device;
use crate::progress::Observer;
use crate::tensor::Tensor;

/// The successful attacks of all sets, and what became of each set.
pub(crate) struct AttackResults {
    pub(crate) samples: AttackedSamples,
    pub(crate) by_prediction: Vec<Vec<u32>>,
    pub(crate) summaries: Vec<AttackSummary>,
    /// Dispatches of each kernel.
    pub(crate) dispatches: BTreeMap<String, u64>,
}

/// Runs the classifier over every set of attacked images, after `check` has seen the set and its name.
///
/// # Errors
/// Those of reading and running them, of `check` and of [`Originals::of`].
pub(crate) fn attacked(
    device: &Device,
    scorer: &Scorer<'_>,
    inputs: &BuildInputs<'_>,
    options: &BuildOptions,
    samples: &Samples,
    check: &mut dyn FnMut(&[Given<'_>], &str) -> Result<()>,
    observer: &dyn Observer,
) -> Result<AttackResults> {
    let concepts = inputs.concepts.count();
    let mut results = AttackResults {
        samples: AttackedSamples { scores: Tensor::zeros([0, concepts]), ..AttackedSamples::default() },
        by_prediction: vec![Vec::new(); inputs.classes.len()],
        summaries: Vec::new(),
        dispatches: BTreeMap::new(),
    };
    let rows = samples.paths.iter().zip(&samples.labels).zip(&samples.hashes);
    let clean = Originals::new(rows.map(|((path, &label), &hash)| (path.as_str(), label, hash)));
    for (name, images) in &options.attacked {
        let stage = format!("attacked: {name}");
        let pass = Pass {
            stage: &stage,
            preprocess: &[inputs.classifier.preprocess()],
            record: &|plan, pixels| scorer.record_classifier(plan, pixels[0]),
            thumbnails: false,
            journal: None,
        };
        let mut collected = run_images(device, &pass, &images.samples, &options.run, observer)?;
        tell(&collected, observer);
        add_dispatches(&mut results.dispatches, &collected.dispatches);
        if collected.indices.is_empty() {
            // A shard may hold no original of this set.
            results.summaries.push(AttackSummary { name: name.clone(), ..AttackSummary::default() });
            continue;
        }
        let predictions = classes_of(&mut collected);
        let set = AttackedSet::new(&collected, images)?;
        check(&set.given, name)?;
        results.samples.contents.extend(set.given.iter().flat_map(Given::contents));
        let found = set.matched(&predictions, &clean, &samples.predictions, inputs.classes.len())?;
        if found.unmatched > 0 {
            observer.notice(&format!(
                "{name}: {} attacked images have no original among the images; they are taken as correctly classified before the attack",
                found.unmatched
            ));
        }
        let scores = collected.take("scores");
        let first = results.samples.paths.len() as u32;
        let mut kept = Vec::new();
        for (class, rows_of_class) in found.attacks.succeeded.iter().enumerate() {
            for &row in rows_of_class {
                results.by_prediction[class].push(first + kept.len() as u32);
                results.samples.paths.push(set.samples[row as usize].path.clone());
                results.samples.predictions.push(class);
                kept.push(row as usize);
            }
        }
        let mut data = std::mem::take(&mut results.samples.scores).into_data();
        data.extend(scores.select_rows(&kept).into_data());
        results.samples.scores = Tensor::new([data.len() / concepts, concepts], data);
        results.summaries.push(AttackSummary {
            name: name.clone(),
            succeeded: kept.len(),
            failed: found.attacks.failed.len(),
            misclassified_before: found.attacks.misclassified_before.len(),
            unmatched: found.unmatched,
        });
    }
    Ok(results)
}

/// The part of labelled images that falls to a shard, and of each set of their attacked versions those whose originals do.
/// Attacked images without an original fall to the first shard.
///
/// # Errors
/// [`ErrorKind::Data`] if none of the images falls to the shard, or if one of several images may be an attacked one's original;
/// those of reading the record of an attack; [`ErrorKind::Cancelled`].
pub fn shard(
    images: &Dataset,
    attacked: &[(String, Dataset)],
    shard: Shard,
    observer: &dyn Observer,
) -> Result<(Dataset, Vec<(String, Dataset)>)> {
    let hashes = content_hashes(&images.samples, "choosing the shard", observer)?;
    if !hashes.iter().any(|&hash| shard.holds(hash)) {
        let message = format!("shard {shard} holds none of the {} images", images.samples.len());
        return Err(Error::new(ErrorKind::Data, message).hint("split them into fewer shards"));
    }
    let part = |whole: &Dataset, hashes: &[Option<ContentHash>]| {
        let samples = whole.samples.iter().zip(hashes).filter(|(_, hash)| shard.holds(**hash));
        Dataset { samples: samples.map(|(sample, _)| sample.clone()).collect(), ..whole.clone() }
    };
    let readable = images.samples.iter().zip(&hashes);
    let readable = readable.filter_map(|(sample, hash)| Some((sample.path.as_str(), sample.label?, (*hash)?)));
    let clean = Originals::new(readable);
    let attacked = attacked.iter().map(|(name, set)| {
        let samples: Vec<&Sample> = set.samples.iter().collect();
        let original = |(&sample, recorded)| clean.content(sample, recorded);
        let followed = samples.iter().zip(originals(&samples)?).map(original).collect::<Result<Vec<_>>>()?;
        Ok((name.clone(), part(set, &followed)))
    });
    Ok((part(images, &hashes), attacked.collect::<Result<_>>()?))
}

/// The clean images that attacked ones may have been made from.
pub(crate) struct Originals {
    rows: HashMap<(usize, ContentHash), usize>,
    /// By class and name without extension: the content, and whether other images have the same name.
    names: HashMap<(usize, String), (ContentHash, bool)>,
}

impl Originals {
    /// Those of the given paths, labels and hashes, row by row.
    pub(crate) fn new<'a>(images: impl Iterator<Item = (&'a str, usize, ContentHash)>) -> Self {
        let mut found = Self { rows: HashMap::new(), names: HashMap::new() };
        for (row, (path, label, hash)) in images.enumerate() {
            found.rows.insert((label, hash), row);
            let (content, is_shared) = found.names.entry((label, stem(path))).or_insert((hash, false));
            *is_shared |= *content != hash;
        }
        found
    }

    /// The content of an attacked image's original: the one that is `recorded`, or else that of the image of the same class and
    /// name. None where there is neither.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] if nothing is recorded and several images have that name.
    fn content(&self, sample: &Sample, recorded: Option<ContentHash>) -> Result<Option<ContentHash>> {
        let named = || self.names.get(&(sample.label.unwrap_or_default(), stem(&sample.path)));
        match (recorded, named()) {
            (None, Some((_, true))) => {
                let message =
                    format!("{}: several images of its class have its name, expected one original", sample.path);
                Err(Error::new(ErrorKind::Data, message)
                    .hint("give images of one class different names; `heatlens attack` refuses others"))
            }
            (None, named) => Ok(named.map(|(content, _)| *content)),
            (recorded, _) => Ok(recorded),
        }
    }

    /// The row of an attacked image's original, if it is among the images.
    ///
    /// # Errors
    /// As [`content`](Self::content).
    pub(crate) fn of(&self, sample: &Sample, recorded: Option<ContentHash>) -> Result<Option<usize>> {
        let content = self.content(sample, recorded)?;
        Ok(content.and_then(|content| self.rows.get(&(sample.label.unwrap_or_default(), content)).copied()))
    }
}

/// One set of attacked images, row by row, with what is known of their originals.
pub(crate) struct AttackedSet<'a> {
    pub(crate) samples: Vec<&'a Sample>,
    pub(crate) given: Vec<Given<'a>>,
}

impl<'a> AttackedSet<'a> {
    /// Those of `images` that a pass has brought back.
    ///
    /// # Errors
    /// Those of reading the record of the attack.
    pub(crate) fn new(collected: &Collected, images: &'a Dataset) -> Result<Self> {
        let samples: Vec<&Sample> = collected.indices.iter().map(|&index| &images.samples[index]).collect();
        let rows = samples.iter().zip(&collected.hashes).zip(originals(&samples)?);
        let given = rows.map(|((sample, &hash), original)| Given { path: &sample.path, hash, original }).collect();
        Ok(Self { samples, given })
    }

    /// The row of each one's original among the `clean` images.
    ///
    /// # Errors
    /// As [`Originals::of`].
    pub(crate) fn originals(&self, clean: &Originals) -> Result<Vec<Option<usize>>> {
        self.samples.iter().zip(&self.given).map(|(sample, given)| clean.of(sample, given.original)).collect()
    }

    /// What became of the attacks, by the `predictions` of the attacked images and those before the attack. One without an original is
    /// taken as correctly classified before.
    ///
    /// # Errors
    /// As [`Originals::of`] and [`Attacks::new`].
    pub(crate) fn matched(
        &self,
        predictions: &[usize],
        clean: &Originals,
        before: &[usize],
        classes: usize,
    ) -> Result<MatchedAttacks> {
        let originals = self.originals(clean)?;
        let labels: Vec<usize> = self.samples.iter().map(|sample| sample.label.unwrap_or_default()).collect();
        let rows = originals.iter().zip(&labels);
        let before: Vec<usize> = rows.map(|(original, &label)| original.map_or(label, |row| before[row])).collect();
        let unmatched = originals.iter().filter(|original| original.is_none()).count();
        Ok(MatchedAttacks { attacks: Attacks::new(&labels, &before, predictions, classes)?, unmatched })
    }
}

/// Attacked images sorted by what became of them.
pub(crate) struct MatchedAttacks {
    pub(crate) attacks: Attacks,
    pub(crate) unmatched: usize,
}

fn stem(path: &str) -> String {
    Path::new(path).file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::progress::Silent;

    fn sample(path: &str, label: usize) -> Sample {
        Sample::file(path.as_ref(), Some(label))
    }

    fn hash(content: &str) -> ContentHash {
        ContentHash::of(content.as_bytes())
    }

    #[test]
    fn an_original_is_the_recorded_one_or_else_that_of_the_name() {
        let images = [("a/cat/1.png", 0, "one"), ("a/cat/2.png", 0, "two"), ("a/dog/1.png", 1, "one of a dog")];
        let clean = Originals::new(images.into_iter().map(|(path, label, content)| (path, label, hash(content))));
        let of = |path: &str, label: usize, recorded: Option<&str>| {
            clean.of(&sample(path, label), recorded.map(hash)).unwrap()
        };
        assert_eq!(of("b/cat/1.jpg", 0, None), Some(0));
        assert_eq!(of("b/dog/1.jpg", 1, None), Some(2));
        assert_eq!(of("b/dog/2.jpg", 1, None), None);
        assert_eq!(of("b/cat/1.jpg", 0, Some("two")), Some(1));
        // An image of another split has the same name.
        assert_eq!(of("b/cat/1.jpg", 0, Some("another")), None);
    }

    #[test]
    fn a_name_of_several_images_tells_no_original() {
        let images =
            [("a/cat/x/1.png", "one"), ("a/cat/y/1.png", "two"), ("a/cat/x/2.png", "two"), ("a/cat/y/2.png", "two")];
        let clean = Originals::new(images.into_iter().map(|(path, content)| (path, 0, hash(content))));
        let error = clean.of(&sample("b/cat/1.png", 0), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().starts_with("b/cat/1.png: several images of its class have its name"), "{error}");
        assert_eq!(clean.of(&sample("b/cat/1.png", 0), Some(hash("one"))).unwrap(), Some(0));
        assert!(clean.of(&sample("b/cat/2.png", 0), None).unwrap().is_some(), "copies are as good as one");
    }

    /// Attacked images go to the shard that holds their original, whether or not it is among the images; without one to the first.
    #[test]
    fn attacked_images_follow_their_originals() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, content: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            Sample::file(&path, Some(0))
        };
        let names: Vec<String> = (0..12).map(|number| format!("cat/{number}.png")).collect();
        let clean = names.iter().map(|name| write(&format!("clean/{name}"), name));
        let images = Dataset { samples: clean.collect(), ..Dataset::default() };
        let made = |set: &str| names.iter().map(|name| write(&format!("{set}/{name}"), set)).collect::<Vec<_>>();
        // By their names, by a record that names others, and without an original.
        let mut sets: Vec<(String, Dataset)> = Vec::new();
        for set in ["named", "recorded"] {
            sets.push((set.to_owned(), Dataset { samples: made(set), ..Dataset::default() }));
        }
        sets.push((
            "unknown".to_owned(),
            Dataset { samples: vec![write("unknown/cat/x.png", "x")], ..Dataset::default() },
        ));
        let options = r#"[{"method":"square","levels":8,"queries":9,"seed":1},[],false]"#;
        let line = |name: &String| {
            let original = hash(&format!("elsewhere/{name}"));
            format!(r#"{{"path":"","sha256":"{original}","file":"{name}","success":true,"queries":1}}"#)
        };
        let lines: Vec<String> = names.iter().map(line).collect();
        fs::write(root.path().join("recorded.jsonl"), format!("{options}\n{}\n", lines.join("\n"))).unwrap();
        let mut seen = [0; 3];
        for number in 1..=3 {
            let part = Shard::new(number, 3).unwrap();
            let (_, attacked) = shard(&images, &sets, part, &Silent).unwrap();
            let expected =
                |of: &dyn Fn(&String) -> String| names.iter().filter(|name| part.holds(Some(hash(&of(name))))).count();
            assert_eq!(attacked[0].1.samples.len(), expected(&|name| name.clone()));
            assert_eq!(attacked[1].1.samples.len(), expected(&|name| format!("elsewhere/{name}")));
            assert_eq!(attacked[2].1.samples.len(), usize::from(number == 1));
            attacked.iter().zip(&mut seen).for_each(|((_, set), seen)| *seen += set.samples.len());
        }
        assert_eq!(seen, [12, 12, 1]);
    }
}
