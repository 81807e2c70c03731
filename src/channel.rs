//! How the two parties talk: framed messages over a counting channel.
//!
//! A frame is a one-byte tag, a four-byte step, an eight-byte length and the payload. The step is the
//! node whose turn it is, so that parties that have lost each other find out by name. Every receiver
//! states the tag, the step and the most bytes that it will take. [`InMemory`] joins two threads,
//! [`StreamChannel`] two processes. Nothing here knows what a message means.

mod stream;

pub use stream::{Patience, Socket, StreamChannel};

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Bytes of a frame before its payload.
pub const FRAME_BYTES: u64 = 13;

/// How long a thread waits for the other, whose end is noticed at once.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
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
    /// The other party said nothing for too long.
    #[error("the other party said nothing for {waited:?} at step {step} ({tag:?})")]
    Silent {
        /// The step that was under way.
        step: u32,
        /// What was awaited.
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
    /// How often this end received after it had sent: round trips it waited for.
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
    has_sent: bool,
}

impl Meter {
    fn sent(&mut self, payload: usize) {
        self.traffic.sent += FRAME_BYTES + payload as u64;
        self.has_sent = true;
    }

    fn received(&mut self, payload: usize) {
        self.traffic.received += FRAME_BYTES + payload as u64;
        if std::mem::take(&mut self.has_sent) {
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
}

struct Frame {
    tag: u8,
    step: u32,
    payload: Vec<u8>,
}

/// One end of an in-memory duplex channel.
pub struct InMemory {
    out: SyncSender<Frame>,
    back: Receiver<Frame>,
    meter: Meter,
}

impl InMemory {
    /// Both ends.
    #[must_use]
    pub fn pair() -> (Self, Self) {
        let (a_out, b_in) = sync_channel(64);
        let (b_out, a_in) = sync_channel(64);
        let end = |out, back| Self { out, back, meter: Meter::default() };
        (end(a_out, a_in), end(b_out, b_in))
    }
}

impl Channel for InMemory {
    fn send(&mut self, step: u32, tag: Tag, payload: &[u8]) -> Result<(), ChannelError> {
        let frame = Frame { tag: tag.byte(), step, payload: payload.to_vec() };
        self.out.send(frame).map_err(|_| ChannelError::Gone { step, tag })?;
        self.meter.sent(payload.len());
        Ok(())
    }

    fn receive(&mut self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError> {
        let frame = self.back.recv_timeout(PATIENCE).map_err(|e| match e {
            RecvTimeoutError::Timeout => ChannelError::Silent { step, tag, waited: PATIENCE },
            RecvTimeoutError::Disconnected => ChannelError::Gone { step, tag },
        })?;
        self.meter.received(frame.payload.len());
        if frame.tag != tag.byte() || frame.step != step {
            return Err(ChannelError::OutOfTurn { step, tag, found_tag: frame.tag, found_step: frame.step });
        }
        if frame.payload.len() > limit {
            return Err(ChannelError::TooLong { step, tag, found: frame.payload.len(), limit });
        }
        Ok(frame.payload)
    }

    fn traffic(&self) -> Traffic {
        self.meter.traffic
    }
}
