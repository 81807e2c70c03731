//! Runs images through a compiled network on the backend asked for, with progress on a terminal.

use super::failure::Failure;
use super::refused::other_encoding;
use super::say::say;
use super::{Backend, Mode, Nonlinear, Told};
use crate::backend::bfv::{BfvEvaluator, BfvKeys};
use crate::backend::clear::{ClearEvaluator, ClearKeys};
use crate::compiled::Compiled;
use crate::graph::{IntWeights, evaluate};
use crate::protocol::{
    Activations, Ahead, Answer, Choices, Progress, REVEAL_LEAKS, Reveal, Service, Session, held,
    run_in_process,
};
use crate::tensor::Tensor;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

/// Options of every command that runs a network.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct RunOptions {
    /// How the network runs on encrypted input.
    #[arg(long, value_enum, default_value_t = Mode::Hybrid)]
    pub mode: Mode,
    /// How non-linear steps are computed.
    #[arg(long, value_enum, default_value_t = Nonlinear::TwoParty)]
    pub nonlinear: Nonlinear,
    /// What the client learns of the output.
    #[arg(long, value_enum, default_value_t = Told::Logits)]
    pub reveal: Told,
    /// Make the random transfers of all layers before an image is taken up: less time from image to answer,
    /// more memory.
    #[arg(long)]
    pub preprocess: bool,
    /// Bytes of encoded weights kept from one image to the next, and the most that --preprocess may hold; half of
    /// the machine's memory if absent.
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<u64>,
}

impl RunOptions {
    /// Refuses what is not built, and says what the run leaks.
    pub(super) fn check(self, backend: Backend) -> Result<(), Failure> {
        match self.mode {
            Mode::Hybrid if backend == Backend::Tfhe => {
                return Err(Failure::User("--backend tfhe runs with --mode tfhe".into()));
            }
            Mode::Hybrid => {}
            Mode::Tfhe => return self.check_tfhe(backend),
            Mode::Leveled => return Err(Failure::not_built("--mode leveled", "--mode hybrid")),
        }
        if (self.nonlinear, self.reveal) == (Nonlinear::Reveal, Told::Label) {
            return Err(Failure::User(
                "--nonlinear reveal shows the client every activation, the output among them; use --reveal \
                 label with --nonlinear two-party"
                    .into(),
            ));
        }
        match backend {
            Backend::FheRs if cfg!(not(feature = "fhe-rs")) => Err(Failure::User(
                "this program was built without the feature `fhe-rs`: run it as `cargo run --release \
                 --features fhe-rs -- ...`, or leave out --backend for Stria's own engine"
                    .into(),
            )),
            Backend::Bfv | Backend::FheRs => {
                if self.nonlinear == Nonlinear::Reveal {
                    say(&format!("warning: {REVEAL_LEAKS}\n"));
                }
                Ok(())
            }
            Backend::Clear => {
                say("warning: --backend clear encrypts nothing; it counts and checks\n");
                Ok(())
            }
            Backend::Reference if self.reveal == Told::Label => Err(Failure::User(
                "--backend reference has no other party to hide the logits from: leave out --reveal label"
                    .into(),
            )),
            Backend::Reference | Backend::Tfhe => Ok(()),
        }
    }

    /// What the non-interactive mode does not have.
    fn check_tfhe(self, backend: Backend) -> Result<(), Failure> {
        let refused = |what: &str| Err(Failure::User(format!("--mode tfhe has no {what}")));
        if self.reveal == Told::Label {
            return refused("--reveal label: the client decrypts all logits");
        }
        if self.nonlinear == Nonlinear::Reveal {
            return refused("--nonlinear: one party computes alone");
        }
        if self.preprocess {
            return refused("--preprocess: nothing is prepared between parties");
        }
        if self.memory.is_some() {
            return refused("--memory: weights are not encoded");
        }
        match backend {
            Backend::FheRs => refused("--backend fhe-rs; leave it out, or use clear or reference"),
            Backend::Clear => {
                say("warning: --backend clear encrypts nothing; it computes with the same noise\n");
                Ok(())
            }
            Backend::Bfv | Backend::Tfhe => super::tfhe::require_built(),
            Backend::Reference => Ok(()),
        }
    }
}

impl RunOptions {
    /// What both parties agree on.
    pub(super) fn choices(self) -> Choices {
        Choices {
            activations: match self.nonlinear {
                Nonlinear::TwoParty => Activations::TwoParty,
                Nonlinear::Reveal => Activations::Revealed,
            },
            reveal: match self.reveal {
                Told::Logits => Reveal::Logits,
                Told::Label => Reveal::Label,
            },
            ahead: if self.preprocess { Ahead::Image } else { Ahead::Layer },
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
    /// What the client learned of each image.
    pub(super) fn answers(&self) -> Vec<Answer> {
        match self {
            Self::Protocol(session) => session.inferences.iter().map(|i| i.answer.clone()).collect(),
            Self::Reference(logits) => logits.iter().cloned().map(Answer::Logits).collect(),
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
    options: RunOptions,
) -> Result<Outcome, Failure> {
    let weights = weights(compiled)?;
    if backend == Backend::Reference {
        let bar = progress_bar(images.len(), "reference");
        let output = |image| {
            let output = evaluate(&compiled.network, weights, image);
            bar.inc(1);
            output
        };
        let outputs = images.par_iter().map(output).collect::<Result<_, _>>();
        bar.finish_and_clear();
        return Ok(Outcome::Reference(outputs.map_err(Failure::user)?));
    }
    let service = Service {
        network: &compiled.network,
        plan: &compiled.plan,
        circuit: &compiled.circuit,
        weights,
        params: compiled.sets(),
        // What is used once is not worth keeping.
        memory: if images.len() > 1 { options.memory.unwrap_or_else(half_of_memory) } else { 0 },
    };
    let choices = options.choices();
    let budget = options.memory.unwrap_or_else(half_of_memory);
    holding(compiled, choices, budget)?;
    let bar = progress_bar(images.len(), "");
    let layer = |p: Progress<'_>| bar.set_message(format!("{} {}/{}", p.layer, p.done, p.total));
    let image = |done: usize| bar.set_position(done as u64);
    let session = match backend {
        Backend::Clear => {
            run_in_process::<ClearKeys, ClearEvaluator>(service, choices, images, &layer, &image)
        }
        Backend::Bfv => {
            fitting(compiled)?;
            run_in_process::<BfvKeys, BfvEvaluator>(service, choices, images, &layer, &image)
        }
        #[cfg(feature = "fhe-rs")]
        Backend::FheRs => {
            fitting(compiled)?;
            use crate::backend::fhe_rs::{FheEvaluator, FheKeys};
            run_in_process::<FheKeys, FheEvaluator>(service, choices, images, &layer, &image)
        }
        #[cfg(not(feature = "fhe-rs"))]
        Backend::FheRs => return Err(Failure::Internal("built without the feature `fhe-rs`".into())),
        Backend::Reference | Backend::Tfhe => {
            return Err(Failure::Internal("this backend runs no circuit".into()));
        }
    };
    bar.finish_and_clear();
    Ok(Outcome::Protocol(session?))
}

/// Refuses what no secure moduli hold, before any key is made.
fn fitting(compiled: &Compiled) -> Result<(), Failure> {
    let Err(error) = compiled.fits() else { return Ok(()) };
    let other = other_encoding(compiled).map(|advice| format!("; {advice}")).unwrap_or_default();
    Err(Failure::User(format!("{error}{other}")))
}

/// Refuses to make more transfers ahead than memory holds, before any key is made.
fn holding(compiled: &Compiled, choices: Choices, budget: u64) -> Result<(), Failure> {
    if choices.ahead == Ahead::Layer {
        return Ok(());
    }
    let held = held(&compiled.network, compiled.params.plain_modulus, choices);
    let transfers = held.map_err(|e| Failure::Internal(e.to_string()))?.transfers;
    if transfers <= budget {
        return Ok(());
    }
    Err(Failure::User(format!(
        "--preprocess holds {} MB of random transfers at once, more than {} MB: leave it out, which makes them \
         layer by layer, or allow more with --memory",
        transfers.div_ceil(1_000_000),
        budget / 1_000_000
    )))
}

/// Half of the machine's memory, or 1 GiB where the system does not tell.
fn half_of_memory() -> u64 {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    total.map_or(1 << 30, |kilobytes| kilobytes.saturating_mul(1024) / 2)
}

/// Hidden where stderr is no terminal.
pub(super) fn progress_bar(images: usize, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(images as u64);
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} images  {msg}")
    {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}
