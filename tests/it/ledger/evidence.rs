//! The chain of events: proofs that others can check, tampering that is found and located.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use snodo::ledger::{
    Event, chain,
    prove::{Head, append_heads, prove, read_heads},
    verify::{Finding, verify},
};

use super::{bench::*, *};

/// Ten events in commits of several sizes: accepts and ends.
async fn lived_in(bench: &Bench) {
    bench.all(&[accept("a", &["route"]), accept("b", &["route"]), accept("c", &["route"])]).await;
    bench.one(accept("d", &["route"])).await;
    let handed = |seq, name| hand_over(seq, owed(id_of(name), "route").id, 1);
    bench.all(&[handed(1, "a"), handed(2, "b"), handed(3, "c")]).await;
    bench.all(&[handed(4, "d"), accept("e", &["route"]), accept("f", &["route"])]).await;
}

async fn heads(bench: &Bench) -> Vec<Head> {
    let heads = bench.ledger.heads().await.expect("readable");
    heads.into_iter().map(|(chain, n, hash)| Head { at: NOON, chain, n, hash }).collect()
}

#[tokio::test]
async fn an_untouched_chain_verifies() {
    for bench in Bench::each().await {
        lived_in(&bench).await;
        let heads = heads(&bench).await;
        assert_eq!(heads[0].n, 10);
        assert_eq!(verify(&*bench.ledger, &heads).await.expect("readable"), vec![]);
        assert_eq!(bench.ledger.chains().await.expect("readable"), ["main"]);
    }
}

/// What is done to a copy of the ledger, the statements that do it, and what `ledger verify` then says.
/// The commits of the original hold the events 1–3, 4, 5–7, 8–10.
const DAMAGES: &[(&str, &str, &[&str])] = &[
    ("nothing", "", &[]),
    (
        "an event is edited",
        "UPDATE event SET reason = 'discarded' WHERE n = 5",
        &["chain main: event 5 was altered"],
    ),
    (
        "an event is edited together with its hash",
        "UPDATE event SET reason = 'discarded', hash = HASH5 WHERE n = 5",
        &["chain main: the commit of events 5 to 7 was tampered with"],
    ),
    (
        "the last event is edited together with its hash",
        "UPDATE event SET reason = 'discarded', hash = HASH10 WHERE n = 10",
        &["chain main: events 1 to 10 do not lead to the head that was kept"],
    ),
    (
        "an event is deleted",
        "DELETE FROM event WHERE n = 6",
        &["chain main: event 6 was taken out"],
    ),
    (
        "an event is deleted and the others close up",
        "DELETE FROM event WHERE n = 6; UPDATE event SET n = 1 - n WHERE n > 6; \
         UPDATE event SET n = -n WHERE n < 0",
        &["chain main: event 6 was taken out"],
    ),
    (
        "a commit is deleted",
        "DELETE FROM event WHERE n IN (5, 6, 7)",
        &["chain main: events 5 to 7 were taken out"],
    ),
    (
        "an event is inserted and the others make room",
        "UPDATE event SET n = -1 - n WHERE n >= 5; UPDATE event SET n = -n WHERE n < 0; \
         INSERT INTO event (chain, n, batch, at, kind, subject, actor, reason, digest, hash) \
         SELECT chain, 5, batch, at, kind, subject, actor, 'discarded', digest, hash FROM event \
         WHERE n = 7",
        &["chain main: event 5 was put in"],
    ),
    (
        "an event is inserted at the end",
        "INSERT INTO event (chain, n, batch, at, kind, subject, actor, reason, digest, hash) \
         SELECT chain, 11, batch, at, kind, subject, actor, reason, digest, hash FROM event \
         WHERE n = 10",
        &["chain main: event 11 was put in"],
    ),
    (
        "two events of a commit are exchanged",
        "UPDATE event SET n = 99 WHERE n = 2; UPDATE event SET n = 2 WHERE n = 3; \
         UPDATE event SET n = 3 WHERE n = 99",
        &["chain main: event 2 stood at place 3", "chain main: event 3 stood at place 2"],
    ),
    (
        "two events far from each other are exchanged",
        "UPDATE event SET n = 99 WHERE n = 2; UPDATE event SET n = 2 WHERE n = 10; \
         UPDATE event SET n = 10 WHERE n = 99",
        &["chain main: event 2 stood at place 10", "chain main: event 10 stood at place 2"],
    ),
    (
        "the end is cut off",
        "DELETE FROM event WHERE n >= 8",
        &["chain main: events 8 to 10 were cut off the end"],
    ),
    (
        "the end is cut off, and the database agrees",
        "DELETE FROM event WHERE n >= 8; DELETE FROM batch WHERE batch = 4; \
         UPDATE chain SET n = 7, batch = 3, head = HEAD7",
        &["chain main: events 8 to 10 were cut off the end"],
    ),
    (
        "an event is edited and another deleted",
        "UPDATE event SET actor = 'nobody' WHERE n = 2; DELETE FROM event WHERE n = 9",
        &["chain main: event 2 was altered", "chain main: event 9 was taken out"],
    ),
];

#[tokio::test]
async fn every_damage_to_a_copied_ledger_is_found_and_located_on_both_databases() {
    for mut bench in Bench::each().await {
        lived_in(&bench).await;
        let folder = tempfile::tempdir().expect("a folder");
        let kept = folder.path().join("heads.log");
        append_heads(&*bench.ledger, &kept, NOON).await.expect("kept");
        let forged = forged(&bench).await;
        bench.shut().await;
        for (number, (what, statements, expected)) in DAMAGES.iter().enumerate() {
            let house = folder.path().join(number.to_string());
            let copy = copy(&bench, &house);
            std::fs::copy(&kept, house.join("data/heads.log")).expect("copied");
            let statements = forged
                .iter()
                .fold((*statements).to_owned(), |sql, (name, value)| sql.replace(name, value));
            sql_at(&copy, &statements).await;
            let (code, told) = verified(&house);
            let findings = told["findings"].as_array().expect("a list");
            let said: Vec<&str> =
                findings.iter().filter_map(|finding| finding["text"].as_str()).collect();
            assert_eq!(said, *expected, "{what}: {told}");
            assert_eq!(
                (code, told["sound"] == true),
                (i32::from(!said.is_empty()), said.is_empty())
            );
        }
    }
}

/// What who tampers computes: hashes of changed events, and the head that a shorter chain would have.
async fn forged(bench: &Bench) -> Vec<(&'static str, String)> {
    let literal = |digest: Digest| match bench.settings.store {
        Store::Sqlite { .. } => format!("x'{digest}'"),
        Store::Postgres { .. } => format!("'\\x{digest}'"),
    };
    let event = async |n| bench.ledger.events("main", n, 1).await.expect("readable").remove(0);
    let edited = |mut event: Event| {
        "discarded".clone_into(&mut event.reason);
        literal(chain::hash_of(&event))
    };
    vec![
        ("HASH5", edited(event(5).await)),
        ("HASH10", edited(event(10).await)),
        ("HEAD7", literal(event(8).await.previous)),
    ]
}

/// Copies the ledger of a bench that is shut, and writes a house around the copy.
fn copy(bench: &Bench, house: &Path) -> Store {
    std::fs::create_dir_all(house.join("data")).expect("made");
    std::fs::create_dir_all(house.join("config")).expect("made");
    let (store, ledger) = match &bench.settings.store {
        Store::Sqlite { path, durable } => {
            let copy = house.join("data/ledger.db");
            std::fs::copy(path, &copy).expect("copied");
            (Store::Sqlite { path: copy, durable: *durable }, json!({ "sqlite": "ledger.db" }))
        }
        Store::Postgres { url, connections } => {
            let url = postgres::server().expect("it runs").copy_of(url);
            let ledger = json!({ "postgres": postgres::settings(&url, house).expect("written") });
            (Store::Postgres { url, connections: *connections }, ledger)
        }
    };
    let config = json!({ "data": "data", "ledger": ledger, "broker": { "private": true } });
    std::fs::write(house.join("config/snodo.yaml"), config.to_string()).expect("written");
    store
}

/// What `snodo ledger verify` says, and its exit code.
fn verified(house: &Path) -> (i32, Value) {
    let snodo = snodo_tests::bus::binaries().expect("built").join("snodo");
    let output = Command::new(snodo)
        .args(["ledger", "verify", "--json", "--house"])
        .arg(house)
        .env_remove("SNODO_ENV")
        .output()
        .expect("started");
    let told = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap_or(-1), told)
}

#[tokio::test]
async fn many_damages_are_told_in_few_lines() {
    let bench = Bench::sqlite().await;
    for n in 0..40 {
        bench.one(accept(&format!("m{n}"), &["route"])).await;
    }
    let heads = heads(&bench).await;
    sql(&bench, "UPDATE event SET actor = 'nobody' WHERE n BETWEEN 3 AND 30").await;
    let findings = verify(&*bench.ledger, &heads).await.expect("readable");
    assert_eq!(findings, [Finding::Altered { chain: "main".to_owned(), from: 3, to: 30 }]);
}

#[tokio::test]
async fn a_proof_holds_with_another_language_and_a_changed_one_does_not() {
    for bench in Bench::each().await {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("heads.log");
        bench.one(accept("first", &["route"])).await;
        append_heads(&*bench.ledger, &log, NOON).await.expect("kept");
        append_heads(&*bench.ledger, &log, at(1)).await.expect("kept");
        let id = owed(id_of("first"), "route").id;
        let hand_over = hand_over(1, id, 1);
        bench.all(&[accept("x", &["route"]), hand_over, accept("y", &["route"])]).await;
        bench.one(accept("z", &["route"])).await;
        append_heads(&*bench.ledger, &log, at(2)).await.expect("kept");
        let heads = read_heads(&log).expect("readable");
        assert_eq!(heads.iter().map(|head| head.n).collect::<Vec<_>>(), [1, 5]);
        let proof = prove(&*bench.ledger, id_of("first"), &heads).await.expect("readable");
        let proof = proof.expect("known");
        assert_eq!(proof["events"].as_array().map(Vec::len), Some(2));
        assert_eq!(proof["events"][1]["roots"].as_array().map(Vec::len), Some(1));
        let said = |proof: &Value| {
            let file = folder.path().join("proof.json");
            std::fs::write(&file, proof.to_string()).expect("written");
            python(&file, &log)
        };
        assert_eq!(said(&proof), "2 events proved");
        let mut changed = proof.clone();
        changed["events"][1]["event"]["reason"] = json!("discarded");
        assert_eq!(said(&changed), "the event is not what was hashed");
        let mut rehashed = changed;
        let mut event: Event =
            serde_json::from_value(rehashed["events"][1]["event"].clone()).expect("an event");
        event.hash = chain::hash_of(&event);
        rehashed["events"][1]["event"] = json!(event);
        assert_eq!(said(&rehashed), "the event does not lead to the head");
        let mut elsewhere = proof.clone();
        elsewhere["deliveries"][0]["to"] = json!("party:somebody");
        assert_eq!(said(&elsewhere), "the event is of another message");
        let mut anothers = proof.clone();
        anothers["message"] = json!(id_of("x"));
        assert_eq!(said(&anothers), "the event is of another message");
        let mut renamed = proof.clone();
        renamed["events"].as_array_mut().expect("a list").truncate(1);
        renamed["deliveries"][0]["id"] = json!(id_of("x"));
        assert_eq!(said(&renamed), "a delivery is of another message");
        let mut unkept = proof.clone();
        unkept["events"][0]["head"]["at"] = json!("1970-01-01T00:00:00.000Z");
        assert_eq!(said(&unkept), "the head was not kept");
        assert_eq!(proof["deliveries"][0]["to"], "route");
    }
    let nobody = Bench::sqlite().await;
    let none = prove(&*nobody.ledger, id_of("nobody"), &[]).await.expect("readable");
    assert_eq!(none, None);
}

/// What the verifier in Python says. RabbitMQ's package brings Python with it.
fn python(proof: &Path, heads: &Path) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/it/fixtures/verify_proof.py");
    let output = Command::new("python3").arg(script).args([proof, heads]).output();
    let output = output.expect("python3 is installed");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_grows_while_it_is_verified_is_not_taken_for_a_forged_one() {
    const COMMITS: u32 = 30;
    for bench in Bench::each().await {
        lived_in(&bench).await;
        let written = AtomicU32::new(0);
        let grows = async {
            for n in 0..COMMITS {
                bench.one(accept(&format!("more-{n}"), &["route"])).await;
                written.store(n + 1, Relaxed);
            }
        };
        let verifies = async {
            let kept = heads(&bench).await;
            while written.load(Relaxed) < COMMITS {
                let found = verify(&*bench.ledger, &kept).await.expect("readable");
                assert_eq!(found, vec![], "after {} commits", written.load(Relaxed));
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(grows, verifies);
    }
}
