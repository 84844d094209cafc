//! The type's promises, checked with what others published.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

/// c2sp.org/age, "The X25519 recipient type".
#[test]
fn the_specification_s_x25519_identity_has_its_recipient() {
    let text = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    let identity: Identity = text.parse().unwrap();
    assert_eq!(
        identity.to_recipient().to_string(),
        "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"
    );
    assert_eq!(identity.to_secret_string().as_str(), text);
}

#[test]
fn what_a_recipient_wraps_its_identity_unwraps() {
    let mut rng = StdRng::seed_from_u64(1);
    for make in [Identity::generate_hybrid, Identity::generate_x25519] {
        let (identity, other) = (make(&mut rng), make(&mut rng));
        let file_key = FileKey::generate(&mut rng);
        let stanza = identity.to_recipient().wrap(&file_key, &mut rng).unwrap();
        let mut text = Vec::new();
        stanza.encode(&mut text);
        let stanzas = Stanza::parse_all(&text).unwrap();
        assert_eq!(stanzas, [stanza]);
        assert_eq!(identity.unwrap(&stanzas), Ok(Some(file_key)));
        assert_eq!(other.unwrap(&stanzas), Ok(None));
    }
}
