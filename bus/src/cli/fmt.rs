//! `snodo fmt`: writes the YAML files of the house in one form. The only home of `pretty_yaml`.
//!
//! Invariant: a file is replaced whole or not at all, and only by what means the same and has the same
//! comments; where lines break is the author's.

use std::{
    ffi::OsStr,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use pretty_yaml::config::{FormatOptions, LanguageOptions, LayoutOptions};
use serde_json::{Value, json};
use snodo_core::{
    diagnostic::{Diagnostic, Problems, Severity, SourceFile, render_text},
    yaml::{self, LONGEST},
};

use super::Common;
use crate::{
    exit::{Exit, Failure},
    house::{self, Folder},
};

#[derive(Debug, Args)]
pub(super) struct Fmt {
    /// Files, and folders of the house; all its YAML files where none is named; `-` reads the standard
    /// input and writes the standard output
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write nothing; list the files that are not formatted, and end with 1 where there is one
    #[arg(long)]
    check: bool,
}

/// What came of the files that were looked at.
#[derive(Default)]
struct Looked {
    /// Those that were not formatted.
    differ: Vec<String>,
    /// How many were.
    same: usize,
    /// What could not be formatted, and why.
    said: Vec<Diagnostic>,
}

impl Fmt {
    pub(super) fn run(&self, common: &Common) -> Result<Exit, Failure> {
        if let [path] = self.paths.as_slice()
            && path.as_os_str() == "-"
        {
            return self.stream();
        }
        let mut problems = Problems::default();
        let files = self.files(&common.house, &mut problems)?;
        let mut looked = Looked { said: problems.sorted(), ..Looked::default() };
        for (file, place) in files {
            self.look_at(&file, &place, &mut looked)?;
        }
        common.print(&self.told(&looked), |_| {
            let verb = if self.check { "" } else { "formatted " };
            looked.differ.iter().map(|path| format!("{verb}{path}\n")).collect()
        })?;
        if looked.said.iter().any(|one| one.severity == Severity::Error) {
            return Err(Failure::mistake(render_text(&looked.said).trim_end()));
        }
        Ok(if self.check && !looked.differ.is_empty() { Exit::Failed } else { Exit::Done })
    }

    fn told(&self, looked: &Looked) -> Value {
        let verb = if self.check { "differ" } else { "formatted" };
        json!({ verb: looked.differ, "as_they_were": looked.same })
    }

    fn look_at(
        &self,
        file: &Arc<SourceFile>,
        place: &Path,
        looked: &mut Looked,
    ) -> Result<(), Failure> {
        match formatted(file) {
            Ok(text) if text == file.text => looked.same += 1,
            Ok(text) => {
                if !self.check {
                    house::replace(place, &text).map_err(|error| {
                        Failure::failed(format!("{} cannot be written: {error}", file.path))
                    })?;
                }
                looked.differ.push(file.path.clone());
            }
            Err(said) => looked.said.extend(said),
        }
        Ok(())
    }

    /// Standard input to standard output.
    fn stream(&self) -> Result<Exit, Failure> {
        let mut text = String::new();
        io::stdin().lock().take(LONGEST as u64 + 1).read_to_string(&mut text)?;
        let file = SourceFile { path: "standard input".to_owned(), text };
        let file = Arc::new(file);
        let formatted =
            formatted(&file).map_err(|said| Failure::mistake(render_text(&said).trim_end()))?;
        if self.check {
            return Ok(if formatted == file.text { Exit::Done } else { Exit::Failed });
        }
        let mut out = io::stdout().lock();
        out.write_all(formatted.as_bytes())?;
        out.flush()?;
        Ok(Exit::Done)
    }

    /// The files that are meant, each with its place on the disk.
    fn files(
        &self,
        house: &Path,
        problems: &mut Problems,
    ) -> Result<Vec<(Arc<SourceFile>, PathBuf)>, Failure> {
        let folder = Folder::of(house);
        let all = || house::yaml_files(&folder);
        let mut paths: Vec<String> = Vec::new();
        if self.paths.is_empty() {
            paths = all();
        }
        for path in &self.paths {
            let below = within(house, path)?;
            let folder = if below.is_empty() { String::new() } else { format!("{below}/") };
            let found = if path.is_dir() {
                all().into_iter().filter(|file| file.starts_with(&folder)).collect()
            } else {
                Vec::from_iter(path.extension().is_some_and(is_yaml).then_some(below))
            };
            if found.is_empty() {
                let text =
                    format!("{} is no YAML file, and holds none of the house", path.display());
                return Err(Failure::mistake(text));
            }
            paths.extend(found);
        }
        paths.sort();
        paths.dedup();
        let read = |path: String| {
            let place = house.join(&path);
            house::source(&folder, path, problems).map(|file| (file, place))
        };
        Ok(paths.into_iter().filter_map(read).collect())
    }
}

fn is_yaml(ending: &OsStr) -> bool {
    ending == "yaml" || ending == "yml"
}

/// A path as it was typed, as one of the house.
fn within(house: &Path, path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let missing = |error: io::Error| Failure::mistake(format!("{shown} cannot be read: {error}"));
    let house = house.canonicalize().map_err(missing)?;
    let real = path.canonicalize().map_err(missing)?;
    let below = real.strip_prefix(&house).ok().and_then(Path::to_str);
    below.map(str::to_owned).ok_or_else(|| {
        let house = house.display();
        Failure::mistake(format!("{shown} lies outside the house {house}: name it with --house"))
    })
}

/// A file as it should be written.
pub(super) fn formatted(file: &Arc<SourceFile>) -> Result<String, Vec<Diagnostic>> {
    let options = options();
    yaml::format(file, &|text| pretty_yaml::format_text(text, &options).ok())
}

/// Nothing is broken for its length, and what is broken is not joined: `form` keeps that from the
/// formatter. What is in quotes keeps the spaces at the ends of its lines.
fn options() -> FormatOptions {
    FormatOptions {
        layout: LayoutOptions { print_width: LONGEST, ..LayoutOptions::default() },
        language: LanguageOptions {
            trailing_comma: false,
            trim_trailing_whitespaces: false,
            ..LanguageOptions::default()
        },
    }
}
