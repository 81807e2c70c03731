//! The language: what models mean, and that every model in the documentation is one.

use std::fmt::Write;
use stria::diag::SourceFile;
use stria::graph::Model;
use stria::resolve::resolve;
use stria::syntax::parse;

fn source(name: &str, text: &str) -> SourceFile {
    SourceFile { name: name.to_owned(), text: text.to_owned() }
}

/// The model, or all diagnostics as text.
fn resolved(name: &str, text: &str) -> Result<Model, String> {
    let source = source(name, text);
    let ast = parse(&source).map_err(|found| found.render(&source))?;
    let (model, found) = resolve(&ast, None);
    model.ok_or_else(|| found.render(&source))
}

/// One line for each node: name, layer, operands, shape.
fn printed(model: &Model) -> String {
    let mut out = String::new();
    let graph = &model.graph;
    for id in graph.ids() {
        let node = graph.node(id);
        let operands: Vec<_> = graph.inputs(id).iter().map(|i| graph.node(*i).name.clone()).collect();
        writeln!(out, "{} = {:?}({}) {}", node.name, node.layer, operands.join(", "), node.shape)
            .expect("a string takes all");
    }
    out
}

#[test]
fn shapes() {
    for name in ["resnet20", "resnet32", "vgg16", "resnet18", "resnet50", "mobilenet_v2"] {
        let text = std::fs::read_to_string(format!("examples/shapes/{name}.stria")).unwrap();
        let model = resolved(name, &text).unwrap_or_else(|found| panic!("{found}"));
        assert!(printed(&model).lines().count() == model.graph.len());
    }
}
