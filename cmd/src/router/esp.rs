//! Encryption on the fast path: news of direct paths to [`Keeper`], its decisions into the kernel, and what sleeve agrees
//! on with neighbours from one to the other.
//!
//! All of it happens on the router's own task: a change is a netlink request that the kernel answers within some ten
//! microseconds, and there are a few per neighbour and hour. The kernel's reports say when to look what there is.

use super::Router;
use super::fast::Laid;
use crate::cli::{CipherChoice, Launch};
use fastpath::esp::{self, Ends, Input, Keeper, Key, NoEsp, Output, Probe, Settings, Watch, Xfrm};
use fastpath::overlay::Cover;
use fastpath::underlay;
use mesh::{Instant, PeerId};
use sleeve::{EspEnds, EspRefusal};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use tracing::{debug, info, warn};

/// How often neighbours are looked at from whom nothing comes back.
const LOOK: Duration = Duration::from_secs(1);
/// How often the kernel's associations are, unasked: it reports what others do to them and which end, but not how many
/// packets they have seen.
const LIST: Duration = Duration::from_secs(5);
/// How long after a report of the kernel's they are: more will follow.
const SOON: Duration = Duration::from_millis(5);
/// Rounds of looking and changing in a row.
const ROUNDS: usize = 4;

/// A router's hold on ESP.
pub(super) struct Esp {
    xfrm: Xfrm,
    keeper: Keeper,
    /// Of neighbours to which frames are to be encrypted: where they are, and between which addresses that would be.
    ends: BTreeMap<PeerId, (IpAddr, Result<Ends, NoEsp>)>,
    next_look: Instant,
    next_list: Instant,
    /// Where nothing may go unencrypted, as the rest of the kernel's plan was last made with.
    sealed: BTreeSet<IpAddr>,
}

/// Finds out whether the kernel can, and what an earlier run left.
///
/// # Errors
/// In words, why there is no ESP.
pub(super) fn prepare(options: &Launch, now: Instant) -> Result<(Esp, Watch), String> {
    if options.cipher == CipherChoice::ChaCha20Poly1305 {
        return Err("--cipher allows no AES-256-GCM, which is what ESP uses".into());
    }
    let roll = options
        .esp_roll
        .map_or(esp::ROLL, |seconds| Duration::from_secs(seconds.into()));
    let trouble = |error: &dyn std::fmt::Display| format!("this host's kernel has no IPsec ESP: {error}");
    let mut xfrm = Xfrm::open(&options.bridge, options.vxlan_port, roll).map_err(|error| trouble(&error))?;
    if let Probe::Unable(why) = xfrm.probe() {
        return Err(why);
    }
    let watch = Watch::open().map_err(|error| trouble(&error))?;
    let left = esp::Kernel::observe(&mut xfrm).map_err(|error| trouble(&error))?;
    if !left.sas.is_empty() {
        info!(
            associations = left.sas.len(),
            "taking over what an earlier run encrypts by"
        );
    }
    let settings = Settings {
        port: options.vxlan_port,
        roll,
        grace: Duration::from_secs(options.grace.into()),
    };
    let esp = Esp {
        xfrm,
        keeper: Keeper::new(settings, now, left),
        ends: BTreeMap::new(),
        next_look: now,
        next_list: now,
        sealed: BTreeSet::new(),
    };
    Ok((esp, watch))
}

impl Esp {
    /// True if what an earlier run left encrypts everything to this address.
    pub(super) fn protects(&self, address: IpAddr) -> bool {
        self.keeper.protects(address)
    }

    /// Where nothing may go unencrypted.
    pub(super) fn sealed(&self) -> BTreeSet<IpAddr> {
        self.keeper.guarded().map(|ends| ends.there).collect()
    }

    pub(super) fn next_timeout(&self) -> Instant {
        self.keeper
            .poll_timeout()
            .into_iter()
            .chain([self.next_look, self.next_list])
            .min()
            .unwrap_or(self.next_look)
    }

    /// Makes the kernel as the keeper wants it, and tells the keeper.
    fn converge(&mut self, now: Instant) {
        for round in 0..ROUNDS {
            if round > 0 && !self.keeper.is_dirty() {
                return;
            }
            let report = match esp::converge(&mut self.xfrm, &self.keeper.desired()) {
                Ok(report) => report,
                // The next look will tell.
                Err(error) => return warn!("encryption on the fast path: {error}"),
            };
            for (_, error) in &report.failed {
                warn!("encryption on the fast path: {error}");
            }
            self.keeper.handle_input(now, Input::Seen(report));
        }
    }
}

/// Between which addresses the kernel would encrypt what goes to this one.
fn ends_toward(there: IpAddr) -> Result<Ends, NoEsp> {
    let route = underlay::route_to(there).map_err(|_| NoEsp::Agreeing)?;
    if let Some(why) = esp::bypass(&route.interface, there) {
        warn!("no encryption on the fast path to {there}: {why}");
        return Err(NoEsp::Refused);
    }
    let here = route.source.ok_or(NoEsp::Agreeing)?.to_canonical();
    Ok(Ends { here, there })
}

impl Laid {
    fn has_esp(&self, peer: &PeerId) -> bool {
        let capabilities = self.capabilities.get(peer).copied().unwrap_or_default();
        capabilities & mesh::capability::ESP != 0
    }
}

impl Router {
    /// How frames on the direct path to a router are kept from being read, if they are to be: tells the keeper of the
    /// path, and finds what it says of it. `encrypted`: not both trust the other's address.
    pub(super) fn cover(&mut self, peer: PeerId, address: IpAddr, encrypted: bool) -> Cover {
        let Ok(laid) = &mut self.fast.laid else {
            return Cover::Missing(NoEsp::Here);
        };
        let has_esp = laid.has_esp(&peer);
        let Ok(esp) = &mut laid.esp else {
            return if encrypted {
                Cover::Missing(NoEsp::Here)
            } else {
                Cover::Plain
            };
        };
        if !encrypted {
            esp.ends.remove(&peer);
            self.feed_sleeve_esp(peer, Err(NoEsp::There));
            self.feed_esp(Input::Plain { peer, there: address });
            return Cover::Plain;
        }
        if !has_esp {
            return Cover::Missing(NoEsp::There);
        }
        if esp.ends.get(&peer).is_none_or(|(known, _)| *known != address) {
            let ends = ends_toward(address);
            esp.ends.insert(peer, (address, ends));
            self.feed_sleeve_esp(peer, ends);
        }
        self.feed_esp_path(peer)
    }

    /// There is no direct path to a router now.
    pub(super) fn uncover(&mut self, peer: PeerId) {
        let Ok(laid) = &mut self.fast.laid else { return };
        let Ok(esp) = &mut laid.esp else { return };
        if esp.ends.remove(&peer).is_some() {
            self.feed_sleeve_esp(peer, Err(NoEsp::Agreeing));
            self.feed_esp(Input::Path { peer, ends: None });
        }
    }

    fn feed_esp_path(&mut self, peer: PeerId) -> Cover {
        let ends = |router: &Self| {
            let esp = router.fast.laid.as_ref().ok()?.esp.as_ref().ok()?;
            esp.ends.get(&peer).map(|(_, ends)| *ends)
        };
        match ends(self) {
            Some(Ok(ends)) => {
                let ends = Some(ends);
                self.feed_esp(Input::Path { peer, ends });
            }
            Some(Err(why)) => return Cover::Missing(why),
            None => return Cover::Missing(NoEsp::Agreeing),
        }
        let laid = self.fast.laid.as_ref().ok();
        let esp = laid.and_then(|laid| laid.esp.as_ref().ok());
        match esp.map(|esp| esp.keeper.state(&peer)) {
            Some(Ok(())) => Cover::Esp,
            Some(Err(why)) => Cover::Missing(why),
            None => Cover::Missing(NoEsp::Here),
        }
    }

    fn feed_sleeve_esp(&mut self, peer: PeerId, ends: Result<Ends, NoEsp>) {
        let ends = match ends {
            Ok(Ends { here, there }) => Ok(EspEnds { here, there }),
            Err(NoEsp::Agreeing) => Err(EspRefusal::NotYet),
            Err(_) => Err(EspRefusal::NoEsp),
        };
        self.feed_sleeve(sleeve::Input::Esp { peer, ends });
    }

    /// News for the keeper.
    pub(super) fn feed_esp(&mut self, input: Input) {
        let now = self.shore.clock.now();
        let Ok(laid) = &mut self.fast.laid else { return };
        let Ok(esp) = &mut laid.esp else { return };
        esp.keeper.handle_input(now, input);
        if esp.keeper.is_dirty() {
            esp.converge(now);
        }
        self.seal();
        self.esp_outputs();
    }

    /// Has the rule made anew that holds back what is to be encrypted and is not, if it is about others now.
    fn seal(&mut self) {
        let Ok(laid) = &mut self.fast.laid else { return };
        let Ok(esp) = &mut laid.esp else { return };
        let sealed = esp.sealed();
        if sealed != esp.sealed {
            esp.sealed = sealed;
            // What fails is told with the kernel's report.
            let _ = self.converge();
        }
    }

    fn esp_outputs(&mut self) {
        let Ok(laid) = &mut self.fast.laid else { return };
        let Ok(esp) = &mut laid.esp else { return };
        for output in esp.keeper.take_outputs() {
            match output {
                Output::Ask(peer) => self.feed_sleeve(sleeve::Input::EspAsk { peer }),
                Output::Taken { peer, number } => self.feed_sleeve(sleeve::Input::EspTaken { peer, number }),
                Output::Changed(peer) => {
                    debug!(peer = self.name(&peer), "encryption on the fast path changed");
                    self.path_changed(peer);
                }
            }
        }
    }

    /// Sleeve has agreed with a neighbour on an association, or has not.
    pub(super) fn esp_agreed(&mut self, output: sleeve::Output) {
        let ends = |ends: EspEnds| Ends {
            here: ends.here,
            there: ends.there,
        };
        match output {
            sleeve::Output::EspInbound {
                peer,
                number,
                ends: at,
                spi,
                key,
            } => self.feed_esp(Input::Inbound {
                peer,
                number,
                ends: ends(at),
                spi,
                key: Key(*key.bytes()),
            }),
            sleeve::Output::EspOutbound {
                peer,
                ends: at,
                spi,
                key,
            } => self.feed_esp(Input::Outbound {
                peer,
                ends: ends(at),
                spi,
                key: Key(*key.bytes()),
            }),
            sleeve::Output::EspRefused { peer, why } => {
                let why = match why {
                    EspRefusal::NoEsp => NoEsp::There,
                    EspRefusal::NotYet => NoEsp::Agreeing,
                    EspRefusal::Elsewhere => NoEsp::Translated,
                    EspRefusal::NoAnswer => NoEsp::NoAnswer,
                };
                self.feed_esp(Input::Refused { peer, why });
            }
            _ => {}
        }
    }

    /// The kernel reports that associations or policies changed.
    pub(super) fn esp_changed(&mut self) {
        let soon = self.shore.clock.now() + SOON;
        if let Ok(Ok(esp)) = self.fast.laid.as_mut().map(|laid| &mut laid.esp) {
            esp.next_list = esp.next_list.min(soon);
        }
    }

    /// Time has come.
    pub(super) fn esp_timers(&mut self, now: Instant) {
        let Ok(laid) = &mut self.fast.laid else { return };
        let Ok(esp) = &mut laid.esp else { return };
        if esp.next_timeout() > now {
            return;
        }
        if esp.next_list <= now {
            esp.next_list = now + LIST;
            esp.converge(now);
        }
        if esp.next_look <= now {
            esp.next_look = now + LOOK;
            let peers: Vec<_> = esp.ends.keys().copied().collect();
            for peer in peers {
                self.esp_doubts(peer);
            }
        }
        self.feed_esp(Input::Tick);
    }

    /// Where nothing comes back, the association may be lost at the other end, or the addresses be others by now.
    fn esp_doubts(&mut self, peer: PeerId) {
        let Ok(laid) = &mut self.fast.laid else { return };
        let Some(proven) = laid.overlay.answers(&peer) else {
            return;
        };
        let Ok(esp) = &mut laid.esp else { return };
        if !proven && let Some((address, known)) = esp.ends.get(&peer).copied() {
            let ends = ends_toward(address);
            if ends != known {
                esp.ends.insert(peer, (address, ends));
                self.feed_sleeve_esp(peer, ends);
                self.path_changed(peer);
            }
        }
        self.feed_esp(Input::Proven { peer, proven });
    }

    /// All is about to be removed, and nothing to be made again.
    pub(super) fn esp_let_go(&mut self) {
        if let Ok(laid) = &mut self.fast.laid {
            laid.esp = Err("everything is being removed".into());
        }
    }

    /// A secret was retired: what was made with it goes.
    pub(super) fn esp_renew(&mut self) {
        self.feed_esp(Input::Renew);
    }
}

/// Takes away what an earlier run left where this one has no fast path. Frames that were encrypted by it are gone with
/// the devices.
pub(super) fn remove_left(bridge: &str) {
    if let Ok(mut xfrm) = Xfrm::open(bridge, 0, esp::ROLL) {
        let removed = xfrm.remove_all();
        if let Err(error) = removed {
            warn!("what an earlier run encrypted by stays: {error}");
        }
    }
}
