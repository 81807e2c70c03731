//! Small ONNX models, built node by node, and what they compute once imported.

use super::options;
use rten_onnx::onnx::{
    AttributeProto, DataLocation, DataType, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};
use stria::graph::NodeId;
use stria::import::{ImportError, Imported, Refusal, import};
use stria::quant::{FloatWeights, float_eval};
use stria::tensor::Tensor;

/// A graph on one input, `input`.
pub(super) struct Net(GraphProto);

fn info(name: &str, shape: Option<TensorShapeProto>) -> ValueInfoProto {
    let tensor_type = Some(TypeProtoTensor { elem_type: None, shape });
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { tensor_type, ..TypeProto::default() }),
    }
}

pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), i: Some(i), ..AttributeProto::default() }
}

pub(super) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), ints: ints.to_vec(), ..AttributeProto::default() }
}

pub(super) fn word(name: &str, text: &str) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), s: Some(text.to_owned()), ..AttributeProto::default() }
}

impl Net {
    /// A graph whose input has this shape.
    pub(super) fn new(dims: &[i64]) -> Self {
        let dim = dims.iter().map(|&d| Dimension { dim_value: Some(d), dim_param: None }).collect();
        let input = vec![info("input", Some(TensorShapeProto { dim }))];
        Self(GraphProto { input, ..GraphProto::default() })
    }

    pub(super) fn tensor(mut self, tensor: TensorProto) -> Self {
        self.0.initializer.push(tensor);
        self
    }

    pub(super) fn floats(self, name: &str, dims: &[i64], data: &[f32]) -> Self {
        self.tensor(TensorProto {
            name: Some(name.to_owned()),
            dims: dims.to_vec(),
            data_type: Some(DataType::FLOAT),
            float_data: data.to_vec(),
            ..TensorProto::default()
        })
    }

    pub(super) fn integers(self, name: &str, data: &[i64]) -> Self {
        self.tensor(TensorProto {
            name: Some(name.to_owned()),
            dims: vec![i64::try_from(data.len()).unwrap()],
            data_type: Some(DataType::INT64),
            int64_data: data.to_vec(),
            ..TensorProto::default()
        })
    }

    pub(super) fn truth(self, name: &str) -> Self {
        self.tensor(TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(DataType::BOOL),
            int32_data: vec![1],
            ..TensorProto::default()
        })
    }

    /// A tensor of floats in another file, with these entries.
    pub(super) fn outside(self, name: &str, dims: &[i64], entries: &[(&str, &str)]) -> Self {
        let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
        };
        self.tensor(TensorProto {
            name: Some(name.to_owned()),
            dims: dims.to_vec(),
            data_type: Some(DataType::FLOAT),
            external_data: entries.iter().map(entry).collect(),
            data_location: Some(DataLocation::EXTERNAL),
            ..TensorProto::default()
        })
    }

    /// The node `op(inputs) -> output`; the output's name is its own.
    pub(super) fn node(
        mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attribute: Vec<AttributeProto>,
    ) -> Self {
        self.0.node.push(NodeProto {
            op_type: Some(op.to_owned()),
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
        self
    }

    /// The file's bytes, with these outputs.
    pub(super) fn bytes(mut self, outputs: &[&str]) -> Vec<u8> {
        self.0.output = outputs.iter().map(|o| info(o, None)).collect();
        let model = ModelProto {
            graph: Some(self.0),
            opset_import: vec![OperatorSetIdProto { domain: None, version: Some(13) }],
            ..ModelProto::default()
        };
        model.write_buf().unwrap()
    }

    /// The network with the output `y`.
    pub(super) fn imported(self) -> Result<Imported, ImportError> {
        import(self.bytes(&["y"]), None, &options("x"))
    }

    /// The error of the import as its user reads it.
    pub(super) fn error(self) -> String {
        self.imported().unwrap_err().to_string()
    }

    /// The only node that is refused.
    pub(super) fn refusal(self) -> Refusal {
        let error = self.imported().unwrap_err();
        let ImportError::Unsupported(refusals) = &error else { panic!("{error}") };
        let [refusal] = refusals.as_slice() else { panic!("{error}") };
        refusal.clone()
    }

    /// What the imported network computes.
    pub(super) fn computed(self, input: &[f32]) -> Vec<f32> {
        computed(&self.imported().unwrap(), input)
    }
}

/// What an imported network computes.
pub(super) fn computed(imported: &Imported, input: &[f32]) -> Vec<f32> {
    let weights = FloatWeights::load(&imported.model, &imported.weights).unwrap();
    let shape = imported.model.graph.node(NodeId(0)).shape.clone();
    float_eval(&imported.model, &weights, &Tensor::new(shape, input.to_vec()).unwrap()).unwrap().data
}
