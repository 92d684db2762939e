//! The GPU is really used: the method dispatches every kernel, and a wrong shader changes what it finds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use heatlens::dataset::{Dataset, DatasetOptions};
use heatlens::gpu::DeviceOptions;
use heatlens::kernels::{Profile, cases};
use heatlens::models::{Classifier, Clip};
use heatlens::semantics::{
    AlignOptions, BuildInputs, BuildOptions, CalibrateOptions, Concepts, Distance, FilterFile, Fraction,
    LocalizeOptions, RunOptions, ScoreMode, Templates,
};
use heatlens::{Aligner, Bundle, Device, Filter, Result, Silent};

/// The demo's models, lists and some of its pictures.
struct Demo {
    classifier: Classifier,
    clip: Clip,
    classes: Vec<String>,
    concepts: Concepts,
    folder: tempfile::TempDir,
}

fn path(part: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "weights/demo", part].iter().collect()
}

impl Demo {
    fn open() -> Self {
        let classes = std::fs::read_to_string(path("classes.txt")).unwrap();
        Self {
            classifier: Classifier::open(path("classifier"), &Silent).unwrap(),
            clip: Clip::open(path("clip")).unwrap(),
            classes: classes.lines().map(str::to_owned).collect(),
            concepts: Concepts::from_file(path("concepts.txt")).unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Every so-manieth picture of a split.
    fn images(&self, split: &str, every: usize) -> Dataset {
        let mut images = Dataset::open(&path(split), Some(&self.classes), &DatasetOptions::default()).unwrap();
        images.samples = images.samples.into_iter().step_by(every).collect();
        images
    }

    fn align(&self, device: &Device) -> Result<Aligner> {
        let options = AlignOptions { lambda: Some(1.0), ..AlignOptions::default() };
        Aligner::fit(device, &self.classifier, &self.clip, &self.images("images/align", 40), &options, &Silent)
    }

    fn build(&self, device: &Device, aligner: &Aligner, every: usize) -> Result<Bundle> {
        let inputs = BuildInputs {
            classifier: &self.classifier,
            classifier_path: &path("classifier"),
            clip: &self.clip,
            clip_path: &path("clip"),
            aligner,
            concepts: &self.concepts,
            classes: &self.classes,
            templates: &Templates::default(),
            images: &self.images("images/build", every),
            images_path: &path("images/build"),
        };
        let options = BuildOptions { minimum_support: 1, ..BuildOptions::default() };
        let folder = tempfile::tempdir_in(self.folder.path()).unwrap();
        Bundle::build(device, &inputs, &options, &Silent, &folder.path().join("bundle"))
    }

    fn calibrate(&self, device: &Device, bundle: &Bundle) -> Result<FilterFile> {
        let options = CalibrateOptions {
            false_reject_rate: Fraction::HALF,
            distance: Distance::Cosine,
            scores: ScoreMode::Raw,
            self_contained: true,
            run: RunOptions::default(),
            allow_overlap: false,
        };
        Filter::calibrate(device, bundle, None, &self.images("images/calibrate", 4), &options, &Silent)
    }

    /// The scores of a few pictures, with predictions and counts: everything that a map is made of.
    fn findings(&self, device: &Device, aligner: &Aligner) -> Result<Findings> {
        let bundle = self.build(device, aligner, 150)?;
        let samples = bundle.samples();
        let bits = [&samples.scores, &samples.clip_scores, &samples.class_scores]
            .map(|scores| scores.data().iter().map(|score| score.to_bits()).collect());
        let counts = bundle.counts().correct.iter().flat_map(|counts| counts.cells().to_vec()).collect();
        Ok(Findings { bits, predictions: samples.predictions.clone(), counts })
    }

    /// The scores that a filter gives pictures.
    fn suspicions(&self, device: &Device, filter: &FilterFile) -> Result<Vec<Option<u64>>> {
        let file = self.folder.path().join("model.heatlens");
        filter.save(&file)?;
        let filter = Filter::open(device, &file, None)?;
        let samples = self.images("images/test", 100).samples;
        samples.iter().map(|sample| Ok(filter.check_file(sample.path.as_ref())?.score.map(f64::to_bits))).collect()
    }
}

#[derive(Debug, PartialEq)]
struct Findings {
    bits: [Vec<u32>; 3],
    predictions: Vec<usize>,
    counts: Vec<u32>,
}

/// A device on which the shader of this name does nothing.
fn without(shader: &str) -> Device {
    let file = format!("{}/shaders/{shader}.wgsl", env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(file).unwrap();
    let entry = source.find("fn main(").unwrap();
    let body = entry + source[entry..].find(") {\n").unwrap() + ") {\n".len();
    let idle = format!("{}    if true {{ return; }}\n{}", &source[..body], &source[body..]);
    let replaced_shaders = BTreeMap::from([(shader.to_owned(), idle)]);
    Device::open(&DeviceOptions { replaced_shaders, ..DeviceOptions::default() }).unwrap()
}

/// The shaders that a profile runs of all kernels.
fn shaders(profile: Profile) -> Vec<&'static str> {
    let mut shaders: Vec<_> = cases::all().iter().map(|case| case.kernel.launch(profile).shader.label).collect();
    shaders.sort_unstable();
    shaders.dedup();
    shaders
}

#[test]
fn every_kernel_runs_and_none_can_be_wrong_unseen() {
    let demo = Demo::open();
    let device = Device::best().unwrap();
    let aligner = demo.align(&device).unwrap();
    let bundle = demo.build(&device, &aligner, 6).unwrap();
    bundle.localize(&device, &LocalizeOptions::default(), &Silent).unwrap();
    let filter = demo.calibrate(&device, &bundle).unwrap();
    let suspicions = demo.suspicions(&device, &filter).unwrap();
    assert!(suspicions.iter().any(Option::is_some));
    let findings = demo.findings(&device, &aligner).unwrap();
    let dispatched: Vec<&str> = device.dispatches().into_keys().collect();
    assert_eq!(dispatched, shaders(device.profile()), "the shaders that the method runs, and those there are");

    for shader in dispatched {
        let broken = without(shader);
        let goes_unseen = match shader {
            "gram" => demo.align(&broken).is_ok_and(|found| found.weight().data() == aligner.weight().data()),
            "map_distances" => demo.suspicions(&broken, &filter).is_ok_and(|found| found == suspicions),
            _ => demo.findings(&broken, &aligner).is_ok_and(|found| found == findings),
        };
        assert!(broken.dispatches().contains_key(shader), "{shader} wasn't run");
        assert!(!goes_unseen, "{shader} does nothing, and nothing changes");
    }
}
