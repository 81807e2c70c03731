//! The hybrid mode: client and server run a network together.
//!
//! Between linear layers both hold additive shares of every tensor modulo the plaintext prime. At a
//! linear layer the client sends its share encrypted, the server adds its own, evaluates the circuit,
//! subtracts fresh uniform masks from every value that it sends and returns the result: the client's new share is what
//! it decrypts, the server's is the mask (plus the bias). The roles are types: [`Client`] cannot hold
//! weights, [`Server`] cannot hold a secret key or the image, and nothing passes between them but the
//! messages of a [`Channel`], also in one process. Layers mean nothing here beyond the integer network.

mod client;
mod nonlinear;
mod server;
mod share;
mod walk;

pub use crate::channel::{Channel, ChannelError, FRAME_BYTES, InMemory, Tag, Traffic};
pub use client::{Client, ClientTimes};
pub use nonlinear::{Function, NonLinear, NonLinearError, REVEAL_LEAKS, RevealClient, RevealServer, Step};
pub use server::{LayerRun, Server, Service};
pub use share::{RandomnessError, Share, Uniform, local};

use crate::backend::{BackendError, ClientKeys, Evaluator, SchemeParams, Sent};
use crate::exec::ExecError;
use crate::graph::NodeId;
use crate::kernels::KernelError;
use crate::lower::galois_steps;
use crate::params::Encoding;
use crate::tensor::Tensor;
use std::time::{Duration, Instant};

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
    /// Network, plan and circuit do not belong together: an error of ours.
    #[error("internal error: node {} has no plan, weights or operand", .0.0)]
    Graph(NodeId),
    /// A party's thread died: an error of ours.
    #[error("internal error: the {0}'s thread ended without a result")]
    Thread(&'static str),
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

/// What came of a run of one or more inferences.
#[derive(Clone, Debug)]
pub struct Session {
    /// One entry an inference.
    pub inferences: Vec<Inference>,
    /// Key generation on the client and loading on the server.
    pub keygen: Duration,
    /// Bytes of the evaluation keys, frame included.
    pub key_bytes: u64,
}

/// One inference.
#[derive(Clone, Debug)]
pub struct Inference {
    /// The network's output, exact integers.
    pub logits: Tensor<i64>,
    /// Each linear layer as it ran, in order.
    pub layers: Vec<LayerRun>,
    /// The client's times.
    pub client: ClientTimes,
    /// Wall time of the inference.
    pub total: Duration,
    /// Bytes and rounds, seen from the client, keys excluded.
    pub traffic: Traffic,
    /// Galois keys that were used, up to this inference.
    pub galois_keys: u64,
}

/// Runs both roles in this process, each in its own thread, over an in-memory channel, with revealed
/// activations. `done` is called after each inference.
///
/// # Errors
/// The first error of either party.
pub fn run_in_process<K: ClientKeys, E: Evaluator>(
    service: Service<'_>,
    images: &[Tensor<i64>],
    progress: &(dyn Fn(Progress<'_>) + Sync),
    done: &(dyn Fn(usize) + Sync),
) -> Result<Session, PartyError> {
    let steps = galois_steps(&service.circuit.segments);
    let steps = steps.as_slice();
    // Each end moves into its thread, so that a party that fails hangs up and the other does not wait.
    let (mut client_end, mut channel) = InMemory::pair();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || -> Result<Vec<(Vec<LayerRun>, u64)>, PartyError> {
            let server = Server::<E>::accept(service, steps.len(), &mut channel)?;
            let serve = |_| {
                let layers = server.serve(&mut channel, &mut RevealServer, progress)?;
                Ok((layers, server.galois_keys()))
            };
            images.iter().map(serve).collect()
        });
        let client = scope.spawn(move || converse::<K>(service, images, steps, &mut client_end, done));
        let client = client.join().map_err(|_| PartyError::Thread("client"))?;
        let server = server.join().map_err(|_| PartyError::Thread("server"))?;
        let (mut session, layers) = match (client, server) {
            (Ok(session), Ok(layers)) => (session, layers),
            // A party that hung up did so because the other failed: report the cause.
            (Err(PartyError::Channel(ChannelError::Gone { .. })) | Ok(_), Err(e)) | (Err(e), _) => {
                return Err(e);
            }
        };
        for (inference, (layers, galois_keys)) in session.inferences.iter_mut().zip(layers) {
            inference.layers = layers;
            inference.galois_keys = galois_keys;
        }
        Ok(session)
    })
}

fn converse<K: ClientKeys>(
    service: Service<'_>,
    images: &[Tensor<i64>],
    steps: &[crate::circuit::Step],
    channel: &mut InMemory,
    done: &(dyn Fn(usize) + Sync),
) -> Result<Session, PartyError> {
    let started = Instant::now();
    let client = Client::<K>::connect(service.network, service.plan, service.params, steps, channel)?;
    let keygen = started.elapsed();
    let key_bytes = channel.traffic().sent;
    let mut inferences = Vec::with_capacity(images.len());
    for (i, image) in images.iter().enumerate() {
        let (before, started) = (channel.traffic(), Instant::now());
        let (logits, times) = client.infer(image, channel, &mut RevealClient)?;
        let after = channel.traffic();
        let traffic = Traffic {
            sent: after.sent - before.sent,
            received: after.received - before.received,
            rounds: after.rounds - before.rounds,
        };
        inferences.push(Inference {
            logits,
            layers: Vec::new(),
            client: times,
            total: started.elapsed(),
            traffic,
            galois_keys: 0,
        });
        done(i + 1);
    }
    Ok(Session { inferences, keygen, key_bytes })
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
