//! Random transfers as products, made ahead and used once.
//!
//! A random transfer is a product of two random factors that is held as shares: with the choice bit c and the
//! messages r0, r1 it is `c (r1 - r0) = got - r0`. One party knows the factor c, the other the factor r1 - r0,
//! each its share of the product. Taking removes: nothing can be used twice.

use super::ot::OtSetup;
use super::slice::{WORD, slice};
use super::usage::Batch;
use super::{MpcError, Role};
use crate::channel::Channel;
use std::fmt;
use zeroize::Zeroize;

/// Planes of products of bits: my factor, my share.
#[derive(Default)]
pub(super) struct BitProducts {
    pub(super) factor: Vec<u64>,
    pub(super) share: Vec<u64>,
}

impl BitProducts {
    /// Removes `words` words.
    fn take(&mut self, words: usize) -> Option<Self> {
        Some(Self { factor: tail(&mut self.factor, words)?, share: tail(&mut self.share, words)? })
    }
}

impl Drop for BitProducts {
    fn drop(&mut self) {
        self.factor.zeroize();
        self.share.zeroize();
    }
}

/// Lanes of random transfers of a word, as their receiver has them.
#[derive(Default)]
pub(super) struct ChosenWords {
    /// Planes.
    pub(super) choice: Vec<u64>,
    pub(super) got: Vec<u64>,
}

/// Lanes of random transfers of a word, as their sender has them.
#[derive(Default)]
pub(super) struct OfferedWords {
    pub(super) zero: Vec<u64>,
    pub(super) one: Vec<u64>,
}

impl Drop for ChosenWords {
    fn drop(&mut self) {
        self.choice.zeroize();
        self.got.zeroize();
    }
}

impl Drop for OfferedWords {
    fn drop(&mut self) {
        self.zero.zeroize();
        self.one.zeroize();
    }
}

/// Planes of pairs of products with one factor of mine.
#[derive(Default)]
pub(super) struct ChosenPairs {
    pub(super) factor: Vec<u64>,
    pub(super) shares: [Vec<u64>; 2],
}

impl Drop for ChosenPairs {
    fn drop(&mut self) {
        self.factor.zeroize();
        self.shares.iter_mut().for_each(Zeroize::zeroize);
    }
}

/// The transfers of one batch, as one party has them.
#[derive(Default)]
pub(super) struct Stock {
    width: usize,
    chosen_bits: BitProducts,
    offered_bits: BitProducts,
    chosen_pairs: ChosenPairs,
    offered_pairs: [BitProducts; 2],
    chosen_words: ChosenWords,
    offered_words: OfferedWords,
}

impl fmt::Debug for Stock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stock(lanes = {})", self.width * WORD)
    }
}

impl Stock {
    /// Makes the transfers of `batch` with the other party.
    pub(super) fn prepare(
        role: Role,
        ots: &mut OtSetup,
        channel: &mut dyn Channel,
        step: u32,
        batch: &Batch,
    ) -> Result<Self, MpcError> {
        let mut stock = Self { width: batch.lanes / WORD, ..Self::default() };
        // The other party's choices first at one end, so that each transfer has a sender and a receiver.
        for chooser in [Role::Client, Role::Server] {
            let lane = &batch.lane;
            let counts = [lane.bits[chooser.index()], lane.pairs, lane.words[chooser.index()]];
            let counts = counts.map(|n| n * batch.lanes);
            if chooser == role {
                stock.choose(ots, channel, step, counts)?;
            } else {
                stock.offer(ots, channel, step, counts)?;
            }
        }
        Ok(stock)
    }

    fn choose(
        &mut self,
        ots: &mut OtSetup,
        channel: &mut dyn Channel,
        step: u32,
        [bits, pairs, words]: [usize; 3],
    ) -> Result<(), MpcError> {
        if bits > 0 {
            let ots = ots.receive_bits(channel, step, bits)?;
            self.chosen_bits = BitProducts { factor: ots.choice.words, share: ots.got.words };
        }
        if pairs > 0 {
            let mut ots = ots.receive_words(channel, step, pairs, 2)?;
            self.chosen_pairs = ChosenPairs { factor: ots.choice.words, shares: two_planes(&ots.got) };
            ots.got.zeroize();
        }
        if words > 0 {
            let ots = ots.receive_words(channel, step, words, u64::BITS)?;
            self.chosen_words = ChosenWords { choice: ots.choice.words, got: ots.got };
        }
        Ok(())
    }

    fn offer(
        &mut self,
        ots: &mut OtSetup,
        channel: &mut dyn Channel,
        step: u32,
        [bits, pairs, words]: [usize; 3],
    ) -> Result<(), MpcError> {
        let xor = |a: &[u64], b: &[u64]| a.iter().zip(b).map(|(a, b)| a ^ b).collect();
        if bits > 0 {
            let ots = ots.send_bits(channel, step, bits)?;
            let factor = xor(&ots.zero.words, &ots.one.words);
            self.offered_bits = BitProducts { factor, share: ots.zero.words };
        }
        if pairs > 0 {
            let mut ots = ots.send_words(channel, step, pairs, 2)?;
            let (zero, one) = (two_planes(&ots.zero), two_planes(&ots.one));
            ots.zero.zeroize();
            ots.one.zeroize();
            let factors = [xor(&zero[0], &one[0]), xor(&zero[1], &one[1])];
            let [a, b] = zero;
            let [factor_a, factor_b] = factors;
            self.offered_pairs =
                [BitProducts { factor: factor_a, share: a }, BitProducts { factor: factor_b, share: b }];
        }
        if words > 0 {
            let ots = ots.send_words(channel, step, words, u64::BITS)?;
            self.offered_words = OfferedWords { zero: ots.zero, one: ots.one };
        }
        Ok(())
    }

    /// Words of a plane.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn choose_bits(&mut self, planes: usize) -> Option<BitProducts> {
        self.chosen_bits.take(planes * self.width)
    }

    pub(super) fn offer_bits(&mut self, planes: usize) -> Option<BitProducts> {
        self.offered_bits.take(planes * self.width)
    }

    /// Two products for each of `planes` planes, with one factor.
    pub(super) fn choose_pairs(&mut self, planes: usize) -> Option<ChosenPairs> {
        let words = planes * self.width;
        let ChosenPairs { factor, shares: [a, b] } = &mut self.chosen_pairs;
        Some(ChosenPairs { factor: tail(factor, words)?, shares: [tail(a, words)?, tail(b, words)?] })
    }

    pub(super) fn offer_pairs(&mut self, planes: usize) -> Option<[BitProducts; 2]> {
        let words = planes * self.width;
        let [a, b] = &mut self.offered_pairs;
        Some([a.take(words)?, b.take(words)?])
    }

    /// One transfer of a word a lane.
    pub(super) fn choose_words(&mut self) -> Option<ChosenWords> {
        let words = &mut self.chosen_words;
        let choice = tail(&mut words.choice, self.width)?;
        Some(ChosenWords { choice, got: tail(&mut words.got, self.width * WORD)? })
    }

    pub(super) fn offer_words(&mut self) -> Option<OfferedWords> {
        let words = &mut self.offered_words;
        let lanes = self.width * WORD;
        Some(OfferedWords { zero: tail(&mut words.zero, lanes)?, one: tail(&mut words.one, lanes)? })
    }

    /// Whether everything was used.
    pub(super) fn is_used_up(&self) -> bool {
        let Self {
            chosen_bits, offered_bits, chosen_pairs, offered_pairs, chosen_words, offered_words, ..
        } = self;
        let rest = [
            &chosen_bits.factor,
            &offered_bits.factor,
            &chosen_pairs.factor,
            &offered_pairs[0].factor,
            &chosen_words.got,
            &offered_words.zero,
        ];
        rest.iter().all(|words| words.is_empty())
    }
}

/// Removes the last `n` words.
fn tail(words: &mut Vec<u64>, n: usize) -> Option<Vec<u64>> {
    Some(words.split_off(words.len().checked_sub(n)?))
}

/// Both bits of each lane.
fn two_planes(lanes: &[u64]) -> [Vec<u64>; 2] {
    let mut planes = slice(lanes, 2);
    let second = planes.split_off(planes.len() / 2);
    [planes, second]
}
