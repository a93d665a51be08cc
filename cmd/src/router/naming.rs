//! The names of what runs on this host: those given with `weft attach`, and those that the operator added.

use super::Router;
use crate::control::DnsRequest;
use mesh::{Input, Name, Vni};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tracing::warn;

/// Most names that the operator adds.
const MAX_ADDED: usize = 10_000;

/// Names, each in its network, and what they stand for.
pub(crate) type NameTable = BTreeMap<(Vni, Name), BTreeSet<IpAddr>>;

impl Router {
    /// Tells the core which names this host has, as far as that is news.
    pub(crate) fn tell_names(&mut self) {
        let added = self.memory.names.iter();
        let mut wanted: NameTable = added
            .map(|(name, addresses)| ((Vni::DEFAULT, name.clone()), addresses.clone()))
            .collect();
        for (vni, names, addresses) in self.containers.named() {
            for name in names {
                wanted.entry((vni, name.clone())).or_default().extend(addresses);
            }
        }
        let news = changes(&self.told_names, &wanted);
        // Before the core is asked: what it refuses is taken out again.
        self.told_names = wanted;
        for ((vni, name), addresses) in news {
            let addresses = addresses.into_iter().collect();
            self.feed(Input::Name { vni, name, addresses });
        }
    }

    /// The mesh has no room for one more name of this host: it is told again when names change.
    pub(super) fn name_refused(&mut self, vni: Vni, name: &Name) {
        warn!("{name} is not published: this host has too many names");
        self.told_names.remove(&(vni, name.clone()));
    }

    /// `weft dns`.
    pub(super) fn dns(&mut self, request: DnsRequest) -> Result<Value, String> {
        match request {
            DnsRequest::Lookup { what, network } => self.look_up(&what, network.as_deref()),
            DnsRequest::List { network } => self.list_names(network.as_deref()),
            DnsRequest::Add { name, addresses } => self.add_name(&name, &addresses),
            DnsRequest::Remove { name, addresses } => self.remove_name(&name, &addresses),
        }
    }

    /// `weft dns add`.
    fn add_name(&mut self, name: &Name, addresses: &[IpAddr]) -> Result<Value, String> {
        let names = &mut self.memory.names;
        if names.len() >= MAX_ADDED && !names.contains_key(name) {
            return Err(format!("there are {MAX_ADDED} names already"));
        }
        // Some of them may be there already.
        let mut all = names.get(name).cloned().unwrap_or_default();
        all.extend(addresses);
        if all.len() > mesh::MAX_NAME_ADDRESSES {
            return Err(format!(
                "a name has at most {} addresses",
                mesh::MAX_NAME_ADDRESSES
            ));
        }
        names.insert(name.clone(), all);
        self.persist_memory();
        self.tell_names();
        Ok(Value::Null)
    }

    /// `weft dns remove`: these addresses of a name that was added, or all if there are none.
    fn remove_name(&mut self, name: &Name, addresses: &[IpAddr]) -> Result<Value, String> {
        let Some(all) = self.memory.names.get_mut(name) else {
            return Err(format!(
                "{name} was not added here: `weft dns list` shows what stands for what"
            ));
        };
        if let Some(missing) = addresses.iter().find(|address| !all.contains(address)) {
            return Err(format!("{missing} was not added to {name} here"));
        }
        all.retain(|address| !addresses.is_empty() && !addresses.contains(address));
        if all.is_empty() {
            self.memory.names.remove(name);
        }
        self.persist_memory();
        self.tell_names();
        Ok(Value::Null)
    }

    /// `weft dns lookup`: the addresses of a name, or the names of an address.
    fn look_up(&self, text: &str, network: Option<&str>) -> Result<Value, String> {
        let (vni, _) = self.network(network)?;
        let of = network.map_or_else(|| "this mesh".into(), |network| format!("network {network}"));
        let domain = self.names.read(dns::Zone::domain);
        if let Ok(address) = text.parse::<IpAddr>() {
            let names: Vec<String> = self.names.read(|zone| {
                let names = zone.names(vni, &address);
                names.map(|name| format!("{name}.{domain}")).collect()
            });
            if names.is_empty() {
                return Err(format!("{address} has no name in {of}"));
            }
            return Ok(json!({ "address": address, "names": names }));
        }
        let name = relative(text, &domain).map_err(|error| format!("{text}: {error}"))?;
        let addresses = self
            .names
            .read(|zone| zone.addresses(vni, &name).map(<[_]>::to_vec));
        let addresses = addresses.ok_or_else(|| format!("no container of {of} is called {name}"))?;
        Ok(json!({ "name": format!("{name}.{domain}"), "addresses": addresses }))
    }

    /// `weft dns list`.
    fn list_names(&self, network: Option<&str>) -> Result<Value, String> {
        let (vni, _) = self.network(network)?;
        let domain = self.names.read(dns::Zone::domain);
        Ok(self.names.read(|zone| {
            let all = zone.all(vni).into_iter();
            let all = all.map(
                |(name, addresses)| json!({ "name": format!("{name}.{domain}"), "addresses": addresses }),
            );
            Value::Array(all.collect())
        }))
    }
}

/// A name as people write it, with the domain or without.
pub(crate) fn relative(text: &str, domain: &str) -> Result<Name, mesh::BadName> {
    let text = text.trim_end_matches('.').to_ascii_lowercase();
    let domain = domain.trim_end_matches('.');
    let short = text.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.'));
    short.unwrap_or(&text).parse()
}

/// Names that stand for something else than before, and for what.
fn changes(before: &NameTable, now: &NameTable) -> NameTable {
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    let gone = gone.map(|name| (name.clone(), BTreeSet::new()));
    let new = now
        .iter()
        .filter(|(name, addresses)| before.get(*name) != Some(addresses));
    gone.chain(new.map(|(name, addresses)| (name.clone(), addresses.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(names: &[(&str, &[&str])]) -> NameTable {
        let entry = |(name, addresses): &(&str, &[&str])| {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            ((Vni::DEFAULT, name.parse().unwrap()), addresses)
        };
        names.iter().map(entry).collect()
    }

    #[test]
    fn only_what_changed_is_told() {
        let before = table(&[("a", &["10.0.0.1"]), ("b", &["10.0.0.2"]), ("c", &["10.0.0.3"])]);
        let now = table(&[
            ("a", &["10.0.0.1"]),
            ("b", &["10.0.0.2", "10.0.0.4"]),
            ("d", &["10.0.0.5"]),
        ]);
        let expected = table(&[("b", &["10.0.0.2", "10.0.0.4"]), ("c", &[]), ("d", &["10.0.0.5"])]);
        assert_eq!(changes(&before, &now), expected);
        assert!(changes(&now, &now).is_empty());
    }

    #[test]
    fn names_are_written_with_the_domain_or_without() {
        for text in ["web", "WEB.", "web.weft.local", "Web.Weft.Local."] {
            assert_eq!(relative(text, "weft.local.").unwrap().as_str(), "web");
        }
        assert_eq!(
            relative("webweft.local", "weft.local.").unwrap().as_str(),
            "webweft.local"
        );
        assert!(relative("weft.local", "weft.local.").is_ok() && relative("", "weft.local.").is_err());
    }
}
