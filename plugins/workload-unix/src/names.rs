//! Names of users and groups, from `/etc/passwd` and `/etc/group` (passwd(5), group(5)).
//!
//! The files are parsed here and the C library is not asked: its name service may wait for a directory server on the network while a
//! workload waits for us, and it loads whatever shared objects nsswitch.conf names into the process that holds everyone's keys. SPIRE's
//! release binaries read the same two files. Users and groups that only a directory knows have no name selector; their ids still have.
//! The files are read afresh each time, so that a new user has a name without a restart.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Longest line that is read; a group with ten thousand members of 32 characters fits twice.
const MAX_LINE: u64 = 640 * 1024;
/// Most bytes that are read of a file: a passwd file with 500,000 users of 128 bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// The user's name, if the file has one.
pub(crate) fn user_name(passwd: &Path, uid: u32) -> Option<String> {
    let mut found = None;
    // name:password:uid:gid:comment:home:shell
    for_each_entry(passwd, 7, |name, id| {
        if id == uid && found.is_none() {
            found = Some(name.to_owned());
        }
    });
    found
}

/// The names of those groups that the file knows.
pub(crate) fn group_names(group: &Path, gids: impl IntoIterator<Item = u32>) -> HashMap<u32, String> {
    let mut found: HashMap<u32, Option<String>> = gids.into_iter().map(|gid| (gid, None)).collect();
    // name:password:gid:members
    for_each_entry(group, 4, |name, id| {
        if let Some(slot @ None) = found.get_mut(&id) {
            *slot = Some(name.to_owned());
        }
    });
    found.into_iter().filter_map(|(gid, name)| Some((gid, name?))).collect()
}

/// Calls `visit` with name and id of every well-formed line. A file that can't be read has no names.
fn for_each_entry(path: &Path, fields: usize, mut visit: impl FnMut(&str, u32)) {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "No names of users or groups from this file");
            return;
        }
    };
    let mut reader = BufReader::new(file.take(MAX_FILE));
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let Ok(text) = std::str::from_utf8(&line) else { continue };
        if let Some((name, id)) = entry(text.trim_end_matches('\n'), fields) {
            visit(name, id);
        }
    }
}

/// Lines that begin with `+` or `-` ask for NIS, those with `#` are comments.
fn entry(line: &str, fields: usize) -> Option<(&str, u32)> {
    if line.starts_with(['+', '-', '#']) || line.split(':').count() < fields {
        return None;
    }
    let mut parts = line.split(':');
    let name = parts.next().filter(|name| !name.is_empty())?;
    let id = parts.nth(1)?.parse().ok()?;
    Some((name, id))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_first_line_with_the_id_names_it() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"# x:x:7:7:::\n+nis:x:7:7:::\nshort:x:7\n:x:7:7:::\n\xff:x:7:7:::\nneg:x:-7:7:::\na:x:7:1:::\nb:x:7:1:::\n").unwrap();
        assert_eq!(user_name(file.path(), 7).as_deref(), Some("a"));
        assert_eq!(user_name(file.path(), 8), None);
        assert_eq!(user_name(Path::new("/nonexistent"), 7), None);
    }

    #[test]
    fn groups_are_found_in_one_pass() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"wheel:x:10:alice,bob\nempty:x:11:\nother:x:12:\nagain:x:10:\n").unwrap();
        let names = group_names(file.path(), [10, 11, 13, 10]);
        assert_eq!(names, HashMap::from([(10, "wheel".to_owned()), (11, "empty".to_owned())]));
    }

    #[test]
    fn an_endless_line_is_cut_into_lines_without_a_name() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![b'a'; 2 * 640 * 1024]).unwrap();
        file.write_all(b"\nz:x:1:\n").unwrap();
        assert_eq!(group_names(file.path(), [1]), HashMap::from([(1, "z".to_owned())]));
    }
}
