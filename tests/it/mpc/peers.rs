//! A party that does not keep to the protocol is named, and nothing panics.

use super::harness::modulus;
use stria::channel::{Channel, ChannelError, InMemory, Pulse, Tag, Traffic};
use stria::graph::{Interval, Requant};
use stria::mpc::ot::OtSetup;
use stria::mpc::{Function, Material, MpcError, Role, Step};

const T: u64 = 786_433;

fn step(function: Function) -> Step {
    Step { id: 5, values: 130, function }
}

fn clamp() -> Function {
    let (from, to) = (modulus(T), modulus(T));
    let requant = Requant { shift: 5, lo: 0, hi: 127 };
    Function::Requant { from, to, requant, range: Interval { lo: -390_000, hi: 390_000 } }
}

fn materials(step: &Step) -> [Material; 2] {
    let (mut client_ots, mut server_ots) = OtSetup::insecure_pair(1);
    let (mut client_end, mut server_end) = InMemory::pair();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| step.prepare(Role::Server, &mut server_ots, &mut server_end).unwrap());
        [step.prepare(Role::Client, &mut client_ots, &mut client_end).unwrap(), server.join().unwrap()]
    })
}

/// Changes each message `at` that its party sends.
struct Meddling<F> {
    inner: InMemory,
    at: usize,
    change: F,
}

impl<F: FnMut(&mut Vec<u8>) + Send> Channel for Meddling<F> {
    fn send(&mut self, step: u32, tag: Tag, payload: &[u8]) -> Result<(), ChannelError> {
        let mut payload = payload.to_vec();
        if self.at == 0 {
            (self.change)(&mut payload);
        }
        self.at = self.at.wrapping_sub(1);
        self.inner.send(step, tag, &payload)
    }

    fn receive(&mut self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError> {
        self.inner.receive(step, tag, limit)
    }

    fn traffic(&self) -> Traffic {
        self.inner.traffic()
    }

    fn pulse(&self) -> Pulse {
        self.inner.pulse()
    }
}

/// What the client makes of a server whose message `at` is changed.
fn client_of(step: &Step, at: usize, change: impl FnMut(&mut Vec<u8>) + Send) -> Result<Vec<u64>, MpcError> {
    let [client, server] = materials(step);
    let (mut client_end, inner) = InMemory::pair();
    let share = vec![1; step.values];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut channel = Meddling { inner, at, change };
            // Whatever the server makes of a client that has gone away.
            step.run(Role::Server, &mut channel, server, &share).ok();
        });
        let result = step.run(Role::Client, &mut client_end, client, &share);
        drop(client_end);
        result
    })
}

#[test]
fn messages_of_another_length_are_named_at_every_round() {
    let step = step(clamp());
    let rounds = usize::try_from(step.cost().unwrap().rounds).unwrap();
    for at in 0..rounds {
        let short = client_of(&step, at, |message| message.truncate(message.len() - 1));
        assert!(matches!(short, Err(MpcError::Length { step: 5, .. })), "{short:?}");
        let long = client_of(&step, at, |message| message.push(0));
        assert!(matches!(long, Err(MpcError::Channel(ChannelError::TooLong { step: 5, .. }))), "{long:?}");
    }
    assert!(client_of(&step, rounds, |_| ()).is_ok());
}

#[test]
fn rubbish_gives_an_error_or_a_wrong_result() {
    for function in
        [clamp(), Function::Relu { modulus: modulus(T) }, Function::ArgMax { modulus: modulus(T) }]
    {
        let step = step(function);
        let rounds = usize::try_from(step.cost().unwrap().rounds).unwrap();
        for at in 0..rounds {
            for fill in [0, 0xff, 0x5a] {
                match client_of(&step, at, |message| message.fill(fill)) {
                    Ok(result) => assert!(result.iter().all(|&v| v < T)),
                    Err(MpcError::Residue { step: 5, .. }) => (),
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
    let step = step(Function::Relu { modulus: modulus(T) });
    let rounds = usize::try_from(step.cost().unwrap().rounds).unwrap();
    let ones = client_of(&step, rounds - 1, |message| message.fill(0xff));
    assert!(matches!(ones, Err(MpcError::Residue { step: 5, modulus: T, .. })), "{ones:?}");
}

#[test]
fn a_server_that_goes_away_is_named() {
    let step = step(clamp());
    let [client, _] = materials(&step);
    let (mut client_end, server_end) = InMemory::pair();
    drop(server_end);
    let result = step.run(Role::Client, &mut client_end, client, &[1; 130]);
    assert_eq!(result, Err(MpcError::Channel(ChannelError::Gone { step: 5, tag: Tag::NonLinear })));
}

#[test]
fn shares_and_material_of_another_step_are_refused() {
    let relu = step(Function::Relu { modulus: modulus(T) });
    let run = |step: &Step, material: Material, share: &[u64]| {
        let (mut end, _other) = InMemory::pair();
        step.run(Role::Client, &mut end, material, share)
    };
    let [client, server] = materials(&relu);
    assert!(matches!(run(&relu, client, &[0; 129]), Err(MpcError::Shares { step: 5, .. })));
    assert!(matches!(run(&relu, server, &[T; 130]), Err(MpcError::Shares { step: 5, .. })));
    let [client, server] = materials(&Step { id: 6, ..relu.clone() });
    assert_eq!(run(&relu, client, &[0; 130]), Err(MpcError::Material(5)));
    assert_eq!(run(&Step { id: 6, ..step(clamp()) }, server, &[0; 130]), Err(MpcError::Material(6)));
}
