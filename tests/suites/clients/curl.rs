//! curl through an HTTPS proxy, over HTTP/1.1 and, where its build can, HTTP/2.

use crate::setup::{Setup, has};

async fn fetch(setup: &Setup, extra: &[&str], url: &str) -> (bool, String) {
    let proxy = format!("https://localhost:{}", setup.port());
    let mut arguments = vec![
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "--proxy",
        &proxy,
        "--proxy-cacert",
        "gateway-ca.pem",
        "--proxy-cert",
        "device.pem",
        "--proxy-key",
        "device.key",
        "--cacert",
        "origin-ca.pem",
    ];
    arguments.extend(extra);
    arguments.push(url);
    let output = setup.run("curl", &arguments).await;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

#[tokio::test]
async fn curl_reaches_a_tls_origin_over_http1_and_http2() {
    if !has("curl", &["--version"], "curl") {
        return;
    }
    let setup = Setup::start().await;
    let url = format!("https://{}/", setup.tls.destination());
    assert_eq!(fetch(&setup, &[], &url).await, (true, "hello".to_owned()));
    if has("curl", &["--proxy-http2", "--version"], "curl with --proxy-http2 (8.1 or later)") {
        assert_eq!(fetch(&setup, &["--proxy-http2"], &url).await, (true, "hello".to_owned()));
    }
}

#[tokio::test]
async fn curl_forwards_plain_http_and_uploads() {
    if !has("curl", &["--version"], "curl") {
        return;
    }
    let setup = Setup::start().await;
    assert_eq!(fetch(&setup, &[], &setup.plain.url("/x")).await, (true, "hello".to_owned()));
    let body = setup.file("body");
    std::fs::write(&body, vec![b'c'; 200_000]).expect("written");
    let outcome = fetch(&setup, &["--data-binary", "@body"], &setup.plain.url("/upload")).await;
    assert_eq!(outcome, (true, "hello".to_owned()));
    assert_eq!(setup.plain.request(1).await.body.len(), 200_000);
}

#[tokio::test]
async fn curl_is_told_why_it_is_refused() {
    if !has("curl", &["--version"], "curl") {
        return;
    }
    let setup = Setup::start().await;
    let (done, said) = fetch(&setup, &[], "https://unlisted.test/").await;
    assert!(!done && said.contains("403"), "{said}");
    let (_, said) = fetch(&setup, &[], "http://unlisted.test/").await;
    assert!(said.contains("destination_not_listed"), "{said}");
    let proxy = format!("https://localhost:{}", setup.port());
    let url = format!("https://{}/", setup.tls.destination());
    let output =
        setup.run("curl", &["-sS", "--proxy", &proxy, "--proxy-cacert", "gateway-ca.pem", &url]).await;
    assert!(!output.status.success(), "without a certificate nothing goes through");
}
