//! Answers as INPS writes them, and as it does not.
//!
//! Invariant: the shapes are of the public interface; nobody in them lives.

use reqwest::header::{HeaderMap, HeaderValue};
use snodo_core::ids::Digest;

use super::*;
use crate::http::classify::{NotSent, Silence};

const TRANSIENT: FaultClass = FaultClass::Transient { retry_after: None };

const GOOD: &str = concat!(
    r#"<Indicatore xmlns="http://inps.it/ISEERiforma" TipoIndicatore="Ordinario" ISE="20000.00" "#,
    r#"ScalaEquivalenza="2.04" ISEE="9803.92" ISR="0" ISP="0" "#,
    r#"ProtocolloDSU="INPS-ISEE-2026-12345678A-00" DataPresentazione="2026-02-03">"#,
    r#"<RicercaCF CodiceFiscale="RSSMRA80A01G273Z"/></Indicatore>"#
);

fn soap(esito: &str, inner: &str) -> String {
    format!(
        "<s11:Envelope xmlns:s11='{SOAP}'>\n<s11:Body>\n<ns1:ConsultazioneIndicatoreResponse \
         xmlns:ns1='{RESULT}'><ns1:ConsultazioneIndicatoreResult>\
         <ns1:IdRichiesta>999</ns1:IdRichiesta><!-- OK --><ns1:Esito>{esito}</ns1:Esito>\
         <ns1:DescrizioneErrore>Mario Rossi</ns1:DescrizioneErrore>\
         <ns1:XmlEsitoIndicatore>{inner}</ns1:XmlEsitoIndicatore>\
         </ns1:ConsultazioneIndicatoreResult></ns1:ConsultazioneIndicatoreResponse>\
         </s11:Body></s11:Envelope>"
    )
}

fn came(status: u16, kind: &'static str, text: &str) -> Exchange {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let bytes = text.as_bytes().to_vec();
    let body = Body::Unreadable(Unreadable::NotJson);
    let outcome = Outcome::Answered(Answer { status, retry_after: None, body });
    Exchange { outcome, answer: Digest::of(&bytes), bytes, headers }
}

fn read(esito: &str, inner: &str) -> Result<(Indicator, Option<String>), Fault> {
    let text = soap(esito, &STANDARD.encode(inner));
    classify(came(200, "text/xml;charset=utf-8", &text), Kind::Ordinary)
}

fn seen(fault: &Fault) -> (FaultClass, &str) {
    assert!(!format!("{fault:?}").contains("Mario"), "{fault:?}");
    (fault.class, fault.code.as_str())
}

#[test]
fn an_indicator_is_read_with_the_year_in_which_it_holds() {
    let (indicator, id) = read("OK", GOOD).expect("an indicator");
    let expected = Indicator {
        value_cents: 980_392,
        kind: Kind::Ordinary,
        presented_on: "2026-02-03".to_owned(),
        valid_until: "2026-12-31".to_owned(),
        declaration: "INPS-ISEE-2026-12345678A-00".to_owned(),
    };
    assert_eq!((indicator, id.as_deref()), (expected, Some("999")));
}

#[test]
fn every_word_of_an_outcome_has_its_class() {
    let table = [
        ("DATI_NON_TROVATI", FaultClass::Refused, "SN0784"),
        ("RICHIESTA_INVALIDA", FaultClass::Refused, "SN0764"),
        ("RISCONTRO_NON_VALIDO", FaultClass::Refused, "SN0763"),
        ("DATABASE_OFFLINE", TRANSIENT, "SN0762"),
        ("ERRORE_INTERNO", TRANSIENT, "SN0762"),
        ("?", FaultClass::Refused, "SN0766"),
        ("", FaultClass::Refused, "SN0766"),
    ];
    for (word, class, code) in table {
        assert_eq!(seen(&read(word, GOOD).expect_err("a fault")), (class, code), "{word}");
    }
    let nobody = read("DATI_NON_TROVATI", "").expect_err("nobody");
    assert_eq!(nobody.reason.as_deref(), Some(NOT_FOUND));
}

#[test]
fn what_an_indicator_must_have_is_demanded() {
    let table = [
        GOOD.replace("9803.92", "9803,92"),
        GOOD.replace("9803.92", "-1"),
        GOOD.replace("9803.92", "1.234"),
        GOOD.replace(r#"ISEE="9803.92""#, ""),
        GOOD.replace("2026-02-03", "2026-02-30"),
        GOOD.replace("ProtocolloDSU", "Protocollo"),
        GOOD.replace("Ordinario", "Minorenne"),
        GOOD.replace("Indicatore", "Attestazione"),
        GOOD.replace("/>", ">"),
        format!("<!DOCTYPE x [<!ENTITY a 'b'>]>{GOOD}"),
        String::new(),
    ];
    for inner in table {
        let fault = read("OK", &inner).expect_err("a fault");
        assert_eq!(seen(&fault), (FaultClass::Refused, "SN0766"), "{inner}");
    }
    let odd = classify(came(200, "text/xml", &soap("OK", "*")), Kind::Ordinary);
    assert_eq!(odd.expect_err("a fault").code, "SN0766");
}

#[test]
fn amounts_are_whole_cents() {
    let table =
        [("0", Some(0)), ("10000", Some(1_000_000)), ("1.5", Some(150)), ("1.05", Some(105))];
    for (text, expected) in table {
        assert_eq!(cents(text), expected, "{text}");
    }
    for text in ["", ".", "1.234", "-1", "1e3", "1,5", "99999999999999999999"] {
        assert_eq!(cents(text), None, "{text}");
    }
}

#[test]
fn what_is_no_answer_has_its_class() {
    let fault = |code: &str| {
        format!(
            "<e:Envelope xmlns:e='{SOAP}'><e:Body><e:Fault><faultcode>e:{code}</faultcode>\
             <faultstring>Mario Rossi</faultstring></e:Fault></e:Body></e:Envelope>"
        )
    };
    let table = [
        (came(500, "text/xml", &fault("Server")), TRANSIENT, "SN0762"),
        (came(500, "text/xml", &fault("Client")), FaultClass::Refused, "SN0764"),
        (came(200, "text/xml", &fault("Server")), TRANSIENT, "SN0762"),
        (came(200, "text/html", "<html>Mario Rossi</html>"), FaultClass::Refused, "SN0766"),
        (came(200, "text/xml", "<html>Mario Rossi</html>"), FaultClass::Refused, "SN0766"),
        (came(200, "text/xml", "<a>"), FaultClass::Refused, "SN0766"),
        (came(401, "text/html", ""), FaultClass::Refused, "SN0765"),
        (came(403, "text/xml", ""), FaultClass::Refused, "SN0765"),
        (came(302, "text/xml", ""), FaultClass::Refused, "SN0764"),
        (came(429, "text/xml", ""), TRANSIENT, "SN0787"),
        (came(503, "text/html", ""), TRANSIENT, "SN0762"),
    ];
    for (exchange, class, code) in table {
        let shown = format!("{exchange:?}");
        let fault = classify(exchange, Kind::Ordinary).expect_err("a fault");
        assert_eq!(seen(&fault), (class, code), "{shown}");
    }
    let silent = |outcome| Exchange { outcome, ..came(200, "text/xml", "") };
    let away = classify(silent(Outcome::NotSent(NotSent::ConnectionRefused)), Kind::Ordinary);
    assert_eq!(away.expect_err("a fault").class, FaultClass::Outage);
    let none = classify(silent(Outcome::Silent(Silence::TimedOut)), Kind::Ordinary);
    assert_eq!(none.expect_err("a fault").class, FaultClass::NoAnswer);
}
