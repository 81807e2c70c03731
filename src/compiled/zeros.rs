//! Which products a circuit leaves out because their weights are zero: none, unless it was asked for.

use super::CompiledError;
use crate::graph::IntWeights;
use crate::select::{Plan, Sparsity};
use serde::{Deserialize, Serialize};

/// What a file says is left out.
#[derive(Serialize, Deserialize)]
pub(super) struct Dropped {
    /// Ring degree of layers in coefficients, by which their plaintexts are numbered.
    pub coefficient_ring: u32,
    /// By layer, the ids of plaintexts, ascending.
    pub layers: Vec<Vec<u32>>,
}

/// Which products a circuit leaves out.
#[derive(Clone, Copy)]
pub(super) enum Zeros<'a> {
    /// None but what the model declares.
    Hidden,
    /// Those that the weights show.
    Found,
    /// These.
    Given(&'a Dropped),
}

impl Dropped {
    /// What `plan` leaves out; none if it hides zeros.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let layers = || plan.layers.iter().map(|layer| layer.dropped.clone()).collect();
        match plan.sparsity {
            Sparsity::Hidden => None,
            Sparsity::Leaked => Some(Self { coefficient_ring: plan.coefficient_ring, layers: layers() }),
        }
    }
}

impl Zeros<'_> {
    /// The ring degree of layers in coefficients that is tried first, of those from `least` to `most`.
    pub(super) fn first_ring(self, least: u32, most: u32) -> u32 {
        let given = match self {
            Self::Hidden | Self::Found => None,
            Self::Given(dropped) => Some(dropped.coefficient_ring),
        };
        given.filter(|ring| ring.is_power_of_two() && (least..=most).contains(ring)).unwrap_or(least)
    }

    /// Notes in `plan` which products are left out. Those given are none but zeros where `weights` are known.
    pub(super) fn leave_out(
        self,
        plan: &mut Plan,
        weights: Option<&IntWeights>,
    ) -> Result<(), CompiledError> {
        if let (Self::Found | Self::Given(_), Some(weights)) = (self, weights) {
            plan.drop_zeros(weights)?;
        }
        let Self::Given(Dropped { layers, .. }) = self else { return Ok(()) };
        plan.sparsity = Sparsity::Leaked;
        let found = plan.layers.len();
        for (index, layer) in plan.layers.iter_mut().enumerate() {
            let refused = || CompiledError::Dropped { layer: layer.name.clone() };
            let given = layers.get(index).filter(|_| layers.len() == found).ok_or_else(refused)?;
            let ascending = given.is_sorted_by(|a, b| a < b);
            let there = given.last().is_none_or(|&last| (last as usize) < layer.kernel.products());
            if !(ascending && there) || (weights.is_some() && layer.dropped != *given) {
                return Err(refused());
            }
            layer.dropped.clone_from(given);
        }
        Ok(())
    }
}
