//! Counts of a segment: a fold over its instructions.

use super::{BlockGeometry, Inst, RotationKind, Segment, Step};
use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

/// What a run of instructions costs. A step of 0 is no rotation and never counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rotations that align a kernel tap.
    pub internal: u64,
    /// Rotations that align channels, row swaps among them.
    pub external: u64,
    /// Key switches: one a rotation.
    pub key_switches: u64,
    /// Sources whose digits are cut: those of the batches of automorphisms, each rotated summand of a sum.
    pub hoisted_groups: u64,
    /// Rotations inside of sums, which are divided by P together.
    pub sum_rotations: u64,
    /// Sums of rotations.
    pub rotate_sums: u64,
    /// Rotations that are left extended for dot products to divide.
    pub extended_rotations: u64,
    /// Dot products over extended values.
    pub extended_dots: u64,
    /// Products with extended values, among `plain_mults`.
    pub extended_mults: u64,
    /// Ciphertext times plaintext.
    pub plain_mults: u64,
    /// Ciphertext plus ciphertext, also inside a dot product.
    pub adds: u64,
    /// Ciphertext plus plaintext: the server's share going in, its mask going out.
    pub plain_adds: u64,
    /// Ciphertexts that the client sends.
    pub ciphertexts_in: u64,
    /// Ciphertexts that the server returns.
    pub ciphertexts_out: u64,
}

impl Counts {
    /// All rotations.
    #[must_use]
    pub fn rotations(&self) -> u64 {
        self.internal + self.external
    }

    /// Divisions by P: one a rotation that stands alone, one a sum, one a dot product over extended values.
    #[must_use]
    pub fn divisions(&self) -> u64 {
        let alone = self.key_switches.saturating_sub(self.sum_rotations + self.extended_rotations);
        alone + self.rotate_sums + self.extended_dots
    }

    /// Counts one automorphism.
    pub fn rotation(&mut self, geometry: BlockGeometry, step: Step) {
        self.key_switches += 1;
        match geometry.kind(step) {
            RotationKind::Internal => self.internal += 1,
            RotationKind::External => self.external += 1,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, o: Self) {
        self.internal += o.internal;
        self.external += o.external;
        self.key_switches += o.key_switches;
        self.hoisted_groups += o.hoisted_groups;
        self.sum_rotations += o.sum_rotations;
        self.rotate_sums += o.rotate_sums;
        self.extended_rotations += o.extended_rotations;
        self.extended_dots += o.extended_dots;
        self.extended_mults += o.extended_mults;
        self.plain_mults += o.plain_mults;
        self.adds += o.adds;
        self.plain_adds += o.plain_adds;
        self.ciphertexts_in += o.ciphertexts_in;
        self.ciphertexts_out += o.ciphertexts_out;
    }
}

/// The counts of `segment`, without plain additions, which the protocol makes.
#[must_use]
pub fn count(segment: &Segment) -> Counts {
    let mut counts = Counts {
        ciphertexts_in: u64::from(segment.inputs),
        ciphertexts_out: segment.outputs.len() as u64,
        ..Counts::default()
    };
    for batch in segment.batches() {
        let insts = &segment.insts[batch.start as usize..batch.end as usize];
        for &inst in insts {
            counts.inst(segment, inst);
        }
        if let [Inst::Automorphism { .. } | Inst::Extended { .. }, ..] = insts {
            counts.hoisted_groups += segment.batch_operands(&batch).len() as u64;
        }
    }
    counts
}

impl Counts {
    /// Counts one instruction, but for the hoisted groups of automorphisms.
    fn inst(&mut self, segment: &Segment, inst: Inst) {
        match inst {
            Inst::Automorphism { step, .. } => self.rotation(segment.geometry, step),
            Inst::Extended { step, .. } => {
                self.rotation(segment.geometry, step);
                self.extended_rotations += 1;
            }
            Inst::RotateSum { first, len } => {
                for step in segment.summands(first, len).iter().filter_map(|turn| turn.step) {
                    self.rotation(segment.geometry, step);
                    self.sum_rotations += 1;
                    self.hoisted_groups += 1;
                }
                self.rotate_sums += 1;
                self.adds += u64::from(len) - 1;
            }
            Inst::Dot { first, len } => {
                let terms = segment.dot_terms(first, len);
                let extended = terms.iter().filter(|(value, _)| segment.is_extended(*value)).count();
                self.plain_mults += u64::from(len);
                self.extended_mults += extended as u64;
                self.extended_dots += u64::from(extended > 0);
                self.adds += u64::from(len) - 1;
            }
            Inst::Add(..) => self.adds += 1,
        }
    }
}
