//! The server's side: evaluation from the bytes of the evaluation keys.

use super::plain::{Encoder, Sum};
use super::{NAME, Scheme, VARIANCE, failed, os_rng};
use crate::backend::wire::{self, Envelope, Kind, Reader};
use crate::backend::{BackendError, Basis, BatchStep, Evaluator, Operand, SEED, SchemeParams, Sent, Term};
use crate::circuit::Step;
use fhe::bfv::traits::TryConvertFrom;
use fhe::bfv::{Ciphertext, Encoding, EvaluationKey, Plaintext};
use fhe::proto::bfv::{
    Ciphertext as CiphertextMessage, EvaluationKey as KeysMessage, GaloisKey as GaloisMessage,
    KeySwitchingKey as SwitchMessage,
};
use fhe_math::rq::{Poly, Representation};
use fhe_traits::FheEncoder;
use rand_09::SeedableRng;
use rand_09::rngs::StdRng;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// Evaluates with the client's Galois keys, without any secret.
pub struct FheEvaluator {
    scheme: Scheme,
    encoder: Encoder,
    /// The client's public key: an encryption of zero.
    public: Ciphertext,
    keys: Vec<EvaluationKey>,
    /// Which of `keys` holds the Galois key of a column.
    holder: BTreeMap<u32, usize>,
    rng: Mutex<StdRng>,
}

/// A ciphertext of two polynomials at full modulus.
#[derive(Clone, Debug)]
pub struct FheCiphertext(Ciphertext);

/// A plaintext with centred coefficients, in the NTT domain of the ciphertexts.
#[derive(Clone, Debug)]
pub struct FhePlaintext(Poly);

impl fmt::Debug for FheEvaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<_> = self.holder.keys().collect();
        f.debug_struct("FheEvaluator")
            .field("params", &self.scheme.params)
            .field("columns", &columns)
            .finish_non_exhaustive()
    }
}

impl FheEvaluator {
    fn automorphism(&self, src: &Ciphertext, step: Step) -> Result<FheCiphertext, BackendError> {
        let column = wire::column(self.scheme.ring(), step)?;
        let holder = self.holder.get(&column).ok_or(BackendError::MissingKey(step))?;
        let key = &self.keys[*holder];
        match step {
            Step::SwapRows => key.rotates_rows(src),
            Step::Rotate(_) => key.rotates_columns_by(src, column as usize),
        }
        .map(FheCiphertext)
        .map_err(failed)
    }

    /// A fresh encryption of zero under the client's public key.
    fn zero(&self) -> Result<Ciphertext, BackendError> {
        let mut rng = {
            let mut source = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            StdRng::from_rng(&mut *source)
        };
        let context = self.public[0].ctx();
        let mut small = || {
            Poly::small(context, Representation::Ntt, VARIANCE, &mut rng).map(Zeroizing::new).map_err(failed)
        };
        let mask = small()?;
        let parts = self
            .public
            .iter()
            .map(|public| {
                let mut part = &*mask * public;
                part += &*small()?;
                Ok(part)
            })
            .collect::<Result<_, BackendError>>()?;
        Ciphertext::new(parts, &self.scheme.bfv).map_err(failed)
    }

    fn reply(&self, ciphertext: &Ciphertext) -> Result<Vec<u8>, BackendError> {
        let mut reply = self.zero()?;
        reply += ciphertext;
        reply.switch_to_level(self.scheme.reply.level()).map_err(failed)?;
        let mut body = Vec::with_capacity(2 * self.scheme.reply.len());
        self.scheme.reply.write(&CiphertextMessage::from(&reply), &mut body);
        Ok(self.scheme.envelope.seal(Kind::Reply, &body))
    }
}

/// Reads one Galois key: its column, the seed, one polynomial a digit.
fn read_galois(scheme: &Scheme, reader: &mut Reader<'_>) -> Result<(u32, GaloisMessage), BackendError> {
    let column = reader.u32()?;
    if column as usize >= scheme.ring() / 2 {
        return Err(Kind::Keys.malformed(format!("step {column} out of range")));
    }
    let seed = reader.take(SEED)?.to_vec();
    let c0 = (0..scheme.params.modulus_bits.len())
        .map(|_| scheme.key.read(Kind::Keys, reader))
        .collect::<Result<_, _>>()?;
    let ksk = SwitchMessage { c0, seed, ..SwitchMessage::default() };
    Ok((column, GaloisMessage { ksk: Some(ksk), exponent: scheme.exponent(column) }))
}

impl Evaluator for FheEvaluator {
    type Ciphertext = FheCiphertext;
    type Extended = FheCiphertext;
    type Plaintext = FhePlaintext;

    fn from_keys(params: &SchemeParams, keys: &[u8]) -> Result<Self, BackendError> {
        // Damaged bytes are refused before the parameters' tables are computed.
        let mut reader = Reader::new(Kind::Keys, Envelope::new(NAME, params).open(Kind::Keys, keys)?);
        let scheme = Scheme::new(params)?;
        let public = scheme.fresh.read_seeded(Kind::Keys, &mut reader)?;
        let mut public = Ciphertext::try_convert_from(&public, &scheme.bfv).map_err(failed)?;
        public.iter_mut().for_each(Poly::disallow_variable_time_computations);
        let count = reader.u32()? as usize;
        let key_len = 4 + SEED + params.modulus_bits.len() * scheme.key.len();
        if Some(reader.left()) != count.checked_mul(key_len) {
            return Err(Kind::Keys.malformed(format!("{} bytes of {count} Galois keys", reader.left())));
        }
        let keys: Vec<&[u8]> = (0..count).map(|_| reader.take(key_len)).collect::<Result<_, _>>()?;
        let share = count.div_ceil(rayon::current_num_threads()).max(1);
        let parts =
            keys.par_chunks(share).map(|part| read_keys(&scheme, part)).collect::<Result<Vec<_>, _>>()?;
        let mut holder = BTreeMap::new();
        let mut keys = Vec::with_capacity(parts.len());
        for (part, (columns, key)) in parts.into_iter().enumerate() {
            keys.push(key);
            for column in columns {
                if holder.insert(column, part).is_some() {
                    return Err(Kind::Keys.malformed(format!("step {column} twice")));
                }
            }
        }
        let encoder = Encoder::new(&scheme)?;
        Ok(Self { scheme, encoder, public, keys, holder, rng: Mutex::new(os_rng()?) })
    }

    fn ring(&self) -> usize {
        self.scheme.ring()
    }

    fn load(&self, bytes: &[u8]) -> Result<FheCiphertext, BackendError> {
        let mut reader = Reader::new(Kind::Fresh, self.scheme.envelope.open(Kind::Fresh, bytes)?);
        let message = self.scheme.fresh.read_seeded(Kind::Fresh, &mut reader)?;
        reader.finish()?;
        Ciphertext::try_convert_from(&message, &self.scheme.bfv).map(FheCiphertext).map_err(failed)
    }

    fn store(&self, ciphertext: &FheCiphertext, sent: Sent<'_>) -> Result<Vec<u8>, BackendError> {
        wire::positions(&self.scheme.params, sent)?;
        self.reply(&ciphertext.0)
    }

    fn encode(&self, slots: &[i64], _: Basis) -> Result<FhePlaintext, BackendError> {
        self.encoder.encode(slots).map(FhePlaintext)
    }

    fn plaintext_bytes(&self, _: Basis) -> u64 {
        8 * (self.scheme.ring() * self.scheme.params.modulus_bits.len()) as u64
    }

    fn automorphisms(
        &self,
        sources: &[&FheCiphertext],
        steps: &[BatchStep],
    ) -> Result<Vec<FheCiphertext>, BackendError> {
        steps.par_iter().map(|&(source, step)| self.automorphism(&sources[source].0, step)).collect()
    }

    fn extended(
        &self,
        sources: &[&FheCiphertext],
        steps: &[BatchStep],
    ) -> Result<Vec<FheCiphertext>, BackendError> {
        self.automorphisms(sources, steps)
    }

    fn rotate_sum(&self, summands: &[(&FheCiphertext, Option<Step>)]) -> Result<FheCiphertext, BackendError> {
        let turned = summands.iter().map(|&(summand, step)| match step {
            Some(step) => self.automorphism(&summand.0, step),
            None => Ok(summand.clone()),
        });
        let sum = turned.reduce(|sum, turned| {
            let mut sum = sum?;
            self.add_assign(&mut sum, &turned?);
            Ok(sum)
        });
        sum.unwrap_or_else(|| Err(failed("a sum of nothing")))
    }

    fn dot<'a>(&self, terms: &mut dyn Iterator<Item = Term<'a, Self>>) -> Result<FheCiphertext, BackendError>
    where
        Self: 'a,
    {
        let mut sum = Sum::new(&self.encoder);
        for term in terms {
            let (Operand::Ciphertext(operand) | Operand::Extended(operand), plaintext) = term?;
            sum.accumulate(&operand.0, &plaintext.0)?;
        }
        Ciphertext::new(sum.finish()?, &self.scheme.bfv).map(FheCiphertext).map_err(failed)
    }

    fn add_assign(&self, a: &mut FheCiphertext, b: &FheCiphertext) {
        a.0 += &b.0;
    }

    fn add_plain(&self, a: &mut FheCiphertext, slots: &[u64]) -> Result<(), BackendError> {
        wire::check_slots(slots, self.scheme.ring(), self.scheme.params.plain_modulus)?;
        a.0 += &Plaintext::try_encode(slots, Encoding::simd(), &self.scheme.bfv).map_err(failed)?;
        Ok(())
    }
}

/// Reads Galois keys of equal length.
fn read_keys(scheme: &Scheme, part: &[&[u8]]) -> Result<(Vec<u32>, EvaluationKey), BackendError> {
    let mut columns = Vec::with_capacity(part.len());
    let mut message = KeysMessage::default();
    for bytes in part {
        let (column, key) = read_galois(scheme, &mut Reader::new(Kind::Keys, bytes))?;
        columns.push(column);
        message.gk.push(key);
    }
    let keys = EvaluationKey::try_convert_from(&message, &scheme.bfv).map_err(failed)?;
    Ok((columns, keys))
}
