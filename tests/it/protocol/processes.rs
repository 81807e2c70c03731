//! Both roles in processes of their own, over a loopback socket, each with its own files and nothing else.
//!
//! The test binary starts itself: with [`ROLE`] set, the test [`party`] is a party and not a test.

use super::service;
use crate::examples::{compiled, images};
use crate::random::{self, stages_of};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use stria::backend::bfv::{BfvEvaluator, BfvKeys};
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::channel::{Patience, Pulse, StreamChannel};
use stria::compile::{Options, Stages};
use stria::compiled::Compiled;
use stria::graph::{NodeId, evaluate, quantise_input};
use stria::lower::galois_steps;
use stria::params::{Encoding, plain_prime};
use stria::protocol::{
    Channel, ChannelError, Choices, PartyError, Session, Tag, Traffic, infer_all, serve_all,
};
use stria::select::Encodings;
use stria::tensor::Tensor;

const ROLE: &str = "STRIA_TEST_ROLE";
const FILES: &str = "STRIA_TEST_FILES";
const PORT: &str = "STRIA_TEST_PORT";
const BACKEND: &str = "STRIA_TEST_BACKEND";
/// After how many messages a party ends its process.
const DIES: &str = "STRIA_TEST_DIES";
/// Whether what it sent before is delivered first.
const DELIVERS: &str = "STRIA_TEST_DELIVERS";

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Ends the process in place of a message.
struct Mortal<C>(Option<C>, usize);

impl<C: Channel> Mortal<C> {
    fn open(&mut self, step: u32, tag: Tag) -> Result<&mut C, ChannelError> {
        self.0.as_mut().ok_or(ChannelError::Gone { step, tag })
    }
}

impl<C: Channel> Channel for Mortal<C> {
    fn send(&mut self, step: u32, tag: Tag, payload: &[u8]) -> Result<(), ChannelError> {
        if self.1 == 0 {
            if setting(DELIVERS) == "1" {
                drop(self.0.take());
            }
            std::process::exit(7);
        }
        self.1 -= 1;
        self.open(step, tag)?.send(step, tag, payload)
    }

    fn receive(&mut self, step: u32, tag: Tag, limit: usize) -> Result<Vec<u8>, ChannelError> {
        self.open(step, tag)?.receive(step, tag, limit)
    }

    fn traffic(&self) -> Traffic {
        self.0.as_ref().map(Channel::traffic).unwrap_or_default()
    }

    fn pulse(&self) -> Pulse {
        self.0.as_ref().map(Channel::pulse).unwrap_or_default()
    }
}

/// A party, in a process that was started as one.
#[test]
fn party() {
    let folder = setting(FILES);
    let read = |name: &str| std::fs::read(Path::new(&folder).join(name)).unwrap();
    match setting(ROLE).as_str() {
        "server" => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            say(&format!("PORT {}", listener.local_addr().unwrap().port()));
            let mut channel = channel(listener.accept().unwrap().0);
            let compiled = Compiled::from_bytes(&read("model.striac")).unwrap();
            assert!(!Path::new(&folder).join("image").exists());
            report(serve(&compiled, &mut channel).map(|()| "served".into()));
        }
        "client" => {
            let mut channel =
                channel(TcpStream::connect(("127.0.0.1", setting(PORT).parse().unwrap())).unwrap());
            let compiled = Compiled::from_bytes(&read("model.striac")).unwrap();
            assert!(compiled.weights.is_none());
            let pixels: Vec<i64> = postcard::from_bytes(&read("image")).unwrap();
            let shape = compiled.network.graph.node(NodeId(0)).shape.clone();
            let image = Tensor::new(shape, pixels).unwrap();
            let session = infer(&compiled, &image, &mut channel);
            report(
                session.map(|session| format!("{:?}", session.inferences[0].answer.logits().unwrap().data)),
            );
        }
        _ => (),
    }
}

fn channel(socket: TcpStream) -> Mortal<StreamChannel<TcpStream>> {
    let channel = StreamChannel::new(socket, Patience::default()).unwrap();
    Mortal(Some(channel), setting(DIES).parse().unwrap_or(usize::MAX))
}

fn report(result: Result<String, PartyError>) {
    match result {
        Ok(result) => say(&format!("RESULT {result}")),
        Err(e) => say(&format!("ERROR {e}")),
    }
}

/// To whoever started this process, on a line of its own.
fn say(words: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\n{words}").unwrap();
}

fn serve(compiled: &Compiled, channel: &mut dyn Channel) -> Result<(), PartyError> {
    let service = service(compiled, compiled.weights.as_ref().unwrap());
    let serve = match setting(BACKEND).as_str() {
        "bfv" => serve_all::<BfvEvaluator>,
        _ => serve_all::<ClearEvaluator>,
    };
    serve(service, Choices::default(), 1, channel, &|_| {}).map(drop)
}

fn infer(compiled: &Compiled, image: &Tensor<i64>, channel: &mut dyn Channel) -> Result<Session, PartyError> {
    let infer = match setting(BACKEND).as_str() {
        "bfv" => infer_all::<BfvKeys>,
        _ => infer_all::<ClearKeys>,
    };
    let public = (&compiled.network, &compiled.plan, compiled.sets());
    let steps = galois_steps(&compiled.circuit.segments);
    infer(public, steps.as_slice(), Choices::default(), std::slice::from_ref(image), channel, &|_| {})
}

/// Starts this binary as a party.
fn start(role: &str, folder: &Path, backend: &str, extra: &[(&str, String)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["protocol::processes::party", "--exact", "--nocapture"])
        .env(ROLE, role)
        .env(FILES, folder)
        .env(BACKEND, backend)
        .envs(extra.iter().map(|(name, value)| (*name, value.as_str())))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The rest of the line that starts with `word`.
fn line(output: impl Read, word: &str) -> Option<(String, BufReader<impl Read>)> {
    let mut output = BufReader::new(output);
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        if let Some(rest) = line.strip_prefix(word) {
            return Some((rest.trim().into(), output));
        }
        line.clear();
    }
    None
}

/// Files of both parties for one image.
struct Setting {
    server: tempfile::TempDir,
    client: tempfile::TempDir,
    expected: String,
}

impl Setting {
    fn new(compiled: &Compiled, image: &Tensor<i64>) -> Self {
        let (server, client) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(server.path().join("model.striac"), compiled.to_bytes().unwrap()).unwrap();
        std::fs::write(client.path().join("model.striac"), compiled.public().to_bytes().unwrap()).unwrap();
        std::fs::write(client.path().join("image"), postcard::to_stdvec(&image.data).unwrap()).unwrap();
        let expected = evaluate(&compiled.network, compiled.weights.as_ref().unwrap(), image).unwrap();
        Self { server, client, expected: format!("{:?}", expected.data) }
    }

    /// The last words of client and server, the named one of which dies after so many messages.
    fn run(&self, backend: &str, dies: Option<(&str, usize, bool)>) -> [Option<String>; 2] {
        let extra = |role: &str| -> Vec<(&str, String)> {
            let dies = dies.iter().filter(|(who, ..)| *who == role);
            let settings = dies.map(|(_, after, delivers)| {
                [(DIES, after.to_string()), (DELIVERS, u8::from(*delivers).to_string())]
            });
            settings.flatten().collect()
        };
        let mut server = start("server", self.server.path(), backend, &extra("server"));
        let (port, server_output) = line(server.stdout.take().unwrap(), "PORT ").expect("a port");
        let mut settings = extra("client");
        settings.push((PORT, port));
        let mut client = start("client", self.client.path(), backend, &settings);
        let last = |output: &mut dyn Read| {
            let mut text = String::new();
            output.read_to_string(&mut text).unwrap();
            text.lines().find(|l| l.starts_with("RESULT ") || l.starts_with("ERROR ")).map(Into::into)
        };
        let words = [last(&mut client.stdout.take().unwrap()), last(&mut { server_output })];
        client.wait().unwrap();
        server.wait().unwrap();
        words
    }
}

#[test]
fn two_processes_give_the_reference_encrypted() {
    for model in ["fashion_mnist/dense.stria", "fashion_mnist/stria.stria"] {
        let compiled = compiled(model, Options::default());
        let data = images(&compiled, "fashion_mnist/images");
        let image = quantise_input(&compiled.network, &data.images[3]).unwrap();
        let setting = Setting::new(&compiled, &image);
        let [client, server] = setting.run("bfv", None);
        assert_eq!(client, Some(format!("RESULT {}", setting.expected)), "{model}");
        assert_eq!(server, Some("RESULT served".into()), "{model}");
    }
}

/// Random networks in either encoding: all logits are those of the network as it was before it was rewritten.
#[test]
fn two_processes_give_the_reference_of_random_networks() {
    for (seed, encoding, ring) in [
        (11, Encoding::Coefficients, 4096),
        (12, Encoding::Slots, 8192),
        (13, Encoding::Coefficients, 4096),
        (14, Encoding::Slots, 8192),
        (15, Encoding::Coefficients, 4096),
    ] {
        let Stages { reference, compiled, .. } = stages_of(random::source(seed), seed);
        let t = plain_prime(ring, reference.largest_accumulator(), None).unwrap();
        let Compiled { network, weights, .. } = compiled;
        let compiled = Compiled::encoded(network, weights, (ring, t), Encodings::All(encoding)).unwrap();
        compiled.fits().unwrap();
        let image = &random::images(&compiled, seed)[0];
        let expected = evaluate(&reference, compiled.weights.as_ref().unwrap(), image).unwrap();
        let [client, server] = Setting::new(&compiled, image).run("bfv", None);
        assert_eq!(client, Some(format!("RESULT {:?}", expected.data)), "{encoding:?}, seed {seed}");
        assert_eq!(server, Some("RESULT served".into()), "{encoding:?}, seed {seed}");
    }
}

/// A party whose process ends at a message of keys, set-up, transfers, any layer or the answer.
#[test]
fn the_death_of_a_process_is_noticed_and_named() {
    let text = "model tiny {
    ring: 4096
    weights: random(1)
    input image: tensor[1, 4, 4] { mean: 0.4, std: 0.3 }
    let x = conv(image, out: 2, kernel: 3x3, pad: same, name: \"first\") |> relu |> max_pool(kernel: 2x2)
    output linear(flatten(x), out: 3, name: \"last\")
}";
    let compiled = stages_of(text.into(), 2).compiled;
    let setting = Setting::new(&compiled, &random::images(&compiled, 2)[0]);
    let [client, _] = setting.run("clear", None);
    assert_eq!(client, Some(format!("RESULT {}", setting.expected)));
    for (who, after, step) in [
        ("client", 0, "agreement"),
        ("client", 1, "keys"),
        ("client", 2, "set-up"),
        ("client", 3, "set-up"),
        ("client", 4, "first"),
        ("server", 0, "agreement"),
        ("server", 1, "set-up"),
        ("server", 2, "first"),
    ] {
        let [client, server] = setting.run("clear", Some((who, after, true)));
        let other = if who == "client" { &server } else { &client };
        let told = other.as_deref().expect("the other party ended in good order");
        assert!(
            told.starts_with(&format!("ERROR {step}: ")) && told.contains("gone at step"),
            "{who} {after}: {told}"
        );
    }
    for (who, after) in
        [("client", 5), ("client", 9), ("client", 20), ("server", 3), ("server", 8), ("server", 20)]
    {
        let [client, server] = setting.run("clear", Some((who, after, false)));
        let told = if who == "client" { server } else { client };
        assert!(told.as_ref().is_some_and(|told| told.contains("gone at step")), "{who} {after}: {told:?}");
    }
}
