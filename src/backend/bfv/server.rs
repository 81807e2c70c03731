//! The server's side: evaluation from the bytes of the evaluation keys.

use super::client::randomness;
use super::dot::{MixedSum, shared_sums};
use super::{Shared, automorphism, failed};
use crate::backend::wire::{self, Envelope, Kind, Reader};
use crate::backend::{BackendError, Basis, BatchStep, Evaluator, Operand, SchemeParams, Term};
use crate::circuit::Step;
use crate::params::Encoding;
use crate::rlwe::{
    Ciphertext, Extended, FactorNorm, GaloisKeys, Hoisted, Noise, Plaintext, PublicKey, RotationSum,
    SeededCiphertext, SeededGaloisKeys, Sent,
};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Evaluates with the client's Galois keys, without any secret.
pub struct BfvEvaluator {
    shared: Shared,
    public: PublicKey,
    keys: GaloisKeys,
    columns: BTreeSet<u32>,
}

/// An encoded plaintext, and how far multiplying by it raises noise.
#[derive(Debug)]
pub struct BfvPlaintext {
    pub(super) inner: Plaintext,
    pub(super) norm: FactorNorm,
}

/// A ciphertext and its estimated noise.
#[derive(Clone, Debug)]
pub struct BfvCiphertext {
    pub(super) inner: Ciphertext,
    pub(super) noise: Noise,
}

/// A rotated ciphertext before the division by the special primes, and its estimated noise.
#[derive(Clone, Debug)]
pub struct BfvExtended {
    pub(super) inner: Extended,
    pub(super) noise: Noise,
}

impl BfvCiphertext {
    /// log2 of the noise that no coefficient exceeds, by the estimate, for summands that are independent.
    #[must_use]
    pub fn estimated_noise_bits(&self) -> f64 {
        self.noise.bits(self.inner.parameters())
    }
}

impl fmt::Debug for BfvEvaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BfvEvaluator")
            .field("params", &self.shared.params)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

impl BfvEvaluator {
    fn check_keys(&self, mut steps: impl Iterator<Item = Step>) -> Result<(), BackendError> {
        steps.try_for_each(|step| {
            let column = wire::column(self.shared.engine.ring(), step)?;
            if self.columns.contains(&column) { Ok(()) } else { Err(BackendError::MissingKey(step)) }
        })
    }
}

/// The digits of each source.
fn hoist<'a>(sources: &[&'a BfvCiphertext]) -> Result<Vec<Hoisted<'a>>, BackendError> {
    sources.par_iter().map(|source| Hoisted::new(&source.inner).map_err(failed)).collect()
}

/// Takes a part that has its length before it.
fn part<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], BackendError> {
    let len = reader.u32()? as usize;
    reader.take(len)
}

/// Expands the Galois keys in parallel and gives the columns that they are for.
fn read_keys(shared: &Shared, parts: &[&[u8]]) -> Result<(GaloisKeys, BTreeSet<u32>), BackendError> {
    let engine = &shared.engine;
    let expanded: Vec<_> = parts
        .par_iter()
        .map(|bytes| {
            let seeded = SeededGaloisKeys::from_bytes(engine, bytes).map_err(failed)?;
            let steps: Vec<_> = seeded.automorphisms().collect();
            Ok((steps, seeded.expand()))
        })
        .collect::<Result<_, BackendError>>()?;
    let mut keys = GaloisKeys::none(engine);
    let mut columns = BTreeSet::new();
    for (automorphisms, key) in expanded {
        for by in automorphisms {
            let step = match by {
                crate::rlwe::Automorphism::Rotate(k) => Step::Rotate(k),
                crate::rlwe::Automorphism::SwapRows => Step::SwapRows,
            };
            if !columns.insert(wire::column(engine.ring(), step)?) {
                return Err(Kind::Keys.malformed(format!("{step:?} twice")));
            }
        }
        keys.merge(key).map_err(failed)?;
    }
    Ok((keys, columns))
}

impl Evaluator for BfvEvaluator {
    type Ciphertext = BfvCiphertext;
    type Extended = BfvExtended;
    type Plaintext = BfvPlaintext;

    fn from_keys(params: &SchemeParams, keys: &[u8]) -> Result<Self, BackendError> {
        // Damaged bytes are refused before the parameters' tables are computed.
        let mut reader = Reader::new(Kind::Keys, Envelope::new(super::NAME, params).open(Kind::Keys, keys)?);
        let shared = Shared::new(params)?;
        let public = PublicKey::from_bytes(&shared.engine, part(&mut reader)?).map_err(failed)?;
        let count = reader.u32()? as usize;
        if count > shared.engine.ring() {
            return Err(Kind::Keys.malformed(format!("{count} Galois keys")));
        }
        let parts = (0..count).map(|_| part(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        reader.finish()?;
        let (keys, columns) = read_keys(&shared, &parts)?;
        Ok(Self { shared, public, keys, columns })
    }

    fn ring(&self) -> usize {
        self.shared.engine.ring()
    }

    fn load(&self, bytes: &[u8]) -> Result<BfvCiphertext, BackendError> {
        let body = self.shared.envelope.open(Kind::Fresh, bytes)?;
        let fresh = SeededCiphertext::from_bytes(&self.shared.engine, body).map_err(failed)?;
        Ok(BfvCiphertext { inner: fresh.expand(), noise: Noise::fresh() })
    }

    fn store(&self, ciphertext: &BfvCiphertext, sent: Sent<'_>) -> Result<Vec<u8>, BackendError> {
        let Shared { params, engine, hiding, envelope } = &self.shared;
        wire::positions(params, sent)?;
        let (found, provided) = (ciphertext.noise.bits(engine), hiding.noise.bits(engine));
        if found > provided {
            return Err(BackendError::Noise { found, provided });
        }
        let unmasked = vec![0; engine.ring()];
        let reply = self
            .public
            .reply(&ciphertext.inner, &unmasked, sent, *hiding, &mut randomness()?)
            .map_err(failed)?;
        Ok(envelope.seal(Kind::Reply, &reply.to_bytes()))
    }

    fn encode(&self, values: &[i64], basis: Basis) -> Result<BfvPlaintext, BackendError> {
        let Shared { params, engine, .. } = &self.shared;
        let inner = engine.encode(values, self.shared.packing(), basis).map_err(failed)?;
        let norm = match params.workload.encoding {
            Encoding::Slots => FactorNorm::of_slots(engine),
            Encoding::Coefficients => {
                // Whatever stands for a residue, none of the lifted ones is larger.
                let largest = values.iter().fold(0, |largest: u64, v| largest.max(v.unsigned_abs()));
                let weights = values.iter().filter(|&&v| v != 0).count();
                FactorNorm::of_coefficients(weights, largest.min(params.plain_modulus / 2))
            }
        };
        Ok(BfvPlaintext { inner, norm })
    }

    fn plaintext_bytes(&self, basis: Basis) -> u64 {
        self.shared.engine.plaintext_bytes(basis) as u64
    }

    fn automorphisms(
        &self,
        sources: &[&BfvCiphertext],
        steps: &[BatchStep],
    ) -> Result<Vec<BfvCiphertext>, BackendError> {
        self.check_keys(steps.iter().map(|&(_, step)| step))?;
        let turned = |source: usize, inner| BfvCiphertext {
            inner,
            noise: sources[source].noise.rotated(&self.shared.engine),
        };
        if let [(source, step)] = *steps {
            let rotated = self.keys.rotate(&sources[source].inner, automorphism(step)).map_err(failed)?;
            return Ok(vec![turned(source, rotated)]);
        }
        let hoisted = hoist(sources)?;
        let runs: Vec<&[BatchStep]> = steps.chunk_by(|a, b| a.1 == b.1).collect();
        let rotated = runs.par_iter().map(|run| {
            let chosen: Vec<_> = run.iter().map(|&(source, _)| &hoisted[source]).collect();
            let rotated = self.keys.rotate_hoisted_many(&chosen, automorphism(run[0].1)).map_err(failed)?;
            let sources = run.iter().map(|&(source, _)| source);
            Ok(sources.zip(rotated).map(|(source, inner)| turned(source, inner)).collect())
        });
        Ok(rotated.collect::<Result<Vec<Vec<_>>, BackendError>>()?.into_iter().flatten().collect())
    }

    fn extended(
        &self,
        sources: &[&BfvCiphertext],
        steps: &[BatchStep],
    ) -> Result<Vec<BfvExtended>, BackendError> {
        self.check_keys(steps.iter().map(|&(_, step)| step))?;
        let engine = &self.shared.engine;
        let hoisted = hoist(sources)?;
        let runs: Vec<&[BatchStep]> = steps.chunk_by(|a, b| a.1 == b.1).collect();
        let turned = runs.par_iter().map(|run| {
            let mut out = vec![Extended::zero(engine); run.len()];
            let chosen: Vec<_> = run.iter().map(|&(source, _)| &hoisted[source]).collect();
            self.keys.rotate_extended(&chosen, automorphism(run[0].1), &mut out).map_err(failed)?;
            let noises = run.iter().map(|&(source, _)| sources[source].noise.rotated_extended(engine));
            Ok(out.into_iter().zip(noises).map(|(inner, noise)| BfvExtended { inner, noise }).collect())
        });
        Ok(turned.collect::<Result<Vec<Vec<_>>, BackendError>>()?.into_iter().flatten().collect())
    }

    fn rotate_sum(&self, summands: &[(&BfvCiphertext, Option<Step>)]) -> Result<BfvCiphertext, BackendError> {
        self.check_keys(summands.iter().filter_map(|&(_, step)| step))?;
        let mut sum = RotationSum::new(&self.shared.engine);
        let mut noise = Noise::none();
        for &(summand, step) in summands {
            noise = noise.plus(match step {
                Some(step) => {
                    sum.add(&self.keys, &summand.inner, automorphism(step)).map_err(failed)?;
                    summand.noise.rotated_extended(&self.shared.engine)
                }
                None => {
                    sum.add_ciphertext(&summand.inner).map_err(failed)?;
                    summand.noise
                }
            });
        }
        Ok(BfvCiphertext { inner: sum.finish(), noise: noise.divided(&self.shared.engine) })
    }

    fn dot<'a>(&self, terms: &mut dyn Iterator<Item = Term<'a, Self>>) -> Result<BfvCiphertext, BackendError>
    where
        Self: 'a,
    {
        let mut sum = MixedSum::new(&self.shared.engine);
        for term in terms {
            let (operand, plaintext) = term?;
            sum.add(operand, plaintext)?;
        }
        sum.finish()
    }

    fn dots<'a>(
        &self,
        operands: &[Operand<'a, Self>],
        factors: &[Vec<Arc<BfvPlaintext>>],
    ) -> Result<Vec<BfvCiphertext>, BackendError>
    where
        Self: 'a,
    {
        let whole = |operand: &Operand<'a, Self>| match *operand {
            Operand::Ciphertext(ciphertext) => Some(ciphertext),
            Operand::Extended(_) => None,
        };
        if let Some(operands) = operands.iter().map(whole).collect::<Option<Vec<_>>>() {
            return shared_sums(&self.shared.engine, &operands, factors);
        }
        let term = |(&operand, factor): (&Operand<'a, Self>, &Arc<_>)| Ok((operand, Arc::clone(factor)));
        factors.iter().map(|factors| self.dot(&mut operands.iter().zip(factors).map(term))).collect()
    }

    fn add_assign(&self, a: &mut BfvCiphertext, b: &BfvCiphertext) {
        a.inner
            .add_assign(&b.inner)
            .expect("all ciphertexts of an evaluator have its parameters and all primes");
        a.noise = a.noise.plus(b.noise);
    }

    fn add_plain(&self, a: &mut BfvCiphertext, slots: &[u64]) -> Result<(), BackendError> {
        wire::check_slots(slots, self.shared.engine.ring(), self.shared.params.plain_modulus)?;
        a.inner.add_plain(slots, self.shared.packing()).map_err(failed)?;
        a.noise = a.noise.plus_plain();
        Ok(())
    }
}
