//! Two-party computation on shares, semi-honest: no dealer, no shared seed.
//!
//! Everything rests on oblivious transfer ([`ot`]), made ahead of its use. Both parties run the same steps
//! over a [`crate::channel::Channel`]. Networks, layers and ciphertexts mean nothing here.

mod carry;
mod error;
mod max;
mod modulus;
pub mod ot;
mod party;
mod product;
mod requant;
mod ring;
mod run;
mod sign;
mod slice;
mod square;
mod step;
mod stock;
mod trunc;
mod usage;
mod wiped;

pub use error::MpcError;
pub use modulus::Modulus;
pub use step::{BATCH, Cost, Footprint, Function, Material, Step, max_cost, max_footprint};
pub use usage::{Batch, PerLane};
pub use wiped::Wiped;

/// Which party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Holds the input.
    Client,
    /// Holds the weights.
    Server,
}

impl Role {
    fn index(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Server => 1,
        }
    }
}
