//! A target's no as data: what `if_refused: continue` makes of it.
//!
//! Invariant: only a fault of class refused becomes a result; words of the far side never do.

use serde_json::{Value, json};

use super::{IfRefused, Use};
use crate::fault::{Fault, FaultClass};

/// The field of a result that says that the target refused.
pub(super) const REFUSED: &str = "refused";

impl Use {
    /// The result of the step where the route goes on after this fault: the bus's own code and, where
    /// it gave one, the far side's short code.
    pub fn refusal(&self, fault: &Fault) -> Option<Value> {
        let goes_on = self.if_refused == IfRefused::Continue && fault.class == FaultClass::Refused;
        goes_on.then(|| json!({ REFUSED: { "code": fault.code, "reason": fault.reason } }))
    }
}

/// Whether an operation's own result has a field that a refusal would be taken for.
pub(super) fn is_taken(output: &Value) -> bool {
    output["properties"].get(REFUSED).is_some()
}
