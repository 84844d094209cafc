//! `follows` over random lines of charters, against a model: a line is the list of what
//! its epochs say.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;

/// What an owner does next to a charter that it knows.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// The next epoch, with this device revoked; below its epoch its blobs count, or none do.
    Revoke(u8, bool),
    /// The next epoch, of a new root with this number.
    Succeed(u8),
}

/// What the state of one epoch says: revoked devices and later roots, each by number and `until`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Content {
    revoked: BTreeMap<u8, u32>,
    roots: Vec<(u8, u32)>,
}

impl Content {
    /// The secret of the last root.
    fn root(&self) -> Pair {
        Pair::of(self.roots.last().map_or(1, |(number, _)| *number))
    }
}

/// A charter, and what its epoch and all those before say.
struct Node {
    charter: HeldCharter,
    line: Vec<Content>,
}

impl Node {
    fn first() -> Self {
        let root = Pair::of(1);
        let charter = root.charter(1, &first_state(&root));
        Self { charter, line: vec![Content::default()] }
    }

    /// The charter that an owner makes who knows this one, with a serial so many above that of the
    /// known one, or above zero in the next epoch: `None` is one of the same state.
    fn next(&self, change: Option<Change>, above: u64) -> Self {
        let content = &self.line[self.line.len() - 1];
        let Some(change) = change else {
            let serial = self.charter.serial() + above;
            let charter = content.root().charter(serial, self.charter.state().fields());
            return Self { charter, line: self.line.clone() };
        };
        let mut state = next_epoch(self.charter.state());
        let mut next = content.clone();
        let epoch = self.line.len() as u32;
        match change {
            Change::Revoke(device, is_dated_back) => {
                let until = if is_dated_back { 0 } else { epoch };
                state.revoked.insert(Pair::of(device).device(), Epoch::new(until));
                next.revoked.insert(device, until);
            }
            Change::Succeed(number) => {
                next.roots.push((number, epoch));
                let index = next.roots.len() as u8;
                let signed = content.root().succession(&state.vault(), index, &next.root(), epoch);
                state.later_roots.push(signed);
            }
        }
        let charter = next.root().charter(above, &state);
        Self { charter, line: [&self.line[..], &[next]].concat() }
    }
}

/// What the page says of two charters, by what their epochs say.
fn expected(new: &Node, known: &Node) -> Follows {
    let common = new.line.len().min(known.line.len());
    if new.line[..common] != known.line[..common] {
        return Follows::Fork;
    }
    // Of two epochs the later one decides, of one epoch the serial.
    let order = match new.line.len().cmp(&known.line.len()) {
        Ordering::Equal => new.charter.serial().cmp(&known.charter.serial()),
        of_epochs => of_epochs,
    };
    match order {
        Ordering::Less => Follows::Older,
        Ordering::Equal => Follows::Same,
        Ordering::Greater => Follows::Newer,
    }
}

fn changes() -> impl Strategy<Value = Option<Change>> {
    prop_oneof![
        2 => Just(None),
        3 => (10..13_u8, any::<bool>())
            .prop_map(|(device, is_dated_back)| Some(Change::Revoke(device, is_dated_back))),
        1 => (100..102_u8).prop_map(|number| Some(Change::Succeed(number))),
    ]
}

/// A tree of charters: each step says which charter its owner knows, and what the owner does.
fn trees() -> impl Strategy<Value = Vec<Node>> {
    let step = (any::<prop::sample::Index>(), changes(), 1..4_u64);
    prop::collection::vec(step, 1..10).prop_map(|steps| {
        let mut nodes = vec![Node::first()];
        for (parent, change, above) in steps {
            let parent = parent.get(&nodes);
            let node = parent.next(change, above);
            nodes.push(node);
        }
        nodes
    })
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "serial {} of {:?}", self.charter.serial(), self.line)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Every two charters of a tree stand to one another as the model says. No two follow each
    /// other, a fork is one from both sides and never follows, and what follows what follows a
    /// known charter follows that one.
    #[test]
    fn charters_follow_as_the_model_of_changes_says(nodes in trees()) {
        let follows = |new: &Node, known: &Node| {
            new.charter.follows(&known.charter, Recipients::Unread)
        };
        for a in &nodes {
            for b in &nodes {
                let verdict = follows(a, b);
                prop_assert_eq!(verdict, expected(a, b), "{:?} to one who knows {:?}", a, b);
                let back = follows(b, a);
                prop_assert!(!(verdict == Follows::Newer && back == Follows::Newer));
                prop_assert_eq!(verdict == Follows::Fork, back == Follows::Fork);
                prop_assert_eq!(verdict == Follows::Same, back == Follows::Same);
                for c in &nodes {
                    if verdict == Follows::Newer && follows(b, c) == Follows::Newer {
                        prop_assert_eq!(follows(a, c), Follows::Newer);
                    }
                }
            }
        }
    }

    /// What an owner makes of the charter that it knows follows it.
    #[test]
    fn charter_made_of_known_one_follows_it(
        path in prop::collection::vec((changes(), 1..4_u64), 1..8),
    ) {
        let mut known = Node::first();
        for (change, above) in path {
            let new = known.next(change, above);
            let verdict = new.charter.follows(&known.charter, Recipients::Unread);
            prop_assert_eq!(verdict, Follows::Newer);
            known = new;
        }
    }
}
