//! The cost report: what a compiled network costs, per layer and in total, before anything runs.
//!
//! Counts are folds over the circuit's instructions; predicted seconds and bytes come from the cost
//! table. The keys of the JSON form are pinned. No wall-clock time is read here.

mod cryptflow2;
mod hints;
mod html;
mod leak;
mod moduli;
mod plan;
mod prices;
mod quantisation;
mod text;

use crate::circuit::{Counts, Segment, count};
use crate::compiled::Compiled;
use crate::cost::{self, CostTable, LAN, Means, Network, OpCosts, PeakMemory, Sizes, WAN};
use crate::graph::{NodeId, NonLinearWork, WeightsDecl};
use crate::lower::galois_steps;
use crate::params::{Encoding, SchemeParams, security_bits};
use crate::protocol::{self, Choices, Cost, Held, SetUp, Step};
use crate::select::PlannedLayer;
pub use cryptflow2::{NoAccount, cryptflow2};
pub use hints::{Hint, hints};
pub use html::{html, tfhe_html};
pub use leak::Leak;
pub use moduli::Moduli;
pub use plan::{Passes, PlanPrice, Predicted, Second};
pub use prices::Price;
pub use quantisation::{LayerBits, Quantisation};
use serde::Serialize;

/// Rotations by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rotations {
    /// Align a kernel tap.
    pub internal: u64,
    /// Align channels.
    pub external: u64,
    /// Both.
    pub total: u64,
}

/// The counters of a layer or of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Counters {
    /// Rotations by kind.
    pub rotations: Rotations,
    /// Key switches.
    pub key_switches: u64,
    /// Groups of rotations of one ciphertext.
    pub hoisted_groups: u64,
    /// Divisions by the special primes: one a rotation, unless sums of rotations or products share one.
    pub divisions: u64,
    /// Ciphertext times plaintext.
    pub plain_mults: u64,
    /// Ciphertext plus ciphertext.
    pub adds: u64,
    /// Ciphertext plus plaintext.
    pub plain_adds: u64,
    /// Ciphertexts that the client sends.
    pub ciphertexts_in: u64,
    /// Ciphertexts that the server returns.
    pub ciphertexts_out: u64,
    /// Distinct Galois keys.
    pub galois_keys: u64,
    /// Bytes of ciphertexts from the client, keys apart.
    pub bytes_up: u64,
    /// Bytes of ciphertexts from the server.
    pub bytes_down: u64,
    /// Elements that pass a ReLU (also ReLU6).
    pub relu: u64,
    /// Elements that pass another shift and clamp, or a polynomial.
    pub requant: u64,
    /// Comparisons of max pools.
    pub comparisons: u64,
    /// Rounds in which the client waits for the server, without those of `rounds_preprocess`.
    pub rounds: u64,
    /// Bytes of two-party steps while they run, both directions, frames included.
    pub bytes_nonlinear: u64,
    /// Rounds while random transfers are made for two-party steps, which can be before the image is known.
    pub rounds_preprocess: u64,
    /// Bytes of making those, both directions, frames included.
    pub bytes_preprocess: u64,
    /// Random transfers.
    pub transfers: u64,
    /// Predicted seconds of the server's linear part on one core.
    pub estimated_seconds: f64,
}

/// One layer of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerReport {
    /// Its name.
    pub name: String,
    /// The block it came from.
    pub block: Option<String>,
    /// Its kind.
    pub kind: &'static str,
    /// Shape of its first operand.
    pub shape_in: Vec<usize>,
    /// Shape of its result.
    pub shape_out: Vec<usize>,
    /// Channels a ciphertext holds in the layout chosen; 0 where a channel spans several.
    pub channel_capacity: Option<u64>,
    /// Layout of the input.
    pub layout_in: Option<String>,
    /// Layout of the output.
    pub layout_out: Option<String>,
    /// Kernel chosen.
    pub kernel: Option<&'static str>,
    /// What its ciphertexts hold.
    pub encoding: Option<Encoding>,
    /// What turns inputs and what turns sums, where there was a choice.
    pub split: Option<String>,
    /// Predicted seconds of both parties and of the bytes, for a linear layer.
    pub predicted: Option<Predicted>,
    /// The second choice.
    pub runner_up: Option<Second>,
    /// What it costs.
    #[serde(flatten)]
    pub counters: Counters,
}

/// The parameters of layers in coefficients, under keys of their own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoefficientSet {
    /// Ring degree N.
    pub ring: u32,
    /// Bits of each ciphertext prime.
    pub modulus_bits: Vec<u32>,
    /// Security in bits, classical.
    pub security_bits: u32,
    /// log2 of the largest noise of a result; none if the layers do not fit.
    pub noise_bits: Option<f64>,
    /// log2 of the flooding that hides it.
    pub flood_bits: Option<f64>,
    /// log2 of the noise up to which a result decrypts; none if the layers do not fit.
    pub room_bits: Option<f64>,
    /// Bytes of the public key, sent once.
    pub key_bytes: u64,
}

impl CoefficientSet {
    fn of(compiled: &Compiled, params: &SchemeParams) -> Self {
        let fit = compiled.fits_set(params).ok();
        let tenth = |bits: f64| (bits * 10.0).round() / 10.0;
        Self {
            ring: params.ring,
            modulus_bits: params.modulus_bits.clone(),
            security_bits: security_bits(params),
            noise_bits: fit.map(|fit| tenth(fit.noise_bits)),
            flood_bits: fit.and_then(|fit| fit.flood_bits).map(tenth),
            room_bits: fit.map(|fit| tenth(fit.room_bits)),
            key_bytes: Sizes::of(compiled.scheme, params).key_bytes(0),
        }
    }
}

/// Whose execution a report counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accounting {
    /// What this program executes.
    Stria,
    /// What `CrypTFlow2` would execute.
    Cryptflow2,
}

/// What a model lacks of what bounds are proven from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// It names no weights.
    Weights,
    /// It has weights, but nothing says how far its values reach.
    Ranges,
}

impl Missing {
    fn of(compiled: &Compiled) -> Option<Self> {
        match compiled.network.header.weights {
            _ if !compiled.network.assumed => None,
            WeightsDecl::File(_) => Some(Self::Ranges),
            WeightsDecl::None | WeightsDecl::Random(_) => Some(Self::Weights),
        }
    }

    /// Behind the bits of t: where they come from.
    fn words(missing: Option<Self>) -> &'static str {
        match missing {
            None => "",
            Some(Self::Weights) => ", from assumed bounds: no weights",
            Some(Self::Ranges) => ", from assumed bounds: no ranges, calibrate",
        }
    }
}

/// The report of one network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// Whose execution is counted.
    pub accounting: Accounting,
    /// Ring degree N.
    pub ring: u32,
    /// Plaintext prime t.
    pub plain_modulus: u64,
    /// Bits of each ciphertext prime.
    pub modulus_bits: Vec<u32>,
    /// Whose moduli they are and why.
    pub moduli: Moduli,
    /// Parameters of the layers in coefficients, if there are any.
    pub coefficients: Option<CoefficientSet>,
    /// Security in bits, classical.
    pub security_bits: u32,
    /// Whether the bounds behind t were assumed from bit widths.
    pub assumed_bounds: bool,
    /// For want of what they were; none if they are proven.
    pub assumed_without: Option<Missing>,
    /// Bytes of all evaluation keys, of Galois keys above all, sent once.
    pub galois_key_bytes: u64,
    /// What passes once a connection, before the first image.
    pub setup: SetUp,
    /// Predicted bytes of the most memory that a run of one image takes, on one thread, both parties in one
    /// process.
    pub peak_memory_estimate: u64,
    /// Predicted seconds of the two-party steps on one core of either party, both at once.
    pub estimated_nonlinear_seconds: f64,
    /// Predicted seconds of one inference on one core of either party, keys there already, with a network of
    /// 3 Gbit/s and 0.8 ms a round between them.
    pub estimated_lan_seconds: f64,
    /// As `estimated_lan_seconds` for 200 Mbit/s and 40 ms a round.
    pub estimated_wan_seconds: f64,
    /// The cost table behind the predictions: `shipped`, or a file's name.
    pub cost_table: String,
    /// The bits of weights and values, and what they cost.
    pub quantisation: Quantisation,
    /// What leaving out zeros of weights shows to the client; none where it shows nothing.
    pub sparsity: Option<Leak>,
    /// Predicted seconds of all linear layers.
    pub predicted: Predicted,
    /// The plan and those of one kernel for all layers, the three cheapest of them, the cheapest first.
    pub plans: Vec<PlanPrice>,
    /// What the circuit passes saved.
    pub passes: Passes,
    /// Small changes of the network that would save much, the best first.
    pub hints: Vec<Hint>,
    /// Sums over the layers; Galois keys are counted once.
    pub totals: Counters,
    /// Layers that cost something, in order.
    pub layers: Vec<LayerReport>,
}

impl Counters {
    /// Counters from counts of operations, of ciphertexts of the given sizes.
    #[must_use]
    pub fn from_counts(counts: &Counts, sizes: &Sizes, seconds: impl Fn(&Counts) -> f64) -> Self {
        Self {
            rotations: Rotations {
                internal: counts.internal,
                external: counts.external,
                total: counts.rotations(),
            },
            key_switches: counts.key_switches,
            hoisted_groups: counts.hoisted_groups,
            divisions: counts.divisions(),
            plain_mults: counts.plain_mults,
            adds: counts.adds,
            plain_adds: counts.plain_adds,
            ciphertexts_in: counts.ciphertexts_in,
            ciphertexts_out: counts.ciphertexts_out,
            bytes_up: sizes.bytes_up(counts),
            bytes_down: sizes.bytes_down(counts),
            rounds: u64::from(counts.ciphertexts_in > 0),
            estimated_seconds: to_microseconds(seconds(counts)),
            ..Self::default()
        }
    }

    /// Bytes that pass, both directions: ciphertexts and two-party steps.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        [self.bytes_up, self.bytes_down, self.bytes_nonlinear, self.bytes_preprocess].into_iter().sum()
    }

    /// Seconds of these bytes and rounds over `network`.
    #[must_use]
    pub fn seconds_over(&self, network: Network) -> f64 {
        to_microseconds(network.seconds(self.bytes(), self.rounds + self.rounds_preprocess))
    }

    /// With what the two-party form of a non-linear node costs.
    #[must_use]
    pub fn with_cost(self, cost: Cost) -> Self {
        Self {
            rounds: cost.rounds,
            bytes_nonlinear: cost.online_bytes,
            rounds_preprocess: cost.offline_rounds,
            bytes_preprocess: cost.offline_bytes,
            transfers: cost.transfers,
            ..self
        }
    }

    /// The counters of a non-linear node.
    #[must_use]
    pub fn from_work(work: NonLinearWork) -> Self {
        let NonLinearWork { relu, requant, comparisons } = work;
        Self { relu, requant, comparisons, ..Self::default() }
    }

    /// Adds those of another layer; distinct Galois keys do not add up.
    pub fn add(&mut self, o: &Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.rotations.internal, o.rotations.internal);
        add(&mut self.rotations.external, o.rotations.external);
        add(&mut self.rotations.total, o.rotations.total);
        add(&mut self.key_switches, o.key_switches);
        add(&mut self.hoisted_groups, o.hoisted_groups);
        add(&mut self.divisions, o.divisions);
        add(&mut self.plain_mults, o.plain_mults);
        add(&mut self.adds, o.adds);
        add(&mut self.plain_adds, o.plain_adds);
        add(&mut self.ciphertexts_in, o.ciphertexts_in);
        add(&mut self.ciphertexts_out, o.ciphertexts_out);
        add(&mut self.bytes_up, o.bytes_up);
        add(&mut self.bytes_down, o.bytes_down);
        add(&mut self.relu, o.relu);
        add(&mut self.requant, o.requant);
        add(&mut self.comparisons, o.comparisons);
        add(&mut self.rounds, o.rounds);
        add(&mut self.bytes_nonlinear, o.bytes_nonlinear);
        add(&mut self.rounds_preprocess, o.rounds_preprocess);
        add(&mut self.bytes_preprocess, o.bytes_preprocess);
        add(&mut self.transfers, o.transfers);
        self.estimated_seconds = to_microseconds(self.estimated_seconds + o.estimated_seconds);
    }
}

/// Bytes in millions, to two places.
fn megabytes(bytes: u64) -> String {
    format!("{}.{:02} MB", bytes / 1_000_000, bytes % 1_000_000 / 10_000)
}

/// Seconds to six places: a prediction is never that good, and short figures read the same in every format.
fn to_microseconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

/// The report of `compiled`, predicted with `table`.
#[must_use]
pub fn report(compiled: &Compiled, table: &CostTable) -> Report {
    let graph = &compiled.network.graph;
    let mut totals = Counters::default();
    let mut predicted = Predicted::default();
    let mut passes = Passes::default();
    let mut layers = Vec::new();
    let mut planned = compiled.plan.layers.iter().zip(&compiled.circuit.segments).peekable();
    for id in graph.ids() {
        let segment = planned.next_if(|(layer, _)| layer.node == id);
        let (counters, place) = match segment {
            Some((layer, segment)) => {
                let mut counts = count(segment);
                counts.plain_adds = counts.ciphertexts_in + counts.ciphertexts_out;
                let mut counters = segment_counters(compiled, (layer, segment), &counts, table);
                counters.galois_keys = galois_steps(std::slice::from_ref(segment)).len() as u64;
                (counters, Some(layer))
            }
            None => match compiled.network.nonlinear_work(id) {
                Some(work) => (Counters::from_work(work).with_cost(two_party_cost(compiled, id)), None),
                None => continue,
            },
        };
        totals.add(&counters);
        let mut layer = layer_report(compiled, id, place, counters);
        if let Some((planned, segment)) = segment {
            layer.predicted = plan::predicted(compiled, (planned, segment), table);
            layer.predicted.iter().for_each(|layer| predicted.add(layer));
            passes.add(&count(segment));
        }
        layers.push(layer);
    }
    totals.galois_keys = galois_steps(&compiled.circuit.segments).len() as u64;
    let nonlinear_seconds = nonlinear_seconds(&totals, table);
    let [lan, wan] = [LAN, WAN].map(|network| seconds_over(&totals, network, nonlinear_seconds));
    let sets = compiled.sets();
    let key_bytes = |set: Option<&SchemeParams>, keys| {
        set.map_or(0, |set| Sizes::of(compiled.scheme, set).key_bytes(keys))
    };
    let choices = Choices::default();
    let galois_key_bytes = key_bytes(sets.slots, totals.galois_keys) + key_bytes(sets.coefficients, 0);
    let key_messages = [sets.slots, sets.coefficients].iter().flatten().count() as u64;
    Report {
        model: compiled.network.header.name.clone(),
        accounting: Accounting::Stria,
        ring: compiled.params.ring,
        plain_modulus: compiled.params.plain_modulus,
        modulus_bits: compiled.params.modulus_bits.clone(),
        moduli: moduli::moduli(compiled),
        coefficients: sets.coefficients.map(|params| CoefficientSet::of(compiled, params)),
        security_bits: security_bits(&compiled.params),
        assumed_bounds: compiled.network.assumed,
        assumed_without: Missing::of(compiled),
        galois_key_bytes,
        setup: SetUp::of(choices.activations, galois_key_bytes, key_messages),
        peak_memory_estimate: peak_memory(compiled, Means { kept: 0, threads: 1 }, choices).total(),
        estimated_nonlinear_seconds: nonlinear_seconds,
        estimated_lan_seconds: lan,
        estimated_wan_seconds: wan,
        cost_table: table.name.clone(),
        quantisation: quantisation::quantisation(compiled, table.transfers),
        sparsity: Leak::of(compiled),
        predicted,
        plans: plan::plans(compiled),
        passes,
        hints: hints::hints(compiled, table),
        totals,
        layers,
    }
}

impl Report {
    /// The report of a run in another form than the two-party steps of all layers: with these costs of its
    /// non-linear layers, in order, and of telling the answer.
    #[must_use]
    pub fn in_form(mut self, steps: impl IntoIterator<Item = Cost>, told: Cost, table: &CostTable) -> Self {
        let mut steps = steps.into_iter();
        let mut sum = told;
        for layer in self.layers.iter_mut().filter(|layer| layer.encoding.is_none()) {
            let cost = steps.next().unwrap_or_default();
            layer.counters = layer.counters.with_cost(cost);
            sum = sum + cost;
        }
        let linear = self.layers.iter().filter(|layer| layer.encoding.is_some());
        sum.rounds += linear.map(|layer| layer.counters.rounds).sum::<u64>();
        self.totals = self.totals.with_cost(sum);
        let seconds = nonlinear_seconds(&self.totals, table);
        self.estimated_nonlinear_seconds = seconds;
        self.estimated_lan_seconds = seconds_over(&self.totals, LAN, seconds);
        self.estimated_wan_seconds = seconds_over(&self.totals, WAN, seconds);
        self
    }
}

/// Predicted seconds of the two-party steps.
fn nonlinear_seconds(totals: &Counters, table: &CostTable) -> f64 {
    to_microseconds(table.transfers.seconds(totals.transfers))
}

/// Predicted seconds of one inference over `network`.
fn seconds_over(totals: &Counters, network: Network, nonlinear: f64) -> f64 {
    to_microseconds(totals.estimated_seconds + nonlinear + totals.seconds_over(network))
}

/// What the two-party form of node `id` costs; nothing if the plaintext prime is beyond what it computes
/// with, which a run then says.
fn two_party_cost(compiled: &Compiled, id: NodeId) -> Cost {
    let step = Step::of(&compiled.network, id, compiled.params.plain_modulus);
    step.and_then(|step| protocol::cost(&step).ok()).unwrap_or_default()
}

/// What each operation of a linear layer costs by `table`, under the parameters of its encoding; none if the table
/// has no row for them.
#[must_use]
pub fn layer_costs(
    compiled: &Compiled,
    (layer, segment): (&PlannedLayer, &Segment),
    table: &CostTable,
) -> Option<OpCosts> {
    let costs = table.costs(compiled.sets().of(segment.contents.encoding())?)?;
    Some(if layer.kernel.spectrum().is_some() { costs.of_spectra() } else { costs })
}

/// The counters of a linear layer for `counts` of it, under the parameters of its encoding.
#[must_use]
pub fn segment_counters(
    compiled: &Compiled,
    (layer, segment): (&PlannedLayer, &Segment),
    counts: &Counts,
    table: &CostTable,
) -> Counters {
    let params = compiled.sets().of(segment.contents.encoding()).unwrap_or(&compiled.params);
    let sizes = Sizes::of(compiled.scheme, params);
    let costs = layer_costs(compiled, (layer, segment), table);
    Counters {
        bytes_down: sizes.replies(segment),
        ..Counters::from_counts(counts, &sizes, |counts| costs.map_or(0.0, |c| c.server_seconds(counts)))
    }
}

/// The most memory that a run of `compiled` by those `choices` takes, both parties in one process.
#[must_use]
pub fn peak_memory(compiled: &Compiled, means: Means, choices: Choices) -> PeakMemory {
    // A plaintext prime beyond what the steps compute with is refused when they run.
    let held = protocol::held(&compiled.network, compiled.params.plain_modulus, choices);
    let Held { shares, transfers } = held.unwrap_or_default();
    PeakMemory { shares, transfers, ..linear_memory(compiled, means) }
}

/// That of its linear layers.
#[must_use]
pub fn linear_memory(compiled: &Compiled, means: Means) -> PeakMemory {
    let all = &compiled.circuit.segments;
    let keys = galois_steps(all).len() as u64;
    let sets = compiled.sets();
    let of = |encoding, keys| {
        let params = sets.of(encoding)?;
        let segments: Vec<&Segment> = all.iter().filter(|s| s.contents.encoding() == encoding).collect();
        Some(cost::peak_memory(compiled.scheme, &segments, params, keys, means))
    };
    let linear = match (of(Encoding::Slots, keys), of(Encoding::Coefficients, 0)) {
        (Some(slots), Some(coefficients)) => slots.beside(coefficients),
        (slots, coefficients) => slots.or(coefficients).unwrap_or_default(),
    };
    let weights = compiled.weights.iter().flat_map(|weights| weights.0.values());
    let weights: u64 = weights.map(|layer| layer.weight.data.len() as u64).sum();
    PeakMemory { program: linear.program + weights, ..linear }
}

fn layer_report(
    compiled: &Compiled,
    id: NodeId,
    place: Option<&PlannedLayer>,
    counters: Counters,
) -> LayerReport {
    let graph = &compiled.network.graph;
    let node = graph.node(id);
    LayerReport {
        name: node.name.clone(),
        block: node.block.clone(),
        kind: if counters.relu > 0 { "relu" } else { node.layer.kind() },
        shape_in: graph.input_shapes(id).first().map(|s| s.dims().to_vec()).unwrap_or_default(),
        shape_out: node.shape.dims().to_vec(),
        channel_capacity: place.map(|p| p.kernel.channel_capacity() as u64),
        layout_in: place.map(|p| p.kernel.layouts()[0].clone()),
        layout_out: place.map(|p| p.kernel.layouts()[1].clone()),
        kernel: place.map(|p| p.kernel.name()),
        encoding: place.map(|p| p.kernel.encoding()),
        split: place.and_then(|p| p.kernel.choice()).map(|choice| choice.to_string()),
        predicted: None,
        runner_up: place.and_then(plan::second),
        counters,
    }
}
