//! The house changes under a bus that carries messages: F49 to F51.
//!
//! Invariant: what was accepted by the old house has its effect as the old house says.

use std::time::Duration;

use serde_json::{Value, json};
use snodo_tests::chaos::{
    Failure,
    drive::{Driver, Load},
    house::ROUTES,
    target::Manner,
};

use super::RATE;
use crate::fault::Fault;

const SOON: Duration = Duration::from_secs(30);

/// A way to break a file, and what is said of it.
struct Break {
    file: &'static str,
    text: fn(&str) -> String,
    /// File, line and column.
    place: &'static str,
}

const BREAKS: [Break; 4] = [
    Break {
        file: "routes/once.yaml",
        text: |text| text.replace("steps:", "steps: [\n"),
        place: "routes/once.yaml:",
    },
    Break {
        file: "routes/once.yaml",
        text: |text| text.replace("title:", "titel:"),
        place: "routes/once.yaml:2:1",
    },
    Break {
        file: "schemas/chaos/once.v1.json",
        text: |text| text.replace("integer", "integre"),
        place: "schemas/chaos/once.v1.json:",
    },
    Break {
        file: "config/snodo.yaml",
        text: |text| text.replacen("\"slot\"", "\"slott\"", 1),
        place: "config/snodo.yaml:1:",
    },
];

/// F49: the old house runs on, and the mistake is said with its place.
pub(super) async fn broken(fault: &mut Fault<'_>) -> Result<(), Failure> {
    fault.begin(RATE).await?;
    for Break { file, text, place } in BREAKS {
        fault.did(format!("broke {file} and reloaded"));
        let before = std::fs::read_to_string(fault.stage.house.path.join(file))?;
        fault.rewrite(file, text)?;
        let (checked, found) = fault.snodo(&["check"]).await?;
        let (reloaded, _) = fault.snodo(&["reload"]).await?;
        let says = checked == 2 && found.contains(place);
        fault.see(format!("`check` ends with 2 and names {place}"), says);
        // The command itself needs the configuration to find the bus.
        fault.see("`reload` refuses it", reloaded == 2);
        if file != "config/snodo.yaml" {
            let degraded = fault.is_degraded("routes", "not reloaded").await;
            let shown = fault.figure("snodo_ready", &[("component", "routes")]).await;
            fault.see("the bus says that it runs on with the old house", degraded && shown == 0);
        }
        let done = fault.completed("once").await;
        fault
            .see_within("and does", SOON, async |fault| Ok(fault.completed("once").await > done))
            .await?;
        fault.stage.house.write(file, &before)?;
    }
    let (nowhere, _) = fault.snodo(&["check", "--env", "nowhere"]).await?;
    fault.see("an environment that is not there is a mistake", nowhere == 2);
    let (mended, said) = fault.snodo(&["reload"]).await?;
    let is_well = fault.is_well().await;
    fault.see(format!("the mended house is taken ({})", said.trim()), mended == 0 && is_well);
    fault.finish().await
}

/// Lets deliveries of a route pile up at its target.
async fn pile_up(fault: &mut Fault<'_>, route: &'static str) -> Result<i64, Failure> {
    fault.begin(RATE).await?;
    fault.stage.rest().await;
    fault.stage.settle().await?;
    fault.stage.target.behave(Manner::Holds);
    fault.stage.drive(Load { rate: 100, only: Some(route) })?;
    let open = [("route", route), ("state", "open")];
    fault
        .wait("deliveries to pile up", SOON, async |fault| {
            Ok(fault.figure("snodo_deliveries", &open).await >= 100)
        })
        .await?;
    fault.stage.rest().await;
    let rows = fault.stage.books.rows().await?;
    let piled = rows.deliveries.get(&(route.to_owned(), "open".to_owned())).copied().unwrap_or(0);
    fault.did(format!("let {piled} deliveries of {route} pile up"));
    Ok(piled)
}

/// The driver's rights, but for one type; and another in its place.
fn sends(fault: &Fault<'_>, without: &str, instead: Option<&str>) -> Result<(), Failure> {
    fault.rewrite("config/parties/driver.yaml", |text| {
        let mut party: Value = serde_json::from_str(text).unwrap_or_default();
        let kept = ROUTES.iter().filter(|route| **route != without);
        let mut sends: Vec<String> = kept.map(|route| format!("chaos.{route}.v1")).collect();
        sends.extend(instead.map(str::to_owned));
        party["sends"] = json!(sends);
        party.to_string()
    })
}

/// F50: deliveries run from the ledger's copy.
pub(super) async fn schema_goes(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let piled = pile_up(fault, "recallable").await?;
    fault.did("moved the route to v2 of its type, which has one more field, and removed v1");
    let old =
        std::fs::read_to_string(fault.stage.house.path.join("schemas/chaos/recallable.v1.json"))?;
    let mut new: Value = serde_json::from_str(&old)?;
    new["properties"]["urgent"] = json!({ "type": "boolean" });
    new["required"] = json!(["n", "text", "urgent"]);
    fault.stage.house.write("schemas/chaos/recallable.v2.json", &new.to_string())?;
    fault.rewrite("routes/recallable.yaml", |text| {
        text.replace("chaos.recallable.v1", "chaos.recallable.v2")
    })?;
    sends(fault, "recallable", Some("chaos.recallable.v2"))?;
    fault.remove("schemas/chaos/recallable.v1.json")?;
    let (code, said) = fault.snodo(&["reload"]).await?;
    fault.see(format!("the reload goes on ({})", said.trim()), code == 0);
    let told = fault.told(&["describe", "recallable"]).await?;
    fault.see("the older version is shown with what it owes", told["older"][0]["owed"] == piled);
    let before = fault.completed("recallable").await;
    fault.stage.target.behave(Manner::Does);
    fault
        .see_within("what was in flight is done by the ledger's copy", SOON, async |fault| {
            Ok(fault.completed("recallable").await >= before + piled)
        })
        .await?;
    fault.finish().await
}

/// F51: refused, with what is owed; taken with `--drain`.
pub(super) async fn route_goes(fault: &mut Fault<'_>) -> Result<(), Failure> {
    let piled = pile_up(fault, "recallable").await?;
    fault.did("removed the route and its type from the house");
    fault.remove("routes/recallable.yaml")?;
    sends(fault, "recallable", None)?;
    let (code, said) = fault.snodo(&["reload"]).await?;
    let lists = said.contains("SN0870") && said.contains(&format!("{piled} deliveries"));
    fault.see("the reload is refused and says what is owed", code == 1 && lists);
    fault.did("snodo reload --drain, while messages for it still come");
    fault.stage.drive(Load { rate: 10, only: Some("recallable") })?;
    let before = fault.completed("recallable").await;
    let drained = {
        let waits = fault.snodo(&["reload", "--drain"]);
        let opens = async {
            let refused = is_refused(fault).await;
            fault.stage.target.behave(Manner::Does);
            refused
        };
        let (drained, refused) = tokio::join!(waits, opens);
        (drained?, refused)
    };
    let ((code, said), refused) = drained;
    fault.see("meanwhile its type is refused, for now", refused);
    fault.see(format!("then the route goes ({})", said.trim()), code == 0);
    fault
        .see_within("with everything done that it owed", SOON, async |fault| {
            Ok(fault.completed("recallable").await >= before + piled)
        })
        .await?;
    fault.finish().await
}

/// Waits until the driver is told to come back later.
async fn is_refused(fault: &Fault<'_>) -> bool {
    for _ in 0..300 {
        let refused = fault.stage.driver.as_ref().map(Driver::refused).unwrap_or_default();
        if refused.contains_key(&503) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}
