//! Rolling the secret, and inviting.
//!
//! 1. `weft secret new` on any machine, `weft secret add` on every router: two are valid, the old one is used.
//! 2. `weft secret list` shows which routers lack one.
//! 3. `weft secret retire OLD`: the new one is used, links and sessions made with the old are re-made.

use super::Router;
use super::containers::Answer;
use crypto::invite::Invite;
use crypto::keyring::Keyring;
use crypto::secret::{Secret, SecretId};
use mesh::Input;
use serde_json::{Value, json};
use std::sync::PoisonError;

impl Router {
    fn keyring(&self) -> Keyring {
        self.keyring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Uses the new keyring everywhere. It is on disk.
    pub(super) fn use_keyring(&mut self, keyring: Keyring) {
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = keyring.clone();
        self.feed(Input::SecretsChanged);
        self.feed_sleeve(sleeve::Input::Keyring(keyring));
        self.esp_renew();
    }

    /// `weft secret add`.
    pub(crate) fn secret_add(&mut self, token: &str, answer: Answer) {
        match self.with_secret(token) {
            Ok((Some(keyring), value)) => self.persist_secrets(keyring, None, value, answer),
            Ok((None, value)) => drop(answer.send(Ok(value))),
            Err(error) => drop(answer.send(Err(error.into()))),
        }
    }

    /// The secrets with this one, unless it is among them, and what to answer.
    fn with_secret(&self, token: &str) -> Result<(Option<Keyring>, Value), String> {
        let secret: Secret = token
            .trim()
            .parse()
            .map_err(|error: crypto::secret::SecretError| error.to_string())?;
        let id = secret.id().to_string();
        if self.memory.retired.contains(&id) {
            return Err(format!(
                "secret {id} was retired here: make a new one with `weft secret new`"
            ));
        }
        let mut keyring = self.keyring();
        if keyring.get(&secret.id()).is_none() {
            keyring.add(secret).map_err(|error| error.to_string())?;
            return Ok((Some(keyring), json!({ "id": id })));
        }
        Ok((None, json!({ "id": id })))
    }

    /// `weft secret list`: ids, never tokens, and which routers lack one.
    pub(crate) fn secret_list(&self) -> Value {
        let preferred = self.keyring().preferred().id();
        let secrets = self.keyring().ids().into_iter().map(|id| {
            let lacking: Vec<_> = self.lacking(id).into_iter().map(|(name, _)| name).collect();
            json!({ "id": id.to_string(), "in_use": id == preferred, "lacking": lacking })
        });
        Value::Array(secrets.collect())
    }

    /// Routers whose record does not show this secret: name, and whether they are reachable.
    fn lacking(&self, id: SecretId) -> Vec<(String, bool)> {
        let peers = self
            .mesh
            .peers()
            .into_iter()
            .filter(|peer| peer.id != self.settings.id);
        peers
            .filter_map(|peer| {
                let info = peer.info.as_ref()?;
                let has = info.admissions.iter().any(|admission| admission.secret.0 == id.0);
                (!has).then(|| (info.name.to_string(), peer.reachable))
            })
            .collect()
    }

    /// `weft secret retire`.
    pub(crate) fn secret_retire(&mut self, id: &str, force: bool, answer: Answer) {
        let id = id.trim().to_ascii_lowercase();
        match self.without_secret(&id, force) {
            Ok(keyring) => self.persist_secrets(keyring, Some(id), Value::Null, answer),
            Err(error) => drop(answer.send(Err(error.into()))),
        }
    }

    fn without_secret(&self, id: &str, force: bool) -> Result<Keyring, String> {
        let mut keyring = self.keyring();
        let Some(retired) = keyring.ids().into_iter().find(|known| known.to_string() == id) else {
            return Err(format!("no secret {id} here: `weft secret list` shows their ids"));
        };
        let other = keyring.ids().into_iter().find(|known| *known != retired);
        if let Some(other) = other.filter(|_| !force) {
            let lacking: Vec<_> = self
                .lacking(other)
                .into_iter()
                .filter(|(_, reachable)| *reachable)
                .map(|(name, _)| name)
                .collect();
            if !lacking.is_empty() {
                return Err(format!(
                    "these routers lack the other secret, {other}, and would be cut off: {}. \
                     Run `weft secret add` there, or use --force",
                    lacking.join(", ")
                ));
            }
        }
        keyring.retire(retired).map_err(|error| error.to_string())?;
        Ok(keyring)
    }

    /// The invite as text, if there is an address to invite to.
    pub(crate) fn invite_text(&self) -> Option<String> {
        self.invite()
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
    }

    /// `weft invite`: secret, identity and where to dial, in one token.
    pub(crate) fn invite(&self) -> Result<Value, String> {
        let advertised = self.settings.advertise.iter().cloned();
        let own = self.addresses.iter().map(ToString::to_string);
        let mut addresses: Vec<String> = Vec::new();
        for address in own.chain(advertised) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err("this router has no address that another host could dial: use --advertise".into());
        }
        // The newest secret: it stays valid when the old one is retired.
        let keyring = self.keyring();
        let secret = keyring
            .secrets()
            .last()
            .unwrap_or_else(|| keyring.preferred())
            .clone();
        let invite = Invite {
            secret,
            peer: self.settings.id.0,
            addresses,
        };
        Ok(json!(invite.to_string()))
    }
}
