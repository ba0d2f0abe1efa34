//! The `snodo` command.
fn main() {}
