//! `stria eval`: accuracy and agreement on labelled data.

mod confusion;

use super::execute::{RunOptions, execute, progress_bar, weights};
use super::failure::Failure;
use super::load::Loaded;
use super::say::say;
use super::{Backend, CompileOptions, Format, Mode, ModelPath, clipped, load, output, tfhe};
use crate::graph::{IntNetwork, IntWeights, evaluate, quantise_input};
use crate::input;
use crate::passes::FloatModel;
use crate::protocol::{Answer, first_of_greatest};
use crate::quant::{LayerError, float_eval, layer_errors};
use crate::tensor::Tensor;
use clap::Args;
use confusion::Confusion;
use indicatif::ProgressBar;
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// Images on which the errors of layers are measured.
const MEASURED: usize = 64;

#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    /// The model, .stria or .striac.
    pub(super) model: ModelPath,
    /// Images with labels: .safetensors, or a folder of .png files named LABEL_*.png.
    #[arg(long, value_name = "FILE")]
    pub(super) data: PathBuf,
    /// Run only N images. If they run encrypted, accuracy in the clear is given on all the same.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: Option<u32>,
    /// Leave the first N images out.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) skip: u32,
    /// What the network runs on; `reference` is the fastest.
    #[arg(long, value_enum, default_value_t = Backend::Clear)]
    pub(super) backend: Backend,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    pub(super) reach: tfhe::ReachOption,
    #[command(flatten)]
    pub(super) compile: CompileOptions,
}

#[derive(Serialize)]
struct Evaluation {
    model: String,
    backend: &'static str,
    n: usize,
    /// Share of images with every logit equal to the reference's; with the class equal if only that is told.
    agreement_reference: f64,
    /// What of each answer was compared with the reference.
    compared: Compared,
    #[serde(flatten)]
    scores: Scores,
    /// The reference on all images, where only some ran encrypted.
    all: Option<All>,
    /// Labels against answers; none without labels.
    confusion: Option<Confusion>,
    /// Relative error of each layer against the float network; empty for a compiled file.
    layers: Vec<LayerError>,
    /// Images on which it was measured.
    layers_n: usize,
}

/// What an answer tells.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Compared {
    /// Every number of the output.
    Logits,
    /// The position of the greatest alone.
    Class,
}

impl Compared {
    fn of(answers: &[Answer]) -> Self {
        let whole = answers.iter().all(|answer| matches!(answer, Answer::Logits(_)));
        if whole { Self::Logits } else { Self::Class }
    }
}

/// How well answers fit labels and the float network.
#[derive(Serialize)]
struct Scores {
    /// Share of images whose argmax is the label; none without labels.
    accuracy: Option<f64>,
    /// Share of images whose argmax is the float network's; none for a compiled file.
    agreement_float: Option<f64>,
    /// Accuracy of the float network; none for a compiled file or without labels.
    accuracy_float: Option<f64>,
    /// Points of accuracy that quantisation costs: of the labels, or without any of the float network's
    /// answers.
    drop: Option<f64>,
}

#[derive(Serialize)]
struct All {
    n: usize,
    #[serde(flatten)]
    scores: Scores,
}

impl Scores {
    /// Of `classes`, the answers to the first images of `labels` and of the float network's answers.
    fn of(classes: &[usize], labels: Option<&[usize]>, floats: Option<&[usize]>) -> Self {
        let n = classes.len();
        let equal = |a: &[usize], b: &[usize]| ratio(a.iter().zip(b).filter(|(a, b)| a == b).count(), n);
        let first = |all: &[usize]| all[..n.min(all.len())].to_vec();
        let (labels, floats) = (labels.map(first), floats.map(first));
        let accuracy = labels.as_ref().map(|l| equal(classes, l));
        let accuracy_float = labels.as_ref().zip(floats.as_ref()).map(|(l, f)| equal(f, l));
        let agreement_float = floats.as_ref().map(|f| equal(classes, f));
        let drop = accuracy_float
            .zip(accuracy)
            .map(|(float, own)| 100.0 * (float - own))
            .or(agreement_float.map(|agreement| 100.0 * (1.0 - agreement)));
        Self { accuracy, agreement_float, accuracy_float, drop }
    }
}

pub(super) fn run(args: &EvalArgs) -> Result<(), Failure> {
    args.options.check(args.backend)?;
    if args.options.mode == Mode::Tfhe {
        return tfhe::eval(args);
    }
    args.reach.refuse()?;
    let Loaded { compiled, float, meaning, reference, .. } =
        load::load(&args.model, args.compile, args.backend.scheme(), None)?;
    let compiled = &compiled;
    let weights = weights(compiled)?;
    let network = &compiled.network;
    // What was not rewritten, where it is known.
    let reference = reference.as_ref().unwrap_or(network);
    let shape = network.graph.node(crate::graph::NodeId(0)).shape.clone();
    let mut data = input::load(&args.data, &network.header.input, &shape)?;
    let limit = args.limit.map_or(usize::MAX, |n| n as usize);
    let encrypted = matches!(args.backend, Backend::Bfv | Backend::FheRs);
    data.keep(args.skip as usize, if encrypted { usize::MAX } else { limit });
    let n = data.images.len().min(limit);
    if n == 0 {
        return Err(Failure::User(format!("{}: no images", args.data.display())));
    }
    let outputs = network.graph.node(network.graph.output()).shape.elements();
    require_classes(&args.data, data.labels.as_deref(), outputs)?;
    clipped::tell(&args.data, &data.images, network);
    let quantised: Vec<_> = data
        .images
        .par_iter()
        .map(|x| quantise_input(network, x))
        .collect::<Result<_, _>>()
        .map_err(Failure::user)?;
    let answers = execute(compiled, &quantised[..n], args.backend, args.options)?.answers();
    let agreeing = match args.backend {
        Backend::Reference => n,
        Backend::Bfv | Backend::Clear | Backend::FheRs | Backend::Tfhe => {
            agreeing(reference, weights, &quantised[..n], &answers)?
        }
    };
    let floats = float_classes(float.as_ref(), &data.images)?;
    let labels = data.labels.as_deref();
    let scores = |answers: &[Answer]| {
        let classes: Vec<usize> = answers.iter().map(Answer::label).collect();
        let scores = Scores::of(&classes, labels, floats.as_deref());
        (classes, scores)
    };
    let (classes, own) = scores(&answers);
    let all = if quantised.len() > n {
        let answers = execute(compiled, &quantised, Backend::Reference, args.options)?.answers();
        Some(All { n: answers.len(), scores: scores(&answers).1 })
    } else {
        None
    };
    let measured = &data.images[..n.min(MEASURED)];
    let layers = match &float {
        Some(FloatModel { model, weights: Some(floats) }) => {
            layer_errors((model, floats), (reference, weights), &meaning, measured).map_err(Failure::user)?
        }
        Some(FloatModel { weights: None, .. }) | None => Vec::new(),
    };
    let evaluation = Evaluation {
        model: network.header.name.clone(),
        backend: args.backend.name(),
        n,
        agreement_reference: ratio(agreeing, n),
        compared: Compared::of(&answers),
        scores: own,
        all,
        confusion: labels.map(|l| Confusion::new(l, &classes, outputs)),
        layers_n: if layers.is_empty() { 0 } else { measured.len() },
        layers,
    };
    output::write(&output::render(&evaluation, args.format)?, None)
}

/// Warns of labels that are none of the `outputs` of a network, and refuses if all are: no answer could be right.
pub(super) fn require_classes(file: &Path, labels: Option<&[usize]>, outputs: usize) -> Result<(), Failure> {
    let labels = labels.unwrap_or_default();
    let mut beyond = labels.iter().filter(|label| **label >= outputs);
    let Some(first) = beyond.next() else { return Ok(()) };
    let (n, all) = (1 + beyond.count(), labels.len());
    let what = format!(
        "{}: {n} of {all} labels are none of the network's {outputs} outputs, which count from 0; the first is \
         {first}",
        file.display()
    );
    if n == all {
        return Err(Failure::User(what));
    }
    say(&format!("warning: {what}\n"));
    Ok(())
}

/// How many outputs are the reference's in every number.
fn agreeing(
    network: &IntNetwork,
    weights: &IntWeights,
    images: &[Tensor<i64>],
    answers: &[Answer],
) -> Result<usize, Failure> {
    let same = |bar: &ProgressBar, image: &Tensor<i64>, answer: &Answer| {
        let reference = evaluate(network, weights, image).map_err(Failure::user)?;
        bar.inc(1);
        Ok(usize::from(match answer {
            Answer::Logits(logits) => *logits == reference,
            Answer::Label(label) => *label == first_of_greatest(&reference.data),
        }))
    };
    let bar = progress_bar(images.len(), "reference");
    let found = images.par_iter().zip(answers.par_iter()).map(|(image, answer)| same(&bar, image, answer));
    let found = found.sum::<Result<usize, Failure>>();
    bar.finish_and_clear();
    found
}

/// The float network's answers; none if there is no float network with weights.
pub(super) fn float_classes(
    float: Option<&FloatModel>,
    images: &[Tensor<f32>],
) -> Result<Option<Vec<usize>>, Failure> {
    let Some(FloatModel { model, weights: Some(weights) }) = float else { return Ok(None) };
    let bar = progress_bar(images.len(), "float network");
    let class = |image: &Tensor<f32>| {
        let logits = float_eval(model, weights, image).map_err(Failure::user)?;
        bar.inc(1);
        Ok::<_, Failure>(float_argmax(&logits.data))
    };
    let classes = images.par_iter().map(class).collect::<Result<_, _>>();
    bar.finish_and_clear();
    classes.map(Some)
}

fn float_argmax(logits: &[f32]) -> usize {
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|&v| v >= best).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "counts of images are far below 2^52")]
pub(super) fn ratio(hits: usize, n: usize) -> f64 {
    hits as f64 / n as f64
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |x: Option<f64>| x.map_or("unknown".into(), |x| format!("{:.2} %", 100.0 * x));
        let images = if self.n == 1 { "image" } else { "images" };
        writeln!(f, "{} on {} {images}, backend {}", self.model, self.n, self.backend)?;
        writeln!(f, "accuracy                      {}", percent(self.scores.accuracy))?;
        writeln!(f, "accuracy of the float network {}", percent(self.scores.accuracy_float))?;
        let compared = match self.compared {
            Compared::Logits => "all logits equal reference    ",
            Compared::Class => "class equals reference's      ",
        };
        writeln!(f, "{compared}{}", percent(Some(self.agreement_reference)))?;
        writeln!(f, "class equals float network's  {}", percent(self.scores.agreement_float))?;
        if let Some(All { n, scores }) = &self.all {
            writeln!(f, "\nreference on all {n} images")?;
            writeln!(f, "accuracy                      {}", percent(scores.accuracy))?;
            writeln!(f, "accuracy of the float network {}", percent(scores.accuracy_float))?;
            writeln!(f, "class equals float network's  {}", percent(scores.agreement_float))?;
        }
        if let Some(confusion) = &self.confusion {
            write!(f, "\n{confusion}")?;
        }
        if !self.layers.is_empty() {
            writeln!(f, "\nmean error of each layer against the float network, on {}", self.layers_n)?;
            let widest = self.layers.iter().map(|l| l.name.len()).max().unwrap_or(0);
            for layer in &self.layers {
                writeln!(f, "{:widest$}  {:8} {:6.2} %", layer.name, layer.kind, 100.0 * layer.error)?;
            }
        }
        Ok(())
    }
}
