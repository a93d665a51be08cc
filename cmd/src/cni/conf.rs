//! The network configuration on standard input. Keys that are not known are let be, and keys are found however they
//! are capitalised: containerd sends some as Go spells them.

use super::call::{Call, Verb, is_name};
use super::error::{Code, Failure};
use crate::net::Cidr;
use fastpath::{Limit, Limits};
use serde_json::Value;
use std::net::IpAddr;
use std::path::PathBuf;

/// Versions of the specification that are spoken, oldest first.
pub(super) const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// The first with CHECK, and the first with GC and STATUS.
pub(super) const CHECK_SINCE: &str = "0.4.0";
pub(super) const GC_SINCE: &str = "1.1.0";

/// A configuration that makes sense.
#[derive(Debug)]
pub(super) struct Conf {
    pub(super) version: String,
    pub(super) name: String,
    /// The router's control socket, if it is named.
    pub(super) socket: Option<PathBuf>,
    /// Another plugin that gives out addresses.
    pub(super) ipam: Option<String>,
    /// Addresses that the interface shall have.
    pub(super) addresses: Vec<Wanted>,
    pub(super) mac: Option<String>,
    /// Name or number of the network.
    pub(super) network: Option<String>,
    /// Names that the runtime knows the container by.
    pub(super) aliases: Vec<String>,
    /// How much the container may send and receive.
    pub(super) limits: Limits,
    /// Destination, and the gateway if one is named.
    pub(super) routes: Vec<(Cidr, Option<IpAddr>)>,
    pub(super) host: HostKeys,
    pub(super) dns: Value,
    pub(super) previous: Option<Value>,
    /// The attachments that are to stay, for GC: container and interface.
    pub(super) valid: Option<Vec<(String, String)>>,
    /// The whole, for plugins that this one calls.
    pub(super) text: String,
}

/// What the host does for containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostKeys {
    /// It has an address in the network, and forwards.
    pub(super) gateway: bool,
    /// All that is not in the network goes by it.
    pub(super) is_default_gateway: bool,
    /// In its name.
    pub(super) masquerade: bool,
}

/// An address that was asked for: one of the router's range, or one of the caller's own with its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) address: IpAddr,
    pub(super) prefix: Option<u8>,
}

impl std::str::FromStr for Wanted {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(cidr) = text.parse::<Cidr>() {
            return Ok(Self {
                address: cidr.address,
                prefix: Some(cidr.prefix),
            });
        }
        let address = text.parse().map_err(|_| ())?;
        Ok(Self {
            address,
            prefix: None,
        })
    }
}

/// The value of a key, however it is capitalised; exactly as it is spelt goes first.
pub(super) fn get<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    let map = object.as_object()?;
    let exact = map.get(key);
    exact.or_else(|| {
        map.iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(key))
            .map(|(_, value)| value)
    })
}

fn text(object: &Value, key: &str) -> Option<String> {
    get(object, key)?
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// What VERSION needs of its input: the version it names, if it names one that is spoken.
pub(super) fn version_of(input: &str) -> Result<Option<String>, Failure> {
    if input.trim().is_empty() {
        return Ok(None);
    }
    Ok(text(&json(input)?, "cniVersion"))
}

fn json(input: &str) -> Result<Value, Failure> {
    let value: Result<Value, _> = serde_json::from_str(input);
    match value {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err(Failure::new(
            Code::Decode,
            "the network configuration is not a JSON object",
        )),
        Err(error) => {
            Err(Failure::new(Code::Decode, "the network configuration is not JSON").with(error.to_string()))
        }
    }
}

impl Conf {
    /// Reads a configuration for this call. The second part of an error is the version to answer in.
    pub(super) fn read(input: &str, call: &Call) -> Result<Self, (Failure, String)> {
        let newest = || (*VERSIONS.last().unwrap_or(&"")).to_owned();
        let value = json(input).map_err(|failure| (failure, newest()))?;
        let version = match get(&value, "cniVersion") {
            Some(Value::String(version)) => version.clone(),
            None | Some(Value::Null) => "0.1.0".to_owned(),
            Some(_) => {
                let failure = Failure::new(Code::Decode, "cniVersion is not a text");
                return Err((failure, newest()));
            }
        };
        if !VERSIONS.contains(&version.as_str()) {
            let details = format!("config is {version:?}, plugin supports {VERSIONS:?}");
            return Err((
                Failure::new(Code::Version, "incompatible CNI versions").with(details),
                newest(),
            ));
        }
        let answer_in = version.clone();
        Self::read_value(&value, version, input, call).map_err(|failure| (failure, answer_in))
    }

    fn read_value(value: &Value, version: String, input: &str, call: &Call) -> Result<Self, Failure> {
        let wrong = |message: String| Failure::new(Code::Config, message);
        let name = match get(value, "name") {
            None | Some(Value::Null) => return Err(wrong("missing network name".into())),
            Some(Value::String(name)) if name.is_empty() => return Err(wrong("missing network name".into())),
            Some(Value::String(name)) if is_name(name) => name.clone(),
            Some(name) => return Err(wrong(format!("invalid characters found in network name: {name}"))),
        };
        let ipam = get(value, "ipam").cloned().unwrap_or_default();
        let ipam = match (text(&ipam, "type"), ipam.is_object() || ipam.is_null()) {
            (_, false) => return Err(wrong(format!("ipam is not an object: {ipam}"))),
            (Some(kind), _) if kind.contains('/') => {
                return Err(wrong(format!("ipam type {kind:?} is not a name")));
            }
            (kind, _) => kind.filter(|kind| !["weft", "weft-net"].contains(&kind.as_str())),
        };
        let host = host(value, ipam.as_deref())?;
        let runtime = get(value, "runtimeConfig").cloned().unwrap_or_default();
        let asked = get(value, "args")
            .and_then(|args| get(args, "cni"))
            .cloned()
            .unwrap_or_default();
        let listed = |object: &Value| match get(object, "ips") {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(ips) => wanted(ips),
        };
        let mut addresses = listed(&runtime)?;
        if addresses.is_empty() {
            addresses = listed(&asked)?;
        }
        if let Some(ip) = call.args.get("IP").filter(|_| addresses.is_empty()) {
            addresses = wanted(&Value::String(ip.clone()))?;
        }
        let mac = text(&runtime, "mac")
            .or_else(|| text(&asked, "mac"))
            .or_else(|| call.args.get("MAC").cloned());
        let aliases = aliases(&runtime, &name)?;
        // What is there can always go.
        let limits = match limits(&runtime) {
            Err(_) if !matches!(call.verb, Verb::Add | Verb::Check) => Limits::default(),
            limits => limits?,
        };
        Ok(Self {
            version,
            name,
            socket: text(value, "socket").map(PathBuf::from),
            ipam,
            addresses,
            mac,
            aliases,
            limits,
            routes: routes(value)?,
            network: network(value)?,
            host,
            dns: get(value, "dns").cloned().unwrap_or_default(),
            previous: get(value, "prevResult")
                .filter(|previous| !previous.is_null())
                .cloned(),
            valid: valid(value)?,
            text: input.to_owned(),
        })
    }

    /// True if the version of the configuration is at least this one.
    pub(super) fn is_since(&self, version: &str) -> bool {
        let place = |version: &str| VERSIONS.iter().position(|other| *other == version);
        place(&self.version) >= place(version)
    }
}

/// A key that is true, or false, or not there.
fn flag(value: &Value, key: &str) -> Result<bool, Failure> {
    match get(value, key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(is_set)) => Ok(*is_set),
        Some(other) => {
            let message = format!("{key} is neither true nor false: {other}");
            Err(Failure::new(Code::Config, message))
        }
    }
}

/// What containers get of the host. The router gives it an address for that, which another IPAM plugin knows nothing of.
fn host(value: &Value, ipam: Option<&str>) -> Result<HostKeys, Failure> {
    let is_default_gateway = flag(value, "isDefaultGateway")?;
    let masquerade = flag(value, "ipMasq")?;
    let gateway = flag(value, "isGateway")? || is_default_gateway || masquerade;
    // The host is a port of its own in the mesh: what comes back from it needs no reflecting port.
    flag(value, "hairpinMode")?;
    if let Some(ipam) = ipam.filter(|_| gateway) {
        let keys = ["isDefaultGateway", "isGateway", "ipMasq"];
        let is_set = |key: &&&str| flag(value, key).unwrap_or_default();
        let key = keys.iter().find(is_set).unwrap_or(&"isGateway");
        return Err(Failure::new(
            Code::Unsupported,
            format!("unsupported field in network configuration: {key}=true, with addresses by {ipam}"),
        ));
    }
    Ok(HostKeys {
        gateway,
        is_default_gateway,
        masquerade,
    })
}

/// Name or number of the network.
fn network(value: &Value) -> Result<Option<String>, Failure> {
    match get(value, "network") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => Ok(Some(name.clone()).filter(|name| !name.is_empty())),
        Some(Value::Number(vni)) if vni.is_u64() => Ok(Some(vni.to_string())),
        Some(other) => Err(Failure::new(
            Code::Config,
            format!("network is neither a name nor a VNI: {other}"),
        )),
    }
}

fn wanted(value: &Value) -> Result<Vec<Wanted>, Failure> {
    let wrong = || Failure::new(Code::Config, format!("ips are not a list of addresses: {value}"));
    let texts: Vec<&str> = match value {
        Value::String(text) => text.split(',').collect(),
        Value::Array(items) => items
            .iter()
            .map(Value::as_str)
            .collect::<Option<_>>()
            .ok_or_else(wrong)?,
        _ => return Err(wrong()),
    };
    texts
        .into_iter()
        .map(|text| text.trim().parse().map_err(|()| wrong()))
        .collect()
}

/// How much the container may send and receive, of what a runtime asks by the capability `bandwidth`: bits in a second, and
/// bits at once. As with the reference plugin one needs the other, and none of both is no limit.
fn limits(runtime: &Value) -> Result<Limits, Failure> {
    let asked = get(runtime, "bandwidth").cloned().unwrap_or_default();
    for key in ["shapedSubnets", "unshapedSubnets"] {
        let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if let Some(subnets) = get(&asked, key).filter(|subnets| !is_empty(subnets)) {
            let message =
                format!("bandwidth.{key}={subnets}: limits hold for all that a container sends or receives");
            return Err(Failure::new(Code::Unsupported, message));
        }
    }
    let number = |key: &str| match get(&asked, key) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value.as_u64().ok_or_else(|| {
            Failure::new(
                Code::Config,
                format!("bandwidth.{key} is not a number of bits: {value}"),
            )
        }),
    };
    let limit = |rate_key: &str, burst_key: &str| {
        let wrong = |message: String| Failure::new(Code::Config, message);
        match (number(rate_key)?, number(burst_key)?) {
            (0, 0) => Ok(None),
            (_, 0) => Err(wrong(format!("bandwidth.{rate_key} needs {burst_key} beside it"))),
            (0, _) => Err(wrong(format!("bandwidth.{burst_key} needs {rate_key} beside it"))),
            (_, burst) if burst / 8 >= u64::from(u32::MAX) => {
                Err(wrong(format!("bandwidth.{burst_key}={burst} is more than 4 GB")))
            }
            (rate, burst) => Ok(Some(Limit {
                rate: (rate / 8).max(1),
                burst: burst / 8,
            })),
        }
    };
    Ok(Limits {
        sends: limit("egressRate", "egressBurst")?,
        receives: limit("ingressRate", "ingressBurst")?,
    })
}

/// A list, or, as Podman sends it, one for each network by name.
fn aliases(runtime: &Value, network: &str) -> Result<Vec<String>, Failure> {
    let all = get(runtime, "aliases").filter(|aliases| !aliases.is_null());
    let all = match all {
        Some(by_network @ Value::Object(_)) => by_network.get(network),
        list => list,
    };
    let Some(all) = all else {
        return Ok(Vec::new());
    };
    let wrong = || Failure::new(Code::Config, format!("aliases are not a list of names: {all}"));
    let list = all.as_array().ok_or_else(wrong)?;
    list.iter()
        .map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong))
        .collect()
}

fn routes(value: &Value) -> Result<Vec<(Cidr, Option<IpAddr>)>, Failure> {
    let Some(routes) = get(value, "routes").filter(|routes| !routes.is_null()) else {
        return Ok(Vec::new());
    };
    let wrong = || {
        Failure::new(
            Code::Config,
            format!("routes are not a list of dst and gw: {routes}"),
        )
    };
    let route = |route: &Value| {
        let dst = text(route, "dst")?.parse().ok()?;
        match text(route, "gw") {
            Some(gw) => Some((dst, Some(gw.parse().ok()?))),
            None => Some((dst, None)),
        }
    };
    let all = routes.as_array().ok_or_else(wrong)?;
    all.iter().map(|one| route(one).ok_or_else(wrong)).collect()
}

fn valid(value: &Value) -> Result<Option<Vec<(String, String)>>, Failure> {
    let Some(list) = get(value, "cni.dev/valid-attachments").or_else(|| get(value, "cni.dev/attachments"))
    else {
        return Ok(None);
    };
    // What Go makes of a list that was never filled.
    if list.is_null() {
        return Ok(Some(Vec::new()));
    }
    let wrong = || Failure::new(Code::Config, format!("the valid attachments are no list: {list}"));
    let one = |one: &Value| Some((text(one, "containerID")?, text(one, "ifname")?));
    let all = list.as_array().ok_or_else(wrong)?;
    all.iter()
        .map(one)
        .collect::<Option<_>>()
        .map(Some)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_however_they_are_capitalised() {
        let call = Call::read(|name| {
            if name == "CNI_COMMAND" {
                "VERSION".into()
            } else {
                String::new()
            }
        })
        .unwrap();
        let input = r#"{"CNIVersion": "1.0.0", "Name": "n", "RuntimeConfig": {"IPs": ["10.32.0.9/12", "fd00::1"], "Mac": "02:00:00:00:00:01"},
            "portMappings": [{"HostPort": 1}], "whatever": {"X": [1]}, "routes": [{"Dst": "0.0.0.0/0", "GW": "10.32.0.1"}]}"#;
        let conf = Conf::read(input, &call).unwrap();
        assert_eq!((conf.name.as_str(), conf.version.as_str()), ("n", "1.0.0"));
        assert_eq!(conf.addresses.len(), 2);
        assert_eq!(conf.addresses[0].prefix, Some(12));
        assert_eq!(conf.mac.as_deref(), Some("02:00:00:00:00:01"));
        assert_eq!(conf.routes[0].1, Some("10.32.0.1".parse().unwrap()));
        assert!(conf.is_since("0.4.0") && !conf.is_since("1.1.0"));
    }

    #[test]
    fn limits_are_bits_and_need_both_numbers() {
        let read = |bandwidth: &str| {
            let runtime = format!(r#"{{ "bandwidth": {bandwidth} }}"#);
            limits(&serde_json::from_str(&runtime).unwrap())
        };
        let both =
            read(r#"{ "ingressRate": 800, "ingressBurst": 8001, "EgressRate": 1, "egressBurst": 16 }"#);
        let limit = |rate, burst| Some(Limit { rate, burst });
        let expected = Limits {
            sends: limit(1, 2),
            receives: limit(100, 1000),
        };
        assert_eq!(both.unwrap(), expected);
        for none in [
            "null",
            "{}",
            r#"{ "egressRate": 0, "egressBurst": null, "shapedSubnets": [] }"#,
        ] {
            assert_eq!(read(none).unwrap(), Limits::default(), "{none}");
        }
        for (wrong, code) in [
            (r#"{ "egressRate": 8 }"#, Code::Config),
            (r#"{ "ingressBurst": 8 }"#, Code::Config),
            (r#"{ "egressRate": "8", "egressBurst": 8 }"#, Code::Config),
            (r#"{ "egressRate": -8, "egressBurst": 8 }"#, Code::Config),
            (r#"{ "egressRate": 8, "egressBurst": 34359738360 }"#, Code::Config),
            (r#"{ "unshapedSubnets": ["10.0.0.0/8"] }"#, Code::Unsupported),
        ] {
            assert!(read(wrong).unwrap_err().is(code), "{wrong}");
        }
    }
}
