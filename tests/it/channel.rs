//! Channels over sockets: the same conversation as in memory, keep-alives, and peers that misbehave.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stria::channel::{Channel, ChannelError, InMemory, Patience, StreamChannel, Tag};
use stria::mpc::ot::OtSetup;

const STEP: u32 = 3;
const KEEP_ALIVE: [u8; 13] = [0; 13];

/// Both ends of a connection over loopback.
fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn milliseconds(silence: u64, work: u64, keep_alive: u64) -> Patience {
    let [silence, work, keep_alive] = [silence, work, keep_alive].map(Duration::from_millis);
    Patience { silence, work, keep_alive }
}

/// One end as a channel with these limits, the other bare.
fn against(patience: Patience) -> (StreamChannel<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (StreamChannel::new(ours, patience).unwrap(), theirs)
}

fn frame(tag: u8, step: u32, length: u64, payload: &[u8]) -> Vec<u8> {
    [&[tag][..], &step.to_le_bytes(), &length.to_le_bytes(), payload].concat()
}

/// Both parties' traffic and what the client learned in a conversation of several messages and transfers.
fn conversation<C: Channel + 'static>((mut client, mut server): (C, C)) -> impl PartialEq + std::fmt::Debug {
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let asked = server.receive(STEP, Tag::Input, 3_000_000).unwrap();
            server.send(STEP, Tag::Reply, &asked[1..]).unwrap();
            server.send(STEP, Tag::Reply, &[]).unwrap();
            let mut ots = OtSetup::insecure_server(1, &mut server, STEP).unwrap();
            let sent = ots.send_bits(&mut server, STEP, 100_000).unwrap();
            (server.traffic(), sent)
        });
        let question: Vec<u8> = (0..3_000_000u32).map(|i| i.to_le_bytes()[0]).collect();
        client.send(STEP, Tag::Input, &question).unwrap();
        assert_eq!(client.receive(STEP, Tag::Reply, 3_000_000).unwrap(), question[1..]);
        assert!(client.receive(STEP, Tag::Reply, 0).unwrap().is_empty());
        let mut ots = OtSetup::insecure_client(2, &mut client, STEP).unwrap();
        let got = ots.receive_bits(&mut client, STEP, 100_000).unwrap();
        let (server, sent) = server.join().unwrap();
        // The same whatever carries it, so words and not only lengths.
        ([client.traffic(), server], [sent.zero.words, sent.one.words, got.choice.words, got.got.words])
    })
}

#[test]
fn sockets_carry_what_memory_does_and_count_the_same() {
    let patience = Patience::default();
    let expected = conversation(InMemory::pair());
    let (client, server) = tcp();
    let both = (StreamChannel::new(client, patience).unwrap(), StreamChannel::new(server, patience).unwrap());
    assert_eq!(format!("{:?}", conversation(both)), format!("{expected:?}"));
    let (client, server) = UnixStream::pair().unwrap();
    // Keep-alives all the time change nothing.
    let patience = Patience { keep_alive: Duration::from_micros(50), ..patience };
    let both = (StreamChannel::new(client, patience).unwrap(), StreamChannel::new(server, patience).unwrap());
    assert_eq!(format!("{:?}", conversation(both)), format!("{expected:?}"));
}

/// Only while the party at this end is at work: a process with a stuck thread is not kept for a party.
#[test]
fn keep_alives_are_sent_while_the_pulse_beats() {
    let (channel, mut peer) = against(milliseconds(1000, 1000, 1));
    let pulse = channel.pulse();
    let mut seen = [1; 39];
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                pulse.beat();
                std::thread::yield_now();
            }
        });
        peer.read_exact(&mut seen).unwrap();
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(seen, [0; 39]);
    assert_eq!(channel.traffic(), stria::channel::Traffic::default());
    // What was beaten is shown once more at most; then the peer waits in vain.
    peer.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut more = 0;
    while peer.read_exact(&mut [0; 13]).is_ok() {
        more += 1;
    }
    assert!(more <= 2, "{more}");
}

#[test]
fn keep_alives_are_skipped_and_not_counted() {
    let (mut channel, mut peer) = against(Patience::default());
    let message = frame(5, STEP, 2, b"ok");
    peer.write_all(&[&KEEP_ALIVE[..], &KEEP_ALIVE, &message, &KEEP_ALIVE].concat()).unwrap();
    assert_eq!(channel.receive(STEP, Tag::Output, 2).unwrap(), b"ok");
    assert_eq!(channel.traffic().received, 15);
}

#[test]
fn silence_and_work_have_their_limits() {
    let tag = Tag::Reply;
    let (mut channel, peer) = against(milliseconds(20, 60_000, 60_000));
    let waited = Duration::from_millis(20);
    assert_eq!(channel.receive(STEP, tag, 9), Err(ChannelError::Silent { step: STEP, tag, waited }));
    drop(peer);

    let (mut channel, mut peer) = against(milliseconds(60_000, 20, 60_000));
    std::thread::scope(|scope| {
        scope.spawn(move || while peer.write_all(&KEEP_ALIVE).is_ok() {});
        assert_eq!(channel.receive(STEP, tag, 9), Err(ChannelError::Silent { step: STEP, tag, waited }));
        drop(channel);
    });

    // A peer that does not read.
    let (mut channel, _peer) = against(milliseconds(20, 60_000, 60_000));
    let sent = (0..100).try_for_each(|_| channel.send(STEP, tag, &vec![0; 1 << 20]));
    assert_eq!(sent, Err(ChannelError::Silent { step: STEP, tag, waited }));

    // One that shows that it is at work, but never reads.
    let (mut channel, mut peer) = against(milliseconds(20, 100, 60_000));
    std::thread::scope(|scope| {
        scope.spawn(move || while peer.write_all(&KEEP_ALIVE).is_ok() {});
        let sent = (0..100).try_for_each(|_| channel.send(STEP, tag, &vec![0; 1 << 20]));
        assert!(matches!(sent, Err(ChannelError::Silent { .. })), "{sent:?}");
        drop(channel);
    });
}

/// Reads a little now and then, or shows for long that it is at work and then reads: both for longer than the
/// silence that is put up with.
#[test]
fn a_slow_but_living_reader_is_not_cut_off() {
    let much = vec![7; 3 << 18];
    let silence = Duration::from_millis(100);
    let pass = |until: Duration| {
        let begun = Instant::now();
        while begun.elapsed() < until {
            std::thread::yield_now();
        }
    };
    for at_work in [false, true] {
        let (mut channel, mut peer) = against(milliseconds(100, 60_000, 60_000));
        let expected = frame(3, STEP, much.len() as u64, &much);
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let begun = Instant::now();
                while at_work && begun.elapsed() < 4 * silence {
                    peer.write_all(&KEEP_ALIVE).unwrap();
                    pass(silence / 10);
                }
                let mut seen: Vec<u8> = Vec::new();
                let mut room = [0; 1 << 14];
                while seen.len() < expected.len() {
                    let n = peer.read(&mut room).unwrap();
                    assert!(n > 0, "cut off after {} bytes", seen.len());
                    seen.extend(&room[..n]);
                    pass(silence / 10);
                }
                assert!(begun.elapsed() > 3 * silence);
                (seen == expected, peer)
            });
            channel.send(STEP, Tag::Reply, &much).unwrap();
            let (same, _peer) = reader.join().unwrap();
            assert!(same);
        });
    }
}

/// In memory as over sockets: an end whose thread does nothing, one at work, one that takes nothing.
#[test]
fn silence_in_memory_has_its_limit() {
    let patience = milliseconds(50, 60_000, 60_000);
    let (step, tag, waited) = (STEP, Tag::Reply, patience.silence);
    let (mut a, b) = InMemory::patient(patience);
    assert_eq!(a.receive(step, tag, 9), Err(ChannelError::Silent { step, tag, waited }));
    let sent = (0..1000).try_for_each(|_| a.send(step, tag, &[]));
    assert_eq!(sent, Err(ChannelError::Silent { step, tag, waited }));
    drop(b);
    assert_eq!(a.receive(step, tag, 9), Err(ChannelError::Gone { step, tag }));

    let (mut a, mut b) = InMemory::patient(patience);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (begun, pulse) = (Instant::now(), b.pulse());
            while begun.elapsed() < 4 * waited {
                pulse.beat();
                std::thread::yield_now();
            }
            b.send(step, tag, b"done").unwrap();
        });
        assert_eq!(a.receive(step, tag, 9).unwrap(), b"done");
    });

    let (mut a, b) = InMemory::patient(milliseconds(50, 200, 60_000));
    let pulse = b.pulse();
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                pulse.beat();
                std::thread::yield_now();
            }
        });
        let waited = Duration::from_millis(200);
        assert_eq!(a.receive(step, tag, 9), Err(ChannelError::Silent { step, tag, waited }));
        done.store(true, Ordering::Relaxed);
    });
}

/// Steps on shares have both parties send before they receive, however much.
#[test]
fn both_ends_may_send_much_at_once() {
    let much = vec![7; 1 << 24];
    let talk = |mut channel: StreamChannel<UnixStream>| {
        channel.send(STEP, Tag::NonLinear, &much).unwrap();
        assert!(channel.receive(STEP, Tag::NonLinear, much.len()).unwrap() == much);
    };
    let (a, b) = UnixStream::pair().unwrap();
    let [a, b] = [a, b].map(|socket| StreamChannel::new(socket, Patience::default()).unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || talk(a));
        talk(b);
    });
}

#[test]
fn rubbish_is_named() {
    let tag = Tag::Reply;
    let receive = |bytes: &[u8]| {
        let (mut channel, mut peer) = against(Patience::default());
        peer.write_all(bytes).unwrap();
        drop(peer);
        channel.receive(STEP, tag, 10)
    };
    let out_of_turn =
        |found_tag, found_step| Err(ChannelError::OutOfTurn { step: STEP, tag, found_tag, found_step });
    assert_eq!(receive(&frame(3, STEP, 2, b"ok")), Ok(b"ok".to_vec()));
    assert_eq!(receive(&frame(99, STEP, 2, b"ok")), out_of_turn(99, STEP));
    assert_eq!(receive(&frame(3, 4, 2, b"ok")), out_of_turn(3, 4));
    assert_eq!(receive(&frame(0, 0, 2, b"ok")), out_of_turn(0, 0));
    let found = usize::MAX;
    let too_long = Err(ChannelError::TooLong { step: STEP, tag, found, limit: 10 });
    assert_eq!(receive(&frame(3, STEP, u64::MAX, &[])), too_long);
    let whole = frame(3, STEP, 9, b"truncated");
    for cut in 0..whole.len() {
        assert_eq!(receive(&whole[..cut]), Err(ChannelError::Gone { step: STEP, tag }), "after {cut} bytes");
    }
}

#[test]
fn dropping_an_end_hangs_up() {
    let (client, server) = tcp();
    let mut client = StreamChannel::new(client, Patience::default()).unwrap();
    let mut server = StreamChannel::new(server, Patience::default()).unwrap();
    client.send(STEP, Tag::Input, b"last").unwrap();
    drop(client);
    assert_eq!(server.receive(STEP, Tag::Input, 4).unwrap(), b"last");
    let gone = ChannelError::Gone { step: STEP, tag: Tag::Input };
    assert_eq!(server.receive(STEP, Tag::Input, 4), Err(gone));
}
