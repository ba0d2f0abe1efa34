//! Results as operations promise them: checked by the framework, so that no adapter needs to.
//!
//! Invariant: the next step reads only what its types were inferred from.

use std::{collections::HashMap, sync::Mutex};

use serde_json::Value;
use snodo_core::{
    fault::{Fault, FaultClass},
    ids::Digest,
    route::Callee,
    schema::{Schemas, Validator},
};

use super::locked;

/// The compiled output schemas of steps, by version and step; compiled when first needed.
#[derive(Debug, Default)]
pub(super) struct Outputs(Mutex<HashMap<(Digest, String), Option<Validator>>>);

impl Outputs {
    /// Whether a result is what the operation promises.
    pub(super) fn check(
        &self,
        version: Digest,
        step: &str,
        callee: Callee<'_>,
        result: &Value,
    ) -> Result<(), Fault> {
        let key = (version, step.to_owned());
        let compile = || Schemas::default().compile(&callee.operation.output).ok();
        let validator = locked(&self.0).entry(key).or_insert_with(compile).clone();
        match validator {
            // A schema that does not compile did not pass `check`; then nothing is promised.
            None => Ok(()),
            Some(validator) if validator.is_valid(result) => Ok(()),
            Some(validator) => Err(not_as_promised(callee, &validator, result)),
        }
    }
}

fn not_as_promised(callee: Callee<'_>, validator: &Validator, result: &Value) -> Fault {
    let violations = validator.violations(result);
    let said = violations.iter().take(5).map(|violation| {
        let at = if violation.pointer.is_empty() { "/" } else { &violation.pointer };
        format!("at `{at}`: {} expected", violation.expected)
    });
    let said = said.collect::<Vec<_>>().join("; ");
    let text = format!("`{}` answered, and not as it promises: {said}", callee.target());
    Fault::new(FaultClass::Poison, "SN0722", text)
}
