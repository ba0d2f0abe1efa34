//! `order_by:` as it is written, with what belongs to it.
//!
//! Invariant: `on_park` and `shards` mean nothing without it, which is said.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    diagnostic::{Place, Problems, SourceFile, Words},
    route::{OnPark, Order},
    yaml::{Content, Node, fields::Fields},
};

/// The order of a route as written.
#[derive(Debug)]
pub(in crate::route) struct OrderFile {
    pub(in crate::route) key: Node,
    pub(in crate::route) on_park: OnPark,
    pub(in crate::route) shards: u16,
}

pub(super) fn read(
    file: &Arc<SourceFile>,
    fields: &Fields<'_>,
    problems: &mut Problems,
) -> Option<OrderFile> {
    let on_park = on_park(file, fields, problems);
    let shards = shards(file, fields, problems);
    let Some(key) = fields.get("order_by") else {
        for key in ["on_park", "shards"].iter().filter_map(|name| fields.key(name)) {
            let help = "add `order_by: ${ … }`, or delete it";
            let title = format!("`{}` belongs to `order_by`", key.text);
            let words = Words::new(title, "this route keeps no order", help);
            problems.error("SN0151", Place::new(file, key.span.clone()), words);
        }
        return None;
    };
    Some(OrderFile { key: key.clone(), on_park, shards })
}

fn on_park(file: &Arc<SourceFile>, fields: &Fields<'_>, problems: &mut Problems) -> OnPark {
    let Some(word) = fields.text("on_park", problems) else { return OnPark::default() };
    match word.value.as_str() {
        "hold" => OnPark::Hold,
        "skip" => OnPark::Skip,
        other => {
            let help = "write `hold`: what comes after a parked message waits with it; or `skip`: it \
                        goes past";
            let title = format!("`on_park` cannot be `{other}`");
            let words = Words::new(title, "unknown word", help);
            problems.error("SN0152", Place::new(file, word.span), words);
            OnPark::default()
        }
    }
}

fn shards(file: &Arc<SourceFile>, fields: &Fields<'_>, problems: &mut Problems) -> u16 {
    let Some(node) = fields.get("shards") else { return Order::SHARDS };
    let written = match &node.content {
        Content::Plain(Value::Number(number)) => number.as_u64(),
        Content::Refused => return Order::SHARDS,
        _ => None,
    };
    let fits = |shards: &u16| (1..=Order::MOST_SHARDS).contains(shards);
    let shards = written.and_then(|number| u16::try_from(number).ok()).filter(fits);
    shards.unwrap_or_else(|| {
        let most = Order::MOST_SHARDS;
        let help = format!(
            "write a whole number from 1 to {most}: in so many queues keys are handled side by side"
        );
        let label = format!("not from 1 to {most}");
        let words = Words::new("this is no number of shards", label, help);
        problems.error("SN0153", Place::new(file, node.span.clone()), words);
        Order::SHARDS
    })
}
