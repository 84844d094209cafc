//! The permit of a peer without a key, and what that peer has to do to keep it (PROTOCOL 9).

use std::time::{Duration, Instant};

use super::settings::Settings;
use crate::{
    limits::{Permit, Semaphore},
    metrics::RequestKind,
};

/// The permit, for a connection whose peer turns out to have no key.
#[derive(Debug)]
pub(super) struct AnonymousPermit {
    permit: Option<Permit>,
    /// When a peer that sends no request is disconnected; `None` if it never is.
    idle_until: Option<Instant>,
    /// Time in which the peer must send a request.
    idle: Duration,
    /// Whether the request being served was allowed and keeps the permit.
    is_kept: bool,
    /// Whether the upload made no progress for the idle time, so that the permit was given up.
    stalled: bool,
}

impl AnonymousPermit {
    /// Without a permit. The first request is due by `until`.
    pub(super) fn new(settings: &Settings, until: Instant) -> Self {
        Self {
            permit: None,
            idle_until: settings.must_request.then_some(until),
            idle: Duration::from_secs(settings.session.limits.idle_seconds.into()),
            is_kept: false,
            stalled: false,
        }
    }

    /// Takes a permit, if one is free. Returns whether it was.
    pub(super) fn acquire(&mut self, all: &Semaphore) -> bool {
        self.permit = all.try_acquire();
        self.permit.is_some()
    }

    /// Notes the request that is served from now on; `None` for one that was not allowed.
    pub(super) fn begin(&mut self, request: Option<(RequestKind, bool)>) {
        self.is_kept =
            request.is_some_and(|(kind, upload_is_open)| keeps_permit(kind, upload_is_open));
    }

    /// Notes progress of the response. An upload that had stood still needs a permit again. Returns
    /// whether it has one.
    pub(super) fn progressed(&mut self, all: &Semaphore, now: Instant) -> bool {
        if !self.is_kept {
            return true;
        }
        if let Some(until) = &mut self.idle_until {
            *until = now + self.idle;
        }
        !std::mem::take(&mut self.stalled) || self.acquire(all)
    }

    /// When a peer that sends no request is disconnected, or its upload has stalled.
    pub(super) const fn idle_until(&self) -> Option<Instant> {
        self.idle_until
    }

    /// Gives the permit up, because the upload makes no progress.
    pub(super) fn stall(&mut self) {
        self.stalled = true;
        self.permit = None;
    }

    /// Whether it was given up for that.
    pub(super) const fn is_stalled(&self) -> bool {
        self.stalled
    }
}

/// Whether a request keeps the permit of a peer without a key. While an upload is open it must be
/// about that.
const fn keeps_permit(kind: RequestKind, upload_is_open: bool) -> bool {
    match kind {
        RequestKind::Ping | RequestKind::Mount => false,
        RequestKind::Begin
        | RequestKind::Resume
        | RequestKind::Claim
        | RequestKind::Slice
        | RequestKind::Commit
        | RequestKind::Abort => true,
        _ => !upload_is_open,
    }
}
