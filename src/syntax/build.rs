//! From the parser's pairs to the tree.
//!
//! The grammar decides which children a rule has; what it cannot say (numbers that are too large,
//! comparisons that chain, the expressions inside texts) is checked here.

use super::ast::{
    Ast, BlockDecl, Call, Count, Decimal, Expr, ExprKind, INFIX, Ident, InfixOp, InputDecl, Item, ModelDecl,
    Named, PRECEDENCES, Param, Part, Piece, PrefixOp, Setting, SettingValue, Statement, StatementKind,
};
use super::grammar::{Grammar, Rule};
use super::{MAX_ATTRIBUTES, MAX_IDENT, MAX_NESTING, MAX_SYNTAX_ERRORS, errors, scan};
use crate::diag::{Diagnostic, Diagnostics, Span};
use pest::Parser;
use pest::iterators::{Pair, Pairs};
use std::iter::Peekable;
use std::vec::IntoIter;

/// Builds a file's tree.
pub(super) fn file(pairs: Pairs<'_, Rule>) -> Result<Ast, Diagnostics> {
    let mut builder = Builder { offset: 0, depth: 0, found: Diagnostics::default() };
    let items = pairs
        .flat_map(Pair::into_inner)
        .filter(|pair| pair.as_rule() == Rule::item)
        .map(|pair| builder.item(only(pair)))
        .collect();
    if builder.found.0.is_empty() { Ok(Ast { items }) } else { Err(builder.found) }
}

/// The deepest tree of expressions. Higher than [`MAX_NESTING`], since a bracket may hold several levels
/// of operators; whoever walks the tree may recurse.
const MAX_LEVELS: usize = 640;

/// The state of building.
struct Builder {
    /// Where the text that is being built starts in the file.
    offset: usize,
    /// Levels of the expressions around.
    depth: usize,
    /// What was found wrong.
    found: Diagnostics,
}

/// The children of a rule, without punctuation.
fn children(pair: Pair<'_, Rule>) -> IntoIter<Pair<'_, Rule>> {
    let punctuation = [
        Rule::open_brace,
        Rule::close_brace,
        Rule::open_paren,
        Rule::close_paren,
        Rule::open_bracket,
        Rule::close_bracket,
        Rule::comma,
        Rule::colon,
        Rule::equals,
        Rule::pipe,
        Rule::dots,
        Rule::kw_model,
        Rule::kw_block,
        Rule::kw_input,
        Rule::kw_output,
        Rule::kw_let,
        Rule::kw_return,
        Rule::kw_repeat,
        Rule::kw_in,
        Rule::kw_if,
        Rule::kw_else,
        Rule::kw_tensor,
    ];
    let kept: Vec<_> = pair.into_inner().filter(|child| !punctuation.contains(&child.as_rule())).collect();
    kept.into_iter()
}

/// The next child, which the grammar makes obligatory.
fn next<'a>(pairs: &mut IntoIter<Pair<'a, Rule>>) -> Pair<'a, Rule> {
    pairs.next().expect("the grammar makes this child obligatory")
}

/// The only child.
fn only(pair: Pair<'_, Rule>) -> Pair<'_, Rule> {
    next(&mut children(pair))
}

impl Builder {
    fn report(&mut self, found: Diagnostic) {
        if self.found.0.len() < MAX_SYNTAX_ERRORS {
            self.found.push(found);
        }
    }

    /// From a rule's first to its last token. The parser's own span may go on over the spaces behind.
    fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        let start = pair.as_span().start();
        let mut last = pair.clone();
        while let Some(inner) = last.clone().into_inner().next_back() {
            last = inner;
        }
        Span::new(self.offset + start, self.offset + last.as_span().end())
    }

    fn ident(&mut self, pair: &Pair<'_, Rule>) -> Ident {
        let (text, span) = (pair.as_str(), self.span(pair));
        if text.len() > MAX_IDENT {
            let message = format!("a name has {} bytes, more than the limit of {MAX_IDENT}", text.len());
            self.report(Diagnostic::error("limit", message, span, "too long").hint("use a shorter name"));
        }
        Ident { text: text.to_owned(), span }
    }

    /// Reports more parameters or attributes than there may be.
    fn limited(&mut self, count: usize, span: Span) {
        if count > MAX_ATTRIBUTES {
            let message =
                format!("{count} parameters or attributes, more than the limit of {MAX_ATTRIBUTES}");
            self.report(Diagnostic::error("limit", message, span, "too many").hint("split this into blocks"));
        }
    }

    fn item(&mut self, pair: Pair<'_, Rule>) -> Item {
        let (span, rule) = (self.span(&pair), pair.as_rule());
        let mut inner = children(pair);
        let name = self.ident(&next(&mut inner));
        if rule == Rule::model {
            let parts = inner.map(|part| self.part(only(part))).collect();
            return Item::Model(ModelDecl { name, parts, span });
        }
        let params: Vec<Param> = children(next(&mut inner)).map(|param| self.param(param)).collect();
        self.limited(params.len(), name.span);
        let body = self.body(next(&mut inner));
        Item::Block(BlockDecl { name, params, body, span })
    }

    fn param(&mut self, pair: Pair<'_, Rule>) -> Param {
        let mut inner = children(pair);
        let name = self.ident(&next(&mut inner));
        let kind = inner.next().map(|kind| self.ident(&kind));
        let default = inner.next().map(|value| self.expr(value));
        Param { name, kind, default }
    }

    fn part(&mut self, pair: Pair<'_, Rule>) -> Part {
        let span = self.span(&pair);
        if pair.as_rule() == Rule::setting {
            let mut inner = children(pair);
            let name = self.ident(&next(&mut inner));
            let value = next(&mut inner);
            let value = if value.as_rule() == Rule::record {
                SettingValue::Record(self.record(value))
            } else {
                SettingValue::Expr(self.expr(value))
            };
            return Part::Setting(Setting { name, value, span });
        }
        if pair.as_rule() == Rule::input {
            let mut inner = children(pair);
            let name = self.ident(&next(&mut inner));
            let (mut dims, mut attributes) = (Vec::new(), Vec::new());
            for child in inner {
                if child.as_rule() == Rule::record {
                    attributes = self.record(child);
                } else {
                    dims.push(self.expr(child));
                }
            }
            return Part::Input(InputDecl { name, dims, attributes, span });
        }
        Part::Statement(self.statement(pair))
    }

    fn record(&mut self, pair: Pair<'_, Rule>) -> Vec<Named> {
        let span = self.span(&pair);
        let fields: Vec<Named> = children(pair).map(|field| self.named(field)).collect();
        self.limited(fields.len(), span);
        fields
    }

    fn named(&mut self, pair: Pair<'_, Rule>) -> Named {
        let mut inner = children(pair);
        let name = self.ident(&next(&mut inner));
        Named { name, value: self.expr(next(&mut inner)) }
    }

    fn body(&mut self, pair: Pair<'_, Rule>) -> Vec<Statement> {
        children(pair).map(|statement| self.statement(statement)).collect()
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "pest's rules are one flat enum")]
    fn statement(&mut self, pair: Pair<'_, Rule>) -> Statement {
        let span = self.span(&pair);
        let pair = only(pair);
        let rule = pair.as_rule();
        let mut inner = children(pair);
        let kind = match rule {
            Rule::let_st => {
                let name = self.ident(&next(&mut inner));
                StatementKind::Let { name, value: self.expr(next(&mut inner)) }
            }
            Rule::assign_st => {
                let name = self.ident(&next(&mut inner));
                StatementKind::Assign { name, value: self.expr(next(&mut inner)) }
            }
            Rule::repeat_st => {
                let first = next(&mut inner);
                let count = if first.as_rule() == Rule::ident {
                    let index = self.ident(&first);
                    let from = self.expr(next(&mut inner));
                    Count::Range { index, from, to: self.expr(next(&mut inner)) }
                } else {
                    Count::Times(self.expr(first))
                };
                StatementKind::Repeat { count, body: self.body(next(&mut inner)) }
            }
            Rule::if_st => {
                let (mut branches, mut otherwise) = (Vec::new(), None);
                while let Some(first) = inner.next() {
                    if first.as_rule() == Rule::body {
                        otherwise = Some(self.body(first));
                    } else {
                        let condition = self.expr(first);
                        branches.push((condition, self.body(next(&mut inner))));
                    }
                }
                StatementKind::If { branches, otherwise }
            }
            Rule::output_st => StatementKind::Output(self.expr(next(&mut inner))),
            _ => StatementKind::Return(self.expr(next(&mut inner))),
        };
        Statement { kind, span }
    }

    fn expr(&mut self, pair: Pair<'_, Rule>) -> Expr {
        let levels = levels(&pair);
        if self.depth + levels > MAX_LEVELS {
            let span = self.span(&pair);
            self.report(errors::nesting(span));
            return Expr { kind: ExprKind::Int(0), span };
        }
        self.depth += levels;
        let expr = self.levelled(pair);
        self.depth -= levels;
        expr
    }

    /// An expression whose depth is counted.
    fn levelled(&mut self, pair: Pair<'_, Rule>) -> Expr {
        let (mut operands, mut operators, mut stages) = (Vec::new(), Vec::new(), Vec::new());
        let mut prefixes: Vec<(PrefixOp, Span)> = Vec::new();
        for child in children(pair) {
            let span = self.span(&child);
            if child.as_rule() == Rule::prefix {
                let op = if child.as_str() == "-" { PrefixOp::Minus } else { PrefixOp::Not };
                prefixes.push((op, span));
            } else if child.as_rule() == Rule::infix {
                operators.extend(INFIX.iter().find(|(s, _)| *s == child.as_str()).map(|(_, op)| *op));
            } else if child.as_rule() == Rule::stage {
                stages.push(self.call(child));
            } else {
                let operand = self.primary(only(child));
                operands.push(prefixed(std::mem::take(&mut prefixes), operand));
            }
        }
        let first = self.chain(0, &mut operands.into_iter(), &mut operators.into_iter().peekable());
        let Some(last) = stages.last() else {
            return first;
        };
        let span = first.span.to(last.span);
        Expr { kind: ExprKind::Pipe { first: Box::new(first), stages }, span }
    }

    /// Operands joined by operators that bind at least as tightly as `precedence`.
    fn chain(
        &mut self,
        precedence: u8,
        operands: &mut IntoIter<Expr>,
        operators: &mut Peekable<IntoIter<InfixOp>>,
    ) -> Expr {
        if precedence == PRECEDENCES {
            return operands.next().expect("the grammar has one more operand than operators");
        }
        let first = self.chain(precedence + 1, operands, operators);
        let mut rest = Vec::new();
        while let Some(op) = operators.next_if(|op| op.precedence() == precedence) {
            rest.push((op, self.chain(precedence + 1, operands, operators)));
        }
        let Some((op, last)) = rest.last() else {
            return first;
        };
        let span = first.span.to(last.span);
        if op.compares() && rest.len() > 1 {
            let found = Diagnostic::error("syntax", "comparisons do not chain", span, "several comparisons")
                .hint("join them: `a < b && b < c`");
            self.report(found);
        }
        Expr { kind: ExprKind::Chain { first: Box::new(first), rest }, span }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "pest's rules are one flat enum")]
    fn primary(&mut self, pair: Pair<'_, Rule>) -> Expr {
        let span = self.span(&pair);
        let text = pair.as_str();
        let kind = match pair.as_rule() {
            Rule::int => ExprKind::Int(self.integer(text, span)),
            Rule::pair => {
                let (rows, columns) = text.split_once('x').unwrap_or((text, text));
                ExprKind::Pair(self.integer(rows, span), self.integer(columns, span))
            }
            Rule::decimal => {
                let value = text.replace('_', "").parse::<f64>().unwrap_or(f64::INFINITY);
                if !value.is_finite() {
                    self.too_large("a finite number", span);
                }
                ExprKind::Decimal(Decimal { value, text: text.to_owned() })
            }
            Rule::text => ExprKind::Text(self.text(text, span)),
            Rule::truth => ExprKind::Truth(text == "true"),
            Rule::name => ExprKind::Name(text.to_owned()),
            Rule::call => ExprKind::Call(self.call(pair)),
            Rule::list => ExprKind::List(children(pair).map(|item| self.expr(item)).collect()),
            _ => ExprKind::Paren(Box::new(self.expr(only(pair)))),
        };
        Expr { kind, span }
    }

    fn call(&mut self, pair: Pair<'_, Rule>) -> Call {
        let span = self.span(&pair);
        let mut inner = children(pair);
        let callee = self.ident(&next(&mut inner));
        let (mut operands, mut attributes) = (Vec::new(), Vec::new());
        for arg in inner.flat_map(children) {
            let arg = only(arg);
            if arg.as_rule() == Rule::named {
                attributes.push(self.named(arg));
            } else {
                operands.push(self.expr(arg));
            }
        }
        self.limited(attributes.len(), callee.span);
        Call { callee, operands, attributes, span }
    }

    fn integer(&mut self, text: &str, span: Span) -> i64 {
        text.replace('_', "").parse().unwrap_or_else(|_| {
            self.too_large("an integer below 2^63", span);
            0
        })
    }

    fn too_large(&mut self, expected: &str, span: Span) {
        let message = format!("expected {expected}, found a larger one");
        self.report(Diagnostic::error("overflow", message, span, "too large").hint("use a smaller number"));
    }

    /// The pieces of a text with its quotes: `{{` and `}}` stand for braces, `{expr}` for a value.
    fn text(&mut self, quoted: &str, span: Span) -> Vec<Piece> {
        let inside = &quoted[1..quoted.len() - 1];
        let start = span.start as usize + 1;
        let (mut pieces, mut plain) = (Vec::new(), String::new());
        let mut at = 0;
        while let Some(c) = inside[at..].chars().next() {
            let rest = &inside[at..];
            let place = Span::new(start + at, start + at + c.len_utf8());
            if rest.starts_with("{{") || rest.starts_with("}}") {
                plain.push(c);
                at += 2;
            } else if c == '{' {
                let Some(end) = rest.find('}') else {
                    self.brace(place, "`{` without `}` in a text");
                    break;
                };
                if !plain.is_empty() {
                    pieces.push(Piece::Plain(std::mem::take(&mut plain)));
                }
                pieces.extend(self.interpolation(&rest[1..end], start + at + 1).map(Piece::Value));
                at += end + 1;
            } else if c == '}' {
                self.brace(place, "`}` without `{` in a text");
                break;
            } else {
                plain.push(c);
                at += c.len_utf8();
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain));
        }
        pieces
    }

    fn brace(&mut self, span: Span, message: &str) {
        let found = Diagnostic::error("syntax", message, span, "this brace")
            .hint("write `{expression}` for a value and `{{` or `}}` for a brace");
        self.report(found);
    }

    /// The expression between braces of a text, which starts at byte `start` of the file.
    fn interpolation(&mut self, text: &str, start: usize) -> Option<Expr> {
        if let Some(at) = scan::brackets(text, MAX_NESTING).too_deep {
            self.report(errors::nesting(Span::new(start + at, start + at + 1)));
            return None;
        }
        match Grammar::parse(Rule::interpolation, text) {
            Ok(mut pairs) => {
                let outer = std::mem::replace(&mut self.offset, start);
                let expr = pairs.next().map(|pair| self.expr(only(pair)));
                self.offset = outer;
                expr
            }
            Err(failed) => {
                let mut found = errors::syntax(text, 0, failed, "the closing `}`");
                let moved = |s: Span| Span::new(start + s.start as usize, start + s.end as usize);
                found.primary.0 = moved(found.primary.0);
                found.secondary.iter_mut().for_each(|(span, _)| *span = moved(*span));
                self.report(found);
                None
            }
        }
    }
}

/// How many levels of the tree an expression takes itself: each precedence in it, prefixes, a pipeline,
/// the operand.
fn levels(pair: &Pair<'_, Rule>) -> usize {
    let (mut precedences, mut prefix, mut pipe) = ([0; PRECEDENCES as usize], 0, 0);
    for child in pair.clone().into_inner() {
        if child.as_rule() == Rule::prefix {
            prefix = 1;
        } else if child.as_rule() == Rule::pipe {
            pipe = 1;
        } else if let Some((_, op)) = INFIX.iter().find(|(symbol, _)| *symbol == child.as_str()) {
            precedences[usize::from(op.precedence())] = 1;
        }
    }
    1 + prefix + pipe + precedences.iter().sum::<usize>()
}

fn prefixed(prefixes: Vec<(PrefixOp, Span)>, operand: Expr) -> Expr {
    let Some((_, first)) = prefixes.first() else {
        return operand;
    };
    let span = first.to(operand.span);
    let operators = prefixes.into_iter().map(|(op, _)| op).collect();
    Expr { kind: ExprKind::Prefix { operators, operand: Box::new(operand) }, span }
}
