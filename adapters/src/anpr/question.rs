//! A question to ANPR as it is written (`RichiestaE002`). Pure.
//!
//! Invariant: the same question gives the same bytes; what is absent is left out, never null: GovWay
//! refuses null.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use snodo_core::{
    adapter::Asking,
    fault::{Fault, FaultClass},
};

use super::{
    results::{About, Death, Declaration},
    services::Answers,
};
use crate::typed::read_input;

/// Who is looked for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Criteria {
    /// By codice fiscale.
    CodiceFiscale(String),
    /// By national id.
    #[serde(rename = "idANPR")]
    IdAnpr(String),
}

/// What a route asks, read.
#[derive(Debug)]
pub(super) struct Asked {
    /// About whom.
    pub(super) tax_code: String,
    /// What is to be verified, in ANPR's words.
    pub(super) verify: Option<Value>,
}

/// How a person is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Search {
    /// By the tax code. ANPR takes it, and warns: since 18 April 2024 it expects the national id.
    #[default]
    #[serde(rename = "codiceFiscale")]
    TaxCode,
    /// By the national id, which C030 finds first: two questions, and two of the day's threshold.
    #[serde(rename = "idANPR")]
    NationalId,
}

impl Search {
    /// The number under which ANPR knows a question, and the one before it, under which the id is looked
    /// for: ANPR refuses one number for two services (EN079).
    pub(super) fn numbers(self, number: u64, after: u64) -> (String, String) {
        let (after, number) = (u128::from(after), u128::from(number));
        match self {
            Self::TaxCode => ((after + number).to_string(), String::new()),
            Self::NationalId => {
                let first = after + 2 * number;
                ((first + 1).to_string(), first.to_string())
            }
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    id_operazione_client: &'a str,
    criteri_ricerca: &'a Criteria,
    #[serde(skip_serializing_if = "Option::is_none")]
    verifica: Option<&'a Value>,
    dati_richiesta: Details<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    data_riferimento_richiesta: String,
    motivo_richiesta: &'a str,
    caso_uso: &'a str,
}

/// Reads the input of an operation.
pub(super) fn read(answers: Answers, input: &Value) -> Result<Asked, Fault> {
    match answers {
        Answers::Household | Answers::Person | Answers::Identity => {
            let About { tax_code } = read_input(input)?;
            Ok(Asked { tax_code, verify: None })
        }
        Answers::Death => {
            let death: Death = read_input(input)?;
            let verify = Some(json!({ "datiDecesso": declared_death(&death) }));
            Ok(Asked { tax_code: death.tax_code, verify })
        }
        Answers::Verification => {
            let Declaration { tax_code, declared } = read_input(input)?;
            Ok(Asked { tax_code, verify: declared.map(Value::Object) })
        }
    }
}

fn declared_death(death: &Death) -> Value {
    let mut declared = json!({ "dataEvento": death.date });
    if let Some(istat) = &death.municipality {
        declared["luogoEvento"] = json!({ "comune": { "codiceIstat": istat } });
    }
    declared
}

/// The bytes of a question.
pub(super) fn bytes(
    service: &str,
    number: &str,
    criteria: &Criteria,
    verify: Option<&Value>,
    asking: &Asking<'_>,
) -> Result<Vec<u8>, Fault> {
    let unwritable = || {
        let text = "the question cannot be written; this is a mistake of the bus";
        Fault::new(FaultClass::Poison, "SN0901", text)
    };
    let day = asking.at.in_rome().ok_or_else(unwritable)?.date().to_string();
    let question = Question {
        id_operazione_client: number,
        criteri_ricerca: criteria,
        verifica: verify,
        dati_richiesta: Details {
            data_riferimento_richiesta: day,
            motivo_richiesta: asking.case,
            caso_uso: service,
        },
    };
    serde_json::to_vec(&question).map_err(|_| unwritable())
}

#[cfg(test)]
mod tests {
    use snodo_core::timestamp::Timestamp;

    use super::*;

    fn asking() -> Asking<'static> {
        Asking {
            number: 42,
            at: Timestamp::parse("2026-11-22T23:30:00Z").expect("valid"),
            purpose: "school-canteen",
            case: "c_x999/AOO1/2026/0001234",
            actor: "op-4711",
            actor_location: None,
            actor_loa: None,
        }
    }

    fn written(answers: Answers, input: &Value) -> String {
        let Asked { tax_code, verify } = read(answers, input).expect("read");
        let criteria = Criteria::CodiceFiscale(tax_code);
        let bytes = bytes("C004", "42", &criteria, verify.as_ref(), &asking()).expect("written");
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn a_question_holds_what_anpr_demands_and_no_null() {
        let input = json!({ "taxCode": "RSSMRA80A01G273Z" });
        insta::assert_snapshot!(written(Answers::Household, &input), @r#"{"idOperazioneClient":"42","criteriRicerca":{"codiceFiscale":"RSSMRA80A01G273Z"},"datiRichiesta":{"dataRiferimentoRichiesta":"2026-11-23","motivoRichiesta":"c_x999/AOO1/2026/0001234","casoUso":"C004"}}"#);
        let input = json!({ "taxCode": "RSSMRA80A01G273Z", "date": "2026-01-02" });
        insta::assert_snapshot!(written(Answers::Death, &input), @r#"{"idOperazioneClient":"42","criteriRicerca":{"codiceFiscale":"RSSMRA80A01G273Z"},"verifica":{"datiDecesso":{"dataEvento":"2026-01-02"}},"datiRichiesta":{"dataRiferimentoRichiesta":"2026-11-23","motivoRichiesta":"c_x999/AOO1/2026/0001234","casoUso":"C004"}}"#);
    }

    #[test]
    fn the_place_of_a_death_and_other_declarations_are_handed_on() {
        let input = json!({ "taxCode": "X", "date": "2026-01-02", "municipality": "082053" });
        let asked = read(Answers::Death, &input).expect("read");
        let place = json!({ "comune": { "codiceIstat": "082053" } });
        let expected = json!({ "dataEvento": "2026-01-02", "luogoEvento": place });
        assert_eq!(asked.verify, Some(json!({ "datiDecesso": expected })));
        let input = json!({ "taxCode": "X", "declared": { "cittadinanza": { "codice": "100" } } });
        let asked = read(Answers::Verification, &input).expect("read");
        assert_eq!(asked.verify, Some(json!({ "cittadinanza": { "codice": "100" } })));
    }

    #[test]
    fn numbers_grow_and_no_two_services_share_one() {
        let numbers = |search: Search, number| search.numbers(number, 1000);
        assert_eq!(numbers(Search::TaxCode, 7).0, "1007");
        let (first, second) = (numbers(Search::NationalId, 7), numbers(Search::NationalId, 8));
        assert_eq!(first, ("1015".to_owned(), "1014".to_owned()));
        assert_eq!(second, ("1017".to_owned(), "1016".to_owned()));
        assert_eq!(Search::TaxCode.numbers(u64::MAX, u64::MAX).0, "36893488147419103230");
    }
}
