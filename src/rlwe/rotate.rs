//! Galois keys and rotations: plain, hoisted, double-hoisted.
//!
//! A rotation applies `X -> X^g` to a ciphertext and switches back to the old key. Plain: digits are cut
//! and used at once, prime by prime. Hoisted: digits are cut once for all rotations of a ciphertext.
//! Double-hoisted: rotated ciphertexts stay extended, are multiplied by plaintexts and summed, and the sum
//! is divided by P once. Keys are stored permuted by the inverse automorphism, so that digits are used
//! unpermuted and only the two results are permuted, on their way to memory.

use super::cipher::{Ciphertext, same};
use super::encode::Plaintext;
use super::error::RlweError;
use super::gadget::MOST_DIGITS;
use super::galois::{Automorphism, LANES, Permutation};
use super::kernels::{self, InnerProduct};
use super::keys::{SecretKey, error};
use super::params::Parameters;
use super::poly::{Ntt, Poly, Words, words};
use super::pool::Buffer;
use super::random::{Randomness, Seed, expand};
use super::sum::WideSums;
use super::switch::{Extended, Undigested, divide};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Blocks of 8 coefficients of a key that several ciphertexts use while the cache holds them.
const TILE: usize = 64;
/// Extra words between digits, so that equal coefficients of all digits do not share a cache set.
const STAGGER: usize = LANES;

/// One Galois key as it travels: its uniform half is a seed.
#[derive(Clone, Debug)]
pub(super) struct SeededGaloisKey {
    pub(super) automorphism: Automorphism,
    pub(super) seed: Seed,
    /// For each digit.
    pub(super) masked: Vec<Poly<Ntt>>,
}

/// Galois keys as they travel: half the bytes.
#[derive(Clone, Debug)]
pub struct SeededGaloisKeys {
    pub(super) params: Arc<Parameters>,
    pub(super) keys: Vec<SeededGaloisKey>,
}

#[derive(Clone, Debug)]
struct GaloisKey {
    permutation: Permutation,
    /// `[prime][block of 8 coefficients][digit][half][lane]`, times 2^52.
    prepared: Words,
}

/// Galois keys ready for use, by the exponent of their automorphism.
#[derive(Clone, Debug)]
pub struct GaloisKeys {
    params: Arc<Parameters>,
    keys: BTreeMap<usize, GaloisKey>,
}

impl SecretKey {
    /// Galois keys for exactly these automorphisms; repetitions and the identity get none.
    #[must_use]
    pub fn galois_keys(
        &self,
        automorphisms: &[Automorphism],
        randomness: &mut Randomness,
    ) -> SeededGaloisKeys {
        let ring = self.params.ring();
        let mut wanted = BTreeMap::new();
        for &automorphism in automorphisms {
            wanted.entry(automorphism.exponent(ring)).or_insert(automorphism);
        }
        wanted.remove(&1);
        let keys = wanted.into_iter().map(|(g, a)| self.galois_key(a, g, randomness)).collect();
        SeededGaloisKeys { params: self.params.clone(), keys }
    }

    fn galois_key(
        &self,
        automorphism: Automorphism,
        g: usize,
        randomness: &mut Randomness,
    ) -> SeededGaloisKey {
        let params = &self.params;
        let (ring, primes) = (params.ring(), &params.primes);
        let permutation = Permutation::new(ring, g);
        let seed = randomness.seed();
        let mut turned = zeroize::Zeroizing::new(vec![0; ring]);
        let masked = (0u64..).zip(0..params.gadget.digits()).map(|(stream, j)| {
            let uniform = expand(&seed, stream, ring, primes);
            let mut masked = error(params, randomness, primes.len());
            masked.multiply_sub(primes, &uniform, &self.transform);
            for (r, (prime, limb)) in primes.iter().zip(masked.limbs_mut()).enumerate() {
                let weight = params.gadget.values[r][j];
                if weight != 0 {
                    permutation.apply(self.transform.limb(r), &mut turned);
                    kernels::scale(prime.modulus, &mut turned, prime.modulus.factor(weight));
                    kernels::add(prime.modulus, limb, &turned);
                }
            }
            masked
        });
        let masked = masked.collect();
        SeededGaloisKey { automorphism, seed, masked }
    }
}

impl SeededGaloisKeys {
    /// The automorphisms that have a key.
    pub fn automorphisms(&self) -> impl Iterator<Item = Automorphism> {
        self.keys.iter().map(|k| k.automorphism)
    }

    /// The keys, expanded and prepared for use.
    #[must_use]
    pub fn expand(&self) -> GaloisKeys {
        let ring = self.params.ring();
        let keys = self.keys.iter().map(|key| {
            let g = key.automorphism.exponent(ring);
            (g, GaloisKey::prepare(&self.params, key, g))
        });
        GaloisKeys { params: self.params.clone(), keys: keys.collect() }
    }
}

impl GaloisKey {
    fn prepare(params: &Parameters, key: &SeededGaloisKey, g: usize) -> Self {
        let ring = params.ring();
        let digits = params.gadget.digits();
        let back = Permutation::new(ring, inverse(g, 2 * ring));
        let mut prepared = words(params.primes.len() * ring * digits * 2);
        let mut turned = words(ring);
        for ((j, masked), stream) in key.masked.iter().enumerate().zip(0u64..) {
            let uniform = expand(&key.seed, stream, ring, &params.primes);
            let limbs = prepared.chunks_exact_mut(ring * digits * 2).zip(&params.primes);
            for (r, (limb, prime)) in limbs.enumerate() {
                for (half, poly) in [masked, &uniform].into_iter().enumerate() {
                    back.apply(poly.limb(r), &mut turned);
                    kernels::scale(prime.modulus, &mut turned, params.gadget.preparations[r][j]);
                    let places = limb.chunks_exact_mut(LANES).skip(2 * j + half).step_by(2 * digits);
                    for (place, block) in places.zip(turned.chunks_exact(LANES)) {
                        place.copy_from_slice(block);
                    }
                }
            }
        }
        Self { permutation: Permutation::new(ring, g), prepared }
    }

    /// The inner product with digits modulo prime `r`, plus `base`, permuted; from block `first` of the
    /// ring on, as many blocks as the digits have.
    fn apply(
        &self,
        params: &Parameters,
        r: usize,
        first: usize,
        digits: &[&[u64]],
        base: Option<&[u64]>,
        out: [&mut [u64]; 2],
    ) {
        let per_block = digits.len() * 2 * LANES;
        let start = r * (params.ring() / LANES) * per_block + first * per_block;
        let len = digits[0].len() / LANES * per_block;
        let job = InnerProduct {
            modulus: params.primes[r].modulus,
            digits,
            key: &self.prepared[start..start + len],
            base,
            permutation: &self.permutation,
            first_block: first,
        };
        let [out0, out1] = out;
        kernels::inner_product(&job, out0, out1);
    }
}

/// A ciphertext with its digits, ready for any number of rotations.
#[derive(Debug)]
pub struct Hoisted<'a> {
    source: &'a Ciphertext,
    /// `[prime][digit]`, each N words and a stagger; those that reuse the source are left out.
    digits: Buffer<'a>,
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
    fn slices<'s>(&'s self, r: usize, first: usize, blocks: usize, out: &mut [&'s [u64]; MOST_DIGITS]) {
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

fn complete(source: &Ciphertext) -> Result<(), RlweError> {
    let (expected, found) = (source.params.top(), source.primes());
    if expected == found { Ok(()) } else { Err(RlweError::Level { expected, found }) }
}

/// `g^-1` modulo a power of two.
fn inverse(g: usize, cycle: usize) -> usize {
    let mut x = g;
    while g * x % cycle != 1 {
        x = x * (2 * cycle + 2 - g * x % cycle) % cycle;
    }
    x
}

impl GaloisKeys {
    /// No keys yet.
    #[must_use]
    pub fn none(params: &Arc<Parameters>) -> Self {
        Self { params: params.clone(), keys: BTreeMap::new() }
    }

    /// Takes over other keys of the same parameters.
    ///
    /// # Errors
    /// If the parameters differ.
    pub fn merge(&mut self, other: Self) -> Result<(), RlweError> {
        same(&self.params, &other.params)?;
        self.keys.extend(other.keys);
        Ok(())
    }

    /// Bytes of memory that the keys take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.keys.values().map(|k| size_of_val(k.prepared.as_slice())).sum()
    }

    /// Whether `automorphism` can be applied.
    #[must_use]
    pub fn contains(&self, automorphism: Automorphism) -> bool {
        let g = automorphism.exponent(self.params.ring());
        g == 1 || self.keys.contains_key(&g)
    }

    fn key(&self, automorphism: Automorphism) -> Result<Option<&GaloisKey>, RlweError> {
        let g = automorphism.exponent(self.params.ring());
        if g == 1 {
            return Ok(None);
        }
        self.keys.get(&g).map(Some).ok_or(RlweError::MissingKey(automorphism))
    }

    /// One rotation.
    ///
    /// # Errors
    /// If the key is missing, parameters differ, or the ciphertext lacks primes.
    pub fn rotate(&self, source: &Ciphertext, by: Automorphism) -> Result<Ciphertext, RlweError> {
        let mut out = Ciphertext::zero(&self.params);
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
        let (ring, count) = (params.ring(), params.gadget.digits());
        let stride = ring + STAGGER;
        let undigested = Undigested::new(params, &source.parts[1]);
        let mut digits = params.scratch.take(count * stride);
        self.switched(source, out, |r, base, halves| {
            for (j, digit) in digits.chunks_exact_mut(stride).enumerate() {
                if !params.gadget.reuses(r, j) {
                    undigested.digit(r, j, &mut digit[..ring]);
                }
            }
            let mut slices: [&[u64]; MOST_DIGITS] = [&[]; MOST_DIGITS];
            for (j, (slice, digit)) in slices.iter_mut().zip(digits.chunks_exact(stride)).enumerate() {
                let reused = params.gadget.reuses(r, j);
                *slice = if reused { source.parts[1].limb(r) } else { &digit[..ring] };
            }
            key.apply(params, r, 0, &slices[..count], base, halves);
        });
        Ok(())
    }

    /// One rotation of a hoisted ciphertext.
    ///
    /// # Errors
    /// If the key is missing or parameters differ.
    pub fn rotate_hoisted(&self, hoisted: &Hoisted<'_>, by: Automorphism) -> Result<Ciphertext, RlweError> {
        let mut out = Ciphertext::zero(&self.params);
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
        self.switched(hoisted.source, out, |r, base, halves| {
            let mut slices: [&[u64]; MOST_DIGITS] = [&[]; MOST_DIGITS];
            hoisted.slices(r, 0, params.ring() / LANES, &mut slices);
            key.apply(params, r, 0, &slices[..params.gadget.digits()], base, halves);
        });
        Ok(())
    }

    /// One rotation of several hoisted ciphertexts, left extended. Each part of the key is read from
    /// memory once for all of them; four are a good number.
    ///
    /// # Errors
    /// If the key is missing, parameters differ, or there are not as many targets as sources.
    pub fn rotate_extended(
        &self,
        hoisted: &[&Hoisted<'_>],
        by: Automorphism,
        out: &mut [Extended],
    ) -> Result<(), RlweError> {
        if hoisted.len() != out.len() {
            return Err(RlweError::Length { expected: hoisted.len(), found: out.len() });
        }
        let params = &*self.params;
        for (source, out) in hoisted.iter().zip(&*out) {
            self.accepts(source.source)?;
            let found = out.parts[0].primes();
            if found != params.primes.len() || out.parts[0].limb(0).len() != params.ring() {
                return Err(RlweError::Level { expected: params.primes.len(), found });
            }
        }
        let Some(key) = self.key(by)? else {
            hoisted.iter().zip(out).for_each(|(source, out)| out.set(source.source));
            return Ok(());
        };
        let (blocks, count) = (params.ring() / LANES, params.gadget.digits());
        for r in 0..params.primes.len() {
            for first in (0..blocks).step_by(TILE) {
                let tile = TILE.min(blocks - first);
                for (source, out) in hoisted.iter().zip(&mut *out) {
                    let mut slices: [&[u64]; MOST_DIGITS] = [&[]; MOST_DIGITS];
                    source.slices(r, first, tile, &mut slices);
                    let range = first * LANES..(first + tile) * LANES;
                    let base = (r < params.top()).then(|| &source.source.parts[0].limb(r)[range]);
                    let [out0, out1] = &mut out.parts;
                    let halves = [out0.limb_mut(r), out1.limb_mut(r)];
                    key.apply(params, r, first, &slices[..count], base, halves);
                }
            }
        }
        Ok(())
    }

    /// Fills an extended ciphertext prime by prime and divides it by P.
    fn switched(
        &self,
        source: &Ciphertext,
        out: &mut Ciphertext,
        mut apply: impl FnMut(usize, Option<&[u64]>, [&mut [u64]; 2]),
    ) {
        let params = &*self.params;
        let (ring, top) = (params.ring(), params.top());
        let specials = params.primes.len() - top;
        let mut special = [params.scratch.take(ring * specials), params.scratch.take(ring * specials)];
        let [out0, out1] = &mut out.parts;
        for r in 0..top {
            apply(r, Some(source.parts[0].limb(r)), [out0.limb_mut(r), out1.limb_mut(r)]);
        }
        let [special0, special1] = &mut special;
        let halves = special0.chunks_exact_mut(ring).zip(special1.chunks_exact_mut(ring));
        for (r, (half0, half1)) in (top..).zip(halves) {
            apply(r, None, [half0, half1]);
        }
        for (part, special) in out.parts.iter_mut().zip(&mut special) {
            divide(params, part, special);
        }
    }

    fn accepts(&self, source: &Ciphertext) -> Result<(), RlweError> {
        same(&self.params, &source.params)?;
        complete(source)
    }
}

/// A double-hoisted sum: extended ciphertexts times plaintexts, divided by P once.
#[derive(Clone, Debug)]
pub struct ExtendedSum {
    params: Arc<Parameters>,
    sums: WideSums,
}

impl ExtendedSum {
    /// An empty sum.
    #[must_use]
    pub fn new(params: &Arc<Parameters>) -> Self {
        Self { sums: WideSums::new(params.ring(), params.primes.len()), params: params.clone() }
    }

    /// Adds terms, of plaintexts encoded for [`Basis::Extended`](super::Basis); four at a time are
    /// quickest.
    ///
    /// # Errors
    /// If an operand lacks primes; nothing is added then.
    pub fn add(&mut self, terms: &[(&Extended, &Plaintext)]) -> Result<(), RlweError> {
        let expected = self.params.primes.len();
        for (ciphertext, factor) in terms {
            let found = ciphertext.parts[0].primes().min(factor.poly.primes());
            let rings = [ciphertext.parts[0].limb(0).len(), factor.poly.limb(0).len()];
            if found < expected || rings != [self.params.ring(); 2] {
                return Err(RlweError::Level { expected, found });
            }
        }
        for pass in terms.chunks(kernels::TERMS_PER_PASS) {
            let mut refs = [(&pass[0].0.parts, &pass[0].1.poly); kernels::TERMS_PER_PASS];
            for (slot, (c, p)) in refs.iter_mut().zip(pass) {
                *slot = (&c.parts, &p.poly);
            }
            self.sums.add(&self.params, &refs[..pass.len()]);
        }
        Ok(())
    }

    /// The sum, divided by P.
    #[must_use]
    pub fn finish(&self) -> Ciphertext {
        let params = &*self.params;
        let mut parts = self.sums.reduce(params);
        for part in &mut parts {
            let mut special = params.scratch.take(params.ring() * (params.primes.len() - params.top()));
            for (r, limb) in (params.top()..).zip(special.chunks_exact_mut(params.ring())) {
                limb.copy_from_slice(part.limb(r));
            }
            part.truncate(params.top());
            divide(params, part, &mut special);
        }
        Ciphertext { params: self.params.clone(), parts }
    }
}
