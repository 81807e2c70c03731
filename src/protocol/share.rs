//! Additive shares modulo the plaintext prime, and the steps that need no message.
//!
//! A tensor `x` is held as `x = client + server mod t`. Additions, concatenations, sums over windows
//! and re-indexing are linear, so each party applies them to its own share alone. Bias and other
//! public or one-sided constants are added by one party. Arithmetic on residues is that of [`Modulus`], which takes
//! the same time for all of them; which residue goes where depends on shapes alone. What holds a share
//! or a mask is wiped when it is dropped.

use super::NonLinearError;
use crate::channel::{Channel, ChannelError, Tag};
use crate::graph::IntLayer;
use crate::layers::Pool;
use crate::mpc::{Modulus, Wiped};
use crate::tensor::{Shape, Tensor};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use zeroize::Zeroize;

/// A share: residues in `0..t` of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Shape.
    pub shape: Shape,
    /// As many residues.
    pub data: Wiped,
}

impl Share {
    /// None if there are not as many residues as elements.
    #[must_use]
    pub fn new(shape: Shape, data: Wiped) -> Option<Self> {
        (shape.elements() == data.len()).then_some(Self { shape, data })
    }

    /// Shares of zero.
    #[must_use]
    pub fn zeros(shape: Shape) -> Self {
        let data = Wiped::zeros(shape.elements());
        Self { shape, data }
    }

    /// The residues of a tensor.
    pub(super) fn of(x: &Tensor<i64>, t: Modulus) -> Self {
        Self { shape: x.shape.clone(), data: x.data.iter().map(|&x| t.residue(x)).collect() }
    }
}

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

    /// `n` uniform residues, by rejection: time depends on what is rejected, of which nothing is kept.
    pub fn take(&mut self, n: usize) -> Wiped {
        let mask = u64::MAX >> (self.modulus - 1).leading_zeros();
        let mut next = || loop {
            let candidate = self.stream.next_u64() & mask;
            if candidate < self.modulus {
                return candidate;
            }
        };
        (0..n).map(|_| next()).collect()
    }
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
    t: Modulus,
) -> Result<(), ChannelError> {
    let width = residue_bytes(t.value());
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
    t: Modulus,
) -> Result<Share, NonLinearError> {
    let t = t.value();
    let width = residue_bytes(t);
    let expected = share_bytes(shape.elements(), t);
    let payload = channel.receive(step, tag, expected)?;
    let malformed = || NonLinearError::MalformedShare { step, found: payload.len(), expected, modulus: t };
    let data: Wiped = payload
        .chunks_exact(width)
        .map(|bytes| bytes.iter().rev().fold(0, |r, &b| (r << 8) | u64::from(b)))
        .collect();
    if payload.len() != expected || data.iter().any(|&r| r >= t) {
        return Err(malformed());
    }
    Share::new(shape.clone(), data).ok_or_else(malformed)
}

/// Applies a layer that is linear and needs no message to one party's shares; none if `layer` is a
/// linear layer with weights, non-linear, or the input.
#[must_use]
pub fn local(layer: &IntLayer, inputs: &[&Share], shape: &Shape, t: Modulus) -> Option<Share> {
    let data: Wiped = match layer {
        IntLayer::Add { shifts } => {
            let mut sum = Wiped::zeros(shape.elements());
            for (x, &shift) in inputs.iter().zip(shifts) {
                for (s, &v) in sum.iter_mut().zip(x.data.iter()) {
                    *s = t.add(*s, shifted(v, shift, t));
                }
            }
            sum
        }
        IntLayer::Concat { shifts } => {
            let mut joined = Wiped::from(Vec::with_capacity(shape.elements()));
            for (x, &shift) in inputs.iter().zip(shifts) {
                joined.extend(x.data.iter().map(|&v| shifted(v, shift, t)));
            }
            joined
        }
        IntLayer::Shuffle(l) => {
            let x = inputs.first()?;
            let (c, h, w) = x.shape.chw();
            let mut shuffled = Wiped::from(Vec::with_capacity(shape.elements()));
            (0..c).for_each(|o| shuffled.extend_from_slice(plane(x, l.source(o, c), h * w)));
            shuffled
        }
        IntLayer::Subsample(l) => {
            let x = inputs.first()?;
            let (c, h, w) = x.shape.chw();
            let mut kept = Wiped::from(Vec::with_capacity(shape.elements()));
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
            let mut data = Wiped::zeros(shape.elements());
            let at = l.before * h * w;
            data.get_mut(at..at + x.data.len())?.copy_from_slice(&x.data);
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
    Share::new(shape.clone(), data)
}

fn plane(x: &Share, channel: usize, pixels: usize) -> &[u64] {
    x.data.get(channel * pixels..(channel + 1) * pixels).unwrap_or(&[])
}

/// `v * 2^shift mod t`.
fn shifted(v: u64, shift: u32, t: Modulus) -> u64 {
    (0..shift).fold(v, |v, _| t.add(v, v))
}

/// Sums over windows; what lies outside the image is zero.
fn sum_pool(pool: &Pool, x: &Share, t: Modulus) -> Wiped {
    let (c, h, w) = x.shape.chw();
    let window = pool.windows((h, w));
    let (rows, columns) = window.count();
    let mut sums = Wiped::from(Vec::with_capacity(c * rows * columns));
    for channel in 0..c {
        let plane = plane(x, channel, h * w);
        for (rows, columns) in window.positions() {
            let sum = rows.fold(0, |sum, y| {
                plane[y * w + columns.start..y * w + columns.end].iter().fold(sum, |s, &v| t.add(s, v))
            });
            sums.push(sum);
        }
    }
    sums
}
