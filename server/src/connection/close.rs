//! Lingering close: how a connection ends on the server's initiative.
//!
//! The server sends what is queued, stops writing, and for a moment reads and discards what still
//! arrives. Closing a socket with unread bytes would reset the connection, and the reset can
//! overtake the response that says why (RFC 9112, 9.6).

use std::{
    io,
    time::{Duration, Instant},
};

use thiserror::Error;
use zput_proto::session::SessionError;

use crate::transfer::TransferError;

/// Maximum time for closing: more than a round trip around the world and one retransmission.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Maximum bytes discarded while lingering: what a peer may have had on its way, four slices of
/// 16 MiB and their frames. Congestion control may hold the response back while the peer's bytes
/// arrive, and a reset would overtake it.
const LINGER_MAX_BYTES: usize = 80 * 1024 * 1024;

/// The phase of a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Requests are served.
    Open,
    /// Queued bytes are being sent.
    Flushing {
        /// When the connection is closed in any case.
        until: Instant,
    },
    /// The server has shut down its side and waits for the peer to do the same.
    Lingering {
        /// When the connection is closed in any case.
        until: Instant,
        /// Bytes that may still be discarded.
        left: usize,
    },
}

impl Phase {
    /// Whether requests are served.
    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::Open)
    }

    /// Begins to close, unless that has begun.
    pub(crate) fn begin_close(&mut self, now: Instant) {
        if self.is_open() {
            *self = Self::Flushing { until: now + CLOSE_TIME };
        }
    }

    /// Notes that the server has shut down its side: it now waits for the peer.
    pub(crate) const fn linger(&mut self) {
        if let Self::Flushing { until } = *self {
            *self = Self::Lingering { until, left: LINGER_MAX_BYTES };
        }
    }

    /// Counts `n` discarded bytes.
    ///
    /// # Errors
    /// When they are more than the limit.
    pub(crate) fn discard(&mut self, n: usize) -> Result<(), CloseReason> {
        if let Self::Lingering { left, .. } = self {
            *left = left.checked_sub(n).ok_or(CloseReason::Done)?;
        }
        Ok(())
    }

    /// When the time for closing is over, once it has begun.
    pub(crate) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Open => None,
            Self::Flushing { until } | Self::Lingering { until, .. } => Some(until),
        }
    }

    /// Whether the time for closing is over.
    pub(crate) fn is_overdue(self, now: Instant) -> bool {
        self.deadline().is_some_and(|until| until <= now)
    }
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub(crate) enum CloseReason {
    /// Both sides have finished.
    #[error("done")]
    Done,
    /// The peer did not close its side within the time for closing.
    #[error("the peer did not close its side in time")]
    CloseTimeout,
    /// A device without an account did not join in time, or a peer without a key sent no request.
    #[error("a peer without an account sent no Join or request in time")]
    NotRegistered,
    /// The connection limit was reached and a newer connection took the place of this one, whose
    /// peer had not authenticated or whose upload stood still.
    #[error("evicted at the connection limit: not authenticated, or its upload has stalled")]
    Evicted,
    /// No byte moved for the idle time while it was the peer's turn.
    #[error("the peer was idle for too long")]
    Idle,
    /// Fewer bytes moved than the minimum rate asks for while it was the peer's turn.
    #[error("the peer was slower than the minimum rate")]
    Slow,
    /// The socket failed.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The peer stopped in the middle of a message or a slice.
    #[error("truncated: {0}")]
    Truncated(SessionError),
    /// A response could not be encoded.
    #[error("cannot answer: {0}")]
    Encoding(SessionError),
    /// An announced payload could not be sent.
    #[error("cannot send the payload: {0}")]
    Transfer(#[from] TransferError),
    /// An announced payload could not be loaded into memory.
    #[error("cannot load what is to be sent: {0}")]
    Load(#[source] io::Error),
    /// A defect: the connection has nothing to do and nothing to wait for.
    #[error("defect: neither working nor waiting, in {0}")]
    Stuck(&'static str),
}

impl CloseReason {
    /// Whether the peer or the network ended the connection, and nothing is wrong with the server.
    /// Such ends are logged at debug level only: readers disconnect all the time.
    pub(crate) fn is_the_peers(&self) -> bool {
        match self {
            Self::Done
            | Self::CloseTimeout
            | Self::NotRegistered
            | Self::Evicted
            | Self::Idle
            | Self::Slow
            | Self::Socket(_)
            | Self::Truncated(_) => true,
            Self::Transfer(TransferError::Io(failure)) => matches!(
                failure.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::NotConnected
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::NetworkDown
            ),
            Self::Transfer(TransferError::FileEnded { .. } | TransferError::Exhausted)
            | Self::Encoding(_)
            | Self::Load(_)
            | Self::Stuck(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lingering close begins once, and a second begin_close does not extend its deadline.
    #[test]
    fn close_phase_deadline_is_set_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut phase = Phase::Open;
        assert!(!phase.is_overdue(at(1_000_000)));
        phase.linger();
        assert!(phase.is_open(), "nobody lingers who has not said goodbye");
        phase.begin_close(start);
        phase.begin_close(at(1_500));
        phase.linger();
        phase.begin_close(at(1_800));
        assert!(matches!(phase, Phase::Lingering { .. }), "{phase:?}");
        assert!(!phase.is_overdue(at(1_999)) && phase.is_overdue(at(2_000)));
    }

    /// A lingering close discards 80 MiB and ends the connection at the next byte.
    #[test]
    fn lingering_close_discards_at_most_80_mib() {
        let mut phase = Phase::Open;
        phase.begin_close(Instant::now());
        phase.linger();
        phase.discard(83_000_000).unwrap();
        phase.discard(886_080).unwrap();
        assert!(matches!(phase.discard(1), Err(CloseReason::Done)));
    }
}
