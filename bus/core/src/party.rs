//! Parties: external bodies, what they may send, what they receive, how they are known.
//!
//! Invariant: ids and tokens are unique; a party receives a type unasked only under a law.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    diagnostic::{Place, Problems, SourceFile, Words, help_with_nearest},
    ids::Digest,
    route::file::{is_name, twice},
    schema::Schemas,
    yaml::{
        self, Content, Node,
        fields::{At, Fields, Known, list},
    },
};

/// One external body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its id.
    pub id: String,
    /// For people.
    pub title: String,
    /// Its code in the index of public administrations.
    pub ipa: Option<String>,
    /// SHA-256 of its token.
    pub token: Digest,
    /// The types that it may send.
    pub sends: Vec<String>,
    /// The types that it receives.
    pub receives: Vec<Receives>,
    /// How its messages reach it; none for a party that only sends.
    pub way: Option<Way>,
    /// How much it may send.
    pub limits: Limits,
    /// Whether it may ask who was told what about a person, to show it to that person.
    pub searches_disclosures: bool,
}

/// A type that a party receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receives {
    /// The type.
    pub kind: String,
    /// All messages of the type, addressed to it or not.
    pub all: bool,
    /// The law under which it receives all of them.
    pub law: Option<String>,
}

/// How a party gets what it is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is put into a queue of the party.
    Queue(PartyQueue),
    /// It waits in the ledger until the party has fetched it and said so.
    Inbox,
}

/// A queue in the party's own vhost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartyQueue {
    /// The vhost.
    pub vhost: String,
    /// The queue.
    pub name: String,
}

/// How much a party may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `20/s`.
    pub rate: Option<Rate>,
}

/// So many messages in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; not zero.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

impl Party {
    /// Its queue, where it has one.
    pub fn queue(&self) -> Option<&PartyQueue> {
        match &self.way {
            Some(Way::Queue(queue)) => Some(queue),
            Some(Way::Inbox) | None => None,
        }
    }

    /// Whether it fetches what it is owed.
    pub fn pulls(&self) -> bool {
        self.way == Some(Way::Inbox)
    }
}

/// The parties of a configuration. Immutable.
#[derive(Clone, Debug, Default)]
pub struct Parties(BTreeMap<String, Arc<Party>>);

impl Parties {
    /// The party called `id`.
    pub fn get(&self, id: &str) -> Option<&Arc<Party>> {
        self.0.get(id)
    }

    /// The party whose token has this digest.
    ///
    /// What is compared is a digest of 32 random bytes, so how long it takes says nothing of use.
    pub fn by_token(&self, token: &Digest) -> Option<&Arc<Party>> {
        self.0.values().find(|party| party.token == *token)
    }

    /// Every party, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Party>> {
        self.0.values()
    }

    /// Whether messages of `kind` may be addressed to `party`.
    pub fn may_receive(&self, party: &str, kind: &str) -> bool {
        let party = self.get(party);
        party.is_some_and(|party| party.receives.iter().any(|receives| receives.kind == kind))
    }
}

/// A party as written.
#[derive(Debug)]
pub(crate) struct PartyFile {
    pub(crate) file: Arc<SourceFile>,
    pub(crate) id: At<String>,
    pub(crate) sends: Vec<At<String>>,
    /// The types that it receives, and whether all.
    pub(crate) receives: Vec<(At<String>, bool)>,
    party: Option<Party>,
    token: Option<At<Digest>>,
}

const PARTY: Known = Known {
    what: "a party",
    keys: &[
        "party", "title", "ipa", "token", "sends", "receives", "queue", "inbox", "limits",
        "searches",
    ],
    reserved: &["webhook", "asks", "jwt", "mtls"],
};
const DISCLOSURES: &str = "disclosures";
const TOKEN: Known = Known { what: "`token`", keys: &["sha256"], reserved: &[] };
const RECEIVES: Known =
    Known { what: "an entry of `receives`", keys: &["type", "all", "law"], reserved: &[] };
const QUEUE: Known = Known { what: "`queue`", keys: &["vhost", "name"], reserved: &[] };
const LIMITS: Known = Known { what: "`limits`", keys: &["rate"], reserved: &[] };

/// Reads a party's file.
pub(crate) fn read(
    file: &Arc<SourceFile>,
    schemas: &Schemas,
    laws: &[String],
    problems: &mut Problems,
) -> Option<PartyFile> {
    let node = yaml::read(file, problems)?;
    let fields = Fields::of(&node, file, &PARTY, problems)?;
    let id = fields.required_text("party", problems);
    if let Some(id) = id.as_ref().filter(|id| !is_name(&id.value, '-')) {
        let help = "write small letters, digits and `-`, first a letter";
        let words = Words::new(format!("`{}` is no id of a party", id.value), "not an id", help);
        problems.error("SN0112", Place::new(file, id.span.clone()), words);
    }
    let title = fields.required_text("title", problems);
    let ipa = fields.text("ipa", problems).map(|ipa| ipa.value);
    let token = fields.required("token", problems).and_then(|node| token(file, node, problems));
    let sends = fields.texts("sends", problems);
    for kind in &sends {
        known_type(file, kind, schemas, problems);
    }
    let items = fields.get("receives").map_or(&[][..], |node| list(file, node, problems));
    let mut reader = ReceivesReader { file, schemas, laws, problems };
    let received: Vec<(At<String>, Receives)> =
        items.iter().filter_map(|item| reader.read(item)).collect();
    let way = way(file, &fields, received.first().map(|(kind, _)| kind), problems);
    let limits = fields.get("limits").map(|node| limits(file, node, problems));
    let searches = searches(file, &fields, problems);
    let id = id?;
    let party = party(&id, title, ipa, token.as_ref(), &sends, &received, way, limits, searches);
    let receives = received.into_iter().map(|(kind, entry)| (kind, entry.all)).collect();
    Some(PartyFile { file: Arc::clone(file), id, sends, receives, party, token })
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one file, each wrong or right on its own"
)]
#[expect(clippy::option_option, reason = "not written, written and wrong, written and right")]
fn party(
    id: &At<String>,
    title: Option<At<String>>,
    ipa: Option<String>,
    token: Option<&At<Digest>>,
    sends: &[At<String>],
    receives: &[(At<String>, Receives)],
    way: Option<Option<Way>>,
    limits: Option<Option<Limits>>,
    searches_disclosures: bool,
) -> Option<Party> {
    Some(Party {
        id: id.value.clone(),
        title: title?.value,
        ipa,
        token: token?.value,
        sends: sends.iter().map(|kind| kind.value.clone()).collect(),
        receives: receives.iter().map(|(_, entry)| entry.clone()).collect(),
        way: match way {
            Some(way) => Some(way?),
            None => None,
        },
        limits: limits.unwrap_or_else(|| Some(Limits::default()))?,
        searches_disclosures,
    })
}

/// What it may look for.
fn searches(file: &Arc<SourceFile>, fields: &Fields<'_>, problems: &mut Problems) -> bool {
    let all = fields.texts("searches", problems);
    for other in all.iter().filter(|word| word.value != DISCLOSURES) {
        let help =
            "write `searches: [disclosures]` where the party shows people who has used their data";
        let title = format!("`{}` is nothing that a party searches", other.value);
        let words = Words::new(title, "not known", help);
        problems.error("SN0429", Place::new(file, other.span.clone()), words);
    }
    all.iter().any(|word| word.value == DISCLOSURES)
}

fn token(file: &Arc<SourceFile>, node: &Node, problems: &mut Problems) -> Option<At<Digest>> {
    let fields = Fields::of(node, file, &TOKEN, problems)?;
    let At { value, span } = fields.required_text("sha256", problems)?;
    let digest = Digest::from_hex(&value);
    if digest.is_none() {
        let help = "write the 64 hexadecimal digits of the SHA-256 of the token, never the token";
        let words = Words::new("this is no SHA-256", "not 64 hexadecimal digits", help);
        problems.error("SN0421", Place::new(file, span.clone()), words);
    }
    digest.map(|value| At { value, span })
}

fn known_type(
    file: &Arc<SourceFile>,
    kind: &At<String>,
    schemas: &Schemas,
    problems: &mut Problems,
) {
    if schemas.document(&kind.value).is_none() && !schemas.is_broken(&kind.value) {
        let help = help_with_nearest(&kind.value, schemas.kinds(), "types in schemas/");
        let words = Words::new(format!("there is no type `{}`", kind.value), "no such type", help);
        problems.error("SN0301", Place::new(file, kind.span.clone()), words);
    }
}

struct ReceivesReader<'r> {
    file: &'r Arc<SourceFile>,
    schemas: &'r Schemas,
    laws: &'r [String],
    problems: &'r mut Problems,
}

impl ReceivesReader<'_> {
    fn read(&mut self, node: &Node) -> Option<(At<String>, Receives)> {
        let fields = Fields::of(node, self.file, &RECEIVES, self.problems)?;
        let kind = fields.required_text("type", self.problems)?;
        known_type(self.file, &kind, self.schemas, self.problems);
        let all = fields.get("all").is_some_and(|node| self.boolean(node));
        let law = fields.text("law", self.problems);
        if let Some(law) = law.as_ref() {
            known_law(self.file, law, self.laws, self.problems);
        }
        if all && fields.get("law").is_none() {
            let help = "add `law:` with the id of the law that entitles it, from routes/laws.yaml";
            let words =
                Words::new("a party receives all of a type only under a law", "no law", help);
            self.problems.error("SN0424", Place::new(self.file, kind.span.clone()), words);
        }
        let law = law.map(|law| law.value);
        let entry = Receives { kind: kind.value.clone(), all, law };
        Some((kind, entry))
    }

    fn boolean(&mut self, node: &Node) -> bool {
        match &node.content {
            Content::Plain(serde_json::Value::Bool(all)) => return *all,
            Content::Refused => {}
            _ => {
                let words = Words::new("true or false is expected", "neither", "write `true`");
                self.problems.error("SN0111", Place::new(self.file, node.span.clone()), words);
            }
        }
        false
    }
}

/// Says that a law is not in `routes/laws.yaml`.
pub(crate) fn known_law(
    file: &Arc<SourceFile>,
    law: &At<String>,
    laws: &[String],
    problems: &mut Problems,
) {
    if !laws.contains(&law.value) {
        let help = help_with_nearest(
            &law.value,
            laws.iter().map(String::as_str),
            "laws of routes/laws.yaml",
        );
        let words = Words::new(format!("there is no law `{}`", law.value), "no such law", help);
        problems.error("SN0307", Place::new(file, law.span.clone()), words);
    }
}

/// The one way that the file says. `received` is the first type that the party receives.
#[expect(clippy::option_option, reason = "not written, written and wrong, written and right")]
fn way(
    file: &Arc<SourceFile>,
    fields: &Fields<'_>,
    received: Option<&At<String>>,
    problems: &mut Problems,
) -> Option<Option<Way>> {
    match (fields.get("queue"), fields.get("inbox"), received) {
        (Some(_), Some(inbox), _) => {
            let help = "keep `queue` for a party that reads from RabbitMQ, `inbox: pull` for one \
                        that fetches over HTTP";
            let words = Words::new("a party has one way to receive", "a second way", help);
            problems.error("SN0426", Place::new(file, inbox.span.clone()), words);
            Some(None)
        }
        (Some(queue), None, _) => Some(self::queue(file, queue, problems)),
        (None, Some(inbox), _) => Some(self::inbox(file, inbox, problems)),
        (None, None, Some(kind)) => {
            let help = "add `inbox: pull`, or `queue: { vhost: …, name: … }`";
            let title = "a party that receives must say how";
            let words = Words::new(title, "nowhere to put it", help);
            problems.error("SN0428", Place::new(file, kind.span.clone()), words);
            Some(None)
        }
        (None, None, None) => None,
    }
}

fn inbox(file: &Arc<SourceFile>, node: &Node, problems: &mut Problems) -> Option<Way> {
    match &node.content {
        Content::Text(word) if word == "pull" => return Some(Way::Inbox),
        Content::Refused => {}
        _ => {
            let help = "write `inbox: pull`: the party fetches with GET /v1/inbox";
            let words = Words::new("an inbox is `pull`", "not `pull`", help);
            problems.error("SN0427", Place::new(file, node.span.clone()), words);
        }
    }
    None
}

fn queue(file: &Arc<SourceFile>, node: &Node, problems: &mut Problems) -> Option<Way> {
    let fields = Fields::of(node, file, &QUEUE, problems)?;
    let vhost = fields.required_text("vhost", problems);
    let name = fields.required_text("name", problems);
    Some(Way::Queue(PartyQueue { vhost: vhost?.value, name: name?.value }))
}

fn limits(file: &Arc<SourceFile>, node: &Node, problems: &mut Problems) -> Option<Limits> {
    let fields = Fields::of(node, file, &LIMITS, problems)?;
    if fields.get("rate").is_none() {
        return Some(Limits::default());
    }
    let At { value, span } = fields.text("rate", problems)?;
    let rate = rate(&value);
    if rate.is_none() {
        let words = Words::new(format!("`{value}` is no rate"), "not understood", "write `20/s`");
        problems.error("SN0116", Place::new(file, span), words);
    }
    rate.map(|rate| Limits { rate: Some(rate) })
}

/// Reads `20/s`, `600/m`.
fn rate(text: &str) -> Option<Rate> {
    let (count, unit) = text.split_once('/')?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let count = count.parse().ok().filter(|count| *count > 0)?;
    Some(Rate { count, per: Duration::from_secs(seconds) })
}

/// The parties of all files; what is there twice is said.
pub(crate) fn together(files: &[PartyFile], problems: &mut Problems) -> Parties {
    let mut parties = BTreeMap::new();
    for (index, written) in files.iter().enumerate() {
        let before = &files[..index];
        if let Some(first) = before.iter().find(|first| first.id.value == written.id.value) {
            let first = Place::new(&first.file, first.id.span.clone());
            twice(&written.file, "parties", &written.id, &first, problems);
        }
        let Some(token) = &written.token else { continue };
        let same = |first: &&PartyFile| {
            first.token.as_ref().is_some_and(|known| known.value == token.value)
        };
        if let Some(first) = before.iter().find(same) {
            let title = format!("`{}` has the token of `{}`", written.id.value, first.id.value);
            let words = Words::new(title, "the same token", "give every party a token of its own");
            let place = Place::new(&written.file, token.span.clone());
            problems.error("SN0425", place, words);
        }
        parties.extend(written.party.clone().map(|party| (party.id.clone(), Arc::new(party))));
    }
    Parties(parties)
}
