//! The alerts of `config/prometheus`: each fires when it should and not otherwise, by `promtool`.
//!
//! Invariant: every alert is in the table below, and every metric of ours that a rule reads is one that
//! a bus shows.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use snodo::metrics::{Labels, Metrics};

/// (alert, series with their values every 30 s, when, what it then carries; none: it is silent).
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str, Fires);
type Fires = Option<&'static [(&'static str, &'static str)]>;

const PAGE: (&str, &str) = ("severity", "page");
const TICKET: (&str, &str) = ("severity", "ticket");
const JOB: (&str, &str) = ("job", "snodo");
const A: (&str, &str) = ("instance", "a");
const ROUTE: (&str, &str) = ("route", "notify-region");

const CASES: &[Case] = &[
    ("SnodoDown", &[("up{job='snodo',instance='a'}", "0x10")], "2m", Some(&[PAGE, JOB, A])),
    ("SnodoDown", &[("up{job='snodo',instance='a'}", "0 1x10")], "4m", None),
    (
        "SnodoNotReady",
        &[("snodo_ready{job='snodo',instance='a',component='broker'}", "0x10")],
        "2m",
        Some(&[PAGE, JOB, A, ("component", "broker")]),
    ),
    (
        "SnodoNotReady",
        &[("snodo_ready{job='snodo',instance='a',component='routes'}", "0x10")],
        "4m",
        None,
    ),
    (
        "SnodoTopologyDiffers",
        &[("snodo_ready{job='snodo',instance='a',component='topology'}", "0x20")],
        "3m",
        Some(&[PAGE, JOB, A]),
    ),
    (
        "SnodoTopologyDiffers",
        &[("snodo_ready{job='snodo',instance='a',component='topology'}", "0 1x20")],
        "3m",
        None,
    ),
    (
        "SnodoReloadRefused",
        &[("snodo_ready{job='snodo',instance='a',component='routes'}", "0x20")],
        "6m",
        Some(&[TICKET, JOB, A]),
    ),
    (
        "SnodoReloadRefused",
        &[("snodo_ready{job='snodo',instance='a',component='routes'}", "0x4 1x20")],
        "8m",
        None,
    ),
    (
        "SnodoAcceptBudgetBurnFast",
        &[
            ("snodo_ingress_requests_total{job='snodo',result='accepted'}", "0+95x200"),
            ("snodo_ingress_requests_total{job='snodo',result='unavailable'}", "0+5x200"),
        ],
        "60m",
        Some(&[PAGE, JOB]),
    ),
    (
        "SnodoAcceptBudgetBurnFast",
        &[
            ("snodo_ingress_requests_total{job='snodo',result='accepted'}", "0+9999x200"),
            ("snodo_ingress_requests_total{job='snodo',result='unavailable'}", "0+1x200"),
        ],
        "60m",
        None,
    ),
    (
        "SnodoAcceptBudgetBurnSlow",
        &[
            ("snodo_ingress_requests_total{job='snodo',result='accepted'}", "0+995x800"),
            ("snodo_ingress_requests_total{job='snodo',result='unavailable'}", "0+5x800"),
        ],
        "360m",
        Some(&[TICKET, JOB]),
    ),
    (
        "SnodoAcceptBudgetBurnSlow",
        &[
            ("snodo_ingress_requests_total{job='snodo',result='accepted'}", "0+10000x800"),
            ("snodo_ingress_requests_total{job='snodo',result='unavailable'}", "0+1x800"),
        ],
        "360m",
        None,
    ),
    (
        "SnodoMessageStuck",
        &[(
            "snodo_ledger_oldest_open_message_age_seconds{job='snodo',instance='a',route='notify-region'}",
            "0+30x60",
        )],
        "22m",
        Some(&[PAGE, JOB, ROUTE]),
    ),
    (
        "SnodoMessageStuck",
        &[(
            "snodo_ledger_oldest_open_message_age_seconds{job='snodo',instance='a',route='notify-region'}",
            "899x60",
        )],
        "22m",
        None,
    ),
    (
        "SnodoOutboxBacklog",
        &[("snodo_outbox_oldest_age_seconds{job='snodo',instance='a'}", "61x20")],
        "3m",
        Some(&[PAGE, JOB]),
    ),
    (
        "SnodoOutboxBacklog",
        &[("snodo_outbox_oldest_age_seconds{job='snodo',instance='a'}", "61 61 0x20")],
        "5m",
        None,
    ),
    (
        "SnodoParked",
        &[("snodo_deliveries{job='snodo',state='parked',route='notify-region'}", "1x40")],
        "11m",
        Some(&[TICKET, JOB, ROUTE]),
    ),
    (
        "SnodoParked",
        &[("snodo_deliveries{job='snodo',state='open',route='notify-region'}", "1x40")],
        "11m",
        None,
    ),
    (
        "SnodoParkedBurst",
        &[("snodo_faults_total{job='snodo',verdict='park',route='notify-region'}", "0+5x20")],
        "5m",
        Some(&[PAGE, JOB, ROUTE]),
    ),
    (
        "SnodoParkedBurst",
        &[("snodo_faults_total{job='snodo',verdict='retry',route='notify-region'}", "0+5x20")],
        "5m",
        None,
    ),
    (
        "SnodoUncertain",
        &[("snodo_deliveries{job='snodo',state='uncertain',route='notify-region'}", "1x40")],
        "11m",
        Some(&[TICKET, JOB, ROUTE]),
    ),
    (
        "SnodoUncertain",
        &[("snodo_deliveries{job='snodo',state='uncertain',route='notify-region'}", "1 0x40")],
        "11m",
        None,
    ),
    (
        "SnodoLedgerFails",
        &[("snodo_ledger_commits_total{job='snodo',instance='a',result='unclear'}", "0 0 1x10")],
        "2m",
        Some(&[PAGE, JOB, A]),
    ),
    (
        "SnodoLedgerFails",
        &[("snodo_ledger_commits_total{job='snodo',instance='a',result='committed'}", "0+9x10")],
        "2m",
        None,
    ),
    (
        "SnodoReconciled",
        &[("snodo_ledger_moved_rows_total{job='snodo',what='reconcile'}", "0 0 7x10")],
        "3m",
        Some(&[PAGE, JOB]),
    ),
    (
        "SnodoReconciled",
        &[("snodo_ledger_moved_rows_total{job='snodo',what='due'}", "0+7x10")],
        "3m",
        None,
    ),
    (
        "SnodoUnroutable",
        &[("snodo_ledger_moved_rows_total{job='snodo',what='unrouted'}", "0 0 7x10")],
        "3m",
        Some(&[PAGE, JOB]),
    ),
    (
        "SnodoUnroutable",
        &[("snodo_ledger_moved_rows_total{job='snodo',what='unrouted'}", "7x40")],
        "12m",
        None,
    ),
    (
        "SnodoPoison",
        &[("snodo_ledger_moved_rows_total{job='snodo',what='poison'}", "0 0 1x10")],
        "3m",
        Some(&[TICKET, JOB]),
    ),
    (
        "SnodoPoison",
        &[("snodo_ledger_moved_rows_total{job='snodo',what='poison'}", "0x10")],
        "3m",
        None,
    ),
    (
        "SnodoStrays",
        &[("snodo_strays{job='snodo',instance='a'}", "1x20")],
        "6m",
        Some(&[TICKET, JOB]),
    ),
    ("SnodoStrays", &[("snodo_strays{job='snodo',instance='a'}", "0x20")], "6m", None),
    (
        "SnodoConsumerDown",
        &[("snodo_consumer_active{job='snodo',instance='a',route='notify-region'}", "0x20")],
        "3m",
        Some(&[PAGE, JOB, A, ROUTE]),
    ),
    (
        "SnodoConsumerDown",
        &[
            ("snodo_consumer_active{job='snodo',instance='a',route='party:region'}", "0x20"),
            ("snodo_consumer_active{job='snodo',instance='a',route='_other'}", "0x20"),
        ],
        "3m",
        None,
    ),
    (
        "RabbitMQQueueWithoutConsumer",
        &[
            (
                "rabbitmq_detailed_queue_messages_ready{instance='r',vhost='/',queue='route.x'}",
                "5x20",
            ),
            ("rabbitmq_detailed_queue_consumers{instance='r',vhost='/',queue='route.x'}", "0x20"),
        ],
        "6m",
        Some(&[PAGE, ("instance", "r"), ("vhost", "/"), ("queue", "route.x")]),
    ),
    (
        "RabbitMQQueueWithoutConsumer",
        &[
            (
                "rabbitmq_detailed_queue_messages_ready{instance='r',vhost='region',queue='inbox'}",
                "5x20",
            ),
            (
                "rabbitmq_detailed_queue_consumers{instance='r',vhost='region',queue='inbox'}",
                "0x20",
            ),
        ],
        "6m",
        None,
    ),
    (
        "RabbitMQMemoryAlarm",
        &[("rabbitmq_alarms_memory_used_watermark{instance='r'}", "1x10")],
        "2m",
        Some(&[PAGE, ("instance", "r")]),
    ),
    (
        "RabbitMQMemoryAlarm",
        &[("rabbitmq_alarms_memory_used_watermark{instance='r'}", "0x10")],
        "2m",
        None,
    ),
    (
        "RabbitMQDiskAlarm",
        &[("rabbitmq_alarms_free_disk_space_watermark{instance='r'}", "1x10")],
        "2m",
        Some(&[PAGE, ("instance", "r")]),
    ),
    (
        "RabbitMQDiskAlarm",
        &[("rabbitmq_alarms_free_disk_space_watermark{instance='r'}", "0x10")],
        "2m",
        None,
    ),
    ("Watchdog", &[], "1m", Some(&[("severity", "none")])),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/prometheus")
}

fn rules_text() -> String {
    fs::read_to_string(folder().join("snodo.rules.yaml")).expect("readable")
}

/// The rules, by the YAML reader of routes: the file uses nothing that a route may not.
fn rules() -> Vec<Value> {
    let text = rules_text();
    let read: Value = serde_saphyr::from_str(&text).expect("YAML");
    let groups = read["groups"].as_array().cloned().unwrap_or_default();
    groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
}

fn promtool(arguments: &[&str]) -> String {
    let output = Command::new("promtool").args(arguments).output().expect("promtool is installed");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// A text with `{{ $labels.x }}` filled in.
fn filled(text: &str, labels: &[(&str, &str)]) -> String {
    labels.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{{ $labels.{name} }}}}"), value)
    })
}

fn case(number: usize, (alert, series, at, fires): &Case, rules: &[Value]) -> String {
    let rule = rules.iter().find(|rule| rule["alert"] == *alert).expect("a rule of this name");
    let mut text = format!("  - name: case {number}\n    interval: 30s\n    input_series:");
    if series.is_empty() {
        text.push_str(" []");
    }
    for (series, values) in *series {
        let series = series.replace('\'', "\"");
        let _ = write!(text, "\n      - series: '{series}'\n        values: '{values}'");
    }
    let _ = write!(
        text,
        "\n    alert_rule_test:\n      - eval_time: {at}\n        alertname: {alert}\n        exp_alerts:"
    );
    let Some(labels) = fires else { return text + " []\n" };
    text.push_str("\n          - exp_labels:\n");
    for (name, value) in *labels {
        let _ = writeln!(text, "              {name}: '{value}'");
    }
    text.push_str("            exp_annotations:\n");
    for (name, value) in rule["annotations"].as_object().into_iter().flatten() {
        let value = filled(value.as_str().unwrap_or_default(), labels);
        let _ = writeln!(text, "              {name}: {}", Value::from(value));
    }
    text
}

#[test]
fn each_alert_fires_when_it_should_and_not_otherwise() {
    let rules = rules();
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("rules.yaml"), rules_text()).expect("written");
    let mut text = "rule_files: [rules.yaml]\nevaluation_interval: 30s\ntests:\n".to_owned();
    for (number, one) in CASES.iter().enumerate() {
        text.push_str(&case(number, one, &rules));
    }
    let path = folder.path().join("cases.yaml");
    fs::write(&path, text).expect("written");
    promtool(&["check", "rules", &folder.path().join("rules.yaml").display().to_string()]);
    promtool(&["test", "rules", &path.display().to_string()]);

    let names: BTreeSet<&str> = rules.iter().filter_map(|rule| rule["alert"].as_str()).collect();
    for fires in [true, false] {
        let tested: BTreeSet<&str> =
            CASES.iter().filter(|case| case.3.is_some() == fires).map(|case| case.0).collect();
        let missing: Vec<_> =
            names.difference(&tested).filter(|name| **name != "Watchdog").collect();
        assert!(missing.is_empty(), "no case in which they fire = {fires}: {missing:?}");
    }
}

#[test]
fn each_alert_has_a_severity_and_a_line_in_the_runbooks() {
    let runbooks = fs::read_to_string(folder().join("runbooks.md")).expect("readable");
    let headings: BTreeSet<String> = runbooks
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(str::to_lowercase)
        .collect();
    for rule in rules().iter().filter(|rule| rule["alert"].is_string()) {
        let url = rule["annotations"]["runbook_url"].as_str().expect("a runbook");
        let anchor = url.strip_prefix("runbooks.md#").expect("beside the rules");
        assert!(headings.contains(anchor), "no heading for {anchor}");
        assert!(
            ["page", "ticket", "none"].contains(&rule["labels"]["severity"].as_str().unwrap_or(""))
        );
    }
}

/// Names of metrics in an expression: words that begin as ours or the broker's do.
fn metrics_in(expression: &str) -> impl Iterator<Item = &str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    expression.split(move |letter| !is_part(letter)).filter(|word| word.starts_with("snodo_"))
}

#[tokio::test]
async fn every_metric_that_a_rule_reads_is_there() {
    let labels = Labels {
        subscribers: vec!["x".to_owned()],
        sources: vec!["party:p".to_owned()],
        targets: vec!["a.b".to_owned()],
        codes: vec!["SN0605".to_owned()],
    };
    let metrics = Metrics::new(&labels).expect("declared");
    let bench = super::ledger::bench::Bench::sqlite().await;
    let shown = metrics.render(&*bench.ledger, &snodo::clock::SystemClock).await;
    let shown: BTreeSet<&str> = shown
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    for rule in rules() {
        let expression = rule["expr"].as_str().unwrap_or_default();
        for name in metrics_in(expression) {
            assert!(shown.contains(name), "`{name}` is not a metric of the bus");
        }
    }
}
