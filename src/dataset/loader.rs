//! The pool that reads, decodes and resizes pictures ahead of the GPU.

use std::io::Cursor;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;

use super::{ContentHash, Sample};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{DecodeOptions, Filter, Preprocess, Rgb8, decode_bytes, resize};

/// The longest edge of a thumbnail, in pixels.
pub const THUMBNAIL_EDGE: usize = 96;
const THUMBNAIL_QUALITY: u8 = 85;
/// Batches that may wait for the consumer, beside the one being made.
const PREFETCH: usize = 2;

/// What becomes of pictures that don't decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BadImages {
    /// The first of them, in the order of the samples, is the error.
    #[default]
    Fail,
    /// They are left out and listed.
    Skip,
}

/// How pictures are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Samples in a batch, at least 1.
    pub batch: usize,
    /// What becomes of pictures that don't decode.
    pub bad_images: BadImages,
    /// How pictures are decoded.
    pub decode: DecodeOptions,
    /// Make thumbnails too.
    pub thumbnails: bool,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        Self { batch: 32, bad_images: BadImages::Fail, decode: DecodeOptions::default(), thumbnails: false }
    }
}

/// Consecutive samples, decoded. Where bad pictures are skipped, a batch may be shorter than asked, but is never empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Which samples these are, ascending.
    pub indices: Vec<usize>,
    /// For each preprocessing, the pixels of all samples, u8 `[samples, height, width, 3]`.
    pub pixels: Vec<Vec<u8>>,
    /// For each sample, the hash of its file.
    pub hashes: Vec<ContentHash>,
    /// For each sample, if asked for, a JPEG of at most [`THUMBNAIL_EDGE`] pixels.
    pub thumbnails: Vec<Vec<u8>>,
}

impl Batch {
    /// The number of samples.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// A picture that was left out.
#[derive(Debug)]
pub struct Skipped {
    /// Which sample it is.
    pub index: usize,
    /// Its path, for printing.
    pub path: String,
    /// Why.
    pub error: Error,
}

/// The batches of a list of samples, in their order, decoded by all processors while the consumer works on earlier ones.
/// What comes out doesn't depend on the number of threads.
///
/// After the first error there are no further batches.
pub struct Loader {
    /// None once all batches are out or the loader is being dropped.
    receiver: Option<Receiver<Decoded>>,
    worker: Option<JoinHandle<()>>,
    bad_images: BadImages,
    seen: usize,
    skipped: Vec<Skipped>,
    orientation_ignored: usize,
    deep: usize,
}

/// A batch with what the consumer's side counts.
struct Decoded {
    batch: Batch,
    failed: Vec<Skipped>,
    seen: usize,
    orientation_ignored: usize,
    deep: usize,
}

impl Loader {
    /// Starts to decode `samples`, once each, and to make of each the input of every one of `preprocess`.
    pub fn new(samples: &[Sample], preprocess: &[Preprocess], options: LoaderOptions) -> Self {
        let (sender, receiver) = sync_channel(PREFETCH);
        let (samples, preprocess) = (samples.to_vec(), preprocess.to_vec());
        let worker = thread::spawn(move || produce(&samples, &preprocess, options, &sender));
        Self {
            receiver: Some(receiver),
            worker: Some(worker),
            bad_images: options.bad_images,
            seen: 0,
            skipped: Vec::new(),
            orientation_ignored: 0,
            deep: 0,
        }
    }

    /// The pictures left out so far, in the order of the samples: those before the last batch's last sample, and after
    /// the last batch all of them.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// What the user should know about the pictures so far; complete after the last batch.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        let Self { seen, orientation_ignored, deep, .. } = self;
        if *orientation_ignored > 0 {
            notices.push(format!(
                "{orientation_ignored} of {seen} images have an EXIF orientation, which is ignored (--exif follows it)"
            ));
        }
        if *deep > 0 {
            notices
                .push(format!("{deep} of {seen} images have 16 bits per channel and were reduced to 8 as Pillow does"));
        }
        if !self.skipped.is_empty() {
            notices.push(format!("{} of {seen} images don't decode and were skipped", self.skipped.len()));
        }
        notices
    }

    /// Stops the worker, once nothing waits for it any more.
    fn stop(&mut self) {
        self.receiver = None;
        if let Some(Err(panic)) = self.worker.take().map(JoinHandle::join) {
            // A bug in a decoder mustn't pass for the end of the data.
            std::panic::resume_unwind(panic);
        }
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        loop {
            let Ok(Decoded { batch, mut failed, seen, orientation_ignored, deep }) = self.receiver.as_ref()?.recv()
            else {
                self.stop();
                return None;
            };
            self.seen += seen;
            self.orientation_ignored += orientation_ignored;
            self.deep += deep;
            if self.bad_images == BadImages::Fail && !failed.is_empty() {
                self.stop();
                return Some(Err(failed.swap_remove(0).error));
            }
            self.skipped.append(&mut failed);
            if !batch.is_empty() {
                return Some(Ok(batch));
            }
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.receiver = None;
        if let Some(worker) = self.worker.take() {
            // A panic of the worker can't be passed on from here, and whoever drops the loader early doesn't want more.
            let _ = worker.join();
        }
    }
}

/// One picture's share of a batch.
struct Loaded {
    inputs: Vec<Rgb8>,
    hash: ContentHash,
    thumbnail: Option<Vec<u8>>,
    orientation_ignored: bool,
    deep: bool,
}

fn produce(samples: &[Sample], preprocess: &[Preprocess], options: LoaderOptions, sender: &SyncSender<Decoded>) {
    let size = options.batch.max(1);
    for (number, chunk) in samples.chunks(size).enumerate() {
        let loaded: Vec<Result<Loaded>> = chunk.par_iter().map(|sample| load(sample, preprocess, &options)).collect();
        let mut decoded = Decoded {
            batch: Batch { pixels: vec![Vec::new(); preprocess.len()], ..Batch::default() },
            failed: Vec::new(),
            seen: chunk.len(),
            orientation_ignored: 0,
            deep: 0,
        };
        for ((index, sample), loaded) in (number * size..).zip(chunk).zip(loaded) {
            match loaded {
                Ok(loaded) => decoded.add(index, loaded),
                Err(error) => decoded.failed.push(Skipped { index, path: sample.path.clone(), error }),
            }
        }
        // Nobody listens any more once the loader was dropped or met its error.
        if sender.send(decoded).is_err() {
            return;
        }
    }
}

impl Decoded {
    fn add(&mut self, index: usize, loaded: Loaded) {
        self.batch.indices.push(index);
        for (pixels, input) in self.batch.pixels.iter_mut().zip(&loaded.inputs) {
            pixels.extend_from_slice(&input.data);
        }
        self.batch.hashes.push(loaded.hash);
        self.batch.thumbnails.extend(loaded.thumbnail);
        self.orientation_ignored += usize::from(loaded.orientation_ignored);
        self.deep += usize::from(loaded.deep);
    }
}

fn load(sample: &Sample, preprocess: &[Preprocess], options: &LoaderOptions) -> Result<Loaded> {
    let bytes = sample.read()?;
    let hash = ContentHash::of(&bytes);
    let decoded = decode_bytes(&bytes, &sample.path, &options.decode)?;
    let image = &decoded.image;
    Ok(Loaded {
        inputs: preprocess.iter().map(|preprocess| preprocess.apply(image)).collect(),
        hash,
        thumbnail: options.thumbnails.then(|| thumbnail(image, &sample.path)).transpose()?,
        orientation_ignored: decoded.orientation_ignored,
        deep: decoded.deep,
    })
}

/// A small JPEG of `image`, never larger than the image itself.
fn thumbnail(image: &Rgb8, path: &str) -> Result<Vec<u8>> {
    let longest = image.width.max(image.height);
    let shrink = |edge: usize| if longest <= THUMBNAIL_EDGE { edge } else { (edge * THUMBNAIL_EDGE / longest).max(1) };
    let small = resize(image, shrink(image.width), shrink(image.height), Filter::Bilinear);
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(Cursor::new(&mut bytes), THUMBNAIL_QUALITY)
        .encode(&small.data, small.width as u32, small.height as u32, ExtendedColorType::Rgb8)
        .map_err(|e| Error::new(ErrorKind::Image, format!("{path}: no thumbnail can be made")).caused_by(e))?;
    Ok(bytes)
}
