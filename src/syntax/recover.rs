//! Several syntax errors at once: behind an error the parse goes on at the next statement.
//!
//! The statement that holds the error is blanked, which moves nothing, and its item is parsed again. Where a
//! statement ends is a guess from the first words of lines; if braces make the guess doubtful, the item's
//! other errors stay hidden, so that no error is reported that another one has caused.

use super::grammar::{Grammar, Rule};
use super::scan::{self, Unclosed};
use super::{END, MAX_NESTING, MAX_SYNTAX_ERRORS, errors};
use crate::diag::{Diagnostic, Span};
use pest::Parser;
use pest::error::InputLocation;
use std::ops::Range;

/// Every error that can be told apart; none if the text parses.
pub(super) fn errors(text: &str) -> Vec<Diagnostic> {
    let brackets = scan::brackets(text, MAX_NESTING);
    let mut whole = text.to_owned();
    let mut found = Vec::new();
    // Behind an open comment, and behind a statement whose end is not known, there is nothing to be told.
    let mut known = text.len();
    for (count, unclosed) in brackets.unclosed.iter().enumerate() {
        if count == MAX_SYNTAX_ERRORS {
            return found;
        }
        found.push(errors::unclosed(text, *unclosed));
        match *unclosed {
            Unclosed::Comment(at) => known = known.min(at),
            Unclosed::Text(at) => match statement(&whole, at) {
                Some(range) => blank(&mut whole, range),
                None => known = known.min(at),
            },
        }
    }
    let mut start = 0;
    for end in brackets.item_ends.iter().copied().chain([text.len()]) {
        item(&mut whole, start..end, known, &mut found);
        start = end;
    }
    found.sort_by_key(|d| d.primary.0.start);
    found.truncate(MAX_SYNTAX_ERRORS);
    found
}

/// The errors of the item in `range` that lie before `known`.
fn item(whole: &mut String, range: Range<usize>, known: usize, found: &mut Vec<Diagnostic>) {
    let mut last = None;
    // Blanking may leave brackets open that were closed: the parser's stack is bounded anew.
    while found.len() < 2 * MAX_SYNTAX_ERRORS
        && scan::brackets(&whole[range.clone()], MAX_NESTING).too_deep.is_none()
    {
        let Err(error) = Grammar::parse(Rule::file, &whole[range.clone()]) else { return };
        let at = range.start
            + match error.location {
                InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
            };
        if at >= known && known < whole.len() || last.is_some_and(|last| at <= last) {
            return;
        }
        last = Some(at);
        found.push(errors::syntax(whole, range.start, error, END));
        match statement(&whole[..range.end], at) {
            Some(statement) if statement.start > range.start => blank(whole, statement),
            Some(_) | None => return,
        }
    }
}

/// The statement that an error at `at` belongs to: from the first word of a line to the next such line, or to
/// the brace that closes its body. None if it does not seem to be whole.
fn statement(text: &str, at: usize) -> Option<Range<usize>> {
    let masked = scan::masked(text);
    let mut starts = starts(&masked);
    // An error at the first word of a statement is that the one before does not end.
    let before = starts.partition_point(|start| *start < at);
    let after = starts.split_off(before);
    let start = *starts.last()?;
    let mut end = after.first().copied().unwrap_or(masked.len());
    let mut depth = 0_usize;
    for (offset, c) in masked.get(start..end)?.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                end = start + offset;
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    (depth == 0 && at <= end).then_some(start..end)
}

/// The lines that begin a statement, at their first word.
fn starts(masked: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = 0;
    for line in masked.split_inclusive('\n') {
        let words = line.trim_start();
        let word: &str = words.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or("");
        let rest = words[word.len()..].trim_start();
        let assigned = !word.is_empty() && rest.starts_with('=') && !rest.starts_with("==");
        if assigned || ["let", "output", "return", "repeat", "if", "input"].contains(&word) {
            starts.push(at + line.len() - words.len());
        }
        at += line.len();
    }
    starts
}

/// Overwrites a range by spaces, byte by byte, but for its line ends.
fn blank(text: &mut String, range: Range<usize>) {
    let spaces: String = text[range.clone()].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
    text.replace_range(range, &spaces);
}

impl Unclosed {
    /// What is shown of it: the line's rest, or the two characters that open a comment.
    pub(super) fn span(self, text: &str) -> Span {
        match self {
            Self::Comment(at) => Span::new(at, at + 2),
            Self::Text(at) => {
                let line = text[at..].lines().next().unwrap_or_default().trim_end();
                Span::new(at, at + line.len().max(1))
            }
        }
    }
}
