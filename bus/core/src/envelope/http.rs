//! The HTTP binding: CloudEvents structured and binary mode.
