//! What users are told: one case for each kind of mistake, input and diagnostics together.

use crate::language::{read, rendered, source};
use insta::{assert_snapshot, glob};
use std::collections::BTreeMap;
use stria::tensor::{Shape, Tensor};
use stria::weights::{WeightError, WeightSource};

#[test]
fn errors() {
    glob!("../cases/errors", "*.stria", |path| {
        let source = read(path);
        let found = rendered(&source, None);
        assert!(!found.is_empty(), "{} is a case of diagnostics", source.name);
        assert_snapshot!(format!("{}\n{found}", source.text));
    });
}

/// Weights in memory: all ones, unless changed.
#[derive(Default)]
struct Table(BTreeMap<String, Tensor<f32>>);

impl Table {
    fn with(mut self, name: &str, dims: &[usize]) -> Self {
        let ones = Tensor::<f32>::zeros(Shape::of(dims)).map(|_| 1.0);
        self.0.insert(name.to_owned(), ones);
        self
    }

    fn batch_norm(self, name: &str, channels: usize) -> Self {
        let suffixes = ["weight", "bias", "running_mean", "running_var"];
        let table = suffixes.iter().fold(self, |t, suffix| t.with(&format!("{name}.{suffix}"), &[channels]));
        table.with(&format!("{name}.num_batches_tracked"), &[1])
    }
}

impl WeightSource for Table {
    fn shape(&self, name: &str) -> Option<Shape> {
        self.0.get(name).map(|tensor| tensor.shape.clone())
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn load(&self, name: &str) -> Result<Tensor<f32>, WeightError> {
        self.0.get(name).cloned().ok_or_else(|| WeightError::Missing(name.to_owned()))
    }
}

const SMALL: &str = r#"model small {
    weights: "small.safetensors"
    input image: tensor[4, 8, 8]
    let x = conv(image, out: 8, kernel: 3x3, pad: same, name: "conv1") |> batch_norm(name: "bn1")
    repeat i in 0..3 { x = conv(x, out: 8, kernel: 3x3, pad: same, bias: false, name: "layer.{i}") }
    output global_avg_pool(x) |> linear(out: 10, bias: true, name: "fc")
}
"#;

fn small() -> Table {
    let table = Table::default().with("conv1.weight", &[8, 4, 3, 3]).batch_norm("bn1", 8);
    let table = (0..3).fold(table, |t, i| t.with(&format!("layer.{i}.weight"), &[8, 8, 3, 3]));
    table.with("fc.weight", &[10, 8]).with("fc.bias", &[10])
}

#[test]
fn weights_that_fit_are_passed_over_in_silence() {
    assert_eq!(rendered(&source("small.stria", SMALL), Some(&small())), "");
    let with_bias = small().with("conv1.bias", &[8]);
    assert_eq!(rendered(&source("small.stria", SMALL), Some(&with_bias)), "");
}

#[test]
fn weights_that_are_missing_or_of_another_shape() {
    let mut table = small().with("conv1.bias", &[4]).with("fc.weight", &[8, 10]);
    for name in ["bn1.weight", "bn1.running_var", "layer.1.weight", "layer.2.weight", "fc.bias"] {
        table.0.remove(name);
    }
    let table = table.with("layer1.weight", &[8, 8, 3, 3]).with("head.bias", &[10]);
    assert_snapshot!(rendered(&source("small.stria", SMALL), Some(&table)));
}

/// Strips and crosses on two stripes: rows of the file are those of group 0, then those of group 1.
const ZEROS: &str = r#"model zeros {
    weights: "zeros.safetensors"
    input image: tensor[4, 8, 8]
    let x = conv(image, out: 4, kernel: cross(3), pad: same, name: "cross")
    output conv(x, out: 4, kernel: strips(3), pad: same, striped: 2, name: "strips")
}
"#;

#[test]
fn declared_zeros_are_checked() {
    let mut table = Table::default().with("cross.weight", &[4, 4, 3, 3]).with("strips.weight", &[4, 2, 3, 3]);
    let cross = table.0.get_mut("cross.weight").unwrap();
    for (i, value) in cross.data.iter_mut().enumerate() {
        let (y, x) = (i / 3 % 3, i % 3);
        *value = if y == 1 || x == 1 { 1.0 } else { 0.0 };
    }
    // File rows 0 and 2 are channels 0 and 1: horizontal. Rows 1 and 3 are channels 2 and 3.
    let strips = table.0.get_mut("strips.weight").unwrap();
    for (i, value) in strips.data.iter_mut().enumerate() {
        let (row, y, x) = (i / 18, i / 3 % 3, i % 3);
        let used = if row % 2 == 0 { y == 1 } else { x == 1 };
        *value = if used { 1.0 } else { 0.0 };
    }
    assert_eq!(rendered(&source("zeros.stria", ZEROS), Some(&table)), "");

    table.0.get_mut("cross.weight").unwrap().data[2 * 36 + 9 + 8] = -0.25;
    let strips = &mut table.0.get_mut("strips.weight").unwrap().data;
    (strips[18], strips[20]) = (0.5, 0.5);
    assert_snapshot!(rendered(&source("zeros.stria", ZEROS), Some(&table)));
}

/// The message of the only error of a model.
fn only_error(text: &str) -> String {
    let found = rendered(&source("limits.stria", text), None);
    let errors: Vec<&str> = found.lines().filter(|line| line.contains("error[")).collect();
    assert_eq!(errors.len(), 1, "{}", &found[..found.len().min(2000)]);
    errors[0].to_owned()
}

#[test]
fn limits_of_size_and_number_hold() {
    let model = |body: &str, blocks: &str| format!("model m {{ input x: tensor[4] {body} }}\n{blocks}");
    let long = "y".repeat(1 << 20);
    for (text, wanted) in [
        (" ".repeat(5 << 20), "the file has 5242880 bytes, more than the limit of 4194304"),
        (model(&format!("output {long}(x)"), ""), "a name has 1048576 bytes, more than the limit of 256"),
        (model(&format!("output relu(x, name: \"{long}\")"), ""), "a name has at most 512 bytes"),
        (
            model(&format!("output relu(x, {})", "bits: 8, ".repeat(65)), ""),
            "65 parameters or attributes, more than the limit of 64",
        ),
        (
            model("output x", &format!("block _a({}) {{ return x }}", "x, ".repeat(65))),
            "65 parameters or attributes, more than the limit of 64",
        ),
        (
            model("repeat 50001 { x = a(a(x)) } output relu(x)", "block a(x) { return x }"),
            "the model calls blocks more than 100000 times",
        ),
        (
            model(
                "output a(x)",
                &"block a(x) { return b(x, name: \"N\") } block b(x) { return c(x, name: \"N\") } \
                  block c(x) { return d(x, name: \"N\") } block d(x) { return relu(x) }"
                    .replace('N', &"n".repeat(500)),
            ),
            "the names of nested blocks are longer than 1024 bytes together",
        ),
    ] {
        let found = only_error(&text);
        assert!(found.contains(wanted), "{found}");
    }
}

#[test]
fn many_mistakes_are_counted_not_listed() {
    let body: String = (0..100).map(|i| format!("let a{i} = f{i}(x)\n")).collect();
    let found =
        rendered(&source("many.stria", &format!("model m {{ input x: tensor[4] {body} output x }}")), None);
    assert_eq!(found.matches("error[unknown-layer]").count(), 32);
    assert_eq!(found.matches("warning[unused-name]").count(), 32);
    assert!(found.contains("diagnostics are not shown"));
}

/// A statement that is blanked may hold the brackets that close others: the parser's stack stays bounded.
#[test]
fn errors_behind_deep_brackets_do_not_recurse() {
    let open = "(".repeat(200);
    let lines: String =
        (0..40).map(|i| format!("let a{i} = {open}\nlet b{i} = {}\n", ")".repeat(200))).collect();
    let found =
        rendered(&source("deep.stria", &format!("model m {{ input x: tensor[4]\n{lines} output x }}")), None);
    assert!(found.contains("error[syntax]"), "{found}");
}
