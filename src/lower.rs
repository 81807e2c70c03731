//! Lowers a plan to a circuit: each kernel emits its segment, each segment is verified.

use crate::circuit::{Circuit, CircuitError, Inst, Segment, Step, verify};
use crate::params::Encoding;
use crate::select::Plan;
use rayon::prelude::*;
use std::collections::BTreeSet;

/// A kernel emitted a wrong segment: our own bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("internal error after lowering `{layer}`: {source}")]
pub struct LowerError {
    /// The layer's name.
    pub layer: String,
    /// What is wrong.
    pub source: CircuitError,
}

/// The circuit of `plan`, layers in the plan's order.
///
/// # Errors
/// If a segment fails verification.
pub fn lower(plan: &Plan) -> Result<Circuit, LowerError> {
    let segments: Vec<Result<Segment, LowerError>> = plan
        .layers
        .par_iter()
        .map(|layer| {
            let segment = layer.kernel.emit(&layer.name);
            let ring = match layer.kernel.encoding() {
                Encoding::Slots => plan.ring,
                Encoding::Coefficients => plan.coefficient_ring,
            };
            match verify(&segment, ring) {
                Ok(()) => Ok(segment),
                Err(source) => Err(LowerError { layer: layer.name.clone(), source }),
            }
        })
        .collect();
    let segments = segments.into_iter().collect::<Result<_, _>>()?;
    Ok(Circuit { ring: plan.ring, coefficient_ring: plan.coefficient_ring, segments })
}

/// The automorphisms that `segments` use, sorted: one Galois key each.
#[must_use]
pub fn galois_steps(segments: &[Segment]) -> Vec<Step> {
    let insts = segments.iter().flat_map(|s| &s.insts);
    let steps: BTreeSet<Step> = insts
        .filter_map(|inst| match inst {
            Inst::Automorphism { step, .. } => Some(*step),
            Inst::Dot { .. } | Inst::Add(..) => None,
        })
        .collect();
    steps.into_iter().collect()
}
