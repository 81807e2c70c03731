//! Checks a segment.

use super::Segment;

/// What a circuit pass broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CircuitError {
    /// placeholder
    #[error("placeholder")]
    Placeholder,
}

/// Checks one segment.
///
/// # Errors
/// The first violation.
pub fn verify(_segment: &Segment, _ring: u32) -> Result<(), CircuitError> {
    Ok(())
}
