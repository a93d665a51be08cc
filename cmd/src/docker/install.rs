//! `weft docker install`: the units by which systemd holds the plugin's socket and runs the driver.

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Both units' name.
const UNIT: &str = "weft-docker";

/// Writes the units; and starts them, where systemd runs and `folder` is where it looks.
pub(crate) fn install(folder: &Path, plugin: &Path, socket: &Path, state_dir: &Path) -> Result<()> {
    let program = std::env::current_exe().context("this program's own file")?;
    let socket = std::path::absolute(socket).context("the socket's path")?;
    let state_dir = std::path::absolute(state_dir).context("the state directory's path")?;
    let socket_unit = format!(
        "[Unit]\nDescription=Weft for Docker: the plugin's socket\nBefore=docker.service\n\n\
         [Socket]\nListenStream={}\nSocketMode=0600\n\n[Install]\nWantedBy=sockets.target\n",
        plugin.display()
    );
    let service_unit = format!(
        "[Unit]\nDescription=Weft for Docker\nRequires={UNIT}.socket\nAfter={UNIT}.socket\n\n\
         [Service]\nType=notify\nExecStart={} docker serve\nEnvironment=WEFT_SOCKET={} WEFT_STATE_DIR={}\n\
         Restart=always\nRestartSec=100ms\n",
        program.display(),
        socket.display(),
        state_dir.display()
    );
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (kind, text) in [("socket", &socket_unit), ("service", &service_unit)] {
        let path = folder.join(format!("{UNIT}.{kind}"));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if Path::new("/run/systemd/system").exists() && folder == Path::new("/etc/systemd/system") {
        systemctl(&["daemon-reload"])?;
        systemctl(&["enable", "--now", &format!("{UNIT}.socket")])?;
    } else {
        eprintln!(
            "systemd does not run here, or looks elsewhere: the units are in {}",
            folder.display()
        );
    }
    Ok(())
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
