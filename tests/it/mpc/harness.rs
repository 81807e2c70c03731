//! Both parties of a step, each in its thread, over an in-memory channel.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use stria::channel::{Channel, InMemory, Traffic};
use stria::mpc::ot::OtSetup;
use stria::mpc::{Function, Modulus, MpcError, Role, Step};

/// What both parties of a step have afterwards.
pub(super) struct Outcome {
    pub(super) client: Vec<u64>,
    pub(super) server: Vec<u64>,
    /// While the transfers were made, then while the step ran; seen from the client.
    pub(super) traffic: [Traffic; 2],
    /// Transfers that were made.
    pub(super) transfers: u64,
}

/// Runs `function` on shares, with dealt transfers.
pub(super) fn outcome(function: &Function, [client, server]: [&[u64]; 2], seed: u64) -> Outcome {
    let step = Step { id: 7, values: client.len(), function: function.clone() };
    let (client_ots, server_ots) = OtSetup::insecure_pair(seed);
    let (client_end, server_end) = InMemory::pair();
    let step = &step;
    std::thread::scope(|scope| {
        let server = scope.spawn(move || party(step, Role::Server, server_ots, server_end, server));
        let (client, traffic, transfers) = party(step, Role::Client, client_ots, client_end, client).unwrap();
        let (server, _, also) = server.join().unwrap().unwrap();
        assert_eq!(transfers, also);
        Outcome { client, server, traffic, transfers }
    })
}

fn party(
    step: &Step,
    role: Role,
    mut ots: OtSetup,
    mut channel: InMemory,
    share: &[u64],
) -> Result<(Vec<u64>, [Traffic; 2], u64), MpcError> {
    let material = step.prepare(role, &mut ots, &mut channel)?;
    let (before, transfers) = (channel.traffic(), ots.made());
    let result = step.run(role, &mut channel, material, share)?;
    let after = channel.traffic();
    let during = Traffic {
        sent: after.sent - before.sent,
        received: after.received - before.received,
        rounds: after.rounds - before.rounds,
    };
    Ok((result, [before, during], transfers))
}

/// The signed values of two vectors of shares.
pub(super) fn joined(t: u64, client: &[u64], server: &[u64]) -> Vec<i64> {
    client.iter().zip(server).map(|(&a, &b)| signed(t, (a + b) % t)).collect()
}

pub(super) fn signed(t: u64, v: u64) -> i64 {
    if v >= t.div_ceil(2) { v.cast_signed() - t.cast_signed() } else { v.cast_signed() }
}

pub(super) fn residue(t: u64, x: i64) -> u64 {
    x.rem_euclid(t.cast_signed()).cast_unsigned()
}

/// The server's share that makes `x` of the client's `a`.
pub(super) fn other(t: u64, x: i64, a: u64) -> u64 {
    (residue(t, x) + t - a) % t
}

pub(super) fn modulus(t: u64) -> Modulus {
    Modulus::new(t).unwrap()
}

/// The result of `function` on every `x` with every share `a`, as signed values modulo `to`.
pub(super) fn of_pairs(function: &Function, from: u64, to: u64, pairs: &[(i64, u64)]) -> Vec<i64> {
    let client: Vec<u64> = pairs.iter().map(|&(_, a)| a).collect();
    let server: Vec<u64> = pairs.iter().map(|&(x, a)| other(from, x, a)).collect();
    let outcome = outcome(function, [&client, &server], 1);
    joined(to, &outcome.client, &outcome.server)
}

/// Every value of `range` with every share.
pub(super) fn all_pairs(t: u64, range: (i64, i64)) -> Vec<(i64, u64)> {
    (range.0..=range.1).flat_map(|x| (0..t).map(move |a| (x, a))).collect()
}

/// Values of `range`: `edges` and their neighbours, the ends, and random ones; with random shares and with
/// those at the edges of the modulus.
pub(super) fn some_pairs(t: u64, range: (i64, i64), edges: &[i64], random: usize) -> Vec<(i64, u64)> {
    let mut stream = ChaCha20Rng::seed_from_u64(t);
    let mut draw = |n: u64| stream.next_u64() % n;
    let near = |v: &i64| [v - 2, v - 1, *v, v + 1, v + 2];
    let ends = [range.0, range.1, 0];
    let mut values: Vec<i64> = edges.iter().chain(&ends).flat_map(near).collect();
    let span = range.1.abs_diff(range.0) + 1;
    values.extend((0..random).map(|_| range.0 + draw(span).cast_signed()));
    values.retain(|x| (range.0..=range.1).contains(x));
    let half = t / 2;
    let shares = [0, 1, 2, half - 1, half, half + 1, half + 2, t - 2, t - 1];
    let mut pairs = Vec::new();
    for x in values {
        pairs.extend(shares.map(|a| (x, a)));
        pairs.extend(shares.map(|b| (x, other(t, x, b))));
        pairs.extend((0..4).map(|_| (x, draw(t))));
    }
    pairs
}
