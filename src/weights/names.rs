//! Which tensor names look most like one that is missing.

/// Up to three of `names`, those with the fewest edits from `wanted` first.
pub(super) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ranked: Vec<_> = names.map(|name| (strsim::levenshtein(wanted, name), name)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(3).map(|(_, name)| name).collect()
}

/// The names in backquotes, with commas between them.
pub(crate) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_come_first() {
        let names = ["bn1.weight", "conv1.weight", "conv2.weight", "head.weight"];
        assert_eq!(nearest("conv3.weight", names.into_iter())[..2], ["conv1.weight", "conv2.weight"]);
        assert!(nearest("conv3.weight", std::iter::empty()).is_empty());
    }
}
