//! Benchmarks of the backends.

fn main() {}
