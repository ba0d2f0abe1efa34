//! Questions made by hand, right but for one thing: the authorities of the sandbox find it.
//!
//! Invariant: a question without a twist is answered, so what refuses one is the twist.

use std::cell::Cell;

use serde_json::{Value, json};
use snodo_sandbox::authority::{
    Authority,
    jws::{Key, digest_header, fresh, header, hex},
};

use super::{MARIO, client, key, purpose, world};

const SERVICE: &str = "C021-servizioAccertamentoStatoFamiglia/v1";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

type Headers = Vec<(&'static str, String)>;

/// The one thing that is wrong.
enum Twist {
    Nothing,
    Form(fn(&mut Vec<(&'static str, String)>)),
    Assertion(fn(&mut Value, &mut Value)),
    Evidence(fn(&mut Value, &mut Value)),
    Signature(fn(&mut Value, &mut Value)),
    Body(fn(&mut Value)),
    /// After everything was signed.
    Sent(fn(&mut Headers, &mut Vec<u8>)),
}

struct Forger {
    authority: Authority,
    http: reqwest::Client,
    number: Cell<u64>,
}

impl Forger {
    async fn new() -> Self {
        let authority = Authority::start(world()).await.expect("starts");
        Self { authority, http: reqwest::Client::new(), number: Cell::new(0) }
    }

    /// The status of a question with a twist, and the rule that it broke.
    async fn ask(&self, twist: &Twist) -> (u16, Option<&'static str>) {
        let before = self.authority.refused().len();
        let status = self.status(twist).await;
        (status, self.authority.refused().get(before).map(|refused| refused.rule))
    }

    async fn status(&self, twist: &Twist) -> u16 {
        let audience =
            format!("{}/govway/rest/in/MinInternoPortaANPR/{SERVICE}", self.authority.base());
        let evidence = evidence(&audience, twist);
        let voucher = match self.voucher(&evidence, twist).await {
            Ok(voucher) => voucher,
            Err(status) => return status,
        };
        let mut body = self.body(twist);
        let digest = digest_header(&body);
        let mut headers = vec![
            ("authorization", format!("Bearer {voucher}")),
            ("content-type", "application/json".to_owned()),
            ("digest", digest.clone()),
            ("agid-jwt-trackingevidence", evidence),
            ("agid-jwt-signature", signature(&audience, &digest, twist)),
        ];
        if let Twist::Sent(twist) = twist {
            twist(&mut headers, &mut body);
        }
        self.send(headers, body).await
    }

    async fn send(&self, headers: Headers, body: Vec<u8>) -> u16 {
        let base = self.authority.base();
        let door = format!("{base}/govway/rest/in/MinInternoPortaANPR-PDND/{SERVICE}");
        let request = self.http.post(format!("{door}/anpr-service-e002")).body(body);
        let request =
            headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        request.send().await.expect("an answer").status().as_u16()
    }

    fn body(&self, twist: &Twist) -> Vec<u8> {
        self.number.set(self.number.get() + 1);
        let mut body = json!({
            "idOperazioneClient": self.number.get().to_string(),
            "criteriRicerca": { "codiceFiscale": MARIO },
            "datiRichiesta": { "dataRiferimentoRichiesta": "2026-11-23",
                               "motivoRichiesta": "0001234/2026", "casoUso": "C021" }
        });
        if let Twist::Body(twist) = twist {
            twist(&mut body);
        }
        body.to_string().into_bytes()
    }

    async fn voucher(&self, evidence: &str, twist: &Twist) -> Result<String, u16> {
        let mut form = vec![
            ("client_id", client()),
            ("client_assertion", assertion(evidence, twist)),
            ("client_assertion_type", ASSERTION_TYPE.to_owned()),
            ("grant_type", "client_credentials".to_owned()),
        ];
        if let Twist::Form(twist) = twist {
            twist(&mut form);
        }
        let door = format!("{}/token.oauth2", self.authority.base());
        let mut url = reqwest::Url::parse(&door).expect("an address");
        url.query_pairs_mut().extend_pairs(form);
        let request = self.http.post(door).body(url.query().expect("a form").to_owned());
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.send().await.expect("an answer");
        if answer.status() != 200 {
            return Err(answer.status().as_u16());
        }
        let body = answer.bytes().await.expect("a body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        Ok(body["access_token"].as_str().expect("a token").to_owned())
    }
}

fn assertion(evidence: &str, twist: &Twist) -> String {
    let mut claims = claims("127.0.0.1/client-assertion");
    claims["sub"] = json!(client());
    claims["purposeId"] = json!(purpose(21));
    claims["digest"] = json!({ "alg": "SHA256", "value": hex(evidence.as_bytes()) });
    signed(claims, if let Twist::Assertion(twist) = twist { Some(*twist) } else { None })
}

fn evidence(audience: &str, twist: &Twist) -> String {
    let mut claims = claims(audience);
    claims["purposeId"] = json!(purpose(21));
    claims["dnonce"] = json!(1_234_567_890_123_u64);
    claims["userID"] = json!("op");
    claims["userLocation"] = json!("desk");
    claims["LoA"] = json!("LoA3");
    signed(claims, if let Twist::Evidence(twist) = twist { Some(*twist) } else { None })
}

fn signature(audience: &str, digest: &str, twist: &Twist) -> String {
    let mut claims = claims(audience);
    claims["sub"] = json!(client());
    claims["signed_headers"] =
        json!([{ "digest": digest }, { "content-type": "application/json" }]);
    signed(claims, if let Twist::Signature(twist) = twist { Some(*twist) } else { None })
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn claims(audience: &str) -> Value {
    json!({ "iss": client(), "aud": audience, "jti": fresh(), "iat": now() - 5, "exp": now() + 100 })
}

fn signed(mut claims: Value, twist: Option<fn(&mut Value, &mut Value)>) -> String {
    let mut header = header("key-1");
    if let Some(twist) = twist {
        twist(&mut header, &mut claims);
    }
    key().sign(&header, &claims).expect("signed")
}

/// Takes a claim away.
fn without(claims: &mut Value, name: &str) -> Option<Value> {
    claims.as_object_mut().expect("claims").remove(name)
}

/// Another header value under the same name.
fn replace(headers: &mut Headers, name: &str, change: impl Fn(&str) -> String) {
    for (_, value) in headers.iter_mut().filter(|(known, _)| *known == name) {
        *value = change(value);
    }
}

/// One letter in the middle of the signature is another.
fn bent(token: &str) -> String {
    let at = token.rfind('.').expect("three parts") + 20;
    let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}

async fn each_is_found(table: Vec<(Twist, u16, &'static str)>) {
    let forger = Forger::new().await;
    assert_eq!(forger.ask(&Twist::Nothing).await, (200, None));
    for (twist, status, rule) in table {
        assert_eq!(forger.ask(&twist).await, (status, Some(rule)));
        assert_eq!(forger.ask(&Twist::Nothing).await, (200, None), "after {rule}");
    }
}

#[tokio::test]
async fn pdnd_finds_each_mistake_in_a_request_for_a_voucher() {
    use Twist::{Assertion, Form};
    each_is_found(vec![
        (Form(|form| form[3].1 = "password".to_owned()), 400, "grant_type"),
        (Form(|form| form[2].1 = "jwt".to_owned()), 400, "client_assertion_type"),
        (Form(|form| drop(form.remove(1))), 400, "form_field"),
        (Form(|form| form[0].1 = "another".to_owned()), 400, "client"),
        (Form(|form| form[1].1 = "a.b".to_owned()), 400, "three_parts"),
        (Form(|form| form[1].1 = bent(&form[1].1)), 400, "signature"),
        (Assertion(|header, _| header["alg"] = json!("none")), 400, "alg"),
        (Assertion(|header, _| header["alg"] = json!("HS256")), 400, "alg"),
        (Assertion(|header, _| header["typ"] = json!("at+jwt")), 400, "typ"),
        (Assertion(|header, _| header["jku"] = json!("http://127.0.0.1:9")), 400, "odd_header"),
        (Assertion(|header, _| header["kid"] = json!("../../etc/passwd")), 400, "kid"),
        (Assertion(|header, _| header["kid"] = json!("key-2")), 400, "kid"),
        (Assertion(|_, claims| claims["iss"] = json!("another")), 400, "iss_sub"),
        (Assertion(|_, claims| claims["sub"] = json!("another")), 400, "iss_sub"),
        (Assertion(|_, claims| claims["aud"] = json!("127.0.0.1")), 400, "aud"),
        (Assertion(|_, claims| claims["iat"] = json!("now")), 400, "iat"),
        (Assertion(|_, claims| claims["iat"] = json!(now() + 2)), 400, "iat_in_the_future"),
        (Assertion(|_, claims| claims["exp"] = json!(now() - 1)), 400, "expired"),
        (Assertion(|_, claims| claims["exp"] = json!(now() + 300)), 400, "lives_too_long"),
        (Assertion(|_, claims| claims["jti"] = json!("")), 400, "jti"),
        (Assertion(|header, _| header["alg"] = json!("RS512")), 400, "alg"),
        (Assertion(|header, _| header["crit"] = json!(["exp"])), 400, "odd_header"),
        (Assertion(|_, claims| claims["exp"] = json!("never")), 400, "exp"),
        (Assertion(|_, claims| claims["exp"] = json!(1e30)), 400, "exp"),
        (Assertion(|_, claims| claims["exp"] = json!(-1)), 400, "expired"),
        (Assertion(|_, claims| claims["nbf"] = json!(now() + 60)), 400, "nbf"),
        (Assertion(|_, claims| drop(without(claims, "exp"))), 400, "exp"),
        (Assertion(|_, claims| drop(without(claims, "iat"))), 400, "iat"),
        (Assertion(|_, claims| drop(without(claims, "jti"))), 400, "jti"),
        (Assertion(|_, claims| drop(without(claims, "aud"))), 400, "aud"),
        (Assertion(|_, claims| drop(without(claims, "iss"))), 400, "iss_sub"),
        (Assertion(|_, claims| drop(without(claims, "purposeId"))), 400, "purpose"),
        (Assertion(|_, claims| claims["purposeId"] = json!("x")), 400, "purpose"),
        (Assertion(|_, claims| claims["digest"]["alg"] = json!("MD5")), 400, "digest_claim"),
        (Assertion(|_, claims| claims["digest"]["value"] = json!("x")), 400, "digest_claim"),
    ])
    .await;
}

#[tokio::test]
async fn an_authority_finds_each_mistake_in_voucher_and_evidence() {
    use Twist::{Assertion, Evidence, Sent};
    each_is_found(vec![
        (Sent(|headers, _| drop(headers.remove(0))), 401, "authorization"),
        (Sent(|headers, _| headers.push(headers[0].clone())), 401, "authorization"),
        (
            Sent(|headers, _| replace(headers, "authorization", |v| v.replace("Bearer", "Basic"))),
            401,
            "authorization",
        ),
        (Sent(|headers, _| replace(headers, "authorization", bent)), 401, "signature"),
        // For another service: the voucher is for that one.
        (Assertion(|_, claims| claims["purposeId"] = json!(purpose(30))), 401, "aud"),
        (
            Assertion(|_, claims| drop(claims.as_object_mut().expect("claims").remove("digest"))),
            400,
            "evidence_digest",
        ),
        (
            Assertion(|_, claims| claims["digest"]["value"] = json!("0".repeat(64))),
            400,
            "evidence_digest",
        ),
        (Sent(|headers, _| drop(headers.remove(3))), 400, "evidence"),
        (
            Sent(|headers, _| replace(headers, "agid-jwt-trackingevidence", bent)),
            400,
            "evidence_digest",
        ),
        (Evidence(|header, _| header["kid"] = json!("key-2")), 400, "kid"),
        (Evidence(|_, claims| claims["iss"] = json!("another")), 400, "iss"),
        (
            Evidence(|_, claims| {
                claims["aud"] = json!(format!("{}/", claims["aud"].as_str().expect("a text")));
            }),
            400,
            "aud",
        ),
        (Evidence(|_, claims| claims["iat"] = json!(now() + 2)), 400, "iat_in_the_future"),
        (Evidence(|_, claims| claims["exp"] = json!(now() - 1)), 400, "expired"),
        (Evidence(|_, claims| claims["purposeId"] = json!(purpose(30))), 400, "evidence_purpose"),
        (Evidence(|_, claims| claims["dnonce"] = json!(123)), 400, "dnonce"),
        (Evidence(|_, claims| claims["dnonce"] = json!("1234567890123")), 400, "dnonce"),
        (Evidence(|_, claims| claims["userID"] = json!("")), 400, "user_id"),
        (Evidence(|_, claims| claims["userLocation"] = json!(null)), 400, "user_location"),
        (Evidence(|_, claims| claims["LoA"] = json!("L".repeat(21))), 400, "loa"),
    ])
    .await;
}

#[tokio::test]
async fn an_authority_finds_each_mistake_in_digest_and_signature() {
    use Twist::{Sent, Signature};
    each_is_found(vec![
        (Sent(|_, body| body.push(b' ')), 400, "digest_mismatch"),
        (
            Sent(|headers, body| {
                body.push(b' ');
                let digest = digest_header(body);
                replace(headers, "digest", |_| digest.clone());
            }),
            400,
            "signed_header_differs",
        ),
        (Sent(|headers, _| drop(headers.remove(2))), 400, "digest_header"),
        (Sent(|headers, _| headers.push(headers[2].clone())), 400, "digest_header"),
        (
            Sent(|headers, _| replace(headers, "digest", |v| v.replace("SHA-256", "sha-256"))),
            400,
            "digest_mismatch",
        ),
        (Sent(|headers, _| drop(headers.remove(4))), 400, "signature_header"),
        (Sent(|headers, _| replace(headers, "agid-jwt-signature", bent)), 400, "signature"),
        (
            Sent(|headers, _| headers.push(("content-encoding", "UTF-8".to_owned()))),
            400,
            "header_not_signed",
        ),
        (
            Sent(|headers, _| replace(headers, "content-type", |v| format!("{v}; charset=utf-8"))),
            400,
            "signed_header_differs",
        ),
        (Signature(|_, claims| claims["sub"] = json!("another")), 400, "sub"),
        (Signature(|_, claims| claims["aud"] = json!("another")), 400, "aud"),
        (Signature(|_, claims| claims["iat"] = json!(now() + 2)), 400, "iat_in_the_future"),
        (Signature(|_, claims| claims["signed_headers"] = json!({})), 400, "signed_headers"),
        (Signature(|_, claims| claims["signed_headers"] = json!([])), 400, "header_not_signed"),
        (
            Signature(|_, claims| {
                drop(claims["signed_headers"].as_array_mut().expect("a list").remove(0));
            }),
            400,
            "header_not_signed",
        ),
        (
            Signature(|_, claims| {
                drop(claims["signed_headers"].as_array_mut().expect("a list").remove(1));
            }),
            400,
            "header_not_signed",
        ),
        (
            Signature(|_, claims| {
                let list = claims["signed_headers"].as_array_mut().expect("a list");
                list.push(list[0].clone());
            }),
            400,
            "signed_header_twice",
        ),
        (
            Signature(|_, claims| {
                let list = claims["signed_headers"].as_array().expect("a list").clone();
                claims["signed_headers"] =
                    json!([{ "digest": list[0]["digest"], "content-type": "application/json" }]);
            }),
            400,
            "signed_headers",
        ),
        (
            Signature(|_, claims| {
                claims["signed_headers"]
                    .as_array_mut()
                    .expect("a list")
                    .push(json!({ "accept-charset": "x" }));
            }),
            400,
            "signed_header_missing",
        ),
    ])
    .await;
}

#[tokio::test]
async fn govway_finds_each_mistake_in_the_content() {
    use Twist::Body;
    each_is_found(vec![
        (Body(|body| body["criteriRicerca"]["idANPR"] = json!(null)), 400, "null_member"),
        (
            Body(|body| drop(body.as_object_mut().expect("x").remove("criteriRicerca"))),
            400,
            "required_member",
        ),
        (
            Body(|body| {
                drop(body["datiRichiesta"].as_object_mut().expect("x").remove("motivoRichiesta"));
            }),
            400,
            "required_member",
        ),
    ])
    .await;
}

#[tokio::test]
async fn anpr_demands_a_case_its_service_and_a_number() {
    let forger = Forger::new().await;
    let table: [fn(&mut Value); 5] = [
        |body| body["datiRichiesta"]["motivoRichiesta"] = json!(" "),
        |body| body["datiRichiesta"]["casoUso"] = json!("C001"),
        |body| body["criteriRicerca"] = json!({}),
        |body| body["idOperazioneClient"] = json!("abc"),
        |body| body["idOperazioneClient"] = json!("0"),
    ];
    assert_eq!(forger.ask(&Twist::Nothing).await, (200, None));
    for twist in table {
        assert_eq!(forger.ask(&Twist::Body(twist)).await, (400, None));
    }
}

#[tokio::test]
async fn every_token_is_taken_once() {
    let twists = [
        Twist::Assertion(|_, claims| claims["jti"] = json!("again-1")),
        Twist::Evidence(|_, claims| claims["jti"] = json!("again-2")),
        Twist::Signature(|_, claims| claims["jti"] = json!("again-3")),
    ];
    let forger = Forger::new().await;
    for twist in twists {
        assert_eq!(forger.ask(&twist).await, (200, None));
        assert_eq!(forger.ask(&twist).await, (400, Some("jti_replay")));
    }
}

#[tokio::test]
async fn a_key_that_was_not_deposited_signs_nothing() {
    let mut other = world();
    other.clients[0].key = Key::generate().expect("a key").public();
    let authority = Authority::start(other).await.expect("starts");
    let forger = Forger { authority, http: reqwest::Client::new(), number: Cell::new(0) };
    assert_eq!(forger.ask(&Twist::Nothing).await, (400, Some("signature")));
}
