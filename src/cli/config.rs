//! The project file: flags that needn't be typed each time.
//!
//! Its keys are the flags' long names; what a command writes with `-o` is named after what it is, so that one command's
//! output is the next one's input. A table gives a key another value in each command. Relative paths start at the file's
//! folder.
//!
//! ```toml
//! classifier = "models/resnet18"
//! clip = "models/clip"
//! aligner = "out/aligner.safetensors"   # align -o, build --aligner
//! bundle = "out/bundle"                 # build -o, and what show, localize, … read
//!
//! [images]
//! align = "photos/align"
//! build = "photos/build"
//! ```
//!
//! The values become the defaults of clap's arguments, so flags override them and all checks are clap's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, ValueHint};
use heatlens::weights::is_model_name;
use heatlens::{Error, ErrorKind, Result};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The arguments that take a model's name in the Hugging Face cache as well as a path.
const MODELS: [&str; 3] = ["model", "classifier", "clip"];

/// A project file that was read: what it says, and where.
#[derive(Debug)]
pub(crate) struct Config {
    path: PathBuf,
    settings: Vec<Setting>,
}

/// One value for one key.
#[derive(Debug)]
struct Setting {
    key: String,
    /// The command whose value this is; every one's if there is none.
    command: Option<String>,
    value: Value,
    line: usize,
}

#[derive(Debug, Clone)]
enum Value {
    Flag(bool),
    One(String),
    Many(Vec<String>),
}

/// The `--config` among the program's arguments, found before all others are understood because it gives their defaults.
pub(crate) fn path_in(args: &[OsString]) -> Option<PathBuf> {
    let args = || args.iter().take_while(|arg| *arg != "--");
    let joined = |arg: &OsString| arg.to_str()?.strip_prefix("--config=").map(PathBuf::from);
    args()
        .zip(args().skip(1))
        .find(|(arg, _)| *arg == "--config")
        .map(|(_, path)| path.into())
        .or_else(|| args().find_map(joined))
}

impl Config {
    /// Reads a project file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it can't be read; [`ErrorKind::Config`] naming the line of what isn't TOML or can't be a value.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let place = Place { path, text: &text };
        let table = DeTable::parse(&text).map_err(|e| place.error(e.span().map_or(0, |s| s.start), e.message()))?;
        let mut settings = Vec::new();
        for (key, value) in table.get_ref() {
            let name = key.get_ref().as_ref();
            let DeValue::Table(by_command) = value.get_ref() else {
                settings.push(place.setting(name, None, key.span().start, value)?);
                continue;
            };
            for (command, value) in by_command {
                let start = command.span().start;
                settings.push(place.setting(name, Some(command.get_ref().as_ref()), start, value)?);
            }
        }
        // Values of one command count more than those of all, and clap keeps the last default.
        settings.sort_by_key(|setting| setting.command.is_some());
        Ok(Self { path: path.to_owned(), settings })
    }

    /// `program` with the file's values as its arguments' defaults.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the line of a key that is no argument's or a value of another type.
    pub(crate) fn apply(&self, mut program: Command) -> Result<Command> {
        for setting in &self.settings {
            let known = self.apply_one(&mut program, setting, 0)?;
            if !known {
                return Err(self.unknown(&program, setting));
            }
        }
        Ok(program)
    }

    /// The error of a key that no argument has.
    fn unknown(&self, program: &Command, setting: &Setting) -> Error {
        let Setting { key, command, .. } = setting;
        let mut keys = keys(program);
        keys.sort();
        keys.dedup();
        let what = match command {
            Some(command) if keys.contains(key) => format!("`{command}` is no command that takes `{key}`"),
            _ => format!("unknown key `{key}`"),
        };
        self.error(setting.line, &what).hint(format!("the keys are {}", keys.join(", ")))
    }

    /// Gives `setting` to every argument of its name in `command` and the commands under it; tells whether there is one.
    fn apply_one(&self, command: &mut Command, setting: &Setting, depth: usize) -> Result<bool> {
        let mut known = false;
        // The program's own arguments are every command's; a table names commands, which stand directly under the program.
        if depth > 0 || setting.command.is_none() {
            let ids = command.get_arguments().filter(|arg| key_of(arg) == setting.key).map(|arg| arg.get_id().clone());
            for id in ids.collect::<Vec<_>>() {
                let mut failed = None;
                let taken = std::mem::take(command);
                *command = taken.mut_arg(id, |arg| {
                    self.with_default(arg.clone(), setting).unwrap_or_else(|error| {
                        failed = Some(error);
                        arg
                    })
                });
                known = true;
                if let Some(error) = failed {
                    return Err(error);
                }
            }
        }
        for sub in command.get_subcommands_mut() {
            if depth > 0 || setting.command.as_deref().is_none_or(|name| name == sub.get_name()) {
                known |= self.apply_one(sub, setting, depth + 1)?;
            }
        }
        Ok(known)
    }

    fn with_default(&self, arg: Arg, setting: &Setting) -> Result<Arg> {
        let expected = |what: &str| {
            self.error(setting.line, &format!("`{}` takes {what}, found {}", setting.key, setting.value.describe()))
        };
        let takes_many = matches!(arg.get_action(), ArgAction::Append)
            || arg.get_num_args().is_some_and(|range| range.max_values() > 1);
        let resolve = |value: &String| self.resolve(&arg, value);
        match (&setting.value, arg.get_action()) {
            (Value::Flag(flag), ArgAction::SetTrue) => Ok(arg.default_value(flag.to_string())),
            (_, ArgAction::SetTrue) => Err(expected("true or false")),
            (Value::Flag(_), _) => Err(expected("a value")),
            (Value::One(value), _) => {
                let value = resolve(value);
                Ok(arg.required(false).default_value(value))
            }
            (Value::Many(values), _) if takes_many => {
                let values: Vec<OsString> = values.iter().map(resolve).collect();
                Ok(arg.required(false).default_values(values))
            }
            (Value::Many(_), _) => Err(expected("one value")),
        }
    }

    /// `value` with the file's folder before it if it is a relative path (`NAME=PATH` where the argument is of that form),
    /// not the name of a model.
    fn resolve(&self, arg: &Arg, value: &str) -> OsString {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        match arg.get_value_hint() {
            ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath if value != "-" => {
                let path = folder.join(value);
                let is_name = MODELS.iter().any(|id| arg.get_id() == id) && is_model_name(value) && !path.exists();
                if is_name { value.into() } else { path.into_os_string() }
            }
            _ if arg.get_id() == "attacked" => match value.split_once('=') {
                Some((name, path)) => {
                    let mut resolved = OsString::from(format!("{name}="));
                    resolved.push(folder.join(path));
                    resolved
                }
                None => value.into(),
            },
            _ => value.into(),
        }
    }

    /// Where the file sets the value that clap refused with `error`, if it's the file's.
    pub(crate) fn origin(&self, error: &clap::Error) -> Option<String> {
        use clap::error::{ContextKind, ContextValue};
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.as_str()),
            _ => None,
        };
        let (arg, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
        let says = |setting: &&Setting| match &setting.value {
            Value::Flag(_) => false,
            Value::One(found) => value == found,
            Value::Many(found) => found.iter().any(|found| value == found),
        };
        let named = |setting: &&Setting| arg.starts_with(&format!("--{} ", setting.key));
        let setting = self.settings.iter().filter(named).find(says)?;
        Some(format!("{}:{}", self.path.display(), setting.line))
    }

    fn error(&self, line: usize, message: &str) -> Error {
        Error::new(ErrorKind::Config, format!("{}:{line}: {message}", self.path.display()))
    }
}

impl Value {
    fn describe(&self) -> String {
        match self {
            Self::Flag(flag) => flag.to_string(),
            Self::One(value) => format!("{value:?}"),
            Self::Many(values) => format!("a list of {}", values.len()),
        }
    }
}

/// An argument's key: the name of what it is, which is its long flag except for outputs.
fn key_of(arg: &Arg) -> String {
    arg.get_id().as_str().replace('_', "-")
}

/// Every key that `command` and those under it know.
fn keys(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter(|arg| arg.get_id() != "config").map(key_of);
    own.chain(command.get_subcommands().flat_map(keys)).collect()
}

/// A file's text, for values and the lines of errors.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn line(&self, offset: usize) -> usize {
        self.text[..offset].matches('\n').count() + 1
    }

    fn error(&self, offset: usize, message: &str) -> Error {
        Error::new(ErrorKind::Config, format!("{}:{}: {message}", self.path.display(), self.line(offset)))
    }

    fn setting(&self, key: &str, command: Option<&str>, start: usize, value: &Spanned<DeValue<'_>>) -> Result<Setting> {
        let scalar = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(number) => Ok(number.to_string()),
            DeValue::Float(number) => Ok(number.to_string()),
            other => {
                let message = format!("`{key}` can't be a {}, expected text or a number", other.type_str());
                Err(self.error(value.span().start, &message))
            }
        };
        let value = match value.get_ref() {
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Array(list) => Value::Many(list.iter().map(scalar).collect::<Result<_>>()?),
            _ => Value::One(scalar(value)?),
        };
        Ok(Setting { key: key.to_owned(), command: command.map(str::to_owned), value, line: self.line(start) })
    }
}
