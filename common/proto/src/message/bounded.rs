//! Serde for fields whose length the peer states. A length over the bound is refused before
//! anything is allocated, and is not written either.
//!
//! The wire format is that of the plain type.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

/// `Vec<u8>` of at most `MAX` bytes.
pub(crate) struct Bytes<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Bytes<MAX> {
    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        check_length::<MAX, S>(bytes.len())?;
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        d.deserialize_bytes(BytesVisitor::<MAX>)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Bytes<MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Bytes::<MAX>::deserialize(d).map(Self)
    }
}

/// `Option<Vec<u8>>` of at most `MAX` bytes.
pub(crate) struct OptionBytes<const MAX: usize>;

impl<const MAX: usize> OptionBytes<MAX> {
    pub(crate) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        struct Slice<'a, const MAX: usize>(&'a [u8]);

        impl<const MAX: usize> Serialize for Slice<'_, MAX> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Bytes::<MAX>::serialize(self.0, serializer)
            }
        }

        match bytes {
            Some(bytes) => serializer.serialize_some(&Slice::<MAX>(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        Ok(Option::<Bytes<MAX>>::deserialize(d)?.map(|bytes| bytes.0))
    }
}

/// `Vec<T>` of at most `MAX` elements.
pub(crate) struct List<const MAX: usize>;

impl<const MAX: usize> List<MAX> {
    pub(crate) fn serialize<S: Serializer, T: Serialize>(
        list: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        check_length::<MAX, S>(list.len())?;
        list.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        d: D,
    ) -> Result<Vec<T>, D::Error> {
        d.deserialize_seq(ListVisitor::<T, MAX>(PhantomData))
    }
}

/// `String` of at most `MAX` bytes of UTF-8.
pub(crate) struct Text<const MAX: usize>;

impl<const MAX: usize> Text<MAX> {
    pub(crate) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        check_length::<MAX, S>(text.len())?;
        serializer.serialize_str(text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
        d.deserialize_str(TextVisitor::<MAX>)
    }
}

fn check_length<const MAX: usize, S: Serializer>(length: usize) -> Result<(), S::Error> {
    if length > MAX {
        return Err(ser::Error::custom(format_args!("at most {MAX}, and this is {length}")));
    }
    Ok(())
}

struct TextVisitor<const MAX: usize>;

impl<const MAX: usize> de::Visitor<'_> for TextVisitor<MAX> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} bytes of text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        if text.len() > MAX {
            return Err(E::invalid_length(text.len(), &self));
        }
        Ok(text.to_owned())
    }
}

struct BytesVisitor<const MAX: usize>;

impl<const MAX: usize> de::Visitor<'_> for BytesVisitor<MAX> {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        if bytes.len() > MAX {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(bytes.to_vec())
    }
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> de::Visitor<'de> for ListVisitor<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} elements")
    }

    /// Grows as elements come, since the peer may announce any number.
    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element()? {
            if list.len() == MAX {
                return Err(de::Error::invalid_length(MAX + 1, &self));
            }
            list.push(element);
        }
        Ok(list)
    }
}
