//! An archive that is not refused has its members inside of it, each under one clean name.

use zput_server::mounts::tar::Index;

pub(crate) fn run(input: &[u8]) {
    once(input, None);
    once(input, Some("a"));
}

fn once(input: &[u8], strip_prefix: Option<&str>) {
    let Ok(index) = Index::of_bytes(input, strip_prefix) else { return };
    let mut last: Option<&str> = None;
    let mut files = 0;
    for (path, stretch) in index.files_after(b"") {
        let end = stretch.offset.checked_add(stretch.length);
        assert!(stretch.offset >= 512 && end.is_some_and(|end| end <= input.len() as u64));
        assert!((1..=1024).contains(&path.len()) && !path.contains('\0'));
        assert!(path.split('/').all(|component| !matches!(component, "" | "." | "..")));
        assert!(last.is_none_or(|last| last < path));
        assert_eq!(index.find(path), Ok(Some(stretch)));
        last = Some(path);
        files += 1;
    }
    assert_eq!(files, index.len());
}
