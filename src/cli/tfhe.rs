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
use super::{Format, ModelPath, load, output};
use crate::graph::{IntNetwork, IntWeights};
use crate::passes::FloatModel;
use crate::tfhe::plan::Plan;
use crate::tfhe::report::{Report, SHIPPED_SECONDS, report};
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

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

/// A network that is planned for this mode.
struct Planned {
    network: IntNetwork,
    weights: IntWeights,
    float: Option<FloatModel>,
    plan: Plan,
}

fn planned(path: &Path) -> Result<Planned, Failure> {
    let mut integers = load::integers(path)?;
    let Some(weights) = integers.weights.take() else {
        return Err(Failure::User(format!(
            "model `{}` has no weights; add `weights: \"file.safetensors\"` or `weights: random(1)` to it",
            integers.network.header.name
        )));
    };
    let plan = Plan::new(&integers.network, &weights, &integers.images).map_err(|e| integers.refuse(&e))?;
    let load::Integers { network, float, .. } = integers;
    Ok(Planned { network, weights, float, plan })
}

/// One report as an object, several as an array.
#[derive(Serialize)]
#[serde(untagged)]
enum Reports {
    One(Box<Report>),
    Several(Vec<Report>),
}

impl fmt::Display for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(report) => write!(f, "{report}"),
            Self::Several(reports) => reports.iter().try_for_each(|report| writeln!(f, "{report}\n")),
        }
    }
}

/// `stria report --mode tfhe`.
pub(super) fn reports(models: &[PathBuf], format: Format, file: Option<&Path>) -> Result<(), Failure> {
    let mut reports = Vec::with_capacity(models.len());
    for path in models {
        if let Some(file) = file {
            output::spare(file, std::slice::from_ref(path))?;
        }
        reports.push(report(&planned(path)?.plan, SHIPPED_SECONDS));
    }
    let reports = match (reports.pop(), reports.is_empty()) {
        (Some(only), true) => Reports::One(Box::new(only)),
        (last, _) => {
            reports.extend(last);
            Reports::Several(reports)
        }
    };
    output::write(&output::render(&reports, format)?, file)
}
