//! Whole conversations: keys, set-up, one inference after another. Each party in a thread of its own, or in a
//! process of its own.

use super::client::{Answer, Client, ClientTimes};
use super::nonlinear::{NonLinear, NonLinearError, Reveal};
use super::reveal::{RevealClient, RevealServer};
use super::server::{LayerRun, Server, Service};
use super::two_party::TwoParty;
use super::walk::{NodeRun, Prepared};
use super::{Made, PartyError, Progress};
use crate::backend::{ClientKeys, Evaluator};
use crate::channel::{Channel, InMemory, Traffic};
use crate::graph::{IntNetwork, NonLinearWork};
use crate::lower::galois_steps;
use crate::mpc::{Modulus, Role};
use crate::params::Sets;
use crate::select::Plan;
use crate::tensor::Tensor;
use std::time::{Duration, Instant};

/// How non-linear steps are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// On shares, by both parties.
    #[default]
    TwoParty,
    /// Debugging: the client sees them.
    Revealed,
}

/// When random transfers are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ahead {
    /// A layer's while the linear layer before it is computed, as far as memory allows, else when it is reached.
    #[default]
    Layer,
    /// An image's before it is known: least time from image to answer.
    Image,
}

/// What both parties must agree on beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// How non-linear steps are computed.
    pub activations: Activations,
    /// What the client learns.
    pub reveal: Reveal,
    /// When random transfers are made.
    pub ahead: Ahead,
}

/// What came of a run of one or more inferences, as the client saw it.
#[derive(Clone, Debug)]
pub struct Session {
    /// One entry an inference.
    pub inferences: Vec<Inference>,
    /// Key generation on the client and loading on the server.
    pub keygen: Duration,
    /// Bytes of the evaluation keys, frames included.
    pub key_bytes: u64,
    /// The set-up of the non-linear steps: time and what passed.
    pub setup: Made,
}

/// One inference.
#[derive(Clone, Debug)]
pub struct Inference {
    /// What the client learned.
    pub answer: Answer,
    /// Each linear layer as it ran, in order; known where both parties are in one process.
    pub layers: Vec<LayerRun>,
    /// Each layer at which the parties talked, as the client saw it.
    pub runs: Vec<NodeRun>,
    /// How the client was told the answer.
    pub told: NodeRun,
    /// The client's times.
    pub client: ClientTimes,
    /// Wall time from image to answer.
    pub total: Duration,
    /// Bytes and rounds from image to answer, seen from the client, without what was made ahead.
    pub traffic: Traffic,
    /// What was made before the image was known.
    pub ahead: Made,
    /// Galois keys that were used, up to this inference.
    pub galois_keys: u64,
}

impl Inference {
    /// The non-linear steps that were made.
    #[must_use]
    pub fn work(&self) -> NonLinearWork {
        let mut sum = NonLinearWork::default();
        self.runs.iter().filter_map(|run| run.work).for_each(|work| sum += work);
        sum
    }

    /// Time of the non-linear steps and of telling the answer, both parties, without what was made for them.
    #[must_use]
    pub fn nonlinear(&self) -> Duration {
        let steps = self.runs.iter().filter(|run| run.work.is_some());
        steps.chain([&self.told]).map(|run| run.time).sum()
    }

    /// What passed at the layers, without what was made for them.
    #[must_use]
    pub fn online(&self) -> Traffic {
        self.traffic - (self.made().traffic - self.ahead.traffic)
    }

    /// What was made for non-linear steps, ahead or when it was needed.
    #[must_use]
    pub fn made(&self) -> Made {
        self.runs.iter().chain([&self.told]).fold(Made::default(), |mut sum, run| {
            sum += run.made;
            sum
        })
    }
}

impl Choices {
    /// A party's half of the non-linear steps, set up with the other party.
    ///
    /// # Errors
    /// If the other party does not keep to the protocol.
    pub fn nonlinear(
        self,
        role: Role,
        channel: &mut dyn Channel,
    ) -> Result<Box<dyn NonLinear>, NonLinearError> {
        Ok(match (self.activations, role) {
            (Activations::TwoParty, _) => Box::new(TwoParty::connect(role, channel)?),
            (Activations::Revealed, Role::Client) => Box::new(RevealClient),
            (Activations::Revealed, Role::Server) => Box::new(RevealServer),
        })
    }

    /// Makes what an image will need, if that is made ahead.
    pub(super) fn prepare(
        self,
        network: &IntNetwork,
        modulus: Modulus,
        channel: &mut dyn Channel,
        nonlinear: &mut dyn NonLinear,
    ) -> Result<Prepared, PartyError> {
        let mut prepared = Prepared::nothing(network, modulus, self.reveal);
        match self.ahead {
            Ahead::Layer => {}
            Ahead::Image => prepared
                .prepare(channel, nonlinear, None, usize::MAX)
                .map_err(|e| e.at("transfers made ahead"))?,
        }
        Ok(prepared)
    }
}

/// Runs both roles in this process, each in its own thread, over an in-memory channel. `done` is called after
/// each inference.
///
/// # Errors
/// The first error of either party.
pub fn run_in_process<K: ClientKeys, E: Evaluator>(
    service: Service<'_>,
    choices: Choices,
    images: &[Tensor<i64>],
    progress: &(dyn Fn(Progress<'_>) + Sync),
    done: &(dyn Fn(usize) + Sync),
) -> Result<Session, PartyError> {
    // Each end moves into its thread, so that a party that fails hangs up and the other does not wait.
    let (mut client_end, mut server_end) = InMemory::pair();
    std::thread::scope(|scope| {
        let server =
            scope.spawn(move || serve_all::<E>(service, choices, images.len(), &mut server_end, progress));
        let Service { network, plan, params, .. } = service;
        let steps = galois_steps(&service.circuit.segments);
        let client = scope.spawn(move || {
            let public = (network, plan, params);
            infer_all::<K>(public, steps.as_slice(), choices, images, &mut client_end, done)
        });
        let client = client.join().map_err(|_| PartyError::Thread("client"))?;
        let server = server.join().map_err(|_| PartyError::Thread("server"))?;
        let (mut session, layers) = match (client, server) {
            (Ok(session), Ok(layers)) => (session, layers),
            // A party that hung up did so because the other failed: report the cause.
            (Err(client), Err(server)) => return Err(if client.is_gone() { server } else { client }),
            (Err(e), Ok(_)) | (Ok(_), Err(e)) => return Err(e),
        };
        for (inference, (layers, galois_keys)) in session.inferences.iter_mut().zip(layers) {
            inference.layers = layers;
            inference.galois_keys = galois_keys;
        }
        Ok(session)
    })
}

/// The server's side of a conversation of `images` inferences: each one's linear layers, and the Galois keys
/// used so far.
///
/// # Errors
/// If the client does not keep to the protocol.
pub fn serve_all<E: Evaluator>(
    service: Service<'_>,
    choices: Choices,
    images: usize,
    channel: &mut dyn Channel,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Vec<(Vec<LayerRun>, u64)>, PartyError> {
    let steps = galois_steps(&service.circuit.segments).len();
    let server = Server::<E>::accept(service, steps, choices, channel)?;
    let nonlinear = choices.nonlinear(Role::Server, channel);
    let mut nonlinear = nonlinear.map_err(|e| PartyError::from(e).at("set-up"))?;
    let serve = |_| {
        let prepared = server.prepare(channel, &mut *nonlinear)?;
        let layers = server.serve(channel, &mut *nonlinear, prepared, progress)?;
        Ok((layers, server.galois_keys()))
    };
    (0..images).map(serve).collect()
}

/// The client's side of a conversation about `images`, from what is public of the network, its Galois steps
/// among it.
///
/// # Errors
/// If the server does not keep to the protocol.
pub fn infer_all<K: ClientKeys>(
    (network, plan, sets): (&IntNetwork, &Plan, Sets<'_>),
    steps: &[crate::circuit::Step],
    choices: Choices,
    images: &[Tensor<i64>],
    channel: &mut dyn Channel,
    done: &(dyn Fn(usize) + Sync),
) -> Result<Session, PartyError> {
    let started = Instant::now();
    let client = Client::<K>::connect(network, plan, sets, steps, choices, channel)?;
    let (keygen, keys) = (started.elapsed(), channel.traffic());
    let nonlinear = choices.nonlinear(Role::Client, channel);
    let mut nonlinear = nonlinear.map_err(|e| PartyError::from(e).at("set-up"))?;
    let setup =
        Made { time: started.elapsed() - keygen, traffic: channel.traffic() - keys, ..Made::default() };
    let mut inferences = Vec::with_capacity(images.len());
    for (i, image) in images.iter().enumerate() {
        let made = nonlinear.made();
        let prepared = client.prepare(channel, &mut *nonlinear)?;
        let ahead = nonlinear.made() - made;
        let (before, started) = (channel.traffic(), Instant::now());
        let answered = client.infer(image, channel, &mut *nonlinear, prepared)?;
        inferences.push(Inference {
            answer: answered.answer,
            layers: Vec::new(),
            runs: answered.runs,
            told: answered.told,
            client: answered.times,
            total: started.elapsed(),
            traffic: channel.traffic() - before,
            ahead,
            galois_keys: 0,
        });
        done(i + 1);
    }
    Ok(Session { inferences, keygen, key_bytes: client.key_bytes(), setup })
}
