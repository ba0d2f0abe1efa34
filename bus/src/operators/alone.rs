//! The office where no bus runs: the ledger is opened under its lock by the command itself.

use std::sync::Arc;

use super::{DirectWrite, Office};
use crate::{
    clock::{Clock, SystemClock},
    house::Checked,
    ledger::open,
    run::{StartError, ledger_settings, pin},
};

/// Opens the ledger of a checked house and an office on it.
pub async fn office(checked: Checked) -> Result<Office, StartError> {
    let Checked { settings, mut routes, .. } = checked;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ledger = open::open(&ledger_settings(&settings)?).await?;
    // A replay may put a delivery on the version that is there now, so it must be in the ledger.
    pin(&*ledger, &mut routes).await?;
    let routes = Arc::new(routes);
    let write = DirectWrite { ledger: Arc::clone(&ledger), clock: Arc::clone(&clock) };
    Ok(Office {
        ledger,
        write: Arc::new(write),
        routes: Box::new(move || Arc::clone(&routes)),
        clock,
    })
}
