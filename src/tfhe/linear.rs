//! Linear layers as integer combinations of the values before them.
//!
//! Between two activations a network is one affine map with integer coefficients, whatever layers it is
//! written in: convolutions, sums, shuffles, pools. Here each of its results becomes one [`Combination`] of
//! *sources*, which are the input's pixels and the results of activations. Nothing here knows of encryption.

use super::TfheError;
use crate::graph::{IntLayer, LayerWeights};
use crate::layers::{Conv, Linear, Pool, concat};
use crate::tensor::{Shape, Tensor};

/// The most terms of all combinations that a layer may have: 256 MB.
pub const MAX_TERMS: usize = 1 << 24;

/// `sum of weight * source + bias`, sources ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Combination {
    /// Sources with their weights, none of them 0.
    pub terms: Vec<(u32, i64)>,
    /// The constant.
    pub bias: i64,
}

impl Combination {
    /// The source itself.
    #[must_use]
    pub fn of(source: u32) -> Self {
        Self { terms: vec![(source, 1)], bias: 0 }
    }

    /// Its value, wrapping.
    pub fn value(&self, source: impl Fn(u32) -> i64) -> i64 {
        let sum = self.terms.iter().map(|&(s, w)| source(s).wrapping_mul(w));
        sum.fold(self.bias, i64::wrapping_add)
    }

    /// `weight` times `other` more; none if a number leaves 64 bits.
    fn add(&mut self, other: &Self, weight: i64) -> Option<()> {
        self.bias = self.bias.checked_add(other.bias.checked_mul(weight)?)?;
        for &(source, w) in &other.terms {
            self.terms.push((source, w.checked_mul(weight)?));
        }
        Some(())
    }

    /// Each source once, in order.
    fn merge(&mut self) -> Option<()> {
        self.terms.sort_unstable_by_key(|&(source, _)| source);
        let mut merged: Vec<(u32, i64)> = Vec::with_capacity(self.terms.len());
        for &(source, weight) in &self.terms {
            match merged.last_mut() {
                Some((last, sum)) if *last == source => *sum = sum.checked_add(weight)?,
                Some(_) | None => merged.push((source, weight)),
            }
        }
        merged.retain(|&(_, weight)| weight != 0);
        self.terms = merged;
        Some(())
    }
}

/// The results of `layer`, called `name`, applied to `operands`.
///
/// # Errors
/// If the layer is not linear, has no weights that fit, or too many terms.
pub fn apply(
    (name, layer, shape): (&str, &IntLayer, &Shape),
    operands: &[(&Shape, &[Combination])],
    weights: Option<&LayerWeights>,
) -> Result<Vec<Combination>, TfheError> {
    let no_weights = || TfheError::Weights { layer: name.into() };
    let too_large = || TfheError::Terms { layer: name.into() };
    let (x, values) = *operands.first().ok_or_else(no_weights)?;
    let by_moving = |shifts: &[u32], how: &MoveValues<'_>| moved(operands, shifts, how).ok_or_else(too_large);
    let rows: Vec<Row> = match layer {
        IntLayer::Conv(conv) => {
            let weights = weights.ok_or_else(no_weights)?;
            room(name, shape.elements(), weights.weight.data.len() / conv.out.max(1), values)?;
            convolve(conv, x, weights).ok_or_else(no_weights)?
        }
        IntLayer::Linear(linear) => {
            let weights = weights.ok_or_else(no_weights)?;
            room(name, shape.elements(), x.elements(), values)?;
            multiply(*linear, x, weights).ok_or_else(no_weights)?
        }
        IntLayer::SumPool(pool) => {
            room(name, shape.elements(), pool.divisor(x), values)?;
            sum_windows(pool, x)
        }
        IntLayer::Add { shifts } => {
            let row = |e| Row {
                terms: (0..shifts.len()).map(|i| (i, e, 1 << shifts[i].min(62))).collect(),
                bias: 0,
            };
            (0..shape.elements()).map(row).collect()
        }
        IntLayer::Concat { shifts } => by_moving(shifts, &|x| concat(&x.iter().collect::<Vec<_>>()))?,
        IntLayer::Shuffle(l) => by_moving(&[0], &|x| Some(l.apply(x.first()?)))?,
        IntLayer::Subsample(l) => by_moving(&[0], &|x| Some(l.apply(x.first()?)))?,
        IntLayer::PadChannels(l) => by_moving(&[0], &|x| Some(l.apply(x.first()?)))?,
        IntLayer::Flatten => by_moving(&[0], &|x| x.first().cloned())?,
        IntLayer::MaxPool(_) => return Err(TfheError::MaxPool { layer: name.into() }),
        IntLayer::Input(_) | IntLayer::Requant(_) | IntLayer::Poly { .. } => return Err(no_weights()),
    };
    let combine = |row: Row| {
        let mut sum = Combination { terms: Vec::with_capacity(row.terms.len()), bias: row.bias };
        for (operand, element, weight) in row.terms {
            sum.add(operands.get(operand)?.1.get(element)?, weight)?;
        }
        sum.merge()?;
        Some(sum)
    };
    let combined: Option<Vec<_>> = rows.into_iter().map(combine).collect();
    combined.filter(|rows| rows.len() == shape.elements()).ok_or_else(too_large)
}

/// One result in terms of (operand, element, weight).
struct Row {
    terms: Vec<(usize, usize, i64)>,
    bias: i64,
}

/// Refuses a layer before its terms are made.
fn room(name: &str, results: usize, fan_in: usize, values: &[Combination]) -> Result<(), TfheError> {
    let widest = values.iter().map(|v| v.terms.len()).max().unwrap_or(0).max(1);
    let terms = results.saturating_mul(fan_in).saturating_mul(widest);
    if terms > MAX_TERMS { Err(TfheError::Terms { layer: name.into() }) } else { Ok(()) }
}

fn convolve(conv: &Conv, x: &Shape, weights: &LayerWeights) -> Option<Vec<Row>> {
    let (c, h, w) = x.chw();
    let wanted = conv.weight_shape(c);
    if weights.weight.shape != wanted || weights.weight.data.len() != wanted.elements() {
        return None;
    }
    let columns = wanted.dims().get(1).copied()?;
    let (rows, across) = conv.geometry(x).out_size();
    let (kh, kw) = conv.kernel;
    let mut results = Vec::with_capacity(conv.out * rows * across);
    for (o, weight) in weights.weight.data.chunks(columns * kh * kw).enumerate() {
        let bias = *weights.bias.get(o)?;
        for (oy, ox) in (0..rows).flat_map(|y| (0..across).map(move |x| (y, x))) {
            let mut terms = Vec::with_capacity(weight.len());
            for (i, &weight) in weight.iter().enumerate().filter(|(_, w)| **w != 0) {
                let (channel, ky, kx) = (conv.input_channel(o, i / (kh * kw), c), i / kw % kh, i % kw);
                let y = (oy * conv.stride.0 + ky).checked_sub(conv.pad.h).filter(|y| *y < h);
                let x = (ox * conv.stride.1 + kx).checked_sub(conv.pad.w).filter(|x| *x < w);
                if let (Some(y), Some(x)) = (y, x) {
                    terms.push((0, (channel * h + y) * w + x, i64::from(weight)));
                }
            }
            results.push(Row { terms, bias });
        }
    }
    Some(results)
}

fn multiply(linear: Linear, x: &Shape, weights: &LayerWeights) -> Option<Vec<Row>> {
    let n = x.elements();
    if weights.weight.data.len() != n.checked_mul(linear.out)? || weights.bias.len() != linear.out {
        return None;
    }
    let row = |(row, &bias): (&[i8], &i64)| Row {
        terms: row.iter().enumerate().filter(|(_, w)| **w != 0).map(|(i, &w)| (0, i, i64::from(w))).collect(),
        bias,
    };
    Some(weights.weight.data.chunks(n.max(1)).zip(weights.bias.iter()).map(row).collect())
}

fn sum_windows(pool: &Pool, x: &Shape) -> Vec<Row> {
    let (c, h, w) = x.chw();
    let windows = pool.windows((h, w));
    let mut results = Vec::new();
    for channel in 0..c {
        results.extend(windows.positions().map(|(ys, xs)| {
            let pixels = ys.flat_map(|y| xs.clone().map(move |x| (y, x)));
            Row { terms: pixels.map(|(y, x)| (0, (channel * h + y) * w + x, 1)).collect(), bias: 0 }
        }));
    }
    results
}

/// A layer that only moves values.
type MoveValues<'a> = dyn Fn(&[Tensor<i64>]) -> Option<Tensor<i64>> + 'a;

/// What such a layer does to operands of such `shifts`, found by moving numbers: those of the operands' elements
/// from 1 on, where 0 is padding.
fn moved(
    operands: &[(&Shape, &[Combination])],
    shifts: &[u32],
    move_values: &MoveValues<'_>,
) -> Option<Vec<Row>> {
    let mut next = 0_i64;
    let number = |shape: &Shape| {
        let first = next + 1;
        next += i64::try_from(shape.elements()).unwrap_or(i64::MAX - next - 1);
        Tensor { shape: shape.clone(), data: (first..=next).collect() }
    };
    let numbered: Vec<Tensor<i64>> = operands.iter().map(|(shape, _)| *shape).map(number).collect();
    let row = |number: i64| {
        let Some(mut element) = usize::try_from(number).ok()?.checked_sub(1) else {
            return Some(Row { terms: Vec::new(), bias: 0 });
        };
        for (operand, tensor) in numbered.iter().enumerate() {
            if element < tensor.data.len() {
                let weight = 1_i64 << shifts.get(operand)?.min(&62);
                return Some(Row { terms: vec![(operand, element, weight)], bias: 0 });
            }
            element -= tensor.data.len();
        }
        None
    };
    move_values(&numbered)?.data.into_iter().map(row).collect()
}
