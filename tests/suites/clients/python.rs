//! Python's `requests`, which asks for tunnels over HTTP/1.0 through `http.client`.

use crate::setup::{Setup, has};

const SCRIPT: &str = r#"
import sys, warnings, requests
from requests.adapters import HTTPAdapter
from urllib3.util.ssl_ import create_urllib3_context

warnings.simplefilter("ignore")
port, url = sys.argv[1], sys.argv[2]

class Adapter(HTTPAdapter):
    context_for_proxy = "proxy_ssl_context"

    def proxy_manager_for(self, proxy, **kwargs):
        context = create_urllib3_context()
        context.load_verify_locations("gateway-ca.pem")
        context.load_cert_chain("device.pem", "device.key")
        if self.context_for_proxy == "ssl_context":
            context.check_hostname = False
        # Towards the proxy; urllib3 asks for it by another name when the tunnel is not one.
        kwargs[self.context_for_proxy] = context
        return super().proxy_manager_for(proxy, **kwargs)

class PlainAdapter(Adapter):
    context_for_proxy = "ssl_context"

session = requests.Session()
session.trust_env = False
session.mount("https://", Adapter())
session.mount("http://", PlainAdapter())
proxy = "https://localhost:" + port
session.proxies = {"https": proxy, "http": proxy}
try:
    answer = session.get(url, verify="origin-ca.pem", timeout=30)
    print(answer.status_code, answer.text)
except Exception as fault:
    print("refused", fault)
"#;

#[tokio::test]
async fn requests_reaches_a_tls_origin_and_is_told_why_not() {
    if !has("python3", &["-c", "import requests"], "Python with requests") {
        return;
    }
    let setup = Setup::start().await;
    let port = setup.port().to_string();
    let ask = async |url: &str| {
        let output = setup.run("python3", &["-c", SCRIPT, &port, url]).await;
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let said = ask(&format!("https://{}/", setup.tls.destination())).await;
    assert_eq!(said.trim(), "200 hello");
    let said = ask("https://unlisted.test/").await;
    assert!(said.contains("refused") && said.contains("403"), "{said}");
    let said = ask(&setup.plain.url("/x")).await;
    assert_eq!(said.trim(), "200 hello");
    let said = ask("http://unlisted.test/").await;
    assert!(said.contains("destination_not_listed"), "{said}");
}
