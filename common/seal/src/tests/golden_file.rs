//! The golden files that `tests/interop/secrets-v2.mjs` makes.

/// A golden file: lines `name: value`.
pub(crate) struct GoldenFile(Vec<(&'static str, &'static str)>);

impl GoldenFile {
    pub(crate) fn parse(text: &'static str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.map(|line| line.split_once(": ").unwrap()).collect())
    }

    /// The secrets and keys of format 2, out of the roots 00 … 1F and 20 … 3F and the device seed
    /// 40 … 5F.
    pub(crate) fn derive() -> Self {
        Self::parse(include_str!("../../tests/data/derive-v2.txt"))
    }

    /// Recovery kits of the same vault.
    pub(crate) fn kit() -> Self {
        Self::parse(include_str!("../../tests/data/kit-v2.txt"))
    }

    /// The value of a name, which every file has once.
    pub(crate) fn text(&self, name: &str) -> &'static str {
        let mut found = self.0.iter().filter(|(other, _)| *other == name);
        let (_, value) = found.next().unwrap_or_else(|| panic!("there is no {name}"));
        assert_eq!(found.next(), None, "{name} is there twice");
        value
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        hex::decode(self.text(name)).unwrap()
    }

    pub(crate) fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap_or_else(|_| panic!("{name} has another length"))
    }

    /// Every value of 32 bytes, with its name.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&'static str, [u8; 32])> {
        let rows = self.0.iter().filter(|(name, _)| !name.ends_with(".text"));
        rows.filter_map(|(name, value)| Some((*name, hex::decode(value).ok()?.try_into().ok()?)))
    }
}
