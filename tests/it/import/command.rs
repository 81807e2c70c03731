//! `stria import` as a user meets it.

use super::folder;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn stria(at: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stria")).current_dir(at).args(args).output().unwrap()
}

fn fixture(name: &str) -> String {
    folder().join(name).display().to_string()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn imported_models_check_report_and_run() {
    let at = tempfile::tempdir().unwrap();
    for name in ["tensorflow", "dynamo", "shortcuts"] {
        let (model, onnx, data) = (
            format!("{name}.stria"),
            fixture(&format!("{name}.onnx")),
            fixture(&format!("{name}.safetensors")),
        );
        let done = stria(at.path(), &["import", &onnx, "-o", &model, "--calibrate", &data]);
        assert!(done.status.success(), "{}", stderr(&done));
        assert!(at.path().join(format!("{name}.safetensors")).exists());
        let checked = stria(at.path(), &["check", &model]);
        assert!(checked.status.success() && !stderr(&checked).contains("error"), "{}", stderr(&checked));
        let evaluated = stria(at.path(), &["eval", &model, "--data", &data, "--format", "json"]);
        assert!(evaluated.status.success(), "{}", stderr(&evaluated));
        let found: Value = serde_json::from_slice(&evaluated.stdout).unwrap();
        assert_eq!(found["agreement_reference"], 1.0, "{name}");
    }
}

#[test]
fn models_without_ranges_report_but_do_not_run() {
    let at = tempfile::tempdir().unwrap();
    assert!(stria(at.path(), &["import", &fixture("caffe.onnx"), "-o", "caffe.stria"]).status.success());
    let reported = stria(at.path(), &["report", "caffe.stria", "--format", "json"]);
    assert!(reported.status.success(), "{}", stderr(&reported));
    assert!(stderr(&reported).contains("the range of"), "{}", stderr(&reported));
    let found: Value = serde_json::from_slice(&reported.stdout).unwrap();
    assert!(found["totals"]["plain_mults"].as_u64().unwrap() > 0);
    let data = fixture("caffe.safetensors");
    let evaluated = stria(at.path(), &["eval", "caffe.stria", "--data", &data]);
    assert_eq!(evaluated.status.code(), Some(1));
    assert!(stderr(&evaluated).contains("range"), "{}", stderr(&evaluated));
}

#[test]
fn a_failed_import_leaves_what_was_there() {
    let at = tempfile::tempdir().unwrap();
    for name in ["old.stria", "old.safetensors"] {
        std::fs::write(at.path().join(name), "precious").unwrap();
    }
    let onnx = fixture("torchscript.onnx");
    let wrong = fixture("caffe.safetensors");
    let attempts: [&[&str]; 5] = [
        &["import", &fixture("refused.onnx"), "-o", "old.stria"],
        &["import", &onnx, "-o", "old.stria", "--mean", "1,2"],
        &["import", &onnx, "-o", "old.stria", "--memory", "1000"],
        &["import", &onnx, "-o", "old.stria", "--calibrate", &wrong],
        &["import", "nothing.onnx", "-o", "old.stria"],
    ];
    for args in attempts {
        let done = stria(at.path(), args);
        assert_eq!(done.status.code(), Some(1), "{args:?}: {}", stderr(&done));
        assert!(done.stdout.is_empty() && stderr(&done).starts_with("error: "), "{}", stderr(&done));
    }
    let mut left: Vec<_> = std::fs::read_dir(at.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["old.safetensors", "old.stria"]);
    for name in left {
        assert_eq!(std::fs::read(at.path().join(name)).unwrap(), b"precious");
    }
}

#[test]
fn outputs_are_named_and_do_not_replace_inputs() {
    let at = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("torchscript.safetensors"), at.path().join("x.safetensors")).unwrap();
    let onnx = fixture("torchscript.onnx");
    let replaced = stria(at.path(), &["import", &onnx, "-o", "x.stria", "--calibrate", "x.safetensors"]);
    assert!(stderr(&replaced).contains("would replace"), "{}", stderr(&replaced));
    let ending = stria(at.path(), &["import", &onnx, "-o", "x.safetensors"]);
    assert!(stderr(&ending).contains(".stria"), "{}", stderr(&ending));
    let folder = stria(at.path(), &["import", &onnx, "-o", "no/x.stria"]);
    assert_eq!(folder.status.code(), Some(1));
    let number = stria(at.path(), &["import", &onnx, "-o", "y.stria", "--std", "0"]);
    assert_eq!(number.status.code(), Some(2), "{}", stderr(&number));
}
