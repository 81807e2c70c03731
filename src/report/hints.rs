//! Small changes of a network that would save much.
//!
//! Each is tried: the changed layer is quoted like the layer itself, by the cheapest kernel under the
//! network's parameters. What does not save is not said. Layers are looked at one by one; that a change of
//! width changes its neighbours too is left to the reader, who changes the network and reports again.

use crate::compiled::Compiled;
use crate::cost::CostTable;
use crate::params;
use crate::select::{Encode, Operation, Quote, Quotes, WholePlan, linear_layers};
use crate::tensor::{ConvGeometry, Groups};
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;

/// Hints that are given.
const MOST: usize = 5;
/// The least part of its layers' seconds that a change must save.
const LEAST_OF_LAYER: f64 = 0.1;
/// The least part of the network's seconds.
const LEAST_OF_ALL: f64 = 0.01;
/// A width may shrink by one in so many channels.
const NARROWER: usize = 10;

/// A change that saves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hint {
    /// The layers that it is for: all of one operation.
    pub layers: Vec<String>,
    /// What to change.
    pub change: String,
    /// What follows, in counts.
    pub effect: String,
    /// Predicted seconds of these layers now and then.
    pub seconds: [f64; 2],
}

/// A change of a convolution.
struct Change {
    what: String,
    operation: Operation,
}

/// The changes that save most, none for a plan that was not weighed.
#[must_use]
pub fn hints(compiled: &Compiled, table: &CostTable) -> Vec<Hint> {
    let compared = &compiled.plan.compared;
    let Ok(layers) = linear_layers(&compiled.network) else { return Vec::new() };
    let Some(whole) = compared.iter().find(|c| c.plan == WholePlan::Planned) else { return Vec::new() };
    let encode = if compared.iter().any(|c| c.plan == WholePlan::Coefficients) {
        if compared.len() > 2 { Encode::Auto } else { Encode::Coefficients }
    } else {
        Encode::Slots
    };
    let mut operations: Vec<(ConvGeometry, Vec<String>)> = Vec::new();
    for (node, operation) in layers {
        let name = compiled.network.graph.node(node).name.clone();
        let Operation::Conv(geometry) = operation else { continue };
        match operations.iter_mut().find(|(known, _)| *known == geometry) {
            Some((_, names)) => names.push(name),
            None => operations.push((geometry, vec![name])),
        }
    }
    let least = LEAST_OF_ALL * whole.cost.seconds();
    let of = |(geometry, layers): &(ConvGeometry, Vec<String>)| {
        params::keeping_engines(|| {
            let quotes = Quotes::new(compiled.sets(), compiled.plan.rings(), encode, table);
            let found = saving(geometry, layers, &quotes).into_iter();
            found.filter(|hint| hint.saved() >= least).collect::<Vec<Hint>>()
        })
    };
    let found: Vec<Vec<Hint>> = operations.par_iter().map(of).collect();
    let mut hints: Vec<Hint> = found.into_iter().flatten().collect();
    hints.sort_by(|a, b| b.saved().total_cmp(&a.saved()));
    hints.truncate(MOST);
    hints
}

/// The changes of layers of `geometry` that save enough of them.
fn saving(geometry: &ConvGeometry, layers: &[String], quotes: &Quotes) -> Vec<Hint> {
    let Some(now) = quotes.of(&Operation::Conv(*geometry)) else { return Vec::new() };
    let tried = changes(geometry, &now, quotes).into_iter().filter_map(|change| {
        let then = quotes.of(&change.operation)?;
        let times = f64::from(u32::try_from(layers.len()).unwrap_or(u32::MAX));
        let seconds = [now.cost.seconds() * times, then.cost.seconds() * times];
        (seconds[0] - seconds[1] >= LEAST_OF_LAYER * seconds[0]).then(|| Hint {
            layers: layers.to_vec(),
            change: change.what,
            effect: effect(&now, &then),
            seconds: seconds.map(super::to_microseconds),
        })
    });
    tried.collect()
}

/// What may be changed.
fn changes(g: &ConvGeometry, now: &Quote, quotes: &Quotes) -> Vec<Change> {
    let mut found = Vec::new();
    let conv = |what: String, geometry: ConvGeometry| Change { what, operation: Operation::Conv(geometry) };
    let capacities = quotes.capacities(&Operation::Conv(*g), now.pick);
    if let Some((input, output)) = capacities {
        if let Some(c_out) = narrower(g.c_out, output, g.groups) {
            let what = format!("{c_out} instead of {} output channels", g.c_out);
            found.push(conv(what, ConvGeometry { c_out, ..*g }));
        }
        if let Some(c_in) = narrower(g.c_in, input, g.groups) {
            let what = format!("{c_in} instead of {} input channels", g.c_in);
            found.push(conv(what, ConvGeometry { c_in, ..*g }));
        }
    }
    let blocks = quotes.blocks(g.out_size());
    let divides = |groups: usize| g.c_in.is_multiple_of(groups) && g.c_out.is_multiple_of(groups);
    if blocks > g.groups.count() && divides(blocks) {
        let training = "(changes the function, needs training)";
        let (what, groups) = match g.groups {
            Groups::Dense => {
                (format!("striped: {blocks} instead of dense {training}"), Groups::Striped(blocks))
            }
            Groups::Contiguous(now) => {
                (format!("{blocks} groups instead of {now} {training}"), Groups::Contiguous(blocks))
            }
            Groups::Striped(now) => {
                (format!("striped: {blocks} instead of {now} {training}"), Groups::Striped(blocks))
            }
        };
        found.push(conv(what, ConvGeometry { groups, ..*g }));
    }
    found
}

/// The most channels that fill whole ciphertexts of `capacity`, if that is a few less than `channels`.
fn narrower(channels: usize, capacity: usize, groups: Groups) -> Option<usize> {
    let whole = channels.checked_sub(1)? / capacity.max(1) * capacity.max(1);
    let few = whole > 0 && (channels - whole) * NARROWER <= channels;
    (few && whole.is_multiple_of(groups.count())).then_some(whole)
}

/// How the counts change.
fn effect(now: &Quote, then: &Quote) -> String {
    let (a, b) = (&now.facts.counts, &then.facts.counts);
    let counts = [
        ("ciphertexts", a.ciphertexts_in + a.ciphertexts_out, b.ciphertexts_in + b.ciphertexts_out),
        ("external rotations", a.external, b.external),
        ("internal rotations", a.internal, b.internal),
        ("products", a.plain_mults, b.plain_mults),
    ];
    let changed = counts.into_iter().filter(|(_, a, b)| a != b);
    let mut words: Vec<String> = changed.map(|(what, a, b)| format!("{what} {a} -> {b}")).collect();
    if now.pick.name() != then.pick.name() {
        words.push(format!("{} instead of {}", then.pick.name(), now.pick.name()));
    }
    words.join(", ")
}

impl Hint {
    fn saved(&self) -> f64 {
        self.seconds[0] - self.seconds[1]
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.layers.first().map_or("", String::as_str);
        write!(f, "`{first}`")?;
        if self.layers.len() > 1 {
            write!(f, " and {} more like it", self.layers.len() - 1)?;
        }
        let [now, then] = self.seconds.map(|seconds| seconds * 1e3);
        write!(f, ": {}: {now:.1} -> {then:.1} ms; {} a layer", self.change, self.effect)
    }
}
