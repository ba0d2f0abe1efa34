//! The chain of events: proofs that others can check, tampering that is found and located.

use snodo::ledger::{
    Event, chain,
    prove::{Finding, Head, append_heads, prove, read_heads, verify},
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

#[tokio::test]
async fn tampering_is_found_and_located() {
    let main = || "main".to_owned();
    for (tamper, expected) in [
        (
            "UPDATE event SET reason = 'discarded' WHERE n = 5",
            Finding::Altered { chain: main(), n: 5 },
        ),
        ("DELETE FROM event WHERE n = 6", Finding::Missing { chain: main(), from: 6, to: 6 }),
        (
            "UPDATE event SET n = 99 WHERE n = 2; UPDATE event SET n = 2 WHERE n = 3; \
             UPDATE event SET n = 3 WHERE n = 99",
            Finding::Altered { chain: main(), n: 2 },
        ),
        ("DELETE FROM event WHERE n >= 8", Finding::Truncated { chain: main(), from: 8, to: 10 }),
        (
            "INSERT INTO event (chain, n, batch, at, kind, subject, actor, reason, digest, hash) \
             SELECT chain, 11, batch, at, kind, subject, actor, reason, digest, hash FROM event \
             WHERE n = 10",
            Finding::Altered { chain: main(), n: 11 },
        ),
    ] {
        for bench in Bench::each().await {
            lived_in(&bench).await;
            let heads = heads(&bench).await;
            sql(&bench, tamper).await;
            let findings = verify(&*bench.ledger, &heads).await.expect("readable");
            assert!(findings.contains(&expected), "{tamper}: {findings:?}");
        }
    }
}

#[tokio::test]
async fn an_event_changed_with_its_hash_is_found_by_its_commit() {
    for bench in Bench::each().await {
        lived_in(&bench).await;
        let heads = heads(&bench).await;
        let mut event = bench.ledger.events("main", 5, 1).await.expect("readable").remove(0);
        event.reason = "discarded".to_owned();
        let hash = match bench.settings.store {
            Store::Sqlite { .. } => format!("x'{}'", chain::hash_of(&event)),
            Store::Postgres { .. } => format!("'\\x{}'", chain::hash_of(&event)),
        };
        sql(&bench, &format!("UPDATE event SET reason = 'discarded', hash = {hash} WHERE n = 5"))
            .await;
        let findings = verify(&*bench.ledger, &heads).await.expect("readable");
        let broken = Finding::Broken { chain: "main".to_owned(), from: 5, to: 7 };
        assert_eq!(findings, vec![broken]);
    }
}

#[tokio::test]
async fn a_cut_that_the_database_agrees_with_is_found_by_the_heads_kept_outside() {
    for bench in Bench::each().await {
        lived_in(&bench).await;
        let heads = heads(&bench).await;
        let eighth = bench.ledger.events("main", 8, 1).await.expect("readable").remove(0);
        let head = match bench.settings.store {
            Store::Sqlite { .. } => format!("x'{}'", eighth.previous),
            Store::Postgres { .. } => format!("'\\x{}'", eighth.previous),
        };
        let cut = format!(
            "DELETE FROM event WHERE n >= 8; DELETE FROM batch WHERE batch = 4; \
             UPDATE chain SET n = 7, batch = 3, head = {head}"
        );
        sql(&bench, &cut).await;
        assert_eq!(verify(&*bench.ledger, &[]).await.expect("readable"), vec![]);
        let findings = verify(&*bench.ledger, &heads).await.expect("readable");
        let cut = Finding::Truncated { chain: "main".to_owned(), from: 8, to: 10 };
        assert_eq!(findings, vec![cut]);
    }
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
        let Some(good) = said(&proof) else { return };
        assert_eq!(good, "2 events proved");
        let mut changed = proof.clone();
        changed["events"][1]["event"]["reason"] = json!("discarded");
        assert_eq!(said(&changed).as_deref(), Some("the event is not what was hashed"));
        let mut rehashed = changed;
        let mut event: Event =
            serde_json::from_value(rehashed["events"][1]["event"].clone()).expect("an event");
        event.hash = chain::hash_of(&event);
        rehashed["events"][1]["event"] = json!(event);
        assert_eq!(said(&rehashed).as_deref(), Some("the event does not lead to the head"));
    }
    let nobody = Bench::sqlite().await;
    let none = prove(&*nobody.ledger, id_of("nobody"), &[]).await.expect("readable");
    assert_eq!(none, None);
}

/// What the verifier in Python says; none where there is no Python.
fn python(proof: &std::path::Path, heads: &std::path::Path) -> Option<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/it/fixtures/verify_proof.py");
    let output =
        std::process::Command::new("python3").arg(script).args([proof, heads]).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
