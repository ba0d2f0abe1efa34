//! The scenes of the demo, and how what became of a message is shown.
//!
//! Invariant: people of the story do not exist; their tax codes are valid and belong to nobody known.

use std::time::Duration;

use serde_json::{Value, json};
use snodo::clock::{Clock as _, SystemClock};
use snodo_core::codes;

use snodo_tests::palermo::{
    REGION_TOKEN, SPORTELLO_TOKEN, dwelling, enrolment, residence, vehicle_tax,
};

/// One scene.
#[derive(Debug)]
pub(crate) struct Scene {
    /// What happens, in one line.
    pub(crate) title: &'static str,
    /// Who sends.
    pub(crate) token: &'static str,
    /// What is attached: file names. They are posted first, and the message cites what is answered.
    pub(crate) papers: &'static [&'static str],
    /// What.
    pub(crate) event: Value,
    /// How it ends.
    pub(crate) expected: Expected,
}

/// How a scene ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    /// Accepted, and so many deliveries are completed in the end.
    Ends(usize),
    /// The first answer again.
    Repeated,
    /// Refused with this code.
    Refused(&'static str),
    /// Said to be right, and taken by nobody: the sender only asks.
    Valid,
    /// Accepted while the region's server is down; once it is back, so many are completed.
    Survives(usize),
}

/// The story, in order.
pub(crate) fn scenes() -> Vec<Scene> {
    let mut wrong = residence("declaration-2", "RSSMRA80A01G273X");
    wrong["data"]["newAddress"]["postCode"] = json!("9013");
    let sportello = |title, event, expected| Scene {
        title,
        token: SPORTELLO_TOKEN,
        papers: &[],
        event,
        expected,
    };
    vec![
        Scene {
            papers: &["lease.txt", "consent.txt"],
            ..sportello(
                "a citizen declares a change of residence with two documents: protocol number, archive, the region's service, the region's queue",
                residence("declaration-0", "RSSMRA80A01G273Z"),
                Expected::Ends(3),
            )
        },
        sportello(
            "another one, without documents",
            residence("declaration-1", "RSSMRA80A01G273Z"),
            Expected::Ends(3),
        ),
        sportello(
            "the online desk sends the same declaration again",
            residence("declaration-1", "RSSMRA80A01G273Z"),
            Expected::Repeated,
        ),
        sportello("a declaration with three mistakes", wrong, Expected::Refused("SN0605")),
        sportello(
            "the desk mends it and asks whether it is right now (?check=true): nothing is accepted yet",
            residence("declaration-2", "VRDGPP85D12G273Q"),
            Expected::Valid,
        ),
        sportello(
            "it is, and the desk sends it",
            residence("declaration-2", "VRDGPP85D12G273Q"),
            Expected::Ends(3),
        ),
        sportello(
            "the region's server is down while a declaration comes; the bus waits for it, then goes on",
            residence("declaration-3", "BNCMRA72H45G273M"),
            Expected::Survives(3),
        ),
        Scene {
            title: "the region tells of a change of vehicle tax: translated and handed to the tax office's queue",
            token: REGION_TOKEN,
            papers: &[],
            event: vehicle_tax("tax-2026-0001"),
            expected: Expected::Ends(2),
        },
    ]
}

/// What families are not asked for: ANPR and INPS are.
pub(crate) fn asked_once() -> Vec<Scene> {
    let sportello = |title, event, count| Scene {
        title,
        token: SPORTELLO_TOKEN,
        papers: &[],
        event,
        expected: Expected::Ends(count),
    };
    vec![
        sportello(
            "a family enrols Luca in the canteen and wants a reduction: ANPR is asked for the household, INPS for the ISEE",
            enrolment("canteen-1", ("RSSLCU18C03G273P", "Luca", "2018-03-03"), true),
            3,
        ),
        sportello(
            "it enrols Anna too, without a reduction: the household is known, fresh and for the same purpose; nobody is asked",
            enrolment("canteen-2", ("RSSNNA20D50G273K", "Anna", "2020-04-10"), false),
            3,
        ),
        sportello(
            "it declares its dwelling for the waste tax: that is another purpose, so ANPR is asked again",
            dwelling("waste-1", "RSSMRA80A01G273Z"),
            2,
        ),
    ]
}

/// When the clock strikes, in Rome: a minute that begins soon, but not before the bus has read of it. And
/// the number that the register's document gets then.
pub(crate) fn soon() -> Option<(String, String)> {
    let at = SystemClock.now().after(Duration::from_secs(80)).in_rome()?;
    let is_registered =
        |scene: &Scene| matches!(scene.expected, Expected::Ends(3) | Expected::Survives(_));
    let registered = scenes().into_iter().filter(is_registered).count() + asked_once().len();
    let number = format!("{:07}/{}", registered + 1, at.strftime("%Y"));
    Some((at.strftime("%H:%M").to_string(), number))
}

/// One delivery, as it is shown.
#[derive(Debug)]
pub(crate) struct Line {
    message: String,
    route: String,
    steps: String,
    number: String,
    /// The state's English word.
    pub(crate) state: String,
}

impl Line {
    /// Whether nothing is left to do: what a party fetches waits until it comes.
    pub(crate) fn is_done(&self) -> bool {
        self.state == "completed" || self.route == "party:comune-scuola"
    }
}

/// The deliveries of a message and of everything that came of it.
pub(crate) fn lines(trace: &Value) -> Vec<Line> {
    let own = trace["deliveries"].as_array().into_iter().flatten().map(|delivery| Line {
        message: text(&trace["id"]),
        route: text(&delivery["route"]),
        steps: shown_steps(delivery),
        number: steps(delivery, |step| match step["operation"].as_str() {
            Some("protocollo.register") => text(&step["reference"]),
            _ => String::new(),
        }),
        state: text(&delivery["state"]),
    });
    let derived = trace["derived"].as_array().into_iter().flatten().flat_map(lines);
    own.chain(derived).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A route that only maps and emits is one commit: it has no steps of its own to show.
fn shown_steps(delivery: &Value) -> String {
    let done = steps(delivery, |step| text(&step["step"]));
    let to_party = delivery["route"].as_str().is_some_and(|route| route.starts_with("party:"));
    let words = match (to_party, delivery["state"].as_str()) {
        _ if !done.is_empty() => return done,
        (true, Some("completed")) => "handed over",
        (true, _) => "waits until it is fetched",
        (false, _) => "mapped in one commit",
    };
    words.to_owned()
}

fn steps(delivery: &Value, show: impl Fn(&Value) -> String) -> String {
    let steps = delivery["stepsDone"].as_array().into_iter().flatten().map(show);
    steps.filter(|step| !step.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Which delivery of a message, or of what came of it, waits for its target; in one line.
pub(crate) fn waiting(trace: &Value) -> Option<String> {
    let waits = |delivery: &&Value| delivery["code"].is_string();
    let own = trace["deliveries"].as_array().into_iter().flatten().find(waits).map(|delivery| {
        let (route, code) = (text(&delivery["route"]), text(&delivery["code"]));
        let attempts = &delivery["attempts"];
        format!("{route} waits: {code}, {}; attempts counted: {attempts}", codes::title(&code))
    });
    own.or_else(|| trace["derived"].as_array().into_iter().flatten().find_map(waiting))
}

/// The lines as a table.
pub(crate) fn table(lines: &[Line]) -> String {
    let head = Line {
        message: "message".into(),
        route: "route".into(),
        steps: "steps".into(),
        number: "protocol".into(),
        state: "state".into(),
    };
    let all = || std::iter::once(&head).chain(lines);
    let width = |of: fn(&Line) -> &String| all().map(|line| of(line).len()).max().unwrap_or(0);
    let (route, steps) = (width(|line| &line.route), width(|line| &line.steps));
    all()
        .map(|line| {
            let Line { message, route: to, steps: done, number, state } = line;
            format!("   {message:36}  {to:route$}  {done:steps$}  {number:12}  {state}")
        })
        .collect::<Vec<_>>()
        .join("\n")
}
