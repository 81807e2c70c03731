//! Processor time: what work takes on a machine that does other work as well.
//!
//! On Linux and macOS by the system's clocks; elsewhere there is none.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Whose processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The calling thread's.
    Thread,
    /// That of all threads of the process.
    Process,
}

impl Whose {
    /// Processor time up to now, if the system tells it.
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    #[must_use]
    pub fn now(self) -> Option<Duration> {
        use rustix::time::{ClockId, clock_gettime};
        let time = clock_gettime(match self {
            Self::Thread => ClockId::ThreadCPUTime,
            Self::Process => ClockId::ProcessCPUTime,
        });
        Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
    }

    /// None: the system does not tell it.
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    #[must_use]
    pub fn now(self) -> Option<Duration> {
        None
    }
}

/// Work that is timed.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    whose: Whose,
    wall: Instant,
    processor: Option<Duration>,
}

impl Stopwatch {
    /// Starts now.
    #[must_use]
    pub fn start(whose: Whose) -> Self {
        Self { whose, processor: whose.now(), wall: Instant::now() }
    }

    /// Wall time since the start.
    #[must_use]
    pub fn wall(&self) -> Duration {
        self.wall.elapsed()
    }

    /// Processor time since the start, if the system tells it.
    #[must_use]
    pub fn processor(&self) -> Option<Duration> {
        Some(self.whose.now()?.saturating_sub(self.processor?))
    }
}

/// The processor time of jobs of several threads, summed up; wall time where the system tells none.
#[derive(Debug, Default)]
pub struct Busy(AtomicU64);

impl Busy {
    /// Runs a job and adds what it takes: of the calling thread, or of the process if the job has threads of
    /// its own and nothing else runs.
    pub fn job<T>(&self, whose: Whose, job: impl FnOnce() -> T) -> T {
        let watch = Stopwatch::start(whose);
        let result = job();
        let took = watch.processor().unwrap_or_else(|| watch.wall());
        self.0.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        result
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> u64 {
        (0..2_000_000).fold(1_u64, |x, i| std::hint::black_box(x.wrapping_mul(31).wrapping_add(i)))
    }

    #[test]
    fn work_takes_processor_time_and_waiting_takes_none() {
        let busy = Busy::default();
        let watch = Stopwatch::start(Whose::Thread);
        busy.job(Whose::Thread, work);
        let Some(worked) = watch.processor() else { return };
        assert!(worked > Duration::ZERO && busy.total() <= worked && busy.total() > Duration::ZERO);
        let watch = Stopwatch::start(Whose::Thread);
        let other = std::thread::spawn(|| {
            let watch = Stopwatch::start(Whose::Thread);
            (0..20).fold(0, |sum: u64, _| sum ^ work());
            watch.processor()
        });
        let other = other.join().unwrap().unwrap();
        assert!(watch.processor().unwrap() < other, "who waits is not charged");
    }
}
