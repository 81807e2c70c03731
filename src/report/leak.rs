//! What leaving out zeros of weights shows to the client, and what it saves.

use crate::circuit::{Counts, count};
use crate::compiled::Compiled;
use crate::lower::{self, galois_steps};
use crate::select::Sparsity;
use serde::Serialize;
use std::fmt;

/// What the client sees of the zeros in weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// Plaintexts of weights of which the client sees whether they are zero.
    pub plaintexts_shown: u64,
    /// Of these, those that are: their products are left out.
    pub plaintexts_dropped: u64,
    /// Products fewer.
    pub plain_mults_saved: u64,
    /// Rotations fewer.
    pub rotations_saved: u64,
    /// Galois keys fewer.
    pub galois_keys_saved: u64,
}

impl Leak {
    /// That of `compiled`; none if it hides zeros.
    #[must_use]
    pub fn of(compiled: &Compiled) -> Option<Self> {
        let plan = &compiled.plan;
        if plan.sparsity == Sparsity::Hidden {
            return None;
        }
        let layers = plan.layers.iter();
        let whole = layers.map(|layer| {
            let ring = plan.rings().of(layer.kernel.encoding());
            lower::segment(&layer.kernel, &layer.name, ring, &[])
        });
        let whole = whole.collect::<Result<Vec<_>, _>>().ok()?;
        let sum = |of: fn(&Counts) -> u64| {
            let all = |segments: &[_]| segments.iter().map(|segment| of(&count(segment))).sum::<u64>();
            all(&whole).saturating_sub(all(&compiled.circuit.segments))
        };
        let keys = |segments: &[_]| galois_steps(segments).len() as u64;
        Some(Self {
            plaintexts_shown: plan.layers.iter().map(|layer| layer.kernel.products() as u64).sum(),
            plaintexts_dropped: plan.layers.iter().map(|layer| layer.dropped.len() as u64).sum(),
            plain_mults_saved: sum(|counts| counts.plain_mults),
            rotations_saved: sum(Counts::rotations),
            galois_keys_saved: keys(&whole).saturating_sub(keys(&compiled.circuit.segments)),
        })
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the client learns, from the circuit and its Galois steps, which {} of {} plaintexts of weights are \
             zero; {} products, {} rotations and {} Galois keys are left out",
            self.plaintexts_dropped,
            self.plaintexts_shown,
            self.plain_mults_saved,
            self.rotations_saved,
            self.galois_keys_saved
        )
    }
}
