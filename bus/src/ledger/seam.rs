//! The trait of the ledger, on both databases.
//!
//! Invariant: nothing is decided here.

use std::sync::Arc;

use snodo_core::{
    adapter::BoxFuture,
    doctor::LedgerFacts,
    envelope::{IdempotencyKey, Message},
    facts::known::Put,
    ids::{DeliveryId, Digest, Fence, IncarnationId, MessageId},
    retention::Kept,
    timestamp::Timestamp,
};

use super::{
    Action, Ages, CommitError, Disclosure, Event, Filter, IdleKey, InBroker, Incarnation, Ledger,
    Outcome, Queued, QueuedKey, ReadError, RouteVersion, Row, Started, Story, Subscriber,
    TargetAway, Total, Usages, compare::Comparison, documents::DocumentRows, store::SqlLedger,
};

impl Ledger for SqlLedger {
    fn commit<'a>(
        &'a self,
        group: &'a [Action],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, CommitError>> {
        Box::pin(self.apply(group, now))
    }

    fn start<'a>(
        &'a self,
        slot: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Started, CommitError>> {
        Box::pin(self.begin_incarnation(slot, now))
    }

    fn end(
        &self,
        incarnation: IncarnationId,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(self.end_incarnation(incarnation, now))
    }

    fn put_route_versions<'a>(
        &'a self,
        versions: &'a [RouteVersion],
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(self.write_route_versions(versions))
    }

    fn known<'a>(
        &'a self,
        fact: &'a str,
        about: Digest,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Put>, ReadError>> {
        Box::pin(async move { self.read_known(fact, &about, now).await })
    }

    fn persons<'a>(
        &'a self,
        instance: &'a str,
        number: u64,
    ) -> BoxFuture<'a, Result<Vec<Digest>, ReadError>> {
        Box::pin(self.read_persons(instance, number))
    }

    fn disclosures<'a>(
        &'a self,
        names: &'a [Digest],
        within: (Timestamp, Timestamp),
        page: (i64, u32),
    ) -> BoxFuture<'a, Result<Vec<(i64, Disclosure)>, ReadError>> {
        Box::pin(self.read_disclosures(names, within, page))
    }

    fn usages<'a>(
        &'a self,
        wanted: &'a Usages,
    ) -> BoxFuture<'a, Result<(u64, Vec<Disclosure>), ReadError>> {
        Box::pin(self.read_usages(wanted))
    }

    fn targets_away(&self) -> BoxFuture<'_, Result<Vec<TargetAway>, ReadError>> {
        Box::pin(self.read_targets_away())
    }

    fn put_target_away<'a>(
        &'a self,
        away: &'a TargetAway,
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(self.write_target_away(away))
    }

    fn take_probe<'a>(
        &'a self,
        instance: &'a str,
        now: Timestamp,
        next: Timestamp,
    ) -> BoxFuture<'a, Result<bool, CommitError>> {
        Box::pin(self.write_probe(instance, now, next))
    }

    fn end_target_away<'a>(
        &'a self,
        away: &'a TargetAway,
        now: Timestamp,
        subscribers: &'a [Subscriber],
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(self.write_target_back(away, now, subscribers))
    }

    fn open_route_versions(&self) -> BoxFuture<'_, Result<Vec<RouteVersion>, ReadError>> {
        Box::pin(self.read_route_versions())
    }

    fn queued_keys<'a>(
        &'a self,
        me: Option<IncarnationId>,
        subscriber: &'a str,
        now: Timestamp,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<QueuedKey>, ReadError>> {
        Box::pin(self.read_queued_keys(me, subscriber, now, after, limit))
    }

    fn fetchable<'a>(
        &'a self,
        me: IncarnationId,
        subscriber: &'a str,
        now: Timestamp,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<(QueuedKey, usize)>, ReadError>> {
        Box::pin(self.read_fetchable(me, subscriber, now, limit))
    }

    fn queued<'a>(&'a self, seqs: &'a [i64]) -> BoxFuture<'a, Result<Vec<Queued>, ReadError>> {
        Box::pin(self.read_queued(seqs))
    }

    fn queued_subscribers(&self) -> BoxFuture<'_, Result<Vec<Subscriber>, ReadError>> {
        Box::pin(self.read_queued_subscribers())
    }

    fn row(&self, seq: i64) -> BoxFuture<'_, Result<Option<Row>, ReadError>> {
        Box::pin(self.read_row(seq))
    }

    fn rows_by_id<'a>(
        &'a self,
        ids: &'a [DeliveryId],
    ) -> BoxFuture<'a, Result<Vec<Row>, ReadError>> {
        Box::pin(self.read_rows_by_id(ids))
    }

    fn row_by_id(&self, id: DeliveryId) -> BoxFuture<'_, Result<Option<Row>, ReadError>> {
        Box::pin(self.read_row_by_id(id))
    }

    fn message(&self, id: MessageId) -> BoxFuture<'_, Result<Option<Arc<Message>>, ReadError>> {
        Box::pin(self.read_message(id))
    }

    fn body_size(&self, id: MessageId) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(self.read_body_size(id))
    }

    fn message_by_key<'a>(
        &'a self,
        key: &'a IdempotencyKey,
    ) -> BoxFuture<'a, Result<Option<MessageId>, ReadError>> {
        Box::pin(self.read_message_by_key(key))
    }

    fn first_answer<'a>(
        &'a self,
        key: &'a IdempotencyKey,
    ) -> BoxFuture<'a, Result<Option<(MessageId, Digest)>, ReadError>> {
        Box::pin(self.read_first_answer(key))
    }

    fn find<'a>(
        &'a self,
        kind: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<Vec<MessageId>, ReadError>> {
        Box::pin(self.read_found(kind, value))
    }

    fn story(&self, id: MessageId) -> BoxFuture<'_, Result<Option<Story>, ReadError>> {
        Box::pin(self.read_story(id))
    }

    fn list<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<Vec<Row>, ReadError>> {
        Box::pin(self.read_list(filter))
    }

    fn claims_of(
        &self,
        incarnation: IncarnationId,
    ) -> BoxFuture<'_, Result<Vec<(i64, Fence)>, ReadError>> {
        Box::pin(self.read_claims_of(incarnation))
    }

    fn intents_of(
        &self,
        incarnation: IncarnationId,
    ) -> BoxFuture<'_, Result<Vec<(i64, String, Fence)>, ReadError>> {
        Box::pin(self.read_intents_of(incarnation))
    }

    fn in_broker<'a>(
        &'a self,
        subscriber: &'a str,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<InBroker>, ReadError>> {
        Box::pin(self.read_in_broker(subscriber, after, limit))
    }

    fn owed_by_version(&self) -> BoxFuture<'_, Result<Vec<(Digest, i64)>, ReadError>> {
        Box::pin(self.read_owed_by_version())
    }

    fn to_wake<'a>(
        &'a self,
        of: Option<(&'a str, Digest)>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<i64>, ReadError>> {
        Box::pin(self.read_to_wake(of, limit))
    }

    fn delivery_totals(&self) -> BoxFuture<'_, Result<Vec<Total>, ReadError>> {
        Box::pin(self.read_delivery_totals())
    }

    fn message_totals(&self) -> BoxFuture<'_, Result<Vec<Total>, ReadError>> {
        Box::pin(self.read_message_totals())
    }

    fn scan(&self) -> BoxFuture<'_, Result<Vec<Total>, ReadError>> {
        Box::pin(self.read_scan())
    }

    fn broken_invariants(&self) -> BoxFuture<'_, Result<Vec<String>, ReadError>> {
        Box::pin(self.read_broken_invariants())
    }

    fn compare(&self) -> BoxFuture<'_, Result<Comparison, ReadError>> {
        Box::pin(self.read_comparison())
    }

    fn condition(&self, thorough: bool) -> BoxFuture<'_, Result<LedgerFacts, ReadError>> {
        Box::pin(self.read_condition(thorough))
    }

    fn kept(
        &self,
        now: Timestamp,
        before: Timestamp,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Kept>, ReadError>> {
        Box::pin(self.read_kept(now, before, limit))
    }

    fn look_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, ReadError>> {
        Box::pin(self.read_look_due())
    }

    fn idle_keys(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<IdleKey>, ReadError>> {
        Box::pin(self.read_idle_keys(before, limit))
    }

    fn documents(&self) -> Option<&dyn DocumentRows> {
        Some(self)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.database.close())
    }

    fn ages(&self) -> BoxFuture<'_, Result<Ages, ReadError>> {
        Box::pin(self.read_ages())
    }

    fn cursor<'a>(
        &'a self,
        instance: &'a str,
        partition: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, ReadError>> {
        Box::pin(self.read_cursor(instance, partition))
    }

    fn incarnations(&self) -> BoxFuture<'_, Result<Vec<Incarnation>, ReadError>> {
        Box::pin(self.read_incarnations())
    }

    fn chains(&self) -> BoxFuture<'_, Result<Vec<String>, ReadError>> {
        Box::pin(async {
            Ok(self.read_heads().await?.into_iter().map(|(chain, _, _)| chain).collect())
        })
    }

    fn events<'a>(
        &'a self,
        chain: &'a str,
        from: i64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Event>, ReadError>> {
        Box::pin(self.read_events(chain, from, limit))
    }

    fn events_of<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Vec<Event>, ReadError>> {
        Box::pin(self.read_events_of(subject))
    }

    fn heads(&self) -> BoxFuture<'_, Result<Vec<(String, i64, Digest)>, ReadError>> {
        Box::pin(self.read_heads())
    }
}
