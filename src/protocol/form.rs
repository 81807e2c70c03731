//! What the non-linear steps of a run cost in the form in which they are computed, as the channel counts it.

use super::nonlinear::{Reveal, Step};
use super::session::{Activations, Choices};
use super::share::share_bytes;
use super::{reveal, two_party};
use crate::channel::FRAME_BYTES;
use crate::graph::{IntLayer, IntNetwork, NodeId};
use crate::mpc::{Cost, MpcError};

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
