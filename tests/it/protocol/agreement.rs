//! The first message: parties with different plans or options part at once, and say what to do.

use super::service;
use crate::random::small_ring_of;
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::channel::{Channel, InMemory, Tag};
use stria::compiled::Compiled;
use stria::graph::IntLayer;
use stria::lower::galois_steps;
use stria::protocol::{Activations, Ahead, Choices, Fingerprint, PartyError, Reveal, infer_all, serve_all};
use stria::tensor::Tensor;

fn tiny(seed: u64) -> (Compiled, Vec<Tensor<i64>>) {
    let text = "model tiny {
    ring: 4096
    weights: random(1)
    input image: tensor[1, 4, 4] { mean: 0.4, std: 0.3 }
    let x = conv(image, out: 2, kernel: 3x3, pad: same) |> relu |> max_pool(kernel: 2x2)
    output flatten(x) |> linear(out: 3)
}";
    small_ring_of(text.into(), seed)
}

fn fingerprint(compiled: &Compiled) -> Fingerprint {
    Fingerprint::of(&compiled.network, &compiled.plan, compiled.sets()).unwrap()
}

/// What both parties make of each other.
fn meet(
    client: (&Compiled, Choices),
    server: (&Compiled, Choices),
    images: &[Tensor<i64>],
) -> [Result<(), PartyError>; 2] {
    let (mut client_end, mut server_end) = InMemory::pair();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let (compiled, choices) = server;
            let service = service(compiled, compiled.weights.as_ref().unwrap());
            serve_all::<ClearEvaluator>(service, choices, 1, &mut server_end, &|_| {}).map(drop)
        });
        let client = scope.spawn(move || {
            let (compiled, choices) = client;
            let public = (&compiled.network, &compiled.plan, compiled.sets());
            let steps = galois_steps(&compiled.circuit.segments);
            let images = &images[..1];
            infer_all::<ClearKeys>(public, steps.as_slice(), choices, images, &mut client_end, &|_| {})
                .map(drop)
        });
        [client.join().unwrap(), server.join().unwrap()]
    })
}

#[test]
fn a_public_file_has_the_fingerprint_of_its_compilation() {
    let (compiled, images) = tiny(2);
    assert_eq!(fingerprint(&compiled), fingerprint(&compiled.public()));
    let choices = Choices { activations: Activations::Revealed, ..Choices::default() };
    let both = meet((&compiled.public(), choices), (&compiled, choices), &images);
    assert!(both.iter().all(Result::is_ok), "{both:?}");
}

/// A shift, a bound, a shape, the plaintext prime or a ciphertext prime.
#[test]
fn another_plan_is_refused_by_both() {
    let (compiled, images) = tiny(2);
    let mut changed = Vec::new();
    let mut shift = compiled.clone();
    let graph = &shift.network.graph;
    let id = graph.ids().find(|&id| matches!(graph.node(id).layer, IntLayer::Requant(_))).unwrap();
    if let IntLayer::Requant(requant) = &mut shift.network.graph.node_mut(id).layer {
        requant.shift += 1;
    }
    changed.push(shift);
    let mut bounds = compiled.clone();
    bounds.network.intervals[1].hi = 3;
    changed.push(bounds);
    let mut prime = compiled.clone();
    prime.params.modulus_bits[0] += 1;
    changed.push(prime);
    changed.push(tiny(3).0);
    let choices = Choices::default();
    for other in &changed {
        assert_ne!(fingerprint(other), fingerprint(&compiled));
        for result in meet((other, choices), (&compiled, choices), &images) {
            let error = result.expect_err("the plans differ");
            assert!(matches!(error.cause(), PartyError::Plan { .. }), "{error}");
            let words = error.to_string();
            assert!(words.starts_with("agreement: ") && words.contains("give the client"), "{words}");
        }
    }
}

#[test]
fn other_choices_are_named() {
    let (compiled, images) = tiny(2);
    let mine = Choices::default();
    for (theirs, option) in [
        (Choices { activations: Activations::Revealed, ..mine }, "--nonlinear"),
        (Choices { reveal: Reveal::Label, ..mine }, "--reveal"),
        (Choices { ahead: Ahead::Image, ..mine }, "--preprocess"),
    ] {
        for result in meet((&compiled, theirs), (&compiled, mine), &images) {
            let words = result.expect_err("the choices differ").to_string();
            assert!(words.contains(option), "{words}");
        }
    }
}

/// A first message of another version, none at all, cut off, or too long.
#[test]
fn another_protocol_is_named() {
    let (compiled, _) = tiny(2);
    let meet = |message: &[u8]| {
        let (mut ours, mut theirs) = InMemory::pair();
        theirs.send(0, Tag::Plan, message).unwrap();
        let service = service(&compiled, compiled.weights.as_ref().unwrap());
        let served = serve_all::<ClearEvaluator>(service, Choices::default(), 1, &mut ours, &|_| {});
        drop(theirs);
        served.map(drop).expect_err("no client").to_string()
    };
    for message in [&[][..], &[1; 20], &[9]] {
        let words = meet(message);
        assert!(words.contains("another version"), "{words}");
    }
    assert!(meet(&[2; 19]).contains("19 bytes"));
    assert!(meet(&[2; 5000]).contains("at most 4096"));
}
