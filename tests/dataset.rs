//! Folders, manifests and shards of pictures, and the pool that decodes them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, empty};
use std::path::{Path, PathBuf};

use heatlens::dataset::{
    BadImages, Batch, ContentHash, Dataset, DatasetOptions, Loader, LoaderOptions, THUMBNAIL_EDGE,
};
use heatlens::image::{DecodeOptions, Filter, Preprocess, Resize, Rounding, Torchvision, decode_bytes};
use heatlens::{Error, ErrorKind};
use tempfile::TempDir;

/// A PNG of `width` × `height` pixels that differs for each `seed`.
fn png(width: u32, height: u32, seed: u32) -> Vec<u8> {
    let picture =
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x, y, seed].map(|v| (v * 37 + seed * 11) as u8)));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A folder with these files; a name that ends with `/` is a folder.
fn tree(files: &[(&str, &[u8])]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
    dir
}

fn names(classes: &[&str]) -> Vec<String> {
    classes.iter().map(|&class| class.to_owned()).collect()
}

/// The samples' paths below `dir` with the names of their classes.
fn labels(dataset: &Dataset, dir: &Path) -> Vec<(String, String)> {
    let below = |path: &str| Path::new(path).strip_prefix(dir).unwrap().to_str().unwrap().replace('\\', "/");
    let label = |label: Option<usize>| label.map_or("-".to_owned(), |label| dataset.classes[label].clone());
    dataset.samples.iter().map(|sample| (below(&sample.path), label(sample.label))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(path, label)| (path.to_owned(), label.to_owned())).collect()
}

fn open(path: &Path, classes: Option<&[&str]>) -> heatlens::Result<Dataset> {
    let classes = classes.map(names);
    Dataset::open(path, classes.as_deref(), &DatasetOptions::default())
}

fn assert_error(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = format!("{error} {}", error.hint_text().unwrap_or_default());
    assert_eq!(error.kind(), kind, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
}

#[test]
fn class_folders_are_searched_to_any_depth_and_matched_by_name() {
    let dir = tree(&[
        ("dog/b.PNG", b""),
        ("dog/a.jpeg", b""),
        ("dog/more/z.webp", b""),
        ("dog/notes.txt", b""),
        ("cat/10.tif", b""),
        ("cat/9.gif", b""),
        ("readme.md", b""),
        (".cache/x.png", b""),
    ]);
    let files = ["cat/10.tif", "cat/9.gif", "dog/a.jpeg", "dog/b.PNG", "dog/more/z.webp"];
    let expected: Vec<_> = files.iter().map(|file| (*file, file.split('/').next().unwrap())).collect();

    let dataset = open(dir.path(), None).unwrap();
    assert_eq!(dataset.classes, ["cat", "dog"]);
    assert_eq!(labels(&dataset, dir.path()), pairs(&expected));
    assert_eq!(dataset.support(), [2, 3]);
    let ignored: Vec<&Path> = dataset.ignored.iter().map(|(path, _)| path.strip_prefix(dir.path()).unwrap()).collect();
    assert_eq!(ignored, [Path::new("readme.md"), Path::new(".cache"), Path::new("dog/notes.txt")]);

    // The model's classes number the labels; the order of the samples stays what the files' names make it.
    let dataset = open(dir.path(), Some(&["dog", "bird", "cat"])).unwrap();
    assert_eq!(labels(&dataset, dir.path()), pairs(&expected));
    assert_eq!(dataset.support(), [3, 0, 2]);
    assert_eq!(dataset.notices.len(), 1);
    assert!(dataset.notices[0].contains("bird"), "{:?}", dataset.notices);
}

#[test]
fn class_folders_are_numbered_lexically_or_naturally() {
    let dir = tree(&[("class10/a.png", b""), ("class9/a.png", b""), ("Class1/a.png", b"")]);
    assert_eq!(open(dir.path(), None).unwrap().classes, ["Class1", "class10", "class9"]);
    let natural = Dataset::open(dir.path(), None, &DatasetOptions { natural_order: true }).unwrap();
    assert_eq!(natural.classes, ["Class1", "class9", "class10"]);
}

#[test]
fn folders_that_do_not_fit_are_named() {
    let stray = tree(&[("airplane/a.png", b""), ("auto/a.png", b"")]);
    let error = open(stray.path(), Some(&["airplane", "automobile", "autos", "ship"])).unwrap_err();
    assert_error(&error, ErrorKind::Data, &["auto:", "\"autos\""]);

    let hollow = tree(&[("cat/a.png", b""), ("dog/", b"")]);
    assert_error(&open(hollow.path(), None).unwrap_err(), ErrorKind::Data, &["dog", "no pictures"]);

    let flat = tree(&[("a.png", b""), ("b.png", b"")]);
    assert_error(&open(flat.path(), None).unwrap_err(), ErrorKind::Data, &["class", "metadata.csv"]);
    assert_eq!(Dataset::unlabelled(flat.path()).unwrap().samples.len(), 2);

    let none = tree(&[("readme.md", b"")]);
    assert_error(&open(none.path(), None).unwrap_err(), ErrorKind::Data, &["no pictures", "*.jpg"]);
    assert_error(&Dataset::unlabelled(none.path()).unwrap_err(), ErrorKind::Data, &["no pictures"]);
    assert_error(&open(&none.path().join("gone"), None).unwrap_err(), ErrorKind::Io, &["gone"]);
    assert_error(&open(&none.path().join("readme.md"), None).unwrap_err(), ErrorKind::Data, &["readme.md", "manifest"]);

    let good = tree(&[("cat/a.png", b"")]);
    assert_error(&open(good.path(), Some(&["cat", "dog", "cat"])).unwrap_err(), ErrorKind::Data, &["\"cat\" twice"]);
    assert_error(&open(good.path(), Some(&[])).unwrap_err(), ErrorKind::Data, &["empty"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    let dir = tree(&[("real/deep/a.png", b""), ("cat/b.png", b"")]);
    std::os::unix::fs::symlink(dir.path().join("real/deep"), dir.path().join("cat/link")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("cat"), dir.path().join("cat/circle")).unwrap();
    let dataset = Dataset::unlabelled(&dir.path().join("cat")).unwrap();
    assert_eq!(labels(&dataset, dir.path()), pairs(&[("cat/b.png", "-"), ("cat/link/a.png", "-")]));
    assert_eq!(dataset.ignored.len(), 1);
}

#[test]
fn manifests_list_files_and_labels() {
    let csv = "file_name,note,label\nx/a.png,\"one, two\",dog\n b.png ,,cat\n\"c \"\"q\"\".png\",,dog\n";
    let files: [(&str, &[u8]); 3] = [("x/a.png", b""), ("b.png", b""), ("c \"q\".png", b"")];
    let dir = tree(&[&files[..], &[("metadata.csv", csv.as_bytes())]].concat());
    let expected = pairs(&[("x/a.png", "dog"), ("b.png", "cat"), ("c \"q\".png", "dog")]);
    let dataset = open(dir.path(), None).unwrap();
    assert_eq!(dataset.classes, ["cat", "dog"]);
    assert_eq!(labels(&dataset, dir.path()), expected);

    let jsonl = "{\"path\": \"x/a.png\", \"label\": \"dog\"}\n\n{\"path\": \"b.png\", \"label\": 0}\n";
    let dir = tree(&[&files[..], &[("list.jsonl", jsonl.as_bytes())]].concat());
    // A number is an index into the model's classes, unless a class bears it as its name.
    let dataset = open(&dir.path().join("list.jsonl"), Some(&["cat", "dog"])).unwrap();
    assert_eq!(labels(&dataset, dir.path()), expected[..2]);
    assert_eq!(open(&dir.path().join("list.jsonl"), None).unwrap().classes, ["0", "dog"]);
}

#[test]
fn labels_that_are_all_numbers_are_indices() {
    let dir = tree(&[("a.png", b""), ("b.png", b""), ("metadata.csv", b"path,label\na.png,10\nb.png,9\n")]);
    let dataset = open(dir.path(), None).unwrap();
    assert_eq!(dataset.classes.len(), 11);
    assert_eq!(dataset.samples[0].label, Some(10));
    let error = open(dir.path(), Some(&["cat", "dog"])).unwrap_err();
    assert_error(&error, ErrorKind::Data, &["metadata.csv: line 2", "\"10\"", "2 classes"]);
}

#[test]
fn manifests_that_do_not_fit_name_the_line() {
    let cases: [(&str, &str, ErrorKind, &[&str]); 8] = [
        ("metadata.csv", "file_name,label\na.png,cat\ngone.png,cat\n", ErrorKind::Data, &["line 3", "gone.png"]),
        ("metadata.csv", "file_name,label\na.png,\n", ErrorKind::Data, &["line 2", "no label"]),
        ("metadata.csv", "file_name\na.png\n", ErrorKind::Data, &["line 2", "no label"]),
        ("metadata.csv", "name,label\na.png,cat\n", ErrorKind::Data, &["file_name or path"]),
        ("metadata.csv", "file_name,label\na.png\n", ErrorKind::Format, &["not a CSV file", "line: 2"]),
        ("metadata.jsonl", "{\"file_name\": \"a.png\"", ErrorKind::Format, &["line 1"]),
        ("metadata.jsonl", "{\"label\": 1}\n", ErrorKind::Data, &["line 1", "file_name or path"]),
        ("metadata.jsonl", "", ErrorKind::Data, &["no pictures"]),
    ];
    for (name, content, kind, words) in cases {
        let dir = tree(&[("a.png", b""), (name, content.as_bytes())]);
        let error = open(dir.path(), None).expect_err(content);
        assert_error(&error, kind, words);
        assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
    }
    let both = tree(&[("metadata.csv", b"path,label\n"), ("metadata.jsonl", b"")]);
    assert_error(&open(both.path(), None).unwrap_err(), ErrorKind::Data, &["both"]);
}

/// A tar file of these entries.
fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn shards_group_files_by_their_names() {
    let (first, second, third) = (png(3, 2, 1), png(5, 4, 2), png(2, 2, 3));
    let long = format!("{}/c.png", "very-long-name/".repeat(20));
    let shards: [(&str, &[u8]); 2] = [
        ("b.tar", &tar(&[(&long, &third), (&long.replace("png", "json"), br#"{"label": "cat"}"#)])),
        (
            "a.tar",
            &tar(&[
                ("x/0002.png", &second),
                ("x/0002.cls", b"1\n"),
                ("x/0001.cls", b"cat"),
                ("x/0001.seg.png", &second),
                ("x/0001.png", &first),
                ("readme", b"hello"),
            ]),
        ),
    ];
    let dir = tree(&shards);
    let dataset = open(dir.path(), Some(&["cat", "dog"])).unwrap();
    let last = format!("b.tar/{long}");
    assert_eq!(
        labels(&dataset, dir.path()),
        pairs(&[("a.tar/x/0002.png", "dog"), ("a.tar/x/0001.png", "cat"), (&last, "cat")])
    );
    let read: Vec<Vec<u8>> = dataset.samples.iter().map(|sample| sample.read().unwrap()).collect();
    assert_eq!(read, [second, first, third]);
    assert_eq!(dataset.ignored.len(), 2);

    let one = dir.path().join("a.tar");
    assert_eq!(open(&one, Some(&["cat", "dog"])).unwrap().samples.len(), 2);
    assert_eq!(Dataset::unlabelled(&one).unwrap().samples.len(), 2);

    let bare = tree(&[("a.tar", &tar(&[("1.png", &png(1, 1, 1))]))]);
    assert_error(&open(bare.path(), None).unwrap_err(), ErrorKind::Data, &["a.tar", "1.png", "no label"]);
    let garbage = tree(&[("a.tar", &[7; 2000])]);
    assert_error(&open(garbage.path(), None).unwrap_err(), ErrorKind::Format, &["a.tar"]);
}

#[test]
fn paths_may_be_files_folders_and_lines_of_standard_input() {
    let dir = tree(&[("in/b.png", b""), ("in/deep/c.jpg", b""), ("in/d.txt", b""), ("x.dat", b"")]);
    let paths = [dir.path().join("x.dat"), PathBuf::from("-"), dir.path().join("gone.png")];
    let lines = format!("{}\n\n{}\n", dir.path().join("in").display(), dir.path().join("a b.png").display());
    let dataset = Dataset::from_paths(&paths, &mut BufReader::new(lines.as_bytes())).unwrap();
    let expected = ["x.dat", "in/b.png", "in/deep/c.jpg", "a b.png", "gone.png"].map(|path| (path, "-"));
    assert_eq!(labels(&dataset, dir.path()), pairs(&expected));
    let hollow = tree(&[("none/", b"")]);
    assert!(Dataset::from_paths(&[hollow.path().to_owned()], &mut empty()).is_err());
}

/// Eleven pictures of different sizes; those of `bad` aren't any.
fn pictures(bad: &[u32]) -> (TempDir, Dataset) {
    let bytes: Vec<(String, Vec<u8>)> = (0..11)
        .map(|n| {
            (
                format!("{n:02}.png"),
                if bad.contains(&n) { b"no picture".to_vec() } else { png(20 + 17 * n, 30 + 3 * n, n) },
            )
        })
        .collect();
    let files: Vec<(&str, &[u8])> = bytes.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let dir = tree(&files);
    let dataset = Dataset::unlabelled(dir.path()).unwrap();
    (dir, dataset)
}

fn squash(height: usize, width: usize) -> Preprocess {
    Preprocess {
        resize: Resize::Exact { height, width },
        filter: Filter::Bicubic,
        height,
        width,
        rounding: Rounding::Floor,
        ..Preprocess::torchvision(Torchvision::V1)
    }
}

#[test]
fn batches_hold_what_decoding_one_by_one_gives_whatever_their_size() {
    let (_dir, dataset) = pictures(&[]);
    let preprocess = [squash(9, 7), Preprocess::torchvision(Torchvision::V2)];
    let mut expected = Batch { pixels: vec![Vec::new(); 2], ..Batch::default() };
    for (index, sample) in dataset.samples.iter().enumerate() {
        let bytes = sample.read().unwrap();
        let image = decode_bytes(&bytes, "", &DecodeOptions::default()).unwrap().image;
        expected.indices.push(index);
        expected.hashes.push(ContentHash::of(&bytes));
        for (pixels, preprocess) in expected.pixels.iter_mut().zip(&preprocess) {
            pixels.extend(preprocess.apply(&image).data);
        }
    }
    for batch in [1, 4, 11, 32] {
        let options = LoaderOptions { batch, ..LoaderOptions::default() };
        let mut loader = Loader::new(&dataset.samples, &preprocess, options);
        let batches: Vec<Batch> = loader.by_ref().map(Result::unwrap).collect();
        assert_eq!(batches.len(), 11usize.div_ceil(batch));
        let mut all = Batch { pixels: vec![Vec::new(); 2], ..Batch::default() };
        for batch in batches {
            all.indices.extend(batch.indices);
            all.hashes.extend(batch.hashes);
            for (all, pixels) in all.pixels.iter_mut().zip(batch.pixels) {
                all.extend(pixels);
            }
        }
        assert!(all == expected, "batch {batch}");
        assert!(loader.notices().is_empty() && loader.skipped().is_empty());
    }
}

#[test]
fn the_first_bad_picture_fails_or_all_are_skipped_and_listed() {
    let (_dir, dataset) = pictures(&[4, 5, 6, 7, 9]);
    let options = LoaderOptions { batch: 4, ..LoaderOptions::default() };
    let mut loader = Loader::new(&dataset.samples, &[squash(4, 4)], options);
    assert_eq!(loader.next().unwrap().unwrap().indices, [0, 1, 2, 3]);
    assert_error(&loader.next().unwrap().unwrap_err(), ErrorKind::Image, &["04.png"]);
    assert!(loader.next().is_none());

    let mut loader =
        Loader::new(&dataset.samples, &[squash(4, 4)], LoaderOptions { bad_images: BadImages::Skip, ..options });
    // The batch of which nothing is left isn't handed out.
    let indices: Vec<Vec<usize>> = loader.by_ref().map(|batch| batch.unwrap().indices).collect();
    assert_eq!(indices, [vec![0, 1, 2, 3], vec![8, 10]]);
    let skipped: BTreeMap<usize, &str> = loader.skipped().iter().map(|s| (s.index, s.path.as_str())).collect();
    let expected: BTreeMap<usize, &str> = [4, 5, 6, 7, 9].map(|n| (n, dataset.samples[n].path.as_str())).into();
    assert_eq!(skipped, expected);
    assert_eq!(loader.notices(), ["5 of 11 images don't decode and were skipped"]);
}

#[test]
fn a_loader_may_be_dropped_before_its_end() {
    let (_dir, dataset) = pictures(&[]);
    let mut loader =
        Loader::new(&dataset.samples, &[squash(4, 4)], LoaderOptions { batch: 1, ..LoaderOptions::default() });
    assert_eq!(loader.next().unwrap().unwrap().indices, [0]);
    drop(loader);
}

#[test]
fn thumbnails_are_small_jpegs() {
    let dir = tree(&[("0.png", &png(300, 40, 1)), ("1.png", &png(20, 30, 2)), ("2.png", &png(1, 1000, 3))]);
    let dataset = Dataset::unlabelled(dir.path()).unwrap();
    let options = LoaderOptions { thumbnails: true, ..LoaderOptions::default() };
    let batch = Loader::new(&dataset.samples, &[], options).next().unwrap().unwrap();
    let sizes: Vec<(usize, usize)> = batch
        .thumbnails
        .iter()
        .map(|bytes| decode_bytes(bytes, "thumbnail", &DecodeOptions::default()).unwrap().image)
        .map(|image| (image.width, image.height))
        .collect();
    assert_eq!(sizes, [(THUMBNAIL_EDGE, 40 * THUMBNAIL_EDGE / 300), (20, 30), (1, THUMBNAIL_EDGE)]);
}

#[test]
fn orientations_and_deep_pictures_are_counted() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/pictures");
    let names = ["exif8.jpg", "exif6.png", "exif1.png", "rgb.png", "grey16.png"];
    let paths: Vec<PathBuf> = names.iter().map(|name| goldens.join(name)).collect();
    let dataset = Dataset::from_paths(&paths, &mut empty()).unwrap();
    let run = |exif| {
        let options = LoaderOptions { batch: 2, decode: DecodeOptions { exif }, ..LoaderOptions::default() };
        let mut loader = Loader::new(&dataset.samples, &[squash(4, 4)], options);
        assert_eq!(loader.by_ref().map(|batch| batch.unwrap().len()).sum::<usize>(), 5);
        loader.notices()
    };
    let ignored = run(false);
    assert_eq!(ignored.len(), 2);
    assert!(ignored[0].starts_with("2 of 5 images have an EXIF orientation"), "{ignored:?}");
    assert!(ignored[1].starts_with("1 of 5 images have 16 bits"), "{ignored:?}");
    assert_eq!(run(true), ignored[1..]);
}
