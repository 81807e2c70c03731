//! `stria eval`.

use super::{EVAL, json, stderr, stria};
use serde_json::Value;

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
    assert!(layers.iter().all(|l| l["error"].as_f64().is_some_and(|e| e < 0.15)), "{eval}");
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
