//! What the two-party form of a run holds in memory at most: shares of both parties, transfers that were made and
//! not yet used, and what a batch works with.
//!
//! A run is followed as [`super::walk`] follows it: shares live until their last use, a linear layer makes ahead
//! what fits a batch, a step makes the rest part by part. All of it is public.

use super::nonlinear::{Reveal, Step};
use super::session::{Activations, Ahead, Choices};
use super::two_party::{self, Parts};
use crate::graph::{IntLayer, IntNetwork, NodeId};
use crate::mpc::{BATCH, Footprint, MpcError};
use std::collections::BTreeMap;

/// Bytes of a share of a value.
const SHARE: u64 = 8;
/// Bytes a lane that a party works with while a batch runs: planes of bits, messages either way, products.
const LANE: u64 = 140;
/// Bytes that a party works with while it makes transfers.
const MAKING: u64 = 2_000_000;

/// Bytes that both parties hold at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Of shares, and of what a batch works with.
    pub shares: u64,
    /// Of random transfers that were made and not yet used.
    pub transfers: u64,
}

impl Held {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.shares.saturating_add(self.transfers)
    }
}

/// What an inference of `network` with shares modulo `modulus` holds at most, both parties together.
///
/// # Errors
/// If the modulus cannot hold the values.
pub fn held(network: &IntNetwork, modulus: u64, choices: Choices) -> Result<Held, MpcError> {
    let graph = &network.graph;
    let elements = |id: NodeId| graph.node(id).shape.elements() as u64;
    let mut last_use: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for id in graph.ids() {
        last_use.entry(graph.users(id).last().copied().unwrap_or(id)).or_default().push(id);
    }
    let (mut live, mut most) = (0_u64, Held::default());
    let (mut ahead, mut room) = (0_u64, BATCH);
    let mut all = 0_u64;
    for id in graph.ids() {
        live = live.saturating_add(elements(id));
        // Operands are copied, and so are results on their way.
        let operand = graph.inputs(id).first().map_or(0, |&operand| elements(operand));
        let (shares, mut working) =
            ((2 * SHARE).saturating_mul(live.saturating_add(operand).saturating_add(elements(id))), 0);
        if matches!(graph.node(id).layer, IntLayer::Conv(_) | IntLayer::Linear(_)) {
            (ahead, room) = (0, BATCH);
        }
        if let Some(step) = Step::of(network, id, modulus)
            && choices.activations == Activations::TwoParty
        {
            let mut largest = 0;
            for Parts { values, times, footprint } in two_party::footprints(&step)? {
                let Footprint { held_bytes, lanes } = footprint;
                largest = largest.max(held_bytes);
                all = all.saturating_add(held_bytes.saturating_mul(times));
                // As many as fit the batch that is made ahead.
                let fit = times.min((room / values.max(1)) as u64);
                ahead = ahead.saturating_add(held_bytes.saturating_mul(fit));
                room = if fit < times { 0 } else { room - values * usize::try_from(fit).unwrap_or(0) };
                working = working.max((2 * LANE).saturating_mul(lanes));
            }
            most.transfers = most.transfers.max(largest.max(ahead).saturating_add(2 * MAKING));
        }
        most.shares = most.shares.max(shares.saturating_add(working));
        for gone in last_use.get(&id).into_iter().flatten().filter(|&&gone| gone != graph.output()) {
            live = live.saturating_sub(elements(*gone));
        }
    }
    if choices.reveal == Reveal::Label && choices.activations == Activations::TwoParty {
        for Parts { times, footprint, .. } in two_party::footprints(&Step::label(network, modulus))? {
            all = all.saturating_add(footprint.held_bytes.saturating_mul(times));
        }
    }
    if choices.ahead == Ahead::Image {
        most.transfers = most.transfers.max(all);
    }
    Ok(most)
}
