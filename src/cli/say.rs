//! Words to the user on stderr.

use std::io::Write;

/// Writes `text` to stderr. Nobody may be listening: then nothing is to be done about it.
pub(super) fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
