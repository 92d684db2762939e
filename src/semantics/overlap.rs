//! Images that were used before: those that something was made from may not be what it is judged by.

use std::collections::HashSet;

use crate::dataset::ContentHash;
use crate::error::{Error, ErrorKind, Result};

/// An image that a command was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Given<'a> {
    /// Its path.
    pub(crate) path: &'a str,
    /// Its own hash.
    pub(crate) hash: ContentHash,
    /// The hash of the image that it was made from by an attack, where a record tells it.
    pub(crate) original: Option<ContentHash>,
}

impl Given<'_> {
    /// By what it is known again: itself, and the image that it was made from.
    pub(crate) fn contents(&self) -> impl Iterator<Item = ContentHash> + use<> {
        std::iter::once(self.hash).chain(self.original)
    }
}

/// Images that were used before, and whether they may be used again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used<'a> {
    /// What for, as the beginning of a sentence: `the aligner was fitted on`.
    pub(crate) what: &'a str,
    /// Their hashes.
    pub(crate) images: &'a HashSet<ContentHash>,
    /// Whether an overlap is told and not refused.
    pub(crate) is_allowed: bool,
}

impl Used<'_> {
    /// Refuses images of which some, or the originals of some, were used before; where that is allowed, tells `note`. Attacked images
    /// are those of the set `attack`.
    ///
    /// # Errors
    /// [`ErrorKind::Overlap`] naming one of them.
    pub(crate) fn refuse(&self, given: &[Given<'_>], attack: Option<&str>, note: &mut dyn FnMut(String)) -> Result<()> {
        let is_used = |image: &&Given<'_>| image.contents().any(|content| self.images.contains(&content));
        let used: Vec<&Given<'_>> = given.iter().filter(is_used).collect();
        // Whatever the order of the images.
        let Some(first) = used.iter().min_by_key(|image| image.hash) else { return Ok(()) };
        let whose = attack.map_or("images".to_owned(), |set| format!("attacked images of `{set}` or their originals"));
        let Self { what, is_allowed, .. } = self;
        let message = format!("{what} {} of these {} {whose}, {} is one", used.len(), given.len(), first.path);
        if *is_allowed {
            note(format!("overlap allowed: {message}"));
            return Ok(());
        }
        Err(Error::new(ErrorKind::Overlap, message)
            .hint("use images of another split, or --allow-overlap, which marks every output"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_again_by_itself_and_by_its_original() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|content| ContentHash::of(content));
        let given =
            [Given { path: "a.png", hash: a, original: None }, Given { path: "b.png", hash: b, original: Some(c) }];
        let refused = |images: &[ContentHash], is_allowed: bool| {
            let (images, mut notes) = (images.iter().copied().collect(), Vec::new());
            let used = Used { what: "the aligner was fitted on", images: &images, is_allowed };
            let result = used.refuse(&given, Some("pgd8"), &mut |note| notes.push(note));
            (result.err().map(|error| error.to_string()), notes)
        };
        let message = |what: &str| format!("the aligner was fitted on {what} is one");
        assert_eq!(refused(&[], false), (None, Vec::new()));
        let one = message("1 of these 2 attacked images of `pgd8` or their originals, b.png");
        assert_eq!(refused(&[b], false).0.as_ref(), Some(&one));
        assert_eq!(refused(&[c], false).0.as_ref(), Some(&one));
        assert_eq!(refused(&[c], true), (None, vec![format!("overlap allowed: {one}")]));
        let least = if a < b { "a.png" } else { "b.png" };
        let both = message(&format!("2 of these 2 attacked images of `pgd8` or their originals, {least}"));
        assert_eq!(refused(&[a, c], false).0, Some(both));
    }
}
