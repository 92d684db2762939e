//! The text of checks: words and signs, and the formulas that they form.

use std::fmt;

use super::formula::Formula;
use super::{Bound, Check, Name, Scope};
use crate::error::{Error, ErrorKind, Result};

/// Words that mean something on their own; a concept or class of such a name is put in quotes.
const KEYWORDS: [&str; 14] = [
    "check",
    "for",
    "all",
    "class",
    "predicted",
    "at",
    "least",
    "most",
    "and",
    "or",
    "not",
    "implies",
    "predict",
    "hasCon",
];

/// Formulas within formulas, so that no text overflows the stack.
const DEEPEST: usize = 100;

/// Reads the checks in `text`; `source` is the file's name, for the errors.
///
/// # Errors
/// [`ErrorKind::Data`] naming line and column, what is there and what was expected.
pub(super) fn parse(text: &str, source: &str) -> Result<Vec<Check>> {
    let tokens = tokens(text, source)?;
    let mut parser = Parser { source, text, tokens: &tokens, at: 0, depth: 0 };
    let mut checks: Vec<Check> = Vec::new();
    while parser.peek().sign != Sign::End {
        let check = parser.check()?;
        if let Some(before) = checks.iter().find(|before| before.name.text == check.name.text) {
            let message = format!("check `{}` is already on line {}", check.name.text, before.name.line);
            return Err(check.name.error(source, &message));
        }
        checks.push(check);
    }
    if checks.is_empty() {
        return Err(Error::new(ErrorKind::Data, format!("{source}: no check"))
            .hint("write one, such as: check wings for class plane: wings > horns at least 95 %"));
    }
    Ok(checks)
}

impl Name {
    /// An error at this name.
    pub(super) fn error(&self, source: &str, message: &str) -> Error {
        located(source, self.line, self.column, message)
    }
}

fn located(source: &str, line: usize, column: usize, message: &str) -> Error {
    Error::new(ErrorKind::Data, format!("{source}:{line}:{column}: {message}"))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Sign {
    /// A keyword, a bare name or a number.
    Word(String),
    /// A name in quotes.
    Quoted(String),
    /// One of `> < ( ) , : %`.
    Mark(char),
    /// The end of the text.
    End,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) if KEYWORDS.contains(&word.as_str()) => write!(f, "the keyword `{word}`"),
            Self::Word(word) => write!(f, "`{word}`"),
            Self::Quoted(name) => write!(f, "\"{name}\""),
            Self::Mark(mark) => write!(f, "`{mark}`"),
            Self::End => f.write_str("the end of the file"),
        }
    }
}

#[derive(Debug, Clone)]
struct Token {
    sign: Sign,
    line: usize,
    column: usize,
    /// The bytes of the text that it takes.
    begin: usize,
    end: usize,
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn tokens(text: &str, source: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    for (index, whole) in text.split_inclusive('\n').enumerate() {
        let line = index + 1;
        let start = whole.as_ptr() as usize - text.as_ptr() as usize;
        let mut rest = whole.char_indices().peekable();
        let column = |at: usize| whole[..at].chars().count() + 1;
        while let Some((at, c)) = rest.next() {
            let mut end = at + c.len_utf8();
            let sign = match c {
                '#' => break,
                c if c.is_whitespace() || (c == '\u{feff}' && start + at == 0) => continue,
                '>' | '<' | '(' | ')' | ',' | ':' | '%' => Sign::Mark(c),
                '"' => {
                    let close = whole[end..].find('"').map(|found| end + found);
                    let close = close.ok_or_else(|| {
                        located(source, line, column(at), "the quotes of this name aren't closed on its line")
                    })?;
                    let name = &whole[end..close];
                    end = close + 1;
                    Sign::Quoted(name.to_owned())
                }
                c if is_word(c) => {
                    end = whole[at..].find(|c: char| !is_word(c)).map_or(whole.len(), |found| at + found);
                    Sign::Word(whole[at..end].to_owned())
                }
                c => {
                    let message = format!("unexpected character {c:?}");
                    return Err(
                        located(source, line, column(at), &message).hint("put a name with such characters in quotes")
                    );
                }
            };
            while rest.next_if(|(next, _)| *next < end).is_some() {}
            tokens.push(Token { sign, line, column: column(at), begin: start + at, end: start + end });
        }
    }
    let (line, column) = text.split('\n').enumerate().last().map_or((1, 1), |(i, l)| (i + 1, l.chars().count() + 1));
    tokens.push(Token { sign: Sign::End, line, column, begin: text.len(), end: text.len() });
    Ok(tokens)
}

struct Parser<'a> {
    source: &'a str,
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        // The last token is the end, which nothing takes.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    /// Takes the next token if it is this keyword.
    fn takes(&mut self, keyword: &str) -> bool {
        let found = matches!(&self.peek().sign, Sign::Word(word) if word == keyword);
        self.at += usize::from(found);
        found
    }

    /// Takes the next token if it is this mark.
    fn takes_mark(&mut self, mark: char) -> bool {
        let found = self.peek().sign == Sign::Mark(mark);
        self.at += usize::from(found);
        found
    }

    fn expected<T>(&self, what: &str) -> Result<T> {
        let Token { sign, line, column, .. } = self.peek();
        Err(located(self.source, *line, *column, &format!("found {sign}, expected {what}")))
    }

    fn keyword(&mut self, keyword: &str) -> Result<()> {
        if self.takes(keyword) { Ok(()) } else { self.expected(&format!("`{keyword}`")) }
    }

    fn mark(&mut self, mark: char) -> Result<()> {
        if self.takes_mark(mark) { Ok(()) } else { self.expected(&format!("`{mark}`")) }
    }

    fn name(&mut self, what: &str) -> Result<Name> {
        let Token { sign, line, column, .. } = self.peek().clone();
        let text = match sign {
            Sign::Word(word) if !KEYWORDS.contains(&word.as_str()) => word,
            Sign::Quoted(name) if !name.trim().is_empty() => name,
            Sign::Word(word) => {
                return self
                    .expected(what)
                    .map_err(|e| e.hint(format!("if it is a name, put it in quotes: \"{word}\"")));
            }
            _ => return self.expected(what),
        };
        self.at += 1;
        Ok(Name { text, line, column })
    }

    fn names(&mut self, what: &str) -> Result<Vec<Name>> {
        let mut names = vec![self.name(what)?];
        while self.takes_mark(',') {
            names.push(self.name(what)?);
        }
        Ok(names)
    }

    fn check(&mut self) -> Result<Check> {
        self.keyword("check")?;
        let name = self.name("the name of a check")?;
        self.keyword("for")?;
        let scope = if self.takes("all") {
            Scope::All
        } else if self.takes("class") {
            Scope::Class(self.names("a class")?)
        } else if self.takes("predicted") {
            Scope::Predicted(self.names("a class")?)
        } else {
            return self.expected("`all`, `class` or `predicted`");
        };
        self.mark(':')?;
        let first = self.at;
        let formula = self.implication()?;
        let text = self.written(&self.tokens[first..self.at]);
        Ok(Check { name, scope, formula, text, bound: self.bound()? })
    }

    /// Tokens as they were written, with a space in place of each gap.
    fn written(&self, tokens: &[Token]) -> String {
        let mut text = String::new();
        for (at, token) in tokens.iter().enumerate() {
            if at > 0 && tokens[at - 1].end < token.begin {
                text.push(' ');
            }
            text += &self.text[token.begin..token.end];
        }
        text
    }

    fn bound(&mut self) -> Result<Bound> {
        if !self.takes("at") {
            return self.expected("`and`, `or`, `implies` or a bound such as `at least 95 %`");
        }
        let is_least = self.takes("least");
        if !is_least && !self.takes("most") {
            return self.expected("`least` or `most`");
        }
        let number = match &self.peek().sign {
            // Read as a share at once, so that 52.9 % is the number next to 529/1000, which 529 of 1000 images give.
            Sign::Word(word) => format!("{word}e-2").parse().ok().filter(|share| (0.0..=1.0).contains(share)),
            _ => None,
        };
        let Some(share): Option<f64> = number else { return self.expected("a number from 0 to 100") };
        self.at += 1;
        self.mark('%')?;
        Ok(if is_least { Bound::AtLeast(share) } else { Bound::AtMost(share) })
    }

    /// `a implies b implies c` is `a implies (b implies c)`.
    fn implication(&mut self) -> Result<Formula<Name>> {
        self.nested(|parser| {
            let premise = parser.disjunction()?;
            if !parser.takes("implies") {
                return Ok(premise);
            }
            Ok(Formula::Implies(Box::new(premise), Box::new(parser.implication()?)))
        })
    }

    fn disjunction(&mut self) -> Result<Formula<Name>> {
        let mut parts = vec![self.conjunction()?];
        while self.takes("or") {
            parts.push(self.conjunction()?);
        }
        Ok(single_or(parts, Formula::Or))
    }

    fn conjunction(&mut self) -> Result<Formula<Name>> {
        let mut parts = vec![self.negation()?];
        while self.takes("and") {
            parts.push(self.negation()?);
        }
        Ok(single_or(parts, Formula::And))
    }

    fn negation(&mut self) -> Result<Formula<Name>> {
        self.nested(|parser| match parser.takes("not") {
            true => Ok(Formula::Not(Box::new(parser.negation()?))),
            false => parser.atom(),
        })
    }

    fn atom(&mut self) -> Result<Formula<Name>> {
        if self.takes_mark('(') {
            let formula = self.implication()?;
            self.mark(')')?;
            return Ok(formula);
        }
        for (keyword, what) in [("predict", "a class"), ("hasCon", "a concept")] {
            if self.takes(keyword) {
                self.mark('(')?;
                let name = self.name(what)?;
                self.mark(')')?;
                return Ok(if keyword == "predict" { Formula::Predict(name) } else { Formula::HasConcept(name) });
            }
        }
        let first = self.name("a formula, such as `wings > horns`")?;
        if self.takes_mark('>') {
            Ok(Formula::Stronger(first, self.name("a concept")?))
        } else if self.takes_mark('<') {
            Ok(Formula::Stronger(self.name("a concept")?, first))
        } else {
            self.expected("`>` or `<` and another concept")
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<Formula<Name>>) -> Result<Formula<Name>> {
        if self.depth >= DEEPEST {
            return self.expected(&format!("formulas nested at most {} deep", DEEPEST / 2));
        }
        self.depth += 1;
        let formula = read(self);
        self.depth -= 1;
        formula
    }
}

/// The only part as it is, or all of them in one formula.
fn single_or(mut parts: Vec<Formula<Name>>, join: fn(Vec<Formula<Name>>) -> Formula<Name>) -> Formula<Name> {
    if parts.len() > 1 { join(parts) } else { parts.remove(0) }
}
