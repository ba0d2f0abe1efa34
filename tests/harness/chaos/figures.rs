//! What a bus shows on `/metrics`, read back, and the two equations over it.
//!
//! Invariant: a series that is not there counts as zero.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use crate::client::{Client, get};

/// The numbers of a scrape, by name and labels as they are written.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<Figure>);

#[derive(Clone, Debug)]
struct Figure {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Which series of deliveries are a bucket, by its word; in the order of the ledger's numbers.
pub const BUCKETS: [&str; 6] =
    ["open", "parked", "uncertain", "completed", "filtered", "discarded"];

impl Client {
    /// What a bus shows; this client is one of its port for metrics.
    pub async fn figures(&mut self) -> io::Result<Figures> {
        let answer = self.send(&get("/metrics", "")).await?;
        Ok(Figures::read(&String::from_utf8_lossy(&answer.body)))
    }
}

impl Figures {
    /// Reads the text format.
    pub fn read(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(figure).collect())
    }

    /// The sum of the series of `name` that have all of `labels`.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        let fits = |figure: &&Figure| {
            figure.name == name
                && labels
                    .iter()
                    .all(|(key, value)| figure.labels.get(*key).is_some_and(|v| v == value))
        };
        let sum: f64 = self.0.iter().filter(fits).map(|figure| figure.value).sum();
        #[expect(clippy::cast_possible_truncation, reason = "counts are whole and far below 2^53")]
        let sum = sum.round() as i64;
        sum
    }

    /// Deliveries open, whoever is owed them.
    pub fn open(&self) -> i64 {
        self.sum("snodo_deliveries", &[("state", "open")])
    }

    /// Deliveries that wait for a person to say what a call did.
    pub fn uncertain(&self) -> i64 {
        self.sum("snodo_deliveries", &[("state", "uncertain")])
    }

    /// Deliveries in a bucket, per route: as the rows would be counted.
    pub fn deliveries(&self) -> BTreeMap<(String, String), i64> {
        let mut all = BTreeMap::new();
        for route in self.values_of("snodo_deliveries_created_total", "route") {
            for bucket in BUCKETS {
                let labels = [("route", route.as_str()), ("state", bucket)];
                let n = self.sum("snodo_deliveries", &labels)
                    + self.sum("snodo_deliveries_ended_total", &labels);
                if n != 0 {
                    all.insert((route.clone(), bucket.to_owned()), n);
                }
            }
        }
        all
    }

    /// Messages accepted, per source.
    pub fn accepted(&self) -> BTreeMap<String, i64> {
        let name = "snodo_messages_accepted_total";
        let sources = self.values_of(name, "source").into_iter();
        let counted = sources.map(|source| {
            let n = self.sum(name, &[("source", &source)]);
            (source, n)
        });
        counted.filter(|(_, n)| *n != 0).collect()
    }

    fn values_of(&self, name: &str, label: &str) -> BTreeSet<String> {
        let of_name = self.0.iter().filter(|figure| figure.name == name);
        of_name.filter_map(|figure| figure.labels.get(label).cloned()).collect()
    }

    /// Where an equation does not hold: received = accepted + rejected per source; created = open +
    /// parked + uncertain + completed + filtered + discarded per route.
    pub fn broken_equations(&self) -> Vec<String> {
        let sources = self.values_of("snodo_messages_received_total", "source");
        let messages = sources.iter().filter_map(|source| {
            let n = |word: &str| {
                self.sum(&format!("snodo_messages_{word}_total"), &[("source", source)])
            };
            let (received, ended) = (n("received"), n("accepted") + n("rejected"));
            (received != ended).then(|| {
                format!("of {source} {received} received but {ended} accepted or rejected")
            })
        });
        let owed = self.deliveries();
        let routes = self.values_of("snodo_deliveries_created_total", "route");
        let deliveries = routes.iter().filter_map(|route| {
            let created = self.sum("snodo_deliveries_created_total", &[("route", route)]);
            let there: i64 = owed.iter().filter(|((r, _), _)| r == route).map(|(_, n)| n).sum();
            (created != there)
                .then(|| format!("for {route} {created} created but {there} somewhere"))
        });
        messages.chain(deliveries).collect()
    }
}

fn figure(line: &str) -> Option<Figure> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    // Label values of the bus are names: no comma, no quote in them.
    let labels = labels
        .trim_end_matches('}')
        .split(',')
        .filter_map(|label| label.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
        .collect();
    Some(Figure { name: name.to_owned(), labels, value })
}
