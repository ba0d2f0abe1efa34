//! New files of a house: what `snodo new` writes, complete, so that it passes `check` and `test` as it is.
//!
//! Invariant: pure. What is there already is never written again.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    adapter::Operation,
    facts,
    schema::{Schemas, path_of_kind},
};

mod instance;

pub use instance::NewAdapter;

/// A file, by its path in the house.
pub type NewFile = (String, String);

/// A route that is wanted.
#[derive(Clone, Debug)]
pub struct NewRoute {
    /// Its name.
    pub name: String,
    /// The type it takes; a new one, where no schema has it.
    pub from: String,
    /// Its purpose.
    pub purpose: String,
    /// The office that owns it.
    pub office: String,
    /// The adapter instance of the protocol register, where the house has one.
    pub register: Option<String>,
}

/// The files of a new route: itself, its tests, and the schemas that are not there yet.
pub fn route(wanted: &NewRoute, schemas: &Schemas) -> Vec<NewFile> {
    let NewRoute { name, from, purpose, office, register } = wanted;
    let mut files = Vec::new();
    let known = schemas.document(from).map(|document| Value::clone(document));
    let schema = known.clone().unwrap_or_else(received);
    if known.is_none() {
        files.push(schema_file(from, &schema));
    }
    let step = if let Some(instance) = register {
        registers(instance, from)
    } else {
        let done = done_kind(from);
        if schemas.document(&done).is_none() {
            files.push(schema_file(&done, &was_received()));
        }
        emits(&done)
    };
    let text = format!(
        "# yaml-language-server: $schema=../config/route.schema.json\nroute: {name}\n\
         title: What happens to {from}\noffice: {office}\nfrom: {from}\npurpose: {purpose}\nactor: system\n\n\
         steps:\n{step}"
    );
    files.push((format!("routes/{name}.yaml"), text));
    if let Some(data) = sample(from, &schema, schemas) {
        files.push((format!("routes/{name}.test.yaml"), tests(&data, register.is_some())));
    }
    files
}

fn registers(instance: &str, from: &str) -> String {
    format!(
        "  - register:\n      use: {instance}.register\n      with:\n        direction: internal\n        \
         subject: Received {from}\n"
    )
}

fn emits(kind: &str) -> String {
    format!("  - received:\n      emit: {kind}\n      with: {{ at: \"${{ $message.time }}\" }}\n")
}

fn tests(data: &Value, registers: bool) -> String {
    let step = if registers { "register" } else { "received" };
    let mut text = format!(
        "# yaml-language-server: $schema=../config/route-tests.schema.json\ntests:\n\
         \x20 - name: a message goes all the way\n    message:\n      data: {data}\n    expect:\n      \
         state: completed\n      ran: [{step}]\n"
    );
    if registers {
        text += &format!(
            "\n  - name: a register that refuses leaves it to a person\n    message:\n      data: {data}\n\
             \x20   steps:\n      register: {{ refuses: {{ reason: closed }} }}\n    expect:\n      \
             state: parked\n"
        );
    }
    text
}

/// A new purpose.
pub fn purpose(id: &str, laws: &[String]) -> NewFile {
    let title = title_of(id);
    let laws = laws.join(", ");
    let text = format!(
        "purpose: {id}\ntitle: {title}\nlaws: [{laws}]\n\
         record: {title}. Subjects - whose data. Data - which. Recipients - who gets them.\nretention: 30d\n"
    );
    (format!("routes/purposes/{id}.yaml"), text)
}

/// A fact that is wanted.
#[derive(Clone, Debug)]
pub struct NewFact {
    /// Its name.
    pub name: String,
    /// The adapter instance that answers.
    pub held_by: String,
    /// The operation that is the question.
    pub operation: Operation,
    /// The laws under which it is asked.
    pub laws: Vec<String>,
}

/// A new fact; and its schema, which is what the authority promises to answer, where it is a value.
pub fn fact(wanted: &NewFact) -> Vec<NewFile> {
    let NewFact { name, held_by, operation, laws } = wanted;
    let title = title_of(&name.replace('_', "-"));
    let about = operation.input["required"][0].as_str().unwrap_or("taxCode");
    let verifies = operation.output["properties"].get(facts::OUTCOME).is_some();
    let kind = if verifies { "kind: verification\n" } else { "" };
    let schema = if verifies { String::new() } else { format!("schema: facts/{name}.v1\n") };
    let (query, laws) = (&operation.name, laws.join(", "));
    let text = format!(
        "# yaml-language-server: $schema=../../config/fact.schema.json\nfact: {name}\ntitle: {title}\n\
         {kind}held_by: {held_by}\nquery: {query}\nabout: {about}\n{schema}\
         law: [{laws}]\nfresh_for: 1h\n"
    );
    let mut files = vec![(format!("routes/facts/{name}.yaml"), text)];
    if !verifies {
        let mut document = Value::clone(&operation.output);
        document["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
        document["title"] = title.into();
        let text = serde_json::to_string_pretty(&document).unwrap_or_default() + "\n";
        files.push((format!("schemas/facts/{name}.v1.json"), text));
    }
    files
}

/// A new party, known by a token of this digest.
pub fn party(id: &str, token_sha256: &str) -> NewFile {
    let title = title_of(id);
    let text = format!(
        "party: {id}\ntitle: {title}\ntoken: {{ sha256: {token_sha256} }}\nsends: []\ninbox: pull\n\
         limits: {{ rate: 20/s }}\n"
    );
    (format!("config/parties/{id}.yaml"), text)
}

/// `school-canteen` as people read it: `School canteen`.
fn title_of(id: &str) -> String {
    let words = id.replace('-', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The type that says that a message of `kind` has come: `scuola.x.requested.v1` gives
/// `scuola.x.requested-received.v1`.
fn done_kind(kind: &str) -> String {
    match kind.rsplit_once(".v") {
        Some((name, _)) => format!("{name}-received.v1"),
        None => format!("{kind}-received.v1"),
    }
}

fn schema_file(kind: &str, schema: &Value) -> NewFile {
    (format!("schemas/{}", path_of_kind(kind)), format!("{schema:#}\n"))
}

/// The schema of a type that is new: one field, to begin with.
fn received() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What is sent",
        "type": "object",
        "additionalProperties": false,
        "required": ["subject"],
        "properties": {
            "subject": {
                "type": "string", "description": "What it is about", "minLength": 1, "maxLength": 200,
                "x-asked-of": "citizen", "x-verdict": "new",
            },
        },
        "examples": [{ "subject": "An example" }],
    })
}

fn was_received() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "That it has come",
        "x-unclaimed": "discard",
        "type": "object",
        "additionalProperties": false,
        "required": ["at"],
        "properties": { "at": { "type": "string", "format": "date-time" } },
    })
}

/// A value that the schema of `kind` accepts: its first example, or a small one that is made; none where
/// neither is valid.
pub fn sample(kind: &str, schema: &Value, schemas: &Schemas) -> Option<Value> {
    let known = schemas.validator(kind).cloned();
    let validator = known.or_else(|| schemas.compile(schema).ok())?;
    let examples = schema["examples"].as_array().into_iter().flatten().cloned();
    let made = Sampler { schemas, kind }.value(schema, schema, 0);
    examples.chain(made).find(|value| validator.is_valid(value))
}

/// Makes small values; what it makes is tried before it is used.
struct Sampler<'s> {
    schemas: &'s Schemas,
    /// The type whose document is walked.
    kind: &'s str,
}

impl Sampler<'_> {
    fn value(&self, schema: &Value, root: &Value, depth: usize) -> Option<Value> {
        if depth > 16 {
            return None;
        }
        if let Some(reference) = schema["$ref"].as_str() {
            return self.referred(reference, root, depth);
        }
        for keyword in ["const", "default"] {
            if let Some(value) = schema.get(keyword) {
                return Some(value.clone());
            }
        }
        for keyword in ["enum", "examples"] {
            if let Some(first) = schema[keyword].as_array().and_then(|all| all.first()) {
                return Some(first.clone());
            }
        }
        for keyword in ["oneOf", "anyOf"] {
            if let Some(first) = schema[keyword].as_array().and_then(|all| all.first()) {
                return self.value(first, root, depth + 1);
            }
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.first()?.as_str()?,
            kind => kind.as_str().unwrap_or("object"),
        };
        match kind {
            "null" => Some(Value::Null),
            "boolean" => Some(true.into()),
            "integer" | "number" => Some(number(schema)),
            "string" => Some(text(schema).into()),
            "array" => self.list(schema, root, depth),
            _ => self.object(schema, root, depth),
        }
    }

    fn referred(&self, reference: &str, root: &Value, depth: usize) -> Option<Value> {
        if let Some(pointer) = reference.strip_prefix('#') {
            return self.value(root.pointer(pointer)?, root, depth + 1);
        }
        let (kind, schema) = self.schemas.resolve(self.kind, reference)?;
        let root = self.schemas.document(kind)?;
        Sampler { schemas: self.schemas, kind }.value(schema, root, depth + 1)
    }

    fn list(&self, schema: &Value, root: &Value, depth: usize) -> Option<Value> {
        let least = schema["minItems"].as_u64().unwrap_or(0).min(16);
        (0..least).map(|_| self.value(&schema["items"], root, depth + 1)).collect()
    }

    fn object(&self, schema: &Value, root: &Value, depth: usize) -> Option<Value> {
        let mut fields = Map::new();
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str()?;
            let field = self.value(&schema["properties"][name], root, depth + 1)?;
            fields.insert(name.to_owned(), field);
        }
        Some(Value::Object(fields))
    }
}

fn number(schema: &Value) -> Value {
    let least =
        schema["minimum"].as_i64().or_else(|| Some(schema["exclusiveMinimum"].as_i64()? + 1));
    let step = schema["multipleOf"].as_i64().filter(|step| *step > 0).unwrap_or(1);
    let least = least.unwrap_or(1);
    (least + (step - least.rem_euclid(step)).rem_euclid(step)).into()
}

/// Texts of the formats and patterns that messages of administrations have.
fn text(schema: &Value) -> String {
    let formats = BTreeMap::from([
        ("date", "2026-01-07"),
        ("date-time", "2026-01-07T08:00:00.000Z"),
        ("uuid", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ("email", "name@comune.example"),
        ("uri", "https://comune.example/"),
        ("codice-fiscale", "RSSMRA80A01G273Z"),
        ("partita-iva", "12345678903"),
        ("codice-ipa", "c_g273"),
        ("codice-belfiore", "G273"),
        ("istat-comune", "082053"),
    ]);
    if let Some(text) = schema["format"].as_str().and_then(|format| formats.get(format)) {
        return (*text).to_owned();
    }
    let patterns =
        ["0000001/2026", "01234567890123456", "90133", "AB123CD", "PAEE01600X", "a", "A", "1"];
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    if let Some(pattern) = schema["pattern"].as_str() {
        let fits = |text: &&str| crate::schema::holds::pattern(pattern, text);
        return patterns.into_iter().chain([digest]).find(fits).unwrap_or_default().to_owned();
    }
    let least = schema["minLength"].as_u64().unwrap_or(1).min(1000);
    "x".repeat(usize::try_from(least.max(1)).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_valid_or_none() {
        let schemas = Schemas::default();
        for (schema, wanted) in [
            (received(), Some(json!({ "subject": "An example" }))),
            (
                json!({ "type": "object", "additionalProperties": false, "required": ["a", "b", "c"], "properties": {
                    "a": { "type": "string", "format": "codice-fiscale" },
                    "b": { "type": "array", "minItems": 1, "items": { "type": "integer", "minimum": 5, "multipleOf": 4 } },
                    "c": { "enum": ["x", "y"] },
                } }),
                Some(json!({ "a": "RSSMRA80A01G273Z", "b": [8], "c": "x" })),
            ),
            (json!({ "type": "string", "pattern": "^q{7}$" }), None),
            (json!({ "type": "string", "minLength": 3 }), Some(json!("xxx"))),
        ] {
            assert_eq!(sample("", &schema, &schemas), wanted, "{schema}");
        }
    }

    #[test]
    fn what_is_said_of_a_message_that_has_come_has_a_type_of_its_own() {
        assert_eq!(
            done_kind("scuola.canteen.requested.v2"),
            "scuola.canteen.requested-received.v1"
        );
        assert_eq!(title_of("school-canteen"), "School canteen");
    }
}
