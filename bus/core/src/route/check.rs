//! The check of a whole house: every file, every mistake, in one run; then the routes that run.
//!
//! Invariant: routes come out only where no error was found; what passes here starts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    path::Path,
    sync::Arc,
    time::Duration,
};

use super::{
    Route, Routes, Taker, ask,
    build::{Targets, build},
    entries::entries,
    file::{self, RouteFile, StepFile, VerbFile, twice},
    suite::{self, Attachments, Suite},
};
use crate::{
    adapter::Operation,
    compliance::{self, Inventory},
    diagnostic::{Diagnostic, Place, Problems, SourceFile, Words, help_with_nearest},
    facts::{self, Around, Catalogue},
    party::{self, Parties, PartyFile, known_law},
    schema::Schemas,
    timestamp::Timestamp,
    types::library::Library,
    yaml::{
        self, Content,
        fields::{At, Fields, Known},
    },
};

/// Everything that a check reads.
#[derive(Clone, Debug, Default)]
pub struct House {
    /// `routes/*.yaml`.
    pub routes: Vec<Arc<SourceFile>>,
    /// `routes/purposes/*.yaml`.
    pub purposes: Vec<Arc<SourceFile>>,
    /// `routes/facts/*.yaml`.
    pub facts: Vec<Arc<SourceFile>>,
    /// `routes/laws.yaml`, where there is one.
    pub laws: Vec<Arc<SourceFile>>,
    /// `config/parties/*.yaml`.
    pub parties: Vec<Arc<SourceFile>>,
    /// `routes/*.test.yaml`.
    pub tests: Vec<Arc<SourceFile>>,
    /// What those name.
    pub attachments: Attachments,
    /// The schemas.
    pub schemas: Arc<Schemas>,
    /// The operations of every adapter instance.
    pub operations: BTreeMap<String, Vec<Operation>>,
    /// Adapter instances that could not be opened, which was said.
    pub unopened: BTreeSet<String>,
    /// Whether to say where the inference of types ends (SN0290).
    pub strict: bool,
    /// Whether the configuration says that this is production.
    pub production: bool,
}

/// What runs.
#[derive(Debug)]
pub struct Compiled {
    /// The routes, and who takes what.
    pub routes: Routes,
    /// The parties.
    pub parties: Parties,
    /// The tests of every route.
    pub suites: Vec<Suite>,
    /// What is asked of those who write to the house.
    pub inventory: Inventory,
}

/// A purpose of processing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// For people.
    pub title: String,
    /// The laws on which it rests.
    pub laws: Vec<String>,
    /// How long bodies are kept after the end.
    pub retention: Duration,
    /// How long it is kept who was told what about whom.
    pub disclosures: Duration,
    /// The entry of the record of processing (art. 30 GDPR).
    pub record: String,
    /// Where a law keeps it from the person that something is looked up.
    pub concealed: Option<Concealed>,
}

/// `concealed: { law, until }`: who was told what is told to nobody outside for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concealed {
    /// The law that says so.
    pub law: String,
    /// When it ends: with that day in Italy.
    pub until: Timestamp,
}

impl Purpose {
    /// Ten years: as long as a right that was hurt may be claimed (art. 2946 c.c.).
    pub const DISCLOSURES: Duration = Duration::from_hours(10 * 365 * 24);
}

const PURPOSE: Known = Known {
    what: "a purpose",
    keys: &["purpose", "title", "laws", "retention", "disclosures", "record", "concealed"],
    reserved: &["pdnd"],
};
const CONCEALED: Known = Known { what: "`concealed`", keys: &["law", "until"], reserved: &[] };
const LAW: Known =
    Known { what: "a law", keys: &["title", "article", "url", "note"], reserved: &[] };

/// Checks a house. The routes are there where no diagnostic is an error.
pub fn compile(house: &House) -> (Option<Compiled>, Vec<Diagnostic>) {
    let mut problems = Problems::default();
    let read = |file: &Arc<SourceFile>, problems: &mut Problems| file::read(file, problems);
    let files: Vec<RouteFile> =
        house.routes.iter().filter_map(|file| read(file, &mut problems)).collect();
    let read_laws: Vec<Option<Vec<String>>> =
        house.laws.iter().map(|file| laws(file, &mut problems)).collect();
    let laws_unread = read_laws.iter().any(Option::is_none);
    let known_laws: Vec<String> = read_laws.into_iter().flatten().flatten().collect();
    let purposes: BTreeMap<String, Option<Purpose>> =
        house.purposes.iter().map(|file| read_purpose(file, &known_laws, &mut problems)).collect();
    let parties: Vec<PartyFile> = house
        .parties
        .iter()
        .filter_map(|file| party::read(file, &house.schemas, &known_laws, &mut problems))
        .collect();
    let facts = read_facts(house, &known_laws, &purposes, &mut problems);
    let targets = Targets::new(&house.schemas, &house.operations, &facts).typed(house.strict);
    let mut targets = targets.without(&house.unopened);
    let built: Vec<Option<Route>> =
        files.iter().map(|file| build(file, &mut targets, &mut problems)).collect();
    let suites: Vec<Suite> = files
        .iter()
        .zip(&built)
        .map(|(file, route)| suite(house, (file, &facts), route.as_ref(), &mut problems))
        .collect();
    let mut graph = Graph {
        files: &files,
        parties: &parties,
        schemas: &house.schemas,
        routes_unread: files.len() < house.routes.len()
            || files.iter().any(|file| house.schemas.document(&file.from.value).is_none()),
        parties_unread: parties.len() < house.parties.len(),
        problems: &mut problems,
    };
    graph.check();
    graph.purposes(&purposes);
    let inventory = {
        let entries = entries(&files, &parties, graph.routes_unread);
        let (schemas, production) = (&*house.schemas, house.production);
        let around = compliance::Around { schemas, facts: &facts, laws: &known_laws, production };
        compliance::check(entries, &around, &mut problems)
    };
    if laws_unread {
        problems.forget("SN0307");
    }
    let checked = party::together(&parties, &mut problems);
    let purposes: BTreeMap<String, Purpose> =
        purposes.into_iter().filter_map(|(id, purpose)| Some((id, purpose?))).collect();
    let mut built: Vec<Route> = built.into_iter().flatten().collect();
    ask::share(&mut built);
    let compiled = (!problems.any_error()).then(|| Compiled {
        routes: Routes {
            refreshes: refreshes(&facts),
            purposes,
            ..running(built.into_iter(), &checked)
        },
        parties: checked,
        suites,
        inventory,
    });
    (compiled, problems.sorted())
}

pub(super) fn read_facts(
    house: &House,
    laws: &[String],
    purposes: &BTreeMap<String, Option<Purpose>>,
    problems: &mut Problems,
) -> Catalogue {
    let library = Library::new(&house.schemas);
    let purposes: Vec<&str> = purposes.keys().map(String::as_str).collect();
    let around = Around {
        schemas: &house.schemas,
        operations: &house.operations,
        is_unopened: &|instance| house.unopened.contains(instance),
        laws: Some(laws),
        purposes: Some(&purposes),
        library: Some(&library),
    };
    house.facts.iter().map(|file| facts::read(file, &around, problems)).collect()
}

/// Which facts a message of a type makes out of date.
fn refreshes(facts: &Catalogue) -> HashMap<String, Vec<String>> {
    let mut refreshes: HashMap<String, Vec<String>> = HashMap::new();
    for fact in facts.values().flatten() {
        for kind in &fact.refresh_on {
            refreshes.entry(kind.clone()).or_default().push(fact.name.clone());
        }
    }
    refreshes
}

/// The tests of a route: those in its file, then those beside it.
fn suite(
    house: &House,
    (written, known): (&RouteFile, &Catalogue),
    route: Option<&Route>,
    problems: &mut Problems,
) -> Suite {
    let name = written.name.value.clone();
    // Tests and their files lie beside the file, whatever the route in it is called.
    let path = &written.file.path;
    let stem = path.strip_prefix("routes/").unwrap_or(path);
    let stem = stem.strip_suffix(".yaml").unwrap_or(stem);
    let of = (stem, written.from.value.as_str());
    let files = &house.attachments;
    let mut tests = Vec::new();
    if let Some((_, node)) = &written.tests {
        tests.extend(suite::read(&written.file, node, of, files, problems));
    }
    let beside = format!("routes/{stem}.test.yaml");
    if let Some(file) = house.tests.iter().find(|file| file.path == beside)
        && let Some(node) = yaml::read(file, problems)
        && let Some(fields) = Fields::of(&node, file, &suite::TESTS, problems)
        && let Some(node) = fields.required("tests", problems)
    {
        tests.extend(suite::read(file, node, of, files, problems));
    }
    if let Some(route) = route {
        suite::check(&tests, route, problems);
    }
    let verifies = |fact: &str| {
        let fact = known.get(fact).and_then(Option::as_ref);
        fact.is_some_and(|fact| fact.kind == facts::Kind::Verification)
    };
    let (path, points) = (written.file.path.clone(), suite::points(written, verifies));
    Suite { route: name, path, tests, points }
}

/// The routes that run, and who takes what.
fn running(built: impl Iterator<Item = Route>, parties: &Parties) -> Routes {
    let mut routes = Routes::default();
    for route in built.map(Arc::new) {
        let takers: &mut Vec<Taker> = routes.takers.entry(route.from.clone()).or_default();
        takers.push(Taker::Route(Arc::clone(&route)));
        routes.by_digest.insert(route.digest, Arc::clone(&route));
        routes.by_name.insert(route.name.clone(), route);
    }
    for party in parties.iter() {
        for receives in party.receives.iter().filter(|receives| receives.all) {
            let takers = routes.takers.entry(receives.kind.clone()).or_default();
            takers.push(Taker::Party(party.id.clone()));
        }
    }
    let fetch = parties.iter().filter(|party| party.pulls());
    routes.inboxes = fetch.map(|party| party.id.clone()).collect();
    routes
}

/// The ids of `routes/laws.yaml`; `None` where it cannot be read, which was said.
pub fn laws(file: &Arc<SourceFile>, problems: &mut Problems) -> Option<Vec<String>> {
    let node = yaml::read(file, problems)?;
    let Content::Map(laws) = &node.content else {
        let help = "write `<id>: { title: … }` for each law";
        let words = Words::new("laws are a map", "not a map", help);
        problems.error("SN0111", Place::new(file, node.span.clone()), words);
        return None;
    };
    for (_, law) in laws {
        if let Some(fields) = Fields::of(law, file, &LAW, problems) {
            fields.required_text("title", problems);
        }
    }
    Some(laws.iter().map(|(key, _)| key.text.clone()).collect())
}

/// A purpose and its id, which is the name of its file.
fn read_purpose(
    file: &Arc<SourceFile>,
    laws: &[String],
    problems: &mut Problems,
) -> (String, Option<Purpose>) {
    let stem = Path::new(&file.path).file_stem().and_then(|stem| stem.to_str());
    let id = stem.unwrap_or_default().to_owned();
    let purpose = purpose(file, &id, laws, problems);
    (id, purpose)
}

fn purpose(
    file: &Arc<SourceFile>,
    id: &str,
    laws: &[String],
    problems: &mut Problems,
) -> Option<Purpose> {
    let node = yaml::read(file, problems)?;
    let fields = Fields::of(&node, file, &PURPOSE, problems)?;
    if let Some(written) = fields.text("purpose", problems).filter(|name| name.value != id) {
        let help = format!("write `{id}`, or rename the file");
        let words = Words::new("a purpose has the name of its file", "another name", help);
        problems.error("SN0112", Place::new(file, written.span), words);
    }
    let title = fields.required_text("title", problems);
    fields.required("laws", problems);
    let cited = fields.texts("laws", problems);
    for law in &cited {
        known_law(file, law, laws, problems);
    }
    let retention =
        fields.required("retention", problems).and_then(|_| fields.duration("retention", problems));
    let disclosures = match fields.get("disclosures") {
        Some(_) => fields.duration("disclosures", problems),
        None => Some(At { value: Purpose::DISCLOSURES, span: 0..0 }),
    };
    let record = fields.required_text("record", problems);
    let concealed = match fields.get("concealed") {
        Some(node) => Some(concealed(file, node, laws, problems)?),
        None => None,
    };
    Some(Purpose {
        concealed,
        title: title?.value,
        laws: cited.into_iter().map(|law| law.value).collect(),
        retention: retention?.value,
        disclosures: disclosures?.value,
        record: record?.value,
    })
}

fn concealed(
    file: &Arc<SourceFile>,
    node: &yaml::Node,
    laws: &[String],
    problems: &mut Problems,
) -> Option<Concealed> {
    let fields = Fields::of(node, file, &CONCEALED, problems)?;
    let law = fields.required_text("law", problems);
    let until = fields.required_text("until", problems);
    let (law, until) = (law?, until?);
    known_law(file, &law, laws, problems);
    let Some(end) = Timestamp::end_of_day(&until.value) else {
        let help = "write the last day in quotes: \"2027-12-31\"";
        let words = Words::new("`until` is a date", "not a date", help);
        problems.error("SN0175", Place::new(file, until.span), words);
        return None;
    };
    Some(Concealed { law: law.value, until: end })
}

/// Who emits what and who takes it.
struct Graph<'g> {
    files: &'g [RouteFile],
    parties: &'g [PartyFile],
    schemas: &'g Schemas,
    /// A route could not be read, or not what it takes: it is not known who takes what.
    routes_unread: bool,
    /// A party could not be read: it is not known who receives what.
    parties_unread: bool,
    problems: &'g mut Problems,
}

impl<'g> Graph<'g> {
    fn check(&mut self) {
        self.names();
        self.claimed();
        self.conditional();
        self.clocks();
        self.addressed();
        self.cycles();
        self.sent();
    }

    fn names(&mut self) {
        for (index, route) in self.files.iter().enumerate() {
            let name = &route.name;
            let first = self.files[..index].iter().find(|first| first.name.value == name.value);
            if let Some(first) = first.filter(|_| !name.span.is_empty()) {
                // Of a copy and its original, the copy has the name that its file does not have.
                let copied = has_name_of_file(route) && !has_name_of_file(first);
                let (first, second) = if copied { (route, first) } else { (first, route) };
                let place = Place::new(&first.file, first.name.span.clone());
                twice(&second.file, "routes", &second.name, &place, self.problems);
            }
        }
    }

    fn purposes(&mut self, purposes: &BTreeMap<String, Option<Purpose>>) {
        for route in self.files {
            let At { value: purpose, span } = &route.purpose;
            if span.is_empty() || purposes.contains_key(purpose) {
                continue;
            }
            let known = purposes.keys().map(String::as_str);
            let help = help_with_nearest(purpose, known, "purposes in routes/purposes/");
            let title = format!("there is no purpose `{purpose}`");
            self.error(route, span, "SN0306", Words::new(title, "no such purpose", help));
        }
    }

    fn emits(
        &self,
    ) -> impl Iterator<Item = (&'g RouteFile, &'g StepFile, &'g At<String>)> + use<'g> {
        let each =
            |route: &'g RouteFile| route.emits().map(move |(step, kind)| (route, step, kind));
        self.files.iter().flat_map(each)
    }

    fn takes_all(&self, kind: &str) -> bool {
        let all = |(received, all): &(At<String>, bool)| *all && received.value == kind;
        self.parties.iter().any(|party| party.receives.iter().any(all))
    }

    fn takers(&self, kind: &str) -> impl Iterator<Item = &'g RouteFile> + use<'g> {
        let kind = kind.to_owned();
        self.files.iter().filter(move |route| route.from.value == kind)
    }

    /// A type that is emitted must be taken.
    fn claimed(&mut self) {
        if self.routes_unread || self.parties_unread {
            return;
        }
        for (route, step, kind) in self.emits() {
            let addressed = matches!(&step.verb, VerbFile::Emit { to: Some(_), .. });
            let claimed = addressed
                || self.takers(&kind.value).next().is_some()
                || self.takes_all(&kind.value)
                || self.schemas.unclaimed_is_discarded(&kind.value)
                || self.schemas.document(&kind.value).is_none();
            if !claimed {
                let help = "write a route with this type in `from`, a party that receives all of it, `to:` \
                            with a party that receives it, or `x-unclaimed: discard` into its schema";
                let title = format!("nobody takes `{}`", kind.value);
                self.error(route, &kind.span, "SN0302", Words::new(title, "emitted here", help));
            }
        }
    }

    /// A type whose takers all have a `when` may be taken by nobody.
    fn conditional(&mut self) {
        if self.routes_unread || self.parties_unread {
            return;
        }
        for route in self.files {
            let kind = &route.from.value;
            let Some(when) = &route.when else { continue };
            let first = self.takers(kind).next().is_some_and(|first| std::ptr::eq(first, route));
            let sure = self.takers(kind).any(|taker| taker.when.is_none())
                || self.takes_all(kind)
                || self.is_always_addressed(kind)
                || self.schemas.unclaimed_is_discarded(kind)
                || self.schemas.document(kind).is_none();
            if first && !sure {
                let help =
                    "add a route for the rest, or `x-unclaimed: discard` to the type's schema";
                let title = format!("every taker of `{kind}` has a condition");
                let words = Words::new(title, "who takes the others?", help);
                self.error(route, &when.span, "SN0309", words);
            }
        }
    }

    /// Whether whoever makes messages of a type says to whom they go.
    fn is_always_addressed(&self, kind: &str) -> bool {
        let mut emits = self.emits().filter(|(_, _, emitted)| emitted.value == kind).peekable();
        let emitted = emits.peek().is_some();
        emitted
            && emits.all(|(_, step, _)| matches!(&step.verb, VerbFile::Emit { to: Some(_), .. }))
            && !self.parties.iter().any(|party| party.sends.iter().any(|sent| sent.value == kind))
            && !self.takers(kind).any(|taker| taker.schedule.is_some())
    }

    /// Two clocks of one type would start each other's routes.
    fn clocks(&mut self) {
        for (index, route) in self.files.iter().enumerate() {
            let same = |first: &&RouteFile| {
                first.schedule.is_some() && first.from.value == route.from.value
            };
            let first = self.files[..index].iter().find(same);
            if let Some(first) = first.filter(|_| route.schedule.is_some()) {
                let title = format!("two clocks give `{}`", route.from.value);
                let help = format!(
                    "give it a type of its own, or take the type of `{}` without a clock: `from: {}`",
                    first.name.value, route.from.value
                );
                let words = Words::new(title, "the second one", help);
                self.error(route, &route.from.span, "SN0311", words);
            }
        }
    }

    /// A party that is named must exist and receive the type.
    fn addressed(&mut self) {
        for (route, step, kind) in self.emits() {
            let VerbFile::Emit { to: Some(to), .. } = &step.verb else { continue };
            let one = std::slice::from_ref(to);
            let named = if let Content::List(items) = &to.content { items } else { one };
            for node in named {
                if let Content::Text(id) = &node.content
                    && !id.contains("${")
                {
                    self.addressee(route, kind, id, &node.span);
                }
            }
        }
    }

    fn addressee(&mut self, route: &RouteFile, kind: &At<String>, id: &str, span: &Range<usize>) {
        let Some(party) = self.parties.iter().find(|party| party.id.value == id) else {
            if self.parties_unread {
                return;
            }
            let known = self.parties.iter().map(|party| party.id.value.as_str());
            let help = help_with_nearest(id, known, "parties in config/parties/");
            let words = Words::new(format!("there is no party `{id}`"), "no such party", help);
            self.error(route, span, "SN0422", words);
            return;
        };
        let unknown =
            |(received, _): &(At<String>, bool)| self.schemas.document(&received.value).is_none();
        let receives = party.receives.iter().any(|(received, _)| received.value == kind.value);
        if !receives && !party.receives.iter().any(unknown) {
            let title = format!("`{id}` does not receive `{}`", kind.value);
            let help =
                format!("add `{{ type: {} }}` to `receives` of {}", kind.value, party.file.path);
            self.error(route, span, "SN0423", Words::new(title, "addressed here", help));
        }
    }

    /// A message must not come back to the route that made it.
    fn cycles(&mut self) {
        let number =
            |route: &RouteFile| self.files.iter().position(|known| std::ptr::eq(known, route));
        let edges: Vec<Edge<'g>> = self
            .emits()
            .flat_map(|(route, _, kind)| {
                self.takers(&kind.value).map(move |taker| (route, kind, taker))
            })
            .filter_map(|(route, kind, taker)| Some((number(route)?, kind, number(taker)?)))
            .collect();
        let mut said: Vec<Vec<usize>> = Vec::new();
        for (from, kind, taker) in &edges {
            let Some(mut way) = way(&edges, *taker, *from) else { continue };
            let names: Vec<&str> =
                way.iter().map(|at| self.files[*at].name.value.as_str()).collect();
            let route = &self.files[*from];
            let shown = format!("{} → {}", route.name.value, names.join(" → "));
            way.sort_unstable();
            if said.contains(&way) {
                continue;
            }
            said.push(way);
            let help = format!("the messages go round: {shown}; let one of them emit another type");
            let title = format!("`{}` leads back to the route that emits it", kind.value);
            self.error(route, &kind.span, "SN0308", Words::new(title, "a cycle", help));
        }
    }

    /// What a party may send must be taken.
    fn sent(&mut self) {
        if self.routes_unread {
            return;
        }
        for party in self.parties {
            for kind in &party.sends {
                let known = self.schemas.document(&kind.value).is_some();
                let taken = self.takers(&kind.value).next().is_some()
                    || self.takes_all(&kind.value)
                    || self.schemas.unclaimed_is_discarded(&kind.value);
                if known && !taken {
                    let title = format!(
                        "`{}` may send `{}`, which nobody takes",
                        party.id.value, kind.value
                    );
                    let help = "write a route with this type in `from`, or take it from `sends`";
                    let place = Place::new(&party.file, kind.span.clone());
                    self.problems.error(
                        "SN0310",
                        place,
                        Words::new(title, "taken by nobody", help),
                    );
                }
            }
        }
    }

    fn error(&mut self, route: &RouteFile, span: &Range<usize>, code: &'static str, words: Words) {
        self.problems.error(code, Place::new(&route.file, span.clone()), words);
    }
}

/// Whether a route is called as its file is.
fn has_name_of_file(route: &RouteFile) -> bool {
    Path::new(&route.file.path).file_stem().is_some_and(|stem| stem == route.name.value.as_str())
}

/// A route emits a type that a route takes; the routes by their place in the list of files.
type Edge<'e> = (usize, &'e At<String>, usize);

/// The routes on the way from `from` to `to`, both included.
fn way(edges: &[Edge<'_>], from: usize, to: usize) -> Option<Vec<usize>> {
    let mut before: HashMap<usize, Option<usize>> = HashMap::from([(from, None)]);
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        if at == to {
            let mut way: Vec<usize> =
                std::iter::successors(Some(at), |at| before.get(at).copied().flatten()).collect();
            way.reverse();
            return Some(way);
        }
        for (_, _, next) in edges.iter().filter(|(emitter, ..)| *emitter == at) {
            before.entry(*next).or_insert_with(|| {
                open.push(*next);
                Some(at)
            });
        }
    }
    None
}
