//! What makes every hash of a set-up its own: a session identifier to which both parties contributed, the
//! direction, and numbers that are used once.
//!
//! The identifier is public. Every key derived here has a context string, so that no two uses share one.

/// Bytes that each party contributes.
pub(super) const NONCE_BYTES: usize = 32;

/// Public, unique to a set-up.
#[derive(Clone, Copy)]
pub(super) struct Session([u8; 32]);

/// Who sends the transfers' messages.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    ClientSends,
    ServerSends,
}

/// What a derived key is for.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// Hashing the secret of a base transfer.
    Base,
    /// Expanding a tree.
    Tree,
    /// Hashing the correlated rows of a chunk.
    Output,
}

impl Session {
    pub(super) fn new(client: &[u8; NONCE_BYTES], server: &[u8; NONCE_BYTES]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("stria oblivious transfer: session");
        hasher.update(client).update(server);
        Self(*hasher.finalize().as_bytes())
    }

    /// A public key for one purpose, direction and number.
    pub(super) fn key(&self, purpose: Purpose, direction: Direction, number: u64) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(match purpose {
            Purpose::Base => "stria oblivious transfer: base",
            Purpose::Tree => "stria oblivious transfer: tree",
            Purpose::Output => "stria oblivious transfer: output",
        });
        let direction = match direction {
            Direction::ClientSends => 0,
            Direction::ServerSends => 1,
        };
        hasher.update(&self.0).update(&[direction]).update(&number.to_le_bytes());
        *hasher.finalize().as_bytes()
    }
}
