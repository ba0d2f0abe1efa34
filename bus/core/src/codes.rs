//! The pages of the codes: what happened, why, what to do, who must act.
//!
//! Invariant: every code that the bus says has a page, and every page is of a code that it says.

/// One line per code: its page is `codes/<code>.md`.
macro_rules! pages {
    ($($code:literal)*) => {
        const PAGES: &[(&str, &str)] =
            &[$(($code, include_str!(concat!("codes/", $code, ".md")))),*];
    };
}

pages! {
    "SN0101"
    "SN0102"
    "SN0103"
    "SN0104"
    "SN0105"
    "SN0106"
    "SN0107"
    "SN0108"
    "SN0109"
    "SN0110"
    "SN0111"
    "SN0112"
    "SN0113"
    "SN0114"
    "SN0115"
    "SN0116"
    "SN0117"
    "SN0118"
    "SN0119"
    "SN0120"
    "SN0121"
    "SN0122"
    "SN0123"
    "SN0124"
    "SN0125"
    "SN0201"
    "SN0209"
    "SN0211"
    "SN0212"
    "SN0301"
    "SN0302"
    "SN0303"
    "SN0304"
    "SN0305"
    "SN0306"
    "SN0307"
    "SN0308"
    "SN0309"
    "SN0310"
    "SN0421"
    "SN0422"
    "SN0423"
    "SN0424"
    "SN0425"
    "SN0751"
    "SN0752"
    "SN0753"
    "SN0754"
    "SN0755"
    "SN0756"
    "SN0757"
    "SN0758"
    "SN0801"
    "SN0802"
    "SN0803"
}

/// The page of a code, in Markdown; `None` where there is no such code.
pub fn page(code: &str) -> Option<&'static str> {
    PAGES.iter().find(|(known, _)| *known == code).map(|(_, page)| *page)
}

/// Every code, in order.
pub fn all() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(code, _)| *code)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_page_is_in_the_list_and_complete() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/codes");
        let files = fs::read_dir(folder).expect("the folder is there");
        let mut names: Vec<String> = files
            .map(|file| file.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let listed: Vec<String> = all().map(|code| format!("{code}.md")).collect();
        assert_eq!(names, listed, "list every page in codes.rs, in order");
        for code in all() {
            let page = page(code).expect("listed");
            assert!(page.starts_with(&format!("# {code}: ")), "{code} has its title");
            for part in ["## Why", "## What to do", "## Who"] {
                assert!(page.contains(part), "{code} has `{part}`");
            }
        }
    }

    #[test]
    fn every_code_of_the_compiler_has_a_page() {
        let sources = [
            include_str!("route/file.rs"),
            include_str!("route/build.rs"),
            include_str!("route/check.rs"),
            include_str!("route/bundle.rs"),
            include_str!("template.rs"),
            include_str!("template/compile.rs"),
            include_str!("template/vet.rs"),
            include_str!("yaml.rs"),
            include_str!("yaml/looks.rs"),
            include_str!("yaml/fields.rs"),
            include_str!("party.rs"),
        ];
        let mut said = 0;
        for source in sources {
            for (at, _) in source.match_indices("SN0") {
                let code = &source[at..at + 6];
                if code[2..].bytes().all(|byte| byte.is_ascii_digit()) {
                    said += 1;
                    assert!(page(code).is_some(), "{code} has no page");
                }
            }
        }
        assert!(said > 50, "the sources were read");
    }
}
