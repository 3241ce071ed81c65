//! Protocol Buffers, as far as spans need them. <https://protobuf.dev/programming-guides/encoding/>
//!
//! Messages are written front to back, once: whoever writes one knows how long it is.

/// A field's number and what its value looks like, as one byte: fields up to 15.
pub(super) const fn varint_of(field: u8) -> u8 {
    field << 3
}

/// A field of eight bytes.
pub(super) const fn fixed64_of(field: u8) -> u8 {
    field << 3 | 1
}

/// A field whose value has its length before it: texts, bytes, messages.
pub(super) const fn delimited_of(field: u8) -> u8 {
    field << 3 | 2
}

/// How many bytes a number takes.
pub(super) const fn varint_len(number: u64) -> usize {
    // Seven bits a byte, and one byte for zero.
    (70 - (number | 1).leading_zeros() as usize) / 7
}

/// How many bytes a field takes whose value has so many.
pub(super) const fn delimited_len(value_len: usize) -> usize {
    1 + varint_len(value_len as u64) + value_len
}

pub(super) fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The beginning of a field whose value follows and has so many bytes.
pub(super) fn delimited(out: &mut Vec<u8>, tag: u8, value_len: usize) {
    out.push(tag);
    varint(out, value_len as u64);
}

pub(super) fn bytes(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    delimited(out, tag, value.len());
    out.extend_from_slice(value);
}

pub(super) fn fixed64(out: &mut Vec<u8>, tag: u8, value: u64) {
    out.push(tag);
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_that_are_written() {
        let around = |bits: u32| [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 1];
        for number in (0..64).flat_map(around).chain([u64::MAX]) {
            let mut out = Vec::new();
            varint(&mut out, number);
            assert_eq!(out.len(), varint_len(number), "{number}");
            assert_eq!(prost::encoding::decode_varint(&mut out.as_slice()).unwrap(), number);
        }
        for len in [0, 1, 127, 128, 16_383, 16_384] {
            let mut out = Vec::new();
            bytes(&mut out, delimited_of(1), &vec![7; len]);
            assert_eq!(out.len(), delimited_len(len));
        }
    }
}
