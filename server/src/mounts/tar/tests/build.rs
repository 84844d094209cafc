//! Builds archives block by block, sharing no code with the reader.

/// An archive that is being built.
#[derive(Clone, Default)]
pub(super) struct Build(Vec<u8>);

/// The bytes of a header before its checksum is set.
pub(super) type Block = [u8; 512];

impl Build {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A ustar header with the name, the type and the size, mode 644, owner 0, mtime 1,700,000,000.
    pub(super) fn block(name: &[u8], kind: u8, size: u64) -> Block {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..108].copy_from_slice(b"0000644\0");
        block[108..116].copy_from_slice(b"0000000\0");
        block[116..124].copy_from_slice(b"0000000\0");
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        block[136..148].copy_from_slice(b"14524770400\0");
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        block
    }

    /// Appends a header, with the right checksum.
    pub(super) fn header(mut self, mut block: Block) -> Self {
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self
    }

    /// Appends a header with these fields overwritten.
    pub(super) fn with(self, mut block: Block, fields: &[(usize, &[u8])]) -> Self {
        for (at, bytes) in fields {
            block[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        self.header(block)
    }

    /// Appends bytes, padded with zeros to a whole block.
    pub(super) fn data(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Appends bytes without padding.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn file(self, name: &[u8], bytes: &[u8]) -> Self {
        self.header(Self::block(name, b'0', bytes.len() as u64)).data(bytes)
    }

    pub(super) fn of_kind(self, name: &[u8], kind: u8) -> Self {
        self.header(Self::block(name, kind, 0))
    }

    pub(super) fn link(self, name: &[u8], kind: u8, target: &[u8]) -> Self {
        self.with(Self::block(name, kind, 0), &[(157, target)])
    }

    /// Appends an extension header: `x`, `g`, `L` or `K`.
    pub(super) fn extension(self, kind: u8, body: &[u8]) -> Self {
        self.header(Self::block(b"extension", kind, body.len() as u64)).data(body)
    }

    /// The archive without its end mark.
    pub(super) fn cut(self) -> Vec<u8> {
        self.0
    }

    /// The archive with two blocks of zeros.
    pub(super) fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}
