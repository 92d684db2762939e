//! What later runs find in the cache: text embeddings with the same bits, and compiled pipelines.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use heatlens::gpu::{DeviceOptions, Input, Tuning, TuningOrigin};
use heatlens::kernels::{Gemm, Profile};
use heatlens::models::{Architecture, Clip};
use heatlens::semantics::embed_texts;
use heatlens::weights::ModelFiles;
use heatlens::{Device, Observer, Plan, Silent, Tensor};

/// Keeps what it is told.
#[derive(Default)]
struct Notices(Mutex<Vec<String>>);

impl Observer for Notices {
    fn notice(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

fn device(cache: Option<&Path>) -> Device {
    Device::open(&DeviceOptions { cache: cache.map(Path::to_owned), ..DeviceOptions::default() }).unwrap()
}

/// The embeddings of prompts on a device of its own, and how many batches ran.
fn embed(cache: Option<&Path>, prompts: &[&str], observer: &dyn Observer) -> (Tensor, u64) {
    let clip = ModelFiles::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/demo/clip")).unwrap();
    let (device, clip) = (device(cache), Clip::load(&clip).unwrap());
    let prompts: Vec<String> = prompts.iter().map(|&prompt| prompt.to_owned()).collect();
    let (embeddings, _) = embed_texts(&device, &clip, &prompts, Some(2), observer).unwrap();
    (embeddings, device.dispatches().get("embed_tokens").copied().unwrap_or(0))
}

/// The files of a folder whose names begin so.
fn files(folder: &Path, beginning: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let begins = |entry: &std::fs::DirEntry| entry.file_name().to_str().unwrap().starts_with(beginning);
    entries.filter(begins).map(|entry| entry.path()).collect()
}

#[test]
fn kept_text_embeddings_stand_for_running_the_tower() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("made/where/missing");
    let prompts = ["a photo of a ship", "wings", "a photo of a ship", "wheels", "a red cat"];
    let (expected, batches) = embed(None, &prompts, &Silent);
    assert_eq!((batches, expected.rows()), (2, 5), "equal prompts run once");
    assert_eq!(embed(Some(&cache), &prompts[1..4], &Silent).1, 2);
    assert_eq!(embed(Some(&cache), &prompts, &Silent), (expected.clone(), 1), "one prompt is new");
    assert_eq!(embed(Some(&cache), &prompts, &Silent), (expected.clone(), 0));

    let [file] = &files(&cache, "text-")[..] else { panic!("one tower, one file") };
    std::fs::write(file, "nothing that could be read").unwrap();
    let notices = Notices::default();
    assert_eq!(embed(Some(&cache), &prompts, &notices), (expected.clone(), 2));
    let notices = notices.0.into_inner().unwrap();
    assert!(notices.len() == 1 && notices[0].contains("computed again"), "{notices:?}");
    assert!(notices[0].contains(file.to_str().unwrap()), "{notices:?}");
    assert_eq!(embed(Some(&cache), &prompts, &Silent), (expected, 0));
}

/// What a device of other shaders computes is nobody else's.
#[test]
fn a_device_of_replaced_shaders_has_no_cache() {
    let folder = tempfile::tempdir().unwrap();
    let source = include_str!("../shaders/embed_tokens.wgsl").to_owned();
    let cache = Some(folder.path().to_owned());
    let replaced =
        DeviceOptions { cache, replaced_shaders: [("embed_tokens".to_owned(), source)].into(), ..Default::default() };
    assert_eq!(Device::open(&replaced).unwrap().cache(), None);
    assert_eq!(device(Some(folder.path())).cache(), Some(folder.path()));
}

#[test]
fn a_cache_that_cannot_be_written_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let occupied = folder.path().join("a file");
    std::fs::write(&occupied, "").unwrap();
    let notices = Notices::default();
    // A folder under a file: it can't be made, whoever runs this.
    let (found, batches) = embed(Some(&occupied.join("cache")), &["wings"], &notices);
    assert_eq!((found, batches), embed(None, &["wings"], &Silent));
    let notices = notices.0.into_inner().unwrap();
    assert!(notices.len() == 1 && notices[0].contains("weren't kept"), "{notices:?}");
}

#[test]
fn pipelines_are_kept_where_the_backend_can() {
    let folder = tempfile::tempdir().unwrap();
    let device = device(Some(folder.path()));
    let can = device.summary().features.contains(&"pipeline cache".to_owned());
    device.save_pipelines().unwrap();
    assert!(files(folder.path(), "wgpu_").is_empty(), "nothing was compiled yet");
    let network = Architecture::Resnet18.load(Some(8)).unwrap();
    device.compile(&network.record(1).unwrap()).unwrap();
    device.save_pipelines().unwrap();
    assert_eq!(files(folder.path(), "wgpu_").len(), usize::from(can));
    if let Some(file) = files(folder.path(), "wgpu_").first() {
        let kept = std::fs::read(file).unwrap();
        let again = self::device(Some(folder.path()));
        again.compile(&network.record(1).unwrap()).unwrap();
        again.save_pipelines().unwrap();
        assert_eq!(std::fs::read(file).unwrap(), kept, "nothing was new");
        std::fs::write(file, "not what a driver wrote").unwrap();
        let again = Device::open(&DeviceOptions { cache: Some(folder.path().to_owned()), ..DeviceOptions::default() });
        again.unwrap().compile(&network.record(1).unwrap()).unwrap();
    }
}

#[test]
fn the_program_keeps_where_it_is_told_and_measures_from_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("prompts.txt"), "wings\nwheels\n").unwrap();
    let run = |args: &[&str], variables: &[(&str, &Path)]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_heatlens"));
        program.current_dir(root).args(args).env("XDG_CACHE_HOME", root.join("usual")).env("HOME", root);
        let output = program.envs(variables.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/demo/clip");
    let embed = ["embed", "--model", model, "--text", "prompts.txt", "-o", "prompts.safetensors"];
    run(&[&embed[..], &["--cache", "given"]].concat(), &[]);
    assert_eq!(files(&root.join("given"), "text-").len(), 1);
    run(&embed, &[("HEATLENS_CACHE", Path::new("variable"))]);
    assert_eq!(files(&root.join("variable"), "text-").len(), 1);
    run(&[&embed[..], &["--no-cache", "--cache", "unused"]].concat(), &[]);
    run(&embed, &[("HEATLENS_CACHE", Path::new("unused")), ("HEATLENS_NO_CACHE", Path::new("1"))]);
    run(&["bench", "peak", "--repeat", "1", "--cache", "unused"], &[]);
    assert!(!root.join("unused").exists() && !root.join("usual/heatlens").exists());
    #[cfg(target_os = "linux")]
    {
        run(&embed, &[("HEATLENS_CACHE", Path::new("")), ("HEATLENS_NO_CACHE", Path::new("0"))]);
        assert_eq!(files(&root.join("usual/heatlens"), "text-").len(), 1);
    }
}

/// The hardware profile runs on any adapter.
#[test]
fn tiles_are_measured_once() {
    let folder = tempfile::tempdir().unwrap();
    let open = |cache: Option<&Path>, tune| {
        let (cache, profile) = (cache.map(Path::to_owned), Some(Profile::Hardware));
        Device::open(&DeviceOptions { cache, tune, profile, ..DeviceOptions::default() }).unwrap().tuning()
    };
    let cache = folder.path().join("made/where/missing");
    let table = open(Some(&cache), false);
    assert_eq!(table.origin, TuningOrigin::Table);
    assert_eq!(open(None, true), table, "nowhere to keep it");
    let measured = open(Some(&cache), true);
    assert_eq!(measured.origin, TuningOrigin::Measured);
    assert!((4..=256).contains(&measured.least_workgroups), "{measured:?}");
    assert_eq!(open(Some(&cache), true), Tuning { origin: TuningOrigin::Kept, ..measured });
    assert_eq!(open(Some(&cache), false), table, "what is kept isn't used either");

    let [file] = &files(&cache, "tiles-")[..] else { panic!("one adapter, one file") };
    let text = std::fs::read_to_string(file).unwrap();
    let other = text.replace(&format!(": {}", measured.least_workgroups), ": 7");
    std::fs::write(file, other).unwrap();
    assert_eq!(open(Some(&cache), true), Tuning { least_workgroups: 7, origin: TuningOrigin::Kept });
    std::fs::write(file, "nothing that could be read").unwrap();
    assert_eq!(open(Some(&cache), true).origin, TuningOrigin::Measured);
}

/// A device that takes the larger tile everywhere runs it in layers that otherwise take the smaller one.
#[test]
fn plans_are_compiled_with_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let options = DeviceOptions {
        cache: Some(folder.path().to_owned()),
        profile: Some(Profile::Hardware),
        tune: true,
        ..DeviceOptions::default()
    };
    let shaders = |options: &DeviceOptions| {
        let device = Device::open(options).unwrap();
        let plan = Plan::of_kernel(Arc::new(Gemm::product(49, 64, 64)));
        let values = [vec![1.0; 49 * 64], vec![1.0; 64 * 64], vec![0.0; 64], vec![0.0; 64]];
        let names = ["0", "1", "2", "3"];
        let inputs: Vec<(&str, Input<'_>)> = names.into_iter().zip(values.iter().map(|v| Input::F32(v))).collect();
        let before = device.dispatches();
        let outputs = device.compile(&plan).unwrap().run(&inputs).unwrap();
        assert!(outputs.tensor("output").data().iter().all(|&value| value == 64.0));
        let ran = device.dispatches().into_iter().filter(|(shader, count)| before.get(shader) != Some(count));
        ran.map(|(shader, _)| shader).collect::<Vec<_>>()
    };
    shaders(&options);
    let [file] = &files(folder.path(), "tiles-")[..] else { panic!("one adapter, one file") };
    for (least, shader) in [(1, "gemm_tiled_8x2"), (1000, "gemm_tiled_8x1")] {
        std::fs::write(file, format!(r#"{{"adapter": "", "least_workgroups": {least}}}"#)).unwrap();
        assert_eq!(shaders(&options), [shader]);
    }
}
