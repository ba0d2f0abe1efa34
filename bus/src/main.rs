//! The `snodo` command: the only place that knows both the runtime and the adapters.

use std::process::ExitCode;

fn main() -> ExitCode {
    snodo::cli::main(&snodo_adapters::catalog())
}
