//! Base oblivious transfers from ML-KEM-768 (FIPS 203).
//!
//! For each transfer the receiver sends two public keys: its own in the place that it chose, and in the other
//! place one that nobody holds the secret of, sampled from an extendable-output function as uniform
//! coefficients and a uniform seed. The sender encapsulates to both; the hashed secrets are its messages, and
//! the receiver can open the one that it chose. Both parties are assumed to follow this.
//!
//! *The choice is hidden*: a public key is (A s + e, seed of A), and by module learning with errors A s + e
//! cannot be told from uniform, which the other key is; the encodings are of one form. *The other message is
//! hidden*: under a key that was sampled uniformly the ciphertext is again a sample of module learning with
//! errors, so the encapsulated secret looks uniform to all, the receiver included, although it knows the
//! seed that the key was expanded from: that seed gives no short preimage. Both hold against recordings read
//! later by a quantum computer as far as ML-KEM does. A receiver that deviates and keeps two secrets learns
//! both messages: such parties are not covered.

use super::session::{Direction, Purpose, Session};
use crate::mpc::MpcError;
use ml_kem::array::Array;
use ml_kem::kem::{Decapsulate, Encapsulate, KeyExport};
use ml_kem::ml_kem_768::{Ciphertext, DecapsulationKey, EncapsulationKey};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use subtle::{Choice, ConditionallySelectable};
use zeroize::{Zeroize, Zeroizing};

/// How many transfers a set-up makes.
pub(super) const COUNT: usize = 128;
/// Bytes of the keys of all transfers.
pub(super) const KEYS_BYTES: usize = COUNT * 2 * KEY_BYTES;
/// Bytes of the ciphertexts of all transfers.
pub(super) const CIPHERTEXTS_BYTES: usize = COUNT * 2 * CIPHERTEXT_BYTES;

const KEY_BYTES: usize = 1184;
const CIPHERTEXT_BYTES: usize = 1088;
const SEED_BYTES: usize = 32;
const Q: u16 = 3329;

type PublicKey = [u8; KEY_BYTES];

/// The receiver between its two moves.
pub(super) struct Receiver {
    keys: Vec<DecapsulationKey>,
    choices: u128,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.choices.zeroize();
    }
}

impl Receiver {
    /// Keys for the choices, bit i being that of transfer i, and the message with them.
    pub(super) fn new(choices: u128, random: &mut ChaCha20Rng) -> (Self, Vec<u8>) {
        let mut message = Vec::with_capacity(KEYS_BYTES);
        let keys = (0..COUNT).map(|i| {
            let mut seed = Zeroizing::new([0; 64]);
            random.fill_bytes(&mut *seed);
            let key = DecapsulationKey::from_seed(Array(*seed));
            let own: PublicKey = key.encapsulation_key().to_bytes().into();
            let nobodys = oblivious_key(random);
            let choice = bit(choices, i);
            message.extend(PublicKey::conditional_select(&own, &nobodys, choice));
            message.extend(PublicKey::conditional_select(&nobodys, &own, choice));
            key
        });
        (Self { keys: keys.collect(), choices }, message)
    }

    /// The chosen messages, from the sender's [`CIPHERTEXTS_BYTES`] bytes.
    pub(super) fn finish(&self, session: &Session, ciphertexts: &[u8]) -> Zeroizing<Vec<u128>> {
        let (pairs, _) = ciphertexts.as_chunks::<CIPHERTEXT_BYTES>();
        let opened =
            self.keys.iter().zip(pairs.as_chunks::<2>().0).enumerate().map(|(i, (key, [zero, one]))| {
                let choice = bit(self.choices, i);
                let ciphertext =
                    Ciphertext::from(<[u8; CIPHERTEXT_BYTES]>::conditional_select(zero, one, choice));
                let secret = Zeroizing::new(key.decapsulate(&ciphertext).0);
                hashed(session, i, choice.unwrap_u8(), &secret)
            });
        Zeroizing::new(opened.collect())
    }
}

/// The sender's move: its messages and the ciphertexts, for [`KEYS_BYTES`] bytes of keys.
///
/// # Errors
/// If a key is not encoded as it should be.
pub(super) fn send(
    session: &Session,
    step: u32,
    keys: &[u8],
    random: &mut ChaCha20Rng,
) -> Result<(Zeroizing<Vec<[u128; 2]>>, Vec<u8>), MpcError> {
    let (keys, _) = keys.as_chunks::<KEY_BYTES>();
    let mut ciphertexts = Vec::with_capacity(CIPHERTEXTS_BYTES);
    let mut encapsulate = |index: usize, branch: u8| -> Result<u128, MpcError> {
        let key = read_key(step, 2 * index + usize::from(branch), &keys[2 * index + usize::from(branch)])?;
        let (ciphertext, secret) = key.encapsulate_with_rng(random);
        ciphertexts.extend_from_slice(&ciphertext);
        Ok(hashed(session, index, branch, &Zeroizing::new(secret.0)))
    };
    let messages = (0..keys.len() / 2).map(|i| Ok([encapsulate(i, 0)?, encapsulate(i, 1)?]));
    let messages = messages.collect::<Result<Vec<_>, MpcError>>()?;
    Ok((Zeroizing::new(messages), ciphertexts))
}

fn read_key(step: u32, index: usize, bytes: &PublicKey) -> Result<EncapsulationKey, MpcError> {
    for &[a, b, c] in bytes[..KEY_BYTES - SEED_BYTES].as_chunks::<3>().0 {
        for coefficient in [u16::from_le_bytes([a, b & 0xf]), u16::from_le_bytes([b, c]) >> 4] {
            if coefficient >= Q {
                return Err(MpcError::PublicKey { step, index, coefficient });
            }
        }
    }
    let invalid = |_| MpcError::PublicKey { step, index, coefficient: 0 };
    EncapsulationKey::new(&Array(*bytes)).map_err(invalid)
}

/// A public key that nobody holds the secret of.
fn oblivious_key(random: &mut ChaCha20Rng) -> PublicKey {
    let mut fresh = [0; 32];
    random.fill_bytes(&mut fresh);
    let mut hasher = blake3::Hasher::new_derive_key("stria oblivious transfer: key without a secret");
    let mut stream = hasher.update(&fresh).finalize_xof();
    let mut next = || loop {
        let mut raw = [0; 2];
        stream.fill(&mut raw);
        let candidate = u16::from_le_bytes(raw) & 0xfff;
        if candidate < Q {
            return candidate;
        }
    };
    let mut key = [0; KEY_BYTES];
    for triple in key[..KEY_BYTES - SEED_BYTES].as_chunks_mut::<3>().0 {
        let [low, high] = [next(), next()];
        let packed = u32::from(low) | u32::from(high) << 12;
        triple.copy_from_slice(&packed.to_le_bytes()[..3]);
    }
    stream.fill(&mut key[KEY_BYTES - SEED_BYTES..]);
    key
}

/// A transfer's message: the first half of a hash keyed by session and index.
fn hashed(session: &Session, index: usize, branch: u8, secret: &[u8; 32]) -> u128 {
    let key = session.key(Purpose::Base, Direction::ClientSends, index as u64);
    let mut hasher = blake3::Hasher::new_keyed(&key);
    let digest = hasher.update(&[branch]).update(secret).finalize();
    let (halves, _) = digest.as_bytes().as_chunks::<16>();
    u128::from_le_bytes(halves[0])
}

fn bit(bits: u128, i: usize) -> Choice {
    Choice::from(u8::from(bits >> i & 1 == 1))
}
