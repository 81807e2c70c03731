//! Lowers a plan to a circuit: each kernel emits its segment, which is verified and rewritten.

use crate::circuit::{Circuit, CircuitError, Segment, Step, verify};
use crate::params::Encoding;
use crate::passes::{CircuitPassError, run_circuit};
use crate::select::Plan;
use rayon::prelude::*;
use std::collections::BTreeSet;

/// A wrong segment: our own bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// A kernel emitted a wrong segment.
    #[error("internal error after lowering `{layer}`: {source}")]
    Kernel {
        /// The layer's name.
        layer: String,
        /// What is wrong.
        source: CircuitError,
    },
    /// A circuit pass broke a segment.
    #[error("internal error in `{layer}` {source}")]
    Pass {
        /// The layer's name.
        layer: String,
        /// What is wrong.
        source: CircuitPassError,
    },
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
            let ring = match layer.kernel.encoding() {
                Encoding::Slots => plan.ring,
                Encoding::Coefficients => plan.coefficient_ring,
            };
            let mut segment = layer.kernel.emit(&layer.name);
            let name = || layer.name.clone();
            verify(&segment, ring).map_err(|source| LowerError::Kernel { layer: name(), source })?;
            run_circuit(&mut segment, ring).map_err(|source| LowerError::Pass { layer: name(), source })?;
            Ok(segment)
        })
        .collect();
    let segments = segments.into_iter().collect::<Result<_, _>>()?;
    Ok(Circuit { ring: plan.ring, coefficient_ring: plan.coefficient_ring, segments })
}

/// The automorphisms that `segments` use, sorted: one Galois key each.
#[must_use]
pub fn galois_steps(segments: &[Segment]) -> Vec<Step> {
    let steps: BTreeSet<Step> = segments.iter().flat_map(Segment::steps).collect();
    steps.into_iter().collect()
}
