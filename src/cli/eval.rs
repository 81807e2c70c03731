//! `stria eval`: accuracy and agreement on labelled data.

use super::execute::{RunOptions, execute, weights};
use super::failure::Failure;
use super::{Backend, CompileOptions, Format, ModelPath, load, output};
use crate::graph::{evaluate, quantise_input};
use crate::input;
use crate::passes::FloatModel;
use crate::protocol::{Answer, first_of_greatest};
use crate::quant::{QuantError, float_eval};
use crate::tensor::Tensor;
use clap::Args;
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    /// The model, .stria or .striac.
    model: ModelPath,
    /// Images with labels: .safetensors, or a folder of .png files named LABEL_*.png.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Use only the first N images.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// What the network runs on.
    #[arg(long, value_enum, default_value_t = Backend::Clear)]
    backend: Backend,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    compile: CompileOptions,
}

#[derive(Serialize)]
struct Evaluation {
    model: String,
    backend: &'static str,
    n: usize,
    /// Share of images whose argmax is the label; none without labels.
    accuracy: Option<f64>,
    /// Share of images with every logit equal to the reference's; with the class equal if only that is told.
    agreement_reference: f64,
    /// Share of images whose argmax is the float network's; none for a compiled file.
    agreement_float: Option<f64>,
    /// Accuracy of the float network; none for a compiled file or without labels.
    accuracy_float: Option<f64>,
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |x: Option<f64>| x.map_or("unknown".into(), |x| format!("{:.2} %", 100.0 * x));
        writeln!(f, "{} on {} images, backend {}", self.model, self.n, self.backend)?;
        writeln!(f, "accuracy                      {}", percent(self.accuracy))?;
        writeln!(f, "accuracy of the float network {}", percent(self.accuracy_float))?;
        writeln!(f, "all logits equal reference    {}", percent(Some(self.agreement_reference)))?;
        write!(f, "class equals float network's  {}", percent(self.agreement_float))
    }
}

pub(super) fn run(args: &EvalArgs) -> Result<(), Failure> {
    args.options.check(args.backend)?;
    let loaded = load::load(&args.model, args.compile, args.backend.scheme(), None)?;
    let compiled = &loaded.compiled;
    let weights = weights(compiled)?;
    let network = &compiled.network;
    let shape = network.graph.node(crate::graph::NodeId(0)).shape.clone();
    let mut data = input::load(&args.data, &network.header.input, &shape)?;
    data.images.truncate(args.limit.map_or(usize::MAX, |n| n as usize));
    let n = data.images.len();
    if n == 0 {
        return Err(Failure::User(format!("{}: no images", args.data.display())));
    }

    let quantised: Vec<_> = data
        .images
        .iter()
        .map(|x| quantise_input(network, x))
        .collect::<Result<_, _>>()
        .map_err(Failure::user)?;
    let outcome = execute(compiled, &quantised, args.backend, args.options)?;
    let answers = outcome.answers();
    let references: Vec<_> = quantised
        .par_iter()
        .map(|x| evaluate(network, weights, x))
        .collect::<Result<_, _>>()
        .map_err(Failure::user)?;
    let floats: Option<Vec<usize>> = match &loaded.float {
        Some(FloatModel { model, weights: Some(weights) }) => {
            let classes =
                data.images.par_iter().map(|x| Ok(float_argmax(&float_eval(model, weights, x)?.data)));
            Some(classes.collect::<Result<_, QuantError>>().map_err(Failure::user)?)
        }
        Some(FloatModel { weights: None, .. }) | None => None,
    };

    let classes: Vec<usize> = answers.iter().map(Answer::label).collect();
    let agrees = |(answer, reference): &(&Answer, &Tensor<i64>)| match answer {
        Answer::Logits(logits) => logits == *reference,
        Answer::Label(label) => *label == first_of_greatest(&reference.data),
    };
    let share = |hits: usize| ratio(hits, n);
    let equal = |a: &[usize], b: &[usize]| a.iter().zip(b).filter(|(a, b)| a == b).count();
    let labels = data.labels.as_deref();
    let evaluation = Evaluation {
        model: network.header.name.clone(),
        backend: args.backend.name(),
        n,
        accuracy: labels.map(|l| share(equal(&classes, l))),
        agreement_reference: share(answers.iter().zip(&references).filter(agrees).count()),
        agreement_float: floats.as_ref().map(|f| share(equal(&classes, f))),
        accuracy_float: labels.zip(floats.as_ref()).map(|(l, f)| share(equal(f, l))),
    };
    output::write(&output::render(&evaluation, args.format)?, None)
}

fn float_argmax(logits: &[f32]) -> usize {
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|&v| v >= best).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "counts of images are far below 2^52")]
fn ratio(hits: usize, n: usize) -> f64 {
    hits as f64 / n as f64
}
