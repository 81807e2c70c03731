//! Collects diagnostics: once for each mistake, however often its place is expanded.

use crate::diag::{Diagnostic, Diagnostics, Severity, Span};
use std::collections::BTreeMap;

/// How many errors, and how many warnings, are shown at once.
const MAX_SHOWN: usize = 32;

/// Where diagnostics go while a model is resolved.
#[derive(Default)]
pub(super) struct Sink {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    /// Which errors were reported, by code and place, and whether they came again.
    seen: BTreeMap<(&'static str, u32, u32), (usize, bool)>,
    /// The block calls that are being expanded, outermost first.
    pub(super) calls: Vec<Span>,
    hidden: usize,
}

impl Sink {
    /// Takes a diagnostic, unless its kind was reported at its place before.
    pub(super) fn report(&mut self, mut diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Warning {
            if self.warnings.len() < MAX_SHOWN {
                self.warnings.push(diagnostic);
            } else {
                self.hidden += 1;
            }
            return;
        }
        let place = diagnostic.primary.0;
        let key = (diagnostic.code, place.start, place.end);
        if let Some((_, again)) = self.seen.get_mut(&key) {
            *again = true;
            return;
        }
        if self.full() {
            self.hidden += 1;
            return;
        }
        if let Some(call) = self.calls.last() {
            diagnostic = diagnostic.also(*call, "in this call");
        }
        if let Some(call) = self.calls.first().filter(|_| self.calls.len() > 1) {
            diagnostic = diagnostic.also(*call, "which is reached from here");
        }
        self.seen.insert(key, (self.errors.len(), false));
        self.errors.push(diagnostic);
    }

    /// Whether no further error is shown, so that its message need not be made.
    pub(super) fn full(&self) -> bool {
        self.errors.len() >= MAX_SHOWN
    }

    /// Whether an error was reported.
    pub(super) fn failed(&self) -> bool {
        !self.errors.is_empty()
    }

    /// All that was reported.
    pub(super) fn finish(mut self) -> Diagnostics {
        for (index, again) in self.seen.into_values() {
            if again {
                self.errors[index]
                    .hints
                    .push("it happens again here: this place is expanded several times".to_owned());
            }
        }
        let mut found = self.errors;
        found.append(&mut self.warnings);
        if let Some(last) = found.last_mut().filter(|_| self.hidden > 0) {
            last.hints.push(format!("{} more diagnostics are not shown", self.hidden));
        }
        Diagnostics(found)
    }
}
