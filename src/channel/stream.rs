//! A channel over a stream socket, TCP or Unix.
//!
//! A thread of its own writes: a party that sends much does not wait for the other to read, so that two that
//! send at once do not wait for each other. A party may compute for longer than it should take to notice that
//! the other is lost. So that thread also sends an empty keep-alive frame whenever it has been idle for an
//! interval, and [`Patience`] has two limits: on silence, and on keep-alives without a message. Keep-alives
//! depend on time, so [`Traffic`] does not count them: bytes predicted stay equal to bytes counted. What is
//! announced is read in pieces, so that memory follows what has come.

use super::{Channel, ChannelError, FRAME_BYTES, Meter, Tag, Traffic};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Tag of a keep-alive; no [`Tag`] has it.
const KEEP_ALIVE: u8 = 0;
/// A message that has begun must come at least this fast on the whole, in bytes a second.
const SLOWEST: u64 = 4096;
/// How much is allocated ahead of what has come.
const PIECE: usize = 1 << 20;
/// Frames that wait to be written; then a sender waits.
const WAITING: usize = 16;
/// Tag, step, length.
const HEADER: usize = 1 + 4 + 8;
const _: () = assert!(HEADER as u64 == FRAME_BYTES);

/// How long an end waits, and how often it shows that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Without a byte.
    pub silence: Duration,
    /// With keep-alives but without a message; also for the other party to take what is sent.
    pub work: Duration,
    /// Between keep-alives; well below the other party's `silence`.
    pub keep_alive: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(30),
            work: Duration::from_secs(600),
            keep_alive: Duration::from_secs(10),
        }
    }
}

/// A connected stream socket.
pub trait Socket: Read + Write + Send + Sized + 'static {
    /// Another handle of the same connection.
    ///
    /// # Errors
    /// The system's.
    fn duplicate(&self) -> io::Result<Self>;

    /// Sends without delay, and limits how long a read and a write may block.
    ///
    /// # Errors
    /// The system's, or if a limit is zero.
    fn prepare(&self, read: Duration, write: Duration) -> io::Result<()>;

    /// Ends the connection for all handles.
    fn hang_up(&self);
}

impl Socket for TcpStream {
    fn duplicate(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn prepare(&self, read: Duration, write: Duration) -> io::Result<()> {
        self.set_nodelay(true)?;
        self.set_read_timeout(Some(read))?;
        self.set_write_timeout(Some(write))
    }

    fn hang_up(&self) {
        // Fails only where the connection has already ended.
        self.shutdown(Shutdown::Both).ok();
    }
}

#[cfg(unix)]
impl Socket for std::os::unix::net::UnixStream {
    fn duplicate(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn prepare(&self, read: Duration, write: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(read))?;
        self.set_write_timeout(Some(write))
    }

    fn hang_up(&self) {
        // Fails only where the connection has already ended.
        self.shutdown(Shutdown::Both).ok();
    }
}

/// One end of a conversation over a socket. What is sent is on its way, not yet delivered: that the other party
/// does not take it shows later. Dropping an end delivers what was sent, unless it saw an error, and hangs up.
/// After an error the stream is out of step: drop it.
pub struct StreamChannel<S: Socket> {
    reader: S,
    patience: Patience,
    meter: Meter,
    failed: bool,
    /// To the thread that writes; its end ends the thread, once all is written.
    outgoing: Option<SyncSender<Vec<u8>>>,
    /// Frames that it has still to write.
    waiting: Arc<AtomicUsize>,
    /// Hangs up when that thread has ended.
    written: Receiver<()>,
    /// Whether that thread ended because the other party took nothing for too long.
    stuck: Arc<AtomicBool>,
}

impl<S: Socket> StreamChannel<S> {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// If the socket does not take the limits or cannot be duplicated, or no thread can be started.
    pub fn new(socket: S, patience: Patience) -> io::Result<Self> {
        socket.prepare(patience.silence, patience.work)?;
        let mut writer = socket.duplicate()?;
        let (outgoing, frames) = sync_channel::<Vec<u8>>(WAITING);
        let (ended, written) = sync_channel(0);
        let stuck = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stuck);
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        std::thread::Builder::new().name("channel".into()).spawn(move || {
            let _ended: SyncSender<()> = ended;
            let failed = loop {
                let result = match frames.recv_timeout(patience.keep_alive) {
                    Ok(frame) => {
                        let result = writer.write_all(&frame);
                        left.fetch_sub(1, Ordering::AcqRel);
                        result
                    }
                    Err(RecvTimeoutError::Timeout) => writer.write_all(&header(KEEP_ALIVE, 0, 0)),
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                if let Err(e) = result {
                    break e;
                }
            };
            told.store(is_timeout(&failed), Ordering::Release);
        })?;
        let (meter, outgoing) = (Meter::default(), Some(outgoing));
        Ok(Self { reader: socket, patience, meter, failed: false, outgoing, waiting, written, stuck })
    }

    /// Fills `bytes`, waiting until `deadline` at most.
    fn fill(&mut self, mut bytes: &mut [u8], deadline: Deadline) -> Result<(), ChannelError> {
        let Deadline { step, tag, begun, waited } = deadline;
        while !bytes.is_empty() {
            if begun.elapsed() > waited {
                return Err(ChannelError::Silent { step, tag, waited });
            }
            match self.reader.read(bytes) {
                Ok(0) => return Err(ChannelError::Gone { step, tag }),
                Ok(n) => bytes = &mut bytes[n..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if is_timeout(&e) => {
                    return Err(ChannelError::Silent { step, tag, waited: self.patience.silence });
                }
                Err(_) => return Err(ChannelError::Gone { step, tag }),
            }
        }
        Ok(())
    }
}

/// What is awaited, and until when.
#[derive(Clone, Copy)]
struct Deadline {
    step: u32,
    tag: Tag,
    begun: Instant,
    waited: Duration,
}

impl<S: Socket> Drop for StreamChannel<S> {
    fn drop(&mut self) {
        self.outgoing = None;
        // A keep-alive that the other party does not take is not waited for.
        if !self.failed && self.waiting.load(Ordering::Acquire) > 0 {
            // Either the thread has ended, or the other party takes too long.
            self.written.recv_timeout(self.patience.silence).ok();
        }
        self.reader.hang_up();
    }
}

impl<S: Socket> Channel for StreamChannel<S> {
    fn send(&mut self, step: u32, tag: Tag, payload: &[u8]) -> Result<(), ChannelError> {
        let header = header(tag.byte(), step, payload.len() as u64);
        let frame = [&header[..], payload].concat();
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let taken = self.outgoing.as_ref().is_some_and(|outgoing| outgoing.send(frame).is_ok());
        if !taken {
            self.failed = true;
            let waited = self.patience.work;
            return Err(match self.stuck.load(Ordering::Acquire) {
                true => ChannelError::Silent { step, tag, waited },
                false => ChannelError::Gone { step, tag },
            });
        }
        self.meter.sent(payload.len());
        Ok(())
    }

    fn receive(&mut self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError> {
        let message = self.message(step, tag, limit);
        self.failed |= message.is_err();
        message
    }

    fn traffic(&self) -> Traffic {
        self.meter.traffic
    }
}

impl<S: Socket> StreamChannel<S> {
    fn message(&mut self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError> {
        let begun = Instant::now();
        let waiting = Deadline { step, tag, begun, waited: self.patience.work };
        let (found_tag, found_step, length) = loop {
            let mut header = [0; HEADER];
            self.fill(&mut header, waiting)?;
            let frame = read_header(header);
            if frame != (KEEP_ALIVE, 0, 0) {
                break frame;
            }
        };
        if (found_tag, found_step) != (tag.byte(), step) {
            return Err(ChannelError::OutOfTurn { step, tag, found_tag, found_step });
        }
        let found = usize::try_from(length).unwrap_or(usize::MAX);
        if found > limit {
            return Err(ChannelError::TooLong { step, tag, found, limit });
        }
        let waited = self.patience.silence + Duration::from_secs(length / SLOWEST);
        let coming = Deadline { begun: Instant::now(), waited, ..waiting };
        let mut payload = Vec::new();
        while payload.len() < found {
            let have = payload.len();
            payload.resize(found.min(have + PIECE), 0);
            self.fill(&mut payload[have..], coming)?;
        }
        self.meter.received(found);
        Ok(payload)
    }
}

/// How systems say that a read or write took longer than its limit.
fn is_timeout(e: &io::Error) -> bool {
    e.kind() == ErrorKind::WouldBlock || e.kind() == ErrorKind::TimedOut
}

fn header(tag: u8, step: u32, length: u64) -> [u8; HEADER] {
    let mut header = [tag; HEADER];
    header[1..5].copy_from_slice(&step.to_le_bytes());
    header[5..].copy_from_slice(&length.to_le_bytes());
    header
}

fn read_header([tag, a, b, c, d, length @ ..]: [u8; HEADER]) -> (u8, u32, u64) {
    (tag, u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(length))
}
