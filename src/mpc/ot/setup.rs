//! One party's half of a set-up, made with 128 base transfers.
//!
//! The client is the receiver of the base transfers, which makes it the sender of one extension. The first
//! 128 transfers of that extension are the base transfers of the other, in which the server sends. Three
//! messages: client (nonce, keys), server (nonce, ciphertexts, sums of its trees, corrections of 128
//! transfers), client (sums of its trees).

use super::base;
use super::session::{Direction, NONCE_BYTES, Session};
use super::soft_spoken::{
    self, Receiver, Sender, correction_bytes, take_bits, take_blocks, take_mapped, take_pairs, take_words,
};
use super::tree::SUMS_BYTES;
use super::{Bits, ReceiverBitOts, ReceiverOts, SenderBitOts, SenderOts};
use crate::channel::{Channel, FRAME_BYTES, Tag};
use crate::mpc::MpcError;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// One party's half of the set-up.
///
/// After an error the two halves no longer agree: drop it.
pub struct OtSetup {
    sender: Sender,
    receiver: Receiver,
    made: u64,
}

impl fmt::Debug for OtSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OtSetup(..)")
    }
}

impl OtSetup {
    /// The client's half, made together with a server.
    ///
    /// # Errors
    /// If the channel fails, the other party sends something malformed, or there is no randomness.
    pub fn client(channel: &mut dyn Channel, step: u32) -> Result<Self, MpcError> {
        wiped(from_os()?, |random| Self::client_with(random, channel, step))
    }

    /// The server's half, made together with a client.
    ///
    /// # Errors
    /// If the channel fails, the other party sends something malformed, or there is no randomness.
    pub fn server(channel: &mut dyn Channel, step: u32) -> Result<Self, MpcError> {
        wiped(from_os()?, |random| Self::server_with(random, channel, step))
    }

    /// As [`OtSetup::client`], repeatable and so without any secrecy: for known answers.
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    pub fn insecure_client(seed: u64, channel: &mut dyn Channel, step: u32) -> Result<Self, MpcError> {
        Self::client_with(&mut ChaCha20Rng::seed_from_u64(seed), channel, step)
    }

    /// As [`OtSetup::server`], repeatable and so without any secrecy: for known answers.
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    pub fn insecure_server(seed: u64, channel: &mut dyn Channel, step: u32) -> Result<Self, MpcError> {
        Self::server_with(&mut ChaCha20Rng::seed_from_u64(seed), channel, step)
    }

    /// Both halves with base transfers dealt from a seed, so without any secrecy: for tests and benchmarks
    /// of what is built on top.
    #[doc(hidden)]
    #[must_use]
    pub fn insecure_pair(seed: u64) -> (Self, Self) {
        let random = &mut ChaCha20Rng::seed_from_u64(seed);
        let session = Session::new(&draw(random), &draw(random));
        let mut halves = |direction| {
            let (choices, base, chosen) = dealt_base(random);
            let (receiver, sums) = Receiver::new(session, direction, &base, random);
            (Sender::new(session, direction, choices, &chosen, &sums), receiver)
        };
        let (client_sends, server_receives) = halves(Direction::ClientSends);
        let (server_sends, client_receives) = halves(Direction::ServerSends);
        (
            Self { sender: client_sends, receiver: client_receives, made: 0 },
            Self { sender: server_sends, receiver: server_receives, made: 0 },
        )
    }

    fn client_with(random: &mut ChaCha20Rng, channel: &mut dyn Channel, step: u32) -> Result<Self, MpcError> {
        let nonce = draw(random);
        let choices = Zeroizing::new(u128::from_le_bytes(draw(random)));
        let (base, keys) = base::Receiver::new(*choices, random);
        channel.send(step, Tag::Ot, &[&nonce[..], &keys].concat())?;

        let what = "answer to the base transfers";
        let expected = NONCE_BYTES + base::CIPHERTEXTS_BYTES + SUMS_BYTES + correction_bytes(base::COUNT);
        let answer = receive(channel, step, what, expected)?;
        let short = || MpcError::Length { step, what, found: answer.len(), expected };
        let (their_nonce, rest) = answer.split_first_chunk().ok_or_else(short)?;
        let (ciphertexts, rest) = rest.split_at_checked(base::CIPHERTEXTS_BYTES).ok_or_else(short)?;
        let (sums, corrections) = rest.split_first_chunk().ok_or_else(short)?;

        let session = Session::new(&nonce, their_nonce);
        let chosen = base.finish(&session, ciphertexts);
        let mut sender = Sender::new(session, Direction::ClientSends, *choices, &chosen, sums);
        let [zero, one] = sender.extend(step, base::COUNT, take_blocks, |_, _| Ok(corrections.to_vec()))?;
        let reverse = Zeroizing::new(zero.into_iter().zip(one).map(|(z, o)| [z, o]).collect::<Vec<_>>());
        let (receiver, sums) = Receiver::new(session, Direction::ServerSends, &reverse, random);
        channel.send(step, Tag::Ot, &sums)?;
        Ok(Self { sender, receiver, made: 0 })
    }

    fn server_with(random: &mut ChaCha20Rng, channel: &mut dyn Channel, step: u32) -> Result<Self, MpcError> {
        let what = "keys of the base transfers";
        let expected = NONCE_BYTES + base::KEYS_BYTES;
        let keys = receive(channel, step, what, expected)?;
        let short = || MpcError::Length { step, what, found: keys.len(), expected };
        let (their_nonce, keys) = keys.split_first_chunk().ok_or_else(short)?;

        let nonce = draw(random);
        let session = Session::new(their_nonce, &nonce);
        let (base, ciphertexts) = base::send(&session, step, keys, random)?;
        let (mut receiver, sums) = Receiver::new(session, Direction::ClientSends, &base, random);
        let mut answer = [&nonce[..], &ciphertexts, &sums].concat();
        let (mut choice, got) = receiver.extend(base::COUNT, take_blocks, |corrections| {
            answer.extend_from_slice(corrections);
            Ok(())
        })?;
        channel.send(step, Tag::Ot, &answer)?;

        let what = "sums of the client's trees";
        let sums = receive(channel, step, what, SUMS_BYTES)?;
        let short = || MpcError::Length { step, what, found: sums.len(), expected: SUMS_BYTES };
        let sums = sums.first_chunk().ok_or_else(short)?;
        let choices = Zeroizing::new(u128::from(choice.words[0]) | u128::from(choice.words[1]) << 64);
        choice.words.zeroize();
        let sender = Sender::new(session, Direction::ServerSends, *choices, &Zeroizing::new(got), sums);
        Ok(Self { sender, receiver, made: 0 })
    }

    /// Random transfers made so far, of all kinds and both directions.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made
    }

    /// `n` random transfers of one bit, this party being the sender. The other party sends.
    ///
    /// # Errors
    /// If the channel fails or the other party sends something malformed.
    pub fn send_bits(
        &mut self,
        channel: &mut dyn Channel,
        step: u32,
        n: usize,
    ) -> Result<SenderBitOts, MpcError> {
        self.made += n as u64;
        let messages =
            self.sender.extend(step, n, take_bits, |what, bytes| receive(channel, step, what, bytes))?;
        let [zero, one] = messages.map(|words| trimmed(words, n));
        Ok(SenderBitOts { zero, one })
    }

    /// `n` random transfers of one bit, this party being the receiver. Only this party sends.
    ///
    /// # Errors
    /// If the channel fails.
    pub fn receive_bits(
        &mut self,
        channel: &mut dyn Channel,
        step: u32,
        n: usize,
    ) -> Result<ReceiverBitOts, MpcError> {
        self.made += n as u64;
        let (choice, got) = self.receiver.extend(n, take_bits, |message| send(channel, step, message))?;
        Ok(ReceiverBitOts { choice, got: trimmed(got, n) })
    }

    /// `n` random transfers of one word of `width` bits, this party being the sender. The other party sends.
    ///
    /// # Errors
    /// If the channel fails, the other party sends something malformed, or `width` is not in 1..=64.
    pub fn send_words(
        &mut self,
        channel: &mut dyn Channel,
        step: u32,
        n: usize,
        width: u32,
    ) -> Result<SenderOts, MpcError> {
        let take = take_words(mask(width)?);
        self.made += n as u64;
        let [mut zero, mut one] =
            self.sender.extend(step, n, take, |what, bytes| receive(channel, step, what, bytes))?;
        zero.truncate(n);
        one.truncate(n);
        Ok(SenderOts { zero, one })
    }

    /// `n` random transfers of one word of `width` bits, this party being the receiver. Only this party sends.
    ///
    /// # Errors
    /// If the channel fails, or `width` is not in 1..=64.
    pub fn receive_words(
        &mut self,
        channel: &mut dyn Channel,
        step: u32,
        n: usize,
        width: u32,
    ) -> Result<ReceiverOts, MpcError> {
        let take = take_words(mask(width)?);
        self.made += n as u64;
        let (choice, mut got) = self.receiver.extend(n, take, |message| send(channel, step, message))?;
        got.truncate(n);
        Ok(ReceiverOts { choice, got })
    }
}

impl OtSetup {
    /// As [`OtSetup::send_bits`], of two bits each: for each 64 transfers a word of first bits, then one of
    /// second bits, of the messages for choice 0, then 1. Bits after the end are not cleared.
    pub(in crate::mpc) fn send_pairs(
        &mut self,
        channel: &mut dyn Channel,
        step: u32,
        n: usize,
    ) -> Result<[Vec<u64>; 2], MpcError> {
        self.made += n as u64;
        self.sender.extend(step, n, take_pairs, |what, bytes| receive(channel, step, what, bytes))
    }

    /// As [`OtSetup::receive_bits`], of two bits each, laid out as by [`OtSetup::send_pairs`].
    pub(in crate::mpc) fn receive_pairs(
        &mut self,
        channel: &mut dyn Channel,
        step: u32,
        n: usize,
    ) -> Result<(Bits, Vec<u64>), MpcError> {
        self.made += n as u64;
        self.receiver.extend(n, take_pairs, |message| send(channel, step, message))
    }

    /// As [`OtSetup::send_words`], of 128 bits each, each passed through `map`.
    pub(in crate::mpc) fn send_blocks(
        &mut self,
        channel: &mut dyn Channel,
        step: u32,
        n: usize,
        map: impl Fn(u128) -> u64 + Sync,
    ) -> Result<[Vec<u64>; 2], MpcError> {
        let take = take_mapped(map);
        self.made += n as u64;
        let [mut zero, mut one] =
            self.sender.extend(step, n, take, |what, bytes| receive(channel, step, what, bytes))?;
        zero.truncate(n);
        one.truncate(n);
        Ok([zero, one])
    }

    /// As [`OtSetup::receive_words`], of 128 bits each, each passed through `map`.
    pub(in crate::mpc) fn receive_blocks(
        &mut self,
        channel: &mut dyn Channel,
        step: u32,
        n: usize,
        map: impl Fn(u128) -> u64 + Sync,
    ) -> Result<(Bits, Vec<u64>), MpcError> {
        let take = take_mapped(map);
        self.made += n as u64;
        let (choice, mut got) = self.receiver.extend(n, take, |message| send(channel, step, message))?;
        got.truncate(n);
        Ok((choice, got))
    }
}

/// Bytes of the messages of a set-up, both parties', frames included.
#[must_use]
pub fn setup_bytes() -> u64 {
    let client = NONCE_BYTES + base::KEYS_BYTES + SUMS_BYTES;
    let server = NONCE_BYTES + base::CIPHERTEXTS_BYTES + SUMS_BYTES + correction_bytes(base::COUNT);
    (client + server) as u64 + SETUP_MESSAGES * FRAME_BYTES
}

/// How often the client waits in a set-up.
pub const SETUP_ROUNDS: u64 = 1;

/// The client's two and the server's one.
const SETUP_MESSAGES: u64 = 3;

/// Messages in which the receiver of `n` transfers sends those bytes.
#[must_use]
pub fn extension_messages(n: usize) -> usize {
    soft_spoken::messages(n)
}

/// Bytes that the receiver of `n` transfers sends, frames excluded.
#[must_use]
pub fn extension_bytes(n: usize) -> usize {
    soft_spoken::message_bytes(n)
}

fn trimmed(words: Vec<u64>, n: usize) -> Bits {
    let mut bits = Bits { words, len: n };
    bits.trim();
    bits
}

fn mask(width: u32) -> Result<u64, MpcError> {
    if !(1..=64).contains(&width) {
        return Err(MpcError::Width(width));
    }
    Ok(u64::MAX >> (64 - width))
}

fn send(channel: &mut dyn Channel, step: u32, message: &[u8]) -> Result<(), MpcError> {
    Ok(channel.send(step, Tag::Ot, message)?)
}

/// The next message, of exactly `expected` bytes.
fn receive(
    channel: &mut dyn Channel,
    step: u32,
    what: &'static str,
    expected: usize,
) -> Result<Vec<u8>, MpcError> {
    let message = channel.receive(step, Tag::Ot, expected)?;
    if message.len() != expected {
        return Err(MpcError::Length { step, what, found: message.len(), expected });
    }
    Ok(message)
}

fn from_os() -> Result<ChaCha20Rng, MpcError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|_| MpcError::Entropy)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

/// Runs `draws` on a generator whose state is overwritten after it.
fn wiped<T>(mut random: ChaCha20Rng, draws: impl FnOnce(&mut ChaCha20Rng) -> T) -> T {
    let drawn = draws(&mut random);
    random = ChaCha20Rng::from_seed([0; 32]);
    std::hint::black_box(&mut random);
    drawn
}

fn draw<const N: usize>(random: &mut ChaCha20Rng) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill_bytes(&mut bytes);
    bytes
}

/// Choices, both messages and the chosen ones of base transfers, all known to whoever calls.
pub(super) fn dealt_base(random: &mut ChaCha20Rng) -> (u128, Vec<[u128; 2]>, Vec<u128>) {
    let choices = u128::from_le_bytes(draw(random));
    let base: Vec<[u128; 2]> =
        (0..base::COUNT).map(|_| [(); 2].map(|()| u128::from_le_bytes(draw(random)))).collect();
    let chosen = base.iter().enumerate().map(|(i, pair)| pair[usize::from(choices >> i & 1 == 1)]).collect();
    (choices, base, chosen)
}
