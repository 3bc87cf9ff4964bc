//! The way to a socket's directory: whoever decides where it leads could put another socket in the place of ours.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use super::bind::BindError;

/// Others may write: in a directory without sticky bit they could put their own socket, or directory, in the place of ours.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// Symbolic links that are followed on the way to the directory, as many as the kernel follows.
const MAX_LINKS: usize = 40;

pub(super) fn make_directory(directory: &Path, mode: u32) -> Result<(), BindError> {
    let failed = |source| BindError::Directory { directory: directory.to_owned(), source };
    let missing: Vec<_> = directory.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    for ancestor in missing.into_iter().rev() {
        match DirBuilder::new().mode(mode).create(ancestor) {
            Ok(()) => fs::set_permissions(ancestor, Permissions::from_mode(mode)).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// Walks to a directory as the kernel does, as far as the way exists, and judges each directory and each symbolic link on it: whoever
/// owns one, or may replace one, decides where the way leads, now and for every client. In a sticky directory such as `/tmp` only the
/// owner of what is in it can replace that, and its owner is judged next.
pub(super) fn check_way(directory: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Directory { directory: directory.to_owned(), source };
    let mut here = PathBuf::from("/");
    check_step(&here, &fs::symlink_metadata(&here).map_err(failed)?)?;
    let mut ahead = steps(directory);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let found = match fs::symlink_metadata(&next) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        check_step(&next, &found)?;
        if !found.file_type().is_symlink() {
            here = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(failed(io::ErrorKind::TooManyLinks.into()));
        }
        let target = fs::read_link(&next).map_err(failed)?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        ahead.extend(steps(&target));
    }
    Ok(())
}

/// The names of a path, the last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter(|step| matches!(step, Component::Normal(_) | Component::ParentDir));
    names.map(|step| step.as_os_str().to_owned()).collect()
}

fn check_step(step: &Path, found: &fs::Metadata) -> Result<(), BindError> {
    let us = rustix::process::geteuid().as_raw();
    if found.uid() != us && found.uid() != 0 {
        return Err(BindError::DirectoryOwner { directory: step.to_owned(), uid: found.uid() });
    }
    // A link's own mode means nothing.
    if !found.file_type().is_symlink() && found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0 {
        return Err(BindError::DirectoryMode { directory: step.to_owned(), mode: found.mode() & 0o7777 });
    }
    Ok(())
}
