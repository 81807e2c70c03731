//! Products with plaintexts that are zero are left out, with all that only they lead to.
//!
//! No pass of every circuit: which plaintexts are zero is known from weights alone, and a circuit without them
//! shows it (`--leak-sparsity`). It works on what a kernel emits, before rotations are joined. A sum of nothing
//! is nothing: rotations of it and additions to it go too. An output of nothing keeps one product by zero.

use super::Rewrite;
use crate::circuit::{Inst, PlainId, Segment, Value};

/// Leaves out the products with plaintexts of `dropped`, ids in ascending order, which are zero. Gives how many
/// products are gone; none from a segment whose rotations are joined already.
pub fn drop_zeros(segment: &mut Segment, ring: u32, dropped: &[u32]) -> usize {
    let joined = |inst: &Inst| matches!(inst, Inst::Extended { .. } | Inst::RotateSum { .. });
    let Some(&zero) = dropped.first() else { return 0 };
    if segment.inputs == 0 || segment.insts.iter().any(joined) {
        return 0;
    }
    let gone = |plain: PlainId| dropped.binary_search(&plain.0).is_ok();
    let nothing = nothing(segment, gone);
    let read = read(segment, &nothing, gone);
    let is_nothing = |value: Value| nothing[value.0 as usize];
    let mut rewrite = Rewrite::new(segment, ring);
    let before = segment.terms.len();
    for (inst, op) in segment.insts.iter().enumerate() {
        let value = rewrite.value(inst);
        if is_nothing(value) || !read[value.0 as usize] {
            continue;
        }
        match *op {
            Inst::Dot { first, len } => {
                let terms = segment.dot_terms(first, len).iter().filter(|term| !gone(term.1));
                let terms: Vec<_> = terms.map(|&(value, plain)| (rewrite.at(value), plain)).collect();
                let sum = rewrite.builder.dot(terms);
                rewrite.define(value, sum);
            }
            Inst::Add(a, b) if is_nothing(a) || is_nothing(b) => {
                let rest = if is_nothing(a) { b } else { a };
                rewrite.define(value, rewrite.at(rest));
            }
            Inst::Add(..) | Inst::Automorphism { .. } | Inst::Extended { .. } | Inst::RotateSum { .. } => {
                rewrite.copy(inst);
            }
        }
    }
    for &output in segment.outputs.iter().filter(|&&output| is_nothing(output)) {
        let product = rewrite.builder.dot([(Value(0), PlainId(zero))]);
        rewrite.define(output, product);
    }
    let found = rewrite.finish();
    let less = before.saturating_sub(found.terms.len());
    *segment = found;
    less
}

/// Which values are sums of nothing.
fn nothing(segment: &Segment, gone: impl Fn(PlainId) -> bool) -> Vec<bool> {
    let mut nothing = vec![false; segment.inputs as usize];
    for op in &segment.insts {
        nothing.push(match *op {
            Inst::Dot { first, len } => segment.dot_terms(first, len).iter().all(|&(_, plain)| gone(plain)),
            Inst::Automorphism { src, .. } | Inst::Extended { src, .. } => nothing[src.0 as usize],
            Inst::Add(a, b) => nothing[a.0 as usize] && nothing[b.0 as usize],
            Inst::RotateSum { .. } => false,
        });
    }
    nothing
}

/// Which values something that is left reads.
fn read(segment: &Segment, nothing: &[bool], gone: impl Fn(PlainId) -> bool) -> Vec<bool> {
    let mut read = vec![false; nothing.len()];
    segment.outputs.iter().for_each(|output| read[output.0 as usize] = true);
    for (inst, op) in segment.insts.iter().enumerate().rev() {
        let value = segment.inputs as usize + inst;
        if nothing[value] || !read[value] {
            continue;
        }
        if let Inst::Dot { first, len } = *op {
            let left = segment.dot_terms(first, len).iter().filter(|term| !gone(term.1));
            left.for_each(|term| read[term.0.0 as usize] = true);
        } else {
            segment.operands(*op).for_each(|operand| read[operand.0 as usize] = true);
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::{BlockGeometry, Builder, count, verify};

    const RING: u32 = 64;

    /// `y0 = x0 p0 + rot_8(rot_1(x0) p1 + rot_2(x0) p2)`, `y1 = x0 p3`.
    fn segment() -> Segment {
        let mut b = Builder::new("l", RING, BlockGeometry { block: 8, reach: 3 }, 1);
        let x = b.input(0);
        let turned = [b.rotate(x, 1), b.rotate(x, 2)];
        let first = [(x, b.plain())];
        let first = b.dot(first);
        let terms = turned.map(|value| (value, b.plain()));
        let second = b.dot(terms);
        let second = b.rotate(second, 8);
        let sum = b.add(first, second);
        b.output(sum);
        let last = [(x, b.plain())];
        let last = b.dot(last);
        b.output(last);
        b.finish()
    }

    #[test]
    fn what_only_zeros_lead_to_goes() {
        for (dropped, products, rotations) in [
            (&[][..], 4, 3),
            (&[1], 3, 2),
            (&[1, 2], 2, 0),
            (&[0], 3, 3),
            (&[0, 3], 3, 3),
            (&[0, 1, 2, 3], 2, 0),
        ] {
            let mut dropping = segment();
            drop_zeros(&mut dropping, RING, dropped);
            verify(&dropping, RING).unwrap();
            let counts = count(&dropping);
            assert_eq!((counts.plain_mults, counts.rotations()), (products, rotations), "{dropped:?}");
            let once = dropping.clone();
            drop_zeros(&mut dropping, RING, dropped);
            assert_eq!(dropping, once, "{dropped:?}");
        }
    }
}
