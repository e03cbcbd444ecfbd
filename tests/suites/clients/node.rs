//! Node, with its own `https` and `tls` modules and nothing else.

use crate::setup::{Setup, has};

const SCRIPT: &str = r#"
const https = require("https"), http = require("http"), tls = require("tls"), fs = require("fs");
const [port, host, originPort] = process.argv.slice(2);
const proxy = https.request({
  host: "localhost", servername: "localhost", port, method: "CONNECT", path: `${host}:${originPort}`,
  headers: { host: `${host}:${originPort}` },
  ca: fs.readFileSync("gateway-ca.pem"), cert: fs.readFileSync("device.pem"), key: fs.readFileSync("device.key"),
});
proxy.on("connect", (answer, socket) => {
  if (answer.statusCode !== 200) { console.log("refused", answer.statusCode); socket.destroy(); return; }
  const inside = tls.connect({ socket, servername: host, ca: fs.readFileSync("origin-ca.pem") }, () => {
    http.get({ host, path: "/", createConnection: () => inside }, (got) => {
      let text = "";
      got.on("data", (part) => text += part);
      got.on("end", () => { console.log(got.statusCode, text); inside.destroy(); });
    });
  });
  inside.on("error", (fault) => console.log("inside", fault.message));
});
proxy.on("error", (fault) => console.log("fault", fault.message));
proxy.end();
"#;

#[tokio::test]
async fn node_reaches_a_tls_origin_and_is_told_why_not() {
    if !has("node", &["--version"], "Node") {
        return;
    }
    let setup = Setup::start().await;
    std::fs::write(setup.file("client.js"), SCRIPT).expect("written");
    let port = setup.port().to_string();
    let ask = async |host: &str, origin_port: &str| {
        let output = setup.run("node", &["client.js", &port, host, origin_port]).await;
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let destination = setup.tls.destination();
    let (host, origin_port) = destination.rsplit_once(':').expect("host:port");
    assert_eq!(ask(host, origin_port).await.trim(), "200 hello");
    assert_eq!(ask("unlisted.test", "443").await.trim(), "refused 403");
}
