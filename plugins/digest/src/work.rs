//! What crosses between the run and its chunks: groups of files there, their hashes back.

use crate::manifest::Hash;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What came of one file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    Hash(Hash, u64),
    /// errno of open or read.
    Failed(i32),
    NotRegular,
    /// It changed while it was read.
    Changing,
}

/// Files by size into groups of about the same bytes, the largest first, so that the last to end are small. Each file
/// is its place in the list.
pub fn groups(sizes: &[u64], workers: u32) -> Vec<Vec<u32>> {
    const MOST: usize = 4096;
    /// What opening a file costs, in bytes of reading.
    const EACH: u64 = 64 << 10;
    let weight = |i: u32| sizes[i as usize].saturating_add(EACH);
    let mut order: Vec<u32> = (0..sizes.len() as u32).collect();
    order.sort_by_key(|i| std::cmp::Reverse(sizes[*i as usize]));
    let total = order
        .iter()
        .fold(0u64, |sum, i| sum.saturating_add(weight(*i)));
    let fair = (total / (16 * u64::from(workers))).clamp(1 << 20, 256 << 20);
    let fair = fair.max(total / (MOST as u64 / 2));
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut room = 0;
    for index in order {
        let weight = weight(index);
        match groups.last_mut() {
            Some(group) if weight <= room => {
                group.push(index);
                room -= weight;
            }
            _ => {
                groups.push(vec![index]);
                room = fair.saturating_sub(weight);
            }
        }
    }
    groups
}

/// The input of all chunks: where each group begins, then its files.
pub fn encode(groups: &[Vec<u32>], paths: &[&Path]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut bytes = Vec::new();
    let head = 8 * (groups.len() + 1);
    for group in groups {
        bytes.extend(((head + body.len()) as u64).to_le_bytes());
        for index in group {
            let path = paths[*index as usize].as_os_str().as_bytes();
            body.extend((path.len() as u32).to_le_bytes());
            body.extend(path);
        }
    }
    bytes.extend(((head + body.len()) as u64).to_le_bytes());
    bytes.extend(body);
    bytes
}

/// The files of one group; None: this is not what `encode` made.
pub fn paths(input: &[u8], group: u64) -> Option<Vec<&Path>> {
    let at = |i: u64| -> Option<usize> {
        let from = usize::try_from(i).ok()?.checked_mul(8)?;
        let eight = input.get(from..from + 8)?;
        usize::try_from(u64::from_le_bytes(eight.try_into().ok()?)).ok()
    };
    let mut rest = input.get(at(group)?..at(group + 1)?)?;
    let mut paths = Vec::new();
    while !rest.is_empty() {
        let (length, more) = rest.split_first_chunk::<4>()?;
        let (path, more) = more.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        paths.push(Path::new(OsStr::from_bytes(path)));
        rest = more;
    }
    Some(paths)
}

const RECORD: usize = 1 + 8 + 32;

impl Outcome {
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (tag, number, hash) = match self {
            Outcome::Hash(hash, size) => (0, *size, *hash),
            Outcome::Failed(errno) => (1, *errno as u64, [0; 32]),
            Outcome::NotRegular => (2, 0, [0; 32]),
            Outcome::Changing => (3, 0, [0; 32]),
        };
        out.push(tag);
        out.extend(number.to_le_bytes());
        out.extend(hash);
    }

    /// Of a whole group; None: this is not what `encode` made.
    pub fn decode(bytes: &[u8]) -> Option<Vec<Outcome>> {
        let records = bytes.chunks_exact(RECORD);
        if !records.remainder().is_empty() {
            return None;
        }
        records
            .map(|record| {
                let number = u64::from_le_bytes(record[1..9].try_into().ok()?);
                Some(match record[0] {
                    0 => Outcome::Hash(record[9..].try_into().ok()?, number),
                    1 => Outcome::Failed(number as i32),
                    2 => Outcome::NotRegular,
                    3 => Outcome::Changing,
                    _ => return None,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_even_and_hold_each_file_once() {
        let sizes: Vec<u64> = (0..1000u64).map(|i| i * 7919 % 1_000_003).collect();
        let groups = groups(&sizes, 2);
        let mut all: Vec<u32> = groups.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
        assert!(groups.len() > 32, "{}", groups.len());
        let first = sizes[groups[0][0] as usize];
        assert_eq!(Some(&first), sizes.iter().max(), "the largest goes first");
        assert!(super::groups(&vec![0; 100_000], 64).len() <= 4096);
        assert!(super::groups(&[], 2).is_empty());
    }

    #[test]
    fn what_crosses_arrives() {
        let files = [Path::new("a"), Path::new("b/c d"), Path::new("\n")];
        let bytes = encode(&[vec![2, 0], vec![1]], &files);
        assert_eq!(paths(&bytes, 0), Some(vec![files[2], files[0]]));
        assert_eq!(paths(&bytes, 1), Some(vec![files[1]]));
        assert_eq!(paths(&bytes, 2), None);
        assert_eq!(paths(&bytes[..bytes.len() - 1], 1), None);
        let outcomes = [
            Outcome::Hash([7; 32], 9),
            Outcome::Failed(13),
            Outcome::NotRegular,
            Outcome::Changing,
        ];
        let mut out = Vec::new();
        outcomes.iter().for_each(|o| o.encode(&mut out));
        assert_eq!(Outcome::decode(&out).as_deref(), Some(&outcomes[..]));
        assert_eq!(Outcome::decode(&out[1..]), None);
    }
}
