//! The parts of the chaos runs that judge: if they were wrong, a run would pass that should not.

mod points;

use std::time::Duration;

use serde_json::json;
use snodo_tests::{
    chaos::{
        figures::Figures,
        plan::{Dice, LedgerKind, Strike, Wish, pass, runs},
        report::{RunReport, file, verdict},
        target::{Line, Target, digest},
    },
    checker::{Effect, End, Logs, Verdicts, judge},
};

fn wish() -> Wish {
    Wish { short: false, only: None, ledger: None, seed: 7 }
}

fn names(wish: &Wish, ledger: LedgerKind) -> Vec<String> {
    runs(wish, ledger).iter().map(|run| format!("{} x{}", run.strike, run.times)).collect()
}

#[test]
fn the_whole_session_strikes_everywhere_on_both_ledgers() {
    for ledger in LedgerKind::ALL {
        let names = names(&wish(), ledger);
        assert_eq!(names[..2], ["kill-bus x10", "kill-broker x10"]);
        let points: Vec<String> = (1..=17).map(|point| format!("CP{point} x5")).collect();
        assert_eq!(names[2..], points);
    }
}

#[test]
fn the_short_session_and_single_runs_are_parts_of_it() {
    let short = Wish { short: true, ..wish() };
    assert_eq!(
        names(&short, LedgerKind::Postgres),
        ["kill-bus x2", "kill-broker x1", "CP7 x1", "CP12 x1", "CP14 x1", "CP16 x1"]
    );
    let only = Wish { only: Strike::named("cp9"), ledger: Some(LedgerKind::Sqlite), ..wish() };
    assert_eq!(names(&only, LedgerKind::Sqlite), ["CP9 x5"]);
    assert!(names(&only, LedgerKind::Postgres).is_empty());
    assert_eq!(Strike::named("CP18"), None);
}

#[test]
fn a_seed_gives_the_same_session_again() {
    assert_eq!(runs(&wish(), LedgerKind::Sqlite), runs(&wish(), LedgerKind::Sqlite));
    let other = Wish { seed: 8, ..wish() };
    assert_ne!(runs(&wish(), LedgerKind::Sqlite), runs(&other, LedgerKind::Sqlite));
    for point in 1..=17 {
        let drawn = |percent| pass(point, percent, &mut Dice::new(3));
        assert_eq!(drawn(100), drawn(100));
        assert!(drawn(50) < drawn(100) && drawn(1) >= 1, "CP{point}");
    }
}

fn good_run() -> RunReport {
    let run = runs(&wish(), LedgerKind::Sqlite).swap_remove(2);
    let mut report = RunReport::new(&run);
    (0..5).for_each(|n| report.struck(50 - n));
    report.accepted = 300;
    report.effects = 300;
    report
}

/// What a case changes in what is well.
type Change<T> = fn(&mut T);

#[test]
fn a_run_passes_only_if_it_struck_and_carried_and_harmed_nothing() {
    assert_eq!(good_run().failures(), Vec::<String>::new());
    let changes: [(Change<RunReport>, &str); 11] = [
        (|run| run.verdicts.lost = 1, "1 lost"),
        (|run| run.verdicts.unexpected = 1, "1 unexpected"),
        (|run| run.verdicts.duplicate_effects = 2, "2 duplicate effects"),
        (|run| run.verdicts.stuck = 1, "1 stuck"),
        (|run| run.verdicts.altered = 1, "1 altered"),
        (|run| run.verdicts.double_terminal = 1, "1 double terminal"),
        (|run| run.reconciled = 3, "3 reconciled"),
        (|run| run.fired = 0, "struck 0 of 5 times"),
        (|run| run.accepted = 0, "nothing was accepted"),
        (|run| run.effects = 0, "nothing had an effect"),
        (|run| run.mistakes.push("a gap".to_owned()), "a gap"),
    ];
    for (change, why) in changes {
        let mut run = good_run();
        change(&mut run);
        assert_eq!(run.failures(), [why]);
        assert!(!verdict(&[run], 1).1);
    }
    assert!(verdict(&[good_run()], 1).1);
    assert!(!verdict(&[good_run()], 2).1, "a run that is missing is no run that passed");
    assert!(!verdict(&[], 0).1);
}

#[test]
fn the_file_has_the_fields_that_were_agreed_and_no_others() {
    let file: serde_json::Value = serde_json::from_str(&file(&[good_run()])).expect("JSON");
    let mut fields: Vec<&String> = file["runs"][0].as_object().expect("a run").keys().collect();
    let mut agreed = [
        "name",
        "ledger",
        "seed",
        "accepted",
        "effects",
        "fired",
        "open_at_kill",
        "recovered",
        "uncertain",
        "reconciled",
        "unexpected",
        "lost",
        "duplicate_effects",
        "stuck",
        "altered",
        "double_terminal",
    ];
    fields.sort();
    agreed.sort_unstable();
    assert_eq!(fields, agreed.iter().collect::<Vec<_>>());
    assert_eq!(file["runs"][0]["name"], "CP1");
    assert_eq!(file["runs"][0]["ledger"], "sqlite");
    assert_eq!(file["runs"][0]["open_at_kill"], 46);
}

const SCRAPE: &str = r#"
# HELP snodo_deliveries Deliveries.
snodo_messages_received_total{source="driver"} 5
snodo_messages_accepted_total{source="driver"} 4
snodo_messages_rejected_total{source="driver"} 1
snodo_deliveries_created_total{route="once"} 4
snodo_deliveries{route="once",state="open"} 1
snodo_deliveries{route="once",state="uncertain"} 2
snodo_deliveries_ended_total{route="once",state="completed"} 1
snodo_deliveries_created_total{route="transit"} 0
"#;

#[test]
fn both_equations_are_read_from_the_figures() {
    let figures = Figures::read(SCRAPE);
    assert_eq!((figures.open(), figures.uncertain()), (1, 2));
    assert_eq!(figures.broken_equations(), Vec::<String>::new());
    let key = |bucket: &str| ("once".to_owned(), bucket.to_owned());
    let found: Vec<_> = figures.deliveries().into_iter().collect();
    assert_eq!(found, [(key("completed"), 1), (key("open"), 1), (key("uncertain"), 2)]);
    let broken =
        Figures::read(&SCRAPE.replace(
            "_accepted_total{source=\"driver\"} 4",
            "_accepted_total{source=\"driver\"} 3",
        ));
    assert_eq!(broken.broken_equations(), ["of driver 5 received but 4 accepted or rejected"]);
    let broken = Figures::read(&SCRAPE.replace("\"uncertain\"} 2", "\"uncertain\"} 1"));
    assert_eq!(broken.broken_equations(), ["for once 4 created but 3 somewhere"]);
}

struct Far {
    target: Target,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Far {
    async fn new(delay_ms: (u64, u64)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("target.log");
        let target = Target::start(&log, 1, delay_ms).await.expect("a target");
        Self { target, client: reqwest::Client::new(), _folder: folder }
    }

    fn post(&self, path: &str, key: &str) -> reqwest::RequestBuilder {
        self.client
            .post(format!("http://{}{path}", self.target.address()))
            .header("idempotency-key", key)
            .header("content-type", "application/json")
            .body(json!({ "n": 5, "subject": "s" }).to_string())
    }

    async fn status(&self, request: reqwest::RequestBuilder) -> u16 {
        request.send().await.expect("an answer").status().as_u16()
    }

    async fn find(&self, key: &str) -> u16 {
        let url = format!("http://{}/recallable/{key}", self.target.address());
        self.status(self.client.get(url)).await
    }

    fn lines(&self) -> Vec<(String, String, bool)> {
        let lines = self.target.lines().expect("the log").into_iter();
        lines.map(|line| (line.operation, line.key, line.applied)).collect()
    }
}

#[tokio::test]
async fn only_the_idempotent_target_deduplicates_and_by_the_key_alone() {
    let far = Far::new((0, 2)).await;
    for path in ["/idempotent", "/recallable", "/once"] {
        for key in ["d1/call", "d1/call", "d2/call"] {
            assert_eq!(far.status(far.post(path, key)).await, 200, "{path}");
        }
    }
    let applied = |operation: &str| {
        let lines = far.lines().into_iter().filter(|(name, _, _)| name == operation);
        lines.map(|(_, _, applied)| applied).collect::<Vec<_>>()
    };
    assert_eq!(applied("idempotent"), [true, false, true]);
    assert_eq!(applied("recallable"), [true, true, true]);
    assert_eq!(applied("once"), [true, true, true]);
    let line = far.target.lines().expect("the log").remove(0);
    let expected = Line {
        key: "d1/call".to_owned(),
        operation: "idempotent".to_owned(),
        n: 5,
        digest: digest(&json!({ "subject": "s", "n": 5 })),
        applied: true,
    };
    assert_eq!(line, expected);
}

#[tokio::test]
async fn a_recall_is_answered_from_what_was_applied() {
    let far = Far::new((0, 2)).await;
    assert_eq!(far.find("d1%2Fcall").await, 404);
    assert_eq!(far.status(far.post("/once", "d1/call")).await, 200);
    assert_eq!(far.find("d1%2Fcall").await, 404, "another operation's key says nothing");
    assert_eq!(far.status(far.post("/recallable", "d1/call")).await, 200);
    assert_eq!(far.find("d1%2Fcall").await, 200);
}

#[tokio::test]
async fn a_call_whose_caller_has_gone_still_acts() {
    let far = Far::new((300, 300)).await;
    let request = far.post("/once", "d1/call").timeout(Duration::from_millis(1));
    assert!(request.send().await.is_err(), "no answer can have come yet");
    // The request may not have been sent within that millisecond: then nobody called.
    let slow = far.post("/once", "d2/call").timeout(Duration::from_millis(150));
    assert!(slow.send().await.is_err());
    let acted = || far.lines().iter().any(|(_, key, applied)| key == "d2/call" && *applied);
    snodo_tests::wait::until("the call acts", Duration::from_secs(10), acted).await;
}

fn effect(message: u64) -> Effect {
    Effect { message, operation: "once".into(), as_expected: true }
}

fn logs() -> Logs {
    Logs {
        attempted: (1..=4).collect(),
        acknowledged: (1..=3).collect(),
        effects: vec![effect(1), effect(2), effect(3)],
        ends: (1..=3).map(|message| (message, End::Completed)).collect(),
        double_terminal: 0,
    }
}

#[test]
fn each_harm_is_counted_where_it_belongs() {
    let none = Verdicts::default();
    let changes: [(Change<Logs>, Verdicts); 9] = [
        (|_| {}, none),
        (
            |logs| {
                logs.effects.remove(0);
            },
            Verdicts { lost: 1, ..none },
        ),
        (|logs| logs.effects.push(effect(9)), Verdicts { unexpected: 1, ..none }),
        (|logs| logs.effects.push(effect(2)), Verdicts { duplicate_effects: 1, ..none }),
        (
            |logs| {
                logs.ends.insert(2, End::Open);
            },
            Verdicts { stuck: 1, ..none },
        ),
        (|logs| logs.effects[0].as_expected = false, Verdicts { altered: 1, ..none }),
        (|logs| logs.double_terminal = 1, Verdicts { double_terminal: 1, ..none }),
        (|logs| logs.effects.push(effect(4)), Verdicts { recovered: 1, ..none }),
        (
            |logs| {
                logs.effects.remove(0);
                logs.ends.remove(&1);
            },
            Verdicts { lost: 1, ..none },
        ),
    ];
    for (change, expected) in changes {
        let mut logs = logs();
        change(&mut logs);
        assert_eq!(judge(&logs), expected);
        let well = Verdicts { recovered: 0, ..expected } == none;
        assert_eq!(judge(&logs).all_well(), well);
    }
    let mut waiting = logs();
    waiting.effects.remove(0);
    waiting.ends.insert(1, End::WithAPerson);
    assert!(judge(&waiting).all_well(), "what waits for a person is not lost");
}
