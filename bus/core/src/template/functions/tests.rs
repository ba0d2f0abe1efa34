//! The examples of `functions.md`, in jaq and natively; and what the examples leave out.
//!
//! Invariant: what the page says is what a route gets.

use serde_json::{Value, json};

use super::{Argument, Function};
use crate::template::tests::{jq, native, render};

const PAGE: &str = include_str!("../functions.md");

/// The lines of the tables: an expression and what it gives, none for a fault.
fn examples() -> Vec<(String, Option<Value>)> {
    let line = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.strip_suffix(" |")?.splitn(2, "` | ");
        let (expression, gives) = (cells.next()?, cells.next()?);
        let value = gives.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
        let value = value.map(|text| serde_json::from_str(text).expect(text));
        Some((expression.to_owned(), value))
    };
    PAGE.lines().filter_map(line).collect()
}

#[test]
fn what_the_page_says_is_what_a_route_gets() {
    let examples = examples();
    assert_eq!(examples.len(), 43, "every line of the tables is read");
    for (expression, expected) in examples {
        let jaq = jq(&expression, &Value::Null);
        let Some(expected) = expected else {
            assert_eq!(jaq, Err("SN0759".to_owned()), "{expression}");
            continue;
        };
        assert_eq!(jaq, Ok(expected), "{expression}");
        assert_eq!(native(&expression, &Value::Null), jaq, "{expression}");
    }
}

#[test]
fn every_function_is_on_the_page_and_may_be_used() {
    for function in Function::ALL {
        assert!(PAGE.contains(&format!("\n## `{}(", function.name())), "{function:?}");
        let allowed =
            crate::template::vet::ALLOWED.iter().find(|(name, _)| *name == function.name());
        assert_eq!(allowed.map(|(_, counts)| *counts), Some(function.arities()), "{function:?}");
    }
}

#[test]
fn a_function_that_cannot_read_names_the_place_and_never_the_value() {
    let body =
        json!({ "amount": "about 20", "none": null, "born": "2030-01-01", "on": "2026-01-01" });
    let check = |text: &str, words: &str| {
        let fault = render(text, &body).expect_err(text);
        assert_eq!((fault.code.as_str(), fault.text.as_str()), ("SN0759", words), "{text}");
    };
    check(
        "{ price: \"${ cents(.amount) }\" }",
        "`${ cents(.amount) }` at `with.price`: `cents` wants an amount as text, such as \"1.234,56\" or \"19.99\"",
    );
    check(
        "{ a: 1, b: \"${ .amount | cents(.) + 1 }\" }",
        "`${ .amount | cents(.) + 1 }` at `with.b`: `cents` wants an amount as text, such as \"1.234,56\" or \"19.99\"",
    );
    check(
        "${ add_days(.none; 3) }",
        "`${ add_days(.none; 3) }` at `with`: `add_days` wants a date as text, such as \"2026-11-24\"",
    );
    check(
        "${ age_on(.born; .on) }",
        "`${ age_on(.born; .on) }` at `with`: `age_on` wants a day that is not before the birth",
    );
    assert_eq!(render("${ [.amount | cents(.)?] }", &body), Ok(json!([])));
}

#[test]
fn working_days_run_over_the_holidays_of_italy() {
    let check = |date: &str, days: i64, expected: &str| {
        let found = crate::calendar::add_working_days(date, days);
        assert_eq!(found.as_deref(), Some(expected), "{date} {days:+}");
    };
    check("2026-04-03", 1, "2026-04-07"); // Easter Monday is the 6th.
    check("2024-03-29", 1, "2024-04-02");
    check("2038-04-23", 1, "2038-04-27"); // The latest Easter there can be.
    check("2027-01-05", 1, "2027-01-07");
    check("2025-10-03", 1, "2025-10-06"); // Saint Francis was no holiday yet, and a Saturday.
    check("2027-10-01", 1, "2027-10-05"); // A Monday, and a holiday.
    check("2026-12-31", 30, "2027-02-15");
    check("2027-02-15", -30, "2026-12-31");
    check("2026-08-15", 0, "2026-08-17");
    check("2026-08-17", 0, "2026-08-17");
}

#[test]
fn what_is_written_out_is_read_as_it_will_be() {
    for (argument, good, bad) in [
        (Argument::Amount, json!("19,9"), json!("1.23.456")),
        (Argument::Amount, json!("90071992547409,91"), json!("90071992547409,92")),
        (Argument::Number, json!("0,5"), json!("12345678901234567890")),
        (Argument::Text, json!(""), json!(1)),
        (Argument::Separator, json!("\t"), json!("\n")),
        (Argument::Date, json!("2028-02-29"), json!("2026-02-29")),
        (Argument::Date, json!("2026-11-24"), json!("20261124")),
        (Argument::Days, json!(-36_525), json!(1.5)),
        (Argument::WorkingDays, json!(1000), json!(1001)),
    ] {
        assert!(argument.reads(&good), "{argument:?} {good}");
        assert!(!argument.reads(&bad), "{argument:?} {bad}");
    }
}
