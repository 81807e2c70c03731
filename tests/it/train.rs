//! The modules of `examples/train` and the language's layers compute the same: weights, inputs and outputs in
//! the fixture are PyTorch's, made by `examples/train/fixture.py`.

use crate::examples::compiled;
use std::path::Path;
use stria::circuit::count;
use stria::compile::{Encode, Options};
use stria::diag::SourceFile;
use stria::input::SafetensorsWeights;
use stria::quant::{FloatWeights, float_eval};
use stria::tensor::Tensor;
use stria::weights::WeightSource;
use stria::{resolve, syntax};

/// Name, shape of the input, and what the language calls the module of that name.
const CASES: [(&str, &str, &str); 13] = [
    ("dense", "3, 7, 9", "conv(x, out: 6, kernel: 3x3, stride: 2, pad: same, name: \"dense\")"),
    ("grouped", "8, 5, 6", "conv(x, out: 12, kernel: 3x3, pad: same, groups: 4, name: \"grouped\")"),
    ("striped", "8, 5, 6", "conv(x, out: 12, kernel: 3x3, pad: same, striped: 4, name: \"striped\")"),
    (
        "cross",
        "8, 7, 6",
        "conv(x, out: 16, kernel: cross(3), stride: 2, pad: same, striped: 4, name: \"cross\")",
    ),
    ("cross5", "4, 6, 7", "conv(x, out: 8, kernel: cross(5), pad: same, striped: 2, name: \"cross5\")"),
    ("strips", "8, 6, 5", "conv(x, out: 16, kernel: strips(3), pad: same, striped: 4, name: \"strips\")"),
    ("strips_dense", "3, 7, 7", "conv(x, out: 6, kernel: strips(5), pad: same, name: \"strips_dense\")"),
    ("shuffle", "12, 2, 3", "channel_shuffle(x, groups: 4)"),
    ("block", "32, 6, 6", "stria_block(x, inner: 16, stripes: 8, name: \"block\")"),
    ("block_auto", "12, 19, 27", "stria_block(x, name: \"block_auto\")"),
    (
        "block_wide",
        "16, 5, 4",
        "stria_block(x, out: 24, inner: 32, kernel: strips(3), stripes: 8, name: \"block_wide\")",
    ),
    ("block_down", "16, 12, 12", "stria_block(x, out: 64, inner: 64, stride: 2, name: \"block_down\")"),
    (
        "block_apart",
        "12, 5, 5",
        "stria_block(x, inner: 12, stripes: 4, shuffle: false, name: \"block_apart\")",
    ),
];

fn fixture() -> SafetensorsWeights {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/train.safetensors");
    SafetensorsWeights::open(&path).unwrap()
}

/// What the language's layer makes of the input of a case.
fn evaluated(weights: &dyn WeightSource, shape: &str, layer: &str, input: &Tensor<f32>) -> Tensor<f32> {
    let text =
        format!("model m {{ ring: 4096 weights: \"w\" input x: tensor[{shape}] let y = {layer} output y }}");
    let source = SourceFile { name: layer.into(), text };
    let ast = syntax::parse(&source).unwrap_or_else(|d| panic!("{}", d.render(&source)));
    // That other cases' tensors are not read is a warning.
    let (model, diagnostics) = resolve::resolve(&ast, Some(weights));
    let model = model.unwrap_or_else(|| panic!("{}", diagnostics.render(&source)));
    let floats = FloatWeights::load(&model, weights).unwrap();
    float_eval(&model, &floats, input).unwrap()
}

fn largest_difference(a: &Tensor<f32>, b: &Tensor<f32>) -> f32 {
    assert_eq!((&a.shape, a.data.len()), (&b.shape, b.data.len()));
    a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn modules_and_layers_compute_the_same() {
    let weights = fixture();
    for (name, shape, layer) in CASES {
        let load = |part| weights.load(&format!("{name}.{part}")).unwrap();
        let (input, output) = (load("input"), load("output"));
        let found = evaluated(&weights, shape, layer, &input);
        let difference = largest_difference(&found, &output);
        // Values reach 5 to 15; a sum has at most some hundred terms.
        assert!(difference < 1e-4, "{name}: {difference}");
        let zeros = Tensor { shape: output.shape.clone(), data: vec![0.0; output.data.len()] };
        assert!(largest_difference(&output, &zeros) > 2.0, "{name}: the fixture is flat");
    }
}

/// No tensor of the fixture is left unread: every case is a test here.
#[test]
fn every_case_is_read() {
    let cases = CASES.map(|(name, _, _)| name);
    for name in fixture().names() {
        let case = name.split('.').next().unwrap();
        assert!(cases.contains(&case), "{name}");
    }
}

/// Stripes in another order are another function: the comparison sees it.
#[test]
fn another_order_of_stripes_differs() {
    let weights = fixture();
    let load = |name: &str| weights.load(name).unwrap();
    let (input, output) = (load("striped.input"), load("striped.output"));
    let contiguous = "conv(x, out: 12, kernel: 3x3, pad: same, groups: 4, name: \"striped\")";
    assert!(largest_difference(&evaluated(&weights, "8, 5, 6", contiguous, &input), &output) > 1.0);
    let (input, output) = (load("block.input"), load("block.output"));
    let apart = "stria_block(x, inner: 16, stripes: 8, shuffle: false, name: \"block\")";
    assert!(largest_difference(&evaluated(&weights, "32, 6, 6", apart, &input), &output) > 1.0);
}

/// As many stripes as a ciphertext has channels: only the head, and a stem with more channels than a ciphertext
/// has, turns ciphertexts by whole channels.
#[test]
fn striped_networks_need_no_external_rotation() {
    for model in ["train/cifar10_stria.stria", "train/tiny_imagenet_stria.stria", "fashion_mnist/stria.stria"]
    {
        let options = Options { encode: Encode::Slots, ..Options::default() };
        let segments = compiled(model, options).circuit.segments;
        let external = |name: &str| segments.iter().find(|s| s.layer == name).map(|s| count(s).external);
        assert!(external("fc") > Some(0), "{model}");
        assert!(model.contains("tiny") || external("stem") == Some(0), "{model}");
        let within = segments.iter().filter(|s| !["stem", "fc"].contains(&s.layer.as_str()));
        assert!(within.clone().count() > 10);
        for segment in within {
            let counts = count(segment);
            assert_eq!(counts.external, 0, "{model}: {}", segment.layer);
            assert!(counts.plain_mults > 0);
        }
    }
}
