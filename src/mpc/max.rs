//! Maxima by tournament: each stage compares neighbours and keeps the greater, an odd one passes.
//!
//! All windows play a stage together. Which of two wins is the sign of their difference. With indices, the
//! earlier one keeps its place unless the later is strictly greater, so that ties go to the lowest index.

use super::MpcError;
use super::modulus::Modulus;
use super::party::Party;
use super::product::Mux;
use super::sign::{Sign, finish};
use super::usage::Usage;
use super::wiped::Wiped;

/// Pairs that windows play, stage by stage; `(size, how many windows)` each.
pub(super) fn pairs_of_stages(windows: impl IntoIterator<Item = (usize, usize)>) -> Vec<usize> {
    let mut windows: Vec<(usize, usize)> = windows.into_iter().collect();
    let mut stages = Vec::new();
    loop {
        let pairs = windows.iter().map(|(size, count)| (size / 2).saturating_mul(*count));
        let pairs = pairs.fold(0, usize::saturating_add);
        if pairs == 0 {
            return stages;
        }
        stages.push(pairs);
        windows.iter_mut().for_each(|(size, _)| *size = size.div_ceil(2));
    }
}

/// What a pair takes: values alone, or also indices modulo the second modulus.
pub(super) fn usage(t: Modulus, indices: Option<Modulus>) -> Usage {
    let mux = indices.map_or(Mux::usage(t), |index| Mux::usage(t).beside(Mux::usage(index)));
    Sign::usage(t).then(mux)
}

/// One side of the pairs of a batch: shares of values and, modulo another modulus, of indices.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    pub(super) values: Wiped,
    pub(super) indices: Wiped,
}

/// The winners of the pairs of one batch, in lanes. Without `indices` only values are kept.
pub(super) fn winners(
    party: &mut Party<'_>,
    t: Modulus,
    indices: Option<Modulus>,
    earlier: &Side,
    later: &Side,
) -> Result<Side, MpcError> {
    let minus =
        |t: Modulus, a: &[u64], b: &[u64]| -> Wiped { a.iter().zip(b).map(|(&a, &b)| t.sub(a, b)).collect() };
    let plus =
        |t: Modulus, a: &[u64], b: &[u64]| -> Wiped { a.iter().zip(b).map(|(&a, &b)| t.add(a, b)).collect() };
    let mut sign = Sign::new(t, &minus(t, &earlier.values, &later.values));
    finish(party, &mut [&mut sign])?;
    let later_wins = sign.into_bit(party.role);
    let rise = minus(t, &later.values, &earlier.values);
    let values = Mux::open(party, t, &later_wins, &rise)?;
    let index = match indices {
        None => None,
        Some(modulus) => {
            let step = minus(modulus, &later.indices, &earlier.indices);
            Some((modulus, Mux::open(party, modulus, &later_wins, &step)?))
        }
    };
    party.exchange()?;
    let values = plus(t, &earlier.values, &values.close(party)?);
    let indices = match index {
        None => Wiped::default(),
        Some((modulus, mux)) => plus(modulus, &earlier.indices, &mux.close(party)?),
    };
    Ok(Side { values, indices })
}
