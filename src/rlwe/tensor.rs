//! The tensor product of two ciphertexts, scaled by t/Q and rounded: what BFV multiplication is made of.
//!
//! With centred coefficients `(a0, a1)` and `(b0, b1)` it is `round(t/Q * (a0 b0, a0 b1 + a1 b0, a1 b1))`, of
//! integers, not of residues. Those modulo Q do not tell them, so further primes of product B are taken
//! along, and every conversion between the bases is exact, as in Halevi, Polyakov and Shoup (ePrint
//! 2018/117), where a floating-point sum finds by how many multiples of the base a combination is too large:
//!
//! 1. a and b modulo B: centred residues modulo Q are converted. The floating-point sum is off by at most
//!    2^-42, so a coefficient that close to Q/2 may become `a - Q` instead of a: another representative of the
//!    same residue, the same one modulo every prime of B. That adds a multiple of Q to a phase, which is
//!    as good, and makes no coefficient larger than `(1/2 + 2^-42) Q`.
//! 2. The products d modulo Q and B, by transforms.
//! 3. r, the centred residue of `t d` modulo Q, converted to B; then `y = (t d - r) / Q` modulo B: an integer,
//!    `round(t d / Q)` but for the same liberty.
//! 4. y converted from B to Q. As `|y| <= t N Q / 2` and `B >= 4 t N Q`, it is at most B/8, far from where the
//!    sum could mistake it: this is exact.
//!
//! No noise comes in but the rounding of step 3. It knows no keys.

use super::cipher::Ciphertext;
use super::error::RlweError;
use super::kernels;
use super::modulus::{Factor, Modulus};
use super::ntt::Limb;
use super::params::Parameters;
use super::poly::{Ntt, Poly};
use super::pool::Words;
use super::prime::choose;

/// Bits of the further primes: the fast transform takes no longer ones.
const BITS: u32 = 49;

/// Centred integers from residues modulo some primes of product D to those modulo others.
#[derive(Clone, Debug)]
struct Conversion {
    /// Of the primes converted from.
    reciprocals: Vec<f64>,
    /// For each prime converted to, what each prepared residue counts, then each multiple of D.
    weights: Vec<Vec<u64>>,
}

/// The constants for ciphertexts modulo the first primes.
#[derive(Clone, Debug)]
struct Level {
    lift: Conversion,
    /// For each prime q: `t * N^-1 * (Q/q)^-1`.
    scale: Vec<Factor>,
    /// For each further prime b, times `(B/b)^-1`: what N d, each residue of r, and each multiple of Q count.
    round: Vec<Vec<u64>>,
}

/// The further primes and all constants.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    further: Vec<Limb>,
    levels: Vec<Level>,
    back: Conversion,
}

/// A ciphertext modulo its own and the further primes.
#[derive(Debug)]
pub(super) struct Lifted<'a> {
    source: &'a Ciphertext,
    further: [Poly<Ntt>; 2],
}

/// `product of factors mod m`, of all but the one at `except`.
fn product(m: Modulus, primes: &[Limb], except: usize) -> u64 {
    let others = primes.iter().enumerate().filter(|&(i, _)| i != except);
    others.fold(1, |product, (_, q)| m.mul(product, q.modulus.value % m.value))
}

impl Conversion {
    fn new(from: &[Limb], to: &[Limb]) -> Self {
        let weights = to.iter().map(|to| {
            let m = to.modulus;
            let own = (0..from.len()).map(|i| product(m, from, i));
            own.chain([m.sub(0, product(m, from, from.len()))]).collect()
        });
        let reciprocals = from.iter().map(|q| 1.0 / q.modulus.value as f64).collect();
        Self { reciprocals, weights: weights.collect() }
    }

    /// How many multiples of D the combination of prepared residues is too large for a centred integer.
    fn multiples(&self, rows: &[u64], out: &mut [u64]) {
        let n = out.len();
        for (i, out) in out.iter_mut().enumerate() {
            let shares = rows[i..].iter().step_by(n).zip(&self.reciprocals);
            *out = whole(shares.fold(0.5, |sum, (&x, reciprocal)| sum + x as f64 * reciprocal));
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count of primes")]
fn whole(share: f64) -> u64 {
    share as u64
}

/// The rows with their weights.
fn weighed<'a>(rows: impl Iterator<Item = &'a [u64]>, weights: &[u64]) -> Vec<(&'a [u64], u64)> {
    rows.zip(weights.iter().copied()).collect()
}

impl Level {
    fn new(own: &[Limb], further: &[Limb], t: u64) -> Self {
        let scale = own.iter().enumerate().map(|(i, q)| {
            let (m, n) = (q.modulus, q.degree_inverse.value);
            m.factor(m.mul(m.mul(t % m.value, n), m.invert(product(m, own, i))))
        });
        let round = further.iter().enumerate().map(|(j, b)| {
            let (m, n) = (b.modulus, b.degree_inverse.value);
            let cofactor = m.invert(product(m, further, j));
            let fraction = m.mul(m.mul(t % m.value, n), m.invert(product(m, own, own.len())));
            let residues = own.iter().map(|q| m.sub(0, m.invert(q.modulus.value % m.value)));
            let all = [fraction].into_iter().chain(residues).chain([1]);
            all.map(|weight| m.mul(weight, cofactor)).collect()
        });
        let (scale, round) = (scale.collect(), round.collect());
        Self { lift: Conversion::new(own, further), scale, round }
    }
}

impl Tensor {
    /// The constants for ciphertexts of these parameters.
    ///
    /// # Errors
    /// If primes run out.
    pub(super) fn new(params: &Parameters) -> Result<Self, RlweError> {
        let (ring, t, cycle) = (params.ring(), params.plain_modulus(), 2 * params.ring());
        let needed = params.bits_at(params.top()) + ((ring as f64) * (t as f64)).log2() + 2.0;
        let mut taken: Vec<u64> = params.primes.iter().map(|q| q.modulus.value).chain([t]).collect();
        let (mut further, mut bits) = (Vec::new(), 0.0);
        while bits < needed {
            let prime = choose(&[BITS], cycle, &taken)?[0];
            further.push(Limb::new(ring, prime).ok_or(RlweError::OutOfPrimes { bits: BITS, cycle })?);
            taken.push(prime);
            bits += (prime as f64).log2();
        }
        let levels = (1..=params.top()).map(|l| Level::new(&params.primes[..l], &further, t)).collect();
        let back = Conversion::new(&further, params.own());
        Ok(Self { further, levels, back })
    }

    /// Step 1.
    pub(super) fn lift<'a>(&self, source: &'a Ciphertext) -> Lifted<'a> {
        Lifted { source, further: source.parts.each_ref().map(|part| self.lift_part(&source.params, part)) }
    }

    fn lift_part(&self, params: &Parameters, part: &Poly<Ntt>) -> Poly<Ntt> {
        let (ring, primes) = (params.ring(), part.primes());
        let conversion = &self.levels[primes - 1].lift;
        let rows = prepared(params, part, &params.level(primes).recombine);
        let mut multiples = params.scratch.take(ring);
        conversion.multiples(&rows, &mut multiples);
        let mut out = Poly::pooled(&params.scratch, ring, self.further.len());
        for ((b, out), weights) in self.further.iter().zip(out.limbs_mut()).zip(&conversion.weights) {
            let terms = weighed(rows.chunks_exact(ring).chain([&*multiples]), weights);
            kernels::weigh(b.modulus, &terms, out);
            b.forward(out);
        }
        out
    }

    /// Steps 2 to 4, for ciphertexts of one level.
    pub(super) fn product(&self, a: &Lifted<'_>, b: &Lifted<'_>) -> [Poly<Ntt>; 3] {
        let params = &a.source.params;
        let own = products(params, &params.primes[..a.source.primes()], &a.source.parts, &b.source.parts);
        let further = products(params, &self.further, &a.further, &b.further);
        let mut further = further.into_iter();
        own.map(|own| match further.next() {
            Some(further) => self.round(params, own, further),
            None => own,
        })
    }

    /// `round(t d / Q)` modulo Q, from d modulo Q and B.
    fn round(&self, params: &Parameters, mut own: Poly<Ntt>, mut further: Poly<Ntt>) -> Poly<Ntt> {
        let (ring, level) = (params.ring(), &self.levels[own.primes() - 1]);
        let rows = prepared(params, &own, &level.scale);
        let mut multiples = params.scratch.take(ring);
        level.lift.multiples(&rows, &mut multiples);
        let mut rounded = params.scratch.take(ring * self.further.len());
        let outs = rounded.chunks_exact_mut(ring).zip(further.limbs_mut());
        for ((b, weights), (out, limb)) in self.further.iter().zip(&level.round).zip(outs) {
            b.inverse(limb);
            let rows = [&*limb].into_iter().chain(rows.chunks_exact(ring)).chain([&*multiples]);
            kernels::weigh(b.modulus, &weighed(rows, weights), out);
        }
        self.back.multiples(&rounded, &mut multiples);
        let outs = own.limbs_mut().zip(&self.back.weights);
        for (q, (out, weights)) in params.primes.iter().zip(outs) {
            let terms = weighed(rounded.chunks_exact(ring).chain([&*multiples]), weights);
            kernels::weigh(q.modulus, &terms, out);
            q.forward(out);
        }
        own
    }
}

/// The coefficients modulo each prime, times the N-th of its factor.
fn prepared(params: &Parameters, poly: &Poly<Ntt>, factors: &[Factor]) -> Words {
    let ring = params.ring();
    let mut rows = params.scratch.take(ring * poly.primes());
    let limbs = rows.chunks_exact_mut(ring).zip(poly.limbs());
    for ((q, &factor), (row, limb)) in params.primes.iter().zip(factors).zip(limbs) {
        row.copy_from_slice(limb);
        q.inverse(row);
        kernels::scale(q.modulus, row, factor);
    }
    rows
}

/// `a0 b0`, `a0 b1 + a1 b0` and `a1 b1`.
fn products(params: &Parameters, primes: &[Limb], a: &[Poly<Ntt>; 2], b: &[Poly<Ntt>; 2]) -> [Poly<Ntt>; 3] {
    let mut out = [(); 3].map(|()| Poly::pooled(&params.scratch, params.ring(), primes.len()));
    for (i, prime) in primes.iter().enumerate() {
        for (out, [j, k]) in out.iter_mut().zip([[0, 0], [0, 1], [1, 1]]) {
            kernels::multiply(prime.modulus, out.limb_mut(i), a[j].limb(i), b[k].limb(i));
        }
        kernels::multiply_add(prime.modulus, out[1].limb_mut(i), a[1].limb(i), b[0].limb(i));
    }
    out
}

#[cfg(test)]
mod tests;
