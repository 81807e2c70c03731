//! The reference against an interpreter of its own: one loop a definition, over 128-bit integers.

use super::networks::{images, random_network};
use stria::graph::{
    IntLayer, IntNetwork, IntWeights, Interval, NodeId, Requant, evaluate_all, quantise_input,
};
use stria::layers::{Conv, Pool, PoolKind};
use stria::quant::quantise;
use stria::tensor::{Groups, Shape, Support, Tensor};

/// A value with its shape as (channels, rows, columns).
struct Value {
    c: usize,
    h: usize,
    w: usize,
    data: Vec<i128>,
}

impl Value {
    fn zeros(shape: &Shape) -> Self {
        let (c, h, w) = shape.chw();
        Self { c, h, w, data: vec![0; c * h * w] }
    }

    /// 0 outside of the image.
    fn at(&self, c: usize, y: i64, x: i64) -> i128 {
        match (usize::try_from(y), usize::try_from(x)) {
            (Ok(y), Ok(x)) if y < self.h && x < self.w => self.data[(c * self.h + y) * self.w + x],
            _ => 0,
        }
    }

    fn each(shape: &Shape, f: impl Fn(usize, usize, usize) -> i128) -> Self {
        let mut value = Self::zeros(shape);
        for i in 0..value.data.len() {
            let (c, y, x) = (i / (value.h * value.w), i / value.w % value.h, i % value.w);
            value.data[i] = f(c, y, x);
        }
        value
    }
}

fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap()
}

fn rounded(requant: Requant, v: i128) -> i128 {
    let half = if requant.shift == 0 { 0 } else { 1_i128 << (requant.shift - 1) };
    let shifted = (v + half).div_euclid(1_i128 << requant.shift);
    shifted.max(requant.lo.into()).min(requant.hi.into())
}

fn meets(conv: &Conv, o: usize, i: usize, c_in: usize) -> Option<usize> {
    match conv.groups {
        Groups::Dense => Some(i),
        Groups::Contiguous(g) => (i * g / c_in == o * g / conv.out).then_some(i % (c_in / g)),
        Groups::Striped(g) => (i % g == o % g).then_some(i / g),
    }
}

fn convolve(conv: &Conv, x: &Value, weights: (&[i8], &[i64]), shape: &Shape) -> Value {
    let (kh, kw) = conv.kernel;
    let per = x.c / conv.groups.count();
    Value::each(shape, |o, y, z| {
        let mut sum = i128::from(weights.1[o]);
        for i in 0..x.c {
            let Some(column) = meets(conv, o, i, x.c) else { continue };
            for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                let w = weights.0[((o * per + column) * kh + ky) * kw + kx];
                let row = signed(y * conv.stride.0 + ky) - signed(conv.pad.h);
                let line = signed(z * conv.stride.1 + kx) - signed(conv.pad.w);
                sum += i128::from(w) * x.at(i, row, line);
            }
        }
        sum
    })
}

fn pooled(pool: &Pool, x: &Value, shape: &Shape, join: fn(i128, i128) -> i128, empty: Option<i128>) -> Value {
    let global = pool.kind == PoolKind::GlobalAverage;
    let ((kh, kw), (sh, sw)) = if global { ((x.h, x.w), (1, 1)) } else { (pool.kernel, pool.stride) };
    let (ph, pw) = if global { (0, 0) } else { (signed(pool.pad.h), signed(pool.pad.w)) };
    Value::each(shape, |c, y, z| {
        let mut found = None;
        for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
            let (row, column) = (signed(y * sh + ky) - ph, signed(z * sw + kx) - pw);
            let inside = (0..signed(x.h)).contains(&row) && (0..signed(x.w)).contains(&column);
            let value = if inside { Some(x.at(c, row, column)) } else { empty };
            found = match (found, value) {
                (Some(a), Some(b)) => Some(join(a, b)),
                (a, b) => a.or(b),
            };
        }
        found.unwrap_or(0)
    })
}

fn node(network: &IntNetwork, weights: &IntWeights, id: NodeId, values: &[Value]) -> Value {
    let node = network.graph.node(id);
    let inputs: Vec<&Value> = network.graph.inputs(id).into_iter().map(|i| &values[i.0 as usize]).collect();
    let x = inputs[0];
    let table = || {
        let layer = &weights.0[&id];
        (layer.weight.data.as_slice(), layer.bias.as_slice())
    };
    let shape = &node.shape;
    match &node.layer {
        IntLayer::Input(_) => panic!("the input is given"),
        IntLayer::Conv(conv) => convolve(conv, x, table(), shape),
        IntLayer::Linear(_) => Value::each(shape, |o, _, _| {
            let row = &table().0[o * x.data.len()..];
            let sum: i128 = row.iter().zip(&x.data).map(|(w, v)| i128::from(*w) * v).sum();
            sum + i128::from(table().1[o])
        }),
        IntLayer::Add { shifts } => Value::each(shape, |c, y, z| {
            let shifted = |(v, s): (&&Value, &u32)| v.at(c, signed(y), signed(z)) * (1 << s);
            inputs.iter().zip(shifts).map(shifted).sum()
        }),
        IntLayer::Concat { shifts } => {
            let data = inputs.iter().zip(shifts).flat_map(|(v, s)| v.data.iter().map(move |v| v * (1 << s)));
            Value { data: data.collect(), ..Value::zeros(shape) }
        }
        IntLayer::Shuffle(l) => {
            // Output channel j * groups + i is input channel i * (C / groups) + j.
            let source = |o: usize| o % l.groups * (x.c / l.groups) + o / l.groups;
            Value::each(shape, |c, y, z| x.at(source(c), signed(y), signed(z)))
        }
        IntLayer::Subsample(l) => {
            Value::each(shape, |c, y, z| x.at(c, signed(y * l.stride.0), signed(z * l.stride.1)))
        }
        IntLayer::PadChannels(l) => Value::each(shape, |c, y, z| {
            let inner = c.checked_sub(l.before).filter(|c| *c < x.c);
            inner.map_or(0, |c| x.at(c, signed(y), signed(z)))
        }),
        IntLayer::SumPool(pool) => pooled(pool, x, shape, |a, b| a + b, Some(0)),
        IntLayer::MaxPool(pool) => pooled(pool, x, shape, i128::max, None),
        IntLayer::Requant(r) => Value { data: x.data.iter().map(|v| rounded(*r, *v)).collect(), ..*x },
        IntLayer::Poly { a, b, c, requant } => {
            let value = |v: &i128| i128::from(*a) * v * v + i128::from(*b) * v + i128::from(*c);
            Value { data: x.data.iter().map(|v| rounded(*requant, value(v))).collect(), ..*x }
        }
        IntLayer::Flatten => Value { data: x.data.clone(), ..Value::zeros(shape) },
    }
}

fn agrees(network: &IntNetwork, weights: &IntWeights, input: &Tensor<i64>) {
    let found = evaluate_all(network, weights, input).unwrap();
    let mut values: Vec<Value> = Vec::new();
    for id in network.graph.ids() {
        let value = if id == NodeId(0) {
            Value { data: input.data.iter().map(|v| i128::from(*v)).collect(), ..Value::zeros(&input.shape) }
        } else {
            node(network, weights, id, &values)
        };
        let same = value.data.iter().zip(&found[id.0 as usize].data).all(|(a, b)| *a == i128::from(*b));
        assert!(same && value.data.len() == found[id.0 as usize].data.len(), "node {} of\n{network}", id.0);
        values.push(value);
    }
}

#[test]
fn the_reference_is_its_definition_on_random_networks() {
    for seed in 0..120 {
        let (mut model, weights) = random_network(seed);
        let bits = [8, 6, 4][usize::try_from(seed % 3).unwrap()];
        (model.header.weight_bits, model.header.activation_bits) = (bits, bits);
        let quantised = quantise(&model, Some(&weights), Some(&images(&model, 4, 3))).unwrap();
        let integers = quantised.weights.as_ref().unwrap();
        let image = images(&model, 1, seed).remove(0);
        agrees(&quantised.network, integers, &quantise_input(&quantised.network, &image).unwrap());
        let IntLayer::Input(Interval { hi, .. }) = quantised.network.graph.node(NodeId(0)).layer else {
            panic!("no input")
        };
        let shape = quantised.network.graph.node(NodeId(0)).shape.clone();
        agrees(&quantised.network, integers, &Tensor { data: vec![hi; shape.elements()], shape });
    }
}

/// Sums of a size at which single precision would round, and values beyond the fast path.
#[test]
fn long_sums_and_large_values_are_exact() {
    let kernels = [
        (Support::Full, Groups::Dense),
        (Support::Cross, Groups::Striped(2)),
        (Support::Strips, Groups::Dense),
    ];
    for (support, groups) in kernels {
        let layer = Conv { out: 10, support, groups, ..super::networks::conv(10, 3) };
        let channels = 140;
        let mut net = super::networks::Net::new(Shape::image(channels, 5, 7));
        let y = net.conv(net.input(), layer);
        let model = net.finish(y);
        let weights =
            stria::quant::FloatWeights::load(&model, &super::networks::TestWeights::new(&model, 5)).unwrap();
        let quantised = quantise(&model, Some(&weights), Some(&images(&model, 2, 1))).unwrap();
        let mut integers = quantised.weights.unwrap();
        let layer = integers.0.get_mut(&NodeId(1)).unwrap();
        let largest = std::sync::Arc::make_mut(&mut layer.weight);
        largest.data.iter_mut().for_each(|w| *w = if *w == 0 { 0 } else { 127 - (*w & 1) });
        std::sync::Arc::make_mut(&mut layer.bias).iter_mut().for_each(|b| *b = 3);
        for largest in [1, 255, 4095, 4096, 4097, 1 << 20] {
            let data = (0..channels * 35).map(|i| largest - i64::from(i % 3 == 0)).collect();
            agrees(&quantised.network, &integers, &Tensor { shape: Shape::image(channels, 5, 7), data });
        }
    }
}
