//! The words: concept lists, class lists, prompt templates, and the directions that prompts turn into.
//!
//! A list has one name a line, `name` or `name: prompt phrase | prompt phrase`. A `#` at the start of a line or after a space
//! begins a comment. A template file has one template a line with `{}` or `{c}` where the phrase goes.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;

/// A list of at least two named concepts (or classes) with the phrases that stand for them in prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concepts {
    names: Vec<String>,
    phrases: Vec<Vec<String>>,
}

impl Concepts {
    /// Reads a concept list.
    ///
    /// # Errors
    /// An unreadable file, and all that [`Concepts::parse`] refuses.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::parse(&read(path)?, &path.display().to_string())
    }

    /// Parses a concept list; `source` is the file's name, for the errors.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] naming the line of a duplicate or empty name or an empty phrase, or if there are fewer than two
    /// concepts: a heatmap compares them.
    pub fn parse(text: &str, source: &str) -> Result<Self> {
        let mut lines = HashMap::new();
        let (mut names, mut phrases) = (Vec::new(), Vec::new());
        for (number, line) in content_lines(text) {
            let fail = |what: String| Error::new(ErrorKind::Data, format!("{source}:{number}: {what}"));
            let (name, list) = line.split_once(':').map_or((line, None), |(name, list)| (name.trim(), Some(list)));
            if name.is_empty() {
                return Err(fail("a name is missing before ':'".into()));
            }
            if let Some(first) = lines.insert(name.to_owned(), number) {
                return Err(fail(format!("'{name}' is already on line {first}, expected each name once")));
            }
            let list: Vec<String> = list.unwrap_or(name).split('|').map(|phrase| phrase.trim().to_owned()).collect();
            if list.iter().any(String::is_empty) {
                return Err(fail(format!("'{name}' has an empty prompt phrase"))
                    .hint("write 'name' alone, or 'name: phrase | phrase'"));
            }
            names.push(name.to_owned());
            phrases.push(list);
        }
        if names.len() < 2 {
            let found = names.len();
            return Err(Error::new(ErrorKind::Data, format!("{source}: found {found} name(s), expected at least 2")));
        }
        Ok(Self { names, phrases })
    }

    /// The list whose phrases are the names themselves, as a model's configuration gives its classes.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for duplicate or empty names or fewer than two; `source` is where the names come from.
    pub fn from_names(names: Vec<String>, source: &str) -> Result<Self> {
        let mut seen = HashMap::new();
        for (index, name) in names.iter().enumerate() {
            if name.trim().is_empty() {
                return Err(Error::new(ErrorKind::Data, format!("{source}: name {index} is empty")));
            }
            if let Some(first) = seen.insert(name, index) {
                let what = format!("{source}: '{name}' is name {first} and name {index}, expected each once");
                return Err(Error::new(ErrorKind::Data, what));
            }
        }
        if names.len() < 2 {
            let found = names.len();
            return Err(Error::new(ErrorKind::Data, format!("{source}: found {found} name(s), expected at least 2")));
        }
        let phrases = names.iter().map(|name| vec![name.clone()]).collect();
        Ok(Self { names, phrases })
    }

    /// The names, in the list's order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How many there are (at least 2).
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// The place of `name` in the list.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] naming the known ones if there is no such name.
    pub fn index_of(&self, name: &str) -> Result<usize> {
        self.names
            .iter()
            .position(|known| known == name)
            .ok_or_else(|| Error::new(ErrorKind::Usage, format!("'{name}' isn't one of: {}", self.names.join(", "))))
    }

    /// The prompts of each concept: every phrase in every template, phrases outermost.
    pub fn prompts(&self, templates: &Templates) -> Vec<Vec<String>> {
        let fill = |list: &Vec<String>| list.iter().flat_map(|phrase| templates.fill(phrase)).collect();
        self.phrases.iter().map(fill).collect()
    }
}

/// Prompt templates, each with a placeholder for the phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates(Vec<String>);

impl Default for Templates {
    /// CLIP's usual `a photo of a {}.`
    fn default() -> Self {
        Self(vec!["a photo of a {}.".to_owned()])
    }
}

impl Templates {
    /// Reads a template file.
    ///
    /// # Errors
    /// An unreadable file, and all that [`Templates::parse`] refuses.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::parse(&read(path)?, &path.display().to_string())
    }

    /// Parses templates, one a line; `source` is the file's name, for the errors.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] naming the line of a template without a placeholder, or if there is no template.
    pub fn parse(text: &str, source: &str) -> Result<Self> {
        let mut templates = Vec::new();
        for (number, line) in content_lines(text) {
            if !line.contains("{}") && !line.contains("{c}") {
                let what = format!("{source}:{number}: '{line}' has no placeholder, expected {{}} or {{c}}");
                return Err(Error::new(ErrorKind::Data, what));
            }
            templates.push(line.to_owned());
        }
        if templates.is_empty() {
            return Err(Error::new(ErrorKind::Data, format!("{source}: found no template, expected at least one")));
        }
        Ok(Self(templates))
    }

    /// Templates that were parsed once.
    pub(super) fn stored(templates: &[String]) -> Self {
        Self(templates.to_vec())
    }

    /// The templates as written.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// `phrase` in every template.
    fn fill<'a>(&'a self, phrase: &'a str) -> impl Iterator<Item = String> + 'a {
        // Split first and join after, so that braces inside the phrase are left alone.
        self.0.iter().map(move |template| template.replace("{c}", "{}").split("{}").collect::<Vec<_>>().join(phrase))
    }
}

/// The prompts of each class: its name in every template.
pub fn class_prompts(names: &[String], templates: &Templates) -> Vec<Vec<String>> {
    names.iter().map(|name| templates.fill(name).collect()).collect()
}

/// The direction of one concept from the text embeddings of its prompts `[prompts, E]`: each is L2-normalised, their mean is
/// L2-normalised again (in f64; the result is rounded to f32 once).
///
/// # Errors
/// [`ErrorKind::Data`] if there is no prompt, or an embedding or the mean is zero or not finite.
pub fn direction(embeddings: &Tensor) -> Result<Vec<f32>> {
    if embeddings.rows() == 0 {
        return Err(Error::new(ErrorKind::Data, "a direction needs at least one prompt, found none"));
    }
    let mut sum = vec![0.0; embeddings.columns()];
    for prompt in 0..embeddings.rows() {
        let row: Vec<f64> = embeddings.row(prompt).iter().map(|&value| f64::from(value)).collect();
        let unit = normalized(&row).ok_or_else(|| {
            Error::new(ErrorKind::Data, format!("the embedding of prompt {prompt} is zero or not finite"))
        })?;
        sum.iter_mut().zip(unit).for_each(|(sum, value)| *sum += value);
    }
    let unit = normalized(&sum).ok_or_else(|| {
        Error::new(ErrorKind::Data, "the prompts' embeddings cancel out: their mean has no direction")
    })?;
    Ok(unit.into_iter().map(|value| value as f32).collect())
}

/// `values` over their L2 norm, or `None` if that is zero or not finite.
fn normalized(values: &[f64]) -> Option<Vec<f64>> {
    let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    // A norm this small comes from cancellation: what is left is rounding, not a direction.
    (norm.is_finite() && norm > 1e-12).then(|| values.iter().map(|value| value / norm).collect())
}

fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        Error::new(ErrorKind::Format, format!("{}: not UTF-8 text", path.display())).caused_by(error)
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The trimmed lines that hold more than a comment, with their numbers from 1.
fn content_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let comment = line
            .char_indices()
            .find(|&(at, c)| c == '#' && line[..at].chars().next_back().is_none_or(char::is_whitespace));
        let line = comment.map_or(line, |(at, _)| &line[..at]).trim();
        (!line.is_empty()).then_some((index + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_names_phrases_and_comments() {
        let text = "# words\nwings\n\n  long-snout : a long snout |a long nose # two phrases\r\nc#\n";
        let concepts = Concepts::parse(text, "list").unwrap();
        assert_eq!(concepts.names(), ["wings", "long-snout", "c#"]);
        let templates = Templates::parse("a photo of a {}.\n{c}, {} again\n", "t").unwrap();
        let prompts = concepts.prompts(&templates);
        assert_eq!(prompts[0], ["a photo of a wings.", "wings, wings again"]);
        assert_eq!(prompts[1].len(), 4);
        assert_eq!(prompts[1][2], "a photo of a a long nose.");
        assert_eq!(concepts.prompts(&Templates::default())[2], ["a photo of a c#."]);
    }

    #[test]
    fn braces_in_a_phrase_stay() {
        let concepts = Concepts::parse("a: {c}\nb", "list").unwrap();
        assert_eq!(concepts.prompts(&Templates::default())[0], ["a photo of a {c}."]);
    }

    #[test]
    fn errors_name_file_and_line() {
        for (text, place) in [
            ("a\nb\na\n", "list:3: 'a' is already on line 1"),
            ("a\nb: x |\n", "list:2: 'b' has an empty prompt phrase"),
            ("a:\nb\n", "list:1: 'a' has an empty prompt phrase"),
            ("a\n: x\n", "list:2: a name is missing"),
            ("# none\nonly", "list: found 1 name(s), expected at least 2"),
            ("", "list: found 0 name(s)"),
        ] {
            let error = Concepts::parse(text, "list").unwrap_err();
            assert!(error.to_string().starts_with(place), "{error}");
            assert_eq!(error.kind(), ErrorKind::Data);
        }
        assert!(Templates::parse("a {}\na photo", "t").unwrap_err().to_string().starts_with("t:2: 'a photo' has no"));
        assert!(Templates::parse("# nothing", "t").is_err());
        assert!(Concepts::from_names(vec!["a".into(), "a".into()], "config.json").is_err());
        assert!(Concepts::from_names(vec!["a".into(), " ".into()], "config.json").is_err());
        assert!(Concepts::from_file("no/such/file").unwrap_err().to_string().starts_with("no/such/file"));
    }

    #[test]
    fn directions_are_unit_means_of_unit_prompts() {
        let direction = direction(&Tensor::new([2, 2], vec![3.0, 0.0, 0.0, 0.5])).unwrap();
        let half = std::f32::consts::FRAC_1_SQRT_2;
        assert_eq!(direction, [half, half], "the longer prompt must not weigh more");
    }

    #[test]
    fn directions_without_a_meaning_are_errors() {
        for values in
            [[0.0, 0.0, 1.0, 0.0], [1.0, 0.0, -1.0, 0.0], [f32::NAN, 0.0, 1.0, 0.0], [f32::INFINITY, 0.0, 1.0, 0.0]]
        {
            assert!(direction(&Tensor::new([2, 2], values.to_vec())).is_err(), "{values:?}");
        }
        assert!(direction(&Tensor::new([0, 2], Vec::new())).is_err());
    }
}
