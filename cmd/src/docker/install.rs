//! `weft docker install` and `uninstall`: the units by which systemd holds the plugin's socket and runs the driver.

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Both units' name.
const UNIT: &str = "weft-docker";

/// Where systemd looks for units of the operator's.
const FOLDER: &str = "/etc/systemd/system";

/// What the driver is told by its unit.
pub(crate) struct Places<'a> {
    /// Where Docker looks for it.
    pub(crate) plugin: &'a Path,
    /// Where Docker answers.
    pub(crate) docker: &'a Path,
    /// Where the router answers.
    pub(crate) socket: &'a Path,
    pub(crate) state_dir: &'a Path,
}

/// Writes the units; and starts them, where systemd runs and `folder` is where it looks. A driver that runs is started anew.
pub(crate) fn install(folder: &Path, places: &Places<'_>) -> Result<()> {
    let program = std::env::current_exe().context("this program's own file")?;
    let setting = |name: &str, path: &Path| -> Result<String> {
        let path = std::path::absolute(path).with_context(|| format!("the path {}", path.display()))?;
        Ok(quoted(&format!("{name}={}", path.display())))
    };
    let socket_unit = format!(
        "[Unit]\nDescription=Weft for Docker: the plugin's socket\nBefore=docker.service\n\n\
         [Socket]\nListenStream={}\nSocketMode=0600\nRemoveOnStop=yes\n\n[Install]\nWantedBy=sockets.target\n",
        places.plugin.display().to_string().replace('%', "%%")
    );
    let service_unit = format!(
        "[Unit]\nDescription=Weft for Docker\nRequires={UNIT}.socket\nAfter={UNIT}.socket\n\n\
         [Service]\nType=notify\nExecStart={} docker serve\nEnvironment={} {} {}\nRestart=always\nRestartSec=100ms\n",
        // Only here dollars mean variables.
        quoted(&program.display().to_string()).replace('$', "$$"),
        setting("WEFT_SOCKET", places.socket)?,
        setting("WEFT_STATE_DIR", places.state_dir)?,
        setting("WEFT_DOCKER", places.docker)?
    );
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (path, text) in units(folder).iter().zip([&socket_unit, &service_unit]) {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if is_served(folder) {
        systemctl(&["daemon-reload"])?;
        systemctl(&["enable", "--now", &format!("{UNIT}.socket")])?;
        systemctl(&["try-restart", &format!("{UNIT}.service")])?;
    } else {
        eprintln!(
            "systemd does not run here, or looks elsewhere: the units are in {}",
            folder.display()
        );
    }
    Ok(())
}

/// Stops the driver and removes the units; what it has stored stays.
pub(crate) fn uninstall(folder: &Path) -> Result<()> {
    let there: Vec<PathBuf> = units(folder).into_iter().filter(|path| path.exists()).collect();
    if there.is_empty() {
        bail!("the driver is not installed in {}", folder.display());
    }
    if is_served(folder) {
        systemctl(&[
            "disable",
            "--now",
            &format!("{UNIT}.socket"),
            &format!("{UNIT}.service"),
        ])?;
    }
    for path in &there {
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    if is_served(folder) {
        systemctl(&["daemon-reload"])?;
    }
    Ok(())
}

fn units(folder: &Path) -> [PathBuf; 2] {
    ["socket", "service"].map(|kind| folder.join(format!("{UNIT}.{kind}")))
}

/// Whether a systemd runs that looks there.
fn is_served(folder: &Path) -> bool {
    Path::new("/run/systemd/system").exists() && folder == Path::new(FOLDER)
}

/// A word of a unit (systemd.service(5), "Command lines").
fn quoted(word: &str) -> String {
    let word = word.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", word.replace('%', "%%"))
}

fn systemctl(args: &[&str]) -> Result<()> {
    let status = Command::new("systemctl")
        .args(args)
        .status()
        .context("systemctl")?;
    if !status.success() {
        bail!("`systemctl {}` failed", args.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_units_are_what_they_were() {
        assert_eq!(quoted("/usr/bin/weft"), "\"/usr/bin/weft\"");
        assert_eq!(quoted("/a b/100%/$x\"\\"), "\"/a b/100%%/$x\\\"\\\\\"");
    }
}
