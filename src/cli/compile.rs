//! `stria compile`: prints stages of the pipeline, writes a `.striac` file.

use super::bits::{self, BitsOptions, Prime};
use super::costs::CostsOption;
use super::failure::Failure;
use super::load::Opened;
use super::{CompileOptions, Format, ModelPath, load, output};
use crate::input::write_atomically;
use crate::params::Scheme;
use crate::passes::{FLOAT_PASSES, POOL_FIRST};
use crate::report::report;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct CompileArgs {
    /// The model, a .stria file.
    model: ModelPath,
    /// The compiled network to write, a .striac file.
    #[arg(short, long, value_name = "OUT.striac")]
    output: Option<PathBuf>,
    /// Stages to print.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STAGE,...")]
    emit: Vec<Stage>,
    /// Print the graph after this pass.
    #[arg(long, value_name = "PASS", value_parser = clap::builder::PossibleValuesParser::new(FLOAT_PASSES.iter().map(|pass| pass.name).chain([POOL_FIRST])))]
    print_after: Option<String>,
    /// How convolutions are rewritten; `stria` is not built yet.
    #[arg(long, value_enum, default_value_t = Rewrite::Exact)]
    rewrite: Rewrite,
    /// How the stages are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    bits: BitsOptions,
    #[command(flatten)]
    costs: CostsOption,
    #[command(flatten)]
    compile: CompileOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// The parsed text.
    Ast,
    /// The layers as written, then the quantised network.
    Graph,
    /// Kernels and layouts.
    Plan,
    /// Instructions.
    Circuit,
    /// The cost report.
    Report,
    /// The model's text with the bits that --max-drop found.
    Bits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rewrite {
    /// Only what keeps the function.
    Exact,
    /// Into `ExRot-Free` and Cross Kernel form, for retraining.
    Stria,
}

#[derive(Serialize)]
struct Emitted {
    model: String,
    written: Option<PathBuf>,
    stages: Vec<(String, String)>,
}

impl fmt::Display for Emitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (stage, text)) in self.stages.iter().enumerate() {
            if self.stages.len() > 1 {
                writeln!(f, "{}// {stage}", if i > 0 { "\n" } else { "" })?;
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        if self.stages.is_empty() {
            match &self.written {
                Some(path) => writeln!(f, "{} compiled to {}", self.model, path.display())?,
                None => {
                    writeln!(f, "{} compiles; -o writes a .striac file, --emit prints stages", self.model)?
                }
            }
        }
        Ok(())
    }
}

pub(super) fn run(args: &CompileArgs) -> Result<(), Failure> {
    if args.rewrite == Rewrite::Stria {
        return Err(Failure::not_built("--rewrite stria", "exact"));
    }
    let table = args.costs.read()?.table(Scheme::default())?;
    let options = args.compile.driver(Scheme::default(), Some(&table));
    let Opened::Text(bytes) = load::open(&args.model)? else {
        return Err(Failure::User(format!(
            "{}: already compiled; give its .stria file",
            args.model.display()
        )));
    };
    if args.emit.contains(&Stage::Bits) && !args.bits.wanted() {
        return Err(Failure::User("--emit bits shows what --max-drop POINTS finds; give both".into()));
    }
    let (mut model, mut front) = load::front(&args.model, bytes)?.checked()?;
    let mut compiled = front.compile(&model, options)?;
    let ranges = front.calibration.as_ref().map(Into::into);
    let prime = Prime { ring: options.ring.unwrap_or(model.header.ring), bits: options.plain_bits };
    if let Some((text, found)) = args.bits.search((&front).into(), &model, &compiled.float, ranges, prime)? {
        bits::replaced(&mut front, text);
        model = found;
        compiled = front.compile(&model, options)?;
    }
    let mut stages = Vec::new();
    if args.emit.contains(&Stage::Ast)
        && let Some(ast) = &front.ast
    {
        stages.push(("ast".into(), ast.to_string()));
    }
    if args.emit.contains(&Stage::Graph) {
        stages.push(("graph".into(), model.to_string()));
    }
    for (pass, text) in compiled.after_passes {
        if args.print_after.as_deref() == Some(pass) {
            stages.push((format!("graph after {pass}"), text));
        }
    }
    let compiled = compiled.compiled;
    load::tell_sparsity(&compiled, args.compile.leak_sparsity);
    for stage in &args.emit {
        let (name, text) = match stage {
            Stage::Ast => continue,
            Stage::Graph => ("quantised graph", compiled.network.to_string()),
            Stage::Plan => ("plan", compiled.plan.to_string()),
            Stage::Circuit => ("circuit", compiled.circuit.to_string()),
            Stage::Bits => ("bits", front.source.text.clone()),
            Stage::Report => ("report", report(&compiled, &table).to_string()),
        };
        stages.push((name.into(), text));
    }
    if let Some(path) = &args.output {
        output::spare(path, &front.inputs)?;
        output::spare(path, args.costs.file.as_slice())?;
        write_atomically(path, &compiled.to_bytes()?).map_err(Failure::user)?;
    }
    let emitted = Emitted { model: model.header.name.clone(), written: args.output.clone(), stages };
    output::write(&output::render(&emitted, args.format)?, None)
}
