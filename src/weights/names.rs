//! Which tensor names look most like one that is missing.

/// Up to three of `names`, those with the fewest edits from `wanted` first.
pub(super) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ranked: Vec<_> = names.map(|name| (edits(wanted, name), name)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(3).map(|(_, name)| name).collect()
}

/// The names in backquotes, with commas between them.
pub(crate) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The Levenshtein distance of two names, in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", ""), 3);
        assert_eq!(edits("conv1.weight", "conv1.weight"), 0);
    }

    #[test]
    fn nearest_names_come_first() {
        let names = ["bn1.weight", "conv1.weight", "conv2.weight", "head.weight"];
        assert_eq!(nearest("conv3.weight", names.into_iter())[..2], ["conv1.weight", "conv2.weight"]);
        assert!(nearest("conv3.weight", std::iter::empty()).is_empty());
    }
}
