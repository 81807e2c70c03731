//! Maxima over windows and the position of the greatest value.

use super::harness::{joined, modulus, other, outcome};
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
        let function = Function::Max { modulus, windows: windows.clone() };
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
        let step =
            Step { id: 2, values: 3, function: Function::Max { modulus, windows: vec![vec![0, 1], window] } };
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
