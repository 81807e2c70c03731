//! `stria check` and `compile`, exit codes, and files that are read and written.

use super::{EVAL, IMAGE, WITHOUT_WEIGHTS, json, scratch, stderr, stria, write};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

#[test]
fn what_is_not_built_is_refused_by_name() {
    let run = ["run", "examples/fashion_mnist/dense.stria", "--input", IMAGE];
    let output = stria(&[run.as_slice(), &["--mode", "leveled"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("not built yet"), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
}

#[test]
fn exit_codes() {
    let folder = scratch();
    let broken =
        write(folder.path(), "broken.stria", b"model m { input x: tensor[1, 4, 4] let y = cnv(x) output y }");
    let checked = stria(&["check", &broken.display().to_string()]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(stderr(&checked).contains("conv"), "the near name is suggested: {}", stderr(&checked));
    assert_eq!(stria(&["check", "examples/fashion_mnist/dense.stria"]).status.code(), Some(0));
    assert_eq!(stria(&["check", "no/such/file.stria"]).status.code(), Some(1));
    assert_eq!(stria(&["frobnicate"]).status.code(), Some(2));
    assert_eq!(stria(&["report"]).status.code(), Some(2));
    let latin1 = write(folder.path(), "latin1.stria", b"model m { // caf\xe9\n }");
    let refused = stria(&["check", &latin1.display().to_string()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("UTF-8"));
    let shapes = ["run", "examples/shapes/resnet20.stria", "--input", IMAGE];
    let no_weights = stria(&shapes);
    assert_eq!(no_weights.status.code(), Some(1));
    assert!(stderr(&no_weights).contains("no weights"), "{}", stderr(&no_weights));
}

#[test]
fn check_in_json_has_line_and_column() {
    let folder = scratch();
    let model = write(
        folder.path(),
        "m.stria",
        b"model m {\n  input x: tensor[1, 4, 4]\n  let y = conv(x, out: 2, kernell: 3)\n  output y\n}\n",
    );
    let output = stria(&["check", &model.display().to_string(), "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let checked: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let errors = checked["diagnostics"].as_array().expect("an array");
    assert!(errors.iter().any(|d| d["line"] == 3 && d["severity"] == "error"), "{checked}");
    assert!(checked.to_string().contains("kernel"));
}

#[test]
fn a_compiled_file_runs_like_its_source_and_damage_is_refused() {
    let folder = scratch();
    let file = folder.path().join("dense.striac").display().to_string();
    let compiled = stria(&["compile", "examples/fashion_mnist/dense.stria", "-o", &file]);
    assert!(compiled.status.success(), "{}", stderr(&compiled));
    let run = |model: &str| {
        json(&stria(&["run", model, "--input", IMAGE, "--backend", "clear", "--format", "json"]))["output"]["logits"].clone()
    };
    assert_eq!(run(&file), run("examples/fashion_mnist/dense.stria"));

    let bytes = std::fs::read(&file).expect("the file is there");
    let refused = |name: &str, bytes: &[u8], word: &str| {
        let path = write(folder.path(), name, bytes).display().to_string();
        let output = stria(&["report", &path]);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains(word), "{name}: {}", stderr(&output));
    };
    refused("short.striac", &bytes[..bytes.len() - 1], "truncated");
    refused("stub.striac", &bytes[..20], "truncated");
    refused("empty.striac", b"", "not a compiled network");
    refused("foreign.striac", b"PK\x03\x04 something else entirely", "not a compiled network");
    let mut altered = bytes.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    refused("altered.striac", &altered, "altered");
    let mut version = bytes.clone();
    version[8] = 99;
    refused("version.striac", &version, "version");
}

#[test]
fn emitted_stages_are_text() {
    let args = ["compile", "examples/fashion_mnist/stria.stria", "--emit", "ast,graph,plan,circuit,report"];
    let output = stria(&args);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for heading in ["// ast", "// graph", "// quantised graph", "// plan", "// circuit", "// report"] {
        assert!(text.contains(heading), "no {heading}");
    }
}

/// A perceptron beside the Fashion-MNIST example's data.
fn example_with(folder: &Path, text: &str) -> String {
    for file in ["stria.safetensors", "calibration.safetensors", "test200.safetensors"] {
        std::fs::copy(format!("examples/fashion_mnist/{file}"), folder.join(file)).expect("a copy");
    }
    write(folder, "m.stria", text.as_bytes()).display().to_string()
}

#[test]
fn check_finds_what_report_and_run_refuse() {
    let folder = scratch();
    let text = std::fs::read_to_string(EVAL[1]).expect("the example");
    let without = text.replace("    calibration: \"calibration.safetensors\"\n", "");
    assert_ne!(text, without);
    let model = example_with(folder.path(), &without);
    let checked = stria(&["check", &model, "--format", "json"]);
    assert_eq!(checked.status.code(), Some(1));
    let checked: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    let found = &checked["diagnostics"][0];
    assert_eq!(
        (&found["code"], &found["severity"]),
        (&Value::from("range"), &Value::from("error")),
        "{checked}"
    );
    let line = found["line"].as_u64().and_then(|line| without.lines().nth(usize::try_from(line - 1).ok()?));
    assert!(line.is_some_and(|line| line.contains("relu")), "{line:?} {checked}");
    // `report` plans with assumed bounds, and says so.
    let reported = stria(&["report", &model]);
    assert!(reported.status.success() && stderr(&reported).contains("note: "), "{}", stderr(&reported));
    for command in [&["check", &model][..], &["run", &model, "--input", IMAGE]] {
        let output = stria(command);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("m.stria:") && stderr(&output).contains("add `range: R`"),
            "{}",
            stderr(&output)
        );
    }

    let wide = write(
        folder.path(),
        "wide.stria",
        b"model m {\n  weights: random(1)\n  input x: tensor[1, 4, 40000]\n  output conv(x, out: 1, kernel: 3x3, pad: same)\n}",
    );
    let checked = stria(&["check", &wide.display().to_string(), "--encoding", "slots"]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(stderr(&checked).contains("wide.stria:4:10"), "{}", stderr(&checked));

    let small = stria(&["check", EVAL[1], "--ring", "4096", "--encoding", "slots", "--format", "json"]);
    let small: Value = serde_json::from_slice(&small.stdout).expect("JSON");
    assert_eq!(
        (&small["errors"], &small["diagnostics"][0]["code"]),
        (&Value::from(1), &Value::from("does-not-fit"))
    );
    let shape = json(&stria(&[
        "check",
        WITHOUT_WEIGHTS,
        "--ring",
        "4096",
        "--encoding",
        "slots",
        "--format",
        "json",
    ]));
    assert_eq!((&shape["errors"], &shape["warnings"]), (&Value::from(0), &Value::from(1)), "{shape}");
}

#[test]
fn the_fewest_bits_are_written_into_the_text() {
    let folder = scratch();
    let text = std::fs::read_to_string(EVAL[1]).expect("the example");
    let model = example_with(folder.path(), &text);
    let data = folder.path().join("test200.safetensors").display().to_string();
    let args = ["compile", &model, "--max-drop", "2", "--data", &data, "--emit", "bits"];
    let output = stria(&args);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("plaintext prime"), "{}", stderr(&output));
    let written = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    assert!(written.contains("weight_bits:") && written.lines().count() == text.lines().count(), "{written}");
    assert_eq!(stria(&args).stdout, output.stdout, "the search is deterministic");
    let smaller = write(folder.path(), "smaller.stria", written.as_bytes()).display().to_string();
    let bits = |model: &str| {
        json(&stria(&["report", model, "--format", "json"]))["quantisation"]["plain_bits"].as_u64()
    };
    assert!(bits(&smaller) < bits(&model));
    let eval =
        json(&stria(&["eval", &smaller, "--data", &data, "--backend", "reference", "--format", "json"]));
    assert!(eval["drop"].as_f64().is_some_and(|drop| drop <= 2.0 + 1e-9), "{eval}");

    let none = stria(&["compile", &model, "--emit", "bits"]);
    assert_eq!(none.status.code(), Some(1));
    let shape = stria(&["compile", "examples/shapes/resnet20.stria", "--max-drop", "1"]);
    assert!(shape.status.code() == Some(1) && stderr(&shape).contains("no weights"), "{}", stderr(&shape));
    assert_eq!(stria(&["compile", &model, "--max-drop", "-1"]).status.code(), Some(2));
}

#[test]
fn an_output_never_replaces_an_input() {
    let folder = scratch();
    let text = std::fs::read("examples/shapes/resnet20.stria").expect("the example is there");
    let model = write(folder.path(), "m.stria", &text).display().to_string();
    for command in ["compile", "report"] {
        let output = stria(&[command, &model, "-o", &model]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(stderr(&output).contains("choose another name"), "{command}: {}", stderr(&output));
        assert_eq!(std::fs::read(&model).expect("still there"), text);
    }
    let nowhere = folder.path().join("none/m.striac").display().to_string();
    let output = stria(&["compile", &model, "-o", &nowhere]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("folder does not exist") && !stderr(&output).contains(".stria-"));
}

#[test]
fn files_that_a_model_names_are_checked_where_they_are_named() {
    let folder = scratch();
    for (name, setting) in
        [("w", "weights: \"none.safetensors\""), ("c", "weights: random(1) calibration: \"none.npy\"")]
    {
        let text = format!(
            "model m {{\n  {setting}\n  input x: tensor[1, 4, 4]\n  output x |> conv(out: 1, kernel: 3)\n}}"
        );
        let model = write(folder.path(), &format!("{name}.stria"), text.as_bytes()).display().to_string();
        let output = stria(&["check", &model, "--format", "json"]);
        assert_eq!(output.status.code(), Some(1));
        let checked: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(checked["errors"], 1, "{checked}");
        assert_eq!(
            (&checked["diagnostics"][0]["line"], &checked["diagnostics"][0]["code"]),
            (&Value::from(2), &Value::from("unreadable-file"))
        );
    }
    let binary = write(folder.path(), "b.stria", b"model \x00\xff");
    let output = stria(&["check", &binary.display().to_string(), "--format", "json"]);
    let checked: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &checked["errors"]), (Some(1), &Value::from(1)));
}

#[cfg(unix)]
#[test]
fn devices_and_giants_are_refused_at_once() {
    let folder = scratch();
    let device =
        b"model m { weights: \"/dev/zero\" input x: tensor[1, 4, 4] output x |> conv(out: 1, kernel: 3) }";
    let giant = b"model m { weights: random(1) input x: tensor[1, 40000, 40000] output x |> conv(out: 1, kernel: 1, stride: 40000) }";
    for (text, word) in [(device.as_slice(), "a device"), (giant, "at most")] {
        let model = write(folder.path(), "m.stria", text).display().to_string();
        let output = stria(&["report", &model]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(word), "{}", stderr(&output));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_model_may_come_from_a_pipe() {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_stria"))
        .args(["check", "/dev/stdin"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    let text = b"model m { input x: tensor[1, 4, 4] output x |> conv(out: 1, kernel: 3) |> relu }";
    child.stdin.take().expect("a pipe").write_all(text).expect("it reads");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_compiled_file_checks_and_does_not_compile_again() {
    let folder = scratch();
    let file = folder.path().join("m.striac").display().to_string();
    assert!(stria(&["compile", "examples/shapes/resnet20.stria", "-o", &file]).status.success());
    assert_eq!(stria(&["check", &file]).status.code(), Some(0));
    let again = stria(&["compile", &file]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("already compiled"), "{}", stderr(&again));
}

/// Few bits clamp many weights, and what is declared zero stays so: the file proves it again when it is read.
#[test]
fn declared_zeros_stay_zero_in_few_bits() {
    let folder = scratch();
    let out = folder.path().join("m.striac").display().to_string();
    for (kernel, bits) in [("strips(3)", 2), ("strips(3)", 3), ("cross(3)", 2), ("cross(3)", 3)] {
        let text = format!(
            "model m {{\n    weights: random(7)\n    quantize: {{ weights: {bits}, activations: 8 }}\n    \
             input x: tensor[64, 8, 8]\n    output conv(x, out: 64, kernel: {kernel}, pad: same, name: \"c\")\n}}\n"
        );
        let model = write(folder.path(), "m.stria", text.as_bytes()).display().to_string();
        let compiled = stria(&["compile", &model, "-o", &out]);
        assert!(compiled.status.success(), "{}", stderr(&compiled));
        let read = stria(&["report", &out]);
        assert!(read.status.success(), "{kernel} at {bits} bits: {}", stderr(&read));
    }
}
