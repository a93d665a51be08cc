//! What calls say; what `docker network create` may say of a network, and to which of the router's networks that leads.

use super::ipam::{LOCAL, Range, SWARM};
use crate::net::Cidr;
use serde_json::Value;

/// Address spaces of Docker's own addresses, which differ from host to host.
const OF_DOCKER: [&str; 2] = ["LocalDefault", "GlobalDefault"];

/// A text that must be there.
pub(super) fn text(value: &Value, key: &str) -> Result<String, String> {
    let text = value[key].as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| format!("{key} is missing"))
}

/// A text among options, if it is there.
pub(super) fn option(value: &Value, options: &str, key: &str) -> Option<String> {
    value[options][key]
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// Refuses options that nobody knows. What Docker says by itself begins with its name.
pub(super) fn check(options: &Value, flag: &str, known: &[&str]) -> Result<(), String> {
    let names = options.as_object().into_iter().flatten().map(|(name, _)| name);
    let is_known = |name: &String| known.contains(&name.as_str()) || name.starts_with("com.docker.");
    match names.into_iter().find(|name| !is_known(name)) {
        Some(name) => Err(format!(
            "weft does not know {flag} {name}, but {}",
            known.join(" and ")
        )),
        None => Ok(()),
    }
}

/// Something that is or is not so; without a word it is not.
pub(super) fn flag(options: &Value, name: &str) -> Result<bool, String> {
    match options[name].as_str() {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => Err(format!("-o {name} is true or false, not {other:?}")),
    }
}

/// The router's network: the one that is named, else the one whose range the addresses are of, else the default one.
pub(super) fn choose<'a>(
    ranges: &'a [Range],
    named: Option<&str>,
    data: &Value,
) -> Result<&'a Range, String> {
    let space = data["AddressSpace"].as_str().unwrap_or_default();
    if OF_DOCKER.contains(&space) {
        return Err(
            "Docker's own addresses would be the same on other hosts: say --ipam-driver weft, too".into(),
        );
    }
    let pool: Option<Cidr> = data["Pool"].as_str().and_then(|pool| pool.parse().ok());
    let is_of_pool = |range: &&Range| Some(range.v4) == pool;
    if let Some(name) = named {
        let found = ranges.iter().find(|range| range.name == name);
        let found = found.ok_or_else(|| unknown(name))?;
        if let Some(pool) = pool
            && [LOCAL, SWARM].contains(&space)
            && !is_of_pool(&found)
        {
            return Err(format!(
                "{pool} is not the range of weft's network {name}: say --ipam-opt network={name}, too"
            ));
        }
        return Ok(found);
    }
    let of_pool: Vec<&Range> = ranges.iter().filter(is_of_pool).collect();
    match of_pool[..] {
        [] => ranges.first().ok_or_else(|| "weft has no network".into()),
        [one] => Ok(one),
        [one, other, ..] => Err(format!(
            "weft's networks {} and {} have the same range: name one by -o network=NAME and --ipam-opt network=NAME",
            one.name, other.name
        )),
    }
}

/// What is said of a network that there is not.
pub(super) fn unknown(name: &str) -> String {
    format!("weft has no network {name}: make it with `weft network add {name}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn range(name: &str, v4: &str) -> Range {
        Range {
            name: name.into(),
            v4: v4.parse().unwrap(),
            v6: None,
        }
    }

    #[test]
    fn only_known_options_are_taken() {
        let known = ["network", "multicast"];
        let options = json!({ "network": "blue", "com.docker.network.driver.mtu": "1400" });
        assert_eq!(check(&options, "-o", &known), Ok(()));
        assert_eq!(check(&Value::Null, "-o", &known), Ok(()));
        let refused = check(&json!({ "foo": "bar" }), "-o", &known).unwrap_err();
        assert_eq!(refused, "weft does not know -o foo, but network and multicast");
        let told = json!({ "a": "true", "b": "0", "c": "yes" });
        assert_eq!(
            (flag(&told, "a"), flag(&told, "b"), flag(&told, "d")),
            (Ok(true), Ok(false), Ok(false))
        );
        assert!(flag(&told, "c").is_err());
    }

    #[test]
    fn a_network_is_found_by_its_name_or_its_range() {
        let ranges = [range("default", "10.32.0.0/12"), range("blue", "10.99.0.0/16")];
        let found = |named: Option<&str>, space: &str, pool: &str| {
            let data = json!({ "AddressSpace": space, "Pool": pool });
            choose(&ranges, named, &data).map(|range| range.name.as_str())
        };
        assert_eq!(found(None, LOCAL, "10.99.0.0/16"), Ok("blue"));
        assert_eq!(found(None, "elsewhere", "192.168.0.0/16"), Ok("default"));
        assert_eq!(found(Some("blue"), LOCAL, "10.99.0.0/16"), Ok("blue"));
        assert_eq!(found(Some("blue"), "elsewhere", "192.168.0.0/16"), Ok("blue"));
        assert!(
            found(Some("blue"), LOCAL, "10.32.0.0/12")
                .unwrap_err()
                .contains("--ipam-opt network=blue")
        );
        assert!(
            found(Some("red"), LOCAL, "10.32.0.0/12")
                .unwrap_err()
                .contains("weft network add red")
        );
        assert!(
            found(None, "LocalDefault", "172.18.0.0/16")
                .unwrap_err()
                .contains("--ipam-driver weft")
        );
        assert_eq!(choose(&ranges, None, &Value::Null).unwrap().name, "default");
        let doubled = [range("default", "10.32.0.0/12"), range("twin", "10.32.0.0/12")];
        let data = json!({ "AddressSpace": LOCAL, "Pool": "10.32.0.0/12" });
        let refused = choose(&doubled, None, &data).map(|_| ()).unwrap_err();
        assert!(refused.contains("default and twin"), "{refused}");
    }
}
