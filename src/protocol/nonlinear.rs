//! Non-linear steps: shares in, shares out.
//!
//! [`Step`] is one such step with its shapes, all of it public; a party's half of it, [`NonLinear`], takes its
//! share and leaves with a fresh share of the result. Nothing here knows weights or ciphertexts.

use super::share::{RandomnessError, Share};
use crate::channel::{Channel, ChannelError, Traffic};
use crate::graph::{IntLayer, IntNetwork, Interval, NodeId, Requant};
use crate::layers::Pool;
use crate::mpc::MpcError;
use crate::tensor::Shape;
use std::time::Duration;

/// A non-linear function of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Shift and clamp; a ReLU has a lower bound of 0.
    Requant(Requant),
    /// `requant(a x^2 + b x + c)`.
    Poly {
        /// Of `x^2`.
        a: i64,
        /// Of `x`.
        b: i64,
        /// Constant.
        c: i64,
        /// What follows.
        requant: Requant,
    },
    /// Maximum over windows.
    MaxPool(Pool),
    /// The position of the greatest value, ties to the lowest: told to the client, while the server's result
    /// is empty.
    ArgMax,
}

/// One non-linear step of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The node, for messages.
    pub node: u32,
    /// What is computed.
    pub function: Function,
    /// Shape of the operand.
    pub shape_in: Shape,
    /// Shape of the result.
    pub shape_out: Shape,
    /// Bounds of the operand, as both parties may know them; the rounding term of a shift is not in them.
    pub range: Interval,
    /// Modulus of the operand's shares: the plaintext prime, or a short power of two where an activation is
    /// read by a max pool alone.
    pub from: u64,
    /// Modulus of the result's shares, in the same way.
    pub to: u64,
}

/// Who learns what at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reveal {
    /// The client learns the network's whole output.
    #[default]
    Logits,
    /// The client learns the position of its greatest value alone.
    Label,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum NonLinearError {
    /// The conversation ended.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The computation on shares failed.
    #[error(transparent)]
    Mpc(MpcError),
    /// An earlier step failed, after which the parties no longer agree.
    #[error("step {0} after one that failed: connect anew")]
    Broken(u32),
    /// A message with the wrong number of residues, or one that is none.
    #[error("step {step}: malformed share of {found} bytes, expected {expected}, residues below {modulus}")]
    MalformedShare {
        /// The step.
        step: u32,
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
        /// The modulus.
        modulus: u64,
    },
    /// No randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
}

impl From<MpcError> for NonLinearError {
    fn from(e: MpcError) -> Self {
        match e {
            MpcError::Channel(e) => Self::Channel(e),
            MpcError::Entropy
            | MpcError::Length { .. }
            | MpcError::PublicKey { .. }
            | MpcError::Padding { .. }
            | MpcError::Width(_)
            | MpcError::Modulus(_)
            | MpcError::Residue { .. }
            | MpcError::Range { .. }
            | MpcError::Shares { .. }
            | MpcError::Window { .. }
            | MpcError::Material(_) => Self::Mpc(e),
        }
    }
}

/// What was made for steps before their operands were known: oblivious transfers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Wall time.
    pub time: Duration,
    /// What passed meanwhile.
    pub traffic: Traffic,
    /// Transfers, of all kinds and both directions.
    pub transfers: u64,
}

impl std::ops::AddAssign for Made {
    fn add_assign(&mut self, o: Self) {
        self.time += o.time;
        self.traffic += o.traffic;
        self.transfers += o.transfers;
    }
}

impl std::ops::Sub for Made {
    type Output = Self;

    /// What was made since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            time: self.time.saturating_sub(earlier.time),
            traffic: self.traffic - earlier.traffic,
            transfers: self.transfers - earlier.transfers,
        }
    }
}

/// One party's half of every non-linear step.
pub trait NonLinear: Send {
    /// Makes ahead what `step` will need, for up to `room` values. Steps are prepared in the order in which they
    /// will be applied. Gives the room that is left, none if not all of the step was prepared.
    ///
    /// # Errors
    /// If the other party does not keep to the protocol.
    fn prepare(
        &mut self,
        channel: &mut dyn Channel,
        step: &Step,
        room: usize,
    ) -> Result<usize, NonLinearError>;

    /// Consumes this party's share of the operand, returns its share of the result.
    ///
    /// # Errors
    /// If the other party does not keep to the protocol.
    fn apply(
        &mut self,
        channel: &mut dyn Channel,
        step: &Step,
        share: Share,
    ) -> Result<Share, NonLinearError>;

    /// What was made so far, ahead or when it was needed.
    fn made(&self) -> Made;
}

impl Function {
    /// The non-linear function of `layer`, if it is one.
    #[must_use]
    pub fn of(layer: &IntLayer) -> Option<Self> {
        match layer {
            IntLayer::Requant(requant) => Some(Self::Requant(*requant)),
            IntLayer::Poly { a, b, c, requant } => {
                Some(Self::Poly { a: *a, b: *b, c: *c, requant: *requant })
            }
            IntLayer::MaxPool(pool) => Some(Self::MaxPool(*pool)),
            IntLayer::Input(_)
            | IntLayer::Conv(_)
            | IntLayer::Linear(_)
            | IntLayer::Add { .. }
            | IntLayer::Concat { .. }
            | IntLayer::Shuffle(_)
            | IntLayer::Subsample(_)
            | IntLayer::PadChannels(_)
            | IntLayer::SumPool(_)
            | IntLayer::Flatten => None,
        }
    }
}

impl Step {
    /// The step at node `id`, on shares modulo `modulus`; none if its layer is not non-linear.
    #[must_use]
    pub fn of(network: &IntNetwork, id: NodeId, modulus: u64) -> Option<Self> {
        let node = network.graph.node(id);
        let function = Function::of(&node.layer)?;
        let operand = *network.graph.inputs(id).first()?;
        let mut range = network.public_bounds(operand, modulus);
        if let Function::Requant(Requant { shift, .. }) = function {
            // Bounds of what feeds a shift include its rounding term.
            let rounding = 1_i64.checked_shl(shift).unwrap_or(i64::MAX) / 2;
            range.hi = range.hi.saturating_sub(rounding).max(range.lo);
        }
        let shape_in = network.graph.node(operand).shape.clone();
        let shared_in = |id| short_modulus(network, id, modulus).unwrap_or(modulus);
        let (from, to) = (shared_in(operand), shared_in(id));
        Some(Self { node: id.0, function, shape_in, shape_out: node.shape.clone(), range, from, to })
    }

    /// The step that tells the client the label.
    #[must_use]
    pub fn label(network: &IntNetwork, modulus: u64) -> Self {
        let id = network.graph.output();
        let (shape_in, range) = (network.graph.node(id).shape.clone(), network.public_bounds(id, modulus));
        let (function, shape_out) = (Function::ArgMax, Shape::flat(1));
        Self { node: id.0, function, shape_in, shape_out, range, from: modulus, to: modulus }
    }
}

/// The modulus in which a max pool compares what it alone reads of activation `id`: the least power of two in
/// which all differences keep their sign. A comparison costs by the bits of its modulus, and a clamped value
/// has few. None for any other node, or where the plaintext prime is as short.
fn short_modulus(network: &IntNetwork, id: NodeId, modulus: u64) -> Option<u64> {
    let graph = &network.graph;
    let is_activation = matches!(graph.node(id).layer, IntLayer::Requant(_));
    let is_pooled = match graph.users(id)[..] {
        [user] => matches!(graph.node(user).layer, IntLayer::MaxPool(_)),
        _ => false,
    };
    if !is_activation || !is_pooled || id == graph.output() {
        return None;
    }
    let range = network.public_bounds(id, modulus);
    let short = range.hi.abs_diff(range.lo).checked_add(1)?.checked_next_power_of_two()?.checked_mul(2)?;
    Some(short.max(4)).filter(|&short| short < modulus)
}

/// All non-linear steps of `network` in order.
#[must_use]
pub fn steps(network: &IntNetwork, modulus: u64, reveal: Reveal) -> Vec<Step> {
    let layers = network.graph.ids().filter_map(|id| Step::of(network, id, modulus));
    let label = (reveal == Reveal::Label).then(|| Step::label(network, modulus));
    layers.chain(label).collect()
}
