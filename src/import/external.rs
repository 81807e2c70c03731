//! Data of tensors that lie in files beside the model.
//!
//! A model names such a file relative to its own folder. Only a plain file is opened, and only one that
//! really lies there, links followed: in the folder in which the model is named, or in that in which its own
//! file lies if the model is a link. So a cache that keeps all its files in one folder and links to them works,
//! and a link that leads anywhere else is not followed. What the model says of place and length is compared
//! with the file before anything is read.

use super::error::{ImportError, TensorFault};
use super::memory::Memory;
use rten_onnx::onnx::TensorProto;
use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// Where the data of a model may lie.
#[derive(Debug)]
pub(super) struct Folder {
    /// The folder in which the model is named.
    named: PathBuf,
    /// That folder and the one of the model's own file, without links.
    real: Vec<PathBuf>,
}

impl Folder {
    /// The folder of the model that is named by `model`.
    pub(super) fn of(model: &Path) -> Self {
        let named = match model.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        let own = model.canonicalize().ok().and_then(|file| file.parent().map(Path::to_owned));
        let real = named.canonicalize().ok().into_iter().chain(own).collect();
        Self { named, real }
    }

    /// The `wanted` bytes of `tensor`, charged to `memory`: the caller gives them back.
    ///
    /// # Errors
    /// [`ImportError::Tensor`], [`ImportError::External`], [`ImportError::Memory`].
    pub(super) fn read(
        &self,
        tensor: &TensorProto,
        wanted: u64,
        memory: &mut Memory,
    ) -> Result<Vec<u8>, ImportError> {
        let fault = |fault| ImportError::Tensor { name: tensor.name.clone().unwrap_or_default(), fault };
        let location = entry(tensor, "location").unwrap_or_default();
        let offset = number(tensor, "offset").map_err(fault)?.unwrap_or(0);
        if let Some(length) = number(tensor, "length").map_err(fault)?
            && length != wanted
        {
            return Err(fault(TensorFault::Bytes { wanted, found: length }));
        }
        let path = self.place(location).map_err(fault)?;
        let unreadable = |source| ImportError::External { path: path.clone(), source };
        let real = self.found(location, &path).map_err(unreadable)?;
        if !self.real.iter().any(|folder| real.starts_with(folder)) {
            let location = location.to_owned();
            return Err(fault(TensorFault::Linked { location, target: real.display().to_string() }));
        }
        // Opening a pipe would wait for somebody to write into it.
        let plain = |metadata: &Metadata| match special(metadata) {
            Some(kind) => Err(fault(TensorFault::Special { location: location.to_owned(), kind })),
            None => Ok(metadata.len()),
        };
        plain(&real.metadata().map_err(unreadable)?)?;
        let mut file = File::open(&real).map_err(unreadable)?;
        let length = plain(&file.metadata().map_err(unreadable)?)?;
        let end = offset.saturating_add(wanted);
        if end > length {
            let location = location.to_owned();
            return Err(fault(TensorFault::Beyond { location, end, length }));
        }
        memory.charge(wanted, "external data")?;
        file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
        // No more than the file is long.
        let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(0)];
        file.read_exact(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }

    /// The file at `path`, links followed; if there is none, that in the folder of the model's own file.
    fn found(&self, location: &str, path: &Path) -> std::io::Result<PathBuf> {
        path.canonicalize().or_else(|missing| {
            let own = self.real.iter().find_map(|folder| folder.join(location).canonicalize().ok());
            own.ok_or(missing)
        })
    }

    /// The file that `location` names: one in the folder or below it.
    fn place(&self, location: &str) -> Result<PathBuf, TensorFault> {
        let relative = Path::new(location);
        let inside = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
        if location.is_empty() || location.contains('\0') || !relative.components().all(inside) {
            return Err(TensorFault::Location(location.to_owned()));
        }
        Ok(self.named.join(relative))
    }
}

/// What a tensor says of its data.
fn entry<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    let found = tensor.external_data.iter().find(|e| e.key.as_deref() == Some(key));
    found.and_then(|e| e.value.as_deref()).filter(|value| !value.is_empty())
}

/// A number of bytes; none if it is not given.
fn number(tensor: &TensorProto, key: &'static str) -> Result<Option<u64>, TensorFault> {
    let Some(text) = entry(tensor, key) else { return Ok(None) };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(TensorFault::Number { key, value: text.to_owned() }),
    }
}

/// What a file is that has no bytes of its own; none of a plain file.
fn special(metadata: &Metadata) -> Option<&'static str> {
    if metadata.is_file() {
        return None;
    }
    if metadata.is_dir() {
        return Some("a folder");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return Some("a pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
    }
    Some("a device")
}
