//! `stria keygen`, `encrypt`, `evaluate`, `decrypt`: the steps of the non-interactive mode over files.
//!
//! The client runs the first, the second and the last, with the model's card; the server the third, with the
//! model. Only the evaluation key, the encrypted image and the encrypted answer pass between them.

use super::{DecryptArgs, EncryptArgs, EvaluateArgs, KeygenArgs, planned};
use crate::cli::failure::Failure;
use crate::cli::load;
use crate::cli::output;
use crate::cli::run::Output;
use crate::cli::say::say;
use crate::graph::quantise_input;
use crate::input::{self, InputError, stage, write_atomically};
use crate::protocol::first_of_greatest;
use crate::tfhe::encrypted::Server;
use crate::tfhe::files::{Card, FileError, MAGIC};
use crate::tfhe::keys::{ClientKey, EncryptedInput, EncryptedOutput, EvaluationKey, Named};
use crate::tfhe::plan::Plan;
use crate::tfhe::report::{Costs, report};
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
    let staged = stage(&public, |out| out.write_all(&evaluation.to_bytes()))?;
    write_secret(&secret, &client.to_bytes())?;
    staged.commit()?;
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

fn client_key(path: &Path) -> Result<ClientKey, Failure> {
    let key = read(path, ClientKey::from_bytes)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0) {
            say(&format!("warning: {}: others than its owner may read or write it\n", path.display()));
        }
    }
    Ok(key)
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
        let model = load::integers(&args.model)?;
        output::spare(&args.output, &model.inputs)?;
        Card::new(&model.network)
    };
    let client = client_key(&args.key)?;
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
        let planned = planned(&args.model, &args.reach)?;
        output::spare(file, &planned.inputs)?;
        let card = Card::new(&planned.network);
        return write_atomically(file, &card.to_bytes()).map_err(Failure::user);
    }
    let (Some(key_file), Some(input_file), Some(output)) = (&args.key, &args.input, &args.output) else {
        return Err(Failure::Internal("the options that are needed were not asked for".into()));
    };
    output::reachable(output)?;
    output::spare(output, &[args.model.clone(), key_file.clone(), input_file.clone()])?;
    let input = read(input_file, EncryptedInput::from_bytes)?;
    let planned = planned(&args.model, &args.reach)?;
    output::spare(output, &planned.inputs)?;
    let card = Card::new(&planned.network);
    // What does not belong together is told before the seconds that unpacking takes.
    let key = read(key_file, EvaluationKey::from_bytes)?;
    input.fits(&key.id(), &card.id()).map_err(|e| about(input_file, e))?;
    let server = Server::new(key);
    let plan = &planned.plan;
    let mut costs = Costs::shipped();
    costs.seconds.bootstrap = server.measure();
    foretell(plan, &costs, 1);
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
    let client = client_key(&args.key)?;
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

/// Says beforehand how long `images` will take.
pub(super) fn foretell(plan: &Plan, costs: &Costs, images: usize) {
    let threads = rayon::current_num_threads();
    let totals = report(plan, costs).totals;
    let all = images as f64 * totals.estimated_seconds / threads as f64;
    say(&format!(
        "{} bootstraps an image at {:.1} ms of a core: about {all:.0} s on {threads} threads\n",
        totals.bootstraps,
        costs.seconds.bootstrap * 1e3
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
