//! The admin listener: its own names only, and no changes by what a browser can be made to send.

use lab::{Behaviour, Capture, Draft, Lab};

#[tokio::test]
async fn only_its_own_host_names_are_answered() {
    let lab = Lab::with(Draft::of("device-1")).await;
    let port = lab.gateway().addresses.admin.port();
    let own = [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "localhost".into()];
    for host in own {
        let answer =
            lab.ask_admin(&format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.expect("an answer");
        assert_eq!(answer.status, 200, "{host}");
    }
    for host in
        ["evil.test", "127.0.0.1.evil.test", "localhost.evil.test", "origin.test", "169.254.169.254", ""]
    {
        for path in ["/livez", "/sessions", "/metrics", "/"] {
            let answer = lab.ask_admin(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert!(answer.expect("an answer").status >= 400, "{host}{path}");
        }
    }
}

#[tokio::test]
async fn a_page_elsewhere_cannot_cut_sessions() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    tunnel.echoes(b"here").await;
    let session = lab.live(1).await[0]["session"].as_str().expect("a name").to_owned();
    let path = format!("/sessions/{session}/cut");
    for (what, request) in [
        ("GET", format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        (
            "a form",
            format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
        ),
        (
            "plain text",
            format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
        ),
        ("no type", format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")),
        (
            "another name",
            format!(
                "POST {path} HTTP/1.1\r\nHost: evil.test\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
        ),
    ] {
        let answer = lab.ask_admin(&request).await.expect("an answer");
        assert!(answer.status >= 400, "{what}: {answer:?}");
    }
    let preflight = format!(
        "OPTIONS {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.test\r\nAccess-Control-Request-Method: POST\r\n\r\n"
    );
    let answer = lab.ask_admin(&preflight).await.expect("an answer");
    assert_eq!(answer.field("access-control-allow-origin"), None);
    tunnel.echoes(b"still here").await;
}

#[tokio::test]
async fn an_operator_can_cut_a_session() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let mut cut = lab.device("device-1").tunnel(&origin.destination()).await;
    cut.echoes(b"here").await;
    let session = lab.live(1).await[0]["session"].as_str().expect("a name").to_owned();
    let output = lab.command(&["sessions", "--config", "gateway.toml", "--cut", &session]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(cut.rest().await.1, lab::End::Broken);
    assert_eq!(lab.ending("operator_cut").await["session"], session.as_str());
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"may come again").await;
}
