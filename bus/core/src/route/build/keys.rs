//! What tells messages apart: the key of an order, of an item; and the message that a clock gives.
//!
//! Invariant: a key is text or a number and never null, as far as the schema shows it.

use super::Builder;
use crate::{
    diagnostic::Words,
    route::{Order, file::OrderFile},
    schedule::{Period, Schedule},
    template::{
        Template,
        compile::{Read, Seen},
    },
    timestamp::Timestamp,
    yaml::{Content, Node},
};

impl Builder<'_, '_, '_> {
    pub(super) fn order(&mut self, order: &OrderFile) -> Option<Order> {
        let key = self.templates.template(&order.key, "order_by");
        let seen = self.templates.seen();
        if key.is_some() && seen.is_empty() {
            let help = "write `order_by: ${ … }` with a field of the message";
            let words = Words::new(
                "the key of an order comes from the message",
                "the same for every message",
                help,
            );
            self.error("SN0154", order.key.span.clone(), words);
        }
        for one in &seen {
            self.check_order(one);
        }
        let (on_park, shards) = (order.on_park, order.shards);
        let written = match &order.key.content {
            Content::Text(text) => text.clone(),
            _ => String::new(),
        };
        Some(Order { key: key?, written, on_park, shards })
    }

    fn check_order(&mut self, seen: &Seen) {
        let of_step = |read: &&Read| read.variable.as_deref() == Some("$steps");
        if let Some(read) = seen.reads.iter().find(of_step) {
            let help = "take a field of the message: `${ .… }`";
            let words = Words::new(
                "the order is fixed when a message is accepted, before any step",
                "no step has run then",
                help,
            );
            self.error("SN0150", read.span(), words);
        } else if self.check_reads(seen) {
            self.check_key(seen);
        }
    }

    /// The key of the items of an `each`: it must tell them apart.
    pub(super) fn item_key(&mut self, node: &Node) -> Option<Template> {
        let key = self.templates.template(node, "key");
        let seen = self.templates.seen();
        for one in &seen {
            if self.check_reads(one) && one.interpolated {
                self.check_text(one);
            }
        }
        if key.is_some() && !seen.iter().any(|seen| seen.reads_item) {
            let help =
                "write `key: ${ $item.… }` with a field that every item has, and no two alike";
            let words =
                Words::new("`key` must tell the items apart", "the same for every item", help);
            self.error("SN0148", node.span.clone(), words);
        }
        key
    }

    /// The list of an `each`.
    pub(super) fn each(&mut self, node: &Node) -> Option<Template> {
        let each = self.templates.template(node, "each");
        let seen = self.templates.seen();
        let sound = seen.iter().filter(|seen| !self.check_reads(seen)).count() == 0;
        let first = seen.first().filter(|seen| sound && !seen.interpolated);
        let whole = first.and_then(|seen| Some((seen, seen.whole.as_ref()?)));
        if let Some((seen, read)) = whole {
            let may_be = self.may_be(read);
            let what = may_be.kind.as_deref().filter(|kind| *kind != "array");
            if what.is_some() {
                let help = "take a field that is a list, or make one: `${ [ … ] }`";
                let words = Words::new("`each` is a list", "not a list", help);
                self.error("SN0203", seen.span.clone(), words);
            } else if may_be.nullable {
                let help = "give a default with `// []`, or make the field required in the schema";
                let words = Words::new("`each` is never null", "it may be null", help);
                self.error("SN0202", seen.span.clone(), words);
            }
        }
        each
    }

    /// The key of an order: a path that is text or a number, and never null.
    fn check_key(&mut self, seen: &Seen) {
        if seen.interpolated {
            return self.check_text(seen);
        }
        let Some(read) = &seen.whole else { return };
        let may_be = self.may_be(read);
        let kind = match may_be.kind.as_deref() {
            None | Some("string" | "integer" | "number") => None,
            Some("array") => Some("it is a list"),
            Some("object") => Some("it is an object"),
            Some("boolean") => Some("it is true or false"),
            Some(_) => Some("it is neither"),
        };
        if let Some(kind) = kind {
            let help = "take a field that is text or a number, or write several into a text: \
                        `${ .a }/${ .b }`";
            let words = Words::new("the key of an order is text or a number", kind, help);
            self.error("SN0203", seen.span.clone(), words);
        } else if may_be.nullable {
            let help = "make the field required in the schema, or give a default with `// \"…\"`";
            let words = Words::new("the key of an order is never null", "it may be null", help);
            self.error("SN0202", seen.span.clone(), words);
        }
    }

    /// The type that a clock gives must take what a clock says.
    pub(super) fn check_clock(&mut self) {
        let from = &self.written.from;
        if self.written.schedule.is_none() {
            return;
        }
        let Some(schema) = self.targets.schemas.validator(&from.value) else { return };
        let period =
            Period { name: "2026-11-24T02:30".to_owned(), at: Timestamp(1_795_483_800_000) };
        let first = Schedule::data(&period, None);
        let later = Schedule::data(&period, Some(Timestamp(1_795_397_400_000)));
        let violations = schema.violations(&first).into_iter().chain(schema.violations(&later));
        let Some(violation) = violations.into_iter().next() else { return };
        let at = if violation.pointer.is_empty() { "/" } else { &violation.pointer };
        let label = format!("at `{at}` it wants {}", violation.expected);
        let help =
            "give it `period` (text), `scheduledFor` (date-time) and `since` (date-time or null)";
        let title = format!("`{}` does not take what a clock gives", from.value);
        self.error("SN0158", from.span.clone(), Words::new(title, label, help));
    }
}
