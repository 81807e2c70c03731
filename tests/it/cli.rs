//! The program as a user meets it: pinned options, JSON keys, exit codes, what goes to stdout.

mod costs;
mod eval;
mod files;
mod report;
mod run;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const IMAGE: &str = "examples/fashion_mnist/images/9_ankle-boot_00000.png";

const WITHOUT_WEIGHTS: &str = "examples/shapes/resnet20.stria";

const EVAL: [&str; 4] =
    ["eval", "examples/fashion_mnist/stria.stria", "--data", "examples/fashion_mnist/test200.safetensors"];

fn stria(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stria"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(args)
        .output()
        .expect("the program starts")
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("stdout holds one JSON value and nothing else")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn write(folder: &Path, name: &str, text: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file is written");
    path
}

const COUNTERS: [&str; 12] = [
    "key_switches",
    "hoisted_groups",
    "plain_mults",
    "adds",
    "ciphertexts_in",
    "ciphertexts_out",
    "galois_keys",
    "bytes_up",
    "bytes_down",
    "relu",
    "estimated_seconds",
    "rotations",
];

fn assert_counters(counters: &Value) {
    for key in COUNTERS {
        assert!(!counters[key].is_null(), "no `{key}` in {counters}");
    }
    for key in ["internal", "external", "total"] {
        assert!(counters["rotations"][key].is_u64(), "no rotations.{key} in {counters}");
    }
}
