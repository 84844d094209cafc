//! Random bytes cause no panic, and no member outside of the archive.

use proptest::prelude::*;

use super::*;

/// Checks the invariants of every archive that has an index.
fn check(archive: &[u8]) {
    if let Ok(index) = Index::of_bytes(archive, None) {
        check_index(&index, archive);
    }
}

fn check_index(index: &Index, archive: &[u8]) {
    let mut last = None;
    for (path, extent) in index.files_after(b"") {
        let end = extent.offset.checked_add(extent.length).unwrap();
        assert!(extent.offset >= 512 && end <= archive.len() as u64, "{path} ends at {end}");
        assert!(extent.modified.nanoseconds < 1_000_000_000);
        assert!(RelativePath::parse(path).is_ok(), "{path}");
        assert!(last.is_none_or(|last| last < path), "{path}");
        assert_eq!(index.find(path), Ok(Some(extent)));
        last = Some(path);
    }
}

/// Steps that build an archive, valid or not.
fn step() -> impl Strategy<Value = (u8, Vec<u8>, Vec<u8>, u64)> {
    (
        prop::sample::select(b"0123456789\0xgLKSMVDXNA".to_vec()),
        prop::sample::select(vec![
            &b"a"[..],
            b"b",
            b"a/b",
            b"./a",
            b"..",
            b"/a",
            b"\xff",
            b"10 path=x\n",
            b"9 size=0\n",
            b"10 size=0\n",
            b"12 size=512\n",
            b"11 size=99\n",
            b"22 GNU.sparse.major=1\n",
            b"29 size=18446744073709551615\n",
            b"",
        ])
        .prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..600),
        prop_oneof![Just(0), Just(u64::MAX), 0..2000_u64, any::<u64>()],
    )
}

proptest! {
    /// Index of random bytes causes no panic and no member outside of the archive.
    #[test]
    fn tar_index_survives_random_bytes(archive in prop::collection::vec(any::<u8>(), 0..3000)) {
        check(&archive);
    }

    /// Index of random headers causes no panic and no member outside of the archive.
    #[test]
    fn tar_index_survives_random_headers(
        steps in prop::collection::vec(step(), 0..8),
        fields in prop::collection::vec((0_usize..500, any::<[u8; 4]>()), 0..2),
        ended: bool,
    ) {
        let mut build = Build::new();
        for (kind, name, data, size) in steps {
            // Half of the headers give the right size.
            let size = if size == 0 { name.len() as u64 } else { size };
            let mut block = Build::block(b"name", kind, size.min(0o777_7777_7777));
            if size > 0o777_7777_7777 {
                block[124..128].copy_from_slice(&[0x80, 0, 0, 0]);
                block[128..136].copy_from_slice(&size.to_be_bytes());
            }
            for (at, bytes) in &fields {
                block[*at..*at + 4].copy_from_slice(bytes);
            }
            build = build.header(block).data(if size == name.len() as u64 { &name } else { &data });
        }
        check(&if ended { build.end() } else { build.cut() });
    }

    /// A valid archive with some bytes changed, and with or without its checksums corrected.
    #[test]
    fn tar_index_survives_damaged_archive(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        whole: bool,
    ) {
        let mut archive = Build::new()
            .file(b"a", b"hello")
            .extension(b'x', b"10 path=x\n11 mtime=7\n")
            .file(b"b", &[1; 700])
            .link(b"c", b'1', b"a")
            .extension(b'L', b"long\0")
            .file(b"d", b"")
            .end();
        for (at, byte) in damage {
            let at = at.index(archive.len());
            archive[at] = byte;
            let header = at / 512 * 512;
            archive[header + 148..header + 156].copy_from_slice(b"        ");
            let sum: u32 = archive[header..header + 512].iter().map(|byte| u32::from(*byte)).sum();
            archive[header + 148..header + 156]
                .copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        if !whole {
            archive.truncate(cut.index(archive.len()));
        }
        check(&archive);
    }
}
