//! The secrets that are valid now: one, or two while the mesh moves from the old to the new.
//!
//! Rolling a secret goes in three steps on every router: add the new one (both are accepted, the old one is
//! used), wait until all have it, retire the old one. So a router always offers the oldest secret it holds.

use crate::secret::{Secret, SecretId};

/// One or two secrets, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    oldest: Secret,
    newer: Option<Secret>,
}

/// Why a keyring cannot be as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// A router without any secret cannot talk to anyone.
    #[error("there must be a secret; `weft secret new` makes one")]
    Empty,
    /// Two are the most.
    #[error("two secrets are valid already; retire one first")]
    Full,
    /// The secret is in it.
    #[error("this secret is already valid here")]
    Known,
    /// No secret has this id.
    #[error("no valid secret has this id")]
    Unknown,
    /// The only secret stays.
    #[error("this is the only secret; add another first")]
    Last,
}

impl Keyring {
    /// A keyring of `secrets`, oldest first.
    ///
    /// # Errors
    /// [`KeyringError::Empty`], [`Full`](KeyringError::Full) for more than two,
    /// [`Known`](KeyringError::Known) for twice the same.
    pub fn new(secrets: Vec<Secret>) -> Result<Self, KeyringError> {
        let mut secrets = secrets.into_iter();
        let mut keyring = Self {
            oldest: secrets.next().ok_or(KeyringError::Empty)?,
            newer: None,
        };
        secrets.try_for_each(|secret| keyring.add(secret))?;
        Ok(keyring)
    }

    /// Makes `secret` valid besides the one in use.
    ///
    /// # Errors
    /// [`KeyringError::Known`] or [`KeyringError::Full`]; the keyring is unchanged then.
    pub fn add(&mut self, secret: Secret) -> Result<(), KeyringError> {
        if self.get(&secret.id()).is_some() {
            return Err(KeyringError::Known);
        }
        if self.newer.is_some() {
            return Err(KeyringError::Full);
        }
        self.newer = Some(secret);
        Ok(())
    }

    /// Makes the secret of that id invalid; the other one is used from now on.
    ///
    /// # Errors
    /// [`KeyringError::Unknown`] or [`KeyringError::Last`]; the keyring is unchanged then.
    pub fn retire(&mut self, id: SecretId) -> Result<(), KeyringError> {
        if self.get(&id).is_none() {
            return Err(KeyringError::Unknown);
        }
        let newer = self.newer.take().ok_or(KeyringError::Last)?;
        if self.oldest.id() == id {
            self.oldest = newer;
        }
        Ok(())
    }

    /// The secrets, oldest first.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.oldest).chain(&self.newer)
    }

    /// Their ids, oldest first.
    #[must_use]
    pub fn ids(&self) -> Vec<SecretId> {
        self.secrets().map(Secret::id).collect()
    }

    /// The secret to start a handshake with where nothing is known of the other router's: the oldest, which others have to whom
    /// the newer one has not come yet. One that has retired it refuses that.
    #[must_use]
    pub fn preferred(&self) -> &Secret {
        &self.oldest
    }

    /// The valid secret of that id.
    #[must_use]
    pub fn get(&self, id: &SecretId) -> Option<&Secret> {
        self.secrets().find(|secret| secret.id() == *id)
    }

    /// True if `proof` shows that the router `peer` knows the secret `id`, and that secret is valid here.
    #[must_use]
    pub fn admits(&self, id: &SecretId, peer: &[u8; 32], proof: &[u8; 16]) -> bool {
        self.get(id).is_some_and(|secret| secret.admits(peer, proof))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestRng;

    fn secrets() -> [Secret; 3] {
        let mut rng = TestRng::new(1);
        std::array::from_fn(|_| Secret::generate(&mut rng))
    }

    #[test]
    fn a_secret_rolls() {
        let [old, new, other] = secrets();
        let mut keyring = Keyring::new(vec![old.clone()]).unwrap();
        assert_eq!(keyring.retire(old.id()), Err(KeyringError::Last));
        assert_eq!(keyring.add(old.clone()), Err(KeyringError::Known));
        keyring.add(new.clone()).unwrap();
        assert_eq!(keyring.ids(), [old.id(), new.id()]);
        assert_eq!(keyring.preferred(), &old);
        assert_eq!(keyring.get(&new.id()), Some(&new));
        assert_eq!(keyring.add(other.clone()), Err(KeyringError::Full));
        assert_eq!(keyring.retire(other.id()), Err(KeyringError::Unknown));
        keyring.retire(old.id()).unwrap();
        assert_eq!(keyring.preferred(), &new);
        assert_eq!(keyring.get(&old.id()), None);
        keyring.add(other.clone()).unwrap();
        keyring.retire(other.id()).unwrap();
        assert_eq!(keyring.ids(), [new.id()]);
    }

    #[test]
    fn one_or_two_different_ones() {
        let [a, b, c] = secrets();
        assert_eq!(Keyring::new(vec![]), Err(KeyringError::Empty));
        assert_eq!(Keyring::new(vec![a.clone(), a.clone()]), Err(KeyringError::Known));
        assert_eq!(
            Keyring::new(vec![a.clone(), b.clone(), c]),
            Err(KeyringError::Full)
        );
        assert_eq!(
            Keyring::new(vec![a.clone(), b.clone()]).unwrap().ids(),
            [a.id(), b.id()]
        );
    }

    #[test]
    fn admission_by_any_valid_secret() {
        let [a, b, c] = secrets();
        let keyring = Keyring::new(vec![a, b.clone()]).unwrap();
        assert!(keyring.admits(&b.id(), &[1; 32], &b.admission(&[1; 32])));
        assert!(!keyring.admits(&b.id(), &[1; 32], &c.admission(&[1; 32])));
        assert!(!keyring.admits(&c.id(), &[1; 32], &c.admission(&[1; 32])));
    }
}
