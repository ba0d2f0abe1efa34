//! Tests of formatting: comments keep their columns, broken brackets stay broken, and no formatter gets
//! through that changes more than the form.
//!
//! Invariant: what the house refuses to write is refused whatever formatter made it.

use super::*;
use crate::diagnostic::render_text;

fn formatted(
    text: &str,
    formatter: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Vec<Diagnostic>> {
    let file = SourceFile { path: "routes/a.yaml".to_owned(), text: text.to_owned() };
    format(&Arc::new(file), formatter)
}

/// A formatter that leaves one space before each comment, and comments alone at the margin of their line's
/// neighbour.
#[expect(clippy::unnecessary_wraps, reason = "a formatter may give up")]
fn one_space(text: &str) -> Option<String> {
    let line = |line: &str| match line.split_once('#') {
        Some((before, comment)) if !before.trim().is_empty() => {
            format!("{} #{comment}\n", before.trim_end())
        }
        Some((_, comment)) => format!("#{comment}\n"),
        None => format!("{}\n", line.trim_end()),
    };
    Some(text.lines().map(line).collect())
}

#[test]
fn comments_at_the_ends_of_lines_stay_in_their_columns() {
    for text in [
        "a: 1        # one\nbb: 2       # two\n",
        "a: è        # columns are of characters\nbb: 2       # two\n",
        "a: 1        # a long one\n            # goes on here,\n            # and here\nb: 2\n",
        "# alone\na: 1 # near\n\n# alone\nb: \"a # b\"\n",
    ] {
        assert_eq!(formatted(text, &one_space).expect("it is fine"), text);
    }
    let indented = |text: &str| one_space(&text.replace("\n- ", "\n    - "));
    let text = "a:\n- x # one\n- z        # two\n# alone\n";
    let wanted = "a:\n    - x # one\n    - z    # two\n# alone\n";
    assert_eq!(formatted(text, &indented).expect("it is fine"), wanted, "no room is one space");
}

/// A formatter that indents by four, and sees no line of what is kept from it.
#[expect(clippy::unnecessary_wraps, reason = "a formatter may give up")]
fn further_in(text: &str) -> Option<String> {
    assert!(text.lines().all(|line| !line.trim_start().starts_with("c:")), "{text}");
    let line = |line: &str| match line.trim_start() {
        "a:" => "a:\n".to_owned(),
        rest => format!("    {rest}\n"),
    };
    Some(text.lines().map(line).collect())
}

#[test]
fn brackets_over_several_lines_go_along_with_their_first() {
    for (text, wanted) in [
        // Below the bracket.
        (
            "a:\n  b: { x: 1,   # one\n       c: [2] }   # two\n",
            "a:\n    b: { x: 1, # one\n         c: [2] } # two\n",
        ),
        // As far in as it was.
        ("a:\n  - [\n    c: 1,\n\n    ]\n", "a:\n    - [\n      c: 1,\n\n      ]\n"),
        ("a:\n  kept: {   \n    c: 1 }\n", "a:\n    kept: {\n      c: 1 }\n"),
        ("a:\n  b: [x,   2]\n", "a:\n    b: [x,   2]\n"),
    ] {
        assert_eq!(formatted(text, &further_in).expect("it is fine"), wanted);
        assert_eq!(formatted(wanted, &further_in).expect("it is fine"), wanted);
    }
}

#[test]
fn a_formatter_that_changes_more_than_the_form_is_refused_with_the_place() {
    type Wrong = fn(&str) -> String;
    let text = "# of it all\na: 1   # one\nb:\n  # two\n  c: [x, \"y\"]\n";
    let cases: [(&str, Wrong); 9] = [
        ("another value", |text| text.replace("a: 1", "a: 2")),
        ("text for a number", |text| text.replace("a: 1", "a: \"1\"")),
        ("another key", |text| text.replace("c: ", "d: ")),
        ("fewer", |text| text.replace("x, ", "")),
        ("a comment less", |text| text.replace("  # two\n", "")),
        ("another comment", |text| text.replace("# two", "# three")),
        ("a comment that moves", |text| text.replace("  # two\n", "").replace("b:", "# two\nb:")),
        ("a comment on a line of its own", |text| text.replace("a: 1   # one", "# one\na: 1")),
        ("no YAML", |text| text.replace(']', "")),
    ];
    let mut places = Vec::new();
    for (what, wrong) in cases {
        let said = formatted(text, &|text| Some(wrong(text))).expect_err(what);
        assert_eq!(said.len(), 1, "{what}");
        assert_eq!(said[0].code, "SN0176", "{what}");
        places.push(said[0].place.line_and_column().0);
    }
    assert_eq!(places, [2, 2, 5, 5, 4, 4, 4, 2, 1]);
    formatted(text, &|_| None).expect_err("a formatter that gives up");
    formatted(text, &|text| Some(format!("{text}\n"))).expect_err("it never comes to rest");
}

#[test]
fn what_cannot_be_read_is_said_as_check_says_it() {
    let said = formatted("a: 1\na: 2\n", &|text| Some(text.to_owned())).expect_err("twice");
    assert!(render_text(&said).starts_with("error[SN0107]: the key `a` is written twice"));
    let said = formatted("a: [1\n", &|text| Some(text.to_owned())).expect_err("no YAML");
    assert_eq!(said[0].code, "SN0101");
}

#[test]
fn the_words_of_a_refusal_are_these() {
    let said = formatted("a: 1\n", &|_| Some("a: 2\n".to_owned())).expect_err("another value");
    insta::assert_snapshot!(render_text(&said).trim_end(), @r"
    error[SN0176]: the formatter would change more than the form
     --> routes/a.yaml:1:4
      |
    1 | a: 1
      |    ^ from here on
      |
    help: write this place more plainly, or leave the file as it is: nothing was written
    ");
}
