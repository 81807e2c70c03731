//! Two-party computation on shares.

mod clamp;
mod costs;
mod harness;
mod maximum;
mod peers;
mod signs;
mod uniform;
