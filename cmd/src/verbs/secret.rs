//! `weft secret`.

use super::{ask, print, print_json, quiet};
use crate::cli::{Cli, SecretVerb};
use crate::control::Request;
use crate::membership;
use anyhow::{Context, Result, anyhow};
use crypto::secret::Secret;
use rand_core::OsRng;
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// The secrets of the mesh: makes, adds, lists, retires.
pub(super) fn secret(cli: &Cli, verb: &SecretVerb) -> Result<()> {
    match verb {
        SecretVerb::New => print(&format!("{}\n", Secret::generate(&mut OsRng).token())),
        SecretVerb::Add { file } => {
            let value = ask(
                cli,
                &Request::SecretAdd {
                    token: secret_from(file.as_deref())?.token(),
                },
            )?;
            if cli.json { print_json(&value) } else { Ok(()) }
        }
        SecretVerb::List => {
            let value = ask(cli, &Request::SecretList)?;
            if cli.json {
                print_json(&value)
            } else {
                print(&secret_list(&value))
            }
        }
        SecretVerb::Retire { id, force } => quiet(
            cli,
            &Request::SecretRetire {
                id: id.clone(),
                force: *force,
            },
        ),
    }
}

fn secret_from(file: Option<&Path>) -> Result<Secret> {
    match file.filter(|file| *file != Path::new("-")) {
        Some(file) => membership::read_secret(file),
        None => {
            let mut token = String::new();
            std::io::stdin()
                .take(4096)
                .read_to_string(&mut token)
                .context("cannot read standard input")?;
            token
                .trim()
                .parse()
                .map_err(|error| anyhow!("standard input: {error}"))
        }
    }
}

fn secret_list(value: &Value) -> String {
    let mut text = String::new();
    for secret in value.as_array().into_iter().flatten() {
        let lacking: Vec<_> = secret["lacking"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let used = if secret["in_use"] == Value::Bool(true) {
            "in use"
        } else {
            "valid"
        };
        let lack = if lacking.is_empty() {
            "every router has it".into()
        } else {
            format!("lacking: {}", lacking.join(", "))
        };
        text.push_str(&format!(
            "{}  {used:6}  {lack}\n",
            secret["id"].as_str().unwrap_or_default()
        ));
    }
    text
}
