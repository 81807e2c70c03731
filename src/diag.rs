//! Spans and diagnostics: what every error that a user caused looks like.
//!
//! A [`Diagnostic`] carries a code, a message, labelled spans and one thing to do. Stages collect
//! several in [`Diagnostics`] and report them at once. Rendering is plain text with line, column
//! and carets; this module knows nothing of networks or files.

use codespan_reporting::diagnostic as cs;
use codespan_reporting::files::SimpleFile;
use codespan_reporting::term;
use serde::{Deserialize, Serialize};

/// A range of bytes in the model's source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The span of the bytes `start..end`.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { start: narrow(start), end: narrow(end) }
    }

    /// The smallest span that holds both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// How bad it is. A warning leaves the exit code at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The network cannot be compiled.
    Error,
    /// The network compiles, but is probably not what was meant.
    Warning,
}

/// One message to the user about the model's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// A stable short name such as `unknown-layer`.
    pub code: &'static str,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Where, with the text that stands at the caret (what was found there).
    pub primary: (Span, String),
    /// Other places that matter, each with its text.
    pub secondary: Vec<(Span, String)>,
    /// What was expected, what was found, and one thing to do.
    pub hints: Vec<String>,
}

impl Diagnostic {
    /// An error at `span`.
    #[must_use]
    pub fn error(
        code: &'static str,
        message: impl Into<String>,
        span: Span,
        label: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            primary: (span, label.into()),
            secondary: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// A warning at `span`.
    #[must_use]
    pub fn warning(
        code: &'static str,
        message: impl Into<String>,
        span: Span,
        label: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message, span, label) }
    }

    /// Adds another labelled place.
    #[must_use]
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.secondary.push((span, label.into()));
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// The model's text with its name, for rendering.
#[derive(Clone, Debug, Default)]
pub struct SourceFile {
    /// Path or other name shown to the user.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// All that a stage has to say; it has failed if any is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Whether any is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }

    /// Renders all of them without colour, in source order.
    #[must_use]
    pub fn render(&self, source: &SourceFile) -> String {
        let file = SimpleFile::new(&source.name, &source.text);
        let limit = source.text.len();
        let range = |s: Span| (s.start as usize).min(limit)..(s.end as usize).min(limit);
        let mut ordered: Vec<_> = self.0.iter().collect();
        ordered.sort_by_key(|d| (d.primary.0.start, d.primary.0.end));
        let mut out = String::new();
        for d in ordered {
            let severity = match d.severity {
                Severity::Error => cs::Severity::Error,
                Severity::Warning => cs::Severity::Warning,
            };
            let mut labels = vec![cs::Label::primary((), range(d.primary.0)).with_message(&d.primary.1)];
            labels
                .extend(d.secondary.iter().map(|(s, m)| cs::Label::secondary((), range(*s)).with_message(m)));
            let shown = cs::Diagnostic::new(severity)
                .with_code(d.code)
                .with_message(&d.message)
                .with_labels(labels)
                .with_notes(d.hints.iter().map(|h| format!("help: {h}")).collect());
            let config = term::Config::default();
            if term::emit_to_string(&mut out, &config, &file, &shown).is_err() {
                out.push_str(&d.message);
            }
            out.push('\n');
        }
        out
    }
}
