//! Additive shares modulo the plaintext prime, and the steps that need no message.
//!
//! A tensor `x` is held as `x = client + server mod t`. Additions, concatenations, sums over windows
//! and re-indexing are linear, so each party applies them to its own share alone. Bias and other
//! public or one-sided constants are added by one party.

use super::NonLinearError;
use crate::channel::{Channel, ChannelError, Tag};
use crate::graph::IntLayer;
use crate::layers::Pool;
use crate::tensor::{Shape, Tensor};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use zeroize::Zeroize;

/// A share: residues in `0..t`.
pub type Share = Tensor<u64>;

/// No randomness could be had from the operating system.
#[derive(Debug, thiserror::Error)]
#[error("no randomness from the operating system: {0}")]
pub struct RandomnessError(getrandom::Error);

/// Uniform residues from the operating system's entropy, expanded by `ChaCha20`.
pub struct Uniform {
    stream: ChaCha20Rng,
    modulus: u64,
}

impl Drop for Uniform {
    /// Wipes the key of the stream.
    fn drop(&mut self) {
        self.stream = ChaCha20Rng::from_seed([0; 32]);
        std::hint::black_box(&mut self.stream);
    }
}

impl Uniform {
    /// A fresh stream modulo `modulus`, at least 2.
    ///
    /// # Errors
    /// If the operating system gives no entropy.
    pub fn fresh(modulus: u64) -> Result<Self, RandomnessError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(RandomnessError)?;
        let stream = ChaCha20Rng::from_seed(seed);
        seed.zeroize();
        Ok(Self { stream, modulus })
    }

    /// `n` uniform residues, by rejection.
    pub fn take(&mut self, n: usize) -> Vec<u64> {
        let mask = u64::MAX >> (self.modulus - 1).leading_zeros();
        std::iter::repeat_with(|| self.stream.next_u64() & mask)
            .filter(|&r| r < self.modulus)
            .take(n)
            .collect()
    }
}

/// `a + b mod t` for residues.
pub(super) fn add_mod(a: u64, b: u64, t: u64) -> u64 {
    let sum = a + b;
    if sum >= t { sum - t } else { sum }
}

/// `a - b mod t` for residues.
pub(super) fn sub_mod(a: u64, b: u64, t: u64) -> u64 {
    if a >= b { a - b } else { a + t - b }
}

/// The residue of a signed integer.
pub(super) fn residue(x: i64, t: u64) -> u64 {
    let r = i128::from(x).rem_euclid(i128::from(t));
    u64::try_from(r).unwrap_or(0)
}

/// The signed integer of least magnitude of a residue; `t` is odd and below 2^62.
pub(super) fn signed(r: u64, t: u64) -> i64 {
    let wide = i64::try_from(r).unwrap_or(i64::MAX);
    if r > t / 2 { wide - i64::try_from(t).unwrap_or(i64::MAX) } else { wide }
}

/// Bytes of a residue below `t` on the wire.
fn residue_bytes(t: u64) -> usize {
    (u64::BITS - (t - 1).leading_zeros()).div_ceil(8) as usize
}

/// Bytes of `n` residues below `t` on the wire.
pub(super) fn share_bytes(n: usize, t: u64) -> usize {
    n * residue_bytes(t)
}

/// Sends residues below `t`, each in as many bytes as `t` needs, little-endian.
///
/// # Errors
/// If the other party is gone.
pub(super) fn send_share(
    channel: &mut dyn Channel,
    step: u32,
    tag: Tag,
    residues: &[u64],
    t: u64,
) -> Result<(), ChannelError> {
    let width = residue_bytes(t);
    let payload: Vec<u8> = residues.iter().flat_map(|r| r.to_le_bytes().into_iter().take(width)).collect();
    channel.send(step, tag, &payload)
}

/// Receives the residues of a tensor of `shape`.
///
/// # Errors
/// If something else comes.
pub(super) fn receive_share(
    channel: &mut dyn Channel,
    step: u32,
    tag: Tag,
    shape: &Shape,
    t: u64,
) -> Result<Share, NonLinearError> {
    let width = residue_bytes(t);
    let expected = share_bytes(shape.elements(), t);
    let payload = channel.receive(step, tag, expected)?;
    let malformed = || NonLinearError::MalformedShare { step, found: payload.len(), expected, modulus: t };
    let data: Vec<u64> = payload
        .chunks_exact(width)
        .map(|bytes| bytes.iter().rev().fold(0, |r, &b| (r << 8) | u64::from(b)))
        .collect();
    if payload.len() != expected || data.iter().any(|&r| r >= t) {
        return Err(malformed());
    }
    Tensor::new(shape.clone(), data).ok_or_else(malformed)
}

/// Applies a layer that is linear and needs no message to one party's shares; none if `layer` is a
/// linear layer with weights, non-linear, or the input.
#[must_use]
pub fn local(layer: &IntLayer, inputs: &[&Share], shape: &Shape, t: u64) -> Option<Share> {
    let data = match layer {
        IntLayer::Add { shifts } => {
            let mut sum = vec![0; shape.elements()];
            for (x, &shift) in inputs.iter().zip(shifts) {
                for (s, &v) in sum.iter_mut().zip(&x.data) {
                    *s = add_mod(*s, shifted(v, shift, t), t);
                }
            }
            sum
        }
        IntLayer::Concat { shifts } => inputs
            .iter()
            .zip(shifts)
            .flat_map(|(x, &shift)| x.data.iter().map(move |&v| shifted(v, shift, t)))
            .collect(),
        IntLayer::Shuffle(l) => {
            let x = inputs.first()?;
            let (c, h, w) = x.shape.chw();
            (0..c).flat_map(|o| plane(x, l.source(o, c), h * w).iter().copied()).collect()
        }
        IntLayer::Subsample(l) => {
            let x = inputs.first()?;
            let (c, h, w) = x.shape.chw();
            let mut kept = Vec::with_capacity(shape.elements());
            for channel in 0..c {
                for row in plane(x, channel, h * w).chunks(w.max(1)).step_by(l.stride.0) {
                    kept.extend(row.iter().step_by(l.stride.1));
                }
            }
            kept
        }
        IntLayer::PadChannels(l) => {
            let x = inputs.first()?;
            let (_, h, w) = x.shape.chw();
            let mut data = vec![0; l.before * h * w];
            data.extend(&x.data);
            data.resize(shape.elements(), 0);
            data
        }
        IntLayer::SumPool(pool) => sum_pool(pool, inputs.first()?, t),
        IntLayer::Flatten => inputs.first()?.data.clone(),
        IntLayer::Input(_)
        | IntLayer::Conv(_)
        | IntLayer::Linear(_)
        | IntLayer::MaxPool(_)
        | IntLayer::Requant(_)
        | IntLayer::Poly { .. } => return None,
    };
    Tensor::new(shape.clone(), data)
}

fn plane(x: &Share, channel: usize, pixels: usize) -> &[u64] {
    x.data.get(channel * pixels..(channel + 1) * pixels).unwrap_or(&[])
}

/// `v * 2^shift mod t`.
fn shifted(v: u64, shift: u32, t: u64) -> u64 {
    (0..shift).fold(v, |v, _| add_mod(v, v, t))
}

/// Sums over windows; what lies outside the image is zero.
fn sum_pool(pool: &Pool, x: &Share, t: u64) -> Vec<u64> {
    let (c, h, w) = x.shape.chw();
    let window = pool.windows((h, w));
    let mut sums = Vec::new();
    for channel in 0..c {
        let plane = plane(x, channel, h * w);
        for (rows, columns) in window.positions() {
            let sum = rows.fold(0, |sum, y| {
                plane[y * w + columns.start..y * w + columns.end].iter().fold(sum, |s, &v| add_mod(s, v, t))
            });
            sums.push(sum);
        }
    }
    sums
}
