//! `weft docker serve`: the plugin's socket, and what comes in by it.

use super::api::Docker;
use super::saved::Saved;
use super::weft::Weft;
use super::{Answered, Driver, PREFIX};
use crate::cli::{Cli, DockerScope, DockerServe};
use crate::control::remove_socket;
use anyhow::{Context as _, Result, bail};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde_json::{Value, json};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, RwLock};
use tracing::{debug, info};

/// The media type of plugins' answers.
const MEDIA: &str = "application/vnd.docker.plugins.v1.2+json";
/// How often it is looked whether the router has something for nobody.
const TIDY: Duration = Duration::from_secs(1);

/// Serves Docker until told to stop.
pub(crate) fn serve(cli: &Cli, options: &DockerServe) -> Result<()> {
    crate::launch::start_log(options.log_format);
    let saved = Saved::open(&cli.state_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(32)
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(run(cli, options, saved));
    runtime.shutdown_background();
    outcome
}

async fn run(cli: &Cli, options: &DockerServe, saved: Saved) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = match inherited()? {
        Some(listener) => listener,
        None => bind(&options.plugin)?,
    };
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    // All that was there before is as young as this process: Docker may not have said yet that it knows it.
    let known = saved
        .endpoints
        .keys()
        .chain(saved.networks.keys())
        .cloned()
        .chain(saved.holders());
    let born = known.map(|id| (id, Instant::now())).collect();
    let mark = format!("{PREFIX}{}/", saved.driver).into();
    let driver = Driver {
        mark,
        unnamed: Arc::default(),
        weft: Arc::new(Weft::new(cli.socket.clone())),
        saved: Arc::new(Mutex::new(saved)),
        born: Arc::new(Mutex::new(born)),
        gate: Arc::new(RwLock::new(())),
        scope: match options.scope {
            DockerScope::Local => "local",
            DockerScope::Global => "global",
        },
    };
    tokio::spawn(driver.clone().follow(Docker(options.at.docker.clone())));
    let tidier = driver.clone();
    tokio::spawn(async move {
        loop {
            tidier.tidy().await;
            tokio::time::sleep(TIDY).await;
        }
    });
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    info!("serving Docker");
    let calls = axum::Router::new().fallback(call).with_state(driver);
    tokio::select! {
        ended = axum::serve(listener, calls) => ended.context("the plugin's socket"),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// The socket that systemd holds, if it started this process for it.
fn inherited() -> Result<Option<UnixListener>> {
    let mut descriptors = sd_notify::listen_fds().context("what systemd passed")?;
    let Some(first) = descriptors.next() else {
        return Ok(None);
    };
    if descriptors.next().is_some() {
        bail!("systemd passed more than one socket");
    }
    // A copy: of a bare number nobody can say whose it is.
    let own = pidfd_open(getpid(), PidfdFlags::empty()).context("this process")?;
    let socket =
        pidfd_getfd(own, first, PidfdGetfdFlags::empty()).context("the socket that systemd passed")?;
    Ok(Some(UnixListener::from(socket)))
}

fn bind(path: &Path) -> Result<UnixListener> {
    let what = || format!("the plugin's socket {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)
            .with_context(what)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("somebody answers at {} already", path.display());
    }
    remove_socket(path).with_context(what)?;
    let listener = UnixListener::bind(path).with_context(what)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(what)?;
    Ok(listener)
}

async fn call(State(driver): State<Driver>, uri: Uri, body: Bytes) -> Response {
    let method = uri.path().trim_start_matches('/');
    let ask: Value = match body.len() {
        0 => Value::Null,
        _ => match serde_json::from_slice(&body) {
            Ok(ask) => ask,
            Err(error) => {
                return answered(
                    StatusCode::BAD_REQUEST,
                    &json!({ "Err": format!("not JSON: {error}") }),
                );
            }
        },
    };
    debug!("{method} {ask}");
    match driver.answer(method, &ask).await {
        None => answered(
            StatusCode::NOT_FOUND,
            &json!({ "Err": format!("{method} is not known") }),
        ),
        Some(Ok(value)) => answered(StatusCode::OK, &value),
        Some(Err(error)) => {
            info!("{method}: {error}");
            // Network drivers call it this, IPAM drivers that.
            answered(StatusCode::OK, &json!({ "Err": error, "Error": error }))
        }
    }
}

fn answered(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, MEDIA)], value.to_string()).into_response()
}

impl Driver {
    /// What a call is answered; `None` if there is no such call.
    async fn answer(&self, method: &str, ask: &Value) -> Option<Answered> {
        let nothing = || Ok(json!({}));
        Some(match method {
            "Plugin.Activate" => Ok(json!({ "Implements": ["NetworkDriver", "IpamDriver"] })),
            "NetworkDriver.GetCapabilities" => {
                Ok(json!({ "Scope": self.scope, "ConnectivityScope": "global" }))
            }
            "IpamDriver.GetCapabilities" => {
                Ok(json!({ "RequiresMACAddress": true, "RequiresRequestReplay": false }))
            }
            "IpamDriver.GetDefaultAddressSpaces" => Ok(json!({
                "LocalDefaultAddressSpace": super::ipam::LOCAL,
                "GlobalDefaultAddressSpace": super::ipam::SWARM,
            })),
            "IpamDriver.RequestPool" => self.request_pool(ask).await,
            "IpamDriver.ReleasePool" => nothing(),
            "IpamDriver.RequestAddress" => self.request_address(ask).await,
            "IpamDriver.ReleaseAddress" => self.release_address(ask).await,
            // Of a swarm's manager.
            "NetworkDriver.AllocateNetwork" => Self::allocate_network(ask),
            "NetworkDriver.FreeNetwork" => nothing(),
            "NetworkDriver.CreateNetwork" => self.create_network(ask).await,
            "NetworkDriver.DeleteNetwork" => self.delete_network(ask).await,
            "NetworkDriver.CreateEndpoint" => self.create_endpoint(ask).await,
            "NetworkDriver.DeleteEndpoint" => self.delete_endpoint(ask).await,
            "NetworkDriver.EndpointOperInfo" => Ok(json!({ "Value": {} })),
            "NetworkDriver.Join" => self.join(ask).await,
            "NetworkDriver.Leave" => self.leave(ask).await,
            "NetworkDriver.DiscoverNew"
            | "NetworkDriver.DiscoverDelete"
            | "NetworkDriver.ProgramExternalConnectivity"
            | "NetworkDriver.RevokeExternalConnectivity" => nothing(),
            _ => return None,
        })
    }
}
