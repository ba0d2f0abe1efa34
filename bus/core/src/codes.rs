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
    "SN0130"
    "SN0131"
    "SN0132"
    "SN0133"
    "SN0134"
    "SN0135"
    "SN0136"
    "SN0137"
    "SN0138"
    "SN0139"
    "SN0140"
    "SN0141"
    "SN0142"
    "SN0143"
    "SN0144"
    "SN0145"
    "SN0146"
    "SN0147"
    "SN0148"
    "SN0149"
    "SN0150"
    "SN0151"
    "SN0152"
    "SN0153"
    "SN0154"
    "SN0155"
    "SN0156"
    "SN0157"
    "SN0158"
    "SN0159"
    "SN0160"
    "SN0161"
    "SN0162"
    "SN0163"
    "SN0164"
    "SN0165"
    "SN0166"
    "SN0167"
    "SN0168"
    "SN0169"
    "SN0170"
    "SN0171"
    "SN0172"
    "SN0173"
    "SN0174"
    "SN0175"
    "SN0176"
    "SN0201"
    "SN0202"
    "SN0203"
    "SN0204"
    "SN0205"
    "SN0206"
    "SN0207"
    "SN0208"
    "SN0209"
    "SN0210"
    "SN0211"
    "SN0212"
    "SN0213"
    "SN0214"
    "SN0215"
    "SN0216"
    "SN0219"
    "SN0220"
    "SN0221"
    "SN0222"
    "SN0223"
    "SN0290"
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
    "SN0311"
    "SN0312"
    "SN0313"
    "SN0421"
    "SN0422"
    "SN0423"
    "SN0424"
    "SN0425"
    "SN0426"
    "SN0427"
    "SN0428"
    "SN0429"
    "SN0440"
    "SN0441"
    "SN0442"
    "SN0443"
    "SN0444"
    "SN0445"
    "SN0446"
    "SN0447"
    "SN0448"
    "SN0449"
    "SN0450"
    "SN0455"
    "SN0456"
    "SN0457"
    "SN0458"
    "SN0459"
    "SN0460"
    "SN0461"
    "SN0462"
    "SN0470"
    "SN0471"
    "SN0472"
    "SN0501"
    "SN0502"
    "SN0503"
    "SN0504"
    "SN0505"
    "SN0506"
    "SN0507"
    "SN0508"
    "SN0509"
    "SN0520"
    "SN0521"
    "SN0522"
    "SN0523"
    "SN0524"
    "SN0525"
    "SN0601"
    "SN0602"
    "SN0603"
    "SN0604"
    "SN0605"
    "SN0606"
    "SN0607"
    "SN0608"
    "SN0609"
    "SN0610"
    "SN0611"
    "SN0612"
    "SN0613"
    "SN0614"
    "SN0615"
    "SN0616"
    "SN0617"
    "SN0618"
    "SN0619"
    "SN0620"
    "SN0621"
    "SN0622"
    "SN0625"
    "SN0626"
    "SN0627"
    "SN0628"
    "SN0629"
    "SN0640"
    "SN0641"
    "SN0642"
    "SN0701"
    "SN0703"
    "SN0710"
    "SN0711"
    "SN0713"
    "SN0720"
    "SN0721"
    "SN0722"
    "SN0723"
    "SN0724"
    "SN0725"
    "SN0726"
    "SN0727"
    "SN0728"
    "SN0729"
    "SN0730"
    "SN0731"
    "SN0732"
    "SN0733"
    "SN0734"
    "SN0735"
    "SN0740"
    "SN0751"
    "SN0752"
    "SN0753"
    "SN0754"
    "SN0755"
    "SN0756"
    "SN0757"
    "SN0758"
    "SN0759"
    "SN0760"
    "SN0761"
    "SN0762"
    "SN0763"
    "SN0764"
    "SN0765"
    "SN0766"
    "SN0767"
    "SN0768"
    "SN0769"
    "SN0770"
    "SN0771"
    "SN0772"
    "SN0773"
    "SN0774"
    "SN0775"
    "SN0776"
    "SN0780"
    "SN0781"
    "SN0782"
    "SN0783"
    "SN0784"
    "SN0785"
    "SN0786"
    "SN0787"
    "SN0790"
    "SN0791"
    "SN0792"
    "SN0801"
    "SN0802"
    "SN0803"
    "SN0804"
    "SN0805"
    "SN0806"
    "SN0810"
    "SN0811"
    "SN0812"
    "SN0813"
    "SN0814"
    "SN0815"
    "SN0816"
    "SN0817"
    "SN0818"
    "SN0819"
    "SN0820"
    "SN0821"
    "SN0822"
    "SN0830"
    "SN0831"
    "SN0832"
    "SN0833"
    "SN0834"
    "SN0835"
    "SN0836"
    "SN0837"
    "SN0838"
    "SN0839"
    "SN0840"
    "SN0841"
    "SN0842"
    "SN0843"
    "SN0844"
    "SN0861"
    "SN0862"
    "SN0863"
    "SN0864"
    "SN0865"
    "SN0866"
    "SN0870"
    "SN0871"
    "SN0872"
    "SN0873"
    "SN0874"
    "SN0880"
    "SN0885"
    "SN0886"
    "SN0887"
    "SN0888"
    "SN0889"
    "SN0890"
    "SN0891"
    "SN0892"
    "SN0893"
    "SN0894"
    "SN0897"
    "SN0898"
    "SN0899"
    "SN0901"
    "SN0902"
    "SN0903"
}

/// The page of a code, in Markdown; `None` where there is no such code.
pub fn page(code: &str) -> Option<&'static str> {
    PAGES.iter().find(|(known, _)| *known == code).map(|(_, page)| *page)
}

/// What a code is about, in a few words: the heading of its page without the code; nothing where there is
/// no such code.
pub fn title(code: &str) -> &'static str {
    let heading = page(code).and_then(|page| page.lines().next()).unwrap_or_default();
    heading.trim_start_matches("# ").trim_start_matches(code).trim()
}

/// Every code, in order.
pub fn all() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(code, _)| *code)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// For adapters that have no closer code; the bus itself has one for everything.
    const OF_ADAPTERS: &str = "SN0701";

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
            assert!(page.starts_with(&format!("# {code} ")), "{code} has its title");
            let mut from = 0;
            for part in ["What happened", "Why", "What to do", "Who"] {
                let at = page[from..].find(&format!("\n**{part}.**"));
                from += at.unwrap_or_else(|| panic!("{code} has `{part}`, in this order")) + 1;
            }
        }
    }

    #[test]
    fn every_code_that_is_said_has_a_page_and_every_page_is_of_a_code_that_is_said() {
        let bus = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut said = BTreeSet::new();
        for folder in ["core/src", "src", "../adapters/src"] {
            collect(&bus.join(folder), &mut said);
        }
        said.insert(OF_ADAPTERS.to_owned());
        let paged: BTreeSet<String> = all().map(str::to_owned).collect();
        assert_eq!(said, paged, "said on the left, with a page on the right");
    }

    /// The codes in the Rust files of a folder, the tests in them left out.
    fn collect(folder: &Path, said: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                collect(&path, said);
            } else if path.extension().is_some_and(|end| end == "rs")
                && !path.ends_with("codes.rs")
                && !path.ends_with("tests.rs")
            {
                let text = fs::read_to_string(&path).expect("readable");
                said.extend(codes_in(
                    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default(),
                ));
            }
        }
    }

    fn codes_in(text: &str) -> impl Iterator<Item = String> + '_ {
        text.match_indices("SN").filter_map(|(at, _)| {
            let code = text.get(at..at + 6)?;
            code[2..].bytes().all(|byte| byte.is_ascii_digit()).then(|| code.to_owned())
        })
    }
}
