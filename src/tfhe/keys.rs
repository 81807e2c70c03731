//! Keys, encryption and decryption: the client's part, on `core_crypto` of the crate `tfhe`.
//!
//! Secrets are binary and drawn from the operating system's randomness, as all noise is. Evaluation keys and
//! inputs are seeded: of each ciphertext only the bodies are kept, its mask follows from a public seed. Secrets
//! are overwritten when dropped; what the crate's generators hold while they run is not.

use super::input::InputLayout;
use super::params::{
    BOOTSTRAP_BASE_LOG, BOOTSTRAP_LEVELS, GLWE_STD, INPUT_STEP, LWE_DIMENSION, LWE_STD, RING,
    SWITCH_BASE_LOG, SWITCH_LEVELS,
};
use super::simulate::decode;
use crate::tensor::{Shape, Tensor};
use ::tfhe::core_crypto::commons::math::random::Seed;
use ::tfhe::core_crypto::prelude::*;
use rayon::prelude::*;
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// Names a pair of client and evaluation key: the BLAKE3 hash of the latter.
pub type KeyId = [u8; 32];

/// Names a model and its plan, as far as a client sees it.
pub type ModelId = [u8; 32];

/// The client's secret key.
pub struct ClientKey {
    /// Bits of the ring's key, which are those of the large LWE key.
    pub(super) ring: Zeroizing<Vec<u64>>,
    /// Bits of the small LWE key.
    pub(super) small: Zeroizing<Vec<u64>>,
    /// Its evaluation key's name.
    pub(super) id: KeyId,
}

impl fmt::Debug for ClientKey {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey").finish_non_exhaustive()
    }
}

/// What the server needs to compute, and cannot decrypt with.
#[derive(Clone, PartialEq, Eq)]
pub struct EvaluationKey {
    pub(super) switch_seed: u128,
    pub(super) switch: Vec<u64>,
    pub(super) bootstrap_seed: u128,
    pub(super) bootstrap: Vec<u64>,
}

impl fmt::Debug for EvaluationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvaluationKey").finish_non_exhaustive()
    }
}

/// An encrypted image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedInput {
    /// Under which key.
    pub key: KeyId,
    /// For which model.
    pub model: ModelId,
    /// Seed of the mask and body of each ciphertext.
    pub ciphertexts: Vec<(u128, Vec<u64>)>,
}

/// An encrypted answer, with what the client needs to read it.
#[derive(Clone, Debug, PartialEq)]
pub struct EncryptedOutput {
    /// Under which key.
    pub key: KeyId,
    /// Of which model.
    pub model: ModelId,
    /// The model's name.
    pub name: String,
    /// One unit on the torus.
    pub step: u64,
    /// One unit in the model's own.
    pub scale: f64,
    /// LWE ciphertexts under the large key, mask and body, one after the other.
    pub samples: Vec<u64>,
}

/// Why a key does nothing with a ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Another key's.
    #[error("encrypted under another key: its evaluation key is {found}, this one's {expected}")]
    Foreign {
        /// The first bytes of the name of the ciphertext's key.
        found: Named,
        /// Those of this one's.
        expected: Named,
    },
    /// Another model's.
    #[error("made for another model or another plan of it: {found}, this one is {expected}; encrypt again")]
    Model {
        /// The first bytes of the name of the ciphertext's model.
        found: Named,
        /// Those of this one's.
        expected: Named,
    },
    /// Not as many ciphertexts as the model takes.
    #[error("{found} ciphertexts, the model takes {expected}")]
    Count {
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
}

/// The first bytes of a name, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named([u8; 4]);

impl Named {
    /// Of a whole one.
    #[must_use]
    pub fn of(name: &[u8; 32]) -> Self {
        Self([name[0], name[1], name[2], name[3]])
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Seeds from the operating system.
struct OsSeeder;

impl Seeder for OsSeeder {
    fn seed(&mut self) -> Seed {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .expect("the operating system has randomness, without which there are no keys");
        let seed = Seed(u128::from_le_bytes(bytes));
        bytes.zeroize();
        seed
    }

    fn is_available() -> bool {
        true
    }
}

pub(super) fn modulus() -> CiphertextModulus<u64> {
    CiphertextModulus::new_native()
}

pub(super) fn switch_levels() -> (DecompositionBaseLog, DecompositionLevelCount) {
    (DecompositionBaseLog(SWITCH_BASE_LOG), DecompositionLevelCount(SWITCH_LEVELS))
}

pub(super) fn bootstrap_levels() -> (DecompositionBaseLog, DecompositionLevelCount) {
    (DecompositionBaseLog(BOOTSTRAP_BASE_LOG), DecompositionLevelCount(BOOTSTRAP_LEVELS))
}

fn gaussian(deviation: f64) -> Gaussian<f64> {
    Gaussian::from_dispersion_parameter(StandardDev(deviation), 0.0)
}

impl ClientKey {
    /// A fresh pair of keys.
    #[must_use]
    pub fn generate() -> (Self, EvaluationKey) {
        let seeder = &mut OsSeeder;
        let mut secret = SecretRandomGenerator::<DefaultRandomGenerator>::new(seeder.seed());
        let small = LweSecretKey::generate_new_binary(LweDimension(LWE_DIMENSION), &mut secret);
        let ring = GlweSecretKey::generate_new_binary(GlweDimension(1), PolynomialSize(RING), &mut secret);
        let mut key = Self {
            ring: Zeroizing::new(ring.into_container()),
            small: Zeroizing::new(small.into_container()),
            id: [0; 32],
        };
        let (switch_seed, bootstrap_seed) = (seeder.seed(), seeder.seed());
        let (base, levels) = switch_levels();
        let mut switch = SeededLweKeyswitchKey::new(
            0,
            base,
            levels,
            LweDimension(RING),
            LweDimension(LWE_DIMENSION),
            switch_seed.into(),
            modulus(),
        );
        let large = LweSecretKey::from_container(key.ring.as_slice());
        generate_seeded_lwe_keyswitch_key(&large, &key.small(), &mut switch, gaussian(LWE_STD), seeder);
        let (base, levels) = bootstrap_levels();
        let mut bootstrap = SeededLweBootstrapKey::new(
            0,
            GlweDimension(1).to_glwe_size(),
            PolynomialSize(RING),
            base,
            levels,
            LweDimension(LWE_DIMENSION),
            bootstrap_seed.into(),
            modulus(),
        );
        par_generate_seeded_lwe_bootstrap_key(
            &key.small(),
            &key.ring(),
            &mut bootstrap,
            gaussian(GLWE_STD),
            seeder,
        );
        let evaluation = EvaluationKey {
            switch_seed: switch_seed.0,
            switch: switch.into_container(),
            bootstrap_seed: bootstrap_seed.0,
            bootstrap: bootstrap.into_container(),
        };
        key.id = evaluation.id();
        (key, evaluation)
    }

    /// The name of its evaluation key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn ring(&self) -> GlweSecretKey<&[u64]> {
        GlweSecretKey::from_container(self.ring.as_slice(), PolynomialSize(RING))
    }

    fn small(&self) -> LweSecretKey<&[u64]> {
        LweSecretKey::from_container(self.small.as_slice())
    }

    /// Encrypts a quantised image for `model`.
    #[must_use]
    pub fn encrypt(&self, model: ModelId, layout: &InputLayout, image: &Tensor<i64>) -> EncryptedInput {
        let mut plain = vec![Zeroizing::new(vec![0_u64; RING]); layout.ciphertexts()];
        for (element, value) in image.data.iter().enumerate() {
            let (ciphertext, coefficient) = layout.position(element);
            if let Some(slot) = plain.get_mut(ciphertext).and_then(|p| p.get_mut(coefficient)) {
                *slot = value.cast_unsigned().wrapping_mul(INPUT_STEP);
            }
        }
        let encrypt = |plain: &Zeroizing<Vec<u64>>| {
            let seeder = &mut OsSeeder;
            let seed = seeder.seed();
            let mut ciphertext = SeededGlweCiphertext::new(
                0,
                GlweDimension(1).to_glwe_size(),
                PolynomialSize(RING),
                seed.into(),
                modulus(),
            );
            let plain = PlaintextList::from_container(plain.as_slice());
            encrypt_seeded_glwe_ciphertext(&self.ring(), &mut ciphertext, &plain, gaussian(GLWE_STD), seeder);
            (seed.0, ciphertext.into_container())
        };
        EncryptedInput { key: self.id, model, ciphertexts: plain.par_iter().map(encrypt).collect() }
    }

    /// The answer's integers.
    ///
    /// # Errors
    /// If it was encrypted under another key.
    pub fn decrypt(&self, output: &EncryptedOutput) -> Result<Tensor<i64>, KeyError> {
        same_key(&output.key, &self.id)?;
        let data: Vec<i64> = self.phases(&output.samples).map(|phase| decode(phase, output.step)).collect();
        Ok(Tensor { shape: Shape::flat(data.len()), data })
    }

    /// What LWE ciphertexts under the large key hold, noise and all.
    pub(super) fn phases<'a>(&'a self, samples: &'a [u64]) -> impl Iterator<Item = u64> + 'a {
        let large = LweSecretKey::from_container(self.ring.as_slice());
        samples.chunks_exact(RING + 1).map(move |sample| {
            decrypt_lwe_ciphertext(&large, &LweCiphertext::from_container(sample, modulus())).0
        })
    }
}

impl EncryptedInput {
    /// Refuses an image under another key than `key`, or for another model than `model`.
    ///
    /// # Errors
    /// [`KeyError::Foreign`] or [`KeyError::Model`].
    pub fn fits(&self, key: &KeyId, model: &ModelId) -> Result<(), KeyError> {
        same_key(&self.key, key)?;
        if self.model == *model {
            return Ok(());
        }
        Err(KeyError::Model { found: Named::of(&self.model), expected: Named::of(model) })
    }
}

/// Refuses ciphertexts of another key.
///
/// # Errors
/// [`KeyError::Foreign`].
pub fn same_key(found: &KeyId, expected: &KeyId) -> Result<(), KeyError> {
    if found == expected {
        return Ok(());
    }
    Err(KeyError::Foreign { found: Named::of(found), expected: Named::of(expected) })
}

impl EvaluationKey {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let mut hash = blake3::Hasher::new();
        hash.update(&self.switch_seed.to_le_bytes()).update(&self.bootstrap_seed.to_le_bytes());
        let mut bytes = Vec::with_capacity(8 << 13);
        for words in self.switch.chunks(1 << 13).chain(self.bootstrap.chunks(1 << 13)) {
            bytes.clear();
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            hash.update(&bytes);
        }
        *hash.finalize().as_bytes()
    }
}
