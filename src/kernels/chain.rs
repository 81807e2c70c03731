//! Sums of rotated partial sums with few Galois keys.
//!
//! `sum_k rot_{k*unit}(p_k)` takes one rotation for each `k > 0` however it is bracketed. Turned one by one
//! each needs its own Galois key; bracketed as Horner does, `p_0 + rot_1(p_1 + rot_1(p_2 + ..))`, all use
//! one. Chains of about sqrt(n) members, joined in a chain of chains, need two keys and keep the chains
//! independent of one another. The noise is the same: each rotation adds its own once either way.

use crate::circuit::{Builder, Value};

/// The sum over `parts`, pairs of `k` and what `make` turns into `p_k`: at least one, by falling `k`.
/// `make` is called in the order of `parts`.
pub(super) fn rotated_sum<T>(
    builder: &mut Builder,
    unit: usize,
    parts: &[(usize, T)],
    mut make: impl FnMut(&mut Builder, &T) -> Value,
) -> Value {
    let span = parts.first().map_or(1, |(k, _)| k + 1);
    let chain = 1 << span.next_power_of_two().trailing_zeros().div_ceil(2);
    let mut total: Option<(usize, Value)> = None;
    for members in parts.chunk_by(|a, b| a.0 / chain == b.0 / chain) {
        let mut sum = None;
        for (k, part) in members {
            let p = make(builder, part);
            sum = Some((*k, join(builder, unit, sum, (*k, p))));
        }
        if let Some((k, sum)) = sum {
            total = Some((k, join(builder, unit, total, (k, sum))));
        }
    }
    let (k, sum) = total.expect("there is at least one part");
    builder.rotate(sum, signed(k * unit))
}

/// `low + rot(high)`, both given with their distance from place 0.
fn join(
    builder: &mut Builder,
    unit: usize,
    high: Option<(usize, Value)>,
    (low_k, low): (usize, Value),
) -> Value {
    match high {
        None => low,
        Some((high_k, high)) => {
            let turned = builder.rotate(high, signed((high_k - low_k) * unit));
            builder.add(low, turned)
        }
    }
}

/// A number of slots as a rotation.
pub(super) fn signed(slots: usize) -> i64 {
    i64::try_from(slots).unwrap_or(i64::MAX)
}
