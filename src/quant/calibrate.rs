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

/// Bit widths of a magnitude for which the range of least error is kept: 1 to 8.
pub(super) const WIDTHS: usize = 8;
/// The tail is kept whole up to this rank, then at ranks that grow by a sixteenth.
const DENSE: usize = 32;

/// Statistics of one value, one entry a channel: all that quantisation asks, whatever the bits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spread {
    /// How many values there were.
    pub(super) count: f64,
    /// Which of the magnitudes, in descending order, are kept; ascending, the first is 0.
    pub(super) ranks: Vec<u32>,
    /// Those magnitudes.
    pub(super) tails: Vec<Vec<f32>>,
    /// The range of least error if it is cut into `2^k - 1` steps, k = 1..=8.
    pub(super) least: Vec<[f32; WIDTHS]>,
    /// The mean of the square.
    pub(super) mean_square: Vec<f64>,
    /// The mean.
    pub(super) mean: Vec<f64>,
}

impl Spread {
    /// For each channel the range that `choice` takes, if it is cut into `top` steps, a power of two less one.
    pub(super) fn ranges(&self, choice: RangeChoice, top: i64) -> Vec<f64> {
        let width = usize::try_from(top.count_ones()).unwrap_or(WIDTHS).clamp(1, WIDTHS);
        let range = |(tail, least): (&Vec<f32>, &[f32; WIDTHS])| match choice {
            RangeChoice::MinMax => self.quantile(tail, 100.0),
            RangeChoice::Percentile(percent) => self.quantile(tail, percent),
            RangeChoice::MeanSquare => f64::from(least[width - 1]),
        };
        self.tails.iter().zip(&self.least).map(range).collect()
    }

    /// The magnitude that `percent` of all values do not exceed, as far as the tail tells; between ranks that
    /// are kept it falls evenly.
    fn quantile(&self, tail: &[f32], percent: f64) -> f64 {
        let above = (self.count * (1.0 - percent / 100.0)).floor().max(0.0);
        let next = self.ranks.partition_point(|rank| f64::from(*rank) <= above);
        let at = |i: usize| Some((f64::from(*self.ranks.get(i)?), f64::from(*tail.get(i)?)));
        match (next.checked_sub(1).and_then(at), at(next)) {
            (Some((from, high)), Some((to, low))) => high + (low - high) * (above - from) / (to - from),
            (Some((_, only)), None) | (None, Some((_, only))) => only,
            (None, None) => 0.0,
        }
    }
}

/// What saturates loses its excess, everything else is rounded: for each width the range of least mean
/// square error, `tail` being the largest of `count` values, a part of which is not zero.
fn least_errors(tail: &[f32], count: f64, occupied: f64) -> [f32; WIDTHS] {
    let tops: [f64; WIDTHS] = std::array::from_fn(|k| f64::from((2_u32 << k) - 1));
    let mut best = [(f64::INFINITY, 0.0); WIDTHS];
    let (mut sum, mut squares, mut above) = (0.0, 0.0, 0.0);
    for &magnitude in tail {
        let v = f64::from(magnitude);
        let excess = squares - 2.0 * v * sum + v * v * above;
        for (best, top) in best.iter_mut().zip(tops) {
            let error = excess / count.max(1.0) + occupied * v * v / (12.0 * top * top);
            if error < best.0 {
                *best = (error, magnitude);
            }
        }
        (sum, squares, above) = (sum + v, squares + v * v, above + 1.0);
    }
    best.map(|(_, range)| range)
}

/// The ranks of `count` magnitudes that are kept.
fn ranks(count: usize) -> Vec<u32> {
    let mut ranks = Vec::new();
    let mut rank = 0;
    while rank < count {
        ranks.push(u32::try_from(rank).unwrap_or(u32::MAX));
        rank += if rank < DENSE { 1 } else { rank / 16 };
    }
    // The last one decides whatever is asked beyond.
    let last = u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX);
    if ranks.last() != Some(&last) && count > 0 {
        ranks.push(last);
    }
    ranks
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
        let average = |sums: &[f64]| sums.iter().map(|s| s / self.count.max(1.0)).collect::<Vec<_>>();
        let ranks = ranks(self.largest.iter().map(Vec::len).min().unwrap_or(0));
        let kept = |tail: &Vec<f32>| ranks.iter().filter_map(|r| tail.get(*r as usize).copied()).collect();
        let least = |(tail, occupied): (&Vec<f32>, f64)| least_errors(tail, self.count, occupied);
        Spread {
            count: self.count,
            tails: self.largest.iter().map(kept).collect(),
            least: self.largest.iter().zip(average(&self.occupied)).map(least).collect(),
            mean_square: average(&self.squares),
            mean: average(&self.sums),
            ranks,
        }
    }
}

/// Keeps the `keep` largest, descending.
fn trim(values: &mut Vec<f32>, keep: usize) {
    values.sort_unstable_by(|a, b| b.total_cmp(a));
    values.truncate(keep);
}
