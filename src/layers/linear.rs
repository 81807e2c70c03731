//! Fully connected layer.

use super::{ShapeError, WantedWeight};
use crate::tensor::Shape;
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
