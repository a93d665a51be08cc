//! The search of a file for keys, whatever they are dressed in.

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use std::collections::BTreeMap;

/// The bytes that a secret's token stands for, without its checksum.
pub fn secret_bytes(token: &str) -> Vec<u8> {
    let code = token.trim().strip_prefix("weft1-").unwrap().to_ascii_uppercase();
    let whole = &code.as_bytes()[..code.len() - code.len() % 8];
    BASE32_NOPAD.decode(whole).unwrap()[..32].to_vec()
}

/// Which of these keys stand in `bytes`, whole or half: raw, in hex, base32 or base64, at any place.
pub fn found(bytes: &[u8], keys: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let mut needles: BTreeMap<[u8; 8], Vec<(Vec<u8>, String)>> = BTreeMap::new();
    let mut add = |needle: Vec<u8>, name: String| {
        needles
            .entry(*needle.first_chunk().unwrap())
            .or_default()
            .push((needle, name));
    };
    for (name, key) in keys {
        for half in [&key[..key.len() / 2], &key[key.len() / 2..]] {
            add(half.to_vec(), format!("{name}, raw"));
            add(HEXLOWER.encode(half).into_bytes(), format!("{name}, hex"));
            add(HEXUPPER.encode(half).into_bytes(), format!("{name}, hex"));
            // Encoded as part of something longer, a key begins in the middle of a group of characters.
            for skip in 0..5 {
                let part = &half[skip.min(half.len())..];
                let part = &part[..part.len() - part.len() % 5];
                let text = BASE32_NOPAD.encode(part);
                if text.len() >= 8 {
                    add(text.to_ascii_lowercase().into_bytes(), format!("{name}, base32"));
                    add(text.into_bytes(), format!("{name}, base32"));
                }
            }
            for skip in 0..3 {
                let part = &half[skip..];
                let part = &part[..part.len() - part.len() % 3];
                for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
                    if part.len() >= 6 {
                        add(encoding.encode(part).into_bytes(), format!("{name}, base64"));
                    }
                }
            }
        }
    }
    let mut found = Vec::new();
    for at in 0..bytes.len().saturating_sub(7) {
        let start: &[u8; 8] = bytes[at..].first_chunk().unwrap();
        for (needle, name) in needles.get(start).into_iter().flatten() {
            if bytes[at..].starts_with(needle) {
                found.push(format!("{name} at {at}"));
            }
        }
    }
    found
}
