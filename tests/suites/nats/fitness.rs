//! Servers that must not keep the log, and what is said about them.

use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, StorageType};
use lab::nats::{Nats, NatsSettings};
use policy_sync::transport::nats::{Durability, NatsFault, NatsOptions, NatsTransport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

async fn refusal(options: &NatsOptions) -> String {
    match NatsTransport::open(options).await {
        Err(NatsFault::Unfit(trouble)) => trouble,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the server was taken"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_only_small_messages_is_refused() {
    let settings = NatsSettings { max_payload: 1 << 20, ..NatsSettings::default() };
    let Some(nats) = Nats::with(settings).await else { return };
    let trouble = refusal(&nats.options()).await;
    assert!(trouble.contains("max_payload"), "{trouble}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_jetstream_is_refused() {
    let settings = NatsSettings { jetstream: false, ..NatsSettings::default() };
    let Some(nats) = Nats::with(settings).await else { return };
    let trouble = refusal(&nats.options()).await;
    assert!(trouble.contains("JetStream"), "{trouble}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_sync_every_write_is_refused_when_it_says_so() {
    let settings = NatsSettings { sync: "1s", ..NatsSettings::default() };
    let Some(nats) = Nats::with(settings).await else { return };
    let trouble = refusal(&nats.options()).await;
    assert!(trouble.contains("sync_interval: always"), "{trouble}");
    // Nobody can be asked: it is taken, and known to be unverified.
    let silent = NatsOptions { monitoring: vec![], ..nats.options() };
    assert_eq!(NatsTransport::open(&silent).await.unwrap().durability(), Durability::Unverified);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitoring_address_that_does_not_answer_is_no_yes() {
    let Some(nats) = Nats::start().await else { return };
    for address in [nats.url(), "http://127.0.0.1:1".to_owned(), nats.url().replace("nats:", "http:")] {
        let options = NatsOptions { monitoring: vec![address.clone()], ..nats.options() };
        let trouble = refusal(&options).await;
        assert!(trouble.starts_with(&address), "{trouble}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_an_old_version_is_refused() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let old = tokio::spawn(async move {
        let (mut socket, _) = socket.accept().await.unwrap();
        let info = r#"{"server_id":"X","server_name":"old","version":"2.11.9","proto":1,"headers":true,"max_payload":8388608,"jetstream":true}"#;
        socket.write_all(format!("INFO {info}\r\n").as_bytes()).await.unwrap();
        let mut buffer = [0; 4096];
        while let Ok(read) = socket.read(&mut buffer).await {
            if read == 0 {
                return;
            }
            if buffer[..read].windows(4).any(|window| window == b"PING") {
                socket.write_all(b"PONG\r\n").await.unwrap();
            }
        }
    });
    let options = NatsOptions {
        servers: vec![format!("nats://127.0.0.1:{port}")],
        ca: None,
        identity: None,
        credentials: None,
        prefix: "portcullis".into(),
        monitoring: vec![],
    };
    let trouble = refusal(&options).await;
    assert!(trouble.contains("2.11.9") && trouble.contains("2.12"), "{trouble}");
    old.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_would_forget_is_refused() {
    let Some(nats) = Nats::start().await else { return };
    let jetstream = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let own = |prefix: &str| Config {
        name: format!("{prefix}-log"),
        subjects: vec![format!("{prefix}.log")],
        ..Config::default()
    };
    let in_memory = Config { storage: StorageType::Memory, ..own("a") };
    let bounded = Config { max_messages: 10, ..own("b") };
    let ageing = Config { max_age: std::time::Duration::from_secs(60), ..own("c") };
    for (prefix, config, word) in
        [("a", in_memory, "memory"), ("b", bounded, "drops"), ("c", ageing, "drops")]
    {
        jetstream.create_stream(config).await.unwrap();
        let trouble = refusal(&NatsOptions { prefix: prefix.into(), ..nats.options() }).await;
        assert!(trouble.contains(word), "{trouble}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_prefixes_on_one_server_know_nothing_of_each_other() {
    use policy_sync::transport::Transport as _;
    let Some(nats) = Nats::start().await else { return };
    let one = NatsTransport::open(&nats.options()).await.unwrap();
    let two = NatsTransport::open(&NatsOptions { prefix: "other".into(), ..nats.options() }).await.unwrap();
    one.set_cell("gateway/gw-1", None, "x".into()).await.unwrap();
    assert_eq!(two.cell("gateway/gw-1").await.unwrap(), None);
}

/// Two accounts; that of the control planes may ask the system's what the servers are set to.
fn with_an_export_of_the_system(sync: &str) -> NatsSettings {
    let whole = format!(
        r#"
        server_name: nats-1
        listen: "127.0.0.1:{{client}}"
        http: "127.0.0.1:{{monitoring}}"
        max_payload: 8MB
        jetstream {{ store_dir: "{{store}}", sync_interval: {sync} }}
        system_account: SYS
        no_auth_user: control
        accounts {{
          SYS {{ exports: [ {{ service: "$SYS.REQ.SERVER.PING.VARZ", response_type: "stream" }} ] }}
          PORTCULLIS {{
            jetstream: enabled
            imports: [ {{ service: {{ account: SYS, subject: "$SYS.REQ.SERVER.PING.VARZ" }} }} ]
            users: [ {{ user: control, password: control }} ]
          }}
        }}
        "#
    );
    NatsSettings { whole: Some(whole), ..NatsSettings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_account_tells_who_may_ask_it_whether_writes_are_synced() {
    for (sync, fit) in [("always", true), ("10s", false)] {
        let Some(nats) = Nats::with(with_an_export_of_the_system(sync)).await else { return };
        let options = NatsOptions { monitoring: vec![], ..nats.options() };
        if fit {
            assert_eq!(NatsTransport::open(&options).await.unwrap().durability(), Durability::Verified);
        } else {
            let trouble = refusal(&options).await;
            assert!(trouble.contains("sync_interval: always"), "{trouble}");
        }
    }
}
