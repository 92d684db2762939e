//! Arguments that several commands share.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::{FalseyValueParser, OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use heatlens::dataset::{BadImages, Dataset, DatasetOptions};
use heatlens::gpu::{AdapterChoice, DeviceOptions, Power};
use heatlens::models::Classifier;
use heatlens::semantics::{Concepts, RunOptions};
use heatlens::weights::Precision;
use heatlens::{Error, ErrorKind, Observer, Result};

use super::Context;

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Take flags that aren't given from this TOML file (`classifier = "models/resnet18"`); its relative paths start at
    /// the file's folder
    #[arg(long, global = true, value_name = "heatlens.toml")]
    pub(crate) config: Option<PathBuf>,
    /// Use the adapter with this number, or the one whose name contains this text (`heatlens doctor` lists them)
    #[arg(long, global = true, value_name = "IDX|NAME", conflicts_with = "power")]
    pub(crate) adapter: Option<AdapterChoice>,
    /// Prefer an adapter that saves power (an integrated GPU) or a fast one (a discrete GPU, the default)
    #[arg(long, global = true, value_name = "KIND")]
    pub(crate) power: Option<PowerArg>,
    /// How many images (or prompts) a model takes at a time, at most: a number, which is refused if it doesn't fit, or
    /// auto, the largest that fits the adapter's limits and the memory, up to 32 (16 on software adapters)
    #[arg(long, global = true, value_name = "N|auto", default_value = "auto")]
    pub(crate) batch: Batch,
    /// Memory that one model may take, its weights included, in MiB [default: four fifths of what is free; on GPUs with
    /// memory of their own as much as the driver gives]
    #[arg(long, global = true, value_name = "MIB")]
    pub(crate) memory: Option<NonZeroU64>,
    /// How models' matrices and convolutions are held on the GPU: f32, or f16, which halves their memory; sums are f32 in both
    /// [default: f32, or what the bundle or filter was made with]
    #[arg(long, global = true, value_name = "f32|f16")]
    precision: Option<Precision>,
    /// With --precision f16, multiply on the adapter's cooperative matrices (tensor cores) and round what weights are multiplied with to f16 as
    /// well; refused where the adapter lacks them or fails the test that comes first. Bundles and filters that were made so need it
    #[arg(long, global = true, env = "HEATLENS_COOPERATIVE_MATRIX", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    cooperative_matrix: bool,
    /// Keep text embeddings and compiled pipelines in this folder, which bench doesn't use [default: heatlens in the user's folder
    /// for caches]
    #[arg(long, global = true, value_name = "DIR", env = "HEATLENS_CACHE", hide_env_values = true)]
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    cache: Option<PathBuf>,
    /// Neither use nor keep text embeddings and compiled pipelines of other runs, whatever --cache says
    #[arg(long, global = true, env = "HEATLENS_NO_CACHE", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    no_cache: bool,
    /// Choose the GPU's tiles by kind of adapter; otherwise they are measured on it once, in about half a second, and kept in the cache
    #[arg(long, global = true, env = "HEATLENS_NO_TUNE", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    no_tune: bool,
    /// Show neither progress nor notices, errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// How many images a model takes at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Batch {
    /// As many as suit the adapter and fit it.
    Auto,
    /// At most this many.
    Of(NonZeroUsize),
}

impl FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text.parse().map(Self::Of).map_err(|_| "expected a number from 1, or auto".to_owned()),
        }
    }
}

/// The kinds of adapter that `--power` tells apart.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum PowerArg {
    /// An integrated GPU before a discrete one
    Low,
    /// A discrete GPU before an integrated one
    High,
}

impl Global {
    /// How many images a model is to take at a time, if that was said.
    pub(crate) fn batch(&self) -> Option<usize> {
        match self.batch {
            Batch::Auto => None,
            Batch::Of(images) => Some(images.get()),
        }
    }

    /// How models are to be held and multiplied, if that was said.
    pub(crate) fn precision(&self) -> Option<Precision> {
        match self.precision {
            Some(Precision::F16) if self.cooperative_matrix => Some(Precision::F16Matrices),
            given => given,
        }
    }

    /// Refuses a precision that isn't the one `made` was made with: its scores would be compared with others.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] naming `made` and both precisions.
    pub(crate) fn check_precision(&self, made: &Path, precision: Precision) -> Result<()> {
        match self.precision().filter(|asked| *asked != precision) {
            None => Ok(()),
            Some(asked) => {
                let message = format!("{}: made with weights in {precision}, and {asked} is asked for", made.display());
                Err(Error::new(ErrorKind::Mismatch, message)
                    .hint("leave --precision out, or make bundle and filter anew with it"))
            }
        }
    }

    /// The folder that later runs find text embeddings and pipelines in.
    pub(crate) fn cache(&self) -> Option<PathBuf> {
        let usual = || Some(dirs::cache_dir()?.join("heatlens"));
        let given = self.cache.clone().filter(|folder| !folder.as_os_str().is_empty());
        if self.no_cache { None } else { given.or_else(usual) }
    }

    /// Which adapter to open, and how, without a cache.
    pub(crate) fn device_options(&self) -> DeviceOptions {
        let power = self.power.map(|power| match power {
            PowerArg::Low => AdapterChoice::Power(Power::Low),
            PowerArg::High => AdapterChoice::Power(Power::High),
        });
        DeviceOptions {
            adapter: self.adapter.clone().or(power).unwrap_or_default(),
            memory: self.memory.map(|mib| mib.get().saturating_mul(1 << 20)),
            tune: !self.no_tune,
            cooperative_matrix: self.cooperative_matrix,
            ..DeviceOptions::default()
        }
    }
}

/// What commands take that read images.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// What becomes of images that don't decode: fail at the first, or skip and list them
    #[arg(long, value_name = "POLICY", value_enum, default_value = "fail")]
    pub(crate) bad_images: BadImagesArg,
    /// Turn images as their EXIF orientation says; the usual training pipelines don't
    #[arg(long)]
    pub(crate) exif: bool,
}

/// What becomes of images that don't decode.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum BadImagesArg {
    /// The first is the error
    Fail,
    /// They are left out, counted and listed
    Skip,
}

impl ImageArgs {
    /// How the library is to read and run images.
    pub(crate) fn run_options(&self, global: &Global) -> RunOptions {
        let bad_images = match self.bad_images {
            BadImagesArg::Fail => BadImages::Fail,
            BadImagesArg::Skip => BadImages::Skip,
        };
        RunOptions { batch: global.batch(), bad_images, exif: self.exif }
    }
}

/// A share as a flag's value, from 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| "expected a share from 0 to 1, such as 0.05".to_owned())
}

/// A finite number as a flag's value.
pub(crate) fn finite<T: FromStr + Copy + Into<f64>>(text: &str) -> Result<T, String> {
    let value = text.parse::<T>().ok().filter(|&value| value.into().is_finite());
    value.ok_or_else(|| "expected a finite number, such as 0.5".to_owned())
}

/// A folder of attacked images under a name, `NAME=DIR`.
#[derive(Debug, Clone)]
pub(crate) struct Attacked {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl FromStr for Attacked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(Self { name: name.to_owned(), path: path.into() })
            }
            _ => Err("expected NAME=DIR, such as pgd8=attacked/eps8".to_owned()),
        }
    }
}

/// The labelled images at `path`, whose classes are `classes`; says what was left aside.
///
/// # Errors
/// Those of [`Dataset::open`].
pub(crate) fn labelled(path: &Path, classes: &[String], context: &Context) -> Result<Dataset> {
    let dataset = Dataset::open(path, Some(classes), &DatasetOptions::default())?;
    tell(path, &dataset, context);
    Ok(dataset)
}

/// The images at `path`, whatever their labels; says what was left aside.
///
/// # Errors
/// Those of [`Dataset::unlabelled`].
pub(crate) fn unlabelled(path: &Path, context: &Context) -> Result<Dataset> {
    let dataset = Dataset::unlabelled(path)?;
    tell(path, &dataset, context);
    Ok(dataset)
}

/// Each set of attacked images by its name.
///
/// # Errors
/// [`ErrorKind::Usage`] if two sets have the same name, and those of [`labelled`].
pub(crate) fn attacked(sets: &[Attacked], classes: &[String], context: &Context) -> Result<Vec<(String, Dataset)>> {
    for (at, set) in sets.iter().enumerate() {
        if sets[..at].iter().any(|before| before.name == set.name) {
            return Err(Error::new(ErrorKind::Usage, format!("--attacked names `{}` twice", set.name)));
        }
    }
    sets.iter().map(|set| Ok((set.name.clone(), labelled(&set.path, classes, context)?))).collect()
}

fn tell(path: &Path, dataset: &Dataset, context: &Context) {
    for notice in &dataset.notices {
        context.progress.notice(notice);
    }
    if let Some((first, why)) = dataset.ignored.first() {
        let (count, path) = (dataset.ignored.len(), path.display());
        context.progress.notice(&format!("{path}: {count} ignored, the first {} ({why})", first.display()));
    }
}

/// The names of the classes in logit order: those of the list, or else those the model's configuration gives.
///
/// # Errors
/// [`ErrorKind::Mismatch`] naming a list that has more or fewer names than the model has classes; [`ErrorKind::Config`] if
/// there are no names at all.
pub(crate) fn class_names(list: Option<&Path>, classifier: &Classifier, model: &Path) -> Result<Vec<String>> {
    let Some(list) = list else {
        return classifier.class_names().map(<[String]>::to_vec).ok_or_else(|| {
            let message = format!("{}: its configuration doesn't name the classes", model.display());
            Error::new(ErrorKind::Config, message).hint("give them, one a line in logit order, with --classes FILE")
        });
    };
    let names = Concepts::from_file(list)?.names().to_vec();
    let expected = classifier.network().num_classes();
    if names.len() == expected {
        return Ok(names);
    }
    let message = format!("{}: {} classes, but {} has {expected} logits", list.display(), names.len(), model.display());
    Err(Error::new(ErrorKind::Mismatch, message).hint("name every class, one a line in logit order"))
}

/// Names the file that was given beside others in an error that says they don't belong together.
pub(crate) fn name_mismatch(error: Error, file: Option<&Path>) -> Error {
    match file {
        Some(file) if error.kind() == ErrorKind::Mismatch => error.at(file.display()),
        _ => error,
    }
}

/// Fails before the work is done if its result couldn't be written to the file `path`.
///
/// # Errors
/// [`ErrorKind::Io`] naming `path`.
pub(crate) fn check_output(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::new(ErrorKind::Io, format!("{}: is a folder, expected a file", path.display())));
    }
    check_folder_of(path)
}

/// Fails before the work is done if a folder `path` couldn't be made: its parent must be there and writable.
///
/// # Errors
/// [`ErrorKind::Io`] naming `path`.
pub(crate) fn check_output_folder(path: &Path) -> Result<()> {
    if path.exists() && !path.is_dir() {
        return Err(Error::new(ErrorKind::Io, format!("{}: is a file, expected a folder", path.display())));
    }
    check_folder_of(path)
}

fn check_folder_of(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match tempfile::tempfile_in(folder) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(Error::io(path, error).hint(format!("the folder {} must be there and writable", folder.display())))
        }
    }
}
