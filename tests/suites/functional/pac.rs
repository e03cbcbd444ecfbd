//! The PAC file: what it says, and that it says nothing else.

use lab::device::dial;
use lab::{Answer, Draft, Lab, Wire};

async fn lab() -> Lab {
    Lab::builder()
        .settings(|settings| {
            settings.set("listen.pac", "127.0.0.1:0");
            settings.set("listen.pac_proxy", "gateway.example.com:8443");
        })
        .manifest(Draft::of("device-1"))
        .start()
        .await
}

async fn ask(lab: &Lab, path: &str) -> Answer {
    let address = lab.gateway().addresses.pac.expect("a PAC listener");
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    Wire::new(dial(address).await.expect("a connection")).ask(head).await.expect("an answer")
}

#[tokio::test]
async fn the_file_routes_through_the_gateway_and_never_directly() {
    let lab = lab().await;
    let answer = ask(&lab, "/proxy.pac").await;
    assert_eq!(answer.status, 200);
    assert!(answer.field("content-type").expect("a type").starts_with("application/x-ns-proxy-autoconfig"));
    assert!(answer.field("cache-control").is_some());
    let text = String::from_utf8(answer.body).expect("text");
    assert!(text.contains("function FindProxyForURL(url, host)"), "{text}");
    assert!(text.contains("HTTPS gateway.example.com:8443"), "{text}");
    for secret in ["device-1", "cowork", "cm-", "BEGIN"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn nothing_else_is_served_there() {
    let lab = lab().await;
    for path in [
        "/",
        "/metrics",
        "/../gateway.key",
        "/proxy.pac/../../gateway.key",
        "/%2e%2e/gateway.key",
        "/sessions",
    ] {
        assert_eq!(ask(&lab, path).await.status, 404, "{path}");
    }
}
