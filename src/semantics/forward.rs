//! Running recorded models over images and prompts, batch by batch.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use super::check_finite;
use super::journal::Journal;
use super::text_cache::TextCache;
use crate::dataset::{BadImages, Batch, ContentHash, Loader, LoaderOptions, Sample};
use crate::error::{ErrorKind, Result};
use crate::gpu::{Device, Executable, Input, Outputs, Run};
use crate::image::{DecodeOptions, Preprocess};
use crate::kernels::Element;
use crate::models::Clip;
use crate::plan::{Plan, Var};
use crate::progress::{Observer, step};
use crate::tensor::Tensor;

/// How images are read and run.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Images a batch, at most; none = as many as suit the adapter and fit it.
    pub batch: Option<usize>,
    /// What becomes of images that don't decode.
    pub bad_images: BadImages,
    /// Whether EXIF orientations are followed.
    pub exif: bool,
}

/// A recorded computation on images.
pub(crate) struct Pass<'a> {
    /// What the observer is told.
    pub(crate) stage: &'a str,
    /// One input of pixels for each.
    pub(crate) preprocess: &'a [&'a Preprocess],
    /// Records the models on the pixels of each preprocessing and names the outputs.
    pub(crate) record: &'a dyn Fn(&mut Plan, &[Var]),
    /// Whether thumbnails are made.
    pub(crate) thumbnails: bool,
    /// Where finished batches are kept until the whole pass is done.
    pub(crate) journal: Option<&'a Journal>,
}

/// What a pass brought back, row by row in the order of the samples.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collected {
    /// Which samples the rows are.
    pub(crate) indices: Vec<usize>,
    /// The content hash of each row's file.
    pub(crate) hashes: Vec<ContentHash>,
    /// The thumbnail of each row, if asked for.
    pub(crate) thumbnails: Vec<Vec<u8>>,
    /// Outputs of floats, `[rows, channels]`.
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// Outputs of integers, one a row.
    pub(crate) integers: BTreeMap<String, Vec<u32>>,
    /// Paths of the images left out, and why.
    pub(crate) skipped: Vec<(String, String)>,
    /// What the user should know.
    pub(crate) notices: Vec<String>,
    /// Dispatches of each kernel over all batches.
    pub(crate) dispatches: BTreeMap<String, u64>,
}

impl Collected {
    /// Takes an output of floats out.
    ///
    /// # Panics
    /// If the pass has no such output.
    pub(crate) fn take(&mut self, name: &str) -> Tensor {
        self.tensors.remove(name).unwrap_or_else(|| panic!("the pass has no output `{name}`"))
    }

    /// Takes an output of integers out.
    ///
    /// # Panics
    /// If the pass has no such output.
    pub(crate) fn take_integers(&mut self, name: &str) -> Vec<u32> {
        self.integers.remove(name).unwrap_or_else(|| panic!("the pass has no output `{name}`"))
    }

    /// Appends the rows of `other`.
    pub(crate) fn append(&mut self, other: Self) {
        self.indices.extend(other.indices);
        self.hashes.extend(other.hashes);
        self.thumbnails.extend(other.thumbnails);
        for (name, tensor) in other.tensors {
            let rows = self.tensors.remove(&name).unwrap_or_else(|| Tensor::zeros([0, tensor.columns()]));
            let shape = [rows.rows() + tensor.rows(), tensor.columns()];
            let mut data = rows.into_data();
            data.extend(tensor.into_data());
            self.tensors.insert(name, Tensor::new(shape, data));
        }
        for (name, values) in other.integers {
            self.integers.entry(name).or_default().extend(values);
        }
        add_dispatches(&mut self.dispatches, &other.dispatches);
    }
}

/// Adds each kernel's dispatches to those that there are.
pub(super) fn add_dispatches(sum: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (kernel, count) in more {
        *sum.entry(kernel.clone()).or_default() += count;
    }
}

/// Runs a pass over `samples`.
///
/// # Errors
/// Those of the loader, the device and the observer; [`ErrorKind::Data`] naming the image whose outputs aren't finite.
pub(crate) fn run_images(
    device: &Device,
    pass: &Pass<'_>,
    samples: &[Sample],
    options: &RunOptions,
    observer: &dyn Observer,
) -> Result<Collected> {
    let mut all = pass.journal.map_or_else(|| Ok(Collected::default()), Journal::resume)?;
    let mut is_done = vec![false; samples.len()];
    all.indices.iter().for_each(|&index| is_done[index] = true);
    let left: Vec<usize> = (0..samples.len()).filter(|&index| !is_done[index]).collect();
    if left.is_empty() {
        sort_rows(&mut all);
        return Ok(all);
    }
    let compiled = Compiled::new(device, pass, left.len(), options)?;
    compiled.run(samples, &left, &mut all, observer)?;
    sort_rows(&mut all);
    Ok(all)
}

/// A pass compiled for one size of batch.
pub(crate) struct Compiled<'a> {
    pass: &'a Pass<'a>,
    options: RunOptions,
    plan: Plan,
    executable: Executable,
}

impl<'a> Compiled<'a> {
    /// Compiled for the batch that `options` ask for, at most for `rows` images.
    ///
    /// # Errors
    /// Those of [`Plan::fitting`] and [`Device::compile`].
    pub(crate) fn new(device: &Device, pass: &'a Pass<'a>, rows: usize, options: &RunOptions) -> Result<Self> {
        let record = |batch| {
            let mut plan = Plan::new(batch);
            let input = |(i, p): (usize, &&Preprocess)| plan.input_pixels(&pixels_name(i), p.height, p.width);
            let pixels: Vec<Var> = pass.preprocess.iter().enumerate().map(input).collect();
            (pass.record)(&mut plan, &pixels);
            plan
        };
        let (plan, executable) = compile_fitting(device, options.batch, rows, record)?;
        Ok(Self { pass, options: *options, plan, executable })
    }

    /// Images of one run.
    pub(crate) fn batch(&self) -> usize {
        self.plan.batch()
    }

    /// Starts to decode `samples` for this pass.
    pub(crate) fn loader(&self, samples: &[Sample]) -> Loader {
        let options = LoaderOptions {
            batch: self.plan.batch(),
            bad_images: self.options.bad_images,
            decode: DecodeOptions { exif: self.options.exif },
            thumbnails: self.pass.thumbnails,
        };
        let preprocess: Vec<Preprocess> = self.pass.preprocess.iter().map(|&p| p.clone()).collect();
        Loader::new(samples, &preprocess, options)
    }

    /// Runs over those of `samples` that are `left`, ascending, and appends their rows to `all`: while a batch runs, the
    /// loader decodes the next ones.
    ///
    /// # Errors
    /// As [`run_images`].
    pub(crate) fn run(
        &self,
        samples: &[Sample],
        left: &[usize],
        all: &mut Collected,
        observer: &dyn Observer,
    ) -> Result<()> {
        let waiting: Vec<Sample> = left.iter().map(|&index| samples[index].clone()).collect();
        let loader = RefCell::new(self.loader(&waiting));
        step(observer, self.pass.stage, all.indices.len(), samples.len())?;
        let batches = std::iter::from_fn(|| {
            let mut batch = loader.borrow_mut().next()?;
            if let Ok(batch) = &mut batch {
                batch.indices.iter_mut().for_each(|index| *index = left[*index]);
            }
            Some(batch)
        });
        self.run_batches(samples, batches, |rows| {
            if let Some(journal) = self.pass.journal {
                journal.keep(&rows)?;
            }
            all.append(rows);
            let skipped = loader.borrow().skipped().len();
            step(observer, self.pass.stage, all.indices.len() + skipped, samples.len())
        })?;
        let loader = loader.into_inner();
        all.skipped =
            loader.skipped().iter().map(|skipped| (skipped.path.clone(), skipped.error.to_string())).collect();
        all.notices = loader.notices();
        Ok(())
    }

    /// Runs batches, whose indices are those of `samples`, and hands `each` their rows in order: the next batch is uploaded and
    /// submitted before the results of one are waited for, so that the GPU needn't wait for the host.
    ///
    /// # Errors
    /// Those of `batches`, `each` and the device; [`ErrorKind::Data`] naming the image whose outputs aren't finite. What was submitted
    /// before an error of `batches` is handed over first; after another error the batch in flight is dropped.
    pub(crate) fn run_batches(
        &self,
        samples: &[Sample],
        batches: impl Iterator<Item = Result<Batch>>,
        mut each: impl FnMut(Collected) -> Result<()>,
    ) -> Result<()> {
        let mut before: Option<(Batch, Run<'_>)> = None;
        for batch in batches {
            let started = batch.and_then(|batch| self.start(batch));
            if let Some((batch, run)) = before.take() {
                each(self.collect(samples, batch, &run.wait()?)?)?;
            }
            before = Some(started?);
        }
        match before {
            Some((batch, run)) => each(self.collect(samples, batch, &run.wait()?)?),
            None => Ok(()),
        }
    }

    /// Uploads and submits a batch, whose pixels aren't needed any more then.
    fn start(&self, mut batch: Batch) -> Result<(Batch, Run<'_>)> {
        let Self { pass, plan, executable, .. } = self;
        let mut pixels = std::mem::take(&mut batch.pixels);
        for (pixels, preprocess) in pixels.iter_mut().zip(pass.preprocess) {
            // The last batch may be short: the rows past its end are computed on black and dropped.
            pixels.resize(plan.batch() * preprocess.height * preprocess.width * 3, 0);
        }
        let names: Vec<String> = (0..pass.preprocess.len()).map(pixels_name).collect();
        let inputs: Vec<(&str, Input<'_>)> =
            names.iter().zip(&pixels).map(|(name, pixels)| (name.as_str(), Input::Bytes(pixels))).collect();
        Ok((batch, executable.start(&inputs)?))
    }

    /// The rows of a batch from its outputs.
    fn collect(&self, samples: &[Sample], batch: Batch, outputs: &Outputs) -> Result<Collected> {
        let plan = &self.plan;
        let rows = batch.len();
        let paths: Vec<String> = batch.indices.iter().map(|&index| samples[index].path.clone()).collect();
        let mut collected = Collected { indices: batch.indices, hashes: batch.hashes, ..Collected::default() };
        collected.thumbnails = batch.thumbnails;
        for (name, var) in plan.outputs() {
            if plan.value(*var).element == Element::U32 {
                collected.integers.insert(name.clone(), outputs.integers(name)[..rows].to_vec());
            } else {
                let tensor = outputs.tensor(name);
                let columns = tensor.columns();
                let mut data = tensor.into_data();
                data.truncate(rows * columns);
                let tensor = Tensor::new([rows, columns], data);
                check_finite(&tensor, name, &paths)?;
                collected.tensors.insert(name.clone(), tensor);
            }
        }
        collected.dispatches = plan.dispatch_counts().into_iter().map(|(k, n)| (k.to_owned(), n as u64)).collect();
        Ok(collected)
    }
}

/// Resumed batches may lie behind later ones: puts the rows into the order of the samples.
fn sort_rows(all: &mut Collected) {
    if all.indices.is_sorted() {
        return;
    }
    let mut order: Vec<usize> = (0..all.indices.len()).collect();
    order.sort_by_key(|&row| all.indices[row]);
    let pick = |values: &[u32]| order.iter().map(|&row| values[row]).collect::<Vec<_>>();
    all.integers.values_mut().for_each(|values| *values = pick(values));
    all.tensors.values_mut().for_each(|tensor| *tensor = tensor.select_rows(&order));
    all.hashes = order.iter().map(|&row| all.hashes[row]).collect();
    if !all.thumbnails.is_empty() {
        all.thumbnails = order.iter().map(|&row| std::mem::take(&mut all.thumbnails[row])).collect();
    }
    all.indices.sort_unstable();
}

fn pixels_name(number: usize) -> String {
    format!("pixels {number}")
}

/// How many images (or prompts) a model takes at a time where nobody says otherwise and they fit: more aren't any faster.
pub fn usual_batch(device: &Device) -> usize {
    if device.profile().is_software() { 16 } else { 32 }
}

/// Compiles a plan for `batch` rows at a time, or, where none is asked for, for the largest batch up to the adapter's
/// usual one that fits its limits and memory.
///
/// # Errors
/// Those of [`Plan::fitting`] and [`Device::compile`].
pub(crate) fn compile_fitting(
    device: &Device,
    batch: Option<usize>,
    rows: usize,
    record: impl Fn(usize) -> Plan,
) -> Result<(Plan, Executable)> {
    let usual = usual_batch(device).min(rows);
    let record = |rows| record(rows).lowered(device.target());
    let mut plan = Plan::fitting(batch.map(|batch| batch.min(rows)), usual, &device.limits(), record)?;
    loop {
        match device.compile(&plan) {
            // How much memory hardware has shows only when there is none left.
            Err(error) if error.kind() == ErrorKind::Limit && batch.is_none() && plan.batch() > 1 => {
                plan = record(plan.batch() / 2);
            }
            result => return result.map(|executable| (plan, executable)),
        }
    }
}

/// Embeds prompts with CLIP's text tower: `[prompts, E]`, un-normalised, and how many prompts were truncated. Each prompt runs once,
/// and not at all where an earlier run's embedding is in the device's [`cache`](Device::cache).
///
/// # Errors
/// Those of the tokenizer, the device and the observer.
pub fn embed_texts(
    device: &Device,
    clip: &Clip,
    prompts: &[String],
    batch: Option<usize>,
    observer: &dyn Observer,
) -> Result<(Tensor, usize)> {
    const STAGE: &str = "embedding prompts";
    let context = clip.text().context();
    let mut tokens = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        tokens.push(clip.tokenizer().encode(prompt, context)?);
    }
    let truncated = tokens.iter().filter(|tokens| tokens.truncated).count();
    let keys: Vec<ContentHash> = tokens.iter().map(|tokens| TextCache::key(&tokens.ids)).collect();
    let record = |batch| {
        let mut plan = Plan::new(batch);
        let ids = plan.input_indices("ids", context);
        let embeddings = clip.text().record(&mut plan, ids);
        plan.output("embeddings", embeddings);
        plan
    };
    let mut cache = TextCache::open(device, clip, || record(1), observer);
    let mut rows: HashMap<ContentHash, Vec<f32>> = HashMap::new();
    let mut missing = Vec::new();
    for (key, tokens) in keys.iter().zip(&tokens) {
        if !rows.contains_key(key) {
            let kept = cache.as_ref().and_then(|cache| cache.row(key));
            missing.extend(kept.is_none().then_some((*key, &tokens.ids[..])));
            rows.insert(*key, kept.unwrap_or_default().to_vec());
        }
    }
    if !missing.is_empty() {
        let (plan, executable) = compile_fitting(device, batch, missing.len(), record)?;
        let size = plan.batch();
        for (number, chunk) in missing.chunks(size).enumerate() {
            step(observer, STAGE, number * size, missing.len())?;
            // The last batch may be short: it is filled up with its first prompt.
            let filling = std::iter::repeat_n(&chunk[0], size - chunk.len());
            let ids: Vec<u32> = chunk.iter().chain(filling).flat_map(|(_, ids)| *ids).copied().collect();
            let embeddings = executable.run(&[("ids", Input::U32(&ids))])?.tensor("embeddings");
            for (row, (key, _)) in chunk.iter().enumerate() {
                rows.insert(*key, embeddings.row(row).to_vec());
            }
        }
    }
    step(observer, STAGE, missing.len(), missing.len())?;
    let data = keys.iter().flat_map(|key| &rows[key]).copied().collect();
    let embeddings = Tensor::new([prompts.len(), clip.text().embedding_dim()], data);
    check_finite(&embeddings, "text embeddings", prompts)?;
    if let Some(mut cache) = cache.take() {
        missing.iter().for_each(|(key, _)| cache.insert(*key, &rows[key]));
        if let Err(error) = cache.save(&keys) {
            observer.notice(&format!("text embeddings weren't kept: {error}"));
        }
    }
    Ok((embeddings, truncated))
}

/// The directions of several words, each the normalised mean of its normalised prompts: `[words, E]`, and how many
/// prompts were truncated.
///
/// # Errors
/// As [`embed_texts`], or if a direction is zero.
pub(crate) fn text_directions(
    device: &Device,
    clip: &Clip,
    prompts: &[Vec<String>],
    batch: Option<usize>,
    observer: &dyn Observer,
) -> Result<(Tensor, usize)> {
    let flat: Vec<String> = prompts.concat();
    let (embeddings, truncated) = embed_texts(device, clip, &flat, batch, observer)?;
    let mut directions = Vec::with_capacity(prompts.len() * embeddings.columns());
    let mut first = 0;
    for prompts in prompts {
        let rows: Vec<usize> = (first..first + prompts.len()).collect();
        directions.extend(super::direction(&embeddings.select_rows(&rows)).map_err(|e| e.at(&prompts[0]))?);
        first += prompts.len();
    }
    Ok((Tensor::new([prompts.len(), embeddings.columns()], directions), truncated))
}
