//! The rows of documents: who has which, what cites them, what is filed, what may go.
//!
//! Invariant: a file is in its place only while its row is there. The row is written before the file is put
//! there, and deleted after the file is gone; in between it is `doomed`, and nothing may refer to it. A
//! document that a message cites, or that is filed, is `kept`: that is written in the commit that cites it,
//! and taken back in the one in which the last of them is forgotten.

use std::time::Duration;

use snodo_core::{
    adapter::BoxFuture,
    document::{Document, DocumentKey},
    ids::{DeliveryId, Digest, StepKey},
    kept::{Days, Filed, Filing},
    register::Entry,
    timestamp::Timestamp,
};

use super::{
    CommitError, ReadError,
    apply::NewMessage,
    database::unreadable,
    statement::{
        Cell, Columns, Found, Kind::Blob, Kind::Int, Kind::MaybeInt, Kind::Text, Rows, Statement,
    },
    store::SqlLedger,
};

/// How long a document waits for a message that cites it, and a file for a document.
pub const CLAIM_WITHIN: Duration = Duration::from_hours(24);
/// Entries of a register that are read at once.
pub const PAGE: u32 = 500;

/// Whose a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Posted by a party.
    Party(String),
    /// Made by a step.
    Step(StepKey),
}

/// What became of a new document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// Its row is there; the file may be put in its place.
    New,
    /// The step has made one before: that one.
    Made(Document),
    /// Its file is just being deleted: again, a moment later.
    Doomed,
}

/// A party's document, as admission asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The document.
    pub document: Document,
    /// When it was posted.
    pub at: Timestamp,
    /// Whether a message cites it, or it is filed.
    pub kept: bool,
}

impl Posting {
    /// Whether a message may cite it at `now`. What is not claimed in time may go at any moment.
    pub fn is_citable(&self, now: Timestamp) -> bool {
        self.kept || now < self.at.after(CLAIM_WITHIN)
    }
}

/// What the ledger knows of documents.
pub trait DocumentRows: Send + Sync {
    /// Writes the row of a new document.
    fn post<'a>(
        &'a self,
        document: &'a Document,
        origin: &'a Origin,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Posted, CommitError>>;

    /// Those of a party.
    fn of_party<'a>(
        &'a self,
        party: &'a str,
        keys: &'a [DocumentKey],
    ) -> BoxFuture<'a, Result<Vec<Posting>, ReadError>>;

    /// One that a party posted, or that a message cites which the party is owed.
    fn readable<'a>(
        &'a self,
        party: &'a str,
        key: DocumentKey,
    ) -> BoxFuture<'a, Result<Option<Document>, ReadError>>;

    /// Those that the message of a delivery cites, or that one of the delivery's steps has made, or that
    /// are filed in an archive.
    fn of_delivery<'a>(
        &'a self,
        delivery: DeliveryId,
        keys: &'a [DocumentKey],
    ) -> BoxFuture<'a, Result<Vec<Document>, ReadError>>;

    /// The one that a step has made.
    fn made<'a>(&'a self, step: &'a StepKey) -> BoxFuture<'a, Result<Option<Document>, ReadError>>;

    /// Files documents, each once.
    fn file<'a>(
        &'a self,
        filing: &'a Filing<'a>,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), CommitError>>;

    /// What is filed under a number.
    fn filed<'a>(
        &'a self,
        archive: &'a str,
        protocol: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Filed>, ReadError>>;

    /// Deletes the rows of documents that nobody cited in time; how many.
    fn forget(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<u64, CommitError>>;

    /// Dooms files to which nothing has referred for long enough, and names all that are doomed.
    fn doom(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<Vec<Digest>, CommitError>>;

    /// These files are gone.
    fn gone<'a>(&'a self, files: &'a [Digest]) -> BoxFuture<'a, Result<(), CommitError>>;

    /// A page of a register, by day.
    fn entries<'a>(
        &'a self,
        days: &'a Days<'a>,
        after: Option<(i16, i64)>,
    ) -> BoxFuture<'a, Result<Vec<Entry>, ReadError>>;
}

const DOCUMENT: Columns = &[
    ("k_key", Blob),
    ("k_party", Text),
    ("k_delivery", Blob),
    ("k_step", Text),
    ("k_sha256", Blob),
    ("k_size", Int),
    ("k_media_type", Text),
    ("k_name", Text),
];
const KEY: Columns = &[("k_key", Blob)];
const DIGEST: Columns = &[("k_sha256", Blob)];
const PIN: Columns = &[("k_key", Blob), ("k_id", Blob), ("k_cause", MaybeInt)];

const COLUMNS: &str = "d.key, d.sha256, d.size, d.media_type, d.name";

/// The document of (key, sha256, size, media type, name).
fn document_of(row: &Found) -> sqlx::Result<Document> {
    Ok(Document {
        key: DocumentKey(row.uuid(0)?),
        sha256: row.digest(1)?,
        size: row.int(2)?.unsigned_abs(),
        media_type: row.text(3)?.to_owned(),
        name: row.text(4)?.to_owned(),
    })
}

fn all<T>(rows: &[Found], of: impl Fn(&Found) -> sqlx::Result<T>) -> Result<Vec<T>, ReadError> {
    rows.iter().map(of).collect::<Result<_, _>>().map_err(unreadable)
}

fn keys_of<'b>(keys: impl IntoIterator<Item = &'b DocumentKey>) -> Rows<'b> {
    let mut rows = Rows::new(KEY);
    for key in keys {
        rows.push([key.0.as_bytes().into()]);
    }
    rows
}

fn digests(files: &[Digest]) -> Rows<'_> {
    let mut rows = Rows::new(DIGEST);
    for file in files {
        rows.push([(&file.0).into()]);
    }
    rows
}

fn new_row<'b>(document: &'b Document, origin: &'b Origin) -> Rows<'b> {
    let (party, delivery, step) = match origin {
        Origin::Party(party) => (party.as_str().into(), Cell::Null, Cell::Null),
        Origin::Step(key) => {
            (Cell::Null, key.delivery.0.as_bytes().into(), key.step.as_str().into())
        }
    };
    let mut rows = Rows::new(DOCUMENT);
    rows.push([
        document.key.0.as_bytes().into(),
        party,
        delivery,
        step,
        (&document.sha256.0).into(),
        i64::try_from(document.size).unwrap_or(i64::MAX).into(),
        document.media_type.as_str().into(),
        document.name.as_str().into(),
    ]);
    rows
}

/// Pins the documents that new messages cite. An accepted message without its document cannot be: the
/// database refuses the row, and with it that message alone. Of what a route emits only those documents
/// are pinned that its delivery has: the others are nobody's to hand on.
pub(super) fn pins<'b>(messages: &[NewMessage<'b>]) -> Vec<Statement<'b>> {
    let (mut accepted, mut emitted) = (Rows::new(PIN), Rows::new(PIN));
    for new in messages {
        let rows = if new.cause.is_some() { &mut emitted } else { &mut accepted };
        for key in new.documents {
            let id = new.message.envelope.id.0.as_bytes();
            rows.push([key.0.as_bytes().into(), id.into(), new.cause.into()]);
        }
    }
    let mut statements = Vec::new();
    if !accepted.is_empty() {
        statements.push(Statement::over(
            "UPDATE document SET kept = 1 FROM {rows} WHERE key = k_key AND kept = 0",
            vec![],
            accepted.clone(),
        ));
        statements.push(Statement::over(
            "INSERT INTO document_pin (document, message) SELECT \
             (SELECT seq FROM document WHERE key = k_key), (SELECT seq FROM message WHERE id = k_id) \
             FROM {rows} WHERE true ON CONFLICT DO NOTHING",
            vec![],
            accepted,
        ));
    }
    if !emitted.is_empty() {
        statements.push(Statement::over(
            "INSERT INTO document_pin (document, message) SELECT d.seq, m.seq FROM {rows} \
             JOIN document AS d ON d.key = k_key JOIN message AS m ON m.id = k_id \
             JOIN delivery AS c ON c.seq = k_cause WHERE d.delivery = c.id \
             OR EXISTS (SELECT 1 FROM document_pin AS p WHERE p.document = d.seq \
             AND p.message = c.message) \
             OR EXISTS (SELECT 1 FROM filing AS f WHERE f.document = d.seq) ON CONFLICT DO NOTHING",
            vec![],
            emitted.clone(),
        ));
        statements.push(Statement::over(
            "UPDATE document SET kept = 1 FROM {rows} WHERE key = k_key AND kept = 0 \
             AND EXISTS (SELECT 1 FROM document_pin AS p WHERE p.document = document.seq)",
            vec![],
            emitted,
        ));
    }
    statements
}

/// Messages go, or their bodies do, and with them what they cite. A document that nothing else cites and
/// that is not filed is as one that was never claimed.
pub(super) fn unpins<'b>(messages: &Rows<'b>) -> [Statement<'b>; 2] {
    let over = |sql: &'static str| Statement::over(sql, vec![], messages.clone());
    [
        over(
            "UPDATE document SET kept = 0 WHERE kept = 1 AND seq IN (SELECT p.document FROM {rows} \
             JOIN document_pin AS p ON p.message = k_seq) \
             AND NOT EXISTS (SELECT 1 FROM document_pin AS o WHERE o.document = document.seq \
             AND o.message NOT IN (SELECT k_seq FROM {rows})) \
             AND NOT EXISTS (SELECT 1 FROM filing AS f WHERE f.document = document.seq)",
        ),
        over("DELETE FROM document_pin WHERE message IN (SELECT k_seq FROM {rows})"),
    ]
}

fn insert_document(rows: Rows<'_>, now: Timestamp) -> Statement<'_> {
    Statement::over(
        "INSERT INTO document (key, party, delivery, step, sha256, size, media_type, name, posted_at) \
         SELECT k_key, k_party, k_delivery, k_step, k_sha256, k_size, k_media_type, k_name, {0} \
         FROM {rows} WHERE true ON CONFLICT DO NOTHING RETURNING key",
        vec![now.0.into()],
        rows,
    )
}

/// The file's row; none comes out where it is doomed.
fn claim_file(rows: Rows<'_>) -> Statement<'_> {
    Statement::over(
        "INSERT INTO document_file (sha256) SELECT k_sha256 FROM {rows} WHERE true \
         ON CONFLICT (sha256) DO UPDATE SET unreferenced_at = NULL WHERE document_file.doomed = 0 \
         RETURNING doomed",
        vec![],
        rows,
    )
}

fn entry_of(row: &Found) -> sqlx::Result<Entry> {
    Ok(Entry {
        year: i16::try_from(row.int(0)?).unwrap_or(i16::MAX),
        number: row.int(1)?,
        record: row.json(2)?,
        registered_at: row.time(3)?,
        annulled_at: row.maybe_time(4)?,
        annul_reason: row.maybe_text(5)?.map(str::to_owned),
    })
}

impl SqlLedger {
    async fn ask_documents(
        &self,
        sql: String,
        scalars: Vec<Cell<'_>>,
        rows: Option<Rows<'_>>,
    ) -> Result<Vec<Found>, ReadError> {
        let statement = match rows {
            Some(rows) => Statement::over(sql, scalars, rows),
            None => Statement::new(sql, scalars),
        };
        self.database.read(statement).await
    }

    async fn put_document(
        &self,
        document: &Document,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<Posted, CommitError> {
        let file = [document.sha256];
        let statements =
            [claim_file(digests(&file)), insert_document(new_row(document, origin), now)];
        let mut tx = self.database.begin().await.map_err(super::store::not_committed)?;
        let found = match tx.run(&statements).await {
            Ok(found) => found,
            Err(error) => {
                tx.rollback().await;
                return Err(super::store::not_committed(error));
            }
        };
        if found[0].is_empty() {
            tx.rollback().await;
            return Ok(Posted::Doomed);
        }
        if !found[1].is_empty() {
            tx.commit().await?;
            return Ok(Posted::New);
        }
        tx.rollback().await;
        let made = match origin {
            Origin::Step(step) => self.made_by(step).await,
            Origin::Party(_) => Ok(None),
        };
        match made {
            Ok(Some(made)) => Ok(Posted::Made(made)),
            Ok(None) => Err(CommitError::NotCommitted("the key is another document's".to_owned())),
            Err(error) => Err(CommitError::NotCommitted(error.0)),
        }
    }

    async fn made_by(&self, step: &StepKey) -> Result<Option<Document>, ReadError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM document AS d WHERE d.delivery = {{0}} AND d.step = {{1}}"
        );
        let scalars = vec![step.delivery.0.as_bytes().into(), step.step.as_str().into()];
        Ok(all(&self.ask_documents(sql, scalars, None).await?, document_of)?.pop())
    }

    async fn file_documents(&self, filing: &Filing<'_>, now: Timestamp) -> Result<(), CommitError> {
        let keys = || keys_of(filing.documents.iter().map(|document| &document.key));
        let scalars = vec![
            filing.archive.into(),
            filing.protocol.into(),
            filing.step.delivery.0.as_bytes().into(),
            filing.step.step.as_str().into(),
            now.0.into(),
        ];
        self.write_alone(&[
            Statement::over(
                "UPDATE document SET kept = 1 FROM {rows} WHERE key = k_key AND kept = 0",
                vec![],
                keys(),
            ),
            Statement::over(
                "INSERT INTO filing (archive, protocol, document, delivery, step, filed_at) \
                 SELECT {0}, {1}, (SELECT seq FROM document WHERE key = k_key), {2}, {3}, {4} \
                 FROM {rows} WHERE true ON CONFLICT (archive, protocol, document) DO NOTHING",
                scalars,
                keys(),
            ),
        ])
        .await
        .map(drop)
    }

    async fn forget_documents(&self, now: Timestamp, limit: u32) -> Result<u64, CommitError> {
        let before = now.before(CLAIM_WITHIN);
        let delete = Statement::new(
            // A message may have cited it while its last one went: the pin is the word that counts.
            "DELETE FROM document WHERE kept = 0 AND seq IN (SELECT d.seq FROM document AS d \
             WHERE d.kept = 0 AND d.posted_at <= {0} AND NOT EXISTS (SELECT 1 FROM document_pin AS p \
             WHERE p.document = d.seq) ORDER BY d.posted_at LIMIT {1}) RETURNING sha256",
            vec![before.0.into(), limit.into()],
        );
        let mut tx = self.database.begin().await.map_err(super::store::not_committed)?;
        let forgotten = match tx.one(delete).await {
            Ok(rows) if rows.is_empty() => {
                tx.rollback().await;
                return Ok(0);
            }
            Ok(rows) => rows,
            Err(error) => {
                tx.rollback().await;
                return Err(super::store::not_committed(error));
            }
        };
        let files: sqlx::Result<Vec<Digest>> = forgotten.iter().map(|row| row.digest(0)).collect();
        let files = files.map_err(|error| CommitError::NotCommitted(unreadable(error).0))?;
        let unreferenced = Statement::over(
            "UPDATE document_file SET unreferenced_at = {0} FROM {rows} WHERE sha256 = k_sha256 \
             AND NOT EXISTS (SELECT 1 FROM document AS d WHERE d.sha256 = k_sha256)",
            vec![now.0.into()],
            digests(&files),
        );
        if let Err(error) = tx.one(unreferenced).await {
            tx.rollback().await;
            return Err(super::store::not_committed(error));
        }
        tx.commit().await?;
        Ok(files.len() as u64)
    }

    async fn doom_files(&self, now: Timestamp, limit: u32) -> Result<Vec<Digest>, CommitError> {
        let before = now.before(CLAIM_WITHIN);
        let found = self
            .write_alone(&[
                Statement::new(
                    "UPDATE document_file SET doomed = 1 WHERE unreferenced_at <= {0} \
                     AND sha256 IN (SELECT sha256 FROM document_file WHERE unreferenced_at <= {0} \
                     LIMIT {1}) AND NOT EXISTS \
                     (SELECT 1 FROM document AS d WHERE d.sha256 = document_file.sha256)",
                    vec![before.0.into(), limit.into()],
                ),
                Statement::new(
                    "SELECT sha256 FROM document_file WHERE unreferenced_at <= {0} AND doomed = 1 \
                     LIMIT {1}",
                    vec![before.0.into(), limit.into()],
                ),
            ])
            .await?;
        let doomed = found.last().map(Vec::as_slice).unwrap_or_default();
        all(doomed, |row| row.digest(0)).map_err(|error| CommitError::NotCommitted(error.0))
    }
}

impl DocumentRows for SqlLedger {
    fn post<'a>(
        &'a self,
        document: &'a Document,
        origin: &'a Origin,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Posted, CommitError>> {
        Box::pin(self.put_document(document, origin, now))
    }

    fn of_party<'a>(
        &'a self,
        party: &'a str,
        keys: &'a [DocumentKey],
    ) -> BoxFuture<'a, Result<Vec<Posting>, ReadError>> {
        Box::pin(async move {
            let sql = format!(
                "SELECT {COLUMNS}, d.posted_at, d.kept FROM {{rows}} JOIN document AS d \
                 ON d.key = k_key WHERE d.party = {{0}}"
            );
            let found = self.ask_documents(sql, vec![party.into()], Some(keys_of(keys))).await?;
            all(&found, |row| {
                let (document, at, kept) = (document_of(row)?, row.time(5)?, row.int(6)? != 0);
                Ok(Posting { document, at, kept })
            })
        })
    }

    fn readable<'a>(
        &'a self,
        party: &'a str,
        key: DocumentKey,
    ) -> BoxFuture<'a, Result<Option<Document>, ReadError>> {
        Box::pin(async move {
            let sql = format!(
                "SELECT {COLUMNS} FROM document AS d WHERE d.key = {{0}} AND (d.party = {{1}} OR EXISTS \
                 (SELECT 1 FROM document_pin AS p JOIN delivery AS r ON r.message = p.message \
                 WHERE p.document = d.seq AND r.subscriber = {{2}}))"
            );
            let subscriber = format!("party:{party}");
            let scalars = vec![key.0.as_bytes().into(), party.into(), subscriber.into()];
            Ok(all(&self.ask_documents(sql, scalars, None).await?, document_of)?.pop())
        })
    }

    fn of_delivery<'a>(
        &'a self,
        delivery: DeliveryId,
        keys: &'a [DocumentKey],
    ) -> BoxFuture<'a, Result<Vec<Document>, ReadError>> {
        Box::pin(async move {
            let sql = format!(
                "SELECT {COLUMNS} FROM {{rows}} JOIN document AS d ON d.key = k_key \
                 WHERE d.delivery = {{0}} OR EXISTS (SELECT 1 FROM document_pin AS p \
                 JOIN delivery AS r ON r.message = p.message WHERE p.document = d.seq AND r.id = {{0}}) \
                 OR EXISTS (SELECT 1 FROM filing AS f WHERE f.document = d.seq)"
            );
            let scalars = vec![delivery.0.as_bytes().into()];
            all(&self.ask_documents(sql, scalars, Some(keys_of(keys))).await?, document_of)
        })
    }

    fn made<'a>(&'a self, step: &'a StepKey) -> BoxFuture<'a, Result<Option<Document>, ReadError>> {
        Box::pin(self.made_by(step))
    }

    fn file<'a>(
        &'a self,
        filing: &'a Filing<'a>,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(self.file_documents(filing, now))
    }

    fn filed<'a>(
        &'a self,
        archive: &'a str,
        protocol: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Filed>, ReadError>> {
        Box::pin(async move {
            let sql = format!(
                "SELECT {COLUMNS}, f.filed_at FROM filing AS f JOIN document AS d ON d.seq = f.document \
                 WHERE f.archive = {{0}} AND f.protocol = {{1}} ORDER BY f.seq"
            );
            let found =
                self.ask_documents(sql, vec![archive.into(), protocol.into()], None).await?;
            all(&found, |row| Ok(Filed { document: document_of(row)?, at: row.time(5)? }))
        })
    }

    fn forget(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<u64, CommitError>> {
        Box::pin(self.forget_documents(now, limit))
    }

    fn doom(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<Vec<Digest>, CommitError>> {
        Box::pin(self.doom_files(now, limit))
    }

    fn gone<'a>(&'a self, files: &'a [Digest]) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(async move {
            let sql = "DELETE FROM document_file WHERE doomed = 1 \
                AND sha256 IN (SELECT k_sha256 FROM {rows})";
            self.write_alone(&[Statement::over(sql, vec![], digests(files))]).await.map(drop)
        })
    }

    fn entries<'a>(
        &'a self,
        days: &'a Days<'a>,
        after: Option<(i16, i64)>,
    ) -> BoxFuture<'a, Result<Vec<Entry>, ReadError>> {
        Box::pin(async move {
            const SQL: &str = "SELECT year, n, record, registered_at, annulled_at, annul_reason \
                FROM register WHERE aoo = {0} AND ((registered_at >= {1} AND registered_at < {2}) \
                OR (annulled_at >= {1} AND annulled_at < {2})) \
                AND (year > {3} OR (year = {3} AND n > {4})) ORDER BY year, n LIMIT {5}";
            let (year, number) = after.unwrap_or((0, 0));
            let scalars = vec![
                days.aoo.into(),
                days.from.0.into(),
                days.until.0.into(),
                i64::from(year).into(),
                number.into(),
                PAGE.into(),
            ];
            all(&self.ask_documents(SQL.to_owned(), scalars, None).await?, entry_of)
        })
    }
}
