//! `sql` against databases that know somebody, nobody, several, and worse: SQLite, and PostgreSQL where it is
//! installed.
//!
//! Invariant: what a database holds at the end is what was put into it; nobody in it lives.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use snodo_core::{
    adapter::{AMBIGUOUS, NOT_FOUND, Port, Receipt},
    fault::{Fault, FaultClass},
};
use snodo_tests::postgres;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use super::{assert_impersonal, call, open, step_key};

const MARIO: &str = "RSSMRA80A01G273Z";
const LUCA: &str = "RSSLCU18C03G273P";
/// Whom one is called who means no good.
const HOSTILE: &str = "O'Hara\"'; DROP TABLE residents; --";

const TABLES: &str = "
CREATE TABLE residents (
    tax_code char(16) PRIMARY KEY, family integer, family_name varchar(60), given_name varchar(60),
    role varchar(20), born date, rent numeric(30,2), alive boolean, since timestamptz, more jsonb
);
CREATE TABLE secrets (word varchar(20));
INSERT INTO residents VALUES
    ('RSSMRA80A01G273Z', 1, 'Rossi', 'Mario', 'head', '1980-01-01', 1234.50, true,
     '2020-05-06T07:08:09+00:00', '{\"floor\": 3}'),
    ('RSSLCU18C03G273P', 1, 'Rossi', 'Luca', 'child', '2018-03-03', NULL, true, NULL, NULL),
    ('VRDGPP13A10B293I', 2, 'O''Hara\"''; DROP TABLE residents; --', 'Scarlett', 'head', '1913-01-10',
     12345678901234567890.12, false, NULL, NULL);
";

/// A schema of these fields, every one of them required.
fn fields(fields: &Value) -> Value {
    let names: Vec<&String> =
        fields.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    json!({ "type": "object", "additionalProperties": false, "required": names, "properties": fields })
}

fn of_person() -> Value {
    fields(&json!({ "taxCode": { "type": "string", "format": "codice-fiscale" } }))
}

/// The options of an instance that asks the database at `place`.
pub(super) fn options(place: &Value) -> Value {
    let text = || json!({ "type": "string" });
    let one = |query: &str, input: Value, output: &Value| json!({ "query": query, "input": input, "output": fields(output), "one": true, "deadline": "10s" });
    let member = fields(&json!({ "taxCode": text(), "role": text() }));
    json!({
        "database": place,
        "operations": {
            "household": {
                "query": "SELECT m.tax_code AS \"taxCode\", m.role AS role FROM residents AS p
                          JOIN residents AS m ON m.family = p.family
                          WHERE p.tax_code = :taxCode ORDER BY m.role DESC -- the head first",
                "input": of_person(), "rows": "members",
                "output": fields(&json!({ "members": { "type": "array", "items": member } })),
            },
            "resident": one(
                "SELECT given_name AS name FROM residents WHERE family_name = :familyName;",
                fields(&json!({ "familyName": text() })), &json!({ "name": text() }),
            ),
            "numbered": one(
                "SELECT count(*) AS many FROM residents
                 WHERE family = :family AND alive = :alive AND (born = :born OR :born IS NULL)",
                json!({ "type": "object", "additionalProperties": false, "properties": {
                    "family": { "type": "integer" }, "alive": { "type": "boolean" },
                    "born": { "type": "string" } } }),
                &json!({ "many": { "type": "integer" } }),
            ),
            "kinds": one(
                "SELECT family, born, rent, rent AS \"rentText\", alive, since, more, NULL AS empty,
                        NULL AS unsaid
                 FROM residents WHERE tax_code = :taxCode",
                of_person(),
                &json!({ "family": { "type": "integer" }, "born": { "type": "string", "format": "date" },
                         "rent": { "type": "number" }, "rentText": text(), "alive": { "type": "boolean" },
                         "since": { "type": "string", "format": "date-time" }, "more": {},
                         "empty": { "type": ["string", "null"] } }),
            ),
            "rent": one(
                "SELECT rent FROM residents WHERE tax_code = :taxCode",
                of_person(), &json!({ "rent": { "type": "number" } }),
            ),
            "many": {
                "query": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
                          SELECT i FROM n",
                "input": { "type": "object", "additionalProperties": false }, "rows": "numbers",
                "output": fields(&json!({ "numbers": { "type": "array" } })),
            },
            "long": one(
                "WITH RECURSIVE n(i, t) AS (SELECT 1, CAST('xxxxxxxxxx' AS text)
                                            UNION ALL SELECT i + 1, t || t FROM n WHERE i < 20)
                 SELECT t FROM n WHERE i = 20",
                json!({ "type": "object", "additionalProperties": false }), &json!({ "t": text() }),
            ),
            "endless": {
                "query": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i % 1000 + 1 FROM n)
                          SELECT count(*) AS many FROM n",
                "input": { "type": "object", "additionalProperties": false }, "one": true,
                "output": fields(&json!({ "many": { "type": "integer" } })), "deadline": "500ms",
            },
            "twins": one(
                "SELECT given_name AS name, family_name AS name FROM residents WHERE tax_code = :taxCode",
                of_person(), &json!({ "name": text() }),
            ),
            "misspelt": one(
                "SELECT given_name AS name FROM residents AS p WHERE p.taxcode = :taxCode",
                of_person(), &json!({ "name": text() }),
            ),
            "bytes": one(
                "SELECT given_name AS name, photo FROM photos, residents WHERE tax_code = :taxCode",
                of_person(), &json!({ "name": text() }),
            ),
            "writes": one(
                "WITH x AS (SELECT 1) INSERT INTO secrets SELECT :taxCode FROM x RETURNING word",
                of_person(), &json!({ "word": text() }),
            ),
        }
    })
}

/// A database with people in it, and the adapter that asks it.
struct Registry {
    port: Arc<dyn Port>,
    place: Value,
    url: String,
    folder: tempfile::TempDir,
}

impl Registry {
    /// One in each kind of database.
    async fn each() -> Vec<Self> {
        let mut all = vec![Self::sqlite().await];
        if let Some(server) = postgres::server() {
            all.push(Self::postgres(&server.database()).await);
        }
        all
    }

    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("registry.db");
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let mut connection = SqliteConnection::connect(&url).await.expect("made");
        let photos = "CREATE TABLE photos (photo blob); INSERT INTO photos VALUES (X'00FF');";
        for text in [TABLES, photos] {
            sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await.expect("filled");
        }
        connection.close().await.expect("closed");
        Self::of(json!({ "sqlite": file }), url, folder)
    }

    async fn postgres(url: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut connection = PgConnection::connect(url).await.expect("connected");
        let more = "CREATE TABLE photos (photo bytea); INSERT INTO photos VALUES ('\\x00ff');
                    CREATE FUNCTION note(word text) RETURNS text LANGUAGE sql
                    AS $$ INSERT INTO secrets VALUES (word) RETURNING word $$;";
        for text in [TABLES, more] {
            sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await.expect("filled");
        }
        connection.close().await.expect("closed");
        let server = server(url, folder.path());
        Self::of(json!({ "postgres": server }), url.to_owned(), folder)
    }

    fn of(place: Value, url: String, folder: tempfile::TempDir) -> Self {
        let port = open("sql", options(&place)).expect("opens");
        Self { port, place, url, folder }
    }

    fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    /// The same database, asked with other options.
    fn with(&self, change: impl FnOnce(&mut Value)) -> Self {
        let mut options = options(&self.place);
        change(&mut options);
        let folder = tempfile::tempdir().expect("a folder");
        let port = open("sql", options).expect("opens");
        Self { port, place: self.place.clone(), url: self.url.clone(), folder }
    }

    async fn ask(&self, operation: &str, input: Value) -> Result<Receipt, Fault> {
        let key = step_key("ask");
        let result = self.port.call(call(operation, &input, &key)).await;
        if let Err(fault) = &result {
            assert_impersonal(&format!("{fault:?}"));
            assert!(!format!("{fault:?}").contains("Hara"), "a name is told: {fault:?}");
        }
        result
    }

    async fn told(&self, operation: &str, input: Value) -> Value {
        self.ask(operation, input)
            .await
            .unwrap_or_else(|fault| panic!("{}: {fault}", self.url))
            .result
    }

    /// The class and code of a fault.
    async fn fault(&self, operation: &str, input: Value) -> (FaultClass, String, Fault) {
        let fault = self.ask(operation, input).await.expect_err(operation);
        (fault.class, fault.code.clone(), fault)
    }

    /// How many rows a table has, asked by another connection.
    async fn count(&self, table: &str) -> i64 {
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        if self.is_postgres() {
            let mut connection = PgConnection::connect(&self.url).await.expect("connected");
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("counted")
        } else {
            let mut connection = SqliteConnection::connect(&self.url).await.expect("connected");
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("counted")
        }
    }
}

/// `postgres: { … }` for a database of the tests' server.
fn server(url: &str, folder: &Path) -> Value {
    let mut server = postgres::settings(url, folder).expect("a URL of ours");
    let host = server["host"].as_str().unwrap_or_default().replace("%2F", "/");
    server["host"] = json!(host);
    server
}

fn person(tax_code: &str) -> Value {
    json!({ "taxCode": tax_code })
}

#[tokio::test]
async fn rows_are_a_list_in_the_order_of_the_query_and_one_row_is_its_columns() {
    for registry in Registry::each().await {
        let members =
            json!([{ "taxCode": MARIO, "role": "head" }, { "taxCode": LUCA, "role": "child" }]);
        assert_eq!(registry.told("household", person(LUCA)).await, json!({ "members": members }));
        let scarlett = registry.told("resident", json!({ "familyName": HOSTILE })).await;
        assert_eq!(scarlett, json!({ "name": "Scarlett" }));
        let receipt = registry.ask("household", person(LUCA)).await.expect("an answer");
        let again = registry.ask("household", person(LUCA)).await.expect("an answer");
        assert_eq!(receipt.evidence, again.evidence, "the same question, the same answer");
    }
}

#[tokio::test]
async fn a_value_goes_in_as_what_its_column_is_and_nothing_is_pasted() {
    for registry in Registry::each().await {
        let many = async |input| registry.told("numbered", input).await["many"].clone();
        assert_eq!(many(json!({ "family": 1, "alive": true })).await, json!(2));
        assert_eq!(
            many(json!({ "family": 1, "alive": true, "born": "1980-01-01" })).await,
            json!(1)
        );
        assert_eq!(many(json!({ "family": 1, "alive": true, "born": null })).await, json!(2));
        assert_eq!(many(json!({ "family": 2, "alive": true })).await, json!(0));
        for name in
            ["'; DROP TABLE residents; --", "' OR 'a' = 'a", "Rossi\\", "\"", ":taxCode", "$1"]
        {
            let (class, _, fault) = registry.fault("resident", json!({ "familyName": name })).await;
            assert_eq!(class, FaultClass::Refused);
            assert_eq!(fault.reason.as_deref(), Some(NOT_FOUND), "{name}");
        }
        assert_eq!(registry.count("residents").await, 3);
    }
}

#[tokio::test]
async fn nobody_and_several_are_answers() {
    for registry in Registry::each().await {
        for (operation, input) in
            [("household", person("RSSMRA80A01H501U")), ("kinds", person("RSSMRA80A01H501U"))]
        {
            let (class, code, fault) = registry.fault(operation, input).await;
            assert_eq!((class, code.as_str()), (FaultClass::Refused, "SN0784"));
            assert_eq!(fault.reason.as_deref(), Some(NOT_FOUND));
        }
        let (class, code, fault) =
            registry.fault("resident", json!({ "familyName": "Rossi" })).await;
        assert_eq!((class, code.as_str()), (FaultClass::Refused, "SN0785"));
        assert_eq!(fault.reason.as_deref(), Some(AMBIGUOUS));
    }
}

#[tokio::test]
async fn columns_become_what_the_output_says_they_are() {
    for registry in Registry::each().await {
        let found = registry.told("kinds", person(MARIO)).await;
        let (text, more) = if registry.is_postgres() {
            ("1234.50", json!({ "floor": 3 }))
        } else {
            ("1234.5", json!("{\"floor\": 3}"))
        };
        let expected = json!({ "family": 1, "born": "1980-01-01", "rent": 1234.5, "rentText": text,
                               "alive": true, "since": "2020-05-06T07:08:09+00:00", "more": more,
                               "empty": null });
        assert_eq!(found, expected);
        let luca = registry.told("kinds", person(LUCA)).await;
        assert_eq!(luca["empty"], Value::Null);
        assert!(luca.get("rent").is_none(), "no null where the output takes none: {luca}");
    }
}

#[tokio::test]
async fn what_json_cannot_hold_is_said_by_the_name_of_its_column() {
    for registry in Registry::each().await {
        let (class, code, twins) = registry.fault("twins", person(MARIO)).await;
        assert_eq!((class, code.as_str()), (FaultClass::Refused, "SN0792"));
        assert_eq!(twins.text, "two columns are called `name`");
        let (_, code, bytes) = registry.fault("bytes", person(MARIO)).await;
        assert_eq!(code, "SN0792");
        assert_eq!(bytes.text, "the column `photo` is bytes, which JSON does not hold");
        if registry.is_postgres() {
            // SQLite holds a double itself.
            let (_, code, number) = registry.fault("rent", person("VRDGPP13A10B293I")).await;
            assert_eq!(code, "SN0792", "{number}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_a_fault_and_no_shorter_answer() {
    for registry in Registry::each().await {
        let (class, code, fault) = registry.fault("many", json!({})).await;
        assert_eq!((class, code.as_str()), (FaultClass::Refused, "SN0792"));
        assert_eq!(fault.text, "the answer has more than 1000 rows (`row_limit`)");
        let (_, code, fault) = registry.fault("long", json!({})).await;
        assert_eq!(code, "SN0792");
        assert_eq!(fault.text, "the answer is longer than 1048576 bytes (`answer_limit`)");
        let wide = registry.with(|options| options["row_limit"] = json!(2));
        let members = wide.told("household", person(MARIO)).await;
        assert_eq!(members["members"].as_array().map(Vec::len), Some(2), "as many as may be");
        let narrow = registry.with(|options| options["row_limit"] = json!(1));
        let (_, code, _) = narrow.fault("household", person(MARIO)).await;
        assert_eq!(code, "SN0792");
    }
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_stopped_and_the_next_is_answered() {
    for registry in Registry::each().await {
        let begun = Instant::now();
        registry.told("household", person(MARIO)).await;
        for _ in 0..10 {
            let (class, code, _) = registry.fault("endless", json!({})).await;
            assert_eq!((class, code.as_str()), (FaultClass::NoAnswer, "SN0761"));
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "10 deadlines of half a second");
        registry.told("household", person(MARIO)).await;
        assert_eq!(registry.port.probe().await, Ok(()));
    }
}

#[tokio::test]
async fn nothing_is_written_whatever_the_query_calls() {
    for registry in Registry::each().await {
        let (class, code, _) = registry.fault("writes", person(MARIO)).await;
        assert_eq!((class, code.as_str()), (FaultClass::Refused, "SN0790"));
        if registry.is_postgres() {
            let queries = [
                "SELECT note(:taxCode) AS word",
                "WITH x AS (INSERT INTO secrets VALUES (:taxCode) RETURNING word) SELECT word FROM x",
                "SELECT word FROM secrets WHERE word <> :taxCode FOR UPDATE",
                "SELECT set_config('transaction_read_only', 'off', true) AS word, note(:taxCode)",
            ];
            for query in queries {
                let writes = registry
                    .with(|options| options["operations"]["writes"]["query"] = json!(query));
                let (class, code, fault) = writes.fault("writes", person(MARIO)).await;
                assert_eq!(
                    (class, code.as_str()),
                    (FaultClass::Refused, "SN0790"),
                    "{query}: {fault}"
                );
            }
        }
        assert_eq!(registry.count("secrets").await, 0);
    }
}

#[tokio::test]
async fn a_wrong_query_is_told_by_the_code_and_the_word_at_which_it_stopped() {
    for registry in Registry::each().await {
        let (class, code, fault) = registry.fault("misspelt", person(MARIO)).await;
        assert_eq!((class, code.as_str()), (FaultClass::Refused, "SN0790"));
        let expected = if registry.is_postgres() {
            "the query names a table or column that the database does not have (42703, at `p.taxcode`)"
        } else {
            "the database does not take the query (1, at `p.taxcode`)"
        };
        assert_eq!(fault.text, expected);
        if registry.is_postgres() {
            let born = json!({ "family": 1, "alive": true, "born": "Mario Rossi" });
            let (class, code, fault) = registry.fault("numbered", born).await;
            assert_eq!((class, code.as_str()), (FaultClass::Refused, "SN0790"));
            assert_eq!(fault.text, "a value does not fit the query (22007)");
        }
    }
}

#[tokio::test]
async fn a_user_without_the_right_is_told_so() {
    let Some(server) = postgres::server() else { return };
    let registry = Registry::postgres(&server.database()).await;
    let role = registry.url.rsplit('/').next().expect("a name").replace("snodo", "reader");
    let mut connection = PgConnection::connect(&registry.url).await.expect("connected");
    let roles = format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON residents TO {role}");
    sqlx::raw_sql(AssertSqlSafe(roles)).execute(&mut connection).await.expect("made");
    let reader = registry.with(|options| options["database"]["postgres"]["user"] = json!(role));
    reader.told("household", person(MARIO)).await;
    let secret = "SELECT word FROM secrets WHERE word <> :taxCode";
    let (class, code, fault) = reader
        .with(|options| {
            options["database"]["postgres"]["user"] = json!(role);
            options["operations"]["writes"]["query"] = json!(secret);
        })
        .fault("writes", person(MARIO))
        .await;
    assert_eq!((class, code.as_str()), (FaultClass::Refused, "SN0791"));
    assert_eq!(fault.text, "the database does not let us read this (42501)");
    for (key, value) in [("user", "nobody_at_all"), ("database", "nowhere_at_all")] {
        let other = registry.with(|options| options["database"]["postgres"][key] = json!(value));
        let (class, code, _) = other.fault("household", person(MARIO)).await;
        assert_eq!((class, code.as_str()), (FaultClass::Refused, "SN0791"), "{key}");
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_an_outage_and_so_says_the_probe() {
    let nowhere = tempfile::tempdir().expect("a folder");
    let password = nowhere.path().join("password");
    std::fs::write(&password, "one\n").expect("written");
    let closed = json!({ "postgres": { "host": "127.0.0.1", "port": 9, "database": "x", "user": "x",
                                       "password": { "file": password } } });
    let missing = json!({ "sqlite": nowhere.path().join("registry.db") });
    for place in [closed.clone(), missing] {
        let mut options = options(&place);
        options["operations"]["household"]["deadline"] = json!("300ms");
        let port = open("sql", options).expect("opens without its database");
        let (key, input) = (step_key("ask"), person(MARIO));
        let fault = port.call(call("household", &input, &key)).await.expect_err("an outage");
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Outage, "SN0760"), "{place}");
        assert_impersonal(&format!("{fault:?}"));
        let fault = port.probe().await.expect_err("an outage");
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Outage, "SN0760"), "{place}");
    }
    std::fs::remove_file(&password).expect("removed");
    let port = open("sql", options(&closed)).expect("opens without its password");
    let fault = port.probe().await.expect_err("no password");
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Outage, "SN0769"));
}

#[tokio::test]
async fn more_questions_than_connections_wait_for_their_turn() {
    for registry in Registry::each().await {
        let asked = (0..60).map(|_| registry.told("household", person(MARIO)));
        let told = futures_util::future::join_all(asked).await;
        assert!(told.iter().all(|answer| answer == &told[0]));
        assert_eq!(registry.port.at_once(), 8, "the bus itself asks no more at one time");
        assert!(registry.folder.path().exists());
    }
}
