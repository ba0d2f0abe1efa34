//! The Italian formats that schemas may name in `format`, checked as far as a text alone allows.
//!
//! Invariant: a format says that a code is well formed, never that it was issued: only its authority
//! knows that.

/// A check of a whole text.
pub type Check = fn(&str) -> bool;

/// Every format of our own, by the name that a schema writes.
pub const FORMATS: [(&str, Check); 5] = [
    ("codice-fiscale", codice_fiscale),
    ("partita-iva", partita_iva),
    ("codice-ipa", codice_ipa),
    ("codice-belfiore", codice_belfiore),
    ("istat-comune", istat_comune),
];

/// What a value of one of our formats looks like, in words.
pub fn words(format: &str) -> Option<&'static str> {
    Some(match format {
        "codice-fiscale" => {
            "16 capital letters and digits with the right check character, or 11 digits"
        }
        "partita-iva" => "11 digits with the right check digit",
        "codice-ipa" => "the code of a body in IPA, in lower case, such as c_g273",
        "codice-belfiore" => "a capital letter A-M or Z and three digits, such as G273",
        "istat-comune" => "six digits, as text, such as 082053",
        _ => return None,
    })
}

/// A codice fiscale: 16 characters with check character, omocodia included, or the 11 digits of a legal
/// person or of a provisional code.
pub fn codice_fiscale(text: &str) -> bool {
    match <&[u8; 16]>::try_from(text.as_bytes()) {
        Ok(code) => has_shape(code) && has_plausible_day(code) && check_character(code) == code[15],
        Err(_) => partita_iva(text),
    }
}

/// Letters where letters belong, digits or their omocodia letters where digits belong.
fn has_shape(code: &[u8; 16]) -> bool {
    const SHAPE: &[u8; 16] = b"LLLLLLDDMDDLDDDL";
    code.iter().zip(SHAPE).all(|(byte, class)| match class {
        b'L' => byte.is_ascii_uppercase(),
        b'M' => b"ABCDEHLMPRST".contains(byte),
        _ => digit(*byte).is_some(),
    })
}

/// The digit that a character stands for: omocodia writes 0-9 as LMNPQRSTUV.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        _ => b"LMNPQRSTUV".iter().position(|letter| *letter == byte)?.try_into().ok(),
    }
}

/// Women have 40 added to the day.
fn has_plausible_day(code: &[u8; 16]) -> bool {
    let day = digit(code[9]).zip(digit(code[10])).map(|(tens, units)| tens * 10 + units);
    matches!(day, Some(1..=31 | 41..=71))
}

fn check_character(code: &[u8; 16]) -> u8 {
    /// Values of 0-9 (as of A-J) and A-Z at the first, third, … place.
    const ODD: [u8; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let value = |byte: u8| if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' };
    let sum: u32 = code[..15]
        .iter()
        .enumerate()
        .map(|(place, byte)| {
            let value = value(*byte);
            u32::from(if place % 2 == 0 { ODD[usize::from(value)] } else { value })
        })
        .sum();
    b'A' + u8::try_from(sum % 26).unwrap_or_default()
}

/// A partita IVA: 11 digits, the last a Luhn check digit. The code of all zeros was never issued.
pub fn partita_iva(text: &str) -> bool {
    let digits = text.as_bytes();
    if digits.len() != 11 || !digits.iter().all(u8::is_ascii_digit) || text == "00000000000" {
        return false;
    }
    let weighed = digits.iter().enumerate().map(|(place, byte)| {
        let doubled = u32::from(byte - b'0') << (place % 2);
        if doubled > 9 { doubled - 9 } else { doubled }
    });
    weighed.sum::<u32>() % 10 == 0
}

/// The code of a body in IPA: lower case, digits, `_` and `-`.
pub fn codice_ipa(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    (2..=32).contains(&text.len())
        && text.bytes().all(allowed)
        && text.as_bytes()[0].is_ascii_alphanumeric()
}

/// The cadastral code of a municipality (`A`-`M`) or of a state (`Z`).
pub fn codice_belfiore(text: &str) -> bool {
    matches!(text.as_bytes(), [b'A'..=b'M' | b'Z', digits @ ..]
        if digits.len() == 3 && digits.iter().all(u8::is_ascii_digit))
}

/// The ISTAT code of a municipality: province and municipality, three digits each, neither zero.
pub fn istat_comune(text: &str) -> bool {
    text.len() == 6
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && !text.starts_with("000")
        && !text.ends_with("000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codice_fiscale_is_known_by_its_check_character_also_after_omocodia() {
        let good = "RSSMRA80A01H501U RSSMRA80A41H501Y VRDGPP13A10B293I MRTMTT91D08F205J \
            DVNLRD52D15M059P RSSMRA80A01G273Z BNCLRA95H55G273T RSSMRA80A01G27PV RSSMRA80A01G2TPH \
            RSSMRA80A01GNTPW RSSMRA80A0MGNTPO RSSMRA80ALMGNTPZ RSSMRA8LALMGNTPK RSSMRAULALMGNTPH";
        for code in good.split_whitespace() {
            assert!(codice_fiscale(code), "{code}");
            for other in b'A'..=b'Z' {
                let changed = format!("{}{}", &code[..15], char::from(other));
                assert_eq!(codice_fiscale(&changed), changed == code, "{changed}");
            }
            assert!(!codice_fiscale(&code.to_lowercase()));
        }
    }

    #[test]
    fn impossible_days_and_months_are_refused_even_with_the_right_check_character() {
        for stem in ["RSSMRA80A00H501", "RSSMRA80A32H501", "RSSMRA80A40H501", "RSSMRA80A72H501"] {
            let mut code: [u8; 16] = format!("{stem}A").into_bytes().try_into().expect("16");
            code[15] = check_character(&code);
            assert!(!codice_fiscale(std::str::from_utf8(&code).expect("ASCII")), "{stem}");
        }
        let mut code = *b"RSSMRA80F01H501A";
        code[15] = check_character(&code);
        assert!(!codice_fiscale(std::str::from_utf8(&code).expect("ASCII")));
    }

    #[test]
    fn eleven_digits_are_checked_as_luhn() {
        let good = "00743110157 12345678903 80016350821 15376371009 97735020584 02313821007 \
            80012000826 01234567897";
        for code in good.split_whitespace() {
            assert!(partita_iva(code) && codice_fiscale(code), "{code}");
        }
        for code in ["12345678901", "04229180821", "00000000000", "1234567890", "1234567890x", ""] {
            assert!(!partita_iva(code) && !codice_fiscale(code), "{code}");
        }
    }

    #[test]
    fn administrative_codes_have_their_form() {
        let table: [(Check, &[&str], &[&str]); 3] = [
            (
                codice_ipa,
                &["c_g273", "r_sicili", "agid"],
                &["C_G273", "", "c", "_c", "c g273", "cà"],
            ),
            (codice_belfiore, &["G273", "H501", "Z404"], &["g273", "N100", "G27", "G2733", "G27x"]),
            (
                istat_comune,
                &["082053", "058091"],
                &["82053", "000001", "082000", "08205x", "0820533"],
            ),
        ];
        for (check, good, bad) in table {
            assert!(good.iter().all(|text| check(text)), "{good:?}");
            assert!(bad.iter().all(|text| !check(text)), "{bad:?}");
        }
    }

    #[test]
    fn every_format_has_words() {
        assert!(FORMATS.iter().all(|(name, _)| words(name).is_some()));
        assert_eq!(words("date"), None);
    }
}
