//! The correlation-robust hash: H(x) = E(x + j) + x + j, E being AES-128 with a public key of the session, the
//! direction and the chunk, and j the transfer's number in the chunk; sums are exclusive or.
//!
//! This is MMO of Guo, Katz, Wang and Yu (IEEE S&P 2020, section 7.2), correlation robust if E with a fixed key
//! is a random permutation, which is what extension needs against parties that follow the protocol: the rows
//! are expanded from the honest party's own seeds, so nobody can choose them, and TMMO's second permutation,
//! needed against those who can, is left out. A guess at an output needs E under its chunk's key at the right
//! point; as keys change every 2^16 transfers, p evaluations of E succeed with probability at most
//! p * 2^17 / 2^128, however many transfers a session makes.

use super::session::{Direction, Purpose, Session};
use super::transpose::Row;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};

/// Rows hashed in one call.
pub(super) const BATCH: usize = 128;

/// Hashes of a batch.
pub(super) type Hashes = [Row; BATCH];

/// The hash of one chunk.
pub(super) struct Hash {
    cipher: Aes128Enc,
}

impl Hash {
    /// For the chunk that starts at `position` of the leaves' streams.
    pub(super) fn new(session: &Session, direction: Direction, position: u64) -> Self {
        let key = session.key(Purpose::Output, direction, position);
        Self { cipher: Aes128Enc::new(&halves(&key)[0].into()) }
    }

    /// Hashes of `rows[i] + offset`, `first` being the number of row 0.
    pub(super) fn batch(&self, rows: &[Row; BATCH], offset: Row, first: u64) -> Hashes {
        let mut blocks = [Block::default(); BATCH];
        for ((block, row), number) in blocks.iter_mut().zip(rows).zip(first..) {
            *block = to_block([row[0] ^ offset[0] ^ number, row[1] ^ offset[1]]);
        }
        self.cipher.encrypt_blocks(&mut blocks);
        let mut hashes = [[0; 2]; BATCH];
        for (((hash, block), row), number) in hashes.iter_mut().zip(&blocks).zip(rows).zip(first..) {
            let [low, high] = to_row(block);
            *hash = [low ^ row[0] ^ offset[0] ^ number, high ^ row[1] ^ offset[1]];
        }
        hashes
    }
}

fn halves(key: &[u8; 32]) -> [[u8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    halves.as_flattened_mut().copy_from_slice(key);
    halves
}

#[inline]
pub(super) fn to_block([low, high]: Row) -> Block {
    (u128::from(low) | u128::from(high) << 64).to_le_bytes().into()
}

#[inline]
pub(super) fn to_row(block: &Block) -> Row {
    let (halves, _) = block.as_chunks::<8>();
    [u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes::Aes128;

    #[test]
    fn is_what_its_formula_says() {
        let session = Session::new(&[3; 32], &[4; 32]);
        let rows: [Row; BATCH] = std::array::from_fn(|i| [i as u64 * 0x0101, !(i as u64)]);
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
