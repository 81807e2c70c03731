//! placeholder

/// What a graph pass broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// placeholder
    #[error("placeholder")]
    Placeholder,
}

/// placeholder
///
/// # Errors
/// placeholder
pub fn verify(_g: &super::IntNetwork) -> Result<(), GraphError> {
    Ok(())
}
