//! Estimated costs and sizes.
