//! `stria import` as a user meets it.

use super::folder;
use serde_json::Value;
use std::collections::BTreeMap;
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
        for file in [format!("{name}.safetensors"), format!("{name}.ranges.safetensors")] {
            assert!(at.path().join(&file).exists(), "{file}");
        }
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
    // It has weights: ranges are what the bounds were assumed for want of.
    assert_eq!(found["assumed_without"], "ranges");
    let text = stria(at.path(), &["report", "caffe.stria"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("assumed bounds: no ranges") && !text.contains("no weights"), "{text}");
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
    let attempts: [&[&str]; 7] = [
        &["import", &onnx, "-o", "old.stria"],
        &["import", &fixture("refused.onnx"), "-o", "old.stria", "--force"],
        &["import", &onnx, "-o", "old.stria", "--mean", "0.1,0.2", "--force"],
        &["import", &onnx, "-o", "old.stria", "--memory", "1000", "--force"],
        &["import", &onnx, "-o", "old.stria", "--memory", "20000", "--force"],
        &["import", &onnx, "-o", "old.stria", "--calibrate", &wrong, "--force"],
        &["import", "nothing.onnx", "-o", "old.stria", "--force"],
    ];
    for args in attempts {
        let done = stria(at.path(), args);
        // However much too small: larger than the file or not.
        assert_eq!(args.contains(&"--memory"), stderr(&done).contains("raise it by `--memory`"), "{args:?}");
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

/// What a model is with its ranges measured at import, and with the images themselves.
#[test]
fn measured_ranges_stand_for_the_images() {
    let at = tempfile::tempdir().unwrap();
    let (onnx, data) = (fixture("torchscript.onnx"), fixture("torchscript.safetensors"));
    let done = stria(at.path(), &["import", &onnx, "-o", "m.stria", "--calibrate", &data]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(
        stderr(&done).contains("m.ranges.safetensors: ranges, measured on 4 images"),
        "{}",
        stderr(&done)
    );
    let text = std::fs::read_to_string(at.path().join("m.stria")).unwrap();
    assert!(text.contains("calibration: \"m.ranges.safetensors\""), "{text}");
    let images = text.replace("m.ranges.safetensors", "images.safetensors");
    std::fs::write(at.path().join("images.stria"), images).unwrap();
    std::fs::copy(&data, at.path().join("images.safetensors")).unwrap();
    let graph = |model: &str| {
        let done = stria(at.path(), &["compile", model, "--emit", "graph"]);
        assert!(done.status.success(), "{}", stderr(&done));
        let text = String::from_utf8(done.stdout).unwrap();
        text.lines().filter(|line| !line.contains("calibration")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(graph("m.stria"), graph("images.stria"));
    let logits = |model: &str| {
        let done =
            stria(at.path(), &["run", model, "--input", &data, "--backend", "reference", "--format", "json"]);
        assert!(done.status.success(), "{}", stderr(&done));
        serde_json::from_slice::<Value>(&done.stdout).unwrap()["output"].clone()
    };
    assert_eq!(logits("m.stria"), logits("images.stria"));

    // Fewer images give other ranges.
    let less = ["import", &onnx, "-o", "less.stria", "--calibrate", &data, "--limit", "1"];
    assert!(stderr(&stria(at.path(), &less)).contains("measured on 1 images"));
    assert_ne!(graph("less.stria"), graph("m.stria"));

    // Ranges of other weights are refused.
    let other = fixture("caffe.onnx");
    let done = stria(
        at.path(),
        &["import", &other, "-o", "other.stria", "--calibrate", &fixture("caffe.safetensors")],
    );
    assert!(done.status.success(), "{}", stderr(&done));
    std::fs::copy(at.path().join("other.ranges.safetensors"), at.path().join("m.ranges.safetensors"))
        .unwrap();
    let refused = stria(at.path(), &["report", "m.stria"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("other weights"), "{}", stderr(&refused));
}

#[test]
fn files_are_replaced_on_demand_only() {
    let at = tempfile::tempdir().unwrap();
    let import = ["import", &fixture("torchscript.onnx"), "-o", "m.stria"];
    assert!(stria(at.path(), &import).status.success());
    std::fs::remove_file(at.path().join("m.stria")).unwrap();
    let refused = stria(at.path(), &import);
    assert_eq!(refused.status.code(), Some(1));
    let said = stderr(&refused);
    assert!(said.contains("m.safetensors: already there") && said.contains("--force"), "{said}");
    assert!(!at.path().join("m.stria").exists());
    let forced = stria(at.path(), &[&import[..], &["--force"]].concat());
    assert!(forced.status.success(), "{}", stderr(&forced));
}

#[test]
fn fewest_bits_are_written_into_the_imported_text() {
    let at = tempfile::tempdir().unwrap();
    let (onnx, data) = (fixture("torchscript.onnx"), fixture("torchscript.safetensors"));
    let import = ["import", &onnx, "-o", "m.stria", "--max-drop", "50"];
    let without = stria(at.path(), &import);
    assert!(stderr(&without).contains("--calibrate"), "{}", stderr(&without));
    let done = stria(at.path(), &[&import[..], &["--calibrate", &data]].concat());
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(stderr(&done).contains("agreement with the float network on 4 images"), "{}", stderr(&done));
    let report = stria(at.path(), &["report", "m.stria", "--format", "json"]);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let after = format!(" before, {} bits after", report["quantisation"]["plain_bits"]);
    assert!(stderr(&done).contains(&after), "{after}: {}", stderr(&done));
    // Its calibration is a file of ranges by now.
    let again = stria(at.path(), &["compile", "m.stria", "--max-drop", "50", "--emit", "bits"]);
    assert_eq!(again.status.code(), Some(1));
    let said = stderr(&again);
    assert!(said.contains("measured ranges, which cannot judge accuracy; give images by --data"), "{said}");
    let text = std::fs::read_to_string(at.path().join("m.stria")).unwrap();
    assert!(text.contains("weight_bits: ") && text.contains(" bits: "), "{text}");
    let done =
        stria(at.path(), &["eval", "m.stria", "--data", &data, "--backend", "reference", "--format", "json"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let found: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(found["drop"].as_f64().is_some_and(|drop| drop <= 50.0), "{found}");
}

#[test]
fn a_normalisation_of_other_pixels_is_refused() {
    let at = tempfile::tempdir().unwrap();
    let onnx = fixture("torchscript.onnx");
    for wrong in [["--mean", "123.675,116.28,103.53"], ["--std", "0.2,57.12,0.2"]] {
        let done = stria(at.path(), &[&["import", &onnx, "-o", "m.stria"][..], &wrong].concat());
        assert_eq!(done.status.code(), Some(1));
        assert!(stderr(&done).contains("by 255") && stderr(&done).contains(wrong[0]), "{}", stderr(&done));
        assert!(!at.path().join("m.stria").exists());
    }
    let right = ["--mean", "0.485,0.456,1", "--std", "0.229,0.224,1"];
    let done = stria(at.path(), &[&["import", &onnx, "-o", "m.stria"][..], &right].concat());
    assert!(done.status.success(), "{}", stderr(&done));
}

/// Data that are normalised otherwise than the model says lose what lies beyond the range of its input.
#[test]
fn clipped_data_are_told() {
    let at = tempfile::tempdir().unwrap();
    let (onnx, data) = (fixture("torchscript.onnx"), fixture("torchscript.safetensors"));
    let import = ["import", &onnx, "-o", "m.stria", "--calibrate", &data, "--force"];
    let clipped = "are clipped by the input's range of -1 to 1";
    let done = stria(at.path(), &import);
    assert!(done.status.success(), "{}", stderr(&done));
    // Of a normal distribution 31.7 % lies beyond one deviation.
    let said = stderr(&done);
    assert!(said.contains("% of its values ") && said.contains(clipped) && said.contains("--mean"), "{said}");
    let share = said.split("safetensors: ").nth(1).and_then(|s| s.split(' ').next()).unwrap();
    let share: f64 = share.parse().unwrap();
    assert!((30.0..34.0).contains(&share), "{share}");
    for command in [&["check", "m.stria"][..], &["compile", "m.stria"], &["report", "m.stria"]] {
        let said = stderr(&stria(at.path(), command));
        assert!(said.contains("warning[clipped-input]") && said.contains(clipped), "{command:?}: {said}");
        assert!(said.contains("at least 1.") && said.contains("the largest has magnitude 4.04"), "{said}");
    }
    let eval = ["eval", "m.stria", "--data", &data, "--backend", "reference"];
    let said = stderr(&stria(at.path(), &eval));
    assert!(said.contains(&format!("{share:.1} % of its values {clipped}")), "{said}");

    // As the warning advises, and with a normalisation whose pixels reach as far.
    let text = std::fs::read_to_string(at.path().join("m.stria")).unwrap();
    assert!(said.contains("`range: 4.05`"), "{said}");
    let (before, after) = text.split_once("tensor[3, 16, 16]").unwrap();
    let after = match after.trim_start().strip_prefix('{') {
        Some(rest) => format!(" {{ range: 4.05, {rest}"),
        None => format!(" {{ range: 4.05 }}{after}"),
    };
    std::fs::write(at.path().join("m.stria"), format!("{before}tensor[3, 16, 16]{after}")).unwrap();
    let wide = [&import[..], &["--mean", "0.5", "--std", "0.12"]].concat();
    let checked = stria(at.path(), &["check", "m.stria"]);
    let evaluated = stria(at.path(), &eval);
    for done in [checked, evaluated, stria(at.path(), &wide), stria(at.path(), &["check", "m.stria"])] {
        assert!(done.status.success() && !stderr(&done).contains("clipped"), "{}", stderr(&done));
    }
}

/// Images for calibration: `images` of 14 x 14, and `input` of `side` x `side`, normalised.
fn images(at: &Path, name: &str, side: usize) {
    let raw: Vec<u8> = (0..2 * 3 * 14 * 14_u32).map(|i| u8::try_from(i * 7 % 256).unwrap()).collect();
    let numbers = (0..2 * 3 * side * side).map(|i| f32::from(u8::try_from(i % 17).unwrap()) / 8.0 - 1.0);
    let numbers: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
    let view = |dtype, side, data| {
        safetensors::tensor::TensorView::new(dtype, vec![2, 3, side, side], data).unwrap()
    };
    let tensors = [
        ("images", view(safetensors::Dtype::U8, 14, &raw)),
        ("input", view(safetensors::Dtype::F32, side, &numbers)),
    ];
    std::fs::write(at.join(name), safetensors::serialize(tensors, None).unwrap()).unwrap();
}

#[test]
fn smaller_images_are_framed_or_left_for_those_that_fit() {
    let at = tempfile::tempdir().unwrap();
    let onnx = fixture("torchscript.onnx");
    images(at.path(), "fits.safetensors", 16);
    images(at.path(), "neither.safetensors", 12);
    let import = |model: &str, data: &str, more: &[&str]| {
        stria(at.path(), &[&["import", &onnx, "-o", model, "--calibrate", data][..], more].concat())
    };
    // Raw images do not fit, the normalised ones do.
    let done = import("a.stria", "fits.safetensors", &[]);
    assert!(done.status.success(), "{}", stderr(&done));
    let eval = stria(at.path(), &["eval", "a.stria", "--data", "fits.safetensors"]);
    assert!(eval.status.success(), "{}", stderr(&eval));
    // Neither fits: what would make the raw ones fit is said.
    let done = import("b.stria", "neither.safetensors", &[]);
    assert_eq!(done.status.code(), Some(1));
    let said = stderr(&done);
    assert!(said.contains("found [2, 3, 14, 14], wanted [3, 16, 16]"), "{said}");
    assert!(said.contains("`pad: 1`") && said.contains("`--pad 1`"), "{said}");
    // With a frame both fit, and raw images come first: the ranges are others.
    for data in ["fits", "neither"] {
        let model = format!("{data}-framed.stria");
        let done = import(&model, &format!("{data}.safetensors"), &["--pad", "1"]);
        assert!(done.status.success(), "{}", stderr(&done));
        assert!(std::fs::read_to_string(at.path().join(&model)).unwrap().contains("pad: 1"));
    }
    let ranges = |model: &str| {
        let bytes = std::fs::read(at.path().join(format!("{model}.ranges.safetensors"))).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        file.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect::<BTreeMap<_, _>>()
    };
    assert!(ranges("fits-framed") == ranges("neither-framed"));
    assert!(ranges("fits-framed") != ranges("a"));
}
