//! Pictures against Pillow and the transforms of torchvision, timm, transformers and open_clip.
//!
//! The goldens are made by `tests/reference/image_*.py`.

mod support {
    pub(crate) mod accuracy;
}

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use heatlens::ErrorKind;
use heatlens::image::{DecodeOptions, Filter, Preprocess, Rgb8, Stage, Torchvision, decode_bytes, decode_file, resize};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::accuracy::Table;

fn goldens(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

fn read<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let cases: Vec<T> = serde_json::from_slice(&std::fs::read(goldens(name)).unwrap()).unwrap();
    assert!(!cases.is_empty(), "{name} holds no cases");
    cases
}

/// The picture of `image_formula.py`.
fn formula(width: usize, height: usize) -> Rgb8 {
    let mut data = Vec::with_capacity(width * height * 3);
    for y in 0..height as u32 {
        for x in 0..width as u32 {
            for c in 0..3u32 {
                let mut value = x.wrapping_mul(0x9E37_79B1);
                value = value.wrapping_add(y.wrapping_mul(0x85EB_CA77)).wrapping_add(c.wrapping_mul(0xC2B2_AE3D));
                value ^= value >> 15;
                value = value.wrapping_mul(0x2C1B_3C6D);
                value ^= value >> 13;
                data.push(value as u8);
            }
        }
    }
    Rgb8 { width, height, data }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Deserialize)]
struct ResizeCase {
    source: [usize; 2],
    target: [usize; 2],
    filter: String,
    sha256: String,
    pixels: Option<Vec<u8>>,
}

#[test]
fn resize_equals_pillow_in_every_bit() {
    let mut wrong = BTreeMap::<String, Vec<String>>::new();
    for ResizeCase { source, target, filter, sha256, pixels } in read::<ResizeCase>("image_resize.json") {
        let code = Filter::from_name(&filter).expect("a filter of Pillow's");
        let resized = resize(&formula(source[0], source[1]), target[0], target[1], code);
        assert_eq!([resized.width, resized.height], target);
        if let Some(pixels) = pixels {
            assert_eq!(resized.data, pixels, "{source:?} to {target:?}, {filter}");
        }
        if digest(&resized.data) != sha256 {
            wrong.entry(filter).or_default().push(format!("{source:?} to {target:?}"));
        }
    }
    assert!(wrong.is_empty(), "these differ from Pillow's: {wrong:#?}");
}

#[derive(Deserialize)]
struct PreprocessCase {
    source: String,
    config: Value,
    size: Option<[usize; 2]>,
    mean: [f64; 3],
    std: [f64; 3],
    scale: f64,
    pictures: Vec<PictureCase>,
}

#[derive(Deserialize)]
struct PictureCase {
    size: [usize; 2],
    shape: [usize; 3],
    sha256: String,
}

fn preprocess_of(source: &str, config: &Value, size: Option<[usize; 2]>) -> Preprocess {
    let path = Path::new("config.json");
    match source {
        "torchvision" if config == "V1" => Preprocess::torchvision(Torchvision::V1),
        "torchvision" => Preprocess::torchvision(Torchvision::V2),
        "timm" => Preprocess::from_timm(config, path).unwrap(),
        "hf" => Preprocess::from_hf(config, None, path).unwrap(),
        "open_clip" => Preprocess::from_open_clip(config, size.expect("a size"), path).unwrap(),
        other => panic!("unknown source {other}"),
    }
}

#[test]
fn preprocessing_equals_the_reference_transforms_in_every_bit() {
    for case in read::<PreprocessCase>("image_preprocess.json") {
        let label = format!("{} {}", case.source, case.config);
        let preprocess = preprocess_of(&case.source, &case.config, case.size);
        assert_eq!(preprocess.mean, case.mean.map(|v| v as f32), "{label}");
        assert_eq!(preprocess.std, case.std.map(|v| v as f32), "{label}");
        assert_eq!(preprocess.scale, case.scale as f32, "{label}");
        assert!(case.pictures.len() >= 10, "{label}: only {} pictures", case.pictures.len());
        for PictureCase { size: [width, height], shape, sha256 } in case.pictures {
            let pixels = preprocess.apply(&formula(width, height));
            assert_eq!([pixels.height, pixels.width, 3], shape, "{label}");
            assert_eq!(digest(&pixels.data), sha256, "{label}: {width}×{height}, {}", preprocess.describe());
        }
    }
}

/// As transformers' `AutoImageProcessor` chooses it.
#[test]
fn a_processor_that_is_not_named_is_the_one_of_the_models_type() {
    let path = Path::new("preprocessor_config.json");
    let unnamed = json!({"size": 60, "do_normalize": true});
    for (model_type, processor) in [
        (Some("vit"), "ViTImageProcessor"),
        (Some("convnext"), "ConvNextImageProcessor"),
        (Some("resnet"), "ConvNextImageProcessor"),
        (Some("clip"), "CLIPImageProcessor"),
        (None, "CLIPImageProcessor"),
    ] {
        let named = json!({"size": 60, "do_normalize": true, "image_processor_type": processor});
        let expected = Preprocess::from_hf(&named, None, path).unwrap();
        assert_eq!(Preprocess::from_hf(&unnamed, model_type, path).unwrap(), expected, "{model_type:?}");
        // A name in the file has the last word.
        assert_eq!(Preprocess::from_hf(&named, Some("vit"), path).unwrap(), expected, "{processor}");
    }
}

#[test]
fn configurations_that_cannot_be_followed_name_file_and_key() {
    let path = Path::new("dir/some.json");
    let timm = |config: Value| Preprocess::from_timm(&json!({ "pretrained_cfg": config }), path);
    let hf = |config: Value| Preprocess::from_hf(&config, None, path);
    let open_clip = |config: Value| Preprocess::from_open_clip(&config, [224, 224], path);
    let cases = [
        ("interpolation", timm(json!({"interpolation": "random"}))),
        ("crop_mode", timm(json!({"crop_mode": "corner"}))),
        ("input_size", timm(json!({"input_size": [1, 28, 28]}))),
        ("input_size", timm(json!({"input_size": [3, 0, 28]}))),
        ("input_size", timm(json!({"input_size": 224}))),
        ("crop_pct", timm(json!({"crop_pct": 0.0}))),
        ("mean", timm(json!({"mean": [0.5]}))),
        ("std", timm(json!({"std": [0.5, 0.0, 0.5]}))),
        ("resample", hf(json!({"resample": 9}))),
        ("size", hf(json!({"size": {"longest_edge": 224}}))),
        ("size", hf(json!({"size": -3}))),
        ("do_resize", hf(json!({"do_resize": "yes"}))),
        ("do_center_crop", hf(json!({"do_center_crop": false}))),
        ("image_processor_type", hf(json!({"image_processor_type": "DetrImageProcessor"}))),
        ("crop_size", hf(json!({"crop_size": {"shortest_edge": 224}}))),
        ("rescale_factor", hf(json!({"rescale_factor": "1/255"}))),
        ("resize_mode", open_clip(json!({"resize_mode": "widest"}))),
        ("interpolation", open_clip(json!({"interpolation": "lanczos"}))),
        ("fill_color", open_clip(json!({"fill_color": 256}))),
        ("mode", open_clip(json!({"mode": "L"}))),
    ];
    for (key, result) in cases {
        let error = result.expect_err(key);
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        let message = error.to_string();
        assert!(message.contains("dir/some.json") && message.contains(&format!("`{key}`")), "{key}: {message}");
    }
}

#[test]
fn the_serialised_preprocessing_tells_every_difference_apart() {
    let base = Preprocess::torchvision(Torchvision::V1);
    let mut fill = base.clone();
    fill.fill = [1, 0, 0];
    let mut std = base.clone();
    std.std[2] = std.std[2].next_up();
    let all = [base.clone(), Preprocess::torchvision(Torchvision::V2), fill, std];
    let texts: std::collections::BTreeSet<String> = all.iter().map(|p| serde_json::to_string(p).unwrap()).collect();
    assert_eq!(texts.len(), all.len());
    assert_eq!(
        serde_json::to_string(&base).unwrap(),
        r#"{"resize":{"shortest_edge":256},"filter":"bilinear","height":224,"width":224,"rounding":"half_even","fill":[0,0,0],"scale":0.003921569,"mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225]}"#
    );
}

#[derive(Deserialize)]
struct DecodeCase {
    file: String,
    #[serde(flatten)]
    plain: Pixels,
    upright: Option<Pixels>,
}

#[derive(Deserialize)]
struct Pixels {
    size: [usize; 2],
    pixels: Vec<u8>,
}

/// Lossy WebP and inks in JPEG are decoded by other implementations of the inverse DCT than Pillow's, and inks of a TIFF are
/// rounded down by the decoder used here; all others agree.
fn tolerance(file: &str) -> u8 {
    match file {
        "lossy.webp" => 3,
        "cmyk.tiff" => 1,
        "cmyk.jpg" | "cmyk_plain.jpg" => 3,
        _ => 0,
    }
}

fn assert_pixels(file: &str, image: &Rgb8, expected: &Pixels) {
    assert_eq!([image.width, image.height], expected.size, "{file}");
    let differences = image.data.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b));
    let worst = differences.max().expect("pixels");
    assert!(worst <= tolerance(file), "{file}: differs by {worst}\n{:?}\n{:?}", image.data, expected.pixels);
}

#[test]
fn files_decode_as_pillow_decodes_them() {
    for case in read::<DecodeCase>("image_decode.json") {
        let path = goldens("pictures").join(&case.file);
        let decoded = decode_file(&path, &DecodeOptions::default()).unwrap();
        assert_pixels(&case.file, &decoded.image, &case.plain);
        assert_eq!(decoded.deep, case.file.contains("16"), "{}", case.file);
        let turned = case.upright.is_some() && !case.file.starts_with("exif1");
        assert_eq!(decoded.orientation_ignored, turned, "{}", case.file);
        let followed = decode_file(&path, &DecodeOptions { exif: true }).unwrap();
        assert_pixels(&case.file, &followed.image, case.upright.as_ref().unwrap_or(&case.plain));
        assert!(!followed.orientation_ignored, "{}", case.file);
    }
}

#[test]
fn files_that_are_no_pictures_are_errors_that_name_them() {
    let names = ["rgb.png", "rgb_420.jpg", "progressive.jpg", "palette.gif", "lossless.webp", "rgb.bmp", "rgb.tiff"];
    for name in names {
        let whole = std::fs::read(goldens("pictures").join(name)).unwrap();
        for kept in [0, 4, 20, whole.len() / 2, whole.len() - whole.len() / 8] {
            let error = decode_bytes(&whole[..kept], name, &DecodeOptions::default());
            let error = error.expect_err(&format!("{name} cut at {kept} of {}", whole.len()));
            assert_eq!(error.kind(), ErrorKind::Image);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
    for name in ["refused_palette.tiff", "refused_float.tiff"] {
        let error = decode_file(&goldens("pictures").join(name), &DecodeOptions::default()).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Image);
        assert!(error.to_string().contains(name) && error.to_string().contains("support"), "{error}");
    }
    let error = decode_file(&goldens("image_decode.json"), &DecodeOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Image);
    let error = decode_file(&goldens("pictures/none.png"), &DecodeOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("none.png"), "{error}");
}

#[test]
fn a_size_that_no_memory_holds_is_an_error() {
    // A BMP header of 65,535 × 65,535 pixels with nothing behind it.
    let mut header = std::fs::read(goldens("pictures/rgb.bmp")).unwrap();
    header[18..26].copy_from_slice(&[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]);
    let error = decode_bytes(&header, "huge.bmp", &DecodeOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Image);
    assert!(error.to_string().contains("huge.bmp") && error.to_string().contains("limit"), "{error}");
}

/// A picture as a camera or a program writes it, and its stages in each library.
#[derive(Deserialize)]
struct PhotoCase {
    file: String,
    decode: StageCase,
    orient: Option<StageCase>,
    /// A lossless file of the pixels that Pillow decodes, where heatlens decodes others.
    pixels: Option<String>,
    transforms: Vec<TransformCase>,
}

#[derive(Deserialize)]
struct StageCase {
    size: Option<[usize; 2]>,
    sha256: String,
}

#[derive(Deserialize)]
struct TransformCase {
    source: String,
    config: Value,
    size: Option<[usize; 2]>,
    /// Absent where the library doesn't show it.
    resize: Option<StageCase>,
    crop: StageCase,
    normalize: StageCase,
}

impl PhotoCase {
    fn read_bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(goldens("photos").join(name)).unwrap()
    }

    /// What is wrong with the stages after decoding of the picture in `bytes`.
    fn wrong_stages(&self, bytes: &[u8]) -> Vec<String> {
        let mut wrong = Vec::new();
        for transform in &self.transforms {
            let preprocess = preprocess_of(&transform.source, &transform.config, transform.size);
            let stages = preprocess.explain(bytes, &self.file, &DecodeOptions::default()).unwrap();
            let found = |name: &str| stages.iter().find(|stage| stage.name == name).expect("every stage is there");
            let mut check = |name: &str, expected: &StageCase| {
                let Stage { size, sha256, .. } = found(name);
                if expected.size.is_some_and(|expected| Some(expected) != *size)
                    || *sha256 != Some(expected.sha256.clone())
                {
                    wrong.push(format!("{}, {name} of {} {}", self.file, transform.source, transform.config));
                }
            };
            transform.resize.iter().for_each(|expected| check("resize", expected));
            check("crop", &transform.crop);
            check("normalize", &transform.normalize);
        }
        wrong
    }
}

/// The largest and the mean difference from Pillow's pixels of files that other decoders read: libwebp interpolates colour
/// and dithers in its own way, and four inks are decoded without libjpeg-turbo.
const INEXACT: [(&str, u8, f64); 3] = [("lossy.webp", 3, 0.2), ("lossy_alpha.webp", 3, 0.2), ("cmyk.jpg", 3, 0.2)];

static DECODING: Table = Table::new(
    "decoding",
    "| picture | size | decoder: largest | decoder: mean | later stages, transforms of the libraries that agree |",
);

impl PhotoCase {
    /// The picture's row of the table of differences.
    fn add_row(&self, image: &Rgb8, largest: u8, mean: f64) {
        let size = format!("{}×{}", image.width, image.height);
        let mean = if mean == 0.0 { "0".to_owned() } else { format!("{mean:.2}") };
        let pixels = self.read_bytes(self.pixels.as_ref().unwrap_or(&self.file));
        let agree = if self.wrong_stages(&pixels).is_empty() { self.transforms.len() } else { 0 };
        let cells = [size, largest.to_string(), mean, format!("{agree} of {}, every bit", self.transforms.len())];
        DECODING.row(&format!("`{}`", self.file), &cells);
    }
}

#[test]
fn decoding_real_pictures_differs_by_what_is_written_down() {
    for case in read::<PhotoCase>("image_transforms.json") {
        let bytes = case.read_bytes(&case.file);
        let decoded = decode_bytes(&bytes, &case.file, &DecodeOptions::default()).unwrap();
        assert_eq!(Some([decoded.image.width, decoded.image.height]), case.decode.size, "{}", case.file);
        assert_eq!(decoded.orientation_ignored, case.orient.is_some(), "{}", case.file);
        if let Some(orient) = &case.orient {
            let upright = decode_bytes(&bytes, &case.file, &DecodeOptions { exif: true }).unwrap().image;
            assert_eq!(
                (Some([upright.width, upright.height]), digest(&upright.data)),
                (orient.size, orient.sha256.clone())
            );
        }
        let bound = INEXACT.iter().find(|(file, ..)| *file == case.file);
        assert_eq!(bound.is_some(), case.pixels.is_some(), "{}", case.file);
        let (Some((_, most, mean)), Some(pixels)) = (bound, &case.pixels) else {
            assert_eq!(digest(&decoded.image.data), case.decode.sha256, "{}", case.file);
            case.add_row(&decoded.image, 0, 0.0);
            continue;
        };
        let pillow = decode_bytes(&case.read_bytes(pixels), pixels, &DecodeOptions::default()).unwrap().image;
        assert_eq!(digest(&pillow.data), case.decode.sha256, "{pixels}");
        let differences: Vec<u8> = decoded.image.data.iter().zip(&pillow.data).map(|(a, b)| a.abs_diff(*b)).collect();
        let worst = differences.iter().max().copied().unwrap();
        let average = differences.iter().map(|&d| f64::from(d)).sum::<f64>() / differences.len() as f64;
        case.add_row(&decoded.image, worst, average);
        assert!(worst <= *most && average <= *mean, "{}: differs by {worst}, on average by {average:.3}", case.file);
    }
}

/// On equal pixels nothing differs: not the resize, not the crop, not the f32 values that the library hands to the network.
#[test]
fn every_stage_of_real_pictures_equals_the_library_in_every_bit() {
    let cases = read::<PhotoCase>("image_transforms.json");
    let wrong: Vec<String> = cases
        .iter()
        .flat_map(|case| case.wrong_stages(&case.read_bytes(case.pixels.as_ref().unwrap_or(&case.file))))
        .collect();
    assert!(wrong.is_empty(), "{} stages differ: {wrong:#?}", wrong.len());
    assert!(cases.iter().all(|case| case.transforms.len() >= 14) && cases.len() >= 18);
}
