//! Three NATS servers in network namespaces of their own, one of which can be cut off from the other two.
//!
//! Every server has two links: one to a bridge that nothing but servers is on, and one to this machine, for its clients. A
//! server whose first link is down is alive and serves its clients, and has lost its cluster: a partition as networks
//! make them. Takes root and `ip`; where these are not to be had it says so.

use std::process::{Command, Stdio};

use policy_sync::transport::nats::NatsOptions;

use super::{Nats, NatsSettings, installed};

/// The servers, and the links between them. Dropped, it leaves no namespace behind.
#[derive(Debug)]
pub struct Islands {
    /// The servers.
    pub servers: Vec<Nats>,
    network: Network,
}

impl Islands {
    /// Starts three; `None` where there is no program, or no right to make namespaces.
    pub async fn start() -> Option<Self> {
        let program = installed()?;
        let Some(network) = Network::found() else {
            println!("SKIPPED: no network namespaces can be made here");
            return None;
        };
        let mut servers = Vec::new();
        for number in 1..=3 {
            let settings =
                NatsSettings { whole: Some(network.configuration(number)), ..NatsSettings::default() };
            let mut server = Nats::new(program.clone(), &format!("nats-{number}"), settings, None);
            server.host = network.client(number);
            server.namespace = Some(network.namespace(number));
            server.launch().await;
            servers.push(server);
        }
        Some(Self { servers, network })
    }

    /// The way to these servers, by their place from 0.
    #[must_use]
    pub fn way(&self, servers: &[usize]) -> NatsOptions {
        let urls = servers.iter().map(|server| self.servers[*server].url()).collect();
        NatsOptions { servers: urls, monitoring: Vec::new(), ..self.servers[0].options() }
    }

    /// Cuts a server, by its place from 0, off from the other two, or joins it to them again.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn cut_off(&self, server: usize, off: bool) {
        let link = self.network.route(server + 1);
        assert!(ip(&["link", "set", &link, if off { "down" } else { "up" }]), "{link}");
    }
}

/// Namespaces, a bridge, and two links for each server, which are counted from 1.
#[derive(Debug)]
struct Network(u32);

impl Network {
    fn found() -> Option<Self> {
        let network = Self(std::process::id());
        network.build().then_some(network)
    }

    fn build(&self) -> bool {
        let bridge = self.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"])
            && ip(&["link", "set", &bridge, "up"])
            && (1..=3).all(|number| self.join(number))
    }

    fn join(&self, number: usize) -> bool {
        let (space, bridge) = (self.namespace(number), self.bridge());
        let (route, own) = (self.route(number), self.link(number));
        let here = format!("{}/24", self.host(number, 1));
        let there = format!("{}/24", self.client(number));
        let routed = format!("{}/24", self.host(0, number));
        ip(&["netns", "add", &space])
            && ip(&["link", "add", &route, "type", "veth", "peer", "name", "r0", "netns", &space])
            && ip(&["link", "set", &route, "master", &bridge, "up"])
            && ip(&["link", "add", &own, "type", "veth", "peer", "name", "c0", "netns", &space])
            && ip(&["addr", "add", &here, "dev", &own])
            && ip(&["link", "set", &own, "up"])
            && ip(&["-n", &space, "addr", "add", &there, "dev", "c0"])
            && ip(&["-n", &space, "addr", "add", &routed, "dev", "r0"])
            && ["lo", "c0", "r0"].iter().all(|link| ip(&["-n", &space, "link", "set", link, "up"]))
    }

    fn configuration(&self, number: usize) -> String {
        let client = self.client(number);
        let others: Vec<_> = (1..=3).filter(|other| *other != number).collect();
        let routes: Vec<_> =
            others.iter().map(|other| format!("nats://{}:6222", self.host(0, *other))).collect();
        format!(
            "server_name: nats-{number}\nlisten: \"{client}:{{client}}\"\nhttp: \"{client}:{{monitoring}}\"\n\
             max_payload: 8388608\njetstream {{ store_dir: \"{{store}}\", sync_interval: always }}\n\
             cluster {{ name: islands, no_advertise: true, listen: \"{}:6222\", routes: [{}] }}\n",
            self.host(0, number),
            routes.join(", ")
        )
    }

    /// An address that no other run uses at the same time.
    fn host(&self, net: usize, host: usize) -> String {
        format!("10.{}.{}.{host}", 64 + self.0 % 128, self.0 / 128 % 32 * 8 + net as u32)
    }

    fn client(&self, number: usize) -> String {
        self.host(number, 2)
    }

    fn namespace(&self, number: usize) -> String {
        format!("portcullis-{}-{number}", self.0)
    }

    fn bridge(&self) -> String {
        format!("pcb{}", self.0)
    }

    fn route(&self, number: usize) -> String {
        format!("pcr{number}-{}", self.0)
    }

    fn link(&self, number: usize) -> String {
        format!("pcc{number}-{}", self.0)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for number in 1..=3 {
            // With a namespace go the links into it.
            ip(&["netns", "del", &self.namespace(number)]);
        }
        ip(&["link", "del", &self.bridge()]);
    }
}

/// Runs `ip`; whether that went well.
fn ip(arguments: &[&str]) -> bool {
    let mut command = Command::new("ip");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
