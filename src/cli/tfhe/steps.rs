//! `stria keygen`, `encrypt`, `evaluate`, `decrypt`: the steps of the non-interactive mode over files.
//!
//! The client runs the first, the second and the last, with the model's card; the server the third, with the
//! model. Only the evaluation key, the encrypted image and the encrypted answer pass between them.

use super::{DecryptArgs, EncryptArgs, EvaluateArgs, KeygenArgs, planned};
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::run::Output;
use crate::cli::say::say;
use crate::graph::quantise_input;
use crate::input::{self, InputError, write_atomically};
use crate::protocol::first_of_greatest;
use crate::tfhe::encrypted::Server;
use crate::tfhe::files::{Card, FileError, MAGIC};
use crate::tfhe::keys::{ClientKey, EncryptedInput, EncryptedOutput, EvaluationKey, Named};
use crate::tfhe::plan::Plan;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fmt;
use std::io::Write;
use std::path::Path;
use zeroize::Zeroizing;

/// The most bytes of a key or a ciphertext: images of a million pixels in ciphertexts of their own.
const MAX_BYTES: u64 = 1 << 30;

/// Makes a pair of keys; never replaces one.
pub(in crate::cli) fn keygen(args: &KeygenArgs) -> Result<(), Failure> {
    let folder = &args.output;
    std::fs::create_dir_all(folder).map_err(|source| InputError::Io { path: folder.clone(), source })?;
    let (secret, public) = (folder.join("client.key"), folder.join("evaluation.key"));
    for path in [&secret, &public] {
        if path.exists() {
            return Err(Failure::User(format!(
                "{}: exists already; what it has encrypted would be lost with it. Choose another folder",
                path.display()
            )));
        }
    }
    let (client, evaluation) = ClientKey::generate();
    write_secret(&secret, &client.to_bytes())?;
    write_atomically(&public, &evaluation.to_bytes()).map_err(Failure::user)?;
    let text = format!(
        "{}: keep it secret\n{}: for servers\nkey {}\n",
        secret.display(),
        public.display(),
        Named::of(&client.id())
    );
    output::write(&text, None)
}

/// Writes a new file that only its owner may read.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let io = |source| Failure::from(InputError::Io { path: path.to_owned(), source });
    let folder = path.parent().unwrap_or(Path::new("."));
    // Temporary files are their owner's alone (0600), and stay so under their new name.
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    temporary.write_all(bytes).map_err(io)?;
    temporary.as_file().sync_all().map_err(io)?;
    temporary.persist_noclobber(path).map_err(|e| io(e.error))?;
    Ok(())
}

/// Reads a file and what it holds.
fn read<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, FileError>) -> Result<T, Failure> {
    let bytes = Zeroizing::new(input::read(path, MAX_BYTES)?);
    parse(&bytes).map_err(|e| about(path, e))
}

fn about(path: &Path, error: impl fmt::Display) -> Failure {
    Failure::User(format!("{}: {error}", path.display()))
}

/// Encrypts one image.
pub(in crate::cli) fn encrypt(args: &EncryptArgs) -> Result<(), Failure> {
    output::reachable(&args.output)?;
    output::spare(&args.output, &[args.model.clone(), args.key.clone(), args.input.clone()])?;
    let bytes = input::read(&args.model, MAX_BYTES)?;
    let card = if bytes.starts_with(MAGIC) {
        Card::from_bytes(&bytes).map_err(|e| about(&args.model, e))?
    } else {
        let planned = planned(&args.model)?;
        Card::new(&planned.network, &planned.plan)
    };
    let client = read(&args.key, ClientKey::from_bytes)?;
    let network = card.network();
    let data = input::load(&args.input, &card.input, &card.shape())?;
    let image = data.images.get(args.index).ok_or_else(|| {
        about(&args.input, format!("no image {}, the file has {}", args.index, data.images.len()))
    })?;
    let quantised = quantise_input(&network, image).map_err(Failure::user)?;
    let encrypted = client.encrypt(card.id(), &card.layout, &quantised);
    write_atomically(&args.output, &encrypted.to_bytes()).map_err(Failure::user)
}

/// Computes the answer, or writes the model's card.
pub(in crate::cli) fn evaluate(args: &EvaluateArgs) -> Result<(), Failure> {
    if let Some(file) = &args.card {
        output::reachable(file)?;
        output::spare(file, std::slice::from_ref(&args.model))?;
        let planned = planned(&args.model)?;
        let card = Card::new(&planned.network, &planned.plan);
        return write_atomically(file, &card.to_bytes()).map_err(Failure::user);
    }
    let (Some(key_file), Some(input_file), Some(output)) = (&args.key, &args.input, &args.output) else {
        return Err(Failure::Internal("the options that are needed were not asked for".into()));
    };
    output::reachable(output)?;
    output::spare(output, &[args.model.clone(), key_file.clone(), input_file.clone()])?;
    let input = read(input_file, EncryptedInput::from_bytes)?;
    let planned = planned(&args.model)?;
    let server = Server::new(read(key_file, EvaluationKey::from_bytes)?);
    let card = Card::new(&planned.network, &planned.plan);
    let plan = &planned.plan;
    foretell(plan, server.measure(), 1);
    let bar = progress_bar(plan.bootstraps());
    let evaluated = server.evaluate((card.id(), plan), &input, &|p| {
        bar.set_position(p.done as u64);
        bar.set_message(p.layer.to_owned());
    });
    bar.finish_and_clear();
    let (answer, executed, _) = evaluated.map_err(|e| about(input_file, e))?;
    say(&format!("{} bootstraps\n", executed.bootstraps));
    write_atomically(output, &answer.to_bytes()).map_err(Failure::user)
}

#[derive(Serialize)]
struct Decrypted {
    model: String,
    output: Output,
}

impl fmt::Display for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.model, self.output)
    }
}

/// Decrypts an answer.
pub(in crate::cli) fn decrypt(args: &DecryptArgs) -> Result<(), Failure> {
    let client = read(&args.key, ClientKey::from_bytes)?;
    let answer = read(&args.input, EncryptedOutput::from_bytes)?;
    let logits = client.decrypt(&answer).map_err(|e| about(&args.input, e))?;
    let output = Output {
        argmax: first_of_greatest(&logits.data),
        logits: Some(logits.data),
        scale: answer.scale,
        class: None,
        expected: None,
    };
    let decrypted = Decrypted { model: answer.name, output };
    output::write(&output::render(&decrypted, args.format)?, None)
}

/// Says beforehand how long `images` will take, at `seconds` of one core a bootstrap.
pub(super) fn foretell(plan: &Plan, seconds: f64, images: usize) {
    let threads = rayon::current_num_threads();
    let all = (plan.bootstraps() * images) as f64 * seconds / threads as f64;
    say(&format!(
        "{} bootstraps an image at {:.1} ms of a core: about {all:.0} s on {threads} threads\n",
        plan.bootstraps(),
        seconds * 1e3
    ));
}

/// Hidden where stderr is no terminal.
pub(super) fn progress_bar(bootstraps: usize) -> ProgressBar {
    let bar = ProgressBar::new(bootstraps as u64);
    if let Ok(style) =
        ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} bootstraps, {eta} left  {msg}")
    {
        bar.set_style(style);
    }
    bar
}
