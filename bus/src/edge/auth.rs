//! Who is asking: a bearer token's digest names a party; and how fast the party may ask.
//!
//! Invariant: a token is only ever compared by its SHA-256, and never logged.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use snodo_core::ids::Digest;

use super::problems::{Code, Refusal};
use crate::ledger::Subscriber;

/// No token is longer.
const LONGEST: usize = 8 * 1024;

/// How many requests a second a party may send, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Requests a second.
    pub per_second: u32,
}

impl Rate {
    fn burst(self) -> f64 {
        f64::from(self.per_second) * 2.0
    }
}

/// A party as the edge knows it.
#[derive(Debug)]
pub struct Caller {
    /// Its id.
    pub id: Arc<str>,
    /// `party:<id>`: how it is counted, and who is owed what it receives.
    pub subscriber: Subscriber,
    /// The types that it may send.
    pub sends: BTreeSet<String>,
    /// How fast.
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
        let tokens = rate.map_or(0.0, Rate::burst);
        Self {
            id: id.into(),
            subscriber: crate::engine::party_subscriber(id),
            sends,
            rate,
            bucket: Mutex::new(Bucket { tokens, at: Duration::ZERO }),
        }
    }

    /// Takes one request out of the party's rate at `uptime`.
    pub fn spend(&self, uptime: Duration) -> Result<Option<Allowance>, Refusal> {
        let Some(rate) = self.rate else { return Ok(None) };
        let per_second = f64::from(rate.per_second);
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = uptime.saturating_sub(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + elapsed * per_second).min(rate.burst());
        bucket.at = uptime;
        let enough = bucket.tokens >= 1.0;
        bucket.tokens -= f64::from(u8::from(enough));
        let reset = Duration::from_secs_f64((1.0 - bucket.tokens).max(0.0) / per_second);
        let allowance =
            Allowance { limit: rate.per_second, remaining: whole(bucket.tokens), reset };
        if enough {
            return Ok(Some(allowance));
        }
        let wait = Duration::from_secs(reset.as_secs() + 1);
        let refusal = Refusal::from(Code::Rate).after(wait);
        Err(allowance
            .headers()
            .into_iter()
            .fold(refusal, |r, (name, value)| r.with_header(name, value)))
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
}

/// The parties, by the digest of their token.
#[derive(Debug, Default)]
pub struct Callers(HashMap<Digest, Arc<Caller>>);

impl Callers {
    /// With one more party.
    #[must_use]
    pub fn with(mut self, token: Digest, caller: Caller) -> Self {
        self.0.insert(token, Arc::new(caller));
        self
    }

    /// The party whose token the request carries.
    pub fn identify(&self, headers: &HeaderMap) -> Result<&Arc<Caller>, Refusal> {
        let mut written = headers.get_all(AUTHORIZATION).iter();
        let first = written.next().ok_or(Code::Token)?;
        if written.next().is_some() {
            return Err(Code::TwoTokens.into());
        }
        let token = bearer(first.as_bytes()).ok_or(Code::Token)?;
        self.0.get(&Digest::of(token)).ok_or_else(|| Code::Token.into())
    }
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

    fn caller(per_second: u32) -> Caller {
        Caller::new("region", BTreeSet::new(), Some(Rate { per_second }))
    }

    #[test]
    fn a_party_sends_as_fast_as_was_agreed_and_twice_that_at_once() {
        let caller = caller(2);
        let start = Duration::from_secs(100);
        let sent = (0..9).filter(|_| caller.spend(start).is_ok()).count();
        assert_eq!(sent, 4);
        let refused = caller.spend(start).expect_err("too fast");
        assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));
        let later = start + Duration::from_millis(500);
        assert!(caller.spend(later).is_ok());
        assert!(caller.spend(later).is_err());
    }

    #[test]
    fn one_bearer_token_names_one_party() {
        let callers = Callers::default().with(Digest::of(b"secret"), caller(1));
        let ask = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().expect("a header"));
            }
            callers.identify(&headers).map(|caller| caller.id.to_string()).map_err(|r| r.code)
        };
        assert_eq!(ask(&["Bearer secret"]), Ok("region".to_owned()));
        assert_eq!(ask(&["bearer secret"]), Ok("region".to_owned()));
        for wrong in ["Bearer other", "Basic secret", "Bearer ", "secret", "", "Bearer sec ret"] {
            assert_eq!(ask(&[wrong]), Err("SN0648".to_owned()), "{wrong:?}");
        }
        assert_eq!(ask(&[]), Err("SN0648".to_owned()));
        assert_eq!(ask(&["Bearer secret", "Bearer secret"]), Err("SN0649".to_owned()));
    }
}
