//! What an answer of INPS means: an indicator, or a fault of a class. Pure.
//!
//! Invariant: a SOAP answer with status 200 is not success before `Esito` says so; documents with a DTD are
//! not read; nothing of INPS's words is repeated.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::header::CONTENT_TYPE;
use roxmltree::{Document, Node};
use snodo_core::{
    adapter::NOT_FOUND,
    fault::{Fault, FaultClass},
    verdict::EffectKind,
};

use super::{Indicator, Kind};
use crate::http::{
    classify::{Answer, Body, Outcome, Rules, Unreadable, classify as classify_http},
    exchange::Exchange,
};

const RESULT: &str = "http://inps.it/ConsultazioneISEE";
const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";

/// Turns what happened into an indicator, with INPS's id of the question, or a fault.
pub(super) fn classify(
    exchange: Exchange,
    kind: Kind,
) -> Result<(Indicator, Option<String>), Fault> {
    let xml = exchange.header(CONTENT_TYPE).is_some_and(|kind| is_xml(&kind));
    match &exchange.outcome {
        Outcome::Answered(Answer { status: 429, retry_after, .. }) => {
            let text = "today's threshold of ISEE is reached, or calls come too fast";
            let class = FaultClass::Transient { retry_after: *retry_after };
            Err(Fault::new(class, "SN0787", text))
        }
        // SOAP 1.1 tells its faults with status 500, whoever is to blame.
        Outcome::Answered(Answer {
            status: 200 | 500,
            body: Body::Unreadable(Unreadable::NotJson),
            ..
        }) if xml => judged(&exchange.bytes, kind),
        Outcome::Answered(_) | Outcome::NotSent(_) | Outcome::Silent(_) => {
            Err(without_xml(exchange.outcome))
        }
    }
}

/// Neither XML nor anything else that is an answer: as JSON services are judged, and never success.
fn without_xml(outcome: Outcome) -> Fault {
    let rules = Rules::new(EffectKind::Idempotent, true);
    match classify_http(outcome, &rules) {
        Err(fault) if fault.code != "SN0766" => fault,
        Ok(_) | Err(_) => wrong("it is no XML"),
    }
}

fn is_xml(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(kind.as_str(), "text/xml" | "application/xml" | "application/soap+xml")
}

fn judged(bytes: &[u8], kind: Kind) -> Result<(Indicator, Option<String>), Fault> {
    let text = text_of(bytes);
    let document = Document::parse(&text).map_err(|_| wrong("it is broken XML"))?;
    if let Some(fault) = find(&document, SOAP, "Fault") {
        return Err(soap_fault(fault));
    }
    let result = find(&document, RESULT, "ConsultazioneIndicatoreResult");
    let result = result.ok_or_else(|| wrong("it has no result"))?;
    let id = child(result, "IdRichiesta").filter(|id| id.len() <= 64).map(str::to_owned);
    outcome(child(result, "Esito").unwrap_or_default())?;
    let inner = child(result, "XmlEsitoIndicatore").ok_or_else(|| wrong("it has no indicator"))?;
    Ok((indicator(inner, kind)?, id))
}

/// `EsitoEnum`, and what each of its words means.
fn outcome(word: &str) -> Result<(), Fault> {
    let no = |code: &str, text: &str| Fault::new(FaultClass::Refused, code, text);
    let fails = |text: &str| {
        Fault::new(FaultClass::Transient { retry_after: None }, "SN0762", text.to_owned())
    };
    Err(match word {
        "OK" => return Ok(()),
        "DATI_NON_TROVATI" => {
            no("SN0784", "INPS has no declaration for this person").with_reason(NOT_FOUND)
        }
        "RICHIESTA_INVALIDA" => no("SN0764", "INPS does not take the question as it is made"),
        "RISCONTRO_NON_VALIDO" => no("SN0763", "INPS said no: what it found is not valid")
            .with_reason("RISCONTRO_NON_VALIDO"),
        "DATABASE_OFFLINE" => fails("the database of INPS is offline"),
        "ERRORE_INTERNO" => fails("INPS fails"),
        _ => wrong("it does not say how it ended"),
    })
}

fn indicator(inner: &str, kind: Kind) -> Result<Indicator, Fault> {
    let packed: String = inner.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(packed).map_err(|_| wrong("the indicator is no base64"))?;
    let text = text_of(&bytes);
    let document = Document::parse(&text).map_err(|_| wrong("the indicator is broken XML"))?;
    let root = document.root_element();
    if root.tag_name().name() != "Indicatore" {
        return Err(wrong("it has another indicator"));
    }
    let given = root.attribute("TipoIndicatore");
    if given.is_some_and(|given| given != kind.word()) {
        return Err(wrong("it has another indicator"));
    }
    let value_cents = root.attribute("ISEE").and_then(cents);
    let value_cents = value_cents.ok_or_else(|| wrong("its indicator has no amount"))?;
    let presented = root.attribute("DataPresentazione").and_then(|date| date.get(..10));
    let presented = presented.and_then(|date| date.parse::<jiff::civil::Date>().ok());
    let presented = presented.ok_or_else(|| wrong("its indicator has no date"))?;
    let declaration = root.attribute("ProtocolloDSU").map(str::trim).filter(|id| !id.is_empty());
    Ok(Indicator {
        value_cents,
        kind,
        presented_on: presented.to_string(),
        // DPCM 159/2013 art. 10, as it stands since 2020.
        valid_until: format!("{:04}-12-31", presented.year()),
        declaration: declaration.ok_or_else(|| wrong("its indicator has no number"))?.to_owned(),
    })
}

/// `12345.67` in cents; not below zero, at most two places after the point.
fn cents(amount: &str) -> Option<i64> {
    let amount = amount.trim();
    let (euros, places) = amount.split_once('.').unwrap_or((amount, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if euros.is_empty() || !digits(euros) || !digits(places) || places.len() > 2 {
        return None;
    }
    let places = format!("{places:0<2}").parse::<i64>().ok()?;
    euros.parse::<i64>().ok()?.checked_mul(100)?.checked_add(places)
}

/// A fault of SOAP: theirs, unless they say that it is ours.
fn soap_fault(fault: Node<'_, '_>) -> Fault {
    let code = fault.children().find(|node| node.tag_name().name() == "faultcode");
    let code = code.and_then(|code| code.text()).unwrap_or_default();
    match code.rsplit(':').next().unwrap_or_default() {
        "Client" | "VersionMismatch" | "MustUnderstand" => {
            let text = "INPS does not take the question as it is made (SOAP fault)";
            Fault::new(FaultClass::Refused, "SN0764", text)
        }
        _ => {
            let class = FaultClass::Transient { retry_after: None };
            Fault::new(class, "SN0762", "INPS fails (SOAP fault)")
        }
    }
}

/// UTF-8, or else the Latin-1 that the schemas of INPS are written in.
fn text_of(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes)
        .map_or_else(|_| bytes.iter().copied().map(char::from).collect(), str::to_owned)
}

fn find<'a>(document: &'a Document<'_>, namespace: &str, name: &str) -> Option<Node<'a, 'a>> {
    document.descendants().find(|node| node.has_tag_name((namespace, name)))
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<&'a str> {
    let found = node.children().find(|child| child.tag_name().name() == name)?;
    found.text().map(str::trim).filter(|text| !text.is_empty())
}

fn wrong(what: &str) -> Fault {
    let text = format!("ISEE says success, but its answer is not as agreed: {what}");
    Fault::new(FaultClass::Refused, "SN0766", text)
}

#[cfg(test)]
mod tests;
