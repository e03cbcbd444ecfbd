//! NATS servers under test: one, or a cluster of three, each with its store in a throw-away directory.
//!
//! The program is `nats-server` of the path, of `target/tools` (where `./test` puts it), or what `NATS_SERVER` names.
//! Where there is none, tests say that they are skipped.

mod islands;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use policy_sync::transport::nats::NatsOptions;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::wait::eventually;

pub use islands::Islands;

/// How long a server, or a cluster, may take to come up.
const START: Duration = Duration::from_secs(40);

/// The program; says on the output when there is none.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/nats-server");
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|dir| dir.join("nats-server"));
    let found = named.into_iter().chain([tools]).chain(in_path).find(|program| program.is_file());
    if found.is_none() {
        println!("SKIPPED: nats-server is not installed");
    }
    found
}

/// What one server is told, beyond its store and its ports.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    /// `sync_interval` of the store.
    pub sync: &'static str,
    /// The largest message, in bytes.
    pub max_payload: usize,
    /// Whether there is JetStream.
    pub jetstream: bool,
    /// The whole configuration instead, with `{client}`, `{monitoring}` and `{store}` where ports and the store go.
    pub whole: Option<String>,
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self { sync: "always", max_payload: 8 << 20, jetstream: true, whole: None }
    }
}

/// A server.
#[derive(Debug)]
pub struct Nats {
    program: PathBuf,
    dir: TempDir,
    name: String,
    settings: NatsSettings,
    cluster: Option<(u16, Vec<u16>)>,
    host: String,
    /// The network namespace that it runs in, if not in this one.
    namespace: Option<String>,
    ports: Option<(u16, u16)>,
    process: Option<Process>,
}

impl Nats {
    /// Starts one; `None` where there is no program.
    pub async fn start() -> Option<Self> {
        Self::with(NatsSettings::default()).await
    }

    /// Starts one with these settings.
    pub async fn with(settings: NatsSettings) -> Option<Self> {
        let mut server = Self::new(installed()?, "nats-1", settings, None);
        server.launch().await;
        Some(server)
    }

    fn new(program: PathBuf, name: &str, settings: NatsSettings, cluster: Option<(u16, Vec<u16>)>) -> Self {
        let dir = TempDir::new().expect("a directory");
        Self {
            program,
            dir,
            name: name.to_owned(),
            settings,
            cluster,
            host: "127.0.0.1".to_owned(),
            namespace: None,
            ports: None,
            process: None,
        }
    }

    /// Starts the process, on the ports that it had before if it ran before.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn launch(&mut self) {
        let file = self.dir.path().join("nats.conf");
        std::fs::write(&file, self.configuration()).expect("the file is written");
        let log = std::fs::File::create(self.dir.path().join("log")).expect("a file");
        let mut command = match &self.namespace {
            // It becomes the program, under the same process id.
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command.arg("-c").arg(&file).arg("--ports_file_dir").arg(self.dir.path());
        command.stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("the server starts");
        let ports = self.dir.path().join(format!("nats-server_{}.ports", child.id()));
        self.process = Some(Process(child));
        let read = eventually(START, "the server names its ports", async || {
            let text = std::fs::read_to_string(&ports).ok()?;
            let ports: Value = serde_json::from_str(&text).ok()?;
            Some((port(&ports, "nats")?, port(&ports, "monitoring")?))
        });
        self.ports = Some(read.await);
    }

    fn configuration(&self) -> String {
        let (client, monitoring) = match self.ports {
            Some((client, monitoring)) => (client.to_string(), monitoring.to_string()),
            None => ("-1".to_owned(), "-1".to_owned()),
        };
        let NatsSettings { sync, max_payload, jetstream, whole } = &self.settings;
        let store = self.dir.path().join("store");
        if let Some(whole) = whole {
            let whole = whole.replace("{client}", &client).replace("{monitoring}", &monitoring);
            return whole.replace("{store}", &store.display().to_string());
        }
        let mut text = format!(
            "server_name: {}\nlisten: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{monitoring}\"\nmax_payload: {max_payload}\n",
            self.name
        );
        if *jetstream {
            text += &format!("jetstream {{ store_dir: \"{}\", sync_interval: {sync} }}\n", store.display());
        }
        if let Some((own, all)) = &self.cluster {
            let routes: Vec<String> = all
                .iter()
                .filter(|port| *port != own)
                .map(|port| format!("nats://127.0.0.1:{port}"))
                .collect();
            text += &format!(
                "cluster {{ name: lab, listen: \"127.0.0.1:{own}\", routes: [{}] }}\n",
                routes.join(", ")
            );
        }
        text
    }

    /// The URL for clients.
    ///
    /// # Panics
    /// When it was never started.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}:{}", self.host, self.ports.expect("it was started").0)
    }

    /// The port for clients.
    ///
    /// # Panics
    /// When it was never started.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.expect("it was started").0
    }

    /// The monitoring address.
    ///
    /// # Panics
    /// When it was never started.
    #[must_use]
    pub fn monitoring(&self) -> String {
        format!("http://{}:{}", self.host, self.ports.expect("it was started").1)
    }

    /// How a control plane or a gateway is told of it.
    #[must_use]
    pub fn options(&self) -> NatsOptions {
        NatsOptions {
            servers: vec![self.url()],
            ca: None,
            identity: None,
            credentials: None,
            prefix: "portcullis".to_owned(),
            monitoring: vec![self.monitoring()],
        }
    }

    /// Kills it as a power failure would end it.
    pub fn kill(&mut self) {
        self.process.take();
    }

    /// Sends it a signal: `STOP` cuts it off from everybody, as a partition does.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// Its process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    /// What it has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

/// Three servers that keep everything three times.
#[derive(Debug)]
pub struct NatsCluster {
    /// The servers.
    pub servers: Vec<Nats>,
}

impl NatsCluster {
    /// Starts three; `None` where there is no program.
    ///
    /// # Panics
    /// When the system has no ports left.
    pub async fn start() -> Option<Self> {
        let program = installed()?;
        // Each must know the others' ports before it starts: the system picks them, and they are free again a moment later.
        let reserved: Vec<TcpListener> =
            (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let ports: Vec<u16> =
            reserved.iter().map(|socket| socket.local_addr().expect("an address").port()).collect();
        drop(reserved);
        let mut servers = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            let name = format!("nats-{}", index + 1);
            let cluster = Some((*port, ports.clone()));
            let mut server = Nats::new(program.clone(), &name, NatsSettings::default(), cluster);
            server.launch().await;
            servers.push(server);
        }
        Some(Self { servers })
    }

    /// How a control plane or a gateway is told of all of them.
    #[must_use]
    pub fn options(&self) -> NatsOptions {
        let all = |of: fn(&Nats) -> String| self.servers.iter().map(of).collect();
        NatsOptions {
            servers: all(Nats::url),
            monitoring: all(Nats::monitoring),
            ..self.servers[0].options()
        }
    }

    /// The place of the server that leads a stream, by what the others say.
    pub async fn leader_of(&self, stream: &str) -> usize {
        eventually(START, "the stream has a leader", async || {
            for server in &self.servers {
                let Some(name) = leader(server, stream).await else { continue };
                return self.servers.iter().position(|server| server.name == name);
            }
            None
        })
        .await
    }
}

/// The leader of a stream, as this server knows it.
async fn leader(server: &Nats, stream: &str) -> Option<String> {
    let client = async_nats::ConnectOptions::new()
        .connection_timeout(Duration::from_secs(1))
        .connect(server.url())
        .await
        .ok()?;
    let jetstream = async_nats::jetstream::new(client);
    let asked = tokio::time::timeout(Duration::from_secs(2), jetstream.get_stream(stream)).await;
    asked.ok()?.ok()?.cached_info().cluster.clone()?.leader
}

/// The first port of the named listener in what a server writes about its ports.
fn port(ports: &Value, listener: &str) -> Option<u16> {
    ports.get(listener)?.get(0)?.as_str()?.rsplit(':').next()?.parse().ok()
}
