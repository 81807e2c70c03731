//! Stria compiles a network description to a homomorphic-encryption circuit, reports what it costs,
//! above all in rotations, and runs it on encrypted input.
//!
//! Stages are types, each with a text form, and data flows one way:
//!
//! ```text
//! SourceFile -> Ast -> Model -> (float passes) -> IntNetwork + IntWeights -> Plan -> Circuit -> Compiled
//! ```
//!
//! The meaning of a model is the integer arithmetic of its [`graph::IntNetwork`], as [`graph::evaluate`]
//! computes it; a run on any [`backend`] equals it bit for bit. Costs are folds over the [`circuit`]'s
//! instructions. [`compile::compile`] is the pipeline, [`protocol::run_in_process`] runs the result,
//! [`report::report`] tells its cost. A module imports only from modules above it in this list.

pub mod clock;

pub mod diag;

pub mod tensor;

pub mod weights;

mod envelope;

pub mod rlwe;

pub mod params;

pub mod circuit;

pub mod backend;

pub mod exec;

pub mod cost;

pub mod layout;

pub mod kernels;

pub mod layers;

pub mod graph;

pub mod syntax;

pub mod resolve;

pub mod import;

pub mod quant;

pub mod passes;

pub mod select;

pub mod lower;

pub mod input;

pub mod compiled;

pub mod tfhe;

pub mod channel;

pub mod mpc;

pub mod protocol;

pub mod report;

pub mod compile;

pub mod bench;

pub mod cli;

/// Longer pages.
pub mod docs {
    #[doc = include_str!("docs/language.md")]
    pub mod language {}

    #[doc = include_str!("docs/security.md")]
    pub mod security {}

    #[doc = include_str!("docs/two_party.md")]
    pub mod two_party {}
}
