//! What a step needs and what it costs, composed as the protocols are.
//!
//! Each protocol states its [`Usage`] beside its code; a step adds them up. Tests compare the sums with what
//! was taken and with what the channel counted.

use super::Role;
use super::ot::{extension_bytes, extension_messages};
use super::ring::Ring;
use super::slice::WORD;
use crate::channel::FRAME_BYTES;
use std::ops::Add;

/// Random transfers, one set a lane; the index is the choosing party's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerLane {
    /// Transfers of one bit.
    pub(super) bits: [usize; 2],
    /// Transfers of two bits, in each direction.
    pub(super) pairs: usize,
    /// Transfers of a word.
    pub(super) words: Vec<Words>,
}

/// Transfers of a word that are added in one ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) ring: Ring,
    pub(super) count: [usize; 2],
}

impl Add for PerLane {
    type Output = Self;

    fn add(mut self, o: Self) -> Self {
        for Words { ring, count } in o.words {
            match self.words.iter_mut().find(|words| words.ring == ring) {
                Some(words) => words.count = plus(words.count, count),
                None => self.words.push(Words { ring, count }),
            }
        }
        Self { bits: plus(self.bits, o.bits), pairs: self.pairs + o.pairs, words: self.words }
    }
}

fn plus(a: [usize; 2], b: [usize; 2]) -> [usize; 2] {
    [a[0] + b[0], a[1] + b[1]]
}

impl PerLane {
    /// Bits that both parties send online, frames left out.
    #[must_use]
    pub fn online_bits(&self) -> usize {
        let words = self.words.iter().map(|w| (w.count[0] + w.count[1]) * (1 + w.ring.bits() as usize));
        2 * (self.bits[0] + self.bits[1]) + 6 * self.pairs + words.sum::<usize>()
    }

    /// Transfers of all kinds, both directions.
    #[must_use]
    pub fn transfers(&self) -> usize {
        self.calls().iter().map(|(_, n)| n).sum()
    }

    /// The numbers of transfers that are made in one call each, in order, with the party that chooses, so sends.
    fn calls(&self) -> Vec<(Role, usize)> {
        let pair = |[client, server]: [usize; 2]| [(Role::Client, client), (Role::Server, server)];
        let singles = pair(self.bits).into_iter().flat_map(|(role, bits)| [(role, bits), (role, self.pairs)]);
        singles.chain(self.words.iter().flat_map(|words| pair(words.count))).collect()
    }
}

/// Transfers a lane, and exchanges one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

    /// A transfer of a word.
    pub(super) fn words(chooser: Role, ring: Ring) -> Self {
        let mut count = [0; 2];
        count[chooser.index()] = 1;
        Self { lane: PerLane { words: vec![Words { ring, count }], ..PerLane::default() }, rounds: 1 }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Lanes.
    pub lanes: usize,
    /// What each needs.
    pub lane: PerLane,
    /// Exchanges.
    pub rounds: usize,
}

impl Batch {
    pub(super) fn new(values: usize, usage: &Usage) -> Self {
        Self { lanes: values.next_multiple_of(WORD), lane: usage.lane.clone(), rounds: usage.rounds }
    }

    /// Bytes that both parties send beforehand for the transfers, frames included.
    #[must_use]
    pub fn offline_bytes(&self) -> u64 {
        let bytes = |n: usize| extension_bytes(n) as u64 + FRAME_BYTES * extension_messages(n) as u64;
        self.lane.calls().into_iter().map(|(_, calls)| bytes(calls * self.lanes)).sum()
    }

    /// How often the client receives after it has sent while the transfers are made.
    #[must_use]
    pub fn offline_rounds(&self) -> u64 {
        let calls = self.lane.calls().into_iter().filter(|(_, calls)| calls * self.lanes > 0);
        let mut senders: Vec<Role> = calls.map(|(role, _)| role).collect();
        senders.dedup();
        senders.windows(2).filter(|pair| pair == &[Role::Client, Role::Server]).count() as u64
    }

    /// Bytes that both parties hold of the transfers until they are used. Of a transfer of a bit the one holds two
    /// bits and so does the other, of two bits three and four; of a word a choice and a word, and two words.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let [client, server] = self.lane.bits;
        let bits = 4 * (client + server) + 2 * 7 * self.lane.pairs;
        let words: usize = self.lane.words.iter().map(|words| words.count[0] + words.count[1]).sum();
        ((bits + words) * self.lanes / 8 + 3 * size_of::<u64>() * words * self.lanes) as u64
    }

    /// Bytes that both parties send online, frames included: one from each party an exchange.
    #[must_use]
    pub fn online_bytes(&self) -> u64 {
        (self.lane.online_bits() * self.lanes / 8) as u64 + 2 * FRAME_BYTES * self.rounds as u64
    }
}
