//! The goldens' networks, loaded from files and run on devices.

use heatlens::gpu::{Device, DeviceOptions};
use heatlens::kernels::Profile;
use heatlens::models::{Classifier, Clip, Tap};
use heatlens::weights::{ModelFiles, Precision};
use heatlens::{Plan, Silent, Tensor};

use super::golden::Golden;
use super::tower::{Items, Tower};

/// The adapter with its own profile and with those that every adapter can run, for small networks.
pub(crate) fn all_profiles() -> Vec<Device> {
    let open = |profile| Device::open(&DeviceOptions { profile: Some(profile), ..DeviceOptions::default() }).unwrap();
    let own = Device::best().unwrap();
    let others = [Profile::Software, Profile::Hardware].into_iter().filter(|&profile| profile != own.profile());
    let others: Vec<Device> = others.map(open).collect();
    [vec![own], others].concat()
}

/// The adapter with its own profile, for large ones.
pub(crate) fn own_profile() -> Vec<Device> {
    vec![Device::best().unwrap()]
}

/// The values of all taps, for each device.
pub(crate) type Taps = Vec<Vec<(String, Tensor)>>;

/// The taps of a classifier.
pub(crate) fn run_classifier(golden: &Golden, precision: Precision, devices: &[Device], batches: &[usize]) -> Taps {
    let folder = tempfile::tempdir().unwrap();
    let files = ModelFiles::open(golden.write_model(folder.path())).unwrap().with_precision(precision);
    let classifier = Classifier::load(&files, &Silent).unwrap();
    drop(folder);
    let size = golden.size();
    let record = |plan: &mut Plan, tap: &mut Tap<'_>| {
        let bytes = plan.input_pixels("pixels", size[0], size[1]);
        let pixels = plan.normalize_image(bytes, size, golden.normalization());
        classifier.network().record_with(plan, pixels, tap);
    };
    let run = |device: &Device| {
        let (items, count) = (Items::Pixels(golden.pixels()), golden.header.pictures.len());
        let tower = Tower { device, precision, record: &record, items, count };
        let found = tower.taps();
        tower.assert_same_bits(found.last().unwrap(), batches);
        found
    };
    devices.iter().map(run).collect()
}

/// The taps of both towers.
pub(crate) fn run_clip(golden: &Golden, precision: Precision, devices: &[Device], batches: &[usize]) -> Taps {
    let folder = tempfile::tempdir().unwrap();
    golden.write_model(folder.path());
    let clip = Clip::load(&ModelFiles::open(folder.path()).unwrap().with_precision(precision)).unwrap();
    drop(folder);
    let record_image = |plan: &mut Plan, tap: &mut Tap<'_>| {
        let bytes = clip.image_input(plan);
        let pixels = plan.normalize_image(bytes, golden.size(), golden.normalization());
        clip.vision().record_with(plan, pixels, &mut |plan, name, var| tap(plan, &format!("visual.{name}"), var));
    };
    let record_text = |plan: &mut Plan, tap: &mut Tap<'_>| {
        let ids = clip.text_input(plan);
        clip.text().record_with(plan, ids, &mut |plan, name, var| tap(plan, &format!("text.{name}"), var));
    };
    let run = |device: &Device| {
        let (items, count) = (Items::Pixels(golden.pixels()), golden.header.pictures.len());
        let vision = Tower { device, precision, record: &record_image, items, count };
        let mut found = vision.taps();
        vision.assert_same_bits(found.last().unwrap(), batches);

        let (items, count) = (Items::Ids(golden.tokens.clone()), golden.header.lengths.len());
        let text = Tower { device, precision, record: &record_text, items, count };
        let mut taps = text.taps();
        text.assert_same_bits(taps.last().unwrap(), batches);
        for (_, tensor) in taps.iter_mut().filter(|(name, _)| name != "text.embedding") {
            *tensor = tensor.select_rows(&golden.token_rows());
        }
        found.append(&mut taps);
        found
    };
    devices.iter().map(run).collect()
}

pub(crate) fn value<'a>(values: &'a [(String, Tensor)], name: &str) -> &'a Tensor {
    &values.iter().find(|(found, _)| found == name).unwrap().1
}
