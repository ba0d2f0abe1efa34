//! The alerts of `config/prometheus`: each fires when it should and not otherwise, by `promtool`. And the
//! dashboard of `config/grafana`.
//!
//! Invariant: every alert is in the table below, and every metric of ours that a rule or a panel reads is
//! one that a bus shows.

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
        "SnodoMessageStuck",
        &[
            (
                "snodo_ledger_oldest_open_message_age_seconds{job='snodo',instance='a',route='notify-region'}",
                "0+30x60",
            ),
            ("snodo_route_held{job='snodo',instance='a',route='notify-region'}", "1x60"),
        ],
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
        "SnodoInboxNotFetched",
        &[(
            "snodo_inbox_oldest_age_seconds{job='snodo',instance='a',route='party:region'}",
            "86401x40",
        )],
        "16m",
        Some(&[TICKET, JOB, ("route", "party:region")]),
    ),
    (
        "SnodoInboxNotFetched",
        &[(
            "snodo_inbox_oldest_age_seconds{job='snodo',instance='a',route='party:region'}",
            "86401x20 0x20",
        )],
        "16m",
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
        "SnodoQuotaNearlyUsed",
        &[
            ("snodo_quota_used{job='snodo',target='anpr.C021'}", "4100x10"),
            ("snodo_quota_limit{job='snodo',target='anpr.C021'}", "5000x10"),
        ],
        "2m",
        Some(&[TICKET, JOB, ("target", "anpr.C021")]),
    ),
    (
        "SnodoQuotaNearlyUsed",
        &[
            ("snodo_quota_used{job='snodo',target='anpr.C021'}", "4000x10"),
            ("snodo_quota_limit{job='snodo',target='anpr.C021'}", "5000x10"),
        ],
        "2m",
        None,
    ),
    (
        "SnodoTotalsDiffer",
        &[("snodo_totals_difference{job='snodo',instance='a'}", "0 2x10")],
        "2m",
        Some(&[PAGE, JOB, A]),
    ),
    (
        "SnodoTotalsDiffer",
        &[("snodo_totals_difference{job='snodo',instance='a'}", "0x10")],
        "2m",
        None,
    ),
    (
        "SnodoTotalsNotCompared",
        &[
            ("snodo_totals_agreed_timestamp_seconds{job='snodo',instance='a'}", "0x800"),
            ("snodo_ready{job='snodo',instance='a',component='ledger'}", "1x800"),
        ],
        "245m",
        Some(&[TICKET, JOB, A]),
    ),
    (
        "SnodoTotalsNotCompared",
        &[("snodo_totals_agreed_timestamp_seconds{job='snodo',instance='a'}", "0+30x800")],
        "245m",
        None,
    ),
    (
        "SnodoRetentionBehind",
        &[("snodo_retention_behind_seconds{job='snodo',instance='a'}", "90000x400")],
        "65m",
        Some(&[TICKET, JOB]),
    ),
    (
        "SnodoRetentionBehind",
        &[("snodo_retention_behind_seconds{job='snodo',instance='a'}", "3600x400")],
        "65m",
        None,
    ),
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
        Some(&[PAGE, ("instance", "r"), ("vhost", "/"), ("queue", "route.x"), ("route", "x")]),
    ),
    (
        "RabbitMQQueueWithoutConsumer",
        &[
            (
                "rabbitmq_detailed_queue_messages_ready{instance='r',vhost='/',queue='route.x.3'}",
                "5x20",
            ),
            ("rabbitmq_detailed_queue_consumers{instance='r',vhost='/',queue='route.x.3'}", "0x20"),
            ("snodo_route_held{job='snodo',instance='a',route='x'}", "1x20"),
        ],
        "6m",
        None,
    ),
    (
        "SnodoTargetDown",
        &[("snodo_circuit_state{job='snodo',instance='a',target='canteen'}", "2x20")],
        "6m",
        Some(&[TICKET, ("job", "snodo"), ("target", "canteen")]),
    ),
    (
        "SnodoTargetDown",
        &[("snodo_circuit_state{job='snodo',instance='a',target='canteen'}", "2x2 0x10 2x3")],
        "8m",
        None,
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

/// Every metric that a running bus shows, by its name.
async fn shown() -> BTreeSet<String> {
    let labels = Labels {
        subscribers: vec!["x".to_owned(), "party:p".to_owned()],
        inboxes: vec!["party:p".to_owned()],
        sources: vec!["party:p".to_owned()],
        targets: vec!["a.b".to_owned()],
        facts: vec!["household".to_owned()],
        quotas: vec![("anpr.C021".to_owned(), 5000)],
        codes: vec!["SN0605".to_owned()],
    };
    let metrics = Metrics::new(&labels).expect("declared");
    let bench = super::ledger::bench::Bench::sqlite().await;
    let shown = metrics.render(&*bench.ledger, &snodo::clock::SystemClock).await;
    let names = shown.lines().filter(|line| !line.starts_with('#'));
    names.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_metric_that_a_rule_reads_is_there() {
    let shown = shown().await;
    for rule in rules() {
        let expression = rule["expr"].as_str().unwrap_or_default();
        for name in metrics_in(expression) {
            assert!(shown.contains(name), "`{name}` is not a metric of the bus");
        }
    }
}

/// What the dashboard reads that is Prometheus's own or RabbitMQ's: names verified on 3.10.8 (its metrics
/// in detail have a prefix of their own).
const OTHERS: [&str; 5] = [
    "up",
    "ALERTS",
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_detailed_queue_messages_ready",
];

/// The panels that show something, rows left out.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().expect("panels");
    panels.iter().filter(|panel| panel["type"] != "row").collect()
}

fn dashboard() -> Value {
    let path = folder().join("../grafana/overview.json");
    serde_json::from_str(&fs::read_to_string(path).expect("readable")).expect("JSON")
}

/// The expressions of a panel.
fn expressions(panel: &Value) -> impl Iterator<Item = &str> {
    panel["targets"].as_array().into_iter().flatten().map(move |target| {
        target["expr"].as_str().unwrap_or_else(|| panic!("an expression: {panel}"))
    })
}

/// The names of the series that an expression reads: words before `{`, `[`, a bracket that closes, or
/// the end, which are neither functions nor labels nor text.
fn series_in(expression: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    let mut names = BTreeSet::new();
    let (mut word, mut labels, mut text) = (String::new(), false, false);
    for letter in expression.chars().chain([' ']) {
        match letter {
            '"' => text = !text,
            '{' | '[' if !text => labels = true,
            '}' | ']' if !text => labels = false,
            _ => {}
        }
        if is_part(letter) && !text && !labels {
            word.push(letter);
            continue;
        }
        let begins = word.starts_with(|first: char| first.is_ascii_alphabetic());
        // `by (route)`: grouping labels are plain words; metrics have an underscore, but for these.
        if begins && letter != '(' && (word.contains('_') || OTHERS.contains(&word.as_str())) {
            names.insert(word.clone());
        }
        word.clear();
    }
    names
}

#[test]
fn series_are_told_from_functions_and_labels() {
    let expression =
        "max by (route) (rate(a_b_bucket{job=~\"$job\", x!=\"c_d\"}[5m])) - x:y:rate_5m > up";
    let names: Vec<String> = series_in(expression).into_iter().collect();
    assert_eq!(names, ["a_b_bucket", "up", "x:y:rate_5m"]);
}

#[tokio::test]
async fn every_metric_that_a_panel_reads_is_there() {
    let mut known = shown().await;
    known.extend(OTHERS.map(str::to_owned));
    known.extend(rules().iter().filter_map(|rule| rule["record"].as_str().map(str::to_owned)));
    let dashboard = dashboard();
    for panel in panels(&dashboard) {
        for expression in expressions(panel) {
            let read = series_in(expression);
            assert!(!read.is_empty(), "{} reads nothing: {expression}", panel["title"]);
            for name in read {
                assert!(known.contains(&name), "`{name}` of {} is no metric", panel["title"]);
            }
        }
    }
}

#[test]
fn every_expression_of_the_dashboard_is_one() {
    let dashboard = dashboard();
    let mut text = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for panel in panels(&dashboard) {
        for (number, expression) in expressions(panel).enumerate() {
            let expression = expression.replace("$__rate_interval", "5m").replace("$job", ".*");
            assert!(!expression.contains('$'), "an unknown variable: {expression}");
            let name = format!("panel:{}:{number}", panel["id"]);
            let _ =
                writeln!(text, "      - record: {name}\n        expr: {}", Value::from(expression));
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dashboard.yaml");
    fs::write(&path, text).expect("written");
    promtool(&["check", "rules", &path.display().to_string()]);
}

#[test]
fn the_dashboard_is_as_dashboards_should_be() {
    let dashboard = dashboard();
    assert_eq!(
        (&dashboard["uid"], &dashboard["editable"]),
        (&Value::from("snodo-overview"), &false.into())
    );
    let all = dashboard["panels"].as_array().expect("panels");
    assert_eq!(all[0]["title"], "Is anything wrong?", "the first row answers that");
    let ids: BTreeSet<u64> = all.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), all.len(), "every panel has an id of its own");
    let words =
        |value: &Value| value.as_str().is_some_and(|text| !text.is_empty() && text.is_ascii());
    for panel in panels(&dashboard) {
        let unit = &panel["fieldConfig"]["defaults"]["unit"];
        assert!(words(&panel["title"]) && words(&panel["description"]) && words(unit), "{panel}");
        let sources = panel["targets"].as_array().into_iter().flatten().chain([panel]);
        for source in sources.map(|of| &of["datasource"]["uid"]) {
            assert_eq!(source, "${datasource}", "no data source is named: {}", panel["title"]);
        }
        for expression in expressions(panel) {
            let over = expression.matches('[').count();
            assert_eq!(over, expression.matches("[$__rate_interval]").count(), "{expression}");
            let own = expression.contains("snodo_") || expression.contains("process_");
            assert!(!own || expression.contains("job=~\"$job\""), "of every job: {expression}");
        }
    }
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<&str> = variables.iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "job"]);
}

#[test]
fn the_dashboard_is_red_where_an_alert_fires() {
    let dashboard = dashboard();
    let threshold = |title: &str| {
        let panel = panels(&dashboard).into_iter().find(|panel| panel["title"] == title);
        let steps =
            panel.expect("the panel")["fieldConfig"]["defaults"]["thresholds"]["steps"].clone();
        steps.as_array().and_then(|steps| steps.last()?["value"].as_f64()).expect("a threshold")
    };
    let rules = rules();
    let limit = |alert: &str| {
        let rule = rules.iter().find(|rule| rule["alert"] == alert).expect("the alert");
        let expression = rule["expr"].as_str().unwrap_or_default();
        let limit = expression.split_whitespace().skip_while(|word| *word != ">").nth(1);
        limit.and_then(|limit| limit.parse::<f64>().ok()).expect("a number")
    };
    for (title, alert) in [
        ("Oldest open delivery", "SnodoMessageStuck"),
        ("Oldest open delivery of each route", "SnodoMessageStuck"),
        ("Oldest not published", "SnodoOutboxBacklog"),
        ("Oldest in each inbox", "SnodoInboxNotFetched"),
    ] {
        assert!((threshold(title) - limit(alert)).abs() < f64::EPSILON, "{title} and {alert}");
    }
}
