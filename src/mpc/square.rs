//! Polynomials of degree two: `x^2 = x0^2 + x1^2 + 2 x0 x1`, and the last by one product for each bit of the
//! client's share (Gilboa, CRYPTO 1999), all in one exchange.

use super::modulus::Modulus;
use super::party::Party;
use super::product::{self, OneWay};
use super::ring::Ring;
use super::slice::slice;
use super::usage::Usage;
use super::wiped::Wiped;
use super::{MpcError, Role};

pub(super) fn usage(t: Modulus) -> Usage {
    (0..t.bits()).fold(Usage::default(), |u, _| u.beside(product::usage(Role::Client, Ring::Sum(t))))
}

/// My shares of `a x^2 + b x + c` modulo t, from those of x.
pub(super) fn polynomial(
    party: &mut Party<'_>,
    t: Modulus,
    [a, b, c]: [i64; 3],
    x: &[u64],
) -> Result<Wiped, MpcError> {
    let [a, b, c] = [a, b, c].map(|v| residue(t, v));
    let planes = slice(x, t.bits() as usize);
    let mut products = Vec::with_capacity(t.bits() as usize);
    let mut power = Wiped::from(x.to_vec());
    for plane in planes.chunks_exact(party.width()) {
        products.push(OneWay::open(party, Role::Client, Ring::Sum(t), plane, || power.clone())?);
        power.iter_mut().for_each(|p| *p = t.add(*p, *p));
    }
    party.exchange()?;
    let mut across = Wiped::zeros(x.len());
    for one in products {
        for (sum, v) in across.iter_mut().zip(one.close(party)?.iter()) {
            *sum = t.add(*sum, *v);
        }
    }
    let constant = if party.role == Role::Client { c } else { 0 };
    let value = |(&x, &across): (&u64, &u64)| {
        let square = t.add(t.mul(x, x), t.add(across, across));
        t.add(t.add(t.mul(a, square), t.mul(b, x)), constant)
    };
    Ok(x.iter().zip(across.iter()).map(value).collect())
}

/// The residue of any integer.
fn residue(t: Modulus, v: i64) -> u64 {
    let magnitude = t.reduce(v.unsigned_abs());
    if v < 0 { t.sub(0, magnitude) } else { magnitude }
}
