//! How an ONNX tensor shows a layer's value: reshaped and transposed, but the same numbers.
//!
//! A layer's value is an image `[C, H, W]` or features `[C]`. ONNX reshapes and transposes it at will: to
//! shuffle channels, to go from NCHW to NHWC and back, to flatten. A [`View`] keeps the ONNX shape and, for
//! its elements in row-major order, the axes from the outermost inwards, each a run of steps along C, H or W.
//! Nothing is moved until a layer wants the value in its own order. The batch is 1.

use crate::layers::Shuffle;
use crate::tensor::Shape;

/// An axis of an image; features have C only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    C,
    H,
    W,
}

/// `size` steps of `stride` along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) axis: Axis,
    pub(super) size: usize,
    pub(super) stride: usize,
}

/// An ONNX shape over a layer's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    dims: Vec<usize>,
    steps: Vec<Steps>,
}

/// The order of a view's elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// As in the layer's value.
    Natural,
    /// With the channels shuffled.
    Shuffled(Shuffle),
    /// Another.
    Other,
}

fn whole(axis: Axis, size: usize) -> Vec<Steps> {
    if size == 1 { Vec::new() } else { vec![Steps { axis, size, stride: 1 }] }
}

impl View {
    /// `[1, C, H, W]` of an image, `[1, C]` of features.
    pub(super) fn of(shape: &Shape) -> Self {
        let (c, h, w) = shape.chw();
        let steps = [whole(Axis::C, c), whole(Axis::H, h), whole(Axis::W, w)].concat();
        let dims = if shape.is_image() { vec![1, c, h, w] } else { vec![1, c] };
        Self { dims, steps }
    }

    /// `[1, H, W, C]` of an image.
    pub(super) fn channels_last(shape: &Shape) -> Self {
        let (c, h, w) = shape.chw();
        let steps = [whole(Axis::H, h), whole(Axis::W, w), whole(Axis::C, c)].concat();
        Self { dims: vec![1, h, w, c], steps }
    }

    /// The ONNX shape.
    pub(super) fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The same elements under another shape of as many elements.
    pub(super) fn reshaped(&self, dims: Vec<usize>) -> Self {
        Self { dims, steps: self.steps.clone() }
    }

    /// The same axes over a value of another size, if every axis is whole: what an elementwise choice along
    /// `axes` leaves.
    pub(super) fn resized(&self, from: &Shape, to: &Shape) -> Option<Self> {
        let axes: Vec<Vec<Axis>> = (0..self.dims.len())
            .map(|i| {
                let group = self.along(i)?;
                Some(
                    [Axis::C, Axis::H, Axis::W]
                        .into_iter()
                        .filter(|a| group == whole(*a, size(from, *a)) && !group.is_empty())
                        .collect(),
                )
            })
            .collect::<Option<_>>()?;
        let mut left = vec![Axis::C, Axis::H, Axis::W];
        let mut dims = Vec::new();
        let mut steps = Vec::new();
        for (i, found) in axes.iter().enumerate() {
            match found.first() {
                Some(&axis) => {
                    left.retain(|a| *a != axis);
                    dims.push(size(to, axis));
                    steps.extend(whole(axis, size(to, axis)));
                }
                None if self.dims[i] == 1 => dims.push(1),
                None => return None,
            }
        }
        let same = left.iter().all(|a| size(from, *a) == size(to, *a));
        same.then_some(Self { dims, steps })
    }

    /// The axes permuted; none if an axis is neither whole nor a clean part of one.
    pub(super) fn transposed(&self, order: &[usize]) -> Option<Self> {
        let groups = self.groups()?;
        let dims = order.iter().map(|&i| self.dims.get(i).copied()).collect::<Option<_>>()?;
        let steps = order.iter().filter_map(|&i| groups.get(i)).flatten().copied().collect();
        Some(Self { dims, steps: merged(steps) })
    }

    /// The steps of ONNX axis `i`.
    pub(super) fn along(&self, i: usize) -> Option<Vec<Steps>> {
        self.groups()?.into_iter().nth(i)
    }

    /// Whether ONNX axis `i` is exactly `axis` of a value of this shape.
    pub(super) fn is(&self, i: usize, axis: Axis, shape: &Shape) -> bool {
        self.along(i).is_some_and(|steps| steps == whole(axis, size(shape, axis)))
    }

    /// The order as an image `[1, C, H, W]`.
    pub(super) fn as_image(&self, shape: &Shape) -> Order {
        let (c, h, w) = shape.chw();
        if self.dims != [1, c, h, w] || !self.is(2, Axis::H, shape) || !self.is(3, Axis::W, shape) {
            return Order::Other;
        }
        match self.along(1).as_deref() {
            Some(steps) if steps == whole(Axis::C, c) => Order::Natural,
            Some(
                &[
                    Steps { axis: Axis::C, size: per, stride: 1 },
                    Steps { axis: Axis::C, size: groups, stride },
                ],
            ) if stride == per && per * groups == c => Order::Shuffled(Shuffle { groups }),
            _ => Order::Other,
        }
    }

    /// Whether the elements, read one after the other, are those of the value.
    pub(super) fn is_natural(&self, shape: &Shape) -> bool {
        merged(self.steps.clone()) == Self::of(shape).steps
    }

    /// For each element of the view its index in the value; as many as there are elements.
    pub(super) fn indices(&self, shape: &Shape) -> Vec<usize> {
        let (_, h, w) = shape.chw();
        let mut indices = vec![0];
        for steps in &self.steps {
            let unit = match steps.axis {
                Axis::C => h * w,
                Axis::H => w,
                Axis::W => 1,
            } * steps.stride;
            indices = indices.iter().flat_map(|at| (0..steps.size).map(move |k| at + k * unit)).collect();
        }
        indices
    }

    /// The steps of every ONNX axis; none if an axis ends within steps that cannot be split there.
    fn groups(&self) -> Option<Vec<Vec<Steps>>> {
        let mut rest = self.steps.iter().copied();
        let mut current: Option<Steps> = None;
        let mut groups = Vec::with_capacity(self.dims.len());
        for &dim in &self.dims {
            let mut wanted = dim;
            let mut group = Vec::new();
            while wanted > 1 {
                let steps = match current.take() {
                    Some(steps) => steps,
                    None => rest.next()?,
                };
                if wanted % steps.size == 0 {
                    wanted /= steps.size;
                    group.push(steps);
                } else if steps.size % wanted == 0 {
                    let inner = steps.size / wanted;
                    group.push(Steps { size: wanted, stride: steps.stride * inner, ..steps });
                    current = Some(Steps { size: inner, ..steps });
                    wanted = 1;
                } else {
                    return None;
                }
            }
            groups.push(merged(group));
        }
        (current.is_none() && rest.next().is_none()).then_some(groups)
    }
}

fn size(shape: &Shape, axis: Axis) -> usize {
    let (c, h, w) = shape.chw();
    match axis {
        Axis::C => c,
        Axis::H => h,
        Axis::W => w,
    }
}

/// Neighbours that go on along one axis as one.
fn merged(steps: Vec<Steps>) -> Vec<Steps> {
    let mut out: Vec<Steps> = Vec::with_capacity(steps.len());
    for next in steps.into_iter().filter(|s| s.size > 1) {
        match out.last_mut() {
            Some(last) if last.axis == next.axis && last.stride == next.size * next.stride => {
                last.size *= next.size;
                last.stride = next.stride;
            }
            _ => out.push(next),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Order, View};
    use crate::layers::Shuffle;
    use crate::tensor::{Shape, Tensor};

    #[test]
    fn reshape_transpose_reshape_is_a_shuffle() {
        let shape = Shape::image(6, 2, 2);
        let view = View::of(&shape).reshaped(vec![1, 3, 2, 2, 2]).transposed(&[0, 2, 1, 3, 4]).unwrap();
        let view = view.reshaped(vec![1, 6, 2, 2]);
        assert_eq!(view.as_image(&shape), Order::Shuffled(Shuffle { groups: 3 }));
        // The elements are those that the layer gives.
        let data: Vec<i64> = (0..24).collect();
        let shuffled = Shuffle { groups: 3 }.apply(&Tensor { shape: shape.clone(), data });
        let found: Vec<i64> = view.indices(&shape).iter().map(|&i| i64::try_from(i).unwrap()).collect();
        assert_eq!(found, shuffled.data);
    }

    #[test]
    fn there_and_back_is_natural() {
        let shape = Shape::image(3, 4, 5);
        let last = View::of(&shape).transposed(&[0, 2, 3, 1]).unwrap();
        assert_eq!(last, View::channels_last(&shape));
        assert_eq!(last.as_image(&shape), Order::Other);
        assert_eq!(last.transposed(&[0, 3, 1, 2]).unwrap().as_image(&shape), Order::Natural);
        assert!(!last.reshaped(vec![1, 60]).is_natural(&shape));
        assert!(View::of(&shape).reshaped(vec![1, 60]).is_natural(&shape));
    }

    #[test]
    fn axes_that_do_not_split_are_refused() {
        let view = View::of(&Shape::image(6, 1, 1)).reshaped(vec![1, 4, 6]);
        assert_eq!(view.transposed(&[0, 2, 1]), None);
    }

    #[test]
    fn a_view_follows_its_value_when_an_axis_changes() {
        let (from, to) = (Shape::image(3, 4, 5), Shape::image(7, 4, 5));
        assert_eq!(View::channels_last(&from).resized(&from, &to), Some(View::channels_last(&to)));
        assert_eq!(View::of(&from).reshaped(vec![1, 60]).resized(&from, &to), None);
    }
}
