//! Bytes that somebody changed: an error or a network, never a panic, and nothing allocated beyond the limit.

use super::operators::{Case, cases};
use super::{folder, model, options};
use proptest::prelude::*;
use std::sync::LazyLock;
use stria::import::{ImportError, Options, import};

static CASES: LazyLock<Vec<Case>> = LazyLock::new(cases);

/// Enough for every fixture, and for no accident.
const MEMORY: u64 = 8 << 20;

/// A change of some bytes.
#[derive(Clone, Debug)]
enum Change {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Drop(prop::sample::Index, u8),
    Repeat(prop::sample::Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(i, b)| Change::Set(i, b)),
        4 => (at(), 0..8_u8).prop_map(|(i, bit)| Change::Flip(i, bit)),
        1 => at().prop_map(Change::Cut),
        1 => (at(), any::<u8>()).prop_map(|(i, n)| Change::Drop(i, n)),
        1 => (at(), any::<u8>()).prop_map(|(i, n)| Change::Repeat(i, n)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let length = bytes.len();
    if length == 0 {
        return;
    }
    let range = |i: &prop::sample::Index, n: u8| {
        let start = i.index(length);
        start..(start + usize::from(n)).min(length)
    };
    match change {
        Change::Set(i, b) => bytes[i.index(length)] = *b,
        Change::Flip(i, bit) => bytes[i.index(length)] ^= 1 << bit,
        Change::Cut(i) => bytes.truncate(i.index(length)),
        Change::Drop(i, n) => drop(bytes.drain(range(i, *n))),
        Change::Repeat(i, n) => {
            let part = bytes[range(i, *n)].to_vec();
            bytes.extend(part);
        }
    }
}

/// Imports, and checks that a fault is the file's and not ours.
fn attempt(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    match import(bytes, Some(&folder().join("model.onnx")), &Options { memory: MEMORY, ..options("x") }) {
        Err(ImportError::Broken(text)) => Err(TestCaseError::fail(text)),
        Ok(_) | Err(_) => Ok(()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_models_do_no_harm(
        // The small ones: most of their bytes are structure.
        name in prop::sample::select(vec!["dynamo", "refused", "caffe", "shortcuts", "dense", "tensorflow"]),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let mut bytes = model(name);
        changes.iter().for_each(|c| apply(&mut bytes, c));
        attempt(bytes)?;
    }

    #[test]
    fn changed_operators_do_no_harm(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let mut bytes = CASES[which.index(CASES.len())].onnx.clone();
        changes.iter().for_each(|c| apply(&mut bytes, c));
        attempt(bytes)?;
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        attempt(bytes)?;
    }
}

#[test]
fn every_prefix_and_every_byte_of_a_structure() {
    let whole = model("refused");
    for end in (0..whole.len()).step_by(7) {
        attempt(whole[..end].to_vec()).unwrap();
    }
    // Numbers of one byte are lengths, types, sizes and references.
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            attempt(bytes).unwrap();
        }
    }
}
