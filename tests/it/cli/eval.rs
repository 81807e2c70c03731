//! `stria eval`.

use super::{EVAL, json, scratch, stderr, stria, write};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

/// The largest error of layers whose names begin so, as measured on these images: it grows with depth.
const RECORDED: [(&str, f64); 14] = [
    ("image", 0.0034),
    ("stem", 0.0084),
    ("relu1", 0.0101),
    ("down1", 0.0178),
    ("relu2", 0.0227),
    ("stage2.0", 0.0396),
    ("stage2.1", 0.0458),
    ("stage2.2", 0.0545),
    ("down2", 0.0537),
    ("relu3", 0.0595),
    ("stage3.0", 0.0757),
    ("stage3.1", 0.0910),
    ("stage3.2", 0.1142),
    ("", 0.1319),
];

#[test]
fn eval_measures_accuracy_and_agreement() {
    let args = [EVAL.as_slice(), &["--limit", "20", "--backend", "clear", "--format", "json"]].concat();
    let eval = json(&stria(&args));
    assert_eq!(eval["n"], 20);
    assert_eq!(eval["agreement_reference"], 1.0);
    assert!(eval["accuracy"].as_f64().is_some_and(|a| a >= 0.8), "{eval}");
    assert!(eval["agreement_float"].as_f64().is_some_and(|a| a >= 0.9), "{eval}");
    let drop = 100.0 * (eval["accuracy_float"].as_f64().unwrap() - eval["accuracy"].as_f64().unwrap());
    assert!((eval["drop"].as_f64().unwrap() - drop).abs() < 1e-9, "{eval}");
    let matrix: Vec<Vec<u64>> = serde_json::from_value(eval["confusion"]["matrix"].clone()).unwrap();
    assert_eq!(matrix.iter().flatten().sum::<u64>(), 20);
    let right: u64 = (0..10).map(|class| matrix[class][class]).sum();
    assert_eq!(eval["accuracy"], f64::from(u32::try_from(right).unwrap()) / 20.0);
    let wrong: u64 =
        eval["confusion"]["worst"].as_array().unwrap().iter().map(|w| w["n"].as_u64().unwrap()).sum();
    assert_eq!(right + wrong, 20);
    let layers = eval["layers"].as_array().expect("an array");
    assert!(layers.iter().any(|l| l["name"] == "stem" && l["kind"] == "conv"), "{eval}");
    for layer in layers {
        let (name, error) =
            (layer["name"].as_str().expect("a name"), layer["error"].as_f64().expect("an error"));
        let (_, recorded) = RECORDED.iter().find(|(start, _)| name.starts_with(start)).expect(name);
        assert!(error < 1.1 * recorded, "{name}: {error}, was at most {recorded}");
    }
    assert_eq!(eval["layers_n"], 20);

    let reference = json(&stria(
        &[EVAL.as_slice(), &["--limit", "20", "--backend", "reference", "--format", "json"]].concat(),
    ));
    for key in ["accuracy", "agreement_float", "confusion", "layers"] {
        assert_eq!(reference[key], eval[key], "{key}");
    }
}

#[test]
fn eval_as_text() {
    let output = stria(&[EVAL.as_slice(), &["--limit", "60", "--backend", "reference"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stderr.is_empty(), "no progress bar in a pipe: {}", stderr(&output));
    insta::assert_snapshot!(String::from_utf8(output.stdout).expect("UTF-8"));
}

#[test]
fn eval_on_encrypted_images_agrees_with_the_reference() {
    let eval =
        json(&stria(&[EVAL.as_slice(), &["--limit", "2", "--backend", "bfv", "--format", "json"]].concat()));
    assert_eq!((&eval["n"], &eval["agreement_reference"]), (&Value::from(2), &Value::from(1.0)));
    assert_eq!(eval["backend"], "bfv");
    // Two run encrypted; what the network is worth is said on all.
    let all = json(&stria(&[EVAL.as_slice(), &["--backend", "reference", "--format", "json"]].concat()));
    assert_eq!(eval["all"]["n"], 200);
    assert!(all["all"].is_null() && all["n"] == 200);
    for key in ["accuracy", "accuracy_float", "agreement_float", "drop"] {
        assert_eq!(eval["all"][key], all[key], "{key}");
    }
}

#[test]
fn eval_leaves_images_out() {
    let part = |options: &[&str]| {
        json(&stria(&[EVAL.as_slice(), options, &["--backend", "reference", "--format", "json"]].concat()))
    };
    let (first, rest, all) = (part(&["--limit", "30"]), part(&["--skip", "30"]), part(&[]));
    assert_eq!((&first["n"], &rest["n"]), (&Value::from(30), &Value::from(170)));
    let right = |eval: &Value| (eval["accuracy"].as_f64().unwrap() * eval["n"].as_f64().unwrap()).round();
    assert_eq!(right(&first) + right(&rest), right(&all));
    let none = stria(&[EVAL.as_slice(), &["--skip", "200"]].concat());
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("no images"), "{}", stderr(&none));
}

/// The examples' test images with other labels, and their pixels as floats.
fn other_data(label: impl Fn(usize, u8) -> u8, raw_floats: bool) -> Vec<u8> {
    let bytes = std::fs::read(EVAL[3]).expect("the images are there");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let (images, labels) = (file.tensor("images").unwrap(), file.tensor("labels").unwrap());
    let n = images.shape()[0];
    let size = labels.data().len() / n;
    let old = labels.data().chunks(size).map(|bytes| bytes[0]);
    let new: Vec<u8> = old.enumerate().map(|(i, old)| label(i, old)).collect();
    let floats: Vec<u8> = images.data().iter().flat_map(|p| f32::from(*p).to_le_bytes()).collect();
    let shape = [n, 1, 28, 28];
    let (name, dtype, data): (_, _, &[u8]) =
        if raw_floats { ("input", Dtype::F32, &floats) } else { ("images", Dtype::U8, images.data()) };
    let tensors = [
        (name, TensorView::new(dtype, shape.to_vec(), data).unwrap()),
        ("labels", TensorView::new(Dtype::U8, vec![n], &new).unwrap()),
    ];
    safetensors::serialize(tensors, None).unwrap()
}

#[test]
fn labels_beyond_the_outputs_are_counted_and_refused_if_there_are_no_others() {
    let folder = scratch();
    let eval = |bytes: &[u8]| {
        let data = write(folder.path(), "data.safetensors", bytes).display().to_string();
        stria(&["eval", EVAL[1], "--data", &data, "--backend", "reference", "--limit", "30"])
    };
    let some = eval(&other_data(|i, old| if i < 3 { 77 + u8::try_from(i).unwrap() } else { old }, false));
    assert!(some.status.success(), "{}", stderr(&some));
    let said = stderr(&some);
    assert!(said.contains("3 of 30 labels are none of the network's 10 outputs"), "{said}");
    assert!(said.contains("the first is 77") && said.lines().count() == 1, "{said}");
    let all = eval(&other_data(|_, old| old + 10, false));
    assert_eq!(all.status.code(), Some(1));
    assert!(all.stdout.is_empty() && stderr(&all).contains("30 of 30 labels"), "{}", stderr(&all));
}

#[test]
fn raw_pixels_as_floats_are_told() {
    let folder = scratch();
    let data = write(folder.path(), "data.safetensors", &other_data(|_, old| old, true));
    let data = data.display().to_string();
    let done = stria(&["eval", EVAL[1], "--data", &data, "--backend", "reference", "--limit", "30"]);
    let said = stderr(&done);
    assert!(said.contains("clipped by the input's range") && said.contains("U8 tensor `images`"), "{said}");
}

#[test]
fn eval_says_what_was_compared() {
    let eval = [EVAL.as_slice(), &["--limit", "2", "--backend", "clear"]].concat();
    for (reveal, compared, line, other) in [
        ("label", "class", "class equals reference's      100.00 %", "all logits"),
        ("logits", "logits", "all logits equal reference    100.00 %", "class equals reference's"),
    ] {
        let eval = [&eval[..], &["--reveal", reveal]].concat();
        let text = String::from_utf8(stria(&eval).stdout).unwrap();
        assert!(text.contains(line) && !text.contains(other), "{text}");
        let found = json(&stria(&[&eval[..], &["--format", "json"]].concat()));
        assert_eq!((&found["compared"], &found["agreement_reference"]), (&compared.into(), &1.0.into()));
    }
}
