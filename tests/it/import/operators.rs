//! Every operator that is imported, in the forms that opsets 9 to 20 have, against onnxruntime.

use super::{folder, options};
use safetensors::SafeTensors;
use stria::graph::NodeId;
use stria::import::{ImportError, import};
use stria::quant::{FloatWeights, float_eval};
use stria::tensor::Tensor;

/// Means over fewer pixels at the border, which no layer has: named, with what to do instead.
const REFUSED: [&str; 3] = ["average_pool_uncounted", "average_pool_same", "average_pool_up"];

/// A model's name and bytes, its inputs and what onnxruntime gives for them.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) onnx: Vec<u8>,
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
}

pub(super) fn cases() -> Vec<Case> {
    let bytes = std::fs::read(folder().join("operators.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let rows = |key: &str| {
        let tensor = file.tensor(key).unwrap();
        let data: Vec<f32> = tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        data.chunks(data.len() / tensor.shape()[0]).map(<[f32]>::to_vec).collect()
    };
    let mut names: Vec<&str> = file.names().into_iter().filter_map(|n| n.strip_suffix(".onnx")).collect();
    names.sort_unstable();
    let case = |name: &str| Case {
        name: name.to_owned(),
        onnx: file.tensor(&format!("{name}.onnx")).unwrap().data().to_vec(),
        inputs: rows(&format!("{name}.input")),
        outputs: rows(&format!("{name}.output")),
    };
    names.into_iter().map(case).collect()
}

/// Why a case is wrong; none if it is right.
fn fault(case: &Case) -> Option<String> {
    let imported = match import(case.onnx.clone(), None, &options("x")) {
        Ok(imported) => imported,
        Err(error) => return Some(error.to_string()),
    };
    let weights = FloatWeights::load(&imported.model, &imported.weights).unwrap();
    let shape = &imported.model.graph.node(NodeId(0)).shape;
    for (input, wanted) in case.inputs.iter().zip(&case.outputs) {
        let image = Tensor::new(shape.clone(), input.clone()).unwrap();
        let found = float_eval(&imported.model, &weights, &image).unwrap().data;
        let largest = wanted.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
        let near = |(f, w): (&f32, &f32)| (f - w).abs() <= 1e-5 * largest;
        if found.len() != wanted.len() || !found.iter().zip(wanted).all(near) {
            return Some(format!("{found:?} instead of {wanted:?}\n{}", imported.text));
        }
    }
    None
}

#[test]
fn every_operator_computes_what_onnxruntime_computes() {
    let cases = cases();
    assert!(cases.len() > 70);
    let wrong: Vec<String> = cases
        .iter()
        .filter(|case| !REFUSED.contains(&case.name.as_str()))
        .filter_map(|case| fault(case).map(|fault| format!("{}: {fault}", case.name)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_no_layer_has_is_refused_with_advice() {
    for case in cases().iter().filter(|case| REFUSED.contains(&case.name.as_str())) {
        let error = import(case.onnx.clone(), None, &options("x")).unwrap_err();
        let ImportError::Unsupported(refusals) = error else { panic!("{}: {error}", case.name) };
        let [refusal] = refusals.as_slice() else { panic!("{}: {refusals:?}", case.name) };
        assert_eq!(refusal.op, "AveragePool", "{}", case.name);
        assert!(!refusal.node.is_empty() && refusal.instead.contains("pad"), "{}: {refusal}", case.name);
    }
}
