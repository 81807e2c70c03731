//! The server's side: evaluation from the bytes of the evaluation keys.

use super::client::randomness;
use super::{Shared, automorphism, failed};
use crate::backend::wire::{self, Envelope, Kind, Reader};
use crate::backend::{BackendError, Evaluator, SchemeParams, Term};
use crate::circuit::Step;
use crate::rlwe::{
    Basis, Ciphertext, DotProduct, FactorNorm, GaloisKeys, Hoisted, Noise, Packing, Plaintext, PublicKey,
    SeededCiphertext, SeededGaloisKeys, Sent,
};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Terms that the engine is given at once: so many encoded plaintexts may be held that nobody keeps.
const PASS: usize = 32;

/// Evaluates with the client's Galois keys, without any secret.
pub struct BfvEvaluator {
    shared: Shared,
    public: PublicKey,
    keys: GaloisKeys,
    columns: BTreeSet<u32>,
    factor: FactorNorm,
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
    type Plaintext = Plaintext;

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
        let factor = FactorNorm::of_slots(&shared.engine);
        Ok(Self { shared, public, keys, columns, factor })
    }

    fn ring(&self) -> usize {
        self.shared.engine.ring()
    }

    fn load(&self, bytes: &[u8]) -> Result<BfvCiphertext, BackendError> {
        let body = self.shared.envelope.open(Kind::Fresh, bytes)?;
        let fresh = SeededCiphertext::from_bytes(&self.shared.engine, body).map_err(failed)?;
        Ok(BfvCiphertext { inner: fresh.expand(), noise: Noise::fresh() })
    }

    fn store(&self, ciphertext: &BfvCiphertext) -> Result<Vec<u8>, BackendError> {
        let Shared { engine, hiding, envelope, .. } = &self.shared;
        let (found, provided) = (ciphertext.noise.bits(engine), hiding.noise.bits(engine));
        if found > provided {
            return Err(BackendError::Noise { found, provided });
        }
        let unmasked = vec![0; engine.ring()];
        let reply = self
            .public
            .reply(&ciphertext.inner, &unmasked, Sent::Slots, *hiding, &mut randomness()?)
            .map_err(failed)?;
        Ok(envelope.seal(Kind::Reply, &reply.to_bytes()))
    }

    fn encode(&self, slots: &[i64]) -> Result<Plaintext, BackendError> {
        self.shared.engine.encode(slots, Packing::Slots, Basis::Ciphertext).map_err(failed)
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
        terms: &mut dyn Iterator<Item = Term<'a, BfvCiphertext, Plaintext>>,
    ) -> Result<BfvCiphertext, BackendError>
    where
        Self: 'a,
    {
        let engine = &self.shared.engine;
        let mut sum: Option<DotProduct> = None;
        let mut noise = Noise::none();
        let mut pass: Vec<(&BfvCiphertext, Arc<Plaintext>)> = Vec::with_capacity(PASS);
        loop {
            pass.clear();
            for term in (&mut *terms).take(PASS) {
                let (ciphertext, plaintext) = term?;
                noise = noise.plus(ciphertext.noise.times(self.factor));
                pass.push((ciphertext, plaintext));
            }
            let refs: Vec<_> = pass.iter().map(|(c, p)| (&c.inner, &**p)).collect();
            if pass.len() == PASS {
                sum.get_or_insert_with(|| DotProduct::new(engine)).add(&refs).map_err(failed)?;
                continue;
            }
            let inner = match sum {
                None => DotProduct::of(engine, &refs).map_err(failed)?,
                Some(mut sum) => {
                    sum.add(&refs).map_err(failed)?;
                    sum.finish()
                }
            };
            return Ok(BfvCiphertext { inner, noise });
        }
    }

    fn add_assign(&self, a: &mut BfvCiphertext, b: &BfvCiphertext) {
        a.inner
            .add_assign(&b.inner)
            .expect("all ciphertexts of an evaluator have its parameters and all primes");
        a.noise = a.noise.plus(b.noise);
    }

    fn add_plain(&self, a: &mut BfvCiphertext, slots: &[u64]) -> Result<(), BackendError> {
        wire::check_slots(slots, self.shared.engine.ring(), self.shared.params.plain_modulus)?;
        a.inner.add_plain(slots, Packing::Slots).map_err(failed)?;
        a.noise = a.noise.plus_plain();
        Ok(())
    }
}
