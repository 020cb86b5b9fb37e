//! What the fuzz targets call: the parsers of files, with what has to hold of them.

use super::{issuer::CaKey, pem, state::State};

/// Blocks hold no more than the text, and a block written again is read again.
pub fn pem(text: &str) {
    let Ok(blocks) = pem::blocks(text) else {
        return;
    };
    let total: usize = blocks.iter().map(|block| block.content.len()).sum();
    assert!(total <= text.len());
    for block in blocks {
        let again = pem::certificate(&block.content);
        let [again] = &pem::blocks(&again).unwrap()[..] else {
            panic!("not one block");
        };
        assert!(again.content == block.content);
    }
}

/// A private key is read or refused.
pub fn key(der: &[u8]) {
    drop(CaKey::from_der(der));
}

/// A state that is read is written and read again as it was.
pub fn state(json: &[u8]) {
    if let Ok(state) = State::from_slice(json) {
        assert!(State::from_slice(&state.to_vec().unwrap()).unwrap() == state);
    }
}
