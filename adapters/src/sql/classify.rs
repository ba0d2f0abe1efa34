//! What a database's trouble means: a fault of a class. Pure.
//!
//! Invariant: a database's own words never come into a fault: they quote values. What is told is its code,
//! and a word of the query.

use snodo_core::{
    adapter::{AMBIGUOUS, NOT_FOUND},
    fault::{Fault, FaultClass},
};

use super::text::Dialect;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The file with the password cannot be read, or is empty.
    NoPassword,
    /// No connection stood.
    NotReached(NotReached),
    /// The connection ended before the answer did.
    Lost,
    /// The deadline passed.
    Late,
    /// The database said no.
    Said(Said),
    /// It answered, and the answer cannot be used.
    Unusable(Unusable),
    /// No row.
    Nobody,
    /// More than one row where there must be one.
    Several,
}

/// Why no connection stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotReached {
    /// Nobody listens there.
    ConnectionRefused,
    /// No secure connection: certificate or protocol.
    Tls,
    /// No connection in time.
    TimedOut,
    /// Another failure before the connection stood.
    Other,
}

/// A database's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Whose.
    pub(super) dialect: Dialect,
    /// SQLSTATE, or SQLite's extended code.
    pub(super) code: String,
    /// The word of the query at which it stopped, where it says so.
    pub(super) at: Option<String>,
}

/// Why an answer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// More rows than may be.
    TooManyRows(usize),
    /// More bytes than may be.
    TooLong(usize),
    /// A column is bytes.
    Bytes(String),
    /// Two columns have one name.
    TwoColumns(String),
    /// A number that no double holds.
    Number(String),
    /// Text that is no text: a NUL, no UTF-8.
    NoText(String),
    /// JSON that is not as we take it.
    NoJson(String),
}

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// Nobody can be served now; it is no fault of the query.
    Away(&'static str),
    /// Not this time.
    Busy,
    /// It was stopped by its deadline.
    Late,
    /// The query would write.
    Writes,
    /// We may not do this.
    NoRight(&'static str),
    /// The query is not right for this database.
    Wrong(&'static str),
}

/// The fault of some trouble.
pub(super) fn classify(trouble: Trouble) -> Fault {
    let fault = |class, code: &str, text: &str| Fault::new(class, code, text);
    match trouble {
        Trouble::NoPassword => fault(
            FaultClass::Outage,
            "SN0769",
            "the file with the database's password cannot be read or holds none",
        ),
        Trouble::NotReached(why) => fault(FaultClass::Outage, "SN0760", words_not_reached(why)),
        Trouble::Lost => fault(
            FaultClass::NoAnswer,
            "SN0761",
            "the connection to the database ended before its answer",
        ),
        Trouble::Late => late(),
        Trouble::Said(said) => said_no(&said),
        Trouble::Unusable(why) => fault(FaultClass::Refused, "SN0792", &words_unusable(&why)),
        Trouble::Nobody => {
            let text = "the database has no row that fits the question";
            fault(FaultClass::Refused, "SN0784", text).with_reason(NOT_FOUND)
        }
        Trouble::Several => {
            let text = "the database has several rows that fit the question, where there is one";
            fault(FaultClass::Refused, "SN0785", text).with_reason(AMBIGUOUS)
        }
    }
}

fn late() -> Fault {
    let text = "the database did not answer before the deadline";
    Fault::new(FaultClass::NoAnswer, "SN0761", text)
}

fn said_no(said: &Said) -> Fault {
    let meaning = match said.dialect {
        Dialect::Postgres => of_sqlstate(&said.code),
        Dialect::Sqlite => of_sqlite(said.code.parse().unwrap_or_default()),
    };
    let at = said.at.as_ref().map(|word| format!(", at `{word}`")).unwrap_or_default();
    let with = |what: &str| format!("{what} ({}{at})", said.code);
    let fault = match meaning {
        Meaning::Away(what) => Fault::new(FaultClass::Outage, "SN0760", with(what)),
        Meaning::Busy => {
            let class = FaultClass::Transient { retry_after: None };
            Fault::new(class, "SN0762", with("the database is busy or failing"))
        }
        Meaning::Late => late(),
        Meaning::Writes => {
            let text = with("the query would write, and the database is only read");
            Fault::new(FaultClass::Refused, "SN0790", text)
        }
        Meaning::NoRight(what) => Fault::new(FaultClass::Refused, "SN0791", with(what)),
        Meaning::Wrong(what) => Fault::new(FaultClass::Refused, "SN0790", with(what)),
    };
    fault.with_reason(&said.code)
}

/// By PostgreSQL's table of error codes.
fn of_sqlstate(state: &str) -> Meaning {
    match (state.get(..2).unwrap_or_default(), state) {
        (_, "57014") => Meaning::Late,
        (_, "25001" | "25006") => Meaning::Writes,
        (_, "57P01" | "57P02" | "57P03") => Meaning::Away("the database starts or stops"),
        (_, "42501") => Meaning::NoRight("the database does not let us read this"),
        (_, "3D000") => Meaning::NoRight("there is no such database"),
        ("28", _) => Meaning::NoRight("the database does not accept our user or password"),
        (_, "55P03") | ("08" | "25" | "40" | "53" | "57" | "58" | "F0" | "XX", _) => Meaning::Busy,
        (_, "42P01" | "42703" | "3F000") => {
            Meaning::Wrong("the query names a table or column that the database does not have")
        }
        (_, "42883" | "42804" | "42P18" | "42846") => Meaning::Wrong(
            "types in the query do not fit: a cast such as :born::date may be missing",
        ),
        ("21" | "22", _) => Meaning::Wrong("a value does not fit the query"),
        _ => Meaning::Wrong("the database does not take the query"),
    }
}

/// By SQLite's result codes; the low byte is the primary one.
fn of_sqlite(code: u32) -> Meaning {
    match (code & 0xff, code) {
        (_, 8) => Meaning::Writes,
        (8 | 10 | 11 | 14 | 26, _) => Meaning::Away("the database's file cannot be opened or read"),
        (5 | 6 | 7 | 15 | 17, _) => Meaning::Busy,
        (9, _) => Meaning::Late,
        (3 | 23, _) => Meaning::NoRight("the database does not let us read this"),
        (18 | 20 | 25, _) => Meaning::Wrong("a value does not fit the query"),
        _ => Meaning::Wrong("the database does not take the query"),
    }
}

/// What an error of SQLite names. These two are of its parser, which sees the query and no value.
pub(super) fn named_by_sqlite(message: &str) -> Option<String> {
    let near = || message.strip_prefix("near \"")?.strip_suffix("\": syntax error");
    let missing = || message.strip_prefix("no such ")?.split_once(": ").map(|(_, name)| name);
    let word = near().or_else(missing)?;
    (word.len() <= 64).then(|| word.to_owned())
}

fn words_not_reached(why: NotReached) -> &'static str {
    match why {
        NotReached::ConnectionRefused => "the database refuses connections",
        NotReached::Tls => "no secure connection to the database: certificate or protocol",
        NotReached::TimedOut => "no connection to the database in time",
        NotReached::Other => "no connection to the database",
    }
}

/// Columns are named as the query names them.
fn words_unusable(why: &Unusable) -> String {
    match why {
        Unusable::TooManyRows(most) => {
            format!("the answer has more than {most} rows (`row_limit`)")
        }
        Unusable::TooLong(most) => {
            format!("the answer is longer than {most} bytes (`answer_limit`)")
        }
        Unusable::Bytes(column) => {
            format!("the column `{column}` is bytes, which JSON does not hold")
        }
        Unusable::TwoColumns(column) => format!("two columns are called `{column}`"),
        Unusable::Number(column) => format!(
            "a number in the column `{column}` changes on its way through an IEEE double; let `output` \
             say `type: string`"
        ),
        Unusable::NoText(column) => {
            format!("a text in the column `{column}` is not UTF-8, or holds NUL")
        }
        Unusable::NoJson(column) => {
            format!("JSON in the column `{column}` is too large, too deep, or names a key twice")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSIENT: FaultClass = FaultClass::Transient { retry_after: None };

    fn seen(trouble: Trouble) -> (FaultClass, String) {
        let fault = classify(trouble);
        (fault.class, fault.code)
    }

    fn said(dialect: Dialect, code: &str) -> Trouble {
        Trouble::Said(Said { dialect, code: code.to_owned(), at: None })
    }

    #[test]
    fn every_trouble_has_its_class() {
        use FaultClass::{NoAnswer, Outage, Refused};
        let table = [
            (Trouble::NoPassword, Outage, "SN0769"),
            (Trouble::NotReached(NotReached::ConnectionRefused), Outage, "SN0760"),
            (Trouble::NotReached(NotReached::Tls), Outage, "SN0760"),
            (Trouble::NotReached(NotReached::TimedOut), Outage, "SN0760"),
            (Trouble::NotReached(NotReached::Other), Outage, "SN0760"),
            (Trouble::Lost, NoAnswer, "SN0761"),
            (Trouble::Late, NoAnswer, "SN0761"),
            (Trouble::Unusable(Unusable::TooManyRows(1000)), Refused, "SN0792"),
            (Trouble::Nobody, Refused, "SN0784"),
            (Trouble::Several, Refused, "SN0785"),
        ];
        for (trouble, class, code) in table {
            assert_eq!(seen(trouble.clone()), (class, code.to_owned()), "{trouble:?}");
        }
    }

    #[test]
    fn every_code_of_postgresql_has_its_class() {
        use FaultClass::{NoAnswer, Outage, Refused};
        let table = [
            ("57014", NoAnswer, "SN0761"),
            ("57P01", Outage, "SN0760"),
            ("57P02", Outage, "SN0760"),
            ("57P03", Outage, "SN0760"),
            ("57P05", TRANSIENT, "SN0762"),
            ("53300", TRANSIENT, "SN0762"),
            ("53200", TRANSIENT, "SN0762"),
            ("40001", TRANSIENT, "SN0762"),
            ("40P01", TRANSIENT, "SN0762"),
            ("55P03", TRANSIENT, "SN0762"),
            ("08006", TRANSIENT, "SN0762"),
            ("25P03", TRANSIENT, "SN0762"),
            ("XX000", TRANSIENT, "SN0762"),
            ("25001", Refused, "SN0790"),
            ("25006", Refused, "SN0790"),
            ("42601", Refused, "SN0790"),
            ("42703", Refused, "SN0790"),
            ("42P01", Refused, "SN0790"),
            ("42883", Refused, "SN0790"),
            ("22P02", Refused, "SN0790"),
            ("21000", Refused, "SN0790"),
            ("0A000", Refused, "SN0790"),
            ("P0001", Refused, "SN0790"),
            ("", Refused, "SN0790"),
            ("42501", Refused, "SN0791"),
            ("28P01", Refused, "SN0791"),
            ("28000", Refused, "SN0791"),
            ("3D000", Refused, "SN0791"),
        ];
        for (state, class, code) in table {
            let expected = (class, code.to_owned());
            assert_eq!(seen(said(Dialect::Postgres, state)), expected, "{state}");
        }
    }

    #[test]
    fn every_code_of_sqlite_has_its_class() {
        use FaultClass::{NoAnswer, Outage, Refused};
        let table = [
            ("1", Refused, "SN0790"),
            ("3", Refused, "SN0791"),
            ("5", TRANSIENT, "SN0762"),
            ("517", TRANSIENT, "SN0762"),
            ("6", TRANSIENT, "SN0762"),
            ("7", TRANSIENT, "SN0762"),
            ("8", Refused, "SN0790"),
            ("264", Outage, "SN0760"),
            ("9", NoAnswer, "SN0761"),
            ("10", Outage, "SN0760"),
            ("11", Outage, "SN0760"),
            ("14", Outage, "SN0760"),
            ("26", Outage, "SN0760"),
            ("18", Refused, "SN0790"),
            ("23", Refused, "SN0791"),
            ("word", Refused, "SN0790"),
        ];
        for (number, class, code) in table {
            let expected = (class, code.to_owned());
            assert_eq!(seen(said(Dialect::Sqlite, number)), expected, "{number}");
        }
    }

    #[test]
    fn of_sqlites_words_only_those_of_its_parser_are_told() {
        let table = [
            ("no such column: p.taxcode", Some("p.taxcode")),
            ("no such table: people", Some("people")),
            ("near \"FORM\": syntax error", Some("FORM")),
            ("malformed JSON", None),
            ("Rossi is not here", None),
        ];
        for (message, expected) in table {
            assert_eq!(named_by_sqlite(message).as_deref(), expected, "{message}");
        }
    }

    #[test]
    fn a_fault_says_the_code_and_the_word_of_the_query() {
        let at = Some("p.taxcode".to_owned());
        let said = Said { dialect: Dialect::Postgres, code: "42703".to_owned(), at };
        let fault = classify(Trouble::Said(said));
        insta::assert_snapshot!(fault, @"SN0790: the query names a table or column that the database does not have (42703, at `p.taxcode`)");
        assert_eq!(fault.reason.as_deref(), Some("42703"));
    }
}
