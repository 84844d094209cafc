//! A charter: only the golden ones hold for the golden vault, and one that holds is the only
//! encoding of what it says.

use zput_proto::vault::{Follows, HeldCharter, Recipients};

use super::golden_v2::{CHARTERS, HELD, VAULT};

pub(crate) fn run(input: &[u8]) {
    let Ok(charter) = HeldCharter::parse(input, &VAULT) else {
        return;
    };
    assert!(CHARTERS.contains(&input), "a charter that no root has signed holds");
    assert_eq!(charter.as_bytes(), input);
    let state = charter.state().fields().encode();
    assert!(state.is_ok_and(|state| input[STATE..].starts_with(&state)));
    for known in &*HELD {
        let follows = charter.follows(known, Recipients::Unread);
        let back = known.follows(&charter, Recipients::Unread);
        assert_eq!(follows == Follows::Same, known.as_bytes() == input);
        assert_eq!(follows == Follows::Fork, back == Follows::Fork);
        assert!(follows != Follows::Newer || back == Follows::Older);
    }
}

/// Where the state begins.
const STATE: usize = 26;
