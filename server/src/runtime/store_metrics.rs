//! Metrics of the stores. Their files are read when the metrics are scraped; nothing is counted in
//! between.

use std::fmt;

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::MetricType};

use crate::{
    mounts::{Mounts, Source},
    store::{LastScrub, Store},
};

/// The stores of a server, with the names of their mounts.
#[derive(Debug)]
pub(crate) struct StoreGauges(Vec<(String, Store)>);

impl StoreGauges {
    pub(crate) fn of(mounts: &Mounts) -> Self {
        let stores = mounts.iter().filter_map(|point| match point.source() {
            Source::Store(store) => Some((point.name().to_owned(), store.clone())),
            Source::Dir(_) | Source::Tar(_) => None,
        });
        Self(stores.collect())
    }

    /// A gauge for each store for which `of` returns a value.
    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        about: &str,
        of: impl Fn(&Store) -> Option<u64>,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, about, None, MetricType::Gauge)?;
        for (mount, store) in &self.0 {
            if let Some(value) = of(store) {
                family.encode_family(&[("mount", mount.as_str())])?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

impl Collector for StoreGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A store whose file cannot be read has no value: a scrape cannot report an error.
        let scrub = |of: fn(LastScrub) -> u64| {
            move |store: &Store| store.last_scrub().ok().flatten().map(of)
        };
        let encoder = &mut encoder;
        let about = "When the last scrub of all files ended, in seconds since 1970";
        self.gauge(encoder, "scrub_finished_seconds", about, scrub(|last| last.finished))?;
        let about = "Files that it found damaged";
        self.gauge(encoder, "scrub_damaged", about, scrub(|last| last.damaged))?;
        let about = "Whether it takes no writes because a sync has failed";
        self.gauge(encoder, "suspect", about, |store| store.is_suspect().ok().map(u64::from))?;
        let about = "Files that were set aside";
        self.gauge(encoder, "quarantined", about, |store| store.count_quarantined().ok())
    }
}
