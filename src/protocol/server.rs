//! The server's role: weights and evaluation keys. It never holds a secret key, nor the image.

use super::agreement::{Fingerprint, agree};
use super::nonlinear::{NonLinear, Reveal};
use super::session::Choices;
use super::share::{Share, Uniform, send_share};
use super::walk::{Linear, Meanwhile, Prepared, walk};
use super::{ByEncoding, ENCODINGS, PartyError, Progress, SegmentId};
use super::{ciphertext_limit, keys_limit, modulus, sent};
use crate::backend::{BackendError, Counting, Evaluator};
use crate::channel::{Channel, Tag};
use crate::circuit::{Circuit, Counts};
use crate::clock::{Busy, Whose};
use crate::exec::{self, Kept};
use crate::graph::{IntNetwork, IntWeights};
use crate::mpc::{Modulus, Wiped};
use crate::params::{Encoding, Sets};
use crate::select::Plan;
use rayon::prelude::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

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
    pub params: Sets<'a>,
    /// Bytes of encoded plaintexts that are kept from one inference to the next; 0 keeps none.
    pub memory: u64,
}

/// The server: weights, and the client's evaluation keys.
pub struct Server<'a, E: Evaluator> {
    service: Service<'a>,
    modulus: Modulus,
    choices: Choices,
    evaluators: ByEncoding<Counting<E>>,
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
    /// Processor time of plaintexts and masks, of reading the inputs, of the circuit and of the replies, on all
    /// threads.
    pub processor: Duration,
    /// Bytes of the client's ciphertexts.
    pub bytes_in: u64,
    /// Bytes of the replies.
    pub bytes_out: u64,
}

impl<'a, E: Evaluator> Server<'a, E> {
    /// Agrees with the client on what is run, and receives the evaluation keys.
    ///
    /// # Errors
    /// If the client runs something else, or sends no keys of these parameters.
    pub fn accept(
        service: Service<'a>,
        steps: usize,
        choices: Choices,
        channel: &mut dyn Channel,
    ) -> Result<Self, PartyError> {
        let Service { network, plan, params, .. } = service;
        let mine = Fingerprint::of(network, plan, params)?;
        agree(channel, choices, mine).map_err(|e| e.at("agreement"))?;
        let evaluators = ByEncoding::make(|encoding| {
            let Some(params) = service.params.of(encoding) else { return Ok(None) };
            let steps = match encoding {
                Encoding::Slots => steps,
                Encoding::Coefficients => 0,
            };
            let keys = channel.receive(0, Tag::EvaluationKeys, keys_limit(params, steps))?;
            Ok::<_, PartyError>(Some(Counting::new(E::from_keys(params, &keys)?)))
        });
        let evaluators = evaluators.map_err(|e| e.at("keys"))?;
        let kept = Kept::of(&service.circuit.segments, service.memory);
        let modulus = modulus(network, params)?;
        Ok(Self { service, modulus, choices, evaluators, kept })
    }

    /// Makes ahead what the choices say is made before an image is known.
    ///
    /// # Errors
    /// If the client does not keep to the protocol.
    pub fn prepare(
        &self,
        channel: &mut dyn Channel,
        nonlinear: &mut dyn NonLinear,
    ) -> Result<Prepared, PartyError> {
        self.choices.prepare(self.service.network, self.modulus, channel, nonlinear)
    }

    /// Galois keys used so far.
    pub fn galois_keys(&self) -> u64 {
        ENCODINGS.iter().filter_map(|&e| self.evaluators.of(e)).map(Counting::galois_keys).sum()
    }

    /// Serves one inference with what was `prepared`. Gives the counts of each linear layer.
    ///
    /// # Errors
    /// If the client does not keep to the protocol.
    pub fn serve(
        &self,
        channel: &mut dyn Channel,
        nonlinear: &mut dyn NonLinear,
        mut prepared: Prepared,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Vec<LayerRun>, PartyError> {
        let (Service { network, .. }, t) = (self.service, self.modulus);
        let output = network.graph.output();
        let input = network.graph.ids().next().map(|id| network.graph.node(id).shape.clone());
        let input = Share::zeros(input.ok_or(PartyError::Graph(output))?);
        let masks = Uniform::fresh(t.value())?;
        let mut turn = Turn { server: self, masks, layers: Vec::new(), progress };
        let mine = walk(network, t, input, channel, nonlinear, &mut prepared, &mut turn)?.output;
        let told = match self.choices.reveal {
            Reveal::Logits => send_share(channel, output.0, Tag::Output, &mine.data, t).map_err(Into::into),
            Reveal::Label => {
                let (step, _) = prepared.next().ok_or(PartyError::Graph(output))?;
                nonlinear.apply(channel, &step, mine).map(drop)
            }
        };
        told.map_err(|e| PartyError::from(e).at("output"))?;
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
        meanwhile: Meanwhile<'_>,
    ) -> Result<Share, PartyError> {
        let Server { service, modulus: t, evaluators, kept, .. } = self.server;
        let missing = || PartyError::Graph(segment.node);
        let planned = service.plan.layers.get(segment.index).ok_or_else(missing)?;
        let code = service.circuit.segments.get(segment.index).ok_or_else(missing)?;
        let weights = service.weights.0.get(&segment.node).ok_or_else(missing)?;
        let encoding = code.contents.encoding();
        let evaluator = evaluators.of(encoding).ok_or_else(missing)?;
        let params = service.params.of(encoding).ok_or_else(missing)?;
        let (step, t) = (segment.node.0, *t);

        let packed = Zeroizing::new(planned.kernel.pack(&share.data, t.value()));
        let busy = Busy::default();
        let limit = ciphertext_limit(params);
        // Plaintexts and masks depend on no message: they are made while the client encrypts.
        let places: Vec<_> = (0..code.outputs.len()).map(|output| code.contents.sent(output)).collect();
        let ring = params.ring as usize;
        let masks = &mut self.masks;
        let prepare = || {
            busy.job(Whose::Thread, || {
                let masks = places.iter().map(|places| mask(masks, ring, places.as_deref()));
                let masks: Zeroizing<Vec<Vec<u64>>> = Zeroizing::new(masks.collect());
                Ok::<_, PartyError>((planned.kernel.plains(&weights.weight, t.value())?, masks))
            })
        };
        let received = receive_inputs(channel, (step, limit), evaluator, (&packed, &busy), prepare)?;
        let Received { inputs, bytes: bytes_in, prepared } = received;
        let (plains, mut masks) = prepared?;
        let total = code.insts.len() as u64;
        let done = AtomicU64::new(0);
        let pulse = channel.pulse();
        let report = |finished: u64| {
            pulse.beat();
            let done = done.fetch_add(finished, Ordering::Relaxed) + finished;
            (self.progress)(Progress { layer: &planned.name, done, total });
        };
        let kept = kept.get(segment.index).ok_or_else(missing)?;
        let circuit = || {
            let started = Instant::now();
            // What else runs in the process meanwhile, transfers and nothing more, is charged to it.
            let results = busy
                .job(Whose::Process, || exec::run_kept(evaluator, code, (&plains, kept), inputs, &report));
            results.map(|results| (results, started.elapsed()))
        };
        let (results, computing) = beside(circuit, || meanwhile(channel))?;

        let started = Instant::now();
        let mut bytes_out = 0;
        let mut ready = results.into_iter().zip(masks.iter().zip(&places)).peekable();
        // A few at a time, so that the client reads the first while the next are masked.
        while ready.peek().is_some() {
            let few: Vec<_> = ready.by_ref().take(rayon::current_num_threads()).collect();
            let masked = few.into_par_iter().map(|(mut ciphertext, (mask, places))| {
                let negated: Wiped = mask.iter().map(|&r| t.sub(0, r)).collect();
                busy.job(Whose::Thread, || {
                    evaluator.add_plain(&mut ciphertext, &negated)?;
                    Ok(evaluator.store(&ciphertext, sent(places.as_ref()))?)
                })
            });
            for reply in masked.collect::<Result<Vec<_>, PartyError>>()? {
                channel.send(step, Tag::Reply, &reply)?;
                bytes_out += reply.len() as u64;
            }
        }
        let counts = evaluator.take(code.geometry);
        let (time, processor) = (computing + started.elapsed(), busy.total());
        self.layers.push(LayerRun { counts, time, processor, bytes_in, bytes_out });

        let shape = service.network.graph.node(segment.node).shape.clone();
        let (channels, h, w) = shape.chw();
        let masks = std::mem::take(&mut *masks);
        let mut data = Wiped::from(planned.kernel.unpack(masks, t.value()));
        for channel in 0..channels {
            let bias = t.residue(weights.bias.get(channel).copied().unwrap_or(0));
            for r in data.iter_mut().skip(channel * h * w).take(h * w) {
                *r = t.add(*r, bias);
            }
        }
        Share::new(shape, data).ok_or_else(missing)
    }
}

/// What `compute` gives, on the threads of the pool, while this one does something else: it may wait for the
/// other party, which a thread of the pool must not.
fn beside<T: Send>(
    compute: impl FnOnce() -> Result<T, exec::ExecError> + Send,
    meanwhile: impl FnOnce() -> Result<(), PartyError>,
) -> Result<T, PartyError> {
    let mut computed = None;
    rayon::in_place_scope(|scope| {
        scope.spawn(|_| computed = Some(compute()));
        meanwhile()
    })?;
    Ok(computed.ok_or(PartyError::Thread("server"))??)
}

/// Where a ciphertext is put once it is read.
type Read<C> = Mutex<Option<Result<C, PartyError>>>;

/// The client's ciphertexts with the server's share added, their bytes, and what was prepared meanwhile.
struct Received<C, T> {
    inputs: Vec<C>,
    bytes: u64,
    prepared: T,
}

/// Receives the client's ciphertexts and adds the `packed` share of the server. Each is read while the next ones
/// arrive, and `prepare` runs before the first one does.
fn receive_inputs<E: Evaluator, T: Send>(
    channel: &mut dyn Channel,
    (step, limit): (u32, usize),
    evaluator: &E,
    (packed, busy): (&[Vec<u64>], &Busy),
    prepare: impl FnOnce() -> T + Send,
) -> Result<Received<E::Ciphertext, T>, PartyError> {
    let mut prepared = None;
    let read: Vec<Read<E::Ciphertext>> = packed.iter().map(|_| Mutex::new(None)).collect();
    let mut bytes = 0;
    rayon::in_place_scope(|scope| {
        scope.spawn(|_| prepared = Some(prepare()));
        for (slots, place) in packed.iter().zip(&read) {
            let message = channel.receive(step, Tag::Input, limit)?;
            bytes += message.len() as u64;
            scope.spawn(move |_| {
                let ciphertext = busy.job(Whose::Thread, || {
                    let mut ciphertext = evaluator.load(&message)?;
                    evaluator.add_plain(&mut ciphertext, slots)?;
                    Ok(ciphertext)
                });
                if let Ok(mut place) = place.lock() {
                    *place = Some(ciphertext.map_err(|e: BackendError| e.into()));
                }
            });
        }
        Ok::<_, PartyError>(())
    })?;
    let taken = |place: Mutex<Option<_>>| {
        place.into_inner().ok().flatten().unwrap_or(Err(PartyError::Thread("server")))
    };
    let inputs = read.into_iter().map(taken).collect::<Result<_, _>>()?;
    Ok(Received { inputs, bytes, prepared: prepared.ok_or(PartyError::Thread("server"))? })
}

/// Uniform values for all that is sent, 0 elsewhere.
fn mask(masks: &mut Uniform, ring: usize, places: Option<&[u32]>) -> Vec<u64> {
    let Some(places) = places else { return masks.take(ring).into_vec() };
    let mut values = vec![0; ring];
    for (&place, &mask) in places.iter().zip(masks.take(places.len()).iter()) {
        values[place as usize] = mask;
    }
    values
}
