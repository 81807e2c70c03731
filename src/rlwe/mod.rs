//! The HE engine: BFV over a residue number system, with fast rotations.
//!
//! Layers, lowest first: arithmetic modulo one prime (`modulus`, `ntt`), loops over residues (`kernels`
//! with the twins `portable` and `simd`), polynomials modulo several primes (`poly`, `packed`), randomness
//! (`random`), parameters and their constants (`params`, `gadget`), messages (`encode`), keys, encryption
//! and ciphertexts (`keys`, `cipher`, `sum`), key switching (`switch`, `switch_key`), automorphisms (`galois`,
//! `galois_keys`, `rotate`, `rotation_sum`, `extended`), products of ciphertexts (`tensor`, `multiply`), replies
//! (`reply`), noise (`noise`), bytes (`bytes`).
//!
//! Invariants: residues are canonical between operations, ciphertexts are kept transformed, parameters
//! are 128-bit secure, secrets are wiped and never shown, nothing from outside is believed before it is
//! checked. It knows no networks, circuits or tensors.
//!
//! # Constant time
//! The time of sampling, and of every operation on a secret key, on errors, and on messages that are encrypted
//! or decrypted, does not depend on them: additions, multiplications, shifts and minima over whole polynomials
//! in an order that the parameters fix, and fixed permutations. The one comparison, of a residue with half its
//! prime, selects without a branch. That the processor's multiplications and minima are constant-time, and that
//! the compiler leaves selections branchless, is taken on trust.
//!
//! Not constant, as nothing secret is in it: uniform residues by rejection (from public seeds; of masks too,
//! where a refused word tells nothing of those kept); checks of lengths and ranges, which end at what is
//! invalid; bytes of what travels; the choice of a Galois key, as circuits are public; divisions of weights
//! beyond t, of which there are none in compiled networks, and of a reply's coefficients, which are flooded by
//! then; [`SecretKey::noise_bits`], which is for tests and measurements.

mod bytes;
mod cipher;
mod encode;
mod error;
mod extended;
mod gadget;
mod galois;
mod galois_keys;
mod kernels;
mod keys;
mod modulus;
mod multiply;
#[cfg(test)]
mod naive;
mod noise;
mod ntt;
mod packed;
mod params;
mod poly;
mod pool;
mod portable;
mod prime;
mod random;
mod reply;
mod rotate;
mod rotation_sum;
#[cfg(target_arch = "x86_64")]
mod simd;
mod sum;
mod switch;
mod switch_key;
mod tensor;
#[cfg(target_arch = "x86_64")]
mod vector_ntt;

pub use cipher::Ciphertext;
pub use encode::{Basis, Packing, Plaintext};
pub use error::{Flaw, RlweError};
pub use extended::{Extended, ExtendedSum};
pub use gadget::KeySwitch;
pub use galois::Automorphism;
pub use galois_keys::{GaloisKeys, SeededGaloisKeys};
pub use keys::{PublicKey, SecretKey, SeededCiphertext};
pub use multiply::{RelinearisationKey, SeededRelinearisationKey};
pub use noise::{FactorNorm, Noise};
pub use params::{ParameterSpec, Parameters, security_limit};
pub use prime::plain_prime;
pub use random::{Randomness, Seed};
pub use reply::{Hiding, Reply, Sent};
pub use rotate::Hoisted;
pub use rotation_sum::RotationSum;
#[cfg(target_arch = "x86_64")]
pub(crate) use simd::aes;
pub use sum::DotProduct;
