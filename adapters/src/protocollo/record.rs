//! What a registration holds, and what DPR 445/2000 art. 53 demands of it. Pure.
//!
//! The schema demands little of texts, so that a route can copy any field unchanged; `check` demands
//! the rest.
//!
//! Invariant: a record that passes [`Register::check`] is complete; nothing is added to it later.

use schemars::JsonSchema;
use serde::Deserialize;
use snodo_core::register::Direction;

/// The longest subject, in characters.
const SUBJECT_LONGEST: usize = 4000;

/// The input of `register`. Absent fields are left out, never null.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Register {
    /// Which way the document goes.
    pub direction: Direction,
    /// Oggetto, 1 to 4000 characters.
    #[schemars(length(min = 1))]
    pub subject: String,
    /// Mittente: an incoming document has one, or several in `senders`.
    #[serde(default)]
    #[schemars(with = "Correspondent")]
    pub sender: Option<Correspondent>,
    /// Mittenti, where there are several.
    #[serde(default)]
    #[schemars(with = "Vec<Correspondent>")]
    pub senders: Option<Vec<Correspondent>>,
    /// Destinatari: an outgoing document has at least one.
    #[serde(default)]
    #[schemars(with = "Vec<Correspondent>")]
    pub recipients: Option<Vec<Correspondent>>,
    /// The documents, by their digests (impronta).
    #[serde(default)]
    #[schemars(with = "Vec<Document>")]
    pub documents: Option<Vec<Document>>,
    /// Date and number under which the sender registered the document, if known.
    #[serde(default)]
    #[schemars(with = "ReceivedProtocol")]
    pub sender_protocol: Option<ReceivedProtocol>,
    /// When the document arrived, where it was before its registration.
    #[serde(default)]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub arrived_at: Option<String>,
    /// The index in the titolario di classificazione.
    #[serde(default)]
    #[schemars(with = "String")]
    pub classification: Option<String>,
}

/// A sender or recipient: known by at least one of tax code, name and IPA code.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Correspondent {
    /// Codice fiscale of a person (16) or of a body (11 digits).
    #[serde(default)]
    #[schemars(with = "String")]
    pub tax_code: Option<String>,
    /// Name of a person or body.
    #[serde(default)]
    #[schemars(with = "String")]
    pub name: Option<String>,
    /// The IPA code of an administration.
    #[serde(default)]
    #[schemars(with = "String")]
    pub ipa_code: Option<String>,
    /// PEC or another digital address.
    #[serde(default)]
    #[schemars(with = "String")]
    pub digital_address: Option<String>,
}

/// A document of the registration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    /// Its file name.
    pub name: String,
    /// Impronta: SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// Its media type.
    pub media_type: String,
}

/// Under what the sender registered the document.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceivedProtocol {
    /// As the sender writes it.
    pub number: String,
    /// The day.
    #[schemars(extend("format" = "date"))]
    pub date: String,
}

/// Why a record may not be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// No subject, or one of spaces.
    Subject,
    /// A subject over 4000 characters.
    LongSubject,
    /// An incoming document without sender.
    Sender,
    /// `sender` and `senders` together.
    SenderTwice,
    /// An outgoing document without recipient.
    Recipients,
    /// A correspondent of whom neither tax code nor name nor IPA code is given.
    Nameless,
    /// A tax code of another form.
    TaxCode,
    /// A digest of another form.
    Digest,
    /// An arrival that is no instant, or a date that is no day.
    Date,
}

impl Incomplete {
    /// The short code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Subject => "missing_subject",
            Self::LongSubject => "subject_too_long",
            Self::Sender => "missing_sender",
            Self::SenderTwice => "sender_twice",
            Self::Recipients => "missing_recipient",
            Self::Nameless => "nameless_correspondent",
            Self::TaxCode => "wrong_tax_code",
            Self::Digest => "wrong_digest",
            Self::Date => "wrong_date",
        }
    }

    /// What to mend, in words without personal data.
    pub fn words(self) -> &'static str {
        match self {
            Self::Subject => "a registration needs a subject",
            Self::LongSubject => "a subject has at most 4000 characters",
            Self::Sender => "an incoming document needs a sender (DPR 445/2000 art. 53)",
            Self::SenderTwice => "write `sender` or `senders`, not both",
            Self::Recipients => "an outgoing document needs a recipient (DPR 445/2000 art. 53)",
            Self::Nameless => "a sender or recipient needs a tax code, a name or an IPA code",
            Self::TaxCode => "a tax code has 16 capital letters and digits, or 11 digits",
            Self::Digest => "the digest of a document is written as 64 hexadecimal digits",
            Self::Date => "a date of the registration is not of the calendar",
        }
    }
}

impl Register {
    /// Whether art. 53 lets it be registered.
    pub fn check(&self) -> Result<(), Incomplete> {
        self.check_subject()?;
        self.check_correspondents()?;
        let digests = self.documents.iter().flatten().map(|document| &document.sha256);
        ensure(digests.into_iter().all(|digest| is_digest(digest)), Incomplete::Digest)?;
        self.check_dates()
    }

    fn check_subject(&self) -> Result<(), Incomplete> {
        ensure(!self.subject.trim().is_empty(), Incomplete::Subject)?;
        ensure(self.subject.chars().count() <= SUBJECT_LONGEST, Incomplete::LongSubject)
    }

    fn check_correspondents(&self) -> Result<(), Incomplete> {
        ensure(self.sender.is_none() || self.senders.is_none(), Incomplete::SenderTwice)?;
        let senders = || self.sender.iter().chain(self.senders.iter().flatten());
        let recipients = || self.recipients.iter().flatten();
        match self.direction {
            Direction::Incoming => ensure(senders().next().is_some(), Incomplete::Sender)?,
            Direction::Outgoing => ensure(recipients().next().is_some(), Incomplete::Recipients)?,
            Direction::Internal => {}
        }
        senders().chain(recipients()).try_for_each(Correspondent::check)
    }

    fn check_dates(&self) -> Result<(), Incomplete> {
        let instant = |text: &String| text.parse::<jiff::Timestamp>().is_ok();
        let day = |protocol: &ReceivedProtocol| protocol.date.parse::<jiff::civil::Date>().is_ok();
        ensure(self.arrived_at.as_ref().is_none_or(instant), Incomplete::Date)?;
        ensure(self.sender_protocol.as_ref().is_none_or(day), Incomplete::Date)
    }
}

impl Correspondent {
    fn check(&self) -> Result<(), Incomplete> {
        let known = [&self.tax_code, &self.name, &self.ipa_code];
        let given = |text: &&Option<String>| text.as_deref().is_some_and(|t| !t.trim().is_empty());
        ensure(known.iter().any(given), Incomplete::Nameless)?;
        ensure(self.tax_code.as_deref().is_none_or(is_tax_code), Incomplete::TaxCode)
    }
}

fn ensure(holds: bool, otherwise: Incomplete) -> Result<(), Incomplete> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// Only the form: whether a code exists is the registry's to say, and a register must take down what
/// a sender wrote.
fn is_tax_code(text: &str) -> bool {
    let capital_or_digit = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    match text.len() {
        16 => text.bytes().all(capital_or_digit),
        11 => text.bytes().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

fn is_digest(text: &str) -> bool {
    snodo_core::ids::Digest::from_hex(text).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(change: impl FnOnce(&mut Value)) -> Result<(), Incomplete> {
        let mut input = json!({
            "direction": "incoming",
            "subject": "Change of residence",
            "sender": { "taxCode": "RSSMRA80A01G273Z" },
            "documents": [{
                "name": "a.pdf", "sha256": "ab".repeat(32), "mediaType": "application/pdf"
            }],
            "senderProtocol": { "number": "77/A", "date": "2026-02-28" },
            "arrivedAt": "2026-03-01T09:00:00+01:00",
            "classification": "3.2"
        });
        change(&mut input);
        Register::deserialize(&input).expect("of the shape").check()
    }

    #[test]
    fn a_complete_record_is_taken() {
        assert_eq!(check(|_| {}), Ok(()));
        let several = json!([{ "name": "Ufficio" }, { "ipaCode": "r_sicili" }]);
        assert_eq!(
            check(|input| {
                input["senders"] = several;
                input.as_object_mut().expect("an object").remove("sender");
            }),
            Ok(())
        );
        assert_eq!(
            check(|input| *input = json!({ "direction": "internal", "subject": "A note" })),
            Ok(())
        );
    }

    #[test]
    fn what_article_53_demands_is_demanded() {
        let table: [(&str, Value, Incomplete); 12] = [
            ("subject", json!("  "), Incomplete::Subject),
            ("subject", json!("è".repeat(4001)), Incomplete::LongSubject),
            ("sender", json!(null), Incomplete::Sender),
            ("senders", json!([{ "name": "A" }]), Incomplete::SenderTwice),
            ("direction", json!("outgoing"), Incomplete::Recipients),
            ("sender", json!({ "digitalAddress": "a@pec.example" }), Incomplete::Nameless),
            ("sender", json!({ "name": " " }), Incomplete::Nameless),
            ("recipients", json!([{}]), Incomplete::Nameless),
            ("sender", json!({ "taxCode": "rssmra80a01g273z" }), Incomplete::TaxCode),
            (
                "documents",
                json!([{ "name": "a", "sha256": "ab", "mediaType": "text/plain" }]),
                Incomplete::Digest,
            ),
            ("senderProtocol", json!({ "number": "1", "date": "2026-02-30" }), Incomplete::Date),
            ("arrivedAt", json!("yesterday"), Incomplete::Date),
        ];
        for (field, value, expected) in table {
            assert_eq!(check(|input| input[field] = value.clone()), Err(expected), "{field}");
        }
        assert_eq!(check(|input| input["subject"] = json!("è".repeat(4000))), Ok(()));
    }

    #[test]
    fn the_schema_is_strict_and_knows_no_null() {
        let schema = crate::typed::input_schema::<Register>();
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["sender"]["additionalProperties"], json!(false));
        assert_eq!(schema["required"], json!(["direction", "subject"]));
        assert!(!schema.to_string().contains(":null"), "{schema}");
        assert!(!schema.to_string().contains("\"null\""), "{schema}");
    }
}
