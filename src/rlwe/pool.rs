//! Working memory that is used again: no operation on ciphertexts allocates residues after its first run.
//!
//! Words of a pool go back to it when they are dropped, up to a bound on what lies free. They keep what was
//! last in them, so secret keys, errors and messages to be encrypted never come from a pool.

use aligned_vec::{AVec, ConstAlign};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroize;

/// Bytes that may lie free in a pool.
const MOST_FREE: usize = 64 << 20;
/// How many times larger than asked for a buffer may be.
const MOST_SLACK: usize = 2;

/// Aligned to a cache line, as vector loads want them.
type Aligned = AVec<u64, ConstAlign<64>>;

/// Free buffers, shared by all threads.
#[derive(Debug, Default)]
pub(super) struct Pool {
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    /// By their length; the last in is the first out, as it may still be in a cache.
    buffers: BTreeMap<usize, Vec<Aligned>>,
    bytes: usize,
}

/// Residues, aligned to a cache line.
#[derive(Debug)]
pub(super) struct Words {
    buffer: Aligned,
    len: usize,
    pool: Option<Arc<Pool>>,
}

fn fresh(len: usize) -> Aligned {
    #[cfg(test)]
    tests::COUNT.with(|count| count.set(count.get() + 1));
    aligned_vec::avec![[64]| 0u64; len]
}

impl Pool {
    /// `len` words with unspecified contents.
    pub(super) fn take(self: &Arc<Self>, len: usize) -> Words {
        let buffer = self.find(len).unwrap_or_else(|| fresh(len));
        Words { buffer, len, pool: Some(Arc::clone(self)) }
    }

    /// `len` words that are 0.
    pub(super) fn zeroed(self: &Arc<Self>, len: usize) -> Words {
        let buffer = match self.find(len) {
            Some(mut found) => {
                found[..len].fill(0);
                found
            }
            None => fresh(len),
        };
        Words { buffer, len, pool: Some(Arc::clone(self)) }
    }

    /// The smallest free buffer that is large enough and not much larger.
    fn find(&self, len: usize) -> Option<Aligned> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, fitting) =
            free.buffers.range_mut(len..=len * MOST_SLACK).find(|(_, fitting)| !fitting.is_empty())?;
        let found = fitting.pop()?;
        free.bytes -= size_of_val(&*found);
        Some(found)
    }

    fn give(&self, buffer: Aligned) {
        let bytes = size_of_val(&*buffer);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.bytes + bytes <= MOST_FREE {
            free.bytes += bytes;
            free.buffers.entry(buffer.len()).or_default().push(buffer);
        }
    }
}

impl Words {
    /// Zeros that belong to no pool.
    pub(super) fn zero(len: usize) -> Self {
        Self { buffer: fresh(len), len, pool: None }
    }

    /// Forgets all but the first `len` words.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.give(std::mem::replace(&mut self.buffer, Aligned::new(0)));
        }
    }
}

impl Clone for Words {
    fn clone(&self) -> Self {
        let mut copy = match &self.pool {
            Some(pool) => pool.take(self.len),
            None => Self::zero(self.len),
        };
        copy.copy_from_slice(self);
        copy
    }
}

impl PartialEq for Words {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Words {}

impl Zeroize for Words {
    fn zeroize(&mut self) {
        self.buffer.as_mut_slice().zeroize();
    }
}

impl Deref for Words {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for Words {
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.buffer[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rlwe::*;
    use std::cell::Cell;

    thread_local! {
        /// Buffers that this thread has allocated, for a pool or for none.
        pub(super) static COUNT: Cell<usize> = const { Cell::new(0) };
    }

    fn allocated(run: impl FnOnce()) -> usize {
        let before = COUNT.get();
        run();
        COUNT.get() - before
    }

    #[test]
    fn buffers_return_and_fit() {
        let pool = Arc::new(Pool::default());
        assert_eq!(allocated(|| drop((pool.take(64), pool.take(64)))), 2);
        assert_eq!(allocated(|| drop((pool.take(64), pool.take(33)))), 0);
        assert_eq!(allocated(|| drop(pool.take(31))), 1, "a buffer of 64 words is too large for it");
        let mut dirty = pool.take(48);
        dirty.fill(7);
        drop(dirty);
        let zeroed = pool.zeroed(64);
        assert!(zeroed.iter().all(|&x| x == 0) && zeroed.len() == 64);
    }

    #[test]
    fn what_lies_free_is_bounded() {
        let pool = Arc::new(Pool::default());
        let half = MOST_FREE / size_of::<u64>() / 2;
        drop([pool.take(half), pool.take(half), pool.take(half)]);
        assert_eq!(pool.free.lock().unwrap().bytes, MOST_FREE);
        assert_eq!(allocated(|| drop([pool.take(half), pool.take(half), pool.take(half)])), 1);
    }

    #[test]
    fn operations_allocate_once() {
        let key_switch = KeySwitch::Special { bits: vec![50], primes_per_digit: 1 };
        let plain_modulus = plain_prime(17, 64).unwrap();
        let spec = ParameterSpec { ring: 64, plain_modulus, prime_bits: vec![49, 49], key_switch };
        let params = Parameters::insecure_for_tests(spec).unwrap();
        let mut randomness = Randomness::insecure_from_seed(1);
        let secret = SecretKey::generate(&params, &mut randomness);
        let steps = [1, 2, 3].map(Automorphism::Rotate);
        let keys = secret.galois_keys(&steps, &mut randomness).expand();
        let message = vec![3; 64];
        let fresh = secret.encrypt(&message, Packing::Slots, &mut randomness).unwrap().expand();
        let factor = params.encode(&[5; 64], Packing::Slots, Basis::Extended).unwrap();
        let run = || {
            let mut sum = keys.rotate(&fresh, steps[0]).unwrap();
            let hoisted = Hoisted::new(&fresh).unwrap();
            for by in steps {
                sum.add_assign(&keys.rotate_hoisted(&hoisted, by).unwrap()).unwrap();
            }
            let mut dot = DotProduct::new(&params);
            dot.add(&[(&sum, &factor), (&fresh, &factor)]).unwrap();
            let mut rotations = RotationSum::new(&params);
            rotations.add(&keys, &dot.finish(), steps[1]).unwrap();
            rotations.add_ciphertext(&sum.clone()).unwrap();
            let mut extended = [Extended::zero(&params)];
            keys.rotate_extended(&[&hoisted], steps[2], &mut extended).unwrap();
            let mut products = ExtendedSum::new(&params);
            products.add(&[(&extended[0], &factor)]).unwrap();
            let mut out = rotations.finish().multiply_plain(&factor).unwrap();
            out.add_assign(&products.finish()).unwrap();
            out.switch_down().unwrap();
        };
        assert!(allocated(run) > 0);
        assert_eq!(allocated(|| (0..3).for_each(|_| run())), 0);
    }
}
