//! The client's role: image and secret key. It never holds weights.

use super::agreement::{Fingerprint, agree};
use super::nonlinear::{Made, NonLinear, Reveal};
use super::session::Choices;
use super::share::{Share, receive_share};
use super::walk::{Linear, Meanwhile, NodeRun, Prepared, Seen, walk};
use super::{ByEncoding, PartyError, SegmentId, ciphertext_limit, modulus, sent};
use crate::backend::ClientKeys;
use crate::channel::{Channel, Tag};
use crate::circuit;
use crate::graph::IntNetwork;
use crate::mpc::{Modulus, Wiped};
use crate::params::{Encoding, Sets};
use crate::protocol::first_of_greatest;
use crate::select::Plan;
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The client: keys, the public network and plan.
pub struct Client<'a, K> {
    network: &'a IntNetwork,
    plan: &'a Plan,
    sets: Sets<'a>,
    modulus: Modulus,
    choices: Choices,
    keys: ByEncoding<K>,
    key_bytes: u64,
}

/// Where the client's time went at linear layers.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientTimes {
    /// Packing, encryption and its half of sending.
    pub encrypt: Duration,
    /// Decryption and unpacking.
    pub decrypt: Duration,
}

/// What the client learns.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The network's output, exact integers.
    Logits(Tensor<i64>),
    /// The position of its greatest value, ties to the lowest.
    Label(usize),
}

impl Answer {
    /// The output; none if only the label was told.
    #[must_use]
    pub fn logits(&self) -> Option<&Tensor<i64>> {
        match self {
            Self::Logits(logits) => Some(logits),
            Self::Label(_) => None,
        }
    }

    /// The position of the greatest value, ties to the lowest.
    #[must_use]
    pub fn label(&self) -> usize {
        match self {
            Self::Logits(logits) => first_of_greatest(&logits.data),
            Self::Label(label) => *label,
        }
    }
}

/// An answer and how the client came by it.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What the client learned.
    pub answer: Answer,
    /// Where its time went.
    pub times: ClientTimes,
    /// The layers at which the parties talked.
    pub runs: Vec<NodeRun>,
    /// How the client was told.
    pub told: NodeRun,
}

impl<'a, K: ClientKeys> Client<'a, K> {
    /// Agrees with the server on what is run, generates the keys of each set of parameters and sends their
    /// evaluation keys: those in slots for `steps`, those in coefficients for none.
    ///
    /// # Errors
    /// If the server runs something else, the parameters are refused or the server is gone.
    pub fn connect(
        network: &'a IntNetwork,
        plan: &'a Plan,
        sets: Sets<'a>,
        steps: &[circuit::Step],
        choices: Choices,
        channel: &mut dyn Channel,
    ) -> Result<Self, PartyError> {
        let mine = Fingerprint::of(network, plan, sets)?;
        agree(channel, choices, mine).map_err(|e| e.at("agreement"))?;
        let before = channel.traffic().sent;
        let keys = ByEncoding::make(|encoding| {
            let Some(params) = sets.of(encoding) else { return Ok(None) };
            let keys = K::generate(params)?;
            let steps = match encoding {
                Encoding::Slots => steps,
                Encoding::Coefficients => &[],
            };
            channel.send(0, Tag::EvaluationKeys, &keys.evaluation_keys(steps)?)?;
            Ok::<_, PartyError>(Some(keys))
        });
        let keys = keys.map_err(|e| e.at("keys"))?;
        let key_bytes = channel.traffic().sent - before;
        let modulus = modulus(network, sets)?;
        Ok(Self { network, plan, sets, modulus, choices, keys, key_bytes })
    }

    /// Bytes of the evaluation keys, frames included.
    #[must_use]
    pub fn key_bytes(&self) -> u64 {
        self.key_bytes
    }

    /// Makes ahead what the choices say is made before an image is known.
    ///
    /// # Errors
    /// If the server does not keep to the protocol.
    pub fn prepare(
        &self,
        channel: &mut dyn Channel,
        nonlinear: &mut dyn NonLinear,
    ) -> Result<Prepared, PartyError> {
        self.choices.prepare(self.network, self.modulus, channel, nonlinear)
    }

    /// What the network makes of a quantised `image`, with the server's help and what was `prepared`.
    ///
    /// # Errors
    /// If the server does not keep to the protocol.
    pub fn infer(
        &self,
        image: &Tensor<i64>,
        channel: &mut dyn Channel,
        nonlinear: &mut dyn NonLinear,
        mut prepared: Prepared,
    ) -> Result<Answered, PartyError> {
        let input = Share::of(image, self.modulus);
        let mut turn = Turn { client: self, times: ClientTimes::default() };
        let walked = walk(self.network, self.modulus, input, channel, nonlinear, &mut prepared, &mut turn)?;
        let seen = Seen::now(channel, nonlinear);
        let answer = self.answer(walked.output, channel, nonlinear, &mut prepared);
        let (answer, ahead) = answer.map_err(|e| e.at("output"))?;
        let told = seen.until_now(channel, nonlinear, self.network.graph.output(), (None, Some(ahead)));
        Ok(Answered { answer, times: turn.times, runs: walked.runs, told })
    }

    fn answer(
        &self,
        mine: Share,
        channel: &mut dyn Channel,
        nonlinear: &mut dyn NonLinear,
        prepared: &mut Prepared,
    ) -> Result<(Answer, Made), PartyError> {
        let (t, output) = (self.modulus, self.network.graph.output());
        match self.choices.reveal {
            Reveal::Logits => {
                let theirs = receive_share(channel, output.0, Tag::Output, &mine.shape, t)?;
                let pairs = mine.data.iter().zip(theirs.data.iter());
                let data = pairs.map(|(&a, &b)| t.signed(t.add(a, b))).collect();
                Ok((Answer::Logits(Tensor { shape: mine.shape, data }), Made::default()))
            }
            Reveal::Label => {
                let classes = mine.data.len();
                let (step, ahead) = prepared.next().ok_or(PartyError::Graph(output))?;
                let label = nonlinear.apply(channel, &step, mine)?;
                // A server that shares another position than was computed is malformed, not a wrong index.
                let label = label.data.first().and_then(|&label| usize::try_from(label).ok());
                let label = label.filter(|&label| label < classes).ok_or(PartyError::Label { classes })?;
                Ok((Answer::Label(label), ahead))
            }
        }
    }
}

struct Turn<'c, 'a, K> {
    client: &'c Client<'a, K>,
    times: ClientTimes,
}

impl<K: ClientKeys> Linear for Turn<'_, '_, K> {
    fn linear(
        &mut self,
        channel: &mut dyn Channel,
        segment: SegmentId,
        share: &Share,
        meanwhile: Meanwhile<'_>,
    ) -> Result<Share, PartyError> {
        let Client { plan, sets, keys, modulus, .. } = self.client;
        let missing = || PartyError::Graph(segment.node);
        let planned = plan.layers.get(segment.index).ok_or_else(missing)?;
        let encoding = planned.kernel.encoding();
        let keys = keys.of(encoding).ok_or_else(missing)?;
        let params = sets.of(encoding).ok_or_else(missing)?;
        let step = segment.node.0;

        let started = Instant::now();
        let packed = Zeroizing::new(planned.kernel.pack(&share.data, modulus.value()));
        // A few at a time, so that the server reads the first while the next are encrypted.
        for packed in packed.chunks(rayon::current_num_threads()) {
            let inputs: Vec<_> =
                packed.par_iter().map(|slots| keys.encrypt(slots)).collect::<Result<_, _>>()?;
            for input in &inputs {
                channel.send(step, Tag::Input, input)?;
            }
        }
        self.times.encrypt += started.elapsed();
        meanwhile(channel)?;

        let output = planned.kernel.output();
        let mut values = Zeroizing::new(Vec::with_capacity(output.ciphertexts()));
        let mut decrypting = Duration::ZERO;
        while values.len() < output.ciphertexts() {
            let first = values.len();
            let few = rayon::current_num_threads().min(output.ciphertexts() - first);
            let replies: Vec<_> = (0..few)
                .map(|_| channel.receive(step, Tag::Reply, ciphertext_limit(params)))
                .collect::<Result<_, _>>()?;
            let started = Instant::now();
            let opened =
                |(i, reply): (usize, &Vec<u8>)| keys.decrypt(reply, sent(output.sent(first + i).as_ref()));
            let opened: Result<Vec<_>, _> = replies.par_iter().enumerate().map(opened).collect();
            values.extend(opened?);
            decrypting += started.elapsed();
        }
        let started = Instant::now();
        let data = Wiped::from(planned.kernel.unpack(std::mem::take(&mut *values), modulus.value()));
        self.times.decrypt += decrypting + started.elapsed();
        let shape = self.client.network.graph.node(segment.node).shape.clone();
        Share::new(shape, data).ok_or_else(missing)
    }
}
