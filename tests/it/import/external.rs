//! Data in files beside the model: plain files that really lie there, of the length that is said.

use super::build::{Net, computed};
use super::options;
use std::path::{Path, PathBuf};
use stria::import::{ImportError, Imported, TensorFault, import};

/// A 2x3 matrix, 24 bytes, in `location`.
fn model(location: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let entries = [&[("location", location)], more].concat();
    let net = Net::new(&[1, 3]).outside("w", &[3, 2], &entries);
    net.node("MatMul", &["input", "w"], "y", vec![]).bytes(&["y"])
}

/// The matrix's bytes, behind `skipped` others.
fn matrix(skipped: usize) -> Vec<u8> {
    let numbers = (1..=6_u8).flat_map(|v| f32::from(v).to_le_bytes());
    std::iter::repeat_n(0xff, skipped).chain(numbers).collect()
}

fn read(at: &Path, location: &str, more: &[(&str, &str)]) -> Result<Imported, ImportError> {
    import(model(location, more), Some(&at.join("model.onnx")), &options("x"))
}

fn fault(result: Result<Imported, ImportError>) -> TensorFault {
    let error = result.unwrap_err();
    let ImportError::Tensor { name, fault } = error else { panic!("{error}") };
    assert_eq!(name, "w");
    fault
}

fn is_right(result: Result<Imported, ImportError>) {
    assert_eq!(computed(&result.unwrap(), &[1.0, 10.0, 100.0]), [531.0, 642.0]);
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().to_owned();
    (at, path)
}

#[test]
fn offset_and_length_are_those_of_the_tensor() {
    let (_kept, at) = folder();
    std::fs::write(at.join("w.data"), matrix(5)).unwrap();
    is_right(read(&at, "w.data", &[("offset", "5")]));
    is_right(read(&at, "./w.data", &[("offset", "5"), ("length", "24")]));
    for found in [10, 23, 25, 29, u64::MAX] {
        let fault = fault(read(&at, "w.data", &[("offset", "5"), ("length", &found.to_string())]));
        assert_eq!(fault, TensorFault::Bytes { wanted: 24, found });
    }
    for (offset, end) in [(6, 30), (29, 53), (u64::MAX - 3, u64::MAX)] {
        let fault = fault(read(&at, "w.data", &[("offset", &offset.to_string())]));
        assert_eq!(fault, TensorFault::Beyond { location: "w.data".into(), end, length: 29 });
    }
    for (key, value) in [("offset", "-1"), ("length", "many")] {
        let fault = fault(read(&at, "w.data", &[(key, value)]));
        assert_eq!(fault, TensorFault::Number { key, value: value.into() });
    }
}

#[cfg(unix)]
#[test]
fn pipes_sockets_and_folders_are_not_opened() {
    use std::sync::mpsc;
    use std::time::Duration;
    let (_kept, at) = folder();
    let made = std::process::Command::new("mkfifo").arg(at.join("pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(at.join("socket")).unwrap();
    std::fs::create_dir(at.join("folder")).unwrap();
    for (location, kind) in [("pipe", "a pipe"), ("socket", "a socket"), ("folder", "a folder")] {
        let (done, waits) = mpsc::channel();
        let folder = at.clone();
        // An open pipe would wait for ever.
        std::thread::spawn(move || done.send(fault(read(&folder, location, &[]))));
        let found = waits.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(found, TensorFault::Special { location: location.into(), kind });
    }
}

#[cfg(unix)]
#[test]
fn links_do_not_lead_out_of_the_folder() {
    use std::os::unix::fs::symlink;
    let (_kept, root) = folder();
    let (at, other) = (root.join("model"), root.join("other"));
    for path in [&at, &other, &at.join("data")] {
        std::fs::create_dir(path).unwrap();
    }
    std::fs::write(at.join("data/w.bin"), matrix(0)).unwrap();
    std::fs::write(other.join("secret"), matrix(0)).unwrap();
    symlink("data/w.bin", at.join("within")).unwrap();
    is_right(read(&at, "within", &[]));
    is_right(read(&at, "data/w.bin", &[]));
    symlink("../other/secret", at.join("file")).unwrap();
    symlink("../other", at.join("way")).unwrap();
    symlink("/dev/zero", at.join("zero")).unwrap();
    let target = other.join("secret").canonicalize().unwrap().display().to_string();
    for location in ["file", "way/secret"] {
        let found = fault(read(&at, location, &[]));
        assert_eq!(found, TensorFault::Linked { location: location.into(), target: target.clone() });
    }
    assert!(matches!(fault(read(&at, "zero", &[])), TensorFault::Linked { .. }));
    assert_eq!(fault(read(&at, "../other/secret", &[])), TensorFault::Location("../other/secret".into()));
    // A folder of a like name is another folder.
    std::fs::create_dir(root.join("model2")).unwrap();
    std::fs::write(root.join("model2/w"), matrix(0)).unwrap();
    symlink("../model2/w", at.join("near")).unwrap();
    assert!(matches!(fault(read(&at, "near", &[])), TensorFault::Linked { .. }));
}

/// A cache of models keeps files under their hashes, and links to them under their names.
#[cfg(unix)]
#[test]
fn models_that_are_links_find_their_data() {
    use std::os::unix::fs::symlink;
    let (_kept, root) = folder();
    let (blobs, named) = (root.join("blobs"), root.join("snapshots"));
    std::fs::create_dir(&blobs).unwrap();
    std::fs::create_dir(&named).unwrap();
    std::fs::write(blobs.join("0a"), model("w.data", &[])).unwrap();
    std::fs::write(blobs.join("0b"), matrix(0)).unwrap();
    symlink("../blobs/0a", named.join("model.onnx")).unwrap();
    symlink("../blobs/0b", named.join("w.data")).unwrap();
    is_right(read(&named, "w.data", &[]));
    // The folder itself may be a link, too.
    symlink("snapshots", root.join("current")).unwrap();
    is_right(read(&root.join("current"), "w.data", &[]));
    // The data may lie beside the model's own file under their own name.
    std::fs::remove_file(named.join("w.data")).unwrap();
    std::fs::write(blobs.join("w.data"), matrix(0)).unwrap();
    is_right(read(&named, "w.data", &[]));
    // Where the model is a plain file, its folder is the only one.
    std::fs::remove_file(named.join("model.onnx")).unwrap();
    std::fs::write(named.join("model.onnx"), model("w.data", &[])).unwrap();
    assert!(matches!(read(&named, "w.data", &[]), Err(ImportError::External { .. })));
    symlink("../blobs/0b", named.join("w.data")).unwrap();
    assert!(matches!(fault(read(&named, "w.data", &[])), TensorFault::Linked { .. }));
}
