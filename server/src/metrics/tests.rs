use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use super::*;

fn line<'a>(text: &'a str, start: &str) -> &'a str {
    let mut lines = text.lines().filter(|line| line.starts_with(start));
    let line = lines.next().unwrap_or_else(|| panic!("no {start} in\n{text}"));
    assert!(lines.next().is_none(), "{start} is there twice");
    line
}

/// Metrics encodes each observation in seconds and bytes, with its labels.
#[test]
fn metrics_encode_observations_in_base_units() {
    let metrics = Metrics::new(2, "sendfile");
    let worker = metrics.worker(1).unwrap();
    worker.turn(Duration::from_micros(1));
    worker.turn(Duration::from_nanos(1001));
    worker.turn(Duration::from_secs(5));
    worker.step(Duration::from_millis(300));
    worker.load(Duration::from_millis(20));
    worker.write_wait(Duration::from_millis(207));
    worker.sent(1_000_000);
    worker.received(17);
    worker.file_hit();
    worker.file_hit();
    worker.file_miss();
    worker.open_files(3);
    worker.upload_buffers(4);
    worker.answered(RequestKind::Get, Outcome::NotFound);
    worker.answered(RequestKind::HttpGet, Outcome::from(crate::http::Status::PartialContent));
    metrics.endpoints().accepted(Protocol::Http);
    metrics.endpoints().refused(Protocol::Zput, Refusal::Limit);
    metrics.pool(PoolKind::Load).threads(5);
    metrics.pool(PoolKind::Write).queued(6);
    assert!(metrics.worker(2).is_none());
    let text = metrics.encode().unwrap();
    for expected in [
        "zserve_build_info{version=\"0.1.0\"} 1",
        "zserve_connection_turn_seconds_bucket{le=\"0.000001\",worker=\"1\"} 1",
        "zserve_connection_turn_seconds_bucket{le=\"0.000004\",worker=\"1\"} 2",
        "zserve_connection_turn_seconds_bucket{le=\"4.194304\",worker=\"1\"} 2",
        "zserve_connection_turn_seconds_bucket{le=\"+Inf\",worker=\"1\"} 3",
        "zserve_connection_turn_seconds_count{worker=\"1\"} 3",
        "zserve_connection_turn_seconds_sum{worker=\"1\"} 5.000002001",
        "zserve_connection_turn_seconds_count{worker=\"0\"} 0",
        "zserve_engine_step_seconds_sum{worker=\"1\",engine=\"sendfile\"} 0.3",
        "zserve_page_cache_load_seconds_sum{worker=\"1\"} 0.02",
        "zserve_socket_write_wait_seconds_bucket{le=\"0.065536\",worker=\"1\"} 0",
        "zserve_socket_write_wait_seconds_bucket{le=\"0.262144\",worker=\"1\"} 1",
        "zserve_sent_bytes_total{worker=\"1\"} 1000000",
        "zserve_received_bytes_total{worker=\"1\"} 17",
        "zserve_open_file_cache_hits_total{worker=\"1\"} 2",
        "zserve_open_file_cache_misses_total{worker=\"1\"} 1",
        "zserve_open_files{worker=\"1\"} 3",
        "zserve_upload_buffers{worker=\"1\"} 4",
        "zserve_requests_total{worker=\"1\",kind=\"get\",outcome=\"not_found\"} 1",
        "zserve_requests_total{worker=\"1\",kind=\"http_get\",outcome=\"partial\"} 1",
        "zserve_connections_accepted_total{protocol=\"http\"} 1",
        "zserve_connections_refused_total{protocol=\"zput\",reason=\"limit\"} 1",
        "zserve_pool_threads{pool=\"load\"} 5",
        "zserve_pool_queued{pool=\"write\"} 6",
    ] {
        let start = expected.rsplit_once(' ').unwrap().0;
        assert_eq!(line(&text, &format!("{start} ")), expected);
    }
    // What never happened has no line of its own, or there would be hundreds.
    assert!(!text.contains("kind=\"delete\""));
    assert!(text.ends_with("# EOF\n"));
}

/// The connections gauge counts a connection until its guard is dropped.
#[test]
fn metrics_connection_gauge_follows_guard() {
    let metrics = Metrics::new(1, "copy");
    let worker = metrics.worker(0).unwrap();
    let first = worker.connected(Protocol::Zput);
    let second = worker.connected(Protocol::Zput);
    let zput = "zserve_connections{worker=\"0\",protocol=\"zput\"} ";
    let http = "zserve_connections{worker=\"0\",protocol=\"http\"} ";
    assert!(line(&metrics.encode().unwrap(), zput).ends_with(" 2"));
    drop(first);
    let text = metrics.encode().unwrap();
    assert!(line(&text, zput).ends_with(" 1") && line(&text, http).ends_with(" 0"));
    drop(second);
    assert!(line(&metrics.encode().unwrap(), zput).ends_with(" 0"));
}

/// docs/OPERATIONS.md, "Health and metrics".
#[test]
fn operations_page_lists_every_metric() {
    let page = include_str!("../../../docs/OPERATIONS.md");
    let text = Metrics::new(1, "sendfile").encode().unwrap();
    let mut found = 0;
    for line in text.lines() {
        let mut words = line.split(' ');
        if let (Some("#"), Some("TYPE"), Some(name), Some(kind)) =
            (words.next(), words.next(), words.next(), words.next())
        {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            assert!(page.contains(&format!("`{name}{suffix}`")), "{name}{suffix}");
            found += 1;
        }
    }
    assert_eq!(found, 20);
}

/// Workers share no line of a cache.
#[test]
fn worker_metrics_share_no_cache_line() {
    assert_eq!(align_of::<WorkerMetrics>(), 128);
}

/// 50 ns is what a lock would cost. Quarter of a million observations, so that a pause of this
/// machine is not what is measured; the best of five rounds.
#[test]
fn metrics_observation_takes_less_than_200_ns() {
    const ROUND: u32 = 50_000;
    let best = |observe: &dyn Fn(Duration)| {
        let round = |_| {
            let start = Instant::now();
            for n in 0..ROUND {
                observe(black_box(Duration::from_nanos(n.into())));
            }
            start.elapsed() / ROUND
        };
        (0..5).map(round).min().unwrap()
    };
    let worker = Metrics::new(1, "sendfile").worker(0).unwrap();
    let theirs = prometheus_client::metrics::histogram::Histogram::new(
        (0..12).map(|n| 1e-6 * 4_f64.powi(n)),
    );
    let theirs = best(&|took| theirs.observe(took.as_secs_f64()));
    let best = best(&|took| worker.turn(took));
    eprintln!("an observation: {best:?}; by a histogram of prometheus-client: {theirs:?}");
    assert!(best < Duration::from_nanos(200), "{best:?}");
}
