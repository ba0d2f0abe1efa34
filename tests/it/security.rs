//! The security list, row by row, against a real bus at its most verbose: each bad input gets its stated
//! answer, the process stays up and small, the refusal is counted, and nothing of what was sent shows.
//!
//! Invariant: the numbers are those of the list; a row without a case fails the test. Rows about what
//! this bus does not have yet (signed tokens, XML, mail, a console) are not in it.

use std::collections::BTreeSet;

mod houses;
mod messages;
mod rows;
mod town;

use rows::{Case, Sent};
use town::{TOKEN, Town};

/// The rows that are walked by sending something.
const SENT: [u8; 32] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 19, 55, 56, 57, 58, 59, 60, 61, 62, 63, 74,
    75, 78, 79, 83, 89, 90,
];
/// The rows that `snodo check` answers.
const CHECKED: [u8; 4] = [19, 47, 48, 84];
/// No row lets the process grow by more.
const GROWTH: u64 = 50 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_of_the_security_list_gets_its_answer() {
    let mut town = Town::start().await;
    // It takes the thirty seconds that a body may take; meanwhile the others are asked.
    let stalls = tokio::spawn(town::raw(town.address(), rows::stalled_body(TOKEN)));
    let mut walked = BTreeSet::new();
    for case in rows::cases() {
        refused_as_stated(&mut town, &case).await;
        walked.insert(case.row);
    }
    walked.extend(messages::walk(&mut town).await);
    let told = stalls.await.expect("an answer");
    town.assert_refused("3: a body that stalls", &told, 408, "SN0616");
    walked.insert(3);
    assert_eq!(walked, SENT.into(), "rows without a case, or cases without a row");
    town.stop_and_search().await;
}

/// The answer, and what every row asserts.
async fn refused_as_stated(town: &mut Town, case: &Case) {
    let what = format!("{}: {}", case.row, case.what);
    let (counted, memory) = (town.refusals(case.code).await, town.memory());
    let told = match &case.sent {
        Sent::Raw(bytes) => town::raw(town.address(), bytes.clone()).await,
        Sent::Body(headers, body) => town.post(headers, body).await,
    };
    town.assert_refused(&what, &told, case.status, case.code);
    if let Some(reason) = case.reason {
        assert_eq!(told.json()["reason"], reason, "{what}");
    }
    assert_eq!(town.refusals(case.code).await, counted + 1, "{what}: the refusal is counted");
    let grown = town.memory().saturating_sub(memory);
    assert!(grown < GROWTH, "{what}: the process grew by {grown} bytes");
    assert_eq!(town.get("/health/live", "").await.status, 200, "{what}: the process is alive");
}

#[test]
fn a_house_with_a_trap_in_it_is_refused_with_its_place() {
    let said: Vec<Result<u8, String>> = houses::traps().iter().map(houses::is_refused).collect();
    let missed: Vec<&String> = said.iter().filter_map(|said| said.as_ref().err()).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    let walked: BTreeSet<u8> = said.into_iter().flatten().collect();
    assert_eq!(walked, CHECKED.into(), "rows without a case, or cases without a row");
}
