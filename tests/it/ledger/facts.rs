//! Facts in the ledger: one asker per question, one number per question, rows with the step that uses it.

use snodo::ledger::{Asked, Disclosure, FactRows, NewAnswer, NewQuestion, Outdated, Usages};
use snodo_core::{
    facts::{Parts, known::Kept, quota::Quota},
    route::Answer,
};

use super::{bench::*, *};

fn person(number: u8) -> Digest {
    Digest([number; 32])
}

fn question(of: u8) -> NewQuestion {
    NewQuestion {
        instance: "anpr".to_owned(),
        fact: "household".to_owned(),
        about: Digest([100 + of; 32]),
        person: person(of),
        purpose: "canteen".to_owned(),
        case: "12/2026".to_owned(),
        past: None,
        stale: None,
        quota: None,
        same_for: Duration::from_hours(1),
    }
}

fn ask(seq: i64, fence: Fence, question: NewQuestion) -> Action {
    Action::Ask { seq, fence, question: Box::new(question) }
}

fn kept(value: Value) -> Kept {
    let answer = if value.is_null() { Answer::NotFound } else { Answer::Found };
    Kept {
        answer,
        value,
        parts: Parts::from_paths(["members[].taxCode"]),
        digest: v(7),
        fresh_until: at(3600),
    }
}

fn disclosure(of: u8, number: u64) -> Disclosure {
    Disclosure {
        person: person(of),
        key: "k1".to_owned(),
        at: NOON,
        fact: "household".to_owned(),
        fields: vec!["members[].taxCode".to_owned()],
        purpose: "canteen".to_owned(),
        case: "12/2026".to_owned(),
        laws: vec!["cad-50".to_owned()],
        source: "anpr.C021".to_owned(),
        number,
        asked_case: None,
        differs: None,
        concealed_until: None,
        answer: Answer::Found,
        fresh_until: at(3600),
        digest: v(7),
        route: "canteen-enrolment".to_owned(),
        route_digest: v(1),
        actor: "anna".to_owned(),
        step: "facts.household".to_owned(),
        keep_until: at(7200),
    }
}

/// A step that is done with an answer to question `number` about two persons.
fn answered(seq: i64, fence: Fence, number: u64) -> Action {
    let answered = NewAnswer {
        instance: "anpr".to_owned(),
        number,
        kept: kept(json!({ "members": [{ "taxCode": "A" }] })),
        persons: vec![person(1), person(2)],
    };
    let disclosures = vec![disclosure(1, number), disclosure(2, number)];
    Action::Done {
        seq,
        fence,
        done: step("facts.household"),
        emits: Vec::new(),
        fact: Some(Box::new(FactRows { answered: Some(answered), disclosures })),
        last: false,
    }
}

async fn claimed(bench: &Bench, sender_id: &str, serial: u64) -> Created {
    let created = bench.queued(sender_id).await;
    let outcome = bench.claim(created.seq, 1, serial).await;
    assert!(matches!(outcome, Outcome::Claimed(_)), "{outcome:?}");
    created
}

async fn asked(bench: &Bench, action: Action) -> (u64, Timestamp) {
    match bench.one(action).await {
        Outcome::Asked { number, at, .. } => (number, at),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_claim_asks_and_the_others_wait_for_its_answer() {
    for bench in Bench::each().await {
        let first = bench.claimed("a").await;
        let second = claimed(&bench, "b", 2).await;
        let (number, _) = asked(&bench, ask(first.seq, bench.fence(1), question(1))).await;
        assert!(number >= NOON.0.unsigned_abs() * 1000, "never below the time: {number}");
        // The same in one group, and by somebody else, is one question.
        let outcomes = bench
            .all(&[
                ask(second.seq, bench.fence(2), question(1)),
                ask(first.seq, bench.fence(1), question(1)),
            ])
            .await;
        assert_eq!(outcomes[0], Outcome::AskedElsewhere { since: NOON });
        let case = "12/2026".to_owned();
        assert_eq!(outcomes[1], Outcome::Asked { number, at: NOON, case }, "its own, again");
        let known = bench.ledger.known("household", question(1).about, NOON).await.expect("read");
        assert!(known[0].is_asked && known[0].answer.is_none());
        // A wrong fence asks nothing.
        assert_eq!(bench.one(ask(second.seq, bench.fence(9), question(2))).await, Outcome::Missed);
        // Another person, and another purpose, are other questions.
        let (third, _) = asked(&bench, ask(second.seq, bench.fence(2), question(2))).await;
        let other = NewQuestion { purpose: "taxes".to_owned(), ..question(1) };
        let (fourth, _) = asked(&bench, ask(second.seq, bench.fence(2), other)).await;
        assert!(number < third && third < fourth, "numbers grow");
        // Answered, with the step that uses it.
        let done = bench.one(answered(first.seq, bench.fence(1), number)).await;
        assert!(matches!(done, Outcome::Done { .. }), "{done:?}");
        let again = bench.one(ask(second.seq, bench.fence(2), question(1))).await;
        assert_eq!(again, Outcome::Answered);
        let known = bench.ledger.known("household", question(1).about, NOON).await.expect("read");
        let put = known.iter().find(|put| put.number == number).expect("there");
        assert_eq!(put.answer, Some(kept(json!({ "members": [{ "taxCode": "A" }] }))));
        assert!(!put.is_asked);
        let persons = bench.ledger.persons("anpr", number).await.expect("read");
        assert_eq!(persons, [person(1), person(2)]);
        let all = (Timestamp(0), at(10));
        let told = bench.ledger.disclosures(&[person(2)], all, (i64::MAX, 10)).await.expect("read");
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].1, disclosure(2, number));
        let none = bench.ledger.disclosures(&[person(3)], all, (i64::MAX, 10)).await.expect("read");
        assert!(none.is_empty());
        // Good enough for nobody: it is asked anew.
        let past = NewQuestion { past: Some(number), ..question(1) };
        let (fifth, _) = asked(&bench, ask(second.seq, bench.fence(2), past)).await;
        assert!(fifth > fourth);
        bench.check().await;
    }
}

#[tokio::test]
async fn who_goes_on_after_a_crash_asks_under_the_same_number() {
    for bench in Bench::each().await {
        let first = bench.claimed("a").await;
        let second = claimed(&bench, "b", 2).await;
        let (number, _) = asked(&bench, ask(first.seq, bench.fence(1), question(1))).await;
        let back = Action::GiveBack { seq: first.seq, fence: bench.fence(1) };
        assert_eq!(bench.one(back).await, Outcome::Matched);
        let known = bench.ledger.known("household", question(1).about, NOON).await.expect("read");
        assert!(!known[0].is_asked, "its asker has stopped");
        let (same, since) = asked(&bench, ask(second.seq, bench.fence(2), question(1))).await;
        assert_eq!((same, since), (number, NOON));
        // The authority does not take it: a new one, and the persons go with it.
        let stale = NewQuestion { stale: Some(number), ..question(1) };
        let (new, _) = asked(&bench, ask(second.seq, bench.fence(2), stale.clone())).await;
        assert!(new > number);
        assert_eq!(bench.ledger.persons("anpr", new).await.expect("read"), [person(1)]);
        // An hour later the authority would say under that number what it knew then.
        let question = Box::new(question(1));
        let late = Action::Ask { seq: second.seq, fence: bench.fence(2), question };
        let Outcome::Asked { number: later, at: since, .. } = bench.one_at(late, at(3600)).await
        else {
            panic!("not asked")
        };
        assert!(later > new && since == at(3600));
        let new = later;
        // Said twice it is the new one still.
        let (again, _) = asked(&bench, ask(second.seq, bench.fence(2), stale)).await;
        assert_eq!(again, new);
        bench.check().await;
    }
}

#[tokio::test]
async fn what_happens_to_a_person_makes_answers_out_of_date() {
    for bench in Bench::each().await {
        let first = bench.claimed("a").await;
        let (number, _) = asked(&bench, ask(first.seq, bench.fence(1), question(1))).await;
        bench.one(answered(first.seq, bench.fence(1), number)).await;
        let (open, _) = asked(&bench, ask(first.seq, bench.fence(1), question(3))).await;
        let moved = |of: u8, sender: &str| {
            let Action::Accept(mut moved) = accept(sender, &["route"]) else { panic!("an accept") };
            let facts = vec!["household".to_owned()];
            moved.outdates = Some(Box::new(Outdated { facts, persons: vec![person(of)] }));
            Action::Accept(moved)
        };
        let fresh = |about| bench.ledger.known("household", about, NOON);
        bench.one(moved(9, "somebody else")).await;
        assert_eq!(fresh(question(1).about).await.expect("read").len(), 1);
        // A member of the household, not the person who was asked about.
        bench.one(moved(2, "a member")).await;
        assert!(fresh(question(1).about).await.expect("read").is_empty());
        // What is answered after it has happened was asked before.
        bench.one(moved(3, "the third")).await;
        let rows = FactRows {
            answered: Some(NewAnswer {
                instance: "anpr".to_owned(),
                number: open,
                kept: kept(Value::Null),
                persons: vec![person(3)],
            }),
            disclosures: vec![disclosure(3, open)],
        };
        let answer = Action::Answer { seq: first.seq, fence: bench.fence(1), fact: Box::new(rows) };
        assert_eq!(bench.one(answer).await, Outcome::Matched);
        assert!(fresh(question(3).about).await.expect("read").is_empty());
        bench.check().await;
    }
}

#[tokio::test]
async fn values_go_when_they_are_stale_and_disclosures_when_their_time_is_over() {
    for bench in Bench::each().await {
        let first = bench.claimed("a").await;
        let (number, _) = asked(&bench, ask(first.seq, bench.fence(1), question(1))).await;
        bench.one(answered(first.seq, bench.fence(1), number)).await;
        let turn = |before: Timestamp| {
            let rest_before = Some(before);
            Action::Forget(Box::new(snodo::ledger::Forget { rest_before, ..Default::default() }))
        };
        let name = [person(1)];
        let told = || bench.ledger.disclosures(&name, (Timestamp(0), at(9)), (i64::MAX, 10));
        bench.one_at(turn(Timestamp(0)), at(3599)).await;
        let known = bench.ledger.known("household", question(1).about, NOON).await.expect("read");
        assert!(known[0].answer.is_some());
        bench.one_at(turn(Timestamp(0)), at(3600)).await;
        // The row is there still, without its value: nothing of it can be read as an answer.
        assert!(
            bench
                .ledger
                .known("household", question(1).about, at(3600))
                .await
                .expect("read")
                .is_empty()
        );
        assert_eq!(told().await.expect("read").len(), 1);
        let rows = bench.one_at(turn(at(10_000)), at(7200)).await;
        let Outcome::Forgotten(rows) = rows else { panic!("{rows:?}") };
        assert_eq!((rows.questions, rows.disclosures), (1, 2));
        assert!(told().await.expect("read").is_empty());
        assert!(bench.ledger.persons("anpr", number).await.expect("read").is_empty());
        // Its number does not come again.
        let past = NewQuestion { past: Some(number), ..question(1) };
        let (next, _) = asked(&bench, ask(first.seq, bench.fence(1), past)).await;
        assert!(next > number);
    }
}

#[tokio::test]
async fn a_replay_that_is_told_of_another_question_is_another_use() {
    for bench in Bench::each().await {
        let first = bench.claimed("a").await;
        let (number, _) = asked(&bench, ask(first.seq, bench.fence(1), question(1))).await;
        let rows = FactRows {
            answered: Some(NewAnswer {
                instance: "anpr".to_owned(),
                number,
                kept: kept(Value::Null),
                persons: vec![person(1)],
            }),
            disclosures: vec![disclosure(1, number)],
        };
        let answer = Action::Answer { seq: first.seq, fence: bench.fence(1), fact: Box::new(rows) };
        assert_eq!(bench.one(answer.clone()).await, Outcome::Matched);
        assert_eq!(bench.one(answer).await, Outcome::Matched, "said twice it is one use");
        let past = NewQuestion { past: Some(number), ..question(1) };
        let (later, _) = asked(&bench, ask(first.seq, bench.fence(1), past)).await;
        bench.one(answered(first.seq, bench.fence(1), later)).await;
        let all = (Timestamp(0), at(10));
        let told = bench.ledger.disclosures(&[person(1)], all, (i64::MAX, 10)).await.expect("read");
        let numbers: Vec<u64> = told.iter().map(|(_, one)| one.number).collect();
        assert_eq!(numbers, [later, number]);
    }
}

#[tokio::test]
async fn a_question_that_nobody_asks_any_more_goes_and_one_that_is_asked_stays() {
    for bench in Bench::each().await {
        let first = bench.claimed("a").await;
        let second = claimed(&bench, "b", 2).await;
        let (gone, _) = asked(&bench, ask(first.seq, bench.fence(1), question(1))).await;
        let (stays, _) = asked(&bench, ask(second.seq, bench.fence(2), question(2))).await;
        let back = Action::GiveBack { seq: first.seq, fence: bench.fence(1) };
        assert_eq!(bench.one(back).await, Outcome::Matched);
        let rest_before = Some(at(10));
        let turn =
            Action::Forget(Box::new(snodo::ledger::Forget { rest_before, ..Default::default() }));
        bench.one_at(turn, at(20)).await;
        assert!(bench.ledger.persons("anpr", gone).await.expect("read").is_empty());
        assert_eq!(bench.ledger.persons("anpr", stays).await.expect("read"), [person(2)]);
    }
}

#[tokio::test]
async fn a_turn_takes_so_many_rows_and_says_that_there_may_be_more() {
    for bench in Bench::each().await {
        let first = bench.claimed("a").await;
        for of in [1, 3] {
            let (number, _) = asked(&bench, ask(first.seq, bench.fence(1), question(of))).await;
            let name = |n: u32| Digest::of(&[&[of][..], &n.to_be_bytes()].concat());
            let one = |n| Disclosure { person: name(n), ..disclosure(of, number) };
            let rows = FactRows { answered: None, disclosures: (0..300).map(one).collect() };
            let (seq, fence) = (first.seq, bench.fence(1));
            let answer = Action::Answer { seq, fence, fact: Box::new(rows) };
            assert_eq!(bench.one(answer).await, Outcome::Matched);
        }
        let turn = || {
            let rest_before = Some(Timestamp(0));
            Action::Forget(Box::new(snodo::ledger::Forget { rest_before, ..Default::default() }))
        };
        for (gone, is_full) in [(500, true), (100, false)] {
            let outcome = bench.one_at(turn(), at(7200)).await;
            let Outcome::Forgotten(rows) = outcome else { panic!("{outcome:?}") };
            assert_eq!((rows.disclosures, rows.is_full()), (gone, is_full));
        }
    }
}

#[tokio::test]
async fn so_many_are_asked_a_day_and_no_more_until_the_next() {
    let quota =
        |day: &str, most| Some(Quota { operation: "C021".to_owned(), day: day.to_owned(), most });
    let of = |n, quota| NewQuestion { quota, ..question(n) };
    for bench in Bench::each().await {
        let (first, second) = (bench.claimed("a").await, claimed(&bench, "b", 2).await);
        let mine = |question| ask(first.seq, bench.fence(1), question);
        let theirs = |question| ask(second.seq, bench.fence(2), question);
        let day = "2026-11-27";
        let (number, _) = asked(&bench, mine(of(1, quota(day, 2)))).await;
        // What is not asked takes nothing of the day.
        let elsewhere = bench.one(theirs(of(1, quota(day, 2)))).await;
        assert_eq!(elsewhere, Outcome::AskedElsewhere { since: NOON });
        // Its own, again, is a question to the authority as well.
        let (again, _) = asked(&bench, mine(of(1, quota(day, 2)))).await;
        assert_eq!(again, number);
        assert_eq!(bench.one(mine(of(2, quota(day, 2)))).await, Outcome::NotToday);
        assert_eq!(bench.one(mine(of(2, quota(day, 0)))).await, Outcome::NotToday);
        // Where the day is used up, what is asked or answered is still known.
        let elsewhere = bench.one(theirs(of(1, quota(day, 2)))).await;
        assert_eq!(elsewhere, Outcome::AskedElsewhere { since: NOON });
        bench.one(answered(first.seq, bench.fence(1), number)).await;
        assert_eq!(bench.one(theirs(of(1, quota(day, 2)))).await, Outcome::Answered);
        // Of a higher priority there are more, and of the next day.
        let (higher, _) = asked(&bench, theirs(of(2, quota(day, 3)))).await;
        let told = bench.ledger.ages().await.expect("read").asked;
        let three = Asked { target: "anpr.C021".to_owned(), day: day.to_owned(), n: 3 };
        assert_eq!(told, [three]);
        let (tomorrow, _) = asked(&bench, theirs(of(3, quota("2026-11-28", 1)))).await;
        assert!(number < higher && higher < tomorrow, "numbers grow");
    }
}

#[tokio::test]
async fn who_shows_people_their_own_is_told_what_no_law_conceals() {
    for bench in Bench::each().await {
        let created = bench.claimed("a").await;
        let (number, _) = asked(&bench, ask(created.seq, bench.fence(1), question(1))).await;
        let mut told = Vec::new();
        for (n, (purpose, concealed)) in
            [("canteen", None), ("inquiry", None), ("taxes", Some(at(60))), ("canteen", None)]
                .into_iter()
                .enumerate()
        {
            told.push(Disclosure {
                step: format!("facts.{n}"),
                at: at(i64::try_from(n).expect("small")),
                purpose: purpose.to_owned(),
                concealed_until: concealed,
                ..disclosure(1, number)
            });
        }
        let rows = FactRows { answered: None, disclosures: told };
        let fact = Box::new(rows);
        bench.one(Action::Answer { seq: created.seq, fence: bench.fence(1), fact }).await;
        let look = async |concealed: &[&str], now, (offset, limit)| {
            let wanted = Usages {
                names: vec![person(1), person(9)],
                within: (Timestamp(0), Timestamp(i64::MAX)),
                concealed: concealed.iter().map(|purpose| (*purpose).to_owned()).collect(),
                now,
                offset,
                limit,
            };
            let (total, rows) = bench.ledger.usages(&wanted).await.expect("read");
            (total, rows.into_iter().map(|row| row.step).collect::<Vec<_>>().join(" "))
        };
        let all = |text: &str| text.to_owned();
        let whole = (0, 10);
        assert_eq!(look(&[], at(60), whole).await, (4, all("facts.3 facts.2 facts.1 facts.0")));
        assert_eq!(look(&[], at(59), whole).await, (3, all("facts.3 facts.1 facts.0")));
        assert_eq!(look(&["inquiry"], at(0), whole).await, (2, all("facts.3 facts.0")));
        assert_eq!(look(&["inquiry", "canteen"], at(0), whole).await, (0, all("")));
        assert_eq!(look(&[], at(60), (1, 2)).await, (4, all("facts.2 facts.1")));
    }
}
