//! Writing files and folders so that a reader finds either what was there before or all of the new content.
//!
//! Everything is written beside its destination under a temporary name and renamed into place at the end, so an error,
//! a full disk or an interruption leaves the destination as it was.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, TempDir};

use crate::error::{Error, ErrorKind, Result};

/// Makes the folder that a file is to lie in, where it's missing.
///
/// # Errors
/// [`ErrorKind::Io`] naming the folder.
pub fn create_parent(file: &Path) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))
}

/// Writes the file at `path` by `content`, replacing what was there only once all of it is on disk.
///
/// A link is followed, and a device or pipe (`/dev/stdout`, say) is written to directly: it can't be replaced.
///
/// # Errors
/// [`ErrorKind::Io`] that names `path` if it is a folder, or if it or its folder can't be written, or whatever
/// `content` returned; `path` is unchanged in either case.
pub fn write_atomic(path: impl AsRef<Path>, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let path = path.as_ref();
    let failed = |source| Error::io(path, source);
    let existing = fs::metadata(path).ok();
    if existing.as_ref().is_some_and(fs::Metadata::is_dir) {
        return Err(Error::new(ErrorKind::Io, format!("{}: is a folder, expected a file", path.display())));
    }
    if existing.is_some_and(|existing| !existing.is_file()) {
        let mut stream = BufWriter::new(fs::OpenOptions::new().write(true).open(path).map_err(failed)?);
        content(&mut stream)?;
        return stream.flush().map_err(failed);
    }
    let destination = followed(path).map_err(failed)?;
    let mut writer = BufWriter::new(
        readable_by_others(Builder::new().prefix(".heatlens-").suffix(".part"), 0o666)
            .tempfile_in(folder_of(&destination))
            .map_err(|error| not_created(path, &error))?,
    );
    content(&mut writer)?;
    let temporary = writer.into_inner().map_err(|error| failed(error.into_error()))?;
    temporary.as_file().sync_all().map_err(failed)?;
    temporary.persist(&destination).map_err(|error| failed(error.error))?;
    Ok(())
}

/// What [`write_dir_atomic`] does with a folder that isn't empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupied {
    /// Leave it alone and fail: the folder may be anything, the user's home included.
    Refuse,
    /// Replace it whole: the caller has recognised it as output of its own.
    Replace,
}

/// Writes the folder at `path`: `content` fills a temporary folder beside it, which then takes its place.
///
/// # Errors
/// [`ErrorKind::Io`] that names `path` if its parent can't be written, a plain file stands there, or it is a folder
/// with something in it and `occupied` says [`Occupied::Refuse`], or whatever `content` returned; `path` is unchanged in
/// each case.
pub fn write_dir_atomic(
    path: impl AsRef<Path>,
    occupied: Occupied,
    content: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    let failed = |source| Error::io(path, source);
    if path.exists() && !path.is_dir() {
        return Err(Error::new(ErrorKind::Io, format!("{}: is a file, expected a folder", path.display())));
    }
    let is_occupied = path.is_dir() && fs::read_dir(path).map_err(failed)?.next().is_some();
    if is_occupied && occupied == Occupied::Refuse {
        return Err(Error::new(
            ErrorKind::Io,
            format!("{}: is a folder with something in it, expected an empty or new one", path.display()),
        )
        .hint("choose another folder or empty this one first"));
    }
    let destination = followed(path).map_err(failed)?;
    let parent = folder_of(&destination);
    let beside = |suffix| -> Result<TempDir> {
        readable_by_others(Builder::new().prefix(".heatlens-").suffix(suffix), 0o777)
            .tempdir_in(parent)
            .map_err(|error| not_created(path, &error))
    };
    let new = beside(".part")?;
    content(new.path())?;

    // A folder can't be renamed over another everywhere, so the old one steps aside first and comes back on failure.
    let aside = beside(".old")?;
    let old = destination.is_dir().then(|| aside.path().join("old"));
    if let Some(old) = &old {
        fs::rename(&destination, old).map_err(failed)?;
    }
    if let Err(source) = fs::rename(new.path(), &destination) {
        if let Some(old) = &old {
            fs::rename(old, &destination).map_err(failed)?;
        }
        return Err(failed(source));
    }
    // Nothing is left at the temporary name, so there is nothing for its guard to remove.
    let _ = new.keep();
    Ok(())
}

/// Where writing to `path` must put the new content: the target of a link, else `path` itself.
fn followed(path: &Path) -> io::Result<PathBuf> {
    match path.is_symlink() {
        true => fs::canonicalize(path),
        false => Ok(path.to_path_buf()),
    }
}

/// The folder that holds `path`.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Temporary files are private by default; results should have the mode that any new file gets (`mode` less the umask).
#[cfg(unix)]
fn readable_by_others<'a, 'b>(builder: &'a mut Builder<'b, 'b>, mode: u32) -> &'a mut Builder<'b, 'b> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(mode))
}

/// Elsewhere a new file's access follows from its folder.
#[cfg(not(unix))]
fn readable_by_others<'a, 'b>(builder: &'a mut Builder<'b, 'b>, _mode: u32) -> &'a mut Builder<'b, 'b> {
    builder
}

/// The error of a temporary file that couldn't be made: it names the destination, not the temporary name.
fn not_created(path: &Path, error: &io::Error) -> Error {
    let folder = folder_of(path).display();
    let failure = Error::io(path, io::Error::from(error.kind()));
    match error.kind() {
        io::ErrorKind::NotFound => failure.hint(format!("create the folder {folder} first")),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            failure.hint(format!("choose a folder that can be written: {folder} can't"))
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn refusal() -> Error {
        Error::new(ErrorKind::Data, "no")
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        fs::write(&path, "a much longer old content").unwrap();
        write_atomic(&path, |w| w.write_all(b"new").map_err(|e| Error::io("out.txt", e))).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(names(folder.path()), ["out.txt"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        fs::write(&path, "old").unwrap();
        let error = write_atomic(&path, |w| {
            w.write_all(b"half").unwrap();
            Err(refusal())
        })
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["out.txt"]);
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_destination() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("out.txt");
        let error = write_atomic(&path, |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        assert!(!error.to_string().contains(".part"), "{error}");
        assert!(error.hint_text().unwrap().contains("missing"));
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_atomic(folder.path(), |_| panic!("nothing should be written")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("is a folder"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_results_get_the_usual_mode() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (target, link, plain) =
            (folder.path().join("target"), folder.path().join("link"), folder.path().join("plain"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        fs::File::create(&plain).unwrap();
        write_atomic(&link, |w| w.write_all(b"new").map_err(|e| Error::io("link", e))).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&target), mode(&plain));
    }

    #[test]
    fn a_folder_appears_only_when_it_is_complete() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("bundle");
        let error = write_dir_atomic(&path, Occupied::Refuse, |folder| {
            fs::write(folder.join("half"), "x").unwrap();
            Err(refusal())
        })
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(names(root.path()).is_empty());

        let fill = |text: &'static str| {
            move |folder: &Path| {
                assert!(!path_exists(folder, "whole"));
                fs::write(folder.join("whole"), text).map_err(|e| Error::io(folder, e))
            }
        };
        write_dir_atomic(&path, Occupied::Refuse, fill("one")).unwrap();
        let error = write_dir_atomic(&path, Occupied::Refuse, fill("two")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!(fs::read_to_string(path.join("whole")).unwrap(), "one");
        write_dir_atomic(&path, Occupied::Replace, fill("two")).unwrap();
        assert_eq!(fs::read_to_string(path.join("whole")).unwrap(), "two");
        assert_eq!(names(root.path()), ["bundle"]);
    }

    fn path_exists(folder: &Path, name: &str) -> bool {
        folder.join(name).exists()
    }

    #[test]
    fn an_empty_folder_may_be_filled_and_a_file_may_not() {
        let root = tempfile::tempdir().unwrap();
        let (empty, file) = (root.path().join("empty"), root.path().join("file"));
        fs::create_dir(&empty).unwrap();
        fs::write(&file, "x").unwrap();
        let fill = |folder: &Path| fs::write(folder.join("a"), "").map_err(|e| Error::io(folder, e));
        write_dir_atomic(&empty, Occupied::Refuse, fill).unwrap();
        assert_eq!(names(&empty), ["a"]);
        let error = write_dir_atomic(&file, Occupied::Replace, fill).unwrap_err();
        assert!(error.to_string().contains("is a file"), "{error}");
        assert_eq!(names(root.path()), ["empty", "file"]);
    }
}
