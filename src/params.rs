//! placeholder

/// Parameters of a scheme, public to both parties.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SchemeParams {
    /// Ring degree N, a power of two.
    pub ring: u32,
    /// Plaintext prime t, 1 mod 2N.
    pub plain_modulus: u64,
    /// Bits of each ciphertext prime, special primes last.
    pub modulus_bits: Vec<u32>,
}
