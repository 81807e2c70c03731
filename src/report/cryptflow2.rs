//! The report of the same network as CrypTFlow2 would run it, so that a reader can compare with papers.
//!
//! Counts are those of [`cost::cryptflow2`](crate::cost::cryptflow2), parameters those of its source; no time is
//! predicted for it. Activations and pools stand as this program orders them.

use super::quantisation::quantisation;
use super::{
    Accounting, Counters, LayerReport, Missing, Moduli, Passes, Predicted, Report, Rotations, SetUp,
    layer_report,
};
use crate::circuit::Counts;
use crate::compiled::Compiled;
use crate::cost::TransferCosts;
use crate::cost::cryptflow2::{self, NoKernel};
use crate::graph::NodeId;
use crate::select::Operation;

/// Bits of its primes at any ring, the special one last.
const PRIMES: [u32; 4] = [60, 60, 60, 38];

/// A network that CrypTFlow2 would not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CrypTFlow2 cannot run layer `{layer}`: {reason}")]
pub struct NoAccount {
    /// The layer.
    pub layer: String,
    /// Why not.
    pub reason: NoKernel,
}

/// Counts `compiled` as CrypTFlow2 would run it; layouts, bytes, keys and seconds stay empty.
///
/// # Errors
/// The first layer that it has no kernel for.
pub fn cryptflow2(compiled: &Compiled) -> Result<Report, NoAccount> {
    let graph = &compiled.network.graph;
    let mut totals = Counters::default();
    let mut layers: Vec<LayerReport> = Vec::new();
    for id in graph.ids() {
        let counted = linear(compiled, id)
            .transpose()
            .map_err(|reason| NoAccount { layer: graph.node(id).name.clone(), reason })?;
        let counters = match (&counted, compiled.network.nonlinear_work(id)) {
            (Some(counts), _) => counters(counts),
            (None, Some(work)) => Counters::from_work(work),
            (None, None) => continue,
        };
        totals.add(&counters);
        let mut layer = layer_report(compiled, id, None, counters);
        layer.kernel = counted.is_some().then_some("CrypTFlow2");
        layers.push(layer);
    }
    Ok(Report {
        model: compiled.network.header.name.clone(),
        accounting: Accounting::Cryptflow2,
        ring: 8192,
        plain_modulus: compiled.params.plain_modulus,
        modulus_bits: PRIMES.to_vec(),
        moduli: Moduli {
            backend: "SCI-HE",
            special: 1,
            key_switch: "one special prime".into(),
            noise_bits: None,
            flood_bits: None,
            room_bits: None,
            hidden_bits: 0.0,
            reason:
                "CrypTFlow2's own parameters at rings of 8192 to 32768, chosen for each layer; counted by \
                     its loops, not executed"
                    .into(),
        },
        coefficients: None,
        security_bits: 0,
        assumed_bounds: compiled.network.assumed,
        assumed_without: Missing::of(compiled),
        quantisation: quantisation(compiled, TransferCosts::default()),
        galois_key_bytes: 0,
        setup: SetUp::default(),
        peak_memory_estimate: 0,
        estimated_nonlinear_seconds: 0.0,
        estimated_lan_seconds: 0.0,
        estimated_wan_seconds: 0.0,
        cost_table: "no".into(),
        sparsity: None,
        predicted: Predicted::default(),
        plans: Vec::new(),
        passes: Passes::default(),
        hints: Vec::new(),
        totals,
        layers,
    })
}

/// The counts of node `id` if it is a linear layer.
fn linear(compiled: &Compiled, id: NodeId) -> Option<Result<Counts, NoKernel>> {
    Some(match Operation::of(&compiled.network, id).ok()?? {
        Operation::Conv(geometry) => cryptflow2::convolution(&geometry),
        Operation::Features { inputs, outputs } => cryptflow2::linear(inputs, outputs),
    })
}

fn counters(counts: &Counts) -> Counters {
    let Counts { internal, external, .. } = *counts;
    Counters {
        rotations: Rotations { internal, external, total: counts.rotations() },
        key_switches: counts.key_switches,
        plain_mults: counts.plain_mults,
        adds: counts.adds,
        ciphertexts_in: counts.ciphertexts_in,
        ciphertexts_out: counts.ciphertexts_out,
        ..Counters::default()
    }
}
