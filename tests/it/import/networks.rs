//! Imported networks compute what onnxruntime computes, and read as a person would write them.

use super::{NETWORKS, folder, imported, model, options};
use safetensors::SafeTensors;
use stria::graph::NodeId;
use stria::import::{Note, import};
use stria::layers::Layer;
use stria::quant::{FloatWeights, float_eval};
use stria::tensor::{Shape, Support, Tensor};
use stria::weights::WeightSource;

/// Inputs and outputs that onnxruntime gave.
fn expected(name: &str) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let bytes = std::fs::read(folder().join(format!("{name}.safetensors"))).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let rows = |name: &str| {
        let tensor = file.tensor(name).unwrap();
        let data: Vec<f32> = tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        data.chunks(data.len() / tensor.shape()[0]).map(<[f32]>::to_vec).collect()
    };
    (rows("input"), rows("output"))
}

#[test]
fn floats_are_those_of_onnxruntime() {
    for name in NETWORKS {
        let imported = imported(name).unwrap();
        let weights = FloatWeights::load(&imported.model, &imported.weights).unwrap();
        let shape: &Shape = &imported.model.graph.node(NodeId(0)).shape;
        let (inputs, outputs) = expected(name);
        assert_eq!(inputs.len(), 4);
        for (input, wanted) in inputs.into_iter().zip(outputs) {
            let image = Tensor::new(shape.clone(), input).unwrap();
            let found = float_eval(&imported.model, &weights, &image).unwrap();
            let largest = wanted.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            assert_eq!(found.data.len(), wanted.len());
            for (f, w) in found.data.iter().zip(&wanted) {
                assert!((f - w).abs() <= 1e-5 * largest.max(1.0), "{name}: {f} instead of {w}");
            }
        }
    }
}

#[test]
fn texts() {
    for name in NETWORKS {
        insta::assert_snapshot!(name, imported(name).unwrap().text);
    }
}

#[test]
fn notes_say_what_was_done() {
    let notes = imported("tensorflow").unwrap().notes;
    let dropped = Note::Dropped { op: "Softmax".into(), node: "model/softmax".into() };
    assert!(notes.contains(&dropped) && notes.contains(&Note::ChannelsLast), "{notes:?}");
    let uneven = notes.iter().filter(|n| matches!(n, Note::Uneven { from: (3, 3), to: (4, 4), .. }));
    assert_eq!(uneven.count(), 1, "{notes:?}");
    assert!(notes.iter().all(|n| !n.to_string().is_empty()));
}

#[test]
fn names_of_the_file_are_kept_where_a_layer_can_have_them() {
    let dense = imported("dense").unwrap().weights;
    for key in ["features.conv0.weight", "features.block.layer2.norm1.running_var", "classifier.weight"] {
        assert!(dense.shape(key).is_some(), "{key} of {:?}", dense.names());
    }
    // Two blocks whose layers have no names in the file were given some.
    assert!(dense.shape("branches_1.conv2.bias").is_some(), "{:?}", dense.names());
    let torch = imported("torchscript").unwrap().weights;
    assert!(torch.shape("layer2.0.downsample.0.weight").is_some() && torch.shape("fc.bias").is_some());
}

#[test]
fn weights_are_written_as_they_are() {
    let imported = imported("torchscript").unwrap();
    let mut bytes = Vec::new();
    imported.weights.write(&mut bytes).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let origin = metadata.metadata().as_ref().unwrap();
    assert_eq!(origin["conv1.weight"], "onnx::Conv_100");
    assert!(!origin.contains_key("fc.weight"));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), imported.weights.len());
    for name in imported.weights.names() {
        let data = imported.weights.load(&name).unwrap().data;
        let stored = file.tensor(&name).unwrap().data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
        assert!(stored.eq(data), "{name}");
    }
}

#[test]
fn kernels_with_zeros_around_a_cross_are_crosses() {
    let graph = imported("dynamo").unwrap().model.graph;
    let crosses = graph
        .ids()
        .filter(|id| matches!(&graph.node(*id).layer, Layer::Conv(c) if c.support == Support::Cross));
    assert_eq!(crosses.count(), 3);
}

#[test]
fn the_normalisation_is_the_models() {
    let options =
        stria::import::Options { mean: Some(vec![0.1, 0.2, 0.3]), std: Some(vec![0.5]), ..options("x") };
    let imported = import(model("torchscript"), Some(&folder().join("model.onnx")), &options).unwrap();
    let input = &imported.model.header.input;
    assert_eq!(
        (input.mean.as_slice(), input.std.as_slice()),
        ([0.1, 0.2, 0.3].as_slice(), [0.5; 3].as_slice())
    );
    assert!(!imported.notes.contains(&Note::NoNormalisation));
}
