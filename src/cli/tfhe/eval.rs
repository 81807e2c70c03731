//! `stria eval --mode tfhe`: accuracy under noise, simulated or encrypted.

use super::{Planned, planned, require_no_plan};
use crate::cli::eval::{EvalArgs, float_classes, ratio, require_classes};
use crate::cli::failure::Failure;
use crate::cli::{Backend, clipped, output};
use crate::graph::{NodeId, evaluate, quantise_input};
use crate::input;
use crate::protocol::first_of_greatest;
use crate::tensor::Tensor;
use crate::tfhe::simulate::simulate;
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;

#[derive(Serialize)]
struct Evaluation {
    model: String,
    mode: &'static str,
    backend: &'static str,
    n: usize,
    /// Share of images whose argmax is the label; none without labels.
    accuracy: Option<f64>,
    /// The same of the integer reference, without noise.
    accuracy_reference: Option<f64>,
    /// The same of the simulation; where the run is encrypted, on the same images with other noise.
    accuracy_simulated: Option<f64>,
    /// Share of images with every logit equal to the reference's: small, since noise is part of the result.
    agreement_reference: f64,
    /// Share of images whose argmax is the reference's.
    agreement_class: f64,
    /// Share of images whose argmax is the float network's; none for a compiled file.
    agreement_float: Option<f64>,
    /// Accuracy of the float network.
    accuracy_float: Option<f64>,
    /// Standard deviation of logits around the reference's, in units of a logit.
    logit_error: f64,
    /// Images that reach beyond what some layer is planned for, so that their answers are wrong.
    beyond_reach: usize,
}

pub(in crate::cli) fn eval(args: &EvalArgs) -> Result<(), Failure> {
    require_no_plan(args.compile)?;
    let Planned { network, weights, float, plan, .. } = planned(&args.model, &args.reach)?;
    let shape = network.graph.node(NodeId(0)).shape.clone();
    let mut data = input::load(&args.data, &network.header.input, &shape)?;
    data.keep(args.skip as usize, args.limit.map_or(usize::MAX, |n| n as usize));
    let n = data.images.len();
    if n == 0 {
        return Err(Failure::User(format!("{}: no images", args.data.display())));
    }
    let outputs = network.graph.node(network.graph.output()).shape.elements();
    require_classes(&args.data, data.labels.as_deref(), outputs)?;
    clipped::tell(&args.data, &data.images, &network);
    let quantise = |image| quantise_input(&network, image).map_err(Failure::user);
    let images: Vec<_> = data.images.par_iter().map(quantise).collect::<Result<_, _>>()?;
    let reference = |image| evaluate(&network, &weights, image).map_err(Failure::user);
    let references: Vec<_> = images.par_iter().map(reference).collect::<Result<_, _>>()?;
    let beyond = |image| plan.beyond_reach(&network, &weights, image).map(|layers| !layers.is_empty());
    let beyond: Vec<bool> = images.par_iter().map(beyond).collect::<Result<_, _>>().map_err(Failure::user)?;
    let numbered = || images.par_iter().enumerate();
    let simulated: Vec<_> =
        numbered().map(|(i, image)| simulate(&plan, image, Some(i as u64)).output).collect();
    let answers = match args.backend {
        Backend::Clear => simulated.clone(),
        Backend::Reference => references.clone(),
        Backend::Bfv | Backend::Tfhe | Backend::FheRs => encrypted(&network, &plan, &images)?,
    };
    let classes =
        |outputs: &[Tensor<i64>]| outputs.iter().map(|o| first_of_greatest(&o.data)).collect::<Vec<_>>();
    let equal = |a: &[usize], b: &[usize]| ratio(a.iter().zip(b).filter(|(a, b)| a == b).count(), n);
    let labels = data.labels.as_ref().map(|labels| &labels[..n.min(labels.len())]);
    let floats = float_classes(float.as_ref(), &data.images)?;
    let own = classes(&answers);
    let pairs = || answers.iter().zip(&references);
    let evaluation = Evaluation {
        model: network.header.name.clone(),
        mode: "tfhe",
        backend: if args.backend == Backend::Bfv { Backend::Tfhe.name() } else { args.backend.name() },
        n,
        accuracy: labels.map(|l| equal(&own, l)),
        accuracy_reference: labels.map(|l| equal(&classes(&references), l)),
        accuracy_simulated: labels.map(|l| equal(&classes(&simulated), l)),
        agreement_reference: ratio(pairs().filter(|(a, b)| a.data == b.data).count(), n),
        agreement_class: equal(&own, &classes(&references)),
        agreement_float: floats.as_ref().map(|f| equal(&own, f)),
        accuracy_float: labels.zip(floats.as_ref()).map(|(l, f)| equal(f, l)),
        beyond_reach: beyond.into_iter().filter(|beyond| *beyond).count(),
        logit_error: deviation(pairs().flat_map(|(a, b)| a.data.iter().zip(&b.data).map(|(a, b)| a - b))),
    };
    output::write(&output::render(&evaluation, args.format)?, None)
}

/// The root of the mean square.
fn deviation(differences: impl Iterator<Item = i64>) -> f64 {
    let (sum, n) = differences.fold((0.0, 0.0), |(sum, n), d| (sum + (d as f64).powi(2), n + 1.0));
    (sum / f64::max(n, 1.0)).sqrt()
}

#[cfg(not(feature = "tfhe"))]
fn encrypted(
    _: &crate::graph::IntNetwork,
    _: &crate::tfhe::plan::Plan,
    _: &[Tensor<i64>],
) -> Result<Vec<Tensor<i64>>, Failure> {
    super::require_built()?;
    Err(Failure::Internal("built without the feature `tfhe`".into()))
}

#[cfg(feature = "tfhe")]
fn encrypted(
    network: &crate::graph::IntNetwork,
    plan: &crate::tfhe::plan::Plan,
    images: &[Tensor<i64>],
) -> Result<Vec<Tensor<i64>>, Failure> {
    use crate::cli::execute::progress_bar;
    use crate::tfhe::encrypted::Server;
    use crate::tfhe::files::Card;
    use crate::tfhe::keys::ClientKey;

    let (client, key) = ClientKey::generate();
    let server = Server::new(key);
    let mut costs = crate::tfhe::report::Costs::shipped();
    costs.seconds.bootstrap = server.measure();
    super::steps::foretell(plan, &costs, images.len());
    let card = Card::new(network);
    let bar = progress_bar(images.len(), "encrypted");
    let internal = |e: crate::tfhe::keys::KeyError| Failure::Internal(e.to_string());
    let answer = |image| {
        let input = client.encrypt(card.id(), &card.layout, image);
        let show = |p: crate::tfhe::encrypted::Progress<'_>| {
            bar.set_message(format!("{} {}/{}", p.layer, p.done, p.total));
        };
        let (output, ..) = server.evaluate((card.id(), plan), &input, &show).map_err(internal)?;
        bar.inc(1);
        client.decrypt(&output).map_err(internal)
    };
    let answers = images.iter().map(answer).collect();
    bar.finish_and_clear();
    answers
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |x: Option<f64>| x.map_or("unknown".into(), |x| format!("{:.2} %", 100.0 * x));
        writeln!(f, "{} on {} images, mode tfhe, backend {}", self.model, self.n, self.backend)?;
        writeln!(f, "accuracy                      {}", percent(self.accuracy))?;
        writeln!(f, "accuracy simulated            {}", percent(self.accuracy_simulated))?;
        writeln!(f, "accuracy without noise        {}", percent(self.accuracy_reference))?;
        writeln!(f, "accuracy of the float network {}", percent(self.accuracy_float))?;
        writeln!(f, "class equals reference's      {}", percent(Some(self.agreement_class)))?;
        writeln!(f, "class equals float network's  {}", percent(self.agreement_float))?;
        writeln!(f, "images beyond their reach      {}", self.beyond_reach)?;
        writeln!(f, "all logits equal reference    {}", percent(Some(self.agreement_reference)))?;
        write!(f, "deviation of a logit          {:.1} of its units", self.logit_error)
    }
}
