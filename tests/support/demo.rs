//! The demo's models, lists and pictures, for tests that run the method.

use std::path::{Path, PathBuf};

use heatlens::dataset::{Dataset, DatasetOptions};
use heatlens::models::{Classifier, Clip};
use heatlens::semantics::{AlignOptions, BuildInputs, BuildOptions, Concepts, Templates};
use heatlens::weights::{ModelFiles, Precision};
use heatlens::{Aligner, Bundle, Device, Observer, Result, Silent};

/// The demo's models and lists.
pub(crate) struct Demo {
    classifier: Classifier,
    clip: Clip,
    classes: Vec<String>,
    concepts: Concepts,
}

/// A file or folder of the demo.
pub(crate) fn path(part: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "weights/demo", part].iter().collect()
}

impl Demo {
    pub(crate) fn open() -> Self {
        Self::open_in(Precision::F32)
    }

    /// The demo with its models held in a precision.
    pub(crate) fn open_in(precision: Precision) -> Self {
        let files = |part| ModelFiles::open(path(part)).unwrap().with_precision(precision);
        let classes = std::fs::read_to_string(path("classes.txt")).unwrap();
        Self {
            classifier: Classifier::load(&files("classifier"), &Silent).unwrap(),
            clip: Clip::load(&files("clip")).unwrap(),
            classes: classes.lines().map(str::to_owned).collect(),
            concepts: Concepts::from_file(path("concepts.txt")).unwrap(),
        }
    }

    /// Every so-manieth picture of a split.
    pub(crate) fn images(&self, split: &str, every: usize) -> Dataset {
        let mut images = Dataset::open(&path(split), Some(&self.classes), &DatasetOptions::default()).unwrap();
        images.samples = images.samples.into_iter().step_by(every).collect();
        images
    }

    /// Fits an aligner to some of the pictures.
    pub(crate) fn align(&self, device: &Device) -> Result<Aligner> {
        let options = AlignOptions { lambda: Some(1.0), ..AlignOptions::default() };
        Aligner::fit(device, &self.classifier, &self.clip, &self.images("images/align", 40), &options, &Silent)
    }

    /// Builds a bundle from every so-manieth picture.
    pub(crate) fn build(
        &self,
        device: &Device,
        aligner: &Aligner,
        every: usize,
        observer: &dyn Observer,
        out: &Path,
    ) -> Result<Bundle> {
        let options = BuildOptions { minimum_support: 1, ..BuildOptions::default() };
        self.build_with(device, aligner, every, &options, observer, out)
    }

    /// Builds a bundle from every so-manieth picture with options.
    pub(crate) fn build_with(
        &self,
        device: &Device,
        aligner: &Aligner,
        every: usize,
        options: &BuildOptions,
        observer: &dyn Observer,
        out: &Path,
    ) -> Result<Bundle> {
        self.build_of(device, aligner, &self.images("images/build", every), options, observer, out)
    }

    /// Builds a bundle from some pictures with options.
    pub(crate) fn build_of(
        &self,
        device: &Device,
        aligner: &Aligner,
        images: &Dataset,
        options: &BuildOptions,
        observer: &dyn Observer,
        out: &Path,
    ) -> Result<Bundle> {
        let inputs = BuildInputs {
            classifier: &self.classifier,
            classifier_path: &path("classifier"),
            clip: &self.clip,
            clip_path: &path("clip"),
            aligner,
            concepts: &self.concepts,
            classes: &self.classes,
            templates: &Templates::default(),
            images,
            images_path: &path("images/build"),
        };
        Bundle::build(device, &inputs, options, observer, out)
    }
}
