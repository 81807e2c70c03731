//! `stria run`: backends, forms of activations, what goes to stdout.

use super::{COUNTERS, IMAGE, assert_counters, json, scratch, stderr, stria, write};
use serde_json::Value;
use std::process::Command;

/// Every layer, and all of them together, cost what was planned in every counter but seconds and those excepted.
fn layers_are_as_planned(run: &Value, except: &[&str]) {
    let rows = |key: &str| run[key].as_array().cloned().expect("layers");
    let (planned, executed) = (rows("layers"), rows("executed_layers"));
    assert_eq!(planned.len(), executed.len());
    let totals = (run["totals"].clone(), run["executed"].clone());
    for (planned, executed) in planned.into_iter().zip(executed).chain([totals]) {
        assert_eq!(planned["name"], executed["name"]);
        let keys = COUNTERS.into_iter().filter(|key| *key != "estimated_seconds" && !except.contains(key));
        for key in
            keys.chain(["transfers", "rounds", "bytes_nonlinear", "rounds_preprocess", "bytes_preprocess"])
        {
            assert!(!executed[key].is_null(), "no {key}");
            assert_eq!(planned[key], executed[key], "{key} of {}", planned["name"]);
        }
    }
}

#[test]
fn run_on_the_clear_backend_counts_what_was_planned() {
    let args = [
        "run",
        "examples/fashion_mnist/dense.stria",
        "--input",
        IMAGE,
        "--backend",
        "clear",
        "--format",
        "json",
    ];
    let output = stria(&args);
    let run = json(&output);
    assert_counters(&run["executed"]);
    for key in [
        "rotations",
        "key_switches",
        "hoisted_groups",
        "divisions",
        "plain_mults",
        "adds",
        "plain_adds",
        "ciphertexts_in",
        "ciphertexts_out",
        "galois_keys",
    ] {
        assert_eq!(run["executed"][key], run["totals"][key], "{key}");
    }
    assert_eq!(run["output"]["logits"].as_array().map(Vec::len), Some(10));
    assert_eq!(run["output"]["argmax"], 9);
    assert!(run["output"]["scale"].as_f64().is_some_and(|s| s > 0.0));
    assert_eq!(run["nonlinear"], "two-party");
    layers_are_as_planned(&run, &["bytes_up", "bytes_down"]);
    for key in ["rounds", "bytes_nonlinear", "rounds_preprocess", "bytes_preprocess", "relu", "transfers"] {
        assert!(run["executed"][key].as_u64().is_some_and(|n| n > 0), "no {key}");
        assert_eq!(run["executed"][key], run["totals"][key], "{key}");
    }
    assert_eq!(run["rounds"], run["totals"]["rounds"]);
    assert_eq!(run["bytes_preprocess"], run["totals"]["bytes_preprocess"]);
    for key in
        ["estimated_lan_seconds", "estimated_wan_seconds", "measured_lan_seconds", "measured_wan_seconds"]
    {
        assert!(run[key].as_f64().is_some_and(|s| s > 0.0), "no {key}");
    }
    assert!(run["rounds"].as_u64().is_some_and(|r| r > 0));
    for key in ["keygen", "encrypt", "linear", "nonlinear", "preprocess", "total"] {
        assert!(run["timing"][key].is_f64(), "no timing.{key}");
    }
    let reference = json(&stria(&[
        "run",
        "examples/fashion_mnist/dense.stria",
        "--input",
        IMAGE,
        "--backend",
        "reference",
        "--format",
        "json",
    ]));
    assert_eq!(reference["output"], run["output"]);
}

#[test]
fn the_default_run_encrypts_and_leaks_nothing_between_the_parties() {
    let args = ["run", "examples/fashion_mnist/dense.stria", "--input", IMAGE, "--format", "json"];
    let output = stria(&args);
    let run = json(&output);
    assert_eq!(run["backend"], "bfv");
    assert_eq!(run["moduli"]["backend"], "bfv");
    assert!(run["moduli"]["hidden_bits"].as_f64().is_some_and(|bits| bits >= 40.0), "{}", run["moduli"]);
    assert_eq!(run["output"]["argmax"], 9);
    assert_eq!(run["executed"]["rotations"], run["totals"]["rotations"]);
    assert_eq!(run["executed"]["plain_mults"], run["totals"]["plain_mults"]);
    assert_eq!(run["nonlinear"], "two-party");
    // In both parties' hands the bytes are those predicted.
    layers_are_as_planned(&run, &[]);
    assert_eq!(stderr(&output), "");
}

#[test]
fn revealed_activations_are_said_to_be() {
    let model = "examples/fashion_mnist/dense.stria";
    let run = ["run", model, "--input", IMAGE, "--nonlinear", "reveal", "--format", "json"];
    let output = stria(&run);
    let ran = json(&output);
    assert_eq!(ran["nonlinear"], "reveal");
    assert_eq!(ran["bytes_preprocess"], 0);
    assert_eq!(ran["totals"]["transfers"], 0);
    assert!(ran["executed"]["bytes_nonlinear"].as_u64() > Some(0));
    layers_are_as_planned(&ran, &[]);
    assert!(stderr(&output).contains("REVEALED to the client"), "{}", stderr(&output));
    let output = stria(&[&run[..], &["--reveal", "label"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("two-party"), "{}", stderr(&output));
    let reference =
        ["run", model, "--input", IMAGE, "--backend", "reference", "--reveal", "label", "--format", "json"];
    let output = stria(&reference);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{}", stderr(&output));
}

#[test]
fn a_label_is_all_that_the_client_learns_if_so_asked() {
    let model = "examples/fashion_mnist/dense.stria";
    let args = ["--backend", "clear", "--reveal", "label", "--preprocess"];
    let run = [&["run", model, "--input", IMAGE][..], &args].concat();
    let ran = json(&stria(&[&run[..], &["--format", "json"]].concat()));
    assert_eq!(ran["output"]["logits"], Value::Null);
    assert_eq!(ran["output"]["argmax"], 9);
    layers_are_as_planned(&ran, &["bytes_up", "bytes_down"]);
    // The comparison of the logits is in the totals, and in no layer.
    let [planned, executed] = [0, 1].map(|i| ran["label"][i].clone());
    assert_eq!(planned, executed);
    for key in ["transfers", "bytes_nonlinear", "bytes_preprocess"] {
        let layers: u64 =
            ran["layers"].as_array().map_or(0, |all| all.iter().filter_map(|l| l[key].as_u64()).sum());
        assert!(planned[key].as_u64() > Some(0));
        assert_eq!(ran["totals"][key].as_u64(), planned[key].as_u64().map(|label| label + layers), "{key}");
    }
    let text = String::from_utf8(stria(&run).stdout).expect("UTF-8");
    assert!(text.contains("not told to the client") && text.contains(": as planned"), "{text}");
}

#[cfg(not(feature = "fhe-rs"))]
#[test]
fn the_oracle_says_how_to_get_it() {
    let run = ["run", "examples/fashion_mnist/dense.stria", "--input", IMAGE, "--backend", "fhe-rs"];
    let output = stria(&run);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--features fhe-rs"), "{}", stderr(&output));
}

#[cfg(feature = "fhe-rs")]
#[test]
fn the_oracle_agrees_with_the_default() {
    // In slots, as the oracle's crate has no coefficients. Each plan follows its own backend's costs, so the
    // counts of each run are compared with those of its own plan.
    let model = "examples/fashion_mnist/dense.stria";
    let run = ["run", model, "--input", IMAGE, "--encoding", "slots", "--format", "json"];
    let engine = json(&stria(&run));
    let oracle = json(&stria(&[run.as_slice(), &["--backend", "fhe-rs"]].concat()));
    assert_eq!(oracle["backend"], "fhe-rs");
    assert_eq!(oracle["output"], engine["output"]);
    for run in [&engine, &oracle] {
        assert!(run["executed"]["rotations"]["total"].as_u64() > Some(0));
        assert_eq!(run["executed"]["rotations"], run["totals"]["rotations"]);
    }
}

#[test]
fn another_ring_changes_cost_and_not_the_logits() {
    let run = |ring: &str| {
        let model = "examples/fashion_mnist/stria.stria";
        json(&stria(&[
            "run",
            model,
            "--input",
            IMAGE,
            "--backend",
            "clear",
            "--ring",
            ring,
            "--encoding",
            "slots",
            "--kernel",
            "output-rotation",
            "--format",
            "json",
        ]))
    };
    let (a, b) = (run("8192"), run("16384"));
    assert_eq!(a["output"]["logits"], b["output"]["logits"]);
    assert_eq!((&a["ring"], &b["ring"]), (&Value::from(8192), &Value::from(16384)));
    let capacity = |run: &Value| run["layers"][0]["channel_capacity"].as_u64();
    assert_eq!(capacity(&b), capacity(&a).map(|c| 2 * c));
}

#[cfg(target_os = "linux")]
#[test]
fn nobody_has_to_listen_to_the_errors() {
    let folder = scratch();
    let model = write(folder.path(), "m.stria", b"model m { output x }").display().to_string();
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let status = Command::new(env!("CARGO_BIN_EXE_stria")).args(["check", &model]).stderr(full).status();
    assert_eq!(status.expect("the program starts").code(), Some(1));
}

#[test]
fn transfers_made_ahead_must_fit_memory() {
    let model = "examples/fashion_mnist/dense.stria";
    let run = ["run", model, "--input", IMAGE, "--backend", "clear", "--preprocess", "--memory", "1000000"];
    let output = stria(&run);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let told = stderr(&output);
    assert!(told.contains("--preprocess holds") && told.contains("more than 1 MB"), "{told}");
    let peak = |more: &[&str]| -> u64 {
        let args = [&["run", model, "--input", IMAGE, "--format", "json"][..], more].concat();
        let predicted = json(&stria(&args))["predicted_memory"]["transfers"].as_u64();
        predicted.expect("transfers are predicted")
    };
    assert!(peak(&["--preprocess"]) > 2 * peak(&[]), "all are held at once");
}
