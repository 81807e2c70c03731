//! Rotation counts of published networks: the emitted instructions against the cost model's formulas.
//!
//! Where output rotation is cheaper than its formula, the fixture holds both numbers, and the reason is one
//! of two: taps of a 3x3 kernel on a 2x2 map share steps (7 distinct ones, not 9), or the last ciphertexts of
//! both sides leave a row of slots empty, so that some diagonals of the two would multiply by zeros. The
//! choice by rotation count is bounded by the formula of the unified split, layer by layer.

use std::collections::{BTreeMap, BTreeSet};
use stria::circuit::{Counts, count, verify};
use stria::kernels::Kernel;
use stria::tensor::{ConvGeometry, Groups, Pad, Support};

const FIXTURE: &str = include_str!("../cases/counts.txt");
const RING: usize = 8192;

/// A row of the fixture.
struct Row {
    net: &'static str,
    layer: &'static str,
    /// Output rotation, or hybrid diagonals.
    kernel: Kernel,
    /// The choice by rotation count.
    chosen: Kernel,
    /// Of a fully connected layer, that of one pixel.
    geometry: ConvGeometry,
    map: usize,
    channels: (usize, usize),
    /// `in out int ext mul` by the formulas.
    formula: [u64; 5],
    /// The same, as the circuit has it.
    circuit: [u64; 5],
    /// Rotations of the unified split by the formula.
    unified: u64,
    /// `in out int ext mul` of the choice by rotation count.
    best: [u64; 5],
}

fn rows() -> Vec<Row> {
    FIXTURE.lines().filter(|l| !l.starts_with('#')).map(row).collect()
}

fn row(line: &'static str) -> Row {
    let columns: Vec<&str> = line.split(" | ").collect();
    let [shape, counts, unified, best] = columns[..] else { panic!("{line}") };
    let shape: Vec<&str> = shape.split(' ').collect();
    let size = |i: usize| shape[i].parse::<usize>().unwrap();
    let connected = shape[6] == "fc";
    let kernel = if connected { 1 } else { size(6) };
    let geometry = ConvGeometry {
        c_in: size(2),
        c_out: size(3),
        h: size(4),
        w: size(5),
        kernel: (kernel, kernel),
        stride: (size(7), size(7)),
        pad: Pad { h: size(8), w: size(8) },
        groups: if size(9) == 1 { Groups::Dense } else { Groups::Contiguous(size(9)) },
        support: Support::Full,
    };
    let (kernel, chosen) = if connected {
        (Kernel::hybrid(size(2), size(3), RING), Kernel::linear(size(2), size(3), RING))
    } else {
        (Kernel::output_rotation(&geometry, RING), Kernel::conv(&geometry, RING))
    };
    let mut words = counts.split(' ');
    let formula = numbers(&mut words);
    let mut circuit = formula;
    for word in words {
        let (column, value) = word.trim_start_matches('!').split_once('=').unwrap();
        let column = ["in", "out", "int", "ext", "mul"].iter().position(|c| *c == column).unwrap();
        circuit[column] = value.parse().unwrap();
        assert!(circuit[column] < formula[column], "{line}");
    }
    Row {
        net: shape[0],
        layer: shape[1],
        kernel: kernel.unwrap(),
        chosen: chosen.unwrap(),
        geometry,
        map: size(4),
        channels: (size(2), size(3)),
        formula,
        circuit,
        unified: unified.parse().unwrap(),
        best: numbers(&mut best.split(' ')),
    }
}

fn numbers<'a>(words: &mut impl Iterator<Item = &'a str>) -> [u64; 5] {
    std::array::from_fn(|_| words.next().unwrap().parse().unwrap())
}

/// `in out int ext mul` of every layer of `net` as it is chosen, sorted.
pub(crate) fn of_network(net: &str) -> Vec<[u64; 5]> {
    let mut layers: Vec<_> = rows().iter().filter(|r| r.net == net).map(|r| r.best).collect();
    layers.sort_unstable();
    layers
}

pub(crate) fn columns(c: &Counts) -> [u64; 5] {
    [c.ciphertexts_in, c.ciphertexts_out, c.internal, c.external, c.plain_mults]
}

#[test]
fn layers_of_published_networks_cost_what_the_model_says() {
    let rows = rows();
    assert_eq!(rows.len(), 194);
    let mut wrong = Vec::new();
    for row in &rows {
        for (kernel, expected) in [(&row.kernel, row.circuit), (&row.chosen, row.best)] {
            let segment = kernel.emit(row.layer);
            verify(&segment, u32::try_from(RING).unwrap()).unwrap();
            let counts = count(&segment);
            let found = columns(&counts);
            if found != expected {
                let name = kernel.name();
                wrong.push(format!("{} {} {name}: {found:?}, expected {expected:?}", row.net, row.layer));
            }
            if let Kernel::Conv(conv) | Kernel::Features(conv) = kernel {
                let t = conv.cost().unwrap();
                let [ciphertexts_in, ciphertexts_out, ..] = found;
                assert_eq!([t.ciphertexts_in, t.ciphertexts_out], [ciphertexts_in, ciphertexts_out]);
                let closed = [t.internal, t.external, t.plain_mults, t.adds];
                let emitted = [counts.internal, counts.external, counts.plain_mults, counts.adds];
                assert_eq!(closed, emitted, "{} {}", row.net, row.layer);
            }
        }
    }
    assert!(wrong.is_empty(), "in, out, int, ext, mul:\n{}", wrong.join("\n"));
}

/// Each layer has a candidate within the cost model's unified split. The choice also weighs Galois keys and
/// ciphertexts, and is within it in all: idle blocks, layouts without external rotations, fragments, shared steps and
/// maps as spectra take less.
#[test]
fn the_choice_by_rotation_count_is_within_the_unified_formula() {
    let mut totals: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for row in rows() {
        let [_, _, internal, external, mul] = row.best;
        if let Kernel::Conv(_) = row.chosen {
            let candidates = Kernel::candidates(&row.geometry, RING).unwrap();
            let fewest = candidates.iter().map(|c| c.tally.rotations()).min();
            assert!(fewest.unwrap() <= row.unified, "{} {}", row.net, row.layer);
        }
        assert!(mul <= row.formula[4], "{} {}", row.net, row.layer);
        if !row.layer.starts_with("fc") {
            let total = totals.entry(row.net).or_default();
            total[0] += row.unified;
            total[1] += internal + external;
        }
    }
    let expected = [
        ("MobileNetV2/IN", [3208, 1734]),
        ("ResNet-18/IN", [4112, 1274]),
        ("ResNet-20/C10", [633, 491]),
        ("ResNet-32/C10", [1065, 815]),
        ("ResNet-50/IN", [8718, 5872]),
        ("VGG-16/C10", [1484, 1208]),
    ];
    assert_eq!(totals, BTreeMap::from(expected));
}

/// A bottleneck block `striped 1x1, cross or strips, striped 1x1` of inner ratio 3/4 against a basic block of
/// two 3x3, at 16x16 and 256 channels: 8 ciphertexts of 32 blocks.
#[test]
fn a_stria_block_takes_at_most_19_percent_of_the_internal_rotations() {
    let layer = |c_in: usize, c_out: usize, kernel: usize, groups: Groups, support: Support| ConvGeometry {
        c_in,
        c_out,
        h: 16,
        w: 16,
        kernel: (kernel, kernel),
        stride: (1, 1),
        pad: Pad { h: kernel / 2, w: kernel / 2 },
        groups,
        support,
    };
    let stripes = Groups::Striped(32);
    let block = |support: Support| {
        [
            layer(256, 192, 1, stripes, Support::Full),
            layer(192, 192, 3, stripes, support),
            layer(192, 256, 1, stripes, Support::Full),
        ]
    };
    let output_rotation = |layers: &[ConvGeometry]| -> (u64, u64) {
        let counts: Vec<Counts> =
            layers.iter().map(|g| count(&Kernel::output_rotation(g, RING).unwrap().emit("layer"))).collect();
        (counts.iter().map(|c| c.internal).sum(), counts.iter().map(|c| c.external).sum())
    };
    let basic = [layer(256, 256, 3, Groups::Dense, Support::Full); 2];
    assert_eq!(output_rotation(&basic), (2 * 8 * 8, 2 * 8 * 31));
    assert_eq!(output_rotation(&block(Support::Cross)), (6 * 4, 0));
    assert_eq!(output_rotation(&block(Support::Strips)), (6 * 4, 0));

    // The best schedule: the taps of a dense layer alone take 2 rotations an input and 2 an output; strips
    // turn sums.
    let best = |layers: &[ConvGeometry]| -> (u64, u64) {
        let counts: Vec<Counts> =
            layers.iter().map(|g| count(&Kernel::conv(g, RING).unwrap().emit("layer"))).collect();
        (counts.iter().map(|c| c.internal).sum(), counts.iter().map(|c| c.external).sum())
    };
    let taps = [layer(256, 256, 3, stripes, Support::Full); 2];
    assert_eq!(best(&taps), (2 * 8 * 4, 0));
    assert_eq!(best(&block(Support::Strips)), (6 * 2, 0));
    assert_eq!(best(&block(Support::Cross)), (6 * 4, 0));
    for (block, basic) in [(24, 128), (12, 64)] {
        assert!(100 * block <= 19 * basic);
    }
    // Dense layers mix diagonals and taps in one rotation: in all, their best schedule takes 256 each.
    let (internal, external) = best(&basic);
    assert_eq!(internal + external, 2 * 256);
}

/// Every candidate of the smaller layers, not only the chosen one, costs what its closed counts say.
#[test]
fn closed_counts_of_candidates_are_those_of_the_instructions() {
    let mut seen = BTreeSet::new();
    for row in rows() {
        let Kernel::Conv(_) = row.chosen else { continue };
        if row.formula[4] > 1200 || !seen.insert((row.geometry.c_in, row.geometry.c_out, row.map)) {
            continue;
        }
        for candidate in Kernel::candidates(&row.geometry, RING).unwrap() {
            let segment = Kernel::conv_as(&row.geometry, RING, candidate.choice).unwrap().emit(row.layer);
            verify(&segment, u32::try_from(RING).unwrap()).unwrap();
            let counts = count(&segment);
            let t = candidate.tally;
            let closed = [t.ciphertexts_in, t.ciphertexts_out, t.internal, t.external, t.plain_mults, t.adds];
            let [ins, outs, internal, external, mults] = columns(&counts);
            let emitted = [ins, outs, internal, external, mults, counts.adds];
            assert_eq!(closed, emitted, "{} {}: {}", row.net, row.layer, candidate.choice);
        }
    }
    assert!(seen.len() > 15, "{}", seen.len());
}

/// Every departure from the formulas has one of the two reasons.
#[test]
fn the_circuit_departs_from_the_model_only_for_the_stated_reasons() {
    for row in rows().iter().filter(|r| r.circuit != r.formula) {
        let [_, _, int, _, mul] = row.formula;
        let name = format!("{} {}", row.net, row.layer);
        if row.map == 2 {
            // 7 of 9 steps are distinct, one of them is 0.
            assert_eq!(row.circuit[2..], [int / 8 * 6, row.formula[3], mul / 9 * 7], "{name}");
        } else {
            // The last ciphertext of either side fills at most one row of slots, so none of the
            // diagonals that exchange rows joins the two.
            let capacity = row.kernel.channel_capacity();
            let one_row = |channels: usize| (1..=capacity / 2).contains(&(channels % capacity));
            assert!(one_row(row.channels.0) && one_row(row.channels.1), "{name}");
            assert_eq!(row.circuit[..4], row.formula[..4], "{name}");
            assert_eq!(row.circuit[4], mul - capacity as u64 / 2, "{name}");
        }
    }
}

/// Totals of the convolutions as the cost model's table prints them.
#[test]
fn totals_of_networks_equal_the_published_table() {
    let mut totals: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for row in rows().iter().filter(|r| !r.layer.starts_with("fc")) {
        let total = totals.entry(row.net).or_default();
        for (sum, value) in total.iter_mut().zip(&row.formula[2..]) {
            *sum += value;
        }
    }
    let printed = |n: u64| {
        if n < 10_000 { n.to_string() } else { format!("{}.{}k", (n + 50) / 1000, (n + 50) / 100 % 10) }
    };
    let lines: Vec<String> = totals
        .into_iter()
        .map(|(net, [int, ext, mul])| format!("{net} {} {} {}", printed(int), printed(ext), printed(mul)))
        .collect();
    let table = [
        "MobileNetV2/IN 2751 9906 53.9k",
        "ResNet-18/IN 2036 4468 289.2k",
        "ResNet-20/C10 194 606 6552",
        "ResNet-32/C10 322 1038 11.2k",
        "ResNet-50/IN 1946 24.9k 651.6k",
        "VGG-16/C10 208 3900 48.7k",
    ];
    assert_eq!(lines, table);
}
