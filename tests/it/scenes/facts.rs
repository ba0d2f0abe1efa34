//! Facts on the real thing: the bus, RabbitMQ, PDND and ANPR, many messages about few people, and a bus that
//! is killed in the middle.
//!
//! Invariant: what was asked is read from the authority's record; nobody in it lives.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use snodo_core::formats::codice_fiscale;
use snodo_sandbox::authority::{Authority, World, jws::Key};
use snodo_tests::palermo::dwelling;

use super::*;

/// Messages, and the people they are about.
const MESSAGES: usize = 1000;
const PEOPLE: usize = 50;

/// Tax codes of people who do not exist: the last character is the one that makes them valid.
fn people() -> Vec<String> {
    let days =
        (0..PEOPLE).map(|index| (b'A' + u8::try_from(index % 5).expect("small"), index / 5 + 10));
    let code = |(month, day): (u8, usize)| {
        let stem = format!("TSTPRV80{}{day}G273", char::from(month));
        let all = (b'A'..=b'Z').map(|last| format!("{stem}{}", char::from(last)));
        all.into_iter().find(|code| codice_fiscale(code)).expect("one of them is right")
    };
    days.map(code).collect()
}

/// ANPR knows each of them, alone in a household.
fn register(world: World, people: &[String]) -> World {
    let person = |(index, code): (usize, &String)| {
        json!({
            "taxCode": code, "idANPR": format!("AF{index:05}AA"), "familyName": "PROVA",
            "givenName": "TEST", "birthDate": "1980-01-01", "sex": "M", "street": ["MAQUEDA", "1"],
        })
    };
    let all: Vec<_> = people.iter().enumerate().map(person).collect();
    let alone = |code: &String| json!([{ "taxCode": code, "relation": "1" }]);
    let households: Vec<_> = people.iter().map(alone).collect();
    let register = json!({ "people": all, "households": households });
    World { register: serde_json::from_value(register).expect("a register"), ..world }
}

struct Stage {
    authority: Authority,
    node: PrivateNode,
    desk: Desk,
    _folder: tempfile::TempDir,
}

async fn stage(people: &[String]) -> Stage {
    let folder = tempfile::tempdir().expect("a folder");
    let key = Key::generate().expect("a key");
    let world = register(palermo::world(key.public()), people);
    let authority = Authority::start(world).await.expect("the authorities start");
    let node = PrivateNode::start(&folder.path().join("broker"), NodeOptions::default())
        .await
        .expect("RabbitMQ starts");
    let run = Run {
        broker: node::settings(&node, folder.path()).expect("written"),
        authority: Some((authority.base(), key.pem().expect("a file"))),
        retry: Some(SOON),
        ..Run::of(authority.addr)
    };
    let house = palermo_in(&folder.path().join("house"), &run);
    let (code, said) = snodo(&house, &["topology", "apply"]);
    assert_eq!(code, 0, "{said}");
    Stage { authority, node, desk: Desk::of(&house), _folder: folder }
}

/// Each person was asked about under one number; how often that question was put.
fn asked(authority: &Authority) -> BTreeMap<String, usize> {
    let mut numbers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for asked in authority.asked().iter().filter(|asked| asked.status == 200) {
        let code = asked.body["criteriRicerca"]["codiceFiscale"].as_str().expect("a code");
        let number = asked.body["idOperazioneClient"].as_str().expect("a number");
        numbers.entry(code.to_owned()).or_default().insert(number.to_owned());
        *times.entry(code.to_owned()).or_default() += 1;
    }
    assert!(numbers.values().all(|numbers| numbers.len() == 1), "one number per person");
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_messages_about_fifty_people_are_fifty_questions_also_where_the_bus_is_killed() {
    let people = people();
    let Stage { authority, mut node, mut desk, _folder } = stage(&people).await;
    let mut bus = BusProcess::spawn(&desk.house, &[]).expect("started");
    bus.ready(PATIENCE).await.expect("ready");
    let mut sent = Vec::new();
    for index in 0..MESSAGES {
        let event = dwelling(&format!("dwelling-{index}"), &people[index % PEOPLE]);
        let answer = desk.client.send(&post_message(SPORTELLO_TOKEN, &event)).await;
        sent.push(id_of(&answer.expect("an answer")));
        if index == MESSAGES / 10 {
            // In the middle of it.
            bus.kill().await.expect("killed");
            bus = BusProcess::spawn(&desk.house, &[]).expect("started again");
            bus.ready(PATIENCE).await.expect("ready");
            desk.client = Client::new(desk.house.http);
        }
    }
    desk.completed(&sent, SPORTELLO_TOKEN, 2).await;
    let times = asked(&authority);
    assert_eq!(times.len(), PEOPLE, "everybody was asked about");
    let anew =
        authority.asked().iter().filter(|asked| asked.status == 200 && !asked.repeated).count();
    assert_eq!(anew, PEOPLE, "and each once");
    assert!(times.values().all(|times| *times <= 2), "no more than one repeat: {times:?}");
    assert_eq!(authority.refused(), [], "no rule of an authority was broken");
    let figures = desk.figures().await;
    let used = |way| figures.sum("snodo_facts_used_total", &[("fact", "household"), ("way", way)]);
    assert!(used("reused") > 0, "answers were used again");
    assert_eq!(figures.broken_equations(), [""; 0]);
    nobody_is_named(&desk, &people, &authority).await;
    assert!(bus.terminate().await.expect("it ends").success(), "{}", desk.log());
    node.stop().await;
}

/// ANPR answers six questions a day.
fn limited(desk: &Desk) {
    let path = desk.house.path.join("config/snodo.yaml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    // `waste-tax` may wait, and leaves half of them to others.
    let limited = text.replace("C021: 5000", "C021: 6");
    assert_ne!(limited, text);
    std::fs::write(path, limited).expect("written");
}

/// What a party is told of a person.
async fn usages(desk: &mut Desk, token: &str, person: &str) -> Answer {
    let body = json!({ "userCode": person, "limit": 10 });
    let request = post_json("/v1/disclosures/search", token, &body);
    desk.client.send(&request).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_questions_of_a_day_are_not_exceeded_and_people_see_who_has_used_their_data() {
    let people = people();
    let Stage { authority, mut node, mut desk, _folder } = stage(&people).await;
    limited(&desk);
    let mut bus = BusProcess::spawn(&desk.house, &[]).expect("started");
    bus.ready(PATIENCE).await.expect("ready");
    let mut sent = Vec::new();
    for (index, person) in people.iter().take(4).enumerate() {
        let event = dwelling(&format!("dwelling-{index}"), person);
        let answer = desk.client.send(&post_message(SPORTELLO_TOKEN, &event)).await;
        sent.push(id_of(&answer.expect("an answer")));
    }
    let beside = &desk;
    let waits = eventually("three are asked about and one waits", PATIENCE, || async {
        let figures = beside.figures().await;
        let done = figures
            .sum("snodo_deliveries_ended_total", &[("route", "waste-tax"), ("state", "completed")]);
        let waits = figures.sum("snodo_retry_scheduled", &[("route", "waste-tax")]);
        (done == 3 && waits == 1).then_some(figures)
    });
    let figures = waits.await;
    let quota = |name| figures.sum(name, &[("target", "anpr.C021")]);
    assert_eq!((quota("snodo_quota_used"), quota("snodo_quota_limit")), (3, 6));
    assert_eq!(authority.asked().len(), 3, "what may wait takes half of a day");
    let mut told = Vec::new();
    for id in &sent {
        told.push(desk.ask(&format!("/v1/messages/{id}"), SPORTELLO_TOKEN).await.json());
    }
    let (done, open): (Vec<_>, Vec<_>) = told.iter().partition(|told| told["state"] == "completed");
    assert_eq!((done.len(), open.len()), (3, 1));
    assert!(open[0].to_string().contains("SN0775"), "{}", open[0]);
    let asked = authority.asked();
    let known = asked[0].body["criteriRicerca"]["codiceFiscale"].as_str().expect("a code");
    let refused = usages(&mut desk, REGION_TOKEN, known).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("SN0612")));
    let answer = usages(&mut desk, SPORTELLO_TOKEN, known).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    let told = answer.json();
    assert_eq!(told["totalUsages"], 1, "{told}");
    let usage = &told["usages"][0];
    let action = usage["action"].as_str().expect("words");
    assert!(
        action.contains(": dato chiesto presso ANPR C021 per Waste tax (TARI), pratica 000"),
        "{action}"
    );
    assert_eq!(
        (&usage["receiverCode"], &usage["receiverSystem"]),
        (&json!("tributi"), &json!("waste-tax"))
    );
    assert!(!told.to_string().contains(known), "{told}");
    // A law keeps it from them for a time.
    let path = desk.house.path.join("routes/purposes/waste-tax.yaml");
    let text = std::fs::read_to_string(&path).expect("a purpose");
    let concealed = "concealed: { law: cad-50, until: \"2099-12-31\" }";
    std::fs::write(path, format!("{text}{concealed}\n")).expect("written");
    let (code, said) = snodo(&desk.house, &["reload"]);
    assert_eq!(code, 0, "{said}");
    let hidden = usages(&mut desk, SPORTELLO_TOKEN, known).await.json();
    assert_eq!(hidden, json!({ "totalUsages": 0, "usages": [] }));
    nobody_is_named(&desk, &people, &authority).await;
    assert!(desk.log().contains("a party looks at what was told of a person"), "{}", desk.log());
    assert!(bus.terminate().await.expect("it ends").success(), "{}", desk.log());
    node.stop().await;
}

/// In nothing that a run shows is a tax code: log, metrics, names of files, addresses that were called.
async fn nobody_is_named(desk: &Desk, people: &[String], authority: &Authority) {
    let metrics =
        Client::new(desk.house.metrics).send(&get("/metrics", "")).await.expect("metrics");
    let mut shown = vec![desk.log(), String::from_utf8_lossy(&metrics.body).into_owned()];
    shown.extend(authority.asked().iter().map(|asked| asked.service.clone()));
    let mut open = vec![desk.house.path.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            shown.push(entry.file_name().to_string_lossy().into_owned());
            if entry.path().is_dir() {
                open.push(entry.path());
            }
        }
    }
    for text in &shown {
        let named = people.iter().find(|code| text.contains(code.as_str()));
        assert_eq!(named, None, "a tax code is shown");
    }
    assert!(!desk.log().is_empty(), "there is a log to look at");
}
