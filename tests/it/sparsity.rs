//! Zeros in weights: hidden unless asked for; left out, the results stay, the counts fall, and it is said.

use crate::protocol::service;
use crate::random::{images, source};
use proptest::prelude::*;
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::circuit::{Counts, count};
use stria::compile::{Encode, Kernels, Options, Sparsity, compile};
use stria::compiled::Compiled;
use stria::cost::CostTable;
use stria::diag::SourceFile;
use stria::graph::evaluate;
use stria::kernels::Kernel;
use stria::lower::{galois_steps, segment};
use stria::params::{Scheme, plain_prime};
use stria::protocol::{Choices, run_in_process};
use stria::quant::{RandomWeights, random_images};
use stria::report::Leak;
use stria::select::Allowed;
use stria::tensor::{ConvGeometry, Groups, Pad, Shape, Support, Tensor};
use stria::weights::{WeightError, WeightSource};
use stria::{resolve, syntax};

/// Random weights with zeros in them.
struct Zeroed {
    inner: RandomWeights,
    /// Of output, input, row and column.
    zero: fn([usize; 4]) -> bool,
}

impl WeightSource for Zeroed {
    fn shape(&self, name: &str) -> Option<Shape> {
        self.inner.shape(name)
    }

    fn names(&self) -> Vec<String> {
        self.inner.names()
    }

    fn load(&self, name: &str) -> Result<Tensor<f32>, WeightError> {
        let mut tensor = self.inner.load(name)?;
        if name.ends_with(".weight") {
            let dims: Vec<usize> = tensor.shape.dims().iter().copied().chain([1, 1]).collect();
            for (at, value) in tensor.data.iter_mut().enumerate() {
                let (rest, column) = (at / dims[3], at % dims[3]);
                let (rest, row) = (rest / dims[2], rest % dims[2]);
                if (self.zero)([rest / dims[1], rest % dims[1], row, column]) {
                    *value = 0.0;
                }
            }
        }
        Ok(tensor)
    }
}

const PATTERNS: [fn([usize; 4]) -> bool; 5] = [
    |_| false,
    |[.., row, _]| row == 2,
    |[.., row, column]| row + column == 0 || row + column == 3,
    |[output, input, ..]| (output + input) % 2 == 1,
    |[_, input, ..]| input % 4 == 1,
];

fn compiled(text: &str, pattern: usize, options: Options<'_>) -> Compiled {
    let source = SourceFile { name: "zeros.stria".into(), text: text.into() };
    let ast = syntax::parse(&source).unwrap_or_else(|d| panic!("{}", d.render(&source)));
    let (model, diagnostics) = resolve::resolve(&ast, None);
    let model = model.unwrap_or_else(|| panic!("{}", diagnostics.render(&source)));
    let shape = model.graph.node(model.graph.ids().next().unwrap()).shape.clone();
    let weights = Zeroed { inner: RandomWeights::for_model(&model, 5), zero: PATTERNS[pattern] };
    let calibration = random_images(&shape, (-1.5, 2.0), 3, 5);
    compile(&model, Some(&weights), Some(&calibration), options)
        .unwrap_or_else(|e| panic!("{e}\n{text}"))
        .compiled
}

fn totals(compiled: &Compiled) -> Counts {
    let mut all = Counts::default();
    for segment in &compiled.circuit.segments {
        let counts = count(segment);
        all.internal += counts.internal;
        all.external += counts.external;
        all.plain_mults += counts.plain_mults;
    }
    all
}

const WAYS: [(Encode, Kernels); 4] = [
    (Encode::Auto, Kernels::Auto),
    (Encode::Slots, Kernels::Unified),
    (Encode::Slots, Kernels::OutputRotation),
    (Encode::Coefficients, Kernels::Auto),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(8), ..ProptestConfig::default() })]

    /// Reference = run of the circuit without the products by zeros.
    #[test]
    fn what_is_left_out_changes_no_result(seed in any::<u64>(), pattern in 1..PATTERNS.len()) {
        let Compiled { network, weights, .. } = compiled(&source(seed), pattern, Options::default());
        let ring = [64, 128, 256, 512][usize::try_from(seed % 4).unwrap()];
        let t = plain_prime(ring, network.largest_accumulator(), None).unwrap();
        let table = CostTable::shipped(Scheme::Bfv);
        for (encode, kernels) in WAYS {
            let planned = |sparsity| {
                let allowed = Allowed { encode, kernels, sparsity };
                Compiled::insecure_planned(network.clone(), weights.clone(), (ring, t), allowed, &table).unwrap()
            };
            let (hidden, leaked) = (planned(Sparsity::Hidden), planned(Sparsity::Leaked));
            prop_assert!(hidden.plan.layers.iter().all(|layer| layer.dropped.is_empty()));
            let leak = Leak::of(&leaked).unwrap();
            let products = totals(&leaked).plain_mults;
            prop_assert!(leak.plain_mults_saved == 0 || leak.plaintexts_dropped > 0);
            prop_assert!(products > 0 && leak.plaintexts_dropped <= leak.plaintexts_shown);
            let weights = leaked.weights.as_ref().unwrap();
            let image = &images(&leaked, seed)[..1];
            let expected = evaluate(&leaked.network, weights, &image[0]).unwrap();
            let run = run_in_process::<ClearKeys, ClearEvaluator>;
            let session = run(service(&leaked, weights), Choices::default(), image, &|_| {}, &|_| {}).unwrap();
            prop_assert_eq!(session.inferences[0].answer.logits(), Some(&expected));
        }
    }
}

const NETWORK: &str = "model zeros {\n    ring: 8192\n    weights: random(5)\n    input image: tensor[8, 8, 8]\n    \
    let x = conv(image, out: 8, kernel: 3x3, pad: same) |> relu\n    \
    let x = conv(x, out: 16, kernel: 3x3, stride: 2, pad: same) |> relu\n    \
    let y = flatten(x) |> linear(out: 10)\n    output y\n}\n";

/// Two patterns of zeros under one plaintext prime: one circuit and one set of Galois steps, and another circuit
/// only if that is asked for.
#[test]
fn circuits_tell_nothing_of_zeros_unless_asked() {
    for (encode, kernels) in WAYS {
        let of = |pattern, sparsity| {
            let options = Options { encode, kernels, sparsity, plain_bits: Some(26), ..Options::default() };
            compiled(NETWORK, pattern, options)
        };
        let hidden: Vec<Compiled> = (0..PATTERNS.len()).map(|p| of(p, Sparsity::Hidden)).collect();
        for other in &hidden[1..] {
            assert_eq!(other.circuit, hidden[0].circuit, "{encode:?} {kernels:?}");
            assert_eq!(other.plan.picks(), hidden[0].plan.picks());
            assert_eq!(galois_steps(&other.circuit.segments), galois_steps(&hidden[0].circuit.segments));
            assert_eq!(Leak::of(other), None);
        }
        assert_eq!(of(0, Sparsity::Leaked).circuit, hidden[0].circuit, "no zeros, nothing to leave out");
        if encode == Encode::Slots && kernels == Kernels::OutputRotation {
            let shown = of(1, Sparsity::Leaked);
            assert_ne!(shown.circuit, hidden[0].circuit);
            let steps = [&shown, &hidden[0]].map(|c| galois_steps(&c.circuit.segments).len());
            assert!(steps[0] < steps[1], "{steps:?}");
        }
    }
}

/// A dense 3x3 of 16 channels at 8x8 and ring 1024, which fill a ciphertext, by the kernel of the literature: a tap
/// is a rotation of the input and 16 products, a diagonal a rotation of a sum and 9 products.
#[test]
fn counts_fall_by_what_is_zero() {
    let g = ConvGeometry {
        c_in: 16,
        c_out: 16,
        h: 8,
        w: 8,
        kernel: (3, 3),
        stride: (1, 1),
        pad: Pad { h: 1, w: 1 },
        groups: Groups::Dense,
        support: Support::Full,
    };
    let left = |kernel: &Kernel, ring: u32, zero: &dyn Fn([usize; 4]) -> bool| {
        let shape = Shape::of(&[16, 16, 3, 3]);
        let of = |at: usize| [at / 144, at / 9 % 16, at / 3 % 3, at % 3];
        let weights =
            Tensor { data: (0..shape.elements()).map(|at| i8::from(!zero(of(at)))).collect(), shape };
        let zeros = kernel.zeros(&weights).unwrap();
        let dropped: Vec<u32> = (0..).zip(zeros).filter_map(|(id, zero)| zero.then_some(id)).collect();
        let counts = count(&segment(kernel, "layer", ring, &dropped).unwrap());
        (counts.internal, counts.external, counts.plain_mults)
    };
    let slots = Kernel::output_rotation(&g, 1024).unwrap();
    let (all, taps, diagonals, products) = (left(&slots, 1024, &|_| false), 8, 15, 9 * 16);
    assert_eq!(all, (taps, diagonals, products));
    assert_eq!(left(&slots, 1024, &|[.., row, _]| row == 0), (5, 15, 6 * 16));
    assert_eq!(left(&slots, 1024, &|[.., row, column]| row == 1 && column == 1), (8, 15, 8 * 16));
    let off = |o: usize, i: usize| (i + 16 - o) % 16;
    let upper = |[o, i, ..]: [usize; 4]| o / 8 == i / 8;
    // Channels that only meet others of their row of slots: the 8 diagonals that exchange rows are gone.
    assert_eq!(left(&slots, 1024, &|at| !upper(at)), (8, 7, 9 * 8));
    assert_eq!(left(&slots, 1024, &|[o, i, ..]| off(o, i) != 0).1, 0);
    assert_eq!(left(&slots, 1024, &|[o, i, row, column]| row + column + off(o, i) > 0), (1, 0, 1));
    assert_eq!(left(&slots, 1024, &|_| true), (0, 0, 1), "an output is a ciphertext all the same");

    // Six channels of 10x9 and padding in a ciphertext: whole ciphertexts of zeros fall.
    let coefficients = Kernel::coefficient_conv(&g, 512).unwrap();
    let (.., all) = left(&coefficients, 512, &|_| false);
    let half = left(&coefficients, 512, &|[_, i, ..]| i < 8).2;
    assert!(half < all && half > 0, "{half} of {all}");
    assert_eq!(left(&coefficients, 512, &|[.., row, _]| row == 0).2, all, "a product holds all taps");
}

/// The file keeps what is left out, also the client's without weights; a file that leaves out more is refused.
#[test]
fn files_keep_what_is_left_out() {
    let options =
        Options { kernels: Kernels::OutputRotation, sparsity: Sparsity::Leaked, ..Options::default() };
    let compiled = compiled(NETWORK, 3, options);
    let leak = Leak::of(&compiled).unwrap();
    assert!(leak.plaintexts_dropped > 0, "{leak}");
    let read = Compiled::from_bytes(&compiled.to_bytes().unwrap()).unwrap();
    assert_eq!((&read.plan, &read.circuit), (&compiled.plan, &compiled.circuit));
    let public = Compiled::from_bytes(&compiled.public().to_bytes().unwrap()).unwrap();
    assert_eq!(public.circuit, compiled.circuit);
    assert_eq!(public.weights, None);
    let mut more = compiled.clone();
    let layer =
        more.plan.layers.iter_mut().find(|layer| layer.dropped.len() < layer.kernel.products()).unwrap();
    let products = u32::try_from(layer.kernel.products()).unwrap();
    layer.dropped = (0..products).collect();
    let error = Compiled::from_bytes(&more.to_bytes().unwrap()).unwrap_err();
    assert!(error.to_string().contains("left out"), "{error}");
    let layer = more.plan.layers.first_mut().unwrap();
    layer.dropped = vec![u32::MAX];
    let error = Compiled::from_bytes(&more.public().to_bytes().unwrap()).unwrap_err();
    assert!(error.to_string().contains("left out"), "{error}");
}
