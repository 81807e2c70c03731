//! What of images the range of the input cuts off.
//!
//! A value beyond the range becomes its end, silently: that is meant for outliers, and a sign of another
//! normalisation than the model declares where it befalls many. Knows no files.

use super::ranges::input_range;
use super::{Statistics, skeleton};
use crate::graph::{IntLayer, IntNetwork, Interval, Model, NodeId};
use crate::tensor::Tensor;

/// The real values that the quantised input can stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputRange {
    /// The least.
    pub lo: f64,
    /// The greatest.
    pub hi: f64,
    /// One step of the integers: what is less than half of it beyond an end is only rounded.
    step: f64,
}

impl InputRange {
    /// That of a quantised network; none where its steps mean nothing for want of weights.
    #[must_use]
    pub fn of(network: &IntNetwork) -> Option<Self> {
        let IntLayer::Input(Interval { lo, hi }) = network.graph.node(NodeId(0)).layer else { return None };
        if network.assumed {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "an input has 8 bits at most")]
        let real = |v: i64| v as f64 * network.input_scale;
        Some(Self { lo: real(lo), hi: real(hi), step: network.input_scale })
    }

    /// The one that a model will have when it is quantised.
    #[must_use]
    pub fn of_model(model: &Model) -> Self {
        let quant = model.graph.node(NodeId(0)).quant;
        let hi = input_range(quant.range, &model.header.input);
        let top = skeleton::top(quant.bits.unwrap_or(model.header.activation_bits));
        Self { lo: -hi, hi, step: hi / f64::from(top) }
    }

    fn holds(&self, value: f64) -> bool {
        value >= self.lo - self.step / 2.0 && value <= self.hi + self.step / 2.0
    }

    /// What it cuts off `images`; none if they hold no number.
    #[must_use]
    pub fn clipped(&self, images: &[Tensor<f32>]) -> Option<Clipped> {
        let mut seen = Clipped { share: 0.0, lo: f64::INFINITY, hi: f64::NEG_INFINITY, range: *self };
        let (mut beyond, mut count) = (0_u64, 0_u64);
        for value in images.iter().flat_map(|image| &image.data).map(|v| f64::from(*v)) {
            beyond += u64::from(!self.holds(value));
            count += 1;
            (seen.lo, seen.hi) = (seen.lo.min(value), seen.hi.max(value));
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of numbers in memory are below 2^52")]
        let share = beyond as f64 / count as f64;
        (count > 0).then_some(Clipped { share, ..seen })
    }

    /// What it cut off the images of `measured`, at least: a hundredth of the values is known by magnitude.
    /// None if the input `name` was not measured.
    #[must_use]
    pub fn clipped_of(&self, measured: &Statistics, name: &str) -> Option<Clipped> {
        let spread = measured.spread(name)?;
        let beyond = |tail: &Vec<f32>| {
            let known = tail.iter().take_while(|v| !self.holds(f64::from(**v))).count();
            let last = known.checked_sub(1).and_then(|last| spread.ranks.get(last));
            last.map_or(0.0, |rank| f64::from(*rank) + 1.0)
        };
        let sum: f64 = spread.tails.iter().map(beyond).sum();
        let largest = spread.tails.iter().flatten().fold(0.0, |most: f32, v| most.max(*v));
        let (lo, hi) = (-f64::from(largest), f64::from(largest));
        #[expect(clippy::cast_precision_loss, reason = "channels are few")]
        let count = spread.count * spread.tails.len() as f64;
        (count > 0.0).then_some(Clipped { share: sum / count, lo, hi, range: *self })
    }
}

/// What a range of the input cuts off some images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped {
    /// The part of all values that lies beyond it, 0 to 1.
    pub share: f64,
    /// The least value, or the negated largest magnitude if signs are not known.
    pub lo: f64,
    /// The greatest value, or magnitude.
    pub hi: f64,
    /// The range.
    pub range: InputRange,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    #[test]
    fn half_a_step_beyond_is_rounded_and_more_is_clipped() {
        let range = InputRange { lo: -1.0, hi: 1.0, step: 0.5 };
        let image = |data: &[f32]| Tensor { shape: Shape::flat(data.len()), data: data.to_vec() };
        let images = [image(&[-3.0, -1.25, 0.0, 1.25]), image(&[1.26, 0.5, 7.0, -1.0])];
        let found = range.clipped(&images).expect("numbers");
        assert_eq!((found.share, found.lo, found.hi), (3.0 / 8.0, -3.0, 7.0));
        assert!(range.clipped(&[]).is_none());
    }
}
