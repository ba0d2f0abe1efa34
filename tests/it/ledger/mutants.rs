//! Every guard of the ledger, switched off, is missed by a test of the contract (custody §e).

use std::process::{Command, Stdio};

/// Whether one test of this binary passes with a guard switched off, in a process of its own.
fn passes(test: &str, mutant: &str) -> bool {
    let me = std::env::current_exe().expect("this binary");
    let status = Command::new(me)
        .args(["--exact", &format!("ledger::{test}")])
        .env("SNODO_FAULT_OFF", mutant)
        .env("SNODO_TEST_SQLITE_ONLY", "1")
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.expect("runs").success()
}

const FORGOTTEN: &str = "a_copy_that_a_restored_ledger_has_forgotten_is_not_taken_for_another_row";

#[test]
fn every_guard_that_is_switched_off_is_missed() {
    let mut unnoticed = Vec::new();
    for (mutant, test) in [
        ("unconditional-mark", "a_mark_matches_only_a_queued_row_of_its_round"),
        ("mark-without-round", "a_mark_matches_only_a_queued_row_of_its_round"),
        ("settle-without-guard", "a_settle_matches_its_round_and_version_and_emits_only_then"),
        ("settle-without-version", "a_settle_matches_its_round_and_version_and_emits_only_then"),
        ("emit-unconditional", "a_settle_matches_its_round_and_version_and_emits_only_then"),
        ("claim-without-fence", "a_longer_lease_needs_the_claim"),
        ("intent-without-fence", "the_last_step_completes_and_emits_in_one"),
        ("not-voided", "a_start_voids_the_claims_of_earlier_processes_and_the_third_parks"),
        (
            "crashes-in-broker-only",
            "a_start_voids_the_claims_of_earlier_processes_and_the_third_parks",
        ),
        ("totals-absolute", "a_start_voids_the_claims_of_earlier_processes_and_the_third_parks"),
        ("poison-without-row", "drains_tell_another_round_from_an_unknown_id"),
        ("number-apart", "registrations_of_a_group_have_consecutive_numbers_and_their_steps"),
        (
            "handed-over-without-guard",
            "a_hand_over_completes_a_queued_row_and_a_returned_one_waits",
        ),
        ("collected-without-guard", "an_ack_completes_a_queued_row_of_its_own_party"),
        ("give-back-stops-all", "a_give_back_stops_its_own_intent_only"),
        ("replay-unpinned", "a_replay_needs_a_parked_row_on_the_version_that_was_looked_at"),
        ("resolve-too-early", "a_person_resolves_what_is_uncertain"),
        ("named-for-ever", "a_queued_row_is_published_by_its_publisher_first"),
        ("slot-not-exclusive", "a_file_in_use_is_refused"),
        ("mark-without-id", FORGOTTEN),
        ("settle-without-id", FORGOTTEN),
        ("claim-without-id", FORGOTTEN),
        ("drain-without-id", FORGOTTEN),
    ] {
        if passes(&format!("contract::{test}"), mutant) {
            unnoticed.push(mutant);
        }
    }
    for (mutant, test) in [
        ("forget-open", "what_somebody_is_owed_stays_whoever_asks"),
        ("forget-uncounted", "a_message_goes_in_two_steps_and_the_totals_stay_true"),
    ] {
        if passes(&format!("retention::{test}"), mutant) {
            unnoticed.push(mutant);
        }
    }
    assert_eq!(unnoticed, Vec::<&str>::new());
    let control = "a_mark_matches_only_a_queued_row_of_its_round";
    assert!(passes(&format!("contract::{control}"), "none"));
}
