//! HPACK's Huffman code (RFC 7541, section 5.2 and Appendix B).
//!
//! The code is canonical: shorter codes come first, and codes of one length
//! count upwards in the order of their symbols. So the lengths alone, one for
//! each symbol, give all of it; the compiler computes the rest and proves that
//! the code leaves no bit pattern out.

use super::HpackError;

const SHORTEST: u32 = 5;
const LONGEST: u32 = 30;
/// The end-of-string symbol, which no string may contain.
const EOS: usize = 256;

/// Bits of each symbol's code (RFC 7541, Appendix B); the last one is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; EOS + 1] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The codes of one length. Codes are compared with 32 bits of the input, so
/// they stand at the upper end of 32 bits here.
#[derive(Clone, Copy)]
struct Row {
    length: u32,
    /// The first code.
    first: u64,
    /// The first code of the rows that follow.
    end: u64,
    /// Where in `SYMBOLS` the first code's symbol is.
    offset: usize,
}

const ROWS: usize = (LONGEST - SHORTEST + 1) as usize;

/// The rows, and the symbols in the order of their codes. EOS has the last code
/// of all, and so no place among the symbols.
static CODE: ([Row; ROWS], [u8; EOS]) = code();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated by the compiler"
)]
const fn code() -> ([Row; ROWS], [u8; EOS]) {
    let mut rows = [Row {
        length: 0,
        first: 0,
        end: 0,
        offset: 0,
    }; ROWS];
    let mut symbols = [0; EOS];
    let (mut end, mut count, mut row) = (0, 0, 0);
    while row < ROWS {
        let length = SHORTEST + row as u32;
        rows[row] = Row {
            length,
            first: end,
            end,
            offset: count,
        };
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as u32 == length {
                if symbol < EOS {
                    symbols[count] = symbol as u8;
                }
                count += 1;
                end += 1 << (32 - length);
            }
            symbol += 1;
        }
        rows[row].end = end;
        row += 1;
    }
    assert!(end == 1 << 32, "every bit pattern begins with a code");
    (rows, symbols)
}

/// Decodes `input` and appends the symbols to `out`: at most 8 for 5 octets.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    let mut octets = input.iter();
    // Bits not decoded yet, at the lower end, and how many they are.
    let (mut bits, mut have) = (0_u64, 0_u32);
    loop {
        while have < 32 {
            let Some(&octet) = octets.next() else { break };
            bits = bits << 8 | u64::from(octet);
            have += 8;
        }
        let window = window(bits, have);
        let (rows, symbols) = &CODE;
        let Some(row) = rows.iter().find(|row| window < row.end) else {
            return Err(HpackError::Huffman);
        };
        let Some(rest) = have.checked_sub(row.length) else {
            // The string ends within a code: that has to be padding, which is
            // shorter than an octet and all ones (RFC 7541, section 5.2).
            let padding = have < 8 && window == u64::from(u32::MAX);
            return if padding {
                Ok(())
            } else {
                Err(HpackError::Huffman)
            };
        };
        let position = (window - row.first) >> (32 - row.length);
        let symbol = usize::try_from(position)
            .ok()
            .and_then(|position| symbols.get(row.offset + position));
        // Only EOS has no symbol: an error within a string.
        out.push(*symbol.ok_or(HpackError::Huffman)?);
        have = rest;
    }
}

/// The next 32 bits, with ones where there are no more.
const fn window(bits: u64, have: u32) -> u64 {
    const ALL: u64 = u32::MAX as u64;
    match have.checked_sub(32) {
        Some(later) => bits >> later & ALL,
        None => (bits << (32 - have) | ALL >> have) & ALL,
    }
}

#[cfg(test)]
mod tests {
    use super::{CODE, EOS, LENGTHS, decode};
    use crate::transport::hpack::HpackError;

    fn decoded(input: &[u8]) -> Result<Vec<u8>, HpackError> {
        let mut out = Vec::new();
        decode(input, &mut out).map(|()| out)
    }

    /// The code of every symbol by the definition, as text of zeros and ones.
    fn codes() -> Vec<(usize, String)> {
        let mut order: Vec<usize> = (0..=EOS).collect();
        order.sort_by_key(|&symbol| (LENGTHS[symbol], symbol));
        let mut code = 0_u32;
        let mut length = LENGTHS[order[0]];
        order
            .into_iter()
            .map(|symbol| {
                code <<= LENGTHS[symbol] - length;
                length = LENGTHS[symbol];
                let text = format!("{code:0width$b}", width = usize::from(length));
                code = code.wrapping_add(1);
                (symbol, text)
            })
            .collect()
    }

    fn pack(bits: &str) -> Vec<u8> {
        let mut bits = bits.to_owned();
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        bits.as_bytes()
            .chunks(8)
            .map(|octet| u8::from_str_radix(str::from_utf8(octet).unwrap(), 2).unwrap())
            .collect()
    }

    #[test]
    fn every_symbol_is_decoded_alone_and_among_others() {
        for (symbol, code) in codes().into_iter().filter(|&(symbol, _)| symbol != EOS) {
            let symbol = u8::try_from(symbol).unwrap();
            assert_eq!(decoded(&pack(&code)), Ok(vec![symbol]));
            assert_eq!(decoded(&pack(&code.repeat(9))), Ok(vec![symbol; 9]));
        }
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        let codes = codes();
        let code = |wanted: usize| {
            &codes
                .iter()
                .find(|&&(symbol, _)| symbol == wanted)
                .unwrap()
                .1
        };
        // From RFC 7541, Appendix B.
        assert_eq!(code(usize::from(b'0')), "00000");
        assert_eq!(code(usize::from(b'a')), "00011");
        assert_eq!(code(usize::from(b'z')), "1111011");
        assert_eq!(code(usize::from(b'~')), "1111111111101");
        assert_eq!(code(0), "1111111111000");
        assert_eq!(code(255), "11111111111111111111101110");
        assert_eq!(code(22), "111111111111111111111111111110");
        assert_eq!(code(EOS), "111111111111111111111111111111");
        assert_eq!(CODE.1[EOS - 1], 22);
    }

    #[test]
    fn the_examples_of_the_standard_are_decoded() {
        // RFC 7541, sections C.4.1 and C.6.1.
        let host = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(decoded(&host), Ok(b"www.example.com".to_vec()));
        let date = [
            0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b,
            0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
        ];
        assert_eq!(
            decoded(&date),
            Ok(b"Mon, 21 Oct 2013 20:13:21 GMT".to_vec())
        );
    }

    #[test]
    fn padding_is_short_and_all_ones() {
        assert_eq!(decoded(&[]), Ok(vec![]));
        // 'a' is 00011; three bits of padding.
        assert_eq!(decoded(&[0b0001_1111]), Ok(b"a".to_vec()));
        for bad in [
            &[0b0001_1110][..],
            &[0b0001_1011],
            &[0xff],
            &[0b0001_1111, 0xff],
            &[0b0001_1111, 0xff, 0xff],
        ] {
            assert_eq!(decoded(bad), Err(HpackError::Huffman), "{bad:02x?}");
        }
    }

    #[test]
    fn the_end_of_string_symbol_is_refused() {
        assert_eq!(decoded(&[0xff; 4]), Err(HpackError::Huffman));
        assert_eq!(
            decoded(&pack(&format!("00011{}", "1".repeat(30)))),
            Err(HpackError::Huffman)
        );
    }
}
