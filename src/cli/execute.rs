//! Runs images through a compiled network on the backend asked for, with progress on a terminal.

use super::failure::Failure;
use super::{Backend, Mode, Nonlinear};
use crate::backend::clear::{ClearEvaluator, ClearKeys};
use crate::compiled::Compiled;
use crate::cost::depth;
use crate::graph::{IntWeights, evaluate};
use crate::params;
use crate::protocol::{Progress, REVEAL_LEAKS, Service, Session, run_in_process};
use crate::tensor::Tensor;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

/// Options of every command that runs a network.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct RunOptions {
    /// How the network runs on encrypted input.
    #[arg(long, value_enum, default_value_t = Mode::Hybrid)]
    pub mode: Mode,
    /// How non-linear steps are computed.
    #[arg(long, value_enum, default_value_t = Nonlinear::Reveal)]
    pub nonlinear: Nonlinear,
}

impl RunOptions {
    /// Refuses what is not built, and says what the run leaks.
    pub(super) fn check(self, backend: Backend) -> Result<(), Failure> {
        match self.mode {
            Mode::Hybrid => {}
            Mode::Tfhe => return Err(Failure::not_built("--mode tfhe", "--mode hybrid")),
            Mode::Leveled => return Err(Failure::not_built("--mode leveled", "--mode hybrid")),
        }
        if self.nonlinear == Nonlinear::TwoParty {
            return Err(Failure::not_built(
                "--nonlinear two-party",
                "--nonlinear reveal, and mind what it leaks",
            ));
        }
        match backend {
            Backend::Bfv => Err(Failure::not_built("--backend bfv (Stria's own engine)", "--backend fhe-rs")),
            Backend::FheRs if cfg!(not(feature = "fhe-rs")) => Err(Failure::User(
                "this program was built without the feature `fhe-rs`; use --backend clear, or build with it"
                    .into(),
            )),
            Backend::FheRs => {
                eprintln!("warning: {REVEAL_LEAKS}");
                Ok(())
            }
            Backend::Clear => {
                eprintln!("warning: --backend clear encrypts nothing; it counts and checks");
                Ok(())
            }
            Backend::Reference => Ok(()),
        }
    }
}

/// What came of running the images.
pub(super) enum Outcome {
    /// By the protocol, on a backend.
    Protocol(Session),
    /// By the integer reference.
    Reference(Vec<Tensor<i64>>),
}

impl Outcome {
    /// The output of each image.
    pub(super) fn logits(&self) -> Vec<&Tensor<i64>> {
        match self {
            Self::Protocol(session) => session.inferences.iter().map(|i| &i.logits).collect(),
            Self::Reference(logits) => logits.iter().collect(),
        }
    }
}

/// The weights of `compiled`, which running needs.
pub(super) fn weights(compiled: &Compiled) -> Result<&IntWeights, Failure> {
    compiled.weights.as_ref().ok_or_else(|| {
        Failure::User(format!(
            "model `{}` has no weights; add `weights: \"file.safetensors\"` or `weights: random(1)` to it",
            compiled.network.header.name
        ))
    })
}

/// Runs `images`, already quantised.
pub(super) fn execute(
    compiled: &Compiled,
    images: &[Tensor<i64>],
    backend: Backend,
) -> Result<Outcome, Failure> {
    let weights = weights(compiled)?;
    if backend == Backend::Reference {
        let outputs = images.iter().map(|image| evaluate(&compiled.network, weights, image));
        return Ok(Outcome::Reference(outputs.collect::<Result<_, _>>().map_err(Failure::user)?));
    }
    let service = Service {
        network: &compiled.network,
        plan: &compiled.plan,
        circuit: &compiled.circuit,
        weights,
        params: &compiled.params,
    };
    let bar = progress_bar(images.len());
    let layer = |p: Progress<'_>| bar.set_message(format!("{} {}/{}", p.layer, p.done, p.total));
    let image = |done: usize| bar.set_position(done as u64);
    let session = match backend {
        Backend::Clear => run_in_process::<ClearKeys, ClearEvaluator>(service, images, &layer, &image),
        #[cfg(feature = "fhe-rs")]
        Backend::FheRs => {
            check_noise(compiled)?;
            use crate::backend::fhe_rs::{FheEvaluator, FheKeys};
            run_in_process::<FheKeys, FheEvaluator>(service, images, &layer, &image)
        }
        #[cfg(not(feature = "fhe-rs"))]
        Backend::FheRs => return Err(Failure::not_built("fhe-rs", "clear")),
        Backend::Bfv | Backend::Reference => return Err(Failure::not_built("bfv", "fhe-rs")),
    };
    bar.finish_and_clear();
    Ok(Outcome::Protocol(session?))
}

/// Refuses a circuit that would not decrypt, before any key is made.
fn check_noise(compiled: &Compiled) -> Result<(), Failure> {
    for segment in &compiled.circuit.segments {
        let depth = depth(segment)
            .ok_or_else(|| Failure::Internal(format!("layer `{}` multiplies twice", segment.layer)))?;
        params::check_depth(&compiled.params, depth)
            .map_err(|e| Failure::User(format!("layer `{}`: {e}", segment.layer)))?;
    }
    Ok(())
}

/// Hidden where stderr is no terminal.
fn progress_bar(images: usize) -> ProgressBar {
    let bar = ProgressBar::new(images as u64);
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} images  {msg}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}
