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
