//! The services of ANPR: C001, C004, C021, C030, in the shapes that ANPR and GovWay were seen to send.
//!
//! Invariant: numbers grow by client; a number that was answered is answered alike, a lower one that was
//! not is an error, and so is one that another service had.

use std::collections::BTreeMap;

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    Asked, House, State,
    modi::{self, Breach, Caller},
    people::{Person, Register},
    told, transaction,
};

/// The services with the segments that their interfaces have; C001 with its en dash.
const SERVICES: [(&str, &str); 4] = [
    ("C001", "C001\u{2013}servizioNotifica"),
    ("C004", "C004-servizioVerificaDichDecesso"),
    ("C021", "C021-servizioAccertamentoStatoFamiglia"),
    ("C030", "C030-servizioAccertamentoIdUnicoNazionale"),
];

/// The segment of a service's address.
pub(super) fn segment(service: &str) -> Option<&'static str> {
    SERVICES.iter().find(|(code, _)| *code == service).map(|(_, segment)| *segment)
}

/// An answer that was given: status and body.
type Given = (u16, String);

/// What was answered under which number, by client.
#[derive(Debug, Default)]
pub(crate) struct Numbers(BTreeMap<String, BTreeMap<u128, (String, Given)>>);

/// Answers a question.
pub(super) fn answer(house: &House, segment: &str, headers: &HeaderMap, body: &[u8]) -> Response {
    let Some((service, _)) = SERVICES.iter().find(|(_, known)| *known == segment) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let caller = match modi::check(house, service, headers, body) {
        Ok(caller) => caller,
        Err(breach) => return refuse(house, service, breach, "Invalid request"),
    };
    if over_threshold(house, service) {
        house.refuse(service, "threshold");
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    match content(headers, body) {
        Ok(question) => asked(house, service, caller, question, (headers, body)),
        Err((rule, detail)) => {
            let breach = Breach { status: 400, title: "InvalidRequestContent", rule };
            refuse(house, service, breach, &detail)
        }
    }
}

/// As GovWay writes it.
pub(super) fn refuse(house: &House, service: &str, breach: Breach, detail: &str) -> Response {
    let Breach { status, title, rule } = breach;
    house.refuse(service, rule);
    let body = json!({
        "type": format!("https://govway.org/handling-errors/{status}/{title}.html"),
        "title": title, "status": status, "detail": detail, "govway_id": transaction(house)
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, kind, body.to_string()).into_response()
}

/// Every question of today counts, answered or not.
pub(super) fn over_threshold(house: &House, service: &str) -> bool {
    let mut state = house.state();
    let counted = state.counted.entry(service.to_owned()).or_default();
    *counted += 1;
    let counted = *counted;
    state.world.thresholds.get(service).is_some_and(|most| counted > *most)
}

/// The body as GovWay lets it through: JSON, with what the interface demands, and no null anywhere.
fn content(headers: &HeaderMap, body: &[u8]) -> Result<Value, (&'static str, String)> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind != Some("application/json") {
        return Err(("content_type", "Content-Type not supported".to_owned()));
    }
    let wrong = |_| ("json", "Request content is not JSON".to_owned());
    let question: Value = serde_json::from_slice(body).map_err(wrong)?;
    let said = "Request content not conform to API specification: Validation error(s) :\n";
    if let Some(place) = null_in(&question, "body") {
        return Err((
            "null_member",
            format!("{said}{place}: Null value is not allowed. (code: 1021)"),
        ));
    }
    let must = [
        "/idOperazioneClient",
        "/criteriRicerca",
        "/datiRichiesta/dataRiferimentoRichiesta",
        "/datiRichiesta/motivoRichiesta",
        "/datiRichiesta/casoUso",
    ];
    match must.iter().find(|place| question.pointer(place).is_none()) {
        None => Ok(question),
        Some(place) => {
            let field = place.trim_start_matches('/').replace('/', ".");
            Err(("required_member", format!("{said}body.{field}: Field is required. (code: 1026)")))
        }
    }
}

fn null_in(value: &Value, place: &str) -> Option<String> {
    match value {
        Value::Null => Some(place.to_owned()),
        Value::Object(members) => {
            members.iter().find_map(|(name, value)| null_in(value, &format!("{place}.{name}")))
        }
        Value::Array(items) => items.iter().find_map(|item| null_in(item, place)),
        _ => None,
    }
}

/// A question that was let in: its number decides whether it is answered anew.
fn asked(
    house: &House,
    service: &str,
    caller: Caller,
    question: Value,
    came: (&HeaderMap, &[u8]),
) -> Response {
    let (headers, bytes) = came;
    let mut state = house.state();
    let (given, repeated) = numbered(&mut state, service, &caller.client, &question);
    state.asked.push(Asked {
        service: service.to_owned(),
        purpose: caller.purpose,
        body: question,
        bytes: bytes.to_vec(),
        evidence: caller.evidence,
        status: given.0,
        repeated,
        headers: told(headers),
    });
    let (status, body) = given;
    let kind = if status == 200 { "application/json" } else { "application/problem+json" };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}

fn numbered(state: &mut State, service: &str, client: &str, question: &Value) -> (Given, bool) {
    let number = question["idOperazioneClient"].as_str().unwrap_or_default();
    let Some(number) = number.parse::<u128>().ok().filter(|_| number.len() <= 30) else {
        return (
            ko(400, "EN132", Some("idOperazioneClient"), "Campi obbligatori non valorizzati"),
            false,
        );
    };
    let known = state.numbers.0.entry(client.to_owned()).or_default();
    if let Some((of, given)) = known.get(&number) {
        return if of == service {
            (given.clone(), true)
        } else {
            let text = "id operazione comune gia' presente per un servizio diverso";
            (ko(400, "EN079", None, text), false)
        };
    }
    if known.last_key_value().is_some_and(|(last, _)| *last > number) {
        // The public table has no code for it: what tells is the member that it is about.
        let text = "idOperazioneClient inferiore all'ultimo inviato";
        return (ko(400, "EN999", Some("idOperazioneClient"), text), false);
    }
    let given = judged(&state.world.register, service, question, number);
    known.insert(number, (service.to_owned(), given.clone()));
    (given, false)
}

fn ko(status: u16, code: &str, about: Option<&str>, text: &str) -> Given {
    let mut error = json!({ "codiceErroreAnomalia": code, "tipoErroreAnomalia": "E",
                            "testoErroreAnomalia": text });
    if let Some(about) = about {
        error["campoErroreAnomalia"] = json!(about);
    }
    (status, json!({ "idOperazioneANPR": "58438306", "listaErrori": [error] }).to_string())
}

fn judged(register: &Register, service: &str, question: &Value, number: u128) -> Given {
    let text = |pointer: &str| question.pointer(pointer).and_then(Value::as_str);
    let case = text("/datiRichiesta/motivoRichiesta").map(str::trim).unwrap_or_default();
    if case.is_empty() || text("/datiRichiesta/casoUso") != Some(service) {
        return ko(400, "EN132", None, "Campi obbligatori non valorizzati");
    }
    let (code, id) = (text("/criteriRicerca/codiceFiscale"), text("/criteriRicerca/idANPR"));
    if code.is_none() && id.is_none() {
        return ko(400, "EN448", None, "Per la ricerca del soggetto impostare CF cognome e nome");
    }
    match register.find(code, id).as_slice() {
        [] => ko(404, "EN122", None, "La richiesta effettuata non produce alcun risultato"),
        [person] => {
            let subjects =
                subjects(register, service, person, text("/verifica/datiDecesso/dataEvento"));
            let body = json!({ "idOperazioneANPR": (58_000_000 + number).to_string(),
                               "listaSoggetti": { "datiSoggetto": subjects } });
            (200, body.to_string())
        }
        _ => ko(404, "EN131", None, "Piu' soggetti trovati"),
    }
}

fn subjects(register: &Register, service: &str, person: &Person, day: Option<&str>) -> Value {
    let id = json!({ "idANPR": person.id_anpr });
    match service {
        "C030" => json!([{ "identificativi": id }]),
        "C004" => {
            let info =
                json!({ "id": "1015", "chiave": "Data decesso", "valore": person.died_on(day) });
            json!([{ "infoSoggettoEnte": [info] }])
        }
        "C001" => {
            let info = json!({ "id": "1003", "chiave": "Verifica esistenza in vita",
                               "valore": person.lives() });
            json!([{ "generalita": person.general(), "identificativi": id,
                     "residenza": person.residences(), "infoSoggettoEnte": [info] }])
        }
        _ => register.family(person).into_iter().map(family_member).collect(),
    }
}

fn family_member((person, relation): (&Person, &str)) -> Value {
    let mut member = json!({
        "generalita": person.general(), "identificativi": { "idANPR": person.id_anpr },
        "legameSoggetto": { "tipoLegame": "1", "codiceLegame": relation }
    });
    if let Some(died) = &person.died {
        member["datiDecesso"] = json!({ "dataEvento": died });
    }
    member
}
