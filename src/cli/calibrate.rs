//! `stria calibrate`: what this machine takes for each operation, as a file for `--costs`.

use super::failure::Failure;
use super::output;
use crate::backend::bfv::{BfvEvaluator, BfvKeys};
use crate::bench::transfer_costs;
use crate::cost::{CostFile, Effort, OpCosts, parameter_sets};
use crate::params::Scheme;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct CalibrateArgs {
    /// File to write instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Measure for some seconds instead of a minute, less exactly.
    #[arg(long)]
    quick: bool,
}

pub(super) fn run(args: &CalibrateArgs) -> Result<(), Failure> {
    if let Some(file) = &args.output {
        output::reachable(file)?;
    }
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    let sets = parameter_sets(Scheme::Bfv);
    let bar = progress_bar(sets.len() + 2);
    let mut rows = Vec::with_capacity(sets.len());
    for params in &sets {
        bar.set_message(format!("ring {}, {} primes", params.ring, params.modulus_bits.len()));
        let row = OpCosts::measure::<BfvKeys, BfvEvaluator>(params, effort);
        rows.push(row.map_err(|e| Failure::Internal(e.to_string()))?);
        bar.inc(1);
    }
    bar.set_message("oblivious transfers");
    let transfers = transfer_costs(effort).map_err(|e| Failure::Internal(e.to_string()))?;
    bar.inc(1);
    bar.set_message("bootstraps");
    let file = with_tfhe(CostFile::measured(Scheme::Bfv, rows, transfers), effort)?;
    bar.finish_and_clear();
    let text = file.to_yaml();
    output::write(&text.map_err(|e| Failure::Internal(e.to_string()))?, args.output.as_deref())
}

#[cfg(feature = "tfhe")]
fn with_tfhe(file: CostFile, effort: Effort) -> Result<CostFile, Failure> {
    let costs = crate::tfhe::encrypted::measure(effort);
    Ok(file.with_tfhe(costs.map_err(|e| Failure::Internal(e.to_string()))?))
}

#[cfg(not(feature = "tfhe"))]
fn with_tfhe(file: CostFile, _: Effort) -> Result<CostFile, Failure> {
    Ok(file)
}

/// Hidden where stderr is no terminal.
fn progress_bar(sets: usize) -> ProgressBar {
    let bar = ProgressBar::new(sets as u64);
    if let Ok(style) =
        ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} parameter sets  {msg}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}
