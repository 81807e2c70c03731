//! What can go wrong in the engine.

use super::Automorphism;

/// An error of the engine; carries the numbers that matter.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RlweError {
    /// The ring degree is no power of two in the range that security is tabulated for.
    #[error("ring degree {ring} is not a power of two from {least} to {most}")]
    Ring {
        /// Ring degree asked for.
        ring: usize,
        /// Least degree.
        least: usize,
        /// Greatest degree.
        most: usize,
    },
    /// The plaintext modulus is no prime 1 mod 2N below 2^50.
    #[error("plaintext modulus {plain} is not a prime below 2^50 that is 1 modulo {cycle}")]
    PlainModulus {
        /// Plaintext modulus asked for.
        plain: u64,
        /// Twice the ring degree.
        cycle: usize,
    },
    /// A ciphertext prime's size is outside what the engine computes with.
    #[error("a prime of {bits} bits is outside {least}..={most} bits")]
    PrimeBits {
        /// Bits asked for.
        bits: u32,
        /// Least bits.
        least: u32,
        /// Most bits.
        most: u32,
    },
    /// There are fewer primes of this size than asked for.
    #[error("no further prime of {bits} bits is 1 modulo {cycle}")]
    OutOfPrimes {
        /// Bits of the primes.
        bits: u32,
        /// Twice the ring degree.
        cycle: usize,
    },
    /// The modulus is too large for 128 bits of security.
    #[error(
        "a modulus of {bits:.1} bits at ring degree {ring} is below 128-bit security, which allows {limit}"
    )]
    Insecure {
        /// Ring degree.
        ring: usize,
        /// Bits of the whole modulus, special primes included.
        bits: f64,
        /// The bound.
        limit: u32,
    },
    /// The number of primes or digits is outside what the engine computes with.
    #[error("{count} {what}, but {least}..={most} are possible")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many were asked for.
        count: usize,
        /// Least.
        least: usize,
        /// Most.
        most: usize,
    },
    /// Two objects of different parameters met.
    #[error("objects of different parameters cannot be combined")]
    Mixed,
    /// A ciphertext is not at the level that the operation needs.
    #[error("a ciphertext with {found} primes where {expected} are needed")]
    Level {
        /// Primes needed.
        expected: usize,
        /// Primes found.
        found: usize,
    },
    /// A vector has the wrong number of entries.
    #[error("{found} values where {expected} are needed")]
    Length {
        /// Entries needed.
        expected: usize,
        /// Entries found.
        found: usize,
    },
    /// A plaintext value is not below the plaintext modulus.
    #[error("value {value} is not below the plaintext modulus {plain}")]
    Value {
        /// The value.
        value: u64,
        /// The plaintext modulus.
        plain: u64,
    },
    /// A Galois key is missing.
    #[error("no Galois key for {0:?}")]
    MissingKey(Automorphism),
    /// The flooding noise that hiding needs does not fit below the modulus.
    #[error("flooding needs {needed:.0} bits of noise, the modulus leaves {room:.0}")]
    Flood {
        /// Bits of the flooded noise.
        needed: f64,
        /// Bits of noise that still decrypts.
        room: f64,
    },
    /// Even the product of two fresh ciphertexts would not decrypt.
    #[error("a product of ciphertexts has {needed:.0} bits of noise, the modulus leaves {room:.0}")]
    NoRoom {
        /// Bits of noise of the product of two fresh ciphertexts.
        needed: f64,
        /// Bits of noise that still decrypts.
        room: f64,
    },
    /// The operating system gave no entropy.
    #[error("the operating system gave no entropy")]
    Entropy,
    /// Bytes that are no object of these parameters.
    #[error("malformed {what}: {flaw}")]
    Malformed {
        /// Which object was read.
        what: &'static str,
        /// What is wrong with it.
        flaw: Flaw,
    },
}

/// What is wrong with bytes from outside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The first bytes are not those of this kind of object.
    #[error("not of this kind")]
    Kind,
    /// A version that this engine does not read.
    #[error("version {0} is not read here")]
    Version(u8),
    /// Made for other parameters.
    #[error("made for other parameters")]
    Fingerprint,
    /// Fewer or more bytes than the header and the parameters imply.
    #[error("{found} bytes where {expected} are needed")]
    Length {
        /// Bytes needed.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// A residue is not below its prime.
    #[error("a residue is not below its prime")]
    Residue,
    /// A number in a header is outside its range.
    #[error("{field} is out of range")]
    Field {
        /// Which number.
        field: &'static str,
    },
}
