//! The checked form of the program's own files.
//!
//! Eight bytes of magic, the version (u32, little-endian), the BLAKE3 hash of the body, its length (u64), the body.
//! All of it is checked before anything of the body's size is made. The hash shows damage; it does not show who
//! wrote a file. Knows no bodies.

/// A kind of files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    /// First bytes; a line ending in them shows damage by text-mode transfers.
    pub(crate) magic: [u8; 8],
    /// Version of what is in the body.
    pub(crate) version: u32,
}

/// Why bytes are no file of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Another kind of file.
    #[error("the first bytes are not its magic")]
    Foreign,
    /// Another version.
    #[error("of another version of the format: found {found}, expected {expected}; make it again")]
    Version {
        /// The file's version.
        found: u32,
        /// This program's.
        expected: u32,
    },
    /// Too short or too long.
    #[error("truncated or padded: found {found} bytes, expected {expected}")]
    Length {
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// The hash does not fit.
    #[error("altered or damaged: the hash of the contents does not match")]
    Hash,
}

/// Bytes before the body.
pub(crate) const PREFIX: usize = 8 + 4 + 32 + 8;

impl Envelope {
    /// The bytes of a file with the body that `parts` are, one after the other.
    pub(crate) fn seal(self, parts: &[&[u8]]) -> Vec<u8> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut hash = blake3::Hasher::new();
        for part in parts {
            hash.update(part);
        }
        // All at once: a secret leaves no copy behind where a vector grows.
        let mut bytes = Vec::with_capacity(PREFIX + length);
        bytes.extend_from_slice(&self.magic);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(hash.finalize().as_bytes());
        bytes.extend_from_slice(&(length as u64).to_le_bytes());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }

    /// The body of a file.
    pub(crate) fn open(self, bytes: &[u8]) -> Result<&[u8], EnvelopeError> {
        let rest = bytes.strip_prefix(&self.magic).ok_or(EnvelopeError::Foreign)?;
        let short = || EnvelopeError::Length { found: bytes.len() as u64, expected: PREFIX as u64 };
        let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let (found, expected) = (u32::from_le_bytes(*version), self.version);
        if found != expected {
            return Err(EnvelopeError::Version { found, expected });
        }
        let (hash, rest) = rest.split_first_chunk::<32>().ok_or_else(short)?;
        let (length, body) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let length = u64::from_le_bytes(*length);
        if length != body.len() as u64 {
            let expected = length.saturating_add(PREFIX as u64);
            return Err(EnvelopeError::Length { found: bytes.len() as u64, expected });
        }
        if blake3::hash(body) != blake3::Hash::from_bytes(*hash) {
            return Err(EnvelopeError::Hash);
        }
        Ok(body)
    }
}
