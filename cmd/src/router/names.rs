//! Finding a router by what people call it: its name, its id, or the start of its id.

use super::Router;
use mesh::PeerId;

/// Fewest digits of an id that may stand for it.
const SHORTEST_PREFIX: usize = 4;

impl Router {
    /// The one router that `text` names.
    pub(crate) fn find(&self, text: &str) -> Result<PeerId, String> {
        if let Ok(id) = text.to_ascii_lowercase().parse::<PeerId>() {
            let known = id == self.settings.id || self.mesh.info(&id).is_some();
            return if known {
                Ok(id)
            } else {
                Err(format!("no router with the id {} is known", id.brief()))
            };
        }
        let known: Vec<_> = self.mesh.peers().into_iter().map(|peer| peer.id).collect();
        let named: Vec<_> = known.iter().filter(|id| self.name(id) == text).copied().collect();
        let prefix = text.to_ascii_lowercase();
        let by_prefix = || {
            known
                .iter()
                .filter(|id| id.to_string().starts_with(&prefix))
                .copied()
                .collect()
        };
        let found = if named.is_empty() && text.len() >= SHORTEST_PREFIX {
            by_prefix()
        } else {
            named
        };
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(format!(
                "no router is called {text:?}, and no id begins with it: `weft status peers` lists them"
            )),
            several => {
                let ids: Vec<_> = several.iter().map(ToString::to_string).collect();
                Err(format!(
                    "{} routers are called {text:?}; use an id: {}",
                    ids.len(),
                    ids.join(", ")
                ))
            }
        }
    }

    /// A router's name, or the start of its id while the name is unknown.
    pub(crate) fn name(&self, id: &PeerId) -> String {
        if *id == self.settings.id {
            return self.settings.name.clone();
        }
        self.mesh
            .info(id)
            .map_or_else(|| id.brief(), |info| info.name.to_string())
    }
}
