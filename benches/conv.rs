//! Two convolutions on encrypted input, weights encoded beforehand, one thread: `cargo bench --bench conv`.
//!
//! The times are of the linear part alone. Reading the ciphertexts, and re-randomising, flooding and writing
//! the replies, are measured apart. Before anything is timed the result is compared with the reference, and
//! t, the bits of noise that are left, what the circuit counts, and the processor time of the circuit as it
//! runs and as its kernel emitted it, rotation by rotation, and the most memory that the
//! process has held until then, are printed.

#![expect(clippy::print_stdout, reason = "what was checked stands beside what was measured")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use stria::backend::bfv::{BfvCiphertext, BfvEvaluator, BfvKeys, BfvPlaintext};
use stria::backend::{ClientKeys, Evaluator, Sent};
use stria::circuit::{Segment, count};
use stria::compile::{Encode, Options, compile};
use stria::compiled::Compiled;
use stria::diag::SourceFile;
use stria::exec::{Kept, run_kept};
use stria::graph::{NodeId, evaluate};
use stria::kernels::Plains;
use stria::lower::galois_steps;
use stria::quant::{RandomWeights, random_images};
use stria::tensor::Tensor;
use stria::{resolve, syntax};

/// Bits of a result that have to be exact.
const EXACT_BITS: u32 = 20;
/// Runs of a circuit whose least processor time counts.
const RUNS: usize = 20;

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

/// What a circuit runs with.
struct Setup<'a> {
    evaluator: &'a BfvEvaluator,
    plains: &'a Plains<'a>,
    inputs: Vec<BfvCiphertext>,
}

impl Setup<'_> {
    fn run(&self, segment: &Segment, kept: &Kept<BfvPlaintext>) -> Vec<BfvCiphertext> {
        run_kept(self.evaluator, segment, (self.plains, kept), self.inputs.clone(), &|_| {})
            .expect("the circuit runs")
    }

    /// The least milliseconds of processor time of some runs, weights encoded beforehand.
    fn milliseconds(&self, segment: &Segment, kept: &Kept<BfvPlaintext>) -> f64 {
        self.run(segment, kept);
        let times = (0..RUNS).map(|_| {
            let before = processor_nanoseconds();
            black_box(self.run(segment, kept));
            processor_nanoseconds() - before
        });
        times.min().unwrap_or(0) as f64 / 1e6
    }
}

/// Of all threads, by Linux' scheduler; 0 elsewhere.
fn processor_nanoseconds() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// The line of the system that tells the most memory held.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or("VmHWM: unknown").to_owned()
}

fn convolution(c: &mut Criterion, channels: usize, size: usize, encode: Encode) {
    let compiled = compiled(channels, size, encode);
    let (segment, layer) = (&compiled.circuit.segments[0], &compiled.plan.layers[0]);
    let emitted = layer.kernel.emit("as emitted");
    let weights = compiled.weights.as_ref().expect("the model has weights");
    let layer_weights = &weights.0[&layer.node];
    let t = compiled.params.plain_modulus;
    let plains = layer.kernel.plains(&layer_weights.weight, t).expect("the weights fit");
    let shape = compiled.network.graph.node(NodeId(0)).shape.clone();
    let pixels = (0..shape.elements()).map(|i| i64::try_from(i * 37 % 255).expect("a small number") - 127);
    let image = Tensor { shape, data: pixels.collect::<Vec<i64>>() };
    let residues: Vec<u64> =
        image.data.iter().map(|&x| x.rem_euclid(t.cast_signed()).cast_unsigned()).collect();

    let keys = BfvKeys::generate(&compiled.params).expect("keys");
    let steps = galois_steps(&[segment.clone(), emitted.clone()]);
    let evaluation = keys.evaluation_keys(&steps).expect("evaluation keys");
    let evaluator = BfvEvaluator::from_keys(&compiled.params, &evaluation).expect("an evaluator");
    drop(evaluation);
    let packed = layer.kernel.pack(&residues, t);
    let inputs = packed
        .iter()
        .map(|slots| evaluator.load(&keys.encrypt(slots).expect("a ciphertext")).expect("it loads"))
        .collect();
    let setup = Setup { evaluator: &evaluator, plains: &plains, inputs };
    let kept = Kept::of(&compiled.circuit.segments, u64::MAX).remove(0);

    let results = setup.run(segment, &kept);
    let places: Vec<_> = (0..results.len()).map(|output| segment.contents.sent(output)).collect();
    let outputs = || results.iter().zip(&places).map(|(r, places)| (r, sent(places.as_deref())));
    let replies = outputs().map(|(result, sent)| {
        keys.decrypt(&evaluator.store(result, sent).expect("a reply"), sent).expect("it decrypts")
    });
    let output = layer.kernel.unpack(replies.collect(), t);
    let expected = evaluate(&compiled.network, weights, &image).expect("the reference");
    let pixels = expected.data.len() / channels;
    for (i, (&found, &wanted)) in output.iter().zip(&expected.data).enumerate() {
        let wanted = wanted - layer_weights.bias[i / pixels];
        assert_eq!(found, wanted.rem_euclid(t.cast_signed()).cast_unsigned(), "element {i}");
    }

    let name = format!("conv{channels}x{channels}@{size}x{size}");
    let bits = u64::BITS - t.leading_zeros();
    assert!(bits > EXACT_BITS, "{EXACT_BITS} bits and a sign need a longer t than {t}");
    let largest = expected.data.iter().map(|x| x.unsigned_abs()).max().unwrap_or(0);
    let fit = compiled.fits().expect("the circuit fits");
    let noise = results.iter().map(|r| keys.noise_bits(r).expect("noise")).fold(0.0, f64::max);
    println!(
        "{name}: all {} results equal the reference bit for bit; t = {t} ({bits} bits), largest result {largest}",
        output.len()
    );
    println!(
        "{name}: {noise:.1} bits of noise (estimated {:.1}, flooded to {:.1}), {:.1} of {:.1} left",
        fit.noise_bits,
        fit.flood_bits.unwrap_or(0.0),
        fit.room_bits - noise,
        fit.room_bits
    );
    let counts = count(segment);
    println!(
        "{name}: {} rotations, {} divisions, {} products; moduli {:?}; {} Galois keys",
        counts.rotations(),
        counts.divisions(),
        counts.plain_mults,
        compiled.params.modulus_bits,
        galois_steps(&compiled.circuit.segments).len()
    );
    let fused = setup.milliseconds(segment, &kept);
    println!("{name}: {}", peak_memory());
    let emitted_kept = Kept::of(std::slice::from_ref(&emitted), u64::MAX).remove(0);
    let one_by_one = setup.milliseconds(&emitted, &emitted_kept);
    drop(emitted_kept);
    println!("{name}: {fused:.2} ms of processor time, {one_by_one:.2} ms as emitted, rotation by rotation");

    let encoding = match encode {
        Encode::Slots | Encode::Auto => "",
        Encode::Coefficients => "/coefficients",
    };
    let id = |what: &str| format!("{name}/{what}/N={}/t={bits}bits{encoding}", compiled.params.ring);
    c.bench_function(&id("evaluate"), |b| b.iter(|| black_box(setup.run(segment, &kept))));
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
