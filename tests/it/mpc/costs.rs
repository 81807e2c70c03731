//! What a step is said to cost is what passes over the channel.

use super::harness::{modulus, other, outcome};
use stria::graph::{Interval, Requant};
use stria::mpc::{BATCH, Cost, Function, Step};

fn functions() -> Vec<Function> {
    let mut functions = vec![
        Function::Less { bits: 1 },
        Function::Less { bits: 19 },
        Function::Relu { modulus: modulus(1_032_193) },
        Function::Relu { modulus: modulus(1 << 23) },
        Function::ArgMax { modulus: modulus(786_433) },
        Function::Max {
            modulus: modulus(786_433),
            windows: (0..90).map(|i| (i..i + 1 + i % 4).collect()).collect(),
        },
    ];
    let requants = [(0, 127), (-128, 127), (0, 1 << 40), (-(1 << 40), 100), (-(1 << 40), 1 << 40), (9, 20)];
    for (lo, hi) in requants {
        for shift in [0, 1, 9] {
            for reach in [500_000, 200_000, 300] {
                let requant = Requant { shift, lo, hi };
                let range = Interval { lo: -reach, hi: reach };
                for to in [1_032_193, 1 << 24] {
                    let (from, to) = (modulus(1_032_193), modulus(to));
                    functions.push(Function::Requant { from, to, requant, range });
                }
            }
        }
    }
    let (from, to) = (modulus(1_032_193), modulus(786_433));
    let requant = Requant { shift: 7, lo: 0, hi: 127 };
    functions.push(Function::Poly {
        from,
        to,
        coefficients: [3, 1, -7],
        requant,
        range: Interval { lo: -300, hi: 300 },
    });
    functions
}

#[test]
fn predicted_bytes_and_rounds_are_those_of_the_channel() {
    for function in functions() {
        let n = 100;
        let server = if matches!(function, Function::Less { .. }) { 0 } else { other(786_433, 1, 0) };
        let (client, server) = (vec![0; n], vec![server; n]);
        let cost = Step { id: 7, values: n, function: function.clone() }.cost().unwrap();
        let ran = outcome(&function, [&client, &server], 6);
        let [offline, online] = ran.traffic;
        let found = Cost {
            transfers: ran.transfers,
            offline_bytes: offline.sent + offline.received,
            offline_rounds: offline.rounds,
            online_bytes: online.sent + online.received,
            rounds: online.rounds,
        };
        assert_eq!(found, cost, "{function:?}");
    }
}

/// What one value costs of 65,536 that are worked on together.
fn each(function: Function) -> (f64, f64, u64) {
    let n = 1_u32 << 16;
    let cost = Step { id: 0, values: n as usize, function }.cost().unwrap();
    let each = |bytes: u64| (bytes as f64) / f64::from(n);
    (each(cost.offline_bytes), each(cost.online_bytes), cost.rounds)
}

#[test]
fn activations_stay_within_their_budgets() {
    for (t, most) in [(1_032_193, 32.0), (33_538_049, 36.0)] {
        let (offline, online, rounds) = each(Function::Relu { modulus: modulus(t) });
        assert!(offline + online <= 400.0 && online <= most && rounds <= 7, "{offline} {online} {rounds}");
    }
    for (t, shift) in [(1_032_193, 8), (33_538_049, 13)] {
        let limit = modulus(t).limit().cast_signed();
        let range = Interval { lo: -limit, hi: limit - (1 << (shift - 1)) };
        let requant = Requant { shift, lo: 0, hi: 127 };
        let (from, to) = (modulus(t), modulus(t));
        let (offline, online, rounds) = each(Function::Requant { from, to, requant, range });
        assert!(offline + online <= 800.0 && rounds <= 14, "{offline} {online} {rounds}");
    }
}

#[test]
fn batches_are_bounded_and_cover_all_values() {
    let step = Step { id: 0, values: 3 * BATCH + 5, function: Function::Relu { modulus: modulus(97) } };
    let lanes: Vec<usize> = step.batches().unwrap().iter().map(|batch| batch.lanes).collect();
    assert_eq!(lanes, [BATCH, BATCH, BATCH, 64]);
}
