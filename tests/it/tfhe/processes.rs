//! The four steps as users run them: four processes, each given only its own files.

use std::path::Path;
use std::process::{Command, Output};

fn stria(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stria"));
    command.current_dir(folder).args(args).output().expect("the program starts")
}

fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(output: &Output, with: &str) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(with), "{message}");
}

/// Logits of this network tell its images apart.
const MODEL: &str = "model apart {
    ring: 4096
    weights: random(1)
    quantize: { weights: 3, activations: 2 }
    input image: tensor[2, 6, 6] { mean: 0.4, std: 0.3, bits: 4 }
    let x = conv(image, out: 3, kernel: 3x3, stride: 2, pad: same) |> relu
    let x = add(x, conv(x, out: 3, kernel: 1x1)) |> relu
    output flatten(x) |> linear(out: 4)
}";

/// How far noise may move a logit: six activations of the last layer, each one step off, weigh at most 3 each in
/// it. Some 0.4 activations of an image are expected to change, in the first layer, and seldom any of the last.
const NOISE: u64 = 18;

/// A grey image as `.npy`: U8, 2 channels of 6 x 6.
fn image(pixel: impl Fn(u8) -> u8) -> Vec<u8> {
    let mut header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 6, 6), }".to_owned();
    header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend((0..72_u8).map(pixel));
    bytes
}

#[test]
fn four_processes() {
    let folder = tempfile::tempdir().unwrap();
    let (client, server) = (folder.path().join("client"), folder.path().join("server"));
    for side in [&client, &server] {
        std::fs::create_dir(side).unwrap();
    }
    let pass = |from: &Path, to: &Path, name: &str| {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    };
    std::fs::write(server.join("apart.stria"), MODEL).unwrap();
    std::fs::write(client.join("image.npy"), image(|i| i.wrapping_mul(47))).unwrap();
    std::fs::write(client.join("negative.npy"), image(|i| !i.wrapping_mul(47))).unwrap();
    ok(&stria(&server, &["evaluate", "apart.stria", "--card", "apart.card"]));
    pass(&server, &client, "apart.card");
    ok(&stria(&client, &["keygen", "-o", "."]));
    secret_is_its_owners(&client.join("client.key"));
    refused(&stria(&client, &["keygen", "-o", "."]), "exists already");
    pass(&client, &server, "evaluation.key");
    let mut answers = Vec::new();
    // The last one's files stay for `damaged`.
    for name in ["negative.npy", "image.npy"] {
        let encrypt = ["encrypt", "apart.card", "--key", "client.key", "--input", name, "-o", "image.ct"];
        ok(&stria(&client, &encrypt));
        pass(&client, &server, "image.ct");
        let evaluated = stria(&server, &EVALUATE);
        ok(&evaluated);
        let told = String::from_utf8_lossy(&evaluated.stderr).into_owned();
        assert!(told.contains("bootstraps an image at"), "the time is predicted: {told}");
        pass(&server, &client, "answer.ct");
        let found = logits(&ok(&stria(&client, &DECRYPT)));
        pass(&client, &server, name);
        let of = |backend| {
            let run = ["run", "apart.stria", "--mode", "tfhe", "--backend", backend, "--input", name];
            logits(&ok(&stria(&server, &[&run[..], &["--format", "json"]].concat())))
        };
        let (exact, simulated) = (of("reference"), of("clear"));
        assert_eq!((found.len(), exact.len(), simulated.len()), (4, 4, 4));
        assert!(furthest(&found, &exact) <= NOISE, "{found:?}, exact {exact:?}");
        assert!(furthest(&simulated, &exact) <= NOISE, "{simulated:?}, exact {exact:?}");
        answers.push(exact);
        std::fs::remove_file(server.join(name)).unwrap();
    }
    // No answer passes for both images.
    let apart = furthest(&answers[0], &answers[1]);
    assert!(apart > 2 * NOISE, "logits tell images apart: {answers:?}");

    damaged(&client, &server, &EVALUATE, &DECRYPT);
    mixed_up(&client, &server);
    targets(&client, &server);
}

/// The steps in odd orders, with files of other clients, other models and other kinds.
fn mixed_up(client: &Path, server: &Path) {
    let other = client.join("other");
    ok(&stria(client, &["keygen", "-o", "other"]));
    std::fs::copy(other.join("evaluation.key"), server.join("other.key")).unwrap();
    let answer = std::fs::read(server.join("answer.ct")).unwrap();
    let with = |place: usize, name: &'static str| {
        let mut args = EVALUATE;
        args[place] = name;
        stria(server, &args)
    };
    refused(&with(3, "other.key"), "encrypted under another key");
    refused(&with(3, "image.ct"), "this is an encrypted image, wanted is an evaluation key");
    std::fs::copy(server.join("answer.ct"), server.join("old.ct")).unwrap();
    refused(&with(5, "old.ct"), "this is an encrypted answer, wanted is an encrypted image");
    refused(&with(5, "other.key"), "this is an evaluation key, wanted is an encrypted image");
    refused(&with(5, "absent.ct"), "absent.ct");
    std::fs::write(server.join("wider.stria"), MODEL.replace("2, 6, 6", "2, 8, 8")).unwrap();
    refused(&with(1, "wider.stria"), "made for another model");
    assert_eq!(std::fs::read(server.join("answer.ct")).unwrap(), answer, "nothing is lost");

    let decrypt = |key, input| stria(client, &["decrypt", "--key", key, "--input", input]);
    refused(&decrypt("other/client.key", "answer.ct"), "encrypted under another key");
    refused(
        &decrypt("evaluation.key", "answer.ct"),
        "this is an evaluation key, wanted is a client's secret key",
    );
    refused(&decrypt("client.key", "image.ct"), "this is an encrypted image, wanted is an encrypted answer");
    refused(&decrypt("client.key", "client.key"), "this is a client's secret key");
    refused(&decrypt("apart.card", "answer.ct"), "this is a model card");
    let encrypt =
        |card, key| stria(client, &["encrypt", card, "--key", key, "--input", "image.npy", "-o", "again.ct"]);
    refused(&encrypt("apart.card", "evaluation.key"), "this is an evaluation key");
    refused(&encrypt("client.key", "client.key"), "this is a client's secret key, wanted is a model card");
    assert!(!client.join("again.ct").exists());
    let unasked = stria(server, &["evaluate", "apart.stria"]);
    assert_eq!(unasked.status.code(), Some(2), "{}", String::from_utf8_lossy(&unasked.stderr));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(other.join("client.key"), open).unwrap();
        let told = encrypt("apart.card", "other/client.key");
        ok(&told);
        let told = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.contains("others than its owner"), "{told}");
    }
}

/// Results never replace what they are made from; a place that cannot be written is told before the work.
fn targets(client: &Path, server: &Path) {
    let all = |folder: &Path| {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = files.filter(|path| path.is_file()).collect();
        files.sort();
        files.into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = (all(client), all(server));
    std::fs::create_dir(server.join("folder")).unwrap();
    for name in ["image.ct", "evaluation.key", "apart.stria", "./image.ct"] {
        let mut args = EVALUATE;
        args[7] = name;
        refused(&stria(server, &args), "would replace a file that it is made from");
    }
    for (name, with) in [("folder", "a folder"), ("absent/answer.ct", "absent")] {
        let mut args = EVALUATE;
        args[7] = name;
        let output = stria(server, &args);
        refused(&output, with);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("bootstraps"), "told before the work");
    }
    refused(&stria(server, &["evaluate", "apart.stria", "--card", "apart.stria"]), "would replace");
    for name in ["client.key", "image.npy", "apart.card"] {
        let encrypt = ["encrypt", "apart.card", "--key", "client.key", "--input", "image.npy", "-o", name];
        refused(&stria(client, &encrypt), "would replace");
    }
    refused(&stria(client, &["keygen", "-o", "client.key"]), "client.key");
    assert!(before == (all(client), all(server)), "every file is as it was, and none is new");
}

const SHIPPED: &str = "examples/fashion_mnist_tfhe/fashion.stria";
const CALIBRATION: &str = "examples/fashion_mnist/calibration.safetensors";
const TEST: &str = "examples/fashion_mnist/test200.safetensors";

/// What accumulators may reach is chosen, told, and enough for a model that brings no images.
#[test]
fn reaches_are_chosen_on_the_command_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let report = |model: &str, more: &[&str]| {
        stria(root, &[&["report", model, "--mode", "tfhe", "--format", "json"], more].concat())
    };
    let own: serde_json::Value = serde_json::from_str(&ok(&report(SHIPPED, &[]))).unwrap();
    let images = own["images"].as_u64().unwrap();
    assert!(own["seen"] == true && images >= 16, "{own}");
    assert!(own["totals"]["beyond"].as_f64().unwrap() < 1e-2, "{own}");
    // It fits with proven bounds too, with so much noise that it is warned of.
    let proven = report(SHIPPED, &["--reach", "proven"]);
    let told: serde_json::Value = serde_json::from_str(&ok(&proven)).unwrap();
    assert!(told["seen"] == false && told["totals"]["beyond"] == 0.0, "{told}");
    let warned = |output: &Output| String::from_utf8_lossy(&output.stderr).contains("warning: noise changes");
    assert!(warned(&proven) && !warned(&report(SHIPPED, &[])));
    refused(&report(SHIPPED, &["--reach", "absent.npy"]), "absent.npy");
    let compiled = folder.path().join("fashion.striac");
    let compiled = compiled.to_str().unwrap();
    ok(&stria(root, &["compile", SHIPPED, "-o", compiled]));
    let without = report(compiled, &[]);
    ok(&without);
    assert!(warned(&without) && String::from_utf8_lossy(&without.stderr).contains("--reach FILE"));
    let again: serde_json::Value =
        serde_json::from_str(&ok(&report(compiled, &["--reach", CALIBRATION]))).unwrap();
    assert_eq!(again, own, "the same images show the same");
    // A single image: whatever it shows, others will show more.
    let image = "examples/fashion_mnist/images/9_ankle-boot_00000.png";
    let few = report(SHIPPED, &["--reach", image]);
    ok(&few);
    let few = String::from_utf8_lossy(&few.stderr).into_owned();
    assert!(few.contains("one calibration image alone"), "{few}");
    let eval = ["eval", SHIPPED, "--mode", "tfhe", "--data", TEST, "--format", "json"];
    let beyond = |more: &[&str]| {
        let text = ok(&stria(root, &[&eval[..], more].concat()));
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let (own, few) = (beyond(&[]), beyond(&["--reach", image]));
    assert_eq!((own["n"].as_u64(), own["beyond_reach"].as_u64()), (Some(200), Some(0)), "{own}");
    assert!(few["beyond_reach"].as_u64().unwrap() > 20, "{few}");
    let skipped = beyond(&["--skip", "190"]);
    assert_eq!(skipped["n"].as_u64(), Some(10), "{skipped}");
}

/// Options that mean nothing in this mode are refused, not dropped; the page is a page.
#[test]
fn options_of_the_mode() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let report = |more: &[&str]| stria(root, &[&["report", SHIPPED], more].concat());
    for option in [["--ring", "8192"], ["--encoding", "slots"], ["--accounting", "cryptflow2"]] {
        refused(&report(&[&["--mode", "tfhe"], &option[..]].concat()), option[0]);
    }
    refused(&report(&["--reach", "proven"]), "--reach is for --mode tfhe");
    let page = ok(&report(&["--mode", "tfhe", "--format", "html"]));
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{page}");
    for text in ["fashion_tfhe", "relu1", "1152", "bootstraps", "~", "shipped costs"] {
        assert!(page.contains(text), "{text}");
    }
    for tag in ["table", "tr", "section", "dl", "div", "p"] {
        let count = |what: &str| page.matches(what).count();
        let opened = count(&format!("<{tag}>")) + count(&format!("<{tag} "));
        assert_eq!(opened, count(&format!("</{tag}>")), "{tag}");
    }
    assert!(!page.contains("<script") && !page.contains("http"));
    let both = stria(root, &["report", SHIPPED, SHIPPED, "--mode", "tfhe", "--format", "html"]);
    assert!(ok(&both).contains("class=\"compare\""));
}

const EVALUATE: [&str; 8] =
    ["evaluate", "apart.stria", "--key", "evaluation.key", "--input", "image.ct", "-o", "answer.ct"];
const DECRYPT: [&str; 7] = ["decrypt", "--key", "client.key", "--input", "answer.ct", "--format", "json"];

fn furthest(a: &[i64], b: &[i64]) -> u64 {
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// Each file with a byte changed is refused by name.
fn damaged(client: &Path, server: &Path, evaluate: &[&str], decrypt: &[&str]) {
    for (folder, name, args) in [
        (server, "evaluation.key", evaluate),
        (server, "image.ct", evaluate),
        (client, "answer.ct", decrypt),
        (client, "client.key", decrypt),
    ] {
        let path = folder.join(name);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        refused(&stria(folder, args), "altered or damaged");
        std::fs::write(&path, &good[..middle]).unwrap();
        refused(&stria(folder, args), name);
        std::fs::write(&path, &good).unwrap();
    }
}

fn logits(text: &str) -> Vec<i64> {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    value["output"]["logits"].as_array().unwrap().iter().map(|logit| logit.as_i64().unwrap()).collect()
}

#[cfg(unix)]
fn secret_is_its_owners(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[cfg(not(unix))]
fn secret_is_its_owners(_: &Path) {}
