//! From a YAML node to a template, with every mistake said at its place.
//!
//! Invariant: an expression is parsed and vetted here, dead branches included; nothing runs.

use std::{collections::BTreeMap, ops::Range, str::CharIndices, sync::Arc};

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Pattern, Term},
        span,
    },
    path::{Opt, Part as PathPart, Path},
};
use serde_json::Value;

use super::{
    Condition, Expression, Field, Leaf, Part, Piece, Shape, Template,
    cover::Cover,
    functions::Function,
    jq::Program,
    native::{Native, literal},
    uses::{self, FACTS},
    vet,
};
use crate::{
    diagnostic::{Place, Problems, SourceFile, Words},
    facts::Parts,
    types::{
        self, List, Object, Text, Type,
        infer::{Context, Finding, Inference, Note},
        numbers::concatenated,
    },
    yaml::{Content, Key, Node, offsets},
};

/// Compiles the templates of one route, whose expressions become one program.
pub(crate) struct Templates<'c> {
    pub(crate) file: &'c Arc<SourceFile>,
    pub(crate) problems: &'c mut Problems,
    program: Arc<Program>,
    parts: Vec<Vec<String>>,
    leaves: Vec<Leaf>,
    seen: Vec<Seen>,
    item: bool,
    /// The types of what expressions see; none where types are not checked, as in the ledger's copies.
    pub(crate) sees: Option<Context>,
    /// What was seen before the branches of a `choose`: a condition that is impossible only because an
    /// earlier branch took its value is no mistake of type.
    pub(crate) before: Option<Context>,
    /// Where inference ends.
    pub(crate) unknowns: Vec<Note>,
    /// What the expressions read of the facts.
    pub(crate) facts: Parts,
    /// What is seen at a place, where somebody asked for it.
    pub(crate) peek: Option<Peek>,
}

/// A place of the file, and what the expression sees that stands there.
#[derive(Debug)]
pub(crate) struct Peek {
    pub(crate) at: usize,
    pub(crate) found: Option<Peeked>,
    /// What a step would see behind the last one.
    pub(crate) end: Option<Context>,
}

/// An expression, right or wrong, and what it sees.
#[derive(Debug)]
pub(crate) struct Peeked {
    pub(crate) sees: Context,
    pub(crate) text: String,
    /// Where each of its bytes stands in the file, and the byte after it.
    pub(crate) offsets: Vec<usize>,
}

impl Peek {
    pub(crate) fn new(at: usize) -> Self {
        Self { at, found: None, end: None }
    }
}

/// What is known where a condition holds, and where it does not.
#[derive(Debug)]
pub(crate) struct Ways {
    pub(crate) yes: Option<Context>,
    pub(crate) no: Option<Context>,
}

/// One expression that was compiled, as the checks of the graph need it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Where it stands in the file.
    pub(crate) span: Range<usize>,
    /// Every plain path that it reads.
    pub(crate) reads: Vec<Read>,
    /// Whether it reads `$item` in any way.
    pub(crate) reads_item: bool,
    /// The values of a path for which it holds, where it is a condition that says so.
    pub(crate) cover: Option<Cover>,
}

/// A plain path from the body or a variable.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    /// The variable, with `$`; `None` for the body.
    pub(crate) variable: Option<String>,
    /// The names, each with its place in the file.
    pub(crate) names: Vec<Name>,
}

/// A name of a path, with its place in the file.
pub(crate) type Name = (String, Range<usize>);

/// What an expression is for.
enum Wanted<'w> {
    /// A value of any type.
    Value,
    /// What a text says.
    Text,
    /// A condition, and what it tells.
    Truth(&'w mut Ways),
}

/// Text with the place of each of its bytes.
pub(super) struct Located<'t> {
    pub(super) text: &'t str,
    offsets: &'t [usize],
}

impl Located<'_> {
    pub(super) fn span(&self, range: &Range<usize>) -> Range<usize> {
        let start = self.offsets[range.start.min(self.text.len())];
        let Some(last) = range.end.checked_sub(1).filter(|last| *last >= range.start) else {
            return start..start;
        };
        start..self.offsets[last.min(self.text.len())] + 1
    }

    fn part(&self, range: Range<usize>) -> Located<'_> {
        let offsets = &self.offsets[range.start..=range.end];
        Located { text: &self.text[range], offsets }
    }
}

impl<'c> Templates<'c> {
    pub(crate) fn new(file: &'c Arc<SourceFile>, problems: &'c mut Problems) -> Self {
        Self {
            file,
            problems,
            program: Arc::new(Program::empty()),
            parts: Vec::new(),
            leaves: Vec::new(),
            seen: Vec::new(),
            item: false,
            sees: None,
            before: None,
            unknowns: Vec::new(),
            facts: Parts::default(),
            peek: None,
        }
    }

    /// Whether `$item` is there from now on.
    pub(crate) fn with_item(&mut self, item: bool) {
        self.item = item;
    }

    /// What was seen since the last call.
    pub(crate) fn seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }

    /// Hands every template its expressions. To be called last.
    pub(crate) fn finish(self) {
        self.program.fill(self.parts);
    }

    /// Compiles a template that stands at `at` of its step; with the type of what it renders.
    pub(crate) fn template(&mut self, node: &Node, at: &str) -> (Option<Template>, Type) {
        let (shape, of) = self.shape(node, at);
        let jq = self.part();
        (shape.map(|shape| Template { shape, jq }), of)
    }

    /// Compiles a bare jq condition; with what is known where it holds and where not.
    pub(crate) fn condition(&mut self, node: &Node, at: &str) -> (Option<Condition>, Ways) {
        let mut ways = Ways { yes: self.sees.clone(), no: self.sees.clone() };
        (self.asked(node, at, &mut ways), ways)
    }

    fn asked(&mut self, node: &Node, at: &str, ways: &mut Ways) -> Option<Condition> {
        let text = match &node.content {
            Content::Text(text) => text.clone(),
            Content::Plain(Value::Bool(boolean)) => boolean.to_string(),
            Content::Refused => return None,
            _ => {
                let help = "write bare jq, for example `.wantsReduction`";
                let words = Words::new("a condition is jq text", "not text", help);
                self.error("SN0111", node.span.clone(), words);
                return None;
            }
        };
        if text.trim_start().starts_with("${") {
            let inner = text.trim().trim_start_matches("${").trim_end_matches('}').trim();
            let help = format!("write `when: {inner}`");
            let words = Words::new("a condition is bare jq", "not in `${ }`", help);
            self.error("SN0125", node.span.clone(), words);
            return None;
        }
        let offsets = offsets(self.file, &node.span, &text);
        let located = Located { text: &text, offsets: &offsets };
        let (expression, _) = self.expression(&located, at, Wanted::Truth(ways));
        let jq = self.part();
        let leaf = Leaf { at: at.to_owned(), source: text.trim().to_owned() };
        Some(Condition { expression: expression?, leaf, jq })
    }

    /// Closes the part of the program that belongs to one template.
    fn part(&mut self) -> Option<Part> {
        if self.leaves.is_empty() {
            return None;
        }
        let leaves = std::mem::take(&mut self.leaves);
        self.parts.push(leaves.iter().map(|leaf| leaf.source.clone()).collect());
        Some(Part { program: Arc::clone(&self.program), number: self.parts.len() - 1, leaves })
    }

    fn shape(&mut self, node: &Node, at: &str) -> (Option<Shape>, Type) {
        match &node.content {
            Content::Refused => (None, Type::never()),
            Content::Plain(value) => (Some(Shape::Literal(value.clone())), Type::of(value)),
            Content::Text(text) => self.text(node, text, at),
            Content::List(items) => {
                let items = items.iter().enumerate();
                let (shapes, types): (Vec<_>, Vec<_>) =
                    items.map(|(index, item)| self.shape(item, &join(at, &index))).unzip();
                let shapes = shapes.into_iter().collect::<Option<_>>();
                (shapes.map(|shapes| Shape::List(shapes).folded()), Type::list(List::tuple(types)))
            }
            Content::Map(fields) => self.map(fields, at),
        }
    }

    fn map(&mut self, written: &[(Key, Node)], at: &str) -> (Option<Shape>, Type) {
        let (mut fields, mut types) = (Vec::new(), BTreeMap::new());
        for (key, value) in written {
            let name = key.text.strip_suffix('?').unwrap_or(&key.text);
            let optional = name.len() < key.text.len();
            let (shape, of) = self.shape(value, &join(at, &name));
            let required = !(optional && of.null);
            let of = if optional { of.not_null() } else { of };
            types.insert(name.into(), types::Field { value: of, required });
            fields.push(shape.map(|shape| Field { name: name.to_owned(), optional, shape }));
        }
        let fields = fields.into_iter().collect::<Option<_>>();
        let shape = fields.map(|fields| Shape::Object(fields).folded());
        (shape, Type::object(Object::closed(types)))
    }

    fn text(&mut self, node: &Node, text: &str, at: &str) -> (Option<Shape>, Type) {
        if !text.contains("${") {
            return (Some(Shape::Literal(Value::String(text.to_owned()))), Type::word(text));
        }
        let offsets = offsets(self.file, &node.span, text);
        let located = Located { text, offsets: &offsets };
        let whole = text.trim();
        let start = text.len() - text.trim_start().len();
        if whole
            .strip_prefix("${")
            .is_some_and(|rest| closing(rest).map(|end| end + 1) == Some(rest.len()))
        {
            let inner = located.part(start + 2..start + whole.len() - 1);
            let (expression, of) = self.expression(&inner, at, Wanted::Value);
            return (expression.map(Shape::Value), of);
        }
        let (pieces, of) = self.pieces(&located, at);
        (pieces.map(Shape::Text), of)
    }

    fn pieces(&mut self, located: &Located<'_>, at: &str) -> (Option<Vec<Piece>>, Type) {
        let text = located.text;
        let (mut pieces, mut from, mut good) = (Vec::new(), 0, true);
        let mut all = Text::literals(vec!["".into()]);
        let mut append = |of: &Type| match &of.text {
            Some(text) => all = concatenated(&all, text),
            None => all = Text::default(),
        };
        while let Some(start) = text[from..].find("${").map(|start| from + start) {
            if start > from {
                pieces.push(Piece::Text(text[from..start].to_owned()));
                append(&Type::word(&text[from..start]));
            }
            let Some(length) = closing(&text[start + 2..]) else {
                self.peeked(&located.part(start + 2..text.len()));
                self.unclosed(&located.span(&(start..text.len())));
                return (None, Type::never());
            };
            let inner = located.part(start + 2..start + 2 + length);
            let leaf = Leaf { at: at.to_owned(), source: inner.text.trim().to_owned() };
            match self.expression(&inner, at, Wanted::Text) {
                (Some(expression), of) => {
                    append(&of);
                    pieces.push(Piece::Expression(expression, leaf));
                }
                (None, _) => good = false,
            }
            from = start + 3 + length;
        }
        if from < text.len() {
            pieces.push(Piece::Text(text[from..].to_owned()));
            append(&Type::word(&text[from..]));
        }
        if good { (Some(pieces), Type::text(all)) } else { (None, Type::never()) }
    }

    fn unclosed(&mut self, span: &Range<usize>) {
        let words = Words::new(
            "a `${` has no `}`",
            "begins here",
            "close it; where the expression holds ` #` or `: `, YAML cut it off: quote it",
        );
        self.error("SN0120", span.clone(), words);
    }

    /// Notes what an expression sees, where it is the one that was asked for.
    fn peeked(&mut self, located: &Located<'_>) {
        let (Some(peek), Some(sees)) = (&mut self.peek, &self.sees) else { return };
        let (Some(start), Some(end)) = (located.offsets.first(), located.offsets.last()) else {
            return;
        };
        if (*start..=*end).contains(&peek.at) {
            let (text, offsets) = (located.text.to_owned(), located.offsets.to_vec());
            peek.found = Some(Peeked { sees: sees.clone(), text, offsets });
        }
    }

    /// Parses, vets and types one expression.
    fn expression(
        &mut self,
        located: &Located<'_>,
        at: &str,
        wanted: Wanted<'_>,
    ) -> (Option<Expression>, Type) {
        self.peeked(located);
        let source = located.text;
        let term = match vet::parse(source) {
            Ok(term) => term,
            Err(mistakes) => {
                self.mistakes(located, mistakes);
                return (None, Type::never());
            }
        };
        let mistakes = vet::vet(source, &term, self.item);
        if !mistakes.is_empty() {
            self.mistakes(located, mistakes);
            return (None, Type::never());
        }
        self.see(located, &term, !matches!(wanted, Wanted::Truth(_)));
        let Some(of) = self.typed(located, &term, wanted) else { return (None, Type::never()) };
        let leaf = Leaf { at: at.to_owned(), source: source.trim().to_owned() };
        if let Some(native) = Native::of(&term) {
            return (Some(Expression::Native(native, leaf)), of);
        }
        self.leaves.push(leaf);
        (Some(Expression::Jq(self.leaves.len() - 1)), of)
    }

    /// The type of what an expression gives; none where something is wrong with it, which was said.
    fn typed(
        &mut self,
        located: &Located<'_>,
        term: &Term<&str>,
        wanted: Wanted<'_>,
    ) -> Option<Type> {
        let Some(sees) = &self.sees else { return Some(Type::unknown()) };
        let mut inference = Inference::new(located.text);
        let of = match wanted {
            Wanted::Value => inference.value(term, sees),
            Wanted::Text => {
                let of = inference.value(term, sees);
                inference.as_text(term, &of)
            }
            Wanted::Truth(ways) => {
                *ways = Ways {
                    yes: Some(sees.where_is(term, true)),
                    no: Some(sees.where_is(term, false)),
                };
                let of = inference.truth_of(term, sees);
                let only_taken = !inference.findings.is_empty()
                    && inference.findings.iter().all(Finding::is_never_equal);
                match self.before.as_ref().filter(|_| only_taken) {
                    Some(before) => {
                        inference = Inference::new(located.text);
                        inference.truth_of(term, before)
                    }
                    None => of,
                }
            }
        };
        let place = |(span, why): Note| (located.span(&span), why);
        self.unknowns.extend(inference.unknowns.into_iter().map(place));
        let right = inference.findings.is_empty();
        for finding in inference.findings {
            let label = format!("is {}", finding.is);
            let words = Words::new(finding.title, label, format!("write {}", finding.write));
            self.error(finding.code, located.span(&finding.span), words);
        }
        right.then_some(of)
    }

    fn mistakes(&mut self, located: &Located<'_>, mistakes: Vec<vet::Mistake>) {
        for vet::Mistake { code, span, words } in mistakes {
            let mut span = located.span(&span);
            if span.is_empty() {
                // The end of the expression: the brace after it is shown.
                span.end += 1;
            }
            self.error(code, span, words);
        }
    }

    fn see(&mut self, located: &Located<'_>, term: &Term<&str>, whole: bool) {
        if located.text.contains(FACTS) {
            self.facts.join(&uses::parts(term, whole));
        }
        let mut reads = Vec::new();
        read(located, term, true, &mut reads);
        let text = located.text;
        let start = text.len() - text.trim_start().len();
        let span = located.span(&(start..text.trim_end().len()));
        let cover = Cover::of(located, term);
        let reads_item = text.contains("$item");
        self.seen.push(Seen { span, reads, reads_item, cover });
    }

    fn error(&mut self, code: &'static str, span: Range<usize>, words: Words) {
        self.problems.error(code, Place::new(self.file, span), words);
    }
}

impl Shape {
    /// A list or object of nothing but literals is itself a literal.
    fn folded(self) -> Self {
        match self {
            Self::List(items) if items.iter().all(Self::is_literal) => {
                Self::Literal(items.into_iter().filter_map(Self::literal).collect())
            }
            Self::Object(fields)
                if fields.iter().all(|field| field.shape.is_literal() && !field.optional) =>
            {
                let field = |field: Field| Some((field.name, field.shape.literal()?));
                Self::Literal(Value::Object(fields.into_iter().filter_map(field).collect()))
            }
            other => other,
        }
    }

    fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }

    fn literal(self) -> Option<Value> {
        if let Self::Literal(value) = self { Some(value) } else { None }
    }
}

/// What the expressions in a template read of the facts. Whatever is wrong with them is not said here.
pub(crate) fn facts_read(node: &Node, parts: &mut Parts) {
    match &node.content {
        Content::Text(text) => expressions(text).into_iter().for_each(|one| read_of(one, parts)),
        Content::List(items) => items.iter().for_each(|item| facts_read(item, parts)),
        Content::Map(entries) => entries.iter().for_each(|(_, value)| facts_read(value, parts)),
        _ => {}
    }
}

/// The same of a condition, which is an expression without `${ }`.
pub(crate) fn facts_of_condition(node: &Node, parts: &mut Parts) {
    if let Content::Text(text) = &node.content {
        read_of(text, parts);
    }
}

fn read_of(expression: &str, parts: &mut Parts) {
    if expression.contains(FACTS)
        && let Ok(term) = vet::parse(expression)
    {
        parts.join(&uses::parts(&term, true));
    }
}

/// The expressions in the text of a template.
fn expressions(text: &str) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.find("${") {
        let inner = &rest[start + 2..];
        let Some(end) = closing(inner) else { break };
        found.push(&inner[..end]);
        rest = &inner[end + 1..];
    }
    found
}

fn join(at: &str, name: &dyn std::fmt::Display) -> String {
    format!("{at}.{name}")
}

/// Where the `}` is that closes an expression: braces within and texts are skipped.
fn closing(text: &str) -> Option<usize> {
    let (mut open, mut characters) = (Open::default(), text.char_indices());
    while let Some((at, character)) = characters.next() {
        if open.closes_with(character, &mut characters) {
            return Some(at);
        }
    }
    None
}

/// What closes the brackets and texts that are open at the end of a part of an expression, innermost first.
pub(crate) fn closers(text: &str) -> String {
    let (mut open, mut characters) = (Open::default(), text.char_indices());
    while let Some((_, character)) = characters.next() {
        open.closes_with(character, &mut characters);
    }
    let closer = |open: &char| match open {
        '{' => '}',
        '(' => ')',
        '[' => ']',
        text => *text,
    };
    open.0.iter().rev().map(closer).collect()
}

/// The brackets and texts that are open at a place of an expression.
#[derive(Default)]
struct Open(Vec<char>);

impl Open {
    /// Goes behind a character, and what it escapes; whether it is the `}` that closes the expression.
    fn closes_with(&mut self, character: char, rest: &mut CharIndices<'_>) -> bool {
        let stack = &mut self.0;
        let in_text = stack.last() == Some(&'"');
        match character {
            '\\' if in_text => {
                if let Some((_, '(')) = rest.next() {
                    stack.push('(');
                }
            }
            '"' if in_text => {
                stack.pop();
            }
            _ if in_text => {}
            '"' | '{' | '(' | '[' => stack.push(character),
            // A bracket that was left open is jq's mistake to say, not a missing brace.
            '}' if !stack.contains(&'{') => return true,
            '}' => stack.truncate(stack.iter().rposition(|open| *open == '{').unwrap_or(0)),
            ')' | ']' if stack.last().is_some_and(|open| *open != '{') => {
                stack.pop();
            }
            _ => {}
        }
        false
    }
}

/// Collects the plain paths that `term` reads; `body` says whether `.` is the body there.
fn read(located: &Located<'_>, term: &Term<&str>, body: bool, found: &mut Vec<Read>) {
    if let Some((path, rest)) = plain(located, term, body) {
        if !path.names.is_empty() {
            found.push(path);
        }
        for (part, _) in rest {
            read_part(located, part, body, found);
        }
        return;
    }
    match term {
        Term::Str(_, parts) => parts.iter().for_each(|part| {
            if let StrPart::Term(term) = part {
                read(located, term, body, found);
            }
        }),
        Term::Arr(Some(inner)) | Term::Neg(inner) | Term::TryCatch(inner, _) => {
            read(located, inner, body, found);
        }
        Term::Obj(entries) => entries.iter().for_each(|(name, value)| {
            read(located, name, body, found);
            if let Some(value) = value {
                read(located, value, body, found);
            }
        }),
        Term::BinOp(left, operator, right) => {
            read(located, left, body, found);
            let rebinds = matches!(
                operator,
                BinaryOp::Pipe(None) | BinaryOp::Update | BinaryOp::UpdateMath(_)
            );
            read(located, right, body && !rebinds, found);
        }
        Term::Fold(_, over, Pattern::Var(_) | Pattern::Arr(_) | Pattern::Obj(_), arguments) => {
            read(located, over, body, found);
            for argument in arguments {
                read(located, argument, false, found);
            }
        }
        Term::IfThenElse(branches, otherwise) => {
            for (condition, then) in branches {
                read(located, condition, body, found);
                read(located, then, body, found);
            }
            if let Some(otherwise) = otherwise {
                read(located, otherwise, body, found);
            }
        }
        Term::Call(name, arguments) => {
            // Our own functions see their arguments as values of the same `.`.
            let body = body && Function::called(name, arguments.len()).is_some();
            for argument in arguments {
                read(located, argument, body, found);
            }
        }
        Term::Path(head, Path(parts)) => {
            read(located, head, body, found);
            for (part, _) in parts {
                read_part(located, part, body, found);
            }
        }
        _ => {}
    }
}

fn read_part(
    located: &Located<'_>,
    part: &PathPart<Term<&str>>,
    body: bool,
    found: &mut Vec<Read>,
) {
    match part {
        PathPart::Index(index) => read(located, index, body, found),
        PathPart::Range(from, to) => {
            from.iter().chain(to).for_each(|bound| read(located, bound, body, found));
        }
    }
}

type Rest<'t, 's> = &'t [(PathPart<Term<&'s str>>, Opt)];

/// The plain path that `term` is, where it is nothing else.
pub(super) fn whole(located: &Located<'_>, term: &Term<&str>) -> Option<Read> {
    let (path, rest) = plain(located, term, true)?;
    (rest.is_empty() && !path.names.is_empty()).then_some(path)
}

/// The plain path with which `term` begins, and what follows it.
pub(super) fn plain<'t, 's>(
    located: &Located<'_>,
    term: &'t Term<&'s str>,
    body: bool,
) -> Option<(Read, Rest<'t, 's>)> {
    let (head, parts): (&Term<&str>, Rest<'t, 's>) = match term {
        Term::Path(head, Path(parts)) => (head, parts),
        other => (other, &[]),
    };
    let variable = match head {
        Term::Id if body => None,
        Term::Var(name) if !parts.is_empty() || matches!(*name, "$steps") => Some(*name),
        _ => return None,
    };
    let mut names = Vec::new();
    for (part, _) in parts {
        let PathPart::Index(index @ Term::Str(None, text)) = part else { break };
        let (Some(Value::String(name)), [StrPart::Str(slice)]) = (literal(index), text.as_slice())
        else {
            break;
        };
        names.push((name, located.span(&span(located.text, slice))));
    }
    let rest = &parts[names.len()..];
    let variable = variable.map(str::to_owned);
    Some((Read { variable, names }, rest))
}
