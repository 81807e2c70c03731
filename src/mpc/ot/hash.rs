//! The correlation-robust hash: H(x) = E(x + j) + x + j, E being AES-128 with a public key of the session, the
//! direction and the chunk, and j the transfer's number in the chunk; sums are exclusive or.
//!
//! This is MMO of Guo, Katz, Wang and Yu (IEEE S&P 2020, section 7.2), correlation robust if E with a fixed key
//! is a random permutation, which is what extension needs against parties that follow the protocol: the rows
//! are expanded from the honest party's own seeds, so nobody can choose them, and TMMO's second permutation,
//! needed against those who can, is left out. A guess at an output needs E under its chunk's key at the right
//! point; as keys change every 2^16 transfers, p evaluations of E succeed with probability at most
//! p * 2^17 / 2^128, however many transfers a session makes.

use super::cipher::Cipher;
use super::session::{Direction, Purpose, Session};
use super::transpose::{Row, Square};

/// Rows hashed in one call.
pub(super) const BATCH: usize = 128;

/// Hashes of a batch.
pub(super) type Hashes = Square;

/// The hash of one chunk.
pub(super) struct Hash {
    cipher: Cipher,
}

impl Hash {
    /// For the chunk that starts at `position` of the leaves' streams.
    pub(super) fn new(session: &Session, direction: Direction, position: u64) -> Self {
        let key = session.key(Purpose::Output, direction, position);
        Self { cipher: Cipher::new(halves(&key)[0]) }
    }

    /// Hashes of `rows[i] + offset`, `first` being the number of row 0.
    pub(super) fn batch(&self, rows: &Square, offset: Row, first: u64) -> Hashes {
        self.cipher.hash(rows, offset, first)
    }
}

fn halves(key: &[u8; 32]) -> [[u8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    halves.as_flattened_mut().copy_from_slice(key);
    halves
}

#[cfg(test)]
mod tests {
    use super::super::cipher::{to_block, to_row};
    use super::*;
    use aes::Aes128;
    use aes::cipher::{BlockCipherEncrypt, KeyInit};

    #[test]
    fn is_what_its_formula_says() {
        let session = Session::new(&[3; 32], &[4; 32]);
        let rows: Square = std::array::from_fn(|i| [i as u64 * 0x0101, !(i as u64)]);
        let (offset, first) = ([5, 6], 1000);
        let hashes = Hash::new(&session, Direction::ServerSends, 9).batch(&rows, offset, first);
        let key = session.key(Purpose::Output, Direction::ServerSends, 9);
        let cipher = Aes128::new(&halves(&key)[0].into());
        for (i, (hash, row)) in hashes.iter().zip(rows).enumerate() {
            let tweaked = [row[0] ^ 5 ^ (1000 + i as u64), row[1] ^ 6];
            let mut block = to_block(tweaked);
            cipher.encrypt_block(&mut block);
            let block = to_row(&block);
            assert_eq!(*hash, [block[0] ^ tweaked[0], block[1] ^ tweaked[1]]);
        }
    }
}
