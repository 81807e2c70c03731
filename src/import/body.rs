//! Statements from layers: chains of layers as pipelines, values that are read again as names.
//!
//! A statement ends where its value is read more than once, or by something else than the next layer, or
//! where the next layer is a convolution or a block: so a line says one thing. A name whose value is not read
//! any more is taken again.

use std::collections::BTreeMap;

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
    /// Whether it begins a statement.
    pub(super) starts: bool,
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
    let mut names = Names { of: BTreeMap::from([(entry.0, entry.1.to_owned())]), declared: vec![entry.1.to_owned()], fixed: entry.1.to_owned() };
    let mut out = Vec::new();
    for (at, chain) in chains.iter().enumerate() {
        let expression = expression(items, chain, &names);
        let Some(result) = chain.last().map(|&i| items[i].result) else { continue };
        if result == output && at + 1 == chains.len() {
            out.push(format!("{closing} {expression}"));
            return wrapped(out);
        }
        let dead: Vec<usize> = head(items, chain).iter().copied().filter(|v| last_read.get(v) == Some(&at) && *v != output).collect();
        let binding = names.bind(result, &dead);
        out.push(format!("{binding} = {expression}"));
    }
    // Nothing to compute, or the output is read within the network too.
    let name = names.of.get(&output).map_or("", String::as_str);
    out.push(format!("{closing} {name}"));
    wrapped(out)
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
            once && item.operands.as_slice() == before.as_slice() && !item.starts
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
    declared: Vec<String>,
    /// The name of what comes in, which is not given to another value.
    fixed: String,
}

impl Names {
    /// The left side of a statement that gives `value`, after which the values `dead` are not read.
    fn bind(&mut self, value: usize, dead: &[usize]) -> String {
        let free: Vec<String> = dead.iter().filter_map(|v| self.of.remove(v)).collect();
        let own = free.into_iter().find(|name| *name != self.fixed);
        let live: Vec<&String> = self.of.values().collect();
        let unused = |name: &String| !live.contains(&name) && *name != self.fixed;
        let name = own
            .or_else(|| NAMES.iter().map(|n| (*n).to_owned()).find(unused))
            .unwrap_or_else(|| (1..).map(|n| format!("t{n}")).find(unused).unwrap_or_default());
        self.of.insert(value, name.clone());
        if self.declared.contains(&name) {
            return name;
        }
        self.declared.push(name.clone());
        format!("let {name}")
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
