//! Why a two-party step failed. What the other party sent is at fault unless the variant says otherwise.

use crate::channel::ChannelError;

/// Why a two-party step failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MpcError {
    /// The conversation ended.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Entropy,
    /// A message of the wrong length.
    #[error("{what} of step {step}: {found} bytes, expected {expected}")]
    Length {
        /// The step that was under way.
        step: u32,
        /// What the message holds.
        what: &'static str,
        /// Bytes received.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// A public key with a coefficient that is not reduced.
    #[error("public key {index} of step {step} has a coefficient of {coefficient}, not below 3329")]
    PublicKey {
        /// The step that was under way.
        step: u32,
        /// Which key, counted over both branches.
        index: usize,
        /// The coefficient found.
        coefficient: u16,
    },
    /// Bits set after the end of a row.
    #[error("{what} of step {step}: bits set after the end of row {row}")]
    Padding {
        /// The step that was under way.
        step: u32,
        /// What the message holds.
        what: &'static str,
        /// Which row.
        row: usize,
    },
    /// More bits were asked for than a word has, or none: an error of ours.
    #[error("internal error: words of {0} bits were asked for")]
    Width(u32),
}
