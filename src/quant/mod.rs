//! Float weights and the quantiser.

mod float;
mod random;

pub use float::{FloatWeights, float_eval, float_eval_with};
pub use random::{RandomWeights, random_images};

use crate::tensor::Shape;
use crate::weights::WeightError;

/// Why a model could not be weighed or quantised.
#[derive(Debug, thiserror::Error)]
pub enum QuantError {
    /// A weight that cannot be had.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// A weight of another shape.
    #[error("tensor `{name}` has shape {found}, the model wants {wanted}")]
    WeightShape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Shape,
        /// The shape that the layer wants.
        wanted: Shape,
    },
    /// An infinite or undefined weight, or a variance that is not positive.
    #[error("tensor `{name}` holds a number that is not usable (infinite, undefined or a negative variance)")]
    NotFinite {
        /// The tensor.
        name: String,
    },
    /// A tap that the kernel's support excludes is not zero.
    #[error("tensor `{name}`: tap {tap:?} of output channel {channel} must be zero by the kernel's shape")]
    Support {
        /// The tensor.
        name: String,
        /// Output channel.
        channel: usize,
        /// Row and column of the kernel.
        tap: (usize, usize),
    },
    /// A layer's weights are missing from the table or do not fit.
    #[error("layer `{node}` has no weights that fit it")]
    Weights {
        /// The layer.
        node: String,
    },
    /// An image of another shape.
    #[error("an image has shape {found}, the model wants {wanted}")]
    ImageShape {
        /// The image's shape.
        found: Shape,
        /// The model's.
        wanted: Shape,
    },
}
