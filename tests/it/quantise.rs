//! Plain meaning of layers, float passes, and the quantiser against them.

mod layers;
pub(crate) mod networks;
mod passes;
mod reference;
mod scales;
