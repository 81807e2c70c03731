//! Products of ciphertexts: the rounded tensor product, then its third polynomial switched from the square
//! of the secret to the secret.
//!
//! The relinearisation key is a switch key in the gadget of the Galois keys. A product takes
//! [`Noise::multiplied`](super::Noise::multiplied); parameters under which not even that of two fresh
//! ciphertexts decrypts are refused.

use super::cipher::{Ciphertext, same};
use super::error::RlweError;
use super::kernels;
use super::keys::SecretKey;
use super::noise::Noise;
use super::params::Parameters;
use super::poly::{Ntt, Poly};
use super::random::Randomness;
use super::rotate::{Digits, digits, switch};
use super::switch_key::{SeededSwitchKey, SwitchKey};
use super::tensor::Tensor;
use std::sync::Arc;

/// A relinearisation key as it travels: half the bytes.
#[derive(Clone, Debug)]
pub struct SeededRelinearisationKey {
    pub(super) params: Arc<Parameters>,
    pub(super) key: SeededSwitchKey,
}

/// A relinearisation key ready for use.
#[derive(Clone, Debug)]
pub struct RelinearisationKey {
    params: Arc<Parameters>,
    key: SwitchKey,
    tensor: Tensor,
}

/// Refuses parameters under which no product decrypts.
fn check_room(params: &Parameters) -> Result<(), RlweError> {
    let primes = params.top();
    let needed = Noise::fresh().multiplied(Noise::fresh(), params, primes).bits(params);
    let room = params.room_bits(primes);
    if needed < room { Ok(()) } else { Err(RlweError::NoRoom { needed, room }) }
}

impl SecretKey {
    /// A fresh relinearisation key.
    ///
    /// # Errors
    /// If the product of two fresh ciphertexts would not decrypt.
    pub fn relinearisation_key(
        &self,
        randomness: &mut Randomness,
    ) -> Result<SeededRelinearisationKey, RlweError> {
        check_room(&self.params)?;
        let key = self.switch_key(randomness, |r, out| {
            let secret = self.transform.limb(r);
            kernels::multiply(self.params.primes[r].modulus, out, secret, secret);
        });
        Ok(SeededRelinearisationKey { params: self.params.clone(), key })
    }
}

impl SeededRelinearisationKey {
    /// The key, expanded and prepared for use, with the constants of multiplication.
    ///
    /// # Errors
    /// If the product of two fresh ciphertexts would not decrypt, or primes for it run out.
    pub fn expand(&self) -> Result<RelinearisationKey, RlweError> {
        check_room(&self.params)?;
        let (key, tensor) = (SwitchKey::prepare(&self.params, &self.key, 1), Tensor::new(&self.params)?);
        Ok(RelinearisationKey { params: self.params.clone(), key, tensor })
    }
}

impl RelinearisationKey {
    /// Bytes of memory that the key takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.bytes()
    }

    /// The product of two ciphertexts: slot by slot, or of polynomials.
    ///
    /// # Errors
    /// If parameters or levels differ, or the ciphertexts lack some of a digit's primes.
    pub fn multiply(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, RlweError> {
        a.matches(b)?;
        self.accepts(a)?;
        self.relinearise(self.tensor.product(&self.tensor.lift(a), &self.tensor.lift(b)))
    }

    /// The product of a ciphertext with itself, quicker than by [`multiply`](Self::multiply).
    ///
    /// # Errors
    /// If parameters differ, or the ciphertext lacks some of a digit's primes.
    pub fn square(&self, a: &Ciphertext) -> Result<Ciphertext, RlweError> {
        self.accepts(a)?;
        let lifted = self.tensor.lift(a);
        self.relinearise(self.tensor.product(&lifted, &lifted))
    }

    fn accepts(&self, ciphertext: &Ciphertext) -> Result<(), RlweError> {
        same(&self.params, &ciphertext.params)?;
        digits(ciphertext).map(|_| ())
    }

    /// Two polynomials that mean what three do.
    fn relinearise(&self, [first, second, third]: [Poly<Ntt>; 3]) -> Result<Ciphertext, RlweError> {
        let params = &self.params;
        let source = Ciphertext { params: params.clone(), parts: [first, third] };
        let mut out = Ciphertext::unset(params, source.primes());
        switch(params, &self.key, &mut [Digits::stream(&source)?], std::slice::from_mut(&mut out));
        out.parts[1].add_assign(&params.primes, &second);
        Ok(out)
    }
}
