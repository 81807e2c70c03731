//! The quantiser: scales, shifts, bounds, and the distance between integers and floats.

use super::networks::{Net, TestWeights, below, conv, global_pool, images, pool, random_network};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use stria::graph::{
    IntLayer, IntNetwork, IntWeights, Interval, Model, NodeId, Requant, evaluate, evaluate_all,
    quantise_input, verify,
};
use stria::layers::{Activation, Conv, Layer, Linear, PoolKind, Shuffle};
use stria::quant::{FloatWeights, QuantError, Quantised, float_eval, quantise};
use stria::tensor::{Groups, Shape, Support, Tensor};

fn weigh(model: &Model, seed: u64) -> FloatWeights {
    FloatWeights::load(model, &TestWeights::new(model, seed)).unwrap()
}

fn calibrated(model: &Model, weights: &FloatWeights) -> Quantised {
    let quantised = quantise(model, Some(weights), Some(&images(model, 24, 77))).unwrap();
    verify(&quantised.network).unwrap();
    quantised
}

/// Root mean square of the error of the output over that of the output itself, on the images of the calibration.
fn relative_error(model: &Model, weights: &FloatWeights, q: &Quantised) -> f64 {
    let (mut error, mut power) = (0.0, 0.0);
    for image in images(model, 24, 77) {
        let wanted = float_eval(model, weights, &image).unwrap();
        let input = quantise_input(&q.network, &image).unwrap();
        let found = evaluate(&q.network, q.weights.as_ref().unwrap(), &input).unwrap();
        assert_eq!(found.shape, wanted.shape);
        for (f, w) in found.data.iter().zip(&wanted.data) {
            let f = f64::from(i32::try_from(*f).unwrap()) * q.network.output_scale;
            error += (f - f64::from(*w)).powi(2);
            power += f64::from(*w).powi(2);
        }
    }
    (error / power.max(1e-12)).sqrt()
}

fn within_bounds(network: &IntNetwork, weights: &IntWeights, input: &Tensor<i64>) {
    let values = evaluate_all(network, weights, input).unwrap();
    for (id, value) in network.graph.ids().zip(values) {
        let Interval { lo, hi } = network.intervals[id.0 as usize];
        let node = &network.graph.node(id).name;
        assert!(value.data.iter().all(|v| (lo..=hi).contains(v)), "{node} leaves {lo}..{hi}");
    }
}

/// Images of the largest and smallest integers.
fn extremes(network: &IntNetwork, seed: u64) -> Vec<Tensor<i64>> {
    let node = network.graph.node(NodeId(0));
    let IntLayer::Input(Interval { lo, hi }) = node.layer else { panic!("no input") };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut image = |f: &dyn Fn(usize) -> i64| Tensor {
        shape: node.shape.clone(),
        data: (0..node.shape.elements()).map(|_| f(below(&mut rng, 2))).collect(),
    };
    vec![image(&|_| lo), image(&|_| hi), image(&|b| if b == 0 { lo } else { hi })]
}

fn node<'a>(network: &'a IntNetwork, name: &str) -> (NodeId, &'a IntLayer) {
    let id = network.graph.ids().find(|id| network.graph.node(*id).name == name);
    let id = id.unwrap_or_else(|| panic!("no node {name} in\n{network}"));
    (id, &network.graph.node(id).layer)
}

fn requant(network: &IntNetwork, name: &str) -> Requant {
    let (IntLayer::Requant(r) | IntLayer::Poly { requant: r, .. }) = node(network, name).1 else {
        panic!("{name} clamps nothing in\n{network}")
    };
    *r
}

/// A stride-2 block of striped convolutions with a cross kernel and a convolution on the skip.
fn stria_block(net: &mut Net, x: NodeId, out: usize, stride: usize) -> NodeId {
    let striped = |out, kernel| Conv { groups: Groups::Striped(2), ..conv(out, kernel) };
    let y = net.conv(x, striped(out, 1));
    let y = net.relu(y);
    let y = net.add(Layer::Shuffle(Shuffle { groups: 2 }), &[y]);
    let cross = Conv { support: Support::Cross, stride: (stride, stride), ..striped(out, 3) };
    let y = net.conv(y, cross);
    let y = net.relu(y);
    let y = net.conv(y, striped(out, 1));
    let skip =
        if stride == 1 { x } else { net.conv(x, Conv { stride: (stride, stride), ..striped(out, 1) }) };
    net.add(Layer::Add, &[y, skip])
}

#[test]
fn integers_stay_close_to_floats_on_random_networks() {
    let mut errors = Vec::new();
    for seed in 0..80 {
        let (model, weights) = random_network(seed);
        let quantised = calibrated(&model, &weights);
        errors.push((relative_error(&model, &weights, &quantised), seed));
    }
    errors.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(errors[40].0 < 0.015, "median {:?}", errors[40]);
    assert!(errors[79].0 < 0.12, "worst {:?}", errors[79]);
}

#[test]
fn blocks_of_stripes_keep_their_function() {
    let mut net = Net::new(Shape::image(2, 8, 8));
    let x = net.conv(net.input(), conv(8, 3));
    let x = net.relu(x);
    let x = stria_block(&mut net, x, 8, 1);
    let x = stria_block(&mut net, x, 16, 2);
    let x = stria_block(&mut net, x, 16, 1);
    let x = net.add(global_pool(), &[x]);
    let x = net.linear(x, 5);
    let model = net.finish(x);
    let weights = weigh(&model, 8);
    let quantised = calibrated(&model, &weights);
    let error = relative_error(&model, &weights, &quantised);
    assert!(error < 0.03, "{error}");
}

#[test]
fn polynomial_networks_keep_their_function() {
    let mut net = Net::new(Shape::image(1, 8, 8));
    let x = net.conv(net.input(), conv(6, 3));
    let x = net.add(Layer::Activation(Activation::Square), &[x]);
    let y = net.conv(x, conv(6, 3));
    let y = net.add(Layer::Activation(Activation::Quad { a: 0.125, b: 0.5, c: 0.25 }), &[y]);
    let y = net.conv(y, conv(6, 1));
    let x = net.add(Layer::Add, &[y, x]);
    let x = net.add(pool(PoolKind::Average, 2, 2, 0), &[x]);
    let x = net.add(Layer::Flatten, &[x]);
    let x = net.linear(x, 4);
    let model = net.finish(x);
    let weights = weigh(&model, 2);
    let quantised = calibrated(&model, &weights);
    let square = requant(&quantised.network, "square2");
    assert_eq!(square, Requant { shift: 6, lo: 0, hi: 255 });
    assert_eq!(requant(&quantised.network, "conv1.requant").lo, -127);
    let error = relative_error(&model, &weights, &quantised);
    assert!(error < 0.03, "{error}");
}

/// In `relu(conv(x) + x)` the accumulator is k bits finer than x; the clamp takes both back to x's step.
#[test]
fn an_identity_skip_is_shifted_by_the_shift_of_the_clamp() {
    let mut net = Net::new(Shape::image(3, 6, 6));
    let x = net.conv(net.input(), conv(4, 3));
    let x = net.relu(x);
    let y = net.conv(x, conv(4, 3));
    let sum = net.add(Layer::Add, &[y, x]);
    let y = net.relu(sum);
    let y = net.conv(y, conv(2, 1));
    let model = net.finish(y);
    let weights = weigh(&model, 6);
    let quantised = calibrated(&model, &weights);
    let IntLayer::Add { shifts } = node(&quantised.network, "add4").1 else { panic!("no sum") };
    let clamp = requant(&quantised.network, "relu5");
    assert!(clamp.shift > 3);
    assert_eq!(*shifts, [0, clamp.shift]);
    let error = relative_error(&model, &weights, &quantised);
    assert!(error < 0.02, "{error}");
}

/// Whatever the ratio of the two; for one of them at least the finer is really finer.
#[test]
fn two_convolutions_align_to_the_finer_one() {
    let mut net = Net::new(Shape::image(3, 6, 6));
    let x = net.conv(net.input(), conv(4, 3));
    let x = net.relu(x);
    let y = net.conv(x, conv(4, 5));
    let skip = net.conv(x, Conv { groups: Groups::Contiguous(4), ..conv(4, 1) });
    let sum = net.add(Layer::Add, &[y, skip]);
    let y = net.relu(sum);
    let y = net.conv(y, conv(2, 1));
    let model = net.finish(y);
    let mut aligned = 0;
    for ratio in [1.0 / 256.0, 1.0 / 16.0, 1.0, 16.0, 256.0] {
        let mut weights = weigh(&model, 6);
        if let Some(stria::layers::FloatLayer::Linear { weight, .. }) = weights.0.get_mut(&skip) {
            weight.data.iter_mut().for_each(|w| *w *= ratio);
        }
        let quantised = calibrated(&model, &weights);
        let IntLayer::Add { shifts } = node(&quantised.network, "add5").1 else { panic!("no sum") };
        assert!(shifts.contains(&0), "{shifts:?} at {ratio}");
        aligned += usize::from(shifts.iter().any(|s| *s > 0));
        let error = relative_error(&model, &weights, &quantised);
        assert!(error < 0.02, "{error} at {ratio}, {shifts:?}");
    }
    assert!(aligned > 0, "no ratio asks for a shift");
}

#[test]
fn accumulators_are_requantised_before_linear_layers_only() {
    let mut net = Net::new(Shape::image(3, 8, 8));
    let a = net.conv(net.input(), conv(4, 3));
    let b = net.add(pool(PoolKind::Max, 2, 2, 0), &[a]);
    let c = net.conv(b, conv(4, 3));
    let d = net.relu(c);
    let e = net.add(pool(PoolKind::Average, 2, 2, 0), &[d]);
    let f = net.relu(e);
    let g = net.add(global_pool(), &[f]);
    let h = net.linear(g, 3);
    let quantised = quantise(&net.finish(h), None, None).unwrap().network;
    let names: Vec<_> =
        quantised.graph.ids().skip(1).map(|id| quantised.graph.node(id).name.as_str()).collect();
    let wanted = [
        "conv1",
        "max_pool2",
        "max_pool2.requant",
        "conv3",
        "relu4",
        "avg_pool5",
        "relu6",
        "global_avg_pool7",
        "global_avg_pool7.requant",
        "linear8",
    ];
    assert_eq!(names, wanted);
    let bounds = |name| (requant(&quantised, name).lo, requant(&quantised, name).hi);
    assert_eq!(bounds("max_pool2.requant"), (-127, 127));
    assert_eq!(bounds("relu4"), (0, 255));
    // A mean of values that are not negative keeps all eight bits.
    assert_eq!(bounds("global_avg_pool7.requant"), (0, 255));
    assert_eq!(requant(&quantised, "relu6").shift, 2);
}

#[test]
fn one_requantisation_serves_all_users() {
    let mut net = Net::new(Shape::image(2, 6, 6));
    let a = net.conv(net.input(), conv(4, 3));
    let shuffled = net.add(Layer::Shuffle(Shuffle { groups: 2 }), &[a]);
    let b = net.conv(shuffled, conv(4, 3));
    let sum = net.add(Layer::Add, &[a, b]);
    let r = net.relu(a);
    let joined = net.add(Layer::Concat, &[sum, r]);
    let y = net.conv(joined, conv(2, 1));
    let model = net.finish(y);
    let weights = weigh(&model, 4);
    let quantised = calibrated(&model, &weights);
    let graph = &quantised.network.graph;
    let inputs = |name| {
        let ids = graph.inputs(node(&quantised.network, name).0).into_iter();
        ids.map(|i| graph.node(i).name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(inputs("channel_shuffle2"), ["conv1.requant"]);
    assert_eq!(inputs("add4"), ["conv1.requant", "conv3"]);
    assert_eq!(inputs("relu5"), ["conv1"], "an activation reads the accumulator");
    assert_eq!(inputs("concat6"), ["add4.requant", "relu5"]);
    let error = relative_error(&model, &weights, &quantised);
    assert!(error < 0.03, "{error}");
}

/// A mean over nine pixels has a ninth of the scale: no shift aligns it with its own input.
#[test]
fn scales_that_no_shift_aligns_get_a_layer_of_their_own() {
    let mut net = Net::new(Shape::image(2, 6, 6));
    let x = net.conv(net.input(), conv(4, 3));
    let x = net.relu(x);
    let mean = net.add(pool(PoolKind::Average, 3, 1, 1), &[x]);
    let sum = net.add(Layer::Add, &[x, mean]);
    let y = net.conv(sum, conv(3, 1));
    let model = net.finish(y);
    let weights = weigh(&model, 4);
    let quantised = calibrated(&model, &weights);
    assert!(matches!(node(&quantised.network, "avg_pool3.rescale").1, IntLayer::Conv(_)));
    let error = relative_error(&model, &weights, &quantised);
    assert!(error < 0.03, "{error}");
    let structure = quantise(&model, None, None).unwrap().network;
    assert!(matches!(node(&structure, "avg_pool3.rescale").1, IntLayer::Conv(_)));
}

#[test]
fn relu6_saturates_at_six_in_every_channel() {
    let mut net = Net::new(Shape::image(1, 4, 4));
    let x = net.conv(net.input(), conv(3, 3));
    let x = net.add(Layer::Activation(Activation::Relu6), &[x]);
    let model = net.finish(x);
    let mut weights = weigh(&model, 4);
    if let Some(stria::layers::FloatLayer::Linear { weight, .. }) = weights.0.get_mut(&NodeId(1)) {
        weight.data.iter_mut().for_each(|w| *w *= 8.0);
    }
    let quantised = calibrated(&model, &weights);
    let top = requant(&quantised.network, "relu62").hi;
    assert!((quantised.network.output_scale * f64::from(u8::try_from(top).unwrap()) - 6.0).abs() < 0.02);
    let error = relative_error(&model, &weights, &quantised);
    assert!(error < 0.02, "{error}");
}

#[test]
fn bits_are_per_layer_and_checked() {
    let build = |weight_bits, bits| {
        let mut net = Net::new(Shape::image(2, 6, 6));
        let x = net.conv(net.input(), conv(4, 3));
        net.quant(x).weight_bits = weight_bits;
        let x = net.relu(x);
        net.quant(x).bits = bits;
        let x = net.conv(x, conv(4, 3));
        let x = net.conv(x, conv(4, 3));
        net.finish(x)
    };
    let model = build(Some(3), Some(5));
    let weights = weigh(&model, 1);
    let quantised = calibrated(&model, &weights);
    assert_eq!(requant(&quantised.network, "relu2").hi, 31);
    assert_eq!(requant(&quantised.network, "conv3.requant").hi, 127);
    let largest = |id| {
        let layer = &quantised.weights.as_ref().unwrap().0[&id];
        layer.weight.data.iter().map(|w| w.unsigned_abs()).max().unwrap()
    };
    assert_eq!(largest(NodeId(1)), 3);
    assert!((64..=127).contains(&largest(NodeId(3))));
    for bits in [0, 1, 9, u32::MAX] {
        for model in [build(Some(bits), None), build(None, Some(bits))] {
            let error = quantise(&model, Some(&weights), Some(&images(&model, 1, 1))).unwrap_err();
            assert!(matches!(error, QuantError::Bits { bits: b, .. } if b == bits), "{error}");
            assert!(quantise(&model, None, None).is_err());
        }
    }
}

#[test]
fn fewer_bits_cost_precision_in_order() {
    let (model, weights) = random_network(10);
    let errors = [8, 6, 4].map(|bits| {
        let mut model = model.clone();
        (model.header.weight_bits, model.header.activation_bits) = (bits, bits);
        relative_error(&model, &weights, &calibrated(&model, &weights))
    });
    assert!(2.0 * errors[0] < errors[1] && 1.5 * errors[1] < errors[2], "{errors:?}");
}

#[test]
fn ranges_of_the_file_replace_calibration() {
    let build = |range| {
        let mut net = Net::new(Shape::image(2, 6, 6));
        let x = net.conv(net.input(), conv(4, 3));
        let x = net.relu(x);
        net.quant(x).range = range;
        let x = net.linear_after_pool(x);
        net.finish(x)
    };
    let model = build(None);
    let weights = weigh(&model, 1);
    let error = quantise(&model, Some(&weights), None).unwrap_err();
    assert!(matches!(&error, QuantError::NoRange { node } if node == "relu2"), "{error}");
    assert!(error.to_string().contains("calibration"));
    let model = build(Some((0.0, 3.0)));
    let quantised = quantise(&model, Some(&weights), None).unwrap();
    let error = relative_error(&model, &weights, &quantised);
    assert!(error < 0.03, "{error}");
    let model = build(Some((0.0, f64::INFINITY)));
    assert!(matches!(quantise(&model, Some(&weights), None), Err(QuantError::Range { .. })));
}

#[test]
fn bounds_hold_and_are_reached() {
    let mut net = Net::new(Shape::image(1, 5, 5));
    let y = net.conv(net.input(), Conv { pad: stria::tensor::Pad { h: 0, w: 0 }, ..conv(1, 5) });
    let y = net.relu(y);
    let y = net.add(Layer::Flatten, &[y]);
    let y = net.linear(y, 1);
    let model = net.finish(y);
    let mut weights = weigh(&model, 9);
    if let Some(stria::layers::FloatLayer::Linear { weight, .. }) = weights.0.get_mut(&NodeId(1)) {
        weight.data[12] = 5.0;
    }
    let quantised = calibrated(&model, &weights);
    let (network, integers) = (&quantised.network, quantised.weights.as_ref().unwrap());
    let Interval { lo, hi } = network.intervals[1];
    let extreme = |sign: i8| {
        let data = integers.0[&NodeId(1)].weight.data.iter().map(|w| 127 * i64::from((w * sign).signum()));
        let input = Tensor { shape: Shape::image(1, 5, 5), data: data.collect() };
        evaluate_all(network, integers, &input).unwrap()[1].data[0]
    };
    let rounding = 1 << (requant(network, "relu2").shift - 1);
    assert_eq!((extreme(-1), extreme(1) + rounding), (lo, hi));
    assert!(network.largest_accumulator() >= hi.unsigned_abs());
}

#[test]
fn bounds_hold_on_random_networks() {
    for seed in 0..40 {
        let (model, weights) = random_network(seed);
        let quantised = calibrated(&model, &weights);
        for input in extremes(&quantised.network, seed) {
            within_bounds(&quantised.network, quantised.weights.as_ref().unwrap(), &input);
        }
    }
}

#[test]
fn without_weights_the_structure_is_the_same_and_bounds_are_assumed() {
    for seed in 0..40 {
        let (model, weights) = random_network(seed);
        let with = calibrated(&model, &weights).network;
        let without = quantise(&model, None, None).unwrap();
        assert!(without.network.assumed && without.weights.is_none() && !with.assumed);
        let names = |n: &IntNetwork| -> Vec<(String, Vec<NodeId>, &str)> {
            let describe = |id| {
                let node = n.graph.node(id);
                (node.name.clone(), n.graph.inputs(id), node.layer.kind())
            };
            n.graph.ids().map(describe).collect()
        };
        assert_eq!(names(&with), names(&without.network), "seed {seed}");
    }
}

#[test]
fn assumed_bounds_cover_the_worst_weights() {
    let mut net = Net::new(Shape::flat(100));
    let y = net.add(Layer::Linear(Linear { out: 3, bias: Some(false) }), &[net.input()]);
    let quantised = quantise(&net.finish(y), None, None).unwrap().network;
    assert_eq!(quantised.intervals[1], Interval { lo: -100 * 127 * 127, hi: 100 * 127 * 127 });
}

#[test]
fn the_same_input_gives_the_same_network_on_any_number_of_threads() {
    let (model, weights) = random_network(21);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let quantised = quantise(&model, Some(&weights), Some(&images(&model, 50, 3))).unwrap();
            (quantised.network.to_string(), quantised.weights)
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn logits_share_one_scale() {
    let mut net = Net::new(Shape::flat(8));
    let y = net.linear(net.input(), 4);
    let model = net.finish(y);
    let mut weights = weigh(&model, 1);
    if let Some(stria::layers::FloatLayer::Linear { weight, .. }) = weights.0.get_mut(&y) {
        weight.data[..8].iter_mut().for_each(|w| *w *= 20.0);
    }
    let quantised = calibrated(&model, &weights);
    let error = relative_error(&model, &weights, &quantised);
    assert!(error < 0.02, "{error}");
    let integers = &quantised.weights.as_ref().unwrap().0[&y].weight.data;
    assert!(integers[8..].iter().all(|w| w.abs() < 16), "weights of the other outputs are on the same scale");
}

#[test]
fn values_beyond_exact_arithmetic_are_refused() {
    let mut net = Net::new(Shape::flat(4));
    let y = net.linear(net.input(), 2);
    let model = net.finish(y);
    let mut weights = weigh(&model, 1);
    if let Some(stria::layers::FloatLayer::Linear { weight, bias: Some(bias) }) = weights.0.get_mut(&y) {
        weight.data.iter_mut().for_each(|w| *w *= 1e-18);
        bias[0] = 1e3;
    }
    let error = quantise(&model, Some(&weights), None).unwrap_err();
    assert!(matches!(&error, QuantError::Overflow { node } if node == "linear1"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, rng_seed: RngSeed::Fixed(41), ..ProptestConfig::default() })]

    #[test]
    fn any_network_quantises_within_its_bounds(seed in 1000_u64..1_000_000) {
        let (model, weights) = random_network(seed);
        let quantised = calibrated(&model, &weights);
        let error = relative_error(&model, &weights, &quantised);
        prop_assert!(error < 0.3, "relative error {}", error);
        for input in extremes(&quantised.network, seed) {
            within_bounds(&quantised.network, quantised.weights.as_ref().unwrap(), &input);
        }
    }
}
