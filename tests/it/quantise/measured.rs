//! Ranges that are measured once: the same network as from the images, and files that are checked.

use super::networks::{images, random_network};
use proptest::prelude::*;
use stria::graph::Model;
use stria::quant::{FloatWeights, QuantError, Statistics, quantise, quantise_measured};

fn file() -> (Model, FloatWeights, Vec<u8>) {
    let (model, weights) = random_network(7);
    let bytes = Statistics::measure(&model, &weights, &images(&model, 9, 3)).unwrap().to_bytes().unwrap();
    (model, weights, bytes)
}

#[test]
fn a_file_says_what_the_images_say() {
    let (model, weights, bytes) = file();
    let read = Statistics::from_bytes(&bytes).unwrap().unwrap();
    assert_eq!(read.images(), 9);
    let measured = quantise_measured(&model, Some(&weights), Some(&read)).unwrap();
    let direct = quantise(&model, Some(&weights), Some(&images(&model, 9, 3))).unwrap();
    assert_eq!(measured.network.to_string(), direct.network.to_string());
    assert_eq!(measured.weights, direct.weights);
    assert_eq!(measured.meaning, direct.meaning);
}

#[test]
fn other_weights_are_noticed() {
    let (model, mut weights, bytes) = file();
    let read = Statistics::from_bytes(&bytes).unwrap().unwrap();
    for layer in weights.0.values_mut() {
        if let stria::layers::FloatLayer::Linear { weight, .. } = layer {
            weight.data[0] += 0.125;
        }
    }
    let error = quantise_measured(&model, Some(&weights), Some(&read)).unwrap_err();
    assert!(matches!(error, QuantError::OtherWeights { .. }), "{error}");
}

#[test]
fn images_are_no_ranges() {
    let images = std::fs::read("examples/fashion_mnist/test200.safetensors").unwrap();
    assert!(Statistics::from_bytes(&images).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_files_do_no_harm(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        let (model, weights, mut bytes) = file();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(Ok(read)) = Statistics::from_bytes(&bytes) {
            // Whatever they say: a network, or an error.
            let _ = quantise_measured(&model, Some(&weights), Some(&read));
        }
    }
}
