//! `--http`: the status for monitoring, read only.

use crate::control::{Command, Request};
use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::sync::{mpsc, oneshot};

type Commands = mpsc::Sender<Command>;

/// Serves `GET /status` (the JSON of `weft status --json`) and `GET /healthz`.
pub(crate) fn serve(address: SocketAddr, commands: Commands) -> Result<()> {
    let what = || format!("cannot serve HTTP on {address}");
    let listener = std::net::TcpListener::bind(address).with_context(what)?;
    listener.set_nonblocking(true).with_context(what)?;
    let listener = tokio::net::TcpListener::from_std(listener).with_context(what)?;
    let pages = Router::new()
        .route("/status", get(status))
        .route("/healthz", get(health))
        .with_state(commands);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, pages).await {
            tracing::error!("HTTP on {address}: {error}");
        }
    });
    Ok(())
}

async fn status(State(commands): State<Commands>) -> Result<Json<Value>, StatusCode> {
    ask(commands, Request::Status).await.map(Json)
}

/// Healthy is a router whose own task answers.
async fn health(State(commands): State<Commands>) -> Result<&'static str, StatusCode> {
    ask(commands, Request::Id).await.map(|_| "ok\n")
}

async fn ask(commands: Commands, request: Request) -> Result<Value, StatusCode> {
    let (answer, answered) = oneshot::channel();
    let gone = |_| StatusCode::SERVICE_UNAVAILABLE;
    commands
        .send(Command::Ask { request, answer })
        .await
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    answered
        .await
        .map_err(gone)?
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}
