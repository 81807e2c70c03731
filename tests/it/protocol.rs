//! The hybrid mode: shares add up, a peer that does not keep to the protocol is named, nothing hangs.

use crate::random::small_ring;
use proptest::prelude::*;
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::compiled::Compiled;
use stria::graph::{IntLayer, IntWeights, evaluate};
use stria::layers::{PadChannels, Pool, PoolKind, Rounding, Shuffle, Subsample};
use stria::lower::galois_steps;
use stria::protocol::{
    Channel, ChannelError, Client, FRAME_BYTES, InMemory, NonLinearError, PartyError, RevealClient,
    RevealServer, Server, Service, Tag, Traffic, Uniform, local, run_in_process,
};
use stria::tensor::{Pad, Shape, Tensor};

const T: u64 = 786_433;

/// Splits `x` into two random shares.
fn split(x: &Tensor<u64>, uniform: &mut Uniform) -> [Tensor<u64>; 2] {
    let mask = Tensor { shape: x.shape.clone(), data: uniform.take(x.data.len()) };
    let rest = x.data.iter().zip(&mask.data).map(|(&v, &m)| (v + T - m) % T).collect();
    [Tensor { shape: x.shape.clone(), data: rest }, mask]
}

fn joined(a: &Tensor<u64>, b: &Tensor<u64>) -> Vec<u64> {
    a.data.iter().zip(&b.data).map(|(&a, &b)| (a + b) % T).collect()
}

/// A local layer on `[c, h, w]` operands, and the shape of its result.
fn local_layers(c: usize, h: usize, w: usize) -> Vec<(IntLayer, usize, Shape)> {
    let pool = Pool {
        kind: PoolKind::Average,
        kernel: (2, 3),
        stride: (1, 2),
        pad: Pad { h: 1, w: 1 },
        rounding: Rounding::Down,
    };
    let global = Pool { kind: PoolKind::GlobalAverage, ..pool };
    vec![
        (IntLayer::Add { shifts: vec![0, 3] }, 2, Shape::image(c, h, w)),
        (IntLayer::Concat { shifts: vec![2, 0] }, 2, Shape::image(2 * c, h, w)),
        (IntLayer::Shuffle(Shuffle { groups: 2 }), 1, Shape::image(c, h, w)),
        (IntLayer::Subsample(Subsample { stride: (2, 1) }), 1, Shape::image(c, h.div_ceil(2), w)),
        (IntLayer::PadChannels(PadChannels { before: 1, after: 2 }), 1, Shape::image(c + 3, h, w)),
        (IntLayer::SumPool(pool), 1, Shape::image(c, h + 1, (w - 1) / 2 + 1)),
        (IntLayer::SumPool(global), 1, Shape::flat(c)),
        (IntLayer::Flatten, 1, Shape::flat(c * h * w)),
    ]
}

#[test]
fn local_layers_are_linear_in_the_shares() {
    let mut uniform = Uniform::fresh(T).unwrap();
    let (c, h, w) = (4, 5, 6);
    for (layer, operands, shape) in local_layers(c, h, w) {
        let plain: Vec<_> = (0..operands)
            .map(|_| Tensor { shape: Shape::image(c, h, w), data: uniform.take(c * h * w) })
            .collect();
        let shares: Vec<_> = plain.iter().map(|x| split(x, &mut uniform)).collect();
        let of = |party: usize| {
            let operands: Vec<_> = shares.iter().map(|s| &s[party]).collect();
            local(&layer, &operands, &shape, T).expect("a local layer")
        };
        let whole = local(&layer, &plain.iter().collect::<Vec<_>>(), &shape, T).unwrap();
        assert_eq!(joined(&of(0), &of(1)), whole.data, "{layer:?}");
        assert_eq!(whole.data.len(), shape.elements(), "{layer:?}");
    }
}

#[test]
fn local_layers_mean_what_they_say() {
    let x = Tensor { shape: Shape::image(4, 1, 2), data: (1..=8).collect() };
    let apply = |layer: IntLayer, shape: Shape| local(&layer, &[&x], &shape, T).unwrap().data;
    assert_eq!(apply(IntLayer::Shuffle(Shuffle { groups: 2 }), x.shape.clone()), [1, 2, 5, 6, 3, 4, 7, 8]);
    assert_eq!(
        apply(IntLayer::PadChannels(PadChannels { before: 1, after: 0 }), Shape::image(5, 1, 2)),
        [0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    );
    let global = Pool {
        kind: PoolKind::GlobalAverage,
        kernel: (1, 1),
        stride: (1, 1),
        pad: Pad { h: 0, w: 0 },
        rounding: Rounding::Down,
    };
    assert_eq!(apply(IntLayer::SumPool(global), Shape::flat(4)), [3, 7, 11, 15]);
    let both = local(&IntLayer::Add { shifts: vec![0, 2] }, &[&x, &x], &x.shape, T).unwrap();
    assert_eq!(both.data, (1..=8).map(|v| 5 * v).collect::<Vec<_>>());
}

#[test]
fn uniform_residues_are_below_the_modulus_and_spread() {
    let n = 40_000;
    let drawn = Uniform::fresh(T).unwrap().take(n);
    assert!(drawn.iter().all(|&r| r < T));
    let eighths = drawn.iter().fold([0usize; 8], |mut count, &r| {
        count[usize::try_from(r * 8 / T).unwrap()] += 1;
        count
    });
    // Each eighth holds 5,000 +- 66 (one standard deviation); 10 of them never miss by chance.
    assert!(eighths.iter().all(|&c| c.abs_diff(n / 8) < 660), "{eighths:?}");
    assert_ne!(Uniform::fresh(T).unwrap().take(4), Uniform::fresh(T).unwrap().take(4));
}

pub(crate) fn service<'a>(compiled: &'a Compiled, weights: &'a IntWeights) -> Service<'a> {
    Service {
        network: &compiled.network,
        plan: &compiled.plan,
        circuit: &compiled.circuit,
        weights,
        params: compiled.sets(),
        memory: 1 << 20,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    /// Reference on the quantised graph = hybrid run on the clear backend, and its counts are the plan's.
    #[test]
    fn random_networks_run_like_their_reference(seed in any::<u64>()) {
        let (compiled, images) = small_ring(seed);
        let weights = compiled.weights.as_ref().unwrap();
        let quiet = |_: stria::protocol::Progress<'_>| {};
        let session =
            run_in_process::<ClearKeys, ClearEvaluator>(service(&compiled, weights), &images, &quiet, &|_| {}).unwrap();
        for (image, inference) in images.iter().zip(&session.inferences) {
            let expected = evaluate(&compiled.network, weights, image).unwrap();
            prop_assert_eq!(&inference.logits, &expected);
            for (layer, segment) in inference.layers.iter().zip(&compiled.circuit.segments) {
                let mut planned = stria::circuit::count(segment);
                planned.plain_adds = planned.ciphertexts_in + planned.ciphertexts_out;
                prop_assert_eq!(layer.counts, planned);
            }
        }
    }
}

/// What a bad peer does to the message it is about to send.
#[derive(Clone, Copy, Debug)]
enum Fault {
    HangUp,
    Truncate,
    Extend,
    Ones,
    WrongStep,
    WrongTag,
}

const FAULTS: [Fault; 6] =
    [Fault::HangUp, Fault::Truncate, Fault::Extend, Fault::Ones, Fault::WrongStep, Fault::WrongTag];

/// A channel whose `at`-th message is spoilt.
struct Faulty {
    inner: InMemory,
    fault: Fault,
    at: usize,
    sent: usize,
}

impl Channel for Faulty {
    fn send(&mut self, step: u32, tag: Tag, payload: &[u8]) -> Result<(), ChannelError> {
        self.sent += 1;
        if self.sent - 1 != self.at {
            return self.inner.send(step, tag, payload);
        }
        let mut spoilt = payload.to_vec();
        match self.fault {
            Fault::HangUp => {
                (self.inner, _) = InMemory::pair();
                return Err(ChannelError::Gone { step, tag });
            }
            Fault::Truncate => drop(spoilt.pop()),
            Fault::Extend => spoilt.extend([0; 100]),
            Fault::Ones => spoilt.fill(0xff),
            Fault::WrongStep => return self.inner.send(step + 1, tag, payload),
            Fault::WrongTag => {
                let other = if tag == Tag::Input { Tag::NonLinear } else { Tag::Input };
                return self.inner.send(step, other, payload);
            }
        }
        self.inner.send(step, tag, &spoilt)
    }

    fn receive(&mut self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError> {
        self.inner.receive(step, tag, limit)
    }

    fn traffic(&self) -> Traffic {
        self.inner.traffic()
    }
}

/// Both roles over the given ends; an end is dropped when its party is done.
fn converse(
    compiled: &Compiled,
    image: &Tensor<i64>,
    mut client_end: impl Channel,
    mut server_end: impl Channel,
) -> (Result<Tensor<i64>, PartyError>, Result<(), PartyError>) {
    let weights = compiled.weights.as_ref().unwrap();
    let steps = galois_steps(&compiled.circuit.segments);
    let (Compiled { network, plan, .. }, params, steps) = (compiled, compiled.sets(), steps.as_slice());
    std::thread::scope(|scope| {
        let server = scope.spawn(move || -> Result<(), PartyError> {
            let service = service(compiled, weights);
            let server = Server::<ClearEvaluator>::accept(service, steps.len(), &mut server_end)?;
            server.serve(&mut server_end, &mut RevealServer, &|_| {}).map(drop)
        });
        let client = scope.spawn(move || {
            let client = Client::<ClearKeys>::connect(network, plan, params, steps, &mut client_end)?;
            client.infer(image, &mut client_end, &mut RevealClient).map(|(logits, _)| logits)
        });
        (client.join().expect("no panic"), server.join().expect("no panic"))
    })
}

/// Counts the messages of an end.
struct Counted<'a>(InMemory, &'a std::sync::atomic::AtomicUsize);

impl Channel for Counted<'_> {
    fn send(&mut self, step: u32, tag: Tag, payload: &[u8]) -> Result<(), ChannelError> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.send(step, tag, payload)
    }

    fn receive(&mut self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError> {
        self.0.receive(step, tag, limit)
    }

    fn traffic(&self) -> Traffic {
        self.0.traffic()
    }
}

/// Every message of either party, spoilt in every way: both parties end, neither panics, and the honest one
/// never takes a wrong result for a right one without an error unless the message was well formed.
#[test]
fn a_peer_that_does_not_keep_to_the_protocol_is_refused() {
    let (compiled, images) = small_ring(3);
    let image = &images[0];
    let expected = evaluate(&compiled.network, compiled.weights.as_ref().unwrap(), image).unwrap();
    let messages = [const { std::sync::atomic::AtomicUsize::new(0) }; 2];
    let (a, b) = InMemory::pair();
    let (honest, _) = converse(&compiled, image, Counted(a, &messages[0]), Counted(b, &messages[1]));
    assert_eq!(honest.unwrap(), expected);
    let [from_client, from_server] = messages.map(std::sync::atomic::AtomicUsize::into_inner);
    assert!(from_client >= 3 && from_server >= 3, "{from_client} and {from_server} messages");

    for fault in FAULTS {
        for at in 0..from_client {
            let (inner, server_end) = InMemory::pair();
            let (_, server) = converse(&compiled, image, Faulty { inner, fault, at, sent: 0 }, server_end);
            assert!(server.is_err(), "server took {fault:?} at message {at} of {from_client}");
            named(&server.unwrap_err(), fault);
        }
        for at in 0..from_server {
            let (client_end, inner) = InMemory::pair();
            let (client, _) = converse(&compiled, image, client_end, Faulty { inner, fault, at, sent: 0 });
            assert!(client.is_err(), "client took {fault:?} at message {at} of {from_server}");
            named(&client.unwrap_err(), fault);
        }
    }
}

/// The error says what happened.
fn named(error: &PartyError, fault: Fault) {
    let fits = match fault {
        Fault::HangUp => matches!(
            error,
            PartyError::Channel(ChannelError::Gone { .. })
                | PartyError::NonLinear(NonLinearError::Channel(ChannelError::Gone { .. }))
        ),
        Fault::WrongStep | Fault::WrongTag => matches!(
            error,
            PartyError::Channel(ChannelError::OutOfTurn { .. })
                | PartyError::NonLinear(NonLinearError::Channel(ChannelError::OutOfTurn { .. }))
        ),
        Fault::Truncate | Fault::Extend | Fault::Ones => !matches!(error, PartyError::Graph(_)),
    };
    assert!(fits, "{fault:?} gave {error}");
}

#[test]
fn traffic_counts_frames_and_rounds() {
    let (mut a, mut b) = InMemory::pair();
    a.send(1, Tag::Input, &[0; 10]).unwrap();
    a.send(1, Tag::Input, &[0; 5]).unwrap();
    b.receive(1, Tag::Input, 10).unwrap();
    b.receive(1, Tag::Input, 10).unwrap();
    b.send(1, Tag::Reply, &[]).unwrap();
    a.receive(1, Tag::Reply, 0).unwrap();
    assert_eq!(a.traffic(), Traffic { sent: 15 + 2 * FRAME_BYTES, received: FRAME_BYTES, rounds: 1 });
    assert_eq!(b.traffic(), Traffic { sent: FRAME_BYTES, received: 15 + 2 * FRAME_BYTES, rounds: 0 });
    a.send(2, Tag::Reply, &[0; 9]).unwrap();
    let long = b.receive(2, Tag::Reply, 8);
    assert_eq!(long, Err(ChannelError::TooLong { step: 2, tag: Tag::Reply, found: 9, limit: 8 }));
    drop(a);
    assert_eq!(b.receive(3, Tag::Input, 8), Err(ChannelError::Gone { step: 3, tag: Tag::Input }));
}
