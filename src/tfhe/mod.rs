//! The non-interactive mode: the client encrypts once, the server computes alone, the client decrypts.
//!
//! Values are points of the torus (the residues mod 2^64): an integer times a step. A linear layer is an integer
//! combination of ciphertexts ([`linear`]), the first convolution a product of polynomials ([`input`]); an
//! activation is a key switch and a programmable bootstrap, whose table ([`table`]) shifts, clamps and refreshes
//! at once. [`plan`] chooses the steps, predicts the noise and refuses what does not fit. The noise is part of
//! the result: an activation may come out as a neighbour of its exact value. [`simulate`] computes with the same
//! noise and no ciphertext, and so predicts accuracy.
//!
//! Under the feature `tfhe`: [`keys`], [`encrypted`] runs and [`files`] of keys and ciphertexts, on `core_crypto`
//! of the crate `tfhe`. Nothing here knows the command line.

#[cfg(feature = "tfhe")]
pub mod encrypted;
#[cfg(feature = "tfhe")]
pub mod files;
pub mod input;
#[cfg(feature = "tfhe")]
pub mod keys;
pub mod linear;
mod observe;
pub mod params;
pub mod plan;
pub mod report;
pub mod simulate;
pub mod table;
#[cfg(feature = "tfhe")]
mod torus;

use crate::graph::ReferenceError;

/// Why a network does not run in this mode.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TfheError {
    /// Maxima need a bootstrap a comparison.
    #[error("layer `{layer}`: this mode has no max pool; use an average pool or a convolution with a stride")]
    MaxPool {
        /// The layer.
        layer: String,
    },
    /// Weights are missing or do not fit.
    #[error("layer `{layer}` has no weights that fit it; a model without weights does not run in this mode")]
    Weights {
        /// The layer.
        layer: String,
    },
    /// Too many terms.
    #[error(
        "layer `{layer}`: more than {} terms of linear combinations; use a smaller layer",
        linear::MAX_TERMS
    )]
    Terms {
        /// The layer.
        layer: String,
    },
    /// Too many activations.
    #[error(
        "layer `{layer}`: {found} values up to there, at most {} in this mode, at some 17 ms each; use fewer or \
         strided channels",
        plan::MAX_VALUES
    )]
    Values {
        /// The layer.
        layer: String,
        /// Values up to it.
        found: usize,
    },
    /// Accumulators that reach too far for any step.
    #[error(
        "layer `{layer}`: its accumulator has {bits:.1} bits, at most {}; use fewer bits",
        plan::MAX_BITS
    )]
    Wide {
        /// The layer.
        layer: String,
        /// Bits of what it reaches.
        bits: f64,
    },
    /// More steps than a bootstrap tells apart.
    #[error(
        "layer `{layer}`: its accumulator reaches over {steps:.0} steps of its result, at most {limit:.0} can be \
         told apart; use fewer `bits:`, a larger `range:`, or images that show what it reaches (`--reach FILE`)"
    )]
    Bits {
        /// The layer.
        layer: String,
        /// Steps of the result that the accumulator reaches over.
        steps: f64,
        /// What a bootstrap tells apart when nothing but it adds noise.
        limit: f64,
    },
    /// Weights that carry too much noise.
    #[error(
        "layer `{layer}`: |w|_2 = {norm:.1} of its weights, at most {limit:.1} here, where noise of {noise:.2} \
         steps of the result comes with it; use fewer `weight_bits:` or a smaller fan-in"
    )]
    Norm {
        /// The layer.
        layer: String,
        /// The largest norm of the integer weights of a result.
        norm: f64,
        /// The largest that fits.
        limit: f64,
        /// Standard deviation of the noise, in steps of the result.
        noise: f64,
    },
    /// The integer network could not be evaluated.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

impl TfheError {
    /// The layer that it is about.
    #[must_use]
    pub fn layer(&self) -> Option<&str> {
        match self {
            Self::MaxPool { layer }
            | Self::Weights { layer }
            | Self::Terms { layer }
            | Self::Values { layer, .. }
            | Self::Wide { layer, .. }
            | Self::Bits { layer, .. }
            | Self::Norm { layer, .. } => Some(layer),
            Self::Reference(_) => None,
        }
    }
}
