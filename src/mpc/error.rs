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
    /// Neither an odd number nor a power of two, or too large.
    #[error("{0} is no modulus of shares: odd and at most 2^48, or a power of two, 4 to 2^60")]
    Modulus(u64),
    /// A message with a number that is no residue.
    #[error("step {step}: {found} is no residue below {modulus}")]
    Residue {
        /// The step that was under way.
        step: u32,
        /// The number found.
        found: u64,
        /// The modulus.
        modulus: u64,
    },
    /// The values of a step may leave what its modulus can hold: an error of ours.
    #[error("values of magnitude {magnitude} in shares modulo {modulus}")]
    Range {
        /// The largest magnitude.
        magnitude: u64,
        /// The modulus.
        modulus: u64,
    },
    /// Shares of another number of values, or none of the modulus: an error of ours.
    #[error("internal error: step {step} was given {found} shares for {expected} values, or one not reduced")]
    Shares {
        /// The step.
        step: u32,
        /// Shares given.
        found: usize,
        /// Values of the step.
        expected: usize,
    },
    /// A window that is empty, or has an operand that does not exist: an error of ours.
    #[error("internal error: window {window} of step {step} is empty or has an operand {found}")]
    Window {
        /// The step.
        step: u32,
        /// The window.
        window: usize,
        /// The operand.
        found: usize,
    },
    /// The material made ahead is not that of the step: an error of ours.
    #[error("internal error: step {0} does not fit the transfers made for it")]
    Material(u32),
}
