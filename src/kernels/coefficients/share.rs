//! How channels and tiles share ciphertexts.
//!
//! `I` input channels of `S` coefficients and `O` outputs share a product if `I * O * S <= N`, so many
//! input ciphertexts are bought with few replies or the other way round. All splits are tried and the one
//! of least cost taken; products are few and about as many in each.

use super::super::KernelError;
use super::axis::{Cut, Reads};
use crate::tensor::ConvGeometry;

/// What an input ciphertext, a reply and a product cost: encryption, reading, 50 KB; masks, flooding,
/// decryption, 20 KB; encoding and multiplying. As measured at ring 4096, bytes at 3 Gbit/s.
const INPUT: usize = 15;
const OUTPUT: usize = 21;
const PRODUCT: usize = 1;
/// Numbers of tiles that are tried beyond the fewest.
const MORE_TILES: usize = 16;

/// The split of a convolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Input channels of a ciphertext.
    pub(super) inputs: usize,
    /// Output channels of a product.
    pub(super) outputs: usize,
    pub(super) rows: Cut,
    pub(super) columns: Cut,
}

impl Share {
    /// Coefficients of a channel.
    pub(super) fn plane(&self) -> usize {
        self.rows.extent * self.columns.extent
    }

    /// The cheapest split.
    pub(super) fn choose(
        g: &ConvGeometry,
        rows: &Reads,
        columns: &Reads,
        ring: usize,
    ) -> Result<Self, KernelError> {
        let (columns, tallest) = cut_columns(rows, columns, ring)?;
        let fewest = rows.outputs().div_ceil(tallest);
        let mut best: Option<(usize, Self)> = None;
        for tiles in fewest..=(fewest + MORE_TILES).min(rows.outputs()) {
            let rows = rows.cut(rows.outputs().div_ceil(tiles));
            let capacity = ring / (rows.extent * columns.extent);
            for inputs in 1..=capacity.min(g.c_in) {
                let outputs = (capacity / inputs).min(g.c_out);
                // As few of each as the same number of ciphertexts needs.
                let inputs = g.c_in.div_ceil(g.c_in.div_ceil(inputs));
                let outputs = g.c_out.div_ceil(g.c_out.div_ceil(outputs));
                let cost = (rows.tiles() * columns.tiles()).saturating_mul(cost(g, inputs, outputs));
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    let (rows, columns) = (rows.clone(), columns.clone());
                    best = Some((cost, Self { inputs, outputs, rows, columns }));
                }
            }
        }
        let window = (rows.taps.len(), columns.extent);
        best.map(|(_, share)| share).ok_or(KernelError::Window { rows: window.0, columns: window.1, ring })
    }
}

/// Columns whole where that leaves room for a row of outputs, else in tiles about as wide as high; and the
/// most rows of outputs that fit beside them.
fn cut_columns(rows: &Reads, columns: &Reads, ring: usize) -> Result<(Cut, usize), KernelError> {
    let within = |cut: &Cut| {
        let alone = rows.cut(rows.outputs()).extent * cut.extent <= ring;
        if alone { Some(rows.outputs()) } else { rows.outputs_within(ring / cut.extent) }
    };
    let whole = columns.cut(columns.outputs());
    if let Some(tallest) = within(&whole) {
        return Ok((whole, tallest));
    }
    let refused = || KernelError::Window { rows: rows.taps.len(), columns: columns.taps.len(), ring };
    let widest = ring.isqrt().max(columns.taps.len()).min(ring / rows.taps.len());
    let per_tile = columns.outputs_within(widest).ok_or_else(refused)?;
    let cut = columns.cut(per_tile.min(columns.outputs()));
    let tallest = within(&cut).ok_or_else(refused)?;
    Ok((cut, tallest))
}

/// The cost of one tile, in products; groups are taken to begin where ciphertexts do.
fn cost(g: &ConvGeometry, inputs: usize, outputs: usize) -> usize {
    let parts = (g.c_in.div_ceil(inputs), g.c_out.div_ceil(outputs));
    let groups = g.groups.count();
    let met = outputs.div_ceil(g.c_out / groups) * (g.c_in / groups);
    let products = parts.1.saturating_mul(met.div_ceil(inputs).min(parts.0));
    (parts.0 * INPUT + parts.1 * OUTPUT).saturating_add(products * PRODUCT)
}

/// The input ciphertexts of a tile whose channels share a group with one of output ciphertext `part`, where
/// channels lie group by group.
pub(super) fn reached(
    g: &ConvGeometry,
    inputs: usize,
    outputs: usize,
    part: usize,
) -> std::ops::Range<usize> {
    let groups = g.groups.count();
    let (fan_in, fan_out) = (g.c_in / groups, g.c_out / groups);
    let (first, last) = (part * outputs, ((part + 1) * outputs).min(g.c_out) - 1);
    let channels = first / fan_out * fan_in..(last / fan_out + 1) * fan_in;
    channels.start / inputs..(channels.end - 1) / inputs + 1
}
