//! Shares of results and messages show nothing: their distribution is uniform whatever is computed.

use super::harness::{joined, modulus, other, outcome};
use stria::channel::{Channel, ChannelError, InMemory, Pulse, Tag, Traffic};
use stria::graph::{Interval, Requant};
use stria::mpc::ot::OtSetup;
use stria::mpc::{Function, Role, Step};

const LANES: usize = 1 << 14;

/// Steps on one vector: activations, the way to a short modulus and back to a longer one, maxima of ragged windows.
fn functions(t: u64) -> Vec<Function> {
    let modulus = modulus(t);
    let range = Interval { lo: -(t / 3).cast_signed(), hi: (t / 3).cast_signed() };
    let requant = Requant { shift: 2, lo: 0, hi: 7 };
    let carried = Requant { shift: 0, lo: range.lo, hi: range.hi };
    let to = |to| super::harness::modulus(to);
    let windows: Vec<Vec<usize>> = (0..LANES / 5).map(|i| (5 * i..5 * i + 2 + i % 4).collect()).collect();
    vec![
        Function::Relu { modulus },
        Function::Requant { from: modulus, to: modulus, requant, range },
        Function::Requant { from: modulus, to: to(16), requant, range },
        Function::Requant { from: modulus, to: to(4 * t.next_power_of_two()), requant: carried, range },
        Function::Max { modulus, windows: windows.into() },
    ]
}

/// The modulus of the result's shares.
fn modulus_of_result(function: &Function) -> u64 {
    match function {
        Function::Requant { to, .. } => to.value(),
        Function::Relu { modulus } | Function::Max { modulus, .. } => modulus.value(),
        Function::Less { .. } | Function::Poly { .. } | Function::ArgMax { .. } => {
            panic!("no vector of residues comes of {function:?}")
        }
    }
}

/// Chi-squared against uniform over `counts`, less its mean, in standard deviations.
fn deviation(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    let expected = total as f64 / counts.len() as f64;
    let chi: f64 = counts.iter().map(|&c| (c as f64 - expected).powi(2) / expected).sum();
    let freedom = counts.len() as f64 - 1.0;
    (chi - freedom) / (2.0 * freedom).sqrt()
}

#[test]
fn shares_of_results_are_uniform() {
    let t = 97;
    for function in functions(t) {
        for x in [-30, 0, 5, 30] {
            let client = vec![11; LANES];
            let server = vec![other(t, x, 11); LANES];
            let outcome = outcome(&function, [&client, &server], 13);
            let found = joined(modulus_of_result(&function), &outcome.client, &outcome.server);
            assert!(found.iter().all(|v| *v == found[0]));
            for share in [&outcome.client, &outcome.server] {
                let mut counts = vec![0; usize::try_from(modulus_of_result(&function)).unwrap()];
                share.iter().for_each(|&v| counts[usize::try_from(v).unwrap()] += 1);
                assert!(deviation(&counts) < 5.0, "{function:?} of {x}: {counts:?}");
            }
        }
    }
}

/// Keeps what its party sends.
struct Recording<'a> {
    inner: InMemory,
    sent: &'a mut Vec<Vec<u8>>,
}

impl Channel for Recording<'_> {
    fn send(&mut self, step: u32, tag: Tag, payload: &[u8]) -> Result<(), ChannelError> {
        self.sent.push(payload.to_vec());
        self.inner.send(step, tag, payload)
    }

    fn receive(&mut self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError> {
        self.inner.receive(step, tag, limit)
    }

    fn traffic(&self) -> Traffic {
        self.inner.traffic()
    }

    fn pulse(&self) -> Pulse {
        self.inner.pulse()
    }
}

/// What both parties send while the step runs, message by message.
fn messages(function: &Function, [client, server]: [&[u64]; 2], seed: u64) -> [Vec<Vec<u8>>; 2] {
    let step = Step { id: 1, values: client.len(), function: function.clone() };
    let (client_ots, server_ots) = OtSetup::insecure_pair(seed);
    let (client_end, server_end) = InMemory::pair();
    let mut sent = [Vec::new(), Vec::new()];
    let [sent_by_client, sent_by_server] = &mut sent;
    let party = |role, mut ots: OtSetup, inner, sent: &mut Vec<Vec<u8>>, share: &[u64]| {
        let mut channel = Recording { inner, sent };
        let material = step.prepare(role, &mut ots, &mut channel).unwrap();
        channel.sent.clear();
        step.run(role, &mut channel, material, share).unwrap();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| party(Role::Server, server_ots, server_end, sent_by_server, server));
        party(Role::Client, client_ots, client_end, sent_by_client, client);
    });
    sent
}

#[test]
fn every_message_is_uniform() {
    // Modulo a power of two all that is sent is uniform bits; modulo a prime a residue's bits are not, so
    // there the messages of two very different inputs are compared.
    let t = 1 << 12;
    for function in functions(t) {
        let (client, server) = (vec![0; LANES], vec![other(t, 77, 0); LANES]);
        for sent in messages(&function, [&client, &server], 21) {
            for (round, message) in sent.iter().enumerate() {
                let mut counts = vec![0; 256];
                message.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
                assert!(deviation(&counts) < 5.0, "{function:?}: message {round}");
            }
        }
    }
}

#[test]
fn messages_of_different_inputs_look_alike() {
    let t = 1_032_193;
    for function in functions(t) {
        let of = |a: u64, x: i64| messages(&function, [&[a; LANES], &[other(t, x, a); LANES]], 21);
        let (first, second) = (of(0, 0), of(t - 1, -300_000));
        for (first, second) in first.iter().flatten().zip(second.iter().flatten()) {
            assert_eq!(first.len(), second.len());
            let ones = |message: &[u8]| message.iter().map(|byte| f64::from(byte.count_ones())).sum::<f64>();
            // The transfers are the same in both runs; without them the messages would be far apart.
            let deviation = (4.0 * 2.0 * first.len() as f64).sqrt();
            assert!((ones(first) - ones(second)).abs() < 6.0 * deviation);
        }
    }
}

/// A label's messages are short: those of many runs are taken together, message by message. The last one is the
/// server's share of the position, uniform modulo a power of two.
#[test]
fn every_message_of_a_label_is_uniform() {
    let (t, n) = (1 << 12, 50);
    let function = Function::ArgMax { modulus: modulus(t) };
    for values in [vec![3_i64; n], (0..n).map(|i| i as i64 * 7 - 170).collect()] {
        let client = vec![5; n];
        let server: Vec<u64> = values.iter().map(|&x| other(t, x, 5)).collect();
        let mut counts: [Vec<Vec<u64>>; 2] = Default::default();
        let mut positions = vec![0; 64];
        for seed in 0..400 {
            let [by_client, mut by_server] = messages(&function, [&client, &server], seed);
            let share = by_server.pop().unwrap();
            positions[usize::try_from(u64::from_le_bytes(share.try_into().unwrap())).unwrap()] += 1;
            for (counts, sent) in counts.iter_mut().zip([by_client, by_server]) {
                counts.resize(sent.len(), vec![0; 256]);
                for (counts, message) in counts.iter_mut().zip(sent) {
                    message.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
                }
            }
        }
        assert!(counts.iter().all(|party| party.len() > 20));
        for (message, counts) in counts.iter().flatten().enumerate() {
            assert!(deviation(counts) < 5.0, "message {message} of {values:?}");
        }
        assert!(deviation(&positions) < 5.0, "{positions:?}");
    }
}
