//! A channel between two threads of one process.
//!
//! Each direction is a bounded queue. An end that waits looks at the other's pulse: the other end may be there
//! while the thread that held it does nothing any more. It looks at its own too, which a thread that waits does not
//! beat: if the pool works for it meanwhile, the other may be waiting for the pool.

use super::{Channel, ChannelError, Frame, Meter, Patience, Pulse, Tag, Traffic, Wait};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Messages of one direction that wait to be read; then a sender waits.
const WAITING: usize = 64;

/// One direction.
#[derive(Default)]
struct Lane {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    /// One of the ends is gone.
    closed: bool,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One end of an in-memory duplex channel.
pub struct InMemory {
    out: Arc<Lane>,
    back: Arc<Lane>,
    mine: Pulse,
    theirs: Pulse,
    patience: Patience,
    meter: Meter,
}

impl InMemory {
    /// Both ends.
    #[must_use]
    pub fn pair() -> (Self, Self) {
        Self::patient(Patience::default())
    }

    /// Both ends, which wait for each other as long as told; nothing needs keeping alive.
    #[must_use]
    pub fn patient(patience: Patience) -> (Self, Self) {
        let [a, b] = [(); 2].map(|()| Arc::<Lane>::default());
        let [first, second] = [(); 2].map(|()| Pulse::default());
        let end = |out: &Arc<Lane>, back: &Arc<Lane>, mine: &Pulse, theirs: &Pulse| Self {
            out: Arc::clone(out),
            back: Arc::clone(back),
            mine: mine.clone(),
            theirs: theirs.clone(),
            patience,
            meter: Meter::default(),
        };
        (end(&a, &b, &first, &second), end(&b, &a, &second, &first))
    }

    fn beats(&self) -> u64 {
        self.mine.count().wrapping_add(self.theirs.count())
    }

    /// Waits until `take` finds what it wants in `lane`, and tells the other end.
    fn wait<T>(
        &self,
        lane: &Lane,
        (step, tag): (u32, Tag),
        mut take: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, ChannelError> {
        self.mine.beat();
        let mut wait = Wait::new(self.patience, 0);
        let mut beats = self.beats();
        let mut state = lane.lock();
        loop {
            if let Some(taken) = take(&mut state) {
                lane.changed.notify_all();
                return Ok(taken);
            }
            if state.closed {
                return Err(ChannelError::Gone { step, tag });
            }
            let waited = lane.changed.wait_timeout(state, Wait::short(self.patience));
            let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = next;
            let beat = self.beats();
            let given_up = if std::mem::replace(&mut beats, beat) != beat {
                wait.heard();
                wait.late()
            } else if timeout.timed_out() {
                wait.quiet()
            } else {
                None
            };
            if let Some(waited) = given_up {
                return Err(ChannelError::Silent { step, tag, waited });
            }
        }
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        for lane in [&self.out, &self.back] {
            lane.lock().closed = true;
            lane.changed.notify_all();
        }
    }
}

impl Channel for InMemory {
    fn send(&mut self, step: u32, tag: Tag, payload: &[u8]) -> Result<(), ChannelError> {
        let mut frame = Some(Frame { tag: tag.byte(), step, payload: payload.to_vec() });
        self.wait(&self.out, (step, tag), |state| {
            if state.closed || state.frames.len() >= WAITING {
                return None;
            }
            state.frames.extend(frame.take());
            Some(())
        })?;
        self.meter.sent(tag, payload.len());
        Ok(())
    }

    fn receive(&mut self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError> {
        let frame = self.wait(&self.back, (step, tag), |state| state.frames.pop_front())?;
        self.meter.received(tag, frame.payload.len());
        frame.opened(step, tag, limit)
    }

    fn traffic(&self) -> Traffic {
        self.meter.traffic
    }

    fn pulse(&self) -> Pulse {
        self.mine.clone()
    }
}
