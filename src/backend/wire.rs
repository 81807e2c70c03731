//! The envelope of every byte string that crosses between client and server.
//!
//! `magic, version, kind, fingerprint of the backend and its parameters, body, checksum`. A body is
//! looked at only after its length, its kind, its parameters and its BLAKE3 checksum agree, so damaged
//! bytes never reach a scheme's library. The checksum finds damage; it does not stop a forger, so the
//! backends check the content of a body too.

use super::{BackendError, SchemeParams, Sent};
use crate::circuit::Step;
use crate::params::Encoding;

const MAGIC: [u8; 4] = *b"STRw";
const VERSION: u8 = 1;
const CHECK: usize = 16;
const HEAD: usize = MAGIC.len() + 2 + 8;

/// Bytes that the envelope adds to a body.
pub(crate) const OVERHEAD: usize = HEAD + CHECK;

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A ciphertext from the client.
    Fresh = 1,
    /// A ciphertext for the client.
    Reply = 2,
    /// Evaluation keys.
    Keys = 3,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Fresh | Self::Reply => "ciphertext",
            Self::Keys => "evaluation keys",
        }
    }

    /// The error that names this kind of bytes.
    pub(crate) fn malformed(self, reason: impl Into<String>) -> BackendError {
        BackendError::Malformed { what: self.name(), reason: reason.into() }
    }
}

/// Seals and opens the byte strings of one backend and parameter set.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    fingerprint: [u8; 8],
}

impl Envelope {
    pub(crate) fn new(backend: &'static str, params: &SchemeParams) -> Self {
        let mut hash = blake3::Hasher::new();
        hash.update(backend.as_bytes());
        hash.update(&params.ring.to_le_bytes());
        hash.update(&params.plain_modulus.to_le_bytes());
        for bits in &params.modulus_bits {
            hash.update(&bits.to_le_bytes());
        }
        hash.update(format!("{:?} {:?}", params.key_switch, params.workload).as_bytes());
        let mut fingerprint = [0; 8];
        hash.finalize_xof().fill(&mut fingerprint);
        Self { fingerprint }
    }

    pub(crate) fn seal(&self, kind: Kind, body: &[u8]) -> Vec<u8> {
        let mut bytes = self.head(kind, body.len());
        bytes.extend_from_slice(body);
        Self::sealed(bytes)
    }

    /// What comes before a body of `len` bytes, which is to be appended.
    pub(crate) fn head(&self, kind: Kind, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + OVERHEAD);
        bytes.extend_from_slice(&MAGIC);
        bytes.push(VERSION);
        bytes.push(kind as u8);
        bytes.extend_from_slice(&self.fingerprint);
        bytes
    }

    /// Head and body, sealed.
    pub(crate) fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let check = checksum(&bytes);
        bytes.extend_from_slice(&check);
        bytes
    }

    /// The kind of `bytes` as their header claims it, if it is one of `kinds`.
    pub(crate) fn kind(&self, bytes: &[u8], kinds: &[Kind]) -> Result<Kind, BackendError> {
        let claimed = bytes.get(MAGIC.len() + 1).copied();
        kinds
            .iter()
            .copied()
            .find(|&kind| claimed == Some(kind as u8))
            .ok_or_else(|| kinds[0].malformed("the header names another kind of bytes"))
    }

    /// The body of `bytes`.
    pub(crate) fn open<'a>(&self, kind: Kind, bytes: &'a [u8]) -> Result<&'a [u8], BackendError> {
        if bytes.len() < OVERHEAD {
            return Err(kind.malformed(format!("{} bytes are shorter than the envelope", bytes.len())));
        }
        let (sealed, check) = bytes.split_at(bytes.len() - CHECK);
        let (head, body) = sealed.split_at(HEAD);
        let (magic, rest) = head.split_at(MAGIC.len());
        if magic != MAGIC || rest[0] != VERSION {
            return Err(kind.malformed("unknown magic or version"));
        }
        if rest[1] != kind as u8 {
            return Err(kind.malformed("the header names another kind of bytes"));
        }
        if rest[2..] != self.fingerprint {
            return Err(kind.malformed("made for other parameters"));
        }
        if check != checksum(sealed) {
            return Err(kind.malformed("the checksum differs"));
        }
        Ok(body)
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECK] {
    let mut out = [0; CHECK];
    blake3::Hasher::new().update(bytes).finalize_xof().fill(&mut out);
    out
}

/// Reads a body front to back.
pub(crate) struct Reader<'a> {
    kind: Kind,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(kind: Kind, body: &'a [u8]) -> Self {
        Self { kind, rest: body }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], BackendError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or_else(|| self.kind.malformed(format!("{len} bytes expected, {} left", self.rest.len())))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, BackendError> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(bytes))
    }

    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn finish(self) -> Result<(), BackendError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(self.kind.malformed(format!("{left} bytes too many"))),
        }
    }
}

/// A Galois key's number on the wire: 0 for the row swap, else the left rotation in `1..N/2`.
pub(crate) fn column(ring: usize, step: Step) -> Result<u32, BackendError> {
    let row = i64::try_from(ring / 2).unwrap_or(i64::MAX);
    match step {
        Step::SwapRows => Ok(0),
        Step::Rotate(k) => match u32::try_from(i64::from(k).rem_euclid(row)) {
            Ok(0) | Err(_) => Err(BackendError::MissingKey(step)),
            Ok(column) => Ok(column),
        },
    }
}

/// The sorted, distinct wire numbers of `steps`.
pub(crate) fn columns(ring: usize, steps: &[Step]) -> Result<Vec<u32>, BackendError> {
    let mut columns = steps.iter().map(|&step| column(ring, step)).collect::<Result<Vec<_>, _>>()?;
    columns.sort_unstable();
    columns.dedup();
    Ok(columns)
}

/// The coefficients that are sent; none for all slots. Refuses what does not belong to `params`.
pub(crate) fn positions<'a>(
    params: &SchemeParams,
    sent: Sent<'a>,
) -> Result<Option<&'a [u32]>, BackendError> {
    let refused = |reason: String| Err(BackendError::Malformed { what: "choice of values to send", reason });
    match (params.workload.encoding, sent) {
        (Encoding::Slots, Sent::Slots) => Ok(None),
        (Encoding::Coefficients, Sent::Coefficients(positions)) => {
            match positions.iter().find(|&&position| position >= params.ring) {
                Some(position) => refused(format!("coefficient {position} of {}", params.ring)),
                None => Ok(Some(positions)),
            }
        }
        (Encoding::Slots, Sent::Coefficients(_)) => refused("coefficients of slots".into()),
        (Encoding::Coefficients, Sent::Slots) => refused("slots of coefficients".into()),
    }
}

/// N values with `sent` at `positions` and 0 elsewhere; `sent` itself for all slots.
pub(crate) fn scatter(ring: usize, positions: Option<&[u32]>, sent: Vec<u64>) -> Vec<u64> {
    let Some(positions) = positions else { return sent };
    let mut values = vec![0; ring];
    for (&position, value) in positions.iter().zip(sent) {
        values[position as usize] = value;
    }
    values
}

/// Refuses slots of a wrong number or outside `0..t`.
pub(crate) fn check_slots(slots: &[u64], ring: usize, plain_modulus: u64) -> Result<(), BackendError> {
    let malformed = |reason| BackendError::Malformed { what: "slots", reason };
    if slots.len() != ring {
        return Err(malformed(format!("{} slots, the ring has {ring}", slots.len())));
    }
    match slots.iter().find(|&&slot| slot >= plain_modulus) {
        Some(slot) => Err(malformed(format!("{slot} is not below the plaintext modulus {plain_modulus}"))),
        None => Ok(()),
    }
}
