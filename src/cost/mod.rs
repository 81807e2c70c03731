//! What a circuit costs: seconds from a table of measured operations, bytes from the parameters.
//!
//! Counts are given, times are looked up, nothing is run here except by [`OpCosts::measure`]. Seconds are
//! those of one thread. Does not know layers.

pub mod cryptflow2;
mod depth;
mod file;
mod measure;
mod memory;
mod network;
mod sets;
mod shipped;
mod tfhe;

pub use depth::depth;
pub use file::{CostFile, CostFileError};
pub use measure::Effort;
#[cfg(feature = "tfhe")]
pub(crate) use measure::{alone, least};
pub use memory::{Means, PeakMemory, peak_memory};
pub use network::{LAN, Network, WAN};
pub use sets::parameter_sets;
pub use tfhe::TfheCosts;

use crate::backend::{self, SchemeParams};
use crate::circuit::{Contents, Counts, Segment};
use crate::params::{self, Encoding, KeySwitching, ParamsError, Scheme};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// Seconds to transform a slot of a ciphertext, either way, and of the server to make that of a plaintext, on one
/// thread: measured on the machine of the shipped costs, not by `stria calibrate`.
const TRANSFORM: f64 = 12e-9;
const SPECTRUM: f64 = 8e-9;

/// Seconds of each operation on one thread, at one ring, number of ciphertext primes and form of key switch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpCosts {
    /// What plaintexts hold. Coefficients are never turned: their rotations and keys cost
    /// nothing. Slots, where a file does not say.
    #[serde(default)]
    pub encoding: Encoding,
    /// Ring degree N.
    pub ring: u32,
    /// Ciphertext primes.
    pub primes: u32,
    /// How keys are switched.
    pub key_switch: KeySwitching,
    /// A rotation, the first of a hoisted group.
    pub rotate: f64,
    /// A further rotation of the same ciphertext.
    pub hoisted: f64,
    /// A further rotation of the same ciphertext that is left extended.
    pub extended: f64,
    /// A rotation inside of a sum, without the division of the sum.
    pub sum_rotation: f64,
    /// The division of a sum by the special primes.
    pub division: f64,
    /// A ciphertext times an encoded plaintext.
    pub mult: f64,
    /// An extended rotation times an encoded plaintext.
    pub extended_mult: f64,
    /// Writing a plaintext's values and encoding them for multiplication.
    pub encode: f64,
    /// Encoding a plaintext for multiplication with extended rotations.
    pub extended_encode: f64,
    /// Adding two ciphertexts.
    pub add: f64,
    /// Adding a plaintext, its encoding included.
    pub add_plain: f64,
    /// Reading a ciphertext from the client.
    pub load: f64,
    /// Writing a ciphertext for the client.
    pub store: f64,
    /// Encrypting, bytes included.
    pub encrypt: f64,
    /// Decrypting, bytes included.
    pub decrypt: f64,
    /// Making one Galois key.
    pub keygen: f64,
}

impl OpCosts {
    /// These costs carried over to another ring and number of primes: key switching grows with N log N
    /// and the square of the number of primes, everything else with N log N and their number.
    #[must_use]
    pub fn scaled(&self, ring: u32, primes: u32) -> Self {
        let work = |ring: u32| f64::from(ring) * f64::from(ring).log2();
        let linear = work(ring) / work(self.ring) * f64::from(primes) / f64::from(self.primes);
        let square = linear * f64::from(primes) / f64::from(self.primes);
        Self {
            encoding: self.encoding,
            ring,
            primes,
            key_switch: self.key_switch,
            rotate: self.rotate * square,
            hoisted: self.hoisted * square,
            extended: self.extended * square,
            sum_rotation: self.sum_rotation * square,
            division: self.division * linear,
            mult: self.mult * linear,
            extended_mult: self.extended_mult * linear,
            encode: self.encode * linear,
            extended_encode: self.extended_encode * linear,
            add: self.add * linear,
            add_plain: self.add_plain * linear,
            load: self.load * linear,
            store: self.store * linear,
            encrypt: self.encrypt * linear,
            decrypt: self.decrypt * linear,
            keygen: self.keygen * square,
        }
    }

    /// These costs where slots hold spectra: both parties transform every ciphertext's values, and the server
    /// those of each plaintext.
    #[must_use]
    pub fn of_spectra(self) -> Self {
        let slots = f64::from(self.ring);
        Self {
            encode: self.encode + slots * SPECTRUM,
            extended_encode: self.extended_encode + slots * SPECTRUM,
            add_plain: self.add_plain + slots * TRANSFORM,
            encrypt: self.encrypt + slots * TRANSFORM,
            decrypt: self.decrypt + slots * TRANSFORM,
            ..self
        }
    }

    /// Seconds of the server.
    #[must_use]
    pub fn server_seconds(&self, counts: &Counts) -> f64 {
        self.read_seconds(counts) + self.evaluate_seconds(counts) + self.reply_seconds(counts)
    }

    /// Seconds of the server for reading ciphertexts and adding its share to them.
    #[must_use]
    pub fn read_seconds(&self, counts: &Counts) -> f64 {
        float(counts.ciphertexts_in) * (self.load + self.add_plain)
    }

    /// Seconds of the server for replies: masks, re-randomisation, flooding, writing.
    #[must_use]
    pub fn reply_seconds(&self, counts: &Counts) -> f64 {
        float(counts.ciphertexts_out) * (self.store + self.add_plain)
    }

    /// Seconds of the server between reading and replying: rotations, products with plaintexts encoded on the
    /// way, additions. Of each group of rotations the first one cuts the digits; each rotation of a sum cuts
    /// its own, and what is summed up or left extended is divided together.
    #[must_use]
    pub fn evaluate_seconds(&self, counts: &Counts) -> f64 {
        let plain_adds = counts.plain_adds.saturating_sub(counts.ciphertexts_in + counts.ciphertexts_out);
        let groups = counts.hoisted_groups.saturating_sub(counts.sum_rotations);
        let alone = counts.key_switches.saturating_sub(counts.sum_rotations + counts.extended_rotations);
        let whole = counts.plain_mults.saturating_sub(counts.extended_mults);
        float(groups) * (self.rotate - self.hoisted).max(0.0)
            + float(alone) * self.hoisted
            + float(counts.extended_rotations) * self.extended
            + float(counts.sum_rotations) * self.sum_rotation
            + float(counts.rotate_sums + counts.extended_dots) * self.division
            + float(whole) * (self.mult + self.encode)
            + float(counts.extended_mults) * (self.extended_mult + self.extended_encode)
            + float(counts.adds) * self.add
            + float(plain_adds) * self.add_plain
    }

    /// Seconds of the client: encryption and decryption.
    #[must_use]
    pub fn client_seconds(&self, counts: &Counts) -> f64 {
        float(counts.ciphertexts_in) * self.encrypt + float(counts.ciphertexts_out) * self.decrypt
    }
}

/// Measured costs at several rings and numbers of primes.
#[derive(Clone, Debug, PartialEq)]
pub struct CostTable {
    /// What reports call it: `shipped`, or the file that it came from.
    pub name: String,
    /// One row an encoding, ring, number of primes and form of key switch; at least one.
    pub rows: Vec<OpCosts>,
    /// Of the two-party steps.
    pub transfers: TransferCosts,
}

/// Seconds of one core of either party for a random oblivious transfer, of whatever kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferCosts {
    /// To make it.
    pub make: f64,
    /// To use it in a step, with all that the step computes beside it.
    pub spend: f64,
}

impl Default for TransferCosts {
    /// Those of the machine that the shipped costs were measured on, for files from before they were measured.
    fn default() -> Self {
        Self { make: 10e-9, spend: 1.6e-9 }
    }
}

impl TransferCosts {
    /// Seconds of one core of either party for steps that take so many.
    #[must_use]
    pub fn seconds(&self, transfers: u64) -> f64 {
        float(transfers) * (self.make + self.spend)
    }
}

impl CostTable {
    /// The costs under `params`: a row of the same ring, form of key switch and primes, else the nearest one
    /// scaled, by ring before form before primes. `None` without a row of their encoding.
    #[must_use]
    pub fn costs(&self, params: &SchemeParams) -> Option<OpCosts> {
        let ring = params.ring;
        let primes = u32::try_from(params.modulus_bits.len()).unwrap_or(u32::MAX);
        let distance = |row: &&OpCosts| {
            let octaves = row.ring.max(1).ilog2().abs_diff(ring.max(1).ilog2());
            (octaves, row.key_switch != params.key_switch, row.primes.abs_diff(primes))
        };
        let rows = self.rows.iter().filter(|row| row.encoding == params.workload.encoding);
        rows.min_by_key(distance).map(|row| row.scaled(ring, primes))
    }
}

const ENVELOPE: u64 = backend::ENVELOPE as u64;
const CLEAR_SLOT: u64 = backend::CLEAR_SLOT as u64;
const SEED: u64 = backend::SEED as u64;
/// Bytes before the body of each of the engine's objects.
const HEADER: u64 = 30;

/// Bytes of what crosses between client and server; exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// A ciphertext from the client.
    pub fresh: u64,
    /// A ciphertext for the client with all its values.
    pub reply: u64,
    /// Bits of each value of it.
    pub value_bits: u32,
    /// Values of a ciphertext.
    pub ring: u32,
    /// Each Galois key.
    pub galois_key: u64,
    /// The evaluation keys but for the Galois keys.
    pub keys: u64,
}

impl Sizes {
    /// Sizes of the clear backend.
    #[must_use]
    pub fn clear(params: &SchemeParams) -> Self {
        let ciphertext = u64::from(params.ring) * CLEAR_SLOT + ENVELOPE;
        Self {
            fresh: ciphertext,
            reply: ciphertext,
            value_bits: u64::BITS,
            ring: params.ring,
            galois_key: 4,
            keys: ENVELOPE,
        }
    }

    /// Sizes of the fhe-rs backend: packed residues, the second polynomial of what is fresh as a seed.
    #[must_use]
    pub fn fhe_rs(params: &SchemeParams) -> Self {
        let poly =
            |bits: &[u32]| bits.iter().map(|&b| u64::from(params.ring) / 8 * u64::from(b)).sum::<u64>();
        let full = poly(&params.modulus_bits);
        let kept = params::reply_primes(params);
        Self {
            fresh: full + SEED + ENVELOPE,
            reply: 2 * poly(&params.modulus_bits[..kept]) + ENVELOPE,
            value_bits: params.modulus_bits[..kept].iter().sum(),
            ring: params.ring,
            galois_key: 4 + SEED + params.modulus_bits.len() as u64 * full,
            keys: full + SEED + 4 + ENVELOPE,
        }
    }

    /// Sizes of the bfv backend: packed residues, the second polynomial of what is fresh as a seed, replies
    /// cut to the bits that matter.
    ///
    /// # Errors
    /// If no reply decrypts under these parameters.
    pub fn bfv(params: &SchemeParams) -> Result<Self, ParamsError> {
        let poly =
            |bits: &[u32]| bits.iter().map(|&b| u64::from(params.ring) / 8 * u64::from(b)).sum::<u64>();
        let all = params.modulus_bits.len();
        let (own, digits) = match params.key_switch {
            KeySwitching::Special { special, primes_per_digit } => {
                let own = all.saturating_sub(special as usize);
                (own, own.div_ceil(primes_per_digit.max(1) as usize))
            }
            KeySwitching::Digits { bits } => {
                (all, params.modulus_bits.iter().map(|b| b.div_ceil(bits.max(1)) as usize).sum())
            }
            KeySwitching::Primes => (all, all),
        };
        let fit = params::fit(Scheme::Bfv, params, &params.workload)?;
        let reply = u64::from(params.ring) / 8 * u64::from(fit.reply_bits.unwrap_or(0));
        let seeded = HEADER + SEED + poly(&params.modulus_bits[..own]);
        let key = HEADER + 4 + 5 + SEED + digits as u64 * poly(&params.modulus_bits);
        Ok(Self {
            fresh: seeded + ENVELOPE,
            reply: HEADER + 1 + 2 * reply + ENVELOPE,
            value_bits: fit.reply_bits.unwrap_or(0),
            ring: params.ring,
            galois_key: 4 + key,
            keys: 4 + seeded + 4 + ENVELOPE,
        })
    }

    /// Sizes of `scheme`'s backend; where no reply decrypts, those of the ciphertexts that it would cut.
    #[must_use]
    pub fn of(scheme: Scheme, params: &SchemeParams) -> Self {
        match scheme {
            Scheme::Bfv => Self::bfv(params).unwrap_or_else(|_| Self::fhe_rs(params)),
            Scheme::FheRs => Self::fhe_rs(params),
        }
    }

    /// Bytes that the client sends for `counts`, keys apart.
    #[must_use]
    pub fn bytes_up(&self, counts: &Counts) -> u64 {
        counts.ciphertexts_in * self.fresh
    }

    /// Bytes that the server returns for `counts`.
    #[must_use]
    pub fn bytes_down(&self, counts: &Counts) -> u64 {
        counts.ciphertexts_out * self.reply
    }

    /// Bytes of a reply of so many values, all there are in slots.
    #[must_use]
    pub fn reply_of(&self, values: u64) -> u64 {
        let packed = |values: u64| (values * u64::from(self.value_bits)).div_ceil(8);
        match values.cmp(&u64::from(self.ring)) {
            Ordering::Less => self.reply.saturating_sub(packed(u64::from(self.ring))) + packed(values),
            Ordering::Equal | Ordering::Greater => self.reply,
        }
    }

    /// Bytes that the server returns for `segment`: of coefficients only those wanted.
    #[must_use]
    pub fn replies(&self, segment: &Segment) -> u64 {
        match &segment.contents {
            Contents::Slots => segment.outputs.len() as u64 * self.reply,
            Contents::Coefficients { sent, .. } => {
                sent.iter().map(|places| self.reply_of(places.len())).sum()
            }
        }
    }

    /// Bytes of evaluation keys for `galois_keys` distinct steps.
    #[must_use]
    pub fn key_bytes(&self, galois_keys: u64) -> u64 {
        self.keys + galois_keys * self.galois_key
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn float(count: u64) -> f64 {
    count as f64
}
