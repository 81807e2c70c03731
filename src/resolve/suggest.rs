//! Names in messages: clipped to a readable length, and the nearest known one for a name that is not
//! known.

/// The longest name that is shown or compared.
const MAX_SHOWN: usize = 80;

/// How many names are compared.
const MAX_COMPARED: usize = 4096;

/// A name in backquotes, clipped.
pub(super) fn quoted(name: &str) -> String {
    let clipped: String = name.chars().take(MAX_SHOWN).collect();
    let dots = if clipped.len() < name.len() { "..." } else { "" };
    format!("`{}{dots}`", clipped.escape_debug())
}

/// The candidate nearest to `name`, if it is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.len() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= MAX_SHOWN && name.len() <= MAX_SHOWN && *candidate != name)
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= allowed)
        .take(MAX_COMPARED)
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `did you mean ...?`, or what there is to choose from.
pub(super) fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>, kind: &str) -> String {
    let mut known: Vec<&str> = candidates.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    if let Some(near) = nearest(name, known.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    if known.is_empty() {
        return "nothing is declared before".to_owned();
    }
    let more = if known.len() > 12 { ", ..." } else { "" };
    let listed: Vec<_> = known.iter().take(12).map(|name| quoted(name)).collect();
    format!("{kind}: {}{more}", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::{hint, nearest, quoted};

    #[test]
    fn the_nearest_name_wins_and_far_ones_are_not_guessed() {
        assert_eq!(nearest("rleu", ["relu", "relu6", "conv"]), Some("relu"));
        assert_eq!(nearest("elephant", ["relu", "conv"]), None);
        assert_eq!(hint("k", [], "names"), "nothing is declared before");
    }

    #[test]
    fn long_names_are_clipped() {
        assert_eq!(quoted(&"a".repeat(100)).len(), 85);
    }
}
