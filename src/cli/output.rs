//! Results on stdout or into a file, whole or not at all.

use super::Format;
use super::failure::Failure;
use crate::input::{InputError, write_atomically};
use serde::Serialize;
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Renders `value` in `format`.
pub(super) fn render<T: Serialize + Display>(value: &T, format: Format) -> Result<String, Failure> {
    let internal = |e: &dyn Display| Failure::Internal(format!("cannot write the result: {e}"));
    let mut text = match format {
        Format::Text => value.to_string(),
        Format::Json => serde_json::to_string_pretty(value).map_err(|e| internal(&e))?,
        Format::Yaml => serde_yaml::to_string(value).map_err(|e| internal(&e))?,
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Refuses to write over a file that the command has read.
pub(super) fn spare(file: &Path, inputs: &[PathBuf]) -> Result<(), Failure> {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let target = real(file);
    if target.is_some() && inputs.iter().any(|input| real(input) == target) {
        return Err(Failure::User(format!(
            "{}: the result would replace a file that it is made from; choose another name",
            file.display()
        )));
    }
    Ok(())
}

/// Refuses a file that is a folder, or in one that does not exist or takes no files, before long work is done for
/// it.
pub(super) fn reachable(file: &Path) -> Result<(), Failure> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if file.is_dir() {
        return Err(Failure::User(format!("{}: a folder; give a file in it", file.display())));
    }
    if !folder.is_dir() {
        return Err(InputError::NoFolder { path: file.to_owned() }.into());
    }
    // What is there and no file, as a pipe, is written to directly.
    if !file.exists() || file.is_file() {
        let io = |source| InputError::Io { path: file.to_owned(), source };
        tempfile::Builder::new().prefix(".stria-").tempfile_in(folder).map_err(io)?;
    }
    Ok(())
}

/// Writes `text` to `file`, or to stdout.
pub(super) fn write(text: &str, file: Option<&Path>) -> Result<(), Failure> {
    match file {
        Some(path) => write_atomically(path, text.as_bytes()).map_err(Failure::user),
        None => {
            let mut out = std::io::stdout().lock();
            match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                // Whoever reads us may stop early, as `head` does.
                Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                Err(e) => Err(Failure::user(e)),
                Ok(()) => Ok(()),
            }
        }
    }
}

/// The most memory that the process has held, in bytes, where the system tells it.
pub(super) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}
