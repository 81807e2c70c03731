//! The server's side: evaluation from the bytes of the evaluation keys.

use super::client::randomness;
use super::{Shared, automorphism, failed};
use crate::backend::wire::{self, Envelope, Kind, Reader};
use crate::backend::{BackendError, Evaluator, SchemeParams, Term};
use crate::circuit::Step;
use crate::params::Encoding;
use crate::rlwe::{
    Basis, Ciphertext, DotProduct, FactorNorm, GaloisKeys, Hoisted, Noise, Plaintext, PublicKey,
    SeededCiphertext, SeededGaloisKeys, Sent,
};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Terms that the engine multiplies in one pass.
const PASS: usize = 4;

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
    inner: Plaintext,
    norm: FactorNorm,
}

/// A ciphertext and its estimated noise.
#[derive(Clone, Debug)]
pub struct BfvCiphertext {
    pub(super) inner: Ciphertext,
    noise: Noise,
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
    fn check_keys(&self, steps: &[Step]) -> Result<(), BackendError> {
        steps.iter().try_for_each(|&step| {
            let column = wire::column(self.shared.engine.ring(), step)?;
            if self.columns.contains(&column) { Ok(()) } else { Err(BackendError::MissingKey(step)) }
        })
    }
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

    fn encode(&self, values: &[i64]) -> Result<BfvPlaintext, BackendError> {
        let Shared { params, engine, .. } = &self.shared;
        let inner = engine.encode(values, self.shared.packing(), Basis::Ciphertext).map_err(failed)?;
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

    fn plaintext_bytes(&self) -> u64 {
        8 * (self.shared.engine.ring() * self.shared.engine.top()) as u64
    }

    fn automorphisms(&self, src: &BfvCiphertext, steps: &[Step]) -> Result<Vec<BfvCiphertext>, BackendError> {
        self.check_keys(steps)?;
        let noise = src.noise.rotated(&self.shared.engine);
        let turned = |inner| BfvCiphertext { inner, noise };
        if let [step] = steps {
            let rotated = self.keys.rotate(&src.inner, automorphism(*step)).map_err(failed)?;
            return Ok(vec![turned(rotated)]);
        }
        let hoisted = Hoisted::new(&src.inner).map_err(failed)?;
        steps
            .par_iter()
            .map(|&step| self.keys.rotate_hoisted(&hoisted, automorphism(step)).map(turned).map_err(failed))
            .collect()
    }

    fn dot<'a>(
        &self,
        terms: &mut dyn Iterator<Item = Term<'a, BfvCiphertext, BfvPlaintext>>,
    ) -> Result<BfvCiphertext, BackendError>
    where
        Self: 'a,
    {
        let mut sum = DotProduct::new(&self.shared.engine);
        let mut noise = Noise::none();
        let mut pass: Vec<(&BfvCiphertext, Arc<BfvPlaintext>)> = Vec::with_capacity(PASS);
        let mut flush = |pass: &mut Vec<(&BfvCiphertext, Arc<BfvPlaintext>)>| {
            let terms: Vec<_> = pass.iter().map(|(c, p)| (&c.inner, &p.inner)).collect();
            let added = sum.add(&terms).map_err(failed);
            pass.clear();
            added
        };
        for term in terms {
            let (ciphertext, plaintext) = term?;
            noise = noise.plus(ciphertext.noise.times(plaintext.norm));
            pass.push((ciphertext, plaintext));
            if pass.len() == PASS {
                flush(&mut pass)?;
            }
        }
        flush(&mut pass)?;
        Ok(BfvCiphertext { inner: sum.finish(), noise })
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
