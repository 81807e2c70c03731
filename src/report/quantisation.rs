//! What the bits of weights and values ask for: the accumulators that they make, the plaintext prime that the
//! largest of these needs, and what each bit of that prime costs.
//!
//! Comparisons on shares work modulo the plaintext prime: its bits are the bits of every comparison.

use super::prices::{Price, Table, bits, prices};
use crate::compiled::Compiled;
use crate::cost::TransferCosts;
use crate::graph::{IntLayer, IntNetwork, NodeId, Requant};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// How many of the largest needs are listed with the layers that have them, and how many layers of each.
const NEEDS: usize = 3;
const NAMED: usize = 3;

/// The bits of a network and their price.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quantisation {
    /// Bits of weights, where a layer says nothing else.
    pub weight_bits: u32,
    /// Bits of values, where a layer says nothing else.
    pub activation_bits: u32,
    /// How ranges are chosen, in the language's words.
    pub ranges: String,
    /// Bits of the plaintext prime t, and of every comparison on shares.
    pub plain_bits: u32,
    /// The layer whose accumulator decides t; none if none has one.
    pub deciding_layer: Option<String>,
    /// What t of fewer bits would cost, from today's bits downwards.
    pub prices: Vec<Price>,
    /// Bits between of which the ring has no prime.
    pub without_prime: Vec<u32>,
    /// The linear layers in order.
    pub layers: Vec<LayerBits>,
    /// What sums and average pools ask for: names, and bits of twice their largest magnitude.
    #[serde(skip)]
    sums: Vec<(String, u32)>,
}

/// The bits of one linear layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerBits {
    /// Its name.
    pub name: String,
    /// Bits of its weights.
    pub weight_bits: u32,
    /// Bits of the values that it reads.
    pub input_bits: u32,
    /// Bits of the values that the clamp behind it gives; none if there is none.
    pub activation_bits: Option<u32>,
    /// The largest magnitude of its accumulator, bias and rounding included.
    pub accumulator_bound: u64,
    /// Bits of twice that: by itself it asks for a plaintext prime of at least so many.
    pub accumulator_bits: u32,
    /// The right shift of the clamp behind it; none if there is none.
    pub shift: Option<u32>,
}

/// The quantisation of `compiled`, its two-party steps predicted by what `transfers` cost.
pub(super) fn quantisation(compiled: &Compiled, transfers: TransferCosts) -> Quantisation {
    let network = &compiled.network;
    let graph = &network.graph;
    let bound = |id: NodeId| network.intervals.get(id.0 as usize).map_or(0, |interval| interval.magnitude());
    let deciding = graph.ids().max_by_key(|id| (bound(*id), std::cmp::Reverse(id.0)));
    let linear = |id: &NodeId| matches!(graph.node(*id).layer, IntLayer::Conv(_) | IntLayer::Linear(_));
    let (prices, without_prime) = prices(compiled, transfers);
    Quantisation {
        weight_bits: network.header.weight_bits,
        activation_bits: network.header.activation_bits,
        ranges: network.header.ranges.to_string(),
        plain_bits: bits(compiled.params.plain_modulus),
        deciding_layer: deciding.map(|id| graph.node(id).name.clone()),
        prices,
        without_prime,
        layers: graph.ids().filter(linear).map(|id| layer(network, id, bound(id))).collect(),
        sums: graph
            .ids()
            .filter(|id| matches!(graph.node(*id).layer, IntLayer::Add { .. } | IntLayer::SumPool(_)))
            .map(|id| (graph.node(id).name.clone(), bits(bound(id).saturating_mul(2))))
            .collect(),
    }
}

fn layer(network: &IntNetwork, id: NodeId, bound: u64) -> LayerBits {
    let graph = &network.graph;
    let node = graph.node(id);
    let input = graph.inputs(id).first().map_or(0, |operand| value_bits(network, *operand));
    let clamp = clamp_behind(network, id);
    LayerBits {
        name: node.name.clone(),
        weight_bits: node.quant.weight_bits.unwrap_or(network.header.weight_bits),
        input_bits: input,
        activation_bits: clamp.map(|clamp| width(clamp.lo, clamp.hi)),
        accumulator_bound: bound,
        accumulator_bits: bits(bound.saturating_mul(2)),
        shift: clamp.map(|clamp| clamp.shift),
    }
}

/// The clamp that an accumulator ends in, perhaps after a sum or a pool.
fn clamp_behind(network: &IntNetwork, id: NodeId) -> Option<Requant> {
    let mut at = id;
    loop {
        at = *network.graph.users(at).first()?;
        match &network.graph.node(at).layer {
            IntLayer::Requant(requant) | IntLayer::Poly { requant, .. } => return Some(*requant),
            IntLayer::Conv(_) | IntLayer::Linear(_) | IntLayer::Input(_) => return None,
            IntLayer::Add { .. }
            | IntLayer::Concat { .. }
            | IntLayer::Shuffle(_)
            | IntLayer::Subsample(_)
            | IntLayer::PadChannels(_)
            | IntLayer::SumPool(_)
            | IntLayer::MaxPool(_)
            | IntLayer::Flatten => {}
        }
    }
}

/// Bits of the integers of a node.
fn value_bits(network: &IntNetwork, id: NodeId) -> u32 {
    network.intervals.get(id.0 as usize).map_or(0, |interval| width(interval.lo, interval.hi))
}

/// Bits of integers from `lo` to `hi`, with a sign if any is negative.
fn width(lo: i64, hi: i64) -> u32 {
    bits(lo.unsigned_abs().max(hi.unsigned_abs())) + u32::from(lo < 0)
}

impl Quantisation {
    /// What each bit of t costs.
    pub(super) fn table(&self) -> Table<'_> {
        Table { prices: &self.prices, without: &self.without_prime }
    }

    /// Which layers need the longest t, and how many the others are; nothing if none adds anything up.
    pub(super) fn needs(&self) -> String {
        let mut needs: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
        for layer in &self.layers {
            needs.entry(layer.accumulator_bits).or_default().push(&layer.name);
        }
        for (name, bits) in &self.sums {
            needs.entry(*bits).or_default().push(name);
        }
        let mut parts = Vec::new();
        for (bits, names) in needs.iter().rev().take(NEEDS) {
            let more = names.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            parts.push(format!("{bits} bits {}{more}", names[..names.len().min(NAMED)].join(", ")));
        }
        let rest: usize = needs.values().rev().skip(NEEDS).map(Vec::len).sum();
        let range = needs.keys().rev().skip(NEEDS);
        if let (Some(most), Some(least)) = (range.clone().next(), range.last()) {
            let bits = if most == least { most.to_string() } else { format!("{least} to {most}") };
            parts.push(format!("{bits} bits {rest} other{}", if rest == 1 { "" } else { "s" }));
        }
        parts.join("; ")
    }
}

impl fmt::Display for Quantisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = self.layers.iter().filter(|layer| layer.weight_bits != self.weight_bits).count();
        let other = if others > 0 { format!(" ({others} layers differ)") } else { String::new() };
        write!(f, "weights {} bits{other}, values {} bits", self.weight_bits, self.activation_bits)?;
        let Some(layer) = &self.deciding_layer else { return Ok(()) };
        write!(f, "; t of {} bits for `{layer}`", self.plain_bits)
    }
}
