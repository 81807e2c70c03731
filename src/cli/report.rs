//! `stria report`: what models cost.

use super::costs::CostsOption;
use super::failure::Failure;
use super::{CompileOptions, Format, Mode, ModelPath, load, output, tfhe};
use crate::params::Scheme;
use crate::report::{Report, cryptflow2, html, report, tfhe_html};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The models, .stria or .striac.
    #[arg(required = true)]
    models: Vec<ModelPath>,
    /// How the report is written.
    #[arg(long, value_enum, default_value_t = Written::Text)]
    format: Written,
    /// File to write instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Whose execution is counted: this program's, or `CrypTFlow2`'s of the same network, for comparison with
    /// papers.
    #[arg(long, value_enum, default_value_t = Accounting::Stria)]
    accounting: Accounting,
    /// The mode that is planned: hybrid or tfhe.
    #[arg(long, value_enum, default_value_t = Mode::Hybrid)]
    mode: Mode,
    #[command(flatten)]
    reach: tfhe::ReachOption,
    #[command(flatten)]
    costs: CostsOption,
    #[command(flatten)]
    compile: CompileOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Written {
    /// For people, on a terminal.
    Text,
    /// For programs.
    Json,
    /// For programs that people configure.
    Yaml,
    /// For people: one page without script or network, several models side by side.
    Html,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Accounting {
    /// What this program executes.
    Stria,
    /// What `CrypTFlow2` would execute.
    Cryptflow2,
}

/// One report as an object, several as an array.
#[derive(Serialize)]
#[serde(untagged)]
enum Reports<T> {
    One(Box<T>),
    Several(Vec<T>),
}

impl<T> Reports<T> {
    fn of(mut reports: Vec<T>) -> Self {
        match (reports.pop(), reports.is_empty()) {
            (Some(only), true) => Self::One(Box::new(only)),
            (last, _) => {
                reports.extend(last);
                Self::Several(reports)
            }
        }
    }

    fn all(&self) -> &[T] {
        match self {
            Self::One(report) => std::slice::from_ref(report),
            Self::Several(reports) => reports,
        }
    }
}

impl fmt::Display for Reports<tfhe::Report> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(report) => write!(f, "{report}"),
            Self::Several(reports) => reports.iter().try_for_each(|report| writeln!(f, "{report}\n")),
        }
    }
}

impl fmt::Display for Reports<Report> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(report) => write!(f, "{report}"),
            Self::Several(reports) => {
                for report in reports {
                    writeln!(f, "{report}\n")?;
                }
                side_by_side(f, reports)
            }
        }
    }
}

fn side_by_side(f: &mut fmt::Formatter<'_>, reports: &[Report]) -> fmt::Result {
    let widest = reports.iter().map(|r| r.model.len()).max().unwrap_or(0).max(5);
    writeln!(
        f,
        "{:widest$} {:>6} {:>10} {:>10} {:>10} {:>11} {:>8} {:>9} {:>9}",
        "model", "ring", "internal", "external", "rotations", "plain mults", "cts", "ReLUs", "est. s"
    )?;
    for r in reports {
        let t = &r.totals;
        writeln!(
            f,
            "{:widest$} {:>6} {:>10} {:>10} {:>10} {:>11} {:>8} {:>9} {:>9.2}",
            r.model,
            r.ring,
            t.rotations.internal,
            t.rotations.external,
            t.rotations.total,
            t.plain_mults,
            t.ciphertexts_in + t.ciphertexts_out,
            t.relu,
            t.estimated_seconds
        )?;
    }
    Ok(())
}

pub(super) fn run(args: &ReportArgs) -> Result<(), Failure> {
    match args.mode {
        Mode::Hybrid => args.reach.refuse()?,
        Mode::Tfhe => {
            if args.accounting == Accounting::Cryptflow2 {
                return Err(Failure::User("--accounting cryptflow2 counts what --mode hybrid runs".into()));
            }
            tfhe::require_no_plan(args.compile)?;
            let costs = args.costs.read()?.tfhe();
            if let Some(file) = &args.output {
                output::spare(file, args.costs.file.as_slice())?;
            }
            let reports = tfhe::reports(&args.models, &args.reach, &costs, args.output.as_deref())?;
            let reports = Reports::of(reports);
            return write(args, &reports, || tfhe_html(reports.all()));
        }
        Mode::Leveled => return Err(Failure::not_built("--mode leveled", "--mode hybrid or tfhe")),
    }
    let table = args.costs.read()?.table(Scheme::default())?;
    if let Some(file) = &args.output {
        output::spare(file, args.costs.file.as_slice())?;
    }
    let mut reports = Vec::with_capacity(args.models.len());
    let mut refused = Vec::new();
    for path in &args.models {
        let loaded = load::load_plan(path, args.compile, Scheme::default(), Some(&table))?;
        if let Some(file) = &args.output {
            output::spare(file, &loaded.inputs)?;
        }
        let compiled = loaded.compiled;
        match args.accounting {
            Accounting::Stria => reports.push(report(&compiled, &table)),
            Accounting::Cryptflow2 => match cryptflow2(&compiled) {
                Ok(report) => reports.push(report),
                Err(e) => refused.push(format!("{}: {e}", path.display())),
            },
        }
    }
    // The others are reported first.
    let refused = if refused.is_empty() { Ok(()) } else { Err(Failure::User(refused.join("\n"))) };
    if reports.is_empty() {
        return refused;
    }
    name_apart(&mut reports);
    let reports = Reports::of(reports);
    write(args, &reports, || html(reports.all()))?;
    refused
}

/// Writes reports as asked for; `page` gives them as HTML.
fn write<T: Serialize + fmt::Display>(
    args: &ReportArgs,
    reports: &T,
    page: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let text = match args.format {
        Written::Text => output::render(reports, Format::Text)?,
        Written::Json => output::render(reports, Format::Json)?,
        Written::Yaml => output::render(reports, Format::Yaml)?,
        Written::Html => page(),
    };
    output::write(&text, args.output.as_deref())
}

/// Numbers models of one name, in the order of the command line.
fn name_apart(reports: &mut [Report]) {
    let mut seen: HashMap<String, u32> = HashMap::new();
    for report in reports {
        let times = seen.entry(report.model.clone()).or_default();
        *times += 1;
        if *times > 1 {
            report.model = format!("{} ({times})", report.model);
        }
    }
}
