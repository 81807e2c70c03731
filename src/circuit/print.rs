//! The text form of circuits: one line an instruction, nothing left out.

use super::{BlockGeometry, Circuit, Contents, Inst, Places, RotationKind, Segment, Step, Value};
use std::fmt;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl fmt::Display for RotationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Internal => "internal",
            Self::External => "external",
        })
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BlockGeometry { block, reach } = self.geometry;
        let Self { layer, inputs, plains, .. } = self;
        write!(f, "segment {layer}: inputs {inputs}, plaintexts {plains}, ")?;
        match &self.contents {
            Contents::Slots => writeln!(f, "block {block}, reach {reach}")?,
            Contents::Coefficients { weights, .. } => writeln!(f, "coefficients, at most {weights} weights")?,
        }
        for (index, inst) in (0..).zip(&self.insts) {
            write!(f, "  v{} = ", u64::from(self.inputs) + index)?;
            self.write_inst(f, inst)?;
        }
        write!(f, "  return ")?;
        match &self.contents {
            Contents::Slots => write_list(f, self.outputs.iter())?,
            Contents::Coefficients { sent, .. } => {
                let outputs = self.outputs.iter().zip(sent);
                write_list(f, outputs.map(|(value, places)| format!("{value}[{places}]")))?;
            }
        }
        writeln!(f)
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        let mut several = self.axes.iter().filter(|axis| axis.count > 1);
        several.try_for_each(|axis| write!(f, " + {}x{}", axis.count, axis.step))
    }
}

impl Segment {
    fn write_inst(&self, f: &mut fmt::Formatter<'_>, inst: &Inst) -> fmt::Result {
        match *inst {
            Inst::Automorphism { src, step } => writeln!(f, "{}", self.turned(src, step)),
            Inst::Extended { src, step } => writeln!(f, "extended {}", self.turned(src, step)),
            Inst::RotateSum { first, len } => {
                let turns = self.summands(first, len).iter();
                f.write_str("rotate_sum [")?;
                write_list(
                    f,
                    turns.map(|turn| match turn.step {
                        Some(step) => self.turned(turn.src, step),
                        None => turn.src.to_string(),
                    }),
                )?;
                writeln!(f, "]")
            }
            Inst::Dot { first, len } => {
                let terms = self.dot_terms(first, len).iter();
                f.write_str("dot [")?;
                write_list(f, terms.map(|(value, plain)| format!("{value}*p{}", plain.0)))?;
                writeln!(f, "]")
            }
            Inst::Add(a, b) => writeln!(f, "add {a}, {b}"),
        }
    }

    fn turned(&self, src: Value, step: Step) -> String {
        let kind = self.geometry.kind(step);
        match step {
            Step::Rotate(k) => format!("rotate {src}, {k} ({kind})"),
            Step::SwapRows => format!("swap_rows {src} ({kind})"),
        }
    }
}

impl fmt::Display for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "circuit: ring {}", self.ring)?;
        let coefficients = |s: &Segment| matches!(s.contents, Contents::Coefficients { .. });
        if self.segments.iter().any(coefficients) {
            writeln!(f, "coefficients: ring {}", self.coefficient_ring)?;
        }
        for segment in &self.segments {
            write!(f, "\n{segment}")?;
        }
        Ok(())
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = impl fmt::Display>) -> fmt::Result {
    for (index, item) in items.enumerate() {
        write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
    }
    Ok(())
}
