//! Encrypted runs against the integer reference and the plan.

use super::{far_images, planned, seen_dim, small};
use crate::random::images;
use std::sync::Mutex;
use stria::graph::evaluate;
use stria::tfhe::encrypted::Server;
use stria::tfhe::files::Card;
use stria::tfhe::keys::{ClientKey, KeyError};
use stria::tfhe::report::{Costs, report};
use stria::tfhe::simulate::simulate;

/// Reads images of the model, encrypts, computes, decrypts; gives how far logits are off, in noise deviations.
fn run(text: String, seed: u64) {
    let (stages, plan) = planned(text, seed);
    let (plan, compiled) = (plan.unwrap(), &stages.compiled);
    let weights = compiled.weights.as_ref().unwrap();
    let card = Card::new(&compiled.network);
    let (client, key) = ClientKey::generate();
    let server = Server::new(key);
    let told = report(&plan, &Costs::shipped()).totals;
    for image in images(compiled, seed) {
        let input = client.encrypt(card.id(), &card.layout, &image);
        let seen = Mutex::new(Vec::new());
        let show = |p: stria::tfhe::encrypted::Progress<'_>| seen.lock().unwrap().push((p.done, p.total));
        let (output, executed, _) = server.evaluate((card.id(), &plan), &input, &show).unwrap();
        assert_eq!(executed.bootstraps, plan.bootstraps(), "counted = planned");
        assert_eq!((executed.products, executed.terms), (told.products, told.terms), "counted = planned");
        assert_eq!(input.ciphertexts.len(), told.ciphertexts_in);
        let seen = seen.into_inner().unwrap();
        assert!(seen.iter().any(|(done, total)| done == total) || plan.bootstraps() == 0, "{seen:?}");
        let found = client.decrypt(&output).unwrap().data;
        let exact = evaluate(&compiled.network, weights, &image).unwrap().data;
        let simulated: Vec<Vec<i64>> =
            (0..40).map(|seed| simulate(&plan, &image, Some(seed)).output.data).collect();
        for (i, (&found, &exact)) in found.iter().zip(&exact).enumerate() {
            let spread = simulated.iter().map(|s| (s[i] - exact).unsigned_abs()).max().unwrap_or(0);
            assert!(found.abs_diff(exact) <= 2 * spread + 2, "logit {i}: {found}, exact {exact}, {spread}");
        }
    }
}

#[test]
fn a_network_with_a_skip_and_a_pool() {
    run(small(), 5);
}

/// Several input channels to a ciphertext, groups, values that enter several accumulators, a polynomial.
#[test]
fn other_layers() {
    run(
        "model other {
            ring: 4096
            weights: random(3)
            quantize: { weights: 3, activations: 2 }
            input image: tensor[4, 5, 4] { mean: 0.4, std: 0.3, bits: 3 }
            let x = conv(image, out: 4, kernel: 3x3, stride: 2, pad: same, groups: 2) |> relu
            let y = concat(x, channel_shuffle(x, groups: 2)) |> conv(out: 2, kernel: 1x1) |> relu
            let z = conv(x, out: 2, kernel: 1x1) |> square
            output add(y, z) |> flatten |> linear(out: 3)
        }"
        .into(),
        3,
    );
}

/// A model of features, without a convolution of the input.
#[test]
fn a_perceptron() {
    run(
        "model perceptron {
            ring: 4096
            weights: random(2)
            quantize: { weights: 3, activations: 2 }
            input x: tensor[20] { mean: 0.4, std: 0.3, bits: 3 }
            output linear(x, out: 12) |> relu |> linear(out: 3)
        }"
        .into(),
        2,
    );
}

/// Beyond what is planned for, encrypted answers are wrong exactly as simulated ones are.
#[test]
fn wraps_are_those_of_the_simulator() {
    let (stages, plan) = seen_dim();
    let (network, weights) = (&stages.compiled.network, stages.compiled.weights.as_ref().unwrap());
    let card = Card::new(network);
    let (client, key) = ClientKey::generate();
    let server = Server::new(key);
    let mut wrong = 0;
    for image in far_images(&stages) {
        let exact = evaluate(network, weights, &image).unwrap().data;
        let simulated: Vec<Vec<i64>> =
            (0..40).map(|seed| simulate(&plan, &image, Some(seed)).output.data).collect();
        let ends = |i: usize| {
            let of = || simulated.iter().map(|s| s[i]);
            (of().min().unwrap(), of().max().unwrap())
        };
        let told = !plan.beyond_reach(network, weights, &image).unwrap().is_empty();
        let apart = (0..exact.len()).any(|i| {
            let (least, most) = ends(i);
            exact[i] < least - 3 * (most - least) - 8 || exact[i] > most + 3 * (most - least) + 8
        });
        assert!(told || !apart, "{exact:?}, simulated {:?}", simulated[0]);
        // Few of many: a bootstrap takes 20 ms.
        if !apart || wrong == 6 {
            continue;
        }
        wrong += 1;
        let input = client.encrypt(card.id(), &card.layout, &image);
        let (output, ..) = server.evaluate((card.id(), &plan), &input, &|_| ()).unwrap();
        let found = client.decrypt(&output).unwrap().data;
        for (i, &found) in found.iter().enumerate() {
            let (least, most) = ends(i);
            let (least, most) = (least - (most - least) - 4, most + (most - least) + 4);
            assert!((least..=most).contains(&found), "logit {i}: {found}, simulated {least}..={most}");
        }
    }
    assert_eq!(wrong, 6, "images whose answers are wrong");
}

#[test]
fn keys_and_models_do_not_mix() {
    let (stages, plan) = planned(small(), 5);
    let plan = plan.unwrap();
    let card = Card::new(&stages.compiled.network);
    let (client, key) = ClientKey::generate();
    let (other, _) = ClientKey::generate();
    let server = Server::new(key);
    let image = images(&stages.compiled, 5).remove(0);
    let foreign = other.encrypt(card.id(), &card.layout, &image);
    let found = server.evaluate((card.id(), &plan), &foreign, &|_| ()).err();
    assert!(matches!(found, Some(KeyError::Foreign { .. })), "{found:?}");
    let elsewhere = client.encrypt([7; 32], &card.layout, &image);
    let found = server.evaluate((card.id(), &plan), &elsewhere, &|_| ()).err();
    assert!(matches!(found, Some(KeyError::Model { .. })), "{found:?}");
    let mut short = client.encrypt(card.id(), &card.layout, &image);
    short.ciphertexts.clear();
    let found = server.evaluate((card.id(), &plan), &short, &|_| ()).err();
    assert!(matches!(found, Some(KeyError::Count { .. })), "{found:?}");
    let input = client.encrypt(card.id(), &card.layout, &image);
    let (output, ..) = server.evaluate((card.id(), &plan), &input, &|_| ()).unwrap();
    assert!(matches!(other.decrypt(&output), Err(KeyError::Foreign { .. })));
    assert!(client.decrypt(&output).is_ok());
    assert_eq!(format!("{client:?}"), "ClientKey { .. }", "a key is never printed");
}
