//! Lowers a plan to a circuit: each kernel emits its segment, which is verified and rewritten.

use crate::circuit::{Circuit, CircuitError, Segment, Step, verify};
use crate::kernels::Kernel;
use crate::passes::{CircuitPassError, drop_zeros, run_circuit};
use crate::select::{Plan, PlannedLayer};
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
    let rings = plan.rings();
    let layers = plan.layers.par_iter();
    let of = |layer: &PlannedLayer| {
        segment(&layer.kernel, &layer.name, rings.of(layer.kernel.encoding()), &layer.dropped)
    };
    let segments: Vec<_> = layers.map(of).collect();
    let segments = segments.into_iter().collect::<Result<_, _>>()?;
    Ok(Circuit { ring: plan.ring, coefficient_ring: plan.coefficient_ring, segments })
}

/// The segment of one layer without the products by plaintexts of `dropped`, verified and rewritten.
///
/// # Errors
/// If it fails verification.
pub fn segment(kernel: &Kernel, layer: &str, ring: u32, dropped: &[u32]) -> Result<Segment, LowerError> {
    let mut segment = kernel.emit(layer);
    let check = |segment: &Segment| {
        verify(segment, ring).map_err(|source| LowerError::Kernel { layer: layer.into(), source })
    };
    check(&segment)?;
    if drop_zeros(&mut segment, ring, dropped) > 0 {
        check(&segment)?;
    }
    run_circuit(&mut segment, ring).map_err(|source| LowerError::Pass { layer: layer.into(), source })?;
    Ok(segment)
}

/// The automorphisms that `segments` use, sorted: one Galois key each.
#[must_use]
pub fn galois_steps(segments: &[Segment]) -> Vec<Step> {
    let steps: BTreeSet<Step> = segments.iter().flat_map(Segment::steps).collect();
    steps.into_iter().collect()
}
