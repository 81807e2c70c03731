//! Packed algorithms: each knows its layouts, emits its instructions, and makes its plaintexts.
//!
//! A kernel is computed from shapes alone and is public; weights enter only where plaintexts are made.
//! Only zeros that the shape declares (groups, cross, strips, padding) are left out, never zeros found
//! in weights, so a circuit tells nothing of the weights; [`Kernel::zeros`] is for those who ask for
//! [`drop_zeros`](crate::passes::drop_zeros). Kernels know no layers and no graph.

mod chain;
mod coefficients;
mod conv;
mod linear;
mod spectrum;
mod taps;

pub use coefficients::Coefficients;
pub use conv::{Arrangement, Candidate, Choice, Conv, Operand, Split, Tally};
pub use linear::Linear;
pub use taps::Blocks;

use crate::circuit::{PlainId, PlainSource, Segment};
use crate::layout::Packing;
use crate::params::Encoding;
use crate::tensor::{ConvGeometry, Groups, MAX_ELEMENTS, Pad, Shape, Support, Tensor};
use rayon::prelude::*;
use spectrum::{Spectra, Transform};
use zeroize::Zeroize;

/// Ring degrees that kernels accept.
const RINGS: std::ops::RangeInclusive<usize> = 1 << 6..=1 << 16;
/// The most products of one layer.
const MAX_TERMS: usize = 1 << 24;

/// Why a layer has no kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// An impossible ring degree.
    #[error("ring degree {0} is no power of two between 2^6 and 2^16; use one between 2^12 and 2^15")]
    Ring(usize),
    /// Sizes that make no convolution or linear layer.
    #[error("{what} = {found}, expected {expected}")]
    Size {
        /// Which size.
        what: &'static str,
        /// What it is.
        found: usize,
        /// What it may be.
        expected: &'static str,
    },
    /// A tile of a large map does not fit a row of slots.
    #[error(
        "{rows} image rows of {width} pixels, the least that a tile needs, exceed the {half} slots of a \
         row; use a larger ring, at least {}",
        2 * (rows * width).next_power_of_two()
    )]
    TileTooLarge {
        /// Pixel rows, halo included.
        rows: usize,
        /// Pixels of a row.
        width: usize,
        /// N/2.
        half: usize,
    },
    /// What one output reads exceeds a polynomial.
    #[error(
        "a window of {rows}x{columns} pixels exceeds the {ring} coefficients of a ciphertext; use a larger ring"
    )]
    Window {
        /// Pixel rows that an output reads.
        rows: usize,
        /// Pixel columns.
        columns: usize,
        /// N.
        ring: usize,
    },
    /// An output that no input reaches.
    #[error(
        "output ciphertext {0} depends on no input: all its taps fall into the padding; use less padding"
    )]
    NoTerm(usize),
    /// More products than any run could make.
    #[error("more than {limit} plaintext multiplications in one layer; use a larger ring or a smaller layer")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// Weights of another shape.
    #[error("weights of shape {found}, expected {expected}")]
    Weights {
        /// Their shape.
        found: Shape,
        /// The layer's.
        expected: Shape,
    },
}

/// A linear layer's packed algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// A convolution.
    Conv(Conv),
    /// A fully connected layer by hybrid diagonals.
    Linear(Linear),
    /// A fully connected layer as the 1x1 convolution of one pixel.
    Features(Conv),
    /// Either of them in coefficients.
    Coefficients(Coefficients),
}

impl Kernel {
    /// The first of [`Self::candidates`].
    ///
    /// # Errors
    /// If the ring or a size is refused, or a pixel row exceeds a row of slots.
    pub fn conv(geometry: &ConvGeometry, ring: usize) -> Result<Self, KernelError> {
        let candidates = conv::candidates(geometry, ring)?;
        let best = candidates.first().ok_or(KernelError::NoTerm(0))?;
        Self::conv_as(geometry, ring, best.choice)
    }

    /// The kernel of a convolution as `choice` has it.
    ///
    /// # Errors
    /// As [`Self::conv`], and if the choice does not fit the channel capacity.
    pub fn conv_as(geometry: &ConvGeometry, ring: usize, choice: Choice) -> Result<Self, KernelError> {
        Conv::new(geometry, ring, choice).map(Self::Conv)
    }

    /// The output-rotation kernel of a convolution, in which the literature counts.
    ///
    /// # Errors
    /// As [`Self::conv`].
    pub fn output_rotation(geometry: &ConvGeometry, ring: usize) -> Result<Self, KernelError> {
        Self::conv_as(geometry, ring, conv::output_rotation(geometry, ring)?)
    }

    /// The choices of a convolution and what each costs, without any instruction: the best by rotations,
    /// weighed with ciphertexts and Galois keys, first.
    ///
    /// # Errors
    /// As [`Self::conv`].
    pub fn candidates(geometry: &ConvGeometry, ring: usize) -> Result<Vec<Candidate>, KernelError> {
        conv::candidates(geometry, ring)
    }

    /// The kernel of a linear layer of `inputs` features to `outputs` that is best by rotation count:
    /// hybrid diagonals, or baby and giant steps over them where that is less.
    ///
    /// # Errors
    /// If the ring or a size is refused.
    pub fn linear(inputs: usize, outputs: usize, ring: usize) -> Result<Self, KernelError> {
        let hybrid = Linear::new(inputs, outputs, ring)?;
        let candidates = conv::candidates(&pixel(inputs, outputs), ring)?;
        match candidates.first() {
            Some(best) if best.tally.rotations() < hybrid.rotations() => {
                Self::linear_as(inputs, outputs, ring, best.choice)
            }
            _ => Ok(Self::Linear(hybrid)),
        }
    }

    /// The hybrid kernel of a linear layer (GAZELLE).
    ///
    /// # Errors
    /// If the ring or a size is refused.
    pub fn hybrid(inputs: usize, outputs: usize, ring: usize) -> Result<Self, KernelError> {
        Linear::new(inputs, outputs, ring).map(Self::Linear)
    }

    /// A linear layer as the 1x1 convolution of one pixel that `choice` has.
    ///
    /// # Errors
    /// As [`Self::linear`], and if the choice does not fit.
    pub fn linear_as(
        inputs: usize,
        outputs: usize,
        ring: usize,
        choice: Choice,
    ) -> Result<Self, KernelError> {
        check_features(inputs, outputs)?;
        Conv::new(&pixel(inputs, outputs), ring, choice).map(Self::Features)
    }

    /// The choices of [`Self::linear_as`] and what each costs, the best by rotation count first.
    ///
    /// # Errors
    /// If the ring or a size is refused.
    pub fn linear_candidates(
        inputs: usize,
        outputs: usize,
        ring: usize,
    ) -> Result<Vec<Candidate>, KernelError> {
        check_features(inputs, outputs)?;
        conv::candidates(&pixel(inputs, outputs), ring)
    }

    /// The coefficient kernel of a convolution.
    ///
    /// # Errors
    /// If the ring or a size is refused, or what one output reads exceeds a polynomial.
    pub fn coefficient_conv(geometry: &ConvGeometry, ring: usize) -> Result<Self, KernelError> {
        Coefficients::conv(geometry, ring).map(Self::Coefficients)
    }

    /// The coefficient kernel of a linear layer of `inputs` features to `outputs`.
    ///
    /// # Errors
    /// If the ring or a size is refused.
    pub fn coefficient_linear(inputs: usize, outputs: usize, ring: usize) -> Result<Self, KernelError> {
        Coefficients::linear(inputs, outputs, ring).map(Self::Coefficients)
    }

    /// What its ciphertexts hold.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Conv(_) | Self::Linear(_) | Self::Features(_) => Encoding::Slots,
            Self::Coefficients(_) => Encoding::Coefficients,
        }
    }

    /// Where the input stands.
    #[must_use]
    pub fn input(&self) -> &Packing {
        match self {
            Self::Conv(k) | Self::Features(k) => k.input(),
            Self::Linear(k) => k.input(),
            Self::Coefficients(k) => k.input(),
        }
    }

    /// Where the output stands. Slots without an element hold partial sums: they are to be masked like
    /// all others before they leave the server. Coefficients without an element are not sent.
    #[must_use]
    pub fn output(&self) -> &Packing {
        match self {
            Self::Conv(k) | Self::Features(k) => k.output(),
            Self::Linear(k) => k.output(),
            Self::Coefficients(k) => k.output(),
        }
    }

    /// Its instructions.
    #[must_use]
    pub fn emit(&self, layer: &str) -> Segment {
        match self {
            Self::Conv(k) | Self::Features(k) => k.emit(layer),
            Self::Linear(k) => k.emit(layer),
            Self::Coefficients(k) => k.emit(layer),
        }
    }

    /// Rows and columns of the spectrum that each block of slots holds instead of a map's pixels, if it does.
    #[must_use]
    pub fn spectrum(&self) -> Option<(usize, usize)> {
        match self {
            Self::Conv(k) | Self::Features(k) => k.spectrum(),
            Self::Linear(_) | Self::Coefficients(_) => None,
        }
    }

    /// What the reports say of its layouts, in and out.
    #[must_use]
    pub fn layouts(&self) -> [String; 2] {
        let held = if self.spectrum().is_some() { ", as spectra" } else { "" };
        [self.input(), self.output()].map(|packing| format!("{packing}{held}"))
    }

    /// What the input ciphertexts hold of a tensor of residues modulo the plaintext prime `t`, for either share.
    ///
    /// # Panics
    /// If `values` has fewer elements than the input.
    #[must_use]
    pub fn pack(&self, values: &[u64], t: u64) -> Vec<Vec<u64>> {
        let mut packed = self.input().pack(values);
        if let Some(size) = self.spectrum() {
            let transform = Transform::new(size, t);
            packed.par_iter_mut().for_each(|slots| transform.forward(slots));
        }
        packed
    }

    /// The tensor of residues modulo `t` that the values of the output ciphertexts stand for, of either share.
    ///
    /// # Panics
    /// If there are fewer ciphertexts than the output has, or one has fewer than N values.
    #[must_use]
    pub fn unpack(&self, mut values: Vec<Vec<u64>>, t: u64) -> Vec<u64> {
        if let Some(size) = self.spectrum() {
            let transform = Transform::new(size, t);
            values.par_iter_mut().for_each(|slots| transform.inverse(slots));
        }
        let unpacked = self.output().unpack(&values);
        // They are shares or masks.
        values.zeroize();
        unpacked
    }

    /// How many plaintexts it has.
    #[must_use]
    pub fn products(&self) -> usize {
        match self {
            Self::Conv(k) | Self::Features(k) => k.products(),
            Self::Linear(k) => k.products(),
            Self::Coefficients(k) => k.products(),
        }
    }

    /// The plaintexts that are zero under `weights`, by id: of no use, but to leave them out shows which.
    ///
    /// # Errors
    /// If the weights have another shape.
    pub fn zeros(&self, weights: &Tensor<i8>) -> Result<Vec<bool>, KernelError> {
        self.check_weights(weights)?;
        let zero = |id| match self {
            Self::Conv(k) | Self::Features(k) => k.is_zero(&weights.data, PlainId(id)),
            Self::Linear(k) => k.is_zero(&weights.data, PlainId(id)),
            Self::Coefficients(k) => k.is_zero(&weights.data, PlainId(id)),
        };
        Ok((0..narrow(self.products())).into_par_iter().map(zero).collect())
    }

    /// Its plaintexts under `weights`, `[out, in / g, kh, kw]` or `[out, in]`, row `o` being output `o`, for
    /// results modulo the plaintext prime `t`.
    ///
    /// # Errors
    /// If the weights have another shape.
    pub fn plains<'a>(&'a self, weights: &'a Tensor<i8>, t: u64) -> Result<Plains<'a>, KernelError> {
        self.check_weights(weights)?;
        let spectra = match self {
            Self::Conv(k) | Self::Features(k) => {
                k.spectrum().map(|size| k.spectra(&Transform::new(size, t))).unwrap_or_default()
            }
            Self::Linear(_) | Self::Coefficients(_) => Vec::new(),
        };
        Ok(Plains { kernel: self, weights: &weights.data, spectra })
    }

    fn check_weights(&self, weights: &Tensor<i8>) -> Result<(), KernelError> {
        let expected = match self {
            Self::Conv(k) => k.weight_shape(),
            Self::Linear(k) => k.weight_shape(),
            Self::Features(k) => Shape::of(&k.weight_shape().dims()[..2]),
            Self::Coefficients(k) => k.weight_shape(),
        };
        if weights.shape != expected || weights.data.len() != expected.elements() {
            return Err(KernelError::Weights { found: weights.shape.clone(), expected });
        }
        Ok(())
    }

    /// What the reports call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv(k) | Self::Features(k) => k.choice().name(),
            Self::Linear(_) => "hybrid-diagonals",
            Self::Coefficients(_) => "coefficients",
        }
    }

    /// How it is laid out and scheduled, where there was a choice.
    #[must_use]
    pub fn choice(&self) -> Option<Choice> {
        match self {
            Self::Conv(k) | Self::Features(k) => Some(k.choice()),
            Self::Linear(_) | Self::Coefficients(_) => None,
        }
    }

    /// Channel capacity of the input's layout.
    #[must_use]
    pub fn channel_capacity(&self) -> usize {
        self.input().capacity()
    }
}

/// A layer's plaintexts, made when they are asked for.
#[derive(Clone, Debug)]
pub struct Plains<'a> {
    kernel: &'a Kernel,
    weights: &'a [i8],
    /// By input phase, where blocks hold spectra.
    spectra: Vec<Spectra>,
}

impl PlainSource for Plains<'_> {
    fn fill(&self, id: PlainId, slots: &mut [i64]) {
        slots.fill(0);
        match self.kernel {
            Kernel::Conv(k) | Kernel::Features(k) => k.fill(self.weights, id, &self.spectra, slots),
            Kernel::Linear(k) => k.fill(self.weights, id, slots),
            Kernel::Coefficients(k) => k.fill(self.weights, id, slots),
        }
    }
}

fn check_ring(ring: usize) -> Result<(), KernelError> {
    if ring.is_power_of_two() && RINGS.contains(&ring) { Ok(()) } else { Err(KernelError::Ring(ring)) }
}

/// A linear layer as a convolution.
fn pixel(inputs: usize, outputs: usize) -> ConvGeometry {
    ConvGeometry {
        c_in: inputs,
        c_out: outputs,
        h: 1,
        w: 1,
        kernel: (1, 1),
        stride: (1, 1),
        pad: Pad { h: 0, w: 0 },
        groups: Groups::Dense,
        support: Support::Full,
    }
}

fn check_features(inputs: usize, outputs: usize) -> Result<(), KernelError> {
    for (what, found) in [("inputs", inputs), ("outputs", outputs)] {
        if !(1..=MAX_ELEMENTS).contains(&found) {
            return Err(KernelError::Size { what, found, expected: "1 to 2^31" });
        }
    }
    Ok(())
}

/// A size as an id of the circuit. Sizes are far below 2^32: see [`MAX_TERMS`] and the tensor limits.
fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
