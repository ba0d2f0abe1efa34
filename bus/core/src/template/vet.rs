//! Which jq a route may use: a list of what is allowed, over jaq's own tree, dead branches included.
//!
//! Invariant: the work of what passes is bounded by the message; nothing in it sees the world.

use std::ops::Range;

use jaq_core::{
    load::{
        Lexer, Parser,
        lex::StrPart,
        parse::{BinaryOp, Pattern, Term},
        span,
    },
    path::{Part, Path},
};

use super::{functions::Function, native::literal};
use crate::diagnostic::{Words, help_with_nearest};

/// Functions and the numbers of arguments that they take.
pub(super) const ALLOWED: &[(&str, &[usize])] = &[
    ("abs", &[0]),
    ("add", &[0, 1]),
    ("add_days", &[2]),
    ("add_working_days", &[2]),
    ("age_on", &[2]),
    ("all", &[0, 1, 2]),
    ("any", &[0, 1, 2]),
    ("arrays", &[0]),
    ("ascii_downcase", &[0]),
    ("ascii_upcase", &[0]),
    ("booleans", &[0]),
    ("ceil", &[0]),
    ("cents", &[1]),
    ("contains", &[1]),
    ("csv", &[1, 2]),
    ("date", &[1]),
    ("del", &[1]),
    ("empty", &[0]),
    ("endswith", &[1]),
    ("error", &[0, 1]),
    ("false", &[0]),
    ("first", &[0, 1]),
    ("flatten", &[0]),
    ("floor", &[0]),
    ("from_entries", &[0]),
    ("group_by", &[1]),
    ("has", &[1]),
    ("in", &[1]),
    ("index", &[1]),
    ("indices", &[1]),
    ("inside", &[1]),
    ("isempty", &[1]),
    ("join", &[1]),
    ("keys", &[0]),
    ("last", &[0, 1]),
    ("length", &[0]),
    ("ltrimstr", &[1]),
    ("map", &[1]),
    ("map_values", &[1]),
    ("max", &[0]),
    ("max_by", &[1]),
    ("min", &[0]),
    ("min_by", &[1]),
    ("not", &[0]),
    ("null", &[0]),
    ("nulls", &[0]),
    ("number", &[1]),
    ("numbers", &[0]),
    ("objects", &[0]),
    ("reverse", &[0]),
    ("rindex", &[1]),
    ("round", &[0]),
    ("rtrimstr", &[1]),
    ("scalars", &[0]),
    ("select", &[1]),
    ("sort", &[0]),
    ("sort_by", &[1]),
    ("split", &[1]),
    ("startswith", &[1]),
    ("strings", &[0]),
    ("test", &[1, 2]),
    ("to_entries", &[0]),
    ("tojson", &[0]),
    ("tonumber", &[0]),
    ("tostring", &[0]),
    ("trim", &[0]),
    ("true", &[0]),
    ("type", &[0]),
    ("unique", &[0]),
    ("unique_by", &[1]),
    ("values", &[0]),
    ("with_entries", &[1]),
];

/// Formats: `@base64 "…"` and `.x | @base64`.
pub(super) const FORMATS: &[&str] = &["@base64", "@html", "@json", "@text", "@uri"];

/// Functions of jq that a route may not use, and why not.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &[
            "range",
            "repeat",
            "recurse",
            "recurse_down",
            "while",
            "until",
            "limit",
            "skip",
            "nth",
            "combinations",
            "walk",
            "paths",
            "getpath",
            "setpath",
            "delpaths",
            "path",
            "transpose",
            "splits",
            "sub",
            "gsub",
            "scan",
            "match",
            "capture",
            "tostream",
            "fromstream",
            "truncate_stream",
            "ltrimstr_all",
            "infinite",
            "nan",
            "fromjson",
            "pick",
            "foreach",
            "label",
            "break",
        ],
        "its work or its values are not bounded by the message",
    ),
    (
        &[
            "env",
            "now",
            "localtime",
            "mktime",
            "gmtime",
            "strftime",
            "strflocaltime",
            "strptime",
            "todate",
            "fromdate",
            "input",
            "inputs",
            "input_filename",
            "input_line_number",
            "debug",
            "stderr",
            "halt",
            "halt_error",
            "get_search_list",
            "$__prog_args",
            "builtins",
        ],
        "it looks at the world outside the message",
    ),
];

/// What every expression sees beside `.`.
const VARIABLES: [&str; 5] = ["$steps", "$facts", "$message", "$party", "$item"];

/// A mistake in an expression; the span is within the expression.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) code: &'static str,
    pub(super) span: Range<usize>,
    pub(super) words: Words,
}

/// Parses an expression. Every syntax error is said.
pub(super) fn parse(source: &str) -> Result<Term<&str>, Vec<Mistake>> {
    let end = source.trim_end().len();
    let tokens = Lexer::new(source).lex().map_err(|errors| {
        let mistake = |(expected, rest): (jaq_core::load::lex::Expect<&str>, &str)| {
            let start = span(source, rest).start.min(end);
            let next = rest.chars().next().map_or(0, char::len_utf8);
            syntax(source, start..start + next, expected.as_str())
        };
        errors.into_iter().map(mistake).collect::<Vec<_>>()
    })?;
    Parser::new(&tokens).parse(Parser::term).map_err(|errors| {
        let mistake = |(expected, token): (
            jaq_core::load::parse::Expect<&str>,
            Option<&jaq_core::load::lex::Token<&str>>,
        )| {
            let at = token.map_or(end..end, |token| span(source, token.0));
            syntax(source, at, expected.as_str())
        };
        errors.into_iter().map(mistake).collect()
    })
}

fn syntax(source: &str, span: Range<usize>, expected: &str) -> Mistake {
    let expected = match expected {
        "nothing" => "nothing more is expected here".to_owned(),
        "term" => "a value is expected here".to_owned(),
        word => format!("{word} is expected here"),
    };
    let help = if source.trim().is_empty() {
        "write a jq expression, for example `.applicant.taxCode`"
    } else {
        "try the expression with the command `jq` on a sample message"
    };
    Mistake { code: "SN0117", span, words: Words::new("this is not jq", expected, help) }
}

/// Every use in `term` of what a route may not use. `item` says whether `$item` is there.
pub(super) fn vet(source: &str, term: &Term<&str>, item: bool) -> Vec<Mistake> {
    let mut vet = Vet { source, item, bound: Vec::new(), found: Vec::new() };
    vet.term(term);
    vet.found
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Where a literal stands; what it belongs to where it has no place of its own.
fn span_of(source: &str, term: &Term<&str>, owner: &str) -> Range<usize> {
    let slice = match term {
        Term::Str(_, parts) => match parts.as_slice() {
            [StrPart::Str(text)] => text,
            _ => owner,
        },
        Term::Num(text) | Term::Call(text, _) => text,
        Term::Neg(inner) => return span_of(source, inner, owner),
        _ => owner,
    };
    span(source, slice)
}

struct Vet<'s> {
    source: &'s str,
    item: bool,
    bound: Vec<&'s str>,
    found: Vec<Mistake>,
}

impl<'s> Vet<'s> {
    fn term(&mut self, term: &Term<&'s str>) {
        match term {
            Term::Id | Term::Num(_) | Term::Arr(None) => {}
            Term::Recurse => self.refuse("..", None, REFUSED[0].1),
            Term::Break(name) => self.refuse("break", Some(name), REFUSED[0].1),
            Term::Label(name, _) => self.refuse("label", Some(name), REFUSED[0].1),
            Term::Def(definitions, _) => {
                let name = definitions.first().map(|definition| definition.name);
                self.refuse("def", name, "definitions can call themselves without end");
            }
            Term::Str(format, parts) => self.text(*format, parts),
            Term::Arr(Some(inner)) | Term::Neg(inner) => self.term(inner),
            Term::Obj(entries) => entries.iter().for_each(|(name, value)| {
                self.term(name);
                if let Some(value) = value {
                    self.term(value);
                }
            }),
            Term::BinOp(left, operator, right) => self.binary(left, operator, right),
            Term::Fold(name, over, pattern, arguments) => {
                if *name != "reduce" {
                    self.refuse(name, Some(name), REFUSED[0].1);
                }
                self.term(over);
                self.within(pattern, |vet| arguments.iter().for_each(|term| vet.term(term)));
            }
            Term::TryCatch(inner, catch) => {
                self.term(inner);
                if let Some(catch) = catch {
                    self.term(catch);
                }
            }
            Term::IfThenElse(branches, otherwise) => {
                for (condition, then) in branches {
                    self.term(condition);
                    self.term(then);
                }
                if let Some(otherwise) = otherwise {
                    self.term(otherwise);
                }
            }
            Term::Call(name, arguments) => {
                self.call(name, arguments.len());
                self.written_out(name, arguments);
                for argument in arguments {
                    self.term(argument);
                }
            }
            Term::Var(name) => self.variable(name),
            Term::Path(head, Path(parts)) => {
                self.term(head);
                for (part, _) in parts {
                    self.part(part);
                }
            }
        }
    }

    fn part(&mut self, part: &Part<Term<&'s str>>) {
        match part {
            Part::Index(index) => self.term(index),
            Part::Range(from, to) => from.iter().chain(to).for_each(|bound| self.term(bound)),
        }
    }

    fn text(&mut self, format: Option<&'s str>, parts: &[StrPart<&'s str, Term<&'s str>>]) {
        if let Some(format) = format.filter(|format| !FORMATS.contains(format)) {
            self.call(format, 0);
        }
        for part in parts {
            if let StrPart::Term(term) = part {
                self.term(term);
            }
        }
    }

    fn binary(
        &mut self,
        left: &Term<&'s str>,
        operator: &BinaryOp<&'s str>,
        right: &Term<&'s str>,
    ) {
        self.term(left);
        match operator {
            BinaryOp::Pipe(Some(pattern)) => self.within(pattern, |vet| vet.term(right)),
            _ => self.term(right),
        }
    }

    /// Runs `body` where the names of `pattern` are bound.
    fn within(&mut self, pattern: &Pattern<&'s str>, body: impl FnOnce(&mut Self)) {
        let bound = self.bound.len();
        self.pattern(pattern);
        body(self);
        self.bound.truncate(bound);
    }

    fn pattern(&mut self, pattern: &Pattern<&'s str>) {
        match pattern {
            Pattern::Var(name) => self.bound.push(name),
            Pattern::Arr(items) => {
                for item in items {
                    self.pattern(item);
                }
            }
            Pattern::Obj(fields) => fields.iter().for_each(|(name, value)| {
                if !matches!(name, Term::Var(_)) {
                    self.term(name);
                }
                self.pattern(value);
            }),
        }
    }

    fn call(&mut self, name: &'s str, arguments: usize) {
        if FORMATS.contains(&name) {
            return;
        }
        let allowed = ALLOWED.iter().find(|(known, _)| *known == name);
        let refused = REFUSED.iter().find(|(names, _)| names.contains(&name));
        match (allowed, refused) {
            (Some((_, counts)), _) if counts.contains(&arguments) => {}
            (Some((_, counts)), _) => {
                let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
                let words = Words::new(
                    format!("`{name}` does not take {arguments} argument{}", plural(arguments)),
                    "called here",
                    format!("it takes {} (separated by `;`)", counts.join(" or ")),
                );
                self.say("SN0119", span(self.source, name), words);
            }
            (None, Some((_, why))) => self.refuse(name, Some(name), why),
            (None, None) => {
                let known = ALLOWED.iter().map(|(known, _)| *known);
                let help = help_with_nearest(name, known, "functions that a route may use");
                let words = Words::new(format!("there is no function `{name}`"), "unknown", help);
                self.say("SN0119", span(self.source, name), words);
            }
        }
    }

    /// An argument of our own functions that is written out is tried here and now.
    fn written_out(&mut self, name: &'s str, arguments: &[Term<&'s str>]) {
        let Some(function) = Function::called(name, arguments.len()) else { return };
        for (argument, term) in function.arguments().iter().zip(arguments) {
            if let Some(value) = literal(term)
                && !argument.reads(&value)
            {
                let help = format!("write {}", argument.words());
                let words =
                    Words::new(format!("`{name}` cannot read {value}"), "written here", help);
                self.say("SN0222", span_of(self.source, term, name), words);
            }
        }
    }

    fn variable(&mut self, name: &'s str) {
        let at = span(self.source, name);
        if self.bound.contains(&name) || (name != "$item" && VARIABLES.contains(&name)) {
            return;
        }
        match name {
            "$item" if self.item => {}
            "$item" => {
                let help = "give the step `each: ${ … }`, or read the body with `.`";
                let words = Words::new("there is no `$item` here", "only where `each` is", help);
                self.say("SN0119", at, words);
            }
            "$ENV" | "$__prog_args" | "$__loc__" => self.refuse(name, Some(name), REFUSED[1].1),
            _ => {
                let known = VARIABLES.iter().copied().chain(self.bound.iter().copied());
                let help = help_with_nearest(name, known, "variables here");
                let words = Words::new(format!("there is no variable `{name}`"), "unknown", help);
                self.say("SN0119", at, words);
            }
        }
    }

    /// `at` is the slice of the source to show; without one, the whole expression.
    fn refuse(&mut self, what: &str, at: Option<&'s str>, why: &str) {
        let at = at.map_or_else(|| 0..self.source.trim_end().len(), |at| span(self.source, at));
        let title = format!("a route may not use `{what}`");
        let help = "say it with map, select, any, all, first, reduce or a plain path; \
                    a value from outside comes with the message";
        self.say("SN0118", at, Words::new(title, why, help));
    }

    fn say(&mut self, code: &'static str, span: Range<usize>, words: Words) {
        self.found.push(Mistake { code, span, words });
    }
}
