//! Where weights come from, by PyTorch-style names; keeps files out of name resolution.

use crate::tensor::{Shape, Tensor};

/// A weight that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// No tensor of that name.
    #[error("no tensor `{0}`")]
    Missing(String),
    /// Neither a float nor an integer tensor, or not finite.
    #[error("tensor `{name}`: {reason}")]
    Unusable {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
}

/// A table of named float tensors.
pub trait WeightSource: Sync {
    /// The shape stored under `name`, if any.
    fn shape(&self, name: &str) -> Option<Shape>;

    /// All names, sorted.
    fn names(&self) -> Vec<String>;

    /// The tensor stored under `name`, finite.
    ///
    /// # Errors
    /// If it is missing or not a table of finite numbers.
    fn load(&self, name: &str) -> Result<Tensor<f32>, WeightError>;
}
