//! Leaving the server: a ciphertext becomes a reply that tells the client its message and nothing else.
//!
//! The order is what protects the weights. First a fresh encryption of zero is added, or the second
//! polynomial would be a known combination of the weights. Then uniform masks, on every value that is sent.
//! Then flooding: uniform noise so wide that the ciphertext's own noise, which depends on the weights,
//! changes its distribution by at most 2^-40 over the whole inference. Only then the modulus is switched to
//! one prime and both polynomials are cut to the bits that decryption needs: functions of what is hidden
//! already.

use super::cipher::{Ciphertext, same};
use super::encode::Packing;
use super::error::RlweError;
use super::keys::{PublicKey, SecretKey};
use super::modulus::{MASK, Modulus, RADIX_BITS, low};
use super::noise::Noise;
use super::params::Parameters;
use super::poly::{Coefficients, Ntt, Poly};
use super::random::Randomness;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Flooding noise is drawn from so many bits at most.
const MOST_FLOOD_BITS: u32 = 120;

/// Which values of a ciphertext a reply carries; both sides know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent<'a> {
    /// All N slots.
    Slots,
    /// The coefficients at these positions.
    Coefficients(&'a [u32]),
}

/// How much noise hides the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hiding {
    /// The estimated noise of the ciphertext, by a bound that does not depend on the weights.
    pub noise: Noise,
    /// How many values the whole inference sends, over all replies.
    pub values_sent: u64,
}

/// What the client gets: both polynomials modulo one prime, cut to their upper bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub(super) params: Arc<Parameters>,
    /// Bits of each coefficient.
    pub(super) bits: u32,
    /// The coefficients of the first polynomial that are sent, and all of the second.
    pub(super) parts: [Vec<u64>; 2],
}

impl Sent<'_> {
    /// How many coefficients of the first polynomial it takes.
    pub(super) fn len(self, ring: usize) -> usize {
        match self {
            Sent::Slots => ring,
            Sent::Coefficients(positions) => positions.len(),
        }
    }

    fn check(self, ring: usize) -> Result<(), RlweError> {
        match self {
            Sent::Slots => Ok(()),
            Sent::Coefficients(positions) => match positions.iter().find(|&&p| p as usize >= ring) {
                Some(&p) => Err(RlweError::Length { expected: ring, found: p as usize }),
                None => Ok(()),
            },
        }
    }
}

impl Hiding {
    /// Statistical distance of a whole inference, in bits.
    pub const BITS: f64 = 40.0;

    /// Bits of the flooding noise: `values * 2^40` times the bound of the ciphertext and of what a reply
    /// adds to it, or twice that.
    #[must_use]
    pub fn flood_bits(&self, params: &Parameters) -> f64 {
        let noise = self.noise.plus(Noise::fresh_public(params)).plus_plain();
        (noise.bits(params) + Self::BITS + (self.values_sent.max(1) as f64).log2()).ceil()
    }

    /// Bits of each coefficient of the reply of a ciphertext with `primes` primes.
    ///
    /// # Errors
    /// If the flooding does not fit below the modulus.
    pub fn reply_bits(&self, params: &Parameters, primes: usize) -> Result<u32, RlweError> {
        reply_bits(params, primes, self.flood_bits(params))
    }

    /// log2 of the noise that no coefficient of that reply exceeds.
    ///
    /// # Errors
    /// If the flooding does not fit below the modulus.
    pub fn reply_noise_bits(&self, params: &Parameters, primes: usize) -> Result<f64, RlweError> {
        let flood = self.flood_bits(params);
        Ok(reply_noise(params, primes, flood, reply_bits(params, primes, flood)?))
    }
}

impl Randomness {
    /// N uniform values below t, to mask a reply with.
    #[must_use]
    pub fn masks(&mut self, params: &Parameters) -> Vec<u64> {
        let mut masks = vec![0; params.ring()];
        self.residues(params.plain.modulus, &mut masks);
        masks
    }
}

impl PublicKey {
    /// Makes the reply of a ciphertext plus `masks`, N values that the server keeps: uniform ones from
    /// [`Randomness::masks`], of the packing that `sent` names.
    ///
    /// # Errors
    /// If the flooding does not fit below the modulus, or an operand does not fit the parameters.
    pub fn reply(
        &self,
        ciphertext: &Ciphertext,
        masks: &[u64],
        sent: Sent<'_>,
        hiding: Hiding,
        randomness: &mut Randomness,
    ) -> Result<Reply, RlweError> {
        let params = &self.params;
        sent.check(params.ring())?;
        let flood = hiding.flood_bits(params);
        let primes = ciphertext.primes();
        let bits = reply_bits(params, primes, flood)?;
        let mut hidden = self.encrypt_zero(randomness);
        hidden.truncate(primes);
        hidden.add_assign(ciphertext)?;
        let packing = match sent {
            Sent::Slots => Packing::Slots,
            Sent::Coefficients(_) => Packing::Coefficients,
        };
        hidden.add_plain(masks, packing)?;
        hidden.parts[0].add_assign(&params.primes, &uniform_noise(params, primes, exact(flood), randomness));
        while hidden.primes() > 1 {
            hidden.switch_down()?;
        }
        let [c0, c1] = hidden.parts.map(|part| part.into_coefficients(&params.primes[..1]));
        let cut = |x: &u64| cut(params.primes[0].modulus, *x, bits);
        let first = match sent {
            Sent::Slots => c0.limb(0).iter().map(cut).collect(),
            Sent::Coefficients(positions) => {
                positions.iter().map(|&p| cut(&c0.limb(0)[p as usize])).collect()
            }
        };
        Ok(Reply { params: params.clone(), bits, parts: [first, c1.limb(0).iter().map(cut).collect()] })
    }
}

impl SecretKey {
    /// The values of a reply: all slots, or the coefficients sent.
    ///
    /// # Errors
    /// If the reply is of other parameters or carries other values.
    pub fn open(&self, reply: &Reply, sent: Sent<'_>) -> Result<Vec<u64>, RlweError> {
        let ciphertext = self.widened(reply, sent)?;
        match sent {
            Sent::Slots => self.decrypt(&ciphertext, Packing::Slots),
            Sent::Coefficients(positions) => {
                let all = Zeroizing::new(self.decrypt(&ciphertext, Packing::Coefficients)?);
                Ok(positions.iter().map(|&p| all[p as usize]).collect())
            }
        }
    }

    /// log2 of the largest noise coefficient of a reply of all slots that decrypts.
    ///
    /// # Errors
    /// If the reply is of other parameters or carries other values.
    pub fn reply_noise_bits(&self, reply: &Reply) -> Result<f64, RlweError> {
        self.noise_bits(&self.widened(reply, Sent::Slots)?)
    }

    /// The ciphertext modulo one prime that a reply is the upper bits of.
    fn widened(&self, reply: &Reply, sent: Sent<'_>) -> Result<Ciphertext, RlweError> {
        let params = &self.params;
        same(params, &reply.params)?;
        sent.check(params.ring())?;
        let (expected, found) = (sent.len(params.ring()), reply.parts[0].len());
        if expected != found {
            return Err(RlweError::Length { expected, found });
        }
        let prime = &params.primes[..1];
        let widen = |x: u64| widen(prime[0].modulus, x, reply.bits);
        let mut parts = [(); 2].map(|()| Poly::<Coefficients>::zero(params.ring(), 1));
        for (i, &x) in reply.parts[1].iter().enumerate() {
            parts[1].limb_mut(0)[i] = widen(x);
        }
        for (i, &x) in reply.parts[0].iter().enumerate() {
            let at = match sent {
                Sent::Slots => i,
                Sent::Coefficients(positions) => positions[i] as usize,
            };
            parts[0].limb_mut(0)[at] = widen(x);
        }
        let parts = parts.map(|part| part.into_ntt(prime));
        Ok(Ciphertext { params: params.clone(), parts })
    }
}

/// The fewest bits of a coefficient with which a reply still decrypts after flooding.
fn reply_bits(params: &Parameters, primes: usize, flood: f64) -> Result<u32, RlweError> {
    let refused = |needed| RlweError::Flood { needed, room: params.room_bits(primes) };
    let flooded = flooded_bits(flood);
    if flooded >= params.room_bits(primes) || flood > f64::from(MOST_FLOOD_BITS) {
        return Err(refused(flooded));
    }
    let most = params.primes[0].modulus.bits();
    let fits = |&bits: &u32| reply_noise(params, primes, flood, bits) < params.room_bits(1);
    (params.plain.modulus.bits() + 1..=most).find(fits).ok_or_else(|| refused(flooded))
}

/// The ciphertext's own noise is below the flooding by the hiding factor.
fn flooded_bits(flood: f64) -> f64 {
    flood + 0.001
}

/// log2 of the noise of a reply: of the flooding, and of what switching and cutting to `bits` bits round.
fn reply_noise(params: &Parameters, primes: usize, flood: f64, bits: u32) -> f64 {
    let step = (params.primes[0].modulus.value as f64) / f64::from(bits).exp2();
    let rounding = Noise::none().switched(params, primes, 1).quantised(params, step);
    let flooded = (flooded_bits(flood) - params.bits_at(primes) + params.bits_at(1)).exp2();
    (flooded + rounding.bits(params).exp2()).log2()
}

/// The integer that a whole number of bits is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be at most 120")]
fn exact(bits: f64) -> u32 {
    bits.max(0.0) as u32
}

/// Uniform noise in `-2^bits..2^bits`, transformed.
fn uniform_noise(params: &Parameters, primes: usize, bits: u32, randomness: &mut Randomness) -> Poly<Ntt> {
    let mut words = Zeroizing::new(vec![0u64; 2 * params.ring()]);
    randomness.secret_words(&mut words);
    let mut noise = Poly::<Coefficients>::zero(params.ring(), primes);
    for (prime, limb) in params.primes.iter().zip(noise.limbs_mut()) {
        let m = prime.modulus;
        let centre = m.pow(2, u64::from(bits));
        for (out, word) in limb.iter_mut().zip(words.as_chunks::<2>().0) {
            let x = (u128::from(word[1]) << 64 | u128::from(word[0])) >> (127 - bits);
            let (first, second) = (low(x) & MASK, low(x >> RADIX_BITS) & MASK);
            let third = m.scale(low(x >> (2 * RADIX_BITS)), m.radix_squared);
            *out = m.sub(m.add(m.reduce_wide(first, second), third), centre);
        }
    }
    noise.into_ntt(&params.primes[..primes])
}

/// `round(x * 2^bits / q)` modulo `2^bits`.
fn cut(q: Modulus, x: u64, bits: u32) -> u64 {
    let scaled = (u128::from(x) << bits) + u128::from(q.value / 2);
    low(scaled / u128::from(q.value)) & ((1 << bits) - 1)
}

/// `round(x * q / 2^bits)` modulo q.
fn widen(q: Modulus, x: u64, bits: u32) -> u64 {
    let scaled = u128::from(x) * u128::from(q.value) + (1 << (bits - 1));
    Modulus::least(low(scaled >> bits), q.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_loses_half_a_step_at_most() {
        let q = Modulus::new(super::super::prime::choose(&[49], 32, &[]).unwrap()[0]);
        for bits in [20, 30, 49] {
            let step = q.value as f64 / f64::from(bits).exp2();
            for i in 0..1000 {
                let x = q.pow(3, i);
                let back = widen(q, cut(q, x, bits), bits);
                assert!((q.centre(q.sub(back, x)).abs() as f64) <= step / 2.0 + 1.0, "{x} {back} {bits}");
            }
            for x in [0, 1, q.value / 2, q.value - 1] {
                let back = widen(q, cut(q, x, bits), bits);
                assert!((q.centre(q.sub(back, x)).abs() as f64) <= step / 2.0 + 1.0, "{x} {back} {bits}");
            }
        }
    }
}
