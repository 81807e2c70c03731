//! Plain meaning of layers, float passes, and the quantiser against them.

mod bits;
mod layers;
mod measured;
mod naive;
pub(crate) mod networks;
mod passes;
mod reference;
mod scales;
