//! ONNX models as networks: equal to what onnxruntime computes, readable, or refused with every reason.

mod build;
mod command;
mod external;
mod hostile;
mod messages;
mod networks;
mod operators;
mod refusals;

use std::path::{Path, PathBuf};
use stria::import::{DEFAULT_MEMORY, ImportError, Imported, Options, import};

/// Models with inputs and outputs beside them; `tests/cases/onnx/make.py` makes them.
const NETWORKS: [&str; 6] = ["torchscript", "dynamo", "tensorflow", "caffe", "shortcuts", "dense"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/onnx")
}

fn model(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.onnx"))).unwrap()
}

fn options(name: &str) -> Options {
    Options {
        name: name.to_owned(),
        weights: format!("{name}.safetensors"),
        memory: DEFAULT_MEMORY,
        ..Options::default()
    }
}

fn imported(name: &str) -> Result<Imported, ImportError> {
    import(model(name), Some(&folder().join("model.onnx")), &options(name))
}
