//! `stria bench --plans`: the plan beside those of one kernel for all layers, predicted and run.

use super::result::{Outcome, megabytes};
use super::{Bench, Failure, KernelKind};
use crate::cli::{CompileOptions, Encoding};
use crate::select::Pick;
use serde::Serialize;
use std::fmt;

/// Whole plans: what they are called, and how they are compiled.
const PLANS: [(&str, Encoding, KernelKind); 5] = [
    ("planned", Encoding::Auto, KernelKind::Auto),
    ("planned, slots alone", Encoding::Slots, KernelKind::Auto),
    ("all coefficients", Encoding::Coefficients, KernelKind::Auto),
    ("all unified", Encoding::Slots, KernelKind::Unified),
    ("all output rotation", Encoding::Slots, KernelKind::OutputRotation),
];

/// A whole plan that ran, or why it did not.
#[derive(Debug, Serialize)]
struct Plan {
    plan: &'static str,
    #[serde(flatten)]
    outcome: Option<Outcome>,
    /// The plan before it that is the same one, layer by layer.
    same_as: Option<&'static str>,
    refused: Option<String>,
}

/// All whole plans, by measured seconds of the server, those that did not run last.
#[derive(Debug, Serialize)]
pub(super) struct Plans {
    plans: Vec<Plan>,
}

pub(super) fn run(bench: &Bench<'_>) -> Result<Plans, Failure> {
    let mut plans = Vec::with_capacity(PLANS.len());
    let mut known: Vec<(&'static str, Vec<Pick>)> = Vec::new();
    for (plan, encoding, kernel) in PLANS {
        let options = CompileOptions { encoding: Some(encoding), kernel: Some(kernel), ..bench.args.compile };
        let compiled = match bench.load(options) {
            Ok(compiled) => compiled,
            // What the plan itself is refused for is the user's; one of the others may not fit.
            Err(Failure::User(refused)) if !plans.is_empty() => {
                plans.push(Plan { plan, outcome: None, same_as: None, refused: Some(refused) });
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let picks = compiled.plan.picks();
        if let Some((same, _)) = known.iter().find(|(_, known)| *known == picks) {
            plans.push(Plan { plan, outcome: None, same_as: Some(same), refused: None });
            continue;
        }
        known.push((plan, picks));
        let layers = bench.chosen(&compiled)?;
        let ran = bench.run(&compiled, &layers)?;
        let outcome = Some(Outcome::new(bench, &compiled, &ran));
        plans.push(Plan { plan, outcome, same_as: None, refused: None });
    }
    let seconds = |plan: &Plan| plan.outcome.as_ref().map_or(f64::INFINITY, |o| o.totals.server());
    plans.sort_by(|a, b| seconds(a).total_cmp(&seconds(b)));
    Ok(Plans { plans })
}

impl fmt::Display for Plans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:22} {:>16} {:>9} {:>16} {:>9} {:>9}",
            "seconds", "server predicted", "ran", "client predicted", "ran", "MB sent"
        )?;
        for Plan { plan, outcome, same_as, refused } in &self.plans {
            match outcome {
                Some(Outcome { totals, .. }) => writeln!(
                    f,
                    "{plan:22} {:>16.3} {:>9.3} {:>16.3} {:>9.3} {:>9.1}",
                    totals.predicted.server,
                    totals.server(),
                    totals.predicted.client,
                    totals.client(),
                    megabytes(totals.bytes())
                )?,
                None => match same_as {
                    Some(same) => writeln!(f, "{plan:22} is the plan `{same}`")?,
                    None => writeln!(f, "{plan:22} cannot run: {}", refused.as_deref().unwrap_or_default())?,
                },
            }
        }
        Ok(())
    }
}
