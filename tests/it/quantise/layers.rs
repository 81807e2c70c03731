//! Each layer's plain meaning against a loop over its definition.

use super::networks::{Net, TestWeights, below, conv, global_pool, images, pool, unit};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use stria::graph::{Model, NodeId};
use stria::layers::{
    Activation, BatchNorm, Conv, FloatLayer, Layer, PadChannels, PoolKind, Shuffle, Subsample,
};
use stria::quant::{FloatWeights, QuantError, float_eval};
use stria::tensor::{Groups, Pad, Shape, Support, Tensor};
use stria::weights::{WeightError, WeightSource};

/// A table of weights by name.
struct Named(Vec<(&'static str, Tensor<f32>)>);

impl WeightSource for Named {
    fn shape(&self, name: &str) -> Option<Shape> {
        self.load(name).ok().map(|t| t.shape)
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| (*name).to_string()).collect()
    }

    fn load(&self, name: &str) -> Result<Tensor<f32>, WeightError> {
        let found = self.0.iter().find(|(n, _)| *n == name);
        found.map(|(_, t)| t.clone()).ok_or_else(|| WeightError::Missing(name.to_string()))
    }
}

fn close(found: &Tensor<f32>, wanted: &Tensor<f32>) {
    assert_eq!(found.shape, wanted.shape);
    for (i, (f, w)) in found.data.iter().zip(&wanted.data).enumerate() {
        assert!((f - w).abs() <= 1e-4 * w.abs().max(1.0), "element {i}: {f}, wanted {w}");
    }
}

fn one_layer(shape: Shape, layer: Layer) -> (Model, FloatWeights, Tensor<f32>) {
    let mut net = Net::new(shape);
    let y = net.add(layer, &[net.input()]);
    let model = net.finish(y);
    let weights = FloatWeights::load(&model, &TestWeights::new(&model, 3)).unwrap();
    let image = images(&model, 1, 5).remove(0);
    (model, weights, image)
}

fn apply(shape: Shape, layer: Layer) -> (Tensor<f32>, Tensor<f32>) {
    let (model, weights, image) = one_layer(shape, layer);
    (float_eval(&model, &weights, &image).unwrap(), image)
}

/// `f(channel, row, column)` at every place.
fn tensor(shape: Shape, f: impl Fn(usize, usize, usize) -> f32) -> Tensor<f32> {
    let (c, h, w) = shape.chw();
    let places = (0..c * h * w).map(|i| f(i / (h * w), i / w % h, i % w));
    Tensor { shape, data: places.collect() }
}

fn at(x: &Tensor<f32>, c: usize, y: isize, z: isize) -> f32 {
    let (_, h, w) = x.shape.chw();
    match (usize::try_from(y), usize::try_from(z)) {
        (Ok(y), Ok(z)) if y < h && z < w => x.data[(c * h + y) * w + z],
        _ => 0.0,
    }
}

fn place(out: usize, stride: usize, tap: usize, pad: usize) -> isize {
    isize::try_from(out * stride + tap).unwrap() - isize::try_from(pad).unwrap()
}

/// The sum over all pairs of channels that [`Groups::column`] joins.
fn naive_conv(l: &Conv, x: &Tensor<f32>, weights: &FloatLayer) -> Tensor<f32> {
    let FloatLayer::Linear { weight, bias } = weights else { panic!("a convolution has linear weights") };
    let (c_in, (kh, kw)) = (x.shape.channels(), l.kernel);
    let columns = c_in / l.groups.count();
    let (oh, ow) = l.geometry(&x.shape).out_size();
    tensor(Shape::image(l.out, oh, ow), |o, y, z| {
        let mut sum = bias.as_ref().map_or(0.0, |b| b[o]);
        for i in 0..c_in {
            let Some(column) = l.groups.column(o, i, c_in, l.out) else { continue };
            for tap in 0..kh * kw {
                let v = at(
                    x,
                    i,
                    place(y, l.stride.0, tap / kw, l.pad.h),
                    place(z, l.stride.1, tap % kw, l.pad.w),
                );
                sum += v * weight.data[(o * columns + column) * kh * kw + tap];
            }
        }
        sum
    })
}

#[test]
fn convolution_is_the_sum_over_its_definition() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for groups in [Groups::Dense, Groups::Contiguous(2), Groups::Striped(2), Groups::Striped(6)] {
        for (kernel, support) in [
            ((3, 3), Support::Full),
            ((3, 3), Support::Cross),
            ((5, 5), Support::Strips),
            ((1, 2), Support::Full),
        ] {
            let stride = (1 + below(&mut rng, 3), 1 + below(&mut rng, 3));
            let pad = Pad { h: below(&mut rng, 3), w: below(&mut rng, 3) };
            let l = Conv { out: 12, kernel, support, stride, pad, groups, bias: Some(true) };
            let (model, weights, image) = one_layer(Shape::image(6, 9, 7), Layer::Conv(l));
            let found = float_eval(&model, &weights, &image).unwrap();
            close(&found, &naive_conv(&l, &image, &weights.0[&NodeId(1)]));
        }
    }
}

#[test]
fn large_maps_are_tiled_without_seams() {
    let l = Conv { stride: (1, 2), ..conv(3, 3) };
    let (model, weights, image) = one_layer(Shape::image(4, 130, 260), Layer::Conv(l));
    let found = float_eval(&model, &weights, &image).unwrap();
    close(&found, &naive_conv(&l, &image, &weights.0[&NodeId(1)]));
}

#[test]
fn floats_do_not_depend_on_the_number_of_threads() {
    let (model, weights, image) = one_layer(Shape::image(16, 40, 33), Layer::Conv(conv(16, 3)));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| float_eval(&model, &weights, &image).unwrap())
    };
    assert_eq!(run(1), run(3));
}

/// Stripes are defined as a shuffle, a contiguous grouped convolution and the inverse shuffle.
#[test]
fn striped_weights_are_stored_as_a_grouped_convolution_between_shuffles() {
    let (g, c, out) = (3, 6, 12);
    let striped = Conv { groups: Groups::Striped(g), ..conv(out, 3) };
    let (model, weights, image) = one_layer(Shape::image(c, 5, 5), Layer::Conv(striped));
    let found = float_eval(&model, &weights, &image).unwrap();

    let mut net = Net::new(Shape::image(c, 5, 5));
    let x = net.add(Layer::Shuffle(Shuffle { groups: c / g }), &[net.input()]);
    let y = net.conv(x, Conv { groups: Groups::Contiguous(g), ..conv(out, 3) });
    let y = net.add(Layer::Shuffle(Shuffle { groups: g }), &[y]);
    let shuffled = net.finish(y);
    let file = TestWeights::new(&model, 3);
    let weight = file.load("conv1.weight").unwrap();
    let FloatLayer::Linear { bias: Some(bias), .. } = &weights.0[&NodeId(1)] else { panic!("no bias") };
    let rows = (0..out).map(|r| bias[(0..out).find(|&o| striped.groups.file_row(o, out) == r).unwrap()]);
    let bias = Tensor { shape: Shape::flat(out), data: rows.collect() };
    let source = Named(vec![("conv2.weight", weight), ("conv2.bias", bias)]);
    let shuffled_weights = FloatWeights::load(&shuffled, &source).unwrap();
    close(&found, &float_eval(&shuffled, &shuffled_weights, &image).unwrap());
}

#[test]
fn linear_and_batch_norm_follow_their_formulas() {
    let mut net = Net::new(Shape::flat(19));
    let y = net.linear(net.input(), 7);
    let model = net.finish(y);
    let weights = FloatWeights::load(&model, &TestWeights::new(&model, 3)).unwrap();
    let image = images(&model, 1, 5).remove(0);
    let FloatLayer::Linear { weight, bias: Some(bias) } = &weights.0[&y] else { panic!("no bias") };
    let wanted = tensor(Shape::flat(7), |o, _, _| {
        bias[o] + (0..19).map(|i| weight.data[o * 19 + i] * image.data[i]).sum::<f32>()
    });
    close(&float_eval(&model, &weights, &image).unwrap(), &wanted);

    let flat = |data: &[f32]| Tensor { shape: Shape::flat(2), data: data.to_vec() };
    let source = Named(vec![
        ("batch_norm1.weight", flat(&[2.0, -1.0])),
        ("batch_norm1.bias", flat(&[0.5, 3.0])),
        ("batch_norm1.running_mean", flat(&[1.0, -2.0])),
        ("batch_norm1.running_var", flat(&[3.0, 0.25])),
    ]);
    let (model, _, image) = one_layer(Shape::image(2, 3, 3), Layer::BatchNorm(BatchNorm { eps: 1.0 }));
    let weights = FloatWeights::load(&model, &source).unwrap();
    let wanted = tensor(Shape::image(2, 3, 3), |c, y, z| {
        let x = image.data[(c * 3 + y) * 3 + z];
        if c == 0 { (x - 1.0) / 2.0 * 2.0 + 0.5 } else { -(x + 2.0) / 1.25_f32.sqrt() + 3.0 }
    });
    close(&float_eval(&model, &weights, &image).unwrap(), &wanted);
}

#[test]
fn pools_take_mean_or_maximum_of_their_window() {
    let shape = Shape::image(3, 7, 6);
    let (found, image) = apply(shape.clone(), pool(PoolKind::Average, 3, 2, 1));
    let window = |c, y, z, f: &dyn Fn(f32, f32) -> f32, start, pad_value: Option<f32>| {
        (0..9).fold(start, |acc, tap| {
            let (row, column) = (place(y, 2, tap / 3, 1), place(z, 2, tap % 3, 1));
            let inside = (0..7).contains(&row) && (0..6).contains(&column);
            match (inside, pad_value) {
                (false, None) => acc,
                (false, Some(v)) => f(acc, v),
                (true, _) => f(acc, at(&image, c, row, column)),
            }
        })
    };
    close(
        &found,
        &tensor(Shape::image(3, 4, 3), |c, y, z| window(c, y, z, &|a, b| a + b, 0.0, Some(0.0)) / 9.0),
    );
    let (found, _) = apply(shape.clone(), pool(PoolKind::Max, 3, 2, 1));
    let max = |a: f32, b: f32| a.max(b);
    close(&found, &tensor(Shape::image(3, 4, 3), |c, y, z| window(c, y, z, &max, -9.0, None)));
    let (found, image) = apply(shape, global_pool());
    close(&found, &tensor(Shape::flat(3), |c, _, _| image.data[c * 42..][..42].iter().sum::<f32>() / 42.0));
}

#[test]
fn re_indexing_layers_move_values_unchanged() {
    let shape = Shape::image(6, 5, 4);
    let (found, x) = apply(shape.clone(), Layer::Shuffle(Shuffle { groups: 2 }));
    let source = [0, 3, 1, 4, 2, 5];
    close(&found, &tensor(shape.clone(), |c, y, z| x.data[(source[c] * 5 + y) * 4 + z]));
    let (found, x) = apply(shape.clone(), Layer::Subsample(Subsample { stride: (2, 3) }));
    close(&found, &tensor(Shape::image(6, 3, 2), |c, y, z| x.data[(c * 5 + 2 * y) * 4 + 3 * z]));
    let (found, x) = apply(shape.clone(), Layer::PadChannels(PadChannels { before: 2, after: 1 }));
    let inner = |c: usize| (2..8).contains(&c);
    close(
        &found,
        &tensor(
            Shape::image(9, 5, 4),
            |c, y, z| {
                if inner(c) { x.data[((c - 2) * 5 + y) * 4 + z] } else { 0.0 }
            },
        ),
    );
    let (found, x) = apply(shape, Layer::Flatten);
    assert_eq!(found, Tensor { shape: Shape::flat(120), data: x.data });
}

#[test]
fn joins_and_activations_follow_their_formulas() {
    let mut net = Net::new(Shape::image(2, 3, 3));
    let x = net.input();
    let six = net.add(Layer::Activation(Activation::Quad { a: 8.0, b: -4.0, c: 1.0 }), &[x]);
    let capped = net.add(Layer::Activation(Activation::Relu6), &[six]);
    let square = net.add(Layer::Activation(Activation::Square), &[x]);
    let relu = net.relu(x);
    let sum = net.add(Layer::Add, &[capped, square, relu]);
    let y = net.add(Layer::Concat, &[sum, x]);
    let model = net.finish(y);
    let image = images(&model, 1, 9).remove(0);
    let found = float_eval(&model, &FloatWeights::default(), &image).unwrap();
    let wanted = tensor(Shape::image(4, 3, 3), |c, y, z| {
        let v = image.data[(c % 2 * 3 + y) * 3 + z];
        let sum = (8.0 * v * v - 4.0 * v + 1.0).clamp(0.0, 6.0) + v * v + v.max(0.0);
        if c < 2 { sum } else { v }
    });
    close(&found, &wanted);
}

#[test]
fn weights_that_do_not_fit_are_refused_by_name() {
    let cross = Conv { support: Support::Cross, bias: None, ..conv(2, 3) };
    let (model, _, _) = one_layer(Shape::image(1, 4, 4), Layer::Conv(cross));
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let shape = Shape::of(&[2, 1, 3, 3]);
    let full = Tensor { shape: shape.clone(), data: (0..18).map(|_| 0.1 + unit(&mut rng)).collect() };
    let load = |name, tensor| FloatWeights::load(&model, &Named(vec![(name, tensor)]));
    let corner = load("conv1.weight", full.clone());
    assert!(matches!(corner, Err(QuantError::Support { channel: 0, tap: (0, 0), .. })), "{corner:?}");
    let missing = load("conv9.weight", full.clone());
    assert!(matches!(missing, Err(QuantError::Weight(WeightError::Missing(n))) if n == "conv1.weight"));
    let other = load("conv1.weight", Tensor { shape: Shape::flat(18), data: full.data });
    assert!(matches!(other, Err(QuantError::WeightShape { .. })), "{other:?}");
    let endless = load("conv1.weight", Tensor { shape, data: vec![f32::NAN; 18] });
    assert!(matches!(endless, Err(QuantError::NotFinite { .. })), "{endless:?}");
}
