//! Full names of layers: block names joined by dots, then the layer's own name.
//!
//! A name that the file does not give is the word of the layer with a counter in its scope, and never
//! one that is given elsewhere; so names are settled after the whole network is known. Two layers with
//! weights must not share a name, since they would share the weights. Layers without weights may be
//! given one name twice; the later ones get `_2`, `_3`.

use std::collections::{BTreeMap, BTreeSet};

/// The own name of a layer or of a block call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// As the file says.
    Given(String),
    /// This word and a counter.
    Counted(String),
}

/// A place where names are unique: the model (0) or a call of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope(usize);

impl Scope {
    /// The model itself.
    pub(super) const MODEL: Self = Self(0);
}

/// A scope in its parent, or a layer in its scope, in the order of creation.
struct Entry {
    parent: Scope,
    part: Part,
    /// The scope that it opens; a layer opens none but may have weights.
    opens: Option<Scope>,
    weighted: bool,
}

/// The names of a model while it is expanded.
pub(super) struct Names {
    entries: Vec<Entry>,
    /// How long the path of each scope is, about, the model's first.
    lengths: Vec<usize>,
}

impl Default for Names {
    fn default() -> Self {
        Self { entries: Vec::new(), lengths: vec![0] }
    }
}

/// What [`Names::settle`] gives.
pub(super) struct Settled {
    /// Of each layer in the order of [`Names::layer`]: its full name and the path of its block.
    pub(super) layers: Vec<(String, Option<String>)>,
    /// Pairs of layers with weights (by order) that have one name, the earlier first.
    pub(super) clashes: Vec<(usize, usize)>,
}

impl Names {
    /// Opens a scope in `parent`.
    pub(super) fn scope(&mut self, parent: Scope, part: Part) -> Scope {
        let (Part::Given(own) | Part::Counted(own)) = &part;
        let opens = Scope(self.lengths.len());
        self.lengths.push(self.lengths[parent.0] + own.len() + 1);
        self.entries.push(Entry { parent, part, opens: Some(opens), weighted: false });
        opens
    }

    /// How many scopes there are beside the model's.
    pub(super) fn scopes(&self) -> usize {
        self.lengths.len() - 1
    }

    /// The length of a scope's path in bytes, without counters.
    pub(super) fn length(&self, scope: Scope) -> usize {
        self.lengths[scope.0]
    }

    /// Adds a layer in `parent`.
    pub(super) fn layer(&mut self, parent: Scope, part: Part, weighted: bool) {
        self.entries.push(Entry { parent, part, opens: None, weighted });
    }

    /// Gives every layer its full name. Scopes come before what stands in them.
    pub(super) fn settle(&self) -> Settled {
        let mut taken = self.given();
        let mut prefixes: Vec<Option<String>> = vec![None; self.lengths.len()];
        let mut counters: BTreeMap<(String, &str), usize> = BTreeMap::new();
        let mut full: Vec<(String, Option<String>, bool)> = Vec::new();
        for entry in &self.entries {
            let prefix = prefixes[entry.parent.0].clone();
            let name = match &entry.part {
                Part::Given(own) => joined(prefix.as_deref(), own),
                Part::Counted(word) => {
                    let key = (prefix.clone().unwrap_or_default(), word.as_str());
                    let counter = counters.entry(key).or_default();
                    loop {
                        *counter += 1;
                        let name = joined(prefix.as_deref(), &format!("{word}{counter}"));
                        if taken.insert(name.clone()) {
                            break name;
                        }
                    }
                }
            };
            match entry.opens {
                Some(scope) => prefixes[scope.0] = Some(name),
                None => full.push((name, prefix, entry.weighted)),
            }
        }
        unique(full)
    }

    /// Every name that the file gives in full, with every path that leads to it.
    fn given(&self) -> BTreeSet<String> {
        let mut prefixes: Vec<Option<Option<String>>> = vec![None; self.lengths.len()];
        prefixes[0] = Some(None);
        let mut given = BTreeSet::new();
        for entry in &self.entries {
            let (Part::Given(own), Some(prefix)) = (&entry.part, prefixes[entry.parent.0].clone()) else {
                continue;
            };
            let name = joined(prefix.as_deref(), own);
            given.extend(name.match_indices('.').map(|(at, _)| name[..at].to_owned()));
            given.insert(name.clone());
            if let Some(scope) = entry.opens {
                prefixes[scope.0] = Some(Some(name));
            }
        }
        given
    }
}

fn joined(prefix: Option<&str>, own: &str) -> String {
    prefix.map_or_else(|| own.to_owned(), |prefix| format!("{prefix}.{own}"))
}

/// Finds clashes of layers with weights and makes the names of the others unique.
fn unique(full: Vec<(String, Option<String>, bool)>) -> Settled {
    let mut owner: BTreeMap<String, usize> = BTreeMap::new();
    let mut clashes = Vec::new();
    for (index, (name, _, _)) in full.iter().enumerate().filter(|(_, (_, _, weighted))| *weighted) {
        match owner.get(name) {
            Some(&first) => clashes.push((first, index)),
            None => {
                owner.insert(name.clone(), index);
            }
        }
    }
    let mut taken: BTreeSet<String> = full.iter().map(|(name, _, _)| name.clone()).collect();
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    let layers = full
        .into_iter()
        .enumerate()
        .map(|(index, (name, prefix, weighted))| {
            if weighted || *owner.entry(name.clone()).or_insert(index) == index {
                return (name, prefix);
            }
            let copy = copies.entry(name.clone()).or_insert(1);
            loop {
                *copy += 1;
                let renamed = format!("{name}_{copy}");
                if taken.insert(renamed.clone()) {
                    return (renamed, prefix);
                }
            }
        })
        .collect();
    Settled { layers, clashes }
}

#[cfg(test)]
mod tests {
    use super::{Names, Part, Scope};

    fn given(name: &str) -> Part {
        Part::Given(name.to_owned())
    }

    fn counted(word: &str) -> Part {
        Part::Counted(word.to_owned())
    }

    #[test]
    fn counters_avoid_names_that_are_given_later() {
        let mut names = Names::default();
        names.layer(Scope::MODEL, counted("conv"), true);
        let block = names.scope(Scope::MODEL, counted("basic"));
        names.layer(block, given("conv1"), true);
        names.layer(Scope::MODEL, given("conv1"), true);
        names.layer(Scope::MODEL, given("basic1.conv1"), true);
        let settled = names.settle();
        let full: Vec<_> = settled.layers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(full, ["conv2", "basic2.conv1", "conv1", "basic1.conv1"]);
        assert!(settled.clashes.is_empty());
        assert_eq!(settled.layers[1].1.as_deref(), Some("basic2"));
    }

    #[test]
    fn words_that_end_in_digits_do_not_run_into_counters() {
        let mut names = Names::default();
        for word in ["b1", "b", "b", "b", "b", "b", "b", "b", "b", "b", "b", "b"] {
            let block = names.scope(Scope::MODEL, counted(word));
            names.layer(block, given("conv"), true);
        }
        let settled = names.settle();
        assert!(settled.clashes.is_empty());
        assert_eq!(settled.layers[0].0, "b11.conv");
        assert_eq!(settled.layers[11].0, "b12.conv");
    }

    #[test]
    fn two_calls_of_one_name_share_a_scope_and_clash_only_with_weights() {
        let mut names = Names::default();
        for _ in 0..2 {
            let block = names.scope(Scope::MODEL, given("b"));
            names.layer(block, given("conv"), true);
            names.layer(block, counted("relu"), false);
            names.layer(block, given("act"), false);
        }
        let settled = names.settle();
        let full: Vec<_> = settled.layers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(full, ["b.conv", "b.relu1", "b.act", "b.conv", "b.relu2", "b.act_2"]);
        assert_eq!(settled.clashes, [(0, 3)]);
    }
}
