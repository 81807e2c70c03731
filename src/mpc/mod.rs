//! Two-party computation on shares, semi-honest: no dealer, no shared seed.
//!
//! Everything rests on oblivious transfer ([`ot`]), made ahead of its use. Both parties run the same steps
//! over a [`crate::channel::Channel`]. Networks, layers and ciphertexts mean nothing here.

mod error;
pub mod ot;

pub use error::MpcError;
