//! The most memory that a run takes, predicted from the circuit.
//!
//! A segment is followed in the order of its batches: its inputs, results and what no later instruction
//! reads any more. Encoded plaintexts that are kept, keys, and what one thread works with are added; the
//! engine's pools give buffers back to the next operation, so the largest need of each kind is what counts,
//! not when it comes. Both parties run in one process; what their shares and transfers take is added by who knows
//! the protocol. Allocators round up and the order of parallel jobs
//! varies: good to about a quarter.

use super::Sizes;
use crate::backend::SchemeParams;
use crate::circuit::{BATCH, Segment};
use crate::params::{KeySwitching, Scheme};
use serde::Serialize;

/// Bytes of a program that has a small network compiled and runs nothing.
const PROGRAM: u64 = 12_000_000;
/// Encoded plaintexts that a running dot product holds.
const PLAINS_HELD: u64 = 32;
/// Words of an accumulator of products for each coefficient and prime: low and high halves of both parts.
const ACCUMULATOR: u64 = 4;
/// Bytes of a word.
const WORD: u64 = 8;

/// Bytes that a run holds at most, by what for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PeakMemory {
    /// The program, the network and its circuit.
    pub program: u64,
    /// Galois keys as they are used.
    pub keys: u64,
    /// What the keys take on their way from the client, as far as it is more than all that is needed later.
    pub key_transfer: u64,
    /// Ciphertexts and extended rotations that are live at once.
    pub ciphertexts: u64,
    /// Encoded plaintexts, kept or in use.
    pub plaintexts: u64,
    /// Digits, accumulators, messages.
    pub working: u64,
    /// Shares of both parties, and what their steps work with.
    pub shares: u64,
    /// Random transfers that were made and not yet used.
    pub transfers: u64,
}

impl PeakMemory {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        let linear = [self.keys, self.key_transfer, self.ciphertexts, self.plaintexts, self.working];
        let others = [self.program, self.shares, self.transfers];
        linear.into_iter().chain(others).fold(0, u64::saturating_add)
    }

    /// That of a network whose other layers, in the other encoding, take `other`: keys and encoded plaintexts
    /// are held together, all else one layer after the other.
    #[must_use]
    pub fn beside(&self, other: Self) -> Self {
        Self {
            program: self.program + other.program.saturating_sub(PROGRAM),
            keys: self.keys + other.keys,
            key_transfer: self.key_transfer.max(other.key_transfer),
            ciphertexts: self.ciphertexts.max(other.ciphertexts),
            plaintexts: self.plaintexts + other.plaintexts,
            working: self.working.max(other.working),
            shares: self.shares.max(other.shares),
            transfers: self.transfers.max(other.transfers),
        }
    }
}

/// What a run has at its disposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// Bytes of encoded plaintexts that may be kept.
    pub kept: u64,
    /// Threads of the server.
    pub threads: u64,
}

/// Words of the objects of a set of parameters. Keys and encoded plaintexts are packed to the bits of their
/// primes, all else takes a word a residue.
#[derive(Clone, Copy)]
struct Words {
    ring: u64,
    own: u64,
    all: u64,
    digits: u64,
    /// Words of a packed polynomial modulo the ciphertext primes, and modulo all.
    packed: [u64; 2],
}

/// Words at the end of a prime's packed residues.
const PADDING: u64 = 8;

impl Words {
    fn of(params: &SchemeParams) -> Self {
        let all = params.modulus_bits.len() as u64;
        let (own, digits) = match params.key_switch {
            KeySwitching::Special { special, primes_per_digit } => {
                let own = all.saturating_sub(u64::from(special));
                (own, own.div_ceil(u64::from(primes_per_digit.max(1))))
            }
            KeySwitching::Digits { bits } => {
                (all, params.modulus_bits.iter().map(|b| u64::from(b.div_ceil(bits.max(1)))).sum())
            }
            KeySwitching::Primes => (all, all),
        };
        let ring = u64::from(params.ring);
        let packed = |primes: u64| {
            let bits = params.modulus_bits.iter().zip(0..primes).map(|(&bits, _)| u64::from(bits));
            bits.map(|bits| (ring * bits).div_ceil(64) + PADDING).sum()
        };
        Self { ring, own, all, digits, packed: [packed(own), packed(all)] }
    }

    fn ciphertext(&self) -> u64 {
        2 * self.own * self.ring
    }

    fn extended(&self) -> u64 {
        2 * self.all * self.ring
    }

    fn key(&self) -> u64 {
        2 * self.digits * self.packed[1]
    }
}

/// The most memory that running `segments` under `params` takes.
#[must_use]
pub fn peak_memory(
    scheme: Scheme,
    segments: &[&Segment],
    params: &SchemeParams,
    galois_keys: u64,
    means: Means,
) -> PeakMemory {
    let words = Words::of(params);
    let sizes = Sizes::of(scheme, params);
    let live = segments.iter().map(|segment| live_words(segment, words)).max().unwrap_or(0);
    let plains: u64 = segments.iter().map(|segment| plain_words(segment, words)).sum();
    let held = means.threads * PLAINS_HELD * words.packed[1];
    let messages = segments.iter().map(|segment| {
        let (inputs, outputs) = (u64::from(segment.inputs), segment.outputs.len() as u64);
        let slots = words.ring * WORD;
        // Beside the masks, replies and the client's values take the place of results, which are dropped.
        let instead = (slots + 2 * sizes.reply).saturating_sub(words.ciphertext() * WORD);
        (inputs * (2 * slots + 2 * sizes.fresh)).max(outputs * (slots + instead))
    });
    let digits = BATCH as u64 * words.digits * words.all * words.ring;
    let accumulators = ACCUMULATOR * words.all * words.ring;
    let ciphertexts = live * WORD;
    let plaintexts = (plains * WORD).min(means.kept) + held.min(plains) * WORD;
    let working = means.threads * (digits + accumulators) * WORD + messages.max().unwrap_or(0);
    // The bytes of all keys are there until the last one is expanded.
    let transfer = sizes.key_bytes(galois_keys);
    PeakMemory {
        program: PROGRAM + segments.iter().map(|segment| code_bytes(segment)).sum::<u64>(),
        keys: galois_keys * words.key() * WORD,
        key_transfer: transfer.saturating_sub(ciphertexts + plaintexts + working),
        ciphertexts,
        plaintexts,
        working,
        shares: 0,
        transfers: 0,
    }
}

/// The most words of values that are live at once.
fn live_words(segment: &Segment, words: Words) -> u64 {
    let size = |value: usize| {
        let extended = u32::try_from(value).is_ok_and(|v| segment.is_extended(crate::circuit::Value(v)));
        if extended { words.extended() } else { words.ciphertext() }
    };
    let mut uses = segment.uses();
    let mut live = u64::from(segment.inputs) * words.ciphertext();
    let mut peak = live;
    for batch in segment.batches() {
        let results = batch.clone().map(|inst| (segment.inputs + inst) as usize);
        live += results.map(size).sum::<u64>();
        peak = peak.max(live);
        let insts = segment.insts.get(batch.start as usize..batch.end as usize).unwrap_or(&[]);
        for value in insts.iter().flat_map(|&inst| segment.operands(inst)) {
            let Some(left) = uses.get_mut(value.0 as usize) else { continue };
            *left = left.saturating_sub(1);
            if *left == 0 {
                live = live.saturating_sub(size(value.0 as usize));
            }
        }
    }
    peak
}

/// Words of all its encoded plaintexts.
fn plain_words(segment: &Segment, words: Words) -> u64 {
    let extended = segment.extended_plains().into_iter().filter(|&extended| extended).count() as u64;
    let whole = u64::from(segment.plains).saturating_sub(extended);
    whole * words.packed[0] + extended * words.packed[1]
}

fn code_bytes(segment: &Segment) -> u64 {
    let bytes = size_of_val(&*segment.insts) + size_of_val(&*segment.terms) + size_of_val(&*segment.turns);
    bytes as u64
}
