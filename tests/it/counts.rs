//! Rotation counts of published networks: the emitted instructions against the cost model's formulas.
//!
//! Where the circuit is cheaper than the formula, the fixture holds both numbers, and the reason is one
//! of two: taps of a 3x3 kernel on a 2x2 map share steps (7 distinct ones, not 9), or the last ciphertexts of
//! both sides leave a row of slots empty, so that some diagonals of the two would multiply by zeros.

use std::collections::BTreeMap;
use stria::circuit::{Counts, count, verify};
use stria::kernels::Kernel;
use stria::tensor::{ConvGeometry, Groups, Pad, Support};

const FIXTURE: &str = include_str!("../cases/counts.txt");
const RING: usize = 8192;

/// A row of the fixture.
struct Row {
    net: &'static str,
    layer: &'static str,
    kernel: Kernel,
    map: usize,
    channels: (usize, usize),
    /// `in out int ext mul` by the formulas.
    formula: [u64; 5],
    /// The same, as the circuit has it.
    circuit: [u64; 5],
}

fn rows() -> Vec<Row> {
    FIXTURE.lines().filter(|l| !l.starts_with('#')).map(row).collect()
}

fn row(line: &'static str) -> Row {
    let (shape, counts) = line.split_once(" | ").unwrap();
    let shape: Vec<&str> = shape.split(' ').collect();
    let size = |i: usize| shape[i].parse::<usize>().unwrap();
    let kernel = if shape[6] == "fc" {
        Kernel::hybrid(size(2), size(3), RING)
    } else {
        Kernel::output_rotation(
            &ConvGeometry {
                c_in: size(2),
                c_out: size(3),
                h: size(4),
                w: size(5),
                kernel: (size(6), size(6)),
                stride: (size(7), size(7)),
                pad: Pad { h: size(8), w: size(8) },
                groups: if size(9) == 1 { Groups::Dense } else { Groups::Contiguous(size(9)) },
                support: Support::Full,
            },
            RING,
        )
    };
    let mut formula = [0; 5];
    let mut words = counts.split(' ');
    for value in &mut formula {
        *value = words.next().unwrap().parse().unwrap();
    }
    let mut circuit = formula;
    for word in words {
        let (column, value) = word.trim_start_matches('!').split_once('=').unwrap();
        let column = ["in", "out", "int", "ext", "mul"].iter().position(|c| *c == column).unwrap();
        circuit[column] = value.parse().unwrap();
        assert!(circuit[column] < formula[column], "{line}");
    }
    let kernel = kernel.unwrap();
    Row {
        net: shape[0],
        layer: shape[1],
        kernel,
        map: size(4),
        channels: (size(2), size(3)),
        formula,
        circuit,
    }
}

/// `in out int ext mul` of every layer of `net`, sorted.
pub(crate) fn of_network(net: &str) -> Vec<[u64; 5]> {
    let mut layers: Vec<_> = rows().iter().filter(|r| r.net == net).map(|r| r.circuit).collect();
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
        let segment = row.kernel.emit(row.layer);
        verify(&segment, u32::try_from(RING).unwrap()).unwrap();
        let counts = columns(&count(&segment));
        if counts != row.circuit {
            wrong.push(format!("{} {}: {counts:?}, expected {:?}", row.net, row.layer, row.circuit));
        }
    }
    assert!(wrong.is_empty(), "in, out, int, ext, mul:\n{}", wrong.join("\n"));
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
