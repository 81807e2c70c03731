//! The same computation with the same noise, on plain points of the torus.
//!
//! Every value carries noise of the planned variance, from a seed; look-ups round as bootstraps do. So the
//! accuracy of simulated answers predicts that of encrypted ones, and costs nothing. It encrypts nothing.

use super::params::{INPUT_STEP, POSITIONS_LOG, Variances};
use super::plan::{Plan, Row};
use crate::tensor::{Shape, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Gaussian noise from a seed, or none.
struct Noise(Option<ChaCha8Rng>);

impl Noise {
    /// A point of the torus, of standard deviation `variance.sqrt()`.
    fn draw(&mut self, variance: f64) -> u64 {
        let Some(random) = &mut self.0 else { return 0 };
        // (0, 1] and [0, 1): Box and Muller.
        let unit = 2_f64.powi(-53);
        let u = ((random.next_u64() >> 11) as f64 + 1.0) * unit;
        let v = (random.next_u64() >> 11) as f64 * unit;
        let gauss = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        #[expect(clippy::cast_possible_truncation, reason = "far below 2^63, and saturating")]
        let point = (gauss * variance.sqrt() * 2_f64.powi(64)) as i64;
        point.cast_unsigned()
    }
}

/// A result and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulated {
    /// The output, decoded.
    pub output: Tensor<i64>,
    /// The activations, decoded, layer by layer.
    pub activations: Vec<Vec<i64>>,
    /// Look-ups.
    pub bootstraps: usize,
}

/// The output for a quantised `image`, with noise from `seed`; without one, exact but for the rounding of
/// look-ups.
#[must_use]
pub fn simulate(plan: &Plan, image: &Tensor<i64>, seed: Option<u64>) -> Simulated {
    let variances = Variances::new();
    let mut noise = Noise(seed.map(ChaCha8Rng::seed_from_u64));
    let encrypt =
        |v: &i64| v.cast_unsigned().wrapping_mul(INPUT_STEP).wrapping_add(noise.draw(variances.fresh));
    let mut values: Vec<u64> = image.data.iter().map(encrypt).collect();
    let (mut activations, mut bootstraps) = (Vec::new(), 0);
    for (index, layer) in plan.layers.iter().enumerate() {
        let sums = layer.rows.iter().map(|row| combine(row, &values));
        let Some(table) = &layer.table else {
            let decoded = sums.map(|phase| decode(phase, layer.step)).collect();
            let output = Tensor { shape: layer.shape.clone(), data: decoded };
            return Simulated { output, activations, bootstraps };
        };
        let switched: Vec<u64> = sums
            .map(|phase| phase.wrapping_add(noise.draw(variances.key_switch + rounding(&variances))))
            .collect();
        let looked_up: Vec<u64> = switched.into_iter().map(|phase| table.at(phase)).collect();
        bootstraps += looked_up.len();
        let step = plan.sources.get(index + 1).map_or(1, |source| source.step);
        activations.push(looked_up.iter().map(|&value| decode(value, step)).collect());
        values.extend(looked_up.into_iter().map(|value| value.wrapping_add(noise.draw(variances.bootstrap))));
    }
    Simulated { output: Tensor { shape: Shape::flat(0), data: Vec::new() }, activations, bootstraps }
}

/// The modulus switch without the rounding of the body, which the look-up does itself.
fn rounding(variances: &Variances) -> f64 {
    variances.modulus_switch - 4_f64.powf(-f64::from(POSITIONS_LOG)) / 12.0
}

fn combine(row: &Row, values: &[u64]) -> u64 {
    row.terms.iter().fold(row.bias, |sum, &(source, weight)| {
        let value = values.get(source as usize).copied().unwrap_or(0);
        sum.wrapping_add(value.wrapping_mul(weight.cast_unsigned()))
    })
}

/// The integer that `phase` is nearest to, in units of `step`.
#[must_use]
pub fn decode(phase: u64, step: u64) -> i64 {
    let step = i128::from(step.max(1));
    let rounded = (i128::from(phase.cast_signed()) + step / 2).div_euclid(step);
    i64::try_from(rounded).unwrap_or(0)
}
