//! Types of jq expressions, over jaq's own tree: what values an expression gives and how many, and every
//! trap on the way.
//!
//! Invariant: an expression without a finding gives, for every message of the type it was given, values
//! of the type that is claimed and as many; it stops only where `may_stop` says so.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{
    Bug, EXACT, Field, Kind, List, Number, Object, Text, Type,
    numbers::{WRITTEN, concatenated, plus, times, written},
    seeded, span,
};
use crate::template::tree::{BinaryOp, Math, Opt, Part, Path, Pattern, StrPart, Term};

/// How often the state of a `reduce` is joined with what its step makes of it.
const ROUNDS: usize = 6;
/// After so many rounds bounds and literals are forgotten.
const PRECISE: usize = 2;

/// What is wrong with an expression, at a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) code: &'static str,
    /// Bytes of the expression.
    pub(crate) span: Range<usize>,
    pub(crate) title: String,
    /// The type of what stands there, in words.
    pub(crate) is: String,
    /// What to write instead.
    pub(crate) write: String,
}

impl Finding {
    /// Whether it says that two sides have no value in common.
    pub(crate) fn is_never_equal(&self) -> bool {
        self.code == "SN0215"
    }
}

/// What inference met in an expression, for whoever asks what stands there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Met {
    /// Bytes of the expression: a term, or the name of a field.
    pub(crate) span: Range<usize>,
    /// What it gives.
    pub(crate) of: Type,
    /// Of the name of a field: what has the field.
    pub(crate) holder: Option<Type>,
}

/// A remark on a place in an expression.
pub(crate) type Note = (Range<usize>, String);

/// What an expression sees.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Context {
    /// `.`
    pub(crate) input: Type,
    /// By name, `$` included; the last of a name counts.
    pub(crate) variables: Vec<(String, Type)>,
}

impl Context {
    /// The same variables, with another `.`.
    pub(super) fn at(&self, input: Type) -> Self {
        Self { input, variables: self.variables.clone() }
    }

    /// Whether no value can come here.
    pub(crate) fn is_impossible(&self) -> bool {
        self.input.is_never() || self.variables.iter().any(|(_, of)| of.is_never())
    }
}

/// The values that an expression gives. A `never` of one or more is one that does not return.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stream {
    pub(crate) of: Type,
    pub(crate) least: u64,
    pub(crate) most: Option<u64>,
}

impl Stream {
    pub(super) fn one(of: Type) -> Self {
        Self { of, least: 1, most: Some(1) }
    }

    pub(super) fn none() -> Self {
        Self { of: Type::never(), least: 0, most: Some(0) }
    }

    /// Nothing follows: a mistake was said, or it stops.
    pub(super) fn stopped() -> Self {
        Self::one(Type::never())
    }

    pub(super) fn many(of: Type) -> Self {
        Self { of, least: 0, most: None }
    }

    /// `next` for each of these.
    pub(super) fn each(&self, next: Self) -> Self {
        Self {
            least: self.least.saturating_mul(next.least),
            most: times(self.most, next.most),
            of: next.of,
        }
    }

    /// One or the other.
    pub(super) fn or(self, other: Self) -> Self {
        if self.stops() {
            return other;
        }
        if other.stops() {
            return self;
        }
        Self {
            of: self.of.join(&other.of),
            least: self.least.min(other.least),
            most: self.most.zip(other.most).map(|(a, b)| a.max(b)),
        }
    }

    /// These, then those.
    fn then(&self, other: &Self) -> Self {
        Self {
            of: self.of.join(&other.of),
            least: self.least.saturating_add(other.least),
            most: plus(self.most, other.most),
        }
    }

    pub(super) fn stops(&self) -> bool {
        self.of.is_never() && self.least > 0
    }

    pub(crate) fn is_exactly_one(&self) -> bool {
        self.least == 1 && self.most == Some(1)
    }
}

/// The inference of one expression.
#[derive(Debug)]
pub(crate) struct Inference<'s> {
    source: &'s str,
    pub(crate) findings: Vec<Finding>,
    /// Where inference ends: what comes there is checked when it has come.
    pub(crate) unknowns: Vec<Note>,
    /// Where a message may stop with a fault though the types are right.
    pub(crate) may_stop: Vec<Note>,
    /// Everything that is met, where somebody asked for it.
    met: Option<Vec<Met>>,
}

/// The text of a literal without interpolation.
pub(crate) fn literal_text(term: &Term<&str>) -> Option<String> {
    let Term::Str(None, parts) = term else { return None };
    let part = |part: &StrPart<&str, Term<&str>>| match part {
        StrPart::Str(text) => Some((*text).to_owned()),
        StrPart::Char(character) => Some(character.to_string()),
        StrPart::Term(_) => None,
    };
    parts.iter().map(part).collect()
}

/// The bytes of a name in `source`, without its dot and its quotes.
pub(crate) fn name_span(source: &str, name: &Term<&str>) -> Option<Range<usize>> {
    span::bare(source, name)
}

/// The number of a literal.
pub(super) fn literal_number(term: &Term<&str>) -> Option<f64> {
    match term {
        Term::Num(text) => text.parse().ok(),
        Term::Neg(inner) => literal_number(inner).map(|number| -number),
        _ => None,
    }
}

impl<'s> Inference<'s> {
    pub(crate) fn new(source: &'s str) -> Self {
        let (unknowns, may_stop) = (Vec::new(), Vec::new());
        Self { source, findings: Vec::new(), unknowns, may_stop, met: None }
    }

    /// Every term and every field of `term` with its type, as far as inference comes.
    pub(crate) fn met(source: &'s str, term: &Term<&'s str>, context: &Context) -> Vec<Met> {
        let mut inference = Self { met: Some(Vec::new()), ..Self::new(source) };
        inference.infer(term, context);
        inference.met.unwrap_or_default()
    }

    /// The place of a term; the whole expression where it has none.
    pub(super) fn span(&self, term: &Term<&str>) -> Range<usize> {
        span::of(self.source, term).unwrap_or_else(|| {
            let start = self.source.len() - self.source.trim_start().len();
            start..self.source.trim_end().len().max(start)
        })
    }

    /// Says a mistake once; nothing follows from a wrong type.
    pub(super) fn wrong(
        &mut self,
        at: &Term<&str>,
        code: &'static str,
        title: impl Into<String>,
        is: &Type,
        write: impl Into<String>,
    ) -> Stream {
        self.wrong_in(self.span(at), code, title, is, write)
    }

    /// The same at a name or a word: without its dot, without its quotes.
    pub(super) fn wrong_word(
        &mut self,
        at: &Term<&str>,
        code: &'static str,
        title: impl Into<String>,
        is: &Type,
        write: impl Into<String>,
    ) -> Stream {
        let span = span::bare(self.source, at).unwrap_or_else(|| self.span(at));
        self.wrong_in(span, code, title, is, write)
    }

    fn wrong_in(
        &mut self,
        span: Range<usize>,
        code: &'static str,
        title: impl Into<String>,
        is: &Type,
        write: impl Into<String>,
    ) -> Stream {
        let (title, is, write) = (title.into(), is.to_string(), write.into());
        let finding = Finding { code, span, title, is, write };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
        Stream::stopped()
    }

    /// Notes that inference ends here.
    pub(super) fn unknown(&mut self, at: &Term<&str>, why: impl Into<String>) -> Stream {
        let note = (self.span(at), why.into());
        if !self.unknowns.contains(&note) {
            self.unknowns.push(note);
        }
        Stream::one(Type::unknown())
    }

    /// The same, where not even the number of values is known.
    pub(super) fn unknown_many(&mut self, at: &Term<&str>, why: impl Into<String>) -> Stream {
        self.unknown(at, why);
        Stream::many(Type::unknown())
    }

    pub(super) fn may_stop(&mut self, at: &Term<&str>, why: impl Into<String>) {
        let note = (self.span(at), why.into());
        if !self.may_stop.contains(&note) {
            self.may_stop.push(note);
        }
    }

    /// Infers without saying anything; and whether there was anything to say.
    fn quietly(&self, term: &Term<&'s str>, context: &Context) -> (Stream, bool) {
        let mut quiet = Self::new(self.source);
        let found = quiet.infer(term, context);
        let clean = quiet.findings.is_empty() && quiet.may_stop.is_empty();
        (found, clean && quiet.unknowns.is_empty())
    }

    /// What `term` gives in `context`.
    pub(crate) fn infer(&mut self, term: &Term<&'s str>, context: &Context) -> Stream {
        let given = self.given(term, context);
        if self.met.is_some() {
            self.note(span::of(self.source, term), &given.of, None);
        }
        given
    }

    fn note(&mut self, span: Option<Range<usize>>, of: &Type, holder: Option<&Type>) {
        if let (Some(met), Some(span)) = (&mut self.met, span) {
            met.push(Met { span, of: of.clone(), holder: holder.cloned() });
        }
    }

    fn given(&mut self, term: &Term<&'s str>, context: &Context) -> Stream {
        if context.input.is_never() {
            return Stream::stopped();
        }
        match term {
            Term::Id => Stream::one(context.input.clone()),
            Term::Num(_) => Stream::one(Type::number(Number::of(literal_number(term)))),
            Term::Str(None, parts) => self.text(parts, context, false),
            Term::Str(Some(format), parts) => self.formatted(format, parts, context),
            Term::Arr(None) => Stream::one(Type::list(List::of(Type::never(), 0, Some(0)))),
            Term::Arr(Some(inner)) => self.list(inner, context),
            Term::Obj(fields) => self.object(fields, context),
            Term::Neg(inner) => {
                let value = self.infer(inner, context);
                let zero = Type::number(Number::literals(vec![0.0]));
                let negated = self.math(term, Math::Sub, [&zero, &value.of], [inner, inner]);
                value.each(negated)
            }
            Term::BinOp(left, operator, right) => self.binary(term, left, operator, right, context),
            Term::IfThenElse(cases, otherwise) => self.cases(cases, otherwise.as_deref(), context),
            Term::TryCatch(inner, None) => match self.quietly(inner, context) {
                (found, true) => found,
                (_, false) => self.unknown_many(term, "`?` hides which values are left out"),
            },
            Term::TryCatch(..) => self.unknown_many(term, "`try … catch`"),
            Term::Fold(_, over, pattern, arguments) => {
                self.reduce(term, over, pattern, arguments, context)
            }
            Term::Var(name) => self.variable(term, name, context),
            Term::Path(head, Path(parts)) => self.path(term, head, parts, context),
            Term::Call(name, arguments) => self.call(term, name, arguments, context),
            // The allow-list has refused them before.
            Term::Def(..) | Term::Recurse | Term::Label(..) | Term::Break(_) => Stream::stopped(),
        }
    }

    /// The value of `${ }`: exactly one.
    pub(crate) fn value(&mut self, term: &Term<&'s str>, context: &Context) -> Type {
        let given = self.infer(term, context);
        self.exactly_one(term, given)
    }

    /// The value of a `when`: one, which is true or false.
    pub(crate) fn truth_of(&mut self, term: &Term<&'s str>, context: &Context) -> Type {
        let given = self.condition(term, context);
        self.exactly_one(term, given)
    }

    fn exactly_one(&mut self, term: &Term<&str>, given: Stream) -> Type {
        if given.is_exactly_one() || given.stops() || !self.findings.is_empty() {
            return given.of;
        }
        if given.of.is_unknown() && given.most.is_none() {
            // Where even that is not known, the run says it.
            return given.of;
        }
        let (title, write) = match (given.least, given.most) {
            (_, Some(0)) => ("it gives no value", "a value"),
            (0, Some(1)) => ("it may give no value", "`// null`, or a default, after it"),
            (0, _) => (
                "it may give none or many values",
                "`[ … ]` for all of them, `first(…) // …` for one",
            ),
            _ => ("it may give many values", "`[ … ]` for all of them, `first(…)` for one"),
        };
        let title = format!("{title}; `${{ }}` must give exactly one");
        self.wrong(term, "SN0210", title, &given.of, write).of
    }

    fn variable(&mut self, term: &Term<&str>, name: &str, context: &Context) -> Stream {
        let found = context.variables.iter().rev().find(|(known, _)| known == name);
        match found {
            Some((_, of)) => Stream::one(of.clone()),
            // The allow-list has said which variables there are.
            None => self.unknown(term, format!("nothing is known of `{name}`")),
        }
    }

    fn path(
        &mut self,
        term: &Term<&'s str>,
        head: &Term<&'s str>,
        parts: &[(Part<Term<&'s str>>, Opt)],
        context: &Context,
    ) -> Stream {
        let mut found = self.infer(head, context);
        for (part, optional) in parts {
            let optional = matches!(optional, Opt::Optional);
            let next = match part {
                Part::Index(key) => self.index(term, &found.of, key, optional, context),
                Part::Range(None, None) => self.iterate(term, &found.of, optional),
                Part::Range(from, to) => self.slice(term, &found.of, from.as_ref(), to.as_ref()),
            };
            if let (Some(_), Part::Index(key @ Term::Str(..))) = (&self.met, part) {
                self.note(span::bare(self.source, key), &next.of, Some(&found.of));
            }
            found = found.each(next);
        }
        found
    }

    /// A text with what is written into it; `as_json` where lists and objects may be.
    fn text(
        &mut self,
        parts: &[StrPart<&'s str, Term<&'s str>>],
        context: &Context,
        as_json: bool,
    ) -> Stream {
        let mut all = Stream::one(Type::word(""));
        for part in parts {
            let next = match part {
                StrPart::Str(text) => Stream::one(Type::word(text)),
                StrPart::Char(character) => Stream::one(Type::word(&character.to_string())),
                StrPart::Term(term) => {
                    let value = self.infer(term, context);
                    let of = if as_json && !value.of.is_never() {
                        Type::text(Text::default())
                    } else {
                        self.as_text(term, &value.of)
                    };
                    Stream { of, ..value }
                }
            };
            let joined = match (&all.of.text, &next.of.text) {
                (Some(a), Some(b)) => Type::text(concatenated(a, b)),
                _ => Type::never(),
            };
            all = all.each(Stream { of: joined, ..next });
        }
        all
    }

    /// `@base64 "…\( )"`: text, of which nothing more is known.
    fn formatted(
        &mut self,
        format: &str,
        parts: &[StrPart<&'s str, Term<&'s str>>],
        context: &Context,
    ) -> Stream {
        let found = self.text(parts, context, format == "@json");
        let of = found.of.text.as_ref().map_or_else(Type::never, |_| Type::text(Text::default()));
        Stream { of, ..found }
    }

    /// The text that `\( )`, `tostring` and `join` make of a value.
    pub(crate) fn as_text(&mut self, at: &Term<&str>, of: &Type) -> Type {
        let refused = match of
            .kinds()
            .find(|kind| [Kind::Null, Kind::List, Kind::Object].contains(kind))
        {
            Some(Kind::Null) => Some((
                "the text would say \"null\"",
                "a default with `// \"…\"`, or make the field required in the schema",
            )),
            Some(Kind::List) => Some(("the text would hold a list as JSON", "`| join(\", \")`")),
            Some(_) => Some((
                "the text would hold an object as JSON",
                "one of its fields, or `| tojson` where JSON is meant",
            )),
            None => None,
        };
        if let Some((title, write)) = refused {
            return self.wrong(at, "SN0209", title, of, write).of;
        }
        if of.is_unknown() {
            self.unknown(at, "text of an unknown value");
            return Type::text(Text::default());
        }
        let other = of.has(Kind::Number) || of.has(Kind::Boolean);
        match &of.text {
            Some(text) if !other => Type::text(text.clone()),
            Some(text) => {
                let most = text.most.map(|most| most.max(WRITTEN));
                Type::text(Text { most, ..Text::from(text.least.min(1)) })
            }
            None if other => written(),
            None => Type::never(),
        }
    }

    fn list(&mut self, inner: &Term<&'s str>, context: &Context) -> Stream {
        let mut parts = Vec::new();
        commas(inner, &mut parts);
        let given: Vec<Stream> = parts.iter().map(|part| self.infer(part, context)).collect();
        if given.iter().any(Stream::stops) {
            return Stream::stopped();
        }
        if given.len() > 1 && given.iter().all(Stream::is_exactly_one) {
            let first = given.into_iter().map(|given| given.of).collect();
            return Stream::one(Type::list(List::tuple(first)));
        }
        let all = given.iter().fold(Stream::none(), |all, one| all.then(one));
        Stream::one(Type::list(List::of(all.of, all.least, all.most)))
    }

    fn object(
        &mut self,
        fields: &[(Term<&'s str>, Option<Term<&'s str>>)],
        context: &Context,
    ) -> Stream {
        let mut values = Stream::one(Type::never());
        let (mut known, mut computed) = (BTreeMap::<Arc<str>, Field>::new(), None::<Type>);
        for (name, value) in fields {
            let given = match (name, value) {
                (_, Some(value)) => self.infer(value, context),
                (Term::Var(_), None) => self.infer(name, context),
                (_, None) => self.index(name, &context.input, name, false, context),
            };
            if self.met.is_some() && value.is_none() {
                let span = span::bare(self.source, name);
                self.note(span, &given.of, Some(&context.input));
            }
            let written = match (name, value) {
                (Term::Var(variable), None) => Some(variable.trim_start_matches('$').to_owned()),
                _ => literal_text(name),
            };
            if let Some(written) = written {
                let field = Field { value: given.of.clone(), required: true };
                known.insert(written.into(), field);
            } else {
                values = values.each(self.field_name(name, context));
                computed = Some(computed.unwrap_or_default().join(&given.of));
            }
            values = values.each(given);
        }
        let object = match computed {
            None => Object::closed(known),
            // A computed name may be any, also one of the others.
            Some(computed) => Object {
                others: Some(known.values().fold(computed, |all, field| all.join(&field.value))),
                ..Object::default()
            },
        };
        Stream { of: Type::object(object), ..values }
    }

    /// A name that is computed.
    fn field_name(&mut self, name: &Term<&'s str>, context: &Context) -> Stream {
        let given = self.infer(name, context);
        if !given.of.is_never() && !given.of.is_only(Kind::Text) {
            let title = "a field name must be text; jaq would write what is not JSON";
            let write = "`| tostring`, or a default where it is null";
            self.wrong(name, "SN0219", title, &given.of, write);
        }
        given
    }

    fn binary(
        &mut self,
        term: &Term<&'s str>,
        left: &Term<&'s str>,
        operator: &BinaryOp<&'s str>,
        right: &Term<&'s str>,
        context: &Context,
    ) -> Stream {
        match operator {
            BinaryOp::Pipe(None) => {
                let given = self.infer(left, context);
                let next = self.infer(right, &context.at(given.of.clone()));
                given.each(next)
            }
            BinaryOp::Pipe(Some(pattern)) => {
                let given = self.infer(left, context);
                if given.of.is_never() {
                    return given;
                }
                let mut context = context.clone();
                self.bind(term, pattern, &given.of, &mut context);
                given.each(self.infer(right, &context))
            }
            BinaryOp::Comma => {
                let first = self.infer(left, context);
                first.then(&self.infer(right, context))
            }
            BinaryOp::Alt => self.alternative(left, right, context),
            BinaryOp::And | BinaryOp::Or => {
                self.both_conditions(left, matches!(operator, BinaryOp::And), right, context)
            }
            BinaryOp::Math(op) => {
                let (a, b) = (self.infer(left, context), self.infer(right, context));
                let result = self.math(term, *op, [&a.of, &b.of], [left, right]);
                a.each(b.each(result))
            }
            BinaryOp::Cmp(op) => {
                let (a, b) = (self.infer(left, context), self.infer(right, context));
                let result = self.compare(term, *op, [&a.of, &b.of], [left, right]);
                a.each(b.each(result))
            }
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
                self.unknown_many(term, "assignments (`=`, `|=`, `+=`)")
            }
        }
    }

    fn both_conditions(
        &mut self,
        left: &Term<&'s str>,
        and: bool,
        right: &Term<&'s str>,
        context: &Context,
    ) -> Stream {
        let first = self.condition(left, context);
        let reached = context.where_is(left, and);
        let second = if reached.is_impossible() {
            Stream::one(Type::boolean())
        } else {
            self.condition(right, &reached)
        };
        first.each(Stream {
            of: Type::boolean(),
            least: second.least.min(1),
            most: second.most.map(|most| most.max(1)),
        })
    }

    fn bind(
        &mut self,
        term: &Term<&str>,
        pattern: &Pattern<&'s str>,
        of: &Type,
        context: &mut Context,
    ) {
        match pattern {
            Pattern::Var(name) => context.variables.push(((*name).to_owned(), of.clone())),
            Pattern::Arr(parts) => {
                self.unknown(term, "destructuring");
                for part in parts {
                    self.bind(term, part, &Type::unknown(), context);
                }
            }
            Pattern::Obj(parts) => {
                self.unknown(term, "destructuring");
                for (_, part) in parts {
                    self.bind(term, part, &Type::unknown(), context);
                }
            }
        }
    }

    /// A condition is true or false; to jq 0, "" and [] are true.
    pub(crate) fn condition(&mut self, term: &Term<&'s str>, context: &Context) -> Stream {
        let given = self.infer(term, context);
        if given.of.is_unknown() {
            self.unknown(term, "condition of unknown type");
            return Stream { of: Type::boolean(), ..given };
        }
        if given.of.is_never() || given.of.is_only(Kind::Boolean) {
            return given;
        }
        let write = if given.of.null {
            "`!= null` after it"
        } else {
            "a comparison; 0, \"\" and [] count as true"
        };
        self.wrong(term, "SN0213", "a condition must be true or false", &given.of, write)
    }

    fn cases(
        &mut self,
        cases: &[(Term<&'s str>, Term<&'s str>)],
        otherwise: Option<&Term<&'s str>>,
        context: &Context,
    ) -> Stream {
        let mut left = context.clone();
        let (mut found, mut asked) = (Stream::stopped(), Stream::one(Type::never()));
        // One of the conditions always holds: what comes after it is never reached.
        let mut sure = false;
        for (condition, then) in cases {
            if left.is_impossible() {
                return asked.each(found);
            }
            let truth = self.condition(condition, &left);
            let (may_hold, may_fail) = (truth.of.yes, truth.of.no);
            let taken = left.where_is(condition, true);
            // What is never taken is looked at all the same: its names must be right.
            let given = (!taken.is_impossible()).then(|| self.infer(then, &taken));
            let reached = !sure && (may_hold || truth.of.is_never());
            if let Some(given) = given.filter(|_| reached) {
                found = found.or(given);
            }
            if may_fail || !may_hold {
                left = left.where_is(condition, seeded(Bug::ElseKeepsThen));
            } else {
                sure = true;
            }
            asked = asked.each(truth);
        }
        if !left.is_impossible() {
            let given = otherwise.map(|term| self.infer(term, &left));
            let given = given.unwrap_or_else(|| Stream::one(left.input.clone()));
            if !sure {
                found = found.or(given);
            }
        }
        asked.each(found)
    }

    fn reduce(
        &mut self,
        term: &Term<&str>,
        over: &Term<&'s str>,
        pattern: &Pattern<&'s str>,
        arguments: &[Term<&'s str>],
        context: &Context,
    ) -> Stream {
        let [start, step] = arguments else { return Stream::stopped() };
        let (items, start) = (self.infer(over, context), self.infer(start, context));
        if items.of.is_never() || start.of.is_never() {
            return start;
        }
        let mut within = context.clone();
        self.bind(term, pattern, &items.of, &mut within);
        let mut state = start.of.clone();
        for round in 0..ROUNDS {
            within.input = state.clone();
            let (next, _) = self.quietly(step, &within);
            let joined = state.join(&next.of);
            let joined = if round < PRECISE { joined } else { joined.widened() };
            if joined == state {
                return self.reduced(step, &within, &start);
            }
            state = joined;
        }
        self.unknown(term, "`reduce` whose state keeps growing")
    }

    /// The state no longer changes.
    fn reduced(&mut self, step: &Term<&'s str>, within: &Context, start: &Stream) -> Stream {
        let last = self.infer(step, within);
        if !last.of.is_never() && !last.is_exactly_one() {
            let title = "each step of `reduce` must give exactly one value";
            return self.wrong(step, "SN0210", title, &last.of, "a default after it");
        }
        start.each(Stream::one(within.input.clone()))
    }
}

/// `a, b, c` as a list.
fn commas<'t, 's>(term: &'t Term<&'s str>, parts: &mut Vec<&'t Term<&'s str>>) {
    match term {
        Term::BinOp(left, BinaryOp::Comma, right) => {
            commas(left, parts);
            commas(right, parts);
        }
        other => parts.push(other),
    }
}

/// Whether a number is exact in an IEEE double.
pub(super) fn is_exact(number: f64) -> bool {
    number.abs() < EXACT
}
