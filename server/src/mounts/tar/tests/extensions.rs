//! Extension headers of a member; members that are not one range of bytes; links.

use super::*;

/// Of 300 bytes: one block of data.
const BODY: [u8; 300] = [b'x'; 300];

/// RUSTSEC-2025-0111: the reader used the header's size of 0 and took the file's contents for
/// members.
#[test]
fn tar_pax_size_above_header_size_is_refused() {
    let inside = Build::new().file(b"smuggled", b"").cut();
    let archive = Build::new()
        .extension(b'x', b"12 size=512\n")
        .header(Build::block(b"innocent", b'0', 0))
        .raw(&inside)
        .end();
    let kind = ArchiveErrorKind::SizesDisagree { pax: 512, ustar: 0 };
    assert_eq!(refused(&archive), (1024, kind));
}

/// RUSTSEC-2026-0068: the reader used the header's size where that was not 0.
#[test]
fn tar_pax_size_below_header_size_is_refused() {
    let inside = Build::new().file(b"smuggled", b"").cut();
    let archive = Build::new()
        .extension(b'x', b"10 size=0\n")
        .header(Build::block(b"innocent", b'0', 512))
        .raw(&inside)
        .end();
    let kind = ArchiveErrorKind::SizesDisagree { pax: 0, ustar: 512 };
    assert_eq!(refused(&archive), (1024, kind));
    let archive = Build::new()
        .extension(b'x', b"22 size=1099511627776\n")
        .header(Build::block(b"large", b'0', 0))
        .raw(&inside)
        .end();
    assert_eq!(refused(&archive), (1024, ArchiveErrorKind::BeyondEnd(1_099_511_627_776)));
}

/// A member whose PAX size equals its header's size is read.
#[test]
fn tar_pax_size_equal_to_header_size_is_read() {
    let archive = Build::new().extension(b'x', b"12 size=300\n").file(b"a", &BODY).end();
    assert_eq!(files(&index(&archive)), [("a", 1536, 300)]);
}

/// GHSA-3pv8-6f4r-ffg2, GHSA-3cv2-h65g-fgmm: the PAX header's size was applied to the long name's
/// header.
#[test]
fn tar_pax_header_before_long_name_is_refused() {
    let archive = Build::new()
        .extension(b'x', b"13 size=2048\n")
        .extension(b'L', b"longname.txt\0")
        .file(b"a", &BODY)
        .file(b"b", &BODY)
        .end();
    assert_eq!(refused(&archive), (1024, ArchiveErrorKind::ExtensionTwice));
}

/// Two extension headers for one member are refused, except a long name with a long link.
#[test]
fn tar_combined_extension_headers_are_refused() {
    let x = |b: Build| b.extension(b'x', b"10 path=x\n");
    let l = |b: Build| b.extension(b'L', b"long\0");
    let k = |b: Build| b.extension(b'K', b"link\0");
    let g = |b: Build| b.extension(b'g', b"13 comment=x\n");
    let orders: [&[&dyn Fn(Build) -> Build]; 8] =
        [&[&x, &x], &[&x, &l], &[&l, &x], &[&k, &x], &[&l, &l], &[&k, &k], &[&x, &g], &[&l, &g]];
    for (number, order) in orders.iter().enumerate() {
        let archive = order.iter().fold(Build::new(), |build, step| step(build));
        let archive = archive.file(b"a", b"").end();
        assert_eq!(refused(&archive), (1024, ArchiveErrorKind::ExtensionTwice), "{number}");
    }
    // A long name and a long link belong together.
    let both = l(k(Build::new())).link(b"a", b'2', b"b").file(b"c", b"").end();
    assert_eq!(files(&index(&both)), [("c", 3072, 0)]);
}

/// An extension header that no member follows is refused.
#[test]
fn tar_extension_without_member_is_refused() {
    let archive = Build::new().extension(b'x', b"10 path=x\n").end();
    assert_eq!(refused(&archive), (1024, ArchiveErrorKind::ExtensionAlone));
    let archive = Build::new().extension(b'L', b"long\0").of_kind(b"label", b'V').end();
    assert_eq!(refused(&archive), (1024, ArchiveErrorKind::ExtensionAlone));
    let archive = Build::new().extension(b'L', b"long\0").cut();
    assert_eq!(refused(&archive), (1024, ArchiveErrorKind::Truncated));
}

/// An extension header of more than one mebibyte is refused.
#[test]
fn tar_extension_over_one_mebibyte_is_refused() {
    for kind in *b"xgLK" {
        let body = vec![b'1'; 1024 * 1024 + 1];
        let archive = Build::new().extension(kind, &body).file(b"a", b"").end();
        assert_eq!(refused(&archive), (0, ArchiveErrorKind::ExtensionTooLong(1_048_577)));
        let huge = Build::new().with(Build::block(b"x", kind, 0), &[(124, b"77777777777\0")]).end();
        assert_eq!(refused(&huge), (0, ArchiveErrorKind::ExtensionTooLong(8_589_934_591)));
        let beyond = Build::new().header(Build::block(b"x", kind, 2000)).end();
        assert_eq!(refused(&beyond), (0, ArchiveErrorKind::BeyondEnd(2000)));
    }
    let comment = [b"1048576 comment=".to_vec(), vec![b'c'; 1_048_559], b"\n".to_vec()].concat();
    assert_eq!(comment.len(), 1_048_576);
    let archive = Build::new().extension(b'x', &comment).file(b"a", b"").end();
    assert_eq!(files(&index(&archive)), [("a", 1_049_600, 0)]);
}

/// A malformed PAX record or long name is refused at its position.
#[test]
fn tar_malformed_extension_is_refused() {
    let pax = Build::new().extension(b'x', b"99 path=x\n").file(b"a", b"").end();
    assert_eq!(refused(&pax), (0, ArchiveErrorKind::PaxRecord));
    let pax = Build::new().extension(b'x', b"9 mtime=\n").file(b"a", b"").end();
    assert_eq!(refused(&pax), (0, ArchiveErrorKind::PaxValue("mtime")));
    let long = Build::new().extension(b'L', b"\0").file(b"a", b"").end();
    assert_eq!(refused(&long), (0, ArchiveErrorKind::NoName));
}

/// A PAX global header may set a time or a comment, but no path, link, size or map.
#[test]
fn tar_global_header_may_set_only_mtime_and_comment() {
    for (body, key) in [
        (&b"10 path=x\n"[..], "path"),
        (b"14 linkpath=x\n", "linkpath"),
        (b"10 size=0\n", "size"),
        (b"22 GNU.sparse.major=1\n", "GNU.sparse"),
    ] {
        let archive = Build::new().file(b"a", b"").extension(b'g', body).file(b"b", b"").end();
        assert_eq!(refused(&archive), (512, ArchiveErrorKind::PaxGlobal(key)));
    }
    // As git archive writes it, with a time for all members that follow.
    let archive = Build::new()
        .file(b"before", b"")
        .extension(b'g', b"13 comment=x\n")
        .extension(b'g', b"14 mtime=12.5\n")
        .file(b"a", b"")
        .extension(b'x', b"11 mtime=7\n")
        .file(b"b", b"")
        .file(b"c", b"")
        .end();
    let index = index(&archive);
    let times: Vec<_> = index
        .files_after(b"")
        .map(|(path, at)| (path, at.modified.seconds, at.modified.nanoseconds))
        .collect();
    assert_eq!(
        times,
        [("a", 12, 500_000_000), ("b", 7, 0), ("before", 1_700_000_000, 0), ("c", 12, 500_000_000)]
    );
}

// Members that are not one range of bytes.

/// GNU's old format: the map continues in blocks before the data, and the size is that of the data.
#[test]
fn tar_gnu_sparse_member_is_skipped_and_reported() {
    let block = Build::block(b"sparse", b'S', 300);
    let gnu = |goes_on: &[u8]| Build::new().with(block, &[(257, b"ustar  \0"), (482, goes_on)]);
    let mut more = [b'0'; 512];
    more[504] = 1;
    let mut last = [b'0'; 512];
    last[504] = 0;
    for (archive, offset) in [
        (gnu(b"\0"), 1536),
        (gnu(b"\x01").raw(&last), 2048),
        (gnu(b"\x01").raw(&more).raw(&last), 2560),
    ] {
        let archive = archive.data(&BODY).file(b"a", b"hello").end();
        let index = index(&archive);
        assert_eq!(files(&index), [("a", offset, 5)]);
        assert_eq!(index.find("sparse"), Err(Unavailable::Sparse));
        assert_eq!(index.skipped().unavailable, 1);
    }
    let endless = gnu(b"\x01").raw(&more).raw(&more).cut();
    assert_eq!(refused(&endless), (1536, ArchiveErrorKind::Truncated));
    let foreign = Build::new().header(block).data(&BODY).end();
    assert_eq!(refused(&foreign), (0, ArchiveErrorKind::ForeignSparse));
    let sized = Build::new()
        .extension(b'x', b"12 size=300\n")
        .with(block, &[(257, b"ustar  \0")])
        .data(&BODY)
        .end();
    assert_eq!(refused(&sized), (1024, ArchiveErrorKind::ForeignSparse));
}

/// A PAX sparse member is reported as sparse under its real name.
#[test]
fn tar_pax_sparse_member_has_its_real_name() {
    let archive = Build::new()
        .extension(b'x', b"22 GNU.sparse.major=1\n24 GNU.sparse.name=disk\n")
        .file(b"GNUSparseFile.1/disk", &BODY)
        .file(b"a", b"")
        .end();
    let index = index(&archive);
    assert_eq!(files(&index), [("a", 2560, 0)]);
    assert_eq!(index.find("disk"), Err(Unavailable::Sparse));
    assert_eq!(index.find("GNUSparseFile.1/disk"), Ok(None));
}

/// A member continued from another volume is reported as a continuation.
#[test]
fn tar_multi_volume_member_is_reported() {
    let archive = Build::new().header(Build::block(b"b", b'M', 300)).data(&BODY).end();
    assert_eq!(index(&archive).find("b"), Err(Unavailable::Continuation));
}

/// Volume labels and dump directories are skipped and not counted as files.
#[test]
fn tar_labels_and_dump_directories_are_skipped() {
    let archive = Build::new()
        .of_kind(b"/a label/../with anything", b'V')
        .header(Build::block(b"dir/", b'D', 300))
        .data(&BODY)
        .file(b"dir/a", b"")
        .end();
    let index = index(&archive);
    assert_eq!(files(&index), [("dir/a", 2048, 0)]);
    assert_eq!(index.skipped(), SkippedMembers::default());
}

// Links.

#[test]
fn tar_hard_link_resolves_to_earlier_member() {
    let archive = Build::new()
        .file(b"a", b"hello")
        .link(b"b", b'1', b"./a")
        .link(b"c", b'1', b"b")
        .file(b"a", b"later")
        .link(b"d", b'1', b"a")
        .link(b"loose", b'1', b"nothing")
        .link(b"e", b'1', b"z")
        .file(b"z", b"too late")
        .link(b"itself", b'1', b"itself")
        .link(b"sym", b'2', b"a")
        .link(b"of-sym", b'1', b"sym")
        .header({
            let mut block = Build::block(b"sparse", b'S', 0);
            block[257..265].copy_from_slice(b"ustar  \0");
            block
        })
        .link(b"of-sparse", b'1', b"sparse")
        .end();
    let index = index(&archive);
    assert_eq!(
        files(&index),
        [("a", 2560, 5), ("b", 512, 5), ("c", 512, 5), ("d", 2560, 5), ("z", 5120, 8)]
    );
    assert_eq!(index.find("of-sparse"), Err(Unavailable::Sparse));
    assert_eq!(
        index.skipped(),
        SkippedMembers {
            special: 1,
            dangling_links: 4,
            unavailable: 2,
            ..SkippedMembers::default()
        }
    );
}

/// A hard link's target of 150 bytes is read from GNU and PAX extensions.
#[test]
fn tar_long_link_target_is_read() {
    let target = [b'd'; 150];
    let name = [&target[..], b"\0"].concat();
    let gnu = Build::new()
        .extension(b'L', &name)
        .file(b"d", b"hello")
        .extension(b'K', &name)
        .link(b"link", b'1', b"d")
        .end();
    assert_eq!(index(&gnu).find("link").unwrap().unwrap().offset, 1536);
    let record = [b"164 linkpath=", &target[..], b"\n"].concat();
    assert_eq!(record.len(), 164);
    let pax = Build::new()
        .extension(b'L', &name)
        .file(b"d", b"hello")
        .extension(b'x', &record)
        .link(b"link", b'1', b"d")
        .end();
    assert_eq!(index(&pax).find("link").unwrap().unwrap().offset, 1536);
}

// The member can be served.

#[test]
fn tar_strip_prefix_removes_prefix_from_names() {
    let archive = Build::new()
        .file(b"img/a", b"1")
        .file(b"img-b", b"")
        .file(b"other", b"")
        .file(b"img/d/b", b"12")
        .link(b"img/c", b'1', b"other")
        .end();
    let index = Index::of_bytes(&archive, Some("img")).unwrap();
    assert_eq!(files(&index), [("a", 512, 1), ("c", 2048, 0), ("d/b", 2560, 2)]);
    assert_eq!(index.skipped(), SkippedMembers { outside_prefix: 2, ..SkippedMembers::default() });
    let home = Home::new(&archive);
    let open = |prefix| TarMount::open(&home.path(), Some(prefix));
    assert_eq!(bytes(&open("img/").unwrap().find("d/b").unwrap()), b"12");
    for prefix in ["", "/", "/img", "../img", "img//"] {
        assert!(matches!(open(prefix), Err(MountError::Prefix(_))), "{prefix}");
    }
}
