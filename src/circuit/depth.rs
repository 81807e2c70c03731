//! The depth of a segment: what the noisiest path from an input to an output meets.

use super::{Inst, Segment, Value};
use crate::params::Depth;

/// The depth of `segment`: the maximum of each quantity over all its values, so never less than that of
/// any one path. A value that is added to itself counts twice.
#[must_use]
pub fn depth(segment: &Segment) -> Depth {
    let none = Depth { input_switches: 0, terms: 0, sums: 0, output_switches: 0 };
    let mut values = vec![none; segment.inputs as usize];
    let mut most = none;
    for inst in &segment.insts {
        let at = |v: Value| values.get(v.0 as usize).copied().unwrap_or(none);
        let depth = match *inst {
            Inst::Automorphism { src, .. } => switched(at(src)),
            Inst::Dot { first, len } => {
                let terms = segment.terms.get(first as usize..).unwrap_or(&[]).iter().take(len as usize);
                let input_switches = terms.map(|&(v, _)| at(v).input_switches).max().unwrap_or(0);
                Depth { input_switches, terms: u64::from(len), sums: 1, output_switches: 0 }
            }
            Inst::Add(a, b) => joined(at(a), at(b)),
        };
        most = greatest(most, depth);
        values.push(depth);
    }
    most
}

fn switched(d: Depth) -> Depth {
    match d.sums {
        0 => Depth { input_switches: d.input_switches + 1, ..d },
        _ => Depth { output_switches: d.output_switches + 1, ..d },
    }
}

fn joined(a: Depth, b: Depth) -> Depth {
    Depth { sums: a.sums.saturating_add(b.sums), ..greatest(a, b) }
}

fn greatest(a: Depth, b: Depth) -> Depth {
    Depth {
        input_switches: a.input_switches.max(b.input_switches),
        terms: a.terms.max(b.terms),
        sums: a.sums.max(b.sums),
        output_switches: a.output_switches.max(b.output_switches),
    }
}
