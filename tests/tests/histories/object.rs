//! What an object does, one call at a time.

use std::collections::BTreeMap;

use zput_proto::message::{Condition, VersionState};

use super::checker::Model;

/// A request and its answer. Each put has a number that no other put has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Put {
        body: u32,
        condition: Condition,
        answer: Answer,
    },
    Delete {
        condition: Condition,
        answer: Answer,
    },
    Restore {
        version: u64,
        answer: Answer,
    },
    /// Of the current version, or of another one: which it was, and what was in it.
    Get {
        version: Option<u64>,
        found: Option<(u64, u32)>,
    },
    List {
        found: Vec<(u64, VersionState)>,
    },
}

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is done, and this is the version.
    Done(u64),
    NotFound,
    /// The condition does not hold.
    Exists,
}

/// An object of a store.
pub(crate) struct Object;

impl Model for Object {
    /// Every version that there is: what is in it, and where it is.
    type State = BTreeMap<u64, (u32, Place)>;
    type Call = Call;

    fn step(state: &Self::State, call: &Call) -> Option<Self::State> {
        let current = current(state);
        match call {
            Call::Put { body, condition, answer } => match (holds(*condition, current), answer) {
                (true, Answer::Done(version)) => put(state, *version, *body),
                (false, Answer::Exists) => Some(state.clone()),
                _ => None,
            },
            Call::Delete { condition, answer } => match (current, answer) {
                (None, Answer::NotFound) => Some(state.clone()),
                (Some(version), Answer::Done(told)) if holds(*condition, current) => {
                    (version == *told).then(|| moved(state, version, Place::Trash))
                }
                (Some(_), Answer::Exists) if !holds(*condition, current) => Some(state.clone()),
                _ => None,
            },
            Call::Restore { version, answer } => match (state.get(version), answer) {
                (None, Answer::NotFound) => Some(state.clone()),
                (Some((_, Place::Current)), Answer::Done(told)) if told == version => {
                    Some(state.clone())
                }
                (Some((_, Place::Trash)), Answer::Done(told))
                    if told == version && current.is_none() =>
                {
                    Some(moved(state, *version, Place::Current))
                }
                // A copy. That one was needed was decided when the restore began; versions are
                // never lost, so it is as good when the current one has been deleted meanwhile.
                (Some((body, _)), Answer::Done(told)) => put(state, *told, *body),
                _ => None,
            },
            Call::Get { version, found } => {
                let wanted = version.or(current);
                let there = wanted.and_then(|version| Some((version, state.get(&version)?.0)));
                (there == *found).then(|| state.clone())
            }
            Call::List { found } => {
                let there = state.iter().rev().map(|(version, (_, place))| (*version, *place));
                let found = found.iter().map(|(version, state)| (*version, Place::of(*state)));
                there.eq(found).then(|| state.clone())
            }
        }
    }
}

/// [`VersionState`], as part of a state that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Current,
    History,
    Trash,
}

impl Place {
    fn of(state: VersionState) -> Self {
        match state {
            VersionState::Current => Self::Current,
            VersionState::History => Self::History,
            VersionState::Trash => Self::Trash,
        }
    }
}

type State = <Object as Model>::State;

fn current(state: &State) -> Option<u64> {
    state.iter().find(|(_, (_, place))| *place == Place::Current).map(|(version, _)| *version)
}

fn holds(condition: Condition, current: Option<u64>) -> bool {
    match condition {
        Condition::Any => true,
        Condition::Absent => current.is_none(),
        Condition::Version(version) => current == Some(version.0),
    }
}

fn moved(state: &State, version: u64, to: Place) -> State {
    let mut state = state.clone();
    state.entry(version).and_modify(|(_, place)| *place = to);
    state
}

/// A new version is above all others.
fn put(state: &State, version: u64, body: u32) -> Option<State> {
    if state.keys().any(|other| *other >= version) {
        return None;
    }
    let mut state = match current(state) {
        Some(current) => moved(state, current, Place::History),
        None => state.clone(),
    };
    state.insert(version, (body, Place::Current));
    Some(state)
}
