//! How a command fails.

use super::say::say;
use crate::compile::CompileError;
use crate::compiled::CompiledError;
use crate::input::InputError;
use crate::passes::PassError;
use crate::protocol::PartyError;
use std::process::ExitCode;

/// A failed command.
#[derive(Debug)]
pub(super) enum Failure {
    /// Diagnostics are on stderr already, or belong there as they are: exit code 1.
    User(String),
    /// Exit code 3.
    Internal(String),
}

impl Failure {
    /// Writes the message to stderr and gives the exit code.
    pub(super) fn tell(&self) -> ExitCode {
        match self {
            Self::User(message) => {
                if !message.is_empty() {
                    say(&format!("error: {message}\n"));
                }
                ExitCode::from(1)
            }
            Self::Internal(message) => {
                say(&format!("error: {message}\n"));
                ExitCode::from(3)
            }
        }
    }

    /// The user's error, with what it is about.
    pub(super) fn user(error: impl std::fmt::Display) -> Self {
        Self::User(error.to_string())
    }

    /// Something that exists in the command line but not in the program yet.
    pub(super) fn not_built(what: &str, instead: &str) -> Self {
        Self::User(format!("{what} is not built yet; use {instead}"))
    }
}

impl From<CompileError> for Failure {
    fn from(e: CompileError) -> Self {
        match e {
            CompileError::Quant(_)
            | CompileError::TooLarge { .. }
            | CompileError::Params { .. }
            | CompileError::Pass(PassError::Refused { .. }) => Self::user(e),
            CompileError::Compiled(inner) => inner.into(),
            CompileError::Pass(PassError::Broken { .. }) => Self::Internal(e.to_string()),
        }
    }
}

impl From<CompiledError> for Failure {
    fn from(e: CompiledError) -> Self {
        match e {
            CompiledError::Lower(_) | CompiledError::Depth => Self::Internal(e.to_string()),
            CompiledError::Envelope(_)
            | CompiledError::Bounds
            | CompiledError::Support { .. }
            | CompiledError::Dropped { .. }
            | CompiledError::TooLarge { .. }
            | CompiledError::Body(_)
            | CompiledError::Graph(_)
            | CompiledError::Weights { .. }
            | CompiledError::Params(_)
            | CompiledError::Unfit { .. }
            | CompiledError::Plan(_) => Self::user(e),
        }
    }
}

impl From<InputError> for Failure {
    fn from(e: InputError) -> Self {
        Self::user(e)
    }
}

impl From<PartyError> for Failure {
    fn from(e: PartyError) -> Self {
        Self::Internal(e.to_string())
    }
}
