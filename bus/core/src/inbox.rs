//! The inbox of a party: how much of it is given at once, and what an acknowledgement means.
//!
//! Invariant: pure. What nobody has and what another party has are answered in the same word, and so is
//! what was acknowledged before.

use bytes::Bytes;
use serde_json::Value;

use crate::{
    admission::Rejection,
    envelope::{Message, http},
    ids::DeliveryId,
    json::{self, JsonLimits},
    message_state::{Bucket, DeliveryState},
    problem::Problem,
};

/// Deliveries in an answer, where nothing is asked for.
pub const USUAL: u32 = 50;
/// Deliveries in an answer, and ids in an acknowledgement, at most.
pub const MOST: u32 = 500;
/// Bytes of all bodies in an answer; the first one is given, however large.
pub const BYTES: usize = 4 << 20;

/// The media type of a batch of events.
pub const BATCH: &str = "application/cloudevents-batch+json";
/// The attribute by which an event of the batch is acknowledged.
pub const DELIVERY: &str = "deliveryid";

const ACK: &str = "`{ \"deliveries\": [ … ] }` with 1 to 500 ids, each as `deliveryid` gave it";

/// How many of these bodies, the oldest first, are given at once.
pub fn fitting(bodies: impl IntoIterator<Item = usize>) -> usize {
    let sums = bodies.into_iter().scan(0_usize, |sum, bytes| {
        *sum = sum.saturating_add(bytes);
        Some(*sum)
    });
    sums.enumerate().take_while(|(index, sum)| *index == 0 || *sum <= BYTES).count()
}

/// Deliveries as a batch of events in structured mode.
pub fn batch<'m>(deliveries: impl IntoIterator<Item = (DeliveryId, &'m Message)>) -> Vec<u8> {
    let mut text = vec![b'['];
    for (id, message) in deliveries {
        if text.len() > 1 {
            text.push(b',');
        }
        text.extend_from_slice(&http::write_structured(message, &[(DELIVERY, id.to_string())]));
    }
    text.push(b']');
    text
}

/// The ids that a request acknowledges, in its order.
pub fn acknowledged<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    body: &Bytes,
    limits: &JsonLimits,
) -> Result<Vec<DeliveryId>, Box<Problem>> {
    http::expect_json(headers).map_err(Problem::from)?;
    let said = json::parse(body, limits).map_err(|error| Rejection::unread(&error, None));
    let Value::Object(said) = said.map_err(Problem::from)? else { return Err(refused(None)) };
    let known = said.len() == 1;
    let Some(Value::Array(ids)) = said.get("deliveries").filter(|_| known) else {
        return Err(refused(None));
    };
    if ids.is_empty() || ids.len() > MOST as usize {
        return Err(refused(Some("/deliveries".to_owned())));
    }
    let read = |(index, id): (usize, &Value)| {
        let id = id.as_str().and_then(|id| id.parse().ok()).map(DeliveryId);
        id.ok_or_else(|| refused(Some(format!("/deliveries/{index}"))))
    };
    ids.iter().enumerate().map(read).collect()
}

fn refused(pointer: Option<String>) -> Box<Problem> {
    Box::new(Problem::not_acknowledged(pointer, ACK))
}

/// What became of an id that a party has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acked {
    /// The delivery is completed, now or before.
    Acknowledged,
    /// It is the party's and does not lie in its inbox: it waits for its time or for a person.
    NotInInbox(Bucket),
    /// The party is owed no such delivery.
    Unknown,
}

impl Acked {
    /// What a party's row in this state says; none where the party has no such row. A row that is queued
    /// was put back into the inbox meanwhile: it is given and acknowledged again.
    pub fn of(state: Option<DeliveryState>) -> Self {
        match state.map(DeliveryState::bucket) {
            None => Self::Unknown,
            Some(Bucket::Completed) => Self::Acknowledged,
            Some(other) => Self::NotInInbox(other),
        }
    }

    /// The word for machines.
    pub fn word(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::NotInInbox(_) => "not_in_inbox",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: (&str, &[u8]) = ("content-type", b"application/json");

    fn said(body: &str) -> Result<usize, (u16, &'static str, Option<String>)> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        acknowledged([JSON], &body, &JsonLimits::default())
            .map(|ids| ids.len())
            .map_err(|no| (no.status, no.code, no.pointer))
    }

    #[test]
    fn an_acknowledgement_names_ids_and_nothing_else() {
        let id = "\"018f2d3e-0000-8000-8000-000000000001\"";
        let many = |count: usize| format!("{{\"deliveries\":[{}]}}", vec![id; count].join(","));
        let refused = |pointer: Option<&str>| Err((422, "SN0641", pointer.map(str::to_owned)));
        assert_eq!(said(&many(1)), Ok(1));
        assert_eq!(said(&many(500)), Ok(500));
        assert_eq!(said(&many(501)), refused(Some("/deliveries")));
        assert_eq!(said("{\"deliveries\":[]}"), refused(Some("/deliveries")));
        assert_eq!(said(&format!("{{\"deliveries\":[{id},7]}}")), refused(Some("/deliveries/1")));
        assert_eq!(said("{\"deliveries\":[\"RSSMRA80A01G273Z\"]}"), refused(Some("/deliveries/0")));
        assert_eq!(said(&format!("{{\"deliveries\":[{id}],\"all\":true}}")), refused(None));
        for other in ["[]", "7", "{}", "{\"deliveries\":7}"] {
            assert_eq!(said(other), refused(None), "{other}");
        }
        assert_eq!(said("{"), Err((400, "SN0601", None)));
        assert_eq!(said(""), Err((400, "SN0601", None)));
    }

    #[test]
    fn an_acknowledgement_is_json() {
        for kind in
            ["text/plain", "application/cloudevents-batch+json", "application/json;charset=x"]
        {
            let headers = [("content-type", kind.as_bytes())];
            let no = acknowledged(headers, &Bytes::from_static(b"{}"), &JsonLimits::default());
            assert_eq!(no.expect_err("refused").status, 415, "{kind}");
        }
        let packed = [JSON, ("content-encoding", b"gzip")];
        let no = acknowledged(packed, &Bytes::from_static(b"{}"), &JsonLimits::default());
        assert_eq!(no.expect_err("refused").code, "SN0606");
    }

    #[test]
    fn an_answer_is_bounded_by_bytes_and_never_empty_for_a_large_body() {
        let table: [(&[usize], usize); 5] = [
            (&[], 0),
            (&[BYTES + 1, 1], 1),
            (&[BYTES - 1, 1, 1], 2),
            (&[1, 2, 3], 3),
            (&[usize::MAX, usize::MAX], 1),
        ];
        for (bodies, expected) in table {
            assert_eq!(fitting(bodies.iter().copied()), expected, "{bodies:?}");
        }
    }

    #[test]
    fn what_was_done_before_and_what_is_nobodys_have_one_word_each() {
        use DeliveryState::{Completed, Discarded, Parked, Queued, Waiting};
        let word = |state| Acked::of(state).word();
        assert_eq!(word(None), "unknown");
        assert_eq!(word(Some(Completed)), "acknowledged");
        for state in [Queued, Waiting, Parked, Discarded] {
            assert_eq!(word(Some(state)), "not_in_inbox");
        }
    }
}
