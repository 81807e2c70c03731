//! Random transfers as products, made ahead and used once.
//!
//! A random transfer is a product of two random factors that is held as shares: with the choice bit c and the
//! messages r0, r1 it is `c (r1 - r0) = got - r0`. One party knows the factor c, the other the factor r1 - r0,
//! each its share of the product. Taking removes: nothing can be used twice.

use super::ot::OtSetup;
use super::ring::Ring;
use super::slice::WORD;
use super::usage::{Batch, Words};
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

/// Lanes of random transfers of an element of a ring, as their receiver has them.
#[derive(Default)]
pub(super) struct ChosenWords {
    /// Planes.
    pub(super) choice: Vec<u64>,
    pub(super) got: Vec<u64>,
}

/// Lanes of random transfers of an element of a ring, as their sender has them.
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
    words: Vec<(Ring, ChosenWords, OfferedWords)>,
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
        // The client's choices first, so that each transfer has a sender and a receiver.
        for chooser in [Role::Client, Role::Server] {
            let lanes = |n: usize| n * batch.lanes;
            let (bits, pairs) = (lanes(batch.lane.bits[chooser.index()]), lanes(batch.lane.pairs));
            if chooser == role {
                stock.choose(ots, channel, step, [bits, pairs])?;
            } else {
                stock.offer(ots, channel, step, [bits, pairs])?;
            }
        }
        for Words { ring, count } in &batch.lane.words {
            let (mut chosen, mut offered) = (ChosenWords::default(), OfferedWords::default());
            let element = |bits| ring.uniform(bits);
            for (chooser, n) in [Role::Client, Role::Server].into_iter().zip(count) {
                let n = n * batch.lanes;
                if n > 0 && chooser == role {
                    let (choice, got) = ots.receive_blocks(channel, step, n, element)?;
                    chosen = ChosenWords { choice: choice.words, got };
                } else if n > 0 {
                    let [zero, one] = ots.send_blocks(channel, step, n, element)?;
                    offered = OfferedWords { zero, one };
                }
            }
            stock.words.push((*ring, chosen, offered));
        }
        Ok(stock)
    }

    fn choose(
        &mut self,
        ots: &mut OtSetup,
        channel: &mut dyn Channel,
        step: u32,
        [bits, pairs]: [usize; 2],
    ) -> Result<(), MpcError> {
        if bits > 0 {
            let ots = ots.receive_bits(channel, step, bits)?;
            self.chosen_bits = BitProducts { factor: ots.choice.words, share: ots.got.words };
        }
        if pairs > 0 {
            let (choice, got) = ots.receive_pairs(channel, step, pairs)?;
            let words = choice.words.len();
            self.chosen_pairs = ChosenPairs { factor: choice.words, shares: two_planes(got, words) };
        }
        Ok(())
    }

    fn offer(
        &mut self,
        ots: &mut OtSetup,
        channel: &mut dyn Channel,
        step: u32,
        [bits, pairs]: [usize; 2],
    ) -> Result<(), MpcError> {
        let xor = |a: &[u64], b: &[u64]| a.iter().zip(b).map(|(a, b)| a ^ b).collect();
        if bits > 0 {
            let mut ots = ots.send_bits(channel, step, bits)?;
            let factor = xor(&ots.zero.words, &ots.one.words);
            ots.one.zeroize();
            self.offered_bits = BitProducts { factor, share: ots.zero.words };
        }
        if pairs > 0 {
            let planes = ots.send_pairs(channel, step, pairs)?;
            let [[a0, b0], [mut a1, mut b1]] = planes.map(|lanes| two_planes(lanes, pairs / WORD));
            self.offered_pairs = [
                BitProducts { factor: xor(&a0, &a1), share: a0 },
                BitProducts { factor: xor(&b0, &b1), share: b0 },
            ];
            [&mut a1, &mut b1].into_iter().for_each(Zeroize::zeroize);
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

    /// One transfer of an element of `ring` a lane.
    pub(super) fn choose_words(&mut self, ring: Ring) -> Option<ChosenWords> {
        let (_, words, _) = self.words.iter_mut().find(|(of, ..)| *of == ring)?;
        let choice = tail(&mut words.choice, self.width)?;
        Some(ChosenWords { choice, got: tail(&mut words.got, self.width * WORD)? })
    }

    pub(super) fn offer_words(&mut self, ring: Ring) -> Option<OfferedWords> {
        let (_, _, words) = self.words.iter_mut().find(|(of, ..)| *of == ring)?;
        let lanes = self.width * WORD;
        Some(OfferedWords { zero: tail(&mut words.zero, lanes)?, one: tail(&mut words.one, lanes)? })
    }

    /// Whether everything was used.
    pub(super) fn is_used_up(&self) -> bool {
        let words = self.words.iter().flat_map(|(_, chosen, offered)| [&chosen.got, &offered.zero]);
        let bits = [
            &self.chosen_bits.factor,
            &self.offered_bits.factor,
            &self.chosen_pairs.factor,
            &self.offered_pairs[0].factor,
        ];
        bits.into_iter().chain(words).all(Vec::is_empty)
    }
}

/// Removes the last `n` words.
fn tail(words: &mut Vec<u64>, n: usize) -> Option<Vec<u64>> {
    Some(words.split_off(words.len().checked_sub(n)?))
}

/// First and second bits of transfers of two bits, of `words` words each.
fn two_planes(mut alternating: Vec<u64>, words: usize) -> [Vec<u64>; 2] {
    let of = |which: usize| alternating.iter().skip(which).step_by(2).take(words).copied().collect();
    let planes = [of(0), of(1)];
    alternating.zeroize();
    planes
}

#[cfg(test)]
mod tests {
    use super::super::{Function, Modulus, Step};
    use super::*;
    use crate::channel::InMemory;
    use crate::graph::{Interval, Requant};

    fn bytes(stock: &Stock) -> usize {
        let BitProducts { factor, share } = &stock.chosen_bits;
        let offered = [&stock.offered_bits, &stock.offered_pairs[0], &stock.offered_pairs[1]];
        let offered = offered.into_iter().flat_map(|bits| [&bits.factor, &bits.share]);
        let [a, b] = &stock.chosen_pairs.shares;
        let words = stock
            .words
            .iter()
            .flat_map(|(_, chosen, offered)| [&chosen.choice, &chosen.got, &offered.zero, &offered.one]);
        let all = [factor, share, &stock.chosen_pairs.factor, a, b].into_iter().chain(offered).chain(words);
        all.map(|words| size_of_val(&**words)).sum()
    }

    /// What memory is predicted to hold of transfers is what both parties hold.
    #[test]
    fn both_parties_hold_what_is_said() {
        let modulus = Modulus::new(1_032_193).unwrap();
        let requant = Requant { shift: 5, lo: -9, hi: 100 };
        let range = Interval { lo: -500_000, hi: 500_000 };
        for function in [
            Function::Less { bits: 19 },
            Function::Relu { modulus },
            Function::Requant { from: modulus, to: modulus, requant, range },
            Function::ArgMax { modulus },
        ] {
            let step = Step { id: 1, values: 300, function };
            let (mut client_ots, mut server_ots) = OtSetup::insecure_pair(3);
            let (mut client_end, mut server_end) = InMemory::pair();
            let mut held = 0;
            for batch in step.batches().unwrap() {
                let (client, server) = std::thread::scope(|scope| {
                    let server = scope.spawn(|| {
                        Stock::prepare(Role::Server, &mut server_ots, &mut server_end, 1, &batch).unwrap()
                    });
                    let client =
                        Stock::prepare(Role::Client, &mut client_ots, &mut client_end, 1, &batch).unwrap();
                    (client, server.join().unwrap())
                });
                let both = (bytes(&client) + bytes(&server)) as u64;
                assert_eq!(both, batch.held_bytes(), "{:?}", step.function);
                held += both;
            }
            assert!(held > 0 && held == step.footprint().unwrap().held_bytes);
        }
    }
}
