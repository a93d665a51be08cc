//! A host with a router, and containers that the plugin is called for.

use crate::common::{Host, Lab, Router};
use crate::plugin::{Answer, call, conf};
use fastpath::NetNs;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A host with a router, and a folder of other plugins.
pub(crate) struct Stage {
    pub(crate) host: Host,
    pub(crate) router: Option<Router>,
    pub(crate) lab: Lab,
}

/// A container that is not attached yet.
pub(crate) struct Pod {
    pub(crate) id: String,
    pub(crate) netns: NetNs,
}

impl Pod {
    pub(crate) fn new(id: &str) -> Self {
        let netns = NetNs::create_anonymous().unwrap();
        Self {
            id: id.to_owned(),
            netns,
        }
    }
}

impl Stage {
    pub(crate) fn new(name: &'static str) -> Option<Self> {
        let lab = Lab::new(name)?;
        let host = lab.host("h1");
        let router = Some(host.launch(&["--ipalloc-range", "10.32.0.0/24"]));
        Some(Self { host, router, lab })
    }

    pub(crate) fn conf(&self, version: &str) -> Value {
        conf(&self.host.socket(), version)
    }

    pub(crate) fn call(&self, verb: &str, pod: &Pod, conf: &Value) -> Answer {
        call_for(&self.host.dir, verb, pod, conf)
    }

    pub(crate) fn used(&self) -> u64 {
        let ipam: Value = serde_json::from_str(&self.host.weft(&["ipam", "--json"]).ok()).unwrap();
        // Nothing is divided before somebody wants an address.
        let is_divided = ipam["shares"].as_array().is_some_and(|shares| !shares.is_empty());
        if is_divided {
            254 - ipam["free"].as_u64().unwrap()
        } else {
            0
        }
    }

    /// Puts a plugin in place that gives out addresses: it prints `add` for ADD, and notes its verbs.
    pub(crate) fn plugin(&self, name: &str, add: &str) -> impl Fn() -> String + use<> {
        let (file, log) = (
            self.host.dir.join(name),
            self.host.dir.join(format!("{name}.log")),
        );
        let script = format!(
            "#!/bin/sh\ncat >/dev/null\necho $CNI_COMMAND >>{}\n[ $CNI_COMMAND != ADD ] || {add}\n",
            log.display()
        );
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        move || {
            std::fs::read_to_string(&log)
                .unwrap_or_default()
                .replace('\n', " ")
        }
    }
}

/// Calls the plugin for a container; other plugins are in `dir`.
pub(crate) fn call_for(dir: &Path, verb: &str, pod: &Pod, conf: &Value) -> Answer {
    let netns = pod.netns.path().display().to_string();
    let path = dir.display().to_string();
    let variables = [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", &pod.id),
        ("CNI_NETNS", &netns),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", &path),
    ];
    call(&variables, &conf.to_string())
}
