//! Checks a segment.
//!
//! 1. The ring is a power of two, the block fits a row of slots, the reach is below the block.
//! 2. Every operand is defined before its use: inputs first, then one value an instruction.
//! 3. A rotation's step is in normal form (`-N/4 < k <= N/4`, never 0) and is a tap offset (`|k| <= reach`),
//!    a block offset, or the sum of both.
//! 4. A dot product has terms, they lie in the segment, their plaintexts are described.
//! 5. An addition adds two different values.
//! 6. A sum of rotations has two or more summands, they lie in the segment, some are rotated.
//! 7. Extended values are read by dot products alone.
//! 8. There are outputs, all defined, and every instruction leads to one.
//! 9. In coefficients nothing is turned, and what is sent of each output lies in the ring, each place once.

use super::{BlockGeometry, Contents, Inst, Segment, Step, Value};

/// What is wrong with a segment; `inst` is the index of the instruction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CircuitError {
    /// Ring or block structure are impossible.
    #[error("block {block} with reach {reach} in a ring of degree {ring}")]
    Geometry {
        /// Ring degree.
        ring: u32,
        /// Slots of a block.
        block: u32,
        /// Largest tap offset.
        reach: u32,
    },
    /// An operand is not defined yet.
    #[error("instruction {inst} uses {operand:?} before it is defined")]
    Undefined {
        /// The instruction.
        inst: usize,
        /// The operand.
        operand: Value,
    },
    /// A rotation step that is not in normal form.
    #[error("instruction {inst} rotates by {step}, which is not in normal form")]
    Step {
        /// The instruction.
        inst: usize,
        /// Its step.
        step: i32,
    },
    /// A rotation step that aligns neither taps nor blocks.
    #[error("instruction {inst} rotates by {step}, neither a tap offset up to {reach} nor blocks of {block}")]
    Kind {
        /// The instruction.
        inst: usize,
        /// Its step.
        step: i32,
        /// Largest tap offset.
        reach: u32,
        /// Slots of a block.
        block: u32,
    },
    /// A dot product whose terms are none or not there.
    #[error("instruction {inst} sums {len} terms from {first} on, of {terms}")]
    Terms {
        /// The instruction.
        inst: usize,
        /// First term.
        first: u32,
        /// How many.
        len: u32,
        /// How many the segment has.
        terms: usize,
    },
    /// A plaintext that is not described.
    #[error("instruction {inst} multiplies by plaintext {plain} of {plains}")]
    Plain {
        /// The instruction.
        inst: usize,
        /// The plaintext's number.
        plain: u32,
        /// How many there are.
        plains: u32,
    },
    /// A sum of rotations that is none, or whose summands are not there.
    #[error("instruction {inst} sums {len} turns from {first} on, {rotated} of them rotated, of {turns}")]
    Turns {
        /// The instruction.
        inst: usize,
        /// First summand.
        first: u32,
        /// How many.
        len: u32,
        /// How many of them are there and rotated.
        rotated: usize,
        /// How many the segment has.
        turns: usize,
    },
    /// An extended value that is read by something else than a dot product.
    #[error("{operand:?} is extended, and only dot products may read it")]
    Extended {
        /// The value.
        operand: Value,
    },
    /// A value added to itself.
    #[error("instruction {inst} adds a value to itself")]
    AddSelf {
        /// The instruction.
        inst: usize,
    },
    /// No output at all.
    #[error("no output")]
    NoOutput,
    /// An output that is not defined.
    #[error("output {output} is {value:?}, which is not defined")]
    Output {
        /// Its position.
        output: usize,
        /// What it names.
        value: Value,
    },
    /// Coefficients that are turned as if they were slots.
    #[error("instruction {inst} turns coefficients")]
    Turned {
        /// The instruction.
        inst: usize,
    },
    /// An output in coefficients without places, or with some that do not fit.
    #[error("what is sent of output {output} does not fit the ring of degree {ring}")]
    Sent {
        /// Its position.
        output: usize,
        /// Ring degree.
        ring: u32,
    },
    /// An instruction that no output needs.
    #[error("no output needs instruction {inst}")]
    Dead {
        /// The instruction.
        inst: usize,
    },
}

/// Checks one segment of a circuit of ring degree `ring`.
///
/// # Errors
/// The first violation.
pub fn verify(segment: &Segment, ring: u32) -> Result<(), CircuitError> {
    let BlockGeometry { block, reach } = segment.geometry;
    if !ring.is_power_of_two() || ring < 4 || block == 0 || block > ring / 2 || reach >= block {
        return Err(CircuitError::Geometry { ring, block, reach });
    }
    for (inst, op) in segment.insts.iter().enumerate() {
        let defined = segment.inputs as usize + inst;
        let operand = |value: Value| {
            if (value.0 as usize) < defined {
                Ok(())
            } else {
                Err(CircuitError::Undefined { inst, operand: value })
            }
        };
        segment.operands(*op).try_for_each(operand)?;
        check_inst(segment, ring, inst, *op)?;
    }
    check_sent(segment, ring)?;
    check_outputs(segment)
}

fn check_sent(segment: &Segment, ring: u32) -> Result<(), CircuitError> {
    let Contents::Coefficients { sent, .. } = &segment.contents else { return Ok(()) };
    if let Some(output) = sent.iter().position(|places| !places.fits(ring)) {
        return Err(CircuitError::Sent { output, ring });
    }
    let (told, outputs) = (sent.len(), segment.outputs.len());
    if told == outputs { Ok(()) } else { Err(CircuitError::Sent { output: told.min(outputs), ring }) }
}

/// Checks an instruction whose operands are defined.
fn check_inst(segment: &Segment, ring: u32, inst: usize, op: Inst) -> Result<(), CircuitError> {
    let whole = |operand: Value| {
        if segment.is_extended(operand) { Err(CircuitError::Extended { operand }) } else { Ok(()) }
    };
    if segment.contents != Contents::Slots {
        match op {
            Inst::Automorphism { .. } | Inst::Extended { .. } | Inst::RotateSum { .. } => {
                return Err(CircuitError::Turned { inst });
            }
            Inst::Dot { .. } | Inst::Add(..) => {}
        }
    }
    match op {
        Inst::Automorphism { src, step } | Inst::Extended { src, step } => {
            whole(src)?;
            check_step(inst, step, segment.geometry, ring)
        }
        Inst::RotateSum { first, len } => {
            let summands = segment.summands(first, len);
            let rotated = summands.iter().filter(|turn| turn.step.is_some()).count();
            if summands.len() < 2 || rotated == 0 {
                let turns = segment.turns.len();
                return Err(CircuitError::Turns { inst, first, len, rotated, turns });
            }
            summands.iter().try_for_each(|turn| {
                whole(turn.src)?;
                turn.step.map_or(Ok(()), |step| check_step(inst, step, segment.geometry, ring))
            })
        }
        Inst::Dot { first, len } => {
            let terms = segment.dot_terms(first, len);
            if terms.is_empty() {
                return Err(CircuitError::Terms { inst, first, len, terms: segment.terms.len() });
            }
            let undescribed = terms.iter().find(|(_, plain)| plain.0 >= segment.plains);
            undescribed.map_or(Ok(()), |&(_, plain)| {
                Err(CircuitError::Plain { inst, plain: plain.0, plains: segment.plains })
            })
        }
        Inst::Add(a, b) => {
            whole(a)?;
            whole(b)?;
            if a == b { Err(CircuitError::AddSelf { inst }) } else { Ok(()) }
        }
    }
}

fn check_step(inst: usize, step: Step, geometry: BlockGeometry, ring: u32) -> Result<(), CircuitError> {
    let Step::Rotate(k) = step else { return Ok(()) };
    let quarter = i64::from(ring / 4);
    if k == 0 || i64::from(k) <= -quarter || i64::from(k) > quarter {
        return Err(CircuitError::Step { inst, step: k });
    }
    let BlockGeometry { block, reach } = geometry;
    let over = k.unsigned_abs() % block;
    if over.min(block - over) > reach {
        return Err(CircuitError::Kind { inst, step: k, reach, block });
    }
    Ok(())
}

/// Outputs are defined, and every instruction leads to one.
fn check_outputs(segment: &Segment) -> Result<(), CircuitError> {
    let inputs = segment.inputs as usize;
    let mut needed = vec![false; inputs + segment.insts.len()];
    if segment.outputs.is_empty() {
        return Err(CircuitError::NoOutput);
    }
    for (output, &value) in segment.outputs.iter().enumerate() {
        if segment.is_extended(value) {
            return Err(CircuitError::Extended { operand: value });
        }
        match needed.get_mut(value.0 as usize) {
            Some(slot) => *slot = true,
            None => return Err(CircuitError::Output { output, value }),
        }
    }
    for (inst, op) in segment.insts.iter().enumerate().rev() {
        if !needed[inputs + inst] {
            return Err(CircuitError::Dead { inst });
        }
        segment.operands(*op).for_each(|value| needed[value.0 as usize] = true);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::{Axis, Builder, Places, PlainId, Turn};

    const RING: u32 = 64;

    /// Two inputs: `v2 = rotate v0, 1; v3 = dot [v0*p0, v2*p1, v1*p2]; v4 = swap v3; v5 = v3 + v4`.
    fn sound() -> Segment {
        let mut b = Builder::new("l", RING, BlockGeometry { block: 8, reach: 3 }, 2);
        let (x, y) = (b.input(0), b.input(1));
        let turned = b.rotate(x, 1);
        let terms = [(x, b.plain()), (turned, b.plain()), (y, b.plain())];
        let sum = b.dot(terms);
        let swapped = b.swap_rows(sum);
        let out = b.add(sum, swapped);
        b.output(out);
        b.finish()
    }

    #[test]
    fn each_violation_is_found_where_it_is() {
        assert_eq!(verify(&sound(), RING), Ok(()));
        let broken = |change: fn(&mut Segment)| {
            let mut segment = sound();
            change(&mut segment);
            verify(&segment, RING).unwrap_err()
        };
        let turn = |k: i32| Inst::Automorphism { src: Value(0), step: Step::Rotate(k) };
        let set = |k: i32| {
            let mut segment = sound();
            segment.insts[0] = turn(k);
            verify(&segment, RING)
        };
        for k in [3, -3, 8, -8, 16, 11, 5] {
            assert_eq!(set(k), Ok(()), "step {k}");
        }
        for k in [0, 17, -16, 40] {
            assert_eq!(set(k), Err(CircuitError::Step { inst: 0, step: k }));
        }
        for k in [4, -4, 12] {
            assert_eq!(set(k), Err(CircuitError::Kind { inst: 0, step: k, reach: 3, block: 8 }));
        }
        assert_eq!(
            broken(|s| s.geometry.reach = 8),
            CircuitError::Geometry { ring: RING, block: 8, reach: 8 }
        );
        assert_eq!(
            broken(|s| s.terms[1].0 = Value(3)),
            CircuitError::Undefined { inst: 1, operand: Value(3) }
        );
        assert_eq!(
            broken(|s| s.insts[3] = Inst::Add(Value(3), Value(9))),
            CircuitError::Undefined { inst: 3, operand: Value(9) }
        );
        assert_eq!(
            broken(|s| s.insts[1] = Inst::Dot { first: 0, len: 0 }),
            CircuitError::Terms { inst: 1, first: 0, len: 0, terms: 3 }
        );
        assert_eq!(
            broken(|s| s.insts[1] = Inst::Dot { first: u32::MAX, len: 2 }),
            CircuitError::Terms { inst: 1, first: u32::MAX, len: 2, terms: 3 }
        );
        assert_eq!(
            broken(|s| s.terms[2].1 = PlainId(3)),
            CircuitError::Plain { inst: 1, plain: 3, plains: 3 }
        );
        assert_eq!(broken(|s| s.insts[3] = Inst::Add(Value(3), Value(3))), CircuitError::AddSelf { inst: 3 });
        let turns = |src: u32, steps: [Option<Step>; 2]| {
            let mut segment = sound();
            segment.turns = steps.map(|step| Turn { src: Value(src), step }).to_vec();
            segment.insts[3] = Inst::RotateSum { first: 0, len: 2 };
            verify(&segment, RING)
        };
        let by = |k: i32| Some(Step::Rotate(k));
        assert_eq!(turns(4, [by(1), None]), Ok(()));
        assert_eq!(turns(4, [by(1), by(40)]), Err(CircuitError::Step { inst: 3, step: 40 }));
        assert_eq!(turns(9, [by(1), None]), Err(CircuitError::Undefined { inst: 3, operand: Value(9) }));
        let none = CircuitError::Turns { inst: 3, first: 0, len: 2, rotated: 0, turns: 2 };
        assert_eq!(turns(4, [None, None]), Err(none));
        assert_eq!(
            broken(|s| s.insts[3] = Inst::RotateSum { first: 1, len: 1 }),
            CircuitError::Turns { inst: 3, first: 1, len: 1, rotated: 0, turns: 0 }
        );
        let extended = |inst: usize| {
            let mut segment = sound();
            segment.insts[inst] = Inst::Extended { src: Value(0), step: Step::Rotate(1) };
            verify(&segment, RING)
        };
        assert_eq!(extended(0), Ok(()), "a dot product reads it");
        assert_eq!(extended(1), Err(CircuitError::Extended { operand: Value(3) }), "a row swap reads it");
        assert_eq!(extended(3), Err(CircuitError::Extended { operand: Value(5) }), "it is an output");
        assert_eq!(broken(|s| s.outputs.clear()), CircuitError::NoOutput);
        assert_eq!(broken(|s| s.outputs.push(Value(6))), CircuitError::Output { output: 1, value: Value(6) });
        assert_eq!(broken(|s| s.outputs = vec![Value(3)]), CircuitError::Dead { inst: 3 });
    }

    #[test]
    fn coefficients_are_not_turned_and_lie_in_the_ring() {
        let places = |first| Places { first, axes: [Axis { count: 2, step: 3 }; 3] };
        let sound = |first| {
            let mut b = Builder::in_coefficients("l", RING, 4, 1);
            let terms = [(b.input(0), b.plain())];
            let sum = b.dot(terms);
            b.output_places(
                sum,
                Places { axes: [12, 6, 1].map(|step| Axis { count: 2, step }), ..places(first) },
            );
            b.finish()
        };
        assert_eq!(verify(&sound(RING - 20), RING), Ok(()));
        assert_eq!(verify(&sound(RING - 19), RING), Err(CircuitError::Sent { output: 0, ring: RING }));
        let mut twice = sound(0);
        twice.contents = Contents::Coefficients { weights: 4, sent: vec![places(0)] };
        assert_eq!(verify(&twice, RING), Err(CircuitError::Sent { output: 0, ring: RING }));
        twice.contents = Contents::Coefficients { weights: 4, sent: Vec::new() };
        assert_eq!(verify(&twice, RING), Err(CircuitError::Sent { output: 0, ring: RING }));
        let mut turned = sound(0);
        turned.geometry = BlockGeometry { block: 8, reach: 3 };
        turned.insts[0] = Inst::Automorphism { src: Value(0), step: Step::SwapRows };
        assert_eq!(verify(&turned, RING), Err(CircuitError::Turned { inst: 0 }));
    }
}
