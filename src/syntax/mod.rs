//! From text to tree.
//!
//! [`parse`] turns a `.stria` file into an [`Ast`] with spans, or says what it expected where. Names,
//! shapes and values are the business of [`crate::resolve`]. No text, however long or deep, may
//! overflow the stack or take unbounded memory: size and nesting are checked before parsing.

pub mod ast;
mod build;
mod edit;
mod errors;
mod print;
mod recover;
mod scan;

pub use ast::Ast;
pub use edit::{Attributes, with_attributes};

use crate::diag::{Diagnostic, Diagnostics, SourceFile, Span};
use pest::Parser;

/// The deepest nesting of brackets, and of blocks that are expanded.
pub const MAX_NESTING: usize = 256;

/// The longest text, in bytes.
pub const MAX_TEXT: usize = 4 << 20;

/// The longest name of a value, block or attribute, in bytes.
pub const MAX_IDENT: usize = 256;

/// The most parameters of a block, attributes of a call, and fields of a record.
pub const MAX_ATTRIBUTES: usize = 64;

mod grammar {
    #[derive(pest_derive::Parser)]
    #[grammar = "../grammar/stria.pest"]
    pub(super) struct Grammar;
}

use grammar::{Grammar, Rule};

/// Parses a whole file.
///
/// # Errors
/// Every syntax error that was found, at most one in each statement.
pub fn parse(source: &SourceFile) -> Result<Ast, Diagnostics> {
    let text = source.text.as_str();
    if text.len() > MAX_TEXT {
        let message = format!("the file has {} bytes, more than the limit of {MAX_TEXT}", text.len());
        let found = Diagnostic::error("text-size", message, Span::new(0, 0), "this file")
            .hint("write repeated parts as blocks and `repeat`");
        return Err(Diagnostics(vec![found]));
    }
    let brackets = scan::brackets(text, MAX_NESTING);
    if let Some(at) = brackets.too_deep {
        return Err(Diagnostics(vec![errors::nesting(Span::new(at, at + 1))]));
    }
    match Grammar::parse(Rule::file, text) {
        Ok(pairs) => build::file(pairs),
        Err(first) => {
            let found = recover::errors(text);
            let only = || vec![errors::syntax(text, 0, first, END)];
            Err(Diagnostics(if found.is_empty() { only() } else { found }))
        }
    }
}

/// What is found where a file ends.
const END: &str = "the end of the file";

/// How many syntax errors are reported at once.
const MAX_SYNTAX_ERRORS: usize = 16;
