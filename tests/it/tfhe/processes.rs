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
