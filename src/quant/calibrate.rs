//! What values a model takes on calibration images: per channel a high quantile of the magnitude, and the
//! mean square.
//!
//! Images are taken in chunks of fixed size whose results are joined in order, so that nothing depends on
//! the number of threads. Of each channel only the few largest magnitudes are kept.

use super::QuantError;
use super::float::{FloatWeights, float_eval_with};
use crate::graph::{Model, NodeId};
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Images that are evaluated one after the other.
const CHUNK: usize = 16;
/// The part of a channel's values that may saturate.
const CLIPPED: f64 = 1e-4;

/// Statistics of one value, one entry a channel.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    /// The 99.99 % quantile of the magnitude.
    pub(super) high: Vec<f64>,
    /// The mean of the square.
    pub(super) mean_square: Vec<f64>,
}

/// Measures the values of `nodes` over all images.
pub(super) fn measure(
    model: &Model,
    weights: &FloatWeights,
    images: &[Tensor<f32>],
    nodes: &BTreeSet<NodeId>,
) -> Result<BTreeMap<NodeId, Spread>, QuantError> {
    let keep = |id: NodeId| {
        let shape = &model.graph.node(id).shape;
        kept(images.len().saturating_mul(shape.elements() / shape.channels().max(1)))
    };
    let empty = || nodes.iter().map(|&id| (id, Tally::new(keep(id)))).collect::<BTreeMap<_, _>>();
    let chunks: Vec<_> = images
        .par_chunks(CHUNK)
        .map(|chunk| {
            let mut tallies = empty();
            for image in chunk {
                float_eval_with(model, weights, image, &mut |id, value| {
                    if let Some(tally) = tallies.get_mut(&id) {
                        tally.add(value);
                    }
                })?;
            }
            Ok::<_, QuantError>(tallies)
        })
        .collect::<Result<_, _>>()?;
    let mut total = empty();
    for (id, tally) in chunks.into_iter().flatten() {
        if let Some(sum) = total.get_mut(&id) {
            sum.join(tally);
        }
    }
    Ok(total.into_iter().map(|(id, tally)| (id, tally.spread())).collect())
}

/// How many of `count` values decide the quantile.
fn kept(count: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a positive number far below 2^53"
    )]
    let clipped = (count as f64 * CLIPPED) as usize;
    clipped + 1
}

/// The sums over some images, one entry a channel.
struct Tally {
    keep: usize,
    count: f64,
    largest: Vec<Vec<f32>>,
    squares: Vec<f64>,
}

impl Tally {
    fn new(keep: usize) -> Self {
        Self { keep, count: 0.0, largest: Vec::new(), squares: Vec::new() }
    }

    fn add(&mut self, value: &Tensor<f32>) {
        let plane = (value.data.len() / value.shape.channels().max(1)).max(1);
        self.largest.resize(value.shape.channels(), Vec::new());
        self.squares.resize(value.shape.channels(), 0.0);
        for (c, values) in value.data.chunks(plane).enumerate() {
            self.squares[c] += values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>();
            let largest = &mut self.largest[c];
            let bar = if largest.len() < self.keep { -1.0 } else { largest[self.keep - 1] };
            largest.extend(values.iter().map(|v| v.abs()).filter(|v| *v > bar));
            trim(largest, self.keep);
        }
        self.count += f64::from(u32::try_from(plane).unwrap_or(u32::MAX));
    }

    fn join(&mut self, other: Self) {
        self.largest.resize(other.largest.len(), Vec::new());
        self.squares.resize(other.squares.len(), 0.0);
        self.count += other.count;
        for (sum, square) in self.squares.iter_mut().zip(other.squares) {
            *sum += square;
        }
        for (largest, more) in self.largest.iter_mut().zip(other.largest) {
            largest.extend(more);
            trim(largest, self.keep);
        }
    }

    fn spread(self) -> Spread {
        let high = self.largest.iter().map(|l| l.last().copied().map_or(0.0, f64::from)).collect();
        let mean_square = self.squares.iter().map(|s| s / self.count.max(1.0)).collect();
        Spread { high, mean_square }
    }
}

/// Keeps the `keep` largest, descending.
fn trim(values: &mut Vec<f32>, keep: usize) {
    values.sort_unstable_by(|a, b| b.total_cmp(a));
    values.truncate(keep);
}
