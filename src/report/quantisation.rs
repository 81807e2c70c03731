//! What the bits of weights and values cost: the accumulators that they make, the plaintext prime that the
//! largest of these asks for, and what each bit of that prime takes of the moduli.
//!
//! Comparisons on shares work modulo the plaintext prime: its bits are the bits of every comparison.

use crate::compiled::Compiled;
use crate::graph::{IntLayer, IntNetwork, NodeId, Requant};
use crate::params;
use serde::Serialize;
use std::fmt;

/// How many bits fewer are priced.
const PRICED: u32 = 6;

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
    /// What t of fewer bits would ask for, from today's bits downwards.
    pub prices: Vec<Price>,
    /// The linear layers in order.
    pub layers: Vec<LayerBits>,
}

/// The moduli for a plaintext prime of so many bits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Price {
    /// Bits of the plaintext prime, and of every comparison.
    pub plain_bits: u32,
    /// Bits of all ciphertext primes that the circuit then needs.
    pub modulus_bits: u32,
    /// Bits that noise and flooding leave unused below them; none if the circuit does not fit.
    pub spare_bits: Option<f64>,
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
    /// Bits of the plaintext prime that it asks for by itself.
    pub accumulator_bits: u32,
    /// The right shift of the clamp behind it; none if there is none.
    pub shift: Option<u32>,
}

/// The quantisation of `compiled`.
pub(super) fn quantisation(compiled: &Compiled) -> Quantisation {
    let network = &compiled.network;
    let graph = &network.graph;
    let bound = |id: NodeId| network.intervals.get(id.0 as usize).map_or(0, |interval| interval.magnitude());
    let deciding = graph.ids().max_by_key(|id| (bound(*id), std::cmp::Reverse(id.0)));
    let linear = |id: &NodeId| matches!(graph.node(*id).layer, IntLayer::Conv(_) | IntLayer::Linear(_));
    Quantisation {
        weight_bits: network.header.weight_bits,
        activation_bits: network.header.activation_bits,
        ranges: network.header.ranges.to_string(),
        plain_bits: bits(compiled.params.plain_modulus),
        deciding_layer: deciding.map(|id| graph.node(id).name.clone()),
        prices: prices(compiled),
        layers: graph.ids().filter(linear).map(|id| layer(network, id, bound(id))).collect(),
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

fn bits(n: u64) -> u32 {
    u64::BITS - n.leading_zeros()
}

/// What `t` of today's bits and of fewer asks for.
fn prices(compiled: &Compiled) -> Vec<Price> {
    let today = bits(compiled.params.plain_modulus);
    let price = |plain_bits: u32| {
        let t = if plain_bits == today {
            compiled.params.plain_modulus
        } else {
            params::plain_prime(compiled.params.ring, 0, Some(plain_bits)).ok()?
        };
        let workload = &compiled.params.workload;
        let chosen = params::choose(compiled.scheme, compiled.params.ring, t, workload).ok()?;
        let fit = params::fit(compiled.scheme, &chosen, workload).ok();
        let spare = |fit: params::Fit| fit.room_bits - fit.flood_bits.unwrap_or(fit.noise_bits);
        Some(Price {
            plain_bits,
            modulus_bits: chosen.modulus_bits.iter().sum(),
            spare_bits: fit.map(|fit| (spare(fit) * 10.0).round() / 10.0),
        })
    };
    (0..=PRICED).filter_map(|fewer| price(today.checked_sub(fewer)?)).collect()
}

impl fmt::Display for Quantisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = self.layers.iter().filter(|layer| layer.weight_bits != self.weight_bits).count();
        let other = if others > 0 { format!(" ({others} layers differ)") } else { String::new() };
        write!(f, "weights {} bits{other}, values {} bits", self.weight_bits, self.activation_bits)?;
        let Some(layer) = &self.deciding_layer else { return Ok(()) };
        write!(f, "; t of {} bits for `{layer}`", self.plain_bits)?;
        let price = |price: &Price| match price.spare_bits {
            Some(spare) => format!("{}: q of {}, {spare:.0} spare", price.plain_bits, price.modulus_bits),
            None => format!("{}: does not fit", price.plain_bits),
        };
        let fewer: Vec<_> = self.prices.iter().step_by(2).map(price).collect();
        write!(f, "\nbits of t     {}", fewer.join("; "))
    }
}
