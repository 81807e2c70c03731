//! A folder of PNG images whose names begin with their class: `9_ankle-boot_00000.png`.

use super::frame::Frame;
use super::{Data, InputError, extension, png};
use std::path::{Path, PathBuf};

/// The images of the frame's folder in the order of their names; other files in it are left alone.
///
/// Labels are there if every name begins with a number and `_`, absent if none does.
pub(super) fn load(frame: &Frame<'_>) -> Result<Data, InputError> {
    let paths = list(frame)?;
    let classes: Vec<Option<usize>> = paths.iter().map(|path| class_of_name(path)).collect();
    let labels = if classes.iter().all(Option::is_none) {
        None
    } else {
        let named = paths.iter().zip(classes);
        let label = |(path, class): (&PathBuf, Option<usize>)| {
            class.ok_or(InputError::LabelName { path: path.clone() })
        };
        Some(named.map(label).collect::<Result<_, _>>()?)
    };
    let images = paths.iter().map(|path| png::load(&frame.of(path))).collect::<Result<_, _>>()?;
    Ok(Data { images, labels })
}

/// The folder's PNG files, sorted; at least one, and no more than may be held.
fn list(frame: &Frame<'_>) -> Result<Vec<PathBuf>, InputError> {
    let io = |source| InputError::Io { path: frame.path(), source };
    let mut paths = Vec::new();
    for entry in frame.path.read_dir().map_err(io)? {
        let path = entry.map_err(io)?.path();
        if extension(&path).as_deref() == Some("png") {
            paths.push(path);
            frame.check_amount(paths.len())?;
        }
    }
    if paths.is_empty() {
        return Err(InputError::NoImages { path: frame.path() });
    }
    paths.sort();
    Ok(paths)
}

/// The class that a file's name tells: the number before the first `_`.
#[must_use]
pub fn class_of_name(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?;
    let (digits, _) = name.split_once('_')?;
    digits.parse().ok()
}
