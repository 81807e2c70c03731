//! What cannot be imported is named, with what to do instead.

use super::{folder, imported, model, options};
use rten_onnx::onnx::{
    Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto,
    TypeProtoTensor, ValueInfoProto,
};
use stria::import::{ImportError, InputFault, Options, TensorFault, import};

/// A graph of nodes `op(inputs) -> output` on an input of this shape; 0 is a size without a number.
fn graph(dims: &[i64], nodes: &[(&str, &[&str], &str)], outputs: &[&str]) -> ModelProto {
    let info = |name: &str, shape| ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(TypeProtoTensor { elem_type: None, shape }),
            ..TypeProto::default()
        }),
    };
    let dim = dims.iter().map(|&d| Dimension { dim_value: (d > 0).then_some(d), dim_param: None }).collect();
    let node = |&(op, inputs, output): &(&str, &[&str], &str)| NodeProto {
        op_type: Some(op.to_owned()),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    };
    ModelProto {
        graph: Some(GraphProto {
            node: nodes.iter().map(node).collect(),
            input: vec![info("input", Some(TensorShapeProto { dim }))],
            output: outputs.iter().map(|o| info(o, None)).collect(),
            ..GraphProto::default()
        }),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(13) }],
        ..ModelProto::default()
    }
}

fn refusal(model: &ModelProto) -> ImportError {
    import(model.write_buf().unwrap(), None, &options("x")).unwrap_err()
}

#[test]
fn every_node_that_cannot_be_run_is_named_at_once() {
    insta::assert_snapshot!(imported("refused").unwrap_err());
}

#[test]
fn a_gate_is_explained() {
    let nodes: [(&str, &[&str], &str); 3] =
        [("Relu", &["input"], "a"), ("Sigmoid", &["a"], "b"), ("Mul", &["a", "b"], "c")];
    let ImportError::Unsupported(refusals) = refusal(&graph(&[1, 3, 8, 8], &nodes, &["c"])) else { panic!() };
    let found: Vec<_> = refusals.iter().map(|r| (r.op.as_str(), r.node.as_str())).collect();
    assert_eq!(found, [("Sigmoid", "b")]);
}

#[test]
fn graphs_need_one_input_of_known_size_and_one_output() {
    let relu: [(&str, &[&str], &str); 1] = [("Relu", &["input"], "y")];
    let symbolic = refusal(&graph(&[1, 3, 0, 0], &relu, &["y"]));
    assert!(
        matches!(&symbolic, ImportError::Input(InputFault::Symbolic { shape, .. }) if shape == "[1, 3, ?, ?]")
    );
    let rank = refusal(&graph(&[1, 3, 4, 4, 4], &relu, &["y"]));
    assert!(matches!(rank, ImportError::Input(InputFault::Rank { .. })));
    let outputs = refusal(&graph(&[1, 3, 4, 4], &relu, &["y", "input"]));
    assert!(matches!(outputs, ImportError::Outputs { found: 2, .. }));
    let lost = refusal(&graph(&[1, 3, 4, 4], &relu, &["z"]));
    assert!(
        matches!(lost, ImportError::Input(InputFault::Count { found: 0, .. }) | ImportError::Unsupported(_)),
        "{lost}"
    );
    assert!(matches!(refusal(&ModelProto::default()), ImportError::NoGraph));
}

#[test]
fn nodes_that_read_each_other_or_nothing_are_refused() {
    let cycle: [(&str, &[&str], &str); 2] = [("Add", &["input", "b"], "a"), ("Relu", &["a"], "b")];
    assert!(matches!(refusal(&graph(&[1, 3, 4, 4], &cycle, &["b"])), ImportError::Unsupported(_)));
    let dangling: [(&str, &[&str], &str); 1] = [("Add", &["input", "nothing"], "a")];
    let error = refusal(&graph(&[1, 3, 4, 4], &dangling, &["a"])).to_string();
    assert!(error.contains("`nothing`"), "{error}");
}

#[test]
fn old_operators_are_refused() {
    let mut old = graph(&[1, 3, 4, 4], &[("Relu", &["input"], "y")], &["y"]);
    old.opset_import = vec![OperatorSetIdProto { domain: None, version: Some(8) }];
    assert!(matches!(refusal(&old), ImportError::Opset { found: 8 }));
}

#[test]
fn the_limit_of_memory_is_kept() {
    let small = Options { memory: 20_000, ..options("x") };
    let error = import(model("torchscript"), None, &small).unwrap_err();
    assert!(matches!(error, ImportError::Memory { needed, limit: 20_000, .. } if needed > 20_000), "{error}");
    let error = import(model("torchscript"), None, &Options { memory: 100, ..small }).unwrap_err();
    assert!(error.to_string().contains("--memory"), "{error}");
}

#[test]
fn data_outside_of_the_file_must_be_there() {
    let empty = tempfile::tempdir().unwrap();
    let error = import(model("dynamo"), Some(&empty.path().join("dynamo.onnx")), &options("x")).unwrap_err();
    assert!(
        matches!(&error, ImportError::External { path, .. } if path.ends_with("dynamo.onnx.data")),
        "{error}"
    );
    let short = empty.path().join("dynamo.onnx.data");
    std::fs::write(&short, [0; 100]).unwrap();
    let error = import(model("dynamo"), Some(&empty.path().join("dynamo.onnx")), &options("x")).unwrap_err();
    assert!(
        matches!(error, ImportError::Tensor { fault: TensorFault::Beyond { length: 100, .. }, .. }),
        "{error}"
    );
    let error = import(model("dynamo"), None, &options("x")).unwrap_err();
    assert!(matches!(error, ImportError::Tensor { fault: TensorFault::NoFolder, .. }), "{error}");
}

#[test]
fn data_are_not_looked_for_in_other_folders() {
    let mut proto = ModelProto::parse_buf(&model("dynamo")).unwrap();
    for place in ["../dynamo.onnx.data", "/etc/hostname", ""] {
        let graph = proto.graph.as_mut().unwrap();
        for tensor in &mut graph.initializer {
            for entry in tensor.external_data.iter_mut().filter(|e| e.key.as_deref() == Some("location")) {
                entry.value = Some(place.to_owned());
            }
        }
        let error = import(proto.write_buf().unwrap(), Some(&folder().join("dynamo.onnx")), &options("x"))
            .unwrap_err();
        assert!(
            matches!(&error, ImportError::Tensor { fault: TensorFault::Location(p), .. } if p == place),
            "{error}"
        );
    }
}

#[test]
fn as_many_means_as_channels() {
    let two = Options { mean: Some(vec![0.1, 0.2]), ..options("x") };
    let error = import(model("torchscript"), None, &two).unwrap_err();
    assert!(matches!(error, ImportError::Normalisation { option: "mean", found: 2, channels: 3 }), "{error}");
}
