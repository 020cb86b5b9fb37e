//! The program headers of an ELF file (`elf(5)`), as far as the kernel reads them to run it.

use super::Malformed;

/// Bytes of the longer of the two forms of the file header.
pub const ELF_HEADER_BYTES: usize = 64;

/// `PT_INTERP`: the path of the program that loads this one.
const INTERPRETER: u32 = 3;

/// Longest table that the kernel takes.
const MAX_TABLE_BYTES: usize = 65_536;

/// Where the table of program headers lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProgramHeaders {
    /// Its first byte in the file.
    pub offset: u64,
    /// Its length in bytes: 65,536 at most.
    pub length: usize,
    entry: usize,
    is_big_endian: bool,
}

/// The table of program headers of the file that begins with `header`.
///
/// # Errors
/// What the kernel would not run.
pub fn program_headers(header: &[u8]) -> Result<ProgramHeaders, Malformed> {
    let malformed = Malformed("no ELF file that the kernel runs");
    let identification = header.first_chunk::<6>().ok_or(malformed)?;
    let (is_wide, is_big_endian) = match identification {
        [0x7f, b'E', b'L', b'F', class @ (1 | 2), order @ (1 | 2)] => (*class == 2, *order == 2),
        _ => return Err(malformed),
    };
    let fields = Fields {
        bytes: header,
        is_big_endian,
    };
    // e_phoff, e_phentsize and e_phnum.
    let (offset, sizes, entry) = if is_wide {
        (fields.number::<8>(32), 54, 56)
    } else {
        (fields.number::<4>(28), 42, 32)
    };
    let small = |at| {
        fields
            .number::<2>(at)
            .and_then(|number| usize::try_from(number).ok())
    };
    let (Some(offset), Some(size), Some(count)) = (offset, small(sizes), small(sizes + 2)) else {
        return Err(malformed);
    };
    let length = entry * count;
    if size != entry || !(1..=MAX_TABLE_BYTES).contains(&length) {
        return Err(malformed);
    }
    Ok(ProgramHeaders {
        offset,
        length,
        entry,
        is_big_endian,
    })
}

impl ProgramHeaders {
    /// Whether `table` names an interpreter, which loads the libraries of a program.
    ///
    /// # Errors
    /// A table of another length than the file header says.
    pub fn have_interpreter(&self, table: &[u8]) -> Result<bool, Malformed> {
        if table.len() != self.length {
            return Err(Malformed("ELF: the program headers are cut"));
        }
        Ok(table.chunks(self.entry).any(|bytes| {
            let fields = Fields {
                bytes,
                is_big_endian: self.is_big_endian,
            };
            fields.number::<4>(0) == Some(INTERPRETER.into())
        }))
    }
}

struct Fields<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
}

impl Fields<'_> {
    fn number<const BYTES: usize>(&self, at: usize) -> Option<u64> {
        let field: &[u8; BYTES] = self.bytes.get(at..)?.first_chunk()?;
        let join = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
        Some(if self.is_big_endian {
            field.iter().fold(0, join)
        } else {
            field.iter().rev().fold(0, join)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ELF_HEADER_BYTES, program_headers};

    fn header(class: u8, order: u8, size: u16, count: u16) -> Vec<u8> {
        let mut header = vec![0; ELF_HEADER_BYTES];
        header[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
        let bytes = |number: u16| match order {
            1 => number.to_le_bytes(),
            _ => number.to_be_bytes(),
        };
        let (offset, sizes) = if class == 2 { (32, 54) } else { (28, 42) };
        let width = if class == 2 { 8 } else { 4 };
        let low = if order == 1 {
            offset
        } else {
            offset + width - 2
        };
        header[low..low + 2].copy_from_slice(&bytes(64));
        header[sizes..sizes + 2].copy_from_slice(&bytes(size));
        header[sizes + 2..sizes + 4].copy_from_slice(&bytes(count));
        header
    }

    #[test]
    fn an_interpreter_is_found_in_every_form() {
        for (class, order, size) in [(2, 1, 56), (2, 2, 56), (1, 1, 32), (1, 2, 32)] {
            let headers = program_headers(&header(class, order, size, 3)).unwrap();
            assert_eq!(
                (headers.offset, headers.length),
                (64, 3 * usize::from(size))
            );
            let mut table = vec![0; headers.length];
            assert_eq!(headers.have_interpreter(&table), Ok(false));
            let kind = 2 * usize::from(size);
            table[if order == 1 { kind } else { kind + 3 }] = 3;
            assert_eq!(headers.have_interpreter(&table), Ok(true));
            headers.have_interpreter(&table[1..]).unwrap_err();
        }
    }

    #[test]
    fn what_the_kernel_does_not_run_is_refused() {
        for text in [
            header(3, 1, 56, 1),
            header(2, 3, 56, 1),
            header(2, 1, 32, 1),
            header(2, 1, 56, 0),
            header(2, 1, 56, 1171),
            header(2, 1, 56, 1)[..57].to_vec(),
            b"#!/bin/sh\n".to_vec(),
        ] {
            program_headers(&text).unwrap_err();
        }
    }

    #[test]
    fn our_own_program_has_an_interpreter() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let headers = program_headers(&program).unwrap();
        let start = usize::try_from(headers.offset).unwrap();
        let table = &program[start..start + headers.length];
        assert_eq!(headers.have_interpreter(table), Ok(true));
    }
}
