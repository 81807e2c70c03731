//! Maxima over windows and the position of the greatest value.

use super::harness::{joined, modulus, other, outcome, residue};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use stria::channel::InMemory;
use stria::mpc::ot::OtSetup;
use stria::mpc::{Function, MpcError, Role, Step};

fn shares(t: u64, values: &[i64], seed: u64) -> [Vec<u64>; 2] {
    let mut stream = ChaCha20Rng::seed_from_u64(seed);
    let client: Vec<u64> = values.iter().map(|_| stream.next_u64() % t).collect();
    let server = values.iter().zip(&client).map(|(&x, &a)| other(t, x, a)).collect();
    [client, server]
}

fn values(n: usize, reach: i64, seed: u64) -> Vec<i64> {
    let mut stream = ChaCha20Rng::seed_from_u64(seed);
    let span = (2 * reach + 1).cast_unsigned();
    (0..n).map(|_| (stream.next_u64() % span).cast_signed() - reach).collect()
}

#[test]
fn maxima_of_ragged_windows() {
    for t in [97, 786_433, 1 << 20] {
        let modulus = modulus(t);
        let reach = modulus.limit().cast_signed() / 2;
        let x = values(700, reach, t);
        let window = |i: usize| (0..=i % 9).map(|j| (i * 31 + j * j * 7) % x.len()).collect();
        let windows: Vec<Vec<usize>> = (0..500).map(window).collect();
        let function = Function::Max { modulus, windows: windows.clone().into() };
        let [client, server] = shares(t, &x, 5);
        let outcome = outcome(&function, [&client, &server], 2);
        let found = joined(t, &outcome.client, &outcome.server);
        for (window, found) in windows.iter().zip(found) {
            assert_eq!(Some(found), window.iter().map(|&i| x[i]).max(), "{window:?} modulo {t}");
        }
    }
}

#[test]
fn positions_of_the_greatest_with_ties_to_the_lowest() {
    let t = 1_032_193;
    let modulus = modulus(t);
    for n in [1, 2, 3, 5, 10, 64, 100, 129] {
        for reach in [1, 3, 200_000] {
            let x = values(n, reach, n as u64);
            let [client, server] = shares(t, &x, 9);
            let outcome = outcome(&Function::ArgMax { modulus }, [&client, &server], 4);
            let greatest = x.iter().max().unwrap();
            let wanted = x.iter().position(|v| v == greatest).unwrap();
            assert_eq!(outcome.client, [wanted as u64], "{x:?}");
            assert!(outcome.server.is_empty());
        }
    }
}

#[test]
fn windows_without_operands_are_refused() {
    let modulus = modulus(97);
    for (window, found) in [(vec![], 0), (vec![0, 3, 1], 3)] {
        let step = Step {
            id: 2,
            values: 3,
            function: Function::Max { modulus, windows: vec![vec![0, 1], window].into() },
        };
        let (mut ots, mut server_ots) = OtSetup::insecure_pair(1);
        let (mut end, mut server_end) = InMemory::pair();
        let material = std::thread::scope(|scope| {
            scope.spawn(|| step.prepare(Role::Server, &mut server_ots, &mut server_end).unwrap());
            step.prepare(Role::Client, &mut ots, &mut end).unwrap()
        });
        let result = step.run(Role::Client, &mut end, material, &[0; 3]);
        assert_eq!(result, Err(MpcError::Window { step: 2, window: 1, found }));
    }
}

/// Every two and every three values that small moduli can compare, under all shares.
#[test]
fn maxima_are_exact_for_all_values_and_all_shares() {
    for (t, size) in
        [(3_u64, 2_usize), (7, 2), (11, 2), (13, 2), (8, 2), (16, 2), (5, 3), (7, 3), (4, 3), (8, 3)]
    {
        let modulus = modulus(t);
        let limit = modulus.limit().cast_signed();
        // The least and the greatest residue, as integers.
        let least = -(t / 2).cast_signed();
        let values: Vec<i64> = (least..least + t.cast_signed()).collect();
        let tuples = |of: &[i64]| -> Vec<Vec<i64>> {
            (0..size).fold(vec![Vec::new()], |tuples, _| {
                let longer =
                    |tuple: &Vec<i64>| of.iter().map(|&v| [tuple.clone(), vec![v]].concat()).collect();
                tuples.iter().flat_map(|tuple| -> Vec<Vec<i64>> { longer(tuple) }).collect()
            })
        };
        let apart = |x: &[i64]| x.iter().max().unwrap() - x.iter().min().unwrap();
        let operands: Vec<Vec<i64>> = tuples(&values).into_iter().filter(|x| apart(x) <= limit).collect();
        let masks = tuples(&values);
        let (mut client, mut server, mut windows, mut expected) = (vec![], vec![], vec![], vec![]);
        for x in &operands {
            for mask in &masks {
                windows.push((client.len()..client.len() + size).collect());
                expected.push(*x.iter().max().unwrap());
                for (&x, &mask) in x.iter().zip(mask) {
                    let mask = residue(t, mask);
                    client.push(mask);
                    server.push(other(t, x, mask));
                }
            }
        }
        let windows: Vec<Vec<usize>> = windows;
        let function = Function::Max { modulus, windows: windows.into() };
        let outcome = outcome(&function, [&client, &server], 3);
        assert_eq!(joined(t, &outcome.client, &outcome.server), expected, "{size} modulo {t}");
        assert!(operands.len() > 2 && (limit == 0 || operands.iter().any(|x| apart(x) == limit)));
    }
}

/// The position of the greatest of every two, and of every three, that small moduli can compare, under all shares.
#[test]
fn positions_are_exact_for_all_values_and_all_shares() {
    for (t, size, reach) in [(7_u64, 2_u32, 2_i64), (8, 2, 3), (5, 3, 1), (4, 3, 1)] {
        let modulus = modulus(t);
        let limit = modulus.limit().cast_signed();
        let span = (2 * reach + 1).cast_unsigned();
        for code in 0..span.pow(size) {
            let x: Vec<i64> = (0..size).map(|i| (code / span.pow(i) % span).cast_signed() - reach).collect();
            if x.iter().max().unwrap() - x.iter().min().unwrap() > limit {
                continue;
            }
            let greatest = x.iter().max().unwrap();
            let first = x.iter().position(|v| v == greatest).unwrap() as u64;
            for mask in 0..t.pow(size) {
                let client: Vec<u64> = (0..size).map(|i| mask / t.pow(i) % t).collect();
                let server: Vec<u64> = x.iter().zip(&client).map(|(&x, &a)| other(t, x, a)).collect();
                let outcome = outcome(&Function::ArgMax { modulus }, [&client, &server], mask);
                assert_eq!(outcome.client, [first], "{x:?} as {client:?} modulo {t}");
            }
        }
    }
}
