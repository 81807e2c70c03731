//! The one test binary.

#![allow(clippy::unwrap_used, clippy::panic, reason = "functions that tests share fail as tests do")]

mod accounting;
mod backends;
mod bench_command;
mod channel;
mod cli;
mod coefficients;
mod compiled;
mod counts;
mod diagnostics;
mod examples;
mod fuzz;
mod import;
mod inputs;
mod kernels;
mod language;
mod mpc;
mod plans;
mod protocol;
mod quantise;
mod random;
mod readme;
mod rewrites;
mod rlwe;
mod sparsity;
mod tfhe;
