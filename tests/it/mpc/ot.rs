//! Oblivious transfer: what both halves must satisfy, known answers, and peers that misbehave.

use proptest::prelude::*;
use stria::channel::{Channel, ChannelError, InMemory, Pulse, Tag, Traffic};
use stria::mpc::MpcError;
use stria::mpc::ot::{
    Bits, OtSetup, ReceiverBitOts, ReceiverOts, SenderBitOts, SenderOts, extension_bytes, iknp,
};

const STEP: u32 = 7;
/// More than one chunk, and no multiple of anything.
const MANY: usize = 100_003;

/// Both halves made over a channel, with known randomness, and the channel's ends.
fn set_up(seeds: [u64; 2]) -> [(OtSetup, InMemory); 2] {
    let (mut client_end, mut server_end) = InMemory::pair();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let setup = OtSetup::insecure_server(seeds[1], &mut server_end, STEP).unwrap();
            (setup, server_end)
        });
        let client = OtSetup::insecure_client(seeds[0], &mut client_end, STEP).unwrap();
        [(client, client_end), server.join().unwrap()]
    })
}

type End = (OtSetup, InMemory);

fn bits((sender, there): &mut End, (receiver, here): &mut End, n: usize) -> (SenderBitOts, ReceiverBitOts) {
    let received = receiver.receive_bits(here, STEP, n).unwrap();
    (sender.send_bits(there, STEP, n).unwrap(), received)
}

fn words(
    (sender, there): &mut End,
    (receiver, here): &mut End,
    n: usize,
    width: u32,
) -> (SenderOts, ReceiverOts) {
    let received = receiver.receive_words(here, STEP, n, width).unwrap();
    (sender.send_words(there, STEP, n, width).unwrap(), received)
}

fn assert_bits(sent: &SenderBitOts, received: &ReceiverBitOts, n: usize) {
    for bits in [&sent.zero, &sent.one, &received.choice, &received.got] {
        assert_eq!((bits.len, bits.words.len()), (n, n.div_ceil(64)));
        assert!(n.is_multiple_of(64) || bits.words[n / 64] >> (n % 64) == 0);
    }
    for j in 0..n {
        let expected = if received.choice.get(j) { sent.one.get(j) } else { sent.zero.get(j) };
        assert_eq!(received.got.get(j), expected, "transfer {j} of {n}");
    }
}

fn assert_words(sent: &SenderOts, received: &ReceiverOts, n: usize) {
    assert_eq!((sent.zero.len(), sent.one.len(), received.got.len(), received.choice.len), (n, n, n, n));
    for j in 0..n {
        let expected = if received.choice.get(j) { sent.one[j] } else { sent.zero[j] };
        assert_eq!(received.got[j], expected, "transfer {j} of {n}");
        assert_ne!(sent.zero[j], sent.one[j], "transfer {j} of {n}");
    }
}

#[test]
fn the_receiver_gets_what_it_chose() {
    let [mut client, mut server] = set_up([1, 2]);
    for n in [0, 1, 63, 64, 127, 128, 129, 8191, 8192, 8193, MANY, 1 << 17] {
        let (sent, received) = bits(&mut client, &mut server, n);
        assert_bits(&sent, &received, n);
        let (sent, received) = bits(&mut server, &mut client, n);
        assert_bits(&sent, &received, n);
    }
    for n in [1, 128, 1000, MANY] {
        let (sent, received) = words(&mut client, &mut server, n, 64);
        assert_words(&sent, &received, n);
        let (sent, received) = words(&mut server, &mut client, n, 64);
        assert_words(&sent, &received, n);
    }
    for width in 1..=64 {
        let (sent, received) = words(&mut server, &mut client, 200, width);
        for j in 0..200 {
            assert_eq!(received.got[j], [sent.zero[j], sent.one[j]][usize::from(received.choice.get(j))]);
            assert!(width == 64 || (sent.zero[j] | sent.one[j]) >> width == 0);
        }
    }
    for width in [0, 65] {
        assert_eq!(client.0.send_words(&mut client.1, STEP, 1, width), Err(MpcError::Width(width)));
    }
}

#[test]
fn dealt_base_transfers_give_the_same_relation() {
    let (client, server) = OtSetup::insecure_pair(3);
    let (client_end, server_end) = InMemory::pair();
    let (mut client, mut server) = ((client, client_end), (server, server_end));
    let (sent, received) = bits(&mut client, &mut server, 5000);
    assert_bits(&sent, &received, 5000);
    let (sent, received) = words(&mut server, &mut client, 5000, 64);
    assert_words(&sent, &received, 5000);
}

#[test]
fn the_plain_twin_gives_the_same_relation() {
    let (mut sender, mut receiver) = iknp::insecure_pair(4);
    let (mut here, mut there) = InMemory::pair();
    for n in [1, 64, 1000] {
        let received = receiver.receive_words(&mut here, STEP, n, u64::MAX).unwrap();
        let sent = sender.send_words(&mut there, STEP, n, u64::MAX).unwrap();
        assert_words(&sent, &received, n);
        assert_eq!(received.choice.words.len(), n.div_ceil(64));
    }
}

#[test]
fn only_the_receiver_sends_and_as_much_as_announced() {
    let [mut client, mut server] = set_up([5, 6]);
    for n in [1, 200, 8192, MANY] {
        let before = [client.1.traffic(), server.1.traffic()];
        bits(&mut client, &mut server, n);
        let after = [client.1.traffic(), server.1.traffic()];
        let frames = n.div_ceil(1 << 16) as u64 * 13;
        assert_eq!(after[1].sent - before[1].sent, extension_bytes(n) as u64 + frames);
        assert_eq!(after[0].sent, before[0].sent);
    }
    assert_eq!(extension_bytes(1 << 16), 31 << 13, "31 bits a transfer");
}

/// Pearson's statistic of `counts` against the uniform distribution.
fn chi_square(counts: &[u64]) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    counts.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum()
}

/// The statistic's bound for bytes: 255 degrees of freedom exceed it with probability below 10^-6.
const BYTES_BOUND: f64 = 377.0;

fn byte_counts(bytes: impl IntoIterator<Item = u8>) -> Vec<u64> {
    let mut counts = vec![0; 256];
    bytes.into_iter().for_each(|b| counts[usize::from(b)] += 1);
    counts
}

fn bytes_of(bits: &Bits) -> Vec<u8> {
    bits.words[..bits.len / 64].iter().flat_map(|w| w.to_le_bytes()).collect()
}

#[test]
fn messages_choices_and_corrections_look_uniform() {
    let [mut client, mut server] = set_up([7, 8]);
    let (sent, received) = bits(&mut client, &mut server, 1 << 20);
    let corrections = {
        let mut tap = Tap { inner: &mut server.1, seen: Vec::new() };
        server.0.receive_bits(&mut tap, STEP, 1 << 16).unwrap();
        tap.seen.concat()
    };
    let differ: Vec<u8> = bytes_of(&sent.zero).iter().zip(bytes_of(&sent.one)).map(|(a, b)| a ^ b).collect();
    let columns = [
        ("zero", bytes_of(&sent.zero)),
        ("one", bytes_of(&sent.one)),
        ("zero + one", differ),
        ("choice", bytes_of(&received.choice)),
        ("got", bytes_of(&received.got)),
        ("corrections", corrections),
    ];
    for (name, bytes) in columns {
        let statistic = chi_square(&byte_counts(bytes));
        assert!(statistic < BYTES_BOUND, "{name}: {statistic}");
    }
    // Choice, message got and message not got, jointly.
    let mut joint = vec![0; 8];
    for j in 0..1 << 20 {
        let (choice, got) = (received.choice.get(j), received.got.get(j));
        let other = if choice { sent.zero.get(j) } else { sent.one.get(j) };
        joint[usize::from(choice) * 4 + usize::from(got) * 2 + usize::from(other)] += 1;
    }
    assert!(chi_square(&joint) < 45.0, "7 degrees of freedom: {}", chi_square(&joint));
}

#[test]
fn both_public_keys_have_uniform_coefficients_whichever_is_real() {
    // 128 transfers of 768 coefficients in either place; which of the two is real is a coin.
    let mut seen = [Vec::new(), Vec::new()];
    for seed in 0..4 {
        let keys = &client_messages(seed)[0][32..];
        for (i, key) in keys.chunks_exact(1184).enumerate() {
            for triple in key[..1152].chunks_exact(3) {
                let packed = u32::from_le_bytes([triple[0], triple[1], triple[2], 0]);
                seen[i % 2].extend([packed & 0xfff, packed >> 12]);
            }
        }
    }
    for coefficients in seen {
        let mut counts = vec![0; 3329];
        coefficients.iter().for_each(|&c| counts[c as usize] += 1);
        // 3328 degrees of freedom: mean 3328, deviation 81.6; six deviations above.
        let statistic = chi_square(&counts);
        assert!(statistic < 3818.0, "{statistic}");
    }
}

/// A channel that keeps what passes to the other party.
struct Tap<'a> {
    inner: &'a mut InMemory,
    seen: Vec<Vec<u8>>,
}

impl Channel for Tap<'_> {
    fn send(&mut self, step: u32, tag: Tag, payload: &[u8]) -> Result<(), ChannelError> {
        self.seen.push(payload.to_vec());
        self.inner.send(step, tag, payload)
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

/// What a client sends during the set-up.
fn client_messages(seed: u64) -> Vec<Vec<u8>> {
    let (mut client_end, mut server_end) = InMemory::pair();
    std::thread::scope(|scope| {
        scope.spawn(move || OtSetup::insecure_server(seed ^ 99, &mut server_end, STEP).unwrap());
        let mut tap = Tap { inner: &mut client_end, seen: Vec::new() };
        OtSetup::insecure_client(seed, &mut tap, STEP).unwrap();
        tap.seen
    })
}

/// What a server sends during the set-up, and after it for `n` transfers.
fn server_messages(seed: u64, n: usize) -> Vec<Vec<u8>> {
    let (mut client_end, mut server_end) = InMemory::pair();
    std::thread::scope(|scope| {
        scope.spawn(move || OtSetup::insecure_client(seed ^ 99, &mut client_end, STEP).unwrap());
        let mut tap = Tap { inner: &mut server_end, seen: Vec::new() };
        let mut setup = OtSetup::insecure_server(seed, &mut tap, STEP).unwrap();
        setup.receive_bits(&mut tap, STEP, n).ok();
        tap.seen
    })
}

fn digest(messages: &[Vec<u8>]) -> String {
    let mut hasher = blake3::Hasher::new();
    messages.iter().for_each(|message| {
        hasher.update(&(message.len() as u64).to_le_bytes()).update(message);
    });
    hasher.finalize().to_hex()[..32].to_owned()
}

#[test]
fn known_answers() {
    let [mut client, mut server] = set_up([11, 12]);
    let (sent, received) = words(&mut client, &mut server, 70_000, 64);
    let (other, _) = bits(&mut server, &mut client, 300);
    let bytes = |words: &[u64]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let found = [
        digest(&client_messages(11)),
        digest(&server_messages(12, 60_000)),
        digest(&[bytes(&sent.zero), bytes(&sent.one)]),
        digest(&[bytes(&received.choice.words), bytes(&received.got)]),
        digest(&[bytes(&other.zero.words), bytes(&other.one.words)]),
    ];
    let expected = [
        "05db643f9e53e548a44d29f929477dd0",
        "81ca26ed2f6cbba51ce425cc3abee829",
        "c354b1dfcdf3af0010176e80b2aef6ce",
        "25edd6511c5b26be735973e5ff0fb9f7",
        "074fc316af15c4945ace20e78377bbba",
    ];
    assert_eq!(found, expected);
}

/// What one party makes of a peer that sends these messages, takes `hears` and hangs up.
fn against(
    messages: &[Vec<u8>],
    hears: usize,
    party: impl FnOnce(InMemory) -> Result<OtSetup, MpcError>,
) -> Result<OtSetup, MpcError> {
    let (ours, mut theirs) = InMemory::pair();
    messages.iter().for_each(|message| theirs.send(STEP, Tag::Ot, message).unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || (0..hears).try_for_each(|_| theirs.receive(STEP, Tag::Ot, usize::MAX).map(drop)));
        party(ours)
    })
}

fn client_against(messages: &[Vec<u8>]) -> Result<OtSetup, MpcError> {
    against(messages, 1 + messages.len(), |mut end| OtSetup::insecure_client(21, &mut end, STEP))
}

fn server_against(messages: &[Vec<u8>]) -> Result<OtSetup, MpcError> {
    against(messages, messages.len().min(1), |mut end| OtSetup::insecure_server(22, &mut end, STEP))
}

/// A sender against a receiver that sends this for `n` transfers.
fn sender_against(message: &[u8], n: usize) -> Result<SenderBitOts, MpcError> {
    let (mut ours, mut theirs) = InMemory::pair();
    theirs.send(STEP, Tag::Ot, message).unwrap();
    drop(theirs);
    OtSetup::insecure_pair(1).0.send_bits(&mut ours, STEP, n)
}

#[test]
fn what_is_malformed_is_named() {
    let length = |what, found, expected| MpcError::Length { step: STEP, what, found, expected };
    let gone = MpcError::Channel(ChannelError::Gone { step: STEP, tag: Tag::Ot });
    let [keys, client_sums] = <[Vec<u8>; 2]>::try_from(client_messages(31)).unwrap();
    let answer = server_messages(32, 0).remove(0);

    assert_eq!(server_against(&[]).unwrap_err(), gone);
    assert_eq!(server_against(std::slice::from_ref(&keys)).unwrap_err(), gone);
    assert!(server_against(&[keys.clone(), client_sums.clone()]).is_ok());
    let expected = 32 + 256 * 1184;
    let short = length("keys of the base transfers", expected - 1, expected);
    assert_eq!(server_against(&[keys[1..].to_vec()]).unwrap_err(), short);
    let long = server_against(&[[&keys[..], &[0]].concat()]).unwrap_err();
    assert!(matches!(long, MpcError::Channel(ChannelError::TooLong { .. })), "{long}");
    let short = length("sums of the client's trees", 4095, 4096);
    assert_eq!(server_against(&[keys.clone(), client_sums[1..].to_vec()]).unwrap_err(), short);
    // The second coefficient of key 3, set to 3329; of the first of the last key's last pair, to 4095.
    let mut unreduced = keys.clone();
    let at = 32 + 3 * 1184;
    unreduced[at + 1] = unreduced[at + 1] & 0xf | 0x10;
    unreduced[at + 2] = 0xd0;
    let public_key = |index, coefficient| MpcError::PublicKey { step: STEP, index, coefficient };
    assert_eq!(server_against(&[unreduced]).unwrap_err(), public_key(3, 3329));
    let mut unreduced = keys.clone();
    let at = 32 + 255 * 1184 + 1149;
    unreduced[at] = 0xff;
    unreduced[at + 1] |= 0x0f;
    assert_eq!(server_against(&[unreduced]).unwrap_err(), public_key(255, 4095));

    assert_eq!(client_against(&[]).unwrap_err(), gone);
    assert!(client_against(std::slice::from_ref(&answer)).is_ok());
    let expected = 32 + 256 * 1088 + 4096 + 31 * 16;
    let short = length("answer to the base transfers", expected - 1, expected);
    assert_eq!(client_against(&[answer[1..].to_vec()]).unwrap_err(), short);

    let what = "corrections of the OT extension";
    assert_eq!(sender_against(&[0; 31 * 2], 9).map(|_| ()), Ok(()));
    assert_eq!(sender_against(&[0; 61], 9).unwrap_err(), length(what, 61, 62));
    assert_eq!(sender_against(&[], 9).unwrap_err(), length(what, 0, 62));
    let mut padded = [0; 62];
    padded[2 * 4 + 1] = 2;
    assert_eq!(sender_against(&padded, 9), Err(MpcError::Padding { step: STEP, what, row: 4 }));
    // Hangs up between two chunks.
    assert_eq!(sender_against(&vec![0; 31 << 13], 1 << 17).unwrap_err(), gone);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes changed, cut off or made up: an error or garbage, no panic.
    #[test]
    fn rubbish_gives_no_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
        made_up in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let spoil = |message: &Vec<u8>| {
            let mut message = message.clone();
            changes.iter().for_each(|(at, value)| { let n = message.len(); message[at.index(n)] = *value; });
            if cuts { message.truncate(cut.index(message.len())); }
            message
        };
        let keys: Vec<Vec<u8>> = CLIENT.with(|m| m.iter().map(spoil).collect());
        let answer: Vec<Vec<u8>> = SERVER.with(|m| m.iter().map(spoil).collect());
        server_against(&keys).ok();
        client_against(&answer).ok();
        server_against(std::slice::from_ref(&made_up)).ok();
        client_against(std::slice::from_ref(&made_up)).ok();
        for n in [made_up.len() * 8 / 31, 1, 40] {
            sender_against(&made_up, n).ok();
        }
    }
}

thread_local! {
    static CLIENT: Vec<Vec<u8>> = client_messages(41);
    static SERVER: Vec<Vec<u8>> = server_messages(42, 0);
}
