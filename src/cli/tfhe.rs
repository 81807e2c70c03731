//! The non-interactive mode on the command line: whole runs, evaluation, reports, and its four steps over files.

mod eval;
mod run;
#[cfg(feature = "tfhe")]
mod steps;
#[cfg(not(feature = "tfhe"))]
mod unbuilt;

pub(super) use eval::eval;
pub(super) use run::run;
#[cfg(feature = "tfhe")]
pub(super) use steps::{decrypt, encrypt, evaluate, keygen};
#[cfg(not(feature = "tfhe"))]
pub(super) use unbuilt::{decrypt, encrypt, evaluate, keygen};

use super::failure::Failure;
use super::say::say;
use super::{CompileOptions, Format, ModelPath, load, output};
use crate::graph::{IntNetwork, IntWeights, NodeId};
use crate::input;
use crate::passes::FloatModel;
use crate::tfhe::plan::{FEW_IMAGES, Plan};
pub(super) use crate::tfhe::report::Report;
use crate::tfhe::report::{Costs, report};
use clap::Args;
use std::path::{Path, PathBuf};

/// The probability of an image beyond its reach above which a plan is warned of.
const LIKELY_BEYOND: f64 = 1e-3;

/// The probability of an activation that is further off than by one step above which a plan is warned of.
const LIKELY_FAR: f64 = 1e-2;

/// Option of every command that plans for this mode.
#[derive(Clone, Debug, Args)]
pub(super) struct ReachOption {
    /// With --mode tfhe, what accumulators may reach: `proven` by the weights, so that it holds for every image,
    /// or what the images of FILE show and a quarter more [default: proven where noise allows it, else shown by
    /// the model's calibration images].
    #[arg(long = "reach", value_name = "proven|FILE")]
    reach: Option<PathBuf>,
}

impl ReachOption {
    /// Refuses the option in modes that compute exactly.
    pub(super) fn refuse(&self) -> Result<(), Failure> {
        match self.reach {
            Some(_) => Err(Failure::User("--reach is for --mode tfhe; other modes are exact".into())),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct KeygenArgs {
    /// Folder for `client.key`, which stays secret, and `evaluation.key`, which servers get.
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct EncryptArgs {
    /// The model's card, from `stria evaluate --card`, or the model itself.
    model: ModelPath,
    /// The secret key.
    #[arg(long, value_name = "client.key")]
    key: PathBuf,
    /// The image: .png, .npy or .safetensors.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Which image of a file with several, from 0.
    #[arg(long, default_value_t = 0, value_name = "I")]
    index: usize,
    /// The encrypted image to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// The model, .stria or .striac.
    model: ModelPath,
    /// The evaluation key.
    #[arg(long, value_name = "evaluation.key", required_unless_present = "card")]
    key: Option<PathBuf>,
    /// The encrypted image.
    #[arg(long, value_name = "FILE", required_unless_present = "card")]
    input: Option<PathBuf>,
    /// The encrypted answer to write.
    #[arg(short, long, value_name = "FILE", required_unless_present = "card")]
    output: Option<PathBuf>,
    /// Write the model's card instead: what clients need to encrypt for it, without weights.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "input", "output"])]
    card: Option<PathBuf>,
    #[command(flatten)]
    reach: ReachOption,
}

#[derive(Debug, Args)]
pub(super) struct DecryptArgs {
    /// The secret key.
    #[arg(long, value_name = "client.key")]
    key: PathBuf,
    /// The encrypted answer.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Refuses what needs the crate `tfhe` if it is not there.
pub(super) fn require_built() -> Result<(), Failure> {
    if cfg!(feature = "tfhe") {
        return Ok(());
    }
    Err(Failure::User(
        "this program was built without the feature `tfhe`: run it as `cargo run --release --features tfhe -- \
         ...`; --mode tfhe --backend clear simulates without it"
            .into(),
    ))
}

/// Refuses options of plans that this mode does not have.
pub(super) fn require_no_plan(options: CompileOptions) -> Result<(), Failure> {
    match options.given() {
        Some(option) => Err(Failure::User(format!("--mode tfhe has no {option}: its parameters are fixed"))),
        None => Ok(()),
    }
}

/// A network that is planned for this mode.
struct Planned {
    network: IntNetwork,
    weights: IntWeights,
    float: Option<FloatModel>,
    plan: Plan,
    /// The files that it was made from.
    inputs: Vec<PathBuf>,
}

fn planned(path: &Path, ReachOption { reach }: &ReachOption) -> Result<Planned, Failure> {
    let mut integers = load::integers(path)?;
    let Some(weights) = integers.weights.take() else {
        return Err(Failure::User(format!(
            "model `{}` has no weights; add `weights: \"file.safetensors\"` or `weights: random(1)` to it",
            integers.network.header.name
        )));
    };
    match reach {
        Some(word) if word.as_os_str() == "proven" => integers.images.clear(),
        Some(file) => {
            let network = &integers.network;
            let shape = &network.graph.node(NodeId(0)).shape;
            integers.images = input::load(file, &network.header.input, shape)?.images;
            integers.inputs.push(file.clone());
        }
        None => {}
    }
    let plan = Plan::new(&integers.network, &weights, &integers.images).map_err(|e| integers.refuse(&e))?;
    warn(&plan);
    let load::Integers { network, float, inputs, .. } = integers;
    Ok(Planned { network, weights, float, plan, inputs })
}

/// Warns of what encrypted answers do not show: that noise changes them, and reaches that little speaks for.
fn warn(plan: &Plan) {
    if plan.far() > LIKELY_FAR {
        let why =
            if plan.seen { "" } else { ", with reaches that are all proven; --reach FILE has smaller ones" };
        say(&format!(
            "warning: noise changes {:.0} of {} activations, some by more than one step with probability {:.0e}{why}: \
             measure accuracy with `stria eval --mode tfhe`\n",
            plan.changed(),
            plan.bootstraps(),
            plan.far()
        ));
    }
    let few = plan.images < FEW_IMAGES;
    if !plan.seen || !(few || plan.beyond() > LIKELY_BEYOND) {
        return;
    }
    let seen =
        plan.layers.iter().filter(|layer| !layer.proven && (few || layer.beyond > LIKELY_BEYOND / 2.0));
    let names = seen.map(|layer| format!("`{}`", layer.name)).collect::<Vec<_>>().join(", ");
    let reason = match (few, plan.images) {
        (true, 1) => "was seen on one calibration image alone".into(),
        (true, n) => format!("was seen on {n} calibration images alone"),
        (false, _) => format!("is exceeded by another image with probability {:.0e}", plan.beyond()),
    };
    say(&format!(
        "warning: what accumulators reach in {names} {reason}; beyond it answers are wrong and nothing shows it. \
         Give more images with --reach FILE, a larger `range:`, or use --reach proven\n"
    ));
}

/// `stria report --mode tfhe` of `models`, which `file` shall not replace.
pub(super) fn reports(
    models: &[PathBuf],
    reach: &ReachOption,
    costs: &Costs,
    file: Option<&Path>,
) -> Result<Vec<Report>, Failure> {
    let mut reports = Vec::with_capacity(models.len());
    for path in models {
        let planned = planned(path, reach)?;
        if let Some(file) = file {
            output::spare(file, &planned.inputs)?;
        }
        reports.push(report(&planned.plan, costs));
    }
    Ok(reports)
}
