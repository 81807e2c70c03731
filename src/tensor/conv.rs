//! The plain geometry of a convolution: which input pixel and channel meets which output through which
//! tap.

use serde::{Deserialize, Serialize};

/// Which taps of a `kh x kw` kernel may be other than zero. Declared, so it may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Support {
    /// Every tap.
    Full,
    /// The middle row and the middle column.
    Cross,
    /// First half of the output channels: the middle row (1xK); the others: the middle column (Kx1).
    Strips,
}

/// How input channels meet output channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Groups {
    /// Every input channel with every output channel.
    Dense,
    /// PyTorch's `groups=g`: contiguous runs of channels.
    Contiguous(usize),
    /// Input and output channel `c` in group `c mod g`.
    Striped(usize),
}

/// Zero padding of rows and columns, on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pad {
    /// Rows above and below.
    pub h: usize,
    /// Columns left and right.
    pub w: usize,
}

/// A convolution applied to an image of known size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvGeometry {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Input rows.
    pub h: usize,
    /// Input columns.
    pub w: usize,
    /// Kernel rows and columns.
    pub kernel: (usize, usize),
    /// Rows and columns of stride.
    pub stride: (usize, usize),
    /// Zero padding.
    pub pad: Pad,
    /// Channel grouping.
    pub groups: Groups,
    /// Declared taps.
    pub support: Support,
}

impl Groups {
    /// The number of groups.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Dense => 1,
            Self::Contiguous(g) | Self::Striped(g) => g,
        }
    }

    /// Where row `o` of the weight (output channel `o`) stands in the file. As PyTorch stores it: for
    /// stripes, which are a shuffle, a grouped convolution and the inverse shuffle, the rows of group
    /// `o mod g` are together.
    #[must_use]
    pub fn file_row(self, o: usize, c_out: usize) -> usize {
        match self {
            Self::Dense | Self::Contiguous(_) => o,
            Self::Striped(g) => (o % g) * (c_out / g) + o / g,
        }
    }

    /// The channel, of `channels`, that is number `index` of group `group`.
    #[must_use]
    pub fn member(self, group: usize, index: usize, channels: usize) -> usize {
        match self {
            Self::Dense => index,
            Self::Contiguous(g) => group * (channels / g) + index,
            Self::Striped(g) => index * g + group,
        }
    }

    /// Which column of the weight joins input channel `i` to output channel `o` of a layer
    /// `c_in -> c_out`; none if they never meet.
    #[must_use]
    pub fn column(self, o: usize, i: usize, c_in: usize, c_out: usize) -> Option<usize> {
        match self {
            Self::Dense => Some(i),
            Self::Contiguous(g) => {
                let (per_in, per_out) = (c_in / g, c_out / g);
                (i / per_in == o / per_out).then(|| i % per_in)
            }
            Self::Striped(g) => (i % g == o % g).then_some(i / g),
        }
    }
}

impl Support {
    /// Whether tap `(y, x)` of a `kh x kw` kernel is in use for output channel `o` of `c_out`.
    #[must_use]
    pub fn has(self, (y, x): (usize, usize), (kh, kw): (usize, usize), o: usize, c_out: usize) -> bool {
        let (row, column) = (y == kh / 2, x == kw / 2);
        match self {
            Self::Full => true,
            Self::Cross => row || column,
            Self::Strips => {
                if o < c_out / 2 {
                    row
                } else {
                    column
                }
            }
        }
    }
}

impl ConvGeometry {
    /// Output rows and columns.
    #[must_use]
    pub fn out_size(&self) -> (usize, usize) {
        (
            (self.h + 2 * self.pad.h - self.kernel.0) / self.stride.0 + 1,
            (self.w + 2 * self.pad.w - self.kernel.1) / self.stride.1 + 1,
        )
    }
}
