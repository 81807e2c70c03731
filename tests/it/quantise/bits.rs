//! Bits: scales of streams, choices of ranges, the search for the fewest.

use super::networks::{Net, TestWeights, conv, global_pool, images, random_network};
use stria::graph::{IntLayer, Model, NodeId, RangeChoice, evaluate, quantise_input};
use stria::layers::{Activation, FloatLayer, Layer};
use stria::quant::{
    AutoBits, BitsOf, FloatWeights, Judges, Quantised, Statistics, auto_bits, float_eval, layer_errors,
    quantise,
};
use stria::tensor::Shape;

fn weigh(model: &Model, seed: u64) -> FloatWeights {
    FloatWeights::load(model, &TestWeights::new(model, seed)).unwrap()
}

fn calibrated(model: &Model, weights: &FloatWeights) -> Quantised {
    quantise(model, Some(weights), Some(&images(model, 24, 77))).unwrap()
}

fn scale(weights: &mut FloatWeights, node: NodeId, factor: impl Fn(usize) -> f32) {
    let Some(FloatLayer::Linear { weight, bias }) = weights.0.get_mut(&node) else { panic!("no weights") };
    let per = weight.data.len() / weight.shape.channels();
    weight.data.iter_mut().enumerate().for_each(|(i, w)| *w *= factor(i / per));
    bias.iter_mut().flatten().enumerate().for_each(|(o, b)| *b *= factor(o));
}

/// Root mean square of the error of the output over that of the output itself.
fn error(model: &Model, weights: &FloatWeights, q: &Quantised) -> f64 {
    let (mut error, mut power) = (0.0, 0.0);
    for image in images(model, 24, 77) {
        let wanted = float_eval(model, weights, &image).unwrap();
        let input = quantise_input(&q.network, &image).unwrap();
        let found = evaluate(&q.network, q.weights.as_ref().unwrap(), &input).unwrap();
        for (f, w) in found.data.iter().zip(&wanted.data) {
            let f = f64::from(i32::try_from(*f).unwrap()) * q.network.output_scale;
            error += (f - f64::from(*w)).powi(2);
            power += f64::from(*w).powi(2);
        }
    }
    (error / power).sqrt()
}

#[test]
fn operands_of_a_sum_have_its_scale_times_their_shift() {
    let mut sums = 0;
    for seed in 0..120 {
        let (model, weights) = random_network(seed);
        let quantised = calibrated(&model, &weights);
        let graph = &quantised.network.graph;
        for id in graph.ids() {
            let (IntLayer::Add { shifts } | IntLayer::Concat { shifts }) = &graph.node(id).layer else {
                continue;
            };
            let own = &quantised.meaning[id.0 as usize].steps;
            let mut first = 0;
            for (operand, shift) in graph.inputs(id).into_iter().zip(shifts) {
                let steps = &quantised.meaning[operand.0 as usize].steps;
                let joined = matches!(graph.node(id).layer, IntLayer::Concat { .. });
                for (c, step) in steps.iter().enumerate() {
                    let wanted = own[first + c] * f64::from(1_u32 << shift);
                    assert!(
                        (step / wanted - 1.0).abs() < 1e-9 || *step == 0.0,
                        "seed {seed}: {step}, {wanted}"
                    );
                }
                first += if joined { steps.len() } else { 0 };
            }
            sums += 1;
        }
    }
    assert!(sums > 20, "{sums}");
}

#[test]
fn values_have_no_more_bits_than_they_are_given() {
    for seed in 0..40 {
        let (mut model, weights) = random_network(seed);
        let bits = 4 + u32::try_from(seed % 5).unwrap();
        (model.header.weight_bits, model.header.activation_bits) = (bits, bits);
        let quantised = calibrated(&model, &weights);
        let graph = &quantised.network.graph;
        for id in graph.ids() {
            let bounds =
                if let IntLayer::Requant(r) | IntLayer::Poly { requant: r, .. } = &graph.node(id).layer {
                    (r.lo, r.hi)
                } else if let IntLayer::Input(i) = &graph.node(id).layer {
                    (i.lo, i.hi)
                } else {
                    continue;
                };
            assert!(bounds.1 - bounds.0 < 1 << bits && bounds.0 >= -(1 << (bits - 1)), "{bounds:?}");
        }
        let largest = quantised.weights.unwrap().0.into_values().flat_map(|l| l.weight.data.clone());
        assert!(largest.map(|w| i32::from(w).abs()).max().unwrap_or(0) < 1 << (bits - 1));
    }
}

#[test]
fn fewer_bits_never_ask_for_a_larger_prime() {
    for seed in 0..60 {
        let (model, weights) = random_network(seed);
        let bound = |bits| {
            let mut model = model.clone();
            (model.header.weight_bits, model.header.activation_bits) = (bits, bits);
            calibrated(&model, &weights).network.largest_accumulator()
        };
        let bounds = [8, 7, 6, 5, 4].map(bound);
        assert!(bounds.is_sorted_by(|a, b| a >= b), "seed {seed}: {bounds:?}");
    }
}

/// A stream that begins as the image, and whose second addend is larger by a factor.
fn growing(factor: impl Fn(usize) -> f32) -> (Model, FloatWeights) {
    let channels = 3;
    let mut net = Net::new(Shape::image(channels, 6, 6));
    let mut x = net.input();
    let mut last = x;
    for _ in 0..2 {
        let y = net.conv(x, conv(8, 3));
        let y = net.relu(y);
        last = net.conv(y, conv(channels, 3));
        x = net.add(Layer::Add, &[x, last]);
    }
    let y = net.conv(x, conv(4, 3));
    let y = net.relu(y);
    let y = net.add(global_pool(), &[y]);
    let y = net.linear(y, 5);
    let model = net.finish(y);
    let mut weights = weigh(&model, 3);
    scale(&mut weights, last, factor);
    (model, weights)
}

#[test]
fn the_image_keeps_its_bits_in_a_stream_that_grows() {
    let (model, weights) = growing(|_| 100.0);
    let quantised = calibrated(&model, &weights);
    // An image of -1 to 1 in steps of at most twice 1/127.
    assert!(quantised.network.input_scale <= 2.0 / 127.0, "{}", quantised.network.input_scale);
    assert_eq!(quantised.lost, []);
    let error = error(&model, &weights, &quantised);
    assert!(error < 0.03, "{error}");
    let graph = &quantised.network.graph;
    let image = |id: NodeId| graph.node(id).name == "image";
    let shifted = graph.ids().any(|id| {
        let IntLayer::Add { shifts } = &graph.node(id).layer else { return false };
        graph.inputs(id).iter().zip(shifts).any(|(operand, shift)| image(*operand) && *shift > 0)
    });
    assert!(shifted, "the image is aligned by a shift in\n{}", quantised.network);
}

/// A value that is squared cannot have finer steps than the stream that it is part of.
#[test]
fn bits_that_a_stream_takes_are_told() {
    let lost = |reach: f64| {
        let mut net = Net::new(Shape::image(2, 6, 6));
        let x = net.conv(net.input(), conv(4, 3));
        let x = net.relu(x);
        net.quant(x).range = Some((0.0, 1.0));
        let squared = net.add(Layer::Activation(Activation::Square), &[x]);
        let squared = net.conv(squared, conv(4, 3));
        let y = net.conv(x, conv(4, 3));
        let sum = net.add(Layer::Add, &[x, y]);
        net.quant(sum).range = Some((-reach, reach));
        let y = net.conv(sum, conv(4, 3));
        let y = net.add(Layer::Add, &[y, squared]);
        let model = net.finish(y);
        let weights = weigh(&model, 3);
        calibrated(&model, &weights).lost
    };
    let found = lost(100.0);
    let first = found.iter().find(|lost| lost.node == "relu2").unwrap_or_else(|| panic!("{found:?}"));
    assert!((first.lost - (100.0_f64 * 255.0 / 127.0).log2()).abs() < 1.0 && first.bits == 8, "{first:?}");
    assert_eq!(first.widest.as_deref(), Some("add6"));
    assert_eq!(lost(1.0), []);
}

#[test]
fn ranges_are_chosen_as_the_model_says() {
    let mut net = Net::new(Shape::image(2, 8, 8));
    let y = net.conv(net.input(), conv(6, 3));
    let y = net.relu(y);
    let y = net.add(global_pool(), &[y]);
    let y = net.linear(y, 3);
    let mut model = net.finish(y);
    let weights = weigh(&model, 2);
    let calibration = images(&model, 24, 77);
    let mut largest = [0.0_f32; 6];
    for image in &calibration {
        stria::quant::float_eval_with(&model, &weights, image, &mut |id, value| {
            if id == NodeId(2) {
                for (i, v) in value.data.iter().enumerate() {
                    largest[i / 64] = largest[i / 64].max(*v);
                }
            }
        })
        .unwrap();
    }
    let mut steps = |ranges| {
        model.header.ranges = ranges;
        calibrated(&model, &weights).meaning[2].steps.clone()
    };
    let choices = [
        RangeChoice::MinMax,
        RangeChoice::Percentile(100.0),
        RangeChoice::Percentile(99.0),
        RangeChoice::MeanSquare,
    ];
    let [minmax, all, most, mse] = choices.map(&mut steps);
    assert_eq!(minmax, all);
    for c in 0..6 {
        assert!(minmax[c] * 255.0 >= f64::from(largest[c]) * (1.0 - 1e-6), "channel {c} saturates");
        assert!(most[c] <= minmax[c] && mse[c] <= minmax[c], "channel {c}");
    }
    assert!(most.iter().zip(&minmax).any(|(most, all)| *most < 0.95 * all), "{most:?} {minmax:?}");
}

fn searched(max_drop: f64, threads: usize) -> AutoBits {
    let (model, weights) = growing(|_| 1.0);
    let measured = Statistics::measure(&model, &weights, &images(&model, 24, 77)).unwrap();
    let judges = images(&model, 120, 5);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let judges = Judges { images: &judges, labels: None };
        auto_bits(&model, &weights, Some(&measured), judges, max_drop, &mut |_, _| {}).unwrap()
    })
}

#[test]
fn the_search_stays_within_its_budget_and_finds_the_same_again() {
    let found = searched(3.0, 1);
    assert!(found.within && found.after >= 97.0 && found.float > 99.9, "{} {}", found.float, found.after);
    assert!(found.places.iter().all(|place| (4..=place.before).contains(&place.bits)));
    assert!(found.places.iter().any(|place| place.bits < 7), "{:?}", found.places);
    assert!(found.largest_accumulator.1 < found.largest_accumulator.0 / 2);
    for place in &found.places {
        for id in &place.nodes {
            let quant = found.model.graph.node(*id).quant;
            let written = if place.of == BitsOf::Weights { quant.weight_bits } else { quant.bits };
            assert_eq!(written, Some(place.bits));
        }
    }
    let again = searched(3.0, 3);
    assert_eq!((again.places, again.after, again.tried), (found.places, found.after, found.tried));
}

#[test]
fn the_search_goes_to_the_end_or_nowhere() {
    let all = searched(100.0, 2);
    assert!(all.places.iter().all(|place| place.bits == 4) && all.within);
    let (model, weights) = growing(|_| 1.0);
    let images = images(&model, 20, 5);
    // Labels that the float network has right, and the quantised one cannot have.
    let labels: Vec<usize> = vec![99; 20];
    let judges = Judges { images: &images, labels: Some(&labels) };
    let measured = Statistics::measure(&model, &weights, &images).unwrap();
    let none = auto_bits(&model, &weights, Some(&measured), judges, 0.0, &mut |_, _| {}).unwrap();
    assert!(none.within && none.after == 0.0, "nothing right before, nothing lost");
}

#[test]
fn errors_of_layers_are_small_and_grow_with_fewer_bits() {
    let (mut model, weights) = growing(|_| 1.0);
    let mut errors = |bits| {
        (model.header.weight_bits, model.header.activation_bits) = (bits, bits);
        let q = calibrated(&model, &weights);
        let integers = q.weights.as_ref().unwrap();
        layer_errors((&model, &weights), (&q.network, integers), &q.meaning, &images(&model, 6, 77)).unwrap()
    };
    let (fine, coarse) = (errors(8), errors(4));
    assert!(fine.iter().any(|e| e.name == "relu2") && fine.iter().all(|e| e.error < 0.05), "{fine:?}");
    let sum = |errors: &[stria::quant::LayerError]| errors.iter().map(|e| e.error).sum::<f64>();
    assert!(sum(&coarse) > 5.0 * sum(&fine));
}
