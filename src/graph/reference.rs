//! placeholder

/// placeholder
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// placeholder
    #[error("placeholder")]
    Placeholder,
}

/// placeholder
///
/// # Errors
/// placeholder
pub fn evaluate() -> Result<(), ReferenceError> {
    Ok(())
}
