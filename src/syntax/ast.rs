//! The tree of a `.stria` file, as written: nothing is looked up, nothing is evaluated.
//!
//! Every node carries its span. Operator chains, prefix operators, pipelines and `else if` are lists,
//! so the tree is as deep as the brackets of the text and no deeper. Equal trees print alike
//! ([`std::fmt::Display`]); comments are not kept.

use crate::diag::Span;

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ast {
    /// Models and blocks in the order of the text.
    pub items: Vec<Item>,
}

impl Ast {
    /// The models; a valid file has one.
    pub fn models(&self) -> impl Iterator<Item = &ModelDecl> {
        self.items.iter().filter_map(|item| match item {
            Item::Model(model) => Some(model),
            Item::Block(_) => None,
        })
    }

    /// The blocks.
    pub fn blocks(&self) -> impl Iterator<Item = &BlockDecl> {
        self.items.iter().filter_map(|item| match item {
            Item::Model(_) => None,
            Item::Block(block) => Some(block),
        })
    }
}

/// What stands at the top of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// The network.
    Model(ModelDecl),
    /// A reusable part of it.
    Block(BlockDecl),
}

/// A name with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ident {
    /// The name.
    pub text: String,
    /// Its place.
    pub span: Span,
}

/// `model name { ... }`
#[derive(Clone, Debug, PartialEq)]
pub struct ModelDecl {
    /// The model's name.
    pub name: Ident,
    /// Settings, input and statements in the order of the text.
    pub parts: Vec<Part>,
    /// From `model` to the closing brace.
    pub span: Span,
}

/// What stands in a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// `ring: 8192`
    Setting(Setting),
    /// `input image: tensor[3, 32, 32]`
    Input(InputDecl),
    /// A statement.
    Statement(Statement),
}

/// `name: value`, `name: { ... }`
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Which setting.
    pub name: Ident,
    /// Its value.
    pub value: SettingValue,
    /// All of it.
    pub span: Span,
}

/// The right side of a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum SettingValue {
    /// One value.
    Expr(Expr),
    /// `{ name: value, ... }`
    Record(Vec<Named>),
}

/// `name: value`, in a record or an argument list.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// Which attribute.
    pub name: Ident,
    /// Its value.
    pub value: Expr,
}

/// `input name: tensor[dims] { attributes }`
#[derive(Clone, Debug, PartialEq)]
pub struct InputDecl {
    /// The input's name.
    pub name: Ident,
    /// The tensor's dimensions.
    pub dims: Vec<Expr>,
    /// Normalisation.
    pub attributes: Vec<Named>,
    /// All of it.
    pub span: Span,
}

/// `block name(params) { ... }`
#[derive(Clone, Debug, PartialEq)]
pub struct BlockDecl {
    /// The block's name.
    pub name: Ident,
    /// Its parameters.
    pub params: Vec<Param>,
    /// Its statements.
    pub body: Vec<Statement>,
    /// From `block` to the closing brace.
    pub span: Span,
}

/// A block's parameter: a tensor, or of the type that is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: Ident,
    /// Its type; none for a tensor.
    pub kind: Option<Ident>,
    /// Its value if the call gives none.
    pub default: Option<Expr>,
}

/// A statement with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What it is.
    pub kind: StatementKind,
    /// All of it.
    pub span: Span,
}

/// What a statement is.
#[derive(Clone, Debug, PartialEq)]
pub enum StatementKind {
    /// `let name = value`
    Let {
        /// The new name.
        name: Ident,
        /// Its value.
        value: Expr,
    },
    /// `name = value`
    Assign {
        /// A name that a `let` or a parameter introduced.
        name: Ident,
        /// Its new value.
        value: Expr,
    },
    /// `repeat n { ... }` or `repeat i in a..b { ... }`
    Repeat {
        /// How often.
        count: Count,
        /// What.
        body: Vec<Statement>,
    },
    /// `if a { ... } else if b { ... } else { ... }`
    If {
        /// Conditions with their bodies, the first that holds is taken.
        branches: Vec<(Expr, Vec<Statement>)>,
        /// What is taken if none holds.
        otherwise: Option<Vec<Statement>>,
    },
    /// `output value`
    Output(Expr),
    /// `return value`
    Return(Expr),
}

/// How often a body is repeated.
#[derive(Clone, Debug, PartialEq)]
pub enum Count {
    /// So many times.
    Times(Expr),
    /// Once for every integer of `from..to`, which is bound to `index`.
    Range {
        /// The name of the integer.
        index: Ident,
        /// The first.
        from: Expr,
        /// One past the last.
        to: Expr,
    },
}

/// An expression with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// All of it.
    pub span: Span,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `16`
    Int(i64),
    /// `0.48`, kept as it was written.
    Decimal(Decimal),
    /// `3x3`: rows and columns.
    Pair(i64, i64),
    /// `"layer1.{i}"`
    Text(Vec<Piece>),
    /// `true`, `false`
    Truth(bool),
    /// A name, or a word such as `same` that an attribute knows.
    Name(String),
    /// `[a, b]`
    List(Vec<Expr>),
    /// `(a)`
    Paren(Box<Expr>),
    /// `f(a, name: b)`
    Call(Call),
    /// `a |> f |> g(b)`: each stage takes the result before it as its first operand.
    Pipe {
        /// The first operand.
        first: Box<Expr>,
        /// The stages, at least one.
        stages: Vec<Call>,
    },
    /// `-a`, `!a`; the innermost operator is last.
    Prefix {
        /// The operators, at least one.
        operators: Vec<PrefixOp>,
        /// What they apply to.
        operand: Box<Expr>,
    },
    /// `a + b - c`: operators of one precedence, from the left.
    Chain {
        /// The leftmost operand.
        first: Box<Expr>,
        /// Each operator with its right operand, at least one.
        rest: Vec<(InfixOp, Expr)>,
    },
}

/// A decimal number.
#[derive(Clone, Debug, PartialEq)]
pub struct Decimal {
    /// Its value, finite.
    pub value: f64,
    /// As it was written.
    pub text: String,
}

/// A call of a layer, a block or a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What is called.
    pub callee: Ident,
    /// Operands by position.
    pub operands: Vec<Expr>,
    /// Attributes by name.
    pub attributes: Vec<Named>,
    /// All of it.
    pub span: Span,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// As it stands.
    Plain(String),
    /// The value of an expression.
    Value(Expr),
}

/// An operator in front of its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixOp {
    /// `-`
    Minus,
    /// `!`
    Not,
}

/// An operator between its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfixOp {
    /// `||`
    Or,
    /// `&&`
    And,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `*`
    Times,
    /// `/`, rounded down between integers
    Over,
    /// `%`, with the sign of the divisor
    Remainder,
}

/// Every infix operator as it is written.
pub(super) const INFIX: [(&str, InfixOp); 13] = [
    ("||", InfixOp::Or),
    ("&&", InfixOp::And),
    ("==", InfixOp::Equal),
    ("!=", InfixOp::NotEqual),
    ("<", InfixOp::Less),
    ("<=", InfixOp::LessEqual),
    (">", InfixOp::Greater),
    (">=", InfixOp::GreaterEqual),
    ("+", InfixOp::Plus),
    ("-", InfixOp::Minus),
    ("*", InfixOp::Times),
    ("/", InfixOp::Over),
    ("%", InfixOp::Remainder),
];

/// One more than the highest precedence of an infix operator.
pub(super) const PRECEDENCES: u8 = 5;

impl InfixOp {
    /// How tightly it binds, 0 the least.
    #[must_use]
    pub fn precedence(self) -> u8 {
        match self {
            Self::Or => 0,
            Self::And => 1,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessEqual
            | Self::Greater
            | Self::GreaterEqual => 2,
            Self::Plus | Self::Minus => 3,
            Self::Times | Self::Over | Self::Remainder => 4,
        }
    }

    /// Whether it compares; comparisons do not chain.
    #[must_use]
    pub fn compares(self) -> bool {
        self.precedence() == 2
    }

    /// As it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        INFIX.iter().find(|(_, op)| *op == self).map_or("", |(symbol, _)| symbol)
    }
}
