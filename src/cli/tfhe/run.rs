//! `stria run --mode tfhe`: all four steps in one process, or the same computation without encryption.

use super::{Planned, planned, require_no_plan};
use crate::cli::clipped;
use crate::cli::failure::Failure;
use crate::cli::run::{Output, RunArgs, class_name, megabytes};
use crate::cli::{Backend, output};
use crate::graph::{NodeId, evaluate, quantise_input};
use crate::input;
use crate::protocol::first_of_greatest;
use crate::tensor::Tensor;
use crate::tfhe::plan::Plan;
use crate::tfhe::report::{Costs, Report, report};
use crate::tfhe::simulate::simulate;
use serde::Serialize;
use std::fmt;

/// Wall seconds; those of the server's parts on all its threads together.
#[derive(Default, Serialize)]
struct Timing {
    keygen: f64,
    encrypt: f64,
    /// Linear layers.
    linear: f64,
    /// Key switches and bootstraps.
    nonlinear: f64,
    decrypt: f64,
    /// From image to answer.
    online: f64,
    total: f64,
}

/// What the backend counted.
#[derive(Default, Serialize)]
struct Counted {
    bootstraps: usize,
    key_switches: usize,
    products: usize,
    terms: usize,
}

/// What came of an image.
struct Ran {
    logits: Tensor<i64>,
    executed: Option<Counted>,
    timing: Timing,
    /// By which the time was predicted.
    costs: Costs,
}

#[derive(Serialize)]
struct RunResult {
    #[serde(flatten)]
    report: Report,
    backend: &'static str,
    executed: Option<Counted>,
    output: Output,
    nonlinear: &'static str,
    /// The image goes, the answer comes.
    rounds: u64,
    timing: Timing,
    /// Predicted before the run, for these threads.
    predicted_seconds: f64,
    threads: usize,
    /// Layers that answer this image wrongly, because it reaches beyond what they are planned for.
    beyond_reach: Vec<String>,
    peak_memory: Option<u64>,
    #[serde(skip)]
    image: String,
}

pub(in crate::cli) fn run(args: &RunArgs) -> Result<(), Failure> {
    require_no_plan(args.compile)?;
    let costs = args.costs.read()?;
    let Planned { network, weights, plan, .. } = planned(&args.model, &args.reach)?;
    let shape = network.graph.node(NodeId(0)).shape.clone();
    let (image, expected) = one_image(args, &network.header.input, &shape)?;
    clipped::tell(&args.input, std::slice::from_ref(&image), &network);
    let quantised = quantise_input(&network, &image).map_err(Failure::user)?;
    let beyond = plan.beyond_reach(&network, &weights, &quantised).map_err(Failure::user)?;
    let ran = match args.backend {
        Backend::Reference => {
            let logits = evaluate(&network, &weights, &quantised).map_err(Failure::user)?;
            plain(logits, None, costs.tfhe())
        }
        Backend::Clear => {
            let simulated = simulate(&plan, &quantised, Some(args.index as u64));
            let counted = Counted { bootstraps: simulated.bootstraps, ..Counted::default() };
            plain(simulated.output, Some(counted), costs.tfhe())
        }
        Backend::Bfv | Backend::Tfhe | Backend::FheRs => {
            let given = args.costs.file.is_some();
            encrypted(&network, &plan, &quantised, (costs.tfhe(), given))?
        }
    };
    let argmax = first_of_greatest(&ran.logits.data);
    let report = report(&plan, &ran.costs);
    let threads = rayon::current_num_threads();
    let result = RunResult {
        backend: match args.backend {
            Backend::Bfv | Backend::Tfhe | Backend::FheRs => Backend::Tfhe.name(),
            Backend::Clear | Backend::Reference => args.backend.name(),
        },
        executed: ran.executed,
        output: Output {
            argmax,
            class: class_name(&args.model, argmax),
            expected,
            scale: plan.output_scale,
            logits: Some(ran.logits.data),
        },
        nonlinear: "bootstrap",
        rounds: 1,
        timing: ran.timing,
        predicted_seconds: report.totals.estimated_seconds / threads as f64,
        threads,
        beyond_reach: beyond.into_iter().map(str::to_owned).collect(),
        peak_memory: output::peak_memory(),
        image: args.input.display().to_string(),
        report,
    };
    output::write(&output::render(&result, args.format)?, None)
}

/// The image of a run and the label that it comes with.
fn one_image(
    args: &RunArgs,
    spec: &crate::graph::InputSpec,
    shape: &crate::tensor::Shape,
) -> Result<(Tensor<f32>, Option<usize>), Failure> {
    let path = &args.input;
    if path.is_dir() {
        return Err(Failure::User(format!(
            "{}: a folder; give one image, or use `stria eval`",
            path.display()
        )));
    }
    let mut data = input::load(path, spec, shape)?;
    let found = data.images.len();
    if args.index >= found {
        return Err(Failure::User(format!(
            "{}: no image {}, the file has {found}",
            path.display(),
            args.index
        )));
    }
    let label = data.labels.as_ref().and_then(|labels| labels.get(args.index).copied());
    Ok((data.images.swap_remove(args.index), label.or_else(|| input::class_of_name(path))))
}

/// Nothing was encrypted.
fn plain(logits: Tensor<i64>, executed: Option<Counted>, costs: Costs) -> Ran {
    Ran { logits, executed, timing: Timing::default(), costs }
}

#[cfg(not(feature = "tfhe"))]
fn encrypted(
    _: &crate::graph::IntNetwork,
    _: &Plan,
    _: &Tensor<i64>,
    _: (Costs, bool),
) -> Result<Ran, Failure> {
    super::require_built()?;
    Err(Failure::Internal("built without the feature `tfhe`".into()))
}

#[cfg(feature = "tfhe")]
fn encrypted(
    network: &crate::graph::IntNetwork,
    plan: &Plan,
    image: &Tensor<i64>,
    (mut costs, given): (Costs, bool),
) -> Result<Ran, Failure> {
    use super::steps::{foretell, progress_bar};
    use crate::tfhe::encrypted::Server;
    use crate::tfhe::files::Card;
    use crate::tfhe::keys::ClientKey;
    use std::time::Instant;

    let start = Instant::now();
    let (client, key) = ClientKey::generate();
    let server = Server::new(key);
    let keygen = start.elapsed().as_secs_f64();
    if !given {
        costs.seconds.bootstrap = server.measure();
        costs.name = "just measured".into();
    }
    foretell(plan, &costs, 1);
    let card = Card::new(network);
    let taken = Instant::now();
    let input = client.encrypt(card.id(), &card.layout, image);
    let encrypted = Instant::now();
    let bar = progress_bar(plan.bootstraps());
    let evaluated = server.evaluate((card.id(), plan), &input, &|p| {
        bar.set_position(p.done as u64);
        bar.set_message(p.layer.to_owned());
    });
    bar.finish_and_clear();
    let (output, executed, times) = evaluated.map_err(|e| Failure::Internal(e.to_string()))?;
    let computed = Instant::now();
    let logits = client.decrypt(&output).map_err(|e| Failure::Internal(e.to_string()))?;
    let threads = rayon::current_num_threads() as f64;
    let timing = Timing {
        keygen,
        encrypt: (encrypted - taken).as_secs_f64(),
        linear: times.linear.as_secs_f64() / threads,
        nonlinear: times.bootstraps.as_secs_f64() / threads,
        decrypt: computed.elapsed().as_secs_f64(),
        online: taken.elapsed().as_secs_f64(),
        total: start.elapsed().as_secs_f64(),
    };
    let counted = Counted {
        bootstraps: executed.bootstraps,
        key_switches: executed.key_switches,
        products: executed.products,
        terms: executed.terms,
    };
    Ok(Ran { logits, executed: Some(counted), timing, costs })
}

impl fmt::Display for RunResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (report, t) = (&self.report, &self.timing);
        writeln!(f, "{}: {}", self.image, self.output)?;
        writeln!(
            f,
            "model         {}, mode tfhe, ring {}, LWE dimension {}, {}-bit security, backend {}",
            report.model, report.ring, report.lwe_dimension, report.security_bits, self.backend
        )?;
        if let Some(e) = &self.executed {
            let as_planned = e.bootstraps == report.totals.bootstraps
                && (self.backend != Backend::Tfhe.name()
                    || (e.products, e.terms) == (report.totals.products, report.totals.terms));
            writeln!(
                f,
                "executed      {} bootstraps, {} products with polynomials, {} terms of samples{}",
                e.bootstraps,
                e.products,
                e.terms,
                if as_planned { ": as planned" } else { ": NOT as planned" }
            )?;
        }
        if report.seen {
            writeln!(f, "reach         {}", report.reach())?;
        }
        if !self.beyond_reach.is_empty() {
            writeln!(
                f,
                "WRONG         this image reaches beyond what is planned for in {}; see --reach",
                self.beyond_reach.join(", ")
            )?;
        }
        writeln!(
            f,
            "noise         {:.1} activations expected to come out as a neighbour; any further with probability {:.1e}",
            report.totals.changed, report.totals.far
        )?;
        if self.backend == Backend::Tfhe.name() {
            writeln!(
                f,
                "sent          {} ciphertexts up, {} down, {:.2} MB; the evaluation key once, {:.1} MB",
                report.totals.ciphertexts_in,
                report.totals.ciphertexts_out,
                megabytes(report.totals.bytes_up + report.totals.bytes_down),
                megabytes(report.totals.evaluation_key_bytes)
            )?;
            writeln!(
                f,
                "seconds       {:.2}, of which keys {:.2}, encrypt {:.2}, linear {:.2}, bootstraps {:.2}, decrypt {:.2}",
                t.total, t.keygen, t.encrypt, t.linear, t.nonlinear, t.decrypt
            )?;
            writeln!(
                f,
                "seconds from image to answer: predicted {:.1}, ran {:.1} on {}",
                self.predicted_seconds, t.online, self.threads
            )?;
        }
        match self.peak_memory {
            Some(bytes) => write!(
                f,
                "memory        {:.0} MB predicted / {:.0} MB measured at most",
                megabytes(report.peak_memory_estimate),
                megabytes(bytes)
            ),
            None => write!(f, "memory        {:.0} MB predicted", megabytes(report.peak_memory_estimate)),
        }
    }
}
