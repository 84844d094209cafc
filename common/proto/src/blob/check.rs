//! What a server checks of a blob without a key (FORMAT 14 and 15).
//!
//! A server asks [`header`] with `Begin`, `Resume` and `Commit`, [`footer`] with `Commit`,
//! [`reseal`] with `Reseal`, and [`may_replace`] with all four. What is refused with a
//! [`CheckError`] is malformed; a [`HeaderVerdict`] has an answer of its own. PROTOCOL, "Condition,
//! owner, order", has the sequence: `Stale`, then owner and condition, then `Older` and `Future`.

use thiserror::Error;

use super::body_digest::BodyDigest;
use super::front::{Front, FrontError};
use super::header::Header;
use super::references::PACK_ID_BYTES;
use super::shape::Content;
use super::slices::{SlicesError, check_slices};
use super::tail::Tail;
use super::transcript::Transcript;
use crate::digest::Digest;
use crate::envelope::{Layout, TooManyParts};
use crate::keys::AlgorithmError;
use crate::name::ObjectKey;
use crate::vault::{
    Certificate, CertificateError, Epoch, Held, Order, Scopes, State, may_replace as is_owner,
};

/// The vault of the request's address, and as whom the connection may name it. Exhaustive: a server
/// has to decide which it is.
#[derive(Clone, Copy, Debug)]
pub enum Entered<'a> {
    /// The address has no vault: only a bare blob belongs there.
    NoVault,
    /// A device entered the vault with this certificate, the connection's.
    Device(Held<'a>),
    /// A peer without a key entered the vault with this state.
    Anonymous(&'a State),
}

/// The object of the request's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object<'a> {
    /// What is stored under an object key.
    Key(&'a ObjectKey),
    /// The pack with this id.
    Pack(&'a [u8; PACK_ID_BYTES]),
}

/// What a header has to fit. Exhaustive: a server has to know each of these.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The vault of the request's address.
    pub vault: Entered<'a>,
    /// The object of the request's address.
    pub object: Object<'a>,
    /// Whether the server keeps packs and folders (PROTOCOL 8).
    pub keeps_packs: bool,
    /// The order of the current version or, where there is none, of the version that the last
    /// delete ended, as far as this one is sealed and intact.
    pub before: Option<Order>,
    /// The server's clock, in ns since 1970.
    pub now: u64,
}

/// What a server answers about a well-formed header. Each but `Good` leaves an upload open: the
/// client makes another header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum HeaderVerdict {
    /// The header can be committed.
    Good,
    /// Epoch, charter tag or the epoch of the stanzas is not the one in force.
    Stale,
    /// The order is not above that of the version in the way.
    Older,
    /// The generation is more than 24 hours ahead of the server's clock.
    Future,
}

/// Why an object cannot become current: no reader could accept it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The blob is of another vault than the address, or of none, or the address is of none.
    #[error("the blob is not of the vault under whose address it came")]
    OtherVault,
    /// The blob was sealed for another key, or for none.
    #[error("the blob was not sealed for the key under which it came")]
    OtherKey,
    /// No name of the vault has this key, so no reader could accept the blob.
    #[error("no name of the vault has this key")]
    Key,
    /// A pack came under a key, or another blob under the id of a pack.
    #[error("only a pack is stored under the id of a pack, and it is stored nowhere else")]
    NoPack,
    /// The server keeps no blobs of this content.
    #[error("blobs of content {} are not kept here", .0.number())]
    Content(Content),
    /// A header of a bare blob came with a vault's tail, or the other way round.
    #[error("either of header and tail is of a bare blob")]
    Bare,
    /// The certificate does not hold, or does not count for this blob.
    #[error("the certificate does not vouch for the blob")]
    Certificate(#[source] CertificateError),
    /// The certificate is not the one with which the device entered the vault.
    #[error("the certificate is not the one with which the device entered the vault")]
    OtherCertificate,
    /// The signature does not hold.
    #[error("the writer's signature is refused")]
    Signature(#[source] AlgorithmError),
    /// The plaintext needs more parts than a blob has.
    #[error(transparent)]
    TooManyParts(#[from] TooManyParts),
    /// The length of the footer is not that of front and tail.
    #[error("the tail says that {stated} bytes are before it, and {found} are")]
    FrontLength {
        /// Bytes of the front, by the tail.
        stated: u32,
        /// Bytes of the front.
        found: usize,
    },
    /// The front is refused.
    #[error("the front of the footer is refused")]
    Front(#[from] FrontError),
    /// The body digest of the tail is not that of header, tail and front.
    #[error("the tail has another body digest than its front")]
    BodyDigest,
    /// The slices of the body are not what the front says.
    #[error("the body is not the one of the footer")]
    Slices(#[from] SlicesError),
    /// A reseal is for another body than that of its base.
    #[error("the new header and tail are not of the body of their base")]
    OtherBody,
    /// A reseal has the transcript of its base and another tail.
    #[error("a change of stanzas alone keeps the tail, and this one is another")]
    OtherTail,
}

/// Checks a well-formed header by what FORMAT 14 says "Of a **header**".
///
/// # Errors
/// When the object is malformed for a reason that no other answer has.
pub fn header(header: &Header, asked: &Asked<'_>) -> Result<HeaderVerdict, CheckError> {
    check_address(header, asked)?;
    if is_stale(header, asked.vault) {
        return Ok(HeaderVerdict::Stale);
    }
    if let Entered::Device(held) = asked.vault {
        // "the connection's certificate counts for this header (section 12), its prefix aside: it
        // has the put bit, and the generation keeps to its `not_after`"
        held.counts(header.fields().core.order).map_err(CheckError::Certificate)?;
    }
    Ok(order_verdict(header, asked))
}

/// What a server knows of a whole blob: a value of it is what [`footer`] leaves behind.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    layout: Layout,
    front: Front<'a>,
    transcript: Transcript,
}

impl<'a> Checked<'a> {
    /// Where the parts are.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// The front of the footer.
    #[must_use]
    pub const fn front(&self) -> Front<'a> {
        self.front
    }

    /// The transcript, over which the signature holds where there is one.
    #[must_use]
    pub const fn transcript(&self) -> Transcript {
        self.transcript
    }
}

/// Checks a footer by what FORMAT 14 says "Of a **footer**, once it is whole": `front` came as
/// slices and `tail` in a frame. `slices` are all slices of the upload in their order, by length
/// and digest: each part is one, and the front one or more. `now` is the server's clock, in ns
/// since 1970. The header has been checked.
///
/// # Errors
/// Says which rule it breaks.
pub fn footer<'a>(
    header: &Header,
    front: &'a [u8],
    tail: &Tail,
    slices: impl IntoIterator<Item = (u32, Digest)>,
    vault: Entered<'_>,
    now: u64,
) -> Result<Checked<'a>, CheckError> {
    check_front_length(tail, front.len())?;
    let shape = header.fields().core.shape;
    let total_length = tail.fields().total_length;
    let layout = Layout::new(header.length(), shape.part_size, total_length)?;
    let front = Front::parse(front, layout.parts(), shape.content)?;
    let transcript = check_writer(header, tail, vault, now)?;
    if tail.fields().body_digest != BodyDigest::of(shape, total_length, &front) {
        return Err(CheckError::BodyDigest);
    }
    check_slices(layout, &front, slices)?;
    Ok(Checked { layout, front, transcript })
}

/// What a new header and tail over an old body change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something that the transcript covers: the device vouches for the blob.
    Anew,
    /// The stanzas alone: header and tail say what they said before, to other recipients.
    Stanzas,
}

/// Checks a new header and tail over the body of `base` by FORMAT 15. `current` is the tail of the
/// current version under the new address, where there is a sealed one.
///
/// A verdict of `Stale` comes before certificate and signature are looked at.
///
/// # Errors
/// Says which rule they break.
pub fn reseal(
    base: (&Header, &Tail),
    new: (&Header, &Tail),
    asked: &Asked<'_>,
    current: Option<&Tail>,
) -> Result<(HeaderVerdict, Change), CheckError> {
    let (new_header, tail) = new;
    check_address(new_header, asked)?;
    check_same_body(base, new)?;
    let transcript = Transcript::of(new_header, tail.fields());
    if transcript != Transcript::of(base.0, base.1.fields()) {
        let verdict = header(new_header, asked)?;
        if verdict != HeaderVerdict::Stale {
            check_writer(new_header, tail, asked.vault, asked.now)?;
        }
        return Ok((verdict, Change::Anew));
    }
    // FORMAT 15: "the tail must be the base's byte for byte, `stanza_epoch` must be the epoch in
    // force"
    if tail.as_bytes() != base.1.as_bytes() {
        return Err(CheckError::OtherTail);
    }
    if has_stale_stanzas(new_header, asked.vault) {
        return Ok((HeaderVerdict::Stale, Change::Stanzas));
    }
    let is_current = current.is_some_and(|current| current.as_bytes() == tail.as_bytes());
    let verdict = if is_current { HeaderVerdict::Good } else { order_verdict(new_header, asked) };
    Ok((verdict, Change::Stanzas))
}

/// The owner rule of FORMAT 14: whether a put or a reseal may replace the current version. `tail`
/// is the new tail's certificate and `granted` what the server grants the connection: the ceiling
/// of its device, or the scopes that the mount gives to peers without a key.
///
/// `current` is the certificate and the epoch of the current version; `None` where it is none, a
/// plain object or corrupt, so nobody's.
#[must_use]
pub fn may_replace(
    vault: Entered<'_>,
    tail: &Certificate,
    granted: Scopes,
    change: Change,
    current: Option<(&Certificate, Epoch)>,
) -> bool {
    let (own, state) = match vault {
        // An object of no vault has no owner.
        Entered::NoVault => return true,
        Entered::Device(held) => (held.certificate(), held.state()),
        // "a change of stanzas alone needs that the mount gives it"
        Entered::Anonymous(_) if change == Change::Stanzas && !granted.allows(Scopes::REPLACE) => {
            return false;
        }
        Entered::Anonymous(state) => (tail, state),
    };
    let has_replace = own.fields().scopes.intersect(granted).allows(Scopes::REPLACE);
    current.is_none_or(|current| has_replace || is_owner(own, current, state))
}

/// "`vault` is that of the request's address: a vault that was entered, or zeros, which makes the
/// blob a bare one; the key, and whether it is a pack's, are those of the request"
fn check_address(header: &Header, asked: &Asked<'_>) -> Result<(), CheckError> {
    let core = &header.fields().core;
    if core.vault.map(|of| of.id).as_ref() != asked.vault.state().map(State::vault) {
        return Err(CheckError::OtherVault);
    }
    let content = core.shape.content;
    let asked_key = match (asked.object, content) {
        (Object::Key(key), Content::File | Content::Folder) => key.as_bytes(),
        (Object::Pack(id), Content::Pack) => id,
        _ => return Err(CheckError::NoPack),
    };
    if core.key.as_ref().map(ObjectKey::as_bytes) != Some(asked_key) {
        return Err(CheckError::OtherKey);
    }
    if content != Content::File && !asked.keeps_packs {
        return Err(CheckError::Content(content));
    }
    match asked.vault.state() {
        Some(state) if content != Content::Pack && !is_key_of_name(state, asked_key) => {
            Err(CheckError::Key)
        }
        _ => Ok(()),
    }
}

/// "the key is one that a name of the vault can have (section 10): 64 lower-case hex digits where
/// names are sealed, and a name where they are clear". A clear name of more than 1,024 bytes is no
/// key at all.
fn is_key_of_name(state: &State, key: &[u8]) -> bool {
    if state.fields().has_clear_names {
        let is_component = |component: &[u8]| !matches!(component, b"" | b"." | b"..");
        !key.contains(&0) && key.split(|byte| *byte == b'/').all(is_component)
    } else {
        key.len() == SEALED_KEY_BYTES
            && key.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

/// "`epoch`, `charter_tag` and `stanza_epoch` are those in force, else `Stale`"
fn is_stale(header: &Header, vault: Entered<'_>) -> bool {
    let core = &header.fields().core;
    vault.state().is_some_and(|state| {
        core.order.epoch() != state.epoch()
            || core.vault.map(|of| of.charter_tag) != Some(*state.tag())
    }) || has_stale_stanzas(header, vault)
}

fn has_stale_stanzas(header: &Header, vault: Entered<'_>) -> bool {
    vault.state().is_some_and(|state| header.fields().stanza_epoch != state.epoch())
}

/// "the order is above that of the current version …, else `Older`; and the generation is at most
/// the server's clock and 24 hours, or one more than that of such a version of the same epoch, else
/// `Future`". Packs have no order.
fn order_verdict(header: &Header, asked: &Asked<'_>) -> HeaderVerdict {
    let core = &header.fields().core;
    if core.shape.content == Content::Pack {
        return HeaderVerdict::Good;
    }
    if asked.before.is_some_and(|before| core.order <= before) {
        return HeaderVerdict::Older;
    }
    let is_one_more = asked.before.and_then(Order::one_more) == Some(core.order);
    if core.order.generation() > asked.now.saturating_add(DAY) && !is_one_more {
        return HeaderVerdict::Future;
    }
    HeaderVerdict::Good
}

/// Checks certificate and signature, and gives the transcript. Of a bare blob there is neither.
fn check_writer(
    header: &Header,
    tail: &Tail,
    vault: Entered<'_>,
    now: u64,
) -> Result<Transcript, CheckError> {
    let core = &header.fields().core;
    if core.vault.map(|of| of.id).as_ref() != vault.state().map(State::vault) {
        return Err(CheckError::OtherVault);
    }
    let transcript = Transcript::of(header, tail.fields());
    let certificate = tail.fields().certificate.as_ref();
    let (certificate, seal) = match (core.vault, certificate, tail.vault()) {
        (None, None, None) => return Ok(transcript),
        (Some(_), Some(certificate), Some(seal)) => (certificate, seal),
        _ => return Err(CheckError::Bare),
    };
    let held = match vault {
        Entered::NoVault => return Err(CheckError::OtherVault),
        // "the certificate is the connection's, byte for byte"
        Entered::Device(own) if own.certificate().as_bytes() != certificate.as_bytes() => {
            return Err(CheckError::OtherCertificate);
        }
        Entered::Device(own) => own,
        // "the certificate is any that counts under the charter for this header, …, and that has
        // not ended by the server's clock"
        Entered::Anonymous(state) => {
            let held = certificate.holds_under(state).map_err(CheckError::Certificate)?;
            held.check_date(now / SECOND).map_err(CheckError::Certificate)?;
            held
        }
    };
    let counts = held.counts(core.order).map_err(CheckError::Certificate)?;
    transcript.verify(counts.writer(), &seal.signature).map_err(CheckError::Signature)?;
    Ok(transcript)
}

/// "suite, part size, content, `total_length` and `body_digest` are the base's; so the front is the
/// base's"
fn check_same_body(
    (base, base_tail): (&Header, &Tail),
    (header, tail): (&Header, &Tail),
) -> Result<(), CheckError> {
    let is_same = base.fields().core.shape == header.fields().core.shape
        && base_tail.fields().total_length == tail.fields().total_length
        && base_tail.fields().body_digest == tail.fields().body_digest;
    if !is_same {
        return Err(CheckError::OtherBody);
    }
    check_front_length(tail, base_tail.end().front_length() as usize)
}

fn check_front_length(tail: &Tail, found: usize) -> Result<(), CheckError> {
    let stated = tail.end().front_length();
    if stated as usize == found { Ok(()) } else { Err(CheckError::FrontLength { stated, found }) }
}

impl<'a> Entered<'a> {
    /// The state in force of the vault; `None` where there is no vault.
    fn state(self) -> Option<&'a State> {
        match self {
            Self::NoVault => None,
            Self::Device(held) => Some(held.state()),
            Self::Anonymous(state) => Some(state),
        }
    }
}

/// Bytes of the object key of a sealed name.
const SEALED_KEY_BYTES: usize = 64;
/// How far a generation may be ahead of the server's clock, in ns.
const DAY: u64 = 24 * 3600 * SECOND;
/// In ns.
const SECOND: u64 = 1_000_000_000;
