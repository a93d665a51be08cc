//! `weft docker`.

use super::LogFormat;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum DockerVerb {
    /// Let systemd hold the plugin's socket and run the driver, now and after each boot.
    Install {
        #[command(flatten)]
        units: Units,
        /// Where Docker looks for the driver; the file's name is the driver's.
        #[arg(long, env = "WEFT_PLUGIN", default_value = PLUGIN, value_name = "SOCKET")]
        plugin: PathBuf,
        #[command(flatten)]
        at: DockerAt,
    },
    /// Stop the driver and remove what `install` has written. Remove Docker's networks of weft first.
    Uninstall {
        #[command(flatten)]
        units: Units,
    },
    /// Make the folder of which `docker plugin create NAME DIR` makes a plugin that Docker runs itself; a swarm takes no
    /// other. Needs the router's socket and state directory to be where they are on all hosts.
    PluginDir {
        /// The folder, which is made.
        folder: PathBuf,
        #[command(flatten)]
        at: DockerAt,
    },
    /// Run the driver, in the foreground.
    Serve(DockerServe),
}

/// Where `install` writes.
#[derive(Debug, Args)]
pub(crate) struct Units {
    /// Where systemd looks for units.
    #[arg(
        long,
        env = "WEFT_UNIT_DIR",
        default_value = "/etc/systemd/system",
        value_name = "D"
    )]
    pub(crate) unit_dir: PathBuf,
}

/// Docker itself.
#[derive(Debug, Clone, Args)]
pub(crate) struct DockerAt {
    /// Where Docker answers.
    #[arg(
        long,
        env = "WEFT_DOCKER",
        default_value = "/run/docker.sock",
        value_name = "SOCKET"
    )]
    pub(crate) docker: PathBuf,
}

/// Where Docker looks for the driver.
const PLUGIN: &str = "/run/docker/plugins/weft.sock";

/// Options of `weft docker serve`.
#[derive(Debug, Args)]
pub(crate) struct DockerServe {
    /// Where Docker looks for the driver; the file's name is the driver's. Not used when systemd passes a socket.
    #[arg(long, env = "WEFT_PLUGIN", default_value = PLUGIN, value_name = "SOCKET")]
    pub(crate) plugin: PathBuf,
    #[command(flatten)]
    pub(crate) at: DockerAt,
    /// Networks are made on each host, or once in a swarm.
    #[arg(long, env = "WEFT_DOCKER_SCOPE", value_enum, default_value_t = DockerScope::Local)]
    pub(crate) scope: DockerScope,
    /// How log lines look.
    #[arg(long, env = "WEFT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DockerScope {
    Local,
    Global,
}
