//! Which manifest applies: the certificate's agent, the proxy user name, the only one, or 407.

use base64::Engine;
use lab::pki::DAY;
use lab::{Behaviour, Capture, Draft, Lab, Over};

fn basic(user: &str) -> String {
    let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{user}:ignored"));
    format!("Proxy-Authorization: Basic {credentials}\r\n")
}

#[tokio::test]
async fn the_only_manifest_of_a_device_applies_without_asking() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"hi").await;
    let allowed = lab.event("allowed", |event| event["event_type"] == "agent.session_allowed").await;
    assert_eq!(allowed["agent_id"], "cowork-v1.0:device-1");
    assert_eq!(allowed["user"], "alice@example.com", "from the manifest, never from the request");
}

#[tokio::test]
async fn a_device_with_two_agents_is_asked_which_one() {
    let (one, two) = (Capture::start(Behaviour::Echo).await, Capture::start(Behaviour::Echo).await);
    let lab = Lab::builder()
        .manifest(Draft::of("device-1").id("cm-one").agent("agent-one").raw(&one.destination()))
        .manifest(Draft::of("device-1").id("cm-two").agent("agent-two").raw(&two.destination()))
        .start()
        .await;
    let device = lab.device("device-1");
    for over in Over::BOTH {
        let asked =
            device.connect_over(over, &one.destination()).await.expect("an answer").expect_err("refused");
        assert_eq!(asked.status, 407, "{over:?}");
        assert_eq!(asked.field("proxy-authenticate"), Some("Basic realm=\"agent\""));
        assert_eq!(asked.proxy_error(), Some("http_request_denied"));
        assert_eq!(asked.reason(), "manifest_required");
    }
    let mut named = device.connect_with(&one.destination(), &basic("agent-one")).await.expect("an answer");
    named.as_mut().expect("the named agent's manifest applies").echoes(b"hi").await;
    let other = device.connect_with(&one.destination(), &basic("agent-two")).await.expect("an answer");
    assert_eq!(other.expect_err("the other one's does not list it").reason(), "destination_not_listed");
    let nobody = device.connect_with(&one.destination(), &basic("agent-three")).await.expect("an answer");
    assert_eq!(nobody.expect_err("there is no such agent").reason(), "no_manifest");
}

#[tokio::test]
async fn after_a_407_the_same_connection_may_answer_it() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .manifest(Draft::of("device-1").id("cm-one").agent("agent-one").raw(&origin.destination()))
        .manifest(Draft::of("device-1").id("cm-two").agent("agent-two"))
        .start()
        .await;
    let mut connection = lab.device("device-1").http2().await;
    let asked = connection.connect(&origin.destination()).await.expect("an answer").expect_err("refused");
    assert_eq!(asked.status, 407);
    let credentials = basic("agent-one");
    let value = credentials.trim_end().split_once(": ").expect("a field").1;
    let fields = [("proxy-authorization", value)];
    let again = connection.connect_with(&origin.destination(), &fields).await.expect("an answer");
    again.expect("allowed").echoes(b"hi").await;
}

#[tokio::test]
async fn an_agent_in_the_certificate_is_never_overruled_by_the_request() {
    let (one, two) = (Capture::start(Behaviour::Echo).await, Capture::start(Behaviour::Echo).await);
    let lab = Lab::builder()
        .manifest(Draft::of("device-1").id("cm-one").agent("agent-one").raw(&one.destination()))
        .manifest(Draft::of("device-1").id("cm-two").agent("agent-two").raw(&two.destination()))
        .start()
        .await;
    let device = lab.device_with(lab.pki.device_for("device-1", Some("agent-one"), DAY));
    device.tunnel(&one.destination()).await.echoes(b"hi").await;
    assert_eq!(device.refusal(&two.destination()).await.reason(), "destination_not_listed");
    let borrowed = device.connect_with(&two.destination(), &basic("agent-two")).await.expect("an answer");
    assert_ne!(borrowed.expect_err("the name does not help").status, 200);
    assert_eq!(two.connections().len(), 0);
}

#[tokio::test]
async fn a_device_without_a_manifest_reaches_nothing() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let refused = lab.device("device-2").refusal(&origin.destination()).await;
    assert_eq!((refused.status, refused.reason().as_str()), (403, "no_manifest"));
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn a_manifest_for_another_device_does_not_apply_by_naming_its_agent() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .manifest(Draft::of("device-1").agent("agent-one").raw(&origin.destination()))
        .manifest(Draft::of("device-2").agent("agent-two"))
        .start()
        .await;
    let borrowed = lab.device("device-2").connect_with(&origin.destination(), &basic("agent-one")).await;
    assert_eq!(borrowed.expect("an answer").expect_err("refused").reason(), "no_manifest");
}
