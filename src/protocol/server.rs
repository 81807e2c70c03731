//! The server's role: weights and evaluation keys. It never holds a secret key, nor the image.

use super::nonlinear::{NonLinear, send_share};
use super::share::{Share, Uniform, add_mod, residue};
use super::walk::{Linear, walk};
use super::{PartyError, Progress, SegmentId, ciphertext_limit, keys_limit};
use crate::backend::{Counting, Evaluator, SchemeParams};
use crate::channel::{Channel, Tag};
use crate::circuit::{Circuit, Counts};
use crate::exec::{self, Kept};
use crate::graph::{IntNetwork, IntWeights};
use crate::select::Plan;
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the server brings along.
#[derive(Clone, Copy)]
pub struct Service<'a> {
    /// The public network.
    pub network: &'a IntNetwork,
    /// The public plan.
    pub plan: &'a Plan,
    /// Its instructions.
    pub circuit: &'a Circuit,
    /// The weights.
    pub weights: &'a IntWeights,
    /// The scheme's parameters.
    pub params: &'a SchemeParams,
    /// Bytes of encoded plaintexts that are kept from one inference to the next; 0 keeps none.
    pub memory: u64,
}

/// The server: weights, and the client's evaluation keys.
pub struct Server<'a, E: Evaluator> {
    service: Service<'a>,
    evaluator: Counting<E>,
    /// One a segment.
    kept: Vec<Kept<E::Plaintext>>,
}

/// What one linear layer cost, counted while it ran.
#[derive(Clone, Debug)]
pub struct LayerRun {
    /// Operations counted by the backend.
    pub counts: Counts,
    /// Wall time of the circuit, encoding included.
    pub time: Duration,
    /// Bytes of the client's ciphertexts.
    pub bytes_in: u64,
    /// Bytes of the replies.
    pub bytes_out: u64,
}

impl<'a, E: Evaluator> Server<'a, E> {
    /// Receives the evaluation keys.
    ///
    /// # Errors
    /// If they are none of these parameters.
    pub fn accept(service: Service<'a>, steps: usize, channel: &mut dyn Channel) -> Result<Self, PartyError> {
        let keys = channel.receive(0, Tag::EvaluationKeys, keys_limit(service.params, steps))?;
        let evaluator = Counting::new(E::from_keys(service.params, &keys)?);
        let kept = Kept::of(&service.circuit.segments, evaluator.plaintext_bytes(), service.memory);
        Ok(Self { service, evaluator, kept })
    }

    /// Galois keys used so far.
    pub fn galois_keys(&self) -> u64 {
        self.evaluator.galois_keys()
    }

    /// Serves one inference. Gives the counts of each linear layer.
    ///
    /// # Errors
    /// If the client does not keep to the protocol.
    pub fn serve(
        &self,
        channel: &mut dyn Channel,
        nonlinear: &mut dyn NonLinear,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Vec<LayerRun>, PartyError> {
        let Service { network, params, .. } = self.service;
        let input = network.graph.ids().next().map(|id| network.graph.node(id).shape.clone());
        let input = Tensor::zeros(input.unwrap_or_else(|| crate::tensor::Shape::flat(0)));
        let masks = Uniform::fresh(params.plain_modulus)?;
        let mut turn = Turn { server: self, masks, layers: Vec::new(), progress };
        let mine = walk(network, params.plain_modulus, input, channel, nonlinear, &mut turn)?.output;
        send_share(channel, network.graph.output().0, Tag::Output, &mine.data, params.plain_modulus)?;
        Ok(turn.layers)
    }
}

struct Turn<'s, 'a, E: Evaluator> {
    server: &'s Server<'a, E>,
    masks: Uniform,
    layers: Vec<LayerRun>,
    progress: &'s (dyn Fn(Progress<'_>) + Sync),
}

impl<E: Evaluator> Linear for Turn<'_, '_, E> {
    fn linear(
        &mut self,
        channel: &mut dyn Channel,
        segment: SegmentId,
        share: &Share,
    ) -> Result<Share, PartyError> {
        let Server { service, evaluator, kept } = self.server;
        let missing = || PartyError::Graph(segment.node);
        let planned = service.plan.layers.get(segment.index).ok_or_else(missing)?;
        let code = service.circuit.segments.get(segment.index).ok_or_else(missing)?;
        let weights = service.weights.0.get(&segment.node).ok_or_else(missing)?;
        let (step, t) = (segment.node.0, service.params.plain_modulus);

        let received: Vec<Vec<u8>> = (0..code.inputs)
            .map(|_| channel.receive(step, Tag::Input, ciphertext_limit(service.params)))
            .collect::<Result<_, _>>()?;
        let started = Instant::now();
        let packed = planned.kernel.input().pack(&share.data);
        let inputs: Vec<_> = received
            .par_iter()
            .zip(&packed)
            .map(|(bytes, slots)| {
                let mut ciphertext = evaluator.load(bytes)?;
                evaluator.add_plain(&mut ciphertext, slots)?;
                Ok(ciphertext)
            })
            .collect::<Result<_, PartyError>>()?;
        let bytes = |messages: &[Vec<u8>]| messages.iter().map(|m| m.len() as u64).sum();
        let bytes_in = bytes(&received);
        drop(received);

        let total = code.insts.len() as u64;
        let done = AtomicU64::new(0);
        let report = |finished: u64| {
            let done = done.fetch_add(finished, Ordering::Relaxed) + finished;
            (self.progress)(Progress { layer: &planned.name, done, total });
        };
        let plains = planned.kernel.plains(&weights.weight)?;
        let kept = kept.get(segment.index).ok_or_else(missing)?;
        let results = exec::run_kept(evaluator, code, (&plains, kept), inputs, &report)?;

        let slots = service.params.ring as usize;
        let masks: Vec<Vec<u64>> = results.iter().map(|_| self.masks.take(slots)).collect();
        let replies: Vec<Vec<u8>> = results
            .into_par_iter()
            .zip(&masks)
            .map(|(mut ciphertext, mask)| {
                let negated: Vec<u64> = mask.iter().map(|&r| if r == 0 { 0 } else { t - r }).collect();
                evaluator.add_plain(&mut ciphertext, &negated)?;
                Ok(evaluator.store(&ciphertext)?)
            })
            .collect::<Result<_, PartyError>>()?;
        self.layers.push(LayerRun {
            counts: evaluator.take(code.geometry),
            time: started.elapsed(),
            bytes_in,
            bytes_out: bytes(&replies),
        });
        for reply in &replies {
            channel.send(step, Tag::Reply, reply)?;
        }

        let shape = service.network.graph.node(segment.node).shape.clone();
        let (channels, h, w) = shape.chw();
        let mut data = planned.kernel.output().unpack(&masks);
        for channel in 0..channels {
            let bias = residue(weights.bias.get(channel).copied().unwrap_or(0), t);
            for r in data.iter_mut().skip(channel * h * w).take(h * w) {
                *r = add_mod(*r, bias, t);
            }
        }
        Tensor::new(shape, data).ok_or_else(missing)
    }
}
