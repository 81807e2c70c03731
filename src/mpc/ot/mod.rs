//! Random oblivious transfers: the sender gets two uniform messages, the receiver one of them, by a uniform
//! choice that the sender does not learn.
//!
//! [`OtSetup`] is one party's half of a set-up; with it the party can be sender in one direction and receiver
//! in the other. In either direction only the receiver sends, so that a batch costs no round trip of its own.

mod bits;
mod insecure;

pub use bits::{Bits, ReceiverBitOts, ReceiverOts, SenderBitOts, SenderOts};

use super::MpcError;
use crate::channel::Channel;
use insecure::Dealt;
use std::fmt;

/// One party's half of the set-up.
pub struct OtSetup {
    dealt: Dealt,
}

impl fmt::Debug for OtSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OtSetup(..)")
    }
}

impl OtSetup {
    /// Both parties' halves from one seed, so without any secrecy: for tests and benchmarks.
    #[doc(hidden)]
    #[must_use]
    pub fn insecure_pair(seed: u64) -> (Self, Self) {
        let (client, server) = Dealt::pair(seed);
        (Self { dealt: client }, Self { dealt: server })
    }

    /// `n` random transfers of one bit, this party being the sender.
    ///
    /// # Errors
    /// If the channel fails or the other party sends something malformed.
    pub fn send_bits(
        &mut self,
        _channel: &mut dyn Channel,
        _step: u32,
        n: usize,
    ) -> Result<SenderBitOts, MpcError> {
        Ok(self.dealt.send_bits(n))
    }

    /// `n` random transfers of one bit, this party being the receiver.
    ///
    /// # Errors
    /// If the channel fails.
    pub fn receive_bits(
        &mut self,
        _channel: &mut dyn Channel,
        _step: u32,
        n: usize,
    ) -> Result<ReceiverBitOts, MpcError> {
        Ok(self.dealt.receive_bits(n))
    }

    /// `n` random transfers of one word of `width` bits, this party being the sender.
    ///
    /// # Errors
    /// If the channel fails, the other party sends something malformed, or `width` is not in 1..=64.
    pub fn send_words(
        &mut self,
        _channel: &mut dyn Channel,
        _step: u32,
        n: usize,
        width: u32,
    ) -> Result<SenderOts, MpcError> {
        Ok(self.dealt.send_words(n, mask(width)?))
    }

    /// `n` random transfers of one word of `width` bits, this party being the receiver.
    ///
    /// # Errors
    /// If the channel fails, or `width` is not in 1..=64.
    pub fn receive_words(
        &mut self,
        _channel: &mut dyn Channel,
        _step: u32,
        n: usize,
        width: u32,
    ) -> Result<ReceiverOts, MpcError> {
        Ok(self.dealt.receive_words(n, mask(width)?))
    }
}

fn mask(width: u32) -> Result<u64, MpcError> {
    if !(1..=64).contains(&width) {
        return Err(MpcError::Width(width));
    }
    Ok(u64::MAX >> (64 - width))
}
