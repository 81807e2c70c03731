//! Shares of results and messages show nothing: their distribution is uniform whatever is computed.

use super::harness::{modulus, other, outcome};
use stria::channel::{Channel, ChannelError, InMemory, Pulse, Tag, Traffic};
use stria::graph::{Interval, Requant};
use stria::mpc::ot::OtSetup;
use stria::mpc::{Function, Role, Step};

const LANES: usize = 1 << 14;

fn relu_and_clamp(t: u64) -> [Function; 2] {
    let range = Interval { lo: -(t / 3).cast_signed(), hi: (t / 3).cast_signed() };
    let requant = Requant { shift: 2, lo: 0, hi: 7 };
    [
        Function::Relu { modulus: modulus(t) },
        Function::Requant { from: modulus(t), to: modulus(t), requant, range },
    ]
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
    for function in relu_and_clamp(t) {
        for x in [-30, 0, 5, 30] {
            let client = vec![11; LANES];
            let server = vec![other(t, x, 11); LANES];
            let outcome = outcome(&function, [&client, &server], 13);
            for share in [&outcome.client, &outcome.server] {
                let mut counts = vec![0; 97];
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
fn messages(function: &Function, [client, server]: [&[u64]; 2]) -> [Vec<Vec<u8>>; 2] {
    let step = Step { id: 1, values: client.len(), function: function.clone() };
    let (client_ots, server_ots) = OtSetup::insecure_pair(21);
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
    for function in relu_and_clamp(t) {
        let (client, server) = (vec![0; LANES], vec![other(t, 77, 0); LANES]);
        for sent in messages(&function, [&client, &server]) {
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
    for function in relu_and_clamp(t) {
        let of = |a: u64, x: i64| messages(&function, [&[a; LANES], &[other(t, x, a); LANES]]);
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
