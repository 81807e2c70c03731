//! Two convolutions on encrypted input, weights encoded beforehand, one thread: `cargo bench --bench conv`.
//!
//! The times are of the linear part alone. Reading the ciphertexts, and re-randomising, flooding and writing
//! the replies, are measured apart. Before anything is timed the result is compared with the reference.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use stria::backend::bfv::{BfvEvaluator, BfvKeys};
use stria::backend::{ClientKeys, Evaluator, Sent};
use stria::compile::{Encode, Options, compile};
use stria::compiled::Compiled;
use stria::diag::SourceFile;
use stria::exec::{Kept, run_kept};
use stria::graph::{NodeId, evaluate};
use stria::lower::galois_steps;
use stria::quant::{RandomWeights, random_images};
use stria::tensor::Tensor;
use stria::{resolve, syntax};

fn compiled(channels: usize, size: usize, encode: Encode) -> Compiled {
    let text = format!(
        "model conv {{ input x: tensor[{channels}, {size}, {size}] output conv(x, out: {channels}, kernel: 3x3, pad: 1) }}"
    );
    let source = SourceFile { name: "conv.stria".into(), text };
    let ast = syntax::parse(&source).expect("the model parses");
    let model = resolve::resolve(&ast, None).0.expect("the model resolves");
    let shape = model.graph.node(NodeId(0)).shape.clone();
    let images = random_images(&shape, (-1.0, 1.0), 2, 1);
    let weights = RandomWeights::for_model(&model, 1);
    let options = Options { encode, ..Options::default() };
    compile(&model, Some(&weights), Some(&images), options).expect("the model compiles").compiled
}

fn convolution(c: &mut Criterion, channels: usize, size: usize, encode: Encode) {
    let compiled = compiled(channels, size, encode);
    let (segment, layer) = (&compiled.circuit.segments[0], &compiled.plan.layers[0]);
    let weights = compiled.weights.as_ref().expect("the model has weights");
    let layer_weights = &weights.0[&layer.node];
    let plains = layer.kernel.plains(&layer_weights.weight).expect("the weights fit");

    let t = compiled.params.plain_modulus;
    let shape = compiled.network.graph.node(NodeId(0)).shape.clone();
    let pixels = (0..shape.elements()).map(|i| i64::try_from(i * 37 % 255).expect("a small number") - 127);
    let image = Tensor { shape, data: pixels.collect::<Vec<i64>>() };
    let residues: Vec<u64> =
        image.data.iter().map(|&x| x.rem_euclid(t.cast_signed()).cast_unsigned()).collect();

    let keys = BfvKeys::generate(&compiled.params).expect("keys");
    let steps = galois_steps(&compiled.circuit.segments);
    let evaluation = keys.evaluation_keys(&steps).expect("evaluation keys");
    let evaluator = BfvEvaluator::from_keys(&compiled.params, &evaluation).expect("an evaluator");
    let packed = layer.kernel.input().pack(&residues);
    let inputs: Vec<_> = packed
        .iter()
        .map(|slots| evaluator.load(&keys.encrypt(slots).expect("a ciphertext")).expect("it loads"))
        .collect();
    let kept = Kept::of(&compiled.circuit.segments, |_| evaluator.plaintext_bytes(), u64::MAX).remove(0);
    let run = || {
        run_kept(&evaluator, segment, (&plains, &kept), inputs.clone(), &|_| {}).expect("the circuit runs")
    };

    let results = run();
    let places: Vec<_> = (0..results.len()).map(|output| segment.contents.sent(output)).collect();
    let outputs = || results.iter().zip(&places).map(|(r, places)| (r, sent(places.as_deref())));
    let replies = outputs().map(|(result, sent)| {
        keys.decrypt(&evaluator.store(result, sent).expect("a reply"), sent).expect("it decrypts")
    });
    let output = layer.kernel.output().unpack(&replies.collect::<Vec<_>>());
    let expected = evaluate(&compiled.network, weights, &image).expect("the reference");
    let pixels = expected.data.len() / channels;
    for (i, (&found, &wanted)) in output.iter().zip(&expected.data).enumerate() {
        let wanted = wanted - layer_weights.bias[i / pixels];
        assert_eq!(found, wanted.rem_euclid(t.cast_signed()).cast_unsigned(), "element {i}");
    }

    let bits = u64::BITS - t.leading_zeros();
    let id = |what: &str| {
        let encoding = match encode {
            Encode::Slots | Encode::Auto => "",
            Encode::Coefficients => "/coefficients",
        };
        format!(
            "conv{channels}x{channels}@{size}x{size}/{what}/N={}/t={bits}bits{encoding}",
            compiled.params.ring
        )
    };
    c.bench_function(&id("evaluate"), |b| b.iter(|| black_box(run())));
    c.bench_function(&id("reply"), |b| {
        b.iter(|| outputs().map(|(r, sent)| evaluator.store(r, sent).expect("a reply").len()).sum::<usize>());
    });
}

fn sent(places: Option<&[u32]>) -> Sent<'_> {
    places.map_or(Sent::Slots, Sent::Coefficients)
}

fn convolutions(c: &mut Criterion) {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("no other pool");
    for encode in [Encode::Slots, Encode::Coefficients] {
        convolution(c, 16, 32, encode);
        convolution(c, 64, 8, encode);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = convolutions
}
criterion_main!(benches);
