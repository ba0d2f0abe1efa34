//! A question to INPS as it is written (`ConsultazioneIndicatore`, SOAP 1.1). Pure.
//!
//! Invariant: the same question gives the same bytes; a value stays in its element, whatever is in it.

use snodo_core::adapter::Asking;

use super::Kind;

/// The bytes of a question.
pub(super) fn envelope(
    tax_code: &str,
    kind: Kind,
    benefit: Option<&str>,
    office: &str,
    asking: &Asking<'_>,
) -> String {
    let element = |name: &str, value: &str| format!("<i:{name}>{}</i:{name}>", escaped(value));
    let benefit = benefit.map(|code| element("PrestazioneDaErogare", code)).unwrap_or_default();
    let search = [
        element("CodiceFiscale", tax_code),
        benefit,
        element("ProtocolloDomandaEnteErogatore", asking.case),
        element("StatodomandaPrestazione", "Da Erogare"),
    ];
    [
        r#"<?xml version="1.0" encoding="UTF-8"?>"#,
        r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">"#,
        r#"<s:Header><h:Identity xmlns:h="http://inps.it/">"#,
        &format!("<UserId>{}</UserId>", escaped(asking.actor)),
        &format!("<CodiceUfficio>{}</CodiceUfficio>", escaped(office)),
        "</h:Identity></s:Header>",
        r#"<s:Body><i:ConsultazioneIndicatore xmlns:i="http://inps.it/ConsultazioneISEE">"#,
        "<i:request>",
        &element("TipoIndicatore", kind.word()),
        &format!("<i:RicercaCF>{}</i:RicercaCF>", search.concat()),
        "</i:request></i:ConsultazioneIndicatore></s:Body></s:Envelope>",
    ]
    .concat()
}

/// As the text of an element; what XML cannot hold at all is left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use snodo_core::timestamp::Timestamp;

    use super::*;

    #[test]
    fn a_question_is_an_envelope_and_its_values_stay_in_their_elements() {
        let asking = Asking {
            number: 1,
            at: Timestamp::default(),
            purpose: "school-canteen",
            case: "0001234/2026 </i:request> & \u{1}",
            actor: "op-4711",
            actor_location: None,
            actor_loa: None,
        };
        let text = envelope("RSSMRA80A01G273Z", Kind::Minor, Some("A1.01"), "001", &asking);
        insta::assert_snapshot!(text.replace("><", ">\n<"), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">
        <s:Header>
        <h:Identity xmlns:h="http://inps.it/">
        <UserId>op-4711</UserId>
        <CodiceUfficio>001</CodiceUfficio>
        </h:Identity>
        </s:Header>
        <s:Body>
        <i:ConsultazioneIndicatore xmlns:i="http://inps.it/ConsultazioneISEE">
        <i:request>
        <i:TipoIndicatore>Minorenne</i:TipoIndicatore>
        <i:RicercaCF>
        <i:CodiceFiscale>RSSMRA80A01G273Z</i:CodiceFiscale>
        <i:PrestazioneDaErogare>A1.01</i:PrestazioneDaErogare>
        <i:ProtocolloDomandaEnteErogatore>0001234/2026 &lt;/i:request&gt; &amp; </i:ProtocolloDomandaEnteErogatore>
        <i:StatodomandaPrestazione>Da Erogare</i:StatodomandaPrestazione>
        </i:RicercaCF>
        </i:request>
        </i:ConsultazioneIndicatore>
        </s:Body>
        </s:Envelope>
        "#);
        let parsed = roxmltree::Document::parse(&text).expect("XML");
        assert_eq!(parsed.descendants().filter(|node| node.has_tag_name("request")).count(), 1);
    }
}
