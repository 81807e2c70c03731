//! Float passes keep the function, and change the structure in the same way without weights.

use super::networks::{Net, TestWeights, conv, global_pool, images, random_model};
use stria::graph::{Model, NodeId, verify_model};
use stria::layers::{BatchNorm, Layer};
use stria::passes::{FloatModel, run_float};
use stria::quant::{FloatWeights, float_eval};
use stria::tensor::{Groups, Shape};

fn norm() -> Layer {
    Layer::BatchNorm(BatchNorm { eps: 1e-5 })
}

fn weighted(model: Model, seed: u64) -> FloatModel {
    let weights = FloatWeights::load(&model, &TestWeights::new(&model, seed)).unwrap();
    FloatModel { model, weights: Some(weights) }
}

/// Changes of each pass.
fn run(float: &mut FloatModel) -> Vec<usize> {
    let mut counts = Vec::new();
    run_float(float, &mut |_, changes, _| counts.push(changes)).unwrap();
    counts
}

fn kinds(model: &Model) -> Vec<String> {
    model.graph.ids().map(|id| model.graph.node(id).name.clone()).collect()
}

#[test]
fn random_models_keep_their_function() {
    for seed in 0..60 {
        let before = weighted(random_model(seed), seed);
        let mut after = before.clone();
        run(&mut after);
        let no_norm = |id: NodeId| !matches!(after.model.graph.node(id).layer, Layer::BatchNorm(_));
        assert!(after.model.graph.ids().all(no_norm));
        for image in images(&before.model, 2, seed) {
            let wanted = float_eval(&before.model, before.weights.as_ref().unwrap(), &image).unwrap();
            let found = float_eval(&after.model, after.weights.as_ref().unwrap(), &image).unwrap();
            let scale = wanted.data.iter().fold(1e-3_f32, |m, v| m.max(v.abs()));
            let worst = wanted.data.iter().zip(&found.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 2e-4 * scale, "seed {seed}: {worst} of {scale}");
        }
        let mut bare = FloatModel { model: before.model, weights: None };
        run(&mut bare);
        assert_eq!(kinds(&bare.model), kinds(&after.model), "seed {seed}");
        assert_eq!(run(&mut after), vec![0, 0, 0], "seed {seed}: passes are idempotent");
    }
}

#[test]
fn a_convolution_with_another_user_keeps_its_batch_norm_as_a_scaling() {
    let mut net = Net::new(Shape::image(2, 4, 4));
    let a = net.conv(net.input(), conv(3, 3));
    let b = net.add(norm(), &[a]);
    net.relu(b);
    let sum = net.add(Layer::Add, &[a, b]);
    let mut float = weighted(net.finish(sum), 1);
    assert_eq!(run(&mut float), vec![1, 0, 1]);
    let Layer::Conv(scaling) = &float.model.graph.node(NodeId(2)).layer else { panic!("no convolution") };
    assert_eq!((scaling.groups, scaling.kernel, scaling.bias), (Groups::Contiguous(3), (1, 1), Some(true)));
    assert_eq!(float.model.graph.node(NodeId(2)).name, "batch_norm2");
}

#[test]
fn folding_gives_the_convolution_a_bias_and_the_ranges_of_the_norm() {
    let mut net = Net::new(Shape::image(2, 4, 4));
    let a = net.conv(net.input(), stria::layers::Conv { bias: Some(false), ..conv(3, 3) });
    net.quant(a).weight_bits = Some(5);
    net.quant(a).range = Some((-9.0, 9.0));
    let b = net.add(norm(), &[a]);
    net.quant(b).range = Some((-1.0, 1.0));
    let y = net.add(norm(), &[b]);
    let y = net.add(global_pool(), &[y]);
    let y = net.add(norm(), &[y]);
    let mut float = FloatModel { model: net.finish(y), weights: None };
    assert_eq!(run(&mut float), vec![0, 2, 1]);
    let node = float.model.graph.node(NodeId(1));
    let Layer::Conv(folded) = &node.layer else { panic!("no convolution") };
    assert_eq!((folded.bias, node.quant.weight_bits, node.quant.range), (Some(true), Some(5), None));
    assert!(matches!(float.model.graph.node(NodeId(3)).layer, Layer::Linear(_)));
    assert_eq!(float.model.graph.output(), NodeId(3));
}

#[test]
fn the_text_shows_every_pass() {
    let mut float = weighted(random_model(3), 3);
    let mut shown = Vec::new();
    run_float(&mut float, &mut |name, _, m| shown.push(format!("{name}\n{}", m.model))).unwrap();
    let names: Vec<_> = shown.iter().filter_map(|s| s.lines().next()).collect();
    assert_eq!(names, ["drop-dead", "fold-batch-norm", "batch-norm-to-conv"]);
    verify_model(&float.model).unwrap();
}
