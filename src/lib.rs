//! Stria compiles a network description to a homomorphic-encryption circuit, reports what it costs,
//! above all in rotations, and runs it on encrypted input.

pub mod backend;
pub mod circuit;
pub mod cli;
pub mod compile;
pub mod compiled;
pub mod cost;
pub mod diag;
pub mod exec;
pub mod graph;
pub mod input;
pub mod kernels;
pub mod layers;
pub mod layout;
pub mod lower;
pub mod params;
pub mod passes;
pub mod protocol;
pub mod quant;
pub mod report;
pub mod resolve;
pub mod rlwe;
pub mod select;
pub mod syntax;
pub mod tensor;
pub mod weights;
