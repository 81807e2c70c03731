//! Statements from layers: chains of layers as pipelines, values that are read again as names.
//!
//! A statement ends where its value is read more than once, or by something else than the next layer, and
//! has one convolution or one block: so a line says one thing. A name whose value is not read
//! any more is taken again.

use std::collections::{BTreeMap, BTreeSet};

/// The longest line.
const WIDTH: usize = 110;

/// Names for values, in the order in which they are taken.
const NAMES: [&str; 6] = ["x", "y", "z", "u", "v", "w"];

/// A call of a layer or a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The value that it gives.
    pub(super) result: usize,
    /// The values that it reads.
    pub(super) operands: Vec<usize>,
    pub(super) word: String,
    /// Attributes as they are written.
    pub(super) arguments: Vec<String>,
    pub(super) role: Role,
}

/// How an item shares a statement with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A statement has one of these.
    Main,
    /// It may go on with one of these.
    Side,
    /// A statement of its own.
    Alone,
}

/// A pipeline: indices of items, each but the first reading the one before.
type Chain = Vec<usize>;

/// The statements that compute `output` from `entry`, which has a name already; the last begins with
/// `closing`.
pub(super) fn lines(items: &[Item], entry: (usize, &str), output: usize, closing: &str) -> Vec<String> {
    let chains = chains(items, output);
    let mut last_read: BTreeMap<usize, usize> = BTreeMap::new();
    for (at, chain) in chains.iter().enumerate() {
        for operand in head(items, chain) {
            last_read.insert(*operand, at);
        }
    }
    let mut names = Names::new(entry.0, entry.1);
    let mut out = Vec::new();
    for (at, chain) in chains.iter().enumerate() {
        let expression = expression(items, chain, &names);
        let Some(result) = chain.last().map(|&i| items[i].result) else { continue };
        if result == output && at + 1 == chains.len() {
            let mut lines = repeated(&out);
            lines.push(format!("{closing} {expression}"));
            return wrapped(lines);
        }
        let dead: Vec<usize> = head(items, chain)
            .iter()
            .copied()
            .filter(|v| last_read.get(v) == Some(&at) && *v != output)
            .collect();
        let read = head(items, chain).first().and_then(|v| names.of.get(v)).cloned().unwrap_or_default();
        let (target, new) = names.bind(result, &dead);
        let once = chain.len() == 1 && !new && read == target;
        let step = chain.first().filter(|_| once).and_then(|&i| Step::of(&items[i]));
        let binding = if new { "let " } else { "" };
        out.push(Statement { text: format!("{binding}{target} = {expression}"), target, step });
    }
    // Nothing to compute, or the output is read within the network too.
    let name = names.of.get(&output).map_or("", String::as_str);
    let mut lines = repeated(&out);
    lines.push(format!("{closing} {name}"));
    wrapped(lines)
}

/// A statement, and what it does if it is a step that may be repeated: `x = word(x, ...)`.
struct Statement {
    text: String,
    target: String,
    step: Option<Step>,
}

/// A call whose name has a number in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    word: String,
    /// All but the name.
    arguments: Vec<String>,
    /// The name before, at and behind each of its numbers.
    numbers: Vec<(String, u64, String)>,
}

impl Step {
    fn of(item: &Item) -> Option<Self> {
        let (name, arguments) = item.arguments.split_last()?;
        let name = name.strip_prefix("name: \"")?.strip_suffix('"')?;
        let numbers: Vec<_> = numbers(name);
        (!numbers.is_empty()).then(|| Self {
            word: item.word.clone(),
            arguments: arguments.to_vec(),
            numbers,
        })
    }

    /// Which of the numbers counts from this step to the next, if they are the same otherwise.
    fn counts(&self, next: &Self) -> Option<usize> {
        if (&self.word, &self.arguments) != (&next.word, &next.arguments) {
            return None;
        }
        self.numbers.iter().zip(&next.numbers).position(|(a, b)| a.0 == b.0 && a.2 == b.2 && a.1 + 1 == b.1)
    }
}

/// Every number in a name that is written without leading zeros, with what is before and behind it.
fn numbers(name: &str) -> Vec<(String, u64, String)> {
    let mut out = Vec::new();
    let mut rest = 0;
    while let Some(start) =
        name.get(rest..).and_then(|r| r.find(|c: char| c.is_ascii_digit())).map(|s| rest + s)
    {
        let digits: String = name[start..].chars().take_while(char::is_ascii_digit).collect();
        rest = start + digits.len();
        if let Ok(number) = digits.parse::<u32>()
            && number.to_string() == digits
        {
            out.push((name[..start].to_owned(), u64::from(number), name[rest..].to_owned()));
        }
    }
    out
}

/// Steps that only count become one `repeat`.
fn repeated(statements: &[Statement]) -> Vec<String> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(first) = statements.get(at) {
        let step =
            |k: usize| statements.get(k).filter(|s| s.target == first.target).and_then(|s| s.step.as_ref());
        let which = step(at).zip(step(at + 1)).and_then(|(a, b)| a.counts(b));
        let Some((which, example)) = which.zip(step(at)) else {
            out.push(first.text.clone());
            at += 1;
            continue;
        };
        let mut end = at + 1;
        while step(end - 1).zip(step(end)).is_some_and(|(a, b)| a.counts(b) == Some(which)) {
            end += 1;
        }
        let (before, from, behind) = &example.numbers[which];
        let to = from + (end - at) as u64;
        let index = if first.target == "i" { "k" } else { "i" };
        let arguments: String = example.arguments.iter().map(|a| format!(", {a}")).collect();
        let x = &first.target;
        let call = format!("{x} = {}({x}{arguments}, name: \"{before}{{{index}}}{behind}\")", example.word);
        out.push(format!("repeat {index} in {from}..{to} {{ {call} }}"));
        at = end;
    }
    out
}

/// What the first item of a chain reads.
fn head<'a>(items: &'a [Item], chain: &Chain) -> &'a [usize] {
    chain.first().map_or(&[], |&i| items[i].operands.as_slice())
}

fn chains(items: &[Item], output: usize) -> Vec<Chain> {
    let mut reads: BTreeMap<usize, usize> = BTreeMap::new();
    for operand in items.iter().flat_map(|item| &item.operands) {
        *reads.entry(*operand).or_insert(0) += 1;
    }
    let mut chains: Vec<Chain> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let follows = |chain: &Chain| {
            let before = chain.last().map(|&b| items[b].result);
            let once = before.is_some_and(|b| reads.get(&b) == Some(&1) && b != output);
            let roles = || chain.iter().map(|&b| items[b].role);
            let fits = match item.role {
                Role::Main => roles().all(|r| r == Role::Side),
                Role::Side => roles().all(|r| r != Role::Alone),
                Role::Alone => false,
            };
            once && item.operands.as_slice() == before.as_slice() && fits
        };
        match chains.last_mut() {
            Some(chain) if follows(chain) => chain.push(i),
            _ => chains.push(vec![i]),
        }
    }
    chains
}

fn expression(items: &[Item], chain: &Chain, names: &Names) -> String {
    let mut text = String::new();
    for (place, &i) in chain.iter().enumerate() {
        let item = &items[i];
        let operands = item.operands.iter().map(|v| names.of.get(v).cloned().unwrap_or_default());
        let arguments = item.arguments.iter().cloned();
        if place == 0 {
            let all: Vec<String> = operands.chain(arguments).collect();
            text = format!("{}({})", item.word, all.join(", "));
        } else if item.arguments.is_empty() {
            text.push_str(&format!(" |> {}", item.word));
        } else {
            let all: Vec<String> = arguments.collect();
            text.push_str(&format!(" |> {}({})", item.word, all.join(", ")));
        }
    }
    text
}

/// Names of values that are still read.
struct Names {
    of: BTreeMap<usize, String>,
    live: BTreeSet<String>,
    declared: BTreeSet<String>,
    /// The name of what comes in, which is not given to another value.
    fixed: String,
    /// How many names were made up beyond the usual ones.
    more: usize,
}

impl Names {
    fn new(entry: usize, name: &str) -> Self {
        Self {
            of: BTreeMap::from([(entry, name.to_owned())]),
            live: BTreeSet::new(),
            declared: BTreeSet::from([name.to_owned()]),
            fixed: name.to_owned(),
            more: 0,
        }
    }

    /// The name for `value`, after which the values `dead` are not read, and whether it is a new one.
    fn bind(&mut self, value: usize, dead: &[usize]) -> (String, bool) {
        let mut own = None;
        for name in dead.iter().filter_map(|v| self.of.remove(v)).filter(|name| *name != self.fixed) {
            self.live.remove(&name);
            own.get_or_insert(name);
        }
        let unused = |name: &&str| !self.live.contains(*name) && **name != self.fixed;
        let name = match own.or_else(|| NAMES.iter().copied().find(unused).map(str::to_owned)) {
            Some(name) => name,
            None => loop {
                self.more += 1;
                let name = format!("t{}", self.more);
                if name != self.fixed {
                    break name;
                }
            },
        };
        self.of.insert(value, name.clone());
        self.live.insert(name.clone());
        let new = self.declared.insert(name.clone());
        (name, new)
    }
}

/// Long statements go on in the next line, before a pipe.
fn wrapped(statements: Vec<String>) -> Vec<String> {
    let mut out = Vec::new();
    for statement in statements {
        let mut line = String::new();
        for (i, part) in statement.split(" |> ").enumerate() {
            if i == 0 {
                line.push_str(part);
            } else if line.len() + part.len() + 8 > WIDTH {
                out.push(std::mem::replace(&mut line, format!("    |> {part}")));
            } else {
                line.push_str(" |> ");
                line.push_str(part);
            }
        }
        out.push(line);
    }
    out
}
