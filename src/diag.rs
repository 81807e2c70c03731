//! Spans and diagnostics: what every error that a user caused looks like.
//!
//! A [`Diagnostic`] carries a code, a message, labelled spans and one thing to do. Stages collect
//! several in [`Diagnostics`] and report them at once. Rendering is plain text with line, column
//! and carets; this module knows nothing of networks or files.

use codespan_reporting::diagnostic as cs;
use codespan_reporting::files::SimpleFile;
use codespan_reporting::term::{self, DisplayStyle};
use serde::{Deserialize, Serialize};

/// A range of bytes in the model's source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// The longest line of the text that is shown with a diagnostic, in bytes.
const MAX_LINE: usize = 1000;

/// The text with every control character but line breaks and tabs replaced by one of the same length, so
/// that a model cannot write to the terminal.
fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        '\r' => ' ',
        c if c.is_control() && c.len_utf8() == 1 => '?',
        c if c.is_control() => '\u{bf}',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// The length of the line that byte `at` is on.
fn line_length(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let before = bytes[..at].iter().rev().take(MAX_LINE + 1).take_while(|b| **b != b'\n').count();
    before + bytes[at..].iter().take(MAX_LINE + 1).take_while(|b| **b != b'\n').count()
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
        let text = printable(&source.text);
        let file = SimpleFile::new(&source.name, &text);
        let bound = |n: u32| text.floor_char_boundary(n as usize);
        let range = |s: Span| bound(s.start)..bound(s.end).max(bound(s.start));
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
            let labels = d.secondary.iter().chain([&d.primary]);
            let long = labels.map(|(s, _)| line_length(&text, range(*s).start)).max() > Some(MAX_LINE);
            let display_style = if long { DisplayStyle::Medium } else { DisplayStyle::Rich };
            let config = term::Config { display_style, ..term::Config::default() };
            if term::emit_to_string(&mut out, &config, &file, &shown).is_err() {
                out.push_str(&d.message);
            }
        }
        out.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Diagnostic, Diagnostics, SourceFile, Span};

    fn rendered(text: &str, span: Span) -> String {
        let source = SourceFile { name: "m.stria".to_owned(), text: text.to_owned() };
        Diagnostics(vec![Diagnostic::error("code", "message", span, "label").hint("hint")]).render(&source)
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let found = rendered("a \u{1b}[2J \u{9b}x\r\n\u{0}", Span::new(0, 1));
        assert!(!found.contains(|c: char| c.is_control() && c != '\n'), "{found:?}");
        assert!(found.contains("a ?[2J \u{bf}x\n"), "{found:?}");
    }

    #[test]
    fn any_span_can_be_rendered() {
        for (start, end) in [(0, 0), (1, 2), (2, 1), (3, 900), (900, 901)] {
            assert!(rendered("\u{e9}\u{e9}", Span::new(start, end)).contains("message"));
        }
    }

    #[test]
    fn long_lines_are_not_shown() {
        let found = rendered(&format!("\n{}", "x".repeat(5000)), Span::new(11, 12));
        assert!(found.contains("m.stria:2:11") && found.contains("hint") && found.len() < 200, "{found}");
    }
}
