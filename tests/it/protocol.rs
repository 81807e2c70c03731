//! The hybrid mode: shares add up, runs equal the reference, a peer that does not keep to the protocol is named,
//! nothing hangs.

mod agreement;
mod networks;
mod peers;
mod pools;
mod processes;

use stria::compiled::Compiled;
use stria::graph::{IntLayer, IntWeights};
use stria::layers::{PadChannels, Pool, PoolKind, Rounding, Shuffle, Subsample};
use stria::protocol::{
    Channel, ChannelError, FRAME_BYTES, InMemory, Modulus, Service, Share, Tag, Traffic, Uniform, local,
};
use stria::tensor::{Pad, Shape};

const T: u64 = 786_433;

/// Splits `x` into two random shares.
fn split(x: &Share, uniform: &mut Uniform) -> [Share; 2] {
    let mask = Share { shape: x.shape.clone(), data: uniform.take(x.data.len()) };
    let rest = x.data.iter().zip(mask.data.iter()).map(|(&v, &m)| (v + T - m) % T).collect();
    [Share { shape: x.shape.clone(), data: rest }, mask]
}

fn joined(a: &Share, b: &Share) -> Vec<u64> {
    a.data.iter().zip(b.data.iter()).map(|(&a, &b)| (a + b) % T).collect()
}

fn modulus() -> Modulus {
    Modulus::new(T).unwrap()
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
            .map(|_| Share { shape: Shape::image(c, h, w), data: uniform.take(c * h * w) })
            .collect();
        let shares: Vec<_> = plain.iter().map(|x| split(x, &mut uniform)).collect();
        let of = |party: usize| {
            let operands: Vec<_> = shares.iter().map(|s| &s[party]).collect();
            local(&layer, &operands, &shape, modulus()).expect("a local layer")
        };
        let whole = local(&layer, &plain.iter().collect::<Vec<_>>(), &shape, modulus()).unwrap();
        assert_eq!(joined(&of(0), &of(1)), *whole.data, "{layer:?}");
        assert_eq!(whole.data.len(), shape.elements(), "{layer:?}");
    }
}

#[test]
fn local_layers_mean_what_they_say() {
    let x = Share { shape: Shape::image(4, 1, 2), data: (1..=8).collect() };
    let apply =
        |layer: IntLayer, shape: Shape| local(&layer, &[&x], &shape, modulus()).unwrap().data.into_vec();
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
    let both = local(&IntLayer::Add { shifts: vec![0, 2] }, &[&x, &x], &x.shape, modulus()).unwrap();
    assert_eq!(*both.data, (1..=8).map(|v| 5 * v).collect::<Vec<_>>());
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
    // Transfers are made while other messages are under way, and have rounds of their own.
    let before = b.traffic().rounds;
    b.send(2, Tag::Reply, &[]).unwrap();
    a.send(2, Tag::Ot, &[]).unwrap();
    b.receive(2, Tag::Ot, 0).unwrap();
    assert_eq!(b.traffic().rounds, before);
    a.send(2, Tag::Input, &[]).unwrap();
    b.receive(2, Tag::Input, 0).unwrap();
    assert_eq!(b.traffic().rounds, before + 1);
    drop(a);
    assert_eq!(b.receive(3, Tag::Input, 8), Err(ChannelError::Gone { step: 3, tag: Tag::Input }));
}
