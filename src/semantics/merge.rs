//! Bundles of disjoint images, joined into the bundle of all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::bundle::{AttackedSamples, Bundle, ClassCounts, Samples};
use super::forward::add_dispatches;
use super::heatmap::Counts;
use super::manifest::{Manifest, ModelIdentity, SCHEMA, differing_makers, first_difference};
use crate::dataset::ContentHash;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Observer, step};
use crate::tensor::Tensor;

/// A row of one of several bundles.
type Row = (usize, usize);

impl Bundle {
    /// Joins bundles of disjoint images and writes the result to `out`.
    ///
    /// Images come in the order of their paths, whatever the order of the bundles and however the images were split. Counts
    /// are added; nothing is computed anew, so the result is that of one build over all images.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] naming two bundles and what they differ in (models, preprocessing, precision, classes, concepts, prompts,
    /// aligner, adapter, attacks, minimum support); [`ErrorKind::Overlap`] naming two that share images; those of writing and
    /// of the observer.
    pub fn merge(bundles: &[Self], out: &Path, observer: &dyn Observer) -> Result<Self> {
        let mut merged = merged(bundles)?;
        let rows = rows(bundles);
        let thumbnails = rows.iter().enumerate().map(|(at, &(bundle, row))| {
            step(observer, "merging", at, rows.len())?;
            bundles[bundle].thumbnail(row)
        });
        merged.save(out, thumbnails)?;
        Ok(merged)
    }
}

/// The bundle of all images, without thumbnails.
fn merged(bundles: &[Bundle]) -> Result<Bundle> {
    let Some((first, others)) = bundles.split_first() else {
        return Err(Error::new(ErrorKind::Usage, "there are no bundles to merge"));
    };
    others.iter().try_for_each(|other| check_alike(first, other))?;
    check_disjoint(bundles)?;
    let samples = samples_of(bundles, &rows(bundles));
    Ok(Bundle {
        manifest: manifest(bundles, &samples),
        samples,
        attacked: attacked(bundles),
        directions: first.directions.clone(),
        class_directions: first.class_directions.clone(),
        counts: counts(bundles)?,
        aligner: first.aligner.clone(),
        thumbnails: std::path::PathBuf::new(),
    })
}

/// All rows in the order of their paths, which is that of a build over all images of a folder.
fn rows(bundles: &[Bundle]) -> Vec<Row> {
    let of = |(at, bundle): (usize, &Bundle)| (0..bundle.samples.paths.len()).map(move |row| (at, row));
    let mut rows: Vec<Row> = bundles.iter().enumerate().flat_map(of).collect();
    rows.sort_by_key(|&(at, row)| {
        let Samples { paths, hashes, labels, .. } = &bundles[at].samples;
        (Path::new(&paths[row]), hashes[row], labels[row])
    });
    rows
}

/// The rows of one tensor of each bundle.
fn gather(bundles: &[Bundle], rows: &[Row], pick: impl Fn(&Bundle) -> &Tensor) -> Tensor {
    let columns = bundles.first().map_or(0, |bundle| pick(bundle).columns());
    let data = rows.iter().flat_map(|&(bundle, row)| pick(&bundles[bundle]).row(row)).copied().collect();
    Tensor::new([rows.len(), columns], data)
}

/// Some rows of several bundles, one after another.
pub(super) fn samples_of(bundles: &[Bundle], rows: &[Row]) -> Samples {
    fn each<T>(bundles: &[Bundle], rows: &[Row], pick: impl Fn(&Samples, usize) -> T) -> Vec<T> {
        rows.iter().map(|&(bundle, row)| pick(&bundles[bundle].samples, row)).collect()
    }
    Samples {
        paths: each(bundles, rows, |samples, row| samples.paths[row].clone()),
        hashes: each(bundles, rows, |samples, row| samples.hashes[row]),
        labels: each(bundles, rows, |samples, row| samples.labels[row]),
        predictions: each(bundles, rows, |samples, row| samples.predictions[row]),
        features: gather(bundles, rows, |bundle| &bundle.samples.features),
        logits: gather(bundles, rows, |bundle| &bundle.samples.logits),
        clip: gather(bundles, rows, |bundle| &bundle.samples.clip),
        scores: gather(bundles, rows, |bundle| &bundle.samples.scores),
        clip_scores: gather(bundles, rows, |bundle| &bundle.samples.clip_scores),
        class_scores: gather(bundles, rows, |bundle| &bundle.samples.class_scores),
        clip_class_scores: gather(bundles, rows, |bundle| &bundle.samples.clip_class_scores),
    }
}

/// Successful attacks, set by set, and in each by prediction and path.
fn attacked(bundles: &[Bundle]) -> AttackedSamples {
    let mut rows: Vec<Row> = Vec::new();
    let sets = bundles.first().map_or(&[][..], |bundle| &bundle.manifest.attacks);
    let mut firsts = vec![0; bundles.len()];
    let key = |&(bundle, row): &Row| {
        let AttackedSamples { predictions, paths, .. } = &bundles[bundle].attacked;
        (predictions[row], Path::new(&paths[row]))
    };
    for set in 0..sets.len() {
        let begin = rows.len();
        for (at, bundle) in bundles.iter().enumerate() {
            let end = firsts[at] + bundle.manifest.attacks[set].succeeded;
            rows.extend((firsts[at]..end).map(|row| (at, row)));
            firsts[at] = end;
        }
        rows[begin..].sort_by_key(key);
    }
    AttackedSamples {
        paths: rows.iter().map(|&(bundle, row)| bundles[bundle].attacked.paths[row].clone()).collect(),
        predictions: rows.iter().map(|&(bundle, row)| bundles[bundle].attacked.predictions[row]).collect(),
        scores: gather(bundles, &rows, |bundle| &bundle.attacked.scores),
        contents: bundles.iter().flat_map(|bundle| &bundle.attacked.contents).copied().collect(),
    }
}

/// The sums of the counts; none where a bundle has none.
fn counts(bundles: &[Bundle]) -> Result<Option<ClassCounts>> {
    let Some(all) = bundles.iter().map(|bundle| bundle.counts.as_ref()).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let sums = |pick: fn(&ClassCounts) -> &[Counts]| -> Result<Vec<Counts>> {
        let mut sums: Vec<Counts> = all.first().map_or(&[][..], |counts| pick(counts)).to_vec();
        for counts in &all[1..] {
            sums.iter_mut().zip(pick(counts)).try_for_each(|(sum, more)| sum.merge(more))?;
        }
        Ok(sums)
    };
    Ok(Some(ClassCounts {
        correct: sums(|counts| &counts.correct)?,
        missed: sums(|counts| &counts.missed)?,
        false_alarm: sums(|counts| &counts.false_alarm)?,
        adversarial: sums(|counts| &counts.adversarial)?,
    }))
}

fn manifest(bundles: &[Bundle], samples: &Samples) -> Manifest {
    let all: Vec<&Manifest> = bundles.iter().map(|bundle| &bundle.manifest).collect();
    let first = all[0];
    // Where paths differ from machine to machine the first in order stands for all.
    let least = |pick: fn(&Manifest) -> &Path| all.iter().map(|manifest| pick(manifest)).min().unwrap_or(pick(first));
    let model = |identity: &ModelIdentity, path: &Path| ModelIdentity { path: path.to_owned(), ..identity.clone() };
    let mut dispatches: BTreeMap<String, u64> = BTreeMap::new();
    all.iter().for_each(|manifest| add_dispatches(&mut dispatches, &manifest.dispatches));
    let mut attacks = first.attacks.clone();
    for manifest in &all[1..] {
        for (sum, more) in attacks.iter_mut().zip(&manifest.attacks) {
            sum.succeeded += more.succeeded;
            sum.failed += more.failed;
            sum.misclassified_before += more.misclassified_before;
            sum.unmatched += more.unmatched;
        }
    }
    let notices: BTreeSet<&String> = all.iter().flat_map(|manifest| &manifest.notices).collect();
    let mut skipped: Vec<(String, String)> = all.iter().flat_map(|manifest| manifest.skipped.clone()).collect();
    skipped.sort();
    Manifest {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        classifier: model(&first.classifier, least(|manifest| &manifest.classifier.path)),
        clip: model(&first.clip, least(|manifest| &manifest.clip.path)),
        images: least(|manifest| &manifest.images).to_owned(),
        n: samples.labels.len(),
        accuracy: samples.accuracy(),
        near_ties: all.iter().map(|manifest| manifest.near_ties).sum(),
        cells: all.iter().map(|manifest| manifest.cells).sum(),
        stores_counts: all.iter().all(|manifest| manifest.stores_counts),
        dispatches,
        attacks,
        skipped,
        notices: notices.into_iter().cloned().collect(),
        overlap_allowed: all.iter().any(|manifest| manifest.overlap_allowed),
        ..first.clone()
    }
}

/// Refuses bundles whose rows can't stand side by side.
fn check_alike(first: &Bundle, other: &Bundle) -> Result<()> {
    let [a, b] = [&first.manifest, &other.manifest];
    let differ = |what: &str, found: String| {
        let message = format!("{} and {} have different {what}: {found}", first.place(), other.place());
        Err(Error::new(ErrorKind::Mismatch, message).hint("merge bundles that differ in their images alone"))
    };
    let set_names = |manifest: &Manifest| manifest.attacks.iter().map(|set| set.name.clone()).collect::<Vec<_>>();
    for (what, a, b) in [
        ("classes", &a.classes, &b.classes),
        ("concepts", &a.concepts, &b.concepts),
        ("prompt templates", &a.templates, &b.templates),
        ("sets of attacked images", &set_names(a), &set_names(b)),
    ] {
        if let Some(found) = first_difference(a, b) {
            return differ(what, found);
        }
    }
    if let Some((what, [a, b])) = differing_makers(a, b).next() {
        return differ(what, format!("{a} and {b}"));
    }
    if a.minimum_support != b.minimum_support {
        return differ("minimum supports", format!("{} and {}", a.minimum_support, b.minimum_support));
    }
    for (what, names, a, b) in [
        ("concept prompts", &a.concepts, &first.directions, &other.directions),
        ("class prompts", &a.classes, &first.class_directions, &other.class_directions),
    ] {
        if let Some(row) = (0..names.len()).find(|&row| a.row(row) != b.row(row)) {
            return differ(what, format!("'{}' has another direction", names[row]));
        }
    }
    let [a, b] = [&first.aligner, &other.aligner];
    if (a.weight(), a.bias(), a.images(), a.figures()) != (b.weight(), b.bias(), b.images(), b.figures()) {
        return differ("aligners", "they were not built with one file".to_owned());
    }
    Ok(())
}

const DISJOINT: &str = "merge bundles of disjoint images, such as those of `build --shard 1/2` and `build --shard 2/2`";

fn check_disjoint(bundles: &[Bundle]) -> Result<()> {
    let mut owners: HashMap<ContentHash, Row> = HashMap::new();
    for (at, bundle) in bundles.iter().enumerate() {
        let others = |(row, hash)| owners.get(hash).filter(|(owner, _)| *owner != at).map(|&theirs| (row, theirs));
        let shared: Vec<(usize, Row)> = bundle.samples.hashes.iter().enumerate().filter_map(others).collect();
        if let Some(&(row, (owner, theirs))) = shared.first() {
            let (other, count) = (&bundles[owner], shared.iter().filter(|(_, (other, _))| *other == owner).count());
            let [ours, theirs] = [&bundle.samples.paths[row], &other.samples.paths[theirs]];
            let message = format!(
                "{} and {} share {count} image(s): {theirs} in the one is {ours} in the other",
                other.place(),
                bundle.place()
            );
            return Err(Error::new(ErrorKind::Overlap, message).hint(DISJOINT));
        }
        owners.extend(bundle.samples.hashes.iter().enumerate().map(|(row, &hash)| (hash, (at, row))));
    }
    let mut owners: HashMap<ContentHash, &Bundle> = HashMap::new();
    for bundle in bundles {
        let contents = &bundle.attacked.contents;
        let shared = contents.iter().filter_map(|hash| Some((hash, owners.get(hash)?)));
        if let Some((hash, other)) = shared.min_by_key(|(hash, _)| **hash) {
            let message = format!(
                "{} and {} share attacked images or their originals (one has SHA-256 {hash})",
                other.place(),
                bundle.place()
            );
            return Err(Error::new(ErrorKind::Overlap, message).hint(DISJOINT));
        }
        owners.extend(contents.iter().map(|&hash| (hash, bundle)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::semantics::testing;
    use crate::weights::Precision;

    /// The images of the test bundle that `is_here` names, and of its attacks those of the same places.
    fn part(whole: &Bundle, is_here: &dyn Fn(usize) -> bool) -> Bundle {
        let row_list: Vec<Row> =
            (0..whole.samples.labels.len()).filter(|&row| is_here(row)).map(|row| (0, row)).collect();
        let one = std::slice::from_ref(whole);
        let mut part = whole.clone();
        part.samples = samples_of(one, &row_list);
        let attacks: Vec<Row> =
            (0..whole.attacked.paths.len()).filter(|&row| is_here(row)).map(|row| (0, row)).collect();
        part.attacked = AttackedSamples {
            paths: attacks.iter().map(|&(_, row)| whole.attacked.paths[row].clone()).collect(),
            predictions: attacks.iter().map(|&(_, row)| whole.attacked.predictions[row]).collect(),
            scores: gather(one, &attacks, |bundle| &bundle.attacked.scores),
            contents: attacks.iter().map(|&(_, row)| testing::attack(row)).collect(),
        };
        part.manifest.attacks[0].succeeded = attacks.len();
        part.counts = Some(testing::counts_of(&part));
        part
    }

    fn bytes(bundle: &Bundle) -> Vec<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let mut bundle = bundle.clone();
        bundle.save(&folder.path().join("bundle"), []).unwrap();
        ["samples.safetensors", "samples.jsonl", "counts.safetensors", "concepts.safetensors", "manifest.json"]
            .map(|name| std::fs::read(folder.path().join("bundle").join(name)).unwrap())
            .to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn neither_the_split_nor_the_order_shows(split in prop::collection::vec(0..3_usize, 25), turn in 0..3_usize) {
            let whole = testing::bundle();
            let mut parts: Vec<Bundle> = (0..3).map(|number| part(&whole, &|row| split[row] == number)).collect();
            // What is added up is the whole's if the others have nothing of it.
            for other in &mut parts[1..] {
                let manifest = &mut other.manifest;
                (manifest.near_ties, manifest.cells) = (0, 0);
                (manifest.attacks[0].failed, manifest.attacks[0].misclassified_before) = (0, 0);
                manifest.dispatches.clear();
                manifest.skipped.clear();
            }
            parts.rotate_left(turn);
            let expected = merged(std::slice::from_ref(&whole)).unwrap();
            prop_assert_eq!(expected.counts.as_ref(), whole.counts.as_ref());
            prop_assert_eq!(bytes(&merged(&parts).unwrap()), bytes(&expected));
        }
    }

    #[test]
    fn what_differs_is_named() {
        let (mut first, mut second) = (testing::bundle(), testing::bundle());
        for (bundle, name) in [(&mut first, "one"), (&mut second, "two")] {
            bundle.thumbnails = Path::new(name).join("thumbs");
        }
        type Change = fn(&mut Bundle);
        let changes: [(&str, Change); 15] = [
            ("one and two have different classes: number 3 is 'cat' and none", |b| drop(b.manifest.classes.pop())),
            ("concepts: number 1 is 'wings' and 'fins'", |b| b.manifest.concepts[0] = "fins".to_owned()),
            ("prompt templates: number 2 is none and '{}'", |b| b.manifest.templates.push("{}".to_owned())),
            ("sets of attacked images: number 1 is 'pgd8' and none", |b| b.manifest.attacks.clear()),
            ("classifiers: resnet-weights and x", |b| b.manifest.classifier.sha256 = "x".to_owned()),
            ("preprocessing for the classifier: ", |b| b.manifest.classifier.preprocess = "x".to_owned()),
            ("CLIPs: clip-weights and x", |b| b.manifest.clip.sha256 = "x".to_owned()),
            ("preprocessing for CLIP: ", |b| b.manifest.clip.preprocess = "x".to_owned()),
            ("precisions of the classifier: f32 and f16", |b| b.manifest.classifier.precision = Precision::F16),
            ("precisions of CLIP: f32 and f16", |b| b.manifest.clip.precision = Precision::F16),
            ("f32 and f16 on cooperative matrices", |b| b.manifest.clip.precision = Precision::F16Matrices),
            ("adapters: an adapter and x", |b| b.manifest.adapter = "x".to_owned()),
            ("minimum supports: 5 and 2", |b| b.manifest.minimum_support = 2),
            ("concept prompts: 'wheels' has another direction", |b| b.directions.data_mut()[3] += 1.0),
            ("class prompts: 'plane' has another direction", |b| b.class_directions.data_mut()[0] += 1.0),
        ];
        for (expected, change) in changes {
            let mut other = second.clone();
            change(&mut other);
            let error = merged(&[first.clone(), other]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
            assert!(error.to_string().contains(expected), "{error}, expected: {expected}");
        }
        let error = merged(&[first.clone(), second.clone()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overlap);
        assert!(error.to_string().contains("one and two share 25 image(s): images/plane/0.png"), "{error}");
        // Other images with one attacked image in common.
        second.samples.hashes.iter_mut().for_each(|hash| hash.0[0] ^= 0x55);
        second.samples.hashes.iter_mut().for_each(|hash| hash.0[1] = !hash.0[1]);
        second.attacked.contents = [testing::attack(3), testing::attack(99)].into();
        let error = merged(&[first.clone(), second.clone()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overlap);
        let expected =
            format!("one and two share attacked images or their originals (one has SHA-256 {}", testing::attack(3));
        assert!(error.to_string().starts_with(&expected), "{error}");
        second.attacked.contents = [testing::attack(99)].into();
        assert!(merged(&[first, second]).is_ok());
        assert_eq!(merged(&[]).unwrap_err().kind(), ErrorKind::Usage);
    }
}
