//! The file of a fact, `routes/facts/<fact>.yaml`, read and checked against what it names.
//!
//! Invariant: a fact comes out only where its authority can be asked as the file says.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde_json::Value;

use super::{Fact, Kind, OUTCOME, VERDICTS};
use crate::{
    adapter::Operation,
    diagnostic::{Place, Problems, SourceFile, Words, help_with_nearest},
    party::known_law,
    route::file::is_name,
    schema::Schemas,
    template::{Template, compile::Templates},
    types::{
        Kind as TypeKind, Type,
        bugs::{Bug, seeded},
        fits::{self, Misfit},
        infer::Context,
        library::Library,
    },
    yaml::{
        self, Node,
        fields::{At, Fields, Known},
    },
};

pub(crate) const FACT: Known = Known {
    what: "a fact",
    keys: &[
        "fact",
        "title",
        "kind",
        "held_by",
        "query",
        "about",
        "schema",
        "subjects",
        "law",
        "fresh_for",
        "refresh_on",
        "reusable_for",
        "terms",
        "documents",
    ],
    reserved: &["quota"],
};

/// What a fact may name.
pub(crate) struct Around<'h> {
    pub(crate) schemas: &'h Schemas,
    pub(crate) operations: &'h BTreeMap<String, Vec<Operation>>,
    /// Whether an instance is there that could not be opened.
    pub(crate) is_unopened: &'h dyn Fn(&str) -> bool,
    /// None where the laws could not be read, and in the ledger's copies.
    pub(crate) laws: Option<&'h [String]>,
    /// None in the ledger's copies.
    pub(crate) purposes: Option<&'h [&'h str]>,
    /// None where types are not checked.
    pub(crate) library: Option<&'h Library<'h>>,
}

/// Reads a fact; with its name, which is there also where it is wrong.
pub(crate) fn read(
    file: &Arc<SourceFile>,
    around: &Around<'_>,
    problems: &mut Problems,
) -> (String, Option<Arc<Fact>>) {
    let stem = Path::new(&file.path).file_stem().and_then(|stem| stem.to_str());
    let id = stem.unwrap_or_default().to_owned();
    let mut reader = Reader { file, around, problems };
    let fact = reader.fact(&id);
    (id, fact.map(Arc::new))
}

struct Reader<'r, 'h> {
    file: &'r Arc<SourceFile>,
    around: &'r Around<'h>,
    problems: &'r mut Problems,
}

impl<'h> Reader<'_, 'h> {
    fn fact(&mut self, id: &str) -> Option<Fact> {
        let node = yaml::read(self.file, self.problems)?;
        let fields = Fields::of(&node, self.file, &FACT, self.problems)?;
        self.named(&fields, id);
        let title = fields.text("title", self.problems).map(|title| title.value);
        let kind = self.kind(&fields);
        let operation = self.question(&fields);
        let about = fields.required_text("about", self.problems);
        let about_is_asked = self.about_is_asked(operation.as_ref(), about.as_ref());
        let schema = self.schema(&fields, kind?);
        let of = self.type_of(schema.as_ref().and_then(Option::as_ref), kind?);
        let answers = self.answers(operation.as_ref(), schema.as_ref(), kind?);
        let subjects = fields.get("subjects").map(|node| self.subjects(node, of));
        fields.required("law", self.problems);
        let laws = self.laws(&fields);
        let fresh_for = fields.required("fresh_for", self.problems);
        let fresh_for = fresh_for.and_then(|_| fields.duration("fresh_for", self.problems));
        let refresh_on = self.refresh_on(&fields);
        let reusable_for = self.reusable_for(&fields);
        let terms = fields.texts("terms", self.problems);
        let documents = fields.texts("documents", self.problems);
        let (held_by, operation) = operation?;
        let schema = schema?.map(|schema| schema.value);
        let validator = match &schema {
            Some(schema) => Some(self.around.schemas.validator(schema)?.clone()),
            None => None,
        };
        let subjects = match subjects {
            Some(subjects) => Some(subjects?),
            None => None,
        };
        (about_is_asked && answers).then_some(())?;
        Some(Fact {
            name: id.to_owned(),
            title: title.unwrap_or_else(|| id.to_owned()),
            held_by,
            operation: operation.clone(),
            about: about?.value,
            kind: kind?,
            schema,
            validator,
            subjects,
            laws,
            fresh_for: fresh_for?.value,
            refresh_on,
            reusable_for,
            terms: terms.into_iter().map(|term| term.value).collect(),
            documents: documents.into_iter().map(|document| document.value).collect(),
            file: Arc::clone(self.file),
        })
    }

    fn error(&mut self, code: &'static str, span: std::ops::Range<usize>, words: Words) {
        self.problems.error(code, Place::new(self.file, span), words);
    }

    fn named(&mut self, fields: &Fields<'_>, id: &str) {
        let Some(written) = fields.required_text("fact", self.problems) else { return };
        if written.value != id {
            let help = format!("write `{id}`, or rename the file");
            let words = Words::new("a fact has the name of its file", "another name", help);
            self.error("SN0112", written.span, words);
        } else if !is_name(id, '_') {
            let help = "write small letters, digits and `_`, first a letter, so that `$facts.<fact>` is jq";
            let words = Words::new(format!("`{id}` is no name of a fact"), "not a name", help);
            self.error("SN0112", written.span, words);
        }
    }

    fn kind(&mut self, fields: &Fields<'_>) -> Option<Kind> {
        let Some(written) = fields.text("kind", self.problems) else { return Some(Kind::Value) };
        match written.value.as_str() {
            "value" => Some(Kind::Value),
            "verification" => Some(Kind::Verification),
            other => {
                let help = "write `value`, or `verification` where the answer is a yes or no";
                let title = format!("`{other}` is no kind of fact");
                self.error("SN0520", written.span, Words::new(title, "not a kind", help));
                None
            }
        }
    }

    /// The instance and the operation that is the question.
    fn question(&mut self, fields: &Fields<'_>) -> Option<(String, &'h Operation)> {
        let held_by = fields.required_text("held_by", self.problems);
        let query = fields.required_text("query", self.problems);
        let (held_by, query) = (held_by?, query?);
        let operations = self.around.operations;
        let Some(known) = operations.get(&held_by.value) else {
            if !(self.around.is_unopened)(&held_by.value) {
                let names = operations.keys().map(String::as_str);
                let help = help_with_nearest(
                    &held_by.value,
                    names,
                    "adapter instances of the configuration",
                );
                let title = format!("there is no adapter instance `{}`", held_by.value);
                self.error("SN0304", held_by.span, Words::new(title, "no such instance", help));
            }
            return None;
        };
        let Some(operation) = known.iter().find(|operation| operation.name == query.value) else {
            let names = known.iter().map(|operation| operation.name.as_str());
            let what = format!("operations of `{}`", held_by.value);
            let help = help_with_nearest(&query.value, names, &what);
            let title = format!("`{}` has no operation `{}`", held_by.value, query.value);
            self.error("SN0305", query.span, Words::new(title, "no such operation", help));
            return None;
        };
        if !Fact::is_question(operation) {
            let title = format!("`{}.{}` may change something", held_by.value, query.value);
            let help = "name an operation that may be asked again: one with `effect: idempotent`";
            self.error("SN0521", query.span, Words::new(title, "not a question", help));
            return None;
        }
        Some((held_by.value, operation))
    }

    fn about_is_asked(
        &mut self,
        question: Option<&(String, &'h Operation)>,
        about: Option<&At<String>>,
    ) -> bool {
        let (Some((instance, operation)), Some(about)) = (question, about) else { return false };
        let known = operation.input["properties"].as_object();
        let names = || known.into_iter().flat_map(|known| known.keys().map(String::as_str));
        if names().any(|name| name == about.value) {
            return true;
        }
        let target = format!("{instance}.{}", operation.name);
        let help = help_with_nearest(&about.value, names(), &format!("fields of `{target}`"));
        let title = format!("`{target}` is not asked about `{}`", about.value);
        self.error("SN0522", about.span.clone(), Words::new(title, "no such field", help));
        false
    }

    /// The type of the value; none for a verification.
    #[expect(clippy::option_option, reason = "wrong, none, one")]
    fn schema(&mut self, fields: &Fields<'_>, kind: Kind) -> Option<Option<At<String>>> {
        if kind == Kind::Verification {
            if let Some(key) = fields.key("schema") {
                let help = "leave it out: its value is holds, fails or undetermined";
                let words = Words::new("a verification has no schema", "not used", help);
                self.error("SN0520", key.span.clone(), words);
                return None;
            }
            return Some(None);
        }
        let written = fields.required_text("schema", self.problems)?;
        let schema = At { value: written.value.replace('/', "."), span: written.span };
        let schemas = self.around.schemas;
        if schemas.document(&schema.value).is_none() {
            if !schemas.is_broken(&schema.value) {
                let help = help_with_nearest(&schema.value, schemas.kinds(), "types in schemas/");
                let title = format!("there is no type `{}`", schema.value);
                self.error("SN0301", schema.span, Words::new(title, "no such type", help));
            }
            return None;
        }
        Some(Some(schema))
    }

    fn type_of(&self, schema: Option<&At<String>>, kind: Kind) -> Option<Type> {
        let library = self.around.library?;
        match (kind, schema) {
            (Kind::Verification, _) => Some(verdict()),
            (Kind::Value, Some(schema)) => {
                library.of_kind(&schema.value).map(|node| library.type_of(node))
            }
            (Kind::Value, None) => None,
        }
    }

    /// Whether what the authority answers is the fact.
    fn answers(
        &mut self,
        question: Option<&(String, &'h Operation)>,
        schema: Option<&Option<At<String>>>,
        kind: Kind,
    ) -> bool {
        let (Some((instance, operation)), Some(library)) = (question, self.around.library) else {
            return question.is_some();
        };
        let target = format!("{instance}.{}", operation.name);
        let answer = library.type_of(Library::guest(&operation.output));
        if kind == Kind::Verification {
            let words = answer.objects.iter().map(|object| object.get(OUTCOME));
            let word = words.reduce(|all, one| all.join(&one)).unwrap_or_else(Type::never);
            let is_verdict = |word: &Value| word.as_str().is_some_and(|w| VERDICTS.contains(&w));
            let right = !answer.is_unknown()
                && word.values().is_some_and(|words| words.iter().all(is_verdict));
            if !right {
                let span = self.whole("query");
                let help = "name a verification of the authority: its answer has `outcome`, one of \
                            holds, fails and undetermined";
                let title = format!("`{target}` does not answer with a verdict");
                self.error("SN0523", span, Words::new(title, format!("answers {answer}"), help));
            }
            return right;
        }
        let Some(Some(schema)) = schema else { return false };
        let Some(wanted) = library.of_kind(&schema.value) else { return false };
        let misfits = fits::misfits(library, &answer, wanted);
        let Some(first) = misfits.into_iter().find(|misfit| !misfit.is_unknown()) else {
            return true;
        };
        // The authority's schema is no file of the house: one of its fields is named, not shown.
        let Misfit { path, title, is, wants, .. } = first;
        let at =
            if path.is_empty() { "the whole".to_owned() } else { format!("`{}`", path.join(".")) };
        let title = format!("the answer of `{target}` is not the fact: {title}");
        let label = format!("{at}: {is}, where the fact wants {wants}");
        let help = "name the type of what the authority answers, or another operation";
        self.error("SN0524", schema.span.clone(), Words::new(title, label, help));
        false
    }

    fn whole(&self, word: &str) -> std::ops::Range<usize> {
        let start = self.file.text.find(word).unwrap_or(0);
        start..start + word.len()
    }

    /// An expression over the value alone: a text or a list of texts.
    fn subjects(&mut self, node: &Node, of: Option<Type>) -> Option<Template> {
        let mut templates = Templates::new(self.file, self.problems);
        templates.sees = of.map(|input| Context { input, variables: Vec::new() });
        let typed = templates.sees.is_some();
        let (template, given) = templates.template(node, "subjects");
        let seen = templates.seen();
        templates.finish();
        let variable = seen.iter().flat_map(|seen| &seen.reads).any(|read| read.variable.is_some());
        let items = given.list.as_ref().map_or_else(Type::never, |list| list.element());
        let right = given.besides(&[TypeKind::Text, TypeKind::List]).is_none()
            && !given.null
            && !items.null
            && items.besides(&[TypeKind::Text]).is_none();
        if variable || typed && template.is_some() && !right {
            let help = "write an expression over the value: ${ [.members[].taxCode] }";
            let label = if variable { "reads more".to_owned() } else { format!("is {given}") };
            let words = Words::new("`subjects` is a text or a list of texts", label, help);
            self.error("SN0525", node.span.clone(), words);
            return None;
        }
        template
    }

    fn laws(&mut self, fields: &Fields<'_>) -> Vec<String> {
        let cited = fields.texts("law", self.problems);
        for law in &cited {
            if let Some(laws) = self.around.laws {
                known_law(self.file, law, laws, self.problems);
            }
        }
        cited.into_iter().map(|law| law.value).collect()
    }

    fn refresh_on(&mut self, fields: &Fields<'_>) -> Vec<String> {
        let kinds = fields.texts("refresh_on", self.problems);
        let schemas = self.around.schemas;
        for kind in &kinds {
            // Not in the ledger's copies: they hold what their route reads.
            let known = self.around.purposes.is_none() || schemas.document(&kind.value).is_some();
            if !known && !schemas.is_broken(&kind.value) {
                let help = help_with_nearest(&kind.value, schemas.kinds(), "types in schemas/");
                let title = format!("there is no type `{}`", kind.value);
                self.error("SN0301", kind.span.clone(), Words::new(title, "no such type", help));
            }
        }
        kinds.into_iter().map(|kind| kind.value).collect()
    }

    fn reusable_for(&mut self, fields: &Fields<'_>) -> Vec<String> {
        let purposes = fields.texts("reusable_for", self.problems);
        for purpose in &purposes {
            let Some(known) = self.around.purposes else { break };
            if !known.contains(&purpose.value.as_str()) {
                let help = help_with_nearest(
                    &purpose.value,
                    known.iter().copied(),
                    "purposes in routes/purposes/",
                );
                let title = format!("there is no purpose `{}`", purpose.value);
                let words = Words::new(title, "no such purpose", help);
                self.error("SN0306", purpose.span.clone(), words);
            }
        }
        purposes.into_iter().map(|purpose| purpose.value).collect()
    }
}

/// The type of a verification.
pub(crate) fn verdict() -> Type {
    let words = VERDICTS.len() - usize::from(seeded(Bug::UndeterminedIsForgotten));
    VERDICTS
        .into_iter()
        .take(words)
        .map(Type::word)
        .fold(Type::never(), |all, word| all.join(&word))
}

/// The type of a fact's value, as routes see it.
pub(crate) fn type_of(fact: &Fact, library: &Library<'_>) -> Type {
    match (fact.kind, &fact.schema) {
        (Kind::Verification, _) => verdict(),
        (Kind::Value, Some(schema)) => {
            library.of_kind(schema).map_or_else(Type::unknown, |node| library.type_of(node))
        }
        (Kind::Value, None) => Type::unknown(),
    }
}
