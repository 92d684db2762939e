//! The GPU is really used: the method dispatches every kernel, and a wrong shader changes what it finds.

mod support {
    pub(crate) mod demo;
}

use std::collections::BTreeMap;

use heatlens::gpu::DeviceOptions;
use heatlens::kernels::{Profile, cases};
use heatlens::models::common_plan;
use heatlens::semantics::{
    CalibrateOptions, Distance, FilterFile, Fraction, LocalizeOptions, RunOptions, ScoreMode, Stratum, reference,
};
use heatlens::weights::Precision;
use heatlens::{Aligner, Bundle, Device, ErrorKind, Filter, Result, Silent};
use support::demo::Demo;

/// The demo, and a folder to write to.
struct Story {
    demo: Demo,
    folder: tempfile::TempDir,
}

impl Story {
    fn build(&self, device: &Device, aligner: &Aligner, every: usize) -> Result<Bundle> {
        let folder = tempfile::tempdir_in(self.folder.path()).unwrap();
        self.demo.build(device, aligner, every, &Silent, &folder.path().join("bundle"))
    }

    fn calibrate(&self, device: &Device, bundle: &Bundle) -> Result<FilterFile> {
        let options = CalibrateOptions {
            false_reject_rate: Fraction::HALF,
            distance: Some(Distance::Cosine),
            scores: Some(ScoreMode::Raw),
            combine: Some(false),
            attacked: Vec::new(),
            self_contained: true,
            run: RunOptions::default(),
            allow_overlap: false,
        };
        Filter::calibrate(device, bundle, None, &self.demo.images("images/calibrate", 4), &options, &Silent)
    }

    /// The scores of a few pictures, with predictions and counts: everything that a map is made of.
    fn findings(&self, device: &Device, aligner: &Aligner) -> Result<Findings> {
        let bundle = self.build(device, aligner, 150)?;
        let samples = bundle.samples();
        let bits = [&samples.scores, &samples.clip_scores, &samples.class_scores]
            .map(|scores| scores.data().iter().map(|score| score.to_bits()).collect());
        let counts = bundle.counts().unwrap().correct.iter().flat_map(|counts| counts.cells().to_vec()).collect();
        Ok(Findings { bits, predictions: samples.predictions.clone(), counts })
    }

    /// The scores that a filter gives pictures.
    fn suspicions(&self, device: &Device, filter: &FilterFile) -> Result<Vec<Option<u64>>> {
        let file = self.folder.path().join("model.heatlens");
        filter.save(&file)?;
        let filter = Filter::open(device, &file, None)?;
        let samples = self.demo.images("images/test", 100).samples;
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

/// Kernels that only benches run.
const MEASURES: [&str; 2] = ["copy_peak", "fma_peak"];

/// The shaders that a profile runs of all kernels that the method has.
fn shaders(profile: Profile) -> Vec<&'static str> {
    let mut shaders: Vec<_> = cases::all().iter().map(|case| case.kernel.launch(profile).shader.label).collect();
    shaders.retain(|shader| !MEASURES.contains(shader));
    shaders.sort_unstable();
    shaders.dedup();
    shaders
}

/// The kernels of networks that the demo doesn't have (ConvNeXt, ResNeXt, ResNets with average pooling); goldens in
/// `tests/models.rs` need each of them.
const OF_OTHER_NETWORKS: [&str; 3] = ["avg_pool", "depthwise_conv", "grouped_conv"];

#[test]
fn every_kernel_runs_and_none_can_be_wrong_unseen() {
    let story = Story { demo: Demo::open(), folder: tempfile::tempdir().unwrap() };
    let device = Device::best().unwrap();
    let aligner = story.demo.align(&device).unwrap();
    let bundle = story.build(&device, &aligner, 6).unwrap();
    let localize = |device: &Device| {
        let found = bundle.localize(device, &LocalizeOptions::default(), &Silent)?;
        Ok::<_, heatlens::Error>(serde_json::to_value(&found).unwrap())
    };
    let faults = localize(&device).unwrap();
    let filter = story.calibrate(&device, &bundle).unwrap();
    let suspicions = story.suspicions(&device, &filter).unwrap();
    assert!(suspicions.iter().any(Option::is_some));
    let findings = story.findings(&device, &aligner).unwrap();
    let in_f16 = Story { demo: Demo::open_in(Precision::F16), folder: tempfile::tempdir().unwrap() };
    let findings_in_f16 = in_f16.findings(&device, &aligner).unwrap();
    assert_ne!(findings_in_f16.bits, findings.bits);
    let dispatched: Vec<&str> = device.dispatches().into_keys().collect();
    let (others, expected): (Vec<&str>, Vec<&str>) =
        shaders(device.profile()).into_iter().partition(|shader| OF_OTHER_NETWORKS.contains(shader));
    assert_eq!(others, OF_OTHER_NETWORKS);
    assert_eq!(dispatched, expected, "the shaders that the method runs, and those there are");

    for shader in dispatched {
        let broken = without(shader);
        let goes_unseen = match shader {
            "gram" => story.demo.align(&broken).is_ok_and(|found| found.weight().data() == aligner.weight().data()),
            "map_counts" => localize(&broken).is_ok_and(|found| found == faults),
            "map_distances" => story.suspicions(&broken, &filter).is_ok_and(|found| found == suspicions),
            _ if shader.ends_with("_f16") => {
                in_f16.findings(&broken, &aligner).is_ok_and(|found| found == findings_in_f16)
            }
            _ => story.findings(&broken, &aligner).is_ok_and(|found| found == findings),
        };
        assert!(broken.dispatches().contains_key(shader), "{shader} wasn't run");
        assert!(!goes_unseen, "{shader} does nothing, and nothing changes");
    }
}

/// Stored counts follow exactly from the stored scores; the filter's scores lie within 1e-4 of what those give.
#[test]
fn a_shader_that_does_not_compile_is_refused_when_it_is_prepared() {
    let plan = common_plan(Precision::F32);
    let shader = plan.dispatches()[0].kernel.launch(Device::best().unwrap().profile()).shader.label;
    let replaced_shaders = BTreeMap::from([(shader.to_owned(), "not a shader".to_owned())]);
    let device = Device::open(&DeviceOptions { replaced_shaders, ..DeviceOptions::default() }).unwrap();
    let error = device.prepare(&plan).unwrap_err();
    assert!(error.kind() == ErrorKind::Device && error.to_string().contains(shader), "{error}");
    Device::best().unwrap().prepare(&plan).unwrap();
}

#[test]
fn counts_and_the_filters_scores_follow_from_the_stored_scores() {
    let story = Story { demo: Demo::open(), folder: tempfile::tempdir().unwrap() };
    let device = Device::best().unwrap();
    let aligner = story.demo.align(&device).unwrap();
    let bundle = story.build(&device, &aligner, 6).unwrap();
    let (samples, classes) = (bundle.samples(), bundle.manifest().classes.len());
    let rows = |keep: &dyn Fn(usize, usize) -> bool| -> Vec<u32> {
        let kept = |row: &usize| keep(samples.labels[*row], samples.predictions[*row]);
        (0..samples.labels.len()).filter(kept).map(|row| row as u32).collect()
    };
    let counted = |keep: &dyn Fn(usize, usize) -> bool| reference::counts(&samples.scores, &rows(keep)).unwrap();
    let maps: Vec<_> = (0..classes)
        .map(|class| {
            let correct = counted(&|label, prediction| label == class && prediction == class);
            let missed = counted(&|label, prediction| label == class && prediction != class);
            let false_alarm = counted(&|label, prediction| label != class && prediction == class);
            let stored = bundle.counts().unwrap();
            assert_eq!(stored.correct[class], correct);
            assert_eq!(stored.missed[class], missed);
            assert_eq!(stored.false_alarm[class], false_alarm);
            [correct, false_alarm]
        })
        .collect();

    let file = story.folder.path().join("model.heatlens");
    story.calibrate(&device, &bundle).unwrap().save(&file).unwrap();
    let filter = Filter::open(&device, &file, None).unwrap();
    let mut compared = 0;
    for row in (0..samples.labels.len()).step_by(5) {
        let before = device.submissions();
        let verdict = filter.check_file(samples.paths[row].as_ref()).unwrap();
        assert_eq!(device.submissions() - before, 1, "an image takes one submission");
        if verdict.stratum != Some(Stratum::Own) {
            continue;
        }
        let [correct, false_alarm] = &maps[samples.predictions[row]];
        let to = |map| reference::distance(samples.scores.row(row), map, Distance::Cosine, Fraction::HALF);
        let expected = to(correct).unwrap() - to(false_alarm).unwrap();
        assert!((verdict.score.unwrap() - expected).abs() < 1e-4, "{}: {expected}", samples.paths[row]);
        compared += 1;
    }
    assert!(compared > 10, "{compared} images have maps of their own");
}
