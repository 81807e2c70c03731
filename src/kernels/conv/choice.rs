//! The choices that a convolution leaves open, none of which changes its result.

use super::super::taps::Blocks;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a convolution is laid out and scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Choice {
    /// Where channels stand.
    pub arrangement: Arrangement,
    /// What is turned.
    pub split: Split,
}

/// Where the channels of a convolution stand.
///
/// The groups of the convolution stand in `lanes` side by side, each of `c_n / lanes` blocks. In a lane, input
/// channels are repeated every `period` blocks; each of these segments computes `diagonals` outputs:
/// each output meets `diagonals` inputs block by block, `log2(period / diagonals)` rotate-and-sum steps
/// bring the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Arrangement {
    /// Polyphase parts of the image an axis, each in its own ciphertexts (beyond those of the stride):
    /// shifts become choices of ciphertext.
    pub fragments: usize,
    /// Size of the blocks; [`Blocks::Tight`] only where one block makes a lane.
    pub blocks: Blocks,
    /// Groups side by side: a power of two unless one block makes a lane.
    pub lanes: usize,
    /// Input channels of a group in a ciphertext: a power of two, at most the blocks of a lane.
    pub period: usize,
    /// Output channels of a segment: a power of two, at most `period`.
    pub diagonals: usize,
}

/// Which offsets turn inputs (baby steps, hoisted), which turn partial sums (giant steps).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Split {
    /// How many diagonals turn inputs: a power of two, at most the arrangement's `diagonals`.
    pub baby_diagonals: usize,
    /// What kernel rows turn.
    pub rows: Operand,
    /// What kernel columns turn.
    pub columns: Operand,
}

/// What a rotation turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Operand {
    /// Input ciphertexts: one rotation each, for all outputs.
    Inputs,
    /// Partial sums: one rotation each, for all inputs.
    Sums,
}

impl Split {
    /// Taps turn inputs, diagonals turn sums: the schedule of the literature.
    pub const OUTPUT_ROTATION: Self =
        Self { baby_diagonals: 1, rows: Operand::Inputs, columns: Operand::Inputs };

    /// Every split of `diagonals` diagonals, a power of two.
    pub fn all(diagonals: usize) -> impl Iterator<Item = Self> {
        let sides = [Operand::Inputs, Operand::Sums];
        let powers = (0..=diagonals.ilog2()).map(|k| 1 << k);
        powers.flat_map(move |baby_diagonals| {
            sides.into_iter().flat_map(move |rows| {
                sides.into_iter().map(move |columns| Self { baby_diagonals, rows, columns })
            })
        })
    }
}

impl Choice {
    /// What the reports call it. One input channel of a group a ciphertext needs no external rotation.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let Self { arrangement: Arrangement { diagonals, period, blocks, .. }, split } = *self;
        if period == 1 {
            "exrot-free"
        } else if blocks == Blocks::Spectrum {
            "spectral"
        } else if split == Split::OUTPUT_ROTATION {
            "output-rotation"
        } else if split == (Split { baby_diagonals: diagonals, ..Split::OUTPUT_ROTATION }) {
            "input-rotation"
        } else {
            "baby-giant"
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arrangement { fragments, diagonals, blocks, .. } = self.arrangement;
        let Split { baby_diagonals, rows, columns } = self.split;
        if blocks == Blocks::Spectrum {
            return write!(f, "{baby_diagonals} of {diagonals} diagonals on inputs, maps as spectra");
        }
        write!(
            f,
            "{baby_diagonals} of {diagonals} diagonals on inputs, rows on {rows}, columns on {columns}"
        )?;
        if fragments > 1 {
            write!(f, ", {fragments}x{fragments} fragments")?;
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inputs => "inputs",
            Self::Sums => "sums",
        })
    }
}
