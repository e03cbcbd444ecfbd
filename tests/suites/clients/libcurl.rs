//! libcurl over an HTTP/2 connection to the gateway, through Python's binding: its wheel carries a curl that can,
//! where the one of the system cannot.

use crate::setup::{Setup, has};

const SCRIPT: &str = r#"
import io, sys, pycurl

port, url = sys.argv[1], sys.argv[2]
body, said = io.BytesIO(), []
curl = pycurl.Curl()
for option, value in [
    (pycurl.URL, url), (pycurl.WRITEDATA, body), (pycurl.NOPROXY, ""), (pycurl.TIMEOUT, 30),
    (pycurl.PROXY, "https://localhost:" + port), (pycurl.PROXYTYPE, 3),  # 3 is CURLPROXY_HTTPS2
    (pycurl.PROXY_CAINFO, "gateway-ca.pem"), (pycurl.PROXY_SSLCERT, "device.pem"), (pycurl.PROXY_SSLKEY, "device.key"),
    (pycurl.CAINFO, "origin-ca.pem"), (pycurl.VERBOSE, 1),
    (pycurl.DEBUGFUNCTION, lambda kind, text: said.append(text) if kind == pycurl.INFOTYPE_TEXT else None),
]:
    curl.setopt(option, value)
try:
    curl.perform()
    negotiated = b"HTTP/2 proxy tunnel" in b"".join(said)
    print(curl.getinfo(pycurl.RESPONSE_CODE), body.getvalue().decode(), "over HTTP/2" if negotiated else said)
except pycurl.error as fault:
    print("refused", "403" if b"Response Status 403" in b"".join(said) else said, fault)
"#;

const PROBE: &str = "import pycurl; v = pycurl.version_info(); assert v[2] >= 0x080100 and v[4] & (1 << 16)";

#[tokio::test]
async fn libcurl_reaches_a_tls_origin_over_http2_and_is_told_why_not() {
    if !has("python3", &["-c", PROBE], "pycurl with curl 8.1 or later and HTTP/2") {
        return;
    }
    let setup = Setup::start().await;
    let port = setup.port().to_string();
    let ask = async |url: &str| {
        let output = setup.run("python3", &["-c", SCRIPT, &port, url]).await;
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let said = ask(&format!("https://{}/", setup.tls.destination())).await;
    assert_eq!(said.trim(), "200 hello over HTTP/2");
    let said = ask("https://unlisted.test/").await;
    assert!(said.starts_with("refused 403"), "{said}");
}
