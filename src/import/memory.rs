//! The limit of memory: everything that depends on the file is charged before it is allocated.

use super::error::ImportError;

/// What may still be allocated, in bytes.
#[derive(Debug)]
pub(super) struct Memory {
    limit: u64,
    used: u64,
}

impl Memory {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: 0 }
    }

    /// Charges `bytes` for `what`.
    ///
    /// # Errors
    /// [`ImportError::Memory`] if the limit does not allow it; nothing is charged then.
    pub(super) fn charge(&mut self, bytes: u64, what: &str) -> Result<(), ImportError> {
        let needed = self.used.saturating_add(bytes);
        if needed > self.limit {
            return Err(ImportError::Memory { what: what.to_owned(), needed, limit: self.limit });
        }
        self.used = needed;
        Ok(())
    }

    /// Charges a tensor of `dims` with `size` bytes an element; gives the number of elements.
    pub(super) fn charge_tensor(
        &mut self,
        dims: &[usize],
        size: usize,
        what: &str,
    ) -> Result<usize, ImportError> {
        let elements = dims.iter().fold(1_usize, |n, &d| n.saturating_mul(d));
        self.charge(elements.saturating_mul(size) as u64, what)?;
        Ok(elements)
    }

    /// Gives back what is no longer held.
    pub(super) fn release(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }
}
