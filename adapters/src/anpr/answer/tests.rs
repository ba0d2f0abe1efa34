//! Answers as ANPR writes them, and as it does not.
//!
//! Invariant: nobody in them lives: names and codes are composed.

use serde_json::json;

use super::*;

fn subject(tax_code: &str, relation: &str) -> Value {
    json!({
        "generalita": {
            "codiceFiscale": { "codFiscale": tax_code, "validitaCF": "1" },
            "cognome": "ROSSI", "nome": "MARIO", "sesso": "M", "dataNascita": "1980-01-01",
            "luogoNascita": { "comune": { "nomeComune": "PALERMO", "codiceIstat": "082053" } }
        },
        "identificativi": { "idANPR": "AF41450AS" },
        "legameSoggetto": { "tipoLegame": "1", "codiceLegame": relation }
    })
}

fn answer(subjects: &[Value]) -> Value {
    json!({ "idOperazioneANPR": "58370927", "listaSoggetti": { "datiSoggetto": subjects } })
}

#[test]
fn a_family_has_members_with_their_roles() {
    let child = subject("RSSLCU10C03G273H", "3");
    let value = answer(&[subject("RSSMRA80A01G273Z", "1"), child]);
    let result = read(Answers::Household, &value).expect("a result");
    let member = |tax_code: &str, role: &str, relation: &str| {
        json!({
            "taxCode": tax_code, "familyName": "ROSSI", "givenName": "MARIO",
            "birthDate": "1980-01-01", "sex": "M", "role": role, "relation": relation
        })
    };
    let members =
        [member("RSSMRA80A01G273Z", "head", "1"), member("RSSLCU10C03G273H", "child", "3")];
    assert_eq!(result, json!({ "members": members }));
    assert_eq!(reference(&value).as_deref(), Some("58370927"));
}

#[test]
fn what_is_written_loosely_is_read() {
    let mut loose = subject("rssmra80a01g273z", "01");
    loose["generalita"]["senzaGiorno"] = json!("1");
    loose["generalita"]["sesso"] = json!("");
    loose["legameSoggetto"]["codiceLegame"] = json!(1);
    let mut value = answer(&[]);
    value["listaSoggetti"]["datiSoggetto"] = loose;
    value["listaAnomalie"] = json!([{ "codiceErroreAnomalia": "EN141", "tipoErroreAnomalia": "W",
                                      "testoErroreAnomalia": "Mario Rossi" }, {}]);
    let result = read(Answers::Household, &value).expect("a result");
    let member = json!({ "taxCode": "RSSMRA80A01G273Z", "familyName": "ROSSI",
                         "givenName": "MARIO", "role": "head", "relation": "1" });
    assert_eq!(result, json!({ "members": [member], "warnings": ["EN141"] }));
}

#[test]
fn what_a_result_must_have_is_demanded() {
    let with = |pointer: &str, wrong: Value| {
        let mut value = answer(&[subject("RSSMRA80A01G273Z", "1")]);
        *value.pointer_mut(pointer).expect("there") = wrong;
        read(Answers::Household, &value).expect_err("no result")
    };
    let general = "/listaSoggetti/datiSoggetto/0/generalita";
    let table = [
        (with("/listaSoggetti", json!([])), "it has no listaSoggetti"),
        (with("/listaSoggetti", json!(null)), "it has no listaSoggetti"),
        (with(&format!("{general}/codiceFiscale"), json!({})), "a person in it has no tax code"),
        (
            with(&format!("{general}/codiceFiscale/codFiscale"), json!("RSSMRA80A01G273A")),
            "a tax code in it is not well formed",
        ),
        (with(&format!("{general}/cognome"), json!("")), "a person in it has no name"),
        (with(&format!("{general}/dataNascita"), json!("1980-02-30")), "a date in it is none"),
    ];
    for (found, expected) in table {
        assert_eq!(found, NoResult::Wrong(expected));
    }
    assert_eq!(with("/listaSoggetti/datiSoggetto", json!([])), NoResult::Nobody);
}

#[test]
fn whoever_has_no_family_name_is_still_a_person() {
    let mut nameless = subject("RSSMRA80A01G273Z", "1");
    nameless["generalita"]["cognome"] = json!("");
    nameless["generalita"]["senzaCognome"] = json!("1");
    let result = read(Answers::Household, &answer(&[nameless])).expect("a result");
    assert_eq!(result["members"][0]["familyName"], json!(""));
}

#[test]
fn a_verification_is_yes_no_or_neither() {
    let verified = |values: &[&str]| {
        let infos: Vec<Value> = values.iter().map(|v| json!({ "id": "1", "valore": v })).collect();
        let value = answer(&[json!({ "infoSoggettoEnte": infos })]);
        read(Answers::Death, &value).expect("a result")["outcome"].clone()
    };
    let table: [(&[&str], &str); 7] = [
        (&["S"], "holds"),
        (&["N"], "fails"),
        (&["A"], "undetermined"),
        (&["S", "A"], "undetermined"),
        (&["S", "N", "A"], "fails"),
        (&["?"], "undetermined"),
        (&[], "undetermined"),
    ];
    for (values, expected) in table {
        assert_eq!(verified(values), json!(expected), "{values:?}");
    }
}

#[test]
fn an_id_is_of_one_person() {
    let one = subject("RSSMRA80A01G273Z", "1");
    let result = read(Answers::Identity, &answer(std::slice::from_ref(&one)));
    assert_eq!(result, Ok(json!({ "idANPR": "AF41450AS" })));
    let two = read(Answers::Identity, &answer(&[one.clone(), one]));
    assert_eq!(two, Err(NoResult::Several));
    let none = read(Answers::Identity, &answer(&[json!({})]));
    assert_eq!(none, Err(NoResult::Wrong("it has no idANPR")));
}

#[test]
fn a_person_has_addresses_here_or_abroad() {
    let mut person = subject("RSSMRA80A01G273Z", "1");
    person["infoSoggettoEnte"] = json!([{ "id": "1003", "valore": "S" }]);
    person["residenza"] = json!([
        {
            "tipoIndirizzo": "1", "dataDecorrenzaResidenza": "2020-05-01",
            "indirizzo": {
                "cap": "90133",
                "comune": { "codiceIstat": "082053", "nomeComune": "PALERMO",
                            "siglaProvinciaIstat": "PA" },
                "toponimo": { "specie": "VIA", "denominazioneToponimo": "AMERIGO VESPUCCI" },
                "numeroCivico": { "numero": "55", "lettera": "A",
                                  "civicoInterno": { "scala": "B4", "interno1": "3" } }
            }
        },
        {
            "tipoIndirizzo": "4",
            "localitaEstera": { "indirizzoEstero": {
                "localita": { "descrizioneLocalita": "GRAZ", "descrizioneStato": "AUSTRIA" },
                "toponimo": { "denominazione": "HAUPTPLATZ", "numeroCivico": "1" } } }
        }
    ]);
    let result = read(Answers::Person, &answer(&[person])).expect("a result");
    insta::assert_snapshot!(format!("{result:#}"), @r#"
    {
      "addresses": [
        {
          "kind": "residence",
          "municipality": "082053",
          "municipalityName": "PALERMO",
          "number": "55/A",
          "postcode": "90133",
          "province": "PA",
          "since": "2020-05-01",
          "staircase": "B4",
          "street": "VIA AMERIGO VESPUCCI",
          "unit": "3"
        },
        {
          "country": "AUSTRIA",
          "kind": "residence",
          "municipalityName": "GRAZ",
          "number": "1",
          "street": "HAUPTPLATZ"
        }
      ],
      "alive": "holds",
      "birthDate": "1980-01-01",
      "familyName": "ROSSI",
      "givenName": "MARIO",
      "idANPR": "AF41450AS",
      "sex": "M",
      "taxCode": "RSSMRA80A01G273Z"
    }
    "#);
}

#[test]
fn every_code_of_the_table_of_relations_has_its_role() {
    let of = |code: &str| serde_json::to_value(Role::of(Some(code))).expect("a word");
    let table = [
        ("1", "head"),
        ("2", "spouse"),
        ("28", "civil_partner"),
        ("3", "child"),
        ("80", "child"),
        ("14", "stepchild"),
        ("4", "grandchild"),
        ("6", "parent"),
        ("15", "stepparent"),
        ("7", "grandparent"),
        ("9", "sibling"),
        ("19", "stepsibling"),
        ("5", "relative"),
        ("8", "relative"),
        ("10", "relative"),
        ("11", "relative"),
        ("12", "relative"),
        ("13", "relative"),
        ("81", "relative"),
        ("16", "in_law"),
        ("17", "in_law"),
        ("18", "in_law"),
        ("20", "in_law"),
        ("21", "in_law"),
        ("22", "in_law"),
        ("23", "cohabitant"),
        ("26", "guardian"),
        ("24", "other"),
        ("25", "other"),
        ("99", "other"),
        ("x", "other"),
    ];
    for (code, role) in table {
        assert_eq!(of(code), json!(role), "{code}");
    }
    assert_eq!(Role::of(None), Role::Other);
}
