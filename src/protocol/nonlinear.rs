//! Non-linear steps: shares in, shares out.
//!
//! [`Step`] is one such step with its shapes; a party's half of it takes its share and leaves with a
//! fresh share of the result. [`RevealClient`] and [`RevealServer`] are the debugging form: the server
//! hands its share to the client, who sees the values, applies the function and shares the result
//! anew. Nothing here knows weights or ciphertexts.

use super::share::{RandomnessError, Share, Uniform, add_mod, residue, signed, sub_mod};
use crate::channel::{Channel, ChannelError, Tag};
use crate::graph::{IntLayer, MAX_VALUE, Requant};
use crate::layers::Pool;
use crate::tensor::{Shape, Tensor};

/// What a run with revealed activations leaks; said on every such run.
pub const REVEAL_LEAKS: &str = "activations are REVEALED to the client (--nonlinear reveal, a debugging mode): \
     after every linear layer the client sees the exact accumulators, from which it can solve for the \
     server's weights. The image and the activations stay hidden from the server.";

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
    /// Plaintext prime t of the shares.
    pub modulus: u64,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum NonLinearError {
    /// The conversation ended.
    #[error(transparent)]
    Channel(#[from] ChannelError),
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

/// One party's half of every non-linear step.
pub trait NonLinear: Send {
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
}

/// The client's half of the debugging form.
pub struct RevealClient;

/// The server's half of the debugging form.
pub struct RevealServer;

impl NonLinear for RevealClient {
    fn apply(
        &mut self,
        channel: &mut dyn Channel,
        step: &Step,
        share: Share,
    ) -> Result<Share, NonLinearError> {
        let t = step.modulus;
        let theirs = receive_share(channel, step.node, Tag::NonLinear, &step.shape_in, t)?;
        let values =
            share.data.iter().zip(&theirs.data).map(|(&a, &b)| signed(add_mod(a, b, t), t)).collect();
        let operand = Tensor { shape: share.shape, data: values };
        let result = step.function.apply(&operand, &step.shape_out);
        let fresh = Uniform::fresh(t)?.take(result.data.len());
        let mine = result.data.iter().zip(&fresh).map(|(&y, &r)| sub_mod(residue(y, t), r, t)).collect();
        send_share(channel, step.node, Tag::NonLinear, &fresh, t)?;
        Ok(Tensor { shape: step.shape_out.clone(), data: mine })
    }
}

impl NonLinear for RevealServer {
    fn apply(
        &mut self,
        channel: &mut dyn Channel,
        step: &Step,
        share: Share,
    ) -> Result<Share, NonLinearError> {
        send_share(channel, step.node, Tag::NonLinear, &share.data, step.modulus)?;
        receive_share(channel, step.node, Tag::NonLinear, &step.shape_out, step.modulus)
    }
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

    fn apply(self, x: &Tensor<i64>, shape_out: &Shape) -> Tensor<i64> {
        let data = match self {
            Self::Requant(requant) => x.data.iter().map(|&v| requant.apply(v)).collect(),
            Self::Poly { a, b, c, requant } => {
                x.data.iter().map(|&v| requant.apply(polynomial([a, b, c], v))).collect()
            }
            Self::MaxPool(pool) => pool.max(x).data,
        };
        Tensor { shape: shape_out.clone(), data }
    }
}

/// `a v^2 + b v + c`, saturated at the largest value that a network may hold: what a peer shares may be any
/// residue, and must not overflow.
fn polynomial([a, b, c]: [i64; 3], v: i64) -> i64 {
    let [a, b, c, v] = [a, b, c, v].map(i128::from);
    let value = a.saturating_mul(v * v).saturating_add(b * v).saturating_add(c);
    let limit = i128::from(MAX_VALUE);
    i64::try_from(value.clamp(-limit, limit)).unwrap_or(0)
}

/// Bytes of a residue below `t` on the wire.
fn residue_bytes(t: u64) -> usize {
    (u64::BITS - (t - 1).leading_zeros()).div_ceil(8) as usize
}

/// Sends residues below `t`, each in as many bytes as `t` needs, little-endian.
///
/// # Errors
/// If the other party is gone.
pub(super) fn send_share(
    channel: &mut dyn Channel,
    step: u32,
    tag: Tag,
    residues: &[u64],
    t: u64,
) -> Result<(), ChannelError> {
    let width = residue_bytes(t);
    let payload: Vec<u8> = residues.iter().flat_map(|r| r.to_le_bytes().into_iter().take(width)).collect();
    channel.send(step, tag, &payload)
}

/// Receives the residues of a tensor of `shape`.
///
/// # Errors
/// If something else comes.
pub(super) fn receive_share(
    channel: &mut dyn Channel,
    step: u32,
    tag: Tag,
    shape: &Shape,
    t: u64,
) -> Result<Share, NonLinearError> {
    let width = residue_bytes(t);
    let expected = shape.elements() * width;
    let payload = channel.receive(step, tag, expected)?;
    let malformed = || NonLinearError::MalformedShare { step, found: payload.len(), expected, modulus: t };
    let data: Vec<u64> = payload
        .chunks_exact(width)
        .map(|bytes| bytes.iter().rev().fold(0, |r, &b| (r << 8) | u64::from(b)))
        .collect();
    if payload.len() != expected || data.iter().any(|&r| r >= t) {
        return Err(malformed());
    }
    Tensor::new(shape.clone(), data).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_exact_and_saturate() {
        assert_eq!(polynomial([3, -5, 7], -11), 3 * 121 + 55 + 7);
        assert_eq!(polynomial([i64::MAX, i64::MAX, i64::MAX], i64::MIN), MAX_VALUE);
        assert_eq!(polynomial([i64::MIN, i64::MAX, 0], i64::MIN), -MAX_VALUE);
    }
}
