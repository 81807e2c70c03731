//! Writes attributes into a text and leaves all else as it is: comments, line breaks, order.

use super::ast::{
    Ast, Call, Count, Expr, ExprKind, InputDecl, Item, Named, Part, Piece, SettingValue, Statement,
    StatementKind,
};
use crate::diag::Span;
use std::collections::BTreeMap;

/// Integer attributes by name.
pub type Attributes = BTreeMap<&'static str, u32>;

/// `text` with these attributes at the calls, and at the input, whose spans are given; `ast` is its tree. An
/// attribute that is there already gets the new value.
#[must_use]
pub fn with_attributes(text: &str, ast: &Ast, wanted: &BTreeMap<Span, Attributes>) -> String {
    let mut edits = Edits { text, wanted, changes: BTreeMap::new() };
    for item in &ast.items {
        match item {
            Item::Model(model) => model.parts.iter().for_each(|part| edits.part(part)),
            Item::Block(block) => edits.statements(&block.body),
        }
    }
    let mut out = String::with_capacity(text.len() + 32 * edits.changes.len());
    let mut at = 0;
    for ((start, end), change) in edits.changes {
        out.push_str(text.get(at..start).unwrap_or_default());
        out.push_str(&change);
        at = end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

struct Edits<'a> {
    text: &'a str,
    wanted: &'a BTreeMap<Span, Attributes>,
    /// From byte to byte, what replaces the text there.
    changes: BTreeMap<(usize, usize), String>,
}

impl Edits<'_> {
    fn part(&mut self, part: &Part) {
        match part {
            Part::Input(input) => self.input(input),
            Part::Setting(setting) => match &setting.value {
                SettingValue::Expr(value) => self.value(value),
                SettingValue::Record(fields) => fields.iter().for_each(|field| self.value(&field.value)),
            },
            Part::Statement(statement) => self.statements(std::slice::from_ref(statement)),
        }
    }

    fn statements(&mut self, statements: &[Statement]) {
        for statement in statements {
            match &statement.kind {
                StatementKind::Let { value, .. }
                | StatementKind::Assign { value, .. }
                | StatementKind::Output(value)
                | StatementKind::Return(value) => self.value(value),
                StatementKind::Repeat { count, body } => {
                    match count {
                        Count::Times(times) => self.value(times),
                        Count::Range { from, to, .. } => [from, to].into_iter().for_each(|e| self.value(e)),
                    }
                    self.statements(body);
                }
                StatementKind::If { branches, otherwise } => {
                    for (condition, body) in branches {
                        self.value(condition);
                        self.statements(body);
                    }
                    self.statements(otherwise.as_deref().unwrap_or_default());
                }
            }
        }
    }

    fn value(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Int(_)
            | ExprKind::Decimal(_)
            | ExprKind::Pair(..)
            | ExprKind::Truth(_)
            | ExprKind::Name(_) => {}
            ExprKind::Text(pieces) => {
                for piece in pieces {
                    if let Piece::Value(value) = piece {
                        self.value(value);
                    }
                }
            }
            ExprKind::List(items) => items.iter().for_each(|item| self.value(item)),
            ExprKind::Paren(inner) => self.value(inner),
            ExprKind::Call(call) => self.call(call),
            ExprKind::Pipe { first, stages } => {
                self.value(first);
                stages.iter().for_each(|stage| self.call(stage));
            }
            ExprKind::Prefix { operand, .. } => self.value(operand),
            ExprKind::Chain { first, rest } => {
                self.value(first);
                rest.iter().for_each(|(_, operand)| self.value(operand));
            }
        }
    }

    fn call(&mut self, call: &Call) {
        call.operands.iter().for_each(|operand| self.value(operand));
        call.attributes.iter().for_each(|attribute| self.value(&attribute.value));
        let Some(wanted) = self.wanted.get(&call.span) else { return };
        let new = self.replace(&call.attributes, wanted);
        let spans = call.operands.iter().map(|e| e.span).chain(call.attributes.iter().map(|a| a.value.span));
        let callee = call.callee.span.end as usize;
        match spans.map(|span| span.end as usize).max() {
            Some(last) => self.insert(last, new.as_ref().map(|new| format!(", {new}"))),
            // Empty parentheses have nothing but spaces and comments before the first.
            None if call.span.end as usize > callee => {
                let bracket = self.text.get(..call.span.end as usize).and_then(|text| text.rfind(')'));
                self.insert(bracket.unwrap_or(callee), new);
            }
            None => self.insert(callee, new.map(|new| format!("({new})"))),
        }
    }

    fn input(&mut self, input: &InputDecl) {
        let Some(wanted) = self.wanted.get(&input.span) else { return };
        let new = self.replace(&input.attributes, wanted);
        match input.attributes.iter().map(|a| a.value.span.end as usize).max() {
            Some(last) => self.insert(last, new.map(|new| format!(", {new}"))),
            None => self.insert(input.span.end as usize, new.map(|new| format!(" {{ {new} }}"))),
        }
    }

    /// Replaces the attributes that are there; gives the others as text.
    fn replace(&mut self, given: &[Named], wanted: &Attributes) -> Option<String> {
        let mut new = Vec::new();
        for (name, value) in wanted {
            match given.iter().find(|attribute| attribute.name.text == *name) {
                Some(attribute) => {
                    let span = attribute.value.span;
                    self.changes.insert((span.start as usize, span.end as usize), value.to_string());
                }
                None => new.push(format!("{name}: {value}")),
            }
        }
        (!new.is_empty()).then(|| new.join(", "))
    }

    fn insert(&mut self, at: usize, text: Option<String>) {
        if let Some(text) = text {
            // Behind a value that is replaced, which ends here too and begins before.
            self.changes.insert((at, at), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::with_attributes;
    use crate::diag::{SourceFile, Span};
    use crate::syntax::parse;
    use std::collections::BTreeMap;

    #[test]
    fn attributes_are_added_and_replaced_and_nothing_else_moves() {
        let text = "model m { // one\n input x: tensor[4]\n let y = linear(x, out: 3 /* three */,) |> relu\n \
                    output relu(y, bits: 8 // eight\n ) |> relu( /* none */ ) |> linear(weight_bits: 7, out: 2)\n}\n";
        let source = SourceFile { name: "m".into(), text: text.into() };
        let ast = parse(&source).unwrap();
        let span = |part: &str| {
            let start = text.find(part).unwrap();
            Span::new(start, start + part.len())
        };
        let wanted = BTreeMap::from([
            (span("input x: tensor[4]"), BTreeMap::from([("bits", 5)])),
            (span("linear(x, out: 3 /* three */,)"), BTreeMap::from([("weight_bits", 4)])),
            (span("relu\n"), BTreeMap::new()),
            (
                Span::new(text.find("relu\n").unwrap(), text.find("relu\n").unwrap() + 4),
                BTreeMap::from([("bits", 6)]),
            ),
            (span("relu(y, bits: 8 // eight\n )"), BTreeMap::from([("bits", 4)])),
            (span("relu( /* none */ )"), BTreeMap::from([("bits", 3)])),
            (span("linear(weight_bits: 7, out: 2)"), BTreeMap::from([("bits", 2), ("weight_bits", 6)])),
        ]);
        let found = with_attributes(text, &ast, &wanted);
        let expected = "model m { // one\n input x: tensor[4] { bits: 5 }\n let y = linear(x, out: 3, weight_bits: 4 /* three \
                        */,) |> relu(bits: 6)\n output relu(y, bits: 4 // eight\n ) |> relu( /* none */ bits: 3) |> \
                        linear(weight_bits: 6, out: 2, bits: 2)\n}\n";
        assert_eq!(found, expected);
        let again = parse(&SourceFile { name: "m".into(), text: found }).unwrap();
        assert!(again.to_string().contains("relu(bits: 6)"));
    }
}
