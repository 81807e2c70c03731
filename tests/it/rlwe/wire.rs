//! Bytes: every object comes back, and nothing malformed is taken.

use super::{key, small, values};
use proptest::prelude::*;
use std::sync::Arc;
use stria::rlwe::{
    Automorphism, Ciphertext, Flaw, Hiding, Noise, Packing, Parameters, PublicKey, Reply, RlweError,
    SecretKey, SeededCiphertext, SeededGaloisKeys, SeededRelinearisationKey, Sent,
};

/// Reads bytes as some object and writes it again.
type Rewrite = fn(&Arc<Parameters>, &[u8]) -> Result<Vec<u8>, RlweError>;

const KINDS: [Rewrite; 7] = [
    |p, b| SecretKey::from_bytes(p, b).map(|x| x.to_bytes().to_vec()),
    |p, b| PublicKey::from_bytes(p, b).map(|x| x.to_bytes()),
    |p, b| SeededGaloisKeys::from_bytes(p, b).map(|x| x.to_bytes()),
    |p, b| SeededCiphertext::from_bytes(p, b).map(|x| x.to_bytes()),
    |p, b| Ciphertext::from_bytes(p, b).map(|x| x.to_bytes()),
    |p, b| Reply::from_bytes(p, Sent::Slots, b).map(|x| x.to_bytes()),
    |p, b| SeededRelinearisationKey::from_bytes(p, b).map(|x| x.to_bytes()),
];

/// One object of each kind, in the order of [`KINDS`].
fn objects(params: &Arc<Parameters>) -> Vec<Vec<u8>> {
    let (secret, mut randomness) = key(params, 70);
    let public = secret.public_key(&mut randomness);
    let keys = secret.galois_keys(&[Automorphism::Rotate(1), Automorphism::SwapRows], &mut randomness);
    let message = values(params, 71);
    let seeded = secret.encrypt(&message, Packing::Slots, &mut randomness).unwrap();
    let mut ciphertext = seeded.clone().expand();
    ciphertext.switch_down().unwrap();
    let hiding = Hiding { noise: Noise::fresh(), values_sent: 1 };
    let full = seeded.clone().expand();
    let reply = public.reply(&full, &message, Sent::Slots, hiding, &mut randomness).unwrap();
    let relinearisation = secret.relinearisation_key(&mut randomness).unwrap();
    vec![
        secret.to_bytes().to_vec(),
        public.to_bytes(),
        keys.to_bytes(),
        seeded.to_bytes(),
        ciphertext.to_bytes(),
        reply.to_bytes(),
        relinearisation.to_bytes(),
    ]
}

#[test]
fn every_object_comes_back() {
    for params in small() {
        for (bytes, rewrite) in objects(&params).iter().zip(KINDS) {
            assert_eq!(&rewrite(&params, bytes).unwrap(), bytes);
        }
    }
}

#[test]
fn objects_that_came_back_work() {
    let params = small().swap_remove(0);
    let objects = objects(&params);
    let secret = SecretKey::from_bytes(&params, &objects[0]).unwrap();
    let keys = SeededGaloisKeys::from_bytes(&params, &objects[2]).unwrap().expand();
    let ciphertext = SeededCiphertext::from_bytes(&params, &objects[3]).unwrap().expand();
    let message = values(&params, 71);
    assert_eq!(secret.decrypt(&ciphertext, Packing::Slots).unwrap(), message);
    let swapped = keys.rotate(&ciphertext, Automorphism::SwapRows).unwrap();
    assert_eq!(secret.decrypt(&swapped, Packing::Slots).unwrap(), [&message[32..], &message[..32]].concat());
    let lower = Ciphertext::from_bytes(&params, &objects[4]).unwrap();
    assert_eq!(secret.decrypt(&lower, Packing::Slots).unwrap(), message);
    let key = SeededRelinearisationKey::from_bytes(&params, &objects[6]).unwrap().expand().unwrap();
    let squares: Vec<u64> = message.iter().map(|x| x * x % params.plain_modulus()).collect();
    assert_eq!(secret.decrypt(&key.square(&ciphertext).unwrap(), Packing::Slots).unwrap(), squares);
}

#[test]
fn seeded_objects_take_half_the_bytes() {
    let params = small().swap_remove(0);
    let sizes: Vec<usize> = objects(&params).iter().map(Vec::len).collect();
    // Header, seed, 64 residues of 49 bits modulo two primes.
    assert_eq!(sizes[3], 30 + 32 + 2 * 64 * 49 / 8);
    // Header, count, two keys of a step, a seed and two digits modulo 49 + 49 + 50 bits.
    assert_eq!(sizes[2], 30 + 4 + 2 * (5 + 32 + 2 * 64 * (49 + 49 + 50) / 8));
    assert_eq!(sizes[6], 30 + 32 + 2 * 64 * (49 + 49 + 50) / 8);
}

fn flaw(result: Result<Vec<u8>, RlweError>) -> Flaw {
    match result {
        Err(RlweError::Malformed { flaw, .. }) => flaw,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_flaw_is_named() {
    let [params, other] = [0, 1].map(|i| small().swap_remove(i));
    for (i, (bytes, rewrite)) in objects(&params).into_iter().zip(KINDS).enumerate() {
        let damaged = |at: usize, with: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = with;
            flaw(rewrite(&params, &bytes))
        };
        assert_eq!(damaged(0, b'X'), Flaw::Kind);
        assert_eq!(damaged(4, 9), Flaw::Version(9));
        assert_eq!(damaged(5, 99), Flaw::Kind);
        assert_eq!(flaw(rewrite(&other, &bytes)), Flaw::Fingerprint);
        assert!(matches!(damaged(29, 0xff), Flaw::Length { .. }));
        let found = bytes.len() - 1;
        assert_eq!(flaw(rewrite(&params, &bytes[..found])), Flaw::Length { expected: found + 1, found });
        assert!(matches!(flaw(rewrite(&params, &[])), Flaw::Length { found: 0, .. }));
        for (k, foreign) in KINDS.iter().enumerate().filter(|(k, _)| *k != i) {
            assert_eq!(flaw(foreign(&params, &bytes)), Flaw::Kind, "{k}");
        }
        // The last 50 bits all ones: no residue below its prime. Replies may hold any bits.
        let mut ones = bytes.clone();
        let end = ones.len();
        ones[end - 7..].fill(0xff);
        let read = rewrite(&params, &ones);
        if i == 5 { assert_eq!(read.unwrap(), ones) } else { assert_eq!(flaw(read), Flaw::Residue) }
    }
}

#[test]
fn galois_keys_of_no_or_of_one_automorphism_twice_are_refused() {
    let params = small().swap_remove(0);
    let bytes = objects(&params).swap_remove(2);
    let key = (bytes.len() - 34) / 2;
    let with = |first: i32, second: i32, tag: u8| {
        let mut bytes = bytes.clone();
        for (at, step) in [(34, first), (34 + key, second)] {
            bytes[at] = tag;
            bytes[at + 1..at + 5].copy_from_slice(&step.to_le_bytes());
        }
        KINDS[2](&params, &bytes)
    };
    assert!(with(1, 2, 0).is_ok());
    for (first, second, tag) in
        [(1, 1, 0), (1, 1 - 32, 0), (0, 1, 0), (32, 1, 0), (0, 0, 1), (1, 2, 2), (0, 3, 1)]
    {
        assert_eq!(flaw(with(first, second, tag)), Flaw::Field { field: "an automorphism" });
    }
    let mut many = bytes;
    many[30..34].fill(0xff);
    assert_eq!(flaw(KINDS[2](&params, &many)), Flaw::Field { field: "the number of keys" });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(kind in 0usize..KINDS.len(), cut in 0usize..120, at: prop::sample::Index, with: u8, noise: Vec<u8>) {
        let params = small().swap_remove(3);
        for rewrite in KINDS {
            prop_assert!(rewrite(&params, &noise).is_err());
        }
        let original = objects(&params).swap_remove(kind);
        let mut bytes = original.clone();
        let place = at.index(bytes.len());
        bytes[place] = with;
        bytes.resize(if cut > 100 { bytes.len() } else { bytes.len() * (cut + 10) / 100 }, with);
        // What is taken is taken as it stands.
        if let Ok(written) = KINDS[kind](&params, &bytes) {
            prop_assert_eq!(written, bytes);
        }
    }
}

/// Objects of fixed seeds: a change of format, of sampling or of arithmetic shows here.
#[test]
fn known_answers() {
    let params = small().swap_remove(0);
    let hashes: Vec<String> =
        objects(&params).iter().map(|b| blake3::hash(b).to_hex()[..16].to_string()).collect();
    let expected = [
        "8ade394c9e76a797",
        "9c9c9160241b31ed",
        "efcc703b90c1c0f4",
        "13cdf6535b9f5df3",
        "5f1ac7cdce338fa5",
        "0e426c53cb89337b",
        "be735db3e56f9a7f",
    ];
    assert_eq!(hashes, expected);
}
