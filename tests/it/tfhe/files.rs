//! Files of keys and ciphertexts: round trips, and bytes that are not what they should be.

use super::{planned, small};
use crate::random::images;
use proptest::prelude::*;
use std::sync::LazyLock;
use stria::tfhe::files::{Card, EnvelopeError, FileError};
use stria::tfhe::keys::{ClientKey, EncryptedInput, EncryptedOutput, EvaluationKey};

/// One of each file.
struct Files {
    secret: Vec<u8>,
    evaluation: Vec<u8>,
    input: Vec<u8>,
    output: Vec<u8>,
    card: Vec<u8>,
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let (stages, _) = planned(small(), 5);
    let card = Card::new(&stages.compiled.network);
    let (client, key) = ClientKey::generate();
    let input = client.encrypt(card.id(), &card.layout, &images(&stages.compiled, 5)[0]);
    let output = EncryptedOutput {
        key: client.id(),
        model: card.id(),
        name: "small".into(),
        step: 1 << 50,
        scale: 0.5,
        samples: vec![1 << 60; 2 * 2049],
    };
    Files {
        secret: client.to_bytes().to_vec(),
        evaluation: key.to_bytes(),
        input: input.to_bytes(),
        output: output.to_bytes(),
        card: card.to_bytes(),
    }
});

/// What parses, as bytes again.
fn reread(which: usize, bytes: &[u8]) -> Result<Vec<u8>, FileError> {
    Ok(match which {
        0 => ClientKey::from_bytes(bytes)?.to_bytes().to_vec(),
        1 => EvaluationKey::from_bytes(bytes)?.to_bytes(),
        2 => EncryptedInput::from_bytes(bytes)?.to_bytes(),
        3 => EncryptedOutput::from_bytes(bytes)?.to_bytes(),
        _ => Card::from_bytes(bytes)?.to_bytes(),
    })
}

fn file(which: usize) -> &'static [u8] {
    let Files { secret, evaluation, input, output, card } = &*FILES;
    [secret, evaluation, input, output, card][which]
}

/// Magic, version, hash, length; then kind and parameters, which the hash covers.
const ENVELOPE: usize = 8 + 4 + 32 + 8;
const PREFIX: usize = ENVELOPE + 4 + 8;

/// Contents with the length and hash that belong to them.
fn sealed(file: &[u8], contents: &[u8]) -> Vec<u8> {
    let body = [&file[ENVELOPE..PREFIX], contents].concat();
    let mut forged = file[..12].to_vec();
    forged.extend(blake3::hash(&body).as_bytes());
    forged.extend((body.len() as u64).to_le_bytes());
    forged.extend(body);
    forged
}

#[test]
fn files_give_back_what_was_written() {
    for which in 0..5 {
        assert!(reread(which, file(which)).unwrap() == file(which), "file {which}");
        for other in (0..5).filter(|other| *other != which) {
            let found = reread(other, file(which)).unwrap_err();
            assert!(matches!(found, FileError::Kind { .. }), "file {which} as {other}: {found}");
        }
    }
    let size = file(1).len();
    assert!((28_000_000..29_000_000).contains(&size), "{size} bytes of evaluation keys");
}

/// Each field of the header names what is wrong with it, whichever of its bits flips.
#[test]
fn each_field_of_the_header_has_its_error() {
    use EnvelopeError as E;
    // The evaluation key is too long to be hashed so often.
    for which in [0, 2, 3, 4] {
        let good = file(which);
        for bit in 0..8 * PREFIX {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let found = reread(which, &bad).unwrap_err();
            let FileError::Envelope { error, .. } = found else { panic!("file {which}, bit {bit}: {found}") };
            let named = match bit / 8 {
                0..8 => error == E::Foreign,
                8..12 => matches!(error, E::Version { .. }),
                44..52 => matches!(error, E::Length { .. }),
                _ => error == E::Hash,
            };
            assert!(named, "file {which}, bit {bit}: {error}");
            // The same flips by somebody who makes the hash fit.
            if bit / 8 >= ENVELOPE {
                let found = reread(which, &sealed(&bad, &bad[PREFIX..])).unwrap_err();
                let named = match bit / 8 - ENVELOPE {
                    0..4 => matches!(found, FileError::Kind { .. } | FileError::Malformed(_)),
                    _ => matches!(found, FileError::Params),
                };
                assert!(named, "file {which}, bit {bit}: {found}");
            }
        }
    }
}

/// Every byte of the prefix, and some of each body, flipped; every short length around its end.
#[test]
fn damage_is_refused() {
    for which in 0..5 {
        let good = file(which);
        let step = ((good.len() - PREFIX) / 3).max(1);
        for at in (0..PREFIX).chain((PREFIX..good.len()).step_by(step)) {
            let mut bad = good.to_vec();
            bad[at] ^= 0x10;
            assert!(reread(which, &bad).is_err(), "file {which}, byte {at}");
        }
        for length in [0, 7, 8, 12, 24, 32, PREFIX - 1, PREFIX, good.len() / 2, good.len() - 1] {
            assert!(reread(which, &good[..length]).is_err(), "file {which} cut to {length}");
        }
        let mut long = good.to_vec();
        long.push(0);
        let found = reread(which, &long).unwrap_err();
        let error = EnvelopeError::Length { found: long.len() as u64, expected: good.len() as u64 };
        assert!(matches!(found, FileError::Envelope { error: e, .. } if e == error), "file {which}: {found}");
    }
}

/// Contents that are wrong under a hash that is right.
#[test]
fn malformed_contents_are_refused() {
    let mut body = file(0)[PREFIX..].to_vec();
    body[32] = 2;
    assert!(matches!(reread(0, &sealed(file(0), &body)), Err(FileError::Malformed(_))), "a key is binary");
    let mut body = file(3)[PREFIX..].to_vec();
    body[64..72].fill(0);
    assert!(matches!(reread(3, &sealed(file(3), &body)), Err(FileError::Malformed(_))), "a step of 0");
    let mut body = file(2)[PREFIX..].to_vec();
    body[64..72].fill(0xff);
    assert!(matches!(reread(2, &sealed(file(2), &body)), Err(FileError::Malformed(_))), "2^64 ciphertexts");
    for (at, what) in [(80, "a name"), (80 + 8 + 5, "ciphertexts")] {
        for length in [u64::MAX, 1 << 61, 1 << 40, 2049 * 1000] {
            let mut body = file(3)[PREFIX..].to_vec();
            body[at..at + 8].copy_from_slice(&length.to_le_bytes());
            assert!(reread(3, &sealed(file(3), &body)).is_err(), "{what} of {length}");
        }
    }
    // A server's answer does not steer the client's terminal.
    let mut body = file(3)[PREFIX..].to_vec();
    body[88] = 0x1b;
    assert!(matches!(reread(3, &sealed(file(3), &body)), Err(FileError::Malformed(_))), "a name that steers");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_do_harm(which in 0_usize..5, bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(reread(which, &bytes).is_err());
        // Under a valid prefix, if need be.
        if let Ok(back) = reread(which, &sealed(file(which), &bytes)) {
            prop_assert_eq!(back, sealed(file(which), &bytes));
        }
    }

    #[test]
    fn changed_bodies_do_no_harm(which in 2_usize..5, at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut body = file(which)[PREFIX..].to_vec();
        let at = at.index(body.len().min(200));
        body[at] = value;
        let _ = reread(which, &sealed(file(which), &body));
    }
}
