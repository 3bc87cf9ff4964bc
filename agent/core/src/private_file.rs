//! Files that only the agent's user may read, replaced as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::PersistError;

/// No file of ours comes near this; a larger one is not ours.
const MAX_FILE_LEN: u64 = 4 * 1024 * 1024;

/// Who may write in a directory can put a key and an SVID of its own there, or take ours away.
const OTHERS_WRITE: u32 = 0o022;

/// Makes a directory for this user alone, where it is missing. One that is there must belong to this user or root, and nobody else may
/// write in it; a sticky bit does not help, because a file that is not there yet can be made by anyone.
pub(crate) fn make_dir(dir: &Path) -> Result<(), PersistError> {
    let failed = |source| PersistError::Write { path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let found = fs::metadata(dir).map_err(failed)?;
    if found.uid() != rustix::process::geteuid().as_raw() && found.uid() != 0 {
        return Err(PersistError::Owner { path: dir.to_owned(), uid: found.uid() });
    }
    if found.mode() & OTHERS_WRITE != 0 {
        return Err(PersistError::OthersWrite { path: dir.to_owned(), mode: found.mode() & 0o7777 });
    }
    Ok(())
}

pub(crate) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, PersistError> {
    let fail = |source| PersistError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(fail(source)),
    };
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE_LEN).read_to_end(&mut bytes).map_err(fail)?;
    Ok(Some(bytes))
}

/// Replaces a file so that a crash at any moment leaves the old or the new content.
pub(crate) fn replace(dir: &Path, name: &str, content: &[u8]) -> Result<(), PersistError> {
    let path = dir.join(name);
    let beside = dir.join(format!("{name}.new"));
    let write = || -> io::Result<()> {
        // A leftover of a crash may have been made by another version with another mode.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|source| PersistError::Write { path: path.clone(), source })
}

pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, PersistError> {
    let mut kept = path.as_os_str().to_owned();
    kept.push(".unusable");
    let kept = PathBuf::from(kept);
    fs::rename(path, &kept).map_err(|source| PersistError::Write { path: path.to_owned(), source })?;
    Ok(kept)
}
