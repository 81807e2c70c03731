//! Seconds of the operations of the non-interactive mode, whose parameters are always the same.

use serde::{Deserialize, Serialize};

/// Seconds of each operation on one thread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TfheCosts {
    /// A programmable bootstrap with the key switch before it.
    pub bootstrap: f64,
    /// A ciphertext of one value times a weight, added to a sum.
    pub term: f64,
    /// Making both keys: the client, once.
    pub keygen: f64,
    /// Unpacking the evaluation key: the server, once.
    pub unpack: f64,
}

impl TfheCosts {
    /// Seconds of the server for an image.
    #[must_use]
    pub fn server_seconds(&self, bootstraps: usize, terms: usize) -> f64 {
        bootstraps as f64 * self.bootstrap + terms as f64 * self.term
    }

    /// Its operations by name.
    pub(super) fn operations(&self) -> [(&'static str, f64); 4] {
        [
            ("tfhe.bootstrap", self.bootstrap),
            ("tfhe.term", self.term),
            ("tfhe.keygen", self.keygen),
            ("tfhe.unpack", self.unpack),
        ]
    }
}
