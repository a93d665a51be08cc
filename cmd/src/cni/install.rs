//! `weft cni install`: the plugin and a configuration, where runtimes look for them.

use super::NAME;
use anyhow::{Context, Result};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What the network is called, and its file.
const NETWORK: &str = "weft";
const FILE: &str = "10-weft.conflist";

/// Copies this program, and writes a configuration that names the router's socket if it is not the usual one. Both are
/// replaced as a whole: a runtime may call the plugin at any moment.
///
/// `gateway`: containers reach what is outside by this host, in its name, and have host ports if the plugin for that is
/// there.
pub(crate) fn install(bin_dir: &Path, conf_dir: &Path, socket: &Path, gateway: bool) -> Result<()> {
    let program = std::env::current_exe().context("this program's own file")?;
    let bytes = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    replace(bin_dir, NAME, &bytes, 0o755)?;
    let capabilities = json!({ "ips": true, "mac": true, "aliases": true, "bandwidth": true });
    let mut plugin = json!({ "type": NAME, "capabilities": capabilities });
    if gateway {
        plugin["isDefaultGateway"] = json!(true);
        plugin["ipMasq"] = json!(true);
    }
    if socket != Path::new(super::SOCKET) {
        let socket = std::path::absolute(socket).context("the socket's path")?;
        plugin["socket"] = json!(socket);
    }
    // Not without it being there: one that is missing would fail every container. The reference plugin `bandwidth` is not
    // called, as ours limits both directions.
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let has_portmap = gateway && bin_dir.join("portmap").is_file();
    let plugins: Vec<_> = [plugin]
        .into_iter()
        .chain(has_portmap.then_some(portmap))
        .collect();
    let list = json!({ "cniVersion": "1.0.0", "name": NETWORK, "plugins": plugins });
    let text = serde_json::to_string_pretty(&list).context("the configuration as JSON")? + "\n";
    replace(conf_dir, FILE, text.as_bytes(), 0o644)
}

fn replace(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let (path, beside) = (
        folder.join(name),
        folder.join(format!(".{name}.{}", std::process::id())),
    );
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    };
    let written = write().with_context(|| format!("cannot write {}", path.display()));
    if written.is_err() {
        // It may never have been made.
        let _ = fs::remove_file(&beside);
    }
    written
}
