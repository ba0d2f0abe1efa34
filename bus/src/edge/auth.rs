//! Who is asking: a bearer token's digest names a party; and how fast the party may ask.
//!
//! Invariant: a token is only ever compared by its SHA-256, and never logged.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION},
    response::Response,
};
use snodo_core::{
    ids::Digest,
    party::{Parties, Party, Rate},
    problem::Problem,
};

use super::problems::Refusal;
use crate::ledger::Subscriber;

/// No token is longer.
const LONGEST: usize = 8 * 1024;

/// A party as the edge knows it.
#[derive(Debug)]
pub struct Caller {
    /// Its id.
    pub id: Arc<str>,
    /// `party:<id>`: how it is counted, and who is owed what it receives.
    pub subscriber: Subscriber,
    /// The types that it may send.
    pub sends: BTreeSet<String>,
    /// Whether it may ask who was told what about a person.
    pub searches_disclosures: bool,
    /// How fast; so many may come at once.
    pub rate: Option<Rate>,
    bucket: Mutex<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

/// What is left of a party's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    limit: u32,
    remaining: u32,
    reset: Duration,
}

impl Caller {
    /// A party that may send these types.
    pub fn new(id: &str, sends: BTreeSet<String>, rate: Option<Rate>) -> Self {
        let tokens = rate.map_or(0.0, |rate| f64::from(rate.count));
        Self {
            id: id.into(),
            subscriber: crate::engine::party_subscriber(id),
            sends,
            searches_disclosures: false,
            rate,
            bucket: Mutex::new(Bucket { tokens, at: Duration::ZERO }),
        }
    }

    /// Takes one request out of the party's rate at `uptime`.
    pub fn spend(&self, uptime: Duration) -> Result<Option<Allowance>, Refusal> {
        let Some(rate) = self.rate else { return Ok(None) };
        let full = f64::from(rate.count);
        let per_second = full / rate.per.as_secs_f64().max(0.001);
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = uptime.saturating_sub(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + elapsed * per_second).min(full);
        bucket.at = uptime;
        let enough = bucket.tokens >= 1.0;
        bucket.tokens -= f64::from(u8::from(enough));
        let reset = Duration::from_secs_f64((1.0 - bucket.tokens).max(0.0) / per_second);
        let allowance = Allowance { limit: rate.count, remaining: whole(bucket.tokens), reset };
        if enough {
            return Ok(Some(allowance));
        }
        let refusal = Refusal::from(Problem::too_many_requests(reset));
        Err(refusal.with_headers(allowance.headers()))
    }
}

fn whole(tokens: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a bucket holds from 0 to twice a u32's worth, and `as` saturates"
    )]
    let tokens = tokens as u32;
    tokens
}

impl Allowance {
    /// The headers of ModI's RAC_ROBUSTEZZA.
    pub fn headers(self) -> [(HeaderName, HeaderValue); 3] {
        [
            (HeaderName::from_static("x-ratelimit-limit"), self.limit.into()),
            (HeaderName::from_static("x-ratelimit-remaining"), self.remaining.into()),
            (HeaderName::from_static("x-ratelimit-reset"), self.reset.as_secs().into()),
        ]
    }

    /// Tells the party on an answer what is left of its rate, where it has one.
    pub(super) fn tell(this: Option<Self>, mut response: Response) -> Response {
        response.headers_mut().extend(this.into_iter().flat_map(Self::headers));
        response
    }
}

/// The parties, by the digest of their token.
#[derive(Debug, Default)]
pub struct Callers(HashMap<Digest, Arc<Caller>>);

impl Callers {
    /// The parties of the house.
    pub fn of(parties: &Parties) -> Self {
        Self(parties.iter().map(|party| (party.token, Arc::new(caller(party)))).collect())
    }

    /// The party whose token the request carries.
    pub fn identify(&self, headers: &HeaderMap) -> Result<&Arc<Caller>, Refusal> {
        let mut written = headers.get_all(AUTHORIZATION).iter();
        let first = written.next().ok_or_else(|| unknown("missing"))?;
        if written.next().is_some() {
            let expected = "exactly one `Authorization` header";
            return Err(Problem::malformed_request("authorization", expected).into());
        }
        let token = bearer(first.as_bytes()).ok_or_else(|| unknown("not_a_bearer_token"))?;
        self.0.get(&Digest::of(token)).ok_or_else(|| unknown("unknown_token"))
    }
}

fn caller(party: &Party) -> Caller {
    let sends = party.sends.iter().cloned().collect();
    let caller = Caller::new(&party.id, sends, party.limits.rate);
    Caller { searches_disclosures: party.searches_disclosures, ..caller }
}

fn unknown(reason: &'static str) -> Refusal {
    Problem::not_identified(reason).into()
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let fits =
        !token.is_empty() && token.len() <= LONGEST && token.iter().all(u8::is_ascii_graphic);
    (fits && scheme.eq_ignore_ascii_case(b"bearer ")).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_a_second() -> Caller {
        let rate = Rate { count: 2, per: Duration::from_secs(1) };
        Caller::new("region", BTreeSet::new(), Some(rate))
    }

    #[test]
    fn a_party_sends_as_fast_as_was_agreed() {
        let caller = two_a_second();
        let start = Duration::from_secs(100);
        let sent = (0..9).filter(|_| caller.spend(start).is_ok()).count();
        assert_eq!(sent, 2);
        let refused = caller.spend(start).expect_err("too fast");
        assert_eq!(refused.problem.retry_after, Some(1));
        let later = start + Duration::from_millis(500);
        assert!(caller.spend(later).is_ok());
        assert!(caller.spend(later).is_err());
    }

    #[test]
    fn one_bearer_token_names_one_party() {
        let caller = Arc::new(two_a_second());
        let callers = Callers(HashMap::from([(Digest::of(b"secret"), caller)]));
        let ask = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().expect("a header"));
            }
            callers
                .identify(&headers)
                .map(|caller| caller.id.to_string())
                .map_err(|refused| refused.problem.code)
        };
        assert_eq!(ask(&["Bearer secret"]), Ok("region".to_owned()));
        assert_eq!(ask(&["bearer secret"]), Ok("region".to_owned()));
        for wrong in ["Bearer other", "Basic secret", "Bearer ", "secret", "", "Bearer sec ret"] {
            assert_eq!(ask(&[wrong]), Err("SN0611"), "{wrong:?}");
        }
        assert_eq!(ask(&[]), Err("SN0611"));
        assert_eq!(ask(&["Bearer secret", "Bearer secret"]), Err("SN0618"));
    }
}
