//! The four steps as users run them: four processes, each given only its own files.

use super::small;
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

/// A grey image as `.npy`: U8, 2 channels of 6 x 6.
fn image() -> Vec<u8> {
    let mut header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 6, 6), }".to_owned();
    header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend((0..72_u8).map(|i| i.wrapping_mul(47)));
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
    std::fs::write(server.join("small.stria"), small()).unwrap();
    std::fs::write(client.join("image.npy"), image()).unwrap();
    ok(&stria(&server, &["evaluate", "small.stria", "--card", "small.card"]));
    pass(&server, &client, "small.card");
    ok(&stria(&client, &["keygen", "-o", "."]));
    secret_is_its_owners(&client.join("client.key"));
    refused(&stria(&client, &["keygen", "-o", "."]), "exists already");
    let encrypt = ["encrypt", "small.card", "--key", "client.key", "--input", "image.npy", "-o", "image.ct"];
    ok(&stria(&client, &encrypt));
    pass(&client, &server, "image.ct");
    pass(&client, &server, "evaluation.key");
    let evaluate =
        ["evaluate", "small.stria", "--key", "evaluation.key", "--input", "image.ct", "-o", "answer.ct"];
    let evaluated = stria(&server, &evaluate);
    ok(&evaluated);
    let told = String::from_utf8_lossy(&evaluated.stderr).into_owned();
    assert!(told.contains("bootstraps an image at"), "the time is predicted: {told}");
    pass(&server, &client, "answer.ct");
    let decrypt = ["decrypt", "--key", "client.key", "--input", "answer.ct", "--format", "json"];
    let found = logits(&ok(&stria(&client, &decrypt)));

    pass(&client, &server, "image.npy");
    let reference =
        ["run", "small.stria", "--mode", "tfhe", "--backend", "reference", "--input", "image.npy"];
    let exact = logits(&ok(&stria(&server, &[&reference[..], &["--format", "json"]].concat())));
    let simulate = ["run", "small.stria", "--mode", "tfhe", "--backend", "clear", "--input", "image.npy"];
    let simulated = logits(&ok(&stria(&server, &[&simulate[..], &["--format", "json"]].concat())));
    assert_eq!(found.len(), 4);
    for (found, others) in found.iter().zip(exact.iter().zip(&simulated)) {
        // An activation that is one step off weighs at most 3 in a logit; five of them are many.
        assert!(found.abs_diff(*others.0) <= 15 && others.1.abs_diff(*others.0) <= 15, "{found} {others:?}");
    }
    assert!(exact.iter().any(|logit| logit.abs() > 20), "logits tell something: {exact:?}");

    damaged(&client, &server, &evaluate, &decrypt);
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
