//! Whole plans, predicted and run: `cargo bench --bench plans [-- MODEL...]`, examples with weights.
//!
//! One inference at a time on one thread, both parties in this process; of several runs the least wall seconds
//! of the server's linear part and of the client's encryption and decryption. Predictions are by the shipped
//! costs; bytes are not sent anywhere and so not measured. Before anything is printed the logits are compared
//! with the reference.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::path::Path;
use stria::backend::bfv::{BfvEvaluator, BfvKeys};
use stria::compile::{Encode, Kernels, Options, compile};
use stria::compiled::Compiled;
use stria::cost::CostTable;
use stria::diag::SourceFile;
use stria::graph::{NodeId, WeightsDecl, evaluate};
use stria::input::{self, SafetensorsWeights};
use stria::params::Scheme;
use stria::protocol::{Activations, Choices, Service, run_in_process};
use stria::quant::{RandomWeights, random_images};
use stria::report::report;
use stria::select::WholePlan;
use stria::tensor::Tensor;
use stria::{resolve, syntax};

/// Runs of each plan.
const RUNS: usize = 3;

const PLANS: [(WholePlan, Encode, Kernels); 5] = [
    (WholePlan::Planned, Encode::Auto, Kernels::Auto),
    (WholePlan::Planned, Encode::Slots, Kernels::Auto),
    (WholePlan::OutputRotation, Encode::Slots, Kernels::OutputRotation),
    (WholePlan::Unified, Encode::Slots, Kernels::Unified),
    (WholePlan::Coefficients, Encode::Coefficients, Kernels::Auto),
];

/// The example, with random weights if it names none.
fn compiled(path: &Path, options: Options<'_>) -> Compiled {
    let text = std::fs::read_to_string(path).expect("the model is there");
    let ast = syntax::parse(&SourceFile { name: path.display().to_string(), text }).expect("it parses");
    let declared = resolve::declared(&ast);
    let beside = |file: &str| path.with_file_name(file);
    if let WeightsDecl::File(file) = &declared.weights {
        let weights = SafetensorsWeights::open(&beside(file)).expect("weights");
        let model = resolve::resolve(&ast, Some(&weights)).0.expect("it resolves");
        let shape = model.graph.node(NodeId(0)).shape.clone();
        let images = declared.calibration.map(|file| {
            input::load(&beside(&file), &model.header.input, &shape).expect("calibration images").images
        });
        return compile(&model, Some(&weights), images.as_deref(), options).expect("it compiles").compiled;
    }
    let model = resolve::resolve(&ast, None).0.expect("it resolves");
    let shape = model.graph.node(NodeId(0)).shape.clone();
    let weights = RandomWeights::for_model(&model, 1);
    let images = random_images(&shape, (-1.0, 1.0), 2, 1);
    compile(&model, Some(&weights), Some(&images), options).expect("it compiles").compiled
}

/// Least seconds of the server's linear part, and of the client.
fn measured(compiled: &Compiled) -> (f64, f64) {
    let weights = compiled.weights.as_ref().expect("weights");
    let shape = compiled.network.graph.node(NodeId(0)).shape.clone();
    let image = Tensor { data: (0..).map(|i| i % 100).take(shape.elements()).collect(), shape };
    let service = Service {
        network: &compiled.network,
        plan: &compiled.plan,
        circuit: &compiled.circuit,
        weights,
        params: compiled.sets(),
        memory: 0,
    };
    let images = vec![image.clone(); RUNS];
    // Activations take the same in every plan.
    let choices = Choices { activations: Activations::Revealed, ..Choices::default() };
    let run = run_in_process::<BfvKeys, BfvEvaluator>;
    let session = run(service, choices, &images, &|_| {}, &|_| {}).expect("it runs");
    let expected = evaluate(&compiled.network, weights, &image).expect("the reference evaluates");
    let least = |of: &dyn Fn(usize) -> f64| (0..RUNS).map(of).fold(f64::INFINITY, f64::min);
    assert!(session.inferences.iter().all(|inference| inference.answer.logits() == Some(&expected)));
    let server = least(&|i| session.inferences[i].layers.iter().map(|layer| layer.time.as_secs_f64()).sum());
    let client = least(&|i| {
        let client = &session.inferences[i].client;
        (client.encrypt + client.decrypt).as_secs_f64()
    });
    (server, client)
}

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("the pool is not yet made");
    let given: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let shipped = ["dense", "stria"].map(|name| format!("examples/fashion_mnist/{name}.stria"));
    let models = if given.is_empty() { shipped.to_vec() } else { given };
    println!(
        "{:12} {:8} {:20} {:>20} {:>20} {:>9}",
        "model", "layers", "plan", "server: said, ran", "client: said, ran", "MB sent"
    );
    for model in models {
        for (plan, encode, kernels) in PLANS {
            let options = Options { encode, kernels, ..Options::default() };
            let compiled = compiled(&Path::new(env!("CARGO_MANIFEST_DIR")).join(&model), options);
            if compiled.fits().is_err() {
                continue;
            }
            let report = report(&compiled, &CostTable::shipped(Scheme::Bfv));
            let (server, client) = measured(&compiled);
            let said = report.predicted;
            let bytes = report.totals.bytes_up + report.totals.bytes_down;
            let encodings = match encode {
                Encode::Auto => "any",
                Encode::Slots => "slots",
                Encode::Coefficients => "coeffs",
            };
            println!(
                "{:12} {encodings:8} {:20} {:>10.3}{server:>10.3} {:>10.3}{client:>10.3} {:>7}.{}",
                report.model,
                plan.name(),
                said.server_seconds,
                said.client_seconds,
                bytes / 1_000_000,
                bytes % 1_000_000 / 100_000
            );
        }
    }
}
