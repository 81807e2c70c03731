//! Axes, permutations, slices and target shapes, as ONNX's operators state them.

use super::constant::Constant;
use super::node::Attributes;

/// An axis of `rank`, which may be counted from the end.
pub(super) fn axis(axis: i64, rank: usize) -> Option<usize> {
    let rank_i = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank_i)? } else { axis };
    usize::try_from(axis).ok().filter(|a| *a < rank)
}

/// The axes of an operator: an attribute, or since opset 13 an input.
pub(super) fn axes(
    input: Option<&Constant>,
    attributes: &Attributes<'_>,
    rank: usize,
) -> Option<Option<Vec<usize>>> {
    let given = match input {
        Some(constant) => constant.integers()?,
        None => match attributes.ints("axes") {
            Some(given) => given,
            None => return Some(None),
        },
    };
    let mut axes: Vec<usize> = given.iter().map(|&a| axis(a, rank)).collect::<Option<_>>()?;
    axes.sort_unstable();
    axes.dedup();
    Some(Some(axes))
}

/// A permutation of `rank` axes; the reverse if none is given.
pub(super) fn permutation(given: Option<&[i64]>, rank: usize) -> Option<Vec<usize>> {
    let Some(given) = given else { return Some((0..rank).rev().collect()) };
    let order: Vec<usize> = given.iter().map(|&a| axis(a, rank)).collect::<Option<_>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    (sorted == (0..rank).collect::<Vec<_>>()).then_some(order)
}

/// The shape that `Reshape` gives a tensor of `dims`. A first size equal to `batch` is that of the batch,
/// which is bound to 1.
pub(super) fn reshape(
    dims: &[usize],
    target: &[i64],
    allow_zero: bool,
    batch: Option<usize>,
) -> Option<Vec<usize>> {
    let elements = dims.iter().try_fold(1_usize, |n, &d| n.checked_mul(d))?;
    let mut target = target.to_vec();
    if let (Some(first), Some(batch)) = (target.first_mut(), batch)
        && usize::try_from(*first).ok() == Some(batch)
    {
        *first = 1;
    }
    let mut out = Vec::with_capacity(target.len());
    let mut open = None;
    for (i, &size) in target.iter().enumerate() {
        match size {
            -1 if open.is_none() => {
                open = Some(i);
                out.push(1);
            }
            0 if !allow_zero => out.push(*dims.get(i)?),
            _ => out.push(usize::try_from(size).ok()?),
        }
    }
    let known = out.iter().try_fold(1_usize, |n, &d| n.checked_mul(d))?;
    if let Some(i) = open {
        out[i] = elements.checked_div(known)?;
    }
    (out.iter().try_fold(1_usize, |n, &d| n.checked_mul(d))? == elements).then_some(out)
}

/// What is taken along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    start: i64,
    end: i64,
    step: i64,
}

impl Slice {
    const ALL: Self = Self { start: 0, end: i64::MAX, step: 1 };

    /// The indices along an axis of `size`, as Python takes them.
    pub(super) fn picks(self, size: usize) -> Option<Vec<usize>> {
        let n = i64::try_from(size).ok()?;
        let bound =
            |i: i64, low: i64, high: i64| if i < 0 { i.saturating_add(n) } else { i }.clamp(low, high);
        let step = usize::try_from(self.step.unsigned_abs()).ok().filter(|s| *s > 0)?;
        if self.step > 0 {
            let (start, end) = (bound(self.start, 0, n), bound(self.end, 0, n));
            let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
            return Some((start..end.max(start)).step_by(step).collect());
        }
        let (start, end) = (bound(self.start, -1, n - 1), bound(self.end, -1, n - 1));
        let picked = (end + 1..start + 1).rev().step_by(step).map(|i| usize::try_from(i).ok());
        picked.collect()
    }

    /// The stride with which the whole of an axis is taken from its first element on.
    pub(super) fn stride(self, size: usize) -> Option<usize> {
        let n = i64::try_from(size).ok()?;
        let from_start = self.start == 0 || self.start <= -n;
        (from_start && self.end >= n && self.step > 0).then(|| usize::try_from(self.step).ok()).flatten()
    }
}

/// For each axis of `rank` what `Slice` takes; its numbers are attributes, or since opset 10 inputs.
pub(super) fn slices(
    rank: usize,
    inputs: &[Option<&Constant>],
    attributes: &Attributes<'_>,
) -> Option<Vec<Slice>> {
    let given = |i: usize, name: &str| match inputs.get(i).copied().flatten() {
        Some(constant) => constant.integers().map(|v| Some(v.to_vec())),
        None => Some(attributes.ints(name).map(<[i64]>::to_vec)),
    };
    let (starts, ends) = (given(1, "starts")??, given(2, "ends")??);
    let along = match given(3, "axes")? {
        Some(axes) => axes.iter().map(|&a| axis(a, rank)).collect::<Option<Vec<_>>>()?,
        None => (0..starts.len()).collect(),
    };
    let steps = given(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || along.len() != starts.len() || steps.len() != starts.len() {
        return None;
    }
    let mut out = vec![Slice::ALL; rank];
    for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&along).zip(&steps) {
        *out.get_mut(axis)? = Slice { start, end, step };
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::{Slice, permutation, reshape};

    #[test]
    fn slices_are_pythons() {
        let picks = |start, end, step| Slice { start, end, step }.picks(5).unwrap();
        assert_eq!(picks(0, i64::MAX, 2), [0, 2, 4]);
        assert_eq!(picks(-2, 5, 1), [3, 4]);
        assert_eq!(picks(4, i64::MIN, -2), [4, 2, 0]);
        assert_eq!(picks(3, 1, 1), [0; 0]);
        assert_eq!(Slice { start: 0, end: 5, step: 2 }.stride(5), Some(2));
        assert_eq!(Slice { start: 1, end: 5, step: 2 }.stride(5), None);
        assert_eq!(Slice { start: 0, end: 5, step: 0 }.picks(5), None);
    }

    #[test]
    fn reshapes_are_onnx_s() {
        assert_eq!(reshape(&[1, 6, 2], &[0, -1], false, None), Some(vec![1, 12]));
        assert_eq!(reshape(&[1, 6, 2], &[4, 3], false, None), Some(vec![4, 3]));
        assert_eq!(reshape(&[1, 6, 2], &[5, -1], false, None), None);
        assert_eq!(reshape(&[1, 6, 2], &[0, -1], true, None), None);
        assert_eq!(reshape(&[1, 6], &[8, 6], false, Some(8)), Some(vec![1, 6]));
    }

    #[test]
    fn permutations_are_checked() {
        assert_eq!(permutation(Some(&[0, -1, 1]), 3), Some(vec![0, 2, 1]));
        assert_eq!(permutation(Some(&[0, 0, 1]), 3), None);
        assert_eq!(permutation(None, 2), Some(vec![1, 0]));
    }
}
