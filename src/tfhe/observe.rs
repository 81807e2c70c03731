//! What accumulators reach on calibration images, how likely others like them reach further, and how often noise
//! changes an activation.

use super::table::Activation;
use crate::graph::{IntNetwork, IntWeights, NodeId, ReferenceError, evaluate_with, quantise_input};
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Images of which accumulators are kept for the forecast.
const KEPT_IMAGES: usize = 8;

/// The accumulators of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Least and greatest on each image.
    pub(super) ranges: Vec<(i64, i64)>,
    /// Those of some images.
    pub(super) values: Vec<i64>,
}

impl Seen {
    /// Least and greatest on all images.
    pub(super) fn range(&self) -> (i64, i64) {
        let ends = |(lo, hi): (i64, i64), &(least, most): &(i64, i64)| (lo.min(least), hi.max(most));
        self.ranges.iter().skip(1).fold(self.ranges.first().copied().unwrap_or((0, 0)), ends)
    }

    /// The probability that an image like these leaves `right`: what it reaches is taken to be distributed as
    /// extremes are, by Gumbel, with the mean and the deviation of what these reach.
    pub(super) fn beyond(&self, right: (f64, f64)) -> f64 {
        let above = exceeds(self.ranges.iter().map(|(_, hi)| *hi as f64), right.1);
        let below = exceeds(self.ranges.iter().map(|(lo, _)| -(*lo as f64)), -right.0);
        (above + below).min(1.0)
    }
}

/// The probability that the next of `extremes` exceeds `limit`; of fewer than two nothing is known.
fn exceeds(extremes: impl Iterator<Item = f64> + Clone, limit: f64) -> f64 {
    let n = extremes.clone().count() as f64;
    if n < 2.0 {
        return 1.0;
    }
    let mean = extremes.clone().sum::<f64>() / n;
    let deviation = (extremes.map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    if deviation == 0.0 {
        return if mean > limit { 1.0 } else { 0.0 };
    }
    let width = deviation * 6_f64.sqrt() / std::f64::consts::PI;
    let centre = mean - EULER * width;
    -(-(-(limit - centre) / width).exp()).exp_m1()
}

/// Euler's constant, the mean of a standard Gumbel distribution.
const EULER: f64 = 0.577_215_664_901_532_9;

/// Runs `images` through the integer network and notes the values of `nodes`.
pub(super) fn observe(
    network: &IntNetwork,
    weights: &IntWeights,
    images: &[Tensor<f32>],
    nodes: &[NodeId],
) -> Result<BTreeMap<NodeId, Seen>, ReferenceError> {
    let of_image = |(index, image): (usize, &Tensor<f32>)| {
        let mut seen = BTreeMap::new();
        let input = quantise_input(network, image)?;
        evaluate_with(network, weights, &input, &mut |id, value| {
            if nodes.contains(&id) {
                let (lo, hi) = (value.data.iter().min(), value.data.iter().max());
                let range = (lo.copied().unwrap_or(0), hi.copied().unwrap_or(0));
                let values = if index < KEPT_IMAGES { value.data.clone() } else { Vec::new() };
                seen.insert(id, Seen { ranges: vec![range], values });
            }
        })?;
        Ok::<_, ReferenceError>(seen)
    };
    let all: Vec<_> = images.par_iter().enumerate().map(of_image).collect::<Result<_, _>>()?;
    let mut joined: BTreeMap<NodeId, Seen> = BTreeMap::new();
    for (id, seen) in all.into_iter().flatten() {
        match joined.get_mut(&id) {
            Some(own) => {
                own.ranges.extend(seen.ranges);
                own.values.extend(seen.values);
            }
            None => {
                joined.insert(id, seen);
            }
        }
    }
    Ok(joined)
}

/// How often noise alone changes an activation.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Forecast {
    /// Probability that a value is not the exact one.
    pub changed: f64,
    /// Probability that it is not even a neighbour of it.
    pub far: f64,
}

/// The forecast for `activation` of `accumulators` with Gaussian noise of `noise` accumulator units, where the
/// table is right from `right.0` to `right.1`.
pub(super) fn forecast(
    activation: Activation,
    accumulators: &[i64],
    noise: f64,
    right: (f64, f64),
) -> Forecast {
    let Activation::Clamp(requant) = activation else {
        let reach = accumulators.iter().fold((0, 0), |(lo, hi), &x| (lo.min(x), hi.max(x)));
        let steps = noise / activation.units_a_step(reach);
        let changed = (steps * (2.0 / std::f64::consts::PI).sqrt()).min(1.0);
        return Forecast { changed, far: tail(1.0 / steps.max(1e-9)) };
    };
    let step = 2_f64.powi(i32::try_from(requant.shift).unwrap_or(62));
    let half = if requant.shift == 0 { 0.0 } else { step / 2.0 };
    let mut sum = Forecast::default();
    for &x in accumulators {
        let (y, x) = (requant.apply(x), x as f64);
        // Between whole accumulators lies the threshold.
        let first = |value: i64| value as f64 * step - half - 0.5;
        let below = if y > requant.lo { x - first(y) } else { f64::INFINITY };
        let above = if y < requant.hi { first(y + 1) - x } else { f64::INFINITY };
        let beyond = |value: i64, distance: f64| {
            if (requant.lo..=requant.hi).contains(&value) { distance + step } else { f64::INFINITY }
        };
        sum.changed += tail(below / noise) + tail(above / noise);
        let wrapped = tail((x - right.0) / noise) + tail((right.1 - x) / noise);
        sum.far += tail(beyond(y - 2, below) / noise) + tail(beyond(y + 2, above) / noise) + wrapped;
    }
    let n = accumulators.len().max(1) as f64;
    Forecast { changed: sum.changed / n, far: sum.far / n }
}

/// The probability that a standard Gaussian exceeds `x` (W. Cody's rational form of erfc, as in Numerical
/// Recipes; relative error below 2e-7).
fn tail(x: f64) -> f64 {
    if x == f64::INFINITY {
        return 0.0;
    }
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * z);
    let coefficients = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
    ];
    let polynomial = coefficients.iter().fold(0.0, |sum, c| sum * t + c);
    let erfc = t * (-z * z - 1.265_512_23 + t * polynomial).exp();
    if x >= 0.0 { erfc / 2.0 } else { 1.0 - erfc / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Requant;

    #[test]
    fn tails_are_those_of_the_tables() {
        for (x, wanted) in
            [(0.0, 0.5), (1.0, 0.158_655), (-1.0, 0.841_345), (3.0, 1.349_9e-3), (5.0, 2.867e-7)]
        {
            assert!((tail(x) - wanted).abs() < 1e-3 * wanted, "{x}: {}", tail(x));
        }
    }

    /// 1,000 values of a Gumbel distribution, at even probabilities: as many exceed its quantiles as should.
    #[test]
    fn extremes_are_gumbels() {
        let quantile = |p: f64| 500.0 - 40.0 * (-p.ln()).ln();
        let values = || (0..1000).map(|i| quantile((f64::from(i) + 0.5) / 1000.0));
        for p in [0.5, 1e-2, 1e-4] {
            let found = exceeds(values(), quantile(1.0 - p));
            assert!((0.7..1.5).contains(&(found / p)), "{p}: {found}");
        }
        let same = Seen { ranges: vec![(-3, 8); 5], values: Vec::new() };
        assert_eq!((same.range(), same.beyond((-4.0, 8.5)), same.beyond((-2.5, 9.0))), ((-3, 8), 0.0, 1.0));
    }

    /// Accumulators evenly over the ramp: a value changes with probability sqrt(2 / pi) of the noise in steps.
    #[test]
    fn the_forecast_of_an_even_spread_is_the_mean_noise() {
        let activation = Activation::Clamp(Requant { shift: 8, lo: -1000, hi: 1000 });
        let accumulators: Vec<i64> = (-2560..2560).collect();
        let found = forecast(activation, &accumulators, 25.6, (-1e9, 1e9));
        assert!((found.changed - 0.1 * (2.0 / std::f64::consts::PI).sqrt()).abs() < 1e-3, "{found:?}");
        assert!(found.far < 1e-6, "{found:?}");
    }
}
