//! What the adapter signs, before a judge of another language and another library: PyJWT.
//!
//! Invariant: the judge is proved too: it finds each thing that is bent.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use snodo_sandbox::authority::jws::base64;

use super::{MARIO, Stage, client, key, purpose};

/// What the judge says of a question: a line for each complaint.
fn judge(said: &Value) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/it/authority/judge.py");
    let mut judge = Command::new("/usr/bin/python3")
        .args(["-B", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let mut stdin = judge.stdin.take().expect("piped");
    stdin.write_all(said.to_string().as_bytes()).expect("written");
    drop(stdin);
    let output = judge.wait_with_output().expect("ends");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        words.is_empty(),
        "the judge cannot judge (PyJWT missing? run tests/install-debian.sh pyjwt): {words}"
    );
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert_eq!(output.status.success(), found.is_empty(), "{found}");
    found
}

/// Everything that the adapter signed for one question.
async fn said() -> Value {
    let stage = Stage::new().await;
    stage.ask("C021", 1, json!({ "taxCode": MARIO })).await.expect("an answer");
    let asked = stage.authority.asked().remove(0);
    let base = stage.authority.base();
    let porta = format!("{base}/govway/rest/in/MinInternoPortaANPR");
    json!({
        "key": key().public_pem().expect("a PEM"), "kid": "key-1",
        "client": client(), "purpose": purpose(21), "user": "op-4711",
        "tokenAudience": "127.0.0.1/client-assertion",
        "serviceAudience": format!("{porta}/C021-servizioAccertamentoStatoFamiglia/v1"),
        "assertion": stage.authority.assertions().remove(0),
        "evidence": asked.headers["agid-jwt-trackingevidence"],
        "signature": asked.headers["agid-jwt-signature"],
        "digest": asked.headers["digest"], "contentType": asked.headers["content-type"],
        "body": base64(&asked.bytes)
    })
}

#[tokio::test]
async fn another_library_takes_what_the_adapter_signs() {
    assert_eq!(judge(&said().await), "");
}

#[tokio::test]
async fn the_judge_finds_what_is_bent() {
    let good = said().await;
    let other = said().await;
    let table = [
        ("kid", json!("key-2"), "assertion: another header"),
        ("client", json!("another"), "assertion: Invalid issuer"),
        ("tokenAudience", json!("another"), "assertion: Invalid audience"),
        ("serviceAudience", json!("another"), "evidence: Invalid audience"),
        ("body", json!(base64(b"{}")), "the digest is of other bytes"),
        ("contentType", json!("text/plain"), "other headers were signed"),
        ("purpose", json!("another"), "two purposes"),
        ("user", json!("another"), "somebody else asks"),
        ("assertion", other["assertion"].clone(), "the voucher is bound to another evidence"),
        ("evidence", good["signature"].clone(), "evidence: other claims than"),
    ];
    for (name, bent, expected) in table {
        let mut said = good.clone();
        said[name] = bent;
        assert!(judge(&said).contains(expected), "{name}: {}", judge(&said));
    }
    let mut said = good.clone();
    let token = said["evidence"].as_str().expect("a token").to_owned();
    let (signed, _) = token.rsplit_once('.').expect("three parts");
    said["evidence"] = json!(format!("{signed}.{}", "A".repeat(342)));
    assert!(judge(&said).contains("evidence: Signature verification failed"), "{}", judge(&said));
}
