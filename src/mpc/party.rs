//! One party's side of one batch: its role, its transfers, and the exchange of messages.
//!
//! A protocol opens what it must tell the other party, an exchange carries all that was opened, then the
//! protocol closes in the same order: so protocols that run side by side share exchanges. Both parties send
//! before they receive.

use super::stock::Stock;
use super::{MpcError, Role};
use crate::channel::{Channel, Tag};

/// Which message this is, for errors.
const WHAT: &str = "opened bits";

/// One party while it works on one batch.
pub(super) struct Party<'c> {
    pub(super) role: Role,
    pub(super) step: u32,
    pub(super) stock: Stock,
    channel: &'c mut dyn Channel,
    outgoing: Vec<u64>,
    awaited: usize,
    incoming: Vec<u64>,
    read: usize,
}

impl<'c> Party<'c> {
    pub(super) fn new(role: Role, channel: &'c mut dyn Channel, step: u32, stock: Stock) -> Self {
        let (outgoing, incoming) = (Vec::new(), Vec::new());
        Self { role, step, stock, channel, outgoing, awaited: 0, incoming, read: 0 }
    }

    /// Words of a plane.
    pub(super) fn width(&self) -> usize {
        self.stock.width()
    }

    /// What was taken from the stock, which is an error of ours if there was too little.
    pub(super) fn taken<T>(&self, taken: Option<T>) -> Result<T, MpcError> {
        taken.ok_or(MpcError::Material(self.step))
    }

    /// Words for the next exchange.
    pub(super) fn tell(&mut self, words: impl IntoIterator<Item = u64>) {
        self.outgoing.extend(words);
    }

    /// Expects as many words in the next exchange.
    pub(super) fn expect(&mut self, words: usize) {
        self.awaited += words;
    }

    /// Sends what was opened and receives what the other party opened.
    pub(super) fn exchange(&mut self) -> Result<(), MpcError> {
        let mut payload = vec![0; 8 * self.outgoing.len()];
        for (bytes, word) in payload.as_chunks_mut::<8>().0.iter_mut().zip(self.outgoing.drain(..)) {
            *bytes = word.to_le_bytes();
        }
        self.channel.send(self.step, Tag::NonLinear, &payload)?;
        let expected = std::mem::take(&mut self.awaited) * 8;
        let payload = self.channel.receive(self.step, Tag::NonLinear, expected)?;
        if payload.len() != expected {
            let (step, found) = (self.step, payload.len());
            return Err(MpcError::Length { step, what: WHAT, found, expected });
        }
        self.incoming.clear();
        let (words, _) = payload.as_chunks::<8>();
        self.incoming.extend(words.iter().map(|bytes| u64::from_le_bytes(*bytes)));
        self.read = 0;
        Ok(())
    }

    /// The next words of the other party's message.
    pub(super) fn told(&mut self, words: usize) -> Result<&[u64], MpcError> {
        let from = self.read;
        self.read += words;
        self.incoming.get(from..self.read).ok_or(MpcError::Material(self.step))
    }
}
