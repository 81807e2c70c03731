//! What crosses between client and server: damaged, foreign and forged bytes.

use super::{small, small_for};
use proptest::prelude::*;
use stria::backend::bfv::{BfvEvaluator, BfvKeys};
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::backend::{ClientKeys, Evaluator, SchemeParams, Sent};
use stria::circuit::Step;
use stria::params::Scheme;

/// One way to damage bytes.
#[derive(Clone, Debug)]
enum Damage {
    Flip(usize, u8),
    Truncate(usize),
    Append(Vec<u8>),
    Replace(Vec<u8>),
    Remove(usize),
}

impl Damage {
    fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let at = |i: &usize| i % bytes.len();
        match self {
            Self::Flip(i, mask) => {
                let i = at(i);
                bytes[i] ^= mask;
            }
            Self::Truncate(i) => bytes.truncate(at(i)),
            Self::Append(more) => bytes.extend_from_slice(more),
            Self::Replace(all) => bytes.clone_from(all),
            Self::Remove(i) => {
                bytes.remove(at(i));
            }
        }
        bytes
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let some = prop::collection::vec(any::<u8>(), 1..200);
    prop_oneof![
        (any::<usize>(), 1..=255_u8).prop_map(|(i, mask)| Damage::Flip(i, mask)),
        // The header, where the structure is.
        (0..14_usize, 1..=255_u8).prop_map(|(i, mask)| Damage::Flip(i, mask)),
        any::<usize>().prop_map(Damage::Truncate),
        some.clone().prop_map(Damage::Append),
        some.prop_map(Damage::Replace),
        any::<usize>().prop_map(Damage::Remove),
    ]
}

/// Recomputes the checksum, as a forger would.
fn seal(bytes: &mut [u8]) {
    let end = bytes.len() - 16;
    let check = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&check.as_bytes()[..16]);
}

struct Samples {
    fresh: Vec<u8>,
    reply: Vec<u8>,
    keys: Vec<u8>,
}

fn samples<K: ClientKeys, E: Evaluator>(keys: &K, params: &SchemeParams) -> (E, Samples) {
    let bytes = keys.evaluation_keys(&[Step::Rotate(1), Step::SwapRows]).unwrap();
    let evaluator = E::from_keys(params, &bytes).unwrap();
    let fresh = keys.encrypt(&vec![1; params.ring as usize]).unwrap();
    let reply = evaluator.store(&evaluator.load(&fresh).unwrap(), Sent::Slots).unwrap();
    (evaluator, Samples { fresh, reply, keys: bytes })
}

/// Any damage is refused; damage with a right checksum is refused or read, without a panic.
fn survives<K: ClientKeys, E: Evaluator>(keys: &K, params: &SchemeParams, cases: u32) {
    let (evaluator, samples) = samples::<K, E>(keys, params);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let seed = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    proptest::test_runner::TestRunner::new_with_rng(config, seed)
        .run(&damage(), |damage| {
            let fresh = damage.apply(&samples.fresh);
            let reply = damage.apply(&samples.reply);
            let galois = damage.apply(&samples.keys);
            prop_assert!(evaluator.load(&fresh).is_err());
            prop_assert!(keys.decrypt(&fresh, Sent::Slots).is_err());
            prop_assert!(keys.decrypt(&reply, Sent::Slots).is_err());
            prop_assert!(E::from_keys(params, &galois).is_err());
            for mut forged in [fresh, reply, galois] {
                if forged.len() >= 16 {
                    seal(&mut forged);
                }
                if let Ok(loaded) = evaluator.load(&forged) {
                    evaluator.automorphisms(&[&loaded], &[(0, Step::Rotate(1))]).unwrap();
                }
                let _ = keys.decrypt(&forged, Sent::Slots);
                let _ = E::from_keys(params, &forged).map(|_| ());
            }
            Ok(())
        })
        .unwrap();
    for wrong in [&samples.reply, &samples.keys] {
        assert!(evaluator.load(wrong).is_err(), "only fresh ciphertexts are loaded");
    }
    assert!(keys.decrypt(&samples.keys, Sent::Slots).is_err());
    assert!(E::from_keys(params, &samples.fresh).is_err());
}

/// Bytes made under one set of parameters are refused under any other.
fn foreign<K: ClientKeys, E: Evaluator>(keys: &K, other: &K, params: &SchemeParams, changed: &SchemeParams) {
    let (_, samples) = samples::<K, E>(keys, params);
    let (evaluator, _) = self::samples::<K, E>(other, changed);
    assert!(evaluator.load(&samples.fresh).is_err());
    assert!(other.decrypt(&samples.reply, Sent::Slots).is_err());
    assert!(E::from_keys(changed, &samples.keys).is_err());
}

/// Overwrites the body with ones: every residue at its largest.
fn all_ones(bytes: &[u8]) -> Vec<u8> {
    let mut forged = bytes.to_vec();
    let end = forged.len() - 16;
    forged[14..end].fill(0xff);
    seal(&mut forged);
    forged
}

fn residues_are_checked<K: ClientKeys, E: Evaluator>(keys: &K, params: &SchemeParams) {
    let (evaluator, samples) = samples::<K, E>(keys, params);
    assert!(evaluator.load(&all_ones(&samples.fresh)).is_err());
    assert!(keys.decrypt(&all_ones(&samples.reply), Sent::Slots).is_err());
    assert!(E::from_keys(params, &all_ones(&samples.keys)).is_err());
}

#[test]
fn clear_bytes() {
    let params = small(17);
    let keys = ClearKeys::generate(&params).unwrap();
    survives::<_, ClearEvaluator>(&keys, &params, 200);
    residues_are_checked::<_, ClearEvaluator>(&keys, &params);
    let changed = small(18);
    let other = ClearKeys::generate(&changed).unwrap();
    foreign::<_, ClearEvaluator>(&keys, &other, &params, &changed);
}

#[test]
fn bfv_bytes() {
    let params = small_for(Scheme::Bfv, 64, 17);
    let keys = BfvKeys::generate_insecure(&params).unwrap();
    survives::<_, BfvEvaluator>(&keys, &params, 200);
    residues_are_checked::<_, BfvEvaluator>(&keys, &params);
    let changed = small_for(Scheme::Bfv, 64, 18);
    let other = BfvKeys::generate_insecure(&changed).unwrap();
    foreign::<_, BfvEvaluator>(&keys, &other, &params, &changed);
}

#[cfg(feature = "fhe-rs")]
#[test]
fn fhe_rs_bytes() {
    use stria::backend::fhe_rs::{FheEvaluator, FheKeys};
    let params = SchemeParams { modulus_bits: vec![53; 2], ..small_for(Scheme::FheRs, 64, 17) };
    let keys = FheKeys::generate_insecure(&params).unwrap();
    survives::<_, FheEvaluator>(&keys, &params, 200);
    residues_are_checked::<_, FheEvaluator>(&keys, &params);
    let changed = SchemeParams { modulus_bits: vec![54; 2], ..params.clone() };
    let other = FheKeys::generate_insecure(&changed).unwrap();
    foreign::<_, FheEvaluator>(&keys, &other, &params, &changed);
}
