//! JSON configuration files, read by path with errors that name the file and the key.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// One JSON file of a model, such as `config.json`.
///
/// Keys are dotted paths (`vision_config.hidden_size`). A key that is absent or null is `None`; one of another type than
/// asked for is an error.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    name: String,
    value: Value,
}

impl Config {
    /// Parses `text`; `name` stands for the file in errors.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the text isn't a JSON object.
    pub fn parse(name: impl Into<String>, text: &str) -> Result<Self> {
        let name = name.into();
        let invalid = || Error::new(ErrorKind::Config, format!("{name}: not a JSON object"));
        let value: Value = serde_json::from_str(text).map_err(|e| invalid().caused_by(e))?;
        if !value.is_object() {
            return Err(invalid());
        }
        Ok(Self { name, value })
    }

    /// Reads a JSON file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it can't be read, [`ErrorKind::Config`] if it isn't a JSON object.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        Self::parse(path.display().to_string(), &text)
    }

    /// What stands for the file in errors: its path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole object.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value at a dotted path.
    pub fn get(&self, path: &str) -> Option<&Value> {
        let found = path.split('.').try_fold(&self.value, |value, key| value.get(key))?;
        (!found.is_null()).then_some(found)
    }

    /// A whole number that isn't negative.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the value is something else.
    pub fn integer(&self, path: &str) -> Result<Option<usize>> {
        self.typed(path, "a whole number", |value| value.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    /// A number.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the value is something else.
    pub fn number(&self, path: &str) -> Result<Option<f64>> {
        self.typed(path, "a number", Value::as_f64)
    }

    /// A text.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the value is something else.
    pub fn text(&self, path: &str) -> Result<Option<&str>> {
        self.typed(path, "a text", Value::as_str)
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the value is something else.
    pub fn flag(&self, path: &str) -> Result<Option<bool>> {
        self.typed(path, "true or false", Value::as_bool)
    }

    /// An [`ErrorKind::Config`] error about the value at `path`.
    pub(crate) fn error(&self, path: &str, message: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Config, format!("{}: `{path}` {message}", self.name))
    }

    fn typed<'a, T>(&'a self, path: &str, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(path) else { return Ok(None) };
        let wrong = || self.error(path, format!("is {value}; {expected} was expected"));
        read(value).map(Some).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_path() {
        let config =
            Config::parse("config.json", r#"{"a": {"b": 12, "c": "x", "d": null, "e": -1.5, "f": true}}"#).unwrap();
        assert_eq!(config.integer("a.b").unwrap(), Some(12));
        assert_eq!(config.text("a.c").unwrap(), Some("x"));
        assert_eq!(config.number("a.e").unwrap(), Some(-1.5));
        assert_eq!(config.flag("a.f").unwrap(), Some(true));
        assert_eq!(config.integer("a.d").unwrap(), None);
        assert_eq!(config.integer("b.a").unwrap(), None);
    }

    #[test]
    fn wrong_types_name_the_file_and_the_key() {
        let config = Config::parse("dir/config.json", r#"{"a": {"b": "twelve"}}"#).unwrap();
        let error = config.integer("a.b").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.to_string(), "dir/config.json: `a.b` is \"twelve\"; a whole number was expected");
    }

    #[test]
    fn broken_json_names_the_file() {
        for text in ["", "{", "[1, 2]", "12"] {
            let error = Config::parse("config.json", text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().starts_with("config.json: not a JSON object"), "{error}");
        }
    }
}
