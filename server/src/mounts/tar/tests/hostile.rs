//! An archive that readers interpret differently is refused, with the reason and the position.

use super::*;

/// Of 300 bytes: one block of data.
const BODY: [u8; 300] = [b'x'; 300];

/// Index reads the files of a plain archive with offset, length and time.
#[test]
fn tar_index_reads_plain_archive() {
    let archive =
        Build::new().file(b"a", b"hello").of_kind(b"d/", b'5').file(b"d/b", &[7; 513]).end();
    assert_eq!(archive.len(), 512 + 512 + 512 + 512 + 1024 + 1024);
    let index = index(&archive);
    assert_eq!(files(&index), [("a", 512, 5), ("d/b", 2048, 513)]);
    assert_eq!(index.skipped(), SkippedMembers::default());
    let found = index.find("a").unwrap().unwrap();
    assert_eq!(found.modified, FileTime { seconds: 1_700_000_000, nanoseconds: 0 });
    assert_eq!(index.find("d").unwrap(), None);
    assert_eq!(index.find("b").unwrap(), None);
    assert!(index.len() == 2 && !index.is_empty());
}

// The archive.

#[test]
fn tar_without_end_mark_is_truncated() {
    let whole = Build::new().file(b"a", &BODY);
    // A clean end without the mark: the rest may still be written, or is lost.
    assert_eq!(refused(&whole.clone().cut()), (1024, ArchiveErrorKind::Truncated));
    assert_eq!(refused(b""), (0, ArchiveErrorKind::Truncated));
    assert_eq!(refused(&[0; 511]), (0, ArchiveErrorKind::Truncated));
    let cut = whole.clone().end();
    assert_eq!(refused(&cut[..1023]), (1024, ArchiveErrorKind::Truncated));
    assert_eq!(refused(&cut[..1025]), (1024, ArchiveErrorKind::Truncated));
    assert_eq!(refused(&cut[..1535]), (1024, ArchiveErrorKind::Truncated));
    // Inside the data.
    assert_eq!(refused(&cut[..800]), (0, ArchiveErrorKind::BeyondEnd(300)));
    assert_eq!(refused(&cut[..100]), (0, ArchiveErrorKind::Truncated));
    // Once the mark has begun, no member can be lost.
    for length in [1536, 1537, 2047, 2048] {
        assert_eq!(files(&index(&cut[..length])), [("a", 512, 300)], "{length}");
    }
}

/// An archive that consists only of zero blocks has no members.
#[test]
fn tar_of_zero_blocks_is_empty() {
    assert!(index(&[0; 1024]).is_empty());
    assert!(index(&[0; 512]).is_empty());
    assert!(index(&[0; 10_240]).is_empty());
}

/// Members after the end mark are not read.
#[test]
fn tar_bytes_after_end_mark_are_not_read() {
    let hidden = Build::new().file(b"hidden", &BODY).end();
    let archive = Build::new().file(b"a", &BODY).raw(&[0; 1024]).raw(&hidden).cut();
    assert_eq!(files(&index(&archive)), [("a", 512, 300)]);
}

/// A single zero block between members is refused.
#[test]
fn tar_lone_zero_block_is_refused() {
    let archive = Build::new().file(b"a", &BODY).raw(&[0; 512]).file(b"b", &BODY).end();
    assert_eq!(refused(&archive), (1024, ArchiveErrorKind::LoneZeroBlock));
}

/// A file that is no archive is refused, and garbage between members is a bad checksum.
#[test]
fn tar_rejects_file_that_is_no_archive() {
    assert_eq!(refused(&[b'x'; 2048]), (0, ArchiveErrorKind::NotAnArchive));
    let later = Build::new().file(b"a", &BODY).raw(&[b'x'; 512]).end();
    assert_eq!(refused(&later), (1024, ArchiveErrorKind::Checksum));
}

/// A compressed archive is refused with the name of its compressor.
#[test]
fn tar_compressed_archive_names_its_compressor() {
    for (magic, expected) in [
        (&b"\x1f\x8b\x08\0\0\0\0\0"[..], Compression::Gzip),
        (b"\x28\xb5\x2f\xfd\0\0\0\0", Compression::Zstd),
        (b"\xfd7zXZ\0\0\0", Compression::Xz),
        (b"BZh91AY&", Compression::Bzip2),
        (b"\x04\x22\x4d\x18\0\0\0\0", Compression::Lz4),
        (b"\x1f\x9d\x90\0\0\0\0\0", Compression::Compress),
        (b"LZIP\x01\0\0\0", Compression::Lzip),
    ] {
        for length in [8, 100, 5000] {
            let mut bytes = magic.to_vec();
            bytes.resize(length, 0x55);
            match Index::of_bytes(&bytes, None) {
                Err(ReadError::Compressed(found)) => assert_eq!(found, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
    let home = Home::new(b"\x1f\x8b\x08\0\0\0\0\0\0\x03");
    assert_eq!(
        home.open().unwrap_err().to_string(),
        "the archive is compressed with gzip: decompress it first"
    );
    // A name may look like the magic of a compressor.
    assert_eq!(files(&index(&Build::new().file(b"BZh", b"").end())), [("BZh", 512, 0)]);
}

/// Index refuses more members, or more bytes of names, than its bounds.
#[test]
fn tar_index_bounds_members_and_name_bytes() {
    let archive = Build::new().file(b"a", b"").file(b"bcd", b"").of_kind(b"e", b'5').end();
    let read = |members, bytes| match Index::read_within(&&archive[..], None, members, bytes) {
        Ok(index) => Ok(index.len()),
        Err(ReadError::Archive(error)) => Err((error.offset, error.kind)),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(read(3, 5), Ok(2));
    assert_eq!(read(2, 5), Err((1024, ArchiveErrorKind::TooManyMembers)));
    assert_eq!(read(3, 4), Err((1024, ArchiveErrorKind::TooManyNames)));
    assert_eq!(read(3, 3), Err((512, ArchiveErrorKind::TooManyNames)));
}

// Headers.

#[test]
fn tar_checksum_detects_every_flipped_header_bit() {
    let archive = Build::new().file(b"zero", b"").file(b"name", &BODY).end();
    for at in 512..1024 {
        for bit in 0..8 {
            let mut bad = archive.clone();
            bad[at] ^= 1 << bit;
            // The byte that ends the checksum field is not significant, and its first zero may be a
            // space.
            if (660..668).contains(&at) && Index::of_bytes(&bad, None).is_ok() {
                assert!(at >= 666 || (at, bit) == (660, 4), "{at} {bit}");
                continue;
            }
            assert_eq!(refused(&bad), (512, ArchiveErrorKind::Checksum), "{at} {bit}");
        }
    }
}

/// The sum of signed bytes, as some tars of the eighties wrote it.
#[test]
fn tar_signed_checksum_is_accepted() {
    let mut archive = Build::new().file("é".as_bytes(), b"").end();
    // Two bytes of 0x80 and more: 512 less.
    let sum = str::from_utf8(&archive[148..154]).unwrap();
    let sum = u32::from_str_radix(sum, 8).unwrap() - 512;
    archive[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    assert_eq!(files(&index(&archive)), [("é", 512, 0)]);
}

/// Garbage in the size or mtime field of a header is refused.
#[test]
fn tar_garbage_in_size_or_mtime_is_refused() {
    let block = || Build::block(b"a", b'0', 0);
    for size in [
        &b"0000000000x\0"[..],
        b"00000000009\0",
        b"-0000000001\0",
        b"            ",
        b"00000000001x",
        b"\x80\0\0\0\x80\0\0\0\0\0\0\0",
        b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x90\0\0\0\0\0\0\0\0\0\0\x01",
    ] {
        let archive = Build::new().with(block(), &[(124, size)]).end();
        assert_eq!(refused(&archive), (0, ArchiveErrorKind::Number("size")), "{size:x?}");
    }
    let archive = Build::new().with(block(), &[(136, b"yesterday!!\0")]).end();
    assert_eq!(refused(&archive), (0, ArchiveErrorKind::Number("mtime")));
}

/// A member whose size reaches beyond the archive's end is refused.
#[test]
fn tar_member_beyond_end_is_refused() {
    for (size, claimed) in [
        (&b"00000000001\0"[..], None),
        (b"00000002001\0", Some(1025)),
        (b"77777777777\0", Some(8_589_934_591)),
        (b"777777777777", Some(68_719_476_735)),
        (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(9_223_372_036_854_775_807)),
        (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\0", Some(9_223_372_036_854_775_552)),
    ] {
        let header = Build::block(b"a", b'0', 0);
        let archive =
            Build::new().file(b"before", b"").with(header, &[(124, size)]).raw(&[0; 1024]).cut();
        match claimed {
            Some(claimed) => {
                assert_eq!(
                    refused(&archive),
                    (512, ArchiveErrorKind::BeyondEnd(claimed)),
                    "{size:x?}"
                );
            }
            None => assert_eq!(files(&index(&archive)), [("a", 1024, 1), ("before", 512, 0)]),
        }
    }
}

/// Numbers in base 256 are read where octal digits are not enough.
#[test]
fn tar_size_in_base_256_is_read() {
    let archive = Build::new()
        .with(
            Build::block(b"a", b'0', 0),
            &[
                (124, b"\x80\0\0\0\0\0\0\0\0\0\x01\x2c"),
                (136, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"),
            ],
        )
        .data(&BODY)
        .end();
    let index = index(&archive);
    assert_eq!(files(&index), [("a", 512, 300)]);
    assert_eq!(index.find("a").unwrap().unwrap().modified.seconds, -2);
}

/// Some readers skip the data that such a header claims, others do not: bytes that one takes for
/// data are members to the other.
#[test]
fn tar_data_of_link_or_directory_is_refused() {
    let inside = Build::new().file(b"smuggled", b"").cut();
    for kind in *b"123456" {
        let archive = Build::new().header(Build::block(b"a", kind, 512)).raw(&inside).end();
        assert_eq!(refused(&archive), (0, ArchiveErrorKind::DataOfNoFile(512)), "{kind}");
    }
    for kind in [0, b'0', b'7'] {
        let archive = Build::new().header(Build::block(b"a/", kind, 512)).raw(&inside).end();
        assert_eq!(refused(&archive), (0, ArchiveErrorKind::DataOfNoFile(512)), "{kind}");
    }
}

/// The member types X and N, which only some readers know, are refused.
#[test]
fn tar_type_with_ambiguous_meaning_is_refused() {
    for (kind, letter) in [(b'X', 'X'), (b'N', 'N')] {
        let archive = Build::new().file(b"a", b"").of_kind(b"b", kind).end();
        assert_eq!(refused(&archive), (512, ArchiveErrorKind::Type(letter)));
    }
}

/// A member of an unknown type is skipped together with its data.
#[test]
fn tar_unknown_type_is_skipped_with_its_data() {
    for kind in [b'A', b'Z', b'8', b'!', 200] {
        let archive = Build::new()
            .header(Build::block(b"odd", kind, 300))
            .data(&BODY)
            .file(b"a", b"hello")
            .end();
        let index = index(&archive);
        assert_eq!(files(&index), [("a", 1536, 5)], "{kind}");
        assert_eq!(index.skipped().special, 1);
    }
}

/// The prefix field counts in ustar headers, not in GNU or V7 ones.
#[test]
fn tar_prefix_field_counts_only_in_ustar() {
    let block = Build::block(b"name", b'0', 0);
    let ustar = Build::new().with(block, &[(345, b"some/where")]).end();
    assert_eq!(files(&index(&ustar)), [("some/where/name", 512, 0)]);
    // In GNU's format the field holds times.
    let gnu = Build::new().with(block, &[(345, b"14524770400\0"), (257, b"ustar  \0")]).end();
    assert_eq!(files(&index(&gnu)), [("name", 512, 0)]);
    let v7 = Build::new().with(block, &[(345, b"rubbish"), (257, &[0; 8])]).end();
    assert_eq!(files(&index(&v7)), [("name", 512, 0)]);
    let neither = Build::new().with(block, &[(345, b"some/where"), (257, b"ustar\0\0\0")]).end();
    assert_eq!(refused(&neither), (0, ArchiveErrorKind::Dialect));
    // A full field of 100 and one of 155 bytes have no NUL.
    let (name, prefix) = ([b'n'; 100], [b'p'; 155]);
    let full = Build::new().with(Build::block(&name, b'0', 0), &[(345, &prefix)]).end();
    let path = [&prefix[..], b"/", &name[..]].concat();
    assert_eq!(files(&index(&full)), [(str::from_utf8(&path).unwrap(), 512, 0)]);
}

// Names.

#[test]
fn tar_absolute_dotdot_and_empty_names_are_refused() {
    for (name, expected) in [
        (&b"/etc/passwd"[..], ArchiveErrorKind::AbsoluteName),
        (b"/", ArchiveErrorKind::AbsoluteName),
        (b"../a", ArchiveErrorKind::DotDot),
        (b"a/../../b", ArchiveErrorKind::DotDot),
        (b"a/..", ArchiveErrorKind::DotDot),
        (b"..", ArchiveErrorKind::DotDot),
        (b"./../a", ArchiveErrorKind::DotDot),
        (b"", ArchiveErrorKind::NoName),
        (b".", ArchiveErrorKind::NoName),
    ] {
        for kind in *b"012" {
            let archive = Build::new().file(b"a", b"").link(name, kind, b"a").end();
            assert_eq!(
                refused(&archive),
                (512, expected.clone()),
                "{} {kind}",
                name.escape_ascii()
            );
        }
        let pax = [b"path=", name, b"\n"].concat();
        let pax = [format!("{} ", pax.len() + 3).as_bytes(), &pax].concat();
        if !name.is_empty() && pax.len() >= 10 {
            let archive = Build::new().extension(b'x', &pax).file(b"a", b"").end();
            assert_eq!(refused(&archive), (1024, expected.clone()));
        }
        if !name.is_empty() {
            let archive = Build::new().extension(b'L', name).file(b"a", b"").end();
            assert_eq!(refused(&archive), (1024, expected.clone()));
        }
        if !matches!(expected, ArchiveErrorKind::NoName) {
            let archive = Build::new().file(b"a", b"").link(b"b", b'1', name).end();
            assert_eq!(refused(&archive), (512, expected));
        }
    }
}

/// Names with ./ or // are read as the one path that they spell.
#[test]
fn tar_name_spellings_are_normalized() {
    let archive = Build::new()
        .of_kind(b"./", b'5')
        .file(b"./a", b"1")
        .file(b"b//c", b"12")
        .file(b"d/./e", b"123")
        .of_kind(b"d/", 0)
        .end();
    let index = index(&archive);
    assert_eq!(files(&index), [("a", 1024, 1), ("b/c", 2048, 2), ("d/e", 3072, 3)]);
    assert_eq!(index.skipped(), SkippedMembers::default());
}

/// A NUL inside a long or PAX name is refused.
#[test]
fn tar_nul_in_extension_name_is_refused() {
    let long = Build::new().extension(b'L', b"a\0b").file(b"c", b"").end();
    assert_eq!(refused(&long), (0, ArchiveErrorKind::NulInName));
    let pax = Build::new().extension(b'x', b"12 path=a\0b\n").file(b"c", b"").end();
    assert_eq!(refused(&pax), (0, ArchiveErrorKind::NulInName));
}

/// The last member of a name counts, whatever its type.
#[test]
fn tar_last_member_of_one_name_counts() {
    let archive = Build::new().file(b"a", b"1").file(b"b", b"").file(b"./a", b"12").end();
    assert_eq!(files(&index(&archive)), [("a", 2048, 2), ("b", 1536, 0)]);
    // Whatever its type.
    for (kind, special) in [(b'2', 1), (b'3', 1), (b'5', 0)] {
        let archive = Build::new().file(b"a", b"1").link(b"a", kind, b"b").end();
        let index = index(&archive);
        assert_eq!(files(&index), []);
        assert_eq!(index.skipped().special, special);
        let archive = Build::new().link(b"a", kind, b"b").file(b"a", b"1").end();
        assert_eq!(files(&super::index(&archive)), [("a", 1024, 1)]);
    }
}

/// Members whose names are not UTF-8 or exceed 1,024 bytes are left out and counted.
#[test]
fn tar_names_not_utf8_or_over_1024_bytes_are_omitted() {
    let long = |length: usize| [vec![b'x'; length], vec![0]].concat();
    let archive = Build::new()
        .file(b"caf\xe9", b"")
        .extension(b'L', &long(1025))
        .file(b"x", b"")
        .extension(b'L', &long(1024))
        .file(b"x", b"")
        .extension(b'L', &long(100_000))
        .file(b"x", b"")
        .end();
    let index = index(&archive);
    assert_eq!(files(&index).iter().map(|file| file.0.len()).collect::<Vec<_>>(), [1024]);
    assert_eq!(
        index.skipped(),
        SkippedMembers { name_not_utf8: 1, name_too_long: 2, ..SkippedMembers::default() }
    );
}

/// An archive of links to names of a megabyte each, which no member can have, takes no memory for
/// them; a target that is kept counts towards the bytes of names.
#[test]
fn tar_link_targets_count_towards_name_bytes() {
    let target = vec![b'x'; 1_000_000];
    let long = |name: &[u8]| {
        let name_of_link = [&target[..], b"\0"].concat();
        Build::new().extension(b'K', &name_of_link).of_kind(name, b'1').cut()
    };
    let mut archive = Build::new().file(b"a", b"hello").cut();
    for name in [b"l1", b"l2"] {
        archive.extend(long(name));
    }
    let archive = Build::new().raw(&archive).link(b"l3", b'1', b"a").end();
    let read = |most_name_bytes| Index::read_within(&&archive[..], None, 100, most_name_bytes);
    // The names a, l1, l2 and l3, and the one target that a member can have.
    let index = read(8).unwrap();
    assert_eq!(files(&index), [("a", 512, 5), ("l3", 512, 5)]);
    assert_eq!(index.skipped(), SkippedMembers { dangling_links: 2, ..SkippedMembers::default() });
    let refused = read(7).unwrap_err();
    let ReadError::Archive(ArchiveError { kind, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(kind, ArchiveErrorKind::TooManyNames);
}
