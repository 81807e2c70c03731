//! Coefficient kernels against plain convolution, on plain polynomials modulo X^N + 1.

use crate::kernels::{Case, Coverage, PRIME, cases, check_packing, convolve, deterministic, small_numbers};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use stria::circuit::{Contents, Inst, PlainId, PlainSource, Segment, count, verify};
use stria::kernels::{Kernel, KernelError};
use stria::layout::{Coefficients, Packing};
use stria::params::Encoding;
use stria::tensor::{ConvGeometry, Groups, Pad, Shape, Support, Tensor};

/// What stands where nothing is sent: no layer gives it.
const UNSENT: i64 = i64::MIN / 2;

/// `sum + a * b` modulo X^N + 1.
fn multiply_add(sum: &mut [i64], a: &[i64], b: &[i64]) {
    let ring = sum.len();
    for (i, &b) in b.iter().enumerate().filter(|&(_, &b)| b != 0) {
        for (j, &a) in a.iter().enumerate() {
            let product = a * b;
            if i + j < ring { sum[i + j] += product } else { sum[i + j - ring] -= product }
        }
    }
}

/// Runs a segment on plain polynomials; what is not sent is spoilt.
fn run(segment: &Segment, plains: &impl PlainSource, inputs: &[Vec<i64>]) -> Vec<Vec<i64>> {
    let ring = inputs[0].len();
    let mut plain = vec![0; ring];
    let mut values = inputs.to_vec();
    for inst in &segment.insts {
        let Inst::Dot { first, len } = *inst else { panic!("only products") };
        let mut sum = vec![0; ring];
        for &(value, id) in &segment.terms[first as usize..][..len as usize] {
            plains.fill(id, &mut plain);
            multiply_add(&mut sum, &values[value.0 as usize], &plain);
        }
        values.push(sum);
    }
    let spoil = |(output, value): (usize, &stria::circuit::Value)| {
        let mut sent = vec![UNSENT; ring];
        for place in segment.contents.sent(output).expect("coefficients") {
            sent[place as usize] = values[value.0 as usize][place as usize];
        }
        sent
    };
    segment.outputs.iter().enumerate().map(spoil).collect()
}

fn layout(packing: &Packing) -> &Coefficients {
    match packing {
        Packing::Coefficients(layout) => layout,
        Packing::Image(_) | Packing::Features(_) => panic!("not in coefficients"),
    }
}

/// Packs `x`, runs the kernel, unpacks; checks the segment on the way.
fn execute(kernel: &Kernel, x: &[i64], weights: &Tensor<i8>) -> (Vec<i64>, Segment) {
    check_packing(kernel.input());
    check_packing(kernel.output());
    let ring = kernel.input().ring();
    let segment = kernel.emit("layer");
    verify(&segment, u32::try_from(ring).unwrap()).unwrap();
    for output in 0..segment.outputs.len() {
        assert_eq!(segment.contents.sent(output), kernel.output().sent(output), "both parties agree");
    }
    let unsigned: Vec<u64> = x.iter().map(|v| v.cast_unsigned()).collect();
    let signed = |ct: Vec<u64>| -> Vec<i64> { ct.into_iter().map(u64::cast_signed).collect() };
    let inputs: Vec<_> = kernel.input().pack(&unsigned).into_iter().map(signed).collect();
    assert_eq!(inputs.len(), segment.inputs as usize);
    let plains = kernel.plains(weights, PRIME).unwrap();
    let mut values = vec![0; ring];
    let Contents::Coefficients { weights: most, .. } = segment.contents else { panic!("coefficients") };
    for id in 0..segment.plains {
        plains.fill(PlainId(id), &mut values);
        let weights = values.iter().filter(|&&w| w != 0).count();
        assert!((1..=most as usize).contains(&weights), "plaintext {id}: {weights} of {most}");
    }
    let outputs: Vec<Vec<u64>> = run(&segment, &plains, &inputs)
        .into_iter()
        .map(|ct| ct.into_iter().map(i64::cast_unsigned).collect())
        .collect();
    assert_eq!(outputs.len(), kernel.output().ciphertexts());
    (kernel.output().unpack(&outputs).into_iter().map(u64::cast_signed).collect(), segment)
}

fn check_counts(segment: &Segment, kernel: &Kernel) {
    let counts = count(segment);
    assert_eq!((counts.internal, counts.external, counts.key_switches), (0, 0, 0));
    assert_eq!(counts.plain_mults, segment.terms.len() as u64);
    assert_eq!(counts.ciphertexts_out, kernel.output().ciphertexts() as u64);
    assert_eq!(kernel.encoding(), Encoding::Coefficients);
}

fn note(coverage: &mut Coverage, case: &Case, kernel: &Kernel, segment: &Segment) {
    let (g, input, output) = (&case.geometry, layout(kernel.input()), layout(kernel.output()));
    let padded = g.pad != Pad { h: 0, w: 0 };
    let one_tap = g.kernel == (1, 1);
    coverage.note("tiles of rows", input.rows.tiles.len() > 1);
    coverage.note("tiles of columns", input.columns.tiles.len() > 1);
    coverage.note("several channels", input.channels > 1 && padded);
    coverage.note("several outputs a product", output.channels > 1);
    coverage.note("several outputs and channels", output.channels > 1 && input.channels > 1);
    coverage.note("several inputs", input.parts() > 1);
    coverage.note("several replies", output.parts() > 1);
    coverage.note("full ciphertexts", input.channels * output.channels * input.plane == case.ring);
    coverage.note("strided 1x1", one_tap && g.stride.0 * g.stride.1 > 1 && g.h.min(g.w) > 2);
    coverage.note("strided", !one_tap && g.stride.0 * g.stride.1 > 1);
    coverage.note("grouped", g.groups.count() > 1);
    coverage.note("striped", matches!(g.groups, Groups::Striped(n) if n > 1));
    coverage.note("strips", g.support == Support::Strips && g.kernel.0 * g.kernel.1 > 1);
    coverage.note("cross", g.support == Support::Cross && g.kernel.0.min(g.kernel.1) > 2);
    coverage.note("kernel beyond the map", g.kernel.0 > g.h || g.kernel.1 > g.w);
    coverage.note("padding beyond the kernel", g.pad.h >= g.kernel.0 || g.pad.w >= g.kernel.1);
    let all = u64::from(segment.inputs) * segment.outputs.len() as u64;
    coverage.note("products left out", input.tiles() == 1 && (segment.terms.len() as u64) < all);
}

#[test]
fn convolutions_equal_their_definition() {
    let coverage = RefCell::new(Coverage::default());
    let refused = RefCell::new(0_usize);
    let config = Config { cases: 3000, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new_with_rng(config.clone(), deterministic(&config)).run(&cases(), |case| {
        let g = &case.geometry;
        let shape = Shape::of(&[g.c_out, g.c_in / g.groups.count(), g.kernel.0, g.kernel.1]);
        let weights = Tensor { data: small_numbers(case.seed, shape.elements()), shape };
        let x: Vec<i64> = small_numbers(!case.seed, g.c_in * g.h * g.w).into_iter().map(i64::from).collect();
        let (expected, meets) = convolve(g, &x, &weights.data);
        match Kernel::coefficient_conv(g, case.ring) {
            Ok(kernel) => {
                let (found, segment) = execute(&kernel, &x, &weights);
                prop_assert_eq!(found, expected);
                check_counts(&segment, &kernel);
                note(&mut coverage.borrow_mut(), &case, &kernel, &segment);
            }
            Err(KernelError::NoTerm(_)) => {
                *refused.borrow_mut() += 1;
                prop_assert!(meets.contains(&false));
            }
            Err(other) => return Err(TestCaseError::fail(format!("refused: {other}"))),
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    coverage.borrow().require(10);
    assert!(*refused.borrow() < 100, "{} cases were refused", refused.borrow());
}

#[test]
fn linear_layers_equal_their_definition() {
    let coverage = RefCell::new(Coverage::default());
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let sizes = (1..=200_usize, prop_oneof![1..=8_usize, 9..=200_usize], 6..=10_u32, any::<u64>());
    let outcome = TestRunner::new_with_rng(config.clone(), deterministic(&config)).run(&sizes, |case| {
        let (inputs, outputs, log, seed) = case;
        let kernel = Kernel::coefficient_linear(inputs, outputs, 1 << log).unwrap();
        let weights =
            Tensor { shape: Shape::of(&[outputs, inputs]), data: small_numbers(seed, inputs * outputs) };
        let x: Vec<i64> = small_numbers(!seed, inputs).into_iter().map(i64::from).collect();
        let row = |row: &[i8]| row.iter().zip(&x).map(|(w, x)| i64::from(*w) * x).sum::<i64>();
        let expected: Vec<i64> = weights.data.chunks(inputs).map(row).collect();
        let (found, segment) = execute(&kernel, &x, &weights);
        prop_assert_eq!(found, expected);
        check_counts(&segment, &kernel);
        let coverage = &mut coverage.borrow_mut();
        coverage.note("one input", segment.inputs == 1);
        coverage.note("several inputs", segment.inputs > 1);
        coverage.note("one reply", segment.outputs.len() == 1);
        coverage.note("several replies", segment.outputs.len() > 1);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    coverage.borrow().require(10);
}

fn dense(c_in: usize, c_out: usize, size: usize, kernel: usize, stride: usize) -> ConvGeometry {
    let pad = Pad { h: kernel / 2, w: kernel / 2 };
    let (kernel, stride) = ((kernel, kernel), (stride, stride));
    let (groups, support) = (Groups::Dense, Support::Full);
    ConvGeometry { c_in, c_out, h: size, w: size, kernel, stride, pad, groups, support }
}

/// Layers of real networks at ring 4096: ciphertexts in, products, ciphertexts out.
#[test]
fn layers_of_real_networks_share_ciphertexts() {
    let counts = |kernel: Result<Kernel, KernelError>| {
        let counts = count(&kernel.unwrap().emit("layer"));
        (counts.ciphertexts_in, counts.plain_mults, counts.ciphertexts_out)
    };
    let conv = |g| counts(Kernel::coefficient_conv(&g, 4096));
    let shown = [
        ("16->16 3x3 @32x32", conv(dense(16, 16, 32, 3, 1))),
        ("64->64 3x3 @8x8", conv(dense(64, 64, 8, 3, 1))),
        ("3->64 7x7/2 @224x224", conv(dense(3, 64, 224, 7, 2))),
        ("64->64 3x3 @56x56", conv(dense(64, 64, 56, 3, 1))),
        ("256->512 1x1/2 @56x56", conv(dense(256, 512, 56, 1, 2))),
        ("512->512 3x3 @7x7", conv(dense(512, 512, 7, 3, 1))),
        ("2048->1000 linear", counts(Kernel::coefficient_linear(2048, 1000, 4096))),
        ("1->1 3x3 @1x5000", conv(ConvGeometry { h: 1, w: 5000, ..dense(1, 1, 1, 3, 1) })),
        ("1->1 3x3 @2000x2000", conv(dense(1, 1, 2000, 3, 1))),
    ];
    let lines = shown.map(|(layer, (inputs, products, outputs))| {
        format!("{layer:22} {inputs:5} in {products:7} products {outputs:5} out")
    });
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let huge = ConvGeometry { pad: Pad { h: 0, w: 0 }, ..dense(1, 1, 80, 65, 1) };
    let error = Kernel::coefficient_conv(&huge, 4096).unwrap_err();
    assert_eq!(error, KernelError::Window { rows: 65, columns: 65, ring: 4096 });
    assert!(Kernel::coefficient_conv(&huge, 8192).is_ok());
    let wide = Kernel::coefficient_linear(1 << 20, 1 << 20, 4096).unwrap_err();
    assert!(matches!(wide, KernelError::TooLarge { .. }), "{wide}");
    assert!(matches!(Kernel::coefficient_linear(0, 1, 4096), Err(KernelError::Size { .. })));
    assert!(matches!(Kernel::coefficient_conv(&dense(1, 1, 8, 3, 1), 4095), Err(KernelError::Ring(4095))));
}
