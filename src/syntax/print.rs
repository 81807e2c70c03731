//! The text form of a tree: what `--emit ast` shows. Parsing it gives a tree that prints the same.

use super::ast::{
    Ast, BlockDecl, Call, Count, Expr, ExprKind, InputDecl, Item, ModelDecl, Named, Param, Part, Piece,
    PrefixOp, SettingValue, Statement, StatementKind,
};
use std::fmt::{self, Display, Formatter, Write};

impl Display for Ast {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, item) in self.items.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            match item {
                Item::Model(model) => print_model(model, f)?,
                Item::Block(block) => print_block(block, f)?,
            }
        }
        Ok(())
    }
}

fn print_model(model: &ModelDecl, f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(f, "model {} {{", model.name.text)?;
    for part in &model.parts {
        match part {
            Part::Setting(setting) => {
                write!(f, "    {}: ", setting.name.text)?;
                match &setting.value {
                    SettingValue::Expr(value) => writeln!(f, "{value}")?,
                    SettingValue::Record(fields) => {
                        print_record(fields, f)?;
                        f.write_str("\n")?;
                    }
                }
            }
            Part::Input(input) => print_input(input, f)?,
            Part::Statement(statement) => print_statement(statement, 1, f)?,
        }
    }
    f.write_str("}\n")
}

fn print_input(input: &InputDecl, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "    input {}: tensor[", input.name.text)?;
    separated(&input.dims, f)?;
    f.write_str("]")?;
    if !input.attributes.is_empty() {
        f.write_str(" ")?;
        print_record(&input.attributes, f)?;
    }
    f.write_str("\n")
}

fn print_record(fields: &[Named], f: &mut Formatter<'_>) -> fmt::Result {
    if fields.is_empty() {
        return f.write_str("{}");
    }
    f.write_str("{ ")?;
    separated(fields, f)?;
    f.write_str(" }")
}

fn print_block(block: &BlockDecl, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "block {}(", block.name.text)?;
    separated(&block.params, f)?;
    f.write_str(") {\n")?;
    print_body(&block.body, 1, f)?;
    f.write_str("}\n")
}

fn print_body(body: &[Statement], indent: usize, f: &mut Formatter<'_>) -> fmt::Result {
    body.iter().try_for_each(|statement| print_statement(statement, indent, f))
}

fn print_statement(statement: &Statement, indent: usize, f: &mut Formatter<'_>) -> fmt::Result {
    let margin = "    ".repeat(indent);
    f.write_str(&margin)?;
    match &statement.kind {
        StatementKind::Let { name, value } => writeln!(f, "let {} = {value}", name.text),
        StatementKind::Assign { name, value } => writeln!(f, "{} = {value}", name.text),
        StatementKind::Output(value) => writeln!(f, "output {value}"),
        StatementKind::Return(value) => writeln!(f, "return {value}"),
        StatementKind::Repeat { count, body } => {
            match count {
                Count::Times(n) => writeln!(f, "repeat {n} {{")?,
                Count::Range { index, from, to } => {
                    writeln!(f, "repeat {} in {from}..{to} {{", index.text)?;
                }
            }
            print_body(body, indent + 1, f)?;
            writeln!(f, "{margin}}}")
        }
        StatementKind::If { branches, otherwise } => {
            for (i, (condition, body)) in branches.iter().enumerate() {
                let word = if i == 0 { "if" } else { " else if" };
                writeln!(f, "{word} {condition} {{")?;
                print_body(body, indent + 1, f)?;
                write!(f, "{margin}}}")?;
            }
            if let Some(body) = otherwise {
                f.write_str(" else {\n")?;
                print_body(body, indent + 1, f)?;
                write!(f, "{margin}}}")?;
            }
            f.write_str("\n")
        }
    }
}

fn separated<T: Display>(items: &[T], f: &mut Formatter<'_>) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
    }
    Ok(())
}

impl Display for Named {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name.text, self.value)
    }
}

impl Display for Param {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name.text)?;
        if let Some(kind) = &self.kind {
            write!(f, ": {}", kind.text)?;
        }
        match &self.default {
            Some(value) => write!(f, " = {value}"),
            None => Ok(()),
        }
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.callee.text)?;
        separated(&self.operands, f)?;
        if !self.operands.is_empty() && !self.attributes.is_empty() {
            f.write_str(", ")?;
        }
        separated(&self.attributes, f)?;
        f.write_str(")")
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Int(n) => write!(f, "{n}"),
            ExprKind::Decimal(d) => f.write_str(&d.text),
            ExprKind::Pair(a, b) => write!(f, "{a}x{b}"),
            ExprKind::Text(pieces) => print_text(pieces, f),
            ExprKind::Truth(t) => write!(f, "{t}"),
            ExprKind::Name(name) => f.write_str(name),
            ExprKind::List(items) => {
                f.write_str("[")?;
                separated(items, f)?;
                f.write_str("]")
            }
            ExprKind::Paren(inner) => write!(f, "({inner})"),
            ExprKind::Call(call) => write!(f, "{call}"),
            ExprKind::Pipe { first, stages } => {
                write!(f, "{first}")?;
                for stage in stages {
                    if stage.operands.is_empty() && stage.attributes.is_empty() {
                        write!(f, " |> {}", stage.callee.text)?;
                    } else {
                        write!(f, " |> {stage}")?;
                    }
                }
                Ok(())
            }
            ExprKind::Prefix { operators, operand } => {
                for operator in operators {
                    f.write_char(match operator {
                        PrefixOp::Minus => '-',
                        PrefixOp::Not => '!',
                    })?;
                }
                write!(f, "{operand}")
            }
            ExprKind::Chain { first, rest } => {
                write!(f, "{first}")?;
                rest.iter().try_for_each(|(op, operand)| write!(f, " {} {operand}", op.symbol()))
            }
        }
    }
}

fn print_text(pieces: &[Piece], f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for piece in pieces {
        match piece {
            Piece::Plain(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
            Piece::Value(value) => write!(f, "{{{value}}}")?,
        }
    }
    f.write_str("\"")
}
