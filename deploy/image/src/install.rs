//! Copies programs into a folder of the host.
//!
//! In: files of the image. Out: the same files on the host, whole, with their modes.
//! Must hold: a program that a runtime executes at this moment keeps its inode; a crash leaves the old
//! file or the new one, never half of one.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file could not be put where it belongs.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}", path.display())]
pub struct InstallError {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError { step, path, source }
}

/// Puts one file of the image into `folder`, under the same name.
pub fn copy(from: &Path, folder: &Path) -> Result<(), InstallError> {
    let name = from.file_name().unwrap_or(from.as_os_str());
    let mut source = File::open(from).map_err(failed("open", from))?;
    let permissions = source.metadata().map_err(failed("ask for", from))?;
    write(&folder.join(name), permissions.permissions(), |file| {
        io::copy(&mut source, file).map(drop)
    })
}

/// Puts all plain files that lie in `from` into `folder`, but not the one named `except`; their names.
pub fn copy_all(from: &Path, except: &Path, folder: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let mut copied = Vec::new();
    for entry in fs::read_dir(from).map_err(failed("list", from))? {
        let path = entry.map_err(failed("list", from))?.path();
        if path.is_file() && path.file_name() != except.file_name() {
            copy(&path, folder)?;
            copied.push(path);
        }
    }
    copied.sort();
    Ok(copied)
}

/// Writes a text that everybody may read.
pub fn write_text(path: &Path, text: &str) -> Result<(), InstallError> {
    use std::os::unix::fs::PermissionsExt;
    write(path, Permissions::from_mode(0o644), |file| {
        file.write_all(text.as_bytes())
    })
}

fn write(
    path: &Path,
    permissions: Permissions,
    put: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), InstallError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let fresh = PathBuf::from(name);
    let mut file = File::create(&fresh).map_err(failed("create", &fresh))?;
    let written = put(&mut file)
        .and_then(|()| file.set_permissions(permissions))
        .and_then(|()| file.sync_all());
    if let Err(error) = written {
        // What is half there is no use to anybody; should that fail too, the next try overwrites it.
        drop(fs::remove_file(&fresh));
        return Err(failed("write", &fresh)(error));
    }
    fs::rename(&fresh, path).map_err(failed("replace", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn plain_files_are_copied_with_their_modes_and_the_installer_is_not() {
        let (image, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, mode) in [("loopback", 0o755), ("LICENSE", 0o644), ("init", 0o755)] {
            fs::write(image.path().join(name), name).unwrap();
            fs::set_permissions(image.path().join(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(image.path().join("folder")).unwrap();
        let copied = copy_all(image.path(), Path::new("/init/init"), host.path()).unwrap();
        assert_eq!(
            copied,
            ["LICENSE", "loopback"].map(|name| image.path().join(name))
        );
        let mut there: Vec<_> = fs::read_dir(host.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        there.sort();
        assert_eq!(there, ["LICENSE", "loopback"]);
        let mode = |name| fs::metadata(host.path().join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode("loopback"), mode("LICENSE")), (0o755, 0o644));
    }

    #[test]
    fn a_program_that_is_being_run_keeps_its_inode() {
        let (image, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(image.path().join("aws-cni"), "new").unwrap();
        fs::write(host.path().join("aws-cni"), "old").unwrap();
        let running = File::open(host.path().join("aws-cni")).unwrap();
        copy(&image.path().join("aws-cni"), host.path()).unwrap();
        assert_eq!(io::read_to_string(running).unwrap(), "old");
        assert_eq!(
            fs::read_to_string(host.path().join("aws-cni")).unwrap(),
            "new"
        );
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = write_text(Path::new("/no/such/folder/10-aws.conflist"), "{}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot create /no/such/folder/10-aws.conflist.tmp"
        );
    }
}
