//! A power cut: what was synced stays, and of the rest any part.

use std::collections::BTreeMap;

use rand::{RngExt as _, rngs::StdRng};

use super::{Change, Directory, Disk, File, Node, ROOT, set, write};

/// What a cut took and what it left, of all that was not synced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loss {
    pub(crate) writes_lost: u64,
    pub(crate) writes_torn: u64,
    pub(crate) writes_kept: u64,
    pub(crate) entries_lost: u64,
    pub(crate) entries_kept: u64,
}

impl Loss {
    pub(crate) fn add(&mut self, other: Self) {
        self.writes_lost += other.writes_lost;
        self.writes_torn += other.writes_torn;
        self.writes_kept += other.writes_kept;
        self.entries_lost += other.entries_lost;
        self.entries_kept += other.entries_kept;
    }
}

impl Disk {
    /// What is there when the power is back.
    pub(crate) fn after_cut(&self, dice: &mut StdRng) -> (Self, Loss) {
        let mut loss = Loss::default();
        let odds = CutOdds::of(dice);
        let mut left = Self { next: self.next, honesty: self.honesty, ..Self::default() };
        left.nodes.clear();
        let mut reached = vec![ROOT];
        while let Some(inode) = reached.pop() {
            match (&self.nodes[&inode], left.nodes.get_mut(&inode)) {
                // Another name of a file that is there already.
                (_, Some(Node::File(file))) => file.names += 1,
                (Node::File(file), _) => {
                    let content = odds.file(file, dice, &mut loss);
                    let (now, synced) = (content.clone(), content);
                    let (names, modified) = (1, file.modified);
                    let file = File { now, synced, names, modified, ..File::default() };
                    left.nodes.insert(inode, Node::File(file));
                }
                (Node::Directory(directory), _) => {
                    let entries = odds.directory(directory, dice, &mut loss);
                    reached.extend(entries.values());
                    let (now, synced) = (entries.clone(), entries);
                    let mode = match dice.random_bool(0.5) {
                        true => directory.mode,
                        false => directory.synced_mode,
                    };
                    let directory = Directory { now, synced, ..Directory::of_mode(mode) };
                    left.nodes.insert(inode, Node::Directory(directory));
                }
            }
        }
        (left, loss)
    }
}

/// What one cut is inclined to keep: cuts that take all, nothing, the older or the newer are as
/// likely as those that take at random.
#[derive(Debug)]
struct CutOdds {
    /// How likely a write survives.
    writes: f64,
    /// How likely an entry does.
    entries: f64,
    /// How likely a write that is to survive is torn.
    torn: f64,
    /// The last write of a file survives, and no other.
    last_only: bool,
}

impl CutOdds {
    fn of(dice: &mut StdRng) -> Self {
        let mut likely = || [0.0, 0.1, 0.5, 0.9, 1.0][dice.random_range(0..5)];
        let (writes, entries) = (likely(), likely());
        let torn = [0.0, 0.3, 0.8][dice.random_range(0..3)];
        Self { writes, entries, torn, last_only: dice.random_bool(0.15) }
    }

    fn directory(
        &self,
        directory: &Directory,
        dice: &mut StdRng,
        loss: &mut Loss,
    ) -> BTreeMap<String, u64> {
        let mut entries = directory.synced.clone();
        for (name, to) in &directory.unsynced {
            if dice.random_bool(self.entries) {
                set(&mut entries, name.clone(), *to);
                loss.entries_kept += 1;
            } else {
                loss.entries_lost += 1;
            }
        }
        entries
    }

    fn file(&self, file: &File, dice: &mut StdRng, loss: &mut Loss) -> Vec<u8> {
        let mut content = file.synced.clone();
        // The length is metadata: it may be that of any moment since the sync, whatever happened to
        // the bytes.
        let mut lengths = vec![content.len()];
        let last = file.unsynced.len().saturating_sub(1);
        for (number, change) in file.unsynced.iter().enumerate() {
            lengths.push(change.length_behind(lengths[number]));
            let survives =
                if self.last_only { number == last } else { dice.random_bool(self.writes) };
            match change {
                _ if !survives => loss.writes_lost += 1,
                Change::Write { offset, bytes } if dice.random_bool(self.torn) => {
                    tear(&mut content, *offset, bytes, dice);
                    loss.writes_torn += 1;
                }
                change => {
                    change.apply(&mut content);
                    loss.writes_kept += 1;
                }
            }
        }
        if dice.random_bool(0.5) {
            content.resize(lengths[dice.random_range(0..lengths.len())], 0);
        }
        content
    }
}

/// Applies some of the sectors, or pages, of a write.
fn tear(content: &mut Vec<u8>, offset: usize, bytes: &[u8], dice: &mut StdRng) {
    let sector = if dice.random_bool(0.5) { 512 } else { 4096 };
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + sector - (offset + at) % sector);
        if dice.random_bool(0.5) {
            write(content, offset + at, &bytes[at..end]);
        }
        at = end;
    }
}
