//! Small random networks, written in the language and compiled by the whole pipeline.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::fmt::Write;
use stria::compile::{Options, Stages, compile};
use stria::compiled::Compiled;
use stria::diag::SourceFile;
use stria::graph::{IntLayer, NodeId};
use stria::params::plain_prime;
use stria::quant::{RandomWeights, random_images};
use stria::tensor::Tensor;
use stria::{resolve, syntax};

/// Draws below `n`.
struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.0.next_u64() % n as u64).unwrap()
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A network of two to five random layers on a small image.
pub(crate) fn source(seed: u64) -> String {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let (c, h, w) = (1 + dice.below(5), 3 + dice.below(6), 3 + dice.below(6));
    let mut text = format!("model random {{\n    ring: 4096\n    weights: random({})\n", seed % 1000);
    writeln!(text, "    input image: tensor[{c}, {h}, {w}] {{ mean: 0.4, std: 0.3 }}").unwrap();
    text.push_str("    let x = image\n");
    for _ in 0..2 + dice.below(4) {
        let out = dice.of(&[2, 4, 6, 8, 12]);
        let activation = dice.of(&["relu", "relu", "relu6", "square", "quad(a: 0.1, b: 0.5, c: 0.2)"]);
        let kernel = dice.of(&["3x3", "1x1", "3x3", "cross(3)", "strips(3)", "5x5", "1x3"]);
        let stride = dice.of(&["1", "1", "1", "2", "2x1"]);
        let layer = match dice.below(10) {
            0..4 => {
                format!("conv(x, out: {out}, kernel: {kernel}, stride: {stride}, pad: same) |> {activation}")
            }
            4 => format!("conv(x, kernel: 3x3, pad: same, groups: depthwise) |> {activation}"),
            5 => "add(x, conv(x, out: channels(x), kernel: 3x3, pad: same)) |> relu".into(),
            6 => format!(
                "add(conv(x, out: {out}, kernel: 1x1), conv(x, out: {out}, kernel: 3x3, pad: 1)) |> relu"
            ),
            7 => "stria_block(x, inner: channels(x), stripes: 1)".into(),
            8 => "concat(x, conv(x, out: 3, kernel: 3x3, pad: same) |> relu)".into(),
            _ => dice
                .of(&[
                    "max_pool(x, kernel: 2, stride: 1)",
                    "avg_pool(x, kernel: 2, stride: 1)",
                    "pad_channels(x, before: 1, after: 2)",
                    "channel_shuffle(x, groups: channels(x))",
                    "conv(x, out: 2 * channels(x), kernel: 3x3, pad: same, groups: channels(x)) |> relu",
                    "conv(x, out: channels(x), kernel: 3x3, pad: same, striped: channels(x)) |> relu",
                ])
                .into(),
        };
        writeln!(text, "    if height(x) > 1 && width(x) > 1 {{ x = {layer} }}").unwrap();
    }
    let head = dice.of(&["global_avg_pool(x)", "flatten(x)"]);
    writeln!(text, "    let y = {head} |> linear(out: {})\n    output y\n}}", 2 + dice.below(9)).unwrap();
    text
}

/// The stages of the random network `seed`, with 128-bit parameters.
pub(crate) fn stages(seed: u64) -> Stages {
    stages_of(source(seed), seed)
}

/// The stages of a network with random weights, with 128-bit parameters.
pub(crate) fn stages_of(text: String, seed: u64) -> Stages {
    let source = SourceFile { name: "random.stria".into(), text };
    let ast = syntax::parse(&source).unwrap_or_else(|d| panic!("{}\n{}", d.render(&source), source.text));
    let (model, diagnostics) = resolve::resolve(&ast, None);
    let model = model.unwrap_or_else(|| panic!("{}\n{}", diagnostics.render(&source), source.text));
    let weights = RandomWeights::for_model(&model, seed);
    let shape = model.graph.node(NodeId(0)).shape.clone();
    let calibration = random_images(&shape, (-1.5, 2.0), 3, seed);
    compile(&model, Some(&weights), Some(&calibration), Options::default())
        .unwrap_or_else(|e| panic!("{e}\n{}", source.text))
}

/// Two random quantised images for `compiled`, of the whole range of inputs.
pub(crate) fn images(compiled: &Compiled, seed: u64) -> Vec<Tensor<i64>> {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed ^ 0x5eed));
    let node = compiled.network.graph.node(NodeId(0));
    let IntLayer::Input(interval) = node.layer else { panic!("node 0 is the input") };
    let width = usize::try_from(interval.hi - interval.lo + 1).unwrap();
    let mut pixel = || interval.lo + i64::try_from(dice.below(width)).unwrap();
    let mut image = || (0..node.shape.elements()).map(|_| pixel()).collect();
    (0..2).map(|_| Tensor { shape: node.shape.clone(), data: image() }).collect()
}

/// A random network on a small ring, where every regime of the layouts occurs, and two images for it.
pub(crate) fn small_ring(seed: u64) -> (Compiled, Vec<Tensor<i64>>) {
    small_ring_of(source(seed), seed)
}

/// A network with random weights on a small ring, and two images for it.
pub(crate) fn small_ring_of(text: String, seed: u64) -> (Compiled, Vec<Tensor<i64>>) {
    let compiled = stages_of(text, seed).compiled;
    let ring = [64, 128, 256, 512][usize::try_from(seed % 4).unwrap()];
    let t = plain_prime(ring, compiled.network.largest_accumulator(), None).unwrap();
    let compiled = Compiled::insecure_for_tests(compiled.network, compiled.weights, ring, t).unwrap();
    let images = images(&compiled, seed);
    (compiled, images)
}
