//! Templates: YAML's shape with `${ jq }` leaves, compiled once, run per message.
//!
//! Invariant: a rendered value is canonical JSON; every `${ }` gave exactly one value.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::{envelope::Envelope, fault::Fault};

/// What expressions see: `.`, `$steps`, `$message`, `$party`, `$item`.
#[derive(Debug)]
pub struct Scope<'a> {
    body: &'a Value,
    envelope: &'a Envelope,
    steps: &'a Map<String, Value>,
    item: Option<&'a Value>,
    message: OnceLock<Value>,
}

impl<'a> Scope<'a> {
    /// The scope of one message at one point of its route. `steps` holds the results of done steps.
    pub fn new(body: &'a Value, envelope: &'a Envelope, steps: &'a Map<String, Value>) -> Self {
        Self { body, envelope, steps, item: None, message: OnceLock::new() }
    }
}

/// A template, compiled.
#[derive(Debug)]
pub struct Template {}

impl Template {
    /// Renders it. A fault is of class poison and names the place in the template, never a value.
    pub fn render(&self, _scope: &Scope<'_>) -> Result<Value, Fault> {
        unimplemented!("skeleton")
    }
}

/// A bare jq condition, compiled.
#[derive(Debug)]
pub struct Condition {}

impl Condition {
    /// Whether it holds; anything but one boolean is a fault.
    pub fn holds(&self, _scope: &Scope<'_>) -> Result<bool, Fault> {
        unimplemented!("skeleton")
    }
}

impl crate::route::Emit {
    /// Everything this step emits for the message in `scope`, each valid against the type's schema.
    pub fn emitted(&self, _scope: &Scope<'_>) -> Result<Vec<crate::route::Emitted>, Fault> {
        unimplemented!("skeleton")
    }
}

impl crate::route::Use {
    /// The input of the call, valid against the operation's schema.
    pub fn input(&self, _scope: &Scope<'_>) -> Result<Value, Fault> {
        unimplemented!("skeleton")
    }
}
