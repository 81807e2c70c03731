//! The program as a user meets it: pinned options, JSON keys, exit codes, what goes to stdout.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const IMAGE: &str = "examples/fashion_mnist/images/9_ankle-boot_00000.png";

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

#[test]
fn report_has_the_pinned_keys_and_its_totals_are_sums() {
    let report = json(&stria(&["report", "examples/fashion_mnist/dense.stria", "--format", "json"]));
    for key in ["model", "ring", "plain_modulus", "modulus_bits", "security_bits", "totals", "layers"] {
        assert!(!report[key].is_null(), "no `{key}`");
    }
    assert_eq!(report["security_bits"], 128);
    assert_counters(&report["totals"]);
    let layers = report["layers"].as_array().expect("layers is an array");
    for layer in layers {
        assert_counters(layer);
        for key in ["name", "kind", "shape_in", "shape_out"] {
            assert!(!layer[key].is_null(), "no `{key}` in {layer}");
        }
    }
    for key in ["plain_mults", "adds", "ciphertexts_in", "ciphertexts_out", "relu", "bytes_up"] {
        let sum: u64 = layers.iter().filter_map(|l| l[key].as_u64()).sum();
        assert_eq!(report["totals"][key].as_u64(), Some(sum), "{key}");
        assert!(sum > 0, "{key}");
    }
    let linear = layers.iter().filter(|l| l["kernel"].is_string());
    for layer in linear {
        for key in ["channel_capacity", "layout_in", "layout_out"] {
            assert!(!layer[key].is_null(), "no `{key}` in {layer}");
        }
    }
}

#[test]
fn report_of_several_models_is_an_array_and_yaml_says_the_same() {
    let models = ["examples/shapes/resnet20.stria", "examples/fashion_mnist/stria.stria"];
    let reports = json(&stria(&["report", models[0], models[1], "--format", "json"]));
    assert_eq!(reports.as_array().map(Vec::len), Some(2));
    let yaml = stria(&["report", models[0], "--format", "yaml"]);
    let yaml: Value = serde_yaml::from_slice(&yaml.stdout).expect("YAML");
    assert_eq!(yaml, reports[0]);
    let folder = scratch();
    let file = folder.path().join("report.json");
    let written = stria(&["report", models[0], "--format", "json", "-o", &file.display().to_string()]);
    assert!(written.status.success() && written.stdout.is_empty());
    let written: Value =
        serde_json::from_slice(&std::fs::read(&file).expect("the file is there")).expect("JSON");
    assert_eq!(written, reports[0]);
}

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

#[test]
fn what_is_not_built_is_refused_by_name() {
    let run = ["run", "examples/fashion_mnist/dense.stria", "--input", IMAGE];
    let output = stria(&[run.as_slice(), &["--mode", "leveled"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("not built yet"), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
}

/// Every counter that is said beforehand is what the backend counted, bytes as well.
#[test]
fn the_default_run_costs_what_the_report_says() {
    let model = "examples/fashion_mnist/stria.stria";
    let run = json(&stria(&["run", model, "--input", IMAGE, "--format", "json"]));
    let report = json(&stria(&["report", model, "--format", "json"]));
    assert_eq!(run["totals"], report["totals"]);
    for key in COUNTERS.into_iter().filter(|&key| key != "estimated_seconds") {
        assert_eq!(run["executed"][key], report["totals"][key], "{key}");
    }
}

/// Coefficients need no rotation and no Galois key, and cost what is said beforehand, bytes as well.
#[test]
fn a_run_in_coefficients_costs_what_the_report_says() {
    let model = "examples/fashion_mnist/dense.stria";
    let encoding = ["--encoding", "coefficients"];
    let run = [&["run", model, "--input", IMAGE, "--format", "json"][..], &encoding].concat();
    let run = json(&stria(&run));
    let report = json(&stria(&[&["report", model, "--format", "json"][..], &encoding].concat()));
    assert_eq!(run["totals"], report["totals"]);
    for key in COUNTERS.into_iter().filter(|&key| key != "estimated_seconds") {
        assert_eq!(run["executed"][key], report["totals"][key], "{key}");
    }
    assert_eq!(run["executed"]["rotations"]["total"], 0);
    assert_eq!(run["executed"]["galois_keys"], 0);
    assert_eq!((&report["ring"], &report["coefficients"]["ring"]), (&4096.into(), &4096.into()));
    assert_eq!(report["coefficients"]["modulus_bits"], report["modulus_bits"]);
    assert_eq!(report["layers"][0]["encoding"], "coefficients");
    assert_eq!(report["layers"][0]["kernel"], "coefficients");
    assert_eq!(run["output"]["argmax"], 9);
    let slots = json(&stria(&["report", model, "--format", "json", "--encoding", "slots"]));
    assert!(slots["coefficients"].is_null());
    let auto = json(&stria(&["report", model, "--format", "json", "--encoding", "auto"]));
    assert_eq!(auto, json(&stria(&["report", model, "--format", "json"])), "auto is the default");
    let seconds = |report: &Value| report["predicted"]["seconds"].as_f64().expect("seconds");
    assert!(seconds(&auto) <= seconds(&slots) && seconds(&auto) <= seconds(&report));
    assert_eq!(auto["layers"].as_array().map(Vec::len), slots["layers"].as_array().map(Vec::len));
}

/// Coefficients that do not fit are refused before any key is made, and a compiled file keeps its encoding.
#[test]
fn coefficients_that_do_not_fit_are_refused() {
    let run = ["run", "examples/fashion_mnist/dense.stria", "--input", IMAGE, "--encoding", "coefficients"];
    let output = stria(&[&run[..], &["--ring", "4096", "--plain-bits", "40"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("layer `") && said.contains("the modulus leaves"), "{said}");
    assert!(said.trim_end().ends_with("use ring 8192"), "{said}");

    let folder = scratch();
    let file = folder.path().join("dense.striac").display().to_string();
    let compile = stria(&["compile", run[1], "--encoding", "coefficients", "-o", &file]);
    assert!(compile.status.success(), "{}", stderr(&compile));
    let report = json(&stria(&["report", &file, "--format", "json"]));
    assert_eq!(report["coefficients"]["ring"], 4096);
    let again = stria(&["report", &file, "--encoding", "slots"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("already compiled"), "{}", stderr(&again));
}

/// At this ring no moduli of 128 bits leave room for the flooding: no key is made.
#[test]
fn a_circuit_that_does_not_fit_is_refused_by_layer_and_bound() {
    let slots = ["--encoding", "slots"];
    let run = ["run", "examples/fashion_mnist/dense.stria", "--input", IMAGE, "--ring", "4096"];
    let output = stria(&[&run[..], &slots].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("layer `") && said.contains("the modulus leaves"), "{said}");
    let advice = "use ring 8192; `--encoding auto` and `--encoding coefficients` fit this ring";
    assert!(said.trim_end().ends_with(advice), "{said}");
    let checked = stria(&[&["check", run[1], "--ring", "4096"][..], &slots].concat());
    assert!(stderr(&checked).contains("--encoding coefficients"), "{}", stderr(&checked));
    let report = [&["report", run[1], "--ring", "4096", "--format", "json"][..], &slots].concat();
    let report = json(&stria(&report));
    assert_eq!(report["moduli"]["hidden_bits"], 0.0);
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

const WITHOUT_WEIGHTS: &str = "examples/shapes/resnet20.stria";
const EVAL: [&str; 4] =
    ["eval", "examples/fashion_mnist/stria.stria", "--data", "examples/fashion_mnist/test200.safetensors"];

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

#[test]
fn report_prices_the_bits() {
    let report = json(&stria(&["report", EVAL[1], "--format", "json"]));
    let found = &report["quantisation"];
    for key in
        ["weight_bits", "activation_bits", "ranges", "plain_bits", "deciding_layer", "prices", "layers"]
    {
        assert!(!found[key].is_null(), "no `{key}` in {found}");
    }
    let t = report["plain_modulus"].as_u64().expect("t");
    assert_eq!(found["plain_bits"], u64::BITS - t.leading_zeros());
    let layers = found["layers"].as_array().expect("layers");
    let planned = report["layers"].as_array().expect("layers").iter().filter(|l| !l["kernel"].is_null());
    assert!(planned.map(|l| &l["name"]).eq(layers.iter().map(|l| &l["name"])));
    let bounds: Vec<u64> = layers.iter().map(|l| l["accumulator_bound"].as_u64().expect("a bound")).collect();
    assert!(bounds.iter().all(|bound| 2 * bound < t));
    let prices = found["prices"].as_array().expect("prices");
    assert_eq!(prices[0]["plain_bits"], found["plain_bits"]);
    let today: u64 = report["modulus_bits"].as_array().unwrap().iter().map(|b| b.as_u64().unwrap()).sum();
    assert_eq!(prices[0]["modulus_bits"], today);
    let moduli: Vec<_> = prices.iter().map(|p| p["modulus_bits"].as_u64()).collect();
    assert!(prices.len() > 3 && moduli.is_sorted_by(|a, b| a >= b), "{moduli:?}");
    let fc = layers.last().expect("fc");
    assert_eq!(
        (&fc["name"], &fc["weight_bits"], &fc["input_bits"]),
        (&Value::from("fc"), &Value::from(8), &Value::from(8))
    );
    assert!(fc["shift"].is_null() && layers[0]["shift"].is_u64(), "{found}");
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

#[test]
fn many_large_pools_are_counted_at_once() {
    let folder = scratch();
    let pools = "x = max_pool(x, kernel: 3, stride: 1, pad: 1)\n".repeat(40);
    let text = format!("model m {{ input image: tensor[1, 40000, 50000] let x = image\n{pools} output x }}");
    let model = write(folder.path(), "m.stria", text.as_bytes()).display().to_string();
    let report = json(&stria(&["report", &model, "--format", "json"]));
    // Each window but those at the border has nine pixels, eight comparisons.
    let a_pool = (3 * 40_000 - 2) * (3 * 50_000 - 2) - 40_000 * 50_000_u64;
    assert_eq!(report["totals"]["comparisons"], 40 * a_pool);
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
fn a_compiled_file_checks_and_does_not_compile_again() {
    let folder = scratch();
    let file = folder.path().join("m.striac").display().to_string();
    assert!(stria(&["compile", "examples/shapes/resnet20.stria", "-o", &file]).status.success());
    assert_eq!(stria(&["check", &file]).status.code(), Some(0));
    let again = stria(&["compile", &file]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("already compiled"), "{}", stderr(&again));
}

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

/// One page, nothing fetched, nothing run; a file is replaced whole.
#[test]
fn report_as_a_page_stands_alone() {
    let folder = scratch();
    let models = ["examples/fashion_mnist/stria.stria", "examples/shapes/resnet20.stria"];
    let page = folder.path().join("page.html").display().to_string();
    std::fs::write(&page, "old").expect("a file is written");
    let output = stria(&["report", models[0], models[1], "--format", "html", "-o", &page]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", stderr(&output));
    let page = std::fs::read_to_string(&page).expect("the page is there");
    let reports = json(&stria(&["report", models[0], models[1], "--format", "json"]));
    for report in reports.as_array().expect("two reports") {
        let rotations = &report["totals"]["rotations"];
        for figure in [&rotations["total"], &rotations["internal"], &report["totals"]["plain_mults"]] {
            assert!(page.contains(&format!("<dd>{figure}</dd>")), "{figure}");
            assert!(page.contains(&format!("<td>{figure}</td>")), "{figure}");
        }
        for layer in report["layers"].as_array().expect("layers") {
            let name = layer["name"].as_str().expect("a name");
            assert!(page.contains(&format!("<th>{name}<small>")), "{name}");
        }
        for hint in report["hints"].as_array().expect("hints") {
            let change = hint["change"].as_str().expect("a change");
            assert!(page.contains(&change.replace('\'', "&#39;")), "{change}");
        }
    }
    let bars = page.matches("<i style=\"width:").count();
    let linear =
        reports.as_array().expect("two reports").iter().flat_map(|r| r["layers"].as_array()).flatten();
    let linear = linear.filter(|layer| layer["kernel"].is_string()).count();
    assert_eq!(
        bars,
        2 * linear + 2,
        "a bar of seconds and one of rotations a layer, one of rotations a model"
    );
    for outside in ["<script", "http:", "https:", "url(", "@import", "<link", "<img"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
    let opened = |tag: &str| page.matches(&format!("<{tag}")).count();
    for tag in ["table", "tr", "td", "dl", "dd", "section", "ul", "small"] {
        assert_eq!(opened(tag), page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn leaked_sparsity_is_said() {
    let folder = scratch();
    let file = folder.path().join("leaky.striac").display().to_string();
    let model = "examples/fashion_mnist/stria.stria";
    let output = stria(&["compile", model, "--leak-sparsity", "-o", &file]);
    assert!(output.status.success() && stderr(&output).contains("the client learns"), "{}", stderr(&output));
    let report = json(&stria(&["report", &file, "--format", "json"]));
    let shown = report["sparsity"]["plaintexts_shown"].as_u64();
    assert!(
        shown.is_some_and(|n| n >= report["totals"]["plain_mults"].as_u64().expect("a count")),
        "{report}"
    );
    let run = json(&stria(&["run", &file, "--input", IMAGE, "--backend", "clear", "--format", "json"]));
    assert_eq!(run["executed"]["plain_mults"], report["totals"]["plain_mults"]);
    let report = json(&stria(&["report", model, "--format", "json"]));
    assert!(report["sparsity"].is_null());
    let output = stria(&["report", "examples/shapes/resnet20.stria", "--leak-sparsity"]);
    assert!(stderr(&output).contains("no weights"), "{}", stderr(&output));
    let output = stria(&["report", &file, "--leak-sparsity"]);
    assert_eq!(output.status.code(), Some(1));
}
