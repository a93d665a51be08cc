//! A host for real runtimes: a router, the plugin where they look for it, and an image, as there is no registry.

use crate::common::{Host, Lab, Router, lacks, run_in};
use serde_json::Value;
use std::path::PathBuf;

/// An image of a few commands, as an OCI archive called `$1`, made in the folder `$2`.
pub(crate) const IMAGE: &str = r#"
set -e
cd "$2"
mkdir -p rootfs/bin rootfs/proc rootfs/sys rootfs/dev rootfs/etc rootfs/tmp blobs/sha256
cp "$(command -v busybox)" rootfs/bin/busybox
chroot rootfs /bin/busybox --install -s /bin
tar -C rootfs -cf layer.tar .
put() { hash=$(sha256sum "$1" | cut -d' ' -f1); size=$(stat -c %s "$1"); mv "$1" blobs/sha256/$hash; }
put layer.tar; layer=$hash layer_size=$size
printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["/bin/sleep","1000"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $layer > config
put config; config=$hash config_size=$size
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' $config $config_size $layer $layer_size > manifest
put manifest
printf '{"imageLayoutVersion":"1.0.0"}' > oci-layout
printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"%s","io.containerd.image.name":"docker.io/%s"}}]}' $hash $size "$1" "$1" > index.json
tar -cf image.tar blobs oci-layout index.json
"#;

/// A host with a router and the plugin installed.
pub(crate) struct Place {
    pub(crate) lab: Lab,
    pub(crate) host: Host,
    pub(crate) router: Option<Router>,
    pub(crate) bin: PathBuf,
    pub(crate) conf: PathBuf,
    pub(crate) image: String,
}

impl Place {
    pub(crate) fn new(name: &'static str, programs: &[&str]) -> Option<Self> {
        Self::with(name, programs, &[], |_| Vec::new())
    }

    /// With options for `weft cni install`; `prepare` fills the folder of plugins, and gives options for the router.
    pub(crate) fn with(
        name: &'static str,
        programs: &[&str],
        install: &[&str],
        prepare: impl FnOnce(&Host) -> Vec<String>,
    ) -> Option<Self> {
        if lacks(programs) {
            return None;
        }
        let lab = Lab::new(name)?;
        let host = lab.host("h1");
        let (bin, conf) = (host.dir.join("bin"), host.dir.join("conf"));
        let options = prepare(&host);
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let router = host.launch(&options);
        let [bin_text, conf_text] = [&bin, &conf].map(|path| path.to_str().unwrap());
        let fixed = ["cni", "install", "--bin-dir", bin_text, "--conf-dir", conf_text];
        host.weft(&[&fixed, install].concat()).ok();
        let image = format!("weft/{name}-{}:1", std::process::id());
        let folder = host.dir.join("image");
        std::fs::create_dir(&folder).unwrap();
        run_in(
            &host.netns,
            "sh",
            &["-c", IMAGE, "sh", &image, folder.to_str().unwrap()],
        )
        .ok();
        Some(Self {
            lab,
            host,
            router: Some(router),
            bin,
            conf,
            image,
        })
    }

    pub(crate) fn archive(&self) -> String {
        self.host.dir.join("image/image.tar").display().to_string()
    }

    /// Containers by name: their first addresses.
    pub(crate) fn ps(&self) -> Vec<(String, String)> {
        let ps: Value = serde_json::from_str(&self.host.weft(&["ps", "--json"]).ok()).unwrap();
        let line = |one: &Value| {
            let address = one["addresses"][0]
                .as_str()
                .unwrap()
                .split('/')
                .next()
                .unwrap()
                .to_owned();
            (one["name"].as_str().unwrap().to_owned(), address)
        };
        ps.as_array().unwrap().iter().map(line).collect()
    }

    pub(crate) fn free(&self) -> u64 {
        let ipam: Value = serde_json::from_str(&self.host.weft(&["ipam", "--json"]).ok()).unwrap();
        ipam["free"].as_u64().unwrap()
    }
}
