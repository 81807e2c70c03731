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
    /// Runs of automorphisms of one source.
    pub hoisted_groups: u64,
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
    let mut hoisted = None;
    for inst in &segment.insts {
        let source = match *inst {
            Inst::Automorphism { src, step } => {
                counts.rotation(segment.geometry, step);
                if hoisted != Some(src) {
                    counts.hoisted_groups += 1;
                }
                Some(src)
            }
            Inst::Dot { len, .. } => {
                counts.plain_mults += u64::from(len);
                counts.adds += u64::from(len) - 1;
                None
            }
            Inst::Add(..) => {
                counts.adds += 1;
                None
            }
        };
        hoisted = source;
    }
    counts
}
