//! `/proc/PID/auxv` (`proc_pid_auxv(5)`, `getauxval(3)`) and `/proc/PID/personality`.

use super::Malformed;

/// `AT_NULL`: ends the vector.
const END: u64 = 0;
/// `AT_RANDOM`: where the kernel put 16 random bytes, on the stack.
const RANDOM: u64 = 25;

/// Most pairs that a kernel keeps for a process (`AT_VECTOR_SIZE`), with room to grow.
const MAX_PAIRS: usize = 64;

/// Whether `bytes` are a whole vector that says where the image's random bytes lie.
///
/// The kernel fills the vector in as the last step of an `execve`; until then the new image's is
/// empty. Words are 64 bits wide, or 32 in a program of the compatible architecture.
///
/// # Errors
/// Where it is no vector: of another length than whole pairs, without its end, with
/// anything behind that, or longer than any kernel's.
pub fn auxv_is_complete(bytes: &[u8]) -> Result<bool, Malformed> {
    vector::<8>(bytes).or_else(|_wide| vector::<4>(bytes))
}

fn vector<const WORD: usize>(bytes: &[u8]) -> Result<bool, Malformed> {
    let (words, rest) = bytes.as_chunks::<WORD>();
    let (pairs, odd) = words.as_chunks::<2>();
    if !rest.is_empty() || !odd.is_empty() {
        return Err(Malformed("auxv: no whole pairs"));
    }
    if pairs.len() > MAX_PAIRS {
        return Err(Malformed("auxv: too long"));
    }
    let Some(([end, _], entries)) = pairs.split_last() else {
        return Err(Malformed("auxv: empty"));
    };
    if word(end) != END || entries.iter().any(|[key, _]| word(key) == END) {
        return Err(Malformed("auxv: no end, or more behind it"));
    }
    let place = |[key, value]: &[[u8; WORD]; 2]| word(key) == RANDOM && word(value) != 0;
    Ok(entries.iter().any(place))
}

/// A word in the machine's byte order.
fn word<const WORD: usize>(bytes: &[u8; WORD]) -> u64 {
    let shift = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    if cfg!(target_endian = "big") {
        bytes.iter().fold(0, shift)
    } else {
        bytes.iter().rev().fold(0, shift)
    }
}

/// Whether the process executes programs without address space layout randomization
/// (`ADDR_NO_RANDOMIZE` in `/proc/PID/personality`).
///
/// # Errors
/// Where it is no hexadecimal number of eight digits.
pub fn is_unrandomized(bytes: &[u8]) -> Result<bool, Malformed> {
    const ADDR_NO_RANDOMIZE: u32 = 0x0004_0000;
    let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let personality = str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .ok_or(Malformed("personality"))?;
    Ok(personality & ADDR_NO_RANDOMIZE != 0)
}

#[cfg(test)]
mod tests {
    use super::{auxv_is_complete, is_unrandomized};
    use proptest::prelude::*;

    fn wide(pairs: &[(u64, u64)]) -> Vec<u8> {
        let words = pairs.iter().flat_map(|(key, value)| [key, value]);
        words.flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn narrow(pairs: &[(u32, u32)]) -> Vec<u8> {
        let words = pairs.iter().flat_map(|(key, value)| [key, value]);
        words.flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn a_vector_is_complete_once_it_names_the_random_bytes() {
        let here = std::fs::read("/proc/self/auxv").unwrap();
        assert_eq!(auxv_is_complete(&here), Ok(true));
        let vector = [(33, 0x7fff_0000_0000), (25, 0x7ffc_0000_0001), (0, 0)];
        assert_eq!(auxv_is_complete(&wide(&vector)), Ok(true));
        let vector = [(32, 0xf7f0_0000), (25, 0xffff_0001), (0, 0)];
        assert_eq!(auxv_is_complete(&narrow(&vector)), Ok(true));
    }

    #[test]
    fn an_image_in_the_making_has_an_empty_vector() {
        assert_eq!(auxv_is_complete(&wide(&[(0, 0)])), Ok(false));
        assert_eq!(auxv_is_complete(&narrow(&[(0, 0)])), Ok(false));
        assert_eq!(auxv_is_complete(&wide(&[(25, 0), (0, 0)])), Ok(false));
    }

    #[test]
    fn other_bytes_are_refused() {
        let whole = wide(&[(25, 0x7ffc_0000_0001), (6, 4096), (0, 0)]);
        for end in (1..whole.len()).filter(|end| end % 8 != 0) {
            auxv_is_complete(&whole[..end]).unwrap_err();
        }
        auxv_is_complete(b"").unwrap_err();
        auxv_is_complete(&whole[..32]).unwrap_err();
        auxv_is_complete(&wide(&[(25, 1), (0, 0), (6, 4096), (0, 0)])).unwrap_err();
        auxv_is_complete(&wide(&[(0x0100_0000_0001, 1); 65])).unwrap_err();
    }

    #[test]
    fn the_personality_says_whether_addresses_are_random() {
        assert_eq!(is_unrandomized(b"00000000\n"), Ok(false));
        assert_eq!(is_unrandomized(b"00040000\n"), Ok(true));
        assert_eq!(is_unrandomized(b"ffffffff\n"), Ok(true));
        for text in [
            &b""[..],
            b"40000\n",
            b"0x040000\n",
            b"00040000\n\n",
            b"+0040000\n",
        ] {
            is_unrandomized(text).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn whatever_is_cut_off_a_vector_is_noticed(
            pairs in prop::collection::vec((1_u64 << 32.., any::<u64>()), 0..40),
            cut in 1_usize..64,
        ) {
            let mut whole = wide(&pairs);
            whole.extend(wide(&[(25, 1 << 33), (0, 0)]));
            prop_assert_eq!(auxv_is_complete(&whole), Ok(true));
            let end = whole.len().saturating_sub(cut);
            prop_assert_ne!(auxv_is_complete(&whole[..end]), Ok(true));
        }
    }
}
