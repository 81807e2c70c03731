//! What the non-linear steps of a run cost in the form in which they are computed, as the channel counts it.

use super::nonlinear::{Reveal, Step};
use super::session::{Activations, Choices, Session};
use super::share::share_bytes;
use super::{reveal, two_party};
use crate::channel::{FRAME_BYTES, Traffic};
use crate::graph::{IntLayer, IntNetwork, NodeId};
use crate::mpc::{Cost, MpcError, ot};
use serde::Serialize;

/// What one non-linear node costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeCost {
    /// The node.
    pub node: NodeId,
    /// Its cost.
    pub cost: Cost,
}

/// What is predicted of one inference, linear layers apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicted {
    /// The non-linear nodes in order.
    pub steps: Vec<NodeCost>,
    /// Telling the client the answer.
    pub told: Cost,
}

/// What passes once a connection, before the first image; frames included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SetUp {
    /// Bytes of the client's evaluation keys.
    pub bytes_keys: u64,
    /// Bytes of setting up oblivious transfers: base transfers and what extends them, both directions.
    pub bytes_transfers: u64,
    /// How often the client waits for the server while transfers are set up.
    pub rounds: u64,
}

impl SetUp {
    /// With evaluation keys of so many bytes in so many messages, for non-linear steps in the form of `activations`.
    #[must_use]
    pub fn of(activations: Activations, key_bytes: u64, messages: u64) -> Self {
        let bytes_keys = key_bytes + messages * FRAME_BYTES;
        match activations {
            Activations::TwoParty => {
                Self { bytes_keys, bytes_transfers: ot::setup_bytes(), rounds: ot::SETUP_ROUNDS }
            }
            Activations::Revealed => Self { bytes_keys, ..Self::default() },
        }
    }
}

impl Session {
    /// What passed before the first image.
    #[must_use]
    pub fn set_up(&self) -> SetUp {
        let Traffic { sent, received, rounds } = self.setup.traffic;
        SetUp { bytes_keys: self.key_bytes, bytes_transfers: sent + received, rounds }
    }
}

/// Predicts an inference of `network` with shares modulo `modulus`.
///
/// # Errors
/// If the modulus cannot hold the values.
pub fn predicted(network: &IntNetwork, modulus: u64, choices: Choices) -> Result<Predicted, MpcError> {
    let mut steps = Vec::new();
    // Whether the client has sent since it last received: what it receives next then ends a round.
    let mut has_sent = false;
    let of = |step: &Step, has_sent: &mut bool| match choices.activations {
        Activations::TwoParty => two_party::cost(step),
        Activations::Revealed => Ok(reveal::cost(step, std::mem::replace(has_sent, true))),
    };
    for node in network.graph.ids() {
        if matches!(network.graph.node(node).layer, IntLayer::Conv(_) | IntLayer::Linear(_)) {
            has_sent = false;
        } else if let Some(step) = Step::of(network, node, modulus) {
            steps.push(NodeCost { node, cost: of(&step, &mut has_sent)? });
        }
    }
    let told = match choices.reveal {
        Reveal::Label => of(&Step::label(network, modulus), &mut has_sent)?,
        Reveal::Logits => {
            let output = network.graph.node(network.graph.output()).shape.elements();
            let online_bytes = FRAME_BYTES + share_bytes(output, modulus) as u64;
            Cost { online_bytes, rounds: u64::from(has_sent), ..Cost::default() }
        }
    };
    Ok(Predicted { steps, told })
}
