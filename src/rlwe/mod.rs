//! The HE engine.

mod error;
mod galois;
mod kernels;
mod modulus;
mod ntt;
mod portable;
mod prime;
#[cfg(target_arch = "x86_64")]
mod simd;

pub use error::{Flaw, RlweError};
pub use galois::Automorphism;
pub use prime::plain_prime;
