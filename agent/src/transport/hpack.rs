//! HPACK (RFC 7541), the half that a receiver needs: header blocks are decoded,
//! and fields are written as literals that use no table.
//!
//! The rewriter calls it once for each complete header block, in the order in
//! which the blocks came, since each may change the dynamic table that the next
//! one refers to. An error leaves the table in an unknown state; the connection
//! has to end (RFC 9113, section 4.3).
//!
//! The block is hostile. Work and memory are bounded by its length, by the
//! limit on the decoded list, which ends the decoding in the middle of a block,
//! and by the table's 4,096 bytes. Names and values are bytes here: whether
//! they are fit for HTTP is for the HTTP/2 server to say, which gets them
//! unchanged.
//!
//! Why not a crate: loona-hpack builds a hash map for each Huffman string,
//! httlib-hpack moves the rest of the block for each field, and neither stops
//! at a limit on the list. h2 keeps its own to itself.

mod dynamic_table;
mod huffman;
mod static_table;
#[cfg(test)]
pub(super) mod tests;

use dynamic_table::DynamicTable;
use static_table::STATIC_TABLE;

/// What a field counts beyond the bytes of its name and value, in the dynamic
/// table (RFC 7541, section 4.1) and in a header list (RFC 9113, section 10.5.1).
const FIELD_OVERHEAD: usize = 32;

/// Bytes that the dynamic table may hold: the default of
/// `SETTINGS_HEADER_TABLE_SIZE`, which our HTTP/2 server leaves as it is.
const TABLE_SIZE: usize = 4096;

/// Octets after the prefix of an integer: enough for 2^28, and no header block
/// of ours comes near (RFC 7541, section 5.1, asks for a limit).
const INTEGER_SHIFTS: [u32; 4] = [0, 7, 14, 21];

/// The flag of a Huffman-coded string (RFC 7541, section 5.2).
const HUFFMAN: u8 = 0x80;

/// Why a header block cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HpackError {
    /// The block ends within a field.
    #[error("the header block ends within a field")]
    Truncated,
    /// An integer has more octets than any that fits.
    #[error("an integer is too large")]
    IntegerTooLarge,
    /// A reference to an entry that no table has.
    #[error("an index points outside of the tables")]
    UnknownIndex,
    /// A string is not Huffman code.
    #[error("a string is not valid Huffman code")]
    Huffman,
    /// The dynamic table's size is changed after the first field, or beyond its limit.
    #[error("the size of the dynamic table is changed where or to what it may not be")]
    TableSize,
    /// The decoded fields exceed the limit.
    #[error("the header list is too long")]
    ListTooLong,
}

/// A header field as it was decoded.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    /// The sender forbids to put it into any table (RFC 7541, section 7.1.3).
    pub(super) never_indexed: bool,
}

impl Field<'_> {
    /// Appends the field as a literal with a literal name (RFC 7541, sections
    /// 6.2.2 and 6.2.3): at most 7 bytes beyond name and value where each is
    /// shorter than 16 KiB.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.push(if self.never_indexed { 0x10 } else { 0x00 });
        write_string(self.name, out);
        write_string(self.value, out);
    }

    const fn size(self) -> usize {
        self.name.len() + self.value.len() + FIELD_OVERHEAD
    }
}

/// Appends `text` as a string without Huffman code (RFC 7541, section 5.2).
fn write_string(text: &[u8], out: &mut Vec<u8>) {
    const PREFIX: usize = 0x7f;
    let mut length = text.len();
    if length < PREFIX {
        out.push(low_bits(length));
    } else {
        out.push(0x7f);
        length -= PREFIX;
        while length > PREFIX {
            out.push(low_bits(length) | 0x80);
            length >>= 7;
        }
        out.push(low_bits(length));
    }
    out.extend_from_slice(text);
}

/// The seven lowest bits of `value`.
const fn low_bits(value: usize) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

/// Decodes the header blocks of one direction of one connection.
#[derive(Default)]
pub(super) struct Decoder {
    table: DynamicTable,
}

impl Decoder {
    /// Decodes a whole header block and gives its fields to `each`, in order,
    /// until they count more than `max_list` bytes (RFC 9113, section 10.5.1).
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        max_list: usize,
        mut each: impl FnMut(Field<'_>),
    ) -> Result<(), HpackError> {
        let mut input = Input(block);
        let mut literal = Literal::default();
        let mut left = max_list;
        let mut in_fields = false;
        while let Some(first) = input.first() {
            if is_size_update(first) {
                // Only at the beginning of a block (RFC 7541, section 4.2).
                let size = input.integer(5)?;
                if in_fields || !self.table.resize(size) {
                    return Err(HpackError::TableSize);
                }
                continue;
            }
            in_fields = true;
            let form = Form::of(first);
            let field = self.field(form, &mut input, &mut literal)?;
            left = left
                .checked_sub(field.size())
                .ok_or(HpackError::ListTooLong)?;
            each(field);
            if matches!(form, Form::Indexing) {
                self.table.insert(&literal.text, literal.name_length);
            }
        }
        Ok(())
    }

    /// Reads a field of the given form; a literal one is left in `literal`.
    fn field<'a>(
        &'a self,
        form: Form,
        input: &mut Input<'_>,
        literal: &'a mut Literal,
    ) -> Result<Field<'a>, HpackError> {
        let (name, value) = match form {
            Form::Indexed => self.entry(input.integer(7)?)?,
            Form::Indexing => self.literal(input, 6, literal)?,
            Form::NeverIndexed | Form::Plain => self.literal(input, 4, literal)?,
        };
        Ok(Field {
            name,
            value,
            never_indexed: matches!(form, Form::NeverIndexed),
        })
    }

    /// Reads a literal field, whose name may be an index (RFC 7541, section 6.2).
    fn literal<'a>(
        &self,
        input: &mut Input<'_>,
        prefix: u32,
        literal: &'a mut Literal,
    ) -> Result<(&'a [u8], &'a [u8]), HpackError> {
        literal.text.clear();
        match input.integer(prefix)? {
            0 => input.string(&mut literal.text)?,
            index => literal.text.extend_from_slice(self.entry(index)?.0),
        }
        literal.name_length = literal.text.len();
        input.string(&mut literal.text)?;
        literal
            .text
            .split_at_checked(literal.name_length)
            .ok_or(HpackError::Truncated)
    }

    /// The entry at `index` of both tables (RFC 7541, section 2.3.3).
    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), HpackError> {
        let index = index.checked_sub(1).ok_or(HpackError::UnknownIndex)?;
        match STATIC_TABLE.get(index) {
            Some((name, value)) => Ok((name.as_bytes(), value.as_bytes())),
            None => self
                .table
                .entry(index - STATIC_TABLE.len())
                .ok_or(HpackError::UnknownIndex),
        }
    }
}

/// The text of a literal field: its name, then its value.
#[derive(Default)]
struct Literal {
    text: Vec<u8>,
    name_length: usize,
}

/// How a field is represented (RFC 7541, sections 6.1 and 6.2).
#[derive(Clone, Copy)]
enum Form {
    Indexed,
    Indexing,
    NeverIndexed,
    Plain,
}

impl Form {
    /// The form that a field's first octet tells.
    const fn of(first: u8) -> Self {
        match first.leading_zeros() {
            0 => Self::Indexed,
            1 => Self::Indexing,
            3 => Self::NeverIndexed,
            _ => Self::Plain,
        }
    }
}

/// Whether an octet begins a change of the dynamic table's size, and no field
/// (RFC 7541, section 6.3).
const fn is_size_update(first: u8) -> bool {
    first.leading_zeros() == 2
}

/// What is left of a header block.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn first(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn octet(&mut self) -> Result<u8, HpackError> {
        let (&octet, rest) = self.0.split_first().ok_or(HpackError::Truncated)?;
        self.0 = rest;
        Ok(octet)
    }

    /// Reads an integer with a prefix of so many bits (RFC 7541, section 5.1).
    fn integer(&mut self, prefix: u32) -> Result<usize, HpackError> {
        let mask = (1 << prefix) - 1;
        let mut value = usize::from(self.octet()?) & mask;
        if value < mask {
            return Ok(value);
        }
        for shift in INTEGER_SHIFTS {
            let octet = self.octet()?;
            value += usize::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(HpackError::IntegerTooLarge)
    }

    /// Reads a string and appends it to `out` (RFC 7541, section 5.2).
    fn string(&mut self, out: &mut Vec<u8>) -> Result<(), HpackError> {
        let coded = self.first().is_some_and(|octet| octet & HUFFMAN != 0);
        let length = self.integer(7)?;
        let (text, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(HpackError::Truncated)?;
        self.0 = rest;
        if coded {
            huffman::decode(text, out)
        } else {
            out.extend_from_slice(text);
            Ok(())
        }
    }
}
