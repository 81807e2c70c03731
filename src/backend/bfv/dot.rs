//! Sums of products whose terms arrive one by one.
//!
//! Products with ciphertexts and those with extended rotations have an accumulator each, made at the first
//! full pass; the extended one is divided by the special primes once.

use super::failed;
use super::server::{BfvCiphertext, BfvEvaluator, BfvExtended, BfvPlaintext};
use crate::backend::{BackendError, Operand};
use crate::rlwe::{Ciphertext, DotProduct, ExtendedSum, Noise, Parameters, Plaintext};
use std::sync::Arc;

/// Terms that the engine is given at once: so many encoded plaintexts may be held that nobody keeps.
const PASS: usize = 32;

/// Products that several sums over the same ciphertexts are made of at most, or the parts of the ciphertexts
/// that they share would not fit a core's cache.
const SHARED: usize = 1024;

/// Sums over the same ciphertexts, each with its own factors.
pub(super) fn shared_sums(
    engine: &Arc<Parameters>,
    operands: &[&BfvCiphertext],
    factors: &[Vec<Arc<BfvPlaintext>>],
) -> Result<Vec<BfvCiphertext>, BackendError> {
    let ciphertexts: Vec<_> = operands.iter().map(|c| &c.inner).collect();
    let mut sums = Vec::with_capacity(factors.len());
    for factors in factors.chunks((SHARED / operands.len().max(1)).max(1)) {
        let plains: Vec<Vec<&Plaintext>> =
            factors.iter().map(|factors| factors.iter().map(|p| &p.inner).collect()).collect();
        let plains: Vec<&[&Plaintext]> = plains.iter().map(Vec::as_slice).collect();
        let inner = DotProduct::of_each(engine, &ciphertexts, &plains).map_err(failed)?;
        let noises = factors.iter().map(|factors| {
            let products = operands.iter().zip(factors).map(|(c, p)| c.noise.times(p.norm));
            products.fold(Noise::none(), Noise::plus)
        });
        sums.extend(inner.into_iter().zip(noises).map(|(inner, noise)| BfvCiphertext { inner, noise }));
    }
    Ok(sums)
}

pub(super) struct MixedSum<'a> {
    engine: Arc<Parameters>,
    whole: Option<DotProduct>,
    extended: Option<ExtendedSum>,
    noises: [Noise; 2],
    /// Terms that wait for a pass.
    wholes: Vec<(&'a BfvCiphertext, Arc<BfvPlaintext>)>,
    extendeds: Vec<(&'a BfvExtended, Arc<BfvPlaintext>)>,
}

impl<'a> MixedSum<'a> {
    pub(super) fn new(engine: &Arc<Parameters>) -> Self {
        Self {
            engine: engine.clone(),
            whole: None,
            extended: None,
            noises: [Noise::none(); 2],
            wholes: Vec::with_capacity(PASS),
            extendeds: Vec::with_capacity(PASS),
        }
    }

    pub(super) fn add(
        &mut self,
        operand: Operand<'a, BfvEvaluator>,
        plaintext: Arc<BfvPlaintext>,
    ) -> Result<(), BackendError> {
        let [whole, extended] = &mut self.noises;
        match operand {
            Operand::Ciphertext(ciphertext) => {
                *whole = whole.plus(ciphertext.noise.times(plaintext.norm));
                self.wholes.push((ciphertext, plaintext));
                if self.wholes.len() == PASS {
                    self.pass_wholes()?;
                }
            }
            Operand::Extended(turned) => {
                *extended = extended.plus(turned.noise.times(plaintext.norm));
                self.extendeds.push((turned, plaintext));
                if self.extendeds.len() == PASS {
                    self.pass_extendeds()?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<BfvCiphertext, BackendError> {
        if !self.extendeds.is_empty() {
            self.pass_extendeds()?;
        }
        let [noise, extended] = self.noises;
        let Some(divided) = &self.extended else {
            return Ok(BfvCiphertext { inner: self.whole()?, noise });
        };
        let mut sum = BfvCiphertext { inner: divided.finish(), noise: extended.divided(&self.engine) };
        if self.whole.is_some() || !self.wholes.is_empty() {
            sum.inner.add_assign(&self.whole()?).map_err(failed)?;
            sum.noise = sum.noise.plus(noise);
        }
        Ok(sum)
    }

    /// The sum of products with ciphertexts.
    fn whole(&mut self) -> Result<Ciphertext, BackendError> {
        if self.whole.is_some() {
            self.pass_wholes()?;
        }
        match &self.whole {
            Some(sum) => Ok(sum.finish()),
            None => {
                let terms: Vec<_> = self.wholes.iter().map(|(c, p)| (&c.inner, &p.inner)).collect();
                DotProduct::of(&self.engine, &terms).map_err(failed)
            }
        }
    }

    fn pass_wholes(&mut self) -> Result<(), BackendError> {
        let sum = self.whole.get_or_insert_with(|| DotProduct::new(&self.engine));
        let terms: Vec<_> = self.wholes.iter().map(|(c, p)| (&c.inner, &p.inner)).collect();
        sum.add(&terms).map_err(failed)?;
        self.wholes.clear();
        Ok(())
    }

    fn pass_extendeds(&mut self) -> Result<(), BackendError> {
        let sum = self.extended.get_or_insert_with(|| ExtendedSum::new(&self.engine));
        let terms: Vec<_> = self.extendeds.iter().map(|(c, p)| (&c.inner, &p.inner)).collect();
        sum.add(&terms).map_err(failed)?;
        self.extendeds.clear();
        Ok(())
    }
}
