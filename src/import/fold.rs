//! Operators on known tensors, computed while importing: above all arithmetic on shapes.
//!
//! What an operator does is stated by the ONNX specification of opsets 9 to 20. An operator that is not here,
//! or is used in a way that is not, folds to nothing; the caller says so. Every result is charged before it
//! is allocated.

use super::constant::{Constant, Numbers};
use super::error::ImportError;
use super::memory::Memory;
use super::node::Attributes;
use crate::tensor::MAX_ELEMENTS;

/// What an operator on known tensors gives; none if it is not computed here.
///
/// # Errors
/// [`ImportError::Memory`].
pub(super) fn fold(
    op: &str,
    inputs: &[Option<&Constant>],
    attributes: &Attributes<'_>,
    memory: &mut Memory,
) -> Result<Option<Constant>, ImportError> {
    let first = inputs.first().copied().flatten();
    let second = inputs.get(1).copied().flatten();
    Ok(match (op, first, second) {
        ("Identity" | "Dropout", Some(x), _) => Some(copied(x, memory)?),
        ("Cast", Some(x), None) => cast(x, attributes, memory)?,
        ("Neg" | "Sqrt" | "Reciprocal" | "Abs" | "Floor" | "Ceil", Some(x), None) => unary(op, x, memory)?,
        ("Add" | "Sub" | "Mul" | "Div" | "Pow" | "Min" | "Max", Some(a), Some(b)) if inputs.len() == 2 => {
            binary(op, a, b, memory)?
        }
        ("Concat", Some(_), _) => concat(inputs, attributes, memory)?,
        ("Gather", Some(x), Some(indices)) => gather(x, indices, attributes, memory)?,
        ("Transpose", Some(x), None) => transpose(x, attributes, memory)?,
        ("Slice", Some(x), _) => {
            let ranges = super::shape::slices(x.dims.len(), inputs, attributes);
            match ranges {
                Some(ranges) => slice(x, &ranges, memory)?,
                None => None,
            }
        }
        ("ReduceProd", Some(x), _) => x.integers().and_then(|v| {
            let product = v.iter().try_fold(1_i64, |n, &d| n.checked_mul(d))?;
            let keep = attributes.int("keepdims", 1) != 0;
            Some(integers(x, if keep { vec![1] } else { vec![] }, vec![product]))
        }),
        ("Range", Some(from), Some(to)) => range(from, to, inputs.get(2).copied().flatten()),
        _ => None,
    })
}

/// Consecutive integers, as axes are listed.
fn range(from: &Constant, to: &Constant, step: Option<&Constant>) -> Option<Constant> {
    const LONGEST: i64 = 1 << 16;
    let (Some(&[first]), Some(&[end]), Some(&[1])) = (from.integers(), to.integers(), step?.integers())
    else {
        return None;
    };
    let sensible = (0..=LONGEST).contains(&end.checked_sub(first)?);
    let values: Vec<i64> = if sensible { (first..end).collect() } else { return None };
    Some(integers(from, vec![values.len()], values))
}

fn integers(like: &Constant, dims: Vec<usize>, data: Vec<i64>) -> Constant {
    Constant { name: like.name.clone(), dims, data: Numbers::Integers(data) }
}

/// Charges for `dims` in the numbers of `data`.
fn charge(dims: &[usize], data: &Numbers, what: &str, memory: &mut Memory) -> Result<usize, ImportError> {
    match data {
        Numbers::Floats(_) => memory.charge_tensor(dims, 4, what),
        Numbers::Integers(_) => memory.charge_tensor(dims, 8, what),
        Numbers::Repeated(_) => Ok(0),
    }
}

fn copied(x: &Constant, memory: &mut Memory) -> Result<Constant, ImportError> {
    charge(&x.dims, &x.data, &format!("a copy of `{}`", x.name), memory)?;
    Ok(x.clone())
}

/// The tensor `name` of one number everywhere, as `ConstantOfShape` gives it. It is charged as if the number
/// were kept for each element: whoever reads it may want that.
///
/// # Errors
/// [`ImportError::Memory`], [`ImportError::Tensor`] if it is no shape, or one beyond the limit.
pub(super) fn filled(
    name: String,
    shape: &Constant,
    attributes: &Attributes<'_>,
    memory: &mut Memory,
) -> Result<Option<Constant>, ImportError> {
    let Some(sizes) = shape.integers() else { return Ok(None) };
    let value = attributes.tensor("value").map_or(Numbers::Repeated(0.0), |tensor| tensor.data);
    let bytes = if matches!(value, Numbers::Integers(_)) { 8 } else { 4 };
    let wide: Vec<usize> = sizes.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
    memory.charge_tensor(&wide, bytes, &format!("tensor `{name}` of shape {sizes:?}"))?;
    let dims =
        super::constant::dims(sizes).map_err(|fault| ImportError::Tensor { name: name.clone(), fault })?;
    let elements = dims.iter().fold(1_usize, |n, &d| n.saturating_mul(d));
    let data = match value {
        Numbers::Floats(v) => v.first().map(|v| Numbers::Repeated(*v)),
        Numbers::Integers(v) => v.first().map(|v| Numbers::Integers(vec![*v; elements])),
        Numbers::Repeated(v) => Some(Numbers::Repeated(v)),
    };
    Ok(data.map(|data| Constant { name, dims, data }))
}

fn cast(
    x: &Constant,
    attributes: &Attributes<'_>,
    memory: &mut Memory,
) -> Result<Option<Constant>, ImportError> {
    /// FLOAT, FLOAT16, DOUBLE, BFLOAT16 of `TensorProto.DataType`.
    const FLOATS: [i64; 4] = [1, 10, 11, 16];
    /// INT32 and INT64.
    const INTEGERS: [i64; 2] = [6, 7];
    let to = attributes.int("to", 0);
    let what = format!("a cast of `{}`", x.name);
    let data = match &x.data {
        Numbers::Integers(_) if FLOATS.contains(&to) => {
            memory.charge_tensor(&x.dims, 4, &what)?;
            Numbers::Floats(x.floats().into_owned())
        }
        Numbers::Floats(data) if INTEGERS.contains(&to) => {
            memory.charge_tensor(&x.dims, 8, &what)?;
            #[expect(clippy::cast_possible_truncation, reason = "towards zero, as the operator says")]
            let whole = |v: &f32| *v as i64;
            Numbers::Integers(data.iter().map(whole).collect())
        }
        data if FLOATS.contains(&to) || INTEGERS.contains(&to) => {
            charge(&x.dims, data, &what, memory)?;
            data.clone()
        }
        Numbers::Floats(_) | Numbers::Integers(_) | Numbers::Repeated(_) => return Ok(None),
    };
    Ok(Some(Constant { name: x.name.clone(), dims: x.dims.clone(), data }))
}

fn unary(op: &str, x: &Constant, memory: &mut Memory) -> Result<Option<Constant>, ImportError> {
    charge(&x.dims, &x.data, &format!("{op} of `{}`", x.name), memory)?;
    let float = |v: f32| match op {
        "Neg" => -v,
        "Sqrt" => v.sqrt(),
        "Reciprocal" => 1.0 / v,
        "Abs" => v.abs(),
        "Floor" => v.floor(),
        _ => v.ceil(),
    };
    let data = match &x.data {
        Numbers::Floats(data) => Numbers::Floats(data.iter().map(|&v| float(v)).collect()),
        Numbers::Repeated(v) => Numbers::Repeated(float(*v)),
        Numbers::Integers(data) => {
            let integer = |v: i64| match op {
                "Neg" => v.checked_neg(),
                "Abs" => v.checked_abs(),
                "Floor" | "Ceil" => Some(v),
                _ => None,
            };
            match data.iter().map(|&v| integer(v)).collect() {
                Some(data) => Numbers::Integers(data),
                None => return Ok(None),
            }
        }
    };
    Ok(Some(Constant { name: x.name.clone(), dims: x.dims.clone(), data }))
}

/// The shape of two tensors side by side, as numpy has it.
fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |dims: &[usize], i: usize| {
        (i + dims.len()).checked_sub(rank).map_or(1, |k| dims.get(k).copied().unwrap_or(1))
    };
    (0..rank)
        .map(|i| match (size(a, i), size(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// For each element of `dims` in order, the index in a tensor of shape `from` that is stretched to it.
fn stretched(from: &[usize], dims: &[usize]) -> Vec<usize> {
    let mut indices = vec![0];
    let missing = dims.len() - from.len();
    let mut unit = from.iter().product::<usize>();
    for (i, &dim) in dims.iter().enumerate() {
        let own = i.checked_sub(missing).and_then(|k| from.get(k)).copied().unwrap_or(1);
        unit /= own.max(1);
        let step = if own == 1 { 0 } else { unit };
        indices = indices.iter().flat_map(|at| (0..dim).map(move |k| at + k * step)).collect();
    }
    indices
}

fn binary(
    op: &str,
    a: &Constant,
    b: &Constant,
    memory: &mut Memory,
) -> Result<Option<Constant>, ImportError> {
    let Some(dims) = broadcast(&a.dims, &b.dims) else { return Ok(None) };
    let name = if b.elements() > a.elements() { &b.name } else { &a.name }.clone();
    let float = |x: f32, y: f32| match op {
        "Add" => x + y,
        "Sub" => x - y,
        "Mul" => x * y,
        "Div" => x / y,
        "Pow" => x.powf(y),
        "Min" => x.min(y),
        _ => x.max(y),
    };
    if let (Numbers::Repeated(x), Numbers::Repeated(y)) = (&a.data, &b.data) {
        return Ok(Some(Constant { name, dims, data: Numbers::Repeated(float(*x, *y)) }));
    }
    // The result, and an index for each operand's element.
    let elements = memory.charge_tensor(&dims, 16, &format!("{op} of `{}` and `{}`", a.name, b.name))?;
    memory.charge_tensor(&dims, 32, "its operands' indices")?;
    let (left, right) = (stretched(&a.dims, &dims), stretched(&b.dims, &dims));
    let data = if let (Some(x), Some(y)) = (a.integers(), b.integers()) {
        let integer = |x: i64, y: i64| match op {
            "Add" => x.checked_add(y),
            "Sub" => x.checked_sub(y),
            "Mul" => x.checked_mul(y),
            "Div" => x.checked_div(y),
            "Pow" => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
            "Min" => Some(x.min(y)),
            _ => Some(x.max(y)),
        };
        let values = left.iter().zip(&right).map(|(&i, &j)| integer(*x.get(i)?, *y.get(j)?)).collect();
        match values {
            Some(values) => Numbers::Integers(values),
            None => return Ok(None),
        }
    } else {
        let (x, y) = (a.floats(), b.floats());
        Numbers::Floats(left.iter().zip(&right).map(|(&i, &j)| float(x[i], y[j])).collect())
    };
    memory.release((elements as u64).saturating_mul(32));
    Ok(Some(Constant { name, dims, data }))
}

fn axis(attributes: &Attributes<'_>, name: &str, default: i64, rank: usize) -> Option<usize> {
    super::shape::axis(attributes.int(name, default), rank)
}

fn concat(
    inputs: &[Option<&Constant>],
    attributes: &Attributes<'_>,
    memory: &mut Memory,
) -> Result<Option<Constant>, ImportError> {
    let Some(parts) = inputs.iter().copied().collect::<Option<Vec<&Constant>>>() else { return Ok(None) };
    let Some(first) = parts.first() else { return Ok(None) };
    let Some(axis) = axis(attributes, "axis", 0, first.dims.len()) else { return Ok(None) };
    let alike = |other: &Constant| {
        other.dims.len() == first.dims.len()
            && other.dims.iter().zip(&first.dims).enumerate().all(|(i, (a, b))| i == axis || a == b)
    };
    if !parts.iter().all(|part| alike(part)) {
        return Ok(None);
    }
    let mut dims = first.dims.clone();
    dims[axis] = parts.iter().map(|p| p.dims[axis]).fold(0, usize::saturating_add);
    memory.charge_tensor(&dims, 8, "a concatenation")?;
    let rows: usize = dims[..axis].iter().product();
    let data = if let Some(all) = parts.iter().map(|p| p.integers()).collect::<Option<Vec<_>>>() {
        Numbers::Integers(interleaved(&all, rows))
    } else {
        let all: Vec<_> = parts.iter().map(|p| p.floats()).collect();
        Numbers::Floats(interleaved(&all.iter().map(AsRef::as_ref).collect::<Vec<_>>(), rows))
    };
    Ok(Some(Constant { name: first.name.clone(), dims, data }))
}

/// `rows` runs of each part, in turn.
fn interleaved<T: Copy>(parts: &[&[T]], rows: usize) -> Vec<T> {
    let run = |part: &&[T]| part.len() / rows.max(1);
    (0..rows)
        .flat_map(|r| parts.iter().flat_map(move |p| p[r * run(p)..][..run(p)].iter().copied()))
        .collect()
}

fn gather(
    x: &Constant,
    indices: &Constant,
    attributes: &Attributes<'_>,
    memory: &mut Memory,
) -> Result<Option<Constant>, ImportError> {
    let (Some(axis), Some(wanted)) = (axis(attributes, "axis", 0, x.dims.len()), indices.integers()) else {
        return Ok(None);
    };
    let size = x.dims[axis];
    let at = |&i: &i64| {
        let from_end = if i < 0 { i.checked_add(i64::try_from(size).ok()?)? } else { i };
        usize::try_from(from_end).ok().filter(|&i| i < size)
    };
    let Some(wanted) = wanted.iter().map(at).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let dims = [&x.dims[..axis], &indices.dims, &x.dims[axis + 1..]].concat();
    let elements = memory.charge_tensor(&dims, 8, &format!("a part of `{}`", x.name))?;
    if elements > MAX_ELEMENTS {
        return Ok(None);
    }
    let rows: usize = x.dims[..axis].iter().product();
    let run: usize = x.dims[axis + 1..].iter().product();
    let picked = (0..rows)
        .flat_map(|r| wanted.iter().flat_map(move |&i| (r * size + i) * run..(r * size + i + 1) * run));
    Ok(Some(Constant { name: x.name.clone(), dims, data: picked_from(x, picked) }))
}

fn picked_from(x: &Constant, indices: impl Iterator<Item = usize>) -> Numbers {
    match &x.data {
        Numbers::Floats(data) => Numbers::Floats(indices.map(|i| data[i]).collect()),
        Numbers::Integers(data) => Numbers::Integers(indices.map(|i| data[i]).collect()),
        Numbers::Repeated(v) => Numbers::Repeated(*v),
    }
}

fn transpose(
    x: &Constant,
    attributes: &Attributes<'_>,
    memory: &mut Memory,
) -> Result<Option<Constant>, ImportError> {
    let rank = x.dims.len();
    let Some(order) = super::shape::permutation(attributes.ints("perm"), rank) else { return Ok(None) };
    permuted(x, &order, memory).map(Some)
}

/// `x` with its axes in another order.
pub(super) fn permuted(x: &Constant, order: &[usize], memory: &mut Memory) -> Result<Constant, ImportError> {
    let dims: Vec<usize> = order.iter().map(|&i| x.dims[i]).collect();
    charge(&dims, &x.data, &format!("`{}` transposed", x.name), memory)?;
    if let Numbers::Repeated(v) = x.data {
        return Ok(Constant { name: x.name.clone(), dims, data: Numbers::Repeated(v) });
    }
    let elements = memory.charge_tensor(&dims, 16, "its indices")?;
    let unit = |axis: usize| x.dims[axis + 1..].iter().product::<usize>();
    let mut indices = vec![0];
    for &axis in order {
        let step = unit(axis);
        indices = indices.iter().flat_map(|at| (0..x.dims[axis]).map(move |k| at + k * step)).collect();
    }
    let data = picked_from(x, indices.into_iter());
    memory.release((elements as u64).saturating_mul(16));
    Ok(Constant { name: x.name.clone(), dims, data })
}

fn slice(
    x: &Constant,
    ranges: &[super::shape::Slice],
    memory: &mut Memory,
) -> Result<Option<Constant>, ImportError> {
    let Some(picks) =
        ranges.iter().zip(&x.dims).map(|(range, &size)| range.picks(size)).collect::<Option<Vec<_>>>()
    else {
        return Ok(None);
    };
    let dims: Vec<usize> = picks.iter().map(Vec::len).collect();
    charge(&dims, &x.data, &format!("a part of `{}`", x.name), memory)?;
    let mut indices = vec![0];
    for (axis, pick) in picks.iter().enumerate() {
        let step: usize = x.dims[axis + 1..].iter().product();
        indices = indices.iter().flat_map(|at| pick.iter().map(move |k| at + k * step)).collect();
    }
    Ok(Some(Constant { name: x.name.clone(), dims, data: picked_from(x, indices.into_iter()) }))
}
