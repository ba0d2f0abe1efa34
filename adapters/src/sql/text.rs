//! The text of a query: one SELECT with named parameters, in the words of one database. Pure.
//!
//! Invariant: a value never becomes part of the text: it has its own place, whatever stands in literals,
//! quoted names and comments around it.

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// PostgreSQL: `$tag$`, `E''`, comments in comments, `::`.
    Postgres,
    /// SQLite: `[name]` and `` `name` `` too.
    Sqlite,
}

/// A query that is one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pieces: Vec<Piece>,
    names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// Which of the names.
    Parameter(usize),
}

/// Why a text is no question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    /// It does not begin as one.
    NoSelect,
    /// Something stands behind the first `;`.
    SecondStatement,
    /// What begins here does not end: `'`, `/*`, `(`.
    Open(&'static str),
    /// A `)` without its `(`.
    Unopened,
    /// A parameter by number, or in another spelling: `$1`, `?`.
    Positional(String),
}

impl Mistake {
    /// What is wrong.
    pub(super) fn text(&self) -> String {
        match self {
            Self::NoSelect => "the query does not begin with SELECT or WITH".to_owned(),
            Self::SecondStatement => "the query holds a second statement".to_owned(),
            Self::Open(mark) => format!("a {mark} of the query has no end"),
            Self::Unopened => "a ) of the query has no (".to_owned(),
            Self::Positional(text) => format!("the query has the parameter {text}"),
        }
    }

    /// What to write instead.
    pub(super) fn help(&self) -> &'static str {
        match self {
            Self::NoSelect => "write a question: query: SELECT … FROM … WHERE tax_code = :taxCode",
            Self::SecondStatement => {
                "write one statement; what follows the first `;` is another operation"
            }
            Self::Open(_) | Self::Unopened => "close what is open",
            Self::Positional(_) => "write :name, after a field of the input",
        }
    }
}

impl Query {
    /// Reads a text.
    pub(super) fn parse(text: &str, dialect: Dialect) -> Result<Self, Mistake> {
        let mut reading = Reading::default();
        for token in tokens(text, dialect) {
            reading.take(token?)?;
        }
        reading.end()
    }

    /// The names of its parameters, each once.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The text with what `place` gives for each parameter, by its position among the names.
    pub(super) fn with(&self, place: impl Fn(usize) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Parameter(index) => place(*index),
        };
        self.pieces.iter().map(piece).collect()
    }

    /// With `$1`, `$2` for the parameters.
    pub(super) fn numbered(&self) -> String {
        self.with(|index| format!("${}", index + 1))
    }

    /// With `?1`, `?2` for the parameters.
    pub(super) fn questioned(&self) -> String {
        self.with(|index| format!("?{}", index + 1))
    }

    /// The word at a character, counted from 1, of the numbered text: a database says where it stopped.
    pub(super) fn word_at(&self, position: usize) -> Option<String> {
        let text = self.numbered();
        let (start, _) = text.char_indices().nth(position.checked_sub(1)?)?;
        let of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '"');
        let word: String = text[start..].chars().take_while(|c| of_word(*c)).take(64).collect();
        let number = word.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
        match number.and_then(|number| self.names.get(number.checked_sub(1)?)) {
            Some(name) => Some(format!(":{name}")),
            None => (!word.is_empty()).then_some(word),
        }
    }
}

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'t> {
    /// White space or a comment.
    Space(&'t str),
    /// A literal or a quoted name, quotes included.
    Quoted(&'t str),
    /// A key word, a name, a number.
    Word(&'t str),
    /// `:name`, without the colon.
    Parameter(&'t str),
    /// `$1`, `?`, `@name`.
    Positional(&'t str),
    /// Anything else.
    Sign(&'t str),
}

impl<'t> Token<'t> {
    fn text(self) -> &'t str {
        match self {
            Self::Space(text)
            | Self::Quoted(text)
            | Self::Word(text)
            | Self::Parameter(text)
            | Self::Positional(text)
            | Self::Sign(text) => text,
        }
    }
}

/// What was read so far.
#[derive(Debug, Default)]
struct Reading {
    pieces: Vec<Piece>,
    names: Vec<String>,
    begun: bool,
    ended: bool,
    open: usize,
}

impl Reading {
    fn take(&mut self, token: Token<'_>) -> Result<(), Mistake> {
        if let Token::Space(text) = token {
            if !self.ended {
                self.text(text);
            }
            return Ok(());
        }
        if self.ended {
            return Err(Mistake::SecondStatement);
        }
        if !std::mem::replace(&mut self.begun, true) && !begins(token) {
            return Err(Mistake::NoSelect);
        }
        match token {
            Token::Sign(";") => self.ended = true,
            Token::Positional(text) => return Err(Mistake::Positional(text.to_owned())),
            Token::Parameter(name) => self.parameter(name),
            other => {
                self.bracket(other)?;
                self.text(other.text());
            }
        }
        Ok(())
    }

    fn bracket(&mut self, token: Token<'_>) -> Result<(), Mistake> {
        match token {
            Token::Sign("(") => self.open += 1,
            Token::Sign(")") => self.open = self.open.checked_sub(1).ok_or(Mistake::Unopened)?,
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    fn parameter(&mut self, name: &str) {
        let known = self.names.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        self.pieces.push(Piece::Parameter(index));
    }

    fn end(self) -> Result<Query, Mistake> {
        if !self.begun {
            return Err(Mistake::NoSelect);
        }
        if self.open > 0 {
            return Err(Mistake::Open("("));
        }
        Ok(Query { pieces: self.pieces, names: self.names })
    }
}

fn begins(token: Token<'_>) -> bool {
    matches!(token, Token::Word(word) if ["select", "with"].iter().any(|w| word.eq_ignore_ascii_case(w)))
}

/// The tokens of a text; nothing after a mistake.
fn tokens(text: &str, dialect: Dialect) -> impl Iterator<Item = Result<Token<'_>, Mistake>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let token = token(rest, dialect);
        rest = token.as_ref().map_or("", |token| {
            let colon = usize::from(matches!(token, Token::Parameter(_)));
            &rest[token.text().len() + colon..]
        });
        Some(token)
    })
}

fn token(rest: &str, dialect: Dialect) -> Result<Token<'_>, Mistake> {
    let postgres = dialect == Dialect::Postgres;
    let mut characters = rest.chars();
    let (first, second) = (characters.next().unwrap_or_default(), characters.next());
    let name_follows = second.is_some_and(begins_name);
    match first {
        c if c.is_whitespace() => Ok(Token::Space(take(rest, char::is_whitespace))),
        '-' if second == Some('-') => Ok(Token::Space(take(rest, |c| c != '\n'))),
        '/' if second == Some('*') => comment(rest, postgres).map(Token::Space),
        '\'' => quoted(rest, '\'', "'"),
        '"' => quoted(rest, '"', "\""),
        '`' if !postgres => quoted(rest, '`', "`"),
        '[' if !postgres => quoted(rest, ']', "["),
        'e' | 'E' if postgres && second == Some('\'') => escaped(rest),
        '$' if postgres => dollar(rest),
        '$' | '@' if !postgres && name_follows => Ok(Token::Positional(name(rest))),
        '?' if !postgres => Ok(Token::Positional(name(rest))),
        ':' if second == Some(':') => Ok(Token::Sign("::")),
        ':' if name_follows => Ok(Token::Parameter(take(&rest[1..], is_name))),
        c if begins_name(c) || c.is_numeric() => {
            Ok(Token::Word(take(rest, |c| is_name(c) || c == '$' || !c.is_ascii())))
        }
        c => Ok(Token::Sign(&rest[..c.len_utf8()])),
    }
}

fn begins_name(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The longest beginning of such characters.
fn take(text: &str, is: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !is(c)).unwrap_or(text.len())]
}

/// A sign, and the name or number that follows it.
fn name(text: &str) -> &str {
    &text[..=take(&text[1..], is_name).len()]
}

/// What begins with a quote and ends with the same (`]` for `[`), which is doubled inside.
fn quoted<'t>(rest: &'t str, end: char, mark: &'static str) -> Result<Token<'t>, Mistake> {
    let mut at = 1;
    loop {
        at += rest[at..].find(end).ok_or(Mistake::Open(mark))? + 1;
        if !rest[at..].starts_with(end) {
            return Ok(Token::Quoted(&rest[..at]));
        }
        at += 1;
    }
}

/// `E'…'`: a backslash takes the next character along.
fn escaped(rest: &str) -> Result<Token<'_>, Mistake> {
    let mut characters = rest.char_indices().skip(2).peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '\'' if characters.next_if(|(_, next)| *next == '\'').is_none() => {
                return Ok(Token::Quoted(&rest[..=at]));
            }
            _ => {}
        }
    }
    Err(Mistake::Open("'"))
}

/// `$tag$…$tag$`, or `$1`.
fn dollar(rest: &str) -> Result<Token<'_>, Mistake> {
    let tag = take(&rest[1..], is_name);
    if tag.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(Token::Positional(name(rest)));
    }
    let mark = tag.len() + 2;
    if !rest[1 + tag.len()..].starts_with('$') {
        return Ok(Token::Sign("$"));
    }
    let length = rest[mark..].find(&rest[..mark]).ok_or(Mistake::Open("$$"))?;
    Ok(Token::Quoted(&rest[..mark + length + mark]))
}

/// `/* … */`, with others inside where the dialect has them.
fn comment(rest: &str, nested: bool) -> Result<&str, Mistake> {
    let (mut at, mut depth) = (2, 1_usize);
    while depth > 0 {
        let end = rest[at..].find("*/").ok_or(Mistake::Open("/*"))?;
        let begin = rest[at..].find("/*").filter(|begin| nested && *begin < end);
        depth = if begin.is_some() { depth + 1 } else { depth - 1 };
        at += begin.unwrap_or(end) + 2;
    }
    Ok(&rest[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(text: &str) -> Result<Query, Mistake> {
        Query::parse(text, Dialect::Postgres)
    }

    fn sqlite(text: &str) -> Result<Query, Mistake> {
        Query::parse(text, Dialect::Sqlite)
    }

    #[test]
    fn parameters_are_numbered_and_nothing_else_is_changed() {
        let table = [
            ("SELECT :a, :b, :a", "SELECT $1, $2, $1"),
            ("with x as (select 1) select :a_1 from x", "with x as (select 1) select $1 from x"),
            ("SELECT ':no' || :a", "SELECT ':no' || $1"),
            ("SELECT 'it''s :no', :a", "SELECT 'it''s :no', $1"),
            (r"SELECT E'it\'s :no' || :a", r"SELECT E'it\'s :no' || $1"),
            (r"SELECT e'\\', :a, ''", r"SELECT e'\\', $1, ''"),
            (r"SELECT E'''' || :a", r"SELECT E'''' || $1"),
            (r"SELECT '\' || :a || '\'", r"SELECT '\' || $1 || '\'"),
            (r#"SELECT "a :no ""b""" = :a"#, r#"SELECT "a :no ""b""" = $1"#),
            ("SELECT :a -- :no '\n, :b", "SELECT $1 -- :no '\n, $2"),
            ("SELECT /* :no /* :no */ ' :no */ :a", "SELECT /* :no /* :no */ ' :no */ $1"),
            ("SELECT $$ :no ' $$, :a", "SELECT $$ :no ' $$, $1"),
            ("SELECT $q$ $$ :no $q$, :a", "SELECT $q$ $$ :no $q$, $1"),
            ("SELECT :a::date, x::text", "SELECT $1::date, x::text"),
            ("SELECT a[1:2], f(x := 1), :a", "SELECT a[1:2], f(x := 1), $1"),
            ("SELECT d ? 'k', a@>b, :a", "SELECT d ? 'k', a@>b, $1"),
            ("SELECT price$usd, 1e5, :a", "SELECT price$usd, 1e5, $1"),
            ("SELECT 'è', città, :a", "SELECT 'è', città, $1"),
            ("-- first\n /* : */ SELECT :a ; -- last\n", "-- first\n /* : */ SELECT $1 "),
            ("SELECT '; DROP TABLE x' || :a", "SELECT '; DROP TABLE x' || $1"),
            ("SELECT date '10:30', (:a)", "SELECT date '10:30', ($1)"),
        ];
        for (text, expected) in table {
            assert_eq!(postgres(text).map(|query| query.numbered()).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn sqlite_quotes_in_its_own_way_too() {
        let table = [
            ("SELECT [a :no], `b :no`, :a", "SELECT [a :no], `b :no`, ?1"),
            ("SELECT `a``:no`, 'x''y', :b", "SELECT `a``:no`, 'x''y', ?1"),
            (r"SELECT e'\', :a, '\'", r"SELECT e'\', ?1, '\'"),
            ("SELECT /* /* :no */ :a", "SELECT /* /* :no */ ?1"),
        ];
        for (text, expected) in table {
            assert_eq!(sqlite(text).map(|query| query.questioned()).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn names_are_in_the_order_in_which_they_come() {
        let query = postgres("SELECT :b, :a, :b").expect("a question");
        assert_eq!(query.names(), ["b", "a"]);
        assert_eq!(query.with(|index| format!("<{index}>")), "SELECT <0>, <1>, <0>");
    }

    #[test]
    fn what_is_no_single_question_is_refused() {
        use Mistake::{NoSelect, Open, Positional, SecondStatement, Unopened};
        let positional = |text: &str| Positional(text.to_owned());
        let table = [
            ("", NoSelect, NoSelect),
            ("-- only this", NoSelect, NoSelect),
            ("INSERT INTO x VALUES (:a)", NoSelect, NoSelect),
            ("(SELECT 1)", NoSelect, NoSelect),
            ("selection", NoSelect, NoSelect),
            ("SELECT 1; DELETE FROM x", SecondStatement, SecondStatement),
            ("SELECT 1;;", SecondStatement, SecondStatement),
            ("SELECT 1; -- x\n SELECT 2", SecondStatement, SecondStatement),
            ("SELECT 'x", Open("'"), Open("'")),
            ("SELECT 'x''", Open("'"), Open("'")),
            ("SELECT \"x", Open("\""), Open("\"")),
            ("SELECT /* x", Open("/*"), Open("/*")),
            ("SELECT (1", Open("("), Open("(")),
            ("SELECT 1) FROM (SELECT 2", Unopened, Unopened),
        ];
        for (text, of_postgres, of_sqlite) in table {
            assert_eq!(postgres(text), Err(of_postgres), "{text}");
            assert_eq!(sqlite(text), Err(of_sqlite), "{text}");
        }
        assert_eq!(postgres("SELECT $1"), Err(positional("$1")));
        assert_eq!(postgres("SELECT $q$ x"), Err(Open("$$")));
        assert_eq!(postgres("SELECT /* /* */ 1"), Err(Open("/*")));
        assert_eq!(sqlite("SELECT ?"), Err(positional("?")));
        assert_eq!(sqlite("SELECT ?12"), Err(positional("?12")));
        assert_eq!(sqlite("SELECT @name"), Err(positional("@name")));
        assert_eq!(sqlite("SELECT $name"), Err(positional("$name")));
        assert_eq!(sqlite("SELECT `x"), Err(Open("`")));
        assert_eq!(sqlite("SELECT [x"), Err(Open("[")));
    }

    #[test]
    fn the_place_of_an_error_is_a_word_of_the_query() {
        let query = postgres("SELECT è, p.cod FROM t WHERE b = :born").expect("a question");
        let word = |text: &str| {
            let numbered = query.numbered();
            let at = numbered.find(text).map(|at| numbered[..at].chars().count() + 1);
            query.word_at(at.expect("there"))
        };
        assert_eq!(word("p.cod").as_deref(), Some("p.cod"));
        assert_eq!(word("$1").as_deref(), Some(":born"));
        assert_eq!(word("= $1"), None);
        assert_eq!([query.word_at(0), query.word_at(1000)], [None, None]);
    }
}
