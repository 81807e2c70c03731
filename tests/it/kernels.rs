//! Kernels against plain convolution: pack, run the segment on plain slots, unpack.

mod fixed;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use stria::circuit::{Inst, PlainId, PlainSource, RotationKind, Segment, Step, count, verify};
use stria::kernels::{Arrangement, Blocks, Choice, Conv, Kernel, KernelError, Operand, Split};
use stria::layout::{Image, Packing};
use stria::tensor::{ConvGeometry, Groups, Pad, Shape, Support, Tensor};

/// A prime that leaves 1 modulo 2^23.
pub(crate) const PRIME: u64 = 998_244_353;

/// Runs a segment on plain slots modulo [`PRIME`].
pub(crate) fn run(
    segment: &Segment,
    plains: &impl PlainSource,
    ring: usize,
    inputs: Vec<Vec<i64>>,
) -> Vec<Vec<i64>> {
    let half = ring / 2;
    let from = |u: usize, step: Option<Step>| match step {
        None => u,
        Some(Step::SwapRows) => (u + half) % ring,
        Some(Step::Rotate(k)) => {
            let turned = (u % half).cast_signed() + k as isize;
            u / half * half + turned.rem_euclid(half.cast_signed()).cast_unsigned()
        }
    };
    let mut values = inputs;
    let mut plain = vec![0; ring];
    for inst in &segment.insts {
        let next = match *inst {
            Inst::Automorphism { src, step } | Inst::Extended { src, step } => {
                (0..ring).map(|u| values[src.0 as usize][from(u, Some(step))]).collect()
            }
            Inst::RotateSum { first, len } => {
                let turns = segment.summands(first, len);
                let at = |u: usize| turns.iter().map(move |turn| (turn.src.0 as usize, from(u, turn.step)));
                let sum = |u| at(u).map(|(src, u)| values[src][u]).sum::<i64>() % PRIME.cast_signed();
                (0..ring).map(sum).collect()
            }
            Inst::Dot { first, len } => {
                let mut sum = vec![0; ring];
                for &(value, id) in &segment.terms[first as usize..][..len as usize] {
                    plains.fill(id, &mut plain);
                    for ((s, x), p) in sum.iter_mut().zip(&values[value.0 as usize]).zip(&plain) {
                        *s = (*s + x * p) % PRIME.cast_signed();
                    }
                }
                sum
            }
            Inst::Add(a, b) => {
                let sum = |(a, b): (&i64, &i64)| (a + b) % PRIME.cast_signed();
                values[a.0 as usize].iter().zip(&values[b.0 as usize]).map(sum).collect()
            }
        };
        values.push(next);
    }
    segment.outputs.iter().map(|v| values[v.0 as usize].clone()).collect()
}

/// Numbers below 128 in magnitude, never 0, from a linear congruence.
pub(crate) fn small_numbers(seed: u64, n: usize) -> Vec<i8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let byte = state.to_be_bytes()[0].cast_signed();
        if byte == 0 { 1 } else { byte }
    };
    (0..n).map(|_| next()).collect()
}

/// The definition of convolution. Also whether each output pixel meets any input at all.
pub(crate) fn convolve(g: &ConvGeometry, x: &[i64], weights: &[i8]) -> (Vec<i64>, Vec<bool>) {
    let (out_h, out_w) = g.out_size();
    let (kh, kw) = g.kernel;
    let columns = g.c_in / g.groups.count();
    let mut y = vec![0; g.c_out * out_h * out_w];
    let mut meets = vec![false; y.len()];
    for o in 0..g.c_out {
        for i in 0..g.c_in {
            let Some(column) = g.groups.column(o, i, g.c_in, g.c_out) else { continue };
            for (ty, tx) in (0..kh).flat_map(|ty| (0..kw).map(move |tx| (ty, tx))) {
                if !g.support.has((ty, tx), g.kernel, o, g.c_out) {
                    continue;
                }
                let weight = i64::from(weights[((o * columns + column) * kh + ty) * kw + tx]);
                for (oy, ox) in (0..out_h).flat_map(|oy| (0..out_w).map(move |ox| (oy, ox))) {
                    let row = (oy * g.stride.0 + ty).checked_sub(g.pad.h).filter(|&r| r < g.h);
                    let col = (ox * g.stride.1 + tx).checked_sub(g.pad.w).filter(|&c| c < g.w);
                    if let (Some(row), Some(col)) = (row, col) {
                        meets[(o * out_h + oy) * out_w + ox] = true;
                        y[(o * out_h + oy) * out_w + ox] += weight * x[(i * g.h + row) * g.w + col];
                    }
                }
            }
        }
    }
    (y, meets)
}

/// `element` and `pack` tell the same; what is packed unpacks.
pub(crate) fn check_packing(packing: &Packing) {
    let marks: Vec<u64> = (1..=packing.elements() as u64).collect();
    let packed = packing.pack(&marks);
    assert_eq!(packed.len(), packing.ciphertexts());
    let mut held = BTreeSet::new();
    for (ct, slots) in packed.iter().enumerate() {
        assert_eq!(slots.len(), packing.ring());
        for (slot, &mark) in slots.iter().enumerate() {
            let element = packing.element(ct, slot);
            assert_eq!(element.map_or(0, |e| e as u64 + 1), mark, "{packing}: ciphertext {ct}, slot {slot}");
            held.extend(element);
        }
    }
    let unpacked = packing.unpack(&packed);
    for (element, &mark) in unpacked.iter().enumerate() {
        assert_eq!(mark, if held.contains(&element) { element as u64 + 1 } else { 0 });
    }
}

/// Packs `x`, runs the kernel, unpacks; verifies the segment on the way.
fn execute(kernel: &Kernel, x: &[i64], weights: &Tensor<i8>) -> (Vec<i64>, Segment) {
    check_packing(kernel.input());
    check_packing(kernel.output());
    let ring = kernel.input().ring();
    let segment = kernel.emit("layer");
    verify(&segment, u32::try_from(ring).unwrap()).unwrap();
    let residue = |v: i64| v.rem_euclid(PRIME.cast_signed()).cast_unsigned();
    let residues: Vec<u64> = x.iter().map(|&v| residue(v)).collect();
    let signed = |ct: Vec<u64>| -> Vec<i64> { ct.into_iter().map(u64::cast_signed).collect() };
    let inputs: Vec<_> = kernel.pack(&residues, PRIME).into_iter().map(signed).collect();
    assert_eq!(inputs.len(), segment.inputs as usize);
    let plains = kernel.plains(weights, PRIME).unwrap();
    let mut slots = vec![0; ring];
    for id in 0..segment.plains {
        plains.fill(PlainId(id), &mut slots);
        assert!(slots.iter().any(|&s| s != 0), "plaintext {id} is zero by declaration");
    }
    let outputs: Vec<Vec<u64>> = run(&segment, &plains, ring, inputs)
        .into_iter()
        .map(|ct| ct.into_iter().map(residue).collect())
        .collect();
    assert_eq!(outputs.len(), kernel.output().ciphertexts());
    let centred = |r: u64| r.cast_signed() - if r > PRIME / 2 { PRIME.cast_signed() } else { 0 };
    (kernel.unpack(outputs, PRIME).into_iter().map(centred).collect(), segment)
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) geometry: ConvGeometry,
    pub(crate) ring: usize,
    pub(crate) seed: u64,
}

pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let side = || prop_oneof![1..=4_usize, 5..=12_usize];
    let channels = (1..=20_usize, 1..=20_usize, 1..=5_usize);
    let strides = prop_oneof![Just((1, 1)), (1..=3_usize, 1..=3_usize)];
    let maps = (side(), side(), (1..=5_usize, 1..=5_usize), strides);
    let pads = (prop_oneof![Just(None), (0..=3_usize, 0..=3_usize).prop_map(Some)], 6..=10_u32);
    (channels, maps, pads, 0..5_usize, 0..4_usize, any::<u64>()).prop_map(
        |((a, b, g), (h, w, kernel, stride), (pad, log), grouping, support, seed)| {
            let same = Pad { h: kernel.0 / 2, w: kernel.1 / 2 };
            let pad = pad.map_or(same, |(h, w)| Pad { h, w });
            let (small_a, small_b) = (a.div_ceil(5), b.div_ceil(5));
            let (c_in, c_out, groups) = match grouping {
                0 | 1 => (a, b, Groups::Dense),
                2 => (g * small_a, g * small_b, Groups::Contiguous(g)),
                3 => (g * small_a, g * small_b, Groups::Striped(g)),
                _ => (a, a, Groups::Contiguous(a)),
            };
            let support = [Support::Full, Support::Full, Support::Cross, Support::Strips][support];
            let kernel = (kernel.0.min(h + 2 * pad.h), kernel.1.min(w + 2 * pad.w));
            let geometry = ConvGeometry { c_in, c_out, h, w, kernel, stride, pad, groups, support };
            Case { geometry, ring: 1 << log, seed }
        },
    )
}

/// How often each regime occurred.
#[derive(Default)]
pub(crate) struct Coverage(BTreeMap<&'static str, usize>);

impl Coverage {
    pub(crate) fn note(&mut self, regime: &'static str, occurs: bool) {
        *self.0.entry(regime).or_default() += usize::from(occurs);
    }

    pub(crate) fn require(&self, least: usize) {
        for (regime, &times) in &self.0 {
            assert!(times >= least, "{regime}: only {times} cases; all: {:?}", self.0);
        }
    }
}

fn image(packing: &Packing) -> &Image {
    match packing {
        Packing::Image(image) => image,
        Packing::Features(_) | Packing::Coefficients(_) => unreachable!("convolutions pack images"),
    }
}

/// The external rotations of a dense convolution, by section 3 of the cost model.
fn dense_external(g: &ConvGeometry, kernel: &Kernel) -> u64 {
    let capacity = image(kernel.input()).grid.blocks();
    let meet = capacity.min(g.c_in.next_power_of_two());
    let diagonals = meet.min(g.c_out.next_power_of_two());
    let outputs = g.c_out.div_ceil(capacity);
    outputs as u64 * (diagonals as u64 - 1 + u64::from((meet / diagonals).ilog2()))
}

fn note_conv(coverage: &mut Coverage, case: &Case, kernel: &Kernel, segment: &Segment) {
    let (input, output) = (image(kernel.input()), image(kernel.output()));
    let tiles = input.grid.tiles;
    let (counts, g) = (count(segment), &case.geometry);
    let swaps = |i: &&Inst| matches!(i, Inst::Automorphism { step: Step::SwapRows, .. });
    let dense = g.groups == Groups::Dense;
    let external = counts.external > 0;
    let taps = g.kernel.0 * g.kernel.1;
    coverage.note("tiles", tiles.is_some());
    coverage.note("several tile pairs", input.grid.pairs() > 1);
    coverage.note("halo", tiles.is_some_and(|t| t.lead > 0 && t.trail > 0));
    coverage.note("an odd number of tiles", tiles.is_some_and(|t| t.count % 2 == 1));
    coverage.note("tiled phases", tiles.is_some() && input.phases.len() > 1);
    coverage.note("phases", input.phases.len() > 1);
    coverage.note("unread phases", input.phases.len() < g.stride.0 * g.stride.1);
    coverage.note("replication", input.spread.period < input.spread.places);
    coverage.note("swap", segment.insts.iter().any(|i| swaps(&i)));
    let blocks = input.grid.blocks();
    let folds = dense && tiles.is_none() && g.c_out.next_power_of_two() < blocks.min(g.c_in);
    coverage.note("fold within a row", folds && g.c_in.next_power_of_two() < blocks);
    coverage.note("fold over both rows", folds && g.c_in.next_power_of_two() >= blocks);
    coverage.note("several inputs", input.parts() > 1 && tiles.is_none());
    coverage.note("several outputs", output.parts() > 1 && tiles.is_none());
    coverage.note("free of external rotations though several blocks meet", !external && g.c_in > 1);
    coverage.note("both kinds", external && counts.internal > 0);
    coverage.note("grouped", g.groups.count() > 1);
    coverage.note("strips", g.support == Support::Strips && taps > 1);
    coverage.note("cross", g.support == Support::Cross && g.kernel.0.min(g.kernel.1) > 2);
    coverage.note("output larger than input", g.out_size().0 > g.h);
    coverage
        .note("coinciding taps", g.stride == (1, 1) && g.support == Support::Full && taps_coincide(g, input));
}

/// Whether two taps of a convolution of stride 1 that both meet the image have one step.
fn taps_coincide(g: &ConvGeometry, input: &Image) -> bool {
    let axis = |kernel: usize, pad: usize, size: usize, out: usize| -> Vec<i64> {
        let shift = |t: usize| t.cast_signed() as i64 - pad.cast_signed() as i64;
        let meets = |s: &i64| (0..out as i64).any(|o| (0..size as i64).contains(&(o + s)));
        (0..kernel).map(shift).filter(meets).collect()
    };
    let (out_h, out_w) = g.out_size();
    let rows = axis(g.kernel.0, g.pad.h, g.h, out_h);
    let columns = axis(g.kernel.1, g.pad.w, g.w, out_w);
    let pitch = input.grid.pitch as i64;
    let steps: BTreeSet<i64> = rows.iter().flat_map(|r| columns.iter().map(move |c| r * pitch + c)).collect();
    steps.len() < rows.len() * columns.len()
}

/// Counts and order of instructions that hold for output rotation.
fn check_output_rotation(case: &Case, kernel: &Kernel, segment: &Segment) {
    let (counts, g) = (count(segment), &case.geometry);
    let tiled = image(kernel.input()).grid.tiles.is_some();
    if tiled {
        assert_eq!(counts.external, 0);
    } else if g.groups == Groups::Dense {
        // With some blocks empty, a last output of few channels may have diagonals without inputs.
        let bound = dense_external(g, kernel);
        assert!(counts.external <= bound);
        if g.c_in.is_power_of_two() || g.c_in >= image(kernel.input()).grid.blocks() {
            assert_eq!(counts.external, bound);
        }
    }
    assert!(counts.internal <= u64::from(segment.inputs) * (g.kernel.0 * g.kernel.1) as u64);
    let mut internal_sources = BTreeSet::new();
    for inst in &segment.insts {
        if let Inst::Automorphism { src, step } = inst {
            let tap = src.0 < segment.inputs;
            let kind = if tap { RotationKind::Internal } else { RotationKind::External };
            assert_eq!(segment.geometry.kind(*step), kind, "{step:?} of {src}");
            internal_sources.extend(tap.then_some(*src));
        }
    }
    assert_eq!(counts.hoisted_groups, internal_sources.len() as u64 + counts.external);
}

/// The convolution in a kernel of one.
fn conv(kernel: &Kernel) -> &Conv {
    match kernel {
        Kernel::Conv(conv) | Kernel::Features(conv) => conv,
        Kernel::Linear(_) | Kernel::Coefficients(_) => unreachable!("no convolution in slots"),
    }
}

/// The closed counts are those of the instructions.
fn check_tally(kernel: &Kernel, segment: &Segment) {
    let (tally, counts) = (conv(kernel).cost().unwrap(), count(segment));
    let choice = conv(kernel).choice();
    let closed = [tally.internal, tally.external, tally.plain_mults, tally.adds];
    assert_eq!(closed, [counts.internal, counts.external, counts.plain_mults, counts.adds], "{choice:?}");
    let closed = [tally.ciphertexts_in, tally.ciphertexts_out];
    assert_eq!(closed, [counts.ciphertexts_in, counts.ciphertexts_out], "{choice:?}");
    let mut of_inputs = 0;
    let mut sources: BTreeSet<u32> = (0..segment.inputs).collect();
    for (inst, value) in segment.insts.iter().zip(segment.inputs..) {
        if let Inst::Automorphism { src, step } = inst {
            of_inputs += u64::from(sources.contains(&src.0));
            if src.0 < segment.inputs && *step == Step::SwapRows {
                sources.insert(value);
            }
        }
    }
    assert_eq!(of_inputs, tally.of_inputs, "{choice:?}");
    let keys: BTreeSet<Step> = segment.steps().collect();
    assert_eq!(keys.len() as u64, tally.galois_keys, "{choice:?}");
    assert_eq!(counts.plain_mults, u64::from(segment.plains));
}

/// Some choice, which may not fit.
fn any_choice(seed: u64) -> Choice {
    let mut rest = seed;
    let mut below = |n: u64| {
        let value = rest % n;
        rest /= n;
        usize::try_from(value).unwrap()
    };
    let fragments = [1, 1, 1, 2, 2, 3][below(6)];
    let blocks = [Blocks::Tight, Blocks::Spectrum, Blocks::PowerOfTwo][below(5).min(2)];
    let lanes = if blocks == Blocks::Tight { 1 + below(12) } else { 1 << below(4) };
    let period = if blocks == Blocks::Tight { 1 } else { 1 << below(5) };
    let diagonals = 1.max(period >> below(4));
    let baby_diagonals = 1.max(diagonals >> below(5));
    let mut operand = || if below(2) == 0 { Operand::Inputs } else { Operand::Sums };
    Choice {
        arrangement: Arrangement { fragments, blocks, lanes, period, diagonals },
        split: Split { baby_diagonals, rows: operand(), columns: operand() },
    }
}

fn note_choice(coverage: &mut Coverage, case: &Case, choice: Choice, segment: &Segment) {
    let Choice { arrangement: a, split: s } = choice;
    let g = &case.geometry;
    let baby = s.baby_diagonals > 1;
    let rows = s.rows == Operand::Sums && g.kernel.0 > 1;
    let columns = s.columns == Operand::Sums && g.kernel.1 > 1;
    let swapped = segment.insts.iter().any(
        |inst| matches!(inst, Inst::Automorphism { src, step: Step::SwapRows } if src.0 < segment.inputs),
    );
    coverage.note("choice: baby diagonals", baby && s.baby_diagonals < a.diagonals);
    coverage.note("choice: all diagonals on inputs", baby && s.baby_diagonals == a.diagonals);
    coverage.note("choice: inputs exchange rows", swapped && baby);
    coverage.note("choice: rows on sums", rows && !columns);
    coverage.note("choice: columns on sums", columns && !rows);
    coverage.note("choice: diagonals and taps on sums", rows && columns && a.diagonals > s.baby_diagonals);
    coverage.note("choice: combined baby steps", baby && !rows && !columns && g.kernel != (1, 1));
    coverage.note("choice: folds", a.diagonals < a.period);
    coverage.note("choice: folds in several segments", a.diagonals < a.period && a.lanes * a.period < 16);
    coverage.note("choice: several lanes", a.lanes > 1 && g.groups.count() > 1);
    coverage.note("choice: lanes of several blocks", a.lanes > 1 && g.groups.count() > 1 && a.period > 1);
    coverage.note("choice: more groups than lanes", g.groups.count() > a.lanes);
    coverage.note("choice: tight blocks", a.blocks == Blocks::Tight && !(g.h * g.w).is_power_of_two());
    coverage.note("choice: fragments", a.fragments > 1 && g.kernel != (1, 1));
    coverage.note("choice: fragments with stride", a.fragments > 1 && g.stride != (1, 1));
    coverage.note("choice: cross on sums", g.support == Support::Cross && rows);
    coverage.note("choice: strips on sums", g.support == Support::Strips && rows && columns);
}

/// Runs the kernel that the literature counts, the best one and two of any kind.
fn check_case(case: &Case, coverage: &mut Coverage) -> Result<(), KernelError> {
    let g = &case.geometry;
    let columns = g.c_in / g.groups.count();
    let shape = Shape::of(&[g.c_out, columns, g.kernel.0, g.kernel.1]);
    let weights = Tensor { data: small_numbers(case.seed, shape.elements()), shape };
    let x: Vec<i64> = small_numbers(!case.seed, g.c_in * g.h * g.w).into_iter().map(i64::from).collect();
    let (expected, meets) = convolve(g, &x, &weights.data);
    let check = |kernel: &Kernel| -> Segment {
        let (found, segment) = execute(kernel, &x, &weights);
        assert_eq!(found, expected, "{:?}", conv(kernel).choice());
        check_tally(kernel, &segment);
        segment
    };
    let idle_row = || meets.chunks(g.out_size().1).any(|row| !row.contains(&true));
    match Kernel::output_rotation(g, case.ring) {
        Ok(kernel) => {
            let segment = check(&kernel);
            check_output_rotation(case, &kernel, &segment);
            note_conv(coverage, case, &kernel, &segment);
        }
        Err(KernelError::NoTerm(_)) => assert!(idle_row()),
        Err(other) => return Err(other),
    }
    let mut seed = case.seed;
    for _ in 0..4 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let choice = any_choice(seed >> 8);
        match Kernel::conv_as(g, case.ring, choice) {
            Ok(kernel) => note_choice(coverage, case, choice, &check(&kernel)),
            Err(KernelError::NoTerm(_)) if choice.arrangement.fragments > 1 => {
                assert!(meets.contains(&false));
            }
            Err(KernelError::NoTerm(_)) => assert!(idle_row()),
            Err(KernelError::Size { .. } | KernelError::TileTooLarge { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    let kernel = Kernel::conv(g, case.ring)?;
    check(&kernel);
    Ok(())
}

#[test]
fn convolutions_equal_their_definition() {
    let coverage = RefCell::new(Coverage::default());
    let refused = RefCell::new(0_usize);
    let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new_with_rng(config.clone(), deterministic(&config)).run(&cases(), |case| {
        match check_case(&case, &mut coverage.borrow_mut()) {
            Ok(()) => {}
            Err(KernelError::TileTooLarge { rows, width, half }) => {
                *refused.borrow_mut() += 1;
                prop_assert!(rows * width > half && half == case.ring / 2);
            }
            Err(KernelError::NoTerm(_)) => *refused.borrow_mut() += 1,
            Err(other) => return Err(TestCaseError::fail(format!("refused: {other}"))),
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    coverage.borrow().require(10);
    assert!(*refused.borrow() < 300, "{} cases were refused", refused.borrow());
}

pub(crate) fn deterministic(config: &Config) -> proptest::test_runner::TestRng {
    proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm)
}

#[test]
fn linear_layers_equal_their_definition() {
    let coverage = RefCell::new(Coverage::default());
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let sizes = (1..=200_usize, prop_oneof![1..=8_usize, 9..=200_usize], 6..=10_u32, any::<u64>());
    let outcome = TestRunner::new_with_rng(config.clone(), deterministic(&config)).run(&sizes, |case| {
        let (inputs, outputs, log, seed) = case;
        let ring = 1 << log;
        let kernel = Kernel::hybrid(inputs, outputs, ring).unwrap();
        let weights =
            Tensor { shape: Shape::of(&[outputs, inputs]), data: small_numbers(seed, inputs * outputs) };
        let x: Vec<i64> = small_numbers(!seed, inputs).into_iter().map(i64::from).collect();
        let row = |row: &[i8]| row.iter().zip(&x).map(|(w, x)| i64::from(*w) * x).sum::<i64>();
        let expected: Vec<i64> = weights.data.chunks(inputs).map(row).collect();
        let (found, segment) = execute(&kernel, &x, &weights);
        prop_assert_eq!(&found, &expected);

        let counts = count(&segment);
        let period = inputs.next_power_of_two().min(ring / 2);
        let diagonals = (period * outputs.next_power_of_two().min(ring)).div_ceil(ring);
        prop_assert_eq!(counts.internal, 0);
        if outputs <= ring {
            let folds = u64::from((period / diagonals).ilog2());
            prop_assert_eq!(counts.external, diagonals as u64 - 1 + folds);
            prop_assert_eq!(counts.plain_mults, diagonals as u64 * u64::from(segment.inputs));
        }
        let coverage = &mut coverage.borrow_mut();
        for candidate in Kernel::linear_candidates(inputs, outputs, ring).unwrap().iter().step_by(3) {
            let kernel = Kernel::linear_as(inputs, outputs, ring, candidate.choice).unwrap();
            let (found, segment) = execute(&kernel, &x, &weights);
            prop_assert_eq!(&found, &expected);
            check_tally(&kernel, &segment);
            let baby = candidate.choice.split.baby_diagonals;
            coverage.note("baby steps", baby > 1 && baby < candidate.choice.arrangement.diagonals);
        }
        let best = count(&Kernel::linear(inputs, outputs, ring).unwrap().emit("layer"));
        prop_assert!(best.rotations() <= counts.rotations());
        coverage.note("one diagonal", diagonals == 1);
        coverage.note("several diagonals and a fold", diagonals > 1 && diagonals < period);
        coverage.note("several inputs", segment.inputs > 1);
        coverage.note("several outputs", segment.outputs.len() > 1);
        coverage.note("ragged sizes", !inputs.is_power_of_two() && !outputs.is_power_of_two());
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    coverage.borrow().require(10);
}
