//! What `stria bench` tells of one model.

use super::{Bench, Run};
use crate::bench::{Measured, Times};
use crate::circuit::{Counts, Segment, count};
use crate::compiled::Compiled;
use crate::cost::{Means, PeakMemory};
use crate::params::Encoding;
use crate::protocol::Traffic;
use crate::report::{Counters, layer_costs, linear_memory, segment_counters};
use crate::select::PlannedLayer;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Seconds of the stages of linear layers.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Stages {
    /// Packing and encrypting.
    encrypt: f64,
    /// Reading ciphertexts and adding the server's share.
    read: f64,
    /// The circuit.
    evaluate: f64,
    /// Masks, flooding, writing.
    reply: f64,
    /// Decrypting and unpacking.
    decrypt: f64,
    /// Read, evaluate and reply.
    pub(super) server: f64,
    /// Encrypt and decrypt.
    pub(super) client: f64,
}

/// What ran on so many threads.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct OnThreads {
    threads: usize,
    /// By the wall's clock.
    #[serde(flatten)]
    wall: Stages,
    /// Processor time on all threads.
    processor: Option<Stages>,
}

impl OnThreads {
    /// On one thread processor time, as predictions are and other work does not disturb it; on several wall
    /// time.
    fn counted(&self) -> &Stages {
        self.processor.as_ref().filter(|_| self.threads == 1).unwrap_or(&self.wall)
    }
}

/// A linear layer.
#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    kernel: &'static str,
    encoding: Encoding,
    /// Counted by the backend while it ran.
    #[serde(flatten)]
    executed: Counters,
    /// Whether these are the counts of the plan.
    as_planned: bool,
    /// Seconds on one thread.
    predicted: Stages,
    measured: Vec<OnThreads>,
    /// Of the server, on the first number of threads, if that is one.
    deviation_percent: Option<f64>,
}

/// A non-linear layer.
#[derive(Debug, Serialize)]
struct Step {
    name: String,
    kind: &'static str,
    seconds: f64,
    seconds_preprocess: f64,
    bytes: u64,
    rounds: u64,
}

/// Non-linear layers together.
#[derive(Debug, Default, Serialize)]
struct Activations {
    threads: usize,
    seconds: f64,
    seconds_preprocess: f64,
    bytes: u64,
    rounds: u64,
    layers: Vec<Step>,
}

/// All layers together.
#[derive(Debug, Serialize)]
pub(super) struct Totals {
    #[serde(flatten)]
    executed: Counters,
    pub(super) predicted: Stages,
    pub(super) measured: Vec<OnThreads>,
    /// Of the server's seconds, on the first number of threads, if that is one.
    deviation_percent: Option<f64>,
    /// How many times faster the server is on each number of threads than on the first.
    speedup: Vec<f64>,
}

/// What `stria bench` tells.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    model: String,
    ring: u32,
    plain_modulus: u64,
    backend: &'static str,
    /// `model`, or `random(SEED)`.
    weights: String,
    runs: u16,
    /// Keys of both parties, made and read.
    keygen_seconds: f64,
    cost_table: String,
    pub(super) totals: Totals,
    /// Values compared with the integer layers, each as often as its layer ran.
    values_checked: u64,
    activations: Option<Activations>,
    /// Of the largest layer, on the most threads; none where nothing is encrypted.
    predicted_memory: Option<PeakMemory>,
    peak_memory: Option<u64>,
    layers: Vec<Layer>,
}

impl Stages {
    fn measured(times: &Times) -> Self {
        let seconds = |time: Duration| time.as_secs_f64();
        Self {
            encrypt: seconds(times.encrypt),
            read: seconds(times.read),
            evaluate: seconds(times.evaluate),
            reply: seconds(times.reply),
            decrypt: seconds(times.decrypt),
            server: seconds(times.server()),
            client: seconds(times.client()),
        }
    }

    fn add(&mut self, other: &Self) {
        self.encrypt += other.encrypt;
        self.read += other.read;
        self.evaluate += other.evaluate;
        self.reply += other.reply;
        self.decrypt += other.decrypt;
        self.server += other.server;
        self.client += other.client;
    }
}

impl OnThreads {
    fn add(&mut self, other: &Self) {
        self.wall.add(&other.wall);
        let both = self.processor.zip(other.processor);
        self.processor = both.map(|(mut sum, processor)| {
            sum.add(&processor);
            sum
        });
    }
}

/// By how much the first measurement exceeds the prediction, if it was on one thread, as predictions are.
fn deviation(predicted: &Stages, measured: &[OnThreads]) -> Option<f64> {
    let first = measured.first().filter(|first| first.threads == 1)?;
    (predicted.server > 0.0).then(|| 100.0 * (first.counted().server / predicted.server - 1.0))
}

impl Outcome {
    pub(super) fn new(bench: &Bench<'_>, compiled: &Compiled, run: &Run) -> Self {
        let threads: Vec<usize> = bench.pools.iter().map(rayon::ThreadPool::current_num_threads).collect();
        let layers: Vec<Layer> = run
            .layers
            .iter()
            .filter_map(|layer| Layer::new(bench, compiled, (layer.index, &layer.measured), &threads))
            .collect();
        let elements = |index: usize| {
            let layer = compiled.plan.layers.get(index);
            layer.map_or(0, |layer| compiled.network.graph.node(layer.node).shape.elements() as u64)
        };
        let times = u64::from(bench.args.runs) * threads.len() as u64;
        let values_checked = run.layers.iter().map(|layer| elements(layer.index) * times).sum();
        let means =
            Means { kept: bench.args.memory, threads: threads.iter().copied().max().unwrap_or(1) as u64 };
        Self {
            model: compiled.network.header.name.clone(),
            ring: compiled.params.ring,
            plain_modulus: compiled.params.plain_modulus,
            backend: bench.args.backend.name(),
            weights: match compiled.weights {
                Some(_) => "model".into(),
                None => format!("random({})", bench.seed()),
            },
            runs: bench.args.runs,
            keygen_seconds: run.keygen,
            cost_table: bench.table.name.clone(),
            totals: Totals::new(&layers, &threads),
            values_checked,
            activations: run.steps.as_ref().map(|steps| Activations::new(compiled, steps)),
            predicted_memory: match bench.args.backend {
                super::Backend::Bfv => Some(linear_memory(compiled, means)),
                super::Backend::Clear => None,
            },
            peak_memory: super::super::output::peak_memory(),
            layers,
        }
    }
}

impl Layer {
    fn new(
        bench: &Bench<'_>,
        compiled: &Compiled,
        (index, measured): (usize, &[Measured]),
        threads: &[usize],
    ) -> Option<Self> {
        let planned = compiled.plan.layers.get(index)?;
        let segment = compiled.circuit.segments.get(index)?;
        let mut counts = count(segment);
        counts.plain_adds = counts.ciphertexts_in + counts.ciphertexts_out;
        let counters = |counts: &Counts| segment_counters(compiled, (planned, segment), counts, &bench.table);
        let first = measured.first()?;
        let executed =
            Counters { bytes_up: first.bytes_in, bytes_down: first.bytes_out, ..counters(&first.counts) };
        let same = Counters { bytes_up: first.bytes_in, bytes_down: first.bytes_out, ..counters(&counts) };
        let predicted = predicted(bench, compiled, (planned, segment), &counts);
        let measured: Vec<OnThreads> = measured
            .iter()
            .zip(threads)
            .map(|(measured, &threads)| OnThreads {
                threads,
                wall: Stages::measured(&measured.wall),
                processor: measured.processor.as_ref().map(Stages::measured),
            })
            .collect();
        Some(Self {
            name: planned.name.clone(),
            kernel: planned.kernel.name(),
            encoding: segment.contents.encoding(),
            executed,
            as_planned: executed == same,
            predicted,
            deviation_percent: deviation(&predicted, &measured),
            measured,
        })
    }
}

/// Seconds of a layer on one thread; of the last of several runs, with as many plaintexts kept as memory holds.
fn predicted(
    bench: &Bench<'_>,
    compiled: &Compiled,
    (planned, segment): (&PlannedLayer, &Segment),
    counts: &Counts,
) -> Stages {
    let Some(mut costs) = layer_costs(compiled, (planned, segment), &bench.table) else {
        return Stages::default();
    };
    let params = compiled.sets().of(segment.contents.encoding()).unwrap_or(&compiled.params);
    // Residues are packed to the bits of their primes.
    let plaintext =
        u64::from(params.ring) / 8 * params.modulus_bits.iter().map(|&b| u64::from(b)).sum::<u64>();
    if bench.args.runs > 1 {
        let kept =
            u32::try_from(bench.args.memory / plaintext.max(1)).unwrap_or(u32::MAX).min(segment.plains);
        let encoded = f64::from(segment.plains - kept) / f64::from(segment.plains.max(1));
        costs.encode *= encoded;
        costs.extended_encode *= encoded;
    }
    let mut stages = Stages {
        read: costs.read_seconds(counts),
        evaluate: costs.evaluate_seconds(counts),
        reply: costs.reply_seconds(counts),
        encrypt: costs.client_seconds(&Counts { ciphertexts_out: 0, ..*counts }),
        decrypt: costs.client_seconds(&Counts { ciphertexts_in: 0, ..*counts }),
        ..Stages::default()
    };
    stages.server = stages.read + stages.evaluate + stages.reply;
    stages.client = stages.encrypt + stages.decrypt;
    stages
}

impl Totals {
    fn new(layers: &[Layer], threads: &[usize]) -> Self {
        let mut executed = Counters::default();
        let mut predicted = Stages::default();
        let none = Stages::default();
        let nothing = |&threads: &usize| OnThreads { threads, wall: none, processor: Some(none) };
        let mut measured: Vec<OnThreads> = threads.iter().map(nothing).collect();
        for layer in layers {
            executed.add(&layer.executed);
            predicted.add(&layer.predicted);
            measured.iter_mut().zip(&layer.measured).for_each(|(sum, m)| sum.add(m));
        }
        let first = measured.first().map_or(0.0, |first| first.wall.server);
        Self {
            executed,
            predicted,
            deviation_percent: deviation(&predicted, &measured),
            speedup: measured.iter().map(|m| first / m.wall.server).collect(),
            measured,
        }
    }

    /// Seconds of the server on the first number of threads.
    pub(super) fn server(&self) -> f64 {
        self.measured.first().map_or(0.0, |first| first.counted().server)
    }

    /// Seconds of the client on the first number of threads.
    pub(super) fn client(&self) -> f64 {
        self.measured.first().map_or(0.0, |first| first.counted().client)
    }

    /// Bytes of ciphertexts either way.
    pub(super) fn bytes(&self) -> u64 {
        self.executed.bytes_up + self.executed.bytes_down
    }
}

impl Activations {
    fn new(compiled: &Compiled, steps: &[super::StepRun]) -> Self {
        let mut all = Self { threads: rayon::current_num_threads(), ..Self::default() };
        for run in steps {
            let node = compiled.network.graph.node(run.node);
            let Traffic { sent, received, rounds } = run.times.traffic;
            let step = Step {
                name: node.name.clone(),
                kind: node.layer.kind(),
                seconds: run.times.online.as_secs_f64(),
                seconds_preprocess: run.times.made.as_secs_f64(),
                bytes: sent + received,
                rounds,
            };
            all.seconds += step.seconds;
            all.seconds_preprocess += step.seconds_preprocess;
            all.bytes += step.bytes;
            all.rounds += step.rounds;
            all.layers.push(step);
        }
        all
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: ring {}, t of {} bits, backend {}, weights: {}; {} values compared with the integer layers, all \
             equal",
            self.model,
            self.ring,
            u64::BITS - self.plain_modulus.leading_zeros(),
            self.backend,
            self.weights,
            self.values_checked
        )?;
        self.table(f)?;
        let Totals { predicted, measured, deviation_percent, speedup, .. } = &self.totals;
        writeln!(f)?;
        for (on, speedup) in measured.iter().zip(speedup) {
            let Stages { encrypt, read, evaluate, reply, decrypt, server, .. } = *on.counted();
            write!(
                f,
                "seconds on {}   server {server:.3}: read {read:.3}, evaluate {evaluate:.3}, reply {reply:.3}; client: \
                 encrypt {encrypt:.3}, decrypt {decrypt:.3}",
                on.threads
            )?;
            match on.threads == measured.first().map_or(0, |first| first.threads) {
                true => writeln!(f)?,
                false => writeln!(f, "; the server {speedup:.2} times as fast by the wall's clock")?,
            }
        }
        let Stages { encrypt, read, evaluate, reply, decrypt, server, .. } = predicted;
        write!(
            f,
            "predicted      server {server:.3}: read {read:.3}, evaluate {evaluate:.3}, reply {reply:.3}; client: encrypt \
             {encrypt:.3}, decrypt {decrypt:.3} ({} costs)",
            self.cost_table
        )?;
        match deviation_percent {
            Some(percent) => writeln!(f, "; the server took {percent:+.0} %")?,
            None => writeln!(f)?,
        }
        writeln!(f, "               on one thread by the processor's clock, on several by the wall's")?;
        writeln!(f, "keys           {:.3} s", self.keygen_seconds)?;
        if let Some(a) = &self.activations {
            writeln!(
                f,
                "activations    {:.3} s and {:.3} s of random transfers on {}, {:.1} MB, {} rounds",
                a.seconds,
                a.seconds_preprocess,
                a.threads,
                megabytes(a.bytes),
                a.rounds
            )?;
        }
        match (self.predicted_memory, self.peak_memory) {
            (Some(predicted), Some(peak)) => write!(
                f,
                "memory         {:.0} MB predicted, {:.0} MB measured at most",
                megabytes(predicted.total()),
                megabytes(peak)
            ),
            (None, Some(peak)) => write!(f, "memory         {:.0} MB at most", megabytes(peak)),
            (Some(_) | None, None) => Ok(()),
        }
    }
}

impl Outcome {
    /// One line a linear layer, in milliseconds.
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self.layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0).clamp(5, 40);
        write!(
            f,
            "{:widest$} {:16} {:6} {:>6} {:>8} {:>11} | {:>9}",
            "layer", "kernel", "", "rot.", "products", "up + down", "server ms"
        )?;
        for on in &self.totals.measured {
            write!(f, " {:>9}", format!("ran on {}", on.threads))?;
        }
        writeln!(f, " {:>6} | {:>9} {:>9}", "", "client ms", "ran")?;
        for layer in &self.layers {
            let Counters { ciphertexts_in, ciphertexts_out, rotations, plain_mults, .. } = layer.executed;
            let encoding = match layer.encoding {
                Encoding::Slots => "slots",
                Encoding::Coefficients => "coeffs",
            };
            write!(
                f,
                "{:widest$} {:16} {encoding:6} {:>6} {plain_mults:>8} {:>11} | {:>9.2}",
                layer.name,
                layer.kernel,
                rotations.total,
                format!("{ciphertexts_in} + {ciphertexts_out}"),
                1e3 * layer.predicted.server
            )?;
            for on in &layer.measured {
                write!(f, " {:>9.2}", 1e3 * on.counted().server)?;
            }
            let percent = layer.deviation_percent.map_or(String::new(), |p| format!("{p:+.0} %"));
            let client = layer.measured.first().map_or(0.0, |first| first.counted().client);
            write!(f, " {percent:>6} | {:>9.2} {:>9.2}", 1e3 * layer.predicted.client, 1e3 * client)?;
            writeln!(f, "{}", if layer.as_planned { "" } else { "  NOT as planned" })?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people, rounded anyway")]
pub(super) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
