//! `stria report`, and what a run costs beside it.

use super::{COUNTERS, EVAL, IMAGE, WITHOUT_WEIGHTS, assert_counters, json, scratch, stderr, stria, write};
use serde_json::Value;

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
    let totals = &report["totals"];
    assert_eq!(prices[0]["online_bytes"], totals["bytes_nonlinear"]);
    assert_eq!(prices[0]["ahead_bytes"], totals["bytes_preprocess"]);
    assert_eq!(prices[0]["nonlinear_seconds"], report["estimated_nonlinear_seconds"]);
    for key in ["online_bytes", "ahead_bytes", "nonlinear_seconds", "nonlinear_lan_seconds"] {
        let of_bits: Vec<f64> = prices.iter().map(|p| p[key].as_f64().expect("a price")).collect();
        assert!(of_bits.is_sorted_by(|a, b| a > b), "{key} of fewer bits: {of_bits:?}");
    }
    let fc = layers.last().expect("fc");
    assert_eq!(
        (&fc["name"], &fc["weight_bits"], &fc["input_bits"]),
        (&Value::from("fc"), &Value::from(8), &Value::from(8))
    );
    assert!(fc["shift"].is_null() && layers[0]["shift"].is_u64(), "{found}");
}

/// A line for every bit, also where the ring has no such prime; the layers that ask for most.
/// A row is what the report says of the t of so many bits, where accumulators fit it as they are.
#[test]
fn prices_are_those_of_the_plain_modulus_when_it_is_asked_for() {
    let of = |bits: &str| {
        json(&stria(&[
            "report",
            "examples/fashion_mnist/narrow.stria",
            "--plain-bits",
            bits,
            "--encoding",
            "slots",
            "--format",
            "json",
        ]))
    };
    let (wide, narrow) = (of("27"), of("24"));
    let prices = wide["quantisation"]["prices"].as_array().expect("prices");
    let row = prices.iter().find(|price| price["plain_bits"] == 24).expect("a row of 24 bits");
    assert_eq!(row["online_bytes"], narrow["totals"]["bytes_nonlinear"]);
    assert_eq!(row["ahead_bytes"], narrow["totals"]["bytes_preprocess"]);
    assert_eq!(row["nonlinear_seconds"], narrow["estimated_nonlinear_seconds"]);
    // 23 bits hold them too, though the smallest prime of 23 bits does not.
    assert_eq!(of("23")["quantisation"]["plain_bits"], 23);
}

#[test]
fn the_price_of_each_bit_is_shown() {
    let text = |format: &str| {
        let output = stria(&["report", EVAL[1], "--format", format]);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let report: Value = serde_json::from_str(&text("json")).expect("JSON");
    let found = &report["quantisation"];
    let numbers = |key: &str| found[key].as_array().expect("an array").clone();
    assert_eq!(numbers("without_prime"), [Value::from(19)], "at ring 8192");
    let mut bits: Vec<u64> = numbers("prices").iter().filter_map(|p| p["plain_bits"].as_u64()).collect();
    bits.extend(numbers("without_prime").iter().filter_map(Value::as_u64));
    bits.sort_unstable_by_key(|bits| std::cmp::Reverse(*bits));
    let shown = text("text");
    let lines: Vec<&str> = shown.lines().skip_while(|line| !line.starts_with("bits of t")).skip(1).collect();
    for (line, bits) in lines.iter().zip(&bits) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], bits.to_string(), "{line}");
        let price = numbers("prices").into_iter().find(|price| price["plain_bits"] == *bits);
        match price {
            Some(price) => assert_eq!(words[1], price["modulus_bits"].to_string(), "{line}"),
            None => assert_eq!(words[1..], ["no", "prime"], "{line}"),
        }
    }
    assert!(bits.len() == 7 && lines[7].starts_with("passes"), "{shown}");
    let most = numbers("layers").into_iter().max_by_key(|layer| layer["accumulator_bits"].as_u64());
    let most = most.expect("layers");
    // The pool adds up more than any linear layer: it comes first.
    let [deciding, name] = [&found["deciding_layer"], &most["name"]].map(|name| name.as_str().unwrap());
    assert_ne!(deciding, name);
    let need = format!(
        "layers need   {} bits {deciding}; {} bits {name}",
        found["plain_bits"], most["accumulator_bits"]
    );
    assert!(shown.contains(&need), "{need}: {shown}");
    let page = text("html");
    assert!(page.contains("<tr><th>19</th><td colspan=\"6\">no prime at ring 8192</td></tr>"), "{page}");
    assert!(page.contains(&format!("<tr><th>{}</th><td class=\"n\">", bits[0])), "{page}");
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

#[test]
fn a_network_that_cryptflow2_cannot_run_hides_no_other() {
    let models = ["examples/shapes/mobilenet_v2.stria", WITHOUT_WEIGHTS];
    let output =
        stria(&[&["report"], &models[..], &["--accounting", "cryptflow2", "--format", "json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.contains(models[0]) && error.contains("cannot run layer"), "{error}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("the other model's report");
    assert_eq!((&report["model"], &report["accounting"]), (&"resnet20".into(), &"cryptflow2".into()));
}

#[test]
fn models_of_one_name_stay_apart() {
    let reports = json(&stria(&["report", WITHOUT_WEIGHTS, WITHOUT_WEIGHTS, "--format", "json"]));
    assert_eq!((&reports[0]["model"], &reports[1]["model"]), (&"resnet20".into(), &"resnet20 (2)".into()));
    assert_eq!(reports[0]["totals"], reports[1]["totals"]);
}
