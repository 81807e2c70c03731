//! Two-party computation.

mod clamp;
mod costs;
mod harness;
mod maximum;
mod ot;
mod peers;
mod signs;
mod uniform;
