//! The command line: files, progress bars, exit codes. Nothing below this module prints.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 fine, 1 the user's error, 2 usage,
//! 3 an error of ours.

mod bench;
mod bits;
mod calibrate;
mod check;
mod clipped;
mod compile;
mod costs;
mod eval;
mod execute;
mod failure;
mod import;
mod load;
mod output;
mod refused;
mod report;
mod run;
mod say;
mod tfhe;

use crate::params::Scheme;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Compiles neural networks to homomorphic-encryption circuits, reports their rotations, runs them on
/// encrypted input.
#[derive(Debug, Parser)]
#[command(name = "stria", version, about, max_term_width = 100)]
struct Cli {
    /// Threads to use; 0 takes every core. `bench` takes several numbers, which run in turn, and one thread if
    /// there is none.
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(..=256)
    )]
    threads: Vec<u16>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a model and print its diagnostics.
    Check(check::CheckArgs),
    /// Compile a model; print stages of the pipeline or write a .striac file.
    Compile(compile::CompileArgs),
    /// Report what models cost, above all in rotations, without running them.
    Report(report::ReportArgs),
    /// Run a model on encrypted input.
    Run(run::RunArgs),
    /// Measure accuracy and agreement with the reference on labelled data.
    Eval(eval::EvalArgs),
    /// Execute the layers of a model one by one and time them beside what is predicted.
    Bench(bench::BenchArgs),
    /// Import an ONNX model: writes a .stria file and its weights beside it.
    Import(import::ImportArgs),
    /// Make keys for the non-interactive mode: a secret one and an evaluation key for servers.
    Keygen(tfhe::KeygenArgs),
    /// Encrypt an image for the non-interactive mode.
    Encrypt(tfhe::EncryptArgs),
    /// Run a model on an encrypted image, alone, with an evaluation key.
    Evaluate(tfhe::EvaluateArgs),
    /// Decrypt an answer.
    Decrypt(tfhe::DecryptArgs),
    /// Measure what this machine takes for each operation of the engine, for `--costs`.
    Calibrate(calibrate::CalibrateArgs),
}

/// Options of every command that compiles.
#[derive(Clone, Copy, Debug, Args)]
struct CompileOptions {
    /// Ring degree N instead of the model's: changes cost, never the function.
    #[arg(long, value_name = "N")]
    ring: Option<u32>,
    /// Bits of the plaintext prime instead of the smallest that fits.
    #[arg(long, value_name = "N")]
    plain_bits: Option<u32>,
    /// Encoding of linear layers [default: auto].
    #[arg(long, value_enum)]
    encoding: Option<Encoding>,
    /// Kernels of layers in slots [default: auto].
    #[arg(long, value_enum)]
    kernel: Option<KernelKind>,
    /// Leave out products by weights that happen to be zero: fewer operations, but the client sees which.
    #[arg(long)]
    leak_sparsity: bool,
}

impl CompileOptions {
    /// One that is not as it is where nobody says otherwise.
    fn given(self) -> Option<&'static str> {
        let options = [
            (self.ring.is_some(), "--ring"),
            (self.plain_bits.is_some(), "--plain-bits"),
            (self.encoding.is_some(), "--encoding"),
            (self.kernel.is_some(), "--kernel"),
            (self.leak_sparsity, "--leak-sparsity"),
        ];
        options.into_iter().find_map(|(given, name)| given.then_some(name))
    }
}

/// The encoding of linear layers where nobody says otherwise.
const DEFAULT_ENCODING: Encoding = Encoding::Auto;

/// Which kernels layers in slots may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KernelKind {
    /// Any, by estimated seconds.
    Auto,
    /// That of the literature: taps turn inputs, channels' diagonals turn sums.
    OutputRotation,
    /// Baby and giant steps of fewest rotations, ciphertexts and Galois keys weighed with them.
    Unified,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Encoding {
    /// The cheaper one for each layer, by estimated seconds.
    Auto,
    /// Batched slots.
    Slots,
    /// Polynomial coefficients: no rotations.
    Coefficients,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For programs that people configure.
    Yaml,
}

/// What a network runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// BFV of Stria's own engine.
    Bfv,
    /// Plain slots: no encryption, counts everything.
    Clear,
    /// BFV of the crate `fhe`, slower: a second opinion; needs the feature `fhe-rs`.
    FheRs,
    /// The integer reference itself; no circuit.
    Reference,
    /// The crate `tfhe`: what encrypts in the mode of that name.
    Tfhe,
}

impl Backend {
    /// Who computes BFV; for backends without any, the one whose parameters are reported.
    fn scheme(self) -> Scheme {
        match self {
            Self::Bfv | Self::Clear | Self::Reference | Self::Tfhe => Scheme::Bfv,
            Self::FheRs => Scheme::FheRs,
        }
    }

    /// Its word on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Bfv => "bfv",
            Self::Clear => "clear",
            Self::FheRs => "fhe-rs",
            Self::Reference => "reference",
            Self::Tfhe => "tfhe",
        }
    }
}

/// How non-linear steps are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Nonlinear {
    /// On shares, by both parties: neither sees an activation.
    TwoParty,
    /// Debugging: the client sees the activations.
    Reveal,
}

impl Nonlinear {
    /// Its word on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::TwoParty => "two-party",
            Self::Reveal => "reveal",
        }
    }
}

/// What the client learns of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Told {
    /// All of it.
    Logits,
    /// The class alone: the position of the greatest value.
    Label,
}

/// How a network runs on encrypted input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Linear layers under BFV, the rest on shares.
    Hybrid,
    /// Non-interactive: the server computes alone, activations by programmable bootstrapping.
    Tfhe,
    /// Non-interactive, one leveled circuit; not built yet.
    Leveled,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = std::panic::catch_unwind(|| {
        // Of several numbers the largest is for what is done once.
        let threads = cli.threads.iter().copied().max_by_key(|&n| if n == 0 { u16::MAX } else { n });
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0).into());
        if let Err(e) = pool.build_global() {
            return Err(failure::Failure::Internal(e.to_string()));
        }
        let several = cli.threads.len() > 1 && !matches!(cli.command, Command::Bench(_));
        if several {
            let text = "--threads takes one number here; several are for `stria bench`";
            return Err(failure::Failure::User(text.into()));
        }
        match &cli.command {
            Command::Check(args) => check::run(args),
            Command::Compile(args) => compile::run(args),
            Command::Report(args) => report::run(args),
            Command::Run(args) => run::run(args),
            Command::Eval(args) => eval::run(args),
            Command::Bench(args) => bench::run(args, &cli.threads),
            Command::Import(args) => import::run(args),
            Command::Keygen(args) => tfhe::keygen(args),
            Command::Encrypt(args) => tfhe::encrypt(args),
            Command::Evaluate(args) => tfhe::evaluate(args),
            Command::Decrypt(args) => tfhe::decrypt(args),
            Command::Calibrate(args) => calibrate::run(args),
        }
    });
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => failure.tell(),
        Err(_) => failure::Failure::Internal("the program panicked; this is a bug".into()).tell(),
    }
}

/// The path of a model, `.stria` or `.striac`.
type ModelPath = PathBuf;
