//! A peer that sends rubbish, stops or disappears: the other ends with an error that names the step.

use super::service;
use crate::random::{small_ring, small_ring_of};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::channel::{Patience, Pulse, StreamChannel};
use stria::compiled::Compiled;
use stria::graph::evaluate;
use stria::lower::galois_steps;
use stria::mpc::ot::OtSetup;
use stria::protocol::{
    Activations, Answer, Channel, ChannelError, Choices, Client, InMemory, NonLinear, NonLinearError,
    PartyError, Reveal, RevealClient, RevealServer, Role, Server, Tag, Traffic, TwoParty,
};
use stria::tensor::Tensor;

/// What a bad peer does to the message it is about to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    HangUp,
    /// Keeps the connection and says nothing more.
    Stop,
    /// Keeps the connection and stops where it should take a message.
    StopTaking,
    Truncate,
    Extend,
    Ones,
    WrongStep,
    WrongTag,
}

/// A channel whose `at`-th message, sent or taken, is spoilt. One that stops is kept until the end in the last
/// field.
struct Faulty<'k, C> {
    inner: Option<C>,
    fault: Fault,
    at: usize,
    sent: usize,
    taken: usize,
    kept: &'k Mutex<Vec<C>>,
}

impl<C: Channel> Faulty<'_, C> {
    fn open(&mut self, step: u32, tag: Tag) -> Result<&mut C, ChannelError> {
        self.inner.as_mut().ok_or(ChannelError::Gone { step, tag })
    }
}

impl<C: Channel> Channel for Faulty<'_, C> {
    fn send(&mut self, step: u32, tag: Tag, payload: &[u8]) -> Result<(), ChannelError> {
        self.sent += 1;
        if self.sent - 1 != self.at {
            return self.open(step, tag)?.send(step, tag, payload);
        }
        let mut spoilt = payload.to_vec();
        match self.fault {
            Fault::HangUp => drop(self.inner.take()),
            Fault::Stop => self.kept.lock().unwrap().extend(self.inner.take()),
            Fault::StopTaking => {}
            Fault::Truncate => drop(spoilt.pop()),
            Fault::Extend => spoilt.extend([0; 100]),
            Fault::Ones => spoilt.fill(0xff),
            Fault::WrongStep => return self.open(step, tag)?.send(step + 1, tag, payload),
            Fault::WrongTag => {
                let other = if tag == Tag::Input { Tag::NonLinear } else { Tag::Input };
                return self.open(step, tag)?.send(step, other, payload);
            }
        }
        self.open(step, tag)?.send(step, tag, &spoilt)
    }

    fn receive(&mut self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError> {
        self.taken += 1;
        if (self.fault, self.taken - 1) == (Fault::StopTaking, self.at) {
            self.kept.lock().unwrap().extend(self.inner.take());
        }
        self.open(step, tag)?.receive(step, tag, limit)
    }

    fn traffic(&self) -> Traffic {
        self.inner.as_ref().map(Channel::traffic).unwrap_or_default()
    }

    fn pulse(&self) -> Pulse {
        self.inner.as_ref().map(Channel::pulse).unwrap_or_default()
    }
}

/// Counts the messages of an end.
struct Counted<'a>(InMemory, &'a AtomicUsize);

impl Channel for Counted<'_> {
    fn send(&mut self, step: u32, tag: Tag, payload: &[u8]) -> Result<(), ChannelError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.send(step, tag, payload)
    }

    fn receive(&mut self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError> {
        self.0.receive(step, tag, limit)
    }

    fn traffic(&self) -> Traffic {
        self.0.traffic()
    }

    fn pulse(&self) -> Pulse {
        self.0.pulse()
    }
}

/// Both halves of the non-linear steps; transfers are dealt, for setting them up takes longer than all else.
fn halves(activations: Activations) -> [Box<dyn NonLinear>; 2] {
    match activations {
        Activations::Revealed => [Box::new(RevealClient), Box::new(RevealServer)],
        Activations::TwoParty => {
            let (client, server) = OtSetup::insecure_pair(1);
            [Box::new(TwoParty::with(Role::Client, client)), Box::new(TwoParty::with(Role::Server, server))]
        }
    }
}

/// A network and one image, an answer to be told, and how activations are computed.
struct Case {
    compiled: Compiled,
    image: Tensor<i64>,
    activations: Activations,
    reveal: Reveal,
}

impl Case {
    fn revealed() -> Self {
        let (compiled, images) = small_ring(3);
        let image = images[0].clone();
        Self { compiled, image, activations: Activations::Revealed, reveal: Reveal::Logits }
    }

    fn two_party(reveal: Reveal) -> Self {
        let text = "model tiny {
    ring: 4096
    weights: random(1)
    input image: tensor[1, 4, 4] { mean: 0.4, std: 0.3 }
    let x = conv(image, out: 2, kernel: 3x3, pad: same) |> relu |> max_pool(kernel: 2x2)
    output flatten(x) |> linear(out: 3)
}";
        let (compiled, images) = small_ring_of(text.into(), 2);
        let image = images[0].clone();
        Self { compiled, image, activations: Activations::TwoParty, reveal }
    }

    /// Both roles over the given ends; an end is dropped when its party is done.
    fn converse(
        &self,
        mut client_end: impl Channel,
        mut server_end: impl Channel,
    ) -> (Result<Answer, PartyError>, Result<(), PartyError>) {
        let Self { compiled, image, reveal, activations } = self;
        let choices = Choices { reveal: *reveal, activations: *activations, ..Choices::default() };
        let weights = compiled.weights.as_ref().unwrap();
        let steps = galois_steps(&compiled.circuit.segments);
        let (Compiled { network, plan, .. }, params, steps) = (compiled, compiled.sets(), steps.as_slice());
        let [mut client_half, mut server_half] = halves(self.activations);
        std::thread::scope(|scope| {
            let server = scope.spawn(move || -> Result<(), PartyError> {
                let service = service(compiled, weights);
                let server =
                    Server::<ClearEvaluator>::accept(service, steps.len(), choices, &mut server_end)?;
                let prepared = server.prepare(&mut server_end, &mut *server_half)?;
                server.serve(&mut server_end, &mut *server_half, prepared, &|_| {}).map(drop)
            });
            let client = scope.spawn(move || {
                let connect = Client::<ClearKeys>::connect;
                let client = connect(network, plan, params, steps, choices, &mut client_end)?;
                let prepared = client.prepare(&mut client_end, &mut *client_half)?;
                let answered = client.infer(image, &mut client_end, &mut *client_half, prepared);
                answered.map(|answered| answered.answer)
            });
            (client.join().expect("no panic"), server.join().expect("no panic"))
        })
    }

    /// How many messages either party sends, if both are honest.
    fn messages(&self) -> [usize; 2] {
        let messages = [const { AtomicUsize::new(0) }; 2];
        let (a, b) = InMemory::pair();
        let (honest, _) = self.converse(Counted(a, &messages[0]), Counted(b, &messages[1]));
        let weights = self.compiled.weights.as_ref().unwrap();
        let expected = evaluate(&self.compiled.network, weights, &self.image).unwrap();
        assert_eq!(honest.unwrap().label(), Answer::Logits(expected).label());
        messages.map(AtomicUsize::into_inner)
    }

    /// What the honest party makes of a peer that spoils its message `at`, over the given pair of ends.
    fn against<C: Channel>(
        &self,
        bad: Role,
        (fault, at): (Fault, usize),
        (client_end, server_end): (C, C),
    ) -> Result<(), PartyError> {
        let kept = Mutex::new(Vec::new());
        let spoil = |inner| Faulty { inner: Some(inner), fault, at, sent: 0, taken: 0, kept: &kept };
        match bad {
            Role::Client => self.converse(spoil(client_end), server_end).1,
            Role::Server => self.converse(client_end, spoil(server_end)).0.map(drop),
        }
    }
}

/// The error says what happened, and at which step.
fn named(error: &PartyError, fault: Fault) {
    let cause = error.cause();
    let reason = if let PartyError::Channel(e) | PartyError::NonLinear(NonLinearError::Channel(e)) = cause {
        Some(e)
    } else {
        assert!(!matches!(cause, PartyError::Graph(_) | PartyError::Thread(_)), "{fault:?} gave {error}");
        None
    };
    let fits = match fault {
        Fault::HangUp => error.is_gone(),
        Fault::Stop => matches!(reason, Some(ChannelError::Silent { .. })),
        // It goes on sending until it is silence that it meets itself: which of the two gives up first is open.
        Fault::StopTaking => matches!(reason, Some(ChannelError::Silent { .. })) || error.is_gone(),
        Fault::WrongStep | Fault::WrongTag => matches!(reason, Some(ChannelError::OutOfTurn { .. })),
        Fault::Truncate | Fault::Extend | Fault::Ones => true,
    };
    assert!(fits, "{fault:?} gave {error}");
    assert!(reason.is_none() || error.to_string().contains("step"), "{error}");
}

/// Every message of either party, spoilt in every way: both parties end, neither panics, and the honest one
/// takes no wrong result for a right one without an error unless the message was well formed.
#[test]
fn a_peer_that_does_not_keep_to_the_protocol_is_refused() {
    use Fault::{Extend, HangUp, Ones, Truncate, WrongStep, WrongTag};
    for case in [Case::revealed(), Case::two_party(Reveal::Logits), Case::two_party(Reveal::Label)] {
        let messages = case.messages();
        for (bad, messages) in [Role::Client, Role::Server].into_iter().zip(messages) {
            assert!(messages >= 3);
            for fault in [HangUp, Truncate, Extend, Ones, WrongStep, WrongTag] {
                for at in 0..messages {
                    match case.against(bad, (fault, at), InMemory::pair()) {
                        Err(e) => named(&e, fault),
                        // All bits are shares of something.
                        Ok(()) => assert!(
                            fault == Ones && case.activations == Activations::TwoParty,
                            "{fault:?} at message {at} of {messages} of the {bad:?} was taken"
                        ),
                    }
                }
            }
        }
    }
}

/// A peer that stops or hangs up at any message that it should send or take, in memory and over sockets: named,
/// within the patience. Its process lives on, keep-alives and all.
#[test]
fn a_peer_that_stops_or_dies_at_any_step_is_named() {
    use Fault::{HangUp, Stop, StopTaking};
    let case = &Case::two_party(Reveal::Label);
    let patience = |fault| {
        // A lost peer is told from a silent one however long one would wait; it is not if a busy machine gives a
        // thread no turn within a short patience.
        let silence = Duration::from_millis(if fault == HangUp { 20_000 } else { 1500 });
        Patience { silence, work: silence * 100, keep_alive: Duration::from_millis(300) }
    };
    let [client, server] = case.messages();
    let mut jobs = Vec::new();
    for (bad, sent, taken) in [(Role::Client, client, server), (Role::Server, server, client)] {
        // Whether the client takes what is sent after its last message is not the server's concern: the other
        // half of the last exchange, and the label.
        let taken = if bad == Role::Client { taken - 2 } else { taken };
        jobs.extend((0..sent).flat_map(|at| [(bad, Stop, at), (bad, HangUp, at)]));
        jobs.extend((0..taken).map(|at| (bad, StopTaking, at)));
    }
    let jobs: Vec<_> = jobs.into_iter().flat_map(|job| [(job, false), (job, true)]).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(&((bad, fault, at), socket)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let started = Instant::now();
                    let result = if socket {
                        let (a, b) = UnixStream::pair().unwrap();
                        let [a, b] =
                            [a, b].map(|socket| StreamChannel::new(socket, patience(fault)).unwrap());
                        case.against(bad, (fault, at), (a, b))
                    } else {
                        case.against(bad, (fault, at), InMemory::patient(patience(fault)))
                    };
                    let error = result.expect_err("the peer was lost");
                    named(&error, fault);
                    assert!(
                        started.elapsed() < Duration::from_secs(30),
                        "{fault:?} at message {at}: {error}"
                    );
                }
            });
        }
    });
}
