//! The `snodo` command: the only place that knows both the runtime and the adapters.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A message is some hundred small pieces, made by one thread and dropped by another. The C library's
/// allocator took a third of the workers' time for that on the fast route (bus/adr/0016).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    snodo::cli::main(&snodo_adapters::catalog())
}
