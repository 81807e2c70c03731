//! Working memory that is used again: a key switch allocates nothing after the first.
//!
//! Buffers keep what was last in them, so secret keys, errors and plaintexts to be encrypted never go
//! through a pool.

use super::poly::{Words, words};
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Free buffers, shared by all threads.
#[derive(Debug, Default)]
pub(super) struct Pool {
    free: Mutex<Vec<Words>>,
}

/// A buffer that returns to its pool.
#[derive(Debug)]
pub(super) struct Buffer<'a> {
    words: Words,
    len: usize,
    pool: &'a Pool,
}

impl Pool {
    /// A buffer of `len` words with unspecified contents.
    pub(super) fn take(&self, len: usize) -> Buffer<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest that is large enough, else a new one.
        let fit = (0..free.len()).filter(|&i| free[i].len() >= len).min_by_key(|&i| free[i].len());
        let found = fit.map(|i| free.swap_remove(i));
        drop(free);
        Buffer { words: found.unwrap_or_else(|| words(len)), len, pool: self }
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let words = std::mem::replace(&mut self.words, Words::new(0));
        self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).push(words);
    }
}

impl Deref for Buffer<'_> {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.words[..self.len]
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.words[..self.len]
    }
}
