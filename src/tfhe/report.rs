//! What a planned network costs and how exact it is, before it runs.

use super::params::{EVALUATION_KEY_BYTES, LWE_DIMENSION, RING, SECURITY_BITS, SWITCH_LEVELS};
use super::plan::{Plan, PlannedLayer};
use crate::cost::TfheCosts;
use serde::Serialize;
use std::fmt;

/// Seconds of operations, and where they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    /// `shipped`, the file that they come from, or how they were measured.
    pub name: String,
    /// On one core.
    pub seconds: TfheCosts,
}

impl Costs {
    /// Those that the program ships with.
    #[must_use]
    pub fn shipped() -> Self {
        Self { name: "shipped".into(), seconds: TfheCosts::shipped() }
    }
}

/// Bytes of an LWE ciphertext under the large key.
const SAMPLE_BYTES: u64 = 8 * (RING as u64 + 1);

/// What an inference takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Totals {
    /// Programmable bootstraps.
    pub bootstraps: usize,
    /// Key switches.
    pub key_switches: usize,
    /// Products of a ciphertext with a polynomial of weights.
    pub products: usize,
    /// Products of a sample with a weight.
    pub terms: usize,
    /// Ciphertexts of the image.
    pub ciphertexts_in: usize,
    /// Ciphertexts of the answer.
    pub ciphertexts_out: usize,
    /// Bytes of the image.
    pub bytes_up: u64,
    /// Bytes of the answer.
    pub bytes_down: u64,
    /// Bytes of the evaluation key, sent once.
    pub evaluation_key_bytes: u64,
    /// Activations that noise is expected to change.
    pub changed: f64,
    /// Probability that one of them is further off than by one.
    pub far: f64,
    /// Probability that an image like the calibration ones reaches beyond what is answered right.
    pub beyond: f64,
    /// Seconds of one core of the server for an image.
    pub estimated_seconds: f64,
    /// Of it, those of linear layers.
    pub estimated_linear_seconds: f64,
    /// Seconds of one core for making the keys and unpacking the evaluation key, once.
    pub estimated_setup_seconds: f64,
}

/// One activation with the linear layers before it, or the output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerReport {
    /// Its name.
    pub name: String,
    /// Shape of its result.
    pub shape_out: Vec<usize>,
    /// `polynomials`, or `samples`.
    pub kernel: &'static str,
    /// Its bootstraps.
    pub bootstraps: usize,
    /// Its products of a sample with a weight.
    pub terms: usize,
    /// Seconds of one core of the server.
    pub estimated_seconds: f64,
    /// Largest |w|_2 of a result, of weights on activations.
    pub norm: f64,
    /// What its accumulator is taken to reach.
    pub reach: (i64, i64),
    /// Whether no image reaches further.
    pub proven: bool,
    /// Between which accumulators it is answered right, but for noise.
    pub right: (f64, f64),
    /// Probability that an image like the calibration ones goes beyond that; 0 if proven.
    pub beyond: f64,
    /// Standard deviation of the noise in steps of its result; of an output, in units of a logit.
    pub noise: f64,
    /// Probability that noise changes an activation.
    pub changed: f64,
    /// Probability that it changes it by more than one.
    pub far: f64,
}

/// The report of one network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// `tfhe`.
    pub mode: &'static str,
    /// Ring degree N.
    pub ring: usize,
    /// Dimension of the small LWE key.
    pub lwe_dimension: usize,
    /// Bits of the modulus.
    pub modulus_bits: [u32; 1],
    /// Security in bits, classical.
    pub security_bits: u32,
    /// Whether what an accumulator reaches was seen on calibration images; else all are proven.
    pub seen: bool,
    /// On how many images.
    pub images: usize,
    /// Where the seconds come from.
    pub cost_table: String,
    /// Predicted bytes of the most memory that the server holds.
    pub peak_memory_estimate: u64,
    /// Sums.
    pub totals: Totals,
    /// The layers.
    pub layers: Vec<LayerReport>,
}

/// The report of `plan`, with seconds from `costs`.
#[must_use]
pub fn report(plan: &Plan, costs: &Costs) -> Report {
    let bootstraps = plan.bootstraps();
    let outputs = plan.output().map_or(0, |layer| layer.rows.len());
    let seconds = &costs.seconds;
    let layers: Vec<_> = plan.layers.iter().map(|layer| layer_report(layer, seconds)).collect();
    let estimated_seconds = layers.iter().map(|layer| layer.estimated_seconds).sum();
    let totals = Totals {
        bootstraps,
        key_switches: bootstraps,
        products: plan.layers.iter().map(PlannedLayer::products).sum(),
        terms: layers.iter().map(|layer| layer.terms).sum(),
        ciphertexts_in: plan.input.ciphertexts(),
        ciphertexts_out: outputs,
        bytes_up: plan.input.ciphertexts() as u64 * (16 + 8 * RING as u64),
        bytes_down: outputs as u64 * SAMPLE_BYTES,
        evaluation_key_bytes: EVALUATION_KEY_BYTES,
        changed: plan.changed(),
        far: plan.far(),
        beyond: plan.beyond(),
        estimated_seconds,
        estimated_linear_seconds: estimated_seconds - seconds.server_seconds(bootstraps, 0),
        estimated_setup_seconds: seconds.keygen + seconds.unpack,
    };
    Report {
        model: plan.model.clone(),
        mode: "tfhe",
        ring: RING,
        lwe_dimension: LWE_DIMENSION,
        modulus_bits: [64],
        security_bits: SECURITY_BITS,
        seen: plan.seen,
        images: plan.images,
        cost_table: costs.name.clone(),
        peak_memory_estimate: peak_memory(plan),
        totals,
        layers,
    }
}

fn layer_report(layer: &PlannedLayer, seconds: &TfheCosts) -> LayerReport {
    let of_samples = layer.product.is_none();
    let bootstraps = if layer.table.is_some() { layer.rows.len() } else { 0 };
    let terms = if of_samples { layer.rows.iter().map(|row| row.terms.len()).sum() } else { 0 };
    // A ciphertext of the ring is as long as two samples.
    let work = terms + 2 * layer.product.as_ref().map_or(0, |p| p.taps.iter().map(Vec::len).sum());
    LayerReport {
        name: layer.name.clone(),
        shape_out: layer.shape.dims().to_vec(),
        kernel: if of_samples { "samples" } else { "polynomials" },
        bootstraps,
        terms,
        estimated_seconds: seconds.server_seconds(bootstraps, work),
        norm: layer.norm,
        reach: layer.reach,
        proven: layer.proven,
        right: layer.right,
        beyond: layer.beyond,
        noise: layer.noise_steps,
        changed: layer.forecast.changed,
        far: layer.forecast.far,
    }
}

/// The keys while they are unpacked, or unpacked with the plan and the samples of two layers.
fn peak_memory(plan: &Plan) -> u64 {
    let switch = 8 * (RING * SWITCH_LEVELS * (LWE_DIMENSION + 1)) as u64;
    let standard = 2 * EVALUATION_KEY_BYTES;
    let unpacking = EVALUATION_KEY_BYTES + 2 * standard;
    let terms: usize = plan.layers.iter().flat_map(|layer| &layer.rows).map(|row| row.terms.len()).sum();
    let samples = plan.sources.windows(2).map(|pair| pair.iter().map(|s| u64::from(s.count)).sum::<u64>());
    let running = switch + standard + 16 * terms as u64 + samples.max().unwrap_or(0) * SAMPLE_BYTES;
    unpacking.max(running)
}

impl Report {
    /// How far what accumulators reach is to be trusted.
    #[must_use]
    pub fn reach(&self) -> String {
        if !self.seen {
            return "proven by the weights: no image goes beyond it".into();
        }
        let images = if self.images == 1 { "image" } else { "images" };
        format!(
            "~ seen on {} {images} and a quarter more, else proven by the weights; one like them goes beyond it, \
             and is answered wrongly, with probability {:.0e}",
            self.images, self.totals.beyond
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.totals;
        writeln!(
            f,
            "{}, mode tfhe: ring {}, LWE dimension {}, modulus 2^64, {}-bit security",
            self.model, self.ring, self.lwe_dimension, self.security_bits
        )?;
        writeln!(
            f,
            "{} bootstraps, {} products with polynomials, {} terms of samples; predicted {:.1} s of one core ({} costs)",
            t.bootstraps, t.products, t.terms, t.estimated_seconds, self.cost_table
        )?;
        let mb = |bytes: u64| bytes as f64 / 1e6;
        writeln!(
            f,
            "{} ciphertexts up, {} down, {:.2} MB; evaluation key once, {:.1} MB; memory {:.0} MB",
            t.ciphertexts_in,
            t.ciphertexts_out,
            mb(t.bytes_up + t.bytes_down),
            mb(t.evaluation_key_bytes),
            mb(self.peak_memory_estimate)
        )?;
        writeln!(
            f,
            "noise changes {:.1} activations of an image to a neighbour, expected; any further with probability {:.1e}",
            t.changed, t.far
        )?;
        writeln!(f, "reach of accumulators: {}\n", self.reach())?;
        let widest = self.layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0).max(5);
        writeln!(
            f,
            "{:widest$}  {:>12}  {:11}  {:>10}  {:>8}  {:>7}  {:>17}  {:>7}  {:>6}  {:>8}",
            "layer",
            "result",
            "kernel",
            "bootstraps",
            "terms",
            "|w|_2",
            "reach",
            "beyond",
            "noise",
            "changed"
        )?;
        for layer in &self.layers {
            let shape: Vec<_> = layer.shape_out.iter().map(ToString::to_string).collect();
            writeln!(
                f,
                "{:widest$}  {:>12}  {:11}  {:>10}  {:>8}  {:>7.1}  {:>17}  {:>7}  {:>6.3}  {:>6.2} %",
                layer.name,
                shape.join("x"),
                layer.kernel,
                layer.bootstraps,
                layer.terms,
                layer.norm,
                format!("{}{}..{}", if layer.proven { "" } else { "~" }, layer.reach.0, layer.reach.1),
                if layer.proven { "never".into() } else { format!("{:.0e}", layer.beyond) },
                layer.noise,
                100.0 * layer.changed
            )?;
        }
        write!(f, "(noise: standard deviation, in steps of the result; beyond: probability of an image)")
    }
}
