//! Bundles on disk: what an interrupted build leaves, and how the next one goes on.

mod support {
    pub(crate) mod demo;
}

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use heatlens::dataset::{Dataset, Shard};
use heatlens::semantics::{self, BuildOptions, LocalizeOptions};
use heatlens::{Bundle, Device, ErrorKind, Observer, Silent, report};
use support::demo::Demo;

/// Stops the pass over the images once so many are done, and remembers where it started.
struct StopAfter {
    images: usize,
    done: AtomicUsize,
    started: AtomicUsize,
}

impl StopAfter {
    fn new(images: usize) -> Self {
        Self { images, done: AtomicUsize::new(0), started: AtomicUsize::new(usize::MAX) }
    }
}

impl Observer for StopAfter {
    fn progress(&self, stage: &str, done: usize, _total: usize) {
        if stage == "images" {
            self.done.store(done, Ordering::Relaxed);
            self.started.fetch_min(done, Ordering::Relaxed);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.done.load(Ordering::Relaxed) >= self.images
    }
}

/// The contents of all files under a folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn is_batch(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "safetensors")
}

/// The images of a finished batch.
fn rows(bytes: &[u8]) -> usize {
    safetensors::SafeTensors::deserialize(bytes).unwrap().tensor("indices").unwrap().shape()[0]
}

/// The images whose results an interrupted build left.
fn kept(partial: &Path) -> usize {
    contents(partial).iter().filter(|(name, _)| is_batch(name)).map(|(_, bytes)| rows(bytes)).sum()
}

#[test]
fn an_interrupted_build_goes_on_where_it_was() {
    let (demo, device) = (Demo::open(), Device::best().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let [whole, resumed] = ["whole", "resumed"].map(|name| folder.path().join(name));
    let aligner = demo.align(&device).unwrap();
    let build = |observer: &dyn Observer, out: &Path| demo.build(&device, &aligner, 16, observer, out);
    let images = build(&Silent, &whole).unwrap().manifest().n;

    let partial = folder.path().join("resumed.partial");
    let first = StopAfter::new(1);
    assert_eq!(build(&first, &resumed).unwrap_err().kind(), ErrorKind::Cancelled);
    let after_first = kept(&partial);
    assert!(!resumed.exists() && 0 < after_first && after_first < images / 2, "{after_first} of {images} kept");
    let second = StopAfter::new(after_first + 1);
    assert_eq!(build(&second, &resumed).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(second.started.into_inner(), after_first, "images done when the second build starts");
    let after_second = kept(&partial);
    assert!(after_first < after_second && after_second < images, "{after_second} of {images} kept");

    // A batch whose writing was cut off counts as not done.
    let (batch, bytes) = contents(&partial).into_iter().find(|(name, _)| is_batch(name)).unwrap();
    fs::write(partial.join(batch), &bytes[..bytes.len() / 2]).unwrap();
    let third = StopAfter::new(usize::MAX);
    build(&third, &resumed).unwrap();
    assert_eq!(third.started.into_inner(), after_second - rows(&bytes), "images done when the third build starts");

    let (whole, resumed) = (contents(&whole), contents(&resumed));
    assert!(whole.keys().eq(resumed.keys()));
    let differ: Vec<&Path> = whole.keys().map(PathBuf::as_path).filter(|&name| whole[name] != resumed[name]).collect();
    assert_eq!(differ, Vec::<&Path>::new());
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["resumed", "whole"]);
}

#[test]
fn what_another_build_left_is_not_used() {
    let (demo, device) = (Demo::open(), Device::best().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle");
    let aligner = demo.align(&device).unwrap();
    demo.build(&device, &aligner, 16, &StopAfter::new(1), &out).unwrap_err();
    let other = StopAfter::new(usize::MAX);
    demo.build(&device, &aligner, 17, &other, &out).unwrap();
    assert_eq!(other.started.into_inner(), 0);
}

/// A bundle of very many concepts and classes keeps scores only. What is made of it is the same.
#[test]
fn maps_are_counted_where_they_are_not_stored() {
    let (demo, device) = (Demo::open(), Device::best().unwrap());
    let root = tempfile::tempdir().unwrap();
    let aligner = demo.align(&device).unwrap();
    let attacked = vec![("eps8".to_owned(), demo.images("attacked/build/eps8", 2))];
    let made = ["stored", "counted"].map(|name| {
        let folder = root.path().join(name);
        let mut options = BuildOptions { minimum_support: 2, attacked: attacked.clone(), ..BuildOptions::default() };
        if name == "counted" {
            options.stored_cells = 0;
        }
        demo.build_with(&device, &aligner, 4, &options, &Silent, &folder.join("bundle")).unwrap();
        let bundle = Bundle::open(&folder.join("bundle")).unwrap();
        report::export(&bundle, Some(&device), &folder.join("arrays")).unwrap();
        let page = report::of_bundle(&bundle, &device, None, &Silent).unwrap();
        report::write_html(folder.join("report.html"), &page).unwrap();
        let faults = bundle.localize(&device, &LocalizeOptions::default(), &Silent).unwrap();
        assert_eq!(bundle.counts().is_some(), folder.join("bundle/counts.safetensors").exists());
        (
            bundle.counts().is_some(),
            faults,
            contents(&folder.join("arrays")),
            fs::read(folder.join("report.html")).unwrap(),
        )
    });
    let [stored, counted] = made;
    assert!(stored.0 && !counted.0);
    assert_eq!(stored.1, counted.1);
    assert!(stored.2 == counted.2, "the exported arrays differ");
    assert!(stored.3 == counted.3, "the reports differ");

    let bundle = Bundle::open(&root.path().join("counted/bundle")).unwrap();
    let error = report::export(&bundle, None, &root.path().join("nothing")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(!root.path().join("nothing").exists());
}

/// Shards are taken by content, so the split is the same wherever the images lie, and what is merged is what one build makes.
#[test]
fn merged_shards_are_the_bundle_of_one_build() {
    let (demo, device) = (Demo::open(), Device::best().unwrap());
    let root = tempfile::tempdir().unwrap();
    let aligner = demo.align(&device).unwrap();
    let attacked = vec![("eps8".to_owned(), demo.images("attacked/build/eps8", 2))];
    let images = demo.images("images/build", 12);
    let build = |images: &Dataset, attacked: Vec<(String, Dataset)>, name: &str| {
        let options = BuildOptions { minimum_support: 1, attacked, ..BuildOptions::default() };
        demo.build_of(&device, &aligner, images, &options, &Silent, &root.path().join(name)).unwrap();
        Bundle::open(&root.path().join(name)).unwrap()
    };
    let parts: Vec<Bundle> = (1..=3)
        .map(|number| {
            let shard = Shard::new(number, 3).unwrap();
            let (images, attacked) = semantics::shard(&images, &attacked, shard, &Silent).unwrap();
            build(&images, attacked, &format!("part{number}"))
        })
        .collect();
    let whole = build(&images, attacked, "whole");
    assert!(parts.iter().all(|part| part.manifest().n < whole.manifest().n));
    let turned: Vec<Bundle> = parts.iter().rev().cloned().collect();
    for (name, parts) in [("merged", &parts), ("turned", &turned)] {
        Bundle::merge(parts, &root.path().join(name), &Silent).unwrap();
    }
    let [mut whole, mut merged, turned] = ["whole", "merged", "turned"].map(|name| contents(&root.path().join(name)));
    assert!(merged == turned, "the order of the bundles shows");
    // Shards take other batches: how often a kernel ran is all that tells a merged bundle.
    let [expected, found] = [&mut whole, &mut merged].map(|files| {
        let manifest = files.remove(Path::new("manifest.json")).unwrap();
        let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        manifest.as_object_mut().unwrap().remove("dispatches");
        manifest
    });
    assert_eq!(found, expected);
    assert!(whole.keys().eq(merged.keys()));
    let differ: Vec<&Path> = whole.keys().map(PathBuf::as_path).filter(|&name| whole[name] != merged[name]).collect();
    assert_eq!(differ, Vec::<&Path>::new());
}
