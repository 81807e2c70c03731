//! Rotations of ciphertexts: plain and hoisted, one or several by one key.
//!
//! A rotation applies `X -> X^g` to a ciphertext and switches back to the old key. Plain: digits are cut
//! and used at once, prime by prime. Hoisted: digits are cut once for all rotations of a ciphertext. Both
//! do the same arithmetic and give the same bits. A ciphertext that lacks primes has fewer digits.

use super::cipher::{Ciphertext, same};
use super::error::RlweError;
use super::gadget::MOST_DIGITS;
use super::galois::{Automorphism, LANES};
use super::galois_keys::GaloisKeys;
use super::kernels::Addends;
use super::params::Parameters;
use super::pool::Words;
use super::switch::{Undigested, lifted, special_coefficients};
use super::switch_key::SwitchKey;
use std::ops::{Deref, Range};

/// Extra words between digits, so that equal coefficients of all digits do not share a cache set.
const STAGGER: usize = LANES;

/// The digits of a polynomial modulo one prime.
#[derive(Debug)]
pub(super) struct Slices<'a> {
    slices: [&'a [u64]; MOST_DIGITS],
    count: usize,
}

impl<'a> Deref for Slices<'a> {
    type Target = [&'a [u64]];

    fn deref(&self) -> &[&'a [u64]] {
        &self.slices[..self.count]
    }
}

/// How many digits `source` has; refuses one that lacks some of a digit's primes.
pub(super) fn digits(source: &Ciphertext) -> Result<usize, RlweError> {
    let (expected, found) = (source.params.top(), source.primes());
    source.params.gadget.digits_at(found).ok_or(RlweError::Level { expected, found })
}

/// The primes that the key switch of `source` goes over: its own, then the special ones.
fn switched_primes(source: &Ciphertext) -> impl Iterator<Item = usize> {
    let params = &source.params;
    (0..source.primes()).chain(params.top()..params.primes.len())
}

/// A ciphertext with its digits, ready for any number of rotations.
#[derive(Debug)]
pub struct Hoisted<'a> {
    pub(super) source: &'a Ciphertext,
    count: usize,
    /// `[prime][digit]`, each N words and a stagger; those that reuse the source are left out.
    digits: Words,
}

impl<'a> Hoisted<'a> {
    /// Cuts the digits.
    ///
    /// # Errors
    /// If the ciphertext lacks some of a digit's primes.
    pub fn new(source: &'a Ciphertext) -> Result<Self, RlweError> {
        let params = &*source.params;
        let count = digits(source)?;
        let stride = params.ring() + STAGGER;
        let mut digits = params.scratch.take(switched_primes(source).count() * count * stride);
        let undigested = Undigested::new(params, &source.parts[1]);
        for (r, digits) in switched_primes(source).zip(digits.chunks_exact_mut(count * stride)) {
            for (j, digit) in digits.chunks_exact_mut(stride).enumerate() {
                if !params.gadget.reuses(r, j) {
                    undigested.digit(r, j, &mut digit[..params.ring()]);
                }
            }
        }
        Ok(Self { source, count, digits })
    }

    /// The digits modulo prime `r`, of a range of coefficients.
    pub(super) fn slices(&self, r: usize, range: Range<usize>) -> Slices<'_> {
        let params = &*self.source.params;
        let row = if r < params.top() { r } else { r - params.top() + self.source.primes() };
        let mut slices: [&[u64]; MOST_DIGITS] = [&[]; MOST_DIGITS];
        for (j, slice) in slices[..self.count].iter_mut().enumerate() {
            let whole = if params.gadget.reuses(r, j) {
                self.source.parts[1].limb(r)
            } else {
                let start = (row * self.count + j) * (params.ring() + STAGGER);
                &self.digits[start..start + params.ring()]
            };
            *slice = &whole[range.clone()];
        }
        Slices { slices, count: self.count }
    }
}

/// Where the digits of a ciphertext come from.
#[derive(Debug)]
pub(super) enum Digits<'a> {
    /// They are cut prime by prime, into memory for those modulo one.
    Streamed { source: &'a Ciphertext, undigested: Undigested<'a>, count: usize, digits: Words },
    /// They are there.
    Hoisted(&'a Hoisted<'a>),
}

impl<'a> Digits<'a> {
    /// For one use.
    pub(super) fn stream(source: &'a Ciphertext) -> Result<Self, RlweError> {
        let (params, count) = (&*source.params, digits(source)?);
        let digits = params.scratch.take(count * (params.ring() + STAGGER));
        let undigested = Undigested::new(params, &source.parts[1]);
        Ok(Self::Streamed { source, undigested, count, digits })
    }

    pub(super) fn source(&self) -> &'a Ciphertext {
        match self {
            Self::Streamed { source, .. } => source,
            Self::Hoisted(hoisted) => hoisted.source,
        }
    }

    /// The digits modulo prime `r`.
    pub(super) fn at(&mut self, r: usize) -> Slices<'_> {
        let (source, undigested, count, digits) = match self {
            Self::Hoisted(hoisted) => return hoisted.slices(r, 0..hoisted.source.params.ring()),
            Self::Streamed { source, undigested, count, digits } => (source, undigested, *count, digits),
        };
        let (params, ring) = (&*source.params, source.params.ring());
        let mut slices: [&[u64]; MOST_DIGITS] = [&[]; MOST_DIGITS];
        let targets = digits.chunks_exact_mut(ring + STAGGER);
        for (j, (slice, digit)) in slices.iter_mut().zip(targets).enumerate() {
            *slice = if params.gadget.reuses(r, j) {
                source.parts[1].limb(r)
            } else {
                undigested.digit(r, j, &mut digit[..ring]);
                &digit[..ring]
            };
        }
        Slices { slices, count }
    }
}

impl GaloisKeys {
    /// One rotation.
    ///
    /// # Errors
    /// If the key is missing, parameters differ, or the ciphertext lacks some of a digit's primes.
    pub fn rotate(&self, source: &Ciphertext, by: Automorphism) -> Result<Ciphertext, RlweError> {
        let mut out = Ciphertext::unset(&source.params, source.primes());
        self.rotate_into(source, by, &mut out)?;
        Ok(out)
    }

    /// One rotation, into a ciphertext that is there already.
    ///
    /// # Errors
    /// If the key is missing, parameters or levels differ, or the ciphertext lacks some of a digit's primes.
    pub fn rotate_into(
        &self,
        source: &Ciphertext,
        by: Automorphism,
        out: &mut Ciphertext,
    ) -> Result<(), RlweError> {
        same(&self.params, &source.params)?;
        out.matches(source)?;
        self.switch(&mut [Digits::stream(source)?], by, std::slice::from_mut(out))
    }

    /// The same rotation of several ciphertexts: each part of the key is read from memory once for all.
    ///
    /// # Errors
    /// As [`GaloisKeys::rotate`].
    pub fn rotate_many(
        &self,
        sources: &[&Ciphertext],
        by: Automorphism,
    ) -> Result<Vec<Ciphertext>, RlweError> {
        let streamed = sources.iter().map(|source| {
            same(&self.params, &source.params)?;
            Digits::stream(source)
        });
        self.switch_many(streamed.collect::<Result<_, _>>()?, by)
    }

    /// One rotation of a hoisted ciphertext.
    ///
    /// # Errors
    /// If the key is missing or parameters differ.
    pub fn rotate_hoisted(&self, hoisted: &Hoisted<'_>, by: Automorphism) -> Result<Ciphertext, RlweError> {
        let mut out = Ciphertext::unset(&hoisted.source.params, hoisted.source.primes());
        self.rotate_hoisted_into(hoisted, by, &mut out)?;
        Ok(out)
    }

    /// One rotation of a hoisted ciphertext, into one that is there already.
    ///
    /// # Errors
    /// If the key is missing, or parameters or levels differ.
    pub fn rotate_hoisted_into(
        &self,
        hoisted: &Hoisted<'_>,
        by: Automorphism,
        out: &mut Ciphertext,
    ) -> Result<(), RlweError> {
        same(&self.params, &hoisted.source.params)?;
        out.matches(hoisted.source)?;
        self.switch(&mut [Digits::Hoisted(hoisted)], by, std::slice::from_mut(out))
    }

    /// The same rotation of several hoisted ciphertexts: each part of the key is read from memory once for
    /// all.
    ///
    /// # Errors
    /// If the key is missing or parameters differ.
    pub fn rotate_hoisted_many(
        &self,
        hoisted: &[&Hoisted<'_>],
        by: Automorphism,
    ) -> Result<Vec<Ciphertext>, RlweError> {
        let there = hoisted.iter().map(|&hoisted| {
            same(&self.params, &hoisted.source.params)?;
            Ok(Digits::Hoisted(hoisted))
        });
        self.switch_many(there.collect::<Result<_, RlweError>>()?, by)
    }

    fn switch_many(
        &self,
        mut digits: Vec<Digits<'_>>,
        by: Automorphism,
    ) -> Result<Vec<Ciphertext>, RlweError> {
        let unset = |digits: &Digits<'_>| Ciphertext::unset(&self.params, digits.source().primes());
        let mut outs: Vec<_> = digits.iter().map(unset).collect();
        self.switch(&mut digits, by, &mut outs)?;
        Ok(outs)
    }

    /// Turns and switches each source, into a target of its level.
    fn switch(
        &self,
        digits: &mut [Digits<'_>],
        by: Automorphism,
        outs: &mut [Ciphertext],
    ) -> Result<(), RlweError> {
        match self.key(by)? {
            Some(key) => switch(&self.params, key, digits, outs),
            None => digits.iter().zip(outs).for_each(|(digits, out)| out.clone_from(digits.source())),
        }
        Ok(())
    }
}

/// Switches prime by prime, each for all sources. The special primes come first, so that the division by
/// them is done as the others are written.
pub(super) fn switch(
    params: &Parameters,
    key: &SwitchKey,
    digits: &mut [Digits<'_>],
    outs: &mut [Ciphertext],
) {
    let (ring, top) = (params.ring(), params.top());
    let specials = ring * (params.primes.len() - top);
    let mut special = [(); 2].map(|()| params.scratch.take(specials * digits.len()));
    for r in top..params.primes.len() {
        let start = (r - top) * ring;
        for (i, digits) in digits.iter_mut().enumerate() {
            let at = i * specials + start..i * specials + start + ring;
            let halves = special.each_mut().map(|half| &mut half[at.clone()]);
            key.apply(params, r, 0, &digits.at(r), Addends::default(), halves);
        }
    }
    if specials > 0 {
        special.iter_mut().flat_map(|half| half.chunks_exact_mut(specials)).for_each(|special| {
            special_coefficients(params, special);
        });
    }
    let mut fractions = [(); 2].map(|()| params.scratch.take(ring));
    for r in 0..top {
        for (i, (digits, out)) in digits.iter_mut().zip(&mut *outs).enumerate() {
            let source = digits.source();
            if r >= source.primes() {
                continue;
            }
            let minus = (specials > 0).then(|| {
                for (fraction, special) in fractions.iter_mut().zip(&special) {
                    lifted(params, r, &special[i * specials..(i + 1) * specials], fraction);
                }
                fractions.each_ref().map(|fraction| &fraction[..])
            });
            let addends = Addends { base: Some(source.parts[0].limb(r)), minus, ..Addends::default() };
            let [out0, out1] = &mut out.parts;
            key.apply(params, r, 0, &digits.at(r), addends, [out0.limb_mut(r), out1.limb_mut(r)]);
        }
    }
}

/// Refuses a ciphertext of other parameters or without all primes.
pub(super) fn complete(keys: &GaloisKeys, source: &Ciphertext) -> Result<(), RlweError> {
    same(&keys.params, &source.params)?;
    let (expected, found) = (source.params.top(), source.primes());
    if expected == found { Ok(()) } else { Err(RlweError::Level { expected, found }) }
}
