//! `stria bench`: what it counts and tells, what it refuses, and that a wrong layer is found.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::bench::{BenchError, Job, Parties, Steps, random_weights};
use stria::compile::{Encode, Options, compile};
use stria::compiled::Compiled;
use stria::diag::SourceFile;
use stria::exec::Kept;
use stria::{resolve, syntax};

const MODEL: &str = "model small {
    ring: 4096
    input x: tensor[2, 8, 8]
    let y = conv(x, out: 4, kernel: 3x3, pad: same, name: \"first\") |> relu
    let y = conv(y, out: 4, kernel: cross(3), stride: 2, pad: 1, name: \"second\") |> relu
    output y |> global_avg_pool |> linear(out: 3, name: \"last\")
}
";

fn stria(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stria"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(args).output().expect("the program starts")
}

fn json(args: &[&str]) -> Value {
    let output = stria(&[args, &["--format", "json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("stdout holds one JSON value and nothing else")
}

/// The exit code and what was said.
fn refused(args: &[&str]) -> (Option<i32>, String) {
    let output = stria(args);
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn model(folder: &Path) -> PathBuf {
    let path = folder.join("small.stria");
    std::fs::write(&path, MODEL).expect("a file is written");
    path
}

fn compiled(encode: Encode) -> Compiled {
    let source = SourceFile { name: "small.stria".into(), text: MODEL.into() };
    let ast = syntax::parse(&source).unwrap_or_else(|d| panic!("{}", d.render(&source)));
    let model = resolve::resolve(&ast, None).0.unwrap();
    compile(&model, None, None, Options { encode, ..Options::default() }).unwrap().compiled
}

#[test]
fn what_runs_is_what_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let path = path.to_str().unwrap();
    for encoding in ["slots", "coefficients"] {
        let ring = if encoding == "slots" { "8192" } else { "4096" };
        let options = ["--encoding", encoding, "--ring", ring];
        let report = json(&[&["report", path][..], &options].concat());
        let bench = json(&[&["bench", path, "--threads", "1,2", "--runs", "2"][..], &options].concat());
        assert_eq!((&bench["model"], &bench["weights"]), (&"small".into(), &"random(1)".into()));
        assert_eq!(bench["plain_modulus"], report["plain_modulus"]);
        for key in
            ["rotations", "key_switches", "plain_mults", "adds", "ciphertexts_in", "bytes_up", "bytes_down"]
        {
            assert_eq!(bench["totals"][key], report["totals"][key], "{key} in {encoding}");
        }
        let layers = bench["layers"].as_array().unwrap();
        let names: Vec<_> = layers.iter().map(|layer| layer["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["first", "second", "last"]);
        for layer in layers.iter().chain([&bench["totals"]]) {
            assert!(layer.get("as_planned").is_none_or(|planned| planned == true), "{layer}");
            let measured = layer["measured"].as_array().unwrap();
            let threads: Vec<_> = measured.iter().map(|on| on["threads"].as_u64().unwrap()).collect();
            assert_eq!(threads, [1, 2]);
            for seconds in measured.iter().chain([&layer["predicted"]]) {
                for stage in ["encrypt", "read", "evaluate", "reply", "decrypt", "server", "client"] {
                    assert!(seconds[stage].as_f64().unwrap() > 0.0, "{stage} in {seconds}");
                }
            }
        }
        assert_eq!(bench["totals"]["speedup"].as_array().unwrap().len(), 2);
        let server = bench["totals"]["predicted"]["server"].as_f64().unwrap();
        let estimated = report["totals"]["estimated_seconds"].as_f64().unwrap();
        assert!((server - estimated).abs() < 1e-5, "{server} here, {estimated} reported");
        // Four runs of 4 x 8 x 8, 4 x 4 x 4 and 3 values.
        assert_eq!(bench["values_checked"], 4 * (256 + 64 + 3));
        assert!(bench["peak_memory"].as_u64().unwrap() > 0);
    }
}

#[test]
fn steps_between_the_layers_run_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let bench = json(&["bench", path.to_str().unwrap(), "--backend", "clear", "--activations"]);
    let report = json(&["report", path.to_str().unwrap()]);
    let steps = bench["activations"]["layers"].as_array().unwrap();
    let planned = report["layers"].as_array().unwrap().iter().filter(|layer| layer["kernel"].is_null());
    assert_eq!(steps.len(), planned.count());
    let bytes = |key: &str| report["totals"][key].as_u64().unwrap();
    assert_eq!(bench["activations"]["bytes"], bytes("bytes_nonlinear") + bytes("bytes_preprocess"));
    assert!(bench["predicted_memory"].is_null(), "nothing is encrypted");
}

#[test]
fn layers_are_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let path = path.to_str().unwrap();
    let bench = json(&["bench", path, "--backend", "clear", "--layers", "last,first"]);
    let names: Vec<_> = bench["layers"].as_array().unwrap().iter().map(|layer| &layer["name"]).collect();
    assert_eq!(names, ["last", "first"]);
    let (code, said) = refused(&["bench", path, "--layers", "third"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("no linear layer `third`; there are first, second, last"), "{said}");
}

#[test]
fn whole_plans_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let plans = json(&["bench", path.to_str().unwrap(), "--plans", "--ring", "8192", "--backend", "clear"]);
    let plans = plans["plans"].as_array().unwrap();
    let names: Vec<_> = plans.iter().map(|plan| plan["plan"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 5);
    assert!(names.contains(&"planned") && names.contains(&"all coefficients"), "{names:?}");
    let chosen = plans.iter().find(|plan| plan["plan"] == "planned").unwrap();
    let seconds = |plan: &Value| {
        let predicted = &plan["totals"]["predicted"];
        Some(predicted["server"].as_f64()? + predicted["client"].as_f64()?)
    };
    for plan in plans.iter().filter_map(seconds) {
        // Bytes are weighed too, and are not in it.
        assert!(seconds(chosen).unwrap() < 1.5 * plan, "{plan} beside the plan chosen");
    }
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let path = path.to_str().unwrap();
    let dense = "examples/fashion_mnist/dense.stria";
    let (code, said) = refused(&["bench", dense, "--random-weights", "2"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("`fashion_dense` has weights") && said.contains("--random-weights"), "{said}");
    let (code, said) = refused(&["report", path, "--threads", "1,2"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("--threads takes one number here"), "{said}");
    for usage in [&["--runs", "0"][..], &["--plans", "--layers", "first"], &["--backend", "reference"]] {
        assert_eq!(refused(&[&["bench", path][..], usage].concat()).0, Some(2), "{usage:?}");
    }
}

/// Runs one layer of `compiled` on plain slots.
fn ran(compiled: &Compiled, layer: usize) -> Result<(), BenchError> {
    let node = compiled.plan.layers[layer].node;
    let weights = random_weights(&compiled.network, node, 7).unwrap();
    let job = Job::new(compiled, layer, weights, 7)?;
    let parties = Parties::<ClearKeys, ClearEvaluator>::connect(compiled, &[layer])?;
    parties.run(&job, &Kept::none()).map(drop)
}

#[test]
fn a_wrong_layer_is_found_and_named() {
    for encode in [Encode::Slots, Encode::Coefficients] {
        let mut compiled = compiled(encode);
        for layer in 0..3 {
            ran(&compiled, layer).unwrap();
        }
        // One product too few.
        let terms = &mut compiled.circuit.segments[1].terms;
        assert!(terms.len() > 1);
        terms[0] = terms[1];
        let wrong = ran(&compiled, 1).unwrap_err();
        let BenchError::Wrong { layer, differ, values } = wrong else { panic!("{wrong}") };
        assert_eq!((layer.as_str(), values), ("second", 64));
        assert!((1..=64).contains(&differ));
        ran(&compiled, 0).unwrap();
    }
}

#[test]
fn weights_of_a_seed_are_the_same_again_and_stay_within_their_taps() {
    let compiled = compiled(Encode::Slots);
    let node = compiled.plan.layers[1].node;
    let weights = |seed| random_weights(&compiled.network, node, seed).unwrap().weight;
    assert_eq!(weights(3), weights(3));
    assert_ne!(weights(3), weights(4));
    for (at, &weight) in weights(3).data.iter().enumerate() {
        let (row, column) = (at % 9 / 3, at % 3);
        assert!((-127..=127).contains(&weight));
        assert!(row == 1 || column == 1 || weight == 0, "a corner is no tap of a cross");
    }
    assert!(random_weights(&compiled.network, stria::graph::NodeId(0), 3).is_none());
}

#[test]
fn steps_are_compared_with_their_definition() {
    let compiled = compiled(Encode::Slots);
    let (network, t) = (&compiled.network, compiled.params.plain_modulus);
    let mut steps = Steps::connect().unwrap();
    let mut ran = 0;
    for id in network.graph.ids() {
        let times = steps.run(network, id, t, 5).unwrap();
        assert_eq!(times.is_some(), network.nonlinear_work(id).is_some());
        ran += usize::from(times.is_some_and(|times| times.traffic.sent > 0));
    }
    assert!(ran > 0);
}
