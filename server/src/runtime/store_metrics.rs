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
        let about = "End of the last complete scrub, in seconds since 1970";
        let name = "scrub_last_completion_timestamp_seconds";
        self.gauge(encoder, name, about, scrub(|last| last.finished))?;
        let about = "Damaged files that the last complete scrub found";
        self.gauge(encoder, "scrub_damaged_files", about, scrub(|last| last.damaged))?;
        let about = "1 while the store is read-only after a failed fsync";
        let suspect = |store: &Store| store.is_suspect().ok().map(u64::from);
        self.gauge(encoder, "store_suspect", about, suspect)?;
        let about = "Files in quarantine";
        self.gauge(encoder, "quarantined_files", about, |store| store.count_quarantined().ok())
    }
}
