//! A new adapter instance in the configuration of a house: inserted, and every other byte left as it is.
//!
//! Invariant: what comes out is the configuration as it was, and one instance more at the end of `adapters:`.

use std::sync::Arc;

use serde_json::Value;

use super::{NewFile, schema_file};
use crate::{
    adapter::Example,
    diagnostic::{Problems, SourceFile},
    yaml::{self, Content, Key, Node},
};

/// An adapter instance that is wanted.
#[derive(Clone, Debug)]
pub struct NewAdapter {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// How an instance of this kind begins.
    pub example: Example,
    /// A purpose of the house, where it has one.
    pub purpose: Option<String>,
    /// Whether the house is a test environment, which calls test hosts only.
    pub test: bool,
}

impl NewAdapter {
    /// The schemas that it cites.
    pub fn schemas(&self) -> Vec<NewFile> {
        let written = |(kind, schema): &(&str, &str)| {
            let schema: Value = serde_json::from_str(schema).ok()?;
            Some(schema_file(&self.filled(kind).replace('/', "."), &schema))
        };
        self.example.schemas.iter().filter_map(written).collect()
    }

    /// The configuration with it. `None` where it has no place to insert it.
    pub fn inserted(&self, config: &Arc<SourceFile>) -> Option<String> {
        let root = read(config)?;
        let text = match entry(&root, "adapters") {
            None => self.appended(&config.text),
            Some(adapters) if is_in_brackets(adapters, &config.text) => {
                self.in_braces(adapters, &config.text)?
            }
            Some(adapters) => self.below(adapters, &config.text)?,
        };
        let file = Arc::new(SourceFile { path: config.path.clone(), text });
        let (before, mut after) = (root.value()?, read(&file)?.value()?);
        after["adapters"].as_object_mut()?.remove(&self.name)?;
        if before.get("adapters").is_none() {
            after.as_object_mut()?.remove("adapters");
        }
        (after == before).then(|| file.text.clone())
    }

    /// Its lines, as far in as the names of instances are.
    fn lines(&self, indent: usize) -> String {
        let lines = self.example.options.lines().map(|line| self.filled_line(line));
        let options: String = lines.collect();
        let (name, kind) = (&self.name, &self.kind);
        if options.trim().is_empty() {
            return format!("{:indent$}{name}: {{ kind: {kind} }}\n", "");
        }
        let body = format!("kind: {kind}\n{}\n", options.trim_end());
        let deeper = indent + 2;
        let lines = body.lines().map(|line| format!("{:deeper$}{line}\n", ""));
        format!("{:indent$}{name}:\n{}", "", lines.collect::<String>())
    }

    /// A line of the example; its comment stays in its column, where there is room.
    fn filled_line(&self, line: &str) -> String {
        match line.rsplit_once(" #").filter(|(before, _)| !before.trim().is_empty()) {
            Some((before, comment)) => {
                let (width, filled) = (before.len(), self.filled(before.trim_end()));
                format!("{filled:width$} #{}\n", self.filled(comment))
            }
            None => self.filled(line) + "\n",
        }
    }

    fn filled(&self, text: &str) -> String {
        let host = if self.test { ".test.example" } else { ".example" };
        let purpose = self.purpose.as_deref().unwrap_or("a-purpose");
        let name = self.name.replace('_', "-");
        text.replace("NAME", &name).replace("PURPOSE", purpose).replace(".example", host)
    }

    /// A configuration without instances: they come last.
    fn appended(&self, text: &str) -> String {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        format!("{text}{end}adapters:\n{}", self.lines(2))
    }

    /// Below the last instance, and below the comments that go with it.
    fn below(&self, adapters: &Node, text: &str) -> Option<String> {
        let Content::Map(instances) = &adapters.content else { return None };
        let first = instances.first()?.0.span.start;
        let indent = first - text[..first].rfind('\n').map_or(0, |newline| newline + 1);
        let last = last_byte(adapters, text);
        let mut at = next_line(text, last);
        while let Some(line) = text.get(at..).and_then(|rest| rest.lines().next()) {
            let written = line.trim_start();
            if !written.starts_with('#') || line.len() - written.len() < indent {
                break;
            }
            at = next_line(text, at);
        }
        let (before, after) = text.split_at(at);
        let end = if before.ends_with('\n') { "" } else { "\n" };
        Some(format!("{before}{end}{}{after}", self.lines(indent)))
    }

    /// Instances in braces: before the last one.
    fn in_braces(&self, adapters: &Node, text: &str) -> Option<String> {
        let Content::Map(instances) = &adapters.content else { return None };
        let own = SourceFile { path: String::new(), text: self.lines(0) };
        let own = read(&Arc::new(own))?;
        let instance = in_braces(entry(&own, &self.name)?);
        let close = adapters.span.end.checked_sub(1)?;
        let (before, after) = text.split_at(text[..close].trim_end().len());
        let comma = if instances.is_empty() || before.ends_with(',') { "" } else { "," };
        let space = if instances.is_empty() { " " } else { "" };
        Some(format!("{before}{comma} {}: {instance}{space}{after}", self.name))
    }
}

fn read(file: &Arc<SourceFile>) -> Option<Node> {
    let mut problems = Problems::default();
    yaml::read(file, &mut problems).filter(|_| !problems.any_error())
}

fn entry<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Content::Map(entries) = &node.content else { return None };
    entries.iter().find(|(found, _)| found.text == key).map(|(_, value)| value)
}

fn is_in_brackets(node: &Node, text: &str) -> bool {
    text[node.span.start..].starts_with(['{', '['])
}

/// The last byte that belongs to a node, comments left out.
fn last_byte(node: &Node, text: &str) -> usize {
    let last = match &node.content {
        Content::Map(entries) => entries.last().map(|(_, value)| value),
        Content::List(items) => items.last(),
        Content::Text(_) | Content::Plain(_) | Content::Refused => None,
    };
    match last.filter(|_| !is_in_brackets(node, text)) {
        Some(last) => last_byte(last, text),
        None => text[..node.span.end].trim_end().len(),
    }
}

/// Where the line after the one of `at` begins.
fn next_line(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

/// A node on one line.
fn in_braces(node: &Node) -> String {
    match &node.content {
        Content::Map(entries) => {
            let entry = |(key, node): &(Key, Node)| format!("{}: {}", key.text, in_braces(node));
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Content::List(items) => {
            format!("[{}]", items.iter().map(in_braces).collect::<Vec<_>>().join(", "))
        }
        Content::Text(text) if is_plain(text) => text.clone(),
        Content::Text(text) => Value::from(text.as_str()).to_string(),
        Content::Plain(value) => value.to_string(),
        Content::Refused => String::new(),
    }
}

/// Whether a text can stand in brackets without quotes.
fn is_plain(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._:-".contains(c))
        && !text.ends_with(':')
        && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(options: &'static str) -> NewAdapter {
        NewAdapter {
            name: "far_side".to_owned(),
            kind: "http".to_owned(),
            example: Example {
                options,
                schemas: &[("NAME/message.v1", "{ \"type\": \"object\" }")],
            },
            purpose: None,
            test: false,
        }
    }

    fn inserted(wanted: &NewAdapter, config: &str) -> Option<String> {
        let file = SourceFile { path: "config/snodo.yaml".to_owned(), text: config.to_owned() };
        wanted.inserted(&Arc::new(file))
    }

    #[test]
    fn an_instance_is_inserted_and_every_other_byte_stays() {
        let (bare, full) = (
            wanted(""),
            wanted("base: https://NAME.example       # where it is\nlist: [1, \"2\"]"),
        );
        for (wanted, before, after, rest) in [
            (&bare, "a: 1\n", "adapters:\n  far_side: { kind: http }\n", ""),
            (&bare, "a: 1", "\nadapters:\n  far_side: { kind: http }\n", ""),
            (
                &bare,
                "adapters:\n    b: { kind: x }   # why\n",
                "    far_side: { kind: http }\n",
                "",
            ),
            (
                &full,
                "adapters:\n  b:\n    kind: x\n    # more of it\n",
                "  far_side:\n    kind: http\n    base: https://far-side.example   # where it is\n    list: [1, \"2\"]\n",
                "\n# What comes next\nz: 1\n",
            ),
            (
                &bare,
                "adapters:\n  b:\n    kind: x\n",
                "  far_side: { kind: http }\n",
                "# next\nz: 1\n",
            ),
            (&bare, "adapters: { b: { kind: x }", ", far_side: { kind: http }", " } # why\nz: 1\n"),
            (&bare, "adapters: {", " far_side: { kind: http } ", "}\n"),
            (
                &full,
                "adapters: {\n  b: { kind: x },",
                " far_side: { kind: http, base: https://far-side.example, list: [1, \"2\"] }",
                "\n  }\n",
            ),
        ] {
            let text = inserted(wanted, &format!("{before}{rest}")).expect("there is a place");
            assert_eq!(text, format!("{before}{after}{rest}"));
        }
    }

    #[test]
    fn where_there_is_no_place_for_it_nothing_is_inserted() {
        for config in ["{ a: 1 }\n", "a: 1\n...\n", "adapters: [b]\n", "adapters: b\n", "a: [\n"] {
            assert_eq!(inserted(&wanted(""), config), None, "{config}");
        }
    }

    #[test]
    fn a_test_house_gets_test_hosts_and_schemas_a_domain() {
        let mut wanted = wanted("base: https://NAME.example\n");
        wanted.test = true;
        let text = inserted(&wanted, "a: 1\n").expect("there is a place");
        assert!(text.contains("base: https://far-side.test.example\n"), "{text}");
        assert_eq!(wanted.schemas()[0].0, "schemas/far-side/message.v1.json");
    }
}
