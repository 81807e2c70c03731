//! The depth of a segment: what the noise estimate needs to know of it.

use crate::circuit::{Contents, Inst, Segment};
use crate::params::Depth;

/// What lies above a value.
#[derive(Clone, Copy, Debug)]
enum Path {
    /// No multiplication yet: so many inputs added up, so many key switches on the longest way.
    Before { inputs: u64, switches: u32 },
    /// One dot product deep.
    After(Depth),
}

/// The depth of `segment`, the largest of each number over all its values; in coefficients a product has as
/// many terms as a plaintext has weights. `None` if a dot product uses
/// the result of another one, or an operand is undefined: no estimate holds then.
#[must_use]
pub fn depth(segment: &Segment) -> Option<Depth> {
    let mut paths = vec![Path::Before { inputs: 1, switches: 0 }; segment.inputs as usize];
    let weights = match segment.contents {
        Contents::Slots => 1,
        Contents::Coefficients { weights, .. } => u64::from(weights),
    };
    let mut deepest = Depth { input_switches: 0, terms: 0, sums: 0, output_switches: 0 };
    for inst in &segment.insts {
        let path = match *inst {
            // Fewer divisions round less often: what is left extended or summed before it is divided is
            // no noisier than each rotation by itself.
            Inst::Automorphism { src, .. } | Inst::Extended { src, .. } => {
                turned(*paths.get(src.0 as usize)?)
            }
            Inst::RotateSum { first, len } => {
                let mut sum = None;
                for turn in segment.summands(first, len) {
                    let path = *paths.get(turn.src.0 as usize)?;
                    let path = turn.step.map_or(path, |_| turned(path));
                    sum = Some(sum.map_or(path, |sum| added(sum, path)));
                }
                sum?
            }
            Inst::Add(a, b) => added(*paths.get(a.0 as usize)?, *paths.get(b.0 as usize)?),
            Inst::Dot { first, len } => {
                let terms = segment.dot_terms(first, len);
                let mut dot = Depth { input_switches: 0, terms: 0, sums: 1, output_switches: 0 };
                for (value, _) in terms {
                    let Path::Before { inputs, switches } = *paths.get(value.0 as usize)? else {
                        return None;
                    };
                    let products = inputs.saturating_mul(inputs).saturating_mul(weights);
                    dot.terms = dot.terms.saturating_add(products);
                    dot.input_switches = dot.input_switches.max(switches);
                }
                Path::After(dot)
            }
        };
        let reached = match path {
            Path::Before { inputs, switches } => {
                Depth { input_switches: 0, terms: 0, sums: inputs, output_switches: switches }
            }
            Path::After(depth) => depth,
        };
        deepest = largest(deepest, reached);
        paths.push(path);
    }
    Some(deepest)
}

fn turned(path: Path) -> Path {
    match path {
        Path::Before { inputs, switches } => Path::Before { inputs, switches: switches + 1 },
        Path::After(depth) => Path::After(Depth { output_switches: depth.output_switches + 1, ..depth }),
    }
}

fn added(a: Path, b: Path) -> Path {
    match (a, b) {
        (Path::Before { inputs: a, switches: x }, Path::Before { inputs: b, switches: y }) => {
            Path::Before { inputs: a.saturating_add(b), switches: x.max(y) }
        }
        (Path::After(a), Path::After(b)) => {
            Path::After(Depth { sums: a.sums.saturating_add(b.sums), ..largest(a, b) })
        }
        (Path::After(after), Path::Before { inputs, switches })
        | (Path::Before { inputs, switches }, Path::After(after)) => Path::After(Depth {
            sums: after.sums.saturating_add(inputs),
            output_switches: after.output_switches.max(switches),
            ..after
        }),
    }
}

fn largest(a: Depth, b: Depth) -> Depth {
    Depth {
        input_switches: a.input_switches.max(b.input_switches),
        terms: a.terms.max(b.terms),
        sums: a.sums.max(b.sums),
        output_switches: a.output_switches.max(b.output_switches),
    }
}
