//! The quantised network: small integers, exact accumulators, one shift and clamp per activation.
//!
//! Pinned semantics: a linear layer computes its accumulator exactly; an activation computes
//! `y = clamp((acc + 2^(k-1)) >> k, lo, hi)` (no rounding term for k = 0); additions align their
//! operands by left shifts; an average pool is an integer sum whose divisor lives in the next scale.
//! This graph is public to both parties; [`IntWeights`] belong to the server.

use super::{Graph, Header, NodeId};
use crate::layers::{Conv, Linear, PadChannels, Pool, Shuffle, Subsample};
use crate::tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A closed range of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// Smallest value.
    pub lo: i64,
    /// Largest value.
    pub hi: i64,
}

impl Interval {
    /// The largest magnitude in it.
    #[must_use]
    pub fn magnitude(&self) -> u64 {
        self.lo.unsigned_abs().max(self.hi.unsigned_abs())
    }

    /// Widened to `-2^i..=2^j - 1` as far as magnitudes of `limit`, which it must keep. Idempotent.
    #[must_use]
    pub fn widened(self, limit: u64) -> Self {
        let magnitude = |v: i64| u64::try_from(v).unwrap_or(0);
        let (low, high) = (magnitude(self.lo.saturating_neg()), magnitude(self.hi));
        let power = |v: u64| if v == 0 { 0 } else { v.checked_next_power_of_two().unwrap_or(u64::MAX) };
        let within = |wide: u64| i64::try_from(wide.min(limit)).unwrap_or(i64::MAX);
        Self { lo: -within(power(low)), hi: within(power(high.saturating_add(1)) - 1) }
    }
}

/// `clamp((acc + 2^(shift-1)) >> shift, lo, hi)`; without the rounding term for shift 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requant {
    /// Right shift, 0..=62.
    pub shift: u32,
    /// Least result; 0 makes it a ReLU.
    pub lo: i64,
    /// Greatest result.
    pub hi: i64,
}

impl Requant {
    /// Applies it.
    #[must_use]
    pub fn apply(self, acc: i64) -> i64 {
        let rounded = if self.shift == 0 { acc } else { (acc + (1 << (self.shift - 1))) >> self.shift };
        rounded.clamp(self.lo, self.hi)
    }
}

/// A layer of the quantised network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntLayer {
    /// The quantised image.
    Input(Interval),
    /// Convolution: an HE segment. Its bias is part of it.
    Conv(Conv),
    /// Fully connected: an HE segment. Its bias is part of it.
    Linear(Linear),
    /// Sum of operands, operand `i` shifted left by `shifts[i]`.
    Add {
        /// One a operand.
        shifts: Vec<u32>,
    },
    /// Concatenation, operand `i` shifted left by `shifts[i]`.
    Concat {
        /// One a operand.
        shifts: Vec<u32>,
    },
    /// Channel shuffle.
    Shuffle(Shuffle),
    /// Strided subsampling.
    Subsample(Subsample),
    /// Zero channels.
    PadChannels(PadChannels),
    /// Sum over windows (average pools).
    SumPool(Pool),
    /// Maximum over windows.
    MaxPool(Pool),
    /// Shift and clamp: identity, ReLU and ReLU6 differ by their bounds alone.
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
    /// An image as features.
    Flatten,
}

/// Weights of one linear layer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerWeights {
    /// `[out, in / g, kh, kw]` or `[out, in]`, row `o` is output channel `o`; within the layer's bits.
    pub weight: Arc<Tensor<i8>>,
    /// One an output channel, at the accumulator's scale.
    pub bias: Arc<Vec<i64>>,
}

impl fmt::Debug for LayerWeights {
    /// Shows no weight: they are the server's secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerWeights").field("shape", &self.weight.shape).finish_non_exhaustive()
    }
}

impl Eq for Tensor<i8> {}

/// All weights of a network, by node. The server's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntWeights(pub BTreeMap<NodeId, LayerWeights>);

/// The quantised network. Public to both parties.
#[derive(Clone, Debug)]
pub struct IntNetwork {
    /// The model's header.
    pub header: Header,
    /// The layers.
    pub graph: Graph<IntLayer>,
    /// Bounds of each node's values, by node id; proven if weights were known.
    pub intervals: Vec<Interval>,
    /// One step of the quantised input, in normalised units.
    pub input_scale: f64,
    /// One step of the output, in the model's units.
    pub output_scale: f64,
    /// Whether the bounds were taken from bit widths and fan-in for want of weights.
    pub assumed: bool,
}

/// A layer that multiplies by weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affine<'a> {
    /// A convolution.
    Conv(&'a Conv),
    /// A fully connected layer.
    Linear(&'a Linear),
}

impl Affine<'_> {
    /// Its outputs: channels or features.
    #[must_use]
    pub fn out(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.out,
            Self::Linear(linear) => linear.out,
        }
    }

    /// The shape of its weights on an operand of shape `input`.
    #[must_use]
    pub fn weight_shape(&self, input: &Shape) -> Shape {
        match self {
            Self::Conv(conv) => conv.weight_shape(input.channels()),
            Self::Linear(linear) => Shape::of(&[linear.out, input.elements()]),
        }
    }
}

impl IntLayer {
    /// The layer, if it multiplies by weights.
    #[must_use]
    pub fn affine(&self) -> Option<Affine<'_>> {
        match self {
            Self::Conv(conv) => Some(Affine::Conv(conv)),
            Self::Linear(linear) => Some(Affine::Linear(linear)),
            Self::Input(_)
            | Self::Add { .. }
            | Self::Concat { .. }
            | Self::Shuffle(_)
            | Self::Subsample(_)
            | Self::PadChannels(_)
            | Self::SumPool(_)
            | Self::MaxPool(_)
            | Self::Requant(_)
            | Self::Poly { .. }
            | Self::Flatten => None,
        }
    }
}

/// What a non-linear node does, in elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NonLinearWork {
    /// Elements that pass a ReLU: a clamp at 0 of values that may be negative.
    pub relu: u64,
    /// Elements that pass another shift and clamp, or a polynomial.
    pub requant: u64,
    /// Comparisons of max pools.
    pub comparisons: u64,
}

impl std::ops::AddAssign for NonLinearWork {
    fn add_assign(&mut self, o: Self) {
        self.relu += o.relu;
        self.requant += o.requant;
        self.comparisons += o.comparisons;
    }
}

impl IntNetwork {
    /// What node `id` does; none if it is not non-linear.
    #[must_use]
    pub fn nonlinear_work(&self, id: NodeId) -> Option<NonLinearWork> {
        let node = self.graph.node(id);
        let elements = node.shape.elements() as u64;
        let operand = self.graph.inputs(id).first().and_then(|i| self.intervals.get(i.0 as usize));
        let negative = operand.is_some_and(|interval| interval.lo < 0);
        let none = NonLinearWork::default();
        match &node.layer {
            IntLayer::Requant(r) if r.lo == 0 && negative => Some(NonLinearWork { relu: elements, ..none }),
            IntLayer::Requant(_) | IntLayer::Poly { .. } => Some(NonLinearWork { requant: elements, ..none }),
            IntLayer::MaxPool(pool) => {
                let (c, h, w) = self.graph.input_shapes(id).first()?.chw();
                let windows = pool.windows((h, w));
                let (rows, columns) = windows.count();
                let a_channel = windows.pixels().saturating_sub(rows.saturating_mul(columns));
                Some(NonLinearWork { comparisons: c.saturating_mul(a_channel) as u64, ..none })
            }
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

    /// The bounds of node `id` as both parties may know them. Those that weights prove would tell the client
    /// sums of weights, so they are widened to powers of two, as far as clamps and shares modulo
    /// `plain_modulus` keep them. The operand of a polynomial keeps its own, on which the bounds of the
    /// polynomial depend.
    #[must_use]
    pub fn public_bounds(&self, id: NodeId, plain_modulus: u64) -> Interval {
        let own = self.intervals.get(id.0 as usize).copied().unwrap_or(Interval { lo: 0, hi: 0 });
        let users = self.graph.users(id);
        if users.iter().any(|&user| matches!(self.graph.node(user).layer, IntLayer::Poly { .. })) {
            return own;
        }
        let wide = own.widened(plain_modulus.saturating_sub(3) / 2);
        match &self.graph.node(id).layer {
            IntLayer::Input(_) => own,
            IntLayer::Requant(Requant { lo, hi, .. })
            | IntLayer::Poly { requant: Requant { lo, hi, .. }, .. } => {
                Interval { lo: wide.lo.max((*lo).min(own.lo)), hi: wide.hi.min((*hi).max(own.hi)) }
            }
            IntLayer::Conv(_)
            | IntLayer::Linear(_)
            | IntLayer::Add { .. }
            | IntLayer::Concat { .. }
            | IntLayer::Shuffle(_)
            | IntLayer::Subsample(_)
            | IntLayer::PadChannels(_)
            | IntLayer::SumPool(_)
            | IntLayer::MaxPool(_)
            | IntLayer::Flatten => wide,
        }
    }

    /// The network as the client may know it, with [`public_bounds`](Self::public_bounds) throughout.
    #[must_use]
    pub fn public(&self, plain_modulus: u64) -> Self {
        let intervals = self.graph.ids().map(|id| self.public_bounds(id, plain_modulus)).collect();
        Self { intervals, ..self.clone() }
    }

    /// The largest magnitude of any value that is held as shares, which the plaintext prime must
    /// exceed twice. The rounding term of the following activation is included, and so are polynomials
    /// before their shift.
    #[must_use]
    pub fn largest_accumulator(&self) -> u64 {
        let values = self.intervals.iter().map(|i| i.magnitude());
        let polynomials = self.graph.ids().filter_map(|id| {
            let IntLayer::Poly { a, b, c, requant } = self.graph.node(id).layer else { return None };
            let x = self.intervals.get(self.graph.inputs(id).first()?.0 as usize)?.magnitude();
            let terms =
                [a.unsigned_abs().saturating_mul(x).saturating_mul(x), b.unsigned_abs().saturating_mul(x)];
            let rounding = (1_u64 << requant.shift.min(62)) >> 1;
            Some(terms.into_iter().fold(c.unsigned_abs().saturating_add(rounding), u64::saturating_add))
        });
        values.chain(polynomials).max().unwrap_or(0)
    }
}
