//! The hybrid mode: client and server run a network together.
//!
//! Between linear layers both hold additive shares of every tensor modulo the plaintext prime. At a
//! linear layer the client sends its share encrypted, the server adds its own, evaluates the circuit,
//! subtracts fresh uniform masks from every value that it sends and returns the result: the client's new share is what
//! it decrypts, the server's is the mask (plus the bias). The roles are types: [`Client`] cannot hold
//! weights, [`Server`] cannot hold a secret key or the image, and nothing passes between them but the
//! messages of a [`Channel`], also in one process. Layers mean nothing here beyond the integer network.

mod agreement;
mod client;
mod form;
mod held;
mod nonlinear;
mod reveal;
mod server;
mod session;
mod share;
mod two_party;
mod walk;

pub use crate::channel::{Channel, ChannelError, FRAME_BYTES, InMemory, Tag, Traffic};
pub use crate::mpc::{Cost, Modulus, MpcError, Role, Wiped};
pub use agreement::Fingerprint;
pub use client::{Answer, Answered, Client, ClientTimes};
pub use form::{NodeCost, Predicted, SetUp, predicted};
pub use held::{Held, held};
pub use nonlinear::{Function, Made, NonLinear, NonLinearError, Reveal, Step, steps};
pub use reveal::{REVEAL_LEAKS, RevealClient, RevealServer, first_of_greatest};
pub use server::{LayerRun, Server, Service};
pub use session::{Activations, Ahead, Choices, Inference, Session, infer_all, run_in_process, serve_all};
pub use share::{RandomnessError, Share, Uniform, local};
pub use two_party::{TwoParty, cost};
pub use walk::{NodeRun, Prepared};

use crate::backend::{BackendError, SchemeParams, Sent};
use crate::exec::ExecError;
use crate::graph::{IntNetwork, NodeId};
use crate::kernels::KernelError;
use crate::params::{Encoding, Sets};

/// The modulus of all shares: the plaintext prime.
fn modulus(network: &IntNetwork, sets: Sets<'_>) -> Result<Modulus, PartyError> {
    let t = sets.plain_modulus().ok_or(PartyError::Graph(network.graph.output()))?;
    Modulus::new(t).map_err(|e| NonLinearError::from(e).into())
}

/// A linear layer in order of execution.
#[derive(Clone, Copy, Debug)]
struct SegmentId {
    node: NodeId,
    index: usize,
}

/// Why a party stopped.
#[derive(Debug, thiserror::Error)]
pub enum PartyError {
    /// The scheme failed, or keys or ciphertexts were malformed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The circuit failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The weights do not fit the kernel: an error of ours.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The conversation ended.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// A non-linear step failed.
    #[error(transparent)]
    NonLinear(#[from] NonLinearError),
    /// No randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    /// The other party is of another version, or no party at all.
    #[error(
        "the other party speaks another version of the protocol ({theirs:?}, here {mine}): use the same program"
    )]
    Version {
        /// Of this program.
        mine: u8,
        /// Of the other party, if it said one.
        theirs: Option<u8>,
    },
    /// The first message is malformed.
    #[error("the first message has {found} bytes, expected {expected}")]
    Agreement {
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// The parties were started with different options.
    #[error("the other party chose otherwise for `{what}`: start both with the same options")]
    Choices {
        /// The option.
        what: &'static str,
    },
    /// The parties have different plans.
    #[error(
        "the other party has another plan of the network (fingerprint {theirs}, here {mine}): give the client the \
         public file of the very compilation that the server runs"
    )]
    Plan {
        /// Here.
        mine: Fingerprint,
        /// There.
        theirs: Fingerprint,
    },
    /// Network, plan and circuit do not belong together: an error of ours.
    #[error("internal error: node {} has no plan, weights or operand", .0.0)]
    Graph(NodeId),
    /// The step at which a party stopped.
    #[error("{step}: {error}")]
    At {
        /// A layer, or what comes before or after the layers.
        step: String,
        /// Why.
        error: Box<PartyError>,
    },
    /// The server shared a label that is none.
    #[error("the label is none of {classes} classes")]
    Label {
        /// How many classes there are.
        classes: usize,
    },
    /// A party's thread died: an error of ours.
    #[error("internal error: the {0}'s thread ended without a result")]
    Thread(&'static str),
}

impl PartyError {
    /// Says at which step it happened.
    #[must_use]
    pub fn at(self, step: &str) -> Self {
        Self::At { step: step.into(), error: Box::new(self) }
    }

    /// Why, without where.
    #[must_use]
    pub fn cause(&self) -> &Self {
        if let Self::At { error, .. } = self { error.cause() } else { self }
    }

    /// Whether the other party hung up.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(
            self.cause(),
            Self::Channel(ChannelError::Gone { .. })
                | Self::NonLinear(NonLinearError::Channel(ChannelError::Gone { .. }))
        )
    }
}

/// How far a linear layer has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The layer.
    pub layer: &'a str,
    /// Instructions done.
    pub done: u64,
    /// Instructions in all.
    pub total: u64,
}

/// The encodings, in the order in which their keys are sent.
const ENCODINGS: [Encoding; 2] = [Encoding::Slots, Encoding::Coefficients];

/// One of each encoding, where it is in use.
#[derive(Debug)]
struct ByEncoding<T> {
    slots: Option<T>,
    coefficients: Option<T>,
}

impl<T> ByEncoding<T> {
    fn of(&self, encoding: Encoding) -> Option<&T> {
        match encoding {
            Encoding::Slots => self.slots.as_ref(),
            Encoding::Coefficients => self.coefficients.as_ref(),
        }
    }

    /// Makes what `each` makes for the encodings in use, in order.
    fn make<E>(mut each: impl FnMut(Encoding) -> Result<Option<T>, E>) -> Result<Self, E> {
        let [slots, coefficients] = ENCODINGS.map(&mut each);
        Ok(Self { slots: slots?, coefficients: coefficients? })
    }
}

/// What is sent of a ciphertext, of these coefficients or else of slots.
fn sent(places: Option<&Vec<u32>>) -> Sent<'_> {
    places.map_or(Sent::Slots, |places| Sent::Coefficients(places))
}

/// The most bytes that a ciphertext of these parameters takes on the wire.
fn ciphertext_limit(params: &SchemeParams) -> usize {
    let residues = 2 * params.ring as usize * params.modulus_bits.len().max(1);
    residues * 8 + 4096
}

/// The most bytes that the evaluation keys for `steps` automorphisms take on the wire.
fn keys_limit(params: &SchemeParams, steps: usize) -> usize {
    (steps + 1) * 2 * params.modulus_bits.len().max(1) * ciphertext_limit(params) + 4096
}
