//! INPS: the ISEE of a family, over SOAP, in the shapes of the public interface.
//!
//! Invariant: SOAP says how it ended in `Esito`, with status 200, whatever the answer is.

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use roxmltree::{Document, Node};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Asked, House,
    anpr::{over_threshold, refuse},
    modi::{self, Breach},
    told,
};

/// Its name among the services.
pub(super) const SERVICE: &str = "ISEE";
/// Below the base.
pub(super) const PATH: &str = "/pdnd/soap/ConsultazioneISEE/v1";
const NAMESPACE: &str = "http://inps.it/ConsultazioneISEE";
const ACTION: &str =
    "\"http://inps.it/ConsultazioneISEE/ISvcConsultazione/ConsultazioneIndicatore\"";

/// An indicator of somebody.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Indicator {
    /// Codice fiscale of a member of the family.
    pub tax_code: String,
    /// `Ordinario`.
    pub kind: String,
    /// `9803.92`.
    pub amount: String,
    /// `2026-02-03`.
    pub presented: String,
    /// `INPS-ISEE-2026-12345678A-00`.
    pub declaration: String,
}

/// Answers a question.
pub(super) fn answer(house: &House, headers: &HeaderMap, body: &[u8]) -> Response {
    let caller = match modi::check(house, SERVICE, headers, body) {
        Ok(caller) => caller,
        Err(breach) => return refuse(house, SERVICE, breach, "Invalid request"),
    };
    if over_threshold(house, SERVICE) {
        house.refuse(SERVICE, "threshold");
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    let question = match read(headers, body) {
        Ok(question) => question,
        Err(rule) => {
            let breach = Breach { status: 400, title: "InvalidRequestContent", rule };
            return refuse(
                house,
                SERVICE,
                breach,
                "Request content not conform to API specification",
            );
        }
    };
    let answer = judged(house, &question);
    house.state().asked.push(Asked {
        service: SERVICE.to_owned(),
        purpose: caller.purpose,
        body: question,
        bytes: body.to_vec(),
        evidence: caller.evidence,
        status: 200,
        repeated: false,
        headers: told(headers),
    });
    ([(header::CONTENT_TYPE, "text/xml;charset=utf-8")], answer).into_response()
}

/// What is asked, as far as it is of the interface.
fn read(headers: &HeaderMap, body: &[u8]) -> Result<Value, &'static str> {
    let action = headers.get("soapaction").and_then(|action| action.to_str().ok());
    if action != Some(ACTION) {
        return Err("soap_action");
    }
    let text = std::str::from_utf8(body).map_err(|_| "xml")?;
    let document = Document::parse(text).map_err(|_| "xml")?;
    let of = |namespace: &str, name: &str| {
        let node = document.descendants().find(|node| {
            node.tag_name().name() == name && node.tag_name().namespace().unwrap_or("") == namespace
        });
        node.and_then(|node: Node<'_, '_>| node.text()).map(str::to_owned)
    };
    let must = |namespace: &str, name: &str, rule| of(namespace, name).ok_or(rule);
    Ok(json!({
        "taxCode": must(NAMESPACE, "CodiceFiscale", "tax_code")?,
        "kind": must(NAMESPACE, "TipoIndicatore", "kind")?,
        "case": must(NAMESPACE, "ProtocolloDomandaEnteErogatore", "case")?,
        "benefit": of(NAMESPACE, "PrestazioneDaErogare"),
        "user": must("", "UserId", "identity")?,
        "office": must("", "CodiceUfficio", "identity")?
    }))
}

fn judged(house: &House, question: &Value) -> String {
    let state = house.state();
    let fits = |known: &&Indicator| {
        question["taxCode"] == known.tax_code.as_str() && question["kind"] == known.kind.as_str()
    };
    match state.world.indicators.iter().find(fits) {
        Some(indicator) => envelope("OK", &STANDARD.encode(written(indicator))),
        None => envelope("DATI_NON_TROVATI", ""),
    }
}

fn written(indicator: &Indicator) -> String {
    let Indicator { tax_code, kind, amount, presented, declaration } = indicator;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\
         <Indicatore xmlns=\"http://inps.it/ISEERiforma\" TipoIndicatore=\"{kind}\" ISE=\"{amount}\" \
         ScalaEquivalenza=\"1.00\" ISEE=\"{amount}\" ISR=\"0.00\" ISP=\"0.00\" \
         ProtocolloDSU=\"{declaration}\" DataPresentazione=\"{presented}\">\
         <RicercaCF CodiceFiscale=\"{tax_code}\"/></Indicatore>"
    )
}

fn envelope(outcome: &str, indicator: &str) -> String {
    let indicator = match indicator {
        "" => String::new(),
        some => format!("<n:XmlEsitoIndicatore>{some}</n:XmlEsitoIndicatore>"),
    };
    format!(
        "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body>\
         <n:ConsultazioneIndicatoreResponse xmlns:n='{NAMESPACE}'>\
         <n:ConsultazioneIndicatoreResult><n:IdRichiesta>999</n:IdRichiesta>\
         <n:Esito>{outcome}</n:Esito>{indicator}</n:ConsultazioneIndicatoreResult>\
         </n:ConsultazioneIndicatoreResponse></s:Body></s:Envelope>"
    )
}
