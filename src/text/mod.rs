//! CLIP's tokenizer: text to the ids that a text tower reads.
//!
//! The work is done by Hugging Face's own `tokenizers` library, so ids equal those of transformers' `CLIPTokenizer`:
//! NFC, whitespace runs to one space, lower case, a split into words, numerals and punctuation, and byte-level BPE with
//! `</w>` at the end of a word. As there, and unlike in OpenAI's first release, text isn't mended (ftfy) and HTML
//! entities stay what they are.

mod files;

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// A CLIP tokenizer with the vocabulary of one model.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    start: u32,
    end: u32,
    pad: u32,
}

/// The ids of one text, as long as the model's context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIds {
    /// Start token, the text's tokens, end token, then padding.
    pub ids: Vec<u32>,
    /// Tokens of the text didn't fit and were left out.
    pub truncated: bool,
}

impl Tokenizer {
    /// The tokenizer of the model in `dir`: `tokenizer.json`, or else `vocab.json` with `merges.txt`; the names of its
    /// special tokens from `tokenizer_config.json` or `special_tokens_map.json`, or else CLIP's own.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if `dir` has neither form, [`ErrorKind::Format`] naming a file that's malformed.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let names = files::SpecialNames::read(dir)?;
        let (mut inner, path) = files::read(dir, &names)?;
        let failed = |message: String| Error::new(ErrorKind::Format, format!("{}: {message}", path.display()));
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| failed("its truncation can't be changed".to_owned()).caused_by(e))?;
        // What the file's post-processor puts around a text is what it puts around the empty one.
        let around =
            inner.encode_fast("", true).map_err(|e| failed("can't encode the empty text".to_owned()).caused_by(e))?;
        let [start, end] = around.get_ids()[..] else {
            let found = around.get_tokens();
            return Err(failed(format!("puts {found:?} around a text, expected a start and an end token")));
        };
        let pad = match &names.pad {
            Some(name) => {
                inner.token_to_id(name).ok_or_else(|| failed(format!("has no token {name:?}, the padding token")))?
            }
            None => end,
        };
        Ok(Self { inner, start, end, pad })
    }

    /// The ids of `text`, exactly `context` of them: start, the text's tokens, end, padding. A text that's too long
    /// loses its last tokens, never the end token, as in transformers and open_clip.
    ///
    /// The padding is transformers': CLIP's own padding token is the end token, open_clip pads with 0. The choice never
    /// reaches the result, because the tower is causal and pools at the *first* end token.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if `context` can't hold start and end, [`ErrorKind::Format`] if the vocabulary can't express
    /// the text.
    pub fn encode(&self, text: &str, context: usize) -> Result<TokenIds> {
        if context < 2 {
            return Err(Error::new(
                ErrorKind::Config,
                format!("a context of {context} tokens can't hold start and end"),
            ));
        }
        let failed =
            |e: tokenizers::Error| Error::new(ErrorKind::Format, format!("{text:?} can't be tokenized")).caused_by(e);
        let encoding = self.inner.encode_fast(text, false).map_err(failed)?;
        let tokens = encoding.get_ids();
        let kept = tokens.len().min(context - 2);
        let mut ids = Vec::with_capacity(context);
        ids.push(self.start);
        ids.extend_from_slice(&tokens[..kept]);
        ids.push(self.end);
        ids.resize(context, self.pad);
        Ok(TokenIds { ids, truncated: kept < tokens.len() })
    }

    /// The id that begins every text.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// The id that ends every text; the text tower pools at its first occurrence.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// One more than the largest id: the least number of rows of the model's token embedding.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
    }
}
