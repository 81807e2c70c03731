//! Words that are wiped when they are dropped: shares, masks, bits of them, random transfers.
//!
//! What a vector leaves behind when it grows is not covered, so what is secret is collected in one piece.

use std::fmt;
use std::ops::{Deref, DerefMut};
use zeroize::Zeroize;

/// Secret words.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Wiped(Vec<u64>);

impl Wiped {
    /// Zeros.
    #[must_use]
    pub fn zeros(n: usize) -> Self {
        Self(vec![0; n])
    }

    /// The words, whose wiping is now the caller's.
    #[must_use]
    pub fn into_vec(mut self) -> Vec<u64> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Deref for Wiped {
    type Target = Vec<u64>;

    fn deref(&self) -> &Vec<u64> {
        &self.0
    }
}

impl DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut Vec<u64> {
        &mut self.0
    }
}

impl From<Vec<u64>> for Wiped {
    fn from(words: Vec<u64>) -> Self {
        Self(words)
    }
}

impl FromIterator<u64> for Wiped {
    fn from_iter<I: IntoIterator<Item = u64>>(words: I) -> Self {
        Self(words.into_iter().collect())
    }
}

impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wiped(len = {})", self.0.len())
    }
}
