//! `stria run`: one image through a network, encrypted, with what it cost.

use super::costs::CostsOption;
use super::execute::{Outcome, RunOptions, execute, weights};
use super::failure::Failure;
use super::{Backend, CompileOptions, Format, Mode, ModelPath, clipped, load, output, tfhe};
use crate::compiled::Compiled;
use crate::cost::{CostTable, LAN, Means, Network, PeakMemory, WAN};
use crate::graph::quantise_input;
use crate::input;
use crate::lower::galois_steps;
use crate::protocol::{Activations, Choices, Inference, NodeRun, Reveal, Session, SetUp, Traffic, predicted};
use crate::report::{Counters, Report, report, segment_counters};
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use zeroize::Zeroize;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The model, .stria or .striac.
    pub(super) model: ModelPath,
    /// The image: .png, .npy or .safetensors.
    #[arg(long, value_name = "FILE")]
    pub(super) input: PathBuf,
    /// Which image of a file with several, from 0.
    #[arg(long, default_value_t = 0, value_name = "I")]
    pub(super) index: usize,
    /// What the network runs on.
    #[arg(long, value_enum, default_value_t = Backend::Bfv)]
    pub(super) backend: Backend,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    pub(super) reach: tfhe::ReachOption,
    #[command(flatten)]
    pub(super) costs: CostsOption,
    #[command(flatten)]
    pub(super) compile: CompileOptions,
}

/// The network's answer.
#[derive(Serialize)]
pub(super) struct Output {
    /// None if the client learns the label alone.
    pub(super) logits: Option<Vec<i64>>,
    pub(super) scale: f64,
    pub(super) argmax: usize,
    /// Name of the class, if `labels.txt` beside the model tells it.
    pub(super) class: Option<String>,
    /// The class that the file's name or its labels tell.
    pub(super) expected: Option<usize>,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.class.as_ref().map_or(String::new(), |name| format!(" ({name})"));
        write!(f, "class {}{name}", self.argmax)?;
        match self.expected {
            Some(label) if label == self.argmax => writeln!(f, ", label {label}: right")?,
            Some(label) => writeln!(f, ", label {label}: wrong")?,
            None => writeln!(f)?,
        }
        match &self.logits {
            Some(logits) => write!(f, "logits        {logits:?} x {:.3e}", self.scale),
            None => write!(f, "logits        not told to the client"),
        }
    }
}

/// Wall seconds.
#[derive(Default, Serialize)]
struct Timing {
    keygen: f64,
    encrypt: f64,
    linear: f64,
    decrypt: f64,
    /// Non-linear steps, both parties, without `preprocess`.
    nonlinear: f64,
    /// Setting up oblivious transfer, once a connection.
    setup: f64,
    /// Making random transfers: before the image with `--preprocess`, else layer by layer.
    preprocess: f64,
    /// Processor time of the server's linear part on all threads, reading ciphertexts included.
    linear_processor: f64,
    /// That part of `preprocess` that was over before the image was taken up.
    #[serde(skip)]
    preprocess_apart: f64,
    /// From image to answer.
    online: f64,
    total: f64,
}

#[derive(Serialize)]
struct RunResult {
    #[serde(flatten)]
    report: Report,
    backend: &'static str,
    executed: Option<Counters>,
    /// As `setup`, counted while it passed.
    executed_setup: Option<SetUp>,
    /// As `layers`, counted while they ran.
    executed_layers: Vec<LayerExecuted>,
    /// Telling the label alone, planned and executed, if that is told.
    label: Option<[Counters; 2]>,
    output: Output,
    nonlinear: &'static str,
    /// Without those of making random transfers.
    rounds: u64,
    rounds_preprocess: u64,
    /// Bytes of making random transfers, both directions.
    bytes_preprocess: u64,
    /// Bytes from image to answer, both directions, frames included.
    bytes_online: u64,
    timing: Timing,
    /// What ran, keys apart, with a network of 3 Gbit/s and 0.8 ms between the parties.
    measured_lan_seconds: f64,
    /// As `measured_lan_seconds` for 200 Mbit/s and 40 ms.
    measured_wan_seconds: f64,
    /// Predicted seconds of the linear part on one core, under BFV also where the backend is another.
    predicted_seconds: f64,
    /// Threads that it ran on.
    threads: usize,
    /// Predicted for these threads, where ciphertexts were computed with.
    predicted_memory: Option<PeakMemory>,
    peak_memory: Option<u64>,
    #[serde(skip)]
    image: String,
}

/// A layer as it ran.
#[derive(Serialize)]
struct LayerExecuted {
    name: String,
    #[serde(flatten)]
    counters: Counters,
}

pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    let table = args.costs.read()?.table(args.backend.scheme())?;
    args.options.check(args.backend)?;
    if args.options.mode == Mode::Tfhe {
        return tfhe::run(args);
    }
    args.reach.refuse()?;
    let compiled = load::load(&args.model, args.compile, args.backend.scheme(), Some(&table))?.compiled;
    weights(&compiled)?;
    let network = &compiled.network;
    let shape = network.graph.node(crate::graph::NodeId(0)).shape.clone();
    if args.input.is_dir() {
        let folder = args.input.display();
        return Err(Failure::User(format!("{folder}: a folder; give one image, or use `stria eval`")));
    }
    let mut data = input::load(&args.input, &network.header.input, &shape)?;
    let image = data.images.get(args.index).ok_or_else(|| {
        Failure::User(format!(
            "{}: no image {}, the file has {}",
            args.input.display(),
            args.index,
            data.images.len()
        ))
    })?;
    clipped::tell(&args.input, std::slice::from_ref(image), network);
    let mut quantised = quantise_input(network, image).map_err(Failure::user)?;
    let outcome = execute(&compiled, std::slice::from_ref(&quantised), args.backend, args.options);
    quantised.data.zeroize();
    data.images.iter_mut().for_each(|image| image.data.zeroize());
    let outcome = outcome?;
    let answer = outcome.answers().pop().ok_or_else(|| Failure::Internal("no output".into()))?;

    let choices = args.options.choices();
    let (report, label) = planned(&compiled, choices, &table)?;
    let expected = data
        .labels
        .as_ref()
        .and_then(|l| l.get(args.index).copied())
        .or_else(|| input::class_of_name(&args.input));
    let argmax = answer.label();
    let ran = match &outcome {
        Outcome::Protocol(session) => session.inferences.first().map(|inference| (session, inference)),
        Outcome::Reference(_) => None,
    };
    let executed_layers = ran.map(|(_, inference)| executed_layers(inference, &compiled, &table));
    let executed_layers = executed_layers.unwrap_or_default();
    let executed = ran.map(|(_, inference)| executed(inference, &executed_layers, choices));
    let label = label.zip(ran).map(|(label, (_, inference))| [label, passed(&inference.told)]);
    let timing = ran.map_or_else(Timing::default, |(session, inference)| timing(session, inference));
    let [online, made] =
        ran.map_or([Traffic::default(); 2], |(_, inference)| [inference.online(), inference.made().traffic]);
    let over = |network: Network| {
        let passed = network.seconds(total(online) + total(made), online.rounds + made.rounds);
        timing.online + timing.preprocess_apart + passed
    };
    let result = RunResult {
        backend: args.backend.name(),
        measured_lan_seconds: over(LAN),
        measured_wan_seconds: over(WAN),
        executed,
        executed_setup: ran.map(|(session, _)| session.set_up()),
        executed_layers,
        label,
        output: Output {
            argmax,
            class: class_name(&args.model, argmax),
            expected,
            scale: network.output_scale,
            logits: answer.logits().map(|logits| logits.data.clone()),
        },
        nonlinear: args.options.nonlinear.name(),
        rounds: online.rounds,
        rounds_preprocess: made.rounds,
        bytes_preprocess: total(made),
        bytes_online: total(online),
        timing,
        predicted_seconds: report.totals.estimated_seconds,
        threads: rayon::current_num_threads(),
        predicted_memory: match args.backend {
            Backend::Bfv => {
                let threads = rayon::current_num_threads() as u64;
                Some(crate::report::peak_memory(&compiled, Means { kept: 0, threads }, choices))
            }
            Backend::Clear | Backend::FheRs | Backend::Reference | Backend::Tfhe => None,
        },
        peak_memory: output::peak_memory(),
        image: args.input.display().to_string(),
        report,
    };
    output::write(&output::render(&result, args.format)?, None)
}

/// The report of the form that runs, and what telling the label alone takes, if that is told.
fn planned(
    compiled: &Compiled,
    choices: Choices,
    table: &CostTable,
) -> Result<(Report, Option<Counters>), Failure> {
    let predicted = predicted(&compiled.network, compiled.params.plain_modulus, choices);
    let predicted = predicted.map_err(|e| Failure::Internal(e.to_string()))?;
    let label = (choices.reveal == Reveal::Label).then_some(predicted.told);
    let steps = predicted.steps.iter().map(|step| step.cost);
    let mut report = report(compiled, table).in_form(steps, label.unwrap_or_default(), table);
    if choices.activations == Activations::Revealed {
        report.setup = SetUp { bytes_keys: report.setup.bytes_keys, ..SetUp::default() };
    }
    Ok((report, label.map(|cost| Counters::default().with_cost(cost))))
}

/// What passed at a layer, and what was made for it.
fn passed(run: &NodeRun) -> Counters {
    Counters {
        rounds: run.traffic.rounds,
        bytes_nonlinear: total(run.traffic),
        rounds_preprocess: run.made.traffic.rounds,
        bytes_preprocess: total(run.made.traffic),
        transfers: run.made.transfers,
        ..Counters::default()
    }
}

/// What backend and channel counted, layer by layer, in the report's form.
fn executed_layers(inference: &Inference, compiled: &Compiled, table: &CostTable) -> Vec<LayerExecuted> {
    let graph = &compiled.network.graph;
    let planned = compiled.plan.layers.iter().zip(&compiled.circuit.segments);
    let mut linear = inference.layers.iter().zip(planned).peekable();
    let mut layers = Vec::new();
    for id in graph.ids() {
        let run = inference.runs.iter().find(|run| run.node == id);
        let ran = linear.next_if(|(_, (planned, _))| planned.node == id);
        let counters = if let Some((layer, (planned, segment))) = ran {
            Counters {
                bytes_up: layer.bytes_in,
                bytes_down: layer.bytes_out,
                galois_keys: galois_steps(std::slice::from_ref(segment)).len() as u64,
                rounds: run.map_or(0, |run| run.traffic.rounds),
                ..segment_counters(compiled, (planned, segment), &layer.counts, table)
            }
        } else if let Some(work) = compiled.network.nonlinear_work(id) {
            let mut counters = Counters::from_work(work);
            run.iter().for_each(|run| counters.add(&passed(run)));
            counters
        } else {
            continue;
        };
        layers.push(LayerExecuted { name: graph.node(id).name.clone(), counters });
    }
    layers
}

/// The sum of the layers, and of telling the label alone.
fn executed(inference: &Inference, layers: &[LayerExecuted], choices: Choices) -> Counters {
    let mut sum = Counters::default();
    layers.iter().for_each(|layer| sum.add(&layer.counters));
    if choices.reveal == Reveal::Label {
        sum.add(&passed(&inference.told));
    }
    Counters { galois_keys: inference.galois_keys, ..sum }
}

fn total(traffic: Traffic) -> u64 {
    traffic.sent + traffic.received
}

fn timing(session: &Session, inference: &Inference) -> Timing {
    let (ahead, made) = (inference.ahead.time.as_secs_f64(), inference.made().time.as_secs_f64());
    let (keygen, setup) = (session.keygen.as_secs_f64(), session.setup.time.as_secs_f64());
    let online = inference.total.as_secs_f64();
    Timing {
        keygen,
        setup,
        encrypt: inference.client.encrypt.as_secs_f64(),
        linear: inference.layers.iter().map(|l| l.time.as_secs_f64()).sum(),
        linear_processor: inference.layers.iter().map(|l| l.processor.as_secs_f64()).sum(),
        decrypt: inference.client.decrypt.as_secs_f64(),
        nonlinear: inference.nonlinear().as_secs_f64(),
        preprocess: made,
        preprocess_apart: ahead,
        online,
        total: keygen + setup + ahead + online,
    }
}

/// Line `class` of `labels.txt` beside the model.
pub(super) fn class_name(model: &Path, class: usize) -> Option<String> {
    let text = std::fs::read_to_string(model.with_file_name("labels.txt")).ok()?;
    text.lines().nth(class).map(|line| line.trim().to_owned())
}

impl RunResult {
    /// Whether what ran is what was planned, in all and layer by layer. Bytes of ciphertexts and seconds are
    /// predicted for BFV, whatever ran.
    fn is_as_planned(&self) -> bool {
        let is_bfv = self.backend == Backend::Bfv.name();
        let same = |planned: &Counters, executed: &Counters| {
            let bytes = if is_bfv { planned } else { executed };
            *executed
                == Counters {
                    bytes_up: bytes.bytes_up,
                    bytes_down: bytes.bytes_down,
                    estimated_seconds: executed.estimated_seconds,
                    ..*planned
                }
        };
        let mut layers = self.report.layers.iter().zip(&self.executed_layers);
        self.report.layers.len() == self.executed_layers.len()
            && layers.all(|(planned, ran)| same(&planned.counters, &ran.counters))
            && self.executed.iter().all(|executed| same(&self.report.totals, executed))
            && self.executed_setup.iter().all(|executed| {
                let keys = if is_bfv { self.report.setup } else { *executed };
                *executed == SetUp { bytes_keys: keys.bytes_keys, ..self.report.setup }
            })
            && self.label.iter().all(|[planned, executed]| planned == executed)
    }
}

impl fmt::Display for RunResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.image, self.output)?;
        writeln!(
            f,
            "model         {}, ring {}, t of {} bits, {}-bit security, backend {}",
            self.report.model,
            self.report.ring,
            u64::BITS - self.report.plain_modulus.leading_zeros(),
            self.report.security_bits,
            self.backend
        )?;
        if let Some(e) = &self.executed {
            let same = self.is_as_planned();
            writeln!(
                f,
                "executed      {} rotations ({} internal, {} external), {} plaintext products, {} additions{}",
                e.rotations.total,
                e.rotations.internal,
                e.rotations.external,
                e.plain_mults,
                e.adds,
                if same { ": as planned" } else { ": NOT as planned" }
            )?;
            writeln!(
                f,
                "sent          {} ciphertexts up, {} down, {:.1} MB; {} Galois keys once, {:.1} MB",
                e.ciphertexts_in,
                e.ciphertexts_out,
                megabytes(e.bytes_up + e.bytes_down),
                e.galois_keys,
                megabytes(self.report.galois_key_bytes)
            )?;
            writeln!(
                f,
                "activations   {}, {:.1} MB online and {:.1} MB of random transfers; {} rounds in all",
                self.nonlinear,
                megabytes(e.bytes_nonlinear),
                megabytes(e.bytes_preprocess),
                self.rounds
            )?;
            let s = self.executed_setup.unwrap_or_default();
            writeln!(
                f,
                "set-up        {:.1} MB of evaluation keys, {:.1} MB for base transfers, once a connection",
                megabytes(s.bytes_keys),
                megabytes(s.bytes_transfers)
            )?;
            let t = &self.timing;
            writeln!(
                f,
                "seconds       {:.2}, of which keys {:.2}, encrypt {:.2}, linear {:.2}, decrypt {:.2}, activations {:.2}, \
                 random transfers {:.2}",
                t.total,
                t.keygen + t.setup,
                t.encrypt,
                t.linear,
                t.decrypt,
                t.nonlinear,
                t.preprocess
            )?;
            writeln!(
                f,
                "seconds over a network: {:.2} with 3 Gbit/s and 0.8 ms, {:.1} with 200 Mbit/s and 40 ms",
                self.measured_lan_seconds, self.measured_wan_seconds
            )?;
            writeln!(
                f,
                "seconds of the linear part: predicted {:.3} on one core ({} costs), took {:.3} of processor time; \
                 {:.2} by the clock on {}",
                self.predicted_seconds, self.report.cost_table, t.linear_processor, t.linear, self.threads
            )?;
        }
        match (self.predicted_memory, self.peak_memory) {
            (Some(predicted), Some(bytes)) => write!(
                f,
                "memory        {:.0} MB predicted / {:.0} MB measured at most",
                megabytes(predicted.total()),
                megabytes(bytes)
            )?,
            (None, Some(bytes)) => write!(f, "memory        {:.0} MB at most", megabytes(bytes))?,
            (Some(_) | None, None) => {}
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people, rounded anyway")]
pub(super) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
