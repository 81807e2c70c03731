//! The clear backend: plain values modulo t, no secret at all. It defines what every operation means.
//!
//! Slots lie in two rows of N/2; a rotation turns both rows left. Products of coefficients are modulo
//! X^N + 1. The set of Galois keys is kept as on a
//! real scheme, so that a circuit which lacks one fails here too. Nothing is protected.

use super::wire::{self, Envelope, Kind, Reader};
use super::{
    BackendError, Basis, BatchStep, CLEAR_SLOT as SLOT, ClientKeys, Evaluator, Operand, SchemeParams, Sent,
    Term,
};
use crate::circuit::Step;
use crate::params::Encoding;
use std::collections::BTreeSet;

const NAME: &str = "clear";

/// The client's side: knows the parameters, has no key.
#[derive(Debug)]
pub struct ClearKeys {
    space: Space,
}

/// The server's side: the steps it may use.
#[derive(Debug)]
pub struct ClearEvaluator {
    space: Space,
    columns: BTreeSet<u32>,
}

/// N slots or coefficients in `0..t`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearCiphertext {
    slots: Vec<u64>,
}

/// Values in `-t/2..=t/2`, and how far a product with them goes.
#[derive(Clone, Debug)]
pub struct ClearPlaintext {
    factor: Factor,
    /// No value of a product exceeds this times t.
    bound: u64,
}

#[derive(Clone, Debug)]
enum Factor {
    /// N slots.
    Slots(Vec<i64>),
    /// The coefficients that are not 0, with their places: all above 0 before all below.
    Coefficients(Vec<(usize, i64)>),
}

/// Parameters and wire format.
#[derive(Clone, Debug)]
struct Space {
    params: SchemeParams,
    ring: usize,
    modulus: u64,
    envelope: Envelope,
}

impl Space {
    fn new(params: &SchemeParams) -> Result<Self, BackendError> {
        let refused = |reason| BackendError::Parameters { backend: NAME, reason };
        if !params.ring.is_power_of_two() || !(4..=1 << 17).contains(&params.ring) {
            return Err(refused(format!("ring degree {} is no power of two in 4..=2^17", params.ring)));
        }
        if !(2..1 << 60).contains(&params.plain_modulus) {
            return Err(refused(format!(
                "plaintext modulus {} is not between 2 and 2^60",
                params.plain_modulus
            )));
        }
        Ok(Self {
            params: params.clone(),
            ring: params.ring as usize,
            modulus: params.plain_modulus,
            envelope: Envelope::new(NAME, params),
        })
    }

    fn write(&self, kind: Kind, slots: &[u64]) -> Vec<u8> {
        let body: Vec<u8> = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
        self.envelope.seal(kind, &body)
    }

    fn read(&self, kind: Kind, count: usize, bytes: &[u8]) -> Result<Vec<u64>, BackendError> {
        let mut reader = Reader::new(kind, self.envelope.open(kind, bytes)?);
        let slots = reader
            .take(count * SLOT)?
            .chunks_exact(SLOT)
            .map(|chunk| {
                let mut slot = [0; SLOT];
                slot.copy_from_slice(chunk);
                u64::from_le_bytes(slot)
            })
            .collect::<Vec<_>>();
        reader.finish()?;
        wire::check_slots(&slots, count, self.modulus)?;
        Ok(slots)
    }
}

impl ClientKeys for ClearKeys {
    fn generate(params: &SchemeParams) -> Result<Self, BackendError> {
        Ok(Self { space: Space::new(params)? })
    }

    fn evaluation_keys(&self, steps: &[Step]) -> Result<Vec<u8>, BackendError> {
        let columns = wire::columns(self.space.ring, steps)?;
        let body: Vec<u8> = columns.iter().flat_map(|column| column.to_le_bytes()).collect();
        Ok(self.space.envelope.seal(Kind::Keys, &body))
    }

    fn encrypt(&self, slots: &[u64]) -> Result<Vec<u8>, BackendError> {
        wire::check_slots(slots, self.space.ring, self.space.modulus)?;
        Ok(self.space.write(Kind::Fresh, slots))
    }

    fn decrypt(&self, ciphertext: &[u8], sent: Sent<'_>) -> Result<Vec<u64>, BackendError> {
        let positions = wire::positions(&self.space.params, sent)?;
        let ring = self.space.ring;
        match self.space.envelope.kind(ciphertext, &[Kind::Reply, Kind::Fresh])? {
            kind @ (Kind::Fresh | Kind::Keys) => self.space.read(kind, ring, ciphertext),
            kind @ Kind::Reply => {
                let values = self.space.read(kind, positions.map_or(ring, <[u32]>::len), ciphertext)?;
                Ok(wire::scatter(ring, positions, values))
            }
        }
    }
}

impl ClearEvaluator {
    fn automorphism(&self, src: &ClearCiphertext, step: Step) -> Result<ClearCiphertext, BackendError> {
        let column = wire::column(self.space.ring, step)?;
        if !self.columns.contains(&column) {
            return Err(BackendError::MissingKey(step));
        }
        let (top, bottom) = src.slots.split_at(self.space.ring / 2);
        let slots = match step {
            Step::SwapRows => [bottom, top].concat(),
            Step::Rotate(_) => {
                let (top, bottom) = (top.split_at(column as usize), bottom.split_at(column as usize));
                [top.1, top.0, bottom.1, bottom.0].concat()
            }
        };
        Ok(ClearCiphertext { slots })
    }
}

impl Evaluator for ClearEvaluator {
    type Ciphertext = ClearCiphertext;
    type Extended = ClearCiphertext;
    type Plaintext = ClearPlaintext;

    fn from_keys(params: &SchemeParams, keys: &[u8]) -> Result<Self, BackendError> {
        let space = Space::new(params)?;
        let mut reader = Reader::new(Kind::Keys, space.envelope.open(Kind::Keys, keys)?);
        let mut columns = BTreeSet::new();
        while reader.left() > 0 {
            let column = reader.u32()?;
            if column as usize >= space.ring / 2 || columns.last().is_some_and(|&last| last >= column) {
                return Err(Kind::Keys.malformed(format!("step {column} out of range or order")));
            }
            columns.insert(column);
        }
        Ok(Self { space, columns })
    }

    fn ring(&self) -> usize {
        self.space.ring
    }

    fn load(&self, bytes: &[u8]) -> Result<ClearCiphertext, BackendError> {
        Ok(ClearCiphertext { slots: self.space.read(Kind::Fresh, self.space.ring, bytes)? })
    }

    fn store(&self, ciphertext: &ClearCiphertext, sent: Sent<'_>) -> Result<Vec<u8>, BackendError> {
        let slots = &ciphertext.slots;
        match wire::positions(&self.space.params, sent)? {
            None => Ok(self.space.write(Kind::Reply, slots)),
            Some(positions) => {
                let wanted: Vec<u64> = positions.iter().map(|&at| slots[at as usize]).collect();
                Ok(self.space.write(Kind::Reply, &wanted))
            }
        }
    }

    fn encode(&self, slots: &[i64], _: Basis) -> Result<ClearPlaintext, BackendError> {
        if slots.len() != self.space.ring {
            return Err(BackendError::Malformed {
                what: "slots",
                reason: format!("{} slots, the ring has {}", slots.len(), self.space.ring),
            });
        }
        let modulus = self.space.modulus.cast_signed();
        let values = slots.iter().map(|&slot| centred(slot, modulus));
        Ok(match self.space.params.workload.encoding {
            Encoding::Slots => {
                let slots: Vec<i64> = values.collect();
                let bound = slots.iter().map(|slot| slot.unsigned_abs()).max().unwrap_or(0);
                ClearPlaintext { factor: Factor::Slots(slots), bound }
            }
            Encoding::Coefficients => {
                let values: Vec<i64> = values.collect();
                let bound = values.iter().fold(0, |sum: u64, w| sum.saturating_add(w.unsigned_abs()));
                ClearPlaintext { factor: coefficients(&values), bound }
            }
        })
    }

    fn plaintext_bytes(&self, _: Basis) -> u64 {
        8 * self.space.ring as u64
    }

    fn automorphisms(
        &self,
        sources: &[&ClearCiphertext],
        steps: &[BatchStep],
    ) -> Result<Vec<ClearCiphertext>, BackendError> {
        steps.iter().map(|&(source, step)| self.automorphism(sources[source], step)).collect()
    }

    fn extended(
        &self,
        sources: &[&ClearCiphertext],
        steps: &[BatchStep],
    ) -> Result<Vec<ClearCiphertext>, BackendError> {
        self.automorphisms(sources, steps)
    }

    fn rotate_sum(
        &self,
        summands: &[(&ClearCiphertext, Option<Step>)],
    ) -> Result<ClearCiphertext, BackendError> {
        let mut sum = ClearCiphertext { slots: vec![0; self.space.ring] };
        for &(summand, step) in summands {
            match step {
                Some(step) => self.add_assign(&mut sum, &self.automorphism(summand, step)?),
                None => self.add_assign(&mut sum, summand),
            }
        }
        Ok(sum)
    }

    fn dot<'a>(
        &self,
        terms: &mut dyn Iterator<Item = Term<'a, Self>>,
    ) -> Result<ClearCiphertext, BackendError>
    where
        Self: 'a,
    {
        let mut sum = Sum::new(self.space.ring, self.space.modulus);
        for term in terms {
            let (Operand::Ciphertext(operand) | Operand::Extended(operand), plaintext) = term?;
            sum.accumulate(&operand.slots, &plaintext);
        }
        Ok(ClearCiphertext { slots: sum.finish() })
    }

    fn add_assign(&self, a: &mut ClearCiphertext, b: &ClearCiphertext) {
        add_slots(&mut a.slots, &b.slots, self.space.modulus);
    }

    fn add_plain(&self, a: &mut ClearCiphertext, slots: &[u64]) -> Result<(), BackendError> {
        wire::check_slots(slots, self.space.ring, self.space.modulus)?;
        add_slots(&mut a.slots, slots, self.space.modulus);
        Ok(())
    }
}

/// The coefficients that are not 0.
fn coefficients(values: &[i64]) -> Factor {
    let terms = values.iter().copied().enumerate().filter(|&(_, value)| value != 0);
    let (mut terms, below): (Vec<_>, Vec<_>) = terms.partition(|&(_, value)| value > 0);
    terms.extend(below);
    Factor::Coefficients(terms)
}

fn add_slots(a: &mut [u64], b: &[u64], modulus: u64) {
    for (a, &b) in a.iter_mut().zip(b) {
        let sum = *a + b;
        *a = if sum >= modulus { sum - modulus } else { sum };
    }
}

/// `value` modulo `modulus`, of least magnitude.
fn centred(value: i64, modulus: i64) -> i64 {
    if value.unsigned_abs() <= modulus.unsigned_abs() / 2 {
        return value;
    }
    let rest = value.rem_euclid(modulus);
    if rest > modulus / 2 { rest - modulus } else { rest }
}

/// Moduli up to this have residues of 32 bits.
const NARROW: u64 = 1 << 32;
/// Those bits.
const LOW: u64 = NARROW - 1;

/// A sum of products that is reduced only when the next term could overflow.
struct Sum {
    slots: Vec<i64>,
    /// Of the last factor -c and c, one after the other: what X^k turns it to is N of them in a row.
    unrolled: Vec<u64>,
    modulus: u64,
    /// No slot exceeds this in magnitude.
    bound: u64,
}

impl Sum {
    /// A sum never goes beyond this; a term of more is reduced before it is added.
    const LIMIT: u64 = 1 << 62;

    fn new(ring: usize, modulus: u64) -> Self {
        Self { slots: vec![0; ring], unrolled: Vec::new(), modulus, bound: 0 }
    }

    fn accumulate(&mut self, ciphertext: &[u64], plaintext: &ClearPlaintext) {
        let modulus = self.modulus.cast_signed();
        let product = plaintext.bound.checked_mul(self.modulus).filter(|&p| p <= Self::LIMIT);
        let term = product.unwrap_or(self.modulus);
        if self.bound.saturating_add(term) > Self::LIMIT {
            self.slots.iter_mut().for_each(|slot| *slot %= modulus);
            self.bound = self.modulus;
        }
        self.bound = self.bound.saturating_add(term);
        match (&plaintext.factor, product.is_some()) {
            (Factor::Slots(slots), true) if self.modulus <= NARROW => {
                let pairs = self.slots.iter_mut().zip(ciphertext.iter().zip(slots));
                // Masked, though all are below: then the compiler takes the multiplication that vectors have.
                pairs.for_each(|(sum, (c, p))| *sum += (c & LOW).cast_signed() * p);
            }
            (Factor::Slots(slots), true) => {
                let pairs = self.slots.iter_mut().zip(ciphertext.iter().zip(slots));
                pairs.for_each(|(sum, (c, p))| *sum += c.cast_signed() * p);
            }
            (Factor::Slots(slots), false) => {
                let pairs = self.slots.iter_mut().zip(ciphertext.iter().zip(slots));
                pairs.for_each(|(sum, (c, p))| *sum += wide_product(*c, *p, modulus));
            }
            (Factor::Coefficients(terms), true) if self.modulus <= NARROW => {
                self.unrolled.clear();
                self.unrolled.extend(ciphertext.iter().map(|c| self.modulus - c));
                self.unrolled.extend(ciphertext);
                let (above, below) = terms.split_at(terms.partition_point(|&(_, weight)| weight > 0));
                let unrolled = &self.unrolled;
                few_at_once(&mut self.slots, unrolled, above, |sum, products| *sum += products);
                few_at_once(&mut self.slots, unrolled, below, |sum, products| *sum -= products);
            }
            (Factor::Coefficients(terms), true) => {
                for &(place, weight) in terms {
                    turned(&mut self.slots, ciphertext, place, |c| c.cast_signed() * weight);
                }
            }
            (Factor::Coefficients(terms), false) => {
                let mut rest = vec![0; self.slots.len()];
                for &(place, weight) in terms {
                    turned(&mut rest, ciphertext, place, |c| wide_product(c, weight, modulus));
                    rest.iter_mut().for_each(|sum| *sum %= modulus);
                }
                self.slots.iter_mut().zip(rest).for_each(|(sum, rest)| *sum += rest);
            }
        }
    }

    fn finish(self) -> Vec<u64> {
        let modulus = self.modulus.cast_signed();
        self.slots.into_iter().map(|slot| slot.rem_euclid(modulus).cast_unsigned()).collect()
    }
}

/// Takes to `sums` the products of what `terms` turn out of `unrolled`, up to t each, by the magnitudes of their
/// weights; a few in one pass. Magnitudes are below 2^32, as half a narrow modulus is.
fn few_at_once(sums: &mut [i64], unrolled: &[u64], terms: &[(usize, i64)], take: impl Fn(&mut i64, i64)) {
    let ring = sums.len();
    let turned =
        |&(place, weight): &(usize, i64)| (&unrolled[ring - place..][..ring], weight.unsigned_abs() & LOW);
    // -c of 0 is the modulus; if that is 2^32, the mask leaves 0, which is the same residue.
    let product = |c: u64, weight: u64| ((c & LOW) * weight).cast_signed();
    let (fours, rest) = terms.as_chunks::<4>();
    for four in fours {
        let [(a, u), (b, v), (c, w), (d, x)] = four.each_ref().map(turned);
        for (i, sum) in sums.iter_mut().enumerate() {
            let pairs = (product(a[i], u) + product(b[i], v), product(c[i], w) + product(d[i], x));
            take(sum, pairs.0 + pairs.1);
        }
    }
    for (values, weight) in rest.iter().map(turned) {
        sums.iter_mut().zip(values).for_each(|(sum, &c)| take(sum, product(c, weight)));
    }
}

/// Adds the `product` of each coefficient, turned by `place` places around X^N = -1.
fn turned(sums: &mut [i64], coefficients: &[u64], place: usize, product: impl Fn(u64) -> i64) {
    let (below, above) = coefficients.split_at(coefficients.len() - place);
    let (wrapped, shifted) = sums.split_at_mut(place);
    shifted.iter_mut().zip(below).for_each(|(sum, &c)| *sum += product(c));
    wrapped.iter_mut().zip(above).for_each(|(sum, &c)| *sum -= product(c));
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below the modulus, which is an i64")]
fn wide_product(c: u64, p: i64, modulus: i64) -> i64 {
    (i128::from(c) * i128::from(p) % i128::from(modulus)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of products of both kinds, for narrow, wide and very wide moduli, against sums of 128 bits.
    #[test]
    fn sums_are_exact() {
        const RING: usize = 16;
        for modulus in [2, 97, 5_767_169, LOW, NARROW, NARROW + 15, (1 << 60) - 93] {
            let mut state = modulus | 1;
            let mut draw = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                u64::try_from((u128::from(state) * u128::from(below)) >> 64).unwrap()
            };
            let mut sums = [Sum::new(RING, modulus), Sum::new(RING, modulus)];
            let mut expected = [[0_i128; RING]; 2];
            for round in 0..40 {
                // All kinds of residues, the least and the greatest among them.
                let mut value = |_| [draw(modulus), 0, modulus - 1, draw(modulus)][round % 4];
                let c: Vec<u64> = (0..RING).map(&mut value).collect();
                let weights: Vec<i64> =
                    (0..RING).map(|_| centred(draw(modulus).cast_signed(), modulus.cast_signed())).collect();
                for (i, &w) in weights.iter().enumerate() {
                    expected[0][i] += i128::from(c[i]) * i128::from(w);
                    for (j, &c) in c.iter().enumerate() {
                        let sign = if i + j < RING { 1 } else { -1 };
                        expected[1][(i + j) % RING] += sign * i128::from(c) * i128::from(w);
                    }
                }
                let most = weights.iter().map(|w| w.unsigned_abs()).max().unwrap_or(0);
                let all = weights.iter().fold(0, |sum: u64, w| sum.saturating_add(w.unsigned_abs()));
                sums[0]
                    .accumulate(&c, &ClearPlaintext { factor: Factor::Slots(weights.clone()), bound: most });
                sums[1].accumulate(&c, &ClearPlaintext { factor: coefficients(&weights), bound: all });
            }
            for (sum, expected) in sums.into_iter().zip(expected) {
                let expected = expected.map(|x| x.rem_euclid(i128::from(modulus)));
                assert_eq!(sum.finish().into_iter().map(i128::from).collect::<Vec<_>>(), expected);
            }
        }
    }
}
