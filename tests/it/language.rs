//! The language: what models mean, that printed trees are read again, and that every model in the
//! documentation is one.

use insta::{assert_snapshot, glob};
use std::fmt::Write;
use std::path::Path;
use stria::diag::SourceFile;
use stria::graph::{Model, Node, QuantAttributes, WeightsDecl};
use stria::layers::{Activation, Layer, PoolKind, Rounding};
use stria::resolve::{declared, resolve};
use stria::syntax::{Ast, parse};
use stria::tensor::{Groups, Support};
use stria::weights::WeightSource;

pub(crate) fn source(name: &str, text: &str) -> SourceFile {
    SourceFile { name: name.to_owned(), text: text.to_owned() }
}

/// A model's file with its name.
pub(crate) fn read(path: &Path) -> SourceFile {
    let text = std::fs::read_to_string(path).expect("the model can be read");
    let name = path.file_name().and_then(|name| name.to_str()).expect("the model has a name");
    source(name, &text)
}

/// All diagnostics as text, warnings too.
pub(crate) fn rendered(source: &SourceFile, weights: Option<&dyn WeightSource>) -> String {
    match parse(source) {
        Ok(ast) => resolve(&ast, weights).1.render(source),
        Err(found) => found.render(source),
    }
}

#[expect(clippy::panic, reason = "a test fails with the diagnostics as the user sees them")]
fn parsed(source: &SourceFile) -> Ast {
    parse(source).unwrap_or_else(|found| panic!("{}", found.render(source)))
}

/// A model that must resolve.
#[expect(clippy::panic, reason = "a test fails with the diagnostics as the user sees them")]
fn resolved(source: &SourceFile) -> Model {
    let (model, found) = resolve(&parsed(source), None);
    model.unwrap_or_else(|| panic!("{}", found.render(source)))
}

/// One line for each node: name, layer, operands, shape, what differs from the defaults.
fn printed(model: &Model) -> String {
    let graph = &model.graph;
    let mut out = format!("{:?}\n", model.header);
    for id in graph.ids() {
        let node = graph.node(id);
        let operands: Vec<_> = graph.inputs(id).iter().map(|i| graph.node(*i).name.clone()).collect();
        let mark = if id == graph.output() { " <- output" } else { "" };
        let layer = described(&node.layer);
        let quant = quantised(node);
        writeln!(out, "{}: {layer}({}) {}{quant}{mark}", node.name, operands.join(", "), node.shape)
            .expect("a string takes all");
    }
    out
}

fn quantised(node: &Node<Layer>) -> String {
    let QuantAttributes { range, bits, weight_bits } = node.quant;
    let parts = [
        range.map(|(lo, hi)| format!(" range {lo}..{hi}")),
        bits.map(|bits| format!(" bits {bits}")),
        weight_bits.map(|bits| format!(" weight bits {bits}")),
    ];
    parts.into_iter().flatten().collect()
}

fn described(layer: &Layer) -> String {
    let kind = layer.kind();
    let attributes = match layer {
        Layer::Conv(c) => {
            let support = match c.support {
                Support::Full => String::new(),
                Support::Cross | Support::Strips => format!(" {:?}", c.support),
            };
            let groups = match c.groups {
                Groups::Dense => String::new(),
                Groups::Contiguous(_) | Groups::Striped(_) => format!(" {:?}", c.groups),
            };
            let bias = c.bias.map(|bias| format!(" bias {bias}")).unwrap_or_default();
            let ((kh, kw), (sh, sw), (ph, pw)) = (c.kernel, c.stride, (c.pad.h, c.pad.w));
            format!(" {kh}x{kw}{support} stride {sh}x{sw} pad {ph}x{pw}{groups}{bias}")
        }
        Layer::Linear(l) => l.bias.map(|bias| format!(" bias {bias}")).unwrap_or_default(),
        Layer::BatchNorm(b) => format!(" eps {}", b.eps),
        Layer::Shuffle(s) => format!(" groups {}", s.groups),
        Layer::Subsample(s) => format!(" stride {}x{}", s.stride.0, s.stride.1),
        Layer::PadChannels(p) => format!(" {} before {} after", p.before, p.after),
        Layer::Pool(p) if p.kind == PoolKind::GlobalAverage => String::new(),
        Layer::Pool(p) => {
            let ((kh, kw), (sh, sw), (ph, pw)) = (p.kernel, p.stride, (p.pad.h, p.pad.w));
            let up = if p.rounding == Rounding::Up { " ceil" } else { "" };
            format!(" {kh}x{kw} stride {sh}x{sw} pad {ph}x{pw}{up}")
        }
        Layer::Activation(Activation::Quad { a, b, c }) => format!(" {a}, {b}, {c}"),
        Layer::Input | Layer::Add | Layer::Concat | Layer::Activation(_) | Layer::Flatten => String::new(),
    };
    format!("{kind}{attributes}")
}

#[test]
fn resolved_graphs() {
    glob!("../cases/ok", "*.stria", |path| {
        let source = read(path);
        let diagnostics = rendered(&source, None);
        let model = resolved(&source);
        assert_snapshot!(format!("{}\n{}{diagnostics}", source.text, printed(&model)));
    });
}

#[test]
fn printed_trees_print_the_same_when_read_again() {
    for folder in ["tests/cases/ok", "tests/cases/errors", "examples/shapes"] {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let source = read(&entry.expect("the entry can be read").path());
            let Ok(ast) = parse(&source) else {
                continue;
            };
            let text = ast.to_string();
            let again = parsed(&self::source(&source.name, &text));
            assert_eq!(again.to_string(), text, "{}", source.name);
        }
    }
}

#[test]
fn a_printed_model_means_the_same() {
    for entry in std::fs::read_dir("tests/cases/ok").expect("the folder is there") {
        let first = read(&entry.expect("the entry can be read").path());
        let again = source(&first.name, &parsed(&first).to_string());
        assert_eq!(printed(&resolved(&first)), printed(&resolved(&again)));
    }
}

#[test]
fn files_are_declared_before_the_model_is_resolved() {
    let of = |body: &str| declared(&parsed(&source("m", &format!("model m {{ {body} }}"))));
    let found = of("weights: \"w.safetensors\" calibration: \"c.npy\"");
    assert_eq!(found.weights, WeightsDecl::File("w.safetensors".to_owned()));
    assert_eq!(found.calibration.as_deref(), Some("c.npy"));
    assert_eq!(of("weights: random(7)").weights, WeightsDecl::Random(7));
    assert_eq!(of("weights: 3 output x").weights, WeightsDecl::None);
}

/// Parameters, multiplications and outputs of a shape, from the layers alone.
fn size(name: &str) -> (usize, usize, usize, String) {
    let model = resolved(&read(Path::new(&format!("examples/shapes/{name}.stria"))));
    let graph = &model.graph;
    let (mut parameters, mut products, mut convolutions) = (0, 0, 0);
    for id in graph.ids().skip(1) {
        let node = graph.node(id);
        let inputs = graph.input_shapes(id);
        for weight in node.layer.weights(inputs[0]) {
            let counted = !weight.suffix.starts_with("running");
            let absent = weight.optional && !matches!(node.layer, Layer::Linear(_));
            parameters += if counted && !absent { weight.shape.elements() } else { 0 };
        }
        if let Layer::Conv(conv) = &node.layer {
            convolutions += 1;
            let (c, _, _) = inputs[0].chw();
            let (_, h, w) = node.shape.chw();
            products += conv.weight_shape(c).elements() * h * w;
        } else if let Layer::Linear(linear) = &node.layer {
            products += linear.out * inputs[0].elements();
        }
    }
    (parameters, products, convolutions, graph.node(graph.output()).shape.to_string())
}

/// The parameter counts are those that torchvision documents, and for CIFAR those of the papers.
#[test]
fn the_baselines_have_the_published_sizes() {
    assert_eq!(size("resnet18"), (11_689_512, 1_814_073_344, 20, "[1000]".to_owned()));
    assert_eq!(size("resnet50"), (25_557_032, 4_089_184_256, 53, "[1000]".to_owned()));
    assert_eq!(size("mobilenet_v2"), (3_504_872, 300_774_272, 52, "[1000]".to_owned()));
    let (parameters, _, convolutions, out) = size("resnet20");
    assert_eq!((parameters, convolutions, out.as_str()), (269_722, 19, "[10]"));
    let (parameters, _, convolutions, _) = size("resnet32");
    assert_eq!((parameters, convolutions), (464_154, 31));
    let (_, _, convolutions, out) = size("vgg16");
    assert_eq!((convolutions, out.as_str()), (13, "[10]"));
}

#[test]
fn the_baselines_resolve_without_a_warning() {
    for entry in std::fs::read_dir("examples/shapes").expect("the folder is there") {
        assert_eq!(rendered(&read(&entry.expect("the entry can be read").path()), None), "");
    }
}

#[test]
fn the_baselines_have_the_names_of_their_state_dicts() {
    let names = |model: &str| -> Vec<String> {
        let model = resolved(&read(Path::new(&format!("examples/shapes/{model}.stria"))));
        model.graph.ids().map(|id| model.graph.node(id).name.clone()).collect()
    };
    let has = |model: &str, wanted: &[&str]| {
        let names = names(model);
        for name in wanted {
            assert!(names.iter().any(|n| n == name), "{model} has no {name}: {names:?}");
        }
    };
    has("resnet20", &["conv1", "bn1", "layer1.0.conv1", "layer3.2.bn2", "fc"]);
    has("resnet18", &["layer2.0.downsample.0", "layer2.0.downsample.1", "layer4.1.conv2", "fc"]);
    has("resnet50", &["layer1.0.downsample.0", "layer2.0.conv2", "layer3.5.bn3", "fc"]);
    has("mobilenet_v2", &["features.0.0", "features.0.1", "features.1.conv.0.0", "features.1.conv.1"]);
    has("mobilenet_v2", &["features.2.conv.1.1", "features.17.conv.3", "features.18.0", "classifier.1"]);
}

/// The blocks of `language.md` with their first line and whether they are fragments.
fn documented() -> Vec<(usize, bool, String)> {
    let text = std::fs::read_to_string("src/docs/language.md").expect("the reference is there");
    let mut blocks: Vec<(usize, bool, String)> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        match line {
            "```stria" | "```stria-fragment" => {
                open = true;
                blocks.push((number + 1, line.ends_with("fragment"), String::new()));
            }
            "```" => open = false,
            _ if open => {
                let (_, _, block) = blocks.last_mut().expect("a block is open");
                block.push_str(line);
                block.push('\n');
            }
            _ => {}
        }
    }
    blocks
}

#[test]
fn every_model_of_the_reference_resolves() {
    let blocks = documented();
    assert!(blocks.len() >= 15, "only {} models in the reference", blocks.len());
    assert!(blocks.iter().any(|(_, fragment, _)| !fragment));
    for (line, fragment, block) in blocks {
        let text = if fragment {
            let (blocks, statements) = match block.split_once("\nblock ") {
                Some((statements, blocks)) => (format!("block {blocks}"), statements.to_owned()),
                None => (String::new(), block),
            };
            format!(
                "model m {{\ninput image: tensor[16, 32, 32]\nlet x = image\n{statements}\noutput x\n}}\n{blocks}"
            )
        } else {
            block
        };
        let model = source(&format!("language.md, line {line}"), &text);
        resolved(&model);
        assert!(fragment || rendered(&model, None).is_empty(), "{}", rendered(&model, None));
    }
}

/// `capacity(x)` of the language and the layouts' channel capacity are one number.
#[test]
fn capacity_is_that_of_the_layouts() {
    for (h, w, ring) in
        [(28, 28, 8192), (7, 7, 8192), (64, 64, 8192), (1, 1, 4096), (5, 9, 16384), (32, 16, 32768)]
    {
        let text = format!(
            "model m {{ ring: {ring} input x: tensor[1, {h}, {w}] output conv(x, out: capacity(x), kernel: 1x1) }}"
        );
        let source = SourceFile { name: "m.stria".into(), text };
        let ast = stria::syntax::parse(&source).unwrap();
        let model = stria::resolve::resolve(&ast, None).0.unwrap();
        let output = &model.graph.node(model.graph.output()).shape;
        let geometry = stria::tensor::ConvGeometry {
            c_in: 1,
            c_out: 1,
            h,
            w,
            kernel: (1, 1),
            stride: (1, 1),
            pad: stria::tensor::Pad { h: 0, w: 0 },
            groups: stria::tensor::Groups::Dense,
            support: stria::tensor::Support::Full,
        };
        let kernel = stria::kernels::Kernel::conv(&geometry, ring).unwrap();
        assert_eq!(output.channels(), kernel.channel_capacity(), "{h}x{w} at {ring}");
    }
}
