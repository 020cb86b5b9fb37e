//! Header blocks, good and bad; the good ones are those of RFC 7541, Appendix C.

use super::{Decoder, Field, HpackError, STATIC_TABLE};

type List = Vec<(String, String)>;

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<List, HpackError> {
    decode_within(decoder, block, 16 * 1024)
}

fn decode_within(decoder: &mut Decoder, block: &[u8], max: usize) -> Result<List, HpackError> {
    let mut list = List::new();
    decoder.decode(block, max, |field| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        list.push((text(field.name), text(field.value)));
    })?;
    Ok(list)
}

fn list(fields: &[(&str, &str)]) -> List {
    let text = |text: &str| text.to_owned();
    fields.iter().map(|(n, v)| (text(n), text(v))).collect()
}

pub(in crate::transport) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|b| *b != b' ').collect();
    let octet = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(octet).collect()
}

/// A literal with indexing: `name: value`, not Huffman-coded, both below 127 bytes.
fn indexing(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0x40];
    for text in [name, value] {
        block.push(u8::try_from(text.len()).unwrap());
        block.extend(text.bytes());
    }
    block
}

/// RFC 7541, sections C.3 and C.4: the same three requests, plain and Huffman-coded.
#[test]
fn the_standards_requests_are_decoded() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        let mut next = blocks
            .iter()
            .map(|block| decode(&mut decoder, &hex(block)).unwrap());
        let first = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "www.example.com"),
        ];
        assert_eq!(next.next(), Some(list(&first)));
        let second = [&first[..], &[("cache-control", "no-cache")]].concat();
        assert_eq!(next.next(), Some(list(&second)));
        let third = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        assert_eq!(next.next(), Some(list(&third)));
    }
}

/// RFC 7541, section C.5: entries are evicted from a table of 256 bytes.
#[test]
fn the_standards_responses_are_decoded_with_a_small_table() {
    let mut decoder = Decoder::default();
    let first = "3fe1 01 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 \
                 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 \
                 7861 6d70 6c65 2e63 6f6d";
    let with_status = |status| {
        list(&[
            (":status", status),
            ("cache-control", "private"),
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("location", "https://www.example.com"),
        ])
    };
    assert_eq!(decode(&mut decoder, &hex(first)), Ok(with_status("302")));
    assert_eq!(
        decode(&mut decoder, &hex("4803 3330 37c1 c0bf")),
        Ok(with_status("307"))
    );
    // The second response evicted the first one's status, which came first.
    assert_eq!(
        decode(&mut decoder, &hex("c2")),
        Err(HpackError::UnknownIndex)
    );
}

#[test]
fn every_static_entry_has_its_index() {
    for (position, entry) in STATIC_TABLE.iter().enumerate() {
        let index = u8::try_from(position + 1).unwrap();
        let decoded = decode(&mut Decoder::default(), &[0x80 | index]);
        assert_eq!(decoded, Ok(list(&[*entry])));
    }
    // RFC 7541, Appendix A.
    assert_eq!(STATIC_TABLE[0], (":authority", ""));
    assert_eq!(STATIC_TABLE[15], ("accept-encoding", "gzip, deflate"));
    assert_eq!(STATIC_TABLE[60], ("www-authenticate", ""));
}

#[test]
fn malformed_blocks_are_refused() {
    use HpackError::{Huffman, IntegerTooLarge, TableSize, Truncated, UnknownIndex};
    for (block, error) in [
        ("80", UnknownIndex),                   // index 0
        ("be", UnknownIndex),                   // index 62 of an empty dynamic table
        ("7e 00", UnknownIndex),                // the same as a name
        ("0f 2f 00", UnknownIndex),             // likewise, without indexing
        ("ff ff ff ff 7f", UnknownIndex),       // an index far outside
        ("ff ff ff ff ff 00", IntegerTooLarge), // one octet too many
        ("ff 80 80 80 80 00", IntegerTooLarge), // likewise, of zeros
        ("ff", Truncated),                      // within an integer
        ("ff 80", Truncated),                   // within an integer
        ("40", Truncated),                      // no name
        ("40 01", Truncated),                   // no octet of the name
        ("40 01 61", Truncated),                // no value
        ("40 01 61 02 62", Truncated),          // the value is short
        ("00 7f ff ff ff 7f 61", Truncated),    // a name of 2^28 bytes
        ("41 81 00", Huffman),                  // five zeros and no padding
        ("41 81 ff", Huffman),                  // padding only
        ("41 84 ff ff ff ff", Huffman),         // the end-of-string symbol
        ("3f e2 1f", TableSize),                // 4,097
        ("82 20", TableSize),                   // after a field
        ("82 3f e1 1f 82", TableSize),          // between fields
    ] {
        let decoded = decode(&mut Decoder::default(), &hex(block));
        assert_eq!(decoded, Err(error), "{block}");
    }
}

#[test]
fn size_updates_come_first_and_empty_the_table() {
    let mut decoder = Decoder::default();
    decode(&mut decoder, &indexing("a", "b")).unwrap();
    assert_eq!(decode(&mut decoder, &hex("be")), Ok(list(&[("a", "b")])));
    // 4,096, the size it has: nothing changes.
    assert_eq!(
        decode(&mut decoder, &hex("3f e1 1f be")),
        Ok(list(&[("a", "b")]))
    );
    // 0 and 4,096 again, in one block (RFC 7541, section 4.2).
    assert_eq!(
        decode(&mut decoder, &hex("20 3f e1 1f 82")),
        Ok(list(&[(":method", "GET")]))
    );
    assert_eq!(
        decode(&mut decoder, &hex("be")),
        Err(HpackError::UnknownIndex)
    );
}

#[test]
fn a_name_may_come_from_the_entry_that_its_field_evicts() {
    let mut decoder = Decoder::default();
    // Room for one entry of 34 bytes: the second one takes the first one's name.
    let mut block = hex("3f 03");
    block.extend(indexing("n", "v"));
    block.extend(hex("7e 01 77"));
    assert_eq!(
        decode(&mut decoder, &block),
        Ok(list(&[("n", "v"), ("n", "w")]))
    );
    assert_eq!(decode(&mut decoder, &hex("be")), Ok(list(&[("n", "w")])));
    assert_eq!(
        decode(&mut decoder, &hex("bf")),
        Err(HpackError::UnknownIndex)
    );
}

/// A few bytes refer to a large entry again and again (CVE-2016-1544, CVE-2016-2525).
#[test]
fn a_block_that_decodes_to_too_much_ends_at_the_limit() {
    let mut decoder = Decoder::default();
    decode(&mut decoder, &indexing("a", &"b".repeat(99))).unwrap();
    let mut fields = 0;
    let bomb = decoder.decode(&[0xbe; 16 * 1024], 1000, |_| fields += 1);
    assert_eq!(bomb, Err(HpackError::ListTooLong));
    assert_eq!(fields, 7, "of 132 bytes each");
}

#[test]
fn a_list_may_be_as_long_as_the_limit() {
    // `:method: GET` counts 42 bytes (RFC 9113, section 10.5.1).
    let decoder = &mut Decoder::default();
    decode_within(decoder, &[0x82, 0x82], 84).unwrap();
    assert_eq!(
        decode_within(decoder, &[0x82, 0x82], 83),
        Err(HpackError::ListTooLong)
    );
}

#[test]
fn what_is_written_is_decoded_to_the_same() {
    for length in [0, 1, 126, 127, 128, 254, 255, 256, 16_383, 16_384] {
        for never_indexed in [false, true] {
            let value = vec![0xfe; length];
            let field = Field {
                name: b"name",
                value: &value,
                never_indexed,
            };
            let mut block = Vec::new();
            field.write(&mut block);
            let length_octets = match length {
                0..=126 => 1,
                127..=254 => 2,
                _ => 3,
            };
            assert_eq!(block.len(), 1 + 1 + 4 + length_octets + length);
            let mut read = Vec::new();
            Decoder::default()
                .decode(&block, usize::MAX, |field| {
                    assert_eq!(field.name, b"name");
                    assert_eq!(field.never_indexed, never_indexed);
                    read = field.value.to_vec();
                })
                .unwrap();
            assert_eq!(read, value);
        }
    }
}
