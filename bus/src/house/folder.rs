//! The folder of a house, and what an editor holds of its files that is not saved yet.
//!
//! Invariant: every text of a house is read here, so that `check`, `run` and an editor read the same; a path
//! that leads out of the house, by `..` or by a link, is not read.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

/// No text file of the house is longer.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Texts that are not saved, by path relative to the house, with `/`.
pub type Unsaved = BTreeMap<String, Arc<str>>;

/// Where the texts of a house come from.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    unsaved: Arc<Unsaved>,
}

impl Folder {
    /// The folder as it is on the disk.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), unsaved: Arc::default() }
    }

    /// The same, with these texts over its files.
    pub fn with(path: &Path, unsaved: Arc<Unsaved>) -> Self {
        Self { path: path.to_owned(), unsaved }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names in a folder of the house, in order, hidden ones left out; none where there is none.
    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path.join(folder)).into_iter().flatten();
        let saved = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let below =
            self.below(folder).map(|rest| rest.split('/').next().unwrap_or(rest).to_owned());
        let names: BTreeSet<String> =
            saved.chain(below).filter(|name| !name.starts_with('.')).collect();
        names.into_iter().collect()
    }

    /// Whether that is a folder of the house.
    pub(super) fn is_folder(&self, path: &str) -> bool {
        self.path.join(path).is_dir() || self.below(path).next().is_some()
    }

    /// Whether there is something of that name.
    pub(super) fn holds(&self, path: &str) -> bool {
        self.unsaved.contains_key(path) || self.path.join(path).exists()
    }

    /// Unsaved files below a folder, relative to it.
    fn below<'f>(&'f self, folder: &'f str) -> impl Iterator<Item = &'f str> {
        self.unsaved.keys().filter_map(move |path| path.strip_prefix(folder)?.strip_prefix('/'))
    }

    /// The text of a file by its path relative to the house. The error says why not in a few words.
    pub fn text(&self, path: &str) -> Result<String, String> {
        match self.unsaved.get(path) {
            // A link that leads out of the house is no file of it, open or not.
            Some(text) if !self.path.join(path).exists() || self.inside(path).is_ok() => {
                Self::short(text.len() as u64)?;
                Ok(text.as_ref().to_owned())
            }
            _ => self.saved(path),
        }
    }

    fn saved(&self, path: &str) -> Result<String, String> {
        let file = self.inside(path)?;
        Self::short(file.metadata().map_err(|error| in_words(&error))?.len())?;
        let bytes = std::fs::read(&file).map_err(|error| in_words(&error))?;
        String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
    }

    fn short(length: u64) -> Result<(), String> {
        if length > LONGEST { Err("it is longer than 16 MiB".to_owned()) } else { Ok(()) }
    }

    fn inside(&self, path: &str) -> Result<PathBuf, String> {
        let house = self.path.canonicalize().map_err(|error| in_words(&error))?;
        let file = house.join(path).canonicalize().map_err(|error| in_words(&error))?;
        if file.starts_with(&house) {
            Ok(file)
        } else {
            Err("it leads out of the house".to_owned())
        }
    }
}

/// Why a file cannot be read, in a few words.
pub(crate) fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "it may not be read by this user".to_owned(),
        kind => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, sync::Arc};

    use super::{Folder, Unsaved};

    #[test]
    fn what_is_not_saved_lies_over_what_is() {
        let disk = tempfile::tempdir().expect("a folder");
        let outside = tempfile::NamedTempFile::new().expect("a file");
        fs::create_dir(disk.path().join("routes")).expect("made");
        fs::write(disk.path().join("routes/b.yaml"), "saved").expect("written");
        fs::write(disk.path().join("routes/d.yaml"), "saved").expect("written");
        symlink(outside.path(), disk.path().join("routes/c.yaml")).expect("linked");
        let texts = ["routes/a.yaml", "routes/b.yaml", "routes/c.yaml", "routes/facts/x.yaml"];
        let unsaved: Unsaved = texts.map(|path| (path.to_owned(), Arc::from("open"))).into();
        let folder = Folder::with(disk.path(), Arc::new(unsaved));
        let names = ["a.yaml", "b.yaml", "c.yaml", "d.yaml", "facts"];
        assert_eq!(folder.names("routes"), names, "on the disk or not, once, in order");
        assert!(folder.is_folder("routes/facts") && !folder.is_folder("routes/a.yaml"));
        assert!(folder.holds("routes/a.yaml") && !folder.holds("routes/e.yaml"));
        for (path, text) in [
            ("routes/a.yaml", Ok("open")),
            ("routes/b.yaml", Ok("open")),
            ("routes/c.yaml", Err("it leads out of the house")),
            ("routes/d.yaml", Ok("saved")),
            ("routes/e.yaml", Err("there is no such file")),
        ] {
            assert_eq!(folder.text(path), text.map(str::to_owned).map_err(str::to_owned), "{path}");
        }
    }
}
