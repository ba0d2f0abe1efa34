//! Between the addresses that editors write and the paths of the house.
//!
//! Invariant: a path of the house has no `..`; what lies in none of its folders is no file of it.

use std::{
    ffi::OsString,
    fmt::Write as _,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Component, Path, PathBuf},
};

/// The folders whose files `check` reads.
const FOLDERS: [&str; 3] = ["routes", "schemas", "config"];

/// The path of `file:///…`; none of another address.
pub(super) fn path_of(uri: &str) -> Option<PathBuf> {
    let path = uri.strip_prefix("file://")?;
    let path = path.strip_prefix("localhost").unwrap_or(path);
    let path = path.split(['?', '#']).next().filter(|path| path.starts_with('/'))?;
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, more) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = more;
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

/// The address of a path.
pub(super) fn uri_of(path: &Path) -> String {
    let mut uri = "file://".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

/// The path of a file relative to the house, with `/`; none of a file that is not of the house.
pub(super) fn in_house(house: &Path, file: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = file
        .strip_prefix(house)
        .ok()?
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let parts = parts?;
    let first = parts.first().filter(|first| FOLDERS.contains(first));
    (first.is_some() && parts.len() > 1).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{in_house, path_of, uri_of};

    #[test]
    fn an_address_means_a_path_and_a_path_an_address() {
        for (uri, path) in [
            ("file:///srv/house", Some("/srv/house")),
            ("file://localhost/srv/house", Some("/srv/house")),
            ("file:///srv/citt%C3%A0%20di%20Palermo/a%23b", Some("/srv/città di Palermo/a#b")),
            ("file:///srv/100%", None),
            ("file:///srv/%zz", None),
            ("file://server/share", None),
            ("untitled:Untitled-1", None),
        ] {
            assert_eq!(path_of(uri), path.map(PathBuf::from), "{uri}");
        }
        let path = Path::new("/srv/città di Palermo/a#b%.yaml");
        assert_eq!(path_of(&uri_of(path)).as_deref(), Some(path));
    }

    #[test]
    fn only_files_of_the_house_have_a_path_in_it() {
        for (file, path) in [
            ("/srv/house/routes/a.yaml", Some("routes/a.yaml")),
            ("/srv/house/schemas/anagrafe/a.v1.json", Some("schemas/anagrafe/a.v1.json")),
            ("/srv/house/README.md", None),
            ("/srv/house/routes", None),
            ("/srv/house/routes/../../etc/passwd", None),
            ("/srv/other/routes/a.yaml", None),
        ] {
            assert_eq!(
                in_house(Path::new("/srv/house"), Path::new(file)).as_deref(),
                path,
                "{file}"
            );
        }
    }
}
