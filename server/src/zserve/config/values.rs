//! Values of the file that are more than TOML's: addresses, times, sizes, scopes, prefixes.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use zput_proto::{
    message::Scopes,
    mount::{MountName, MountNameError},
};

use super::MountPrefix;
use crate::{
    runtime::address::ListenAddress,
    transfer::engines::{Engine, UnknownEngine},
};

/// Scopes as a flag or the file writes them.
pub(super) fn scopes(text: &str) -> Result<Scopes, String> {
    text.split(',').try_fold(Scopes::NONE, |all, name| {
        let unknown = || format!("\"{name}\" is no scope: write some of put,get,list,delete");
        Ok(all.and(Scopes::named(name.trim()).ok_or_else(unknown)?))
    })
}

/// A whole number that is at least 1.
pub(super) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("write a whole number of at least 1".to_owned()),
    }
}

/// Bytes a second: a size with its unit, at least one byte.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    match Size::parse(text).map(|Size(bytes)| bytes).or_else(|| text.parse().ok()) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("write a number of bytes, or a size with its unit, such as 100MiB".to_owned()),
    }
}

impl MountPrefix {
    /// Reads a prefix.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = match MountName::parse(text) {
            Ok(name) => return Ok(Self(name)),
            Err(MountNameError::TooLong(_)) => "it has more than 255 bytes",
            Err(MountNameError::Control(_)) => "it has a control character",
            Err(MountNameError::EmptyComponent) if text.starts_with('/') || text.ends_with('/') => {
                "it begins or ends with a slash: leave that out, or write \"\" for the root"
            }
            Err(MountNameError::EmptyComponent) => {
                "a component is empty: write one slash between two components"
            }
            Err(MountNameError::Dots) => "a component is \".\" or \"..\": write the prefix without",
        };
        Err(format!("{text:?} is no prefix: {fault}"))
    }
}

/// `f` of a text.
fn text<'de, T, D: Deserializer<'de>>(
    from: D,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    let text = String::deserialize(from)?;
    read(&text).map_err(de::Error::custom)
}

/// An address to listen on.
pub(super) struct Address(pub(super) ListenAddress);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from, |text| {
            text.parse().map(Self).map_err(|e: crate::runtime::address::AddressError| e.to_string())
        })
    }
}

/// Addresses to listen on: a list, or one of them.
#[derive(Default)]
pub(super) struct Addresses(pub(super) Vec<ListenAddress>);

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Addresses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, such as \"127.0.0.1:7460\", or a list of addresses")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Addresses, E> {
                text.parse().map(|address| Addresses(vec![address])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Addresses, A::Error> {
                let mut all = Vec::new();
                while let Some(Address(address)) = list.next_element()? {
                    all.push(address);
                }
                Ok(Addresses(all))
            }
        }
        from.deserialize_any(Reader)
    }
}

/// The name of an engine, as in [`Engine::name`].
pub(super) struct EngineName(pub(super) Engine);

impl<'de> Deserialize<'de> for EngineName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from, |text| text.parse().map(Self).map_err(|e: UnknownEngine| e.to_string()))
    }
}

/// A text of scopes, separated by commas.
pub(super) struct ScopeList(pub(super) Scopes);

impl<'de> Deserialize<'de> for ScopeList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from, |text| scopes(text).map(Self))
    }
}

impl<'de> Deserialize<'de> for MountPrefix {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from, Self::parse)
    }
}

/// The longest time that is taken: added to any clock it is still in the calendar.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

/// A time with its unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time > LONGEST { Err("100 years are the most".to_owned()) } else { Ok(time) }
}

/// A time: digits and units, at most 100 years.
pub(super) struct Time(pub(super) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time with its unit, such as \"90s\" or \"2m\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Str(text), &self);
                duration(text).map(Time).map_err(wrong)
            }
        }
        from.deserialize_str(Reader)
    }
}

/// A time of whole seconds, at least one of them.
pub(super) struct Seconds(pub(super) Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Time(time) = Time::deserialize(from)?;
        if time.subsec_nanos() == 0 && u32::try_from(time.as_secs()).is_ok_and(|s| s > 0) {
            return Ok(Self(time));
        }
        Err(de::Error::custom("write a time of whole seconds, at least \"1s\""))
    }
}

/// A number of bytes: a whole number, or digits and a unit.
pub(super) struct Size(pub(super) u64);

/// The units of a [`Size`].
const UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let (digits, unit) =
            UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
        digits.trim_end().parse::<u64>().ok()?.checked_mul(unit).map(Self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or a size with its unit, such as \"32MiB\"")
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Signed(bytes), &self);
                u64::try_from(bytes).map(Size).map_err(wrong)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                Size::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        from.deserialize_any(Reader)
    }
}

/// How many: at least 1.
pub(super) struct Count(pub(super) usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of at least 1")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Count, E> {
                match usize::try_from(number) {
                    Ok(count) if count > 0 => Ok(Count(count)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
        }
        from.deserialize_i64(Reader)
    }
}
