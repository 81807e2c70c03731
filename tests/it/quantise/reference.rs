//! The integer reference on networks small enough to compute by hand, and the verifier.

use super::networks::{Net, conv, images, random_network};
use std::collections::BTreeMap;
use std::sync::Arc;
use stria::graph::{
    Graph, GraphError, IntLayer, IntNetwork, IntWeights, Interval, LayerWeights, NodeId, ReferenceError,
    Requant, evaluate, evaluate_all, quantise_input, verify,
};
use stria::layers::{Conv, Linear, Shuffle};
use stria::quant::quantise;
use stria::tensor::{Groups, Shape, Tensor};

/// A network of integer layers; each reads the ones before it as listed.
fn network(input: Shape, layers: Vec<(IntLayer, Shape, Vec<u32>)>) -> IntNetwork {
    let (model, _) = random_network(0);
    let blank = model.graph.node(NodeId(0)).clone();
    let node = |name: String, layer, shape| stria::graph::Node {
        name,
        layer,
        shape,
        block: None,
        span: blank.span,
        quant: blank.quant,
    };
    let range = Interval { lo: -127, hi: 127 };
    let mut graph = Graph::default();
    graph.add(node("image".to_string(), IntLayer::Input(range), input), &[]).unwrap();
    let mut output = NodeId(0);
    for (layer, shape, inputs) in layers {
        let inputs: Vec<_> = inputs.into_iter().map(NodeId).collect();
        output = graph.add(node(format!("node{}", graph.len()), layer, shape), &inputs).unwrap();
    }
    graph.set_output(output);
    let wide = Interval { lo: -1_000_000, hi: 1_000_000 };
    let clamped = |id| {
        if let IntLayer::Requant(r) | IntLayer::Poly { requant: r, .. } = &graph.node(id).layer {
            return Interval { lo: r.lo, hi: r.hi };
        }
        if id == NodeId(0) { range } else { wide }
    };
    let intervals = graph.ids().map(clamped).collect();
    IntNetwork { header: model.header, graph, intervals, input_scale: 0.5, output_scale: 1.0, assumed: false }
}

fn layer_weights(dims: &[usize], weight: &[i8], bias: &[i64]) -> LayerWeights {
    let weight = Tensor::new(Shape::of(dims), weight.to_vec()).unwrap();
    LayerWeights { weight: Arc::new(weight), bias: Arc::new(bias.to_vec()) }
}

#[test]
fn a_clamp_rounds_half_up_then_saturates() {
    let requant = Requant { shift: 2, lo: -3, hi: 5 };
    let found: Vec<_> =
        [-100, -15, -6, -5, -2, -1, 0, 1, 2, 5, 6, 21, 22, 100].map(|v| requant.apply(v)).into();
    assert_eq!(found, [-3, -3, -1, -1, 0, 0, 0, 0, 1, 1, 2, 5, 5, 5]);
    assert_eq!(Requant { shift: 0, ..requant }.apply(4), 4);
}

#[test]
fn every_kind_of_node_computes_what_it_says() {
    let image = |c| Shape::image(c, 1, 2);
    let striped = Conv { groups: Groups::Striped(2), ..conv(2, 1) };
    let net = network(
        image(2),
        vec![
            (IntLayer::Conv(striped), image(2), vec![0]),
            (IntLayer::Requant(Requant { shift: 1, lo: 0, hi: 9 }), image(2), vec![1]),
            (IntLayer::Add { shifts: vec![0, 3] }, image(2), vec![2, 0]),
            (IntLayer::Concat { shifts: vec![1, 0] }, image(4), vec![2, 3]),
            (IntLayer::Shuffle(Shuffle { groups: 2 }), image(4), vec![4]),
            (
                IntLayer::Poly { a: 2, b: -1, c: 3, requant: Requant { shift: 1, lo: -50, hi: 50 } },
                image(4),
                vec![5],
            ),
            (IntLayer::Flatten, Shape::flat(8), vec![6]),
            (IntLayer::Linear(Linear { out: 1, bias: Some(true) }), Shape::flat(1), vec![7]),
        ],
    );
    verify(&net).unwrap();
    let weights = IntWeights(BTreeMap::from([
        (NodeId(1), layer_weights(&[2, 1, 1, 1], &[3, -2], &[1, 0])),
        (NodeId(8), layer_weights(&[1, 8], &[1, 0, 0, 1, 0, -1, 0, 2], &[100])),
    ]));
    let input = Tensor { shape: image(2), data: vec![1, 5, 2, -4] };
    let values: Vec<_> = evaluate_all(&net, &weights, &input).unwrap().into_iter().map(|t| t.data).collect();
    assert_eq!(values[1], [4, 16, -4, 8]);
    assert_eq!(values[2], [2, 8, 0, 4]);
    assert_eq!(values[3], [10, 48, 16, -28]);
    assert_eq!(values[4], [4, 16, 0, 8, 10, 48, 16, -28]);
    assert_eq!(values[5], [4, 16, 10, 48, 0, 8, 16, -28]);
    // 2 x^2 - x + 3 = 31, 499, 193, 4563, 3, 123, 499, 1599, halved and clamped.
    assert_eq!(values[6], [16, 50, 50, 50, 2, 50, 50, 50]);
    assert_eq!(values[8], [16 + 50 - 50 + 2 * 50 + 100]);
    assert_eq!(evaluate(&net, &weights, &input).unwrap().data, values[8]);
    assert_eq!(net.largest_accumulator(), 1_000_000.max(2 * 1_000_000_u64.pow(2) + 1_000_000 + 3 + 1));
}

#[test]
fn wide_sums_are_exact() {
    let net = network(
        Shape::flat(2),
        vec![(IntLayer::Linear(Linear { out: 1, bias: Some(true) }), Shape::flat(1), vec![0])],
    );
    let weights = IntWeights(BTreeMap::from([(NodeId(1), layer_weights(&[1, 2], &[127, -1], &[-7]))]));
    let big = 1 << 40;
    let input = Tensor { shape: Shape::flat(2), data: vec![big + 1, big - 3] };
    assert_eq!(evaluate(&net, &weights, &input).unwrap().data, [126 * big + 127 + 3 - 7]);
    let input = Tensor { shape: Shape::flat(2), data: vec![1 << 61, 0] };
    let error = evaluate(&net, &weights, &input).unwrap_err();
    assert_eq!(error, ReferenceError::Overflow { node: "node1".to_string() });
}

#[test]
fn what_does_not_fit_is_an_error() {
    let net = network(
        Shape::flat(2),
        vec![(IntLayer::Linear(Linear { out: 1, bias: Some(true) }), Shape::flat(1), vec![0])],
    );
    let input = Tensor { shape: Shape::flat(2), data: vec![1, 2] };
    let error = evaluate(&net, &IntWeights::default(), &input).unwrap_err();
    assert_eq!(error, ReferenceError::Weights { node: "node1".to_string() });
    let short = IntWeights(BTreeMap::from([(NodeId(1), layer_weights(&[1, 1], &[1], &[0]))]));
    assert!(matches!(evaluate(&net, &short, &input), Err(ReferenceError::Weights { .. })));
    let three = Tensor { shape: Shape::flat(3), data: vec![1, 2, 3] };
    assert!(matches!(evaluate(&net, &short, &three), Err(ReferenceError::InputShape { .. })));
}

#[test]
fn the_input_is_rounded_and_saturated() {
    let net = network(Shape::flat(6), vec![]);
    let image = Tensor { shape: Shape::flat(6), data: vec![0.24, 0.25, -0.25, 63.6, -1e30, f32::NAN] };
    assert_eq!(quantise_input(&net, &image).unwrap().data, [0, 1, -1, 127, -127, 0]);
    let other = Tensor { shape: Shape::flat(1), data: vec![0.0] };
    assert!(matches!(quantise_input(&net, &other), Err(ReferenceError::InputShape { .. })));
}

#[test]
fn the_verifier_names_what_is_broken() {
    let mut net = Net::new(Shape::image(2, 4, 4));
    let y = net.conv(net.input(), conv(2, 3));
    let y = net.relu(y);
    let z = net.conv(y, conv(2, 3));
    let sum = net.add(stria::layers::Layer::Add, &[z, y]);
    let good = quantise(&net.finish(sum), None, None).unwrap().network;
    verify(&good).unwrap();
    let broken = |change: &dyn Fn(&mut IntNetwork)| {
        let mut net = good.clone();
        change(&mut net);
        verify(&net).unwrap_err()
    };
    let found = broken(&|n| n.graph.node_mut(NodeId(1)).shape = Shape::image(3, 4, 4));
    assert!(matches!(found, GraphError::Shape { node, .. } if node == "conv1"));
    let found = broken(&|n| n.graph.node_mut(NodeId(3)).name = "conv1".to_string());
    assert!(matches!(found, GraphError::Name { node } if node == "conv1"));
    let found = broken(&|n| n.graph.node_mut(NodeId(4)).layer = IntLayer::Add { shifts: vec![0] });
    assert!(matches!(found, GraphError::Shifts { node, .. } if node == "add4"));
    let wild = IntLayer::Requant(Requant { shift: 3, lo: 5, hi: 4 });
    let found = broken(&|n| n.graph.node_mut(NodeId(2)).layer = wild.clone());
    assert!(matches!(found, GraphError::Bounds { node, .. } if node == "relu2"));
    let far = IntLayer::Requant(Requant { shift: 63, lo: 0, hi: 4 });
    let found = broken(&|n| n.graph.node_mut(NodeId(2)).layer = far.clone());
    assert!(matches!(found, GraphError::Shifts { node, .. } if node == "relu2"));
    let found = broken(&|n| n.intervals.truncate(4));
    assert_eq!(found, GraphError::Intervals { found: 4, nodes: 5 });
    let found = broken(&|n| n.graph.set_output(NodeId(9)));
    assert_eq!(found, GraphError::Output { output: 9 });
    let found = broken(&|n| n.graph.node_mut(NodeId(2)).layer = IntLayer::Input(Interval { lo: 0, hi: 1 }));
    assert!(matches!(found, GraphError::Input { node } if node == "relu2"));
    let found = broken(&|n| n.output_scale = f64::NAN);
    assert!(matches!(found, GraphError::Scales { .. }));
}

#[test]
fn the_text_has_a_line_for_every_node() {
    let (model, weights) = random_network(4);
    let calibration = images(&model, 4, 1);
    let quantised = quantise(&model, Some(&weights), Some(&calibration)).unwrap().network;
    let text = quantised.to_string();
    assert_eq!(text.lines().count(), quantised.graph.len() + 3);
    for id in quantised.graph.ids() {
        let node = quantised.graph.node(id);
        let start = format!("  %{} {} = ", id.0, node.name);
        let end = format!(" : {} in {}", node.shape, quantised.intervals[id.0 as usize]);
        assert!(text.lines().any(|l| l.starts_with(&start) && l.ends_with(&end)), "{start}\n{text}");
    }
    assert_eq!(model.to_string().lines().count(), model.graph.len() + 2);
}
