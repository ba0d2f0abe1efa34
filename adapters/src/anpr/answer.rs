//! From what ANPR answers (`RispostaE002OK`) to our results. Pure.
//!
//! Invariant: read leniently (numbers for texts, one for a list, empty for absent), judged strictly: what
//! a result must have and the answer does not give is a fault, and nobody is dropped from a list.

use serde::Serialize;
use serde_json::Value;
use snodo_core::formats;

use super::{
    results::{
        Address, AddressKind, Household, Identity, Member, Outcome, Person, Role, Sex, Verified,
    },
    services::Answers,
};

/// Why an answer gives no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoResult {
    /// Nobody is in it.
    Nobody,
    /// Several are in it, where one was asked about.
    Several,
    /// It is not as agreed: what is wrong.
    Wrong(&'static str),
}

/// Reads the answer of a service.
pub(super) fn read(answers: Answers, value: &Value) -> Result<Value, NoResult> {
    let subjects = subjects(value)?;
    let warnings = warnings(value);
    match answers {
        Answers::Household => {
            let members = subjects.into_iter().map(member).collect::<Result<_, _>>()?;
            written(&Household { members, warnings })
        }
        Answers::Identity => {
            let id_anpr = text(only(&subjects)?, "/identificativi/idANPR")
                .ok_or(NoResult::Wrong("it has no idANPR"))?;
            written(&Identity { id_anpr, warnings })
        }
        Answers::Person => written(&person(only(&subjects)?, warnings)?),
        Answers::Death | Answers::Verification => {
            let infos = list(only(&subjects)?, "/infoSoggettoEnte");
            written(&Verified { outcome: outcome(&infos), warnings })
        }
    }
}

/// The id of the operation at ANPR: support desks ask for it.
pub(super) fn reference(value: &Value) -> Option<String> {
    text(value, "/idOperazioneANPR").filter(|id| id.len() <= 64)
}

fn subjects(value: &Value) -> Result<Vec<&Value>, NoResult> {
    let listed = value.pointer("/listaSoggetti").filter(|list| list.is_object());
    let listed = listed.ok_or(NoResult::Wrong("it has no listaSoggetti"))?;
    let subjects = list(listed, "/datiSoggetto");
    if subjects.is_empty() { Err(NoResult::Nobody) } else { Ok(subjects) }
}

fn only<'a>(subjects: &[&'a Value]) -> Result<&'a Value, NoResult> {
    match subjects {
        [one] => Ok(one),
        _ => Err(NoResult::Several),
    }
}

/// The codes of `listaAnomalie`: never its texts, which may name somebody.
fn warnings(value: &Value) -> Vec<String> {
    let codes = list(value, "/listaAnomalie").into_iter();
    codes.filter_map(code).collect()
}

/// `codiceErroreAnomalia`, where it looks like one.
pub(super) fn code(anomaly: &Value) -> Option<String> {
    let code = text(anomaly, "/codiceErroreAnomalia")?;
    let of_code = code.len() <= 8 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    of_code.then_some(code)
}

/// Any no is a no; a yes is one only where nothing is left open.
fn outcome(infos: &[&Value]) -> Outcome {
    let values: Vec<Option<String>> = infos.iter().map(|info| text(info, "/valore")).collect();
    let is = |value: &Option<String>, word: &str| value.as_deref() == Some(word);
    if values.iter().any(|value| is(value, "N")) {
        Outcome::Fails
    } else if !values.is_empty() && values.iter().all(|value| is(value, "S")) {
        Outcome::Holds
    } else {
        Outcome::Undetermined
    }
}

fn member(subject: &Value) -> Result<Member, NoResult> {
    let relation = text(subject, "/legameSoggetto/codiceLegame");
    let (family_name, given_name) = names(subject)?;
    Ok(Member {
        tax_code: tax_code(subject)?,
        family_name,
        given_name,
        birth_date: birth_date(subject)?,
        sex: sex(subject),
        death_date: whole_date(subject, "/datiDecesso", "/datiDecesso/dataEvento")?,
        role: Role::of(relation.as_deref()),
        relation,
    })
}

fn person(subject: &Value, warnings: Vec<String>) -> Result<Person, NoResult> {
    /// Verifica esistenza in vita.
    const ALIVE: &str = "1003";
    let infos = list(subject, "/infoSoggettoEnte").into_iter();
    let alive: Vec<&Value> =
        infos.filter(|info| text(info, "/id").as_deref() == Some(ALIVE)).collect();
    let (family_name, given_name) = names(subject)?;
    let addresses = list(subject, "/residenza").into_iter().map(address);
    Ok(Person {
        tax_code: tax_code(subject)?,
        id_anpr: text(subject, "/identificativi/idANPR"),
        family_name,
        given_name,
        birth_date: birth_date(subject)?,
        sex: sex(subject),
        alive: outcome(&alive),
        addresses: addresses.collect::<Result<_, _>>()?,
        warnings,
    })
}

fn address(value: &Value) -> Result<Address, NoResult> {
    let kind = AddressKind::of(text(value, "/tipoIndirizzo").as_deref());
    let since = date(value, "/dataDecorrenzaResidenza")?;
    let care_of = text(value, "/presso");
    let place = match value.get("localitaEstera") {
        Some(abroad @ Value::Object(_)) => abroad_address(abroad),
        _ => italian_address(value.get("indirizzo").unwrap_or(&Value::Null)),
    };
    Ok(Address { kind, since, care_of, ..place })
}

fn italian_address(value: &Value) -> Address {
    let inside = |name: &str| text(value, &format!("/numeroCivico/civicoInterno/{name}"));
    Address {
        municipality: text(value, "/comune/codiceIstat"),
        municipality_name: text(value, "/comune/nomeComune"),
        province: text(value, "/comune/siglaProvinciaIstat"),
        postcode: text(value, "/cap"),
        hamlet: text(value, "/frazione"),
        street: joined(value, " ", &["/toponimo/specie", "/toponimo/denominazioneToponimo"]),
        number: joined(
            value,
            "/",
            &["/numeroCivico/numero", "/numeroCivico/lettera", "/numeroCivico/esponente1"],
        ),
        staircase: inside("scala"),
        floor: inside("piano"),
        unit: inside("interno1"),
        ..Address::default()
    }
}

fn abroad_address(value: &Value) -> Address {
    let at = |name: &str| text(value, &format!("/indirizzoEstero/{name}"));
    Address {
        municipality_name: at("localita/descrizioneLocalita"),
        province: at("localita/provinciaContea"),
        country: at("localita/descrizioneStato"),
        postcode: at("cap"),
        street: at("toponimo/denominazione"),
        number: at("toponimo/numeroCivico"),
        ..Address::default()
    }
}

fn joined(value: &Value, by: &str, pointers: &[&str]) -> Option<String> {
    let parts: Vec<String> = pointers.iter().filter_map(|pointer| text(value, pointer)).collect();
    (!parts.is_empty()).then(|| parts.join(by))
}

/// A person without a valid code cannot be told from others by those who read the result: a person must
/// look.
fn tax_code(subject: &Value) -> Result<String, NoResult> {
    let code = text(subject, "/generalita/codiceFiscale/codFiscale");
    let code = code.ok_or(NoResult::Wrong("a person in it has no tax code"))?.to_uppercase();
    if formats::codice_fiscale(&code) {
        Ok(code)
    } else {
        Err(NoResult::Wrong("a tax code in it is not well formed"))
    }
}

/// Family name and given name; empty only where the register says that there is none.
fn names(subject: &Value) -> Result<(String, String), NoResult> {
    let name = |of: &str, none: &str| {
        let none = flag(subject, none).then(String::new);
        text(subject, of).or(none).ok_or(NoResult::Wrong("a person in it has no name"))
    };
    Ok((
        name("/generalita/cognome", "/generalita/senzaCognome")?,
        name("/generalita/nome", "/generalita/senzaNome")?,
    ))
}

fn sex(subject: &Value) -> Option<Sex> {
    match text(subject, "/generalita/sesso")?.as_str() {
        "F" | "f" => Some(Sex::F),
        "M" | "m" => Some(Sex::M),
        _ => None,
    }
}

fn birth_date(subject: &Value) -> Result<Option<String>, NoResult> {
    whole_date(subject, "/generalita", "/generalita/dataNascita")
}

/// A date of which day and month are known.
fn whole_date(value: &Value, of: &str, pointer: &str) -> Result<Option<String>, NoResult> {
    let without = ["senzaGiorno", "senzaGiornoMese"];
    if without.iter().any(|name| flag(value, &format!("{of}/{name}"))) {
        return Ok(None);
    }
    date(value, pointer)
}

fn date(value: &Value, pointer: &str) -> Result<Option<String>, NoResult> {
    let Some(text) = text(value, pointer) else { return Ok(None) };
    match text.parse::<jiff::civil::Date>() {
        Ok(date) => Ok(Some(date.to_string())),
        Err(_) => Err(NoResult::Wrong("a date in it is none")),
    }
}

/// Flags are texts: anything but empty, 0, N or false is set.
fn flag(value: &Value, pointer: &str) -> bool {
    text(value, pointer).is_some_and(|text| !matches!(text.as_str(), "0" | "N" | "n" | "false"))
}

/// A text, however it is written; what is empty is absent.
pub(super) fn text(value: &Value, pointer: &str) -> Option<String> {
    let text = match value.pointer(pointer)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// A list, or one that stands for a list.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> Vec<&'a Value> {
    match value.pointer(pointer) {
        Some(Value::Array(items)) => items.iter().filter(|item| item.is_object()).collect(),
        Some(one @ Value::Object(_)) => vec![one],
        _ => Vec::new(),
    }
}

fn written(result: &impl Serialize) -> Result<Value, NoResult> {
    serde_json::to_value(result).map_err(|_| NoResult::Wrong("it cannot be written"))
}

#[cfg(test)]
mod tests;
