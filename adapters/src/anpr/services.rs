//! The e-services of ANPR that an instance knows: where each is, whom its tokens are for, what it answers.
//!
//! Invariant: the path of a service is taken as the catalogue of PDND writes it, never made up from its
//! name; what is not ASCII in it is percent-encoded on the wire and left as it is in the audience.

use std::collections::BTreeMap;

use reqwest::Url;
use serde::Deserialize;
use snodo_core::adapter::OpenError;

use crate::{http::options::mistake, pdnd::Purposes};

/// The service that finds a person's national id.
pub(super) const ID_SERVICE: &str = "C030";

/// A service as it is written, or written over, in the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceOptions {
    /// Its path below `base`: `C021-servizioAccertamentoStatoFamiglia/v1`.
    #[serde(default)]
    pub path: Option<String>,
    /// Whom its tokens are for; made of `base` and `path` where left out.
    #[serde(default)]
    pub audience: Option<String>,
    /// What it answers; said for services that the bus does not know.
    #[serde(default)]
    pub answers: Option<Answers>,
}

/// What a service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// The members of a family.
    Household,
    /// One person with addresses.
    Person,
    /// The national id of a person.
    Identity,
    /// Whether a death was as it was declared.
    Death,
    /// Whether another declaration holds.
    Verification,
}

/// A service that makes sense.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// `C021`: its operation, and `casoUso`.
    pub(super) code: String,
    /// Below this are `/anpr-service-e002` and `/status`.
    pub(super) url: Url,
    /// Whom its tokens are for.
    pub(super) audience: String,
    /// What it answers.
    pub(super) answers: Answers,
}

impl Service {
    /// The address of a door of this service.
    pub(super) fn door(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{name}", self.url.path().trim_end_matches('/')));
        url
    }
}

/// The services whose interface is public, with the paths that it has: C001 with its en dash.
const KNOWN: [(&str, &str, Answers); 4] = [
    ("C001", "C001\u{2013}servizioNotifica/v1", Answers::Person),
    ("C004", "C004-servizioVerificaDichDecesso/v1", Answers::Death),
    ("C021", "C021-servizioAccertamentoStatoFamiglia/v1", Answers::Household),
    (ID_SERVICE, "C030-servizioAccertamentoIdUnicoNazionale/v1", Answers::Identity),
];

/// The services that some purpose may ask, by their codes; what is not asked is no operation, so that
/// `check` finds a route that would ask it.
pub(super) fn services(
    base: &Url,
    written: &BTreeMap<String, ServiceOptions>,
    purposes: &Purposes,
) -> Result<BTreeMap<String, Service>, OpenError> {
    let known = KNOWN.iter().map(|(code, ..)| (*code).to_owned());
    let mut found = BTreeMap::new();
    for code in known.chain(written.keys().cloned()) {
        let service = service(base, &code, written.get(&code))?;
        if purposes.have(&code) {
            found.insert(code, service);
        }
    }
    unknown(&found, purposes)?;
    Ok(found)
}

fn service(base: &Url, code: &str, written: Option<&ServiceOptions>) -> Result<Service, OpenError> {
    let at = |field: &str| format!("/services/{code}{field}");
    let is_code = |code: &str| {
        code.len() == 4 && code.starts_with('C') && code[1..].bytes().all(|b| b.is_ascii_digit())
    };
    if !is_code(code) {
        return Err(mistake(&at(""), format!("`{code}` is no service"), "write C020: { … }"));
    }
    let known = KNOWN.iter().find(|(known, ..)| *known == code);
    let written = written.cloned().unwrap_or_default();
    let Some(path) = written.path.or_else(|| known.map(|(_, path, _)| (*path).to_owned())) else {
        let help = "write path: as the catalogue of PDND has it, such as C020-…/v1";
        return Err(mistake(&at(""), format!("`{code}` has no `path`"), help));
    };
    let Some(answers) = written.answers.or_else(|| known.map(|(_, _, answers)| *answers)) else {
        let help = "add answers: household, person, identity, death or verification";
        return Err(mistake(&at(""), format!("`{code}` does not say what it answers"), help));
    };
    let url = below(base, &path)
        .ok_or_else(|| mistake(&at("/path"), "this is no path", "write path: C020-…/v1"))?;
    let audience = written.audience.unwrap_or_else(|| audience(base, &path));
    Ok(Service { code: code.to_owned(), url, audience, answers })
}

/// The address of `path` below `base`, on the same host.
fn below(base: &Url, path: &str) -> Option<Url> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "?#\\{}%".contains(c);
    let dots = |part: &str| part.is_empty() || part == "." || part == "..";
    if path.chars().any(odd) || path.split('/').any(dots) {
        return None;
    }
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    Some(url)
}

/// The address of the service without `-PDND`: so ANPR names itself in tokens.
fn audience(base: &Url, path: &str) -> String {
    format!("{}/{path}", base.as_str().trim_end_matches('/').replacen("-PDND", "", 1))
}

fn unknown(found: &BTreeMap<String, Service>, purposes: &Purposes) -> Result<(), OpenError> {
    for (purpose, services) in purposes.iter() {
        for service in services {
            if !found.contains_key(service) {
                let text = format!("there is no service `{service}`");
                let help = "name one of `services`, or C001, C004, C021, C030";
                return Err(mistake(&format!("/purposes/{purpose}/{service}"), text, help));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn all(
        services_written: serde_json::Value,
        asked: &[&str],
    ) -> Result<BTreeMap<String, Service>, OpenError> {
        let base = Url::parse("https://anpr.example/govway/rest/in/MinInternoPortaANPR-PDND/")
            .expect("ok");
        let ids: BTreeMap<&str, Uuid> =
            asked.iter().map(|code| (*code, Uuid::from_u128(1))).collect();
        let purposes = serde_json::from_value(json!({ "p": ids })).expect("valid");
        services(&base, &serde_json::from_value(services_written).expect("valid"), &purposes)
    }

    #[test]
    fn a_service_has_its_address_and_its_audience() {
        let found = all(json!({}), &["C001", "C021"]).expect("valid");
        assert_eq!(found.keys().collect::<Vec<_>>(), ["C001", "C021"]);
        insta::assert_snapshot!(found["C021"].door("anpr-service-e002"), @"https://anpr.example/govway/rest/in/MinInternoPortaANPR-PDND/C021-servizioAccertamentoStatoFamiglia/v1/anpr-service-e002");
        insta::assert_snapshot!(found["C021"].audience, @"https://anpr.example/govway/rest/in/MinInternoPortaANPR/C021-servizioAccertamentoStatoFamiglia/v1");
        insta::assert_snapshot!(found["C001"].door("status"), @"https://anpr.example/govway/rest/in/MinInternoPortaANPR-PDND/C001%E2%80%93servizioNotifica/v1/status");
        insta::assert_snapshot!(found["C001"].audience, @"https://anpr.example/govway/rest/in/MinInternoPortaANPR/C001–servizioNotifica/v1");
    }

    #[test]
    fn other_services_and_other_audiences_can_be_written() {
        let written = json!({
            "C007": { "path": "C007-x/v1", "answers": "verification" },
            "C021": { "audience": "https://anpr.example/C021/v1" }
        });
        let found = all(written, &["C007", "C021"]).expect("valid");
        assert_eq!(found["C007"].answers, Answers::Verification);
        assert_eq!(found["C021"].audience, "https://anpr.example/C021/v1");
        assert!(found["C021"].url.as_str().ends_with("/C021-servizioAccertamentoStatoFamiglia/v1"));
    }

    #[test]
    fn a_mistake_has_its_place() {
        let place = |written, asked: &[&str]| all(written, asked).expect_err("refused").pointer;
        assert_eq!(place(json!({}), &["C020"]), "/purposes/p/C020");
        assert_eq!(place(json!({ "X1": {} }), &["C021"]), "/services/X1");
        assert_eq!(place(json!({ "C020": { "answers": "person" } }), &["C021"]), "/services/C020");
        assert_eq!(place(json!({ "C020": { "path": "C020-x/v1" } }), &["C021"]), "/services/C020");
        for path in ["", "/x", "../x", "x//y", "x?y", "x#y", "x y", "x%2fy"] {
            let written = json!({ "C020": { "path": path, "answers": "person" } });
            assert_eq!(place(written, &["C020"]), "/services/C020/path", "{path}");
        }
    }
}
