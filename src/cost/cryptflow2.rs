//! What CrypTFlow2 (CCS 2020) would execute for a linear layer: closed formulas of its SCI-HE back end.
//!
//! It pads an image before it packs it, so that padding takes slots; cuts a strided convolution into one
//! of stride 1 for each phase, each with its own rotations of outputs; gives a channel a block of the next
//! power of two and knows no fewer diagonals for few channels; chooses N for each layer, 8192 to 32768; has
//! no kernel for grouped convolutions. Read off its loops (`LinearHE/{conv,fc}-field.cpp`), not executed.

use crate::circuit::Counts;
use crate::tensor::ConvGeometry;

const MIN_RING: usize = 8192;
const MAX_RING: usize = 32768;

/// A layer that CrypTFlow2 has no kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKernel {
    /// More than one group.
    #[error("it has {0} groups, and CrypTFlow2 runs no grouped convolution")]
    Grouped(usize),
    /// A map larger than a row of its largest ring.
    #[error("a channel of {found} padded pixels exceeds the {} slots of a row of its largest ring", MAX_RING / 2)]
    Map {
        /// Pixels of a phase.
        found: usize,
    },
    /// Features that do not fit a ciphertext.
    #[error("{found} input features exceed a ciphertext of its largest ring, {MAX_RING} slots")]
    Features {
        /// How many.
        found: usize,
    },
}

/// The counts of a convolution. Products include those with masks that are zero.
///
/// # Errors
/// If CrypTFlow2 has no kernel for it.
pub fn convolution(g: &ConvGeometry) -> Result<Counts, NoKernel> {
    if g.groups.count() != 1 {
        return Err(NoKernel::Grouped(g.groups.count()));
    }
    // Pixels behind the last window are cut off before the phases are made.
    let used = |size: usize, pad: usize, kernel: usize, stride: usize| {
        kernel + (size + 2 * pad - kernel) / stride * stride
    };
    let rows = used(g.h, g.pad.h, g.kernel.0, g.stride.0);
    let columns = used(g.w, g.pad.w, g.kernel.1, g.stride.1);
    let part = |size: usize, phase: usize, stride: usize| size.saturating_sub(phase).div_ceil(stride);
    let mut counts = Counts::default();
    for y in 0..g.stride.0.min(g.kernel.0) {
        for x in 0..g.stride.1.min(g.kernel.1) {
            let pixels = part(rows, y, g.stride.0) * part(columns, x, g.stride.1);
            let taps = part(g.kernel.0, y, g.stride.0) * part(g.kernel.1, x, g.stride.1);
            counts += phase(pixels, taps, g.c_in, g.c_out)?;
        }
    }
    Ok(counts)
}

/// A convolution of stride 1 and `taps` taps on images of `pixels` pixels.
fn phase(pixels: usize, taps: usize, c_in: usize, c_out: usize) -> Result<Counts, NoKernel> {
    let block = pixels.next_power_of_two();
    let ring = MIN_RING.max(2 * block);
    if ring > MAX_RING {
        return Err(NoKernel::Map { found: pixels });
    }
    let half = ring / 2 / block;
    let (inputs, outputs) = (c_in.div_ceil(2 * half), c_out.div_ceil(2 * half));
    let (halves_in, halves_out) = (c_in.div_ceil(half), c_out.div_ceil(half));
    // Halves of outputs come in pairs, whose second one is turned to the other row.
    let halves = if halves_out > 1 { halves_out.next_multiple_of(2) } else { 1 };
    let swaps = if halves > 1 { halves / 2 } else { usize::from(halves_in > 1) };
    let external = halves * (half - 1) + swaps;
    let internal = inputs * (taps - 1);
    let sums = halves * half;
    Ok(Counts {
        internal: internal as u64,
        external: external as u64,
        key_switches: (internal + external) as u64,
        plain_mults: (sums * inputs * taps) as u64,
        adds: (sums * (inputs * taps - 1) + sums - outputs.min(sums)) as u64,
        ciphertexts_in: inputs as u64,
        ciphertexts_out: outputs as u64,
        ..Counts::default()
    })
}

/// The counts of a fully connected layer: `d` diagonals, then rotate and sum.
///
/// # Errors
/// If the features exceed its largest ring.
pub fn linear(inputs: usize, outputs: usize) -> Result<Counts, NoKernel> {
    let width = inputs.next_power_of_two();
    let ring = MIN_RING.max(2 * width);
    if ring > MAX_RING {
        return Err(NoKernel::Features { found: inputs });
    }
    let diagonals = outputs.next_power_of_two().div_ceil(ring / width);
    let folds = (width / diagonals.min(width)).ilog2() as usize;
    let external = (diagonals - 1 + folds) as u64;
    Ok(Counts {
        external,
        key_switches: external,
        plain_mults: diagonals as u64,
        adds: external,
        ciphertexts_in: 1,
        ciphertexts_out: 1,
        ..Counts::default()
    })
}
