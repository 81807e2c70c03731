//! Where the seconds go, layer by layer, and what the plan was chosen from.

use super::{Report, to_microseconds};
use crate::circuit::{Counts, Segment};
use crate::compiled::Compiled;
use crate::cost::CostTable;
use crate::params::Encoding;
use crate::select::{Facts, PlannedLayer, Prices, RunnerUp, WholePlan};
use serde::Serialize;
use std::fmt;

/// Signs of the longest bar.
const BAR: f64 = 20.0;
/// Whole plans that are shown.
const PLANS: usize = 3;

/// Predicted seconds of linear layers, each party on one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Predicted {
    /// Of the server.
    pub server_seconds: f64,
    /// Of the client: encryption and decryption.
    pub client_seconds: f64,
    /// Of the bytes, at 3 Gbit/s.
    pub wire_seconds: f64,
    /// All of it.
    pub seconds: f64,
}

/// The second choice for a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Second {
    /// Its kernel.
    pub kernel: &'static str,
    /// What its ciphertexts would hold.
    pub encoding: Encoding,
    /// What turns inputs and what turns sums, where there is a choice.
    pub split: Option<String>,
    /// What the layer would take, with its share of Galois keys of its own.
    pub seconds: f64,
    /// What it takes as planned, counted in the same way.
    pub chosen_seconds: f64,
}

/// A whole plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanPrice {
    /// Its kind.
    pub plan: WholePlan,
    /// Predicted seconds of all linear layers, of both parties and of the bytes.
    pub seconds: f64,
    /// Of these, the server's.
    pub server_seconds: f64,
    /// Bytes of ciphertexts either way.
    pub bytes: u64,
    /// Distinct Galois keys.
    pub galois_keys: u64,
    /// Bytes of all evaluation keys, sent once.
    pub key_bytes: u64,
    /// Seconds of making and sending these, once.
    pub key_seconds: f64,
}

/// What the circuit passes saved. They keep the numbers of rotations, products and additions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Passes {
    /// Divisions by the special primes as the kernels emit rotations: one each.
    pub divisions_before: u64,
    /// Divisions fewer where sums of rotations share one: pass `rotate-sums`.
    pub saved_by_rotate_sums: u64,
    /// Divisions fewer where products of rotations share one: pass `extend`.
    pub saved_by_extend: u64,
    /// Divisions that are left.
    pub divisions_after: u64,
    /// Rotations, which stay.
    pub rotations: u64,
    /// Products, which stay.
    pub plain_mults: u64,
}

impl Second {
    /// The kernel and what it would take more, Galois keys of its own included; also the split, where that is all
    /// that differs from the layer's `kernel`.
    pub(super) fn beside(&self, kernel: Option<&str>) -> String {
        let milliseconds = (self.seconds - self.chosen_seconds) * 1e3;
        let percent = 100.0 * (self.seconds / self.chosen_seconds - 1.0);
        let split = self.split.as_ref().filter(|_| kernel == Some(self.kernel));
        let split = split.map_or(String::new(), |split| format!(", {split}"));
        format!("+{milliseconds:.2} ms (+{percent:.0} %) {}{split}", self.kernel)
    }
}

impl Predicted {
    pub(super) fn add(&mut self, other: &Self) {
        let sum = |a: f64, b: f64| to_microseconds(a + b);
        self.server_seconds = sum(self.server_seconds, other.server_seconds);
        self.client_seconds = sum(self.client_seconds, other.client_seconds);
        self.wire_seconds = sum(self.wire_seconds, other.wire_seconds);
        self.seconds = sum(self.seconds, other.seconds);
    }
}

impl Passes {
    pub(super) fn add(&mut self, counts: &Counts) {
        self.divisions_before += counts.key_switches;
        self.saved_by_rotate_sums += counts.sum_rotations - counts.rotate_sums;
        self.saved_by_extend += counts.extended_rotations - counts.extended_dots;
        self.divisions_after += counts.divisions();
        self.rotations += counts.rotations();
        self.plain_mults += counts.plain_mults;
    }
}

/// What a layer takes under its parameters; none if the table has no row for them.
pub(super) fn predicted(
    compiled: &Compiled,
    (layer, segment): (&PlannedLayer, &Segment),
    table: &CostTable,
) -> Option<Predicted> {
    let encoding = segment.contents.encoding();
    let facts = Facts::of(&layer.kernel, segment, compiled.circuit.ring_of(encoding))?;
    let prices = Prices::of(compiled.sets().of(encoding)?.clone(), table)?;
    let cost = facts.cost(&prices);
    let wire = cost.seconds() - cost.server - cost.client;
    Some(Predicted {
        server_seconds: to_microseconds(cost.server),
        client_seconds: to_microseconds(cost.client),
        wire_seconds: to_microseconds(wire),
        seconds: to_microseconds(cost.seconds()),
    })
}

pub(super) fn second(layer: &PlannedLayer) -> Option<Second> {
    let weighed = layer.weighed?;
    let RunnerUp { pick, seconds } = weighed.runner_up?;
    Some(Second {
        kernel: pick.name(),
        encoding: pick.encoding(),
        split: pick.choice().map(|choice| choice.to_string()),
        seconds: to_microseconds(seconds),
        chosen_seconds: to_microseconds(weighed.seconds),
    })
}

pub(super) fn plans(compiled: &Compiled) -> Vec<PlanPrice> {
    let compared = compiled.plan.compared.iter().take(PLANS);
    compared
        .map(|compared| PlanPrice {
            plan: compared.plan,
            seconds: to_microseconds(compared.cost.seconds()),
            server_seconds: to_microseconds(compared.cost.layers.server),
            bytes: compared.cost.layers.bytes,
            galois_keys: compared.cost.galois_keys,
            key_bytes: compared.cost.key_bytes,
            key_seconds: to_microseconds(compared.cost.key_seconds),
        })
        .collect()
}

impl Report {
    /// One line a linear layer: kernel, seconds, a bar, the second choice.
    pub(super) fn plan_text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let linear = || self.layers.iter().filter_map(|layer| Some((layer, layer.predicted?)));
        let most = linear().map(|(_, predicted)| predicted.seconds).fold(0.0, f64::max);
        if most <= 0.0 {
            return Ok(());
        }
        let widest = linear().map(|(layer, _)| layer.name.len()).max().unwrap_or(0).clamp(5, 40);
        writeln!(
            f,
            "\n{:widest$}  {:16} {:>9} {:>6}  {:20}  next best",
            "layer", "kernel", "ms", "share", ""
        )?;
        for (layer, predicted) in linear() {
            let share = predicted.seconds / self.predicted.seconds;
            let bar = bar(predicted.seconds / most);
            let next = layer.runner_up.as_ref().map_or(String::new(), |second| second.beside(layer.kernel));
            let line = format!(
                "{:widest$}  {:16} {:>9.2} {:>5.1}%  {bar:20}  {next}",
                layer.name,
                layer.kernel.unwrap_or_default(),
                predicted.seconds * 1e3,
                100.0 * share,
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A bar of `part` of the longest, at least one sign.
fn bar(part: f64) -> String {
    let signs = (1..).take_while(|&n| n == 1 || f64::from(n) <= (part.clamp(0.0, 1.0) * BAR).round());
    signs.map(|_| '#').collect()
}

impl fmt::Display for Predicted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server_seconds, client_seconds, wire_seconds, seconds } = self;
        write!(
            f,
            "{seconds:.3} s: server {server_seconds:.3}, client {client_seconds:.3}, bytes {wire_seconds:.3} \
             at 3 Gbit/s, each party on one core"
        )
    }
}

impl fmt::Display for PlanPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000);
        let Self { plan, seconds, galois_keys, key_seconds, .. } = self;
        write!(f, "{:20} {seconds:.3} s, {} sent", plan.name(), megabytes(self.bytes))?;
        let keys = megabytes(self.key_bytes);
        write!(f, "; {galois_keys} Galois keys once, all keys {keys} in {key_seconds:.2} s")
    }
}

impl fmt::Display for Passes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "divisions by the special primes {} -> {}: rotate-sums saved {}, extend {}; {} rotations and {} \
             products as before",
            self.divisions_before,
            self.divisions_after,
            self.saved_by_rotate_sums,
            self.saved_by_extend,
            self.rotations,
            self.plain_mults
        )
    }
}
