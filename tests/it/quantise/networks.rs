//! Small networks for tests: a literal-like builder and a random generator with fixed seeds.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use stria::graph::{Graph, Header, InputSpec, Model, Node, NodeId, QuantAttributes, WeightsDecl};
use stria::layers::{
    Activation, BatchNorm, Conv, Layer, Linear, PadChannels, Pool, PoolKind, Rounding, Shuffle, Subsample,
};
use stria::passes::{FloatModel, run_float};
use stria::quant::{FloatWeights, RandomWeights};
use stria::tensor::{Groups, Pad, Shape, Support, Tensor};
use stria::weights::{WeightError, WeightSource};

/// A model under construction; nodes are named `<kind><id>`.
pub(crate) struct Net {
    graph: Graph<Layer>,
}

impl Net {
    pub(crate) fn new(input: Shape) -> Self {
        let mut graph = Graph::default();
        graph.add(node("image", Layer::Input, input), &[]).unwrap();
        Self { graph }
    }

    pub(crate) fn input(&self) -> NodeId {
        NodeId(0)
    }

    pub(crate) fn shape(&self, id: NodeId) -> &Shape {
        &self.graph.node(id).shape
    }

    pub(crate) fn try_add(&mut self, layer: Layer, inputs: &[NodeId]) -> Option<NodeId> {
        let shapes: Vec<_> = inputs.iter().map(|i| &self.graph.node(*i).shape).collect();
        let shape = layer.infer(&shapes).ok()?;
        let name = format!("{}{}", layer.kind(), self.graph.len());
        Some(self.graph.add(node(&name, layer, shape), inputs).unwrap())
    }

    pub(crate) fn add(&mut self, layer: Layer, inputs: &[NodeId]) -> NodeId {
        self.try_add(layer, inputs).unwrap()
    }

    pub(crate) fn relu(&mut self, x: NodeId) -> NodeId {
        self.add(Layer::Activation(Activation::Relu), &[x])
    }

    pub(crate) fn conv(&mut self, x: NodeId, conv: Conv) -> NodeId {
        self.add(Layer::Conv(conv), &[x])
    }

    pub(crate) fn linear(&mut self, x: NodeId, out: usize) -> NodeId {
        self.add(Layer::Linear(Linear { out, bias: Some(true) }), &[x])
    }

    pub(crate) fn linear_after_pool(&mut self, x: NodeId) -> NodeId {
        let x = self.add(pool(PoolKind::Max, 2, 2, 0), &[x]);
        let x = self.add(Layer::Flatten, &[x]);
        self.linear(x, 5)
    }

    pub(crate) fn quant(&mut self, id: NodeId) -> &mut QuantAttributes {
        &mut self.graph.node_mut(id).quant
    }

    pub(crate) fn finish(mut self, output: NodeId) -> Model {
        self.graph.set_output(output);
        Model { header: header(), graph: self.graph }
    }
}

/// A square kernel with `same` padding and a bias.
pub(crate) fn conv(out: usize, kernel: usize) -> Conv {
    Conv {
        out,
        kernel: (kernel, kernel),
        support: Support::Full,
        stride: (1, 1),
        pad: Pad { h: kernel / 2, w: kernel / 2 },
        groups: Groups::Dense,
        bias: Some(true),
    }
}

pub(crate) fn pool(kind: PoolKind, kernel: usize, stride: usize, pad: usize) -> Layer {
    Layer::Pool(Pool {
        kind,
        kernel: (kernel, kernel),
        stride: (stride, stride),
        pad: Pad { h: pad, w: pad },
        rounding: Rounding::Down,
    })
}

pub(crate) fn global_pool() -> Layer {
    pool(PoolKind::GlobalAverage, 1, 1, 0)
}

fn header() -> Header {
    Header {
        name: "test".to_string(),
        ring: 8192,
        weights: WeightsDecl::None,
        calibration: None,
        weight_bits: 8,
        activation_bits: 8,
        ranges: stria::graph::RangeChoice::default(),
        input: InputSpec { scale: 1.0 / 255.0, mean: vec![0.5], std: vec![0.5], pad: 0 },
    }
}

fn node(name: &str, layer: Layer, shape: Shape) -> Node<Layer> {
    Node {
        name: name.to_string(),
        block: None,
        layer,
        shape,
        span: stria::diag::Span::default(),
        quant: QuantAttributes::default(),
    }
}

/// Random weights with batch norm statistics that are not trivial.
pub(crate) struct TestWeights(RandomWeights);

impl TestWeights {
    pub(crate) fn new(model: &Model, seed: u64) -> Self {
        Self(RandomWeights::for_model(model, seed))
    }
}

impl WeightSource for TestWeights {
    fn shape(&self, name: &str) -> Option<Shape> {
        self.0.shape(name)
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn load(&self, name: &str) -> Result<Tensor<f32>, WeightError> {
        let mut tensor = self.0.load(name)?;
        if name.contains("batch_norm") {
            let mut rng = ChaCha8Rng::seed_from_u64(name.len() as u64);
            let spread = if name.ends_with("mean") || name.ends_with("bias") { -0.3 } else { 0.6 };
            tensor.data.iter_mut().for_each(|v| *v = spread + 0.6 * unit(&mut rng));
        }
        Ok(tensor)
    }
}

/// Images of noise that fills the range of the input.
pub(crate) fn images(model: &Model, count: usize, seed: u64) -> Vec<Tensor<f32>> {
    stria::quant::random_images(&model.graph.node(NodeId(0)).shape, (-1.0, 1.0), count, seed)
}

/// A random network ready for quantisation: batch norms are folded. The same for the same seed.
pub(crate) fn random_network(seed: u64) -> (Model, FloatWeights) {
    let model = random_model(seed);
    let weights = FloatWeights::load(&model, &TestWeights::new(&model, seed)).unwrap();
    let mut float = FloatModel { model, weights: Some(weights) };
    run_float(&mut float, &mut |_, _, _| {}).unwrap();
    (float.model, float.weights.unwrap())
}

/// A random model as written, with batch norms.
pub(crate) fn random_model(seed: u64) -> Model {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (c, h, w) = (1 + below(&mut rng, 4), 5 + below(&mut rng, 5), 5 + below(&mut rng, 5));
    let mut net = Net::new(Shape::image(c, h, w));
    let mut x = net.input();
    x = random_conv(&mut net, &mut rng, x);
    x = random_activation(&mut net, &mut rng, x);
    for _ in 0..2 + below(&mut rng, 4) {
        x = random_step(&mut net, &mut rng, x);
    }
    x = match below(&mut rng, 3) {
        0 => net.add(Layer::Flatten, &[x]),
        _ => net.add(global_pool(), &[x]),
    };
    if below(&mut rng, 6) > 0 {
        let out = 2 + below(&mut rng, 5);
        x = net.linear(x, out);
    }
    net.finish(x)
}

fn random_step(net: &mut Net, rng: &mut ChaCha8Rng, x: NodeId) -> NodeId {
    match below(rng, 9) {
        0 | 1 => {
            let y = random_conv(net, rng, x);
            random_activation(net, rng, y)
        }
        2 => residual(net, rng, x),
        3 => {
            let a = random_conv(net, rng, x);
            let a = random_activation(net, rng, a);
            let b = net.add(Layer::Subsample(Subsample { stride: stride(net.shape(x), net.shape(a)) }), &[x]);
            net.try_add(Layer::Concat, &[a, b]).unwrap_or(a)
        }
        4 => {
            let (before, after) = (below(rng, 2), below(rng, 3));
            net.add(Layer::PadChannels(PadChannels { before, after }), &[x])
        }
        5 => net.try_add(pool(PoolKind::Max, 2, 1 + below(rng, 2), 0), &[x]).unwrap_or(x),
        6 => net.try_add(pool(PoolKind::Average, 2 + below(rng, 2), 1, below(rng, 2)), &[x]).unwrap_or(x),
        7 => {
            let groups = divisor(rng, net.shape(x).channels());
            net.add(Layer::Shuffle(Shuffle { groups }), &[x])
        }
        _ => random_activation(net, rng, x),
    }
}

fn residual(net: &mut Net, rng: &mut ChaCha8Rng, x: NodeId) -> NodeId {
    let y = random_conv(net, rng, x);
    let y = random_activation(net, rng, y);
    let (c, h, w) = net.shape(x).chw();
    let stays = net.shape(y).chw().1 == h && net.shape(y).chw().2 == w && below(rng, 2) == 0;
    let out = if stays { c } else { 2 * (1 + below(rng, 4)) };
    let y = net.conv(y, conv(out, 1));
    let skip = if stays {
        x
    } else {
        let stride = stride(net.shape(x), net.shape(y));
        net.conv(x, Conv { stride, ..conv(out, 1) })
    };
    let Some(sum) = net.try_add(Layer::Add, &[y, skip]) else { return y };
    if below(rng, 2) == 0 { net.relu(sum) } else { sum }
}

/// The stride that takes the size of `from` to that of `to`, if one does.
fn stride(from: &Shape, to: &Shape) -> (usize, usize) {
    let ((_, h, w), (_, oh, ow)) = (from.chw(), to.chw());
    (h.div_ceil(oh), w.div_ceil(ow))
}

fn random_conv(net: &mut Net, rng: &mut ChaCha8Rng, x: NodeId) -> NodeId {
    let c = net.shape(x).channels();
    let kernel = [(1, 1), (3, 3), (3, 3), (1, 3), (3, 1)][below(rng, 5)];
    let support = if kernel == (3, 3) {
        [Support::Full, Support::Cross, Support::Strips][below(rng, 3)]
    } else {
        Support::Full
    };
    let g = divisor(rng, c);
    let groups = [Groups::Dense, Groups::Contiguous(g), Groups::Striped(g)][below(rng, 3)];
    let stride = [(1, 1), (1, 1), (2, 2), (1, 2)][below(rng, 4)];
    let conv = Conv {
        out: groups.count() * (1 + below(rng, 8 / groups.count().min(8))),
        kernel,
        support,
        stride,
        pad: Pad { h: kernel.0 / 2, w: kernel.1 / 2 },
        groups,
        bias: [None, Some(true), Some(false)][below(rng, 3)],
    };
    let y = net.conv(x, conv);
    if below(rng, 2) == 0 { net.add(Layer::BatchNorm(BatchNorm { eps: 1e-5 }), &[y]) } else { y }
}

fn random_activation(net: &mut Net, rng: &mut ChaCha8Rng, x: NodeId) -> NodeId {
    let activation = match below(rng, 10) {
        0 => Activation::Relu6,
        1 => Activation::Square,
        2 => Activation::Quad { a: 0.25, b: 0.5, c: -0.125 },
        _ => Activation::Relu,
    };
    net.add(Layer::Activation(activation), &[x])
}

fn divisor(rng: &mut ChaCha8Rng, n: usize) -> usize {
    let divisors: Vec<_> = (1..=n).filter(|d| n.is_multiple_of(*d)).collect();
    divisors[below(rng, divisors.len())]
}

pub(crate) fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    usize::try_from(rng.next_u64() % u64::try_from(n).unwrap()).unwrap()
}

/// Uniform on 0..1.
#[expect(clippy::cast_precision_loss, reason = "24 bits are exact")]
pub(crate) fn unit(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / 16_777_216.0
}
