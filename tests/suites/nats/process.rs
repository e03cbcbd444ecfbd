//! A real gateway that follows over NATS.

use std::time::Duration;

use lab::fleet::ControlPlane;
use lab::nats::Nats;
use lab::settings::Settings;
use lab::wait::{PATIENCE, never_for};
use lab::{Behaviour, Capture, Draft, Fleet, Lab, eventually};
use policy_sync::log::Entry;
use policy_sync::transport::nats::NatsOptions;
use policy_sync::{Role, SigningKey};
use tempfile::TempDir;

use super::access::{Operated, Pki, example};
use super::replica::{Files, Replica};
use super::setup::{Ring, key};

/// A gateway whose settings name these servers, and the files that it needs for it.
struct Following {
    lab: Lab,
    report: SigningKey,
    _dir: TempDir,
}

impl Following {
    async fn start(nats: &NatsOptions, change: impl FnOnce(&mut Settings)) -> Self {
        let (dir, report) = (TempDir::new().unwrap(), key("gw-1"));
        let file = dir.path().join("report.key");
        report.write(&file).unwrap();
        let lab = Lab::builder()
            .settings(|settings| {
                settings.set("policy.source", format!("nats:{}", nats.servers.join(",")));
                settings.set("nats.report_key", file.display().to_string());
                settings.set("nats.report_key_id", "gw-1");
                change(settings);
            })
            .unready()
            .start()
            .await;
        Self { lab, report, _dir: dir }
    }

    /// What control planes need that this gateway is to believe, and that are to believe it.
    fn files(&self) -> Files {
        let ring = Ring::of(&self.lab.dir().join("keys.toml"), &self.lab.policy.keys.control);
        ring.trust(&self.report, Role::Gateway);
        Files::with(ring, &self.lab.policy.keys.revoker)
    }

    async fn submit(&self, replica: &Replica, draft: &Draft) {
        let keys = &self.lab.policy.keys;
        let envelope = lab::policy::signed_manifest(draft, keys.next_issue(), &keys.author);
        replica.plane.submit(Entry::Manifest(envelope.into()), "alice@example.com").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_over_mutual_tls_enforces_what_either_of_two_control_planes_says() {
    let pki = Pki::found();
    let Some(nats) = example(&pki).await else { return };
    let options = pki.options(&nats, "gw-1");
    let (certificate, own) = options.identity.clone().unwrap();
    let gateway = Following::start(&options, |settings| {
        settings.set("nats.ca", options.ca.clone().unwrap().display().to_string());
        settings.set("nats.certificate", certificate.display().to_string());
        settings.set("nats.key", own.display().to_string());
    })
    .await;
    let files = gateway.files();
    let control = pki.options(&nats, "control");
    let one = files.replica("control-a", &control).await;
    let two = files.replica("control-b", &control).await;
    let origin = Capture::start(Behaviour::Echo).await;
    for device in ["device-1", "device-2"] {
        gateway.submit(&one, &Draft::of(device).raw(&origin.destination())).await;
    }
    gateway.lab.ready().await;
    two.knows("gw-1", true).await;
    let open = async |device: &str| {
        eventually(PATIENCE, "the manifest is in force", async || {
            gateway.lab.device(device).connect(&origin.destination()).await.ok()?.ok()
        })
        .await
    };
    let (mut cut, mut kept) = (open("device-1").await, open("device-2").await);
    cut.echoes(b"before").await;
    let revoked = two.revoke("device-1", PATIENCE).await;
    assert_eq!(revoked.applied.len(), 1, "{revoked:?}");
    assert_eq!((revoked.applied[0].gateway.as_str(), revoked.applied[0].sessions_cut), ("gw-1", 1));
    println!("a gateway over NATS has cut a session {} ms after it was told", revoked.applied[0].latency_ms);
    cut.rest().await;
    kept.echoes(b"goes on").await;

    // One control plane goes; the other one's word is enough to stay fresh, and to revoke.
    drop(one);
    let revoked = two.revoke("device-2", PATIENCE).await;
    assert_eq!(revoked.applied.len(), 1, "{revoked:?}");
    kept.rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_follows_with_its_credentials_and_not_without() {
    let Some(server) = Operated::start().await else { return };
    let options = server.credentials("gateway.creds");
    let file = options.credentials.clone().unwrap();
    let with = Following::start(&options, |settings| {
        settings.set("nats.credentials", file.display().to_string());
    })
    .await;
    let without = Following::start(&options, |_| ()).await;
    let files = with.files();
    let control = files.replica("control-a", &server.credentials("control.creds")).await;
    with.lab.ready().await;
    control.knows("gw-1", true).await;
    never_for(Duration::from_secs(1), "the other gateway is ready", async || {
        (without.lab.admin("/readyz").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_follows_the_log_under_its_prefix() {
    let Some(nats) = Nats::start().await else { return };
    let gateway = Following::start(&nats.options(), |settings| {
        settings.set("nats.prefix", "acme");
    })
    .await;
    let files = gateway.files();
    let other = files.replica("control-a", &nats.options()).await;
    let own = files.replica("control-b", &NatsOptions { prefix: "acme".into(), ..nats.options() }).await;
    gateway.lab.ready().await;
    own.knows("gw-1", true).await;
    assert!(other.plane.gateways().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_starts_where_every_server_that_is_named_says_that_it_syncs() {
    let Some(nats) = Nats::start().await else { return };
    let mut fleet = Fleet::builder().gateways(0).start().await;
    let place = fleet.dir().join("control");
    let source = format!("nats:{}", nats.options().servers.join(","));
    fleet.settings.set("store.source", source).remove("listen.gateways");
    for (monitoring, starts) in [("http://127.0.0.1:1".to_owned(), false), (nats.monitoring(), true)] {
        fleet.crash_control();
        fleet.settings.set("nats.monitoring", vec![monitoring]);
        fleet.settings.write(&place.join("control.toml"));
        let started = ControlPlane::start(&place, PATIENCE).await;
        let log = std::fs::read_to_string(place.join("control.log")).unwrap();
        assert_eq!(started.is_ok(), starts, "{log}");
    }
}
