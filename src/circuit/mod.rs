//! The circuit: a flat SSA list of homomorphic instructions, one segment a linear layer.
//!
//! A segment starts from fresh ciphertexts and ends in the ciphertexts that the server returns.
//! Values are numbered in order of definition: first the segment's inputs, then one value an
//! instruction. Plaintexts are described, not held: a [`PlainId`] is a number whose slots the layer's
//! kernel makes when they are needed. Nothing here knows layers or backends.

mod build;
mod contents;
mod count;
mod print;
mod segment;
mod verify;

pub use build::Builder;
pub use contents::{Axis, Contents, Places};
pub use count::{Counts, count};
pub use segment::BATCH;
pub use verify::{CircuitError, verify};

use crate::params::Encoding;
use serde::{Deserialize, Serialize};

/// A ciphertext of a segment: inputs first, then one an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Value(pub u32);

/// A described plaintext of a segment; the layer's kernel knows its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlainId(pub u32);

/// An automorphism that permutes slots: one key switch, one Galois key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Step {
    /// Turns both rows left: `out[u] = in[u + k mod N/2]`. Kept in `-N/4 < k <= N/4`, never 0.
    Rotate(i32),
    /// Exchanges the two rows.
    SwapRows,
}

/// One homomorphic instruction.
///
/// A key switch ends with a division by the special primes' product P, half of its work. What is summed up
/// need not be divided one by one: a [`RotateSum`](Self::RotateSum) divides its sum, a [`Dot`](Self::Dot)
/// over [`Extended`](Self::Extended) values divides its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inst {
    /// `step(src)`. See [`Segment::batches`] for which automorphisms are done together.
    Automorphism {
        /// What is turned.
        src: Value,
        /// By how much.
        step: Step,
    },
    /// `step(src)` before the division by P: only dot products may read it.
    Extended {
        /// What is turned.
        src: Value,
        /// By how much.
        step: Step,
    },
    /// The sum over `turns[first..first + len]`, divided by P once; two or more, some of them rotated.
    RotateSum {
        /// Index of the first summand in [`Segment::turns`].
        first: u32,
        /// How many summands.
        len: u32,
    },
    /// The sum of value times plaintext over `terms[first..first + len]`, `len >= 1`; divided by P once if
    /// some of the values are extended.
    Dot {
        /// Index of the first term in [`Segment::terms`].
        first: u32,
        /// How many terms.
        len: u32,
    },
    /// `a + b`.
    Add(Value, Value),
}

/// A summand of a [`RotateSum`](Inst::RotateSum).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What is added.
    pub src: Value,
    /// By how much it is turned first, if at all.
    pub step: Option<Step>,
}

/// Blocks of a packed layer, from which the kind of a rotation follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockGeometry {
    /// Slots of one channel block; a multiple of it is an external step.
    pub block: u32,
    /// The largest `|dy*w + dx|` of a tap: an internal step is at most this. Below `block`.
    pub reach: u32,
}

/// Whether a rotation aligns a kernel tap or channels (rotations in section 2 of the cost model).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RotationKind {
    /// A shift inside a channel block.
    Internal,
    /// A shift by blocks, or a row swap.
    External,
}

impl BlockGeometry {
    /// The kind of `step`: computed, never declared. Any block offset makes it external.
    #[must_use]
    pub fn kind(&self, step: Step) -> RotationKind {
        match step {
            Step::Rotate(k) if k.unsigned_abs() <= self.reach => RotationKind::Internal,
            Step::Rotate(_) | Step::SwapRows => RotationKind::External,
        }
    }
}

/// The instructions of one linear layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The layer's name.
    pub layer: String,
    /// What its polynomials hold, and what of its outputs is sent.
    pub contents: Contents,
    /// Block structure of its input.
    pub geometry: BlockGeometry,
    /// How many ciphertexts come in: values `0..inputs`.
    pub inputs: u32,
    /// How many plaintexts are described: ids `0..plains`.
    pub plains: u32,
    /// Instruction `i` defines value `inputs + i`.
    pub insts: Vec<Inst>,
    /// Operands of the dot products.
    pub terms: Vec<(Value, PlainId)>,
    /// Summands of the sums of rotations.
    pub turns: Vec<Turn>,
    /// What goes back to the client.
    pub outputs: Vec<Value>,
}

/// The whole network's instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circuit {
    /// Ring degree N of segments in slots: a ciphertext has two rows of N/2.
    pub ring: u32,
    /// Ring degree of segments in coefficients.
    pub coefficient_ring: u32,
    /// One segment a linear layer, in order of execution.
    pub segments: Vec<Segment>,
}

impl Circuit {
    /// The ring degree of segments in `encoding`.
    #[must_use]
    pub fn ring_of(&self, encoding: Encoding) -> u32 {
        match encoding {
            Encoding::Slots => self.ring,
            Encoding::Coefficients => self.coefficient_ring,
        }
    }
}

/// Makes the values of a layer's plaintexts when they are needed.
pub trait PlainSource: Sync {
    /// Writes the N signed values of plaintext `id`, slots row by row or coefficients, into `values`.
    fn fill(&self, id: PlainId, values: &mut [i64]);
}
