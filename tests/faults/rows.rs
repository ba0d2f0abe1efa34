//! The rows, by name.
//!
//! Invariant: a row does what its fault says to a bus that carries messages, looks for what must be seen,
//! mends it, and leaves everything to be judged.

use snodo_tests::chaos::Failure;

use crate::fault::Fault;

mod access;
mod broker;
mod copies;
mod house;
mod machine;
mod poison;
mod queues;
mod target;
mod volume;

/// Messages a second where only a stream of them is wanted.
const RATE: u32 = 40;

/// Plays the row of this name.
pub(crate) async fn play(fault: &mut Fault<'_>, name: &str) -> Result<(), Failure> {
    match name {
        "F01" => broker::killed(fault).await,
        "F02" => broker::restarted(fault).await,
        "F03" => broker::alarmed(fault, broker::MEMORY).await,
        "F04" => broker::alarmed(fault, broker::DISK).await,
        "F05" => queues::deleted(fault).await,
        "F06" => queues::purged(fault).await,
        "F07" => queues::without_exchange(fault).await,
        "F08" => queues::unbound(fault).await,
        "F09" => queues::redeclared(fault).await,
        "F10" => access::revoked(fault).await,
        "F11" => access::password_changed(fault).await,
        "F12" => access::limited(fault).await,
        "F23" => copies::unconfirmed(fault).await,
        "F24" => queues::full(fault).await,
        "F25" => copies::twice(fault).await,
        "F26" => copies::reordered(fault).await,
        "F27" => poison::always_fails(fault).await,
        "F28" => poison::kills(fault).await,
        "F29" => target::hangs(fault).await,
        "F30" => copies::without_poison_queue(fault).await,
        "F43" => machine::told_to_stop(fault).await,
        "F45" => machine::short_of_memory(fault).await,
        "F46" => machine::short_of_files(fault).await,
        "F47" => machine::full_disk(fault).await,
        "F48" => machine::clock_jumps(fault).await,
        "F49" => house::broken(fault).await,
        "F50" => house::schema_goes(fault).await,
        "F51" => house::route_goes(fault).await,
        "F52" => poison::panics(fault).await,
        "F53" => target::fails(fault).await,
        "F56" => target::says_when(fault).await,
        "F58" => target::shows_a_page(fault).await,
        "F66" => volume::backlog(fault).await,
        "F67" => volume::replayed(fault).await,
        other => Err(format!("row {other} is listed and not written").into()),
    }
}
