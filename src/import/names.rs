//! Names of layers, from which the weights' keys follow: `<name>.weight`, `<name>.bias` and so on.
//!
//! An initialiser that is called `<name>.weight` keeps its name: the layer takes `<name>`. Others cannot, and
//! the layer takes the path of its node, as PyTorch writes it (`/layer1/layer1.0/conv1/Conv`), or what is left
//! of the initialiser's name without its ending, or its word and a number.

use super::network::{Network, Unit};
use std::collections::BTreeSet;

/// The longest name that is taken from a file.
const MAX_NAME: usize = 200;

/// Endings of initialisers that hold a layer's weight.
const ENDINGS: [&str; 15] = [
    "/ReadVariableOp:0",
    "/ReadVariableOp",
    ":0",
    "_weight",
    ".kernel",
    "/kernel",
    "_w_0",
    ".w",
    "_w",
    "_scale_0",
    "_s_0",
    ".gamma",
    "/gamma",
    "_scale",
    "/weight",
];

/// A layer's full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: String,
    /// Whether the initialiser has it in the file, so that it must stay.
    pub(super) kept: bool,
}

/// The names of the units that have weights.
pub(super) fn names(network: &Network) -> Vec<Option<Name>> {
    let mut taken = BTreeSet::new();
    let mut names: Vec<Option<Name>> = vec![None; network.units.len()];
    let weighted = |unit: &Unit| !unit.weights.is_empty();
    // Names that must stay come first.
    for (unit, name) in network.units.iter().zip(&mut names).filter(|(unit, _)| weighted(unit)) {
        if let Some(text) = kept(unit)
            && taken.insert(text.clone())
        {
            *name = Some(Name { text, kept: true });
        }
    }
    for (unit, name) in network.units.iter().zip(&mut names).filter(|(unit, _)| weighted(unit)) {
        if name.is_none() {
            *name = Some(Name { text: free(unit, &mut taken), kept: false });
        }
    }
    names
}

/// The name that the weight's initialiser gives.
fn kept(unit: &Unit) -> Option<String> {
    let base = unit.weight("weight")?.name.strip_suffix(".weight")?;
    is_name(base).then(|| base.to_owned())
}

/// Whether the language takes it as a layer's name, and writes it as it is.
fn is_name(text: &str) -> bool {
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '"' | '{' | '}' | '\\');
    text.len() <= MAX_NAME && !text.contains(odd) && !text.split('.').any(str::is_empty)
}

/// A name that is not taken yet.
fn free(unit: &Unit, taken: &mut BTreeSet<String>) -> String {
    let wanted =
        path(&unit.origin).or_else(|| base(&unit.weight("weight")?.name)).filter(|name| is_name(name));
    if let Some(name) = &wanted
        && taken.insert(name.clone())
    {
        return name.clone();
    }
    let stem = wanted.map_or_else(|| word(unit).to_owned(), |name| format!("{name}_"));
    let mut number = if stem.ends_with('_') { 1 } else { 0 };
    loop {
        number += 1;
        let name = format!("{stem}{number}");
        if taken.insert(name.clone()) {
            return name;
        }
    }
}

/// A short word for a kind of layer with weights.
pub(super) fn word(unit: &Unit) -> &'static str {
    match unit.layer.kind() {
        "linear" => "fc",
        "batch_norm" => "bn",
        kind => kind,
    }
}

/// The module's path in the name that PyTorch gives a node: `/layer1/layer1.0/conv1/Conv`.
fn path(origin: &str) -> Option<String> {
    let mut parts: Vec<&str> = origin.strip_prefix('/')?.split('/').filter(|p| !p.is_empty()).collect();
    parts.pop()?;
    let mut out: Vec<&str> = Vec::new();
    for part in parts {
        // A list of modules is named again by each of its modules.
        match out.last_mut() {
            Some(last) if part.strip_prefix(*last).is_some_and(|rest| rest.starts_with('.')) => *last = part,
            _ => out.push(part),
        }
    }
    (!out.is_empty()).then(|| clean(&out.join(".")))
}

/// An initialiser's name without its ending; none if it says nothing.
fn base(name: &str) -> Option<String> {
    let mut base = name;
    while let Some(shorter) = ENDINGS.iter().find_map(|ending| base.strip_suffix(ending)) {
        base = shorter;
    }
    let base = base.strip_suffix(".weight").unwrap_or(base);
    let numbered = base.trim_end_matches(|c: char| c.is_ascii_digit());
    let generic = base.contains("::")
        || (numbered != base
            && matches!(
                numbered,
                "" | "val_" | "mul_" | "add_" | "const_" | "constant_" | "node_" | "r" | "n"
            ));
    (!base.is_empty() && !generic).then(|| clean(base))
}

/// With dots for slashes, and without what a name cannot have.
fn clean(text: &str) -> String {
    let dotted: String = text
        .chars()
        .map(|c| {
            if c == '/' {
                '.'
            } else if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    dotted.split('.').filter(|p| !p.is_empty()).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::{base, path};

    #[test]
    fn paths_are_those_of_modules() {
        assert_eq!(path("/layer1/layer1.0/conv1/Conv").as_deref(), Some("layer1.0.conv1"));
        assert_eq!(path("/conv1/Conv").as_deref(), Some("conv1"));
        assert_eq!(
            path("/features/features.3/conv/conv.0/conv.0.0/Conv").as_deref(),
            Some("features.3.conv.0.0")
        );
        assert_eq!(path("/Conv"), None);
        assert_eq!(path("node_Conv_3"), None);
    }

    #[test]
    fn initialisers_lose_their_endings() {
        assert_eq!(base("gpu_0/res2_0_branch2a_w_0").as_deref(), Some("gpu_0.res2_0_branch2a"));
        assert_eq!(base("model/conv2d_1/Conv2D/ReadVariableOp:0").as_deref(), Some("model.conv2d_1.Conv2D"));
        assert_eq!(base("onnx::Conv_208"), None);
        assert_eq!(base("mul_4"), None);
        assert_eq!(base("17"), None);
    }
}
