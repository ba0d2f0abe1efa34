//! From options as written to an instance that makes sense. No network.
//!
//! Invariant: what passes here cannot fail for its configuration while calling, but for the token's file.

use std::{collections::BTreeMap, sync::Arc};

use reqwest::Url;
use serde_json::{Value, json};
use snodo_core::{
    adapter::{OpenError, Operation},
    verdict::EffectKind,
};

use super::{
    Checked, Http,
    classify::Rules,
    exchange,
    options::{Effect, Method, OperationOptions, Options, checked_deadline, mistake},
    request::Path,
};

/// Finds the document of a schema by type name.
type Find<'a> = &'a dyn Fn(&str) -> Option<Arc<Value>>;

pub(super) fn open(options: Options, find: Find<'_>) -> Result<Http, OpenError> {
    let base = address("base", &options.base)?;
    if options.operations.is_empty() {
        return Err(mistake("/operations", "no operation is named", "name at least one"));
    }
    // First, so that a wrong name of a lookup is told where it is written.
    for (name, written) in &options.operations {
        lookup(name, &effect(name, written)?, &options.operations)?;
    }
    let client = client()?;
    let operations = options
        .operations
        .keys()
        .map(|name| Ok((name.clone(), operation(name, &options.operations, find)?)))
        .collect::<Result<_, OpenError>>()?;
    let bearer = options.auth.map(|auth| auth.bearer.0);
    Ok(Http { base, client, bearer, answer_limit: options.answer_limit, operations })
}

/// The client of an instance.
pub(crate) fn client() -> Result<reqwest::Client, OpenError> {
    exchange::client().map_err(|_| {
        let help = "install the system's certificates (package ca-certificates)";
        mistake("", "no TLS client can be made on this machine", help)
    })
}

/// The address under the option `key`: `https`, or `http` on this machine; no user, no query.
pub(crate) fn address(key: &str, text: &str) -> Result<Url, OpenError> {
    let wrong = |what: &str| {
        let help = format!("write {key}: https://host.example/path");
        mistake(&format!("/{key}"), format!("`{key}` {what}"), help)
    };
    let url = Url::parse(text).map_err(|_| wrong("is no address"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds a user or a password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("holds a query or a fragment"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(wrong("is not encrypted; `http` is for this machine only")),
        _ => Err(wrong("is neither https nor http")),
    }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn operation(
    name: &str,
    all: &BTreeMap<String, OperationOptions>,
    find: Find<'_>,
) -> Result<Checked, OpenError> {
    let written = &all[name];
    let at = |field: &str| format!("/operations/{name}/{field}");
    let path = Path::parse(&written.path)
        .map_err(|what| mistake(&at("path"), what, "write path: /enrolments/{id}"))?;
    let effect = effect(name, written)?;
    let lookup = lookup(name, &effect, all)?;
    for (key, listed) in [
        ("refused", &written.refused),
        ("not_found", &written.not_found),
        ("ambiguous", &written.ambiguous),
    ] {
        statuses(&at(key), listed)?;
    }
    deadline(&at("deadline"), written)?;
    let rules = Rules {
        effect: effect.kind(),
        refused: written.refused.clone(),
        not_found: written.not_found.clone(),
        ambiguous: written.ambiguous.clone(),
        answers: written.output.is_some(),
    };
    let typed = typed(name, written, effect.kind(), find, all)?;
    if let Some(typed) = &typed {
        filled(&at("path"), &path, &typed.input)?;
    }
    Ok(Checked { method: written.method, path, rules, lookup, typed, deadline: written.deadline })
}

fn effect(name: &str, written: &OperationOptions) -> Result<Effect, OpenError> {
    match (&written.effect, written.method) {
        (Some(effect), _) => Ok(effect.clone()),
        (None, Method::Get) => Ok(Effect::Idempotent),
        (None, _) => Err(mistake(
            &format!("/operations/{name}"),
            format!("`{name}` does not say how its effect may be repeated"),
            "add effect: idempotent (the target deduplicates by Idempotency-Key), \
             effect: { recallable: lookup } or effect: once",
        )),
    }
}

fn lookup(
    name: &str,
    effect: &Effect,
    all: &BTreeMap<String, OperationOptions>,
) -> Result<Option<String>, OpenError> {
    let Effect::Recallable(lookup) = effect else { return Ok(None) };
    let pointer = format!("/operations/{name}/effect/recallable");
    let help = "name a GET operation of this instance that answers for a step key: \
                { method: GET, path: /lookup } is asked ?key=…, { method: GET, path: /done/{key} } by path";
    let Some(target) = all.get(lookup) else {
        return Err(mistake(&pointer, format!("there is no operation `{lookup}`"), help));
    };
    let by_key = Path::parse(&target.path).is_ok_and(|path| path.fields().all(|f| f == "key"));
    if target.method != Method::Get || !by_key {
        return Err(mistake(&pointer, format!("`{lookup}` cannot be asked by step key"), help));
    }
    if target.output.is_some() && target.output != all[name].output {
        let text = format!("`{lookup}` gives another type than `{name}`");
        return Err(mistake(&pointer, text, "give both the same `output`"));
    }
    Ok(Some(lookup.clone()))
}

/// 408, 425 and 429 always mean "later", and a 5xx is never a no.
fn statuses(pointer: &str, refused: &[u16]) -> Result<(), OpenError> {
    let no = |status: &u16| (400..500).contains(status) && ![408, 425, 429].contains(status);
    match refused.iter().find(|status| !no(status)) {
        None => Ok(()),
        Some(status) => Err(mistake(
            pointer,
            format!("the status {status} does not mean no"),
            "write statuses from 400 to 499 but 408, 425 and 429",
        )),
    }
}

fn deadline(pointer: &str, written: &OperationOptions) -> Result<(), OpenError> {
    checked_deadline(pointer, written.deadline)?;
    if written.settles_within.is_some_and(|settles| settles < written.deadline) {
        let text = "`settles_within` is shorter than the deadline";
        return Err(mistake(pointer, text, "leave it out: it is twice the deadline"));
    }
    Ok(())
}

fn typed(
    name: &str,
    written: &OperationOptions,
    effect: EffectKind,
    find: Find<'_>,
    all: &BTreeMap<String, OperationOptions>,
) -> Result<Option<Operation>, OpenError> {
    let at = |field: &str| format!("/operations/{name}/{field}");
    let Some(input) = &written.input else {
        let asks = |other: &OperationOptions| match &other.effect {
            Some(Effect::Recallable(lookup)) => lookup == name,
            _ => false,
        };
        let text = format!("`{name}` has no `input`, and no operation recalls by it");
        return if all.values().any(asks) {
            Ok(None)
        } else {
            Err(mistake(&at("input"), text, "add input: scuola/enrolment.v1"))
        };
    };
    let output = match &written.output {
        Some(output) => document(&at("output"), output, find)?,
        None => Arc::new(json!({ "type": "null" })),
    };
    Ok(Some(Operation {
        name: name.to_owned(),
        input: document(&at("input"), input, find)?,
        output,
        effect,
        deadline: written.deadline,
        settles_within: written.settles_within.unwrap_or(written.deadline * 2),
        fact_only: false,
    }))
}

/// `scuola/enrolment.v1` is the schema of the type `scuola.enrolment.v1`.
fn document(pointer: &str, reference: &str, find: Find<'_>) -> Result<Arc<Value>, OpenError> {
    find(&reference.replace('/', ".")).filter(|_| reference.contains('/')).ok_or_else(|| {
        let text = format!("there is no schema `{reference}`");
        mistake(pointer, text, "write scuola/enrolment.v1 for schemas/scuola/enrolment.v1.json")
    })
}

/// Every field of the path must be a required one of the input, and no list or object.
fn filled(pointer: &str, path: &Path, input: &Value) -> Result<(), OpenError> {
    let required = |name: &str| {
        input["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name))
    };
    let scalar = |name: &str| {
        matches!(input["properties"][name]["type"].as_str(), Some("string" | "integer" | "boolean"))
    };
    match path.fields().find(|name| !(required(name) && scalar(name))) {
        None => Ok(()),
        Some(name) => Err(mistake(
            pointer,
            format!("`{name}` of the path is no required text or whole number of the input"),
            "name required fields of the input schema in the path",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(change: impl FnOnce(&mut Value)) -> Result<Http, OpenError> {
        let mut options = json!({
            "base": "https://region.example/api",
            "operations": {
                "notify": {
                    "method": "POST", "path": "/n/{id}", "input": "regione/n.v1",
                    "effect": { "recallable": "lookup" }
                },
                "lookup": { "method": "GET", "path": "/done/{key}" }
            }
        });
        change(&mut options);
        let find = |kind: &str| {
            let schema =
                json!({ "required": ["id"], "properties": { "id": { "type": "string" } } });
            (kind == "regione.n.v1").then(|| Arc::new(schema))
        };
        open(serde_json::from_value(options).expect("of the shape"), &find)
    }

    #[test]
    fn an_operation_has_its_defaults_and_a_lookup_is_not_for_routes() {
        use snodo_core::adapter::Adapter as _;
        let operations = opened(|_| {}).expect("opens").operations();
        let [notify] = operations.as_slice() else { panic!("one operation is for routes") };
        assert_eq!(notify.effect, EffectKind::Recallable);
        assert_eq!(notify.deadline.as_secs(), 20);
        assert_eq!(notify.settles_within.as_secs(), 40);
    }

    #[test]
    fn a_mistake_has_its_place() {
        let notify = "/operations/notify";
        let table = [
            ("/base", json!("http://region.example"), "/base".to_owned()),
            ("/base", json!("https://me:pw@region.example"), "/base".to_owned()),
            ("/base", json!("https://region.example?x=1"), "/base".to_owned()),
            ("/base", json!("ftp://region.example"), "/base".to_owned()),
            ("/base", json!("http://127.0.0.1.example"), "/base".to_owned()),
            ("/operations", json!({}), "/operations".to_owned()),
            ("/operations/notify/path", json!("n"), format!("{notify}/path")),
            ("/operations/notify/path", json!("/{other}"), format!("{notify}/path")),
            (
                "/operations",
                json!({ "notify": { "method": "POST", "path": "/n", "input": "regione/n.v1" } }),
                notify.to_owned(),
            ),
            (
                "/operations/notify/effect/recallable",
                json!("nobody"),
                format!("{notify}/effect/recallable"),
            ),
            ("/operations/lookup/path", json!("/{id}"), format!("{notify}/effect/recallable")),
            ("/operations/notify/effect", json!("once"), "/operations/lookup/input".to_owned()),
            ("/operations/notify/input", json!("regione.n.v1"), format!("{notify}/input")),
            ("/operations/notify/input", json!("regione/x.v1"), format!("{notify}/input")),
        ];
        for (place, value, expected) in table {
            let error =
                opened(|options| *options.pointer_mut(place).expect("there") = value.clone())
                    .expect_err(place);
            assert_eq!(error.pointer, expected, "{place}: {value}: {error}");
        }
    }

    #[test]
    fn what_is_no_refusal_cannot_be_listed_as_one() {
        for status in [200, 302, 408, 425, 429, 500] {
            let error = opened(|o| o["operations"]["notify"]["refused"] = json!([status]));
            assert_eq!(error.expect_err("refused").pointer, "/operations/notify/refused");
        }
        for deadline in ["0s", "6m"] {
            let error = opened(|o| o["operations"]["notify"]["deadline"] = json!(deadline));
            assert_eq!(error.expect_err("refused").pointer, "/operations/notify/deadline");
        }
    }

    #[test]
    fn http_is_for_this_machine() {
        for base in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1/x"] {
            assert!(opened(|options| options["base"] = json!(base)).is_ok(), "{base}");
        }
    }
}
