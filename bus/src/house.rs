//! The house on disk: reads the text of its files, and nothing outside it.
//!
//! Invariant: a path that leads out of the house, by `..` or by a link, is not read.

use std::path::Path;

/// No text file of the house is longer.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Reads a text file of the house by its path relative to it. The error says why in a few words.
pub fn read_text(house: &Path, path: &str) -> Result<String, String> {
    let inside = house.canonicalize().map_err(|error| in_words(&error))?;
    let file = house.join(path).canonicalize().map_err(|error| in_words(&error))?;
    if !file.starts_with(&inside) {
        return Err("it leads out of the house".to_owned());
    }
    let length = file.metadata().map_err(|error| in_words(&error))?.len();
    if length > LONGEST {
        return Err("it is longer than 16 MiB".to_owned());
    }
    let bytes = std::fs::read(&file).map_err(|error| in_words(&error))?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "it may not be read by this user".to_owned(),
        kind => kind.to_string(),
    }
}
