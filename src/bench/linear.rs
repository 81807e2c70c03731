//! One linear layer, from shares to shares, every stage timed by itself.
//!
//! The stages and what they compute are those of the hybrid protocol; here they follow each other, so that each
//! has the machine for itself and can be held against its prediction. Bytes are made and read, but sent nowhere.

use super::BenchError;
use super::random::{self, random_values};
use crate::backend::{ClientKeys, Counting, Evaluator, Sent};
use crate::circuit::{Counts, Segment, Step};
use crate::clock::{Stopwatch, Whose};
use crate::compiled::Compiled;
use crate::exec::{self, Kept};
use crate::graph::{LayerWeights, evaluate_node};
use crate::mpc::Modulus;
use crate::params::{Encoding, SchemeParams};
use crate::protocol::NonLinearError;
use crate::select::PlannedLayer;
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Both parties' keys, by encoding.
pub struct Parties<K, E> {
    slots: Option<Pair<K, E>>,
    coefficients: Option<Pair<K, E>>,
    /// Time of making the keys and of reading those of the server.
    pub keygen: Duration,
}

struct Pair<K, E> {
    keys: K,
    evaluator: Counting<E>,
    modulus: Modulus,
}

/// The replies' bytes, and the masks that they were made with.
type Replies = (Vec<Vec<u8>>, Vec<Vec<u64>>);

/// A linear layer with weights, random values to run on, and what comes of them.
pub struct Job<'a> {
    layer: &'a PlannedLayer,
    segment: &'a Segment,
    weights: LayerWeights,
    values: Tensor<i64>,
    seed: u64,
    expected: Tensor<i64>,
}

/// Time of the stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The client packs and encrypts its share.
    pub encrypt: Duration,
    /// The server packs its share, reads the ciphertexts and adds it.
    pub read: Duration,
    /// The circuit, the plaintexts' encoding included.
    pub evaluate: Duration,
    /// The server masks, re-randomises, floods and writes.
    pub reply: Duration,
    /// The client decrypts and unpacks.
    pub decrypt: Duration,
}

/// What a layer took.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Wall time of each stage.
    pub wall: Times,
    /// Processor time of each stage, on all threads, if the system tells it.
    pub processor: Option<Times>,
    /// Operations, counted by the backend.
    pub counts: Counts,
    /// Bytes of the client's ciphertexts.
    pub bytes_in: u64,
    /// Bytes of the replies.
    pub bytes_out: u64,
}

impl Times {
    /// All of the server's.
    #[must_use]
    pub fn server(&self) -> Duration {
        self.read + self.evaluate + self.reply
    }

    /// All of the client's.
    #[must_use]
    pub fn client(&self) -> Duration {
        self.encrypt + self.decrypt
    }

    /// Each stage's lesser time.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self {
            encrypt: self.encrypt.min(other.encrypt),
            read: self.read.min(other.read),
            evaluate: self.evaluate.min(other.evaluate),
            reply: self.reply.min(other.reply),
            decrypt: self.decrypt.min(other.decrypt),
        }
    }
}

impl<'a> Job<'a> {
    /// The linear layer `index`, in order of execution, of `compiled` with these weights, on values from `seed`.
    ///
    /// # Errors
    /// If there is no such layer, or the weights do not fit it.
    pub fn new(
        compiled: &'a Compiled,
        index: usize,
        weights: LayerWeights,
        seed: u64,
    ) -> Result<Self, BenchError> {
        let missing = || BenchError::Graph(format!("{index}"));
        let layer = compiled.plan.layers.get(index).ok_or_else(missing)?;
        let segment = compiled.circuit.segments.get(index).ok_or_else(missing)?;
        let graph = &compiled.network.graph;
        let operand = *graph.inputs(layer.node).first().ok_or_else(missing)?;
        let bounds = *compiled.network.intervals.get(operand.0 as usize).ok_or_else(missing)?;
        let values = random_values(&graph.node(operand).shape, bounds, &layer.name, seed);
        let expected = evaluate_node(&compiled.network, layer.node, &[&values], Some(&weights))?;
        Ok(Self { layer, segment, weights, values, seed, expected })
    }

    /// What the layer is: its plan and its circuit.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        self.segment
    }

    /// What the shares of the result must add up to.
    fn check(&self, shares: [&[u64]; 2], t: Modulus) -> Result<(), BenchError> {
        let a_channel = self.expected.data.len() / self.weights.bias.len().max(1);
        let bias = self.weights.bias.iter().flat_map(|&b| std::iter::repeat_n(t.residue(b), a_channel));
        let sums = shares[0].iter().zip(shares[1]).map(|(&a, &b)| t.add(a, b));
        let found: Vec<i64> = sums.zip(bias).map(|(sum, bias)| t.signed(t.add(sum, bias))).collect();
        let values = self.expected.data.len();
        let same = found.iter().zip(&self.expected.data).filter(|(a, b)| a == b).count();
        if (found.len(), same) == (values, values) {
            return Ok(());
        }
        Err(BenchError::Wrong { layer: self.layer.name.clone(), differ: values - same, values })
    }
}

impl<K: ClientKeys, E: Evaluator> Pair<K, E> {
    fn connect(params: &SchemeParams, segments: &[&Segment]) -> Result<Self, BenchError> {
        let keys = K::generate(params)?;
        let chosen = segments.iter().filter(|s| s.contents.encoding() == params.workload.encoding);
        let steps: BTreeSet<Step> = chosen.flat_map(|segment| segment.steps()).collect();
        let steps: Vec<Step> = steps.into_iter().collect();
        let evaluator = Counting::new(E::from_keys(params, &keys.evaluation_keys(&steps)?)?);
        let modulus = Modulus::new(params.plain_modulus).map_err(NonLinearError::from)?;
        Ok(Self { keys, evaluator, modulus })
    }

    /// Encrypts the packed share of the client.
    fn encrypt(&self, packed: &[Vec<u64>]) -> Result<Vec<Vec<u8>>, BenchError> {
        Ok(packed.par_iter().map(|values| self.keys.encrypt(values)).collect::<Result<_, _>>()?)
    }

    /// Reads ciphertexts and adds the packed share of the server.
    fn read(&self, bytes: &[Vec<u8>], packed: &[Vec<u64>]) -> Result<Vec<E::Ciphertext>, BenchError> {
        let read = bytes.par_iter().zip(packed).map(|(bytes, values)| {
            let mut ciphertext = self.evaluator.load(bytes)?;
            self.evaluator.add_plain(&mut ciphertext, values)?;
            Ok(ciphertext)
        });
        read.collect()
    }

    /// Masks and writes results.
    fn reply(
        &self,
        results: Vec<E::Ciphertext>,
        places: &[Option<Vec<u32>>],
        seed: u64,
    ) -> Result<Replies, BenchError> {
        let (t, ring) = (self.modulus, self.evaluator.ring());
        let mut stream = random::stream(seed, "masks", "");
        let masks: Vec<Vec<u64>> =
            places.iter().map(|p| random::mask(t, ring, p.as_deref(), &mut stream)).collect();
        let replies = results.into_par_iter().zip(&masks).zip(places).map(|((mut result, mask), places)| {
            let negated: Vec<u64> = mask.iter().map(|&r| t.sub(0, r)).collect();
            self.evaluator.add_plain(&mut result, &negated)?;
            Ok(self.evaluator.store(&result, sent(places.as_ref()))?)
        });
        Ok((replies.collect::<Result<_, BenchError>>()?, masks))
    }

    fn run(&self, job: &Job<'_>, kept: &Kept<E::Plaintext>) -> Result<Measured, BenchError> {
        let (t, kernel) = (self.modulus, &job.layer.kernel);
        let [client, server] = random::shares(t, &job.values.data, &job.layer.name, job.seed);
        let mut spent = Spent::default();

        let inputs =
            spent.on(|times| &mut times.encrypt, || self.encrypt(&kernel.pack(&client, t.value())))?;
        let bytes_in = total(&inputs);
        let operands =
            spent.on(|times| &mut times.read, || self.read(&inputs, &kernel.pack(&server, t.value())))?;
        drop(inputs);
        let evaluate = || {
            let plains = kernel.plains(&job.weights.weight, t.value())?;
            Ok(exec::run_kept(&self.evaluator, job.segment, (&plains, kept), operands, &|_| {})?)
        };
        let results = spent.on(|times| &mut times.evaluate, evaluate)?;
        let places: Vec<_> = (0..results.len()).map(|output| job.segment.contents.sent(output)).collect();
        let (replies, masks) =
            spent.on(|times| &mut times.reply, || self.reply(results, &places, job.seed))?;
        let decrypt = || {
            let opened = replies.par_iter().zip(&places);
            let opened = opened.map(|(reply, places)| self.keys.decrypt(reply, sent(places.as_ref())));
            Ok(kernel.unpack(opened.collect::<Result<Vec<_>, _>>()?, t.value()))
        };
        let opened = spent.on(|times| &mut times.decrypt, decrypt)?;
        job.check([&opened, &kernel.unpack(masks, t.value())], t)?;
        let counts = self.evaluator.take(job.segment.geometry);
        let Spent { wall, processor } = spent;
        Ok(Measured { wall, processor, counts, bytes_in, bytes_out: total(&replies) })
    }
}

impl<K: ClientKeys, E: Evaluator> Parties<K, E> {
    /// Makes the keys for these layers of `compiled`.
    ///
    /// # Errors
    /// If parameters are refused.
    pub fn connect(compiled: &Compiled, layers: &[usize]) -> Result<Self, BenchError> {
        let started = Instant::now();
        let segments: Vec<&Segment> =
            layers.iter().filter_map(|&layer| compiled.circuit.segments.get(layer)).collect();
        let pair = |params: Option<&SchemeParams>| params.map(|p| Pair::connect(p, &segments)).transpose();
        let (slots, coefficients) = (pair(compiled.sets().slots)?, pair(compiled.sets().coefficients)?);
        Ok(Self { slots, coefficients, keygen: started.elapsed() })
    }

    /// Runs a layer of the network that they were made for in the calling thread's pool, with plaintexts that
    /// earlier runs of it have `kept`, and compares what comes of it.
    ///
    /// # Errors
    /// If the backend fails, or the result is not that of the integer layer.
    pub fn run(&self, job: &Job<'_>, kept: &Kept<E::Plaintext>) -> Result<Measured, BenchError> {
        let pair = match job.segment.contents.encoding() {
            Encoding::Slots => self.slots.as_ref(),
            Encoding::Coefficients => self.coefficients.as_ref(),
        };
        pair.ok_or_else(|| BenchError::Graph(job.layer.name.clone()))?.run(job, kept)
    }
}

/// What the stages take while they run.
struct Spent {
    wall: Times,
    processor: Option<Times>,
}

impl Default for Spent {
    fn default() -> Self {
        Self { wall: Times::default(), processor: Some(Times::default()) }
    }
}

impl Spent {
    /// Runs a stage.
    fn on<T>(
        &mut self,
        stage: fn(&mut Times) -> &mut Duration,
        run: impl FnOnce() -> Result<T, BenchError>,
    ) -> Result<T, BenchError> {
        let watch = Stopwatch::start(Whose::Process);
        let result = run();
        *stage(&mut self.wall) = watch.wall();
        match (&mut self.processor, watch.processor()) {
            (Some(times), Some(time)) => *stage(times) = time,
            (processor, _) => *processor = None,
        }
        result
    }
}

fn total(messages: &[Vec<u8>]) -> u64 {
    messages.iter().map(|message| message.len() as u64).sum()
}

fn sent(places: Option<&Vec<u32>>) -> Sent<'_> {
    places.map_or(Sent::Slots, |places| Sent::Coefficients(places))
}
