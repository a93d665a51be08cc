//! `weft launch --record`: what the control plane is told, in a file that holds no key.
//!
//! Writing goes through the page cache and is handed on with every round of timers, so about once a second. It never
//! stops the router: a full disk or a full file ends the recording, with a line in the log.

use anyhow::{Context, Result};
use mesh::recording::{Ended, Recorder};
use mesh::{Config, Input, Instant, Output};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tracing::{info, warn};

/// Bytes gathered before they are written.
const BUFFER: usize = 64 * 1024;

/// The recording of this run, if one was asked for.
pub(crate) struct Recording(Option<Recorder<BufWriter<File>>>);

impl Recording {
    /// Nothing is recorded.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Begins a file of at most so many MiB. What an earlier run recorded there is kept beside it, once.
    pub(crate) fn start(
        path: &Path,
        limit_mib: u64,
        config: &mut Config,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self> {
        let what = || format!("cannot record to {}", path.display());
        let file = open(path).with_context(what)?;
        let sink = BufWriter::with_capacity(BUFFER, file);
        let recorder = Recorder::start(config, seed, now, sink, limit_mib << 20).with_context(what)?;
        info!("recording to {}, up to {limit_mib} MiB", path.display());
        Ok(Self(Some(recorder)))
    }

    /// The core is about to be given this.
    pub(crate) fn input(&mut self, now: Instant, input: &Input) {
        if let Some(recorder) = &mut self.0 {
            recorder.input(now, input);
        }
    }

    /// The core gave this.
    pub(crate) fn output(&mut self, output: &Output) {
        if let Some(recorder) = &mut self.0 {
            recorder.output(output);
        }
    }

    /// Hands on what was gathered; notices the recording's end.
    pub(crate) fn flush(&mut self) {
        let Some(recorder) = &mut self.0 else {
            return;
        };
        recorder.flush();
        match recorder.take_ended() {
            None => return,
            Some(Ended::Full) => {
                warn!("the recording is full: nothing more is recorded (see --record-limit)");
            }
            Some(Ended::Failed(error)) => warn!("the recording ends here: {error}"),
        }
        self.0 = None;
    }
}

/// A new file, readable by its owner only; one that is there already gets another name.
fn open(path: &Path) -> std::io::Result<File> {
    match fs::symlink_metadata(path) {
        // Not a device, a pipe or a link, which are not to be moved about.
        Ok(there) if there.is_file() => fs::rename(path, earlier(path))?,
        Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn earlier(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".old");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_private_and_the_last_one_is_kept() {
        let folder = std::env::temp_dir().join(format!("weft-recording-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let path = folder.join("trace");
        for run in 1..4 {
            write!(open(&path).unwrap(), "run {run}").unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "run 3");
        assert_eq!(fs::read_to_string(earlier(&path)).unwrap(), "run 2");
        // Whoever may write to the folder must not lead the router to other files.
        let link = folder.join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(open(&link).is_err() && open(&folder).is_err() && open(&folder.join("a/b")).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
