//! Transfers dealt from a seed that both parties know: no secrecy, for tests of what is built on top.

use super::{Bits, ReceiverBitOts, ReceiverOts, SenderBitOts, SenderOts};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One party's half: a stream for each direction, the same as the other party's.
pub(super) struct Dealt {
    sending: ChaCha20Rng,
    receiving: ChaCha20Rng,
}

impl Dealt {
    pub(super) fn pair(seed: u64) -> (Self, Self) {
        let stream = |id| {
            let mut stream = ChaCha20Rng::seed_from_u64(seed);
            stream.set_stream(id);
            stream
        };
        (Self { sending: stream(0), receiving: stream(1) }, Self { sending: stream(1), receiving: stream(0) })
    }

    pub(super) fn send_words(&mut self, n: usize, mask: u64) -> SenderOts {
        let (sender, _) = words(&mut self.sending, n, mask);
        sender
    }

    pub(super) fn receive_words(&mut self, n: usize, mask: u64) -> ReceiverOts {
        let (sender, choice) = words(&mut self.receiving, n, mask);
        let pick = |j| if choice.get(j) { sender.one[j] } else { sender.zero[j] };
        let got = (0..n).map(pick).collect();
        ReceiverOts { choice, got }
    }

    pub(super) fn send_bits(&mut self, n: usize) -> SenderBitOts {
        let [zero, one, _] = [(); 3].map(|()| bits(&mut self.sending, n));
        SenderBitOts { zero, one }
    }

    pub(super) fn receive_bits(&mut self, n: usize) -> ReceiverBitOts {
        let [zero, one, choice] = [(); 3].map(|()| bits(&mut self.receiving, n));
        let got = (0..zero.words.len())
            .map(|i| zero.words[i] ^ ((zero.words[i] ^ one.words[i]) & choice.words[i]))
            .collect();
        ReceiverBitOts { choice, got: Bits { words: got, len: n } }
    }
}

fn bits(stream: &mut ChaCha20Rng, n: usize) -> Bits {
    let mut bits = Bits { words: (0..n.div_ceil(64)).map(|_| stream.next_u64()).collect(), len: n };
    bits.trim();
    bits
}

fn words(stream: &mut ChaCha20Rng, n: usize, mask: u64) -> (SenderOts, Bits) {
    let mut draw = || (0..n).map(|_| stream.next_u64() & mask).collect();
    let sender = SenderOts { zero: draw(), one: draw() };
    (sender, bits(stream, n))
}
