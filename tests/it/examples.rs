//! The shipped examples: reference = clear = encrypted, counts executed = planned, shapes compile.

use crate::counts::{columns, of_network};
use std::path::{Path, PathBuf};
use stria::backend::bfv::{BfvEvaluator, BfvKeys};
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::backend::{ClientKeys, Evaluator};
use stria::circuit::count;
use stria::compile::{Options, compile};
use stria::compiled::Compiled;
use stria::cost::CostTable;
use stria::diag::SourceFile;
use stria::graph::{NodeId, evaluate, quantise_input};
use stria::input::{self, Data, SafetensorsWeights};
use stria::params::Scheme;
use stria::protocol::{Activations, Choices, Service, Session, run_in_process};
use stria::report::{Report, report};
use stria::tensor::Tensor;
use stria::weights::WeightSource;
use stria::{resolve, syntax};

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path)
}

/// Compiles an example as the command line does.
pub(crate) fn compiled(path: &str, options: Options) -> Compiled {
    let path = example(path);
    let text = std::fs::read_to_string(&path).expect("the example is there");
    let source = SourceFile { name: path.display().to_string(), text };
    let ast = syntax::parse(&source).unwrap_or_else(|d| panic!("{}", d.render(&source)));
    let declared = resolve::declared(&ast);
    let weights = match &declared.weights {
        stria::graph::WeightsDecl::File(file) => {
            Some(SafetensorsWeights::open(&path.with_file_name(file)).expect("weights"))
        }
        stria::graph::WeightsDecl::None | stria::graph::WeightsDecl::Random(_) => None,
    };
    let weights = weights.as_ref().map(|w| w as &dyn WeightSource);
    let (model, diagnostics) = resolve::resolve(&ast, weights);
    assert!(diagnostics.0.is_empty(), "{}", diagnostics.render(&source));
    let model = model.expect("no errors, so there is a model");
    let calibration = declared.calibration.map(|file| {
        let shape = model.graph.node(NodeId(0)).shape.clone();
        input::load(&path.with_file_name(file), &model.header.input, &shape)
            .expect("calibration images")
            .images
    });
    compile(&model, weights, calibration.as_deref(), options).expect("the example compiles").compiled
}

pub(crate) fn images(compiled: &Compiled, path: &str) -> Data {
    let shape = compiled.network.graph.node(NodeId(0)).shape.clone();
    input::load(&example(path), &compiled.network.header.input, &shape).expect("the images load")
}

fn run<K: ClientKeys, E: Evaluator>(
    compiled: &Compiled,
    choices: Choices,
    images: &[Tensor<i64>],
) -> Session {
    let service = Service {
        network: &compiled.network,
        plan: &compiled.plan,
        circuit: &compiled.circuit,
        weights: compiled.weights.as_ref().expect("the example has weights"),
        params: compiled.sets(),
        memory: 1 << 24,
    };
    run_in_process::<K, E>(service, choices, images, &|_| {}, &|_| {}).expect("the run succeeds")
}

/// All logits equal the reference's, all counts the plan's; gives the number of right classes.
pub(crate) fn check<K: ClientKeys, E: Evaluator>(compiled: &Compiled, data: &Data, take: usize) -> usize {
    check_with::<K, E>(compiled, data, take, Choices::default())
}

fn check_with<K: ClientKeys, E: Evaluator>(
    compiled: &Compiled,
    data: &Data,
    take: usize,
    choices: Choices,
) -> usize {
    let quantised: Vec<_> = data
        .images
        .iter()
        .take(take)
        .map(|x| quantise_input(&compiled.network, x).expect("the image fits"))
        .collect();
    let session = run::<K, E>(compiled, choices, &quantised);
    assert_eq!(session.inferences.len(), quantised.len());
    let weights = compiled.weights.as_ref().expect("the example has weights");
    let labels = data.labels.as_ref().expect("the images have labels");
    let mut right = 0;
    for ((image, inference), &label) in quantised.iter().zip(&session.inferences).zip(labels) {
        let expected = evaluate(&compiled.network, weights, image).expect("the reference evaluates");
        assert_eq!(inference.answer.logits(), Some(&expected));
        for (layer, segment) in inference.layers.iter().zip(&compiled.circuit.segments) {
            let mut planned = count(segment);
            planned.plain_adds = planned.ciphertexts_in + planned.ciphertexts_out;
            assert_eq!(layer.counts, planned, "{}", segment.layer);
        }
        assert_eq!(inference.layers.len(), compiled.circuit.segments.len());
        let best = expected.data.iter().max();
        right += usize::from(expected.data.iter().position(|v| Some(v) == best) == Some(label));
    }
    right
}

#[test]
fn fashion_mnist_on_the_clear_backend() {
    for model in ["fashion_mnist/dense.stria", "fashion_mnist/narrow.stria", "fashion_mnist/stria.stria"] {
        let compiled = compiled(model, Options::default());
        let data = images(&compiled, "fashion_mnist/images");
        assert!(data.images.len() >= 20);
        // Images in number, with activations in the form that takes least time.
        let choices = Choices { activations: Activations::Revealed, ..Choices::default() };
        let right = check_with::<ClearKeys, ClearEvaluator>(&compiled, &data, 20, choices);
        assert!(right >= 18, "{model}: {right} of 20");
    }
}

#[test]
fn fashion_mnist_encrypted() {
    for model in ["fashion_mnist/dense.stria", "fashion_mnist/narrow.stria", "fashion_mnist/stria.stria"] {
        let compiled = compiled(model, Options::default());
        compiled.fits().expect("secure moduli hold it");
        let data = images(&compiled, "fashion_mnist/images");
        // The baseline takes the second image, a T-shirt, for a shirt; so does its reference.
        let right = if model.contains("dense") { 1 } else { 2 };
        assert_eq!(check::<BfvKeys, BfvEvaluator>(&compiled, &data, 2), right, "{model}");
    }
}

#[cfg(feature = "fhe-rs")]
#[test]
fn fashion_mnist_encrypted_by_the_oracle() {
    use stria::backend::fhe_rs::{FheEvaluator, FheKeys};
    for model in ["fashion_mnist/dense.stria", "fashion_mnist/stria.stria"] {
        let compiled = compiled(model, Options::default()).for_scheme(Scheme::FheRs).expect("moduli");
        compiled.fits().expect("secure moduli hold it");
        let data = images(&compiled, "fashion_mnist/images");
        assert_eq!(check::<FheKeys, FheEvaluator>(&compiled, &data, 1), 1, "{model}");
    }
}

fn totals(report: &Report) -> String {
    let t = &report.totals;
    format!(
        "{:14} t {:2} bits  rotations {:6} = {:5} + {:5}  mults {:7}  cts {:5} + {:5}  keys {:4}  ReLUs {:8}",
        report.model,
        u64::BITS - report.plain_modulus.leading_zeros(),
        t.rotations.total,
        t.rotations.internal,
        t.rotations.external,
        t.plain_mults,
        t.ciphertexts_in,
        t.ciphertexts_out,
        t.galois_keys,
        t.relu
    )
}

#[test]
fn totals_of_the_examples() {
    let models = [
        "fashion_mnist/dense.stria",
        "fashion_mnist/narrow.stria",
        "fashion_mnist/stria.stria",
        "shapes/mobilenet_v2.stria",
        "shapes/resnet18.stria",
        "shapes/resnet20.stria",
        "shapes/resnet32.stria",
        "shapes/resnet50.stria",
        "shapes/vgg16.stria",
    ];
    let table = CostTable::shipped(Scheme::Bfv);
    let lines = models.iter().map(|model| {
        let report = report(&compiled(model, Options::default()), &table);
        assert!(report.galois_key_bytes < 64_000_000, "{model}: {} bytes of keys", report.galois_key_bytes);
        totals(&report)
    });
    let lines: Vec<_> = lines.collect();
    insta::assert_snapshot!(lines.join("\n"));
}

/// The shape networks consist of the layers of the fixture, and each costs what it says there.
#[test]
fn shape_networks_cost_what_the_fixture_says() {
    let networks = [
        ("resnet20", "ResNet-20/C10"),
        ("resnet32", "ResNet-32/C10"),
        ("vgg16", "VGG-16/C10"),
        ("resnet18", "ResNet-18/IN"),
        ("resnet50", "ResNet-50/IN"),
        ("mobilenet_v2", "MobileNetV2/IN"),
    ];
    for (file, net) in networks {
        let circuit = compiled(&format!("shapes/{file}.stria"), Options::default()).circuit;
        let mut layers: Vec<_> = circuit.segments.iter().map(|s| columns(&count(s))).collect();
        layers.sort_unstable();
        assert!(!layers.is_empty());
        assert_eq!(layers, of_network(net), "{file}");
    }
}
