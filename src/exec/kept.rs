//! Encoded plaintexts that are kept from one run of a segment to the next, under a budget of memory.
//!
//! A plaintext is kept from its first use on while there is room; beyond that it is encoded each time. Which
//! ones are kept depends on the order of execution, results never do.

use crate::circuit::{PlainId, Segment};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The kept plaintexts of one segment.
#[derive(Debug)]
pub struct Kept<P> {
    cells: Vec<OnceLock<Arc<P>>>,
    /// Bytes that may still be kept, together with other segments.
    room: Arc<AtomicU64>,
}

impl<P> Kept<P> {
    /// Keeps nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { cells: Vec::new(), room: Arc::default() }
    }

    /// One a segment, which together keep at most `budget` bytes of plaintexts.
    #[must_use]
    pub fn of(segments: &[Segment], budget: u64) -> Vec<Self> {
        let room = Arc::new(AtomicU64::new(budget));
        let cells = |segment: &Segment| match budget {
            0 => Vec::new(),
            _ => std::iter::repeat_with(OnceLock::new).take(segment.plains as usize).collect(),
        };
        segments.iter().map(|segment| Self { cells: cells(segment), room: Arc::clone(&room) }).collect()
    }

    /// How many plaintexts are kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.iter().filter(|cell| cell.get().is_some()).count()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether any can be kept at all.
    pub(super) fn keeps(&self) -> bool {
        !self.cells.is_empty()
    }

    /// Whether these plaintexts of so many bytes are kept, or there is room for those that are not.
    pub(super) fn keeps_all(&self, plains: impl Iterator<Item = (PlainId, u64)>) -> bool {
        let missing = |id: PlainId| self.cells.get(id.0 as usize).is_none_or(|cell| cell.get().is_none());
        let wanted = plains.filter(|&(id, _)| missing(id)).map(|(_, bytes)| bytes);
        wanted.fold(0, u64::saturating_add) <= self.room.load(Ordering::Relaxed)
    }

    /// Plaintext `id` of so many bytes, kept or encoded now.
    pub(super) fn get<E>(
        &self,
        id: PlainId,
        bytes: u64,
        encode: impl FnOnce() -> Result<P, E>,
    ) -> Result<Arc<P>, E> {
        let cell = self.cells.get(id.0 as usize);
        if let Some(kept) = cell.and_then(OnceLock::get) {
            return Ok(Arc::clone(kept));
        }
        let encoded = Arc::new(encode()?);
        let takes = |room: u64| room.checked_sub(bytes);
        if let Some(cell) = cell
            && self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, takes).is_ok()
            && cell.set(Arc::clone(&encoded)).is_err()
        {
            // Another thread has kept it in the meantime.
            self.room.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(encoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::BlockGeometry;

    fn segment(plains: u32) -> Segment {
        Segment {
            layer: String::new(),
            contents: crate::circuit::Contents::Slots,
            geometry: BlockGeometry { block: 1, reach: 0 },
            inputs: 0,
            plains,
            insts: Vec::new(),
            terms: Vec::new(),
            turns: Vec::new(),
            outputs: Vec::new(),
        }
    }

    #[test]
    fn the_budget_is_shared_and_never_exceeded() {
        let kept: Vec<Kept<u32>> = Kept::of(&[segment(3), segment(3)], 45);
        let mut encoded = 0;
        for _ in 0..2 {
            for segment in &kept {
                for id in 0..3 {
                    let value = segment.get(PlainId(id), 10, || {
                        encoded += 1;
                        Ok::<_, ()>(id)
                    });
                    assert_eq!(value.as_deref(), Ok(&id));
                }
            }
        }
        assert_eq!(kept.iter().map(Kept::len).sum::<usize>(), 4);
        assert_eq!(encoded, 6 + 2, "four are kept, two are encoded each time");
        let plains = |ids: [u32; 2]| ids.map(|id| (PlainId(id), 5)).into_iter();
        assert!(kept[0].keeps_all(plains([0, 1])), "both are kept");
        assert!(kept[1].keeps_all(plains([0, 2])), "one is kept, there is room for the other");
        assert!(!kept[1].keeps_all(plains([1, 2])), "there is room for one");
    }

    #[test]
    fn without_a_budget_nothing_is_kept() {
        for kept in Kept::of(&[segment(2)], 0).iter().chain([&Kept::none()]) {
            assert_eq!(kept.get(PlainId(1), 10, || Ok::<_, ()>(7_u32)).as_deref(), Ok(&7));
            assert!(kept.is_empty());
        }
    }
}
