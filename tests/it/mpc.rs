//! Two-party computation.

mod ot;
