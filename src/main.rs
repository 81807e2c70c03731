//! The `stria` command.

fn main() {}
