//! The client's role: image and secret key. It never holds weights.

use super::nonlinear::{NonLinear, receive_share};
use super::share::{Share, add_mod, residue, signed};
use super::walk::{Linear, walk};
use super::{ByEncoding, PartyError, SegmentId, ciphertext_limit, sent};
use crate::backend::ClientKeys;
use crate::channel::{Channel, Tag};
use crate::circuit::Step;
use crate::graph::{IntNetwork, NonLinearWork};
use crate::params::{Encoding, Sets};
use crate::select::Plan;
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// The client: keys, the public network and plan.
pub struct Client<'a, K> {
    network: &'a IntNetwork,
    plan: &'a Plan,
    sets: Sets<'a>,
    plain_modulus: u64,
    keys: ByEncoding<K>,
}

/// Where the client's time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientTimes {
    /// Packing, encryption and its half of sending.
    pub encrypt: Duration,
    /// Decryption and unpacking.
    pub decrypt: Duration,
    /// Non-linear steps, both parties, as the client saw them.
    pub nonlinear: Duration,
    /// Non-linear steps that were made.
    pub work: NonLinearWork,
}

impl<'a, K: ClientKeys> Client<'a, K> {
    /// Generates the keys of each set of parameters and sends their evaluation keys: those in slots for
    /// `steps`, those in coefficients for none.
    ///
    /// # Errors
    /// If the parameters are refused or the server is gone.
    pub fn connect(
        network: &'a IntNetwork,
        plan: &'a Plan,
        sets: Sets<'a>,
        steps: &[Step],
        channel: &mut dyn Channel,
    ) -> Result<Self, PartyError> {
        let keys = ByEncoding::make(|encoding| {
            let Some(params) = sets.of(encoding) else { return Ok(None) };
            let keys = K::generate(params)?;
            let steps = match encoding {
                Encoding::Slots => steps,
                Encoding::Coefficients => &[],
            };
            channel.send(0, Tag::EvaluationKeys, &keys.evaluation_keys(steps)?)?;
            Ok::<_, PartyError>(Some(keys))
        })?;
        let plain_modulus = sets.plain_modulus().ok_or(PartyError::Graph(network.graph.output()))?;
        Ok(Self { network, plan, sets, plain_modulus, keys })
    }

    /// The network's output for a quantised `image`, with the server's help.
    ///
    /// # Errors
    /// If the server does not keep to the protocol.
    pub fn infer(
        &self,
        image: &Tensor<i64>,
        channel: &mut dyn Channel,
        nonlinear: &mut dyn NonLinear,
    ) -> Result<(Tensor<i64>, ClientTimes), PartyError> {
        let t = self.plain_modulus;
        let input = image.map(|&x| residue(x, t));
        let mut turn = Turn { client: self, times: ClientTimes::default() };
        let walked = walk(self.network, t, input, channel, nonlinear, &mut turn)?;
        let mine = walked.output;
        turn.times.nonlinear = walked.nonlinear;
        turn.times.work = walked.work;
        let output = self.network.graph.output();
        let theirs = receive_share(channel, output.0, Tag::Output, &mine.shape, t)?;
        let logits = mine.data.iter().zip(&theirs.data).map(|(&a, &b)| signed(add_mod(a, b, t), t)).collect();
        Ok((Tensor { shape: mine.shape, data: logits }, turn.times))
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
    ) -> Result<Share, PartyError> {
        let Client { plan, sets, keys, .. } = self.client;
        let missing = || PartyError::Graph(segment.node);
        let planned = plan.layers.get(segment.index).ok_or_else(missing)?;
        let encoding = planned.kernel.encoding();
        let keys = keys.of(encoding).ok_or_else(missing)?;
        let params = sets.of(encoding).ok_or_else(missing)?;
        let step = segment.node.0;

        let started = Instant::now();
        let packed = planned.kernel.input().pack(&share.data);
        let inputs: Vec<_> = packed.par_iter().map(|slots| keys.encrypt(slots)).collect::<Result<_, _>>()?;
        for input in &inputs {
            channel.send(step, Tag::Input, input)?;
        }
        drop(inputs);
        self.times.encrypt += started.elapsed();

        let output = planned.kernel.output();
        let replies: Vec<_> = (0..output.ciphertexts())
            .map(|_| channel.receive(step, Tag::Reply, ciphertext_limit(params)))
            .collect::<Result<_, _>>()?;
        let started = Instant::now();
        let opened = |(i, reply): (usize, &Vec<u8>)| keys.decrypt(reply, sent(output.sent(i).as_ref()));
        let values: Vec<_> = replies.par_iter().enumerate().map(opened).collect::<Result<_, _>>()?;
        let data = output.unpack(&values);
        self.times.decrypt += started.elapsed();
        let shape = self.client.network.graph.node(segment.node).shape.clone();
        Tensor::new(shape, data).ok_or_else(missing)
    }
}
