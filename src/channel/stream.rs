//! A channel over a stream socket, TCP or Unix.
//!
//! Two threads serve an end. One writes, so that two parties that send at once do not wait for each other; it also
//! sends an empty keep-alive frame at intervals in which the pulse has beaten. One reads, a few pieces
//! ahead, so that a sender that waits sees whether the other party still lives. A reader that is slow but takes
//! something now and then, or is at work, is waited for; one that takes nothing and shows nothing is not.
//! Keep-alives depend on time, so [`Traffic`] does not count them: bytes predicted stay equal to bytes
//! counted. Frames are put together from pieces as they come, so that memory follows what has come, never
//! what was announced.

use super::{Channel, ChannelError, FRAME_BYTES, Meter, Patience, Pulse, Tag, Traffic, Wait, expected};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Tag of a keep-alive; no [`Tag`] has it.
const KEEP_ALIVE: u8 = 0;
/// Most bytes that are read at once, and allocated ahead of what has come.
const PIECE: usize = 1 << 20;
/// Pieces that wait to be looked at; then nothing more is read.
const PIECES: usize = 8;
/// Frames that wait to be written; then a sender waits.
const WAITING: usize = 16;
/// Tag, step, length.
const HEADER: usize = 1 + 4 + 8;
const _: () = assert!(HEADER as u64 == FRAME_BYTES);

/// A connected stream socket.
pub trait Socket: Read + Write + Send + Sized + 'static {
    /// Another handle of the same connection.
    ///
    /// # Errors
    /// The system's.
    fn duplicate(&self) -> io::Result<Self>;

    /// Sends without delay, and limits how long a write may block.
    ///
    /// # Errors
    /// The system's, or if the limit is zero.
    fn prepare(&self, write: Duration) -> io::Result<()>;

    /// Ends the connection for all handles.
    fn hang_up(&self);
}

impl Socket for TcpStream {
    fn duplicate(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn prepare(&self, write: Duration) -> io::Result<()> {
        self.set_nodelay(true)?;
        self.set_read_timeout(None)?;
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

    fn prepare(&self, write: Duration) -> io::Result<()> {
        self.set_read_timeout(None)?;
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
    socket: S,
    patience: Patience,
    meter: Meter,
    pulse: Pulse,
    failed: bool,
    /// To the thread that writes; its end ends the thread, once all is written.
    outgoing: Option<SyncSender<Vec<u8>>>,
    /// Frames that it has still to write.
    waiting: Arc<AtomicUsize>,
    /// Hangs up when that thread has ended.
    written: Receiver<()>,
    /// Whether that thread ended because the other party took nothing for too long.
    stuck: Arc<AtomicBool>,
    /// From the thread that reads.
    incoming: Receiver<Vec<u8>>,
    /// The piece that is being looked at, and how much of it has been.
    piece: Vec<u8>,
    seen: usize,
}

/// What the thread that reads has seen, for the one that writes.
#[derive(Clone, Default)]
struct Heard {
    /// How often something came.
    reads: Arc<AtomicUsize>,
    /// Whether what came waits for this end to look at it: then nothing can be said of the other.
    behind: Arc<AtomicBool>,
}

/// The thread that writes.
struct Writer<S> {
    socket: S,
    patience: Patience,
    pulse: Pulse,
    heard: Heard,
    frames: Receiver<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

/// Why it stopped.
enum Stopped {
    /// Everything is written.
    Done,
    /// The connection broke.
    Broken,
    /// The other party took nothing for too long.
    Stuck,
}

impl<S: Socket> Writer<S> {
    fn run(mut self) -> Stopped {
        let mut beats = self.pulse.count();
        loop {
            let stopped = match self.frames.recv_timeout(self.patience.keep_alive) {
                Ok(frame) => {
                    let written = self.write(&frame);
                    self.waiting.fetch_sub(1, Ordering::AcqRel);
                    written
                }
                Err(RecvTimeoutError::Timeout) => {
                    let beat = self.pulse.count();
                    if std::mem::replace(&mut beats, beat) == beat {
                        continue;
                    }
                    self.write(&header(KEEP_ALIVE, 0, 0))
                }
                Err(RecvTimeoutError::Disconnected) => return Stopped::Done,
            };
            if let Err(stopped) = stopped {
                return stopped;
            }
        }
    }

    fn write(&mut self, mut frame: &[u8]) -> Result<(), Stopped> {
        let mut wait = Wait::new(self.patience, frame.len() as u64);
        let mut reads = self.heard.reads.load(Ordering::Acquire);
        let mut moved = Instant::now();
        while !frame.is_empty() {
            let given_up = match self.socket.write(frame) {
                Ok(0) => return Err(Stopped::Broken),
                Ok(n) => {
                    frame = &frame[n..];
                    moved = Instant::now();
                    wait.heard();
                    wait.late()
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => None,
                Err(e) if is_timeout(&e) => {
                    let read = self.heard.reads.load(Ordering::Acquire);
                    let heard = std::mem::replace(&mut reads, read) != read;
                    if heard || self.heard.behind.load(Ordering::Acquire) {
                        wait.heard();
                        // At work, but not for ever.
                        let limit = self.patience.work;
                        (moved.elapsed() > limit).then_some(limit)
                    } else {
                        wait.quiet()
                    }
                }
                Err(_) => return Err(Stopped::Broken),
            };
            if given_up.is_some() && !frame.is_empty() {
                return Err(Stopped::Stuck);
            }
        }
        Ok(())
    }
}

/// The thread that reads, until the connection ends or this end is dropped.
fn read_pieces<S: Socket>(mut socket: S, heard: &Heard, pieces: &SyncSender<Vec<u8>>) {
    let mut room = vec![0; PIECE];
    loop {
        let read = match socket.read(&mut room) {
            Ok(0) => return,
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::Interrupted || is_timeout(&e) => continue,
            Err(_) => return,
        };
        heard.reads.fetch_add(1, Ordering::AcqRel);
        heard.behind.store(true, Ordering::Release);
        let taken = pieces.send(room[..read].to_vec());
        heard.behind.store(false, Ordering::Release);
        if taken.is_err() {
            return;
        }
    }
}

impl<S: Socket> StreamChannel<S> {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// If the socket does not take the limits or cannot be duplicated, or no thread can be started.
    pub fn new(socket: S, patience: Patience) -> io::Result<Self> {
        socket.prepare(Wait::short(patience))?;
        let (reader, writer) = (socket.duplicate()?, socket.duplicate()?);
        let (outgoing, frames) = sync_channel::<Vec<u8>>(WAITING);
        let (pieces, incoming) = sync_channel(PIECES);
        let (ended, written) = sync_channel(0);
        let (stuck, waiting, pulse, heard) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), Pulse::default(), Heard::default());
        let seen = heard.clone();
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        thread("channel reader").spawn(move || read_pieces(reader, &seen, &pieces))?;
        let told = Arc::clone(&stuck);
        let writer = Writer {
            socket: writer,
            patience,
            pulse: pulse.clone(),
            heard,
            frames,
            waiting: Arc::clone(&waiting),
        };
        let spawned = thread("channel writer").spawn(move || {
            let _ended: SyncSender<()> = ended;
            told.store(matches!(writer.run(), Stopped::Stuck), Ordering::Release);
        });
        if let Err(e) = spawned {
            // Ends the thread that reads.
            socket.hang_up();
            return Err(e);
        }
        Ok(Self {
            socket,
            patience,
            meter: Meter::default(),
            pulse,
            failed: false,
            outgoing: Some(outgoing),
            waiting,
            written,
            stuck,
            incoming,
            piece: Vec::new(),
            seen: 0,
        })
    }

    /// Fills `bytes`, waiting as long as `wait` allows.
    fn fill(
        &mut self,
        mut bytes: &mut [u8],
        awaited: (u32, Tag),
        wait: &mut Wait,
    ) -> Result<(), ChannelError> {
        while !bytes.is_empty() {
            if self.seen == self.piece.len() {
                self.next_piece(awaited, wait)?;
                continue;
            }
            let ready = &self.piece[self.seen..];
            let n = ready.len().min(bytes.len());
            let (filled, rest) = bytes.split_at_mut(n);
            filled.copy_from_slice(&ready[..n]);
            self.seen += n;
            bytes = rest;
        }
        Ok(())
    }

    fn next_piece(&mut self, (step, tag): (u32, Tag), wait: &mut Wait) -> Result<(), ChannelError> {
        let given_up = match self.incoming.recv_timeout(Wait::short(self.patience)) {
            Ok(piece) => {
                (self.piece, self.seen) = (piece, 0);
                wait.heard();
                wait.late()
            }
            Err(RecvTimeoutError::Timeout) => wait.quiet(),
            Err(RecvTimeoutError::Disconnected) => return Err(ChannelError::Gone { step, tag }),
        };
        given_up.map_or(Ok(()), |waited| Err(ChannelError::Silent { step, tag, waited }))
    }
}

impl<S: Socket> Drop for StreamChannel<S> {
    fn drop(&mut self) {
        self.outgoing = None;
        // A keep-alive that the other party does not take is not waited for.
        if !self.failed && self.waiting.load(Ordering::Acquire) > 0 {
            // Either the thread has ended, or the other party takes too long.
            self.written.recv_timeout(self.patience.silence).ok();
        }
        self.socket.hang_up();
    }
}

impl<S: Socket> Channel for StreamChannel<S> {
    fn send(&mut self, step: u32, tag: Tag, payload: &[u8]) -> Result<(), ChannelError> {
        self.pulse.beat();
        let header = header(tag.byte(), step, payload.len() as u64);
        let frame = [&header[..], payload].concat();
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let taken = self.outgoing.as_ref().is_some_and(|outgoing| outgoing.send(frame).is_ok());
        if !taken {
            self.failed = true;
            // The thread that writes says why before it ends.
            self.written.recv().ok();
            let waited = self.patience.silence;
            return Err(match self.stuck.load(Ordering::Acquire) {
                true => ChannelError::Silent { step, tag, waited },
                false => ChannelError::Gone { step, tag },
            });
        }
        self.meter.sent(tag, payload.len());
        Ok(())
    }

    fn receive(&mut self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError> {
        self.pulse.beat();
        let message = self.message(step, tag, limit);
        self.failed |= message.is_err();
        message
    }

    fn traffic(&self) -> Traffic {
        self.meter.traffic
    }

    fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }
}

impl<S: Socket> StreamChannel<S> {
    fn message(&mut self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError> {
        let awaited = (step, tag);
        let mut wait = Wait::new(self.patience, 0);
        let (found_tag, found_step, length) = loop {
            let mut header = [0; HEADER];
            self.fill(&mut header, awaited, &mut wait)?;
            let frame = read_header(header);
            if frame != (KEEP_ALIVE, 0, 0) {
                break frame;
            }
        };
        let found = usize::try_from(length).unwrap_or(usize::MAX);
        expected((found_tag, found_step, found), step, tag, limit)?;
        // What has begun must come on the whole, however many signs of life there are.
        let coming = Patience { work: self.patience.silence, ..self.patience };
        let mut wait = Wait::new(coming, length);
        let mut payload = Vec::new();
        while payload.len() < found {
            let have = payload.len();
            payload.resize(found.min(have + PIECE), 0);
            self.fill(&mut payload[have..], awaited, &mut wait)?;
        }
        self.meter.received(tag, found);
        Ok(payload)
    }
}

/// How systems say that a write took longer than its limit.
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
