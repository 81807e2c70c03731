//! Fully connected layer.

use super::number::{Number, dot};
use super::{ShapeError, WantedWeight};
use crate::tensor::{Shape, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// `y = W x + b` on features, `W` of shape `[out, in]`. An image of one pixel counts as features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Linear {
    /// Output features.
    pub out: usize,
    /// Whether a bias is read: yes, no, or if the weights have one.
    pub bias: Option<bool>,
}

impl Linear {
    pub(super) fn infer(self, x: &Shape) -> Result<Shape, ShapeError> {
        let (_, h, w) = x.chw();
        if h != 1 || w != 1 {
            return Err(ShapeError::new(
                "shape-mismatch",
                format!("linear wants features [F], found {x}"),
                "put `flatten` or `global_avg_pool` before it",
            ));
        }
        if self.out == 0 {
            return Err(ShapeError::new(
                "attribute-value",
                "out must be at least 1",
                "use a positive number",
            ));
        }
        Ok(Shape::flat(self.out))
    }

    /// The plain meaning; `weight` is `[out, in]`.
    pub(crate) fn apply<T: Number, W: Copy + Sync + Into<T>>(
        self,
        x: &Tensor<T>,
        weight: &[W],
        bias: Option<&[T]>,
    ) -> Tensor<T> {
        let mut out = Tensor::zeros(Shape::flat(self.out));
        let n = x.data.len().max(1);
        out.data.par_iter_mut().zip(weight.par_chunks(n)).enumerate().for_each(|(o, (y, row))| {
            *y = dot(row, &x.data).plus(bias.map_or(T::default(), |b| b[o]));
        });
        out
    }

    pub(super) fn weights(self, x: &Shape) -> Vec<WantedWeight> {
        let mut wanted = vec![WantedWeight {
            suffix: "weight",
            shape: Shape::of(&[self.out, x.elements()]),
            optional: false,
        }];
        if self.bias != Some(false) {
            wanted.push(WantedWeight {
                suffix: "bias",
                shape: Shape::flat(self.out),
                optional: self.bias.is_none(),
            });
        }
        wanted
    }
}
