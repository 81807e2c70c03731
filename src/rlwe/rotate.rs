//! Rotations of ciphertexts: plain and hoisted.
//!
//! A rotation applies `X -> X^g` to a ciphertext and switches back to the old key. Plain: digits are cut
//! and used at once, prime by prime. Hoisted: digits are cut once for all rotations of a ciphertext. Both
//! do the same arithmetic and give the same bits.

use super::cipher::{Ciphertext, same};
use super::error::RlweError;
use super::gadget::MOST_DIGITS;
use super::galois::{Automorphism, LANES};
use super::galois_keys::GaloisKeys;
use super::kernels::Addends;
use super::pool::Words;
use super::switch::{Undigested, lifted, special_coefficients};

/// Extra words between digits, so that equal coefficients of all digits do not share a cache set.
const STAGGER: usize = LANES;

/// A ciphertext with its digits, ready for any number of rotations.
#[derive(Debug)]
pub struct Hoisted<'a> {
    pub(super) source: &'a Ciphertext,
    /// `[prime][digit]`, each N words and a stagger; those that reuse the source are left out.
    digits: Words,
}

impl<'a> Hoisted<'a> {
    /// Cuts the digits.
    ///
    /// # Errors
    /// If the ciphertext lacks primes.
    pub fn new(source: &'a Ciphertext) -> Result<Self, RlweError> {
        let params = &*source.params;
        complete(source)?;
        let count = params.gadget.digits();
        let stride = params.ring() + STAGGER;
        let mut digits = params.scratch.take(params.primes.len() * count * stride);
        let undigested = Undigested::new(params, &source.parts[1]);
        for (i, digit) in digits.chunks_exact_mut(stride).enumerate() {
            let (r, j) = (i / count, i % count);
            if !params.gadget.reuses(r, j) {
                undigested.digit(r, j, &mut digit[..params.ring()]);
            }
        }
        Ok(Self { source, digits })
    }

    /// The digits modulo prime `r`, blocks `first..first + blocks`.
    pub(super) fn slices<'s>(
        &'s self,
        r: usize,
        first: usize,
        blocks: usize,
        out: &mut [&'s [u64]; MOST_DIGITS],
    ) {
        let params = &*self.source.params;
        let count = params.gadget.digits();
        let range = first * LANES..(first + blocks) * LANES;
        for (j, slice) in out[..count].iter_mut().enumerate() {
            let whole = if params.gadget.reuses(r, j) {
                self.source.parts[1].limb(r)
            } else {
                let start = (r * count + j) * (params.ring() + STAGGER);
                &self.digits[start..start + params.ring()]
            };
            *slice = &whole[range.clone()];
        }
    }
}

/// The digits of a ciphertext that is used once, cut prime by prime.
#[derive(Debug)]
pub(super) struct Streamed<'a> {
    source: &'a Ciphertext,
    undigested: Undigested<'a>,
    /// `[digit]`, each N words and a stagger.
    digits: Words,
}

impl<'a> Streamed<'a> {
    /// For a ciphertext with all its primes.
    pub(super) fn new(source: &'a Ciphertext) -> Self {
        let params = &*source.params;
        let digits = params.scratch.take(params.gadget.digits() * (params.ring() + STAGGER));
        Self { source, undigested: Undigested::new(params, &source.parts[1]), digits }
    }

    /// The digits modulo prime `r`.
    pub(super) fn at(&mut self, r: usize) -> [&[u64]; MOST_DIGITS] {
        let params = &*self.source.params;
        let ring = params.ring();
        let mut slices: [&[u64]; MOST_DIGITS] = [&[]; MOST_DIGITS];
        for (j, (slice, digit)) in
            slices.iter_mut().zip(self.digits.chunks_exact_mut(ring + STAGGER)).enumerate()
        {
            *slice = if params.gadget.reuses(r, j) {
                self.source.parts[1].limb(r)
            } else {
                self.undigested.digit(r, j, &mut digit[..ring]);
                &digit[..ring]
            };
        }
        slices
    }
}

fn complete(source: &Ciphertext) -> Result<(), RlweError> {
    let (expected, found) = (source.params.top(), source.primes());
    if expected == found { Ok(()) } else { Err(RlweError::Level { expected, found }) }
}

impl GaloisKeys {
    /// One rotation.
    ///
    /// # Errors
    /// If the key is missing, parameters differ, or the ciphertext lacks primes.
    pub fn rotate(&self, source: &Ciphertext, by: Automorphism) -> Result<Ciphertext, RlweError> {
        let mut out = Ciphertext::unset(&self.params);
        self.rotate_into(source, by, &mut out)?;
        Ok(out)
    }

    /// One rotation, into a ciphertext that is there already: nothing is allocated after the first.
    ///
    /// # Errors
    /// If the key is missing, parameters differ, or one of the ciphertexts lacks primes.
    pub fn rotate_into(
        &self,
        source: &Ciphertext,
        by: Automorphism,
        out: &mut Ciphertext,
    ) -> Result<(), RlweError> {
        self.accepts(source)?;
        out.matches(source)?;
        let params = &*self.params;
        let Some(key) = self.key(by)? else {
            out.clone_from(source);
            return Ok(());
        };
        let mut digits = Streamed::new(source);
        self.switched(source, out, |r, addends, halves| {
            key.apply(params, r, 0, &digits.at(r)[..params.gadget.digits()], addends, halves);
        });
        Ok(())
    }

    /// One rotation of a hoisted ciphertext.
    ///
    /// # Errors
    /// If the key is missing or parameters differ.
    pub fn rotate_hoisted(&self, hoisted: &Hoisted<'_>, by: Automorphism) -> Result<Ciphertext, RlweError> {
        let mut out = Ciphertext::unset(&self.params);
        self.rotate_hoisted_into(hoisted, by, &mut out)?;
        Ok(out)
    }

    /// One rotation of a hoisted ciphertext, into one that is there already.
    ///
    /// # Errors
    /// If the key is missing, parameters differ, or the target lacks primes.
    pub fn rotate_hoisted_into(
        &self,
        hoisted: &Hoisted<'_>,
        by: Automorphism,
        out: &mut Ciphertext,
    ) -> Result<(), RlweError> {
        self.accepts(hoisted.source)?;
        out.matches(hoisted.source)?;
        let Some(key) = self.key(by)? else {
            out.clone_from(hoisted.source);
            return Ok(());
        };
        let params = &*self.params;
        self.switched(hoisted.source, out, |r, addends, halves| {
            let mut slices: [&[u64]; MOST_DIGITS] = [&[]; MOST_DIGITS];
            hoisted.slices(r, 0, params.ring() / LANES, &mut slices);
            key.apply(params, r, 0, &slices[..params.gadget.digits()], addends, halves);
        });
        Ok(())
    }

    /// Switches prime by prime: `apply` is given a prime, what to add, and where the result goes. The
    /// special primes come first, so that the division by them is done as the others are written.
    fn switched(
        &self,
        source: &Ciphertext,
        out: &mut Ciphertext,
        mut apply: impl FnMut(usize, Addends<'_>, [&mut [u64]; 2]),
    ) {
        let params = &*self.params;
        let (ring, top) = (params.ring(), params.top());
        let specials = ring * (params.primes.len() - top);
        let mut special = [params.scratch.take(specials), params.scratch.take(specials)];
        let [special0, special1] = &mut special;
        let halves = special0.chunks_exact_mut(ring).zip(special1.chunks_exact_mut(ring));
        for (r, (half0, half1)) in (top..).zip(halves) {
            apply(r, Addends::default(), [half0, half1]);
        }
        special.iter_mut().for_each(|half| special_coefficients(params, half));
        let mut fractions = [params.scratch.take(ring), params.scratch.take(ring)];
        let [out0, out1] = &mut out.parts;
        for r in 0..top {
            let base = Some(source.parts[0].limb(r));
            let minus = (specials > 0).then(|| {
                for (fraction, special) in fractions.iter_mut().zip(&special) {
                    lifted(params, r, special, fraction);
                }
                fractions.each_ref().map(|fraction| &fraction[..])
            });
            apply(r, Addends { base, minus, ..Addends::default() }, [out0.limb_mut(r), out1.limb_mut(r)]);
        }
    }

    pub(super) fn accepts(&self, source: &Ciphertext) -> Result<(), RlweError> {
        same(&self.params, &source.params)?;
        complete(source)
    }
}
