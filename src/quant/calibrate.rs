//! What values a model takes on calibration images: per channel the largest magnitudes, the mean and the
//! mean square.
//!
//! Images are taken in chunks of fixed size whose results are joined in order, so that nothing depends on
//! the number of threads. Of each channel only the largest hundredth of the magnitudes is kept.

use super::QuantError;
use super::float::{FloatWeights, float_eval_with};
use crate::graph::{Model, NodeId, RangeChoice};
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Images that are evaluated one after the other.
const CHUNK: usize = 16;
/// The part of a channel's values that is kept, the largest ones: no more of them may saturate.
const TAIL: f64 = 0.01;

/// Statistics of one value, one entry a channel.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    /// The largest magnitudes, descending.
    tails: Vec<Vec<f32>>,
    /// How many values there were.
    count: f64,
    /// The part of them that is not zero: zeros are never rounded.
    occupied: Vec<f64>,
    /// The mean of the square.
    pub(super) mean_square: Vec<f64>,
    /// The mean.
    pub(super) mean: Vec<f64>,
}

impl Spread {
    /// For each channel the range that `choice` takes, if it is cut into steps of `range / top`.
    pub(super) fn ranges(&self, choice: RangeChoice, top: f64) -> Vec<f64> {
        let range = |(tail, occupied): (&Vec<f32>, &f64)| match choice {
            RangeChoice::MinMax => quantile(tail, self.count, 100.0),
            RangeChoice::Percentile(percent) => quantile(tail, self.count, percent),
            RangeChoice::MeanSquare => least_error(tail, self.count, *occupied, top),
        };
        self.tails.iter().zip(&self.occupied).map(range).collect()
    }
}

/// The magnitude that `percent` of `count` values do not exceed, as far as the tail tells.
fn quantile(tail: &[f32], count: f64, percent: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the conversion saturates, and is bounded by the tail"
    )]
    let above = (count * (1.0 - percent / 100.0)).floor() as usize;
    tail.get(above.min(tail.len().saturating_sub(1))).map_or(0.0, |v| f64::from(*v))
}

/// What saturates loses its excess, everything else is rounded: the range of least mean square error.
fn least_error(tail: &[f32], count: f64, occupied: f64, top: f64) -> f64 {
    let (mut sum, mut squares, mut above) = (0.0, 0.0, 0.0);
    let mut best = (f64::INFINITY, 0.0);
    for &v in tail {
        let v = f64::from(v);
        let excess = squares - 2.0 * v * sum + v * v * above;
        let rounding = occupied * v * v / (12.0 * top * top);
        let error = excess / count.max(1.0) + rounding;
        if error < best.0 {
            best = (error, v);
        }
        (sum, squares, above) = (sum + v, squares + v * v, above + 1.0);
    }
    best.1
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
    let clipped = (count as f64 * TAIL) as usize;
    clipped + 1
}

/// The sums over some images, one entry a channel.
struct Tally {
    keep: usize,
    count: f64,
    largest: Vec<Vec<f32>>,
    squares: Vec<f64>,
    sums: Vec<f64>,
    occupied: Vec<f64>,
}

impl Tally {
    fn new(keep: usize) -> Self {
        let none = Vec::new;
        Self { keep, count: 0.0, largest: Vec::new(), squares: none(), sums: none(), occupied: none() }
    }

    fn add(&mut self, value: &Tensor<f32>) {
        let plane = (value.data.len() / value.shape.channels().max(1)).max(1);
        self.largest.resize(value.shape.channels(), Vec::new());
        self.squares.resize(value.shape.channels(), 0.0);
        self.sums.resize(value.shape.channels(), 0.0);
        self.occupied.resize(value.shape.channels(), 0.0);
        for (c, values) in value.data.chunks(plane).enumerate() {
            self.squares[c] += values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>();
            self.sums[c] += values.iter().map(|v| f64::from(*v)).sum::<f64>();
            let occupied = values.iter().filter(|v| **v != 0.0).count();
            self.occupied[c] += f64::from(u32::try_from(occupied).unwrap_or(u32::MAX));
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
        self.sums.resize(other.sums.len(), 0.0);
        self.occupied.resize(other.occupied.len(), 0.0);
        self.count += other.count;
        for (sum, more) in self.sums.iter_mut().zip(other.sums) {
            *sum += more;
        }
        for (sum, more) in self.occupied.iter_mut().zip(other.occupied) {
            *sum += more;
        }
        for (sum, square) in self.squares.iter_mut().zip(other.squares) {
            *sum += square;
        }
        for (largest, more) in self.largest.iter_mut().zip(other.largest) {
            largest.extend(more);
            trim(largest, self.keep);
        }
    }

    fn spread(self) -> Spread {
        let mean_square = self.squares.iter().map(|s| s / self.count.max(1.0)).collect();
        let mean = self.sums.iter().map(|s| s / self.count.max(1.0)).collect();
        let occupied = self.occupied.iter().map(|n| n / self.count.max(1.0)).collect();
        Spread { tails: self.largest, count: self.count, occupied, mean_square, mean }
    }
}

/// Keeps the `keep` largest, descending.
fn trim(values: &mut Vec<f32>, keep: usize) {
    values.sort_unstable_by(|a, b| b.total_cmp(a));
    values.truncate(keep);
}
