//! Rows whose answer is one refusal.

use super::town::{KIND, SECRETS, TOKEN, binary, posted};

/// What is sent.
pub(super) enum Sent {
    /// A message: headers and body.
    Body(String, Vec<u8>),
    /// Bytes as they are.
    Raw(Vec<u8>),
}

/// One input and its stated answer.
pub(super) struct Case {
    pub(super) row: u8,
    pub(super) what: &'static str,
    pub(super) sent: Sent,
    pub(super) status: u16,
    pub(super) code: &'static str,
    /// The word for machines, where the list names one.
    pub(super) reason: Option<&'static str>,
}

const MAX: usize = 1 << 20;

/// Row 3: five bytes of ten, and then nothing.
pub(super) fn stalled_body(token: &str) -> Vec<u8> {
    let head = head(&binary(token, "stalls"));
    format!("{head}Content-Length: 10\r\n\r\n12345").into_bytes()
}

fn head(headers: &str) -> String {
    format!("POST /v1/messages HTTP/1.1\r\nHost: bus\r\n{headers}")
}

/// Every case, in the order of the list.
pub(super) fn cases() -> Vec<Case> {
    [framing(), bodies(), attributes(), encodings(), requests(), inboxes(), flung()]
        .into_iter()
        .flatten()
        .collect()
}

fn raw(
    row: u8,
    what: &'static str,
    bytes: impl Into<Vec<u8>>,
    status: u16,
    code: &'static str,
) -> Case {
    Case { row, what, sent: Sent::Raw(bytes.into()), status, code, reason: None }
}

/// Rows 1, 4, 5: what is refused before the body is read.
fn framing() -> Vec<Case> {
    let post = head(&binary(TOKEN, "framing"));
    vec![
        raw(
            1,
            "a byte too many",
            format!("{post}Content-Length: {}\r\n\r\n", MAX + 1),
            413,
            "SN0609",
        ),
        raw(
            4,
            "two framings",
            format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
            400,
            "SN0618",
        ),
        raw(
            5,
            "two lengths",
            format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
            400,
            "SN0618",
        ),
    ]
}

/// Rows 6 to 13, and 56: bodies.
fn bodies() -> Vec<Case> {
    type Line = (u8, &'static str, Vec<u8>, u16, &'static str, &'static str);
    let deep = |n: usize| format!("{{\"n\":1,\"any\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let items = |n: usize| format!("{{\"n\":1,\"any\":[{}]}}", vec!["0"; n].join(","));
    let keys = |n: usize| {
        let keys: Vec<String> = (0..n).map(|key| format!("\"k{key}\":0")).collect();
        format!("{{\"n\":1,\"any\":{{{}}}}}", keys.join(","))
    };
    let long_key = format!("{{\"n\":1,\"any\":{{\"{}\":0}}}}", "k".repeat(MAX - 100));
    let utf16: Vec<u8> = "{\"n\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let table: Vec<Line> = vec![
        (6, "65 deep", deep(64).into(), 400, "SN0601", "too_deep"),
        (6, "100,000 deep", "[".repeat(100_000).into(), 400, "SN0601", "too_deep"),
        (7, "a key twice", br#"{"a":1,"a":2}"#.to_vec(), 400, "SN0601", "duplicate_key"),
        (8, "0xC3 0x28", b"{\"n\":1,\"text\":\"\xC3\x28\"}".to_vec(), 400, "SN0601", "not_utf8"),
        (8, "overlong", b"{\"n\":1,\"text\":\"\xC0\xAF\"}".to_vec(), 400, "SN0601", "not_utf8"),
        (
            8,
            "UTF-16 with a mark",
            [b"\xFF\xFE".to_vec(), utf16.clone()].concat(),
            400,
            "SN0601",
            "not_utf8",
        ),
        (8, "UTF-16 without", utf16, 400, "SN0601", "syntax"),
        (8, "a mark", b"\xEF\xBB\xBF{\"n\":1}".to_vec(), 400, "SN0601", "byte_order_mark"),
        (9, "half a pair", br#"{"n":1,"text":"\ud800"}"#.to_vec(), 400, "SN0601", "lone_surrogate"),
        (9, "NUL", br#"{"n":1,"text":"\u0000"}"#.to_vec(), 400, "SN0601", "control_character"),
        (10, "1e400", br#"{"n":1e400}"#.to_vec(), 400, "SN0601", "number"),
        (
            10,
            "400 digits",
            format!(r#"{{"n":{}}}"#, "9".repeat(400)).into(),
            400,
            "SN0601",
            "number",
        ),
        (11, "NaN", br#"{"n":NaN}"#.to_vec(), 400, "SN0601", "syntax"),
        (11, "Infinity", br#"{"n":Infinity}"#.to_vec(), 400, "SN0601", "syntax"),
        (11, "a comment", br#"{"n":1 /* x */}"#.to_vec(), 400, "SN0601", "syntax"),
        (11, "a trailing comma", br#"{"n":1,}"#.to_vec(), 400, "SN0601", "syntax"),
        (11, "two documents", br#"{"n":1}{"n":1}"#.to_vec(), 400, "SN0601", "second_document"),
        (12, "10,001 items", items(10_001).into(), 422, "SN0602", "too_many_items"),
        (12, "1,001 keys", keys(1_001).into(), 422, "SN0602", "too_many_keys"),
        (12, "a key of 1 MiB", long_key.into(), 400, "SN0601", "key_too_long"),
        (13, "nothing", Vec::new(), 400, "SN0601", "empty"),
        (13, "null", b"null".to_vec(), 422, "SN0605", "schema"),
        (13, "a list", b"[]".to_vec(), 422, "SN0605", "schema"),
        (56, "a path", br#"{"n":1,"a/../b":1}"#.to_vec(), 422, "SN0605", "schema"),
        (56, "an escape", br#"{"n":1,"~2":1}"#.to_vec(), 422, "SN0605", "schema"),
        (56, "a prototype", br#"{"n":1,"__proto__":{"n":2}}"#.to_vec(), 422, "SN0605", "schema"),
    ];
    table
        .into_iter()
        .map(|(row, what, body, status, code, reason)| {
            let sent = Sent::Body(binary(TOKEN, "bodies"), body);
            Case { row, what, sent, status, code, reason: Some(reason) }
        })
        .collect()
}

/// Rows 14 and 62: content types and keys.
fn attributes() -> Vec<Case> {
    let json = "Content-Type: application/json\r\n";
    let with = |from: &str, to: &str| binary(TOKEN, "attributes").replace(from, to);
    let structured = |id: &str| {
        let head = format!(
            "Authorization: Bearer {TOKEN}\r\nContent-Type: application/cloudevents+json\r\n"
        );
        let event = serde_json::json!({
            "specversion": "1.0", "id": id, "source": "urn:test", "type": KIND, "data": { "n": 1 },
        });
        (head, event.to_string().into_bytes())
    };
    let long = "k".repeat(10 << 10);
    let headers = |row, what, headers: String, status, code| {
        let sent = Sent::Body(headers, br#"{"n":1}"#.to_vec());
        Case { row, what, sent, status, code, reason: None }
    };
    let event = |what, id: &str, reason| {
        let (headers, body) = structured(id);
        let sent = Sent::Body(headers, body);
        Case { row: 62, what, sent, status: 400, code: "SN0603", reason: Some(reason) }
    };
    vec![
        headers(14, "no content type", with(json, ""), 415, "SN0606"),
        headers(14, "text", with(json, "Content-Type: text/plain\r\n"), 415, "SN0606"),
        headers(
            14,
            "UTF-7",
            with(json, "Content-Type: application/json; charset=utf-7\r\n"),
            415,
            "SN0606",
        ),
        event("a key of 10 KiB", &long, "attribute_too_long"),
        event("an empty key", "", "empty_attribute"),
        event("a control character", "a\nb", "control_character"),
        headers(62, "an empty key in a header", with("ce-id: attributes", "ce-id:"), 400, "SN0603"),
        headers(62, "a control character in a header", with("attributes", "a%0Ab"), 400, "SN0603"),
        // The limit of headers comes before that of keys.
        headers(62, "a key of 10 KiB in a header", with("attributes", &long), 431, "SN0619"),
    ]
}

/// Row 15: nothing compressed is taken, so a bomb is not even opened.
fn encodings() -> Vec<Case> {
    // 10 GiB of zeros would be ten kilobytes of this.
    let bomb = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03".to_vec(), vec![0; 10 << 10]].concat();
    let packed = |what, encoding: &str| {
        let headers = format!("{}Content-Encoding: {encoding}\r\n", binary(TOKEN, "packed"));
        let sent = Sent::Body(headers, bomb.clone());
        let reason = Some("content_encoding");
        Case { row: 15, what, sent, status: 415, code: "SN0606", reason }
    };
    vec![
        packed("gzip", "gzip"),
        packed("gzip in gzip", "gzip, gzip"),
        packed("br", "br"),
        packed("identity and gzip", "identity, gzip"),
    ]
}

/// Rows 1, 6, 7, 15, 74 and 83, of an acknowledgement and of what is asked of an inbox.
fn inboxes() -> Vec<Case> {
    let ack = |more: &str, body: &str| {
        format!(
            "POST /v1/inbox/ack HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let ask = |query: &str| {
        format!(
            "GET /v1/inbox?{query} HTTP/1.1\r\nHost: bus\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        )
    };
    let large = ack("", "{}").replace("Content-Length: 2", &format!("Content-Length: {}", MAX + 1));
    let secrets = format!("{{\"deliveries\":[\"{}\"]}}", SECRETS[0]);
    let field = format!("{{\"{}\":[],\"deliveries\":[]}}", SECRETS[1]);
    vec![
        raw(1, "an acknowledgement of a byte too many", large, 413, "SN0609"),
        raw(6, "a deep acknowledgement", ack("", &"[".repeat(100_000)), 400, "SN0601"),
        raw(7, "ids twice", ack("", r#"{"deliveries":[],"deliveries":[]}"#), 400, "SN0601"),
        raw(15, "a packed acknowledgement", ack("Content-Encoding: gzip\r\n", "{}"), 415, "SN0606"),
        raw(74, "a tax code as an id", ack("", &secrets), 422, "SN0641"),
        raw(74, "a tax code as a field", ack("", &field), 422, "SN0641"),
        raw(83, "metacharacters as a limit", ask("limit=1%27%20OR%201=1--"), 400, "SN0618"),
        raw(83, "a wildcard as a limit", ask("limit=%25"), 400, "SN0618"),
        raw(83, "an inbox of somebody else", ask("party=region"), 400, "SN0618"),
    ]
}

/// Rows 58, 61, 75 and 89: what is put where it would be believed, echoed or logged.
fn flung() -> Vec<Case> {
    let with = |line: &str, header: &str| format!("{line}\r\nHost: bus\r\n{header}\r\n\r\n");
    let asked = |target: &str| format!("GET {target} HTTP/1.1");
    let id = |secret: &str| format!("/v1/messages/{secret}");
    let query = |secret: &str| format!("/v1/messages?source={secret}&id={secret}");
    let token = format!("Authorization: Bearer {TOKEN}");
    let forwarded =
        format!("X-Forwarded-For: 127.0.0.1, {}\r\nForwarded: for=127.0.0.1", SECRETS[0]);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // Frames that open and reset streams, as many as fit into a mebibyte.
    let resets =
        b"\x00\x00\x00\x01\x05\x00\x00\x00\x01\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08"
            .repeat(MAX / 22);
    vec![
        raw(58, "an address of our own", with(&asked("/v1/inbox"), &forwarded), 401, "SN0611"),
        raw(61, "streams that are reset", [preface, resets].concat(), 405, "SN0617"),
        raw(
            61,
            "an upgrade",
            with(
                &asked("/v1/inbox"),
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
            ),
            401,
            "SN0611",
        ),
        raw(
            75,
            "a tax code as a path",
            with(&asked(&format!("/{}", SECRETS[0])), &token),
            404,
            "SN0613",
        ),
        raw(75, "a tax code as an id", with(&asked(&id(SECRETS[0])), &token), 404, "SN0613"),
        raw(75, "a tax code in a query", with(&asked(&query(SECRETS[1])), &token), 404, "SN0613"),
        raw(
            75,
            "a tax code as a parameter",
            with(&asked(&format!("/v1/inbox?taxCode={}", SECRETS[2])), &token),
            400,
            "SN0618",
        ),
        raw(
            89,
            "an escape in a header",
            with(&asked("/nothing"), "User-Agent: x\x1b[31m"),
            400,
            "SN0618",
        ),
        raw(89, "an escape in a path", with(&asked("/nothing\x1b[31m"), &token), 400, "SN0618"),
        raw(
            89,
            "a line of a log in a header",
            with(
                &asked("/nothing"),
                "User-Agent: x\\n{\"level\":\"ERROR\",\"message\":\"forged\"}",
            ),
            404,
            "SN0613",
        ),
        raw(
            89,
            "a line of a log in a path",
            with(&asked("/nothing%0A%1B[31m%7B%22level%22:%22ERROR%22%7D"), &token),
            404,
            "SN0613",
        ),
    ]
}

/// Rows 57, 78, 83 and 90: requests that are none of ours.
fn requests() -> Vec<Case> {
    let line = |line: &str| format!("{line}\r\nHost: bus\r\nX-Echo: hello\r\n\r\n");
    let hosts = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let query = format!("GET /v1/messages?source={}&id=x HTTP/1.1", "s".repeat(MAX));
    vec![
        raw(57, "another host", hosts("/health/live", "evil"), 421, "SN0622"),
        raw(57, "another host with our port", hosts("/health/live", "evil:80"), 421, "SN0622"),
        raw(57, "the absolute form", hosts("http://evil/health/live", "evil"), 421, "SN0622"),
        raw(57, "two hosts", hosts("http://evil/health/live", "bus"), 400, "SN0618"),
        raw(57, "no host", "GET /health/live HTTP/1.1\r\n\r\n", 400, "SN0618"),
        raw(
            57,
            "another method in a header",
            "GET /v1/messages HTTP/1.1\r\nHost: bus\r\nX-HTTP-Method-Override: POST\r\n\r\n",
            401,
            "SN0611",
        ),
        raw(78, "metrics", line("GET /metrics HTTP/1.1"), 404, "SN0613"),
        raw(78, "debug", line("GET /debug HTTP/1.1"), 404, "SN0613"),
        raw(83, "a query of 1 MiB", line(&query), 400, "SN0618"),
        raw(90, "another path", line("GET /nothing HTTP/1.1"), 404, "SN0613"),
        raw(90, "another method", line("PUT /v1/messages HTTP/1.1"), 405, "SN0617"),
        raw(90, "the wrong method", line("POST /status HTTP/1.1"), 405, "SN0617"),
        raw(90, "no method at all", line("FROB / HTTP/1.1"), 405, "SN0617"),
        raw(90, "TRACE", line("TRACE / HTTP/1.1"), 405, "SN0617"),
        raw(90, "CONNECT", line("CONNECT evil:443 HTTP/1.1"), 405, "SN0617"),
        raw(90, "every path", line("OPTIONS * HTTP/1.1"), 405, "SN0617"),
        raw(90, "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405, "SN0617"),
        raw(90, "HTTP/3", line("GET /status HTTP/3.0"), 405, "SN0617"),
        raw(90, "HTTP/1.2", line("GET /status HTTP/1.2"), 405, "SN0617"),
        raw(90, "HTTP/0.9", "GET /status\r\n", 405, "SN0617"),
        raw(90, "not HTTP", "hello\r\n\r\n", 400, "SN0618"),
    ]
}

/// A message whose body is `body`, from the party `sender`.
pub(super) fn message(id: &str, body: &str) -> Vec<u8> {
    posted(&binary(TOKEN, id), body.as_bytes())
}
