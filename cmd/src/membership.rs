//! Which mesh this router belongs to, decided from flags, invites and what is stored.
//!
//! | stored secret | given | then |
//! |---|---|---|
//! | none | nothing, no PEER | the first router: makes a secret |
//! | none | nothing, some PEER | an error that says so |
//! | none | a secret or invite | joins |
//! | some | nothing, or one of the stored, or one retired here | the stored are used |
//! | some | another | refused, unless this router never had a peer: then it joins the other mesh |

use crate::cli::Launch;
use crate::launch::tell;
use crate::net::normal_target;
use crate::state::{Memory, StateDir};
use anyhow::{Context, Result, anyhow, bail};
use crypto::identity::Identity;
use crypto::invite::Invite;
use crypto::keyring::Keyring;
use crypto::secret::Secret;
use rand_core::OsRng;
use std::io::Read;
use std::path::Path;

/// What a router starts with.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) identity: Identity,
    pub(crate) keyring: Keyring,
    /// With this run's epoch, which is on disk already.
    pub(crate) memory: Memory,
    /// What to dial.
    pub(crate) targets: Vec<String>,
    /// True for the first router of a mesh, as long as no other has joined.
    pub(crate) first: bool,
}

/// Decides, and stores the decision.
pub(crate) fn join(options: &Launch, state: &StateDir) -> Result<Membership> {
    let identity = state.identity()?;
    let mut memory = state.memory()?;
    let stored = state.secrets()?;
    let (invites, mut targets) = peers(&options.peers)?;
    let given = given_secret(options, &invites)?;
    let first = given.is_none() && !memory.met && options.peers.is_empty() && memory.targets.is_empty();
    if stored.is_empty() && given.is_none() && !options.peers.is_empty() {
        bail!(
            "there is no secret yet, so this router can't prove to {} that it belongs to its mesh. Give one with \
             --secret-file or WEFT_SECRET, or launch with the invite that `weft invite` prints there",
            options.peers.join(", ")
        );
    }
    let keyring = decide(stored, given, &mut memory)?;
    for invite in &invites {
        let expected = mesh::PeerId(invite.peer);
        targets.extend(
            invite
                .addresses
                .iter()
                .map(|address| format!("{expected}@{address}")),
        );
    }
    for target in &memory.targets {
        if !targets.contains(target) {
            targets.push(target.clone());
        }
    }
    memory.epoch = memory
        .epoch
        .max(1)
        .checked_add(1)
        .ok_or_else(|| anyhow!("the boot epoch ran out"))?;
    memory.bridge = Some(options.bridge.clone());
    memory.targets.clone_from(&targets);
    state.store_secrets(&keyring)?;
    state.store_memory(&memory)?;
    Ok(Membership {
        identity,
        keyring,
        memory,
        targets,
        first,
    })
}

/// Sorts PEER arguments into invites and targets in normal form.
fn peers(texts: &[String]) -> Result<(Vec<Invite>, Vec<String>)> {
    let (mut invites, mut targets) = (Vec::new(), Vec::new());
    for text in texts {
        if text == "-" {
            let mut input = String::new();
            std::io::stdin()
                .take(64 << 10)
                .read_to_string(&mut input)
                .context("cannot read standard input")?;
            let (mut more, mut addresses) =
                peers(&input.split_whitespace().map(str::to_owned).collect::<Vec<_>>())?;
            invites.append(&mut more);
            targets.append(&mut addresses);
        } else if Invite::is_invite(text) {
            invites.push(text.parse().map_err(|error| anyhow!("{error}"))?);
        } else {
            targets.push(normal_target(text).map_err(|error| anyhow!(error))?);
        }
    }
    Ok((invites, targets))
}

/// The one secret that flags, environment and invites agree on.
fn given_secret(options: &Launch, invites: &[Invite]) -> Result<Option<Secret>> {
    let from_environment = std::env::var("WEFT_SECRET")
        .ok()
        .filter(|text| !text.trim().is_empty());
    let flagged = match (&options.secret_file, from_environment) {
        (Some(file), _) => Some(read_secret(file)?),
        (None, Some(token)) => Some(
            token
                .trim()
                .parse()
                .map_err(|error| anyhow!("WEFT_SECRET: {error}"))?,
        ),
        (None, None) => None,
    };
    let mut given: Option<Secret> = flagged;
    for invite in invites {
        match &given {
            Some(secret) if secret.id() != invite.secret.id() => bail!(
                "two different secrets are given ({} and {}): they belong to different meshes",
                secret.id(),
                invite.secret.id()
            ),
            _ => given = Some(invite.secret.clone()),
        }
    }
    Ok(given)
}

/// Reads a secret's token from a file.
pub(crate) fn read_secret(file: &Path) -> Result<Secret> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the secret {}", file.display()))?;
    text.trim()
        .parse()
        .map_err(|error| anyhow!("{}: {error}", file.display()))
}

fn decide(stored: Vec<Secret>, given: Option<Secret>, memory: &mut Memory) -> Result<Keyring> {
    let Some(given) = given else {
        let secrets = if stored.is_empty() {
            vec![Secret::generate(&mut OsRng)]
        } else {
            stored
        };
        return Keyring::new(secrets).context("the stored secrets");
    };
    let id = given.id().to_string();
    let known = stored.iter().any(|secret| secret.id() == given.id());
    if known || (!stored.is_empty() && memory.retired.contains(&id)) {
        if !known {
            tell(&format!(
                "weft: secret {id} was retired here; the stored one is used"
            ));
        }
        return Keyring::new(stored).context("the stored secrets");
    }
    if let Some(own) = stored.first() {
        if memory.met {
            bail!(
                "this router belongs to the mesh of secret {}; the one given is {id}. To roll the secret use \
                 `weft secret add`; to leave for another mesh run `weft reset` first",
                own.id()
            );
        }
        tell(&format!(
            "weft: this router never had a peer: it drops its own secret {} and joins the mesh of {id}",
            own.id()
        ));
        memory.targets.clear();
    }
    Keyring::new(vec![given]).context("the secret")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::generate(&mut OsRng)
    }

    #[test]
    fn the_table_of_decisions() {
        let (own, other) = (secret(), secret());
        let mut memory = Memory::default();
        let ids = |keyring: Keyring| keyring.ids();
        assert_eq!(decide(vec![], None, &mut memory).unwrap().ids().len(), 1);
        assert_eq!(
            ids(decide(vec![], Some(other.clone()), &mut memory).unwrap()),
            [other.id()]
        );
        assert_eq!(
            ids(decide(vec![own.clone()], None, &mut memory).unwrap()),
            [own.id()]
        );
        assert_eq!(
            ids(decide(vec![own.clone()], Some(own.clone()), &mut memory).unwrap()),
            [own.id()]
        );
        assert_eq!(
            ids(decide(vec![own.clone()], Some(other.clone()), &mut memory).unwrap()),
            [other.id()]
        );
        memory.met = true;
        let refusal = decide(vec![own.clone()], Some(other.clone()), &mut memory).unwrap_err();
        assert!(refusal.to_string().contains("weft reset"));
        memory.retired.push(other.id().to_string());
        assert_eq!(
            ids(decide(vec![own.clone()], Some(other), &mut memory).unwrap()),
            [own.id()]
        );
    }

    #[test]
    fn peers_are_invites_or_addresses() {
        let invite = Invite {
            secret: secret(),
            peer: [7; 32],
            addresses: vec!["10.0.0.1:6783".into()],
        };
        let (invites, targets) = peers(&[invite.to_string(), "10.0.0.2".into()]).unwrap();
        assert_eq!(
            (invites.len(), targets.as_slice()),
            (1, &["10.0.0.2:6783".to_owned()][..])
        );
        assert!(peers(&["not an address".into()]).is_err());
        assert!(peers(&["weft-invite-broken".into()]).is_err());
    }
}
