//! A municipality without PDND: the same route asks the municipality's own registry instead of ANPR.
//!
//! Invariant: the route is the repository's, unchanged; nobody in these families lives.

use serde_json::json;
use snodo_core::ids::Digest;
use snodo_sandbox::authority::{Authority, jws::Key};
use snodo_tests::{palermo::enrolment, postgres};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use super::*;

const SCHOOL_TOKEN: &str = "token-of-the-school-office";
/// Whom no register knows.
const NOBODY: &str = "BNCMRA72H45G273M";
/// Whom only the municipality's knows, and not in the words of the fact.
const ODD: &str = "VRDGPP85D12G273Q";

/// As ANPR knows them, in the municipality's own words; and somebody whose role is none.
const RESIDENTS: &str = "
CREATE TABLE residents (tax_code char(16) PRIMARY KEY, family integer NOT NULL, surname varchar(60),
                        name varchar(60), born date, kinship varchar(20) NOT NULL);
INSERT INTO residents VALUES
    ('RSSMRA80A01G273Z', 7, 'ROSSI', 'MARIO', '1980-01-01', 'head'),
    ('RSSLCU18C03G273P', 7, 'ROSSI', 'LUCA', '2018-03-03', 'child'),
    ('RSSNNA20D50G273K', 7, 'ROSSI', 'ANNA', '2020-04-10', 'child'),
    ('VRDGPP85D12G273Q', 8, 'VERDI', 'GIUSEPPE', '1985-04-12', 'third cousin');
";

/// The instance that answers instead of ANPR.
fn instance(database: &Value) -> String {
    format!(
        "\u{20} registry:
    kind: sql
    database: {database}
    operations:
      household:
        query: >
          SELECT m.tax_code AS \"taxCode\", m.surname AS \"familyName\", m.name AS \"givenName\",
                 m.born AS \"birthDate\", m.kinship AS role
          FROM residents AS p JOIN residents AS m ON m.family = p.family
          WHERE p.tax_code = :taxCode ORDER BY m.born
        input: {{ type: object, additionalProperties: false, required: [taxCode],
                  properties: {{ taxCode: {{ type: string, format: codice-fiscale }} }} }}
        rows: members
        output: facts/household.v1
"
    )
}

/// Has the house ask that database for the household.
fn ask_the_registry(house: &HouseFolder, database: &Value) {
    let change = |file: &str, change: &dyn Fn(String) -> String| {
        let text = std::fs::read_to_string(house.path.join(file)).expect("readable");
        house.write(file, &change(text)).expect("written");
    };
    change("config/snodo.yaml", &|text| text + &instance(database));
    change("routes/facts/household.yaml", &|text| {
        text.replace("held_by: anpr", "held_by: registry")
            .replace("query: C021", "query: household")
    });
}

/// What became of the same requests: what the school office is told, and why the others wait.
#[derive(Debug, PartialEq)]
struct Outcome {
    told: Vec<Value>,
    parked: Vec<String>,
}

/// Runs the house on two children and an applicant whom nobody knows.
async fn outcome(house: HouseFolder, others: &[&str]) -> Outcome {
    let token = format!("{{ sha256: {} }}", Digest::of(SCHOOL_TOKEN.as_bytes()));
    set_line(&house, "config/parties/comune-scuola.yaml", "token:", &token).expect("written");
    set_line(&house, "config/parties/comune-scuola.yaml", "limits:", "{ rate: 10000/s }")
        .expect("written");
    let (code, said) = snodo(&house, &["topology", "apply"]);
    assert_eq!(code, 0, "{said}");
    let mut bus = BusProcess::spawn(&house, &[]).expect("started");
    bus.ready(PATIENCE).await.expect("ready");
    let mut desk = Desk::of(&house);
    let luca = enrolment("luca", ("RSSLCU18C03G273P", "Luca", "2018-03-03"), false);
    let other = enrolment("other", ("RSSLCU10C03G273H", "Luca", "2010-03-03"), false);
    let mut told = Vec::new();
    for (sent, event) in [luca.clone(), other].into_iter().enumerate() {
        let id = id_of(&send(&mut desk, &event).await);
        told = inbox(&mut desk, &id, sent + 1).await;
    }
    let mut parked = Vec::new();
    for applicant in others {
        let mut event = luca.clone();
        event["id"] = json!(applicant.to_lowercase());
        event["data"]["applicant"]["taxCode"] = json!(applicant);
        let id = id_of(&send(&mut desk, &event).await);
        parked.push(why_parked(&house, &id));
    }
    assert_eq!(desk.figures().await.broken_equations(), [""; 0]);
    assert!(bus.terminate().await.expect("it ends").success(), "{}", desk.log());
    let log = desk.log();
    for datum in ["RSSMRA80A01G273Z", "RSSLCU18C03G273P", NOBODY, ODD, "ROSSI", "cousin"] {
        assert!(!log.contains(datum), "`{datum}` is in the log");
    }
    Outcome { told, parked }
}

async fn send(desk: &mut Desk, event: &Value) -> Answer {
    desk.client.send(&post_message(SPORTELLO_TOKEN, event)).await.expect("an answer")
}

/// The decisions that wait for the school office, once there are so many.
async fn inbox(desk: &mut Desk, id: &str, many: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let batch = desk.ask("/v1/inbox", SCHOOL_TOKEN).await.json();
        // Letters wait there too.
        let decided = |event: &&Value| event["type"] == "scuola.canteen-enrolment.decided.v1";
        let events = batch.as_array().into_iter().flatten().filter(decided);
        let bodies: Vec<Value> = events.map(|event| event["data"].clone()).collect();
        if bodies.len() == many {
            return bodies;
        }
        if begun.elapsed() > PATIENCE {
            let (_, story) = snodo(&desk.house, &["trace", id]);
            panic!("{batch}\n{story}\n{}", desk.log());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The code of the fault for which a message waits for a person.
fn why_parked(house: &HouseFolder, id: &str) -> String {
    let begun = Instant::now();
    loop {
        let (code, told) = snodo(house, &["trace", id, "--json"]);
        assert_eq!(code, 0, "{told}");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let delivery = &told["deliveries"][0];
        if delivery["state"] == "parked" {
            return delivery["code"].as_str().unwrap_or_default().to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "{told}");
    }
}

async fn sqlite_in(folder: &Path) -> Value {
    let file = folder.join("registry.db");
    let url = format!("sqlite://{}?mode=rwc", file.display());
    let mut connection = SqliteConnection::connect(&url).await.expect("made");
    sqlx::raw_sql(AssertSqlSafe(RESIDENTS)).execute(&mut connection).await.expect("filled");
    connection.close().await.expect("closed");
    json!({ "sqlite": file })
}

async fn postgres_in(folder: &Path) -> Option<Value> {
    let url = postgres::server()?.database();
    let mut connection = PgConnection::connect(&url).await.expect("connected");
    sqlx::raw_sql(AssertSqlSafe(RESIDENTS)).execute(&mut connection).await.expect("filled");
    connection.close().await.expect("closed");
    let mut server = postgres::settings(&url, folder).expect("a URL of ours");
    let socket = server["host"].as_str().unwrap_or_default().replace("%2F", "/");
    server["host"] = json!(socket);
    Some(json!({ "postgres": server }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_route_ends_alike_whether_anpr_is_asked_or_the_municipalitys_own_registry() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let key = Key::generate().expect("a key");
    let authority = Authority::start(palermo::world(key.public())).await.expect("started");
    let region = region_in(path).await;
    let mut node = PrivateNode::start(&path.join("broker"), NodeOptions::default())
        .await
        .expect("RabbitMQ starts");
    let broker = node::settings(&node, path).expect("written");
    let run = |authority| Run { broker: broker.clone(), authority, ..Run::of(region.addr) };

    let through_pdnd = Some((authority.base(), key.pem().expect("a file")));
    let house = palermo_in(&path.join("anpr"), &run(through_pdnd));
    let of_anpr = outcome(house, &[NOBODY]).await;
    let outcomes: Vec<&Value> = of_anpr.told.iter().map(|decided| &decided["outcome"]).collect();
    assert_eq!(outcomes, ["enrolled", "to_check"]);
    assert_eq!(of_anpr.parked, ["SN0772"]);
    let asked = authority.asked().len();

    let databases = [Some(sqlite_in(path).await), postgres_in(path).await];
    for (number, database) in databases.into_iter().flatten().enumerate() {
        let house = palermo_in(&path.join(format!("registry-{number}")), &run(None));
        ask_the_registry(&house, &database);
        let mut of_registry = outcome(house, &[NOBODY, ODD]).await;
        let odd = of_registry.parked.pop();
        assert_eq!(odd.as_deref(), Some("SN0722"), "a role that is none is no answer");
        assert_eq!(of_registry, of_anpr, "{database}");
    }
    assert_eq!(authority.asked().len(), asked, "ANPR was asked nothing more");
    node.stop().await;
    region.stop().await;
}
