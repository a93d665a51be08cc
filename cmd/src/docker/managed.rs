//! `weft docker plugin-dir`: the folder of which `docker plugin create` makes a managed plugin. Only such plugins serve a swarm.
//!
//! Its root holds this program and the libraries that this process has loaded, nothing else. It reaches the router, Docker and
//! its own state by folders of the host, so that a socket that is made anew is found. It needs no capability and no network:
//! interfaces are the router's and Docker's work.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Where the folders are inside.
const ROUTER: &str = "/run/router";
const DOCKER: &str = "/run/host";
const STATE: &str = "/var/lib/weft";
/// Where Docker looks for the plugin's socket, inside.
const SOCKETS: &str = "/run/docker/plugins";
/// The plugin's part of the state directory: a driver beside it has networks of its own.
pub(crate) const PLUGIN_STATE: &str = "docker-plugin";
/// Programs name the one that loads libraries by these paths, wherever it really is.
const LOADERS: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];

/// Makes the folder, which must not be there yet.
pub(crate) fn plugin_dir(folder: &Path, router: &Path, docker: &Path, state: &Path) -> Result<()> {
    if folder.exists() {
        bail!("{} is there already", folder.display());
    }
    let state = absolute(state)?.join(PLUGIN_STATE);
    let config = config(&Mount::new(router)?, &Mount::new(docker)?, &state);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&state)
        .with_context(|| format!("cannot make {}", state.display()))?;
    let root = folder.join("rootfs");
    for inside in [
        ROUTER, DOCKER, STATE, SOCKETS, "/proc", "/sys", "/dev", "/etc", "/tmp",
    ] {
        let path = below(&root, Path::new(inside));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    let program = std::env::current_exe().context("this program's own file")?;
    copy(&program, &root.join("weft"))?;
    for library in loaded()? {
        copy(&library, &below(&root, &library))?;
    }
    let path = folder.join("config.json");
    let text = serde_json::to_string_pretty(&config).context("the configuration as JSON")?;
    fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// A folder of the host in which a socket is, or will be.
struct Mount {
    source: PathBuf,
    /// The socket, seen from there.
    socket: PathBuf,
}

impl Mount {
    /// Where folders in `/run` are made anew after each boot, Docker mounts before they are there: so `/run` itself.
    fn new(socket: &Path) -> Result<Self> {
        let socket = absolute(socket)?;
        let run = Path::new("/run");
        let source = match socket.parent() {
            Some(parent) if !parent.starts_with(run) => parent,
            _ => run,
        };
        let name = socket.strip_prefix(source);
        let name = name.with_context(|| format!("{} is not a socket's path", socket.display()))?;
        Ok(Self {
            source: source.to_owned(),
            socket: name.to_owned(),
        })
    }

    fn inside(&self, folder: &str) -> String {
        Path::new(folder).join(&self.socket).display().to_string()
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}

fn below(root: &Path, inside: &Path) -> PathBuf {
    root.join(inside.strip_prefix("/").unwrap_or(inside))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("cannot copy {} to {}", from.display(), to.display());
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(what)?;
    }
    fs::copy(from, to).with_context(what).map(|_| ())
}

/// The libraries of this process, and what loaded them, under the names by which they are looked for.
fn loaded() -> Result<BTreeSet<PathBuf>> {
    let maps = fs::read_to_string("/proc/self/maps").context("the libraries of this process")?;
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let is_library = |path: &&str| path.starts_with('/') && path.contains(".so");
    let mut all: BTreeSet<PathBuf> = paths.filter(is_library).map(PathBuf::from).collect();
    let loaders = LOADERS.into_iter().map(PathBuf::from);
    all.extend(loaders.filter(|loader| loader.exists()));
    Ok(all)
}

fn config(router: &Mount, docker: &Mount, state: &Path) -> Value {
    // Not what is mounted below: a namespace of a container that is mounted once more lives as long as the plugin.
    let mount = |name: &str, source: &Path, destination: &str, access: &str| {
        json!({
            "name": name,
            "source": source.display().to_string(),
            "destination": destination,
            "type": "bind",
            "options": ["bind", access],
            "settable": ["source"],
        })
    };
    json!({
        "description": "Weft: an encrypted mesh for container networks",
        "documentation": "",
        "entrypoint": [
            "/weft", "docker", "serve", "--scope", "global",
            "--plugin", format!("{SOCKETS}/weft.sock"),
            "--docker", docker.inside(DOCKER),
            "--socket", router.inside(ROUTER),
            "--state-dir", STATE,
        ],
        "workdir": "/",
        "interface": {
            "types": ["docker.networkdriver/1.0", "docker.ipamdriver/1.0"],
            "socket": "weft.sock",
        },
        "network": { "type": "none" },
        "linux": { "capabilities": [] },
        "mounts": [
            mount("router", &router.source, ROUTER, "ro"),
            mount("docker", &docker.source, DOCKER, "ro"),
            mount("state", state, STATE, "rw"),
        ],
        "env": [{ "name": "WEFT_LOG", "value": "info", "settable": ["value"] }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_reached_by_folders_that_are_there_at_boot() {
        let mount = |socket: &str| {
            let mount = Mount::new(Path::new(socket)).unwrap();
            (mount.source.display().to_string(), mount.inside("/inside"))
        };
        let pair = |source: &str, inside: &str| (source.to_owned(), inside.to_owned());
        assert_eq!(
            mount("/run/weft/weft.sock"),
            pair("/run", "/inside/weft/weft.sock")
        );
        assert_eq!(mount("/run/docker.sock"), pair("/run", "/inside/docker.sock"));
        assert_eq!(mount("/srv/weft/a.sock"), pair("/srv/weft", "/inside/a.sock"));
        assert!(Mount::new(Path::new("/")).is_err());
    }
}
