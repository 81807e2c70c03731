//! What each bit of the plaintext prime t costs: moduli of ciphertexts, bytes and seconds of the two-party steps.
//!
//! Activations and pools compare shares modulo t, and dominate what one inference costs. A network with a
//! shorter t is priced as this one with coarser weights: every accumulator has so many bits fewer, the shift
//! behind it too, and the values after it are as before, but coarser where the shift had not as many bits.

use super::to_microseconds;
use crate::compiled::Compiled;
use crate::cost::{LAN, TransferCosts};
use crate::graph::{IntLayer, IntNetwork, Interval};
use crate::params;
use crate::protocol::{self, Cost, Step};
use serde::Serialize;
use std::fmt;

/// How many bits fewer are priced.
const PRICED: u32 = 6;

/// The least bits of a plaintext prime that is chosen.
const LEAST: u32 = 17;

/// What a plaintext prime of so many bits takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Price {
    /// Bits of the plaintext prime, and of every comparison.
    pub plain_bits: u32,
    /// Bits of all ciphertext primes that the circuit then needs.
    pub modulus_bits: u32,
    /// Bits that noise and flooding leave unused below them; none if the circuit does not fit.
    pub spare_bits: Option<f64>,
    /// Bytes of the two-party steps of one image while they run, both directions; none if they cannot be had.
    pub online_bytes: Option<u64>,
    /// Bytes of making their transfers ahead.
    pub ahead_bytes: Option<u64>,
    /// Predicted seconds of these steps on one core of either party.
    pub nonlinear_seconds: Option<f64>,
    /// The same with their bytes and rounds over a network of 3 Gbit/s and 0.8 ms a round.
    pub nonlinear_lan_seconds: Option<f64>,
}

/// Prices from today's bits of t downwards, and the bits between for which the ring has no prime.
pub(super) fn prices(compiled: &Compiled, transfers: TransferCosts) -> (Vec<Price>, Vec<u32>) {
    let today = bits(compiled.params.plain_modulus);
    let largest = compiled.network.largest_accumulator();
    let needed = bits(largest.saturating_mul(2).saturating_add(2));
    let (mut prices, mut without) = (Vec::new(), Vec::new());
    for plain_bits in (today.saturating_sub(PRICED).max(LEAST.min(today))..=today).rev() {
        let t = if plain_bits == today {
            Ok(compiled.params.plain_modulus)
        } else {
            // Today's accumulators, or shorter ones; the ring is the one that today's t was chosen for.
            let held = if plain_bits < needed { 0 } else { largest };
            params::plain_prime(compiled.plan.ring, held, Some(plain_bits))
        };
        match t {
            Ok(t) => prices.extend(price(compiled, (t, needed.saturating_sub(plain_bits)), transfers)),
            Err(_) => without.push(plain_bits),
        }
    }
    (prices, without)
}

/// The price of the plaintext prime `t`, of so many bits fewer than today's accumulators need; none if no
/// moduli go with it.
fn price(compiled: &Compiled, (t, fewer): (u64, u32), transfers: TransferCosts) -> Option<Price> {
    let workload = &compiled.params.workload;
    let chosen = params::choose(compiled.scheme, compiled.params.ring, t, workload).ok()?;
    let fit = params::fit(compiled.scheme, &chosen, workload).ok();
    let spare = |fit: params::Fit| fit.room_bits - fit.flood_bits.unwrap_or(fit.noise_bits);
    let steps = nonlinear(&compiled.network, t, fewer);
    let seconds = |cost: Cost| transfers.seconds(cost.transfers);
    let over_lan = |cost: Cost| {
        let bytes = cost.online_bytes.saturating_add(cost.offline_bytes);
        seconds(cost) + LAN.seconds(bytes, cost.rounds.saturating_add(cost.offline_rounds))
    };
    Some(Price {
        plain_bits: bits(t),
        modulus_bits: chosen.modulus_bits.iter().sum(),
        spare_bits: fit.map(|fit| (spare(fit) * 10.0).round() / 10.0),
        online_bytes: steps.map(|cost| cost.online_bytes),
        ahead_bytes: steps.map(|cost| cost.offline_bytes),
        nonlinear_seconds: steps.map(|cost| to_microseconds(seconds(cost))),
        nonlinear_lan_seconds: steps.map(|cost| to_microseconds(over_lan(cost))),
    })
}

/// What the two-party steps cost modulo `t`, of so many bits fewer; none if one of them cannot be had.
fn nonlinear(network: &IntNetwork, t: u64, fewer: u32) -> Option<Cost> {
    let network = &narrowed(network, t, fewer);
    let steps = network.graph.ids().filter_map(|id| Step::of(network, id, t));
    steps.map(|step| protocol::cost(&step).ok()).try_fold(Cost::default(), |sum, cost| Some(sum + cost?))
}

/// `network` with accumulators of so many bits `fewer`, and of fewer still where `t` would not hold them.
fn narrowed(network: &IntNetwork, t: u64, fewer: u32) -> IntNetwork {
    let mut narrow = network.clone();
    let excess = |magnitude: u64| {
        let limit = t.saturating_sub(3) / 2;
        (0..u64::BITS).find(|bits| magnitude >> bits <= limit).unwrap_or(0)
    };
    // By how many bits the values of each node become shorter, and whether they are accumulators.
    let mut cut: Vec<(u32, bool)> = Vec::with_capacity(network.graph.len());
    for id in network.graph.ids() {
        let operands = network.graph.inputs(id);
        let operand = operands.first().map_or(0, |o| cut[o.0 as usize].0);
        let is_sum = match &mut narrow.graph.node_mut(id).layer {
            IntLayer::Requant(requant) => {
                requant.shift = requant.shift.saturating_sub(operand);
                false
            }
            IntLayer::Poly { a, b, c, requant } => {
                let x = operands.first().and_then(|x| network.intervals.get(x.0 as usize));
                let x = x.map_or(0, Interval::magnitude);
                let square = a.unsigned_abs().saturating_mul(x).saturating_mul(x);
                let value = square.saturating_add(b.unsigned_abs().saturating_mul(x));
                let above = excess(value.saturating_add(c.unsigned_abs())).max(fewer);
                // The polynomial of a shorter x, and then itself shorter.
                let scale = |factor: i64, up: u32| factor.saturating_mul(1 << up.min(62)) >> above.min(62);
                (*a, *b, *c) = (scale(*a, 2 * operand), scale(*b, operand), scale(*c, 0));
                requant.shift = requant.shift.saturating_sub(above);
                false
            }
            IntLayer::Input(_) => false,
            IntLayer::Conv(_) | IntLayer::Linear(_) => true,
            IntLayer::Add { .. }
            | IntLayer::Concat { .. }
            | IntLayer::Shuffle(_)
            | IntLayer::Subsample(_)
            | IntLayer::PadChannels(_)
            | IntLayer::SumPool(_)
            | IntLayer::MaxPool(_)
            | IntLayer::Flatten => operands.iter().any(|o| cut[o.0 as usize].1),
        };
        let own = narrow.intervals.get_mut(id.0 as usize);
        let above = own.map_or(0, |own| {
            let above = excess(own.magnitude()).max(if is_sum { fewer } else { 0 });
            (own.lo, own.hi) = (own.lo >> above, own.hi >> above);
            above
        });
        cut.push((above, is_sum));
    }
    narrow
}

pub(super) fn bits(n: u64) -> u32 {
    u64::BITS - n.leading_zeros()
}

impl Price {
    /// Its cells, in the order of [`COLUMNS`].
    pub(super) fn cells(&self) -> [String; COLUMNS.len()] {
        let millions = |bytes: Option<u64>| {
            bytes.map_or("?".into(), |b| format!("{}.{:02}", b / 1_000_000, b % 1_000_000 / 10_000))
        };
        let seconds = |seconds: Option<f64>| seconds.map_or("?".into(), |s| format!("{s:.3}"));
        [
            self.modulus_bits.to_string(),
            self.spare_bits.map_or("does not fit".into(), |spare| format!("{spare:.1}")),
            millions(self.online_bytes),
            millions(self.ahead_bytes),
            seconds(self.nonlinear_seconds),
            seconds(self.nonlinear_lan_seconds),
        ]
    }
}

/// What is said of each bit, bits of q first.
pub(super) const COLUMNS: [&str; 6] =
    ["bits of q", "to spare", "MB online", "MB ahead", "two-party s", "with LAN s"];

/// Prices and gaps as lines, the longest prime first.
pub(super) struct Table<'a> {
    pub(super) prices: &'a [Price],
    pub(super) without: &'a [u32],
}

impl Table<'_> {
    /// The bits of each line with their price, if the ring has such a prime.
    pub(super) fn rows(&self) -> Vec<(u32, Option<Price>)> {
        let priced = self.prices.iter().map(|price| (price.plain_bits, Some(*price)));
        let mut rows: Vec<_> = priced.chain(self.without.iter().map(|bits| (*bits, None))).collect();
        rows.sort_by_key(|(bits, _)| std::cmp::Reverse(*bits));
        rows
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bits of t     ")?;
        COLUMNS.iter().try_for_each(|column| write!(f, "  {column:>12}"))?;
        for (bits, price) in self.rows() {
            write!(f, "\n{bits:>14}")?;
            match price {
                Some(price) => price.cells().iter().try_for_each(|cell| write!(f, "  {cell:>12}"))?,
                None => write!(f, "  {:>12}", "no prime")?,
            }
        }
        Ok(())
    }
}
