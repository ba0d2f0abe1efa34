//! Operators: `+ - * / %`, comparisons, `//`.
//!
//! Invariant: where a side may be missing, or the two sides have nothing in common, it is a finding.

use super::{
    Bug, Kind, List, Type,
    functions::split,
    infer::{Context, Inference, Stream, literal_text},
    numbers::{appended, arithmetic, concatenated, merged},
    seeded,
};
use crate::diagnostic::nearest;
use crate::template::tree::{Cmp, Math, Term};

impl<'s> Inference<'s> {
    /// `left // right`
    pub(super) fn alternative(
        &mut self,
        left: &Term<&'s str>,
        right: &Term<&'s str>,
        context: &Context,
    ) -> Stream {
        let first = self.infer(left, context);
        if first.least > 0 && first.of.falsy().is_never() {
            return first;
        }
        let second = self.infer(right, context);
        let says_false = Type { no: true, ..Type::default() };
        if first.of.no && second.of != says_false {
            let write = "`if .x == null then … else .x end`";
            return self.wrong(left, "SN0214", "`//` also replaces false", &first.of, write);
        }
        if first.of.truthy().is_never() {
            return second;
        }
        if seeded(Bug::DefaultIsDropped) {
            return Stream::one(first.of.truthy());
        }
        Stream {
            of: first.of.truthy().join(&second.of),
            least: if second.stops() { 1 } else { second.least.min(1) },
            most: first.most.zip(second.most).map(|(a, b)| a.max(b).max(1)),
        }
    }

    /// `a op b`.
    pub(super) fn math(
        &mut self,
        term: &Term<&str>,
        op: Math,
        [a, b]: [&Type; 2],
        [left, right]: [&Term<&str>; 2],
    ) -> Stream {
        if a.is_never() || b.is_never() {
            return Stream::stopped();
        }
        for (of, at) in [(a, left), (b, right)] {
            if of.null {
                return self.null_in_math(at, op, of);
            }
        }
        if a.is_unknown() || b.is_unknown() {
            return self.unknown(term, "arithmetic with an unknown value");
        }
        self.same_kind_math(op, a, b, right).unwrap_or_else(|| {
            let title = format!("`{}` between {a} and {b}", sign(op));
            self.wrong(term, "SN0207", title, a, "two numbers, two texts, two lists or two objects")
        })
    }

    fn null_in_math(&mut self, at: &Term<&str>, op: Math, of: &Type) -> Stream {
        let title = match op {
            Math::Add => "null + 1 is 1: the missing value would go unnoticed".to_owned(),
            op => format!("`{}` of null stops the message with an error", sign(op)),
        };
        self.wrong(at, "SN0207", title, of, "a default with `// 0`, or a test with `!= null`")
    }

    /// The result where both sides have one kind, and the same.
    fn same_kind_math(
        &mut self,
        op: Math,
        a: &Type,
        b: &Type,
        right: &Term<&str>,
    ) -> Option<Stream> {
        let both = |kind| a.is_only(kind) && b.is_only(kind);
        let of = if both(Kind::Number) {
            let (x, y) = (a.number.as_ref()?, b.number.as_ref()?);
            if matches!(op, Math::Div | Math::Rem) && !y.nonzero {
                let title = "the divisor may be 0: jaq gives Infinity or NaN, which is not JSON";
                return Some(self.wrong(right, "SN0216", title, b, "a test with `!= 0` before"));
            }
            Type::number(arithmetic(op, x, y))
        } else if both(Kind::Text) {
            match op {
                Math::Add => Type::text(concatenated(a.text.as_ref()?, b.text.as_ref()?)),
                Math::Div => Type::list(split(a.text.as_ref()?)),
                _ => return None,
            }
        } else if both(Kind::List) {
            let (x, y) = (a.list.as_deref()?, b.list.as_deref()?);
            match op {
                Math::Add => Type::list(appended(x, y)),
                Math::Sub => {
                    Type::list(List { distinct: x.distinct, ..List::of(x.element(), 0, x.most) })
                }
                _ => return None,
            }
        } else if both(Kind::Object) && op == Math::Add {
            let pairs = a.objects.iter().flat_map(|x| b.objects.iter().map(move |y| merged(x, y)));
            pairs.map(Type::object).fold(Type::never(), |all, one| all.join(&one))
        } else if both(Kind::Object) && op == Math::Mul {
            return Some(self.unknown(right, "deep merge of objects (`*`)"));
        } else {
            return None;
        };
        Some(Stream::one(of))
    }

    pub(super) fn compare(
        &mut self,
        term: &Term<&str>,
        op: Cmp,
        [a, b]: [&Type; 2],
        [left, right]: [&Term<&str>; 2],
    ) -> Stream {
        if a.is_never() || b.is_never() {
            return Stream::stopped();
        }
        if matches!(op, Cmp::Eq | Cmp::Ne) {
            return self.equal(term, op, [a, b], [left, right]);
        }
        for (of, at) in [(a, left), (b, right)] {
            if of.null {
                let title = "null is smaller than every number and text, so a missing value \
                             compares as true or false silently";
                let write = "a test with `!= null` before `and`, or a default with `// …`";
                return self.wrong(at, "SN0206", title, of, write);
            }
        }
        if a.is_unknown() || b.is_unknown() {
            self.unknown(term, "comparison with an unknown value");
            return Stream::one(Type::boolean());
        }
        let comparable = |kind| a.is_only(kind) && b.is_only(kind);
        if comparable(Kind::Number) || comparable(Kind::Text) {
            return Stream::one(Type::boolean());
        }
        let title = format!(
            "`{}` between {a} and {b}: jq orders values of different kinds by kind, not by content",
            cmp(op)
        );
        let write = "`tostring` on one side, or `number(…)` on the text";
        self.wrong(term, "SN0206", title, a, write)
    }

    /// `==` and `!=`.
    fn equal(
        &mut self,
        term: &Term<&str>,
        op: Cmp,
        [a, b]: [&Type; 2],
        [left, right]: [&Term<&str>; 2],
    ) -> Stream {
        let boolean = Stream::one(Type::boolean());
        if is_null(left) || is_null(right) {
            return boolean;
        }
        if a.null && b.null && op == Cmp::Eq {
            let title = "both sides may be null, and two missing values are equal";
            return self.wrong(term, "SN0206", title, a, "`… != null and …` before it");
        }
        if a.null && b.null {
            let title = "both sides may be null, and two missing values are not different";
            return self.wrong(term, "SN0206", title, a, "`… != null and …` before it");
        }
        if a.is_unknown() || b.is_unknown() || a.overlaps(b) {
            return boolean;
        }
        let write = nearest_literal(a, b).or_else(|| nearest_literal(b, a));
        let write = write.unwrap_or_else(|| match (&a.text, &b.text) {
            (Some(_), Some(_)) => "one of the values that it may have".to_owned(),
            _ => "values of one kind".to_owned(),
        });
        let word = [right, left].into_iter().find(|side| literal_text(side).is_some());
        let title = format!("{a} is never equal to {b}");
        match word {
            Some(word) => self.wrong_word(word, "SN0215", title, a, write),
            None => self.wrong(term, "SN0215", title, a, write),
        }
    }
}

/// The one literal of `one` is near to a literal of `all`.
fn nearest_literal(one: &Type, all: &Type) -> Option<String> {
    let literals = |of: &Type| of.text.as_ref().and_then(|text| text.literals.clone());
    let (one, all) = (literals(one)?, literals(all)?);
    let [word] = one.as_slice() else { return None };
    let near = nearest(word, all.iter().map(AsRef::as_ref))?;
    Some(format!("\"{near}\""))
}

impl Type {
    /// Whether a value of one may be equal to a value of the other.
    fn overlaps(&self, other: &Self) -> bool {
        let numbers = || {
            let (Some(a), Some(b)) = (&self.number, &other.number) else { return false };
            if let (Some(a), Some(b)) = (&a.literals, &b.literals) {
                return a.iter().any(|number| b.contains(number));
            }
            let above = |least: Option<f64>, most: Option<f64>| {
                least.zip(most).is_some_and(|(least, most)| least > most)
            };
            !above(a.least, b.most) && !above(b.least, a.most)
        };
        let texts = || {
            let (Some(a), Some(b)) = (&self.text, &other.text) else { return false };
            match (&a.literals, &b.literals) {
                (Some(a), Some(b)) => a.iter().any(|word| b.contains(word)),
                _ => true,
            }
        };
        let both = |kind| self.has(kind) && other.has(kind);
        both(Kind::Null)
            || (self.yes && other.yes)
            || (self.no && other.no)
            || both(Kind::List)
            || both(Kind::Object)
            || numbers()
            || texts()
    }
}

fn is_null(term: &Term<&str>) -> bool {
    matches!(term, Term::Call("null", arguments) if arguments.is_empty())
}

fn sign(op: Math) -> &'static str {
    match op {
        Math::Add => "+",
        Math::Sub => "-",
        Math::Mul => "*",
        Math::Div => "/",
        Math::Rem => "%",
    }
}

fn cmp(op: Cmp) -> &'static str {
    match op {
        Cmp::Lt => "<",
        Cmp::Le => "<=",
        Cmp::Gt => ">",
        Cmp::Ge => ">=",
        Cmp::Eq => "==",
        Cmp::Ne => "!=",
    }
}
