//! `--max-drop`: the fewest bits within a budget of accuracy, written into the model's text.

use super::execute::progress_bar;
use super::failure::Failure;
use super::load::{Calibration, Front};
use super::say::say;
use crate::diag::{SourceFile, Span};
use crate::graph::{Model, NodeId, WeightsDecl};
use crate::input::{self, Data};
use crate::layers::Layer;
use crate::params::plain_prime;
use crate::passes::FloatModel;
use crate::quant::{AutoBits, BitsOf, Judges, Statistics, auto_bits};
use crate::resolve;
use crate::syntax::{self, Ast, Attributes, with_attributes};
use crate::weights::WeightSource;
use clap::Args;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

/// The budget, and what it is judged by.
#[derive(Debug, Args)]
pub(super) struct BitsOptions {
    /// Search the fewest bits per layer, down to 4, that cost at most so many points of accuracy; without
    /// labels, of agreement with the float network.
    #[arg(long, value_name = "POINTS", value_parser = points)]
    max_drop: Option<f64>,
    /// Images that the search judges by; the calibration images if absent.
    #[arg(long, value_name = "FILE", requires = "max_drop")]
    data: Option<PathBuf>,
}

fn points(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|points| (0.0..=100.0).contains(points));
    number.ok_or_else(|| "expected points of accuracy, 0 to 100".to_owned())
}

impl BitsOptions {
    /// Whether a search is wanted.
    pub(super) fn wanted(&self) -> bool {
        self.max_drop.is_some()
    }

    /// Searches, says what it found, and gives the text with the bits and the model that it describes.
    pub(super) fn search(
        &self,
        text: Text<'_>,
        model: &Model,
        float: &FloatModel,
        calibration: Option<Ranges<'_>>,
        prime: Prime,
    ) -> Result<Option<(String, Model)>, Failure> {
        let Some(max_drop) = self.max_drop else { return Ok(None) };
        let FloatModel { model: folded, weights: Some(weights) } = float else {
            return Err(Failure::User("--max-drop: the model has no weights to judge by".into()));
        };
        if let WeightsDecl::Random(_) = model.header.weights {
            return Err(Failure::User("--max-drop: random weights have no accuracy to lose".into()));
        }
        let shape = &model.graph.node(NodeId(0)).shape;
        let own = self.data.as_ref().map(|file| input::load(file, &model.header.input, shape)).transpose()?;
        let images = calibration.and_then(|ranges| ranges.images);
        let Some(Data { images: judging, labels }) = own.as_ref().or(images) else {
            let why = match calibration.and_then(|ranges| ranges.measured) {
                Some(_) => {
                    "the model's `calibration:` is a file of measured ranges, which cannot judge accuracy; give \
                     images by --data"
                }
                None => "give images by --data, or as `calibration:` in the model",
            };
            return Err(Failure::User(format!("--max-drop: {why}")));
        };
        let fresh = match (calibration.and_then(|ranges| ranges.measured), images) {
            (None, Some(data)) => {
                Some(Statistics::measure(folded, weights, &data.images).map_err(Failure::user)?)
            }
            (_, _) => None,
        };
        let measured = calibration.and_then(|ranges| ranges.measured).or(fresh.as_ref());
        let bar = progress_bar(0, "searching bits");
        let judges = Judges { images: judging, labels: labels.as_deref() };
        let found = auto_bits(folded, weights, measured, judges, max_drop, &mut |tried, score| {
            bar.set_message(format!("network {tried}: {score:.2} % right"));
        });
        bar.finish_and_clear();
        let found = found.map_err(Failure::user)?;
        say(&told(&found, judges, prime));
        if !found.within {
            return Err(Failure::User(format!(
                "--max-drop {max_drop}: the bits that the model has lose more already; allow more, or give it \
                 more bits"
            )));
        }
        written(text, model, folded, &found).map(Some)
    }
}

/// A model's text, as bits are written into it.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub source: &'a SourceFile,
    pub ast: Option<&'a Ast>,
    pub weights: Option<&'a dyn WeightSource>,
}

impl<'a> From<&'a Front> for Text<'a> {
    fn from(front: &'a Front) -> Self {
        Self { source: &front.source, ast: front.ast.as_ref(), weights: front.weights() }
    }
}

/// How the plaintext prime of the network will be chosen.
#[derive(Clone, Copy)]
pub(super) struct Prime {
    pub ring: u32,
    /// Its bits, where they are given.
    pub bits: Option<u32>,
}

impl Prime {
    /// The bits of the one for accumulators up to `largest`: a ring has primes of some lengths only.
    fn above(self, largest: u64) -> String {
        match plain_prime(self.ring, largest, self.bits) {
            Ok(t) => format!("{} bits", u64::BITS - t.leading_zeros()),
            Err(_) => "none that holds the accumulators".into(),
        }
    }
}

/// Where ranges come from: measured, or to be measured on images.
#[derive(Clone, Copy)]
pub(super) struct Ranges<'a> {
    pub images: Option<&'a Data>,
    pub measured: Option<&'a Statistics>,
}

impl<'a> From<&'a Calibration> for Ranges<'a> {
    fn from(calibration: &'a Calibration) -> Self {
        Self { images: calibration.images(), measured: calibration.measured() }
    }
}

/// What the search found, for people.
fn told(found: &AutoBits, judges: Judges<'_>, prime: Prime) -> String {
    let what = if judges.labels.is_some() { "accuracy" } else { "agreement with the float network" };
    let mut text = format!(
        "{what} on {} images: float {:.2} %, before {:.2} %, with the bits found {:.2} %; {} networks tried\n\
         plaintext prime: {} before, {} after\n",
        judges.images.len(),
        found.float,
        found.before,
        found.after,
        found.tried,
        prime.above(found.largest_accumulator.0),
        prime.above(found.largest_accumulator.1),
    );
    for place in &found.places {
        let names: Vec<_> = place.nodes.iter().map(|id| found.model.graph.node(*id).name.as_str()).collect();
        let of = match place.of {
            BitsOf::Weights => "weights",
            BitsOf::Activations => "values",
        };
        let _ = writeln!(text, "{:7} {} bits  {}", of, place.bits, names.join(", "));
    }
    text
}

/// The text with the bits found, and its model, which has them.
fn written(
    text: Text<'_>,
    model: &Model,
    folded: &Model,
    found: &AutoBits,
) -> Result<(String, Model), Failure> {
    let internal = |what: &str| Failure::Internal(format!("cannot write the bits into the text: {what}"));
    let ast = text.ast.ok_or_else(|| internal("no tree"))?;
    let names: BTreeMap<&str, NodeId> =
        model.graph.ids().map(|id| (model.graph.node(id).name.as_str(), id)).collect();
    let mut wanted: BTreeMap<Span, Attributes> = BTreeMap::new();
    let mut expected = Vec::new();
    for place in &found.places {
        for node in &place.nodes {
            let name = found.model.graph.node(*node).name.as_str();
            let id = *names.get(name).ok_or_else(|| internal(name))?;
            let id = if place.of == BitsOf::Activations { said_by(model, folded, id) } else { id };
            let attribute = if place.of == BitsOf::Weights { "weight_bits" } else { "bits" };
            wanted.entry(model.graph.node(id).span).or_default().insert(attribute, place.bits);
            expected.push((id, place));
        }
    }
    let with_bits = with_attributes(&text.source.text, ast, &wanted);
    let source = SourceFile { name: text.source.name.clone(), text: with_bits };
    let ast = syntax::parse(&source).map_err(|found| internal(&found.render(&source)))?;
    let (model, found) = resolve::resolve(&ast, text.weights);
    let model = model.ok_or_else(|| internal(&found.render(&source)))?;
    for (id, place) in expected {
        let quant = model.graph.node(id).quant;
        let bits = if place.of == BitsOf::Weights { quant.weight_bits } else { quant.bits };
        if bits != Some(place.bits) {
            return Err(internal(&model.graph.node(id).name));
        }
    }
    Ok((source.text, model))
}

/// The layer whose call says the bits of `id`: the last batch normalisation that was folded into it.
fn said_by(model: &Model, folded: &Model, id: NodeId) -> NodeId {
    let kept = |id: NodeId| {
        let name = &model.graph.node(id).name;
        folded.graph.ids().any(|other| folded.graph.node(other).name == *name)
    };
    let mut at = id;
    while let [user] = model.graph.users(at).as_slice()
        && matches!(model.graph.node(*user).layer, Layer::BatchNorm(_))
        && !kept(*user)
    {
        at = *user;
    }
    at
}

/// `front` with another text.
pub(super) fn replaced(front: &mut Front, text: String) {
    front.source.text = text;
    front.ast = syntax::parse(&front.source).ok();
}

#[cfg(test)]
mod tests {
    use super::Prime;

    /// At ring 8192 there is no prime of 19 bits that is 1 modulo 16384.
    #[test]
    fn the_prime_is_one_that_the_ring_has() {
        let prime = Prime { ring: 8192, bits: None };
        assert_eq!(prime.above((1 << 17) + 1), "20 bits");
        assert_eq!(prime.above(100), "17 bits");
        assert_eq!(Prime { bits: Some(22), ..prime }.above(100), "22 bits");
        assert_eq!(Prime { bits: Some(22), ..prime }.above(1 << 30), "none that holds the accumulators");
    }
}
