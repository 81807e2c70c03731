//! Plain meaning of layers, float passes, and the quantiser against them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod layers;
pub(crate) mod networks;
mod passes;
mod reference;
mod scales;
