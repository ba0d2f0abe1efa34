//! What `snodo doctor` says: facts that somebody gathered, judged.
//!
//! Invariant: pure. A finding that is not fine says what to do; nothing here repeats a secret.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How a finding is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Fine,
    /// Works, and should be seen to.
    Warning,
    /// Does not work, or loses what must not be lost.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it is meant.
    pub level: Level,
    /// The code whose page says more; none where all is fine.
    pub code: Option<&'static str>,
    /// What was looked at.
    pub what: String,
    /// What was seen.
    pub seen: String,
    /// What to do.
    pub help: Option<String>,
}

impl Finding {
    fn fine(what: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { level: Level::Fine, code: None, what: what.into(), seen: seen.into(), help: None }
    }

    /// Something that is not as it should be.
    pub fn bad(
        level: Level,
        code: &'static str,
        what: impl Into<String>,
        seen: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let help = Some(help.into());
        Self { level, code: Some(code), what: what.into(), seen: seen.into(), help }
    }
}

/// A file or folder that nobody else may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Its path.
    pub path: String,
    /// What it is for.
    pub is: FileKind,
    /// Its mode bits; why not, where they cannot be had.
    pub mode: Result<u32, String>,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A secret that the configuration names.
    Secret,
    /// Something of the bus itself, which the bus makes where it is missing.
    Own,
}

/// Judges a file.
pub fn file(facts: &FileFacts) -> Finding {
    let FileFacts { path, is, mode } = facts;
    match mode {
        Err(_) if *is == FileKind::Own => Finding::fine(path, "not there yet; the bus makes it"),
        Err(why) => Finding::bad(
            Level::Error,
            "SN0885",
            path,
            format!("the secret cannot be read: {why}"),
            "write the secret into this file, readable by the user of the bus alone (0400)",
        ),
        Ok(mode) if mode & 0o077 != 0 => {
            let seen = format!("others may use it (mode {:04o})", mode & 0o7777);
            let bits = if mode & 0o170_000 == 0o040_000 { "0700" } else { "0600" };
            Finding::bad(Level::Warning, "SN0885", path, seen, format!("chmod {bits} {path}"))
        }
        Ok(mode) => Finding::fine(path, format!("mode {:04o}", mode & 0o7777)),
    }
}

/// The disk under a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFacts {
    /// The folder.
    pub path: String,
    /// Bytes that the user of the bus may still write, and all there are.
    pub room: Result<(u64, u64), String>,
}

/// Judges a disk.
pub fn disk(facts: &DiskFacts) -> Finding {
    let what = format!("disk of {}", facts.path);
    let help = "make room, or put `data:` on a larger disk: without room nothing is accepted";
    match &facts.room {
        Err(why) => Finding::bad(Level::Error, "SN0886", what, why, help),
        Ok((free, all)) => {
            let seen = format!("{} of {} free", size(*free), size(*all));
            match *free {
                free if free < 512 * MIB => Finding::bad(Level::Error, "SN0886", what, seen, help),
                free if free < 4 * GIB && free < all / 10 => {
                    Finding::bad(Level::Warning, "SN0886", what, seen, help)
                }
                _ => Finding::fine(what, seen),
            }
        }
    }
}

/// A clock beside that of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockFacts {
    /// Whose it is.
    pub of: String,
    /// What it says.
    pub says: Timestamp,
    /// What this machine says, at the same moment.
    pub here: Timestamp,
    /// Milliseconds by which the two may differ for how they were read.
    pub blur: i64,
}

/// Judges a clock.
pub fn clock(facts: &ClockFacts) -> Finding {
    let off = facts.says.0.saturating_sub(facts.here.0);
    let beyond = off.saturating_abs().saturating_sub(facts.blur).max(0);
    let what = format!("clock of {}", facts.of);
    let way = if off < 0 { "behind" } else { "ahead of" };
    let seen = format!("{:.1} s {way} this machine", seconds(off.saturating_abs()));
    let help = "synchronise both machines with one time server (chrony, systemd-timesyncd): leases of \
        several instances and the times of the register go by it";
    match beyond {
        0..=2_000 => Finding::fine(what, "as here"),
        2_001..=30_000 => Finding::bad(Level::Warning, "SN0887", what, seen, help),
        _ => Finding::bad(Level::Error, "SN0887", what, seen, help),
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// The newest event: what this machine's clock cannot be before.
pub fn newest(event: Option<Timestamp>, now: Timestamp) -> Finding {
    let what = "clock of this machine";
    match event {
        Some(at) if at > now.after(Duration::from_secs(5)) => Finding::bad(
            Level::Error,
            "SN0887",
            what,
            format!("it says {now}, and the ledger's newest event is of {at}"),
            "it was set back, or was ahead when the event was written: set it right; the register's \
             time never goes back, so registrations keep the later time until the clock has caught up",
        ),
        _ => Finding::fine(what, format!("it says {now}")),
    }
}

/// The ledger's database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerFacts {
    /// `SQLite 3.x`, `PostgreSQL 15.x`.
    pub database: String,
    /// The migration that was applied last.
    pub schema: i64,
    /// Bytes of the database.
    pub bytes: u64,
    /// Bytes of its log that are not in it yet (SQLite).
    pub log_bytes: Option<u64>,
    /// What the quick check of the file said, beside `ok`; none where it was not made.
    pub check: Option<Vec<String>>,
    /// Settings by which a commit may be lost: name and value.
    pub unsafe_settings: Vec<(String, String)>,
    /// The database server's clock, and that of its client at the same moment.
    pub clock: Option<(Timestamp, Timestamp)>,
    /// When the newest event was written.
    pub newest_event: Option<Timestamp>,
}

/// A log of this size has not been taken over for long.
const LARGE_LOG: u64 = 512 * MIB;

/// Judges the ledger.
pub fn ledger(facts: &LedgerFacts, now: Timestamp) -> Vec<Finding> {
    let what = "ledger";
    let mut found = Vec::new();
    match facts.check.as_deref() {
        Some([]) | None => {
            let checked = if facts.check.is_some() { ", checked" } else { "" };
            let (database, schema, bytes) = (&facts.database, facts.schema, size(facts.bytes));
            let seen = format!("{database}, schema {schema}, {bytes}{checked}");
            found.push(Finding::fine(what, seen));
        }
        Some(broken) => found.push(Finding::bad(
            Level::Error,
            "SN0888",
            what,
            format!("the file is damaged: {}", broken.join("; ")),
            "stop the bus, keep a copy of the file and its -wal, restore the last sound backup",
        )),
    }
    if let Some(bytes) = facts.log_bytes.filter(|bytes| *bytes > LARGE_LOG) {
        found.push(Finding::bad(
            Level::Warning,
            "SN0889",
            "ledger's log",
            format!("{} are not in the file yet", size(bytes)),
            "end what has been reading the file for long (a backup, a sqlite3 shell): until then the \
             log grows",
        ));
    }
    for (name, value) in &facts.unsafe_settings {
        found.push(Finding::bad(
            Level::Error,
            "SN0889",
            "ledger's server",
            format!("`{name}` is {value}: a commit that was answered can be lost"),
            format!("set `{name}` to on"),
        ));
    }
    if let Some((says, here)) = facts.clock {
        let of = "the ledger's server".to_owned();
        found.push(clock(&ClockFacts { of, says, here, blur: 500 }));
    }
    found.push(newest(facts.newest_event, now));
    found
}

/// The broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerFacts {
    /// `3.10.8`.
    pub version: String,
    /// Its nodes.
    pub nodes: Vec<NodeFacts>,
    /// Feature flags that are stable and not enabled.
    pub flags_off: Vec<String>,
    /// Its clock, and that of its client at the same moment.
    pub clock: Option<(Timestamp, Timestamp)>,
}

/// One node of the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
    /// Whether it is short of memory.
    pub memory_alarm: bool,
    /// Whether it is short of disk.
    pub disk_alarm: bool,
    /// Nodes that it does not see though they run.
    pub partitions: Vec<String>,
}

/// The oldest broker on which the bus is tested.
const OLDEST: (u32, u32) = (3, 10);

/// Judges the broker.
pub fn broker(facts: &BrokerFacts) -> Vec<Finding> {
    let mut found = vec![broker_version(facts)];
    if facts.flags_off.iter().any(|flag| flag == "quorum_queue") {
        found.push(Finding::bad(
            Level::Error,
            "SN0890",
            "broker",
            "quorum queues are not possible: the feature flag `quorum_queue` is off",
            "rabbitmqctl enable_feature_flag quorum_queue",
        ));
    } else if !facts.flags_off.is_empty() {
        found.push(Finding::bad(
            Level::Warning,
            "SN0890",
            "broker",
            format!("feature flags are off: {}", facts.flags_off.join(", ")),
            "rabbitmqctl enable_feature_flag all, once every node runs the same version: the next \
             upgrade needs them",
        ));
    }
    facts.nodes.iter().for_each(|one| node(one, &mut found));
    if facts.nodes.len() == 1 {
        let name = &facts.nodes[0].name;
        let seen = "one node: a lost disk loses copies in flight; the ledger publishes them again";
        found.push(Finding::fine(format!("broker node {name}"), seen));
    }
    if let Some((says, here)) = facts.clock {
        // The date of an answer has whole seconds.
        found.push(clock(&ClockFacts { of: "the broker".to_owned(), says, here, blur: 1500 }));
    }
    found
}

fn broker_version(facts: &BrokerFacts) -> Finding {
    let mut numbers = facts.version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = numbers.next().zip(numbers.next());
    let seen = format!("RabbitMQ {}", facts.version);
    if version.is_some_and(|version| version >= OLDEST) {
        return Finding::fine("broker", seen);
    }
    let help = format!("install RabbitMQ {}.{} or later", OLDEST.0, OLDEST.1);
    Finding::bad(Level::Error, "SN0890", "broker", seen, help)
}

fn node(facts: &NodeFacts, found: &mut Vec<Finding>) {
    let what = format!("broker node {}", facts.name);
    let mut bad = |seen: String, help: &str| {
        found.push(Finding::bad(Level::Error, "SN0891", what.as_str(), seen, help));
    };
    if !facts.running {
        bad("it does not run".to_owned(), "start it: a queue needs most of its nodes");
    }
    if facts.memory_alarm {
        let help =
            "free memory or raise `vm_memory_high_watermark`: until then nothing is published";
        bad("it is short of memory and takes nothing".to_owned(), help);
    }
    if facts.disk_alarm {
        let help = "free disk or lower `disk_free_limit`: until then nothing is published";
        bad("it is short of disk and takes nothing".to_owned(), help);
    }
    if !facts.partitions.is_empty() {
        let help = "mend the network, then restart the smaller side; declare nothing until then";
        bad(format!("it does not see {}", facts.partitions.join(", ")), help);
    }
}

/// The broker does not answer.
pub fn no_broker(why: &str) -> Finding {
    let help =
        "start it, or correct `broker:`; messages are accepted meanwhile and wait in the ledger";
    Finding::bad(Level::Error, "SN0892", "broker", why, help)
}

/// The ledger does not answer.
pub fn no_ledger(why: &str) -> Finding {
    let help = "see `snodo explain SN0830`; without the ledger nothing is accepted";
    Finding::bad(Level::Error, "SN0888", "ledger", why, help)
}

/// Judges whether a call to a target could succeed now; `fault` is the adapter's own words.
pub fn target(instance: &str, fault: Option<(&str, &str)>) -> Finding {
    let what = format!("target {instance}");
    match fault {
        None => Finding::fine(what, "answers"),
        Some((code, text)) => Finding::bad(
            Level::Warning,
            "SN0893",
            what,
            format!("{text} ({code})"),
            "its deliveries wait meanwhile: ask who runs it, or correct its options",
        ),
    }
}

/// The certificate of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// `host:port`.
    pub of: String,
    /// What it showed; why nothing, where the host shows none that can be read.
    pub shown: Result<Shown, String>,
}

/// What a host shows who asks for its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// One that is valid from then until then.
    Certificate {
        /// From.
        from: Timestamp,
        /// Until.
        until: Timestamp,
    },
    /// None: what is sent to it is not encrypted.
    Nothing,
}

/// Time enough to have a certificate renewed.
const RENEWAL: Duration = Duration::from_hours(30 * 24);

/// Judges a certificate by its dates alone: whether it is trusted shows the call.
pub fn certificate(facts: &CertificateFacts, now: Timestamp) -> Finding {
    let what = format!("certificate of {}", facts.of);
    let renew = "have whoever runs it renew the certificate: from its last day every call fails";
    let bad = |level, seen: String, help: &str| Finding::bad(level, "SN0894", &what, seen, help);
    match &facts.shown {
        Err(why) => bad(
            Level::Warning,
            format!("it could not be looked at: {why}"),
            "see that the host can be reached from here, and speaks TLS at this port",
        ),
        Ok(Shown::Nothing) => bad(
            Level::Warning,
            "it shows none: passwords and messages go to it in the clear".to_owned(),
            "enable TLS there (`ssl = on` and a certificate), or talk to it by its local socket",
        ),
        Ok(Shown::Certificate { until, .. }) if *until < now => {
            bad(Level::Error, format!("it ended at {until}"), renew)
        }
        Ok(Shown::Certificate { from, .. }) if *from > now => bad(
            Level::Error,
            format!("it begins at {from}"),
            "see that the clock of this machine is right, then ask whoever runs the host",
        ),
        Ok(Shown::Certificate { until, .. }) if *until < now.after(RENEWAL) => {
            bad(Level::Warning, format!("it ends at {until}"), renew)
        }
        Ok(Shown::Certificate { until, .. }) => Finding::fine(&what, format!("until {until}")),
    }
}

/// Judges how far the broker is from the plan.
pub fn drift(differences: &[crate::topology::Finding]) -> Vec<Finding> {
    if differences.is_empty() {
        return vec![Finding::fine("topology", "as planned")];
    }
    let of = |one: &crate::topology::Finding| {
        let error = one.severity == crate::diagnostic::Severity::Error;
        let level = if error { Level::Error } else { Level::Warning };
        let seen = match &one.property {
            Some(property) => format!("`{property}` is {}, not {}", one.found, one.expected),
            None => format!("{}, not {}", one.found, one.expected),
        };
        Finding::bad(level, one.code, one.object.as_str(), seen, one.help.as_str())
    };
    differences.iter().map(of).collect()
}

fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 10 * GIB => format!("{} GiB", bytes / GIB),
        bytes if bytes >= GIB => {
            format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB)
        }
        bytes if bytes >= MIB => format!("{} MiB", bytes / MIB),
        bytes => format!("{} KiB", bytes.div_ceil(1024)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp(1_764_000_000_000);

    fn said(found: &[Finding]) -> Vec<(Level, Option<&'static str>, String)> {
        found
            .iter()
            .map(|one| (one.level, one.code, format!("{}: {}", one.what, one.seen)))
            .collect()
    }

    #[test]
    fn what_is_not_fine_says_what_to_do() {
        let bad = [
            file(&FileFacts { path: "p".into(), is: FileKind::Secret, mode: Err("gone".into()) }),
            disk(&DiskFacts { path: "/".into(), room: Ok((1, 2)) }),
            no_broker("nobody"),
            no_ledger("nobody"),
            target("far", Some(("SN0760", "no answer"))),
        ];
        for one in bad {
            assert_ne!(one.level, Level::Fine, "{one:?}");
            assert!(one.code.is_some() && one.help.is_some_and(|help| !help.is_empty()));
        }
    }

    #[test]
    fn files_are_for_one_user() {
        for (is, mode, level, seen) in [
            (FileKind::Secret, Ok(0o100_400), Level::Fine, "mode 0400"),
            (FileKind::Secret, Ok(0o100_640), Level::Warning, "others may use it (mode 0640)"),
            (FileKind::Own, Ok(0o040_755), Level::Warning, "others may use it (mode 0755)"),
            (FileKind::Own, Ok(0o040_700), Level::Fine, "mode 0700"),
            (FileKind::Own, Err("no such file"), Level::Fine, "not there yet; the bus makes it"),
            (FileKind::Secret, Err("none"), Level::Error, "the secret cannot be read: none"),
        ] {
            let mode = mode.map_err(str::to_owned);
            let found = file(&FileFacts { path: "/x".to_owned(), is, mode });
            assert_eq!((found.level, found.seen.as_str()), (level, seen));
        }
        let folder = FileFacts { path: "/x".to_owned(), is: FileKind::Own, mode: Ok(0o040_755) };
        assert_eq!(file(&folder).help.as_deref(), Some("chmod 0700 /x"));
    }

    #[test]
    fn a_disk_needs_room() {
        for (room, level) in [
            (Ok((100 * GIB, 200 * GIB)), Level::Fine),
            (Ok((5 * GIB, 200 * GIB)), Level::Fine),
            (Ok((3 * GIB, 10 * GIB)), Level::Fine),
            (Ok((3 * GIB, 200 * GIB)), Level::Warning),
            (Ok((511 * MIB, GIB)), Level::Error),
            (Err("not there".to_owned()), Level::Error),
        ] {
            assert_eq!(
                disk(&DiskFacts { path: "/".into(), room: room.clone() }).level,
                level,
                "{room:?}"
            );
        }
    }

    #[test]
    fn clocks_go_together_within_what_reading_them_blurs() {
        for (off, blur, level) in [
            (0, 0, Level::Fine),
            (-3_400, 1_500, Level::Fine),
            (3_600, 1_500, Level::Warning),
            (-3_600_000, 1_500, Level::Error),
            (i64::MIN, 0, Level::Error),
        ] {
            let says = Timestamp(NOON.0.saturating_add(off));
            let found = clock(&ClockFacts { of: "x".into(), says, here: NOON, blur });
            assert_eq!(found.level, level, "{off}: {}", found.seen);
        }
        assert_eq!(newest(Some(NOON), NOON).level, Level::Fine);
        assert_eq!(newest(None, NOON).level, Level::Fine);
        let ahead = NOON.after(Duration::from_secs(6));
        assert_eq!(newest(Some(ahead), NOON).level, Level::Error);
    }

    #[test]
    fn a_ledger_is_whole_and_keeps_what_it_commits() {
        let fine = LedgerFacts { database: "SQLite 3.46".into(), schema: 6, ..Default::default() };
        assert_eq!(
            said(&ledger(&LedgerFacts { check: Some(vec![]), ..fine.clone() }, NOON))[0],
            (Level::Fine, None, "ledger: SQLite 3.46, schema 6, 0 KiB, checked".into())
        );
        let bad = LedgerFacts {
            check: Some(vec!["row 7 missing from index".into()]),
            log_bytes: Some(GIB),
            unsafe_settings: vec![("fsync".into(), "off".into())],
            clock: Some((NOON, NOON.before(Duration::from_mins(1)))),
            newest_event: Some(NOON.after(Duration::from_hours(1))),
            ..fine
        };
        let found = ledger(&bad, NOON);
        let codes: Vec<_> = found.iter().map(|one| (one.level, one.code.unwrap_or(""))).collect();
        let expected = [
            (Level::Error, "SN0888"),
            (Level::Warning, "SN0889"),
            (Level::Error, "SN0889"),
            (Level::Error, "SN0887"),
            (Level::Error, "SN0887"),
        ];
        assert_eq!(codes, expected);
    }

    #[test]
    fn a_certificate_is_renewed_before_its_last_day() {
        let days = |days: u64| Duration::from_hours(24 * days);
        let dates = |from, until| Ok(Shown::Certificate { from, until });
        let before = NOON.before(days(60));
        for (shown, level) in [
            (dates(before, NOON.after(days(31))), Level::Fine),
            (dates(before, NOON.after(days(29))), Level::Warning),
            (dates(before, NOON.before(days(1))), Level::Error),
            (dates(NOON.after(days(1)), NOON.after(days(90))), Level::Error),
            (Ok(Shown::Nothing), Level::Warning),
            (Err("refused".to_owned()), Level::Warning),
        ] {
            let found = certificate(&CertificateFacts { of: "h:443".into(), shown }, NOON);
            assert_eq!(found.level, level, "{}", found.seen);
            assert_eq!(found.help.is_some(), level != Level::Fine);
        }
    }

    #[test]
    fn a_broker_is_new_enough_awake_and_in_one_piece() {
        let node =
            |name: &str| NodeFacts { name: name.into(), running: true, ..Default::default() };
        let fine = BrokerFacts {
            version: "3.10.8".into(),
            nodes: vec![node("a"), node("b"), node("c")],
            ..Default::default()
        };
        assert_eq!(said(&broker(&fine)), [(Level::Fine, None, "broker: RabbitMQ 3.10.8".into())]);
        for (version, level) in [
            ("4.0.5", Level::Fine),
            ("3.9.29", Level::Error),
            ("3.13.0-rc.1", Level::Fine),
            ("", Level::Error),
        ] {
            let facts = BrokerFacts { version: version.into(), ..fine.clone() };
            assert_eq!(broker(&facts)[0].level, level, "{version}");
        }
        let facts = BrokerFacts {
            flags_off: vec!["quorum_queue".into(), "stream_queue".into()],
            nodes: vec![
                NodeFacts { memory_alarm: true, disk_alarm: true, ..node("a") },
                NodeFacts { running: false, partitions: vec!["a".into()], ..node("b") },
            ],
            ..fine.clone()
        };
        let codes: Vec<_> = broker(&facts).iter().skip(1).map(|one| one.code).collect();
        assert_eq!(
            codes,
            [Some("SN0890"), Some("SN0891"), Some("SN0891"), Some("SN0891"), Some("SN0891")]
        );
        let facts = BrokerFacts { flags_off: vec!["stream_queue".into()], ..fine };
        assert_eq!(broker(&facts)[1].level, Level::Warning);
    }

    #[test]
    fn what_differs_from_the_plan_is_said_as_topology_verify_says_it() {
        assert_eq!(said(&drift(&[])), [(Level::Fine, None, "topology: as planned".into())]);
        let difference = crate::topology::Finding {
            code: "SN0801",
            severity: crate::diagnostic::Severity::Error,
            object: "queue `route.x` in vhost `/`".into(),
            property: None,
            expected: "to exist".into(),
            found: "nothing".into(),
            help: "run `snodo topology apply`".into(),
        };
        let expected = "queue `route.x` in vhost `/`: nothing, not to exist".to_owned();
        assert_eq!(said(&drift(&[difference])), [(Level::Error, Some("SN0801"), expected)]);
    }
}
