//! SIGHUP: good settings are taken over without losing a session, bad ones change nothing and are said loudly.

use lab::{Behaviour, Capture, Draft, Lab};

async fn setup() -> (Capture, Lab) {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    (origin, lab)
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_settings() {
    let (origin, lab) = setup().await;
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    let path = lab.dir().join("gateway.toml");
    let good = std::fs::read_to_string(&path).expect("settings");
    for (what, text) in [
        ("no TOML", "[[[".to_owned()),
        ("an unknown key", good.replace("[limits]", "[limits]\nsesions = 1")),
        ("a value out of range", good.replace("[limits]", "[limits]\nsessions = 0")),
        ("nothing", String::new()),
        ("a key that is not there", good.replace("gateway.key", "missing.key")),
    ] {
        std::fs::write(&path, text).expect("written");
        assert!(!lab.hang_up().await, "{what}");
        tunnel.echoes(b"goes on").await;
        lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"and new ones open").await;
    }
    assert!(lab.log().contains("sesions"), "the log names the key");
    std::fs::write(&path, good).expect("written");
    assert!(lab.hang_up().await, "a good file is taken again");
    tunnel.echoes(b"all along").await;
}

#[tokio::test]
async fn new_settings_hold_for_new_sessions_and_lose_none() {
    let (origin, mut lab) = setup().await;
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    assert!(
        lab.reload(|settings| {
            settings.set("limits.sessions_per_device", 1);
        })
        .await
    );
    tunnel.echoes(b"goes on").await;
    assert_eq!(lab.device("device-1").refusal(&origin.destination()).await.reason(), "session_limit_reached");
    drop(tunnel);
    lab.live(0).await;
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"one at a time").await;
}

#[tokio::test]
async fn certificate_and_trust_are_replaced_without_losing_a_session() {
    let (origin, lab) = setup().await;
    let device = lab.device("device-1");
    let mut tunnel = device.tunnel(&origin.destination()).await;
    let ips = ["127.0.0.1".parse().expect("an address")];
    let renewed = lab
        .pki
        .authority
        .issue_gateway("gw-lab", &["localhost"], &ips, lab::pki::DAY)
        .expect("a certificate");
    renewed.write(&lab.dir().join("gateway.pem"), &lab.dir().join("gateway.key")).expect("written");
    assert!(lab.hang_up().await);
    let stream = device.handshake(&["http/1.1"]).await.expect("a handshake");
    let presented = stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone();
    assert_eq!(presented, renewed.chain()[0], "new handshakes see the new certificate");
    tunnel.echoes(b"goes on").await;
    // The old authority is taken out of trust: its devices are shut out, and what they have open ends.
    let elsewhere = tempfile::tempdir().expect("a directory");
    let other = certs::authority::Authority::init(elsewhere.path(), "example.org", lab::pki::DAY)
        .expect("an authority");
    std::fs::write(lab.dir().join("ca/ca.pem"), other.certificate_pem()).expect("written");
    std::fs::write(lab.dir().join("device-ca.crl"), other.crl(lab::pki::DAY).expect("a CRL"))
        .expect("written");
    assert!(lab.hang_up().await);
    assert!(!device.is_admitted().await);
    assert_eq!(tunnel.rest().await.1, lab::End::Broken);
}

#[tokio::test]
async fn a_second_gateway_on_the_same_state_or_port_does_not_harm_the_first() {
    let (origin, lab) = setup().await;
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    let taken = lab.gateway().addresses.device[0].to_string();
    let settings = std::fs::read_to_string(lab.dir().join("gateway.toml")).expect("settings");
    let second = settings.replace("127.0.0.1:0\"]", &format!("{taken}\"]"));
    std::fs::write(lab.dir().join("second.toml"), second).expect("written");
    let output = lab.command(&["gateway", "--config", "second.toml"]);
    assert!(!output.status.success());
    assert!(!output.stderr.is_empty(), "it says why");
    tunnel.echoes(b"goes on").await;
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"and new ones open").await;
}
