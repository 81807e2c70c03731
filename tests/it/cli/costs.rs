//! `stria calibrate` and `--costs`.

use super::{IMAGE, json, scratch, stderr, stria, write};
use serde_json::Value;

#[test]
fn a_calibration_is_what_predictions_take() {
    let folder = scratch();
    let file = folder.path().join("costs.yaml").display().to_string();
    let calibrated = stria(&["calibrate", "--quick", "-o", &file]);
    assert!(calibrated.status.success(), "{}", stderr(&calibrated));
    assert!(calibrated.stdout.is_empty() && calibrated.stderr.is_empty());
    let costs: Value = serde_yaml::from_slice(&std::fs::read(&file).expect("written")).expect("YAML");
    assert_eq!((&costs["version"], &costs["backend"]), (&Value::from(2), &Value::from("bfv")));
    assert_eq!(costs["crate_version"], env!("CARGO_PKG_VERSION"));
    let rows = costs["rows"].as_array().expect("rows");
    for ring in [8192, 16384, 32768] {
        assert!(rows.iter().any(|row| row["ring"] == ring && row["primes"] == 4), "ring {ring}: {costs}");
    }
    assert!(rows.iter().any(|row| row["encoding"] == "coefficients" && row["ring"] == 4096), "{costs}");

    let model = "examples/fashion_mnist/dense.stria";
    // Chosen by rotation count, so that both tables predict one plan.
    let plan = ["--encoding", "slots", "--kernel", "unified"];
    let report = ["report", model, "--format", "json"];
    let shipped = json(&stria(&[&report[..], &plan].concat()));
    let costs = ["--costs", &file];
    let report = json(&stria(&[&report[..], &plan, &costs].concat()));
    assert_eq!(
        (&shipped["cost_table"], &report["cost_table"]),
        (&Value::from("shipped"), &Value::from(&*file))
    );
    assert_ne!(report["totals"]["estimated_seconds"], shipped["totals"]["estimated_seconds"]);
    assert!(report["totals"]["estimated_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    assert_eq!(report["totals"]["rotations"], shipped["totals"]["rotations"]);
    let emitted = stria(&["compile", model, "--emit", "report", "--costs", &file]);
    let text = String::from_utf8(emitted.stdout).expect("UTF-8");
    assert!(text.lines().last().is_some_and(|line| line.contains(&file)), "{text}");

    let run = ["run", model, "--input", IMAGE, "--backend", "clear", "--format", "json", "--costs", &file];
    let run = json(&stria(&[&run[..], &plan].concat()));
    assert_eq!(run["predicted_seconds"], report["totals"]["estimated_seconds"]);
    assert_eq!(run["cost_table"], report["cost_table"]);
    assert!(run["timing"]["linear"].is_f64() && run["threads"].as_u64().is_some_and(|n| n > 0));
    let onto_itself = stria(&["report", model, "--costs", &file, "-o", &file]);
    assert_eq!(onto_itself.status.code(), Some(1));
}

#[test]
fn a_broken_cost_file_is_refused() {
    let folder = scratch();
    let row = "- {ring: 8192, primes: 4, key_switch: {kind: special, special: 1, primes_per_digit: 1}, \
               rotate: 1e-3, hoisted: 0, extended: 0, sum_rotation: 0, division: 0, mult: 0, \
               extended_mult: 0, encode: 1e-4, extended_encode: 1e-4, add: 1e-5, \
               add_plain: 1e-4, load: 1e-4, store: 1e-3, encrypt: 1e-3, decrypt: 1e-3, keygen: 1e-3}\n";
    let good =
        format!("version: 2\nbackend: bfv\ncrate_version: {}\nrows:\n{row}", env!("CARGO_PKG_VERSION"));
    let report = |text: &str| {
        let file = write(folder.path(), "costs.yaml", text.as_bytes()).display().to_string();
        stria(&["report", "examples/shapes/resnet20.stria", "--format", "json", "--costs", &file])
    };
    assert!(json(&report(&good))["cost_table"].as_str().is_some_and(|name| name.ends_with("costs.yaml")));
    let altered = |from: &str, to: &str| good.replacen(from, to, 1);
    for (text, words) in [
        (altered("rotate: 1e-3", "rotate: -1e-3"), "row 1: `rotate` cannot take -0.001 seconds"),
        (altered("keygen: 1e-3", "keygen: -1"), "`keygen` cannot take"),
        (altered("store: 1e-3", "store: .nan"), "`store` cannot take"),
        (altered("load: 1e-4", "load: .inf"), "`load` cannot take"),
        (altered("add: 1e-5", "add: 0"), "`add` cannot take"),
        (altered("add: 1e-5", "add: quick"), "not a cost file"),
        (altered("version: 2", "version: 1"), "version 1"),
        (altered("division: 0", "division: -1"), "`division` cannot take"),
        (altered("kind: special", "kind: odd"), "not a cost file"),
        (altered("backend: bfv", "backend: fhe-rs"), "costs of backend `fhe-rs`"),
        (altered("primes: 4", "primes: 0"), "with 0 primes"),
        (altered("ring: 8192", "ring: 8191"), "ring 8191"),
        (format!("{good}{row}"), "row already"),
        (good.replace(row, "  []\n"), "0 rows"),
        ("rows: [\0".into(), "not a cost file"),
        (String::new(), "not a cost file"),
        (format!("{good}#{}", "-".repeat(1 << 16)), "costs.yaml"),
    ] {
        let output = report(&text);
        assert_eq!(output.status.code(), Some(1), "{words}: {}", stderr(&output));
        assert!(stderr(&output).contains(words) && output.stdout.is_empty(), "{words}: {}", stderr(&output));
    }
    let nowhere = folder.path().join("none/costs.yaml").display().to_string();
    let output = stria(&["calibrate", "-o", &nowhere]);
    assert_eq!(output.status.code(), Some(1), "before a minute of measuring");
    assert!(stderr(&output).contains("folder does not exist"), "{}", stderr(&output));
}
