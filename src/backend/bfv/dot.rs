//! Sums of products whose terms arrive one by one.
//!
//! Products with ciphertexts and those with extended rotations have an accumulator each, made at the first
//! term; the extended one is divided by the special primes once. The engine multiplies some terms in a pass.

use super::failed;
use super::server::{BfvCiphertext, BfvEvaluator, BfvExtended};
use crate::backend::{BackendError, Operand};
use crate::rlwe::{Ciphertext, DotProduct, ExtendedSum, FactorNorm, Noise, Parameters, Plaintext};
use std::sync::Arc;

/// Terms that the engine multiplies in one pass.
const PASS: usize = 4;

pub(super) struct MixedSum<'a> {
    engine: Arc<Parameters>,
    factor: FactorNorm,
    whole: Option<DotProduct>,
    extended: Option<ExtendedSum>,
    noises: [Noise; 2],
    /// Terms that wait for a pass.
    wholes: Vec<(&'a BfvCiphertext, Arc<Plaintext>)>,
    extendeds: Vec<(&'a BfvExtended, Arc<Plaintext>)>,
}

impl<'a> MixedSum<'a> {
    pub(super) fn new(engine: &Arc<Parameters>, factor: FactorNorm) -> Self {
        Self {
            engine: engine.clone(),
            factor,
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
        plaintext: Arc<Plaintext>,
    ) -> Result<(), BackendError> {
        let [whole, extended] = &mut self.noises;
        match operand {
            Operand::Ciphertext(ciphertext) => {
                *whole = whole.plus(ciphertext.noise.times(self.factor));
                self.wholes.push((ciphertext, plaintext));
                if self.wholes.len() == PASS {
                    self.pass_wholes()?;
                }
            }
            Operand::Extended(turned) => {
                *extended = extended.plus(turned.noise.times(self.factor));
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
        if !self.wholes.is_empty() {
            self.pass_wholes()?;
        }
        let [whole, extended] = self.noises;
        let whole = self.whole.map(|sum| BfvCiphertext { inner: sum.finish(), noise: whole });
        let Some(sum) = self.extended else {
            // A sum of nothing is zero.
            let zero = || BfvCiphertext { inner: Ciphertext::zero(&self.engine), noise: Noise::none() };
            return Ok(whole.unwrap_or_else(zero));
        };
        let mut sum = BfvCiphertext { inner: sum.finish(), noise: extended.divided(&self.engine) };
        if let Some(whole) = whole {
            sum.inner.add_assign(&whole.inner).map_err(failed)?;
            sum.noise = sum.noise.plus(whole.noise);
        }
        Ok(sum)
    }

    fn pass_wholes(&mut self) -> Result<(), BackendError> {
        let sum = self.whole.get_or_insert_with(|| DotProduct::new(&self.engine));
        let terms: Vec<_> = self.wholes.iter().map(|(c, p)| (&c.inner, &**p)).collect();
        sum.add(&terms).map_err(failed)?;
        self.wholes.clear();
        Ok(())
    }

    fn pass_extendeds(&mut self) -> Result<(), BackendError> {
        let sum = self.extended.get_or_insert_with(|| ExtendedSum::new(&self.engine));
        let terms: Vec<_> = self.extendeds.iter().map(|(c, p)| (&c.inner, &**p)).collect();
        sum.add(&terms).map_err(failed)?;
        self.extendeds.clear();
        Ok(())
    }
}
