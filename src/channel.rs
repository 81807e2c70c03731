//! How the two parties talk: framed messages over a counting channel.
//!
//! A frame is a one-byte tag, a four-byte step, an eight-byte length and the payload. The step is the
//! node whose turn it is, so that parties that have lost each other find out by name. Every receiver
//! states the tag, the step and the most bytes that it will take. [`InMemory`] joins two threads,
//! [`StreamChannel`] two processes. Nothing here knows what a message means.
//!
//! A party that waits, to receive or for room to send, gives up after [`Patience::silence`] in which the other
//! showed no sign of life. A sign of life is a message, progress of one under way, or a beat of the other's
//! [`Pulse`]: it comes from the thread that works for the protocol, so that a process that lives on with
//! that thread stuck is found out too. A party at work for longer than a second or so therefore beats.

mod memory;
mod stream;

pub use memory::InMemory;
pub use stream::{Socket, StreamChannel};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a frame before its payload.
pub const FRAME_BYTES: u64 = 13;

/// A message that has begun must pass at least this fast on the whole, in bytes a second.
const SLOWEST: u64 = 4096;

/// How long an end waits for the other, and how often it shows that it is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Without a sign of life.
    pub silence: Duration,
    /// With signs of life but without a message, or without room for one.
    pub work: Duration,
    /// Between keep-alives, which are sent while the pulse beats. With `silence`, the longest that a party
    /// that stopped remains unnoticed.
    pub keep_alive: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(20),
            work: Duration::from_secs(600),
            keep_alive: Duration::from_secs(5),
        }
    }
}

/// Shows the other party that this one is at work. Copies beat the same pulse, from any thread.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// A sign of life.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One wait for the other party. Silence is counted in short waits that ended without a sign of life, not by the
/// clock: a process that was suspended meanwhile does not blame the other.
struct Wait {
    patience: Patience,
    begun: Instant,
    /// What is allowed besides `patience.work`.
    extra: Duration,
    quiet: u32,
}

/// Short waits that make up the silence that is put up with.
const WAITS: u32 = 20;

impl Wait {
    /// For a message of which `bytes` bytes are known to come or go.
    fn new(patience: Patience, bytes: u64) -> Self {
        let extra = Duration::from_secs(bytes / SLOWEST);
        Self { patience, begun: Instant::now(), extra, quiet: 0 }
    }

    /// How long to wait before asking again.
    fn short(patience: Patience) -> Duration {
        (patience.silence / WAITS).max(Duration::from_millis(1))
    }

    /// There was a sign of life.
    fn heard(&mut self) {
        self.quiet = 0;
    }

    /// A short wait ended without one. Gives what was waited for in vain, if it was long enough.
    fn quiet(&mut self) -> Option<Duration> {
        self.quiet += 1;
        if self.quiet > WAITS { Some(self.patience.silence) } else { self.late() }
    }

    /// As `quiet`, for signs of life without end.
    fn late(&self) -> Option<Duration> {
        (self.begun.elapsed() > self.patience.work + self.extra).then_some(self.patience.work)
    }
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    /// What the parties are about to run, both ways, the first message of either.
    Plan,
    /// Galois keys, client to server, once.
    EvaluationKeys,
    /// A linear layer's input ciphertext, client to server.
    Input,
    /// A linear layer's masked result, server to client.
    Reply,
    /// A message of a non-linear step.
    NonLinear,
    /// The server's share of the network's output.
    Output,
    /// Oblivious transfer: the set-up and the extension.
    Ot,
}

impl Tag {
    fn byte(self) -> u8 {
        match self {
            Self::EvaluationKeys => 1,
            Self::Input => 2,
            Self::Reply => 3,
            Self::NonLinear => 4,
            Self::Output => 5,
            Self::Ot => 6,
            Self::Plan => 7,
        }
    }
}

/// Why a conversation ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The other party hung up.
    #[error("the other party is gone at step {step} ({tag:?})")]
    Gone {
        /// The step that was under way.
        step: u32,
        /// What was to be sent or received.
        tag: Tag,
    },
    /// The other party said nothing, or took nothing of what was to be sent, for too long.
    #[error("the other party neither sent nor took anything for {waited:?} at step {step} ({tag:?})")]
    Silent {
        /// The step that was under way.
        step: u32,
        /// What was to be sent or received.
        tag: Tag,
        /// For how long.
        waited: Duration,
    },
    /// A message that is not the one whose turn it is.
    #[error("expected {tag:?} of step {step}, found tag {found_tag} of step {found_step}")]
    OutOfTurn {
        /// The step that was under way.
        step: u32,
        /// What was awaited.
        tag: Tag,
        /// The tag that came.
        found_tag: u8,
        /// The step that came.
        found_step: u32,
    },
    /// A message longer than the receiver takes.
    #[error("{tag:?} of step {step}: {found} bytes, at most {limit} expected")]
    TooLong {
        /// The step that was under way.
        step: u32,
        /// What was awaited.
        tag: Tag,
        /// Bytes announced.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// Bytes and rounds seen from one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes sent, frames included.
    pub sent: u64,
    /// Bytes received, frames included.
    pub received: u64,
    /// How often this end received after it had sent: round trips it waited for, of [`Tag::Ot`] and of all other
    /// messages apart, as the former are made while the latter are worked on.
    pub rounds: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, o: Self) {
        self.sent += o.sent;
        self.received += o.received;
        self.rounds += o.rounds;
    }
}

impl std::ops::Sub for Traffic {
    type Output = Self;

    /// What passed since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            received: self.received - earlier.received,
            rounds: self.rounds - earlier.rounds,
        }
    }
}

/// Counts what passes at one end.
#[derive(Default)]
struct Meter {
    traffic: Traffic,
    /// Of oblivious transfer, and of all else.
    has_sent: [bool; 2],
}

impl Meter {
    fn sent(&mut self, tag: Tag, payload: usize) {
        self.traffic.sent += FRAME_BYTES + payload as u64;
        match tag {
            // Nothing answers them.
            Tag::Plan | Tag::EvaluationKeys => {}
            Tag::Ot => self.has_sent[0] = true,
            Tag::Input | Tag::Reply | Tag::NonLinear | Tag::Output => self.has_sent[1] = true,
        }
    }

    fn received(&mut self, tag: Tag, payload: usize) {
        self.traffic.received += FRAME_BYTES + payload as u64;
        if std::mem::take(&mut self.has_sent[usize::from(tag != Tag::Ot)]) {
            self.traffic.rounds += 1;
        }
    }
}

/// One end of a conversation.
pub trait Channel: Send {
    /// Sends one message.
    ///
    /// # Errors
    /// If the other party is gone.
    fn send(&mut self, step: u32, tag: Tag, payload: &[u8]) -> Result<(), ChannelError>;

    /// Receives the message `tag` of `step`, of at most `limit` bytes.
    ///
    /// # Errors
    /// If something else comes, or nothing.
    fn receive(&mut self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError>;

    /// What has passed so far.
    fn traffic(&self) -> Traffic;

    /// What to beat while at work between messages.
    fn pulse(&self) -> Pulse;
}

struct Frame {
    tag: u8,
    step: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The payload, if the frame is the one whose turn it is.
    fn opened(self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError> {
        expected((self.tag, self.step, self.payload.len()), step, tag, limit)?;
        Ok(self.payload)
    }
}

/// Checks a frame's head against what is awaited.
fn expected(
    (found_tag, found_step, found): (u8, u32, usize),
    step: u32,
    tag: Tag,
    limit: usize,
) -> Result<(), ChannelError> {
    if (found_tag, found_step) != (tag.byte(), step) {
        return Err(ChannelError::OutOfTurn { step, tag, found_tag, found_step });
    }
    if found > limit {
        return Err(ChannelError::TooLong { step, tag, found, limit });
    }
    Ok(())
}
