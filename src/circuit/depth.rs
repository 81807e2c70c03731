//! The depth of a segment: what the noisiest path from an input to an output meets.

use super::{Inst, Segment, Value};
use crate::params::Depth;

/// What has gone into one value.
#[derive(Clone, Copy, Default)]
struct Path {
    /// Key switches between an input and its product.
    before: u32,
    /// Products in its longest dot product.
    terms: u64,
    /// Dot products in it.
    sums: u64,
    /// Key switches of sums in it.
    after: u64,
}

/// The depth of `segment`: the maximum of each quantity over all its values, so never less than that of
/// any one value. Noises add up: a value that is added to itself counts twice.
#[must_use]
pub fn depth(segment: &Segment) -> Depth {
    let mut values = vec![Path::default(); segment.inputs as usize];
    let mut most = Depth { input_switches: 0, terms: 0, sums: 0, output_switches: 0 };
    for inst in &segment.insts {
        let at = |v: Value| values.get(v.0 as usize).copied().unwrap_or_default();
        let path = match *inst {
            Inst::Automorphism { src, .. } => switched(at(src)),
            Inst::Dot { first, len } => {
                let terms = segment.terms.get(first as usize..).unwrap_or(&[]).iter().take(len as usize);
                let before = terms.map(|&(v, _)| at(v).before).max().unwrap_or(0);
                Path { before, terms: u64::from(len), sums: 1, after: 0 }
            }
            Inst::Add(a, b) => joined(at(a), at(b)),
        };
        let a_sum = path.after.div_ceil(path.sums.max(1));
        most = Depth {
            input_switches: most.input_switches.max(path.before),
            terms: most.terms.max(path.terms),
            sums: most.sums.max(path.sums),
            output_switches: most.output_switches.max(u32::try_from(a_sum).unwrap_or(u32::MAX)),
        };
        values.push(path);
    }
    most
}

fn switched(p: Path) -> Path {
    match p.sums {
        0 => Path { before: p.before + 1, ..p },
        _ => Path { after: p.after.saturating_add(1), ..p },
    }
}

fn joined(a: Path, b: Path) -> Path {
    Path {
        before: a.before.max(b.before),
        terms: a.terms.max(b.terms),
        sums: a.sums.saturating_add(b.sums),
        after: a.after.saturating_add(b.after),
    }
}
