//! A listing by directory, drawn like that of `tree(1)`.

use std::collections::BTreeMap;

use super::format::size;

/// A component of a name: a blob, a directory of blobs, or both.
#[derive(Debug, Default)]
struct Node {
    bytes: Option<u64>,
    below: BTreeMap<String, Node>,
}

impl Node {
    /// Number and total length of the blobs at and below this node. A name has at most 512
    /// components.
    fn total(&self) -> (usize, u64) {
        let own = (usize::from(self.bytes.is_some()), self.bytes.unwrap_or(0));
        self.below.values().fold(own, |(count, bytes), node| {
            let (more, more_bytes) = node.total();
            (count + more, bytes.saturating_add(more_bytes))
        })
    }

    /// Appends the lines for everything below this node, after `indent`.
    fn draw(&self, indent: &str, is_top: bool, lines: &mut Vec<String>) {
        for (place, (name, node)) in self.below.iter().enumerate() {
            let is_last = place + 1 == self.below.len();
            let (branch, deeper) = match (is_top, is_last) {
                (true, _) => ("", ""),
                (false, true) => ("└── ", "    "),
                (false, false) => ("├── ", "│   "),
            };
            if let Some(bytes) = node.bytes {
                lines.push(format!("{indent}{branch}{name}  {}", size(bytes)));
            }
            if !node.below.is_empty() {
                let (count, bytes) = node.total();
                let (what, bytes) = (if count == 1 { "blob" } else { "blobs" }, size(bytes));
                lines.push(format!("{indent}{branch}{name}/  {count} {what}, {bytes}"));
                node.draw(&format!("{indent}{deeper}"), false, lines);
            }
        }
    }
}

/// The lines of the tree for these names and sizes.
pub(super) fn lines<'a>(blobs: impl Iterator<Item = (&'a str, u64)>) -> Vec<String> {
    let mut root = Node::default();
    for (name, bytes) in blobs {
        let mut node = &mut root;
        for component in name.split('/') {
            node = node.below.entry(component.to_owned()).or_default();
        }
        node.bytes = Some(bytes);
    }
    let mut lines = Vec::new();
    root.draw("", true, &mut lines);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree listing draws names by directory, with the number and size of blobs.
    #[test]
    fn tree_draws_names_by_directory() {
        let blobs = [("b", 1), ("p", 2), ("p/a", 3), ("p/q/c", 2_048), ("p/z", 0)];
        assert_eq!(
            lines(blobs.into_iter()),
            [
                "b  1 B",
                "p  2 B",
                "p/  4 blobs, 2 KiB",
                "├── a  3 B",
                "├── q/  1 blob, 2 KiB",
                "│   └── c  2 KiB",
                "└── z  0 B",
            ]
        );
        assert_eq!(lines([].into_iter()), [""; 0]);
    }
}
