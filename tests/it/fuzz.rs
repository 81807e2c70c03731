//! No text makes the parser or the resolver panic, hang or contradict itself.
//!
//! Models of the examples and cases are mutated: bytes, tokens, numbers, brackets. What still parses
//! must print to a text that prints the same; what resolves must be a graph whose shapes are those that
//! its layers infer.

use crate::language::{read, source};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use stria::diag::SourceFile;
use stria::layers::Layer;
use stria::resolve::{declared, resolve};
use stria::syntax::parse;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(0x0057_121A),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    }
}

/// Models to mutate, in a fixed order.
static CORPUS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut paths: Vec<_> = ["tests/cases/ok", "tests/cases/errors", "examples/shapes"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).expect("the folder is there"))
        .map(|entry| entry.expect("the entry can be read").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| read(path).text).collect()
});

/// Everything that is done with a model's text before it is compiled.
#[expect(clippy::panic, reason = "a test fails with the diagnostics as the user sees them")]
fn take(source: &SourceFile) {
    let ast = match parse(source) {
        Ok(ast) => ast,
        Err(found) => {
            assert!(found.has_errors());
            assert!(!found.render(source).is_empty());
            return;
        }
    };
    let text = ast.to_string();
    let printed = SourceFile { name: source.name.clone(), text };
    let again = parse(&printed).unwrap_or_else(|found| panic!("{}", found.render(&printed)));
    assert_eq!(again.to_string(), printed.text);
    let _ = declared(&ast);
    let (model, found) = resolve(&ast, None);
    let rendered = found.render(source);
    assert_eq!(model.is_none(), found.has_errors(), "{rendered}");
    let Some(model) = model else {
        return;
    };
    let graph = &model.graph;
    let names: BTreeSet<&str> = graph.ids().map(|id| graph.node(id).name.as_str()).collect();
    assert_eq!(names.len(), graph.len(), "names are unique");
    for id in graph.ids().filter(|id| graph.node(*id).layer != Layer::Input) {
        assert_eq!(graph.node(id).layer.infer(&graph.input_shapes(id)).as_ref(), Ok(&graph.node(id).shape));
    }
}

/// A change of a text.
#[derive(Clone, Debug)]
enum Mutation {
    Byte(Index, u8),
    Insert(Index, &'static str),
    Delete(Index, usize),
    Duplicate(Index, usize),
    Swap(Index, Index),
    Number(Index, &'static str),
    Nest(Index, usize),
    Splice(Index, Index, Index),
}

const TOKENS: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    "=",
    "|>",
    "..",
    "-",
    "!",
    "/",
    "%",
    "&&",
    "\"",
    "{x}",
    "//",
    "/*",
    "3x3",
    "0.5",
    "1e999",
    "same",
    "auto",
    "depthwise",
    "cross(",
    "strips(4)",
    "let ",
    "repeat ",
    "if ",
    "else ",
    "output ",
    "return ",
    "block ",
    "model ",
    "input ",
    "tensor[",
    "true",
    "name: \"a\"",
    "\u{e9}",
    "\u{0}",
    "stria_block",
];

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "7",
    "-1",
    "64",
    "255",
    "1000",
    "100000",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "99999999999999999999",
    "1.5",
    "0x3",
    "1000000x1",
    "9223372036854775807x1",
];

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        1 => (at(), any::<u8>()).prop_map(|(i, b)| Mutation::Byte(i, b)),
        1 => (at(), prop::sample::select(TOKENS)).prop_map(|(i, t)| Mutation::Insert(i, t)),
        1 => (at(), 1..40_usize).prop_map(|(i, n)| Mutation::Delete(i, n)),
        1 => (at(), 1..400_usize).prop_map(|(i, n)| Mutation::Duplicate(i, n)),
        1 => (at(), at()).prop_map(|(i, j)| Mutation::Swap(i, j)),
        4 => (at(), prop::sample::select(NUMBERS)).prop_map(|(i, n)| Mutation::Number(i, n)),
        1 => (at(), 1..600_usize).prop_map(|(i, n)| Mutation::Nest(i, n)),
        1 => (at(), at(), at()).prop_map(|(i, j, k)| Mutation::Splice(i, j, k)),
    ]
}

/// Words, numbers and single characters of a text, as ranges.
fn tokens(text: &[u8]) -> Vec<(usize, usize)> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (at, &byte) in text.iter().enumerate() {
        match found.last_mut() {
            Some((_, end)) if *end == at && word(byte) && word(text[at - 1]) => *end += 1,
            _ if byte.is_ascii_whitespace() => {}
            _ => found.push((at, at + 1)),
        }
    }
    found
}

fn mutate(text: &mut Vec<u8>, mutation: &Mutation) {
    if text.is_empty() {
        return;
    }
    let size = text.len();
    match mutation {
        Mutation::Byte(i, byte) => text[i.index(size)] = *byte,
        Mutation::Insert(i, token) => drop(text.splice(i.index(size)..i.index(size), token.bytes())),
        Mutation::Delete(i, n) => drop(text.drain(i.index(size)..(i.index(size) + n).min(size))),
        Mutation::Duplicate(i, n) => {
            let part = text[i.index(size)..(i.index(size) + n).min(size)].to_vec();
            text.splice(i.index(size)..i.index(size), part);
        }
        Mutation::Swap(i, j) => {
            let tokens = tokens(text);
            let (Some(a), Some(b)) = (
                tokens.get(i.index(size) % tokens.len().max(1)),
                tokens.get(j.index(size) % tokens.len().max(1)),
            ) else {
                return;
            };
            let (first, second) = (a.min(b), a.max(b));
            let swapped =
                [&text[second.0..second.1], &text[first.1.min(second.0)..second.0], &text[first.0..first.1]]
                    .concat();
            text.splice(first.0..second.1, swapped);
        }
        Mutation::Number(i, number) => {
            let numbers: Vec<_> =
                tokens(text).into_iter().filter(|(at, _)| text[*at].is_ascii_digit()).collect();
            if !numbers.is_empty() {
                let (start, end) = numbers[i.index(numbers.len())];
                text.splice(start..end, number.bytes());
            }
        }
        Mutation::Nest(i, n) => {
            let at = i.index(size);
            let (open, close) =
                [("(", ")"), ("[", "]"), ("{", "}"), ("relu(", ")"), ("-", ""), ("!", "")][n % 6];
            text.splice(at..at, [open.repeat(*n), "x".to_owned(), close.repeat(*n)].concat().into_bytes());
        }
        Mutation::Splice(i, j, k) => {
            let other = CORPUS[i.index(CORPUS.len())].as_bytes();
            let start = j.index(other.len());
            let part = other[start..(start + 200).min(other.len())].to_vec();
            text.splice(k.index(size)..k.index(size), part);
        }
    }
}

proptest! {
    #![proptest_config(config(10_000))]

    #[test]
    fn mutated_models_are_taken_or_refused(file in any::<Index>(), changes in prop::collection::vec(mutation(), 1..5)) {
        let mut text = CORPUS[file.index(CORPUS.len())].clone().into_bytes();
        changes.iter().for_each(|change| mutate(&mut text, change));
        take(&source("mutated.stria", &String::from_utf8_lossy(&text)));
    }
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn arbitrary_texts_are_taken_or_refused(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        take(&source("arbitrary.stria", &text));
        take(&source("arbitrary.stria", &String::from_utf8_lossy(&bytes)));
    }

    #[test]
    fn token_soup_is_taken_or_refused(soup in prop::collection::vec(prop::sample::select(TOKENS), 0..60)) {
        take(&source("soup.stria", &soup.concat()));
        let statements = soup.join(" ");
        take(&source("soup.stria", &format!("model m {{ input x: tensor[3, 8, 8] {statements} output x }}")));
    }
}

/// The deepest texts that are parsed fit the stack of a thread, however they nest.
#[test]
fn the_deepest_nesting_fits_the_stack() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("relu(", ")"),
        ("1 || 2 && 3 == 4 + 5 * -(", ")"),
        ("-!-!(x |> add(y, ", "))"),
        ("conv(x, out: (", "))"),
        ("if true { repeat 1 { x = ", " } }"),
        ("if true { } else { if x { } else if y { x = x } else { x = x ", " } }"),
    ] {
        let brackets = open.matches(['(', '[', '{']).count() - open.matches(['}', ')', ']']).count();
        for depth in [(250 / brackets), 300] {
            let inner = [open.repeat(depth), "x".to_owned(), close.repeat(depth)].concat();
            let statement = if open.starts_with("if") { inner } else { format!("let y = {inner}") };
            let text = format!("model m {{ input x: tensor[3, 8, 8] {statement} output x }}");
            take(&source("deep.stria", &text));
        }
    }
    // Blocks in blocks, with as many levels of expressions in each as the expansion allows and more.
    for levels in [1, 3, 6, 12] {
        for depth in [200, 255, 300] {
            let (open, close) = ("relu(".repeat(levels), ")".repeat(levels));
            let chain: String = (0..depth)
                .map(|i| format!("block b{i}(x) {{ return {open}x |> b{}{close} }}\n", i + 1))
                .collect();
            let last = format!("block b{depth}(x) {{ return x }}");
            take(&source(
                "chain.stria",
                &format!("model m {{ input x: tensor[3] output b0(x) }}\n{chain}{last}"),
            ));
        }
    }
}

/// Long texts without depth take time in proportion, and no stack.
#[test]
fn long_texts_are_taken_or_refused() {
    for (unit, count) in
        [("1 + ", 100_000), ("-", 300_000), ("!", 300_000), ("1, ", 100_000), ("x |> relu |> ", 30_000)]
    {
        let text = format!("model m {{ input x: tensor[3] let y = {}x output x }}", unit.repeat(count));
        take(&source("long.stria", &text));
    }
    for unit in
        ["x = relu(x) ", "let x = f(x) ", "let y = z ", "if true { } ", "x = y ", "repeat 9 { } ", "ring: 1 "]
    {
        let text = format!("model m {{ input x: tensor[3] {} output x }}", unit.repeat(10_000));
        take(&source("long.stria", &text));
    }
    let blocks: String = (0..10_000).map(|i| format!("block b{i}(x) {{ return relu(x) }} ")).collect();
    take(&source("blocks.stria", &format!("{blocks} model m {{ input x: tensor[3] output x }}")));
}
