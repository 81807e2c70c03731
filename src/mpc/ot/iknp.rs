//! The extension of Ishai, Kilian, Nissim and Petrank (CRYPTO 2003) as its paper has it: the plain twin of
//! `SoftSpokenOT`, 16 bytes a transfer, no vectors, no chunks, another hash. Tests and benchmarks compare the
//! two; nothing else uses it, so its base transfers are dealt from a seed.

use super::setup::dealt_base;
use super::{Bits, MpcError, ReceiverOts, SenderOts};
use crate::channel::{Channel, Tag};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The receiver's half: both seeds of each column.
pub struct Receiver {
    columns: Vec<[ChaCha20Rng; 2]>,
    choices: ChaCha20Rng,
    made: u64,
}

/// The sender's half: one seed of each column, chosen by a bit of its secret.
pub struct Sender {
    columns: Vec<ChaCha20Rng>,
    secret: u128,
    made: u64,
}

/// Both halves, without any secrecy.
#[must_use]
pub fn insecure_pair(seed: u64) -> (Sender, Receiver) {
    let random = &mut ChaCha20Rng::seed_from_u64(seed);
    let (secret, base, chosen) = dealt_base(random);
    let columns = base.iter().map(|pair| pair.map(stream)).collect();
    let receiver = Receiver { columns, choices: ChaCha20Rng::seed_from_u64(seed ^ 1), made: 0 };
    (Sender { columns: chosen.into_iter().map(stream).collect(), secret, made: 0 }, receiver)
}

impl Receiver {
    /// `n` random transfers of words under `mask`.
    ///
    /// # Errors
    /// If the channel fails.
    pub fn receive_words(
        &mut self,
        channel: &mut dyn Channel,
        step: u32,
        n: usize,
        mask: u64,
    ) -> Result<ReceiverOts, MpcError> {
        let choice = bits(&mut self.choices, n);
        let (mut rows, mut message) = (vec![0; n], Vec::new());
        for (i, column) in self.columns.iter_mut().enumerate() {
            let [zero, one] = column.each_mut().map(|seed| bits(seed, n));
            for (j, row) in rows.iter_mut().enumerate() {
                *row |= u128::from(zero.get(j)) << i;
            }
            for ((zero, one), choice) in zero.words.iter().zip(&one.words).zip(&choice.words) {
                message.extend((zero ^ one ^ choice).to_le_bytes());
            }
        }
        channel.send(step, Tag::Ot, &message)?;
        let first = self.made;
        self.made += n as u64;
        let got = rows.iter().zip(first..).map(|(&row, number)| hash(row, number) & mask).collect();
        Ok(ReceiverOts { choice, got })
    }
}

impl Sender {
    /// `n` random transfers of words under `mask`.
    ///
    /// # Errors
    /// If the channel fails, or what comes has the wrong length.
    pub fn send_words(
        &mut self,
        channel: &mut dyn Channel,
        step: u32,
        n: usize,
        mask: u64,
    ) -> Result<SenderOts, MpcError> {
        let expected = self.columns.len() * n.div_ceil(64) * 8;
        let message = channel.receive(step, Tag::Ot, expected)?;
        if message.len() != expected {
            let what = "columns of the OT extension";
            return Err(MpcError::Length { step, what, found: message.len(), expected });
        }
        let mut words = message.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut rows = vec![0; n];
        for (i, column) in self.columns.iter_mut().enumerate() {
            let mut column = bits(column, n);
            for word in &mut column.words {
                let sent = words.next().unwrap_or_default();
                if self.secret >> i & 1 == 1 {
                    *word ^= sent;
                }
            }
            for (j, row) in rows.iter_mut().enumerate() {
                *row |= u128::from(column.get(j)) << i;
            }
        }
        let first = self.made;
        self.made += n as u64;
        let hashes = |offset: u128| -> Vec<u64> {
            rows.iter().zip(first..).map(|(row, number)| hash(row ^ offset, number) & mask).collect()
        };
        Ok(SenderOts { zero: hashes(0), one: hashes(self.secret) })
    }
}

fn stream(seed: u128) -> ChaCha20Rng {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&seed.to_le_bytes());
    ChaCha20Rng::from_seed(key)
}

fn bits(stream: &mut ChaCha20Rng, n: usize) -> Bits {
    let mut bits = Bits { words: (0..n.div_ceil(64)).map(|_| stream.next_u64()).collect(), len: n };
    bits.trim();
    bits
}

fn hash(row: u128, number: u64) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("stria oblivious transfer: twin");
    let digest = hasher.update(&number.to_le_bytes()).update(&row.to_le_bytes()).finalize();
    u64::from_le_bytes(digest.as_bytes().as_chunks::<8>().0[0])
}
