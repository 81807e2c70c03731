//! Sums of rotated partial sums with few Galois keys.
//!
//! `sum_k rot_{k*unit}(p_k)` takes one rotation for each `k > 0` however it is bracketed. Turned one by one,
//! all are summed up before they are divided by P (see [`Inst::RotateSum`](crate::circuit::Inst)), but each
//! needs its own Galois key. In two levels,
//! ```text
//! sum_a rot_{a*c*unit}( sum_{b<c} rot_{b*unit}(p_{a*c+b}) )
//! ```
//! `c - 1` keys serve all inner sums and one key each the outer ones: with `c` about sqrt(n) twice that many
//! keys in all, for one division more a group. A key takes the client as long to make as ten rotations, and
//! those that several groups share are still in the cache; so only up to [`DIRECT`] distances are turned one
//! by one, more in two levels: at most 30 keys a layer for the 256 diagonals of a full ciphertext. Units are
//! blocks of slots, so layers of one map size share keys; published networks stay below 64 MB of them.

use crate::circuit::{Builder, Value};

/// The most distances that get a key each.
const DIRECT: usize = 8;

/// The sum over `parts`, pairs of `k` and what `make` turns into `p_k`: at least one, by falling `k`.
/// `make` is called in the order of `parts`.
pub(super) fn rotated_sum<T>(
    builder: &mut Builder,
    unit: usize,
    parts: &[(usize, T)],
    mut make: impl FnMut(&mut Builder, &T) -> Value,
) -> Value {
    let span = parts.first().map_or(1, |(k, _)| k + 1);
    let group = if span <= DIRECT { DIRECT } else { 1 << span.next_power_of_two().ilog2().div_ceil(2) };
    let mut total = None;
    for members in parts.chunk_by(|a, b| a.0 / group == b.0 / group) {
        let mut inner = None;
        for (k, part) in members {
            let p = make(builder, part);
            let turned = builder.rotate(p, signed(k % group * unit));
            inner = Some(add(builder, inner, turned));
        }
        if let (Some(inner), Some((k, _))) = (inner, members.first()) {
            let turned = builder.rotate(inner, signed(k / group * group * unit));
            total = Some(add(builder, total, turned));
        }
    }
    total.expect("there is at least one part")
}

fn add(builder: &mut Builder, sum: Option<Value>, summand: Value) -> Value {
    match sum {
        Some(sum) => builder.add(sum, summand),
        None => summand,
    }
}

/// A number of slots as a rotation.
pub(super) fn signed(slots: usize) -> i64 {
    i64::try_from(slots).unwrap_or(i64::MAX)
}
