//! Layers of several operands: sum and concatenation.

use super::ShapeError;
use super::number::Number;
use crate::tensor::{MAX_ELEMENTS, Shape, Tensor};

pub(super) fn infer_add(inputs: &[&Shape]) -> Result<Shape, ShapeError> {
    let [first, rest @ ..] = inputs else {
        return Err(ShapeError::new("operand-count", "add takes two or more tensors", "pass at least two"));
    };
    if rest.is_empty() {
        return Err(ShapeError::new(
            "operand-count",
            "add takes two or more tensors, found one",
            "pass at least two",
        ));
    }
    match rest.iter().find(|s| s != &first) {
        Some(other) => Err(ShapeError::new(
            "shape-mismatch",
            format!("add wants equal shapes, found {first} and {other}"),
            "match channels and stride of both branches, for instance by a 1x1 convolution on the skip",
        )),
        None => Ok((*first).clone()),
    }
}

pub(super) fn infer_concat(inputs: &[&Shape]) -> Result<Shape, ShapeError> {
    let [first, rest @ ..] = inputs else {
        return Err(ShapeError::new(
            "operand-count",
            "concat takes two or more tensors",
            "pass at least two",
        ));
    };
    let (_, h, w) = first.chw();
    for other in rest {
        let (_, oh, ow) = other.chw();
        if (oh, ow) != (h, w) || other.is_image() != first.is_image() {
            return Err(ShapeError::new(
                "shape-mismatch",
                format!("concat wants equal rows and columns, found {first} and {other}"),
                "bring both to one resolution first",
            ));
        }
    }
    let c = inputs.iter().map(|s| s.channels()).fold(0, usize::saturating_add);
    let out = if first.is_image() { Shape::image(c, h, w) } else { Shape::flat(c) };
    if out.elements() > MAX_ELEMENTS {
        return Err(ShapeError::new(
            "limit",
            format!("{out} has more than 2^31 elements"),
            "join fewer channels",
        ));
    }
    Ok(out)
}

/// The sum, from the first operand on.
pub(super) fn add<T: Number>(inputs: &[&Tensor<T>]) -> Option<Tensor<T>> {
    let (first, rest) = inputs.split_first()?;
    let mut sum = (*first).clone();
    for other in rest {
        sum.data.iter_mut().zip(&other.data).for_each(|(s, &v)| *s = s.plus(v));
    }
    Some(sum)
}

/// All channels, one operand after the other.
pub(crate) fn concat<T: Number>(inputs: &[&Tensor<T>]) -> Option<Tensor<T>> {
    let (_, h, w) = inputs.first()?.shape.chw();
    let c = inputs.iter().map(|x| x.shape.channels()).sum();
    let shape = if inputs[0].shape.is_image() { Shape::image(c, h, w) } else { Shape::flat(c) };
    let data = inputs.iter().flat_map(|x| &x.data).copied().collect();
    Some(Tensor { shape, data })
}
