//! Conditional requests (13): entity tags, dates, and their precedence.

use super::{date::HttpTime, field::FieldValue};

/// The strong entity tag of an object: equal tags mean equal bytes (8.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a>(&'a str);

impl<'a> EntityTag<'a> {
    /// The tag that is `opaque` between quotes; `None` where a tag cannot contain it: it may
    /// consist only of visible ASCII other than `"`.
    #[must_use]
    pub fn strong(opaque: &'a str) -> Option<Self> {
        let valid = opaque.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        valid.then_some(Self(opaque))
    }

    /// What is between the quotes.
    #[must_use]
    pub const fn opaque(self) -> &'a str {
        self.0
    }
}

/// The conditions of a request, as the values of their fields.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub(super) if_match: FieldValue,
    pub(super) if_none_match: FieldValue,
    pub(super) if_modified_since: FieldValue,
    pub(super) if_unmodified_since: FieldValue,
    pub(super) if_range: FieldValue,
}

/// The result of a request's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The request is performed.
    Perform,
    /// The client has these bytes: 304.
    NotModified,
    /// The client meant other bytes: 412.
    Failed,
}

impl Conditions {
    /// The order of 13.2.2, for GET and HEAD of what is there.
    pub(super) fn evaluate(&self, current: EntityTag<'_>, modified: Option<HttpTime>) -> Outcome {
        if let Some(list) = self.if_match.get() {
            if !matches(list, current, Comparison::Strong) {
                return Outcome::Failed;
            }
        } else if let (Some(since), Some(modified)) = (date(&self.if_unmodified_since), modified)
            && modified > since
        {
            return Outcome::Failed;
        }
        if let Some(list) = self.if_none_match.get() {
            if matches(list, current, Comparison::Weak) {
                return Outcome::NotModified;
            }
        } else if let (Some(since), Some(modified)) = (date(&self.if_modified_since), modified)
            && modified <= since
        {
            return Outcome::NotModified;
        }
        Outcome::Perform
    }

    /// 13.1.5: "if the representation is unchanged, send me the part(s) that I am requesting in
    /// Range; otherwise, send me the entire representation."
    ///
    /// `last_modified` is what a response says now, so no date that this server would not send
    /// fits: see [`last_modified`].
    pub(super) fn range_applies(
        &self,
        current: EntityTag<'_>,
        last_modified: Option<HttpTime>,
    ) -> bool {
        match self.if_range.get() {
            None => true,
            Some(value) => match Tag::split(value) {
                // "A client MUST NOT generate an If-Range header field containing an entity tag
                // that is marked as weak": it matches nothing.
                Some((tag, [])) => tag.is(current, Comparison::Strong),
                Some(_) => false,
                // "it must be an exact match, not an earlier-than or equal-to"
                None => last_modified.is_some() && HttpTime::parse(value) == last_modified,
            },
        }
    }

    pub(super) fn reset(&mut self) {
        self.if_match.reset();
        self.if_none_match.reset();
        self.if_modified_since.reset();
        self.if_unmodified_since.reset();
        self.if_range.reset();
    }
}

/// What a response says in `Last-Modified`: nothing for an object that has changed in the current
/// second or later.
///
/// 8.8.2.1: "An origin server with a clock MUST NOT generate a Last-Modified date that is later
/// than the server's time of message origination". And what was sent within the second that it
/// names could change again within it; left out then, all dates that are sent are strong validators
/// (8.8.2.2), and If-Range may trust them.
pub(super) fn last_modified(modified: Option<HttpTime>, now: HttpTime) -> Option<HttpTime> {
    modified.filter(|modified| *modified < now)
}

/// 13.1.3, 13.1.4: "A recipient MUST ignore" these fields if their "value is not a valid
/// HTTP-date", which a list of dates is not.
fn date(field: &FieldValue) -> Option<HttpTime> {
    field.get().and_then(HttpTime::parse)
}

/// How tags are compared (8.8.3.2).
#[derive(Clone, Copy, Debug)]
enum Comparison {
    /// "both are not weak and their opaque-tags match character-by-character"
    Strong,
    /// "their opaque-tags match character-by-character, regardless of either or both being tagged
    /// as weak"
    Weak,
}

/// Whether the value of an If-Match or If-None-Match field, `"*" / #entity-tag`, names `current`. A
/// value that is neither matches nothing: If-Match then fails, and If-None-Match holds.
fn matches(list: &[u8], current: EntityTag<'_>, comparison: Comparison) -> bool {
    let mut rest = list.trim_ascii();
    if rest == b"*" {
        return true;
    }
    let mut found = false;
    loop {
        // 5.6.1.2: "a recipient MUST parse and ignore a reasonable number of empty list elements".
        // The head's bound is the bound.
        while let [b' ' | b'\t' | b',', behind @ ..] = rest {
            rest = behind;
        }
        if rest.is_empty() {
            return found;
        }
        let Some((tag, behind)) = Tag::split(rest) else { return false };
        found |= tag.is(current, comparison);
        rest = behind.trim_ascii_start();
        if !matches!(rest, [] | [b',', ..]) {
            return false;
        }
    }
}

/// A tag that a client sent.
struct Tag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl<'a> Tag<'a> {
    /// The tag that `value` begins with, and what is behind it.
    ///
    /// 8.8.3: `entity-tag = [ weak ] opaque-tag`, `weak = %s"W/"`, `opaque-tag = DQUOTE *etagc
    /// DQUOTE`, `etagc = %x21 / %x23-7E / obs-text`.
    fn split(value: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (weak, rest) = match value.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, value),
        };
        let quoted = rest.strip_prefix(b"\"")?;
        let end = quoted.iter().position(|byte| *byte == b'"')?;
        let (opaque, behind) = quoted.split_at(end);
        let valid = opaque.iter().all(|byte| byte.is_ascii_graphic() || *byte >= 0x80);
        valid.then_some((Self { weak, opaque }, behind.get(1..)?))
    }

    fn is(&self, current: EntityTag<'_>, comparison: Comparison) -> bool {
        let comparable = match comparison {
            Comparison::Strong => !self.weak,
            Comparison::Weak => true,
        };
        comparable && self.opaque == current.0.as_bytes()
    }
}
