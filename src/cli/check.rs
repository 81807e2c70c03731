//! `stria check`: diagnostics of a model and of the files that it names.

use super::failure::Failure;
use super::load::{Front, Opened};
use super::refused::{other_encoding, place, refusal, unfit};
use super::say::say;
use super::{CompileOptions, Format, ModelPath, load, output};
use crate::compile::Options;
use crate::diag::{Diagnostic, Severity, SourceFile};
use crate::graph::Model;
use crate::params::Scheme;
use clap::Args;
use serde::Serialize;
use std::fmt;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The model, .stria or .striac.
    model: ModelPath,
    /// How diagnostics are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    compile: CompileOptions,
}

#[derive(Serialize)]
struct Checked {
    model: String,
    errors: usize,
    warnings: usize,
    layers: Option<usize>,
    diagnostics: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    severity: Severity,
    code: &'static str,
    message: String,
    line: usize,
    column: usize,
    label: String,
    hints: Vec<String>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layers {
            Some(layers) if self.errors == 0 => {
                write!(f, "{}: fine, {layers} layers", self.model)?;
                if self.warnings > 0 {
                    write!(f, ", {} warning{}", self.warnings, if self.warnings == 1 { "" } else { "s" })?;
                }
                Ok(())
            }
            _ => {
                let many = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
                write!(
                    f,
                    "{}: {}, {}",
                    self.model,
                    many(self.errors, "error"),
                    many(self.warnings, "warning")
                )
            }
        }
    }
}

pub(super) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let bytes = match load::open(&args.model)? {
        Opened::Text(bytes) => bytes,
        Opened::Compiled(compiled) => {
            let checked = Checked {
                model: args.model.display().to_string(),
                errors: 0,
                warnings: 0,
                layers: Some(compiled.network.graph.len()),
                diagnostics: Vec::new(),
            };
            return output::write(&output::render(&checked, args.format)?, None);
        }
    };
    let mut front = load::front(&args.model, bytes)?;
    if let Some(model) = front.model.as_ref().filter(|_| !front.diagnostics.has_errors()) {
        let found = later_stages(&front, model, args.compile.driver(Scheme::default(), None))?;
        front.diagnostics.0.extend(found);
    }
    let count = |severity| front.diagnostics.0.iter().filter(|d| d.severity == severity).count();
    let checked = Checked {
        model: front.source.name.clone(),
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        layers: front.model.as_ref().map(|m| m.graph.len()),
        diagnostics: front.diagnostics.0.iter().map(|d| shown(d, &front.source)).collect(),
    };
    if args.format == Format::Text {
        say(&front.diagnostics.render(&front.source));
    }
    output::write(&output::render(&checked, args.format)?, None)?;
    if checked.errors > 0 { Err(Failure::User(String::new())) } else { Ok(()) }
}

/// What quantisation, planning and the choice of parameters say of a model.
fn later_stages(front: &Front, model: &Model, options: Options) -> Result<Vec<Diagnostic>, Failure> {
    let stages = match front.stages(model, options) {
        Ok(stages) => stages,
        Err(error) => return refusal(&error, model).map(|found| vec![found]).ok_or_else(|| error.into()),
    };
    let mut found = front.doubts(model, &stages.reference, &stages.lost);
    if let Err(error) = stages.compiled.fits() {
        let span = error.layer().and_then(|layer| place(model, layer)).unwrap_or_default();
        // Without weights the bounds are assumed, and there is nothing to run.
        let severity = if stages.compiled.weights.is_some() { Severity::Error } else { Severity::Warning };
        let unfit = unfit(&error, span);
        let unfit = match other_encoding(&stages.compiled) {
            Some(advice) => unfit.hint(advice),
            None => unfit,
        };
        found.push(Diagnostic { severity, ..unfit });
    }
    Ok(found)
}

fn shown(d: &Diagnostic, source: &SourceFile) -> Shown {
    let start = (d.primary.0.start as usize).min(source.text.len());
    let before = source.text.get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    Shown {
        severity: d.severity,
        code: d.code,
        message: d.message.clone(),
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        label: d.primary.1.clone(),
        hints: d.hints.clone(),
    }
}
