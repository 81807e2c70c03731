//! Whole files: read up to a limit, written so that no one ever sees a half.

use super::InputError;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The bytes of a file of at most `limit` bytes.
///
/// The length is asked first, and then not trusted: pipes have none.
///
/// # Errors
/// If the operating system refuses, the file is a device, or it is longer than `limit`.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, InputError> {
    let io = |source| InputError::Io { path: path.to_owned(), source };
    let too_large = || InputError::TooLarge { path: path.to_owned(), limit };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if endless(&metadata) {
        return Err(InputError::Device { path: path.to_owned() });
    }
    let length = metadata.len();
    if length > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let capacity = usize::try_from(length).map_err(|_| too_large())?;
    bytes.try_reserve_exact(capacity).map_err(|_| too_large())?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Whether the file is a device, which may never end.
#[cfg(unix)]
fn endless(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    metadata.file_type().is_char_device() || metadata.file_type().is_block_device()
}

#[cfg(not(unix))]
fn endless(_: &fs::Metadata) -> bool {
    false
}

/// Writes `bytes` under a temporary name in the same folder, then renames: `path` holds its old content or
/// all of the new, and keeps its permissions. A link is followed; a device or pipe is written directly.
///
/// # Errors
/// If the operating system refuses; `path` is then as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), InputError> {
    let io = |source| InputError::Io { path: path.to_owned(), source };
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let permissions = match fs::metadata(&target) {
        Ok(metadata) if metadata.is_file() => Some(metadata.permissions()),
        Ok(_) => {
            let mut special = File::options().write(true).open(&target).map_err(io)?;
            return special.write_all(bytes).map_err(io);
        }
        Err(_) => None,
    };
    let folder = folder_of(&target);
    if !folder.is_dir() {
        return Err(InputError::NoFolder { path: path.to_owned() });
    }
    let mut temporary = named_in(&folder).map_err(io)?;
    temporary.write_all(bytes).map_err(io)?;
    if let Some(permissions) = permissions {
        temporary.as_file().set_permissions(permissions).map_err(io)?;
    }
    temporary.as_file().sync_all().map_err(io)?;
    temporary.persist(&target).map_err(|e| io(e.error))?;
    Ok(())
}

/// A file that is written but not yet in its place.
#[derive(Debug)]
pub struct Staged {
    temporary: tempfile::NamedTempFile,
    path: PathBuf,
}

/// Writes what `write` gives under a temporary name beside `path`, which is not touched yet: so several files
/// can all be written before the first is replaced.
///
/// # Errors
/// If the operating system refuses, or `path` exists and is not a file.
pub fn stage(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<Staged, InputError> {
    let io = |source| InputError::Io { path: path.to_owned(), source };
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let permissions = match fs::metadata(&target) {
        Ok(metadata) if metadata.is_file() => Some(metadata.permissions()),
        Ok(_) => return Err(InputError::Device { path: path.to_owned() }),
        Err(_) => None,
    };
    let folder = folder_of(&target);
    if !folder.is_dir() {
        return Err(InputError::NoFolder { path: path.to_owned() });
    }
    let mut temporary = named_in(&folder).map_err(io)?;
    let mut buffered = std::io::BufWriter::new(temporary.as_file_mut());
    write(&mut buffered).and_then(|()| buffered.flush()).map_err(io)?;
    drop(buffered);
    if let Some(permissions) = permissions {
        temporary.as_file().set_permissions(permissions).map_err(io)?;
    }
    temporary.as_file().sync_all().map_err(io)?;
    Ok(Staged { temporary, path: target })
}

impl Staged {
    /// Puts the file in its place.
    ///
    /// # Errors
    /// If the operating system refuses; the place is then as it was.
    pub fn commit(self) -> Result<(), InputError> {
        let Self { temporary, path } = self;
        temporary.persist(&path).map(drop).map_err(|e| InputError::Io { path, source: e.error })
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A temporary file that is as readable as files usually are: others than its owner may read results.
fn named_in(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".stria-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}
