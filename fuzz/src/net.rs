//! Addresses as people write them: the parsers of the command line, compiled in here because a binary has no library.

#[path = "../../cmd/src/net.rs"]
#[allow(dead_code, reason = "only the parsers are of interest here")]
mod written;

use written::{Cidr, canonical, normal_target, parse_listen, unusable_for_container};

/// Text → target, listening address or prefix: what comes out reads back as itself.
pub fn written_address(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(target) = normal_target(text) {
        assert_eq!(normal_target(&target).as_ref(), Ok(&target), "from {text:?}");
        assert!(target.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if let Ok(address) = parse_listen(text) {
        assert_eq!(parse_listen(&address.to_string()), Ok(address));
        assert_eq!(canonical(canonical(address)), canonical(address));
    }
    if let Ok(cidr) = text.parse::<Cidr>() {
        assert_eq!(cidr.to_string().parse(), Ok(cidr));
        // Any address and prefix has an answer.
        let _: Option<&str> = unusable_for_container(&cidr);
    }
}
