//! What tells messages apart: the key of an order, of an item; and the message that a clock gives.
//!
//! Invariant: a key is text or a number and never null, as far as the schema shows it.

use super::Builder;
use crate::{
    diagnostic::Words,
    route::{Order, file::OrderFile},
    schedule::{Period, Schedule},
    template::{Template, compile::Read, uses::FACTS},
    timestamp::Timestamp,
    types::{Kind, Type},
    yaml::{Content, Node},
};

/// What tells messages apart.
const KEYS: [Kind; 2] = [Kind::Text, Kind::Number];

impl Builder<'_, '_, '_> {
    pub(super) fn order(&mut self, order: &OrderFile) -> Option<Order> {
        let (key, of) = self.templates.template(&order.key, "order_by");
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
        let reads = seen.iter().flat_map(|seen| &seen.reads);
        let later = |read: &&Read| matches!(read.variable.as_deref(), Some("$steps" | FACTS));
        let mut right = true;
        if let Some(read) = reads.clone().find(later) {
            let help = "take a field of the message: `${ .… }`";
            let is_step = read.variable.as_deref() == Some("$steps");
            let label = if is_step { "no step has run then" } else { "no fact was asked then" };
            let words = Words::new(
                "the order is fixed when a message is accepted, before any step",
                label,
                help,
            );
            let span = read.span();
            self.error("SN0150", span, words);
        } else {
            let write = "take a field that is text or a number, or write several into a text: \
                         `${ .a }/${ .b }`";
            let words = ["the key of an order", "text or a number", write];
            right = self.is_one_of(&order.key, (&of, &seen), &KEYS, words);
        }
        let (on_park, shards) = (order.on_park, order.shards);
        let written = match &order.key.content {
            Content::Text(text) => text.clone(),
            _ => String::new(),
        };
        Some(Order { key: key.filter(|_| right)?, written, on_park, shards })
    }

    /// The key of the items of an `each`: it must tell them apart.
    pub(super) fn item_key(&mut self, node: &Node) -> Option<Template> {
        let (key, of, seen) = self.part(node, "key");
        let words = ["`key`", "text or a number", "take a field that tells the items apart"];
        let right = self.is_one_of(node, (&of, &seen), &KEYS, words);
        if key.is_some() && !seen.iter().any(|seen| seen.reads_item) {
            let help =
                "write `key: ${ $item.… }` with a field that every item has, and no two alike";
            let words =
                Words::new("`key` must tell the items apart", "the same for every item", help);
            self.error("SN0148", node.span.clone(), words);
        }
        key.filter(|_| right)
    }

    /// The list of an `each`, and the type of its items.
    pub(super) fn each(&mut self, node: &Node) -> (Option<Template>, Type) {
        let (each, of, seen) = self.part(node, "each");
        let write = "take a field that is a list, or make one: `${ [ … ] }`";
        let words = ["`each`", "a list", write];
        let right = self.is_one_of(node, (&of, &seen), &[Kind::List], words);
        let item = of.list.as_ref().map_or_else(Type::unknown, |list| list.element());
        (each.filter(|_| right), item)
    }

    /// To whom a message goes: a party or a list of them.
    pub(super) fn addressees(&mut self, node: &Node) -> Option<Template> {
        let (to, of, seen) = self.part(node, "to");
        let write = "write the id of a party, or a list of ids";
        let words = ["`to`", "the id of a party or a list of them", write];
        let right = self.is_one_of(node, (&of, &seen), &[Kind::Text, Kind::List], words);
        let ids = of.list.as_ref().map(|list| list.element());
        let right =
            right && ids.is_none_or(|of| self.is_one_of(node, (&of, &seen), &[Kind::Text], words));
        to.filter(|_| right)
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
