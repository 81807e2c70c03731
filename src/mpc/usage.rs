//! What a step needs and what it costs, composed as the protocols are.
//!
//! Each protocol states its [`Usage`] beside its code; a step adds them up. Tests compare the sums with what
//! was taken and with what the channel counted.

use super::Role;
use super::slice::WORD;
use crate::channel::FRAME_BYTES;
use std::ops::Add;

/// Random transfers, one set a lane; the index is the choosing party's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerLane {
    /// Transfers of one bit.
    pub bits: [usize; 2],
    /// Transfers of two bits, in each direction.
    pub pairs: usize,
    /// Transfers of a word.
    pub words: [usize; 2],
    /// Bits of the words that are sent for them online.
    pub word_bits: usize,
}

impl Add for PerLane {
    type Output = Self;

    fn add(self, o: Self) -> Self {
        Self {
            bits: [self.bits[0] + o.bits[0], self.bits[1] + o.bits[1]],
            pairs: self.pairs + o.pairs,
            words: [self.words[0] + o.words[0], self.words[1] + o.words[1]],
            word_bits: self.word_bits + o.word_bits,
        }
    }
}

impl PerLane {
    /// Bits that both parties send online, frames left out.
    #[must_use]
    pub fn online_bits(&self) -> usize {
        let words = self.words[0] + self.words[1] + self.word_bits;
        2 * (self.bits[0] + self.bits[1]) + 6 * self.pairs + words
    }

    /// Transfers of all kinds, both directions.
    #[must_use]
    pub fn transfers(&self) -> usize {
        self.bits[0] + self.bits[1] + 2 * self.pairs + self.words[0] + self.words[1]
    }
}

/// Transfers a lane, and exchanges one after another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) lane: PerLane,
    pub(super) rounds: usize,
}

impl Usage {
    /// `n` transfers of one bit.
    pub(super) fn bits(chooser: Role, n: usize) -> Self {
        let mut lane = PerLane::default();
        lane.bits[chooser.index()] = n;
        Self { lane, rounds: 1 }
    }

    /// `n` transfers of a word, of which `bits` are used.
    pub(super) fn words(chooser: Role, n: usize, bits: u32) -> Self {
        let mut lane = PerLane::default();
        lane.words[chooser.index()] = n;
        lane.word_bits = n * bits as usize;
        Self { lane, rounds: 1 }
    }

    /// The one after the other.
    pub(super) fn then(self, next: Self) -> Self {
        Self { lane: self.lane + next.lane, rounds: self.rounds + next.rounds }
    }

    /// Both in the same exchanges.
    pub(super) fn beside(self, other: Self) -> Self {
        Self { lane: self.lane + other.lane, rounds: self.rounds.max(other.rounds) }
    }
}

/// A number of values that are worked on together, in lanes: a multiple of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Lanes.
    pub lanes: usize,
    /// What each needs.
    pub lane: PerLane,
    /// Exchanges.
    pub rounds: usize,
}

impl Batch {
    pub(super) fn new(values: usize, usage: Usage) -> Self {
        Self { lanes: values.next_multiple_of(WORD), lane: usage.lane, rounds: usage.rounds }
    }

    /// Bytes that both parties send online, frames included: one from each party an exchange.
    #[must_use]
    pub fn online_bytes(&self) -> u64 {
        (self.lane.online_bits() * self.lanes / 8) as u64 + 2 * FRAME_BYTES * self.rounds as u64
    }
}
