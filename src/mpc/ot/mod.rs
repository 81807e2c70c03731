//! Random oblivious transfers: the sender gets two uniform messages, the receiver one of them, by a uniform
//! choice that the sender does not learn.
//!
//! [`OtSetup`] is one party's half of a set-up; with it the party can be sender in one direction and receiver
//! in the other. In either direction only the receiver sends, so that a batch costs no round trip of its own.
//! Both parties are assumed to follow the protocol; each draws its own randomness. A set-up is 128 base
//! transfers from ML-KEM-768, so that recorded traffic stays closed to a later quantum computer as far as
//! ML-KEM and AES-128 do; transfers are then extended by `SoftSpokenOT`, about 4 bytes each.

mod base;
mod bits;
mod cipher;
mod hash;
#[doc(hidden)]
pub mod iknp;
mod session;
mod setup;
mod soft_spoken;
mod transpose;
mod tree;

pub use bits::{Bits, ReceiverBitOts, ReceiverOts, SenderBitOts, SenderOts};
pub use setup::{OtSetup, SETUP_ROUNDS, extension_bytes, extension_messages, setup_bytes};

use super::MpcError;
