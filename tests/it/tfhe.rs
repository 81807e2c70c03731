//! The non-interactive mode: plans, the simulator, refusals; encrypted runs and files under the feature `tfhe`.

#[cfg(feature = "tfhe")]
mod encrypted;
#[cfg(feature = "tfhe")]
mod files;
#[cfg(feature = "tfhe")]
mod processes;

use crate::random::{self, images, stages_of};
use stria::compile::{Stages, integers};
use stria::cost::{CostFile, CostFileError, TfheCosts};
use stria::diag::SourceFile;
use stria::graph::{IntLayer, NodeId, evaluate, evaluate_all};
use stria::params::Scheme;
use stria::quant::{RandomWeights, random_images};
use stria::tensor::{Shape, Tensor};
use stria::tfhe::TfheError;
use stria::tfhe::plan::Plan;
use stria::tfhe::report::{Costs, report};
use stria::tfhe::simulate::simulate;
use stria::{resolve, syntax};

/// A random network of few bits, planned for images that its ranges were measured on.
fn planned(text: String, seed: u64) -> (Stages, Result<Plan, TfheError>) {
    let stages = stages_of(text, seed);
    let network = &stages.compiled.network;
    let shape = &network.graph.node(NodeId(0)).shape;
    let seen = random_images(shape, (-1.5, 2.0), 3, seed);
    let plan = Plan::new(network, stages.compiled.weights.as_ref().unwrap(), &seen);
    (stages, plan)
}

/// A small network: convolution of the input, residual sum, pool, linear layer.
fn small() -> String {
    "model small {
        ring: 4096
        weights: random(5)
        quantize: { weights: 3, activations: 2 }
        input image: tensor[2, 6, 6] { mean: 0.4, std: 0.3, bits: 4 }
        let x = conv(image, out: 3, kernel: 3x3, stride: 2, pad: same) |> relu
        let x = add(x, conv(x, out: 3, kernel: 1x1)) |> relu
        output avg_pool(x, kernel: 3) |> flatten |> linear(out: 4)
    }"
    .into()
}

/// Without noise the simulator is the reference: whatever layers lie between activations, whatever steps.
#[test]
fn plans_mean_what_the_network_means() {
    let (mut checked, mut layers) = (0, 0);
    for seed in 0..60 {
        let few = "ring: 4096\n    quantize: { weights: 3, activations: 2 }";
        let text = random::source(seed).replacen("ring: 4096", few, 1);
        let (stages, plan) = planned(text, seed);
        let Ok(plan) = plan else { continue };
        // Look-ups tell accumulators apart only where a turn has fewer units than half the positions.
        if plan.layers.iter().any(|layer| 2_f64.powi(64) / layer.step as f64 > 2048.0) {
            continue;
        }
        let compiled = &stages.compiled;
        let weights = compiled.weights.as_ref().unwrap();
        let shape = &compiled.network.graph.node(NodeId(0)).shape;
        for image in random_images(shape, (-1.5, 2.0), 3, seed) {
            let image = stria::graph::quantise_input(&compiled.network, &image).unwrap();
            let values = evaluate_all(&compiled.network, weights, &image).unwrap();
            let simulated = simulate(&plan, &image, None);
            let graph = &compiled.network.graph;
            let activations = graph
                .ids()
                .filter(|id| matches!(graph.node(*id).layer, IntLayer::Requant(_) | IntLayer::Poly { .. }));
            for (id, found) in activations.zip(&simulated.activations) {
                assert_eq!(*found, values[id.0 as usize].data, "seed {seed}, {}", graph.node(id).name);
            }
            let output = &values[graph.output().0 as usize];
            assert_eq!(simulated.output.data, output.data, "seed {seed}");
            assert_eq!(simulated.bootstraps, plan.bootstraps());
        }
        checked += 1;
        layers += plan.layers.len();
    }
    assert!(checked >= 10 && layers >= 30, "{checked} networks with {layers} layers were checked");
}

/// Proven reaches hold for every image, whatever the calibrated ones showed.
#[test]
fn images_far_from_the_calibrated_ones_are_answered_right() {
    let stages = stages_of(small(), 5);
    let (network, weights) = (&stages.compiled.network, stages.compiled.weights.as_ref().unwrap());
    let shape = network.graph.node(NodeId(0)).shape.clone();
    let black = Tensor { data: vec![-1.3; shape.elements()], shape: shape.clone() };
    let plan = Plan::new(network, weights, &[black]).unwrap();
    assert!(
        !plan.seen && plan.layers.iter().all(|layer| layer.proven),
        "{}",
        report(&plan, &Costs::shipped())
    );
    for image in images(&stages.compiled, 5).into_iter().chain(images(&stages.compiled, 6)) {
        let exact = evaluate(network, weights, &image).unwrap();
        assert_eq!(simulate(&plan, &image, None).output.data, exact.data);
    }
}

/// A perceptron whose accumulators can reach far beyond what dim images show, and its plan for them.
fn seen_dim() -> (Stages, Plan) {
    let text = "model dim {
        ring: 4096
        weights: random(7)
        quantize: { weights: 8, activations: 4 }
        input x: tensor[64] { scale: 1/255, bits: 8, range: [0, 1] }
        output linear(x, out: 8) |> relu(range: 1) |> linear(out: 3, weight_bits: 3)
    }";
    let stages = stages_of(text.into(), 7);
    let dim = |i: usize| {
        let pixel = |j: usize| 0.4 + 0.02 * ((i * 64 + j) * 37 % 11) as f32;
        Tensor { shape: Shape::flat(64), data: (0..64).map(pixel).collect() }
    };
    let images: Vec<_> = (0..20).map(dim).collect();
    let plan = Plan::new(&stages.compiled.network, stages.compiled.weights.as_ref().unwrap(), &images);
    (stages, plan.unwrap())
}

/// Images that drive one accumulator each towards either of its ends, in steps; and one in between.
fn far_images(stages: &Stages) -> Vec<Tensor<i64>> {
    let weights = stages.compiled.weights.as_ref().unwrap();
    let first = weights.0.values().next().unwrap();
    let IntLayer::Input(range) = stages.compiled.network.graph.node(NodeId(0)).layer else {
        panic!("an input")
    };
    let image = |row: &[i8], part: i64, sign: i8| {
        let pixel = |&w: &i8| if w.signum() == sign { range.hi * part / 4 } else { 0 };
        Tensor { shape: Shape::flat(64), data: row.iter().map(pixel).collect() }
    };
    let rows: Vec<&[i8]> = first.weight.data.chunks(64).collect();
    let far = rows.iter().flat_map(|row| [(2, 1), (3, 1), (4, 1), (4, -1)].map(|(p, s)| image(row, p, s)));
    let dim = Tensor { shape: Shape::flat(64), data: vec![range.hi / 2; 64] };
    far.chain([dim]).collect()
}

/// Whoever has image and weights can tell which answers are wrong for reaching too far; all others are right.
#[test]
fn images_beyond_their_reach_are_told() {
    let (stages, plan) = seen_dim();
    let (network, weights) = (&stages.compiled.network, stages.compiled.weights.as_ref().unwrap());
    assert!(plan.seen && !plan.layers[0].proven, "{}", report(&plan, &Costs::shipped()));
    assert!((0.0..1e-3).contains(&plan.layers[0].beyond), "{}", plan.layers[0].beyond);
    let (mut wrong, mut right) = (0, 0);
    for image in far_images(&stages) {
        let values = evaluate_all(network, weights, &image).unwrap();
        let beyond = plan.beyond_reach(network, weights, &image).unwrap();
        let simulated = simulate(&plan, &image, None);
        let activations =
            network.graph.ids().find(|id| matches!(network.graph.node(*id).layer, IntLayer::Requant(_)));
        let exact = &values[activations.unwrap().0 as usize].data;
        let off = simulated.activations[0].iter().zip(exact).filter(|(a, b)| a.abs_diff(**b) > 1).count();
        if beyond.contains(&plan.layers[0].name.as_str()) {
            wrong += usize::from(off > 0);
        } else {
            assert_eq!(off, 0, "{:?}, exact {exact:?}", simulated.activations[0]);
            right += 1;
        }
    }
    assert!(wrong >= 8 && right >= 1, "{wrong} wrong, {right} right");
}

/// With reaches that are proven no image is beyond them; what does not fit so is refused.
#[test]
fn proven_reaches_hold_or_are_refused() {
    let (stages, _) = seen_dim();
    let (network, weights) = (&stages.compiled.network, stages.compiled.weights.as_ref().unwrap());
    let plan = Plan::new(network, weights, &[]).unwrap();
    assert!(!plan.seen && plan.beyond() == 0.0);
    for image in far_images(&stages) {
        assert_eq!(plan.beyond_reach(network, weights, &image).unwrap(), Vec::<&str>::new());
    }
    let found = unplanned("tensor[4000]", "linear(x, out: 4, name: \"l\") |> relu(range: 0.5)");
    assert!(matches!(found, TfheError::Bits { .. }), "{found}");
}

/// Why `output`, of the input x, does not fit with proven reaches; quantised alone, no other mode's plan is made.
fn unplanned(input: &str, output: &str) -> TfheError {
    let text = format!(
        "model m {{ ring: 4096 weights: random(1) quantize: {{ weights: 8, activations: 4 }}
         input x: {input} {{ bits: 8 }} output {output} }}"
    );
    let source = SourceFile { name: "m.stria".into(), text };
    let (model, _) = resolve::resolve(&syntax::parse(&source).unwrap(), None);
    let model = model.unwrap();
    let weights = RandomWeights::for_model(&model, 1);
    let quantised = integers(&model, Some(&weights), (None, None)).unwrap().quantised;
    match Plan::new(&quantised.network, quantised.weights.as_ref().unwrap(), &[]) {
        Err(error) => error,
        Ok(plan) => panic!("planned: {}", report(&plan, &Costs::shipped())),
    }
}

/// What is too large is refused before it is made, by layer and bound.
#[test]
fn sizes_are_refused_by_layer_and_bound() {
    let found = unplanned("tensor[1, 1100, 1000]", "avg_pool(x, kernel: 4)");
    assert!(matches!(&found, TfheError::Values { found: 1_100_000, .. }), "{found}");
    let found = unplanned("tensor[20000]", "linear(x, out: 1000, name: \"l\")");
    assert_eq!(found, TfheError::Terms { layer: "l".into() });
    let found = unplanned("tensor[400000]", "linear(x, out: 1, name: \"l\")");
    assert!(matches!(&found, TfheError::Wide { bits, .. } if *bits > 30.0), "{found}");
}

/// Old cost files have no bootstraps; whatever is there is checked.
#[test]
fn costs_of_bootstraps_are_part_of_cost_files() {
    let shipped = include_str!("../../src/cost/shipped/bfv.yaml");
    let file = CostFile::from_yaml(shipped.as_bytes()).unwrap();
    let costs = file.tfhe().unwrap();
    assert_eq!(costs, Costs::shipped().seconds);
    let old = CostFile::from_yaml(shipped.split("tfhe:").next().unwrap().as_bytes()).unwrap();
    assert_eq!((old.tfhe(), old.table(Scheme::Bfv, "old").is_ok()), (None, true));
    let both = old.with_tfhe(costs);
    assert_eq!(CostFile::from_yaml(both.to_yaml().unwrap().as_bytes()).unwrap(), file);
    for seconds in ["0.0", "-1.0", ".inf", "4000.0", ".nan"] {
        let number = shipped.split("bootstrap: ").nth(1).unwrap().lines().next().unwrap();
        let text = shipped.replace(&format!("bootstrap: {number}"), &format!("bootstrap: {seconds}"));
        let found = CostFile::from_yaml(text.as_bytes()).unwrap_err();
        assert!(matches!(found, CostFileError::TfheSeconds { operation: "tfhe.bootstrap", .. }), "{found}");
    }
    let (_, plan) = planned(small(), 5);
    let plan = plan.unwrap();
    let slow = TfheCosts { bootstrap: 1.0, ..costs };
    let told = report(&plan, &Costs { name: "slow".into(), seconds: slow });
    let of_layers: f64 = told.layers.iter().map(|layer| layer.estimated_seconds).sum();
    let bootstraps = plan.bootstraps() as f64;
    assert!((told.totals.estimated_seconds - bootstraps).abs() < 0.01 * bootstraps);
    assert!((told.totals.estimated_seconds - of_layers).abs() < 1e-9);
    assert!(told.totals.estimated_linear_seconds > 0.0 && told.cost_table == "slow");
}

/// The simulator changes about as many activations as forecast, and none far.
#[test]
fn the_forecast_is_what_the_simulator_does() {
    let (stages, plan) = planned(small(), 5);
    let (plan, compiled) = (plan.unwrap(), &stages.compiled);
    let weights = compiled.weights.as_ref().unwrap();
    let shape = &compiled.network.graph.node(NodeId(0)).shape;
    let (mut changed, mut expected) = (0.0, 0.0);
    for (seed, image) in random_images(shape, (-1.5, 2.0), 3, 5).iter().cycle().take(8000).enumerate() {
        let image = stria::graph::quantise_input(&compiled.network, image).unwrap();
        let values = evaluate_all(&compiled.network, weights, &image).unwrap();
        let graph = &compiled.network.graph;
        let first = graph.ids().find(|id| matches!(graph.node(*id).layer, IntLayer::Requant(_))).unwrap();
        let simulated = simulate(&plan, &image, Some(seed as u64));
        let pairs = simulated.activations[0].iter().zip(&values[first.0 as usize].data);
        changed += pairs.filter(|(a, b)| a != b).count() as f64;
        expected += plan.layers[0].forecast.changed * plan.layers[0].rows.len() as f64;
    }
    // So many that 30 % are four standard deviations.
    assert!(expected > 180.0, "too few to compare: {expected}");
    assert!((changed / expected - 1.0).abs() < 0.3, "{changed} changed, {expected} forecast");
}

fn refused(text: &str) -> TfheError {
    let (_, plan) = planned(text.into(), 1);
    match plan {
        Err(error) => error,
        Ok(plan) => panic!("planned: {}", report(&plan, &Costs::shipped())),
    }
}

#[test]
fn what_does_not_fit_is_refused_by_layer_and_bound() {
    let model = |quantize: &str, body: &str| {
        format!(
            "model m {{ ring: 4096 weights: random(1) quantize: {quantize} input x: tensor[2, 12, 12] {body} }}"
        )
    };
    let deep = "let y = conv(x, out: 16, kernel: 3x3, pad: same, name: \"a\") |> relu(name: \"ra\")
        let y = conv(y, out: 16, kernel: 5x5, pad: same, name: \"b\") |> relu(name: \"rb\")
        output global_avg_pool(y) |> linear(out: 3)";
    let found = refused(&model("{ weights: 8, activations: 8 }", deep));
    assert!(matches!(&found, TfheError::Bits { layer, .. } if layer == "ra"), "{found}");
    let found = refused(&model("{ weights: 8, activations: 4 }", deep));
    assert!(
        matches!(&found, TfheError::Norm { layer, norm, limit, .. } if layer == "rb" && norm > limit),
        "{found}"
    );
    let found =
        refused(&model("{ weights: 3, activations: 3 }", "output max_pool(x, kernel: 2, name: \"p\")"));
    assert_eq!(found, TfheError::MaxPool { layer: "p".into() });
    assert!(found.to_string().contains("average pool"), "{found}");
}

/// A bound is a bound: weights scaled to it fit.
#[test]
fn the_limit_of_a_norm_is_where_it_begins_to_fit() {
    let text = |bits: u32| {
        format!(
            "model m {{ ring: 4096 weights: random(1) quantize: {{ weights: {bits}, activations: 4 }}
             input x: tensor[2, 12, 12] let y = conv(x, out: 16, kernel: 3x3, pad: same, name: \"a\") |> relu
             output conv(y, out: 16, kernel: 5x5, name: \"b\") |> relu }}"
        )
    };
    let fits: Vec<bool> = (2..=8).map(|bits| planned(text(bits), 1).1.is_ok()).collect();
    assert!(fits.windows(2).all(|pair| pair[0] || !pair[1]), "more bits fit where fewer do not: {fits:?}");
    assert!(fits[0] && !fits[6], "{fits:?}");
}

#[test]
fn the_shipped_network_is_within_its_bounds() {
    let path = "fashion_mnist_tfhe/fashion.stria";
    let compiled = crate::examples::compiled(path, stria::compile::Options::default());
    let seen = crate::examples::images(&compiled, "fashion_mnist/calibration.safetensors").images;
    let weights = compiled.weights.as_ref().unwrap();
    let plan = Plan::new(&compiled.network, weights, &seen).unwrap();
    assert!(plan.bootstraps() <= 1500, "{}", plan.bootstraps());
    let told = report(&plan, &Costs::shipped());
    assert_eq!(told.totals.bootstraps, plan.bootstraps());
    assert!(told.layers.iter().all(|layer| layer.norm < 30.0 || layer.bootstraps == 0), "{told}");
    assert!(plan.far() < 1e-2, "{told}");
    let data = crate::examples::images(&compiled, "fashion_mnist/test200.safetensors");
    let (mut right, mut same) = (0, 0);
    for (seed, (image, label)) in data.images.iter().zip(data.labels.unwrap()).enumerate() {
        let image = stria::graph::quantise_input(&compiled.network, image).unwrap();
        let argmax = |t: &Tensor<i64>| stria::protocol::first_of_greatest(&t.data);
        let simulated = argmax(&simulate(&plan, &image, Some(seed as u64)).output);
        right += usize::from(simulated == label);
        same += usize::from(simulated == argmax(&evaluate(&compiled.network, weights, &image).unwrap()));
    }
    assert!(right >= 170 && same >= 185, "{right} right, {same} as without noise, of 200");
}

#[test]
fn images_are_those_of_the_random_networks() {
    let (stages, plan) = planned(small(), 5);
    let plan = plan.unwrap();
    for image in images(&stages.compiled, 5) {
        let simulated = simulate(&plan, &image, Some(1));
        assert_eq!(simulated, simulate(&plan, &image, Some(1)), "a seed fixes everything");
        assert_eq!(simulated.output.data.len(), 4);
    }
}
