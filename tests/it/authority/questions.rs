//! What the adapter asks, and what it makes of every answer.
//!
//! Invariant: each class of fault was seen here once, from bytes on a wire.

use serde_json::{Value, json};
use snodo_core::{
    adapter::{AMBIGUOUS, Asking, NOT_FOUND, STALE_NUMBER},
    fault::{Fault, FaultClass},
    ids::Digest,
};
use snodo_sandbox::{Behaviour, authority::Authority};

use super::{ANNA, GIUSEPPE, LUCA, MARIO, Stage, TWICE, asking, purpose, world};

const TRANSIENT: FaultClass = FaultClass::Transient { retry_after: None };

fn seen(fault: &Fault) -> (FaultClass, &str) {
    (fault.class, fault.code.as_str())
}

#[tokio::test]
async fn a_family_is_asked_for_one_case_and_told_in_our_words() {
    let stage = Stage::new().await;
    let receipt = stage.family(42).await.expect("an answer");
    let roles: Vec<(&Value, &Value)> = receipt.result["members"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|member| (&member["taxCode"], &member["role"]))
        .collect();
    let expected = [
        (&json!(MARIO), &json!("head")),
        (&json!(ANNA), &json!("spouse")),
        (&json!(LUCA), &json!("child")),
    ];
    assert_eq!(roles, expected);
    assert_eq!(receipt.reference.as_deref(), Some("58000042"));
    let asked = stage.authority.asked();
    let [asked] = asked.as_slice() else { panic!("one question: {asked:?}") };
    assert_eq!(
        asked.body,
        json!({
            "idOperazioneClient": "42",
            "criteriRicerca": { "codiceFiscale": MARIO },
            "datiRichiesta": { "dataRiferimentoRichiesta": "2026-11-23",
                               "motivoRichiesta": "c_x999/AOO1/2026/0001234", "casoUso": "C021" }
        })
    );
    assert_eq!(asked.purpose, purpose(21));
    let who = ["userID", "userLocation", "LoA"].map(|claim| asked.evidence[claim].clone());
    assert_eq!(who, [json!("op-4711"), json!("desk-3"), json!("LoA3")]);
    assert_eq!(receipt.evidence.expect("evidence").request, Digest::of(&asked.bytes));
    assert_eq!(stage.authority.refused(), []);
}

#[tokio::test]
async fn the_same_number_is_the_same_bytes_and_the_same_answer() {
    let stage = Stage::new().await;
    let first = stage.family(7).await.expect("an answer");
    stage.family(8).await.expect("another");
    let again = stage.family(7).await.expect("the first answer");
    assert_eq!((&first.result, &first.evidence), (&again.result, &again.evidence));
    let asked = stage.authority.asked();
    assert_eq!(asked[0].bytes, asked[2].bytes);
    assert_eq!([asked[0].repeated, asked[1].repeated, asked[2].repeated], [false, false, true]);
    assert_eq!(stage.authority.questions().get("C021"), Some(&2));
    assert_eq!(stage.authority.vouchers(), 3, "a voucher serves one evidence");
}

#[tokio::test]
async fn a_number_that_was_overtaken_is_stale() {
    let stage = Stage::new().await;
    stage.family(10).await.expect("an answer");
    let lower = stage.family(9).await.expect_err("overtaken");
    assert_eq!(seen(&lower), (FaultClass::Refused, "SN0786"));
    assert_eq!(lower.reason.as_deref(), Some(STALE_NUMBER));
    let other = stage.ask("C030", 10, json!({ "taxCode": MARIO })).await.expect_err("another's");
    assert_eq!(other.reason.as_deref(), Some(STALE_NUMBER));
    assert_eq!(stage.port.at_once(), 1, "so that numbers come in order");
}

#[tokio::test]
async fn nobody_and_several_are_answers() {
    let stage = Stage::new().await;
    let nobody = stage.ask("C021", 1, json!({ "taxCode": "RSSMRA80A01H501U" })).await;
    let nobody = nobody.expect_err("nobody");
    assert_eq!(seen(&nobody), (FaultClass::Refused, "SN0784"));
    assert_eq!(nobody.reason.as_deref(), Some(NOT_FOUND));
    let several = stage.ask("C021", 2, json!({ "taxCode": TWICE })).await.expect_err("two");
    assert_eq!(seen(&several), (FaultClass::Refused, "SN0785"));
    assert_eq!(several.reason.as_deref(), Some(AMBIGUOUS));
}

#[tokio::test]
async fn a_death_is_verified_and_what_is_unsure_is_not_a_no() {
    let stage = Stage::new().await;
    let table = [
        (GIUSEPPE, "2025-05-06", "holds"),
        (GIUSEPPE, "2025-05-07", "fails"),
        (MARIO, "2025-05-06", "fails"),
        ("DVNLRD52D15M059P", "2025-05-06", "undetermined"),
    ];
    for (number, (code, date, outcome)) in (1..).zip(table) {
        let receipt = stage.ask("C004", number, json!({ "taxCode": code, "date": date })).await;
        assert_eq!(receipt.expect("an answer").result, json!({ "outcome": outcome }));
    }
}

#[tokio::test]
async fn a_person_is_told_with_addresses_behind_an_en_dash() {
    let stage = Stage::new().await;
    let receipt = stage.ask("C001", 1, json!({ "taxCode": MARIO })).await.expect("an answer");
    let address = json!({ "kind": "residence", "municipality": "082053", "number": "55",
                          "municipalityName": "PALERMO", "province": "PA", "postcode": "90133",
                          "street": "VIA AMERIGO VESPUCCI" });
    assert_eq!(receipt.result["addresses"], json!([address]));
    assert_eq!(receipt.result["alive"], "holds");
    let dead = stage.ask("C001", 2, json!({ "taxCode": GIUSEPPE })).await.expect("an answer");
    assert_eq!(dead.result["alive"], "fails");
}

#[tokio::test]
async fn the_national_id_is_found_first_where_people_are_looked_for_by_it() {
    let stage = Stage::with(world(), |options| {
        options["search"] = json!("idANPR");
        options["numbers_after"] = json!(1000);
    })
    .await;
    stage.family(7).await.expect("an answer");
    let asked = stage.authority.asked();
    let numbers: Vec<&Value> =
        asked.iter().map(|asked| &asked.body["idOperazioneClient"]).collect();
    assert_eq!(numbers, [&json!("1014"), &json!("1015")]);
    assert_eq!(asked[1].body["criteriRicerca"], json!({ "idANPR": "AF00001AA" }));
    stage.family(8).await.expect("numbers grow");
    let id = stage.ask("C030", 9, json!({ "taxCode": MARIO })).await.expect("an answer");
    assert_eq!(id.result, json!({ "idANPR": "AF00001AA" }));
}

#[tokio::test]
async fn a_question_without_purpose_or_case_is_not_sent() {
    let stage = Stage::new().await;
    let input = || json!({ "taxCode": MARIO });
    let none = stage.ask_as("C021", input(), None).await.expect_err("no asking");
    assert_eq!(seen(&none), (FaultClass::Poison, "SN0781"));
    let no_case = Asking { case: " ", ..asking(1) };
    let fault = stage.ask_as("C021", input(), Some(no_case)).await.expect_err("no case");
    assert_eq!(seen(&fault), (FaultClass::Poison, "SN0781"));
    let other = Asking { purpose: "taxes", ..asking(1) };
    let fault = stage.ask_as("C021", input(), Some(other)).await.expect_err("another purpose");
    assert_eq!(seen(&fault), (FaultClass::Refused, "SN0783"));
    assert_eq!((stage.authority.asked().len(), stage.authority.vouchers()), (0, 0));
}

#[tokio::test]
async fn a_suspended_purpose_gets_no_voucher_and_is_not_tried_again() {
    let stage = Stage::new().await;
    stage.authority.activate(&purpose(21), false);
    let fault = stage.family(1).await.expect_err("suspended");
    assert_eq!(seen(&fault), (FaultClass::Refused, "SN0782"));
    assert_eq!(fault.reason.as_deref(), Some("015-0008"));
    stage.authority.activate(&purpose(21), true);
    stage.family(1).await.expect("taken up again");
}

#[tokio::test]
async fn a_voucher_is_kept_only_where_none_is_bound_to_an_evidence() {
    let mut unbound = world();
    unbound.unbound = true;
    let stage = Stage::with(unbound, |options| options["evidence"] = json!("audit_01")).await;
    stage.family(1).await.expect("an answer");
    stage.family(2).await.expect("an answer");
    assert_eq!(stage.authority.vouchers(), 1);
    assert_eq!(stage.authority.asked()[0].evidence.get("dnonce"), None);
    stage.authority.activate(&purpose(21), false);
    let fault = stage.family(3).await.expect_err("suspended meanwhile");
    assert_eq!(seen(&fault), (FaultClass::Refused, "SN0765"));
    stage.authority.activate(&purpose(21), true);
    stage.family(3).await.expect("an answer");
    assert_eq!(stage.authority.vouchers(), 2, "a voucher that was not taken is forgotten");
}

#[tokio::test]
async fn a_threshold_that_is_reached_is_waited_for() {
    let stage = Stage::new().await;
    stage.authority.threshold("C021", 1);
    stage.family(1).await.expect("the last of today");
    let fault = stage.family(2).await.expect_err("over the threshold");
    assert_eq!(seen(&fault), (TRANSIENT, "SN0787"));
    assert!(fault.text.contains("C021"), "{fault}");
    stage.authority.threshold("C021", 9);
    stage.family(2).await.expect("the same number, later");
}

fn answers(status: u16, kind: &str, body: &str) -> Behaviour {
    let headers = vec![("content-type", kind.to_owned())];
    Behaviour::Answer { status, headers, body: body.to_owned() }
}

#[tokio::test]
async fn whatever_is_no_answer_of_anpr_has_its_class() {
    use FaultClass::{NoAnswer, Refused};
    let stage = Stage::with(world(), |options| options["deadline"] = json!("1s")).await;
    let elsewhere = vec![("location", format!("{}/elsewhere", stage.authority.base()))];
    let redirect = Behaviour::Answer { status: 302, headers: elsewhere, body: String::new() };
    let page = "<html>Mario Rossi, please log in</html>";
    let json = "application/json";
    let nobodys = r#"{"listaSoggetti":{"datiSoggetto":[{"generalita":{"nome":"MARIO"}}]}}"#;
    let table = [
        (answers(200, "text/html", page), Refused, "SN0766"),
        (answers(200, json, r#"{"listaSoggetti":{"dati"#), Refused, "SN0766"),
        (answers(200, "text/plain", "{}"), Refused, "SN0766"),
        (answers(200, json, "{}"), Refused, "SN0766"),
        (answers(200, json, "[]"), Refused, "SN0766"),
        (answers(200, json, nobodys), Refused, "SN0766"),
        (Behaviour::Huge(1024 * 1024 + 1), Refused, "SN0766"),
        (redirect, Refused, "SN0764"),
        (Behaviour::status(401), Refused, "SN0765"),
        (Behaviour::status(403), Refused, "SN0765"),
        (answers(404, "text/html", page), Refused, "SN0764"),
        (Behaviour::status(500), TRANSIENT, "SN0762"),
        (Behaviour::status(503), TRANSIENT, "SN0762"),
        (Behaviour::Cut, NoAnswer, "SN0761"),
        (Behaviour::ActThenDrop, NoAnswer, "SN0761"),
        (Behaviour::ActThenHang, NoAnswer, "SN0761"),
    ];
    for (number, (behaviour, class, code)) in (1..).zip(table) {
        stage.authority.services().next(behaviour.clone());
        let fault = stage.family(number).await.expect_err("no answer");
        assert_eq!(seen(&fault), (class, code), "{behaviour:?}");
        assert!(stage.family(number).await.is_ok(), "asked again after {behaviour:?}");
    }
}

#[tokio::test]
async fn an_answer_with_warnings_is_an_answer() {
    let stage = Stage::new().await;
    let body = json!({
        "idOperazioneANPR": "1",
        "listaSoggetti": { "datiSoggetto": [{ "identificativi": { "idANPR": "AF00001AA" } }] },
        "listaAnomalie": [{ "codiceErroreAnomalia": "EN141", "tipoErroreAnomalia": "W" }]
    });
    stage.authority.services().next(answers(200, "application/json", &body.to_string()));
    let receipt = stage.ask("C030", 1, json!({ "taxCode": MARIO })).await.expect("an answer");
    assert_eq!(receipt.result, json!({ "idANPR": "AF00001AA", "warnings": ["EN141"] }));
}

#[tokio::test]
async fn pdnd_that_fails_is_waited_for_and_pdnd_that_says_no_is_not() {
    let stage = Stage::with(world(), |options| options["deadline"] = json!("1s")).await;
    let table = [
        (Behaviour::status(503), TRANSIENT, "SN0762"),
        (Behaviour::Hang, FaultClass::NoAnswer, "SN0761"),
        (Behaviour::status(401), FaultClass::Refused, "SN0782"),
        (answers(200, "text/html", "<html>"), FaultClass::Refused, "SN0782"),
        (answers(200, "application/json", r#"{"access_token":1}"#), FaultClass::Refused, "SN0782"),
    ];
    for (behaviour, class, code) in table {
        stage.authority.pdnd().next(behaviour.clone());
        let fault = stage.family(1).await.expect_err("no voucher");
        assert_eq!(seen(&fault), (class, code), "{behaviour:?}");
    }
    assert_eq!(stage.authority.asked(), []);
}

#[tokio::test]
async fn a_key_is_read_at_every_question_and_without_one_deliveries_wait() {
    let stage = Stage::new().await;
    let file = stage.folder.path().join("pdnd.pem");
    let good = std::fs::read(&file).expect("there");
    std::fs::write(&file, "hunter2").expect("written");
    let fault = stage.family(1).await.expect_err("no key");
    assert_eq!(seen(&fault), (FaultClass::Outage, "SN0780"));
    let other = snodo_sandbox::authority::jws::Key::generate().expect("another key");
    std::fs::write(&file, other.pem().expect("a PEM")).expect("written");
    let fault = stage.family(1).await.expect_err("another key");
    assert_eq!(seen(&fault), (FaultClass::Refused, "SN0782"));
    std::fs::write(&file, good).expect("written");
    stage.family(1).await.expect("the key is read anew");
}

#[tokio::test]
async fn authorities_that_are_away_are_an_outage_and_so_says_the_probe() {
    let stage = Stage::new().await;
    assert_eq!(stage.port.probe().await, Ok(()));
    stage.authority.services().next(Behaviour::status(503));
    assert_eq!(stage.port.probe().await.expect_err("failing").class, TRANSIENT);
    let Stage { authority, port, folder } = stage;
    let addr = authority.addr;
    authority.stop().await;
    assert_eq!(port.probe().await.expect_err("an outage").class, FaultClass::Outage);
    let authority = Authority::start_at(addr, world()).await.expect("comes back");
    let stage = Stage { authority, port, folder };
    assert_eq!(stage.port.probe().await, Ok(()));
    stage.family(1).await.expect("asked again");
}

#[tokio::test]
async fn an_authority_says_when_it_wants_to_be_asked_again() {
    let stage = Stage::new().await;
    let headers = vec![("retry-after", "3600".to_owned())];
    stage.authority.services().next(Behaviour::Answer {
        status: 429,
        headers,
        body: String::new(),
    });
    let fault = stage.family(1).await.expect_err("over the threshold");
    let wait = Some(std::time::Duration::from_hours(1));
    assert_eq!(seen(&fault), (FaultClass::Transient { retry_after: wait }, "SN0787"));
}
