//! Facts in the ledger: questions under their numbers, answers while they are fresh, and who was told what.
//!
//! Invariant: of one question that is open there is one asker, whose claim stands; a number is never given
//! twice, and who asks again after a crash asks under the same one. What is used of a person is written
//! down in the commit of the step that uses it.

use std::{fmt::Write as _, time::Duration};

use snodo_core::{
    facts::{
        Parts,
        known::{Kept, Put},
        quota::{Quota, day},
    },
    ids::{Digest, Fence},
    route::Answer,
    timestamp::Timestamp,
};

use super::{
    Forgotten, Outcome, ReadError,
    database::{GroupError, Tx, unreadable},
    forget::TURN,
    guards::fenced,
    statement::{
        Cell, Columns, Found, Kind::Blob, Kind::Int, Kind::MaybeInt, Kind::Text, Rows, Statement,
    },
    store::SqlLedger,
};

/// A question that is to be put to an authority.
#[derive(Clone, Debug, PartialEq)]
pub struct NewQuestion {
    /// The adapter instance.
    pub instance: String,
    /// The fact.
    pub fact: String,
    /// Everything that it says, under the key of pseudonyms.
    pub about: Digest,
    /// The person asked about.
    pub person: Digest,
    /// The purpose.
    pub purpose: String,
    /// The reference of the case.
    pub case: String,
    /// The newest answer that was looked at and was not good enough.
    pub past: Option<u64>,
    /// A number that the authority does not take any more: it is asked under a new one.
    pub stale: Option<u64>,
    /// Of how many it is one today; none where its authority answers any number.
    pub quota: Option<Quota>,
    /// For how long one that was put before is the same question: later the authority would give under its
    /// number what it knew then.
    pub same_for: Duration,
}

/// What a step writes of a fact together with itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FactRows {
    /// What the authority has answered; none where an answer is used again.
    pub answered: Option<NewAnswer>,
    /// Who is told what about whom; one per person.
    pub disclosures: Vec<Disclosure>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAnswer {
    /// The adapter instance.
    pub instance: String,
    /// The number of the question.
    pub number: u64,
    /// What is kept of it.
    pub kept: Kept,
    /// Whom it concerns.
    pub persons: Vec<Digest>,
}

/// One use of a fact about one person.
#[derive(Clone, Debug, PartialEq)]
pub struct Disclosure {
    /// Whom.
    pub person: Digest,
    /// The id of the key under which this is the person's name.
    pub key: String,
    /// When.
    pub at: Timestamp,
    /// What.
    pub fact: String,
    /// The parts of it that are used, as paths.
    pub fields: Vec<String>,
    /// For what.
    pub purpose: String,
    /// Under which case.
    pub case: String,
    /// By which laws.
    pub laws: Vec<String>,
    /// `instance.operation`.
    pub source: String,
    /// The number of the question.
    pub number: u64,
    /// The case under which it was asked, where its answer is used again.
    pub asked_case: Option<String>,
    /// What the authority has answered.
    pub answer: Answer,
    /// Until when the answer may be used again.
    pub fresh_until: Timestamp,
    /// Of the whole answer.
    pub digest: Digest,
    /// By which route.
    pub route: String,
    /// In which version.
    pub route_digest: Digest,
    /// Who acted.
    pub actor: String,
    /// In which step.
    pub step: String,
    /// Where what the sender declares differs from the answer; none where nothing was compared.
    pub differs: Option<Vec<String>>,
    /// Until when the purpose lets it be told to nobody outside.
    pub concealed_until: Option<Timestamp>,
    /// Until when this row is kept.
    pub keep_until: Timestamp,
}

/// What is looked for of what was told of a person.
#[derive(Clone, Debug)]
pub struct Usages {
    /// The names of the person under all keys.
    pub names: Vec<Digest>,
    /// Not before the first, before the second.
    pub within: (Timestamp, Timestamp),
    /// Purposes of which nobody outside is told now.
    pub concealed: Vec<String>,
    /// The time by which rows are concealed.
    pub now: Timestamp,
    /// How many of the newest are left out.
    pub offset: u32,
    /// At most so many.
    pub limit: u32,
}

/// Answers that are good no more, since something has happened to these persons.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outdated {
    /// The facts.
    pub facts: Vec<String>,
    /// The persons.
    pub persons: Vec<Digest>,
}

const PERSON: Columns = &[("k_person", Blob), ("k_instance", Text), ("k_number", Int)];
const OUTDATED: Columns = &[("k_fact", Text), ("k_person", Blob)];
const DISCLOSURE: Columns = &[
    ("k_person", Blob),
    ("k_key", Text),
    ("k_at", Int),
    ("k_fact", Text),
    ("k_fields", Text),
    ("k_purpose", Text),
    ("k_case", Text),
    ("k_laws", Text),
    ("k_source", Text),
    ("k_number", Int),
    ("k_asked_case", Text),
    ("k_answer", Text),
    ("k_fresh", Int),
    ("k_digest", Blob),
    ("k_route", Text),
    ("k_route_digest", Blob),
    ("k_actor", Text),
    ("k_delivery", Int),
    ("k_step", Text),
    ("k_differs", Text),
    ("k_concealed", MaybeInt),
    ("k_keep", Int),
];

/// Somebody whose claim stands asks it.
const IS_ASKED: &str = "EXISTS (SELECT 1 FROM delivery AS d WHERE d.seq = question.delivery \
    AND d.state = 2 AND d.incarnation = question.incarnation AND d.serial = question.serial";

/// Who asks: the delivery and its fence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) seq: i64,
    pub(super) fence: Fence,
    pub(super) now: Timestamp,
}

fn number(number: u64) -> Cell<'static> {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

/// Puts a question, unless somebody else asks the same, it has been answered meanwhile, or the day's
/// questions are used up.
pub(super) async fn put(
    tx: &mut Tx,
    question: &NewQuestion,
    asker: Asker,
) -> Result<Outcome, GroupError> {
    let Some(quota) = &question.quota else { return put_today(tx, question, asker).await };
    if !take_one(tx, &question.instance, quota).await? {
        let known = known_already(tx, question, asker).await?;
        return Ok(known.unwrap_or(Outcome::NotToday));
    }
    let outcome = put_today(tx, question, asker).await?;
    if !matches!(outcome, Outcome::Asked { .. }) {
        give_back(tx, &question.instance, quota).await?;
    }
    Ok(outcome)
}

/// Takes one of the day's questions, where there is one left.
async fn take_one(tx: &mut Tx, instance: &str, quota: &Quota) -> Result<bool, GroupError> {
    if quota.most == 0 {
        return Ok(false);
    }
    let sql = "INSERT INTO quota (instance, operation, day, asked) VALUES ({0}, {1}, {2}, 1) \
        ON CONFLICT (instance, operation, day) DO UPDATE SET asked = quota.asked + 1 \
        WHERE quota.asked < {3} RETURNING asked";
    let mut scalars = bucket(instance, quota);
    scalars.push(number(quota.most));
    Ok(!tx.one(Statement::new(sql, scalars)).await?.is_empty())
}

async fn give_back(tx: &mut Tx, instance: &str, quota: &Quota) -> Result<(), GroupError> {
    let sql = "UPDATE quota SET asked = asked - 1 \
        WHERE instance = {0} AND operation = {1} AND day = {2}";
    tx.one(Statement::new(sql, bucket(instance, quota))).await.map(drop)
}

fn bucket<'q>(instance: &'q str, quota: &'q Quota) -> Vec<Cell<'q>> {
    vec![instance.into(), quota.operation.as_str().into(), quota.day.as_str().into()]
}

/// Whether somebody else asks the same, or it has been answered meanwhile.
async fn known_already(
    tx: &mut Tx,
    question: &NewQuestion,
    asker: Asker,
) -> Result<Option<Outcome>, GroupError> {
    if let Some(since) = asked_since(tx, question).await? {
        return Ok(Some(Outcome::AskedElsewhere { since }));
    }
    Ok(is_answered(tx, question, asker.now).await?.then_some(Outcome::Answered))
}

async fn put_today(
    tx: &mut Tx,
    question: &NewQuestion,
    asker: Asker,
) -> Result<Outcome, GroupError> {
    if let Some(asked) = take_over(tx, question, asker).await? {
        return Ok(asked);
    }
    if let Some(known) = known_already(tx, question, asker).await? {
        return Ok(known);
    }
    let drawn = draw(tx, &question.instance, asker.now).await?;
    let [incarnation, serial] = fenced(asker.fence);
    let insert = Statement::new(
        "INSERT INTO question (instance, number, fact, about, purpose, case_reference, asked_at, \
         delivery, incarnation, serial) VALUES ({0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}) \
         ON CONFLICT DO NOTHING RETURNING number",
        vec![
            question.instance.as_str().into(),
            number(drawn),
            question.fact.as_str().into(),
            (&question.about.0).into(),
            question.purpose.as_str().into(),
            question.case.as_str().into(),
            asker.now.0.into(),
            asker.seq.into(),
            incarnation,
            serial,
        ],
    );
    if tx.one(insert).await?.is_empty() {
        return Ok(Outcome::AskedElsewhere { since: asker.now });
    }
    tx.one(persons(&question.instance, drawn, &[question.person])).await?;
    Ok(Outcome::Asked { number: drawn, at: asker.now, case: question.case.clone() })
}

/// A question that is open and whose asker has stopped goes on under its number, unless the authority
/// does not take that any more.
async fn take_over(
    tx: &mut Tx,
    question: &NewQuestion,
    asker: Asker,
) -> Result<Option<Outcome>, GroupError> {
    let [incarnation, serial] = fenced(asker.fence);
    let sql = format!(
        "UPDATE question SET delivery = {{3}}, incarnation = {{4}}, serial = {{5}} \
         WHERE fact = {{0}} AND about = {{1}} AND purpose = {{2}} AND answered_at IS NULL \
         AND NOT {IS_ASKED} AND d.seq <> {{3}}) RETURNING number, asked_at, instance, case_reference"
    );
    let scalars = vec![
        question.fact.as_str().into(),
        (&question.about.0).into(),
        question.purpose.as_str().into(),
        asker.seq.into(),
        incarnation,
        serial,
    ];
    let found = tx.one(Statement::new(sql, scalars)).await?;
    let Some(row) = found.first() else { return Ok(None) };
    let (open, at, instance) = (count(row, 0)?, row.time(1)?, row.text(2)?);
    let is_same = question.stale != Some(open)
        && instance == question.instance
        && asker.now < at.after(question.same_for);
    if is_same {
        let case = row.text(3)?.to_owned();
        return Ok(Some(Outcome::Asked { number: open, at, case }));
    }
    put_anew(tx, question, asker.now, (instance, open)).await.map(Some)
}

/// What was open under a number that is no good any more is a new question.
async fn put_anew(
    tx: &mut Tx,
    question: &NewQuestion,
    now: Timestamp,
    (instance, open): (&str, u64),
) -> Result<Outcome, GroupError> {
    let drawn = draw(tx, &question.instance, now).await?;
    let values = || {
        let new = question.instance.as_str().into();
        vec![instance.to_owned().into(), number(open), new, number(drawn)]
    };
    let mut renewed = values();
    renewed.extend([now.0.into(), question.case.as_str().into()]);
    let set = "SET instance = {2}, number = {3}";
    let old = "WHERE instance = {0} AND number = {1}";
    tx.run(&[
        Statement::new(
            format!("UPDATE question {set}, asked_at = {{4}}, case_reference = {{5}}, outdated = 0 {old}"),
            renewed,
        ),
        Statement::new(format!("UPDATE question_person {set} {old}"), values()),
    ])
    .await?;
    Ok(Outcome::Asked { number: drawn, at: now, case: question.case.clone() })
}

async fn asked_since(tx: &mut Tx, question: &NewQuestion) -> Result<Option<Timestamp>, GroupError> {
    let sql = "SELECT asked_at FROM question WHERE fact = {0} AND about = {1} AND purpose = {2} \
        AND answered_at IS NULL";
    let found = tx.one(Statement::new(sql, same(question))).await?;
    Ok(found.first().map(|row| row.time(0)).transpose()?)
}

fn same(question: &NewQuestion) -> Vec<Cell<'_>> {
    let NewQuestion { fact, about, purpose, .. } = question;
    vec![fact.as_str().into(), (&about.0).into(), purpose.as_str().into()]
}

/// Whether an answer came that the asker has not looked at.
async fn is_answered(
    tx: &mut Tx,
    question: &NewQuestion,
    now: Timestamp,
) -> Result<bool, GroupError> {
    let sql = "SELECT number FROM question WHERE fact = {0} AND about = {1} AND purpose = {2} \
        AND answered_at IS NOT NULL AND fresh_until > {3} AND number > {4}";
    let mut scalars = same(question);
    scalars.push(now.0.into());
    scalars.push(number(question.past.unwrap_or(0)));
    Ok(!tx.one(Statement::new(sql, scalars)).await?.is_empty())
}

/// The next number of an authority. It is not below the time in microseconds: a ledger that was restored
/// from a backup gives no number again, under which an authority would give somebody else's answer again.
async fn draw(tx: &mut Tx, instance: &str, now: Timestamp) -> Result<u64, GroupError> {
    let sql = "INSERT INTO authority (instance, last) VALUES ({0}, {1}) ON CONFLICT (instance) \
        DO UPDATE SET last = CASE WHEN authority.last >= excluded.last THEN authority.last + 1 \
        ELSE excluded.last END RETURNING last";
    let least = now.0.max(0).saturating_mul(1000);
    let found = tx.one(Statement::new(sql, vec![instance.into(), least.into()])).await?;
    match found.first() {
        Some(row) => Ok(count(row, 0)?),
        None => Err(GroupError::Sql(sqlx::Error::RowNotFound)),
    }
}

fn count(row: &Found, at: usize) -> sqlx::Result<u64> {
    Ok(row.int(at)?.unsigned_abs())
}

fn persons<'a>(instance: &'a str, of: u64, all: &'a [Digest]) -> Statement<'a> {
    let mut rows = Rows::new(PERSON);
    for person in all {
        rows.push([(&person.0).into(), instance.into(), number(of)]);
    }
    Statement::over(
        "INSERT INTO question_person (person, instance, number) SELECT k_person, k_instance, \
         k_number FROM {rows} WHERE true ON CONFLICT DO NOTHING",
        vec![],
        rows,
    )
}

/// What a step that held writes of a fact.
pub(super) fn statements(seq: i64, rows: &FactRows, now: Timestamp) -> Vec<Statement<'_>> {
    let mut all = Vec::new();
    if let Some(answered) = &rows.answered {
        all.push(answer(answered, now));
        all.push(persons(&answered.instance, answered.number, &answered.persons));
    }
    if !rows.disclosures.is_empty() {
        all.push(disclosures(seq, &rows.disclosures));
    }
    all
}

fn answer(answered: &NewAnswer, now: Timestamp) -> Statement<'_> {
    let NewAnswer { instance, number: of, kept, .. } = answered;
    Statement::new(
        "UPDATE question SET answered_at = {2}, answer = {3}, value = {4}, parts = {5}, digest = {6}, \
         fresh_until = CASE WHEN outdated = 1 THEN {2} ELSE {7} END \
         WHERE instance = {0} AND number = {1} AND answered_at IS NULL",
        vec![
            instance.as_str().into(),
            number(*of),
            now.0.into(),
            kept.answer.word().into(),
            kept.value.to_string().into(),
            json(&kept.parts.paths()),
            (&kept.digest.0).into(),
            kept.fresh_until.0.into(),
        ],
    )
}

fn json(texts: &[String]) -> Cell<'static> {
    text_of(texts).into()
}

/// A list of texts, which always serialises.
fn text_of(texts: &[String]) -> String {
    serde_json::to_string(texts).unwrap_or_default()
}

fn disclosures(seq: i64, all: &[Disclosure]) -> Statement<'_> {
    let mut rows = Rows::new(DISCLOSURE);
    for one in all {
        rows.push([
            (&one.person.0).into(),
            one.key.as_str().into(),
            one.at.0.into(),
            one.fact.as_str().into(),
            json(&one.fields),
            one.purpose.as_str().into(),
            one.case.as_str().into(),
            json(&one.laws),
            one.source.as_str().into(),
            number(one.number),
            one.asked_case.as_deref().into(),
            one.answer.word().into(),
            one.fresh_until.0.into(),
            (&one.digest.0).into(),
            one.route.as_str().into(),
            (&one.route_digest.0).into(),
            one.actor.as_str().into(),
            seq.into(),
            one.step.as_str().into(),
            one.differs.as_deref().map(text_of).into(),
            one.concealed_until.map(|until| until.0).into(),
            one.keep_until.0.into(),
        ]);
    }
    Statement::over(
        "INSERT INTO disclosure (person, key, at, fact, fields, purpose, case_reference, laws, source, \
         number, asked_case, answer, fresh_until, digest, route, route_digest, actor, delivery, step, \
         differs, concealed_until, keep_until) SELECT k_person, k_key, k_at, k_fact, k_fields, \
         k_purpose, k_case, k_laws, \
         k_source, k_number, k_asked_case, k_answer, k_fresh, k_digest, k_route, k_route_digest, \
         k_actor, k_delivery, k_step, k_differs, k_concealed, k_keep FROM {rows} WHERE true \
         ON CONFLICT DO NOTHING",
        vec![],
        rows,
    )
}

/// Answers about these persons are good no more; one that is still awaited will not be.
pub(super) fn outdate<'a>(
    all: impl Iterator<Item = &'a Outdated>,
    now: Timestamp,
) -> Option<Statement<'a>> {
    let mut rows = Rows::new(OUTDATED);
    for outdated in all {
        for fact in &outdated.facts {
            for person in &outdated.persons {
                rows.push([fact.as_str().into(), (&person.0).into()]);
            }
        }
    }
    let sql = "UPDATE question SET outdated = 1, fresh_until = CASE WHEN answered_at IS NULL \
        THEN fresh_until ELSE {0} END FROM {rows} JOIN question_person AS p ON p.person = k_person \
        WHERE question.instance = p.instance AND question.number = p.number \
        AND question.fact = k_fact AND (answered_at IS NULL OR fresh_until > {0})";
    (!rows.is_empty()).then(|| Statement::over(sql, vec![now.0.into()], rows))
}

/// Values that are no longer fresh, questions that nobody needs, disclosures whose time is over; at most
/// [`TURN`] of each. One that was never answered goes too, unless somebody asks it now.
pub(super) async fn forget(
    tx: &mut Tx,
    now: Timestamp,
    before: Timestamp,
    told: &mut Forgotten,
) -> Result<(), GroupError> {
    let old = format!(
        "(SELECT instance, number FROM question WHERE asked_at <= {{0}} \
         AND (fresh_until <= {{1}} OR answered_at IS NULL AND NOT {IS_ASKED})) \
         ORDER BY asked_at, instance, number LIMIT {{2}})"
    );
    let of_old = || vec![before.0.into(), now.0.into(), TURN.into()];
    let due = || vec![now.0.into(), TURN.into()];
    let gone = tx
        .run(&[
            Statement::new(
                "UPDATE question SET value = NULL WHERE (instance, number) IN (SELECT instance, \
                 number FROM question WHERE value IS NOT NULL AND fresh_until <= {0} LIMIT {1}) \
                 RETURNING number",
                due(),
            ),
            Statement::new(
                format!("DELETE FROM question_person WHERE (instance, number) IN {old}"),
                of_old(),
            ),
            Statement::new(
                format!("DELETE FROM question WHERE (instance, number) IN {old} RETURNING number"),
                of_old(),
            ),
            Statement::new("DELETE FROM quota WHERE day < {0}", vec![day(before).into()]),
            Statement::new(
                "DELETE FROM disclosure WHERE seq IN (SELECT seq FROM disclosure \
                 WHERE keep_until <= {0} ORDER BY keep_until LIMIT {1}) RETURNING seq",
                due(),
            ),
        ])
        .await?;
    if let [values, _, questions, _, disclosures] = &gone[..] {
        told.values += values.len() as u64;
        told.questions += questions.len() as u64;
        told.disclosures += disclosures.len() as u64;
    }
    Ok(())
}

impl SqlLedger {
    /// What is known of a question, newest first: answers that are fresh at `now`, and what is open.
    pub(super) async fn read_known(
        &self,
        fact: &str,
        about: &Digest,
        now: Timestamp,
    ) -> Result<Vec<Put>, ReadError> {
        let sql = format!(
            "SELECT number, instance, purpose, case_reference, asked_at, answered_at, answer, value, \
             parts, digest, fresh_until, CASE WHEN {IS_ASKED}) THEN 1 ELSE 0 END FROM question \
             WHERE fact = {{0}} AND about = {{1}} AND (answered_at IS NULL OR fresh_until > {{2}}) \
             ORDER BY number DESC LIMIT 50"
        );
        let scalars = vec![fact.into(), (&about.0).into(), now.0.into()];
        let found = self.database.read(Statement::new(sql, scalars)).await?;
        found.iter().map(put_of).collect::<Result<_, _>>().map_err(unreadable)
    }

    /// Whom an answer concerns.
    pub(super) async fn read_persons(
        &self,
        instance: &str,
        of: u64,
    ) -> Result<Vec<Digest>, ReadError> {
        let sql = "SELECT person FROM question_person WHERE instance = {0} AND number = {1} \
            ORDER BY person";
        let found =
            self.database.read(Statement::new(sql, vec![instance.into(), number(of)])).await?;
        found.iter().map(|row| row.digest(0)).collect::<Result<_, _>>().map_err(unreadable)
    }

    /// What nobody conceals of what was told of a person, newest first, and how much there is of it.
    pub(super) async fn read_usages(
        &self,
        wanted: &Usages,
    ) -> Result<(u64, Vec<Disclosure>), ReadError> {
        let (from, until) = wanted.within;
        let mut scalars: Vec<Cell<'_>> = vec![from.0.into(), until.0.into(), wanted.now.0.into()];
        let mut among =
            "FROM disclosure JOIN {rows} ON person = k_person WHERE at >= {0} AND at < {1} \
            AND (concealed_until IS NULL OR concealed_until <= {2})"
                .to_owned();
        for purpose in &wanted.concealed {
            let _ = write!(among, " AND purpose <> {{{}}}", scalars.len());
            scalars.push(purpose.as_str().into());
        }
        let counted = format!("SELECT count(*) {among}");
        let counted = Statement::over(counted, scalars.clone(), named(&wanted.names));
        let counted = self.database.read(counted).await?;
        let total = counted.first().map(|row| count(row, 0)).transpose().map_err(unreadable)?;
        let (limit, offset) = (scalars.len(), scalars.len() + 1);
        let page = format!(
            "SELECT {DISCLOSED} {among} ORDER BY seq DESC LIMIT {{{limit}}} OFFSET {{{offset}}}"
        );
        scalars.extend([wanted.limit.into(), wanted.offset.into()]);
        let found = Statement::over(page, scalars, named(&wanted.names));
        let found = self.database.read(found).await?;
        let rows = found.iter().map(|row| disclosure_of(row).map(|(_, one)| one));
        Ok((total.unwrap_or(0), rows.collect::<Result<_, _>>().map_err(unreadable)?))
    }

    /// What was told of a person, newest first.
    pub(super) async fn read_disclosures(
        &self,
        names: &[Digest],
        (from, until): (Timestamp, Timestamp),
        (after, limit): (i64, u32),
    ) -> Result<Vec<(i64, Disclosure)>, ReadError> {
        let sql = format!(
            "SELECT {DISCLOSED} FROM disclosure JOIN {{rows}} ON person = k_person \
             WHERE at >= {{0}} AND at < {{1}} AND seq < {{2}} ORDER BY seq DESC LIMIT {{3}}"
        );
        let scalars = vec![from.0.into(), until.0.into(), after.into(), limit.into()];
        let found = self.database.read(Statement::over(sql, scalars, named(names))).await?;
        found.iter().map(disclosure_of).collect::<Result<_, _>>().map_err(unreadable)
    }
}

/// The columns that `disclosure_of` reads.
const DISCLOSED: &str = "seq, person, key, at, fact, fields, purpose, case_reference, laws, source, \
    number, asked_case, answer, fresh_until, digest, route, route_digest, actor, step, differs, \
    concealed_until, keep_until";

fn named(names: &[Digest]) -> Rows<'_> {
    const NAMES: Columns = &[("k_person", Blob)];
    let mut rows = Rows::new(NAMES);
    for name in names {
        rows.push([(&name.0).into()]);
    }
    rows
}

fn put_of(row: &Found) -> sqlx::Result<Put> {
    let answer = match row.maybe_time(5)? {
        Some(_) => Some(kept_of(row)?),
        None => None,
    };
    Ok(Put {
        number: count(row, 0)?,
        instance: row.text(1)?.to_owned(),
        purpose: row.text(2)?.to_owned(),
        case: row.text(3)?.to_owned(),
        asked_at: row.time(4)?,
        answer,
        is_asked: row.int(11)? > 0 && row.maybe_time(5)?.is_none(),
    })
}

fn kept_of(row: &Found) -> sqlx::Result<Kept> {
    let paths: Vec<String> = row.json(8)?;
    Ok(Kept {
        answer: answer_of(row, 6)?,
        value: row.json(7)?,
        parts: Parts::from_paths(paths.iter().map(String::as_str)),
        digest: row.digest(9)?,
        fresh_until: row.time(10)?,
    })
}

fn answer_of(row: &Found, at: usize) -> sqlx::Result<Answer> {
    let word = row.text(at)?;
    Answer::of_word(word).ok_or_else(|| sqlx::Error::Decode(format!("no answer in {at}").into()))
}

fn disclosure_of(row: &Found) -> sqlx::Result<(i64, Disclosure)> {
    let disclosure = Disclosure {
        person: row.digest(1)?,
        key: row.text(2)?.to_owned(),
        at: row.time(3)?,
        fact: row.text(4)?.to_owned(),
        fields: row.json(5)?,
        purpose: row.text(6)?.to_owned(),
        case: row.text(7)?.to_owned(),
        laws: row.json(8)?,
        source: row.text(9)?.to_owned(),
        number: count(row, 10)?,
        asked_case: row.maybe_text(11)?.map(str::to_owned),
        answer: answer_of(row, 12)?,
        fresh_until: row.time(13)?,
        digest: row.digest(14)?,
        route: row.text(15)?.to_owned(),
        route_digest: row.digest(16)?,
        actor: row.text(17)?.to_owned(),
        step: row.text(18)?.to_owned(),
        differs: row.maybe_text(19)?.map(|_| row.json(19)).transpose()?,
        concealed_until: row.maybe_time(20)?,
        keep_until: row.time(21)?,
    };
    Ok((row.int(0)?, disclosure))
}
