//! A bit times a word: the multiplexer, bits as numbers, and multiplication.
//!
//! One party knows the bit s (a plane), the other a word D (a lane each). From a random transfer with choice c
//! and messages r0, r1 the one opens `d = s + c mod 2`, the other `E = D - (r1 - r0)`, in the same exchange;
//! then `s D = d D + (1 - 2 d) c D` and `c D = (got - r0) + c E`.

use super::modulus::Modulus;
use super::party::Party;
use super::ring::Ring;
use super::slice::{WORD, mask, slice, unslice};
use super::stock::{ChosenWords, OfferedWords};
use super::usage::Usage;
use super::wiped::Wiped;
use super::{MpcError, Role};

/// A product that is under way, at the party that knows the bit.
pub(super) struct Choosing {
    ring: Ring,
    words: ChosenWords,
    opened: Vec<u64>,
}

/// A product that is under way, at the party that knows the word.
pub(super) struct Offering {
    ring: Ring,
    words: OfferedWords,
    values: Wiped,
}

/// What one product takes.
pub(super) fn usage(chooser: Role, ring: Ring) -> Usage {
    Usage::words(chooser, ring)
}

impl Choosing {
    /// My bit is a plane.
    pub(super) fn open(party: &mut Party<'_>, ring: Ring, bit: &[u64]) -> Result<Self, MpcError> {
        let words = party.stock.choose_words(ring);
        let words = party.taken(words)?;
        let opened: Vec<u64> = bit.iter().zip(&words.choice).map(|(s, c)| s ^ c).collect();
        party.tell(opened.iter().copied());
        party.expect(bit.len() * ring.bits() as usize);
        Ok(Self { ring, words, opened })
    }

    /// My share of the product, in lanes.
    pub(super) fn close(self, party: &mut Party<'_>) -> Result<Wiped, MpcError> {
        let Self { ring, words, opened } = self;
        let mut share = residues(party, ring, opened.len())?;
        for (block, chunk) in share.chunks_exact_mut(WORD).enumerate() {
            let (choice, opened) = (words.choice[block], opened[block]);
            let got = &words.got[block * WORD..(block + 1) * WORD];
            for (j, (e, &word)) in chunk.iter_mut().zip(got).enumerate() {
                let sum = ring.add(word, *e & mask(choice, j));
                *e = ring.negate_if(mask(opened, j), sum);
            }
        }
        Ok(share)
    }
}

impl Offering {
    /// My words, one a lane, residues of the ring.
    pub(super) fn open(party: &mut Party<'_>, ring: Ring, values: Wiped) -> Result<Self, MpcError> {
        let words = party.stock.offer_words(ring);
        let words = party.taken(words)?;
        let masked: Vec<u64> = values
            .iter()
            .zip(words.zero.iter().zip(&words.one))
            .map(|(&v, (&zero, &one))| ring.sub(ring.add(v, zero), one))
            .collect();
        party.tell(slice(&masked, ring.bits() as usize).iter().copied());
        party.expect(values.len() / WORD);
        Ok(Self { ring, words, values })
    }

    /// My share of the product, in lanes.
    pub(super) fn close(self, party: &mut Party<'_>) -> Result<Wiped, MpcError> {
        let Self { ring, words, values } = self;
        let opened = party.told(values.len() / WORD)?;
        let mut share = values;
        for (block, chunk) in share.chunks_exact_mut(WORD).enumerate() {
            let opened = opened[block];
            let zero = &words.zero[block * WORD..(block + 1) * WORD];
            for (j, (v, &word)) in chunk.iter_mut().zip(zero).enumerate() {
                let flip = mask(opened, j);
                *v = ring.sub(*v & flip, ring.negate_if(flip, word));
            }
        }
        Ok(share)
    }
}

/// The other party's words, each checked to be below the modulus.
fn residues(party: &mut Party<'_>, ring: Ring, width: usize) -> Result<Wiped, MpcError> {
    let step = party.step;
    let lanes = unslice(party.told(width * ring.bits() as usize)?, width);
    match ring {
        Ring::Xor(_) => Ok(lanes),
        Ring::Sum(t) => match lanes.iter().find(|&&v| v >= t.value()) {
            Some(&found) => Err(MpcError::Residue { step, found, modulus: t.value() }),
            None => Ok(lanes),
        },
    }
}

/// One side of a product in a fixed direction.
pub(super) enum OneWay {
    Choosing(Choosing),
    Offering(Offering),
}

impl OneWay {
    /// Opens the side that is mine: the chooser gives its bit, the other party its words.
    pub(super) fn open(
        party: &mut Party<'_>,
        chooser: Role,
        ring: Ring,
        bit: &[u64],
        words: impl FnOnce() -> Wiped,
    ) -> Result<Self, MpcError> {
        if party.role == chooser {
            Choosing::open(party, ring, bit).map(Self::Choosing)
        } else {
            Offering::open(party, ring, words()).map(Self::Offering)
        }
    }

    pub(super) fn close(self, party: &mut Party<'_>) -> Result<Wiped, MpcError> {
        match self {
            Self::Choosing(side) => side.close(party),
            Self::Offering(side) => side.close(party),
        }
    }
}

/// `x s` of shared x and s: what each party knows of x goes across once.
pub(super) struct Mux {
    modulus: Modulus,
    own: Wiped,
    choosing: Choosing,
    offering: Offering,
}

impl Mux {
    pub(super) fn usage(modulus: Modulus) -> Usage {
        let ring = Ring::Sum(modulus);
        usage(Role::Client, ring).beside(usage(Role::Server, ring))
    }

    /// `bit` is my XOR share, `x` my share modulo `modulus`.
    pub(super) fn open(
        party: &mut Party<'_>,
        modulus: Modulus,
        bit: &[u64],
        x: &[u64],
    ) -> Result<Self, MpcError> {
        // x0 s = x0 s0 + s1 x0 (1 - 2 s0).
        let lanes = || x.iter().enumerate().map(|(j, &x)| (mask(bit[j / WORD], j % WORD), x));
        let own = lanes().map(|(s, x)| x & s).collect();
        let across = lanes().map(|(s, x)| modulus.negate_if(s, x)).collect();
        let ring = Ring::Sum(modulus);
        // Each party's first message is the one that the other reads first.
        let (choosing, offering);
        match party.role {
            Role::Client => {
                choosing = Choosing::open(party, ring, bit)?;
                offering = Offering::open(party, ring, across)?;
            }
            Role::Server => {
                offering = Offering::open(party, ring, across)?;
                choosing = Choosing::open(party, ring, bit)?;
            }
        }
        Ok(Self { modulus, own, choosing, offering })
    }

    pub(super) fn close(self, party: &mut Party<'_>) -> Result<Wiped, MpcError> {
        let Self { modulus, own, choosing, offering } = self;
        let (a, b);
        match party.role {
            Role::Client => {
                a = choosing.close(party)?;
                b = offering.close(party)?;
            }
            Role::Server => {
                a = offering.close(party)?;
                b = choosing.close(party)?;
            }
        }
        Ok(own
            .iter()
            .zip(a.iter().zip(b.iter()))
            .map(|(&o, (&a, &b))| modulus.add(o, modulus.add(a, b)))
            .collect())
    }
}

/// A constant times an XOR-shared bit, as a number.
pub(super) struct Weighted {
    own: Wiped,
    modulus: Modulus,
    across: OneWay,
}

impl Weighted {
    pub(super) fn usage(chooser: Role, modulus: Modulus) -> Usage {
        usage(chooser, Ring::Sum(modulus))
    }

    /// `weight` is public, a residue.
    pub(super) fn open(
        party: &mut Party<'_>,
        chooser: Role,
        modulus: Modulus,
        bit: &[u64],
        weight: u64,
    ) -> Result<Self, MpcError> {
        let lanes = bit.len() * WORD;
        let masks = || (0..lanes).map(|j| mask(bit[j / WORD], j % WORD));
        let own = masks().map(|s| weight & s).collect();
        let words = || masks().map(|s| modulus.negate_if(s, modulus.sub(weight, 0))).collect();
        // s0 + s1 - 2 s0 s1: the party that offers sends s1 (1 - 2 s0) across, and both know their own s0;
        // the chooser's own s1 is in that product.
        let own = if party.role == chooser { Wiped::zeros(lanes) } else { own };
        let across = OneWay::open(party, chooser, Ring::Sum(modulus), bit, words)?;
        Ok(Self { own, modulus, across })
    }

    pub(super) fn close(self, party: &mut Party<'_>) -> Result<Wiped, MpcError> {
        let Self { own, modulus, across } = self;
        let across = across.close(party)?;
        Ok(own.iter().zip(across.iter()).map(|(&a, &b)| modulus.add(a, b)).collect())
    }
}
