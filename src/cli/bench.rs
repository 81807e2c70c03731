//! `stria bench`: the layers of a model executed one by one, timed beside what is predicted.

mod plans;
mod result;

use super::costs::CostsOption;
use super::failure::Failure;
use super::{CompileOptions, Format, KernelKind, ModelPath, load, output};
use crate::backend::bfv::{BfvEvaluator, BfvKeys};
use crate::backend::clear::{ClearEvaluator, ClearKeys};
use crate::backend::{ClientKeys, Evaluator};
use crate::bench::{BenchError, Job, Measured, Parties, StepTimes, Steps, random_weights};
use crate::compiled::Compiled;
use crate::cost::CostTable;
use crate::exec::Kept;
use crate::graph::{LayerWeights, NodeId};
use crate::params::Scheme;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The seed of random weights where nobody gives one.
const SEED: u64 = 1;

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// The model, .stria or .striac. One without weights runs on random ones, under bounds assumed from bit
    /// widths, as it is reported.
    model: ModelPath,
    /// What the layers run on.
    #[arg(long, value_enum, default_value_t = Backend::Bfv)]
    backend: Backend,
    /// Runs of each layer, of which the least time of each stage counts.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Only these linear layers.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    layers: Vec<String>,
    /// Seed of the weights of a model that has none [default: 1].
    #[arg(long, value_name = "SEED")]
    random_weights: Option<u64>,
    /// Bytes of encoded weights that a layer keeps from one of its runs to the next, so that later ones do not
    /// encode them; none if absent.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    memory: u64,
    /// Run the two-party steps between the linear layers too.
    #[arg(long)]
    activations: bool,
    /// Run whole plans of one kernel for all layers as well, and compare their totals.
    #[arg(long, conflicts_with_all = ["layers", "activations", "encoding", "kernel"])]
    plans: bool,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    costs: CostsOption,
    #[command(flatten)]
    compile: CompileOptions,
}

/// What layers run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// BFV of Stria's own engine.
    Bfv,
    /// Plain slots: no encryption; counts and checks.
    Clear,
}

impl Backend {
    fn name(self) -> &'static str {
        match self {
            Self::Bfv => "bfv",
            Self::Clear => "clear",
        }
    }
}

/// What is measured, and how.
struct Bench<'a> {
    args: &'a BenchArgs,
    table: CostTable,
    /// Pools of as many threads as were asked for.
    pools: Vec<ThreadPool>,
}

/// A linear layer that ran.
struct LayerRun {
    /// Its place in the plan.
    index: usize,
    /// One for each pool.
    measured: Vec<Measured>,
}

/// A non-linear layer that ran.
struct StepRun {
    node: NodeId,
    times: StepTimes,
}

/// All that ran of a model.
struct Run {
    keygen: f64,
    layers: Vec<LayerRun>,
    /// None where the steps were not asked for.
    steps: Option<Vec<StepRun>>,
}

pub(super) fn run(args: &BenchArgs, threads: &[u16]) -> Result<(), Failure> {
    let table = args.costs.read()?.table(Scheme::Bfv)?;
    let threads = if threads.is_empty() { &[1] } else { threads };
    let pool = |&threads: &u16| ThreadPoolBuilder::new().num_threads(threads.into()).build();
    let pools = threads.iter().map(pool).collect::<Result<_, _>>();
    let pools = pools.map_err(|e| Failure::Internal(e.to_string()))?;
    let bench = Bench { args, table, pools };
    if args.plans {
        return output::write(&output::render(&plans::run(&bench)?, args.format)?, None);
    }
    let compiled = bench.load(args.compile)?;
    let layers = bench.chosen(&compiled)?;
    let run = bench.run(&compiled, &layers)?;
    let result = result::Outcome::new(&bench, &compiled, &run);
    output::write(&output::render(&result, args.format)?, None)
}

impl Bench<'_> {
    /// Compiles the model for running as `options` say.
    fn load(&self, options: CompileOptions) -> Result<Compiled, Failure> {
        let loaded = load::load_plan(&self.args.model, options, Scheme::Bfv, Some(&self.table))?;
        let compiled = loaded.compiled;
        if self.args.random_weights.is_some() && compiled.weights.is_some() {
            return Err(Failure::User(format!(
                "model `{}` has weights, under whose bounds it is planned; leave out --random-weights",
                compiled.network.header.name
            )));
        }
        if self.args.backend == Backend::Bfv {
            compiled.fits()?;
        }
        Ok(compiled)
    }

    /// Places in the plan of the layers asked for, all if none is named.
    fn chosen(&self, compiled: &Compiled) -> Result<Vec<usize>, Failure> {
        let layers = &compiled.plan.layers;
        if self.args.layers.is_empty() {
            return Ok((0..layers.len()).collect());
        }
        let place = |name: &String| {
            layers.iter().position(|layer| layer.name == *name).ok_or_else(|| {
                let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
                Failure::User(format!("no linear layer `{name}`; there are {}", names.join(", ")))
            })
        };
        self.args.layers.iter().map(place).collect()
    }

    fn seed(&self) -> u64 {
        self.args.random_weights.unwrap_or(SEED)
    }

    fn weights(&self, compiled: &Compiled, index: usize) -> Option<LayerWeights> {
        let node = compiled.plan.layers.get(index)?.node;
        match &compiled.weights {
            Some(weights) => weights.0.get(&node).cloned(),
            None => random_weights(&compiled.network, node, self.seed()),
        }
    }

    fn run(&self, compiled: &Compiled, layers: &[usize]) -> Result<Run, Failure> {
        match self.args.backend {
            Backend::Bfv => self.run_on::<BfvKeys, BfvEvaluator>(compiled, layers),
            Backend::Clear => self.run_on::<ClearKeys, ClearEvaluator>(compiled, layers),
        }
    }

    fn run_on<K: ClientKeys, E: Evaluator>(
        &self,
        compiled: &Compiled,
        layers: &[usize],
    ) -> Result<Run, Failure> {
        let nodes = compiled.network.graph.ids().filter(|_| self.args.activations);
        let steps: Vec<NodeId> = nodes.filter(|&id| compiled.network.nonlinear_work(id).is_some()).collect();
        let bar = progress_bar(layers.len() + steps.len());
        let parties = Parties::<K, E>::connect(compiled, layers).map_err(|e| failure(&e))?;
        let mut ran = Vec::with_capacity(layers.len());
        for &index in layers {
            let name = compiled.plan.layers.get(index).map_or("", |layer| &layer.name);
            bar.set_message(name.to_owned());
            let measured = self.layer(&parties, compiled, index);
            ran.push(LayerRun { index, measured: measured.map_err(|e| about(name, &e))? });
            bar.inc(1);
        }
        let steps = match self.args.activations {
            true => Some(self.steps(compiled, &steps, &bar)?),
            false => None,
        };
        bar.finish_and_clear();
        Ok(Run { keygen: parties.keygen.as_secs_f64(), layers: ran, steps })
    }

    /// A layer in each pool in turn, as often as asked for.
    fn layer<K: ClientKeys, E: Evaluator>(
        &self,
        parties: &Parties<K, E>,
        compiled: &Compiled,
        index: usize,
    ) -> Result<Vec<Measured>, BenchError> {
        let missing = || BenchError::Graph(format!("{index}"));
        let weights = self.weights(compiled, index).ok_or_else(missing)?;
        let job = Job::new(compiled, index, weights, self.seed())?;
        let kept = Kept::of(std::slice::from_ref(job.segment()), self.args.memory);
        let kept = kept.first().ok_or_else(missing)?;
        let mut least: Vec<Option<Measured>> = vec![None; self.pools.len()];
        for _ in 0..self.args.runs {
            for (pool, least) in self.pools.iter().zip(&mut least) {
                let mut measured = pool.install(|| parties.run(&job, kept))?;
                if let Some(before) = least.take() {
                    measured.wall = measured.wall.least(before.wall);
                    let both = measured.processor.zip(before.processor);
                    measured.processor = both.map(|(now, before)| now.least(before));
                }
                *least = Some(measured);
            }
        }
        least.into_iter().collect::<Option<_>>().ok_or_else(missing)
    }

    fn steps(
        &self,
        compiled: &Compiled,
        nodes: &[NodeId],
        bar: &ProgressBar,
    ) -> Result<Vec<StepRun>, Failure> {
        let mut steps = Steps::connect().map_err(|e| failure(&e))?;
        let mut ran = Vec::with_capacity(nodes.len());
        for &node in nodes {
            let name = &compiled.network.graph.node(node).name;
            bar.set_message(name.clone());
            let t = compiled.params.plain_modulus;
            let times = steps.run(&compiled.network, node, t, self.seed()).map_err(|e| about(name, &e))?;
            ran.extend(times.map(|times| StepRun { node, times }));
            bar.inc(1);
        }
        Ok(ran)
    }
}

/// What failed is ours: the model has been compiled.
fn failure(error: &BenchError) -> Failure {
    Failure::Internal(error.to_string())
}

fn about(layer: &str, error: &BenchError) -> Failure {
    match error {
        BenchError::Wrong { .. } => failure(error),
        BenchError::Backend(_)
        | BenchError::Exec(_)
        | BenchError::Kernel(_)
        | BenchError::Reference(_)
        | BenchError::NonLinear(_)
        | BenchError::Graph(_)
        | BenchError::Thread => Failure::Internal(format!("layer `{layer}`: {error}")),
    }
}

/// Hidden where stderr is no terminal.
fn progress_bar(layers: usize) -> ProgressBar {
    let bar = ProgressBar::new(layers as u64);
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} layers  {msg}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}
