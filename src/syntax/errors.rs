//! What a syntax error says: expected, found, one thing to do.
//!
//! The parser reports rules of the grammar; here they become words of the language.

use super::MAX_NESTING;
use super::grammar::Rule;
use super::scan::{self, Unclosed};
use crate::diag::{Diagnostic, Span};
use pest::error::{Error, ErrorVariant, InputLocation};

/// The error for a bracket at `span` that is nested too deep.
pub(super) fn nesting(span: Span) -> Diagnostic {
    let message = format!("this is nested deeper than the limit of {MAX_NESTING}");
    Diagnostic::error("nesting", message, span, "this one is too deep")
        .hint("split the expression with `let`, or move statements into a block")
}

/// The error for a text or a comment that is opened and never closed.
pub(super) fn unclosed(text: &str, unclosed: Unclosed) -> Diagnostic {
    let (message, label, advice) = match unclosed {
        Unclosed::Text(_) => (
            "this text is not closed",
            "it ends at the end of the line",
            "close the text with `\"` on the same line",
        ),
        Unclosed::Comment(_) => {
            ("this comment is not closed", "it goes on to the end of the file", "close the comment with `*/`")
        }
    };
    Diagnostic::error("syntax", message, unclosed.span(text), label).hint(advice)
}

/// The diagnostic for a parse of the part of `text` from `start` on that failed. `end` is what is found
/// where the text ends.
pub(super) fn syntax(text: &str, start: usize, error: Error<Rule>, end: &str) -> Diagnostic {
    let at = start
        + match error.location {
            InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
        };
    let token = token(text, at);
    let found = if token.is_empty() { end.to_owned() } else { quoted(token) };
    let expected = Expected::of(error);
    let message = format!("{}, found {found}", expected.message);
    let mut diagnostic = Diagnostic::error("syntax", message, Span::new(at, at + token.len()), "found here");
    let brackets = scan::brackets(&text[start..at], MAX_NESTING);
    let relevant = |opening: &&scan::Opening| at == text.len() || expected.closer && opening.bracket != '{';
    if let Some(opening) = brackets.open.last().filter(relevant) {
        let place = start + opening.at;
        let label = format!("this `{}` is not closed yet", opening.bracket);
        diagnostic = diagnostic.also(Span::new(place, place + 1), label);
    }
    diagnostic.hint(advice(text, at, &expected))
}

/// What the parser would have taken.
struct Expected {
    message: String,
    rules: Vec<Rule>,
    /// Whether a closing bracket is among it.
    closer: bool,
}

impl Expected {
    /// Reads a parser's error. What could merely continue a complete expression is left out, unless
    /// there is nothing else.
    fn of(mut error: Error<Rule>) -> Self {
        let continues =
            [Rule::infix, Rule::pipe, Rule::args, Rule::open_paren, Rule::record, Rule::open_brace];
        let mut rules = Vec::new();
        if let ErrorVariant::ParsingError { positives, negatives } = &mut error.variant {
            negatives.clear();
            if positives.iter().any(|rule| !continues.contains(rule)) {
                positives.retain(|rule| !continues.contains(rule));
            }
            let mut seen = Vec::new();
            positives.retain(|&rule| {
                let word = describe(rule);
                let new = !seen.contains(&word);
                seen.push(word);
                new
            });
            rules.clone_from(positives);
        }
        let closer = rules
            .iter()
            .any(|rule| matches!(rule, Rule::close_brace | Rule::close_paren | Rule::close_bracket));
        let error = error.renamed_rules(|&rule| describe(rule).to_owned());
        let message = match error.variant.message().as_ref() {
            "unknown parsing error" => "this does not belong here".to_owned(),
            message => message.to_owned(),
        };
        Self { message, rules, closer }
    }

    fn has(&self, rule: Rule) -> bool {
        self.rules.contains(&rule)
    }
}

/// The token at `at`; empty at the end.
fn token(text: &str, at: usize) -> &str {
    let rest = text.get(at..).unwrap_or_default();
    let Some(c) = rest.chars().next() else {
        return rest;
    };
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let length = if word(c) {
        rest.find(|c| !word(c)).unwrap_or(rest.len())
    } else if rest.starts_with("|>") || rest.starts_with("..") || rest.starts_with("==") {
        2
    } else {
        c.len_utf8()
    };
    &rest[..length]
}

/// A token in backquotes, clipped.
fn quoted(token: &str) -> String {
    let shown: String = token.chars().take(40).filter(|c| !c.is_control()).collect();
    format!("`{shown}`")
}

/// One thing to do about it.
fn advice(text: &str, at: usize, expected: &Expected) -> &'static str {
    let rest = text.get(at..).unwrap_or_default();
    let word = token(text, at);
    let before = text.get(..at).unwrap_or_default().split_whitespace().next_back().unwrap_or_default();
    let keyword = ["model", "block", "input", "output", "let", "return", "repeat", "in", "if", "else"];
    if rest.is_empty() && expected.has(Rule::close_brace) {
        "close the brace with `}`"
    } else if rest.starts_with(';') {
        "remove it: statements need no `;`"
    } else if rest.starts_with('#') {
        "write comments as `// comment` or `/* comment */`"
    } else if rest.starts_with('"') {
        "close the text with `\"` on the same line"
    } else if rest.starts_with('\'') {
        "write texts in double quotes"
    } else if rest.starts_with('=') && expected.has(Rule::comma) {
        "write attributes as `name: value`"
    } else if [word, before].iter().any(|word| matches!(*word, "for" | "while" | "loop")) {
        "write loops as `repeat 3 { ... }` or `repeat i in 0..3 { ... }`"
    } else if keyword.contains(&word) && expected.has(Rule::ident) {
        "choose another name: this word is part of the language"
    } else if expected.has(Rule::item) {
        "a file holds one `model name { ... }` and any number of `block name(x) { ... }`"
    } else if expected.has(Rule::statement) || expected.has(Rule::part) {
        "a statement begins with `let`, `name =`, `repeat`, `if`, `output` or `return`"
    } else if expected.has(Rule::equals) && expected.has(Rule::colon) {
        "give a value a name: `let x = value`, or assign one: `x = value`"
    } else if expected.has(Rule::comma) {
        "separate arguments with `,` and close the bracket"
    } else if [Rule::primary, Rule::expr, Rule::prefix].iter().any(|rule| expected.has(*rule)) {
        "write a number, a name, a call such as `conv(x, out: 16, kernel: 3x3)`, or a bracket"
    } else {
        "write what is expected, or see the language reference"
    }
}

/// A rule in the user's words.
fn describe(rule: Rule) -> &'static str {
    match rule {
        Rule::WHITESPACE | Rule::COMMENT => "a space",
        Rule::EOI => "the end of the file",
        Rule::file | Rule::item => "`model` or `block`",
        Rule::interpolation | Rule::expr | Rule::primary | Rule::prefix => "an expression",
        Rule::model | Rule::kw_model => "`model`",
        Rule::part => "a setting, the input, a statement",
        Rule::setting => "a setting",
        Rule::input | Rule::kw_input => "`input`",
        Rule::record => "`{`",
        Rule::field | Rule::named => "an attribute (`name: value`)",
        Rule::block | Rule::kw_block => "`block`",
        Rule::params | Rule::args => "`(`",
        Rule::param => "a parameter",
        Rule::body => "`{`",
        Rule::statement => "a statement",
        Rule::let_st | Rule::kw_let => "`let`",
        Rule::assign_st => "an assignment",
        Rule::repeat_st | Rule::kw_repeat => "`repeat`",
        Rule::if_st | Rule::kw_if => "`if`",
        Rule::output_st | Rule::kw_output => "`output`",
        Rule::return_st | Rule::kw_return => "`return`",
        Rule::infix => "an operator",
        Rule::call | Rule::stage => "a layer or block",
        Rule::arg => "an argument",
        Rule::name | Rule::ident => "a name",
        Rule::list => "a list",
        Rule::paren => "`(`",
        Rule::pair => "a size such as 3x3",
        Rule::decimal | Rule::int | Rule::digits | Rule::exponent => "a number",
        Rule::text => "a text in quotes",
        Rule::truth => "`true` or `false`",
        Rule::word => "a letter or digit",
        Rule::keyword => "a word of the language",
        Rule::kw_in => "`in`",
        Rule::kw_else => "`else`",
        Rule::kw_tensor => "`tensor`",
        Rule::open_brace => "`{`",
        Rule::close_brace => "`}`",
        Rule::open_paren => "`(`",
        Rule::close_paren => "`)`",
        Rule::open_bracket => "`[`",
        Rule::close_bracket => "`]`",
        Rule::comma => "`,`",
        Rule::colon => "`:`",
        Rule::equals => "`=`",
        Rule::pipe => "`|>`",
        Rule::dots => "`..`",
    }
}
