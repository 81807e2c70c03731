//! Galois keys: one for each automorphism that a circuit applies.

use super::cipher::same;
use super::error::RlweError;
use super::galois::{Automorphism, Permutation};
use super::keys::SecretKey;
use super::params::Parameters;
use super::random::Randomness;
use super::switch_key::{SeededSwitchKey, SwitchKey};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One Galois key as it travels.
#[derive(Clone, Debug)]
pub(super) struct SeededGaloisKey {
    pub(super) automorphism: Automorphism,
    pub(super) key: SeededSwitchKey,
}

/// Galois keys as they travel: half the bytes.
#[derive(Clone, Debug)]
pub struct SeededGaloisKeys {
    pub(super) params: Arc<Parameters>,
    pub(super) keys: Vec<SeededGaloisKey>,
}

/// Galois keys ready for use, by the exponent of their automorphism.
#[derive(Clone, Debug)]
pub struct GaloisKeys {
    pub(super) params: Arc<Parameters>,
    keys: BTreeMap<usize, SwitchKey>,
}

impl SecretKey {
    /// Galois keys for exactly these automorphisms; repetitions and the identity get none.
    #[must_use]
    pub fn galois_keys(
        &self,
        automorphisms: &[Automorphism],
        randomness: &mut Randomness,
    ) -> SeededGaloisKeys {
        let ring = self.params.ring();
        let mut wanted = BTreeMap::new();
        for &automorphism in automorphisms {
            wanted.entry(automorphism.exponent(ring)).or_insert(automorphism);
        }
        wanted.remove(&1);
        let keys = wanted.into_iter().map(|(g, automorphism)| {
            let permutation = Permutation::new(ring, g);
            let turned = |r: usize, out: &mut [u64]| permutation.apply(self.transform.limb(r), out);
            SeededGaloisKey { automorphism, key: self.switch_key(randomness, turned) }
        });
        let keys = keys.collect();
        SeededGaloisKeys { params: self.params.clone(), keys }
    }
}

impl SeededGaloisKeys {
    /// The automorphisms that have a key.
    pub fn automorphisms(&self) -> impl Iterator<Item = Automorphism> {
        self.keys.iter().map(|k| k.automorphism)
    }

    /// The keys, expanded and prepared for use, on all cores.
    #[must_use]
    pub fn expand(&self) -> GaloisKeys {
        let ring = self.params.ring();
        let keys = self.keys.par_iter().map(|key| {
            let g = key.automorphism.exponent(ring);
            (g, SwitchKey::prepare(&self.params, &key.key, g))
        });
        GaloisKeys { params: self.params.clone(), keys: keys.collect() }
    }
}

impl GaloisKeys {
    /// No keys yet.
    #[must_use]
    pub fn none(params: &Arc<Parameters>) -> Self {
        Self { params: params.clone(), keys: BTreeMap::new() }
    }

    /// Takes over other keys of the same parameters.
    ///
    /// # Errors
    /// If the parameters differ.
    pub fn merge(&mut self, other: Self) -> Result<(), RlweError> {
        same(&self.params, &other.params)?;
        self.keys.extend(other.keys);
        Ok(())
    }

    /// Bytes of memory that the keys take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.keys.values().map(SwitchKey::bytes).sum()
    }

    /// Whether `automorphism` can be applied.
    #[must_use]
    pub fn contains(&self, automorphism: Automorphism) -> bool {
        let g = automorphism.exponent(self.params.ring());
        g == 1 || self.keys.contains_key(&g)
    }

    pub(super) fn key(&self, automorphism: Automorphism) -> Result<Option<&SwitchKey>, RlweError> {
        let g = automorphism.exponent(self.params.ring());
        if g == 1 {
            return Ok(None);
        }
        self.keys.get(&g).map(Some).ok_or(RlweError::MissingKey(automorphism))
    }
}
