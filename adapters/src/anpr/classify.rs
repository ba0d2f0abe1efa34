//! What an answer of ANPR means: a value to read, or a fault of a class. Pure.
//!
//! Invariant: *nobody* and *several* are believed only where nothing else is said; what ANPR writes in
//! words is never repeated, for it may name a person: its codes are.

use serde_json::Value;
use snodo_core::{
    adapter::{AMBIGUOUS, NOT_FOUND, STALE_NUMBER},
    fault::{Fault, FaultClass},
    verdict::EffectKind,
};
use uuid::Uuid;

use super::answer::{NoResult, code, list, text};
use crate::http::classify::{Answer, Body, Outcome, Rules, classify as classify_http};

/// What one error of ANPR's table says of a question. In the order in which it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meaning {
    /// The number of the question has been overtaken, or belongs to another service.
    Stale,
    /// The question is not as agreed: ours to mend.
    Malformed,
    /// Another no.
    No,
    /// Several persons.
    Several,
    /// Nobody.
    Nobody,
}

/// The meaning of an error (table *Elenco errori ANPR*), by its code, and by the member that it is about:
/// the public table has no code for a number that was overtaken.
pub(super) fn meaning(code: &str, about: &str) -> Meaning {
    if about.eq_ignore_ascii_case("idOperazioneClient") {
        return Meaning::Stale;
    }
    match code {
        // "id operazione comune gia' presente per un servizio diverso"
        "EN079" => Meaning::Stale,
        "EN132" | "EN448" | "EN489" => Meaning::Malformed,
        "EN115" | "EN131" | "EN469" | "EN470" | "EN471" | "EN472" => Meaning::Several,
        "EN122" | "EN130" | "EN133" => Meaning::Nobody,
        _ => Meaning::No,
    }
}

/// Turns what happened into the answer's value, or a fault.
pub(super) fn classify(
    outcome: Outcome,
    transaction: Option<&str>,
    service: &str,
) -> Result<Value, Fault> {
    let support = support(&outcome, transaction);
    let judged = match errors(&outcome) {
        Some(errors) => Err(refusal(&errors, &outcome, service)),
        None => transport(outcome, service),
    };
    judged.map_err(|fault| with_support(fault, support))
}

/// What an answer that can be read, and gives no result, means.
pub(super) fn without_result(why: NoResult, service: &str) -> Fault {
    match why {
        NoResult::Nobody => no_one(service, "an empty list"),
        NoResult::Several => several(service, "a list of several"),
        NoResult::Wrong(what) => {
            let text = format!("{service} says success, but its answer is not as agreed: {what}");
            Fault::new(FaultClass::Refused, "SN0766", text)
        }
    }
}

/// The errors of a `RispostaKO`: of a no, or of a no that says success.
fn errors(outcome: &Outcome) -> Option<Vec<(String, Meaning)>> {
    let Outcome::Answered(Answer { status, body: Body::Json(body), .. }) = outcome else {
        return None;
    };
    if matches!(status, 401 | 403 | 429) || body.get("listaSoggetti").is_some() {
        return None;
    }
    let said = list(body, "/listaErrori");
    let is_error = |error: &&&Value| text(error, "/tipoErroreAnomalia").as_deref() != Some("W");
    let counted: Vec<&Value> = said.iter().filter(is_error).copied().collect();
    let counted = if counted.is_empty() { said } else { counted };
    let errors: Vec<(String, Meaning)> = counted.into_iter().map(read).collect();
    (!errors.is_empty()).then_some(errors)
}

fn read(error: &Value) -> (String, Meaning) {
    let code = code(error).unwrap_or_else(|| "no code".to_owned());
    let about = text(error, "/campoErroreAnomalia");
    let about = about.or_else(|| text(error, "/oggettoErroreAnomalia")).unwrap_or_default();
    let meaning = meaning(&code, &about);
    (code, meaning)
}

fn refusal(errors: &[(String, Meaning)], outcome: &Outcome, service: &str) -> Fault {
    let fails = matches!(outcome, Outcome::Answered(Answer { status: 500..=599, .. }));
    let Some((code, meaning)) = errors.iter().min_by_key(|(_, meaning)| *meaning) else {
        return Fault::new(FaultClass::Refused, "SN0763", format!("{service} said no"));
    };
    let no = |number: &str, text: String| Fault::new(FaultClass::Refused, number, text);
    match meaning {
        Meaning::Stale => {
            let text = format!("{service} has seen a higher number than this question's ({code})");
            no("SN0786", text).with_reason(STALE_NUMBER)
        }
        Meaning::Malformed => {
            let text = format!("{service} does not take the question as it is made ({code})");
            no("SN0764", text).with_reason(code)
        }
        Meaning::No if fails => {
            let class = FaultClass::Transient { retry_after: None };
            Fault::new(class, "SN0762", format!("{service} fails ({code})"))
        }
        Meaning::No => no("SN0763", format!("{service} said no ({code})")).with_reason(code),
        Meaning::Several => several(service, code),
        Meaning::Nobody => no_one(service, code),
    }
}

fn no_one(service: &str, how: &str) -> Fault {
    let text = format!("{service} knows nobody by this question ({how})");
    Fault::new(FaultClass::Refused, "SN0784", text).with_reason(NOT_FOUND)
}

fn several(service: &str, how: &str) -> Fault {
    let text = format!("{service} knows several by this question, and not which ({how})");
    Fault::new(FaultClass::Refused, "SN0785", text).with_reason(AMBIGUOUS)
}

/// What carries no error of ANPR: of the network, of GovWay before it, or success.
fn transport(outcome: Outcome, service: &str) -> Result<Value, Fault> {
    if let Outcome::Answered(answer) = &outcome {
        if answer.status == 429 {
            let text = format!("today's threshold of {service} is reached, or calls come too fast");
            let class = FaultClass::Transient { retry_after: answer.retry_after };
            return Err(Fault::new(class, "SN0787", text));
        }
        if answer.status == 400 && govway_says(answer, "InteroperabilityInvalidRequest") {
            let text = format!("{service} does not accept what we signed (status 400)");
            let fault = Fault::new(FaultClass::Refused, "SN0765", text);
            return Err(fault.with_reason("InteroperabilityInvalidRequest"));
        }
    }
    let rules = Rules::new(EffectKind::Idempotent, true);
    classify_http(outcome, &rules)
}

fn govway_says(answer: &Answer, title: &str) -> bool {
    let Body::Json(body) = &answer.body else { return false };
    text(body, "/title").as_deref() == Some(title)
}

/// The id by which GovWay's operators find the call: a UUID, or it is none.
fn support(outcome: &Outcome, transaction: Option<&str>) -> Option<Uuid> {
    let said = match outcome {
        Outcome::Answered(Answer { body: Body::Json(body), .. }) => text(body, "/govway_id"),
        Outcome::Answered(_) | Outcome::NotSent(_) | Outcome::Silent(_) => None,
    };
    transaction.or(said.as_deref())?.parse().ok()
}

fn with_support(fault: Fault, support: Option<Uuid>) -> Fault {
    match support {
        Some(id) => Fault { text: format!("{}; GovWay calls it {id}", fault.text), ..fault },
        None => fault,
    }
}

#[cfg(test)]
mod tests;
