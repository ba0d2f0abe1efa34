//! The parts of the fault runs that harm and judge: if they were wrong, a row would pass that should not.

mod proxy;

use std::collections::BTreeSet;

use snodo_tests::{
    chaos::{plan::LedgerKind, stage::Judged},
    checker::Verdicts,
    faults::{
        plan::{ROWS, Reconciled, Row, Run, Wish, runs},
        report::{FaultReport, file, line, verdict},
    },
};

fn wish() -> Wish {
    Wish { short: false, only: Vec::new(), ledger: None, seed: 7 }
}

#[test]
fn the_whole_session_has_every_row_that_was_asked_for() {
    let wanted: Vec<String> = (1..=12)
        .chain(23..=30)
        .chain([43])
        .chain(45..=53)
        .chain([56, 58, 66, 67])
        .map(|n| format!("F{n:02}"))
        .collect();
    let rows: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(rows, wanted);
    let runs = runs(&wish());
    let named: BTreeSet<&str> = runs.iter().map(|run| run.row.name).collect();
    assert_eq!(named.len(), ROWS.len());
    for ledger in LedgerKind::ALL {
        assert!(runs.iter().filter(|run| run.ledger == ledger).count() >= 18, "{ledger:?}");
    }
    let slugs: BTreeSet<String> = runs.iter().map(Run::slug).collect();
    assert_eq!(slugs.len(), runs.len(), "each run has a place of its own");
}

#[test]
fn single_rows_and_the_short_session_are_parts_of_it() {
    let only = vec![Row::named("f03").expect("listed"), Row::named("F07").expect("listed")];
    let two = Wish { only, ..wish() };
    let names: Vec<_> = runs(&two).iter().map(|run| (run.row.name, run.ledger)).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let postgres = Wish { ledger: Some(LedgerKind::Postgres), ..two };
    assert!(runs(&postgres).iter().all(|run| run.ledger == LedgerKind::Postgres));
    let drawn = |seed| runs(&Wish { short: true, seed, ..wish() });
    let rows: BTreeSet<&str> = (0..50).flat_map(drawn).map(|run| run.row.name).collect();
    let short: BTreeSet<&str> = ROWS.iter().filter(|row| row.short).map(|row| row.name).collect();
    assert_eq!(rows, short, "each short row is drawn sometimes, and no other");
    assert!((0..50).all(|seed| drawn(seed).len() == 4));
    assert_eq!(drawn(3), drawn(3));
    assert_eq!(Row::named("F13"), None);
}

fn good_run(row: &str) -> FaultReport {
    let row = Row::named(row).expect("listed");
    let mut report = FaultReport::new(&Run { row, ledger: LedgerKind::Sqlite, seed: 5 });
    report.did("harmed it");
    report.see("it lives", true);
    let reconciled = u64::from(row.reconciled == Reconciled::Surely);
    report.judged = Judged { accepted: 9, effects: 9, reconciled, ..Judged::default() };
    report
}

/// What a case changes in what is well.
type Change = fn(&mut FaultReport);

#[test]
fn a_run_passes_only_if_it_saw_what_it_was_to_see_and_harmed_nothing() {
    assert_eq!(good_run("F01").failures(), Vec::<String>::new());
    let changes: [(Change, &str); 12] = [
        (|run| run.judged.verdicts.lost = 1, "1 lost"),
        (|run| run.judged.verdicts.unexpected = 1, "1 unexpected"),
        (|run| run.judged.verdicts.duplicate_effects = 2, "2 duplicate effects"),
        (|run| run.judged.verdicts.stuck = 1, "1 stuck"),
        (|run| run.judged.verdicts.altered = 1, "1 altered"),
        (|run| run.judged.verdicts.double_terminal = 1, "1 double terminal"),
        (|run| run.order_breaks = 1, "1 order breaks"),
        (|run| run.judged.reconciled = 3, "3 reconciled"),
        (|run| run.judged.accepted = 0, "nothing was accepted"),
        (|run| run.seen.clear(), "nothing was looked at"),
        (|run| run.see("an alarm", false), "not seen: an alarm"),
        (|run| run.mistakes.push("a gap".to_owned()), "a gap"),
    ];
    for (change, why) in changes {
        let mut run = good_run("F01");
        change(&mut run);
        assert_eq!(run.failures(), [why]);
        assert!(!verdict(&[run], 1).1);
    }
    assert!(verdict(&[good_run("F01")], 1).1);
    assert!(!verdict(&[good_run("F01")], 2).1, "a run that is missing is no run that passed");
    assert!(!verdict(&[], 0).1);
}

#[test]
fn what_was_lost_with_its_queue_must_be_sent_again_and_elsewhere_nothing_may() {
    let with = |row: &str, reconciled| {
        let mut run = good_run(row);
        run.judged.reconciled = reconciled;
        run.failures()
    };
    assert_eq!(with("F06", 0), ["nothing was reconciled"]);
    assert_eq!(with("F06", 7), [""; 0]);
    assert_eq!((with("F05", 0), with("F05", 7)), (Vec::new(), Vec::new()));
    assert_eq!(with("F07", 1), ["1 reconciled"]);
}

#[test]
fn what_was_not_run_says_why_and_is_no_pass() {
    let mut run = FaultReport::new(&Run {
        row: Row::named("F47").expect("listed"),
        ledger: LedgerKind::Postgres,
        seed: 5,
    });
    run.skipped = Some("it needs root".to_owned());
    run.not_built = vec!["tokens".to_owned()];
    assert_eq!(run.failures(), [""; 0]);
    assert!(line(&run).ends_with("skipped: it needs root; not built: tokens"));
    let (words, well) = verdict(&[good_run("F01"), run.clone()], 2);
    assert!(well && words.ends_with("1 of 2 runs passed, 1 skipped, 9 effects"), "{words}");
    run.mistakes.push("the vhost could not be removed".to_owned());
    assert!(!verdict(&[run], 1).1, "what went wrong before is told all the same");
}

#[test]
fn the_file_holds_what_was_done_what_was_seen_and_every_verdict() {
    let file: serde_json::Value = serde_json::from_str(&file(7, &[good_run("F01")])).expect("JSON");
    let run = &file["runs"][0];
    assert_eq!((&file["seed"], &run["seed"]), (&7.into(), &5.into()));
    assert_eq!((&run["name"], &run["ledger"]), (&"F01".into(), &"sqlite".into()));
    assert_eq!(run["done"][0], "harmed it");
    assert_eq!(run["seen"][0], serde_json::json!({ "what": "it lives", "held": true }));
    let none = serde_json::to_value(Verdicts::default()).expect("JSON");
    for count in none.as_object().expect("counts").keys() {
        assert_eq!(run[count], 0, "{count}");
    }
    for count in ["accepted", "effects", "reconciled", "order_breaks", "uncertain"] {
        assert!(run[count].is_u64(), "{count}");
    }
}
