//! Look-ups against a name server on loopback that lies, fails, hangs and floods.

mod server;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use config::settings::DnsSettings;
use config::{Destination, DeviceId, Name, Reason};

use self::server::{A, AAAA, Says, Server};
use super::{ResolveFault, Resolver, ScreenedAddrs};
use crate::screen::{Prohibition, Screen, ScreenRules};

const PUBLIC: [u8; 4] = [93, 184, 215, 14];

fn v4(octets: [u8; 4]) -> IpAddr {
    octets.into()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn settings(server: &Server) -> DnsSettings {
    DnsSettings {
        servers: vec![server.addr],
        hosts: BTreeMap::new(),
        negative_ttl: Duration::from_secs(30),
        max_addresses: 32,
    }
}

fn resolver_with(settings: &DnsSettings, budget: Duration, rules: ScreenRules) -> Arc<Resolver> {
    let screen = Arc::new(Screen::new(rules).unwrap());
    Arc::new(Resolver::new(settings, budget, screen).unwrap())
}

fn resolver(server: &Server) -> Arc<Resolver> {
    resolver_with(&settings(server), Duration::from_secs(5), ScreenRules::default())
}

fn destination(text: &str) -> Destination {
    Destination::parse_authority(text.as_bytes()).unwrap()
}

fn device(number: usize) -> DeviceId {
    format!("device-{number}").parse().unwrap()
}

async fn resolve(resolver: &Resolver, text: &str) -> Result<ScreenedAddrs, ResolveFault> {
    resolver.addresses_of(&destination(text), &device(1)).await
}

fn addresses(found: &ScreenedAddrs) -> Vec<String> {
    found.iter().map(|addr| addr.to_string()).collect()
}

fn why(outcome: Result<ScreenedAddrs, ResolveFault>) -> Prohibition {
    match outcome {
        Err(ResolveFault::Prohibited(refusal)) => refusal.why,
        other => panic!("expected a prohibition, got {other:?}"),
    }
}

#[tokio::test]
async fn both_families_are_asked_for_by_absolute_lower_case_name() {
    let server = Server::always(Says::Addresses(vec![v4(PUBLIC), ip("2606:4700::1111")], 60)).await;
    let found = resolve(&resolver(&server), "API.Example.COM.:8443").await.unwrap();
    assert_eq!(addresses(&found), ["93.184.215.14:8443", "[2606:4700::1111]:8443"]);
    let mut asked = server.asked();
    asked.sort();
    assert_eq!(asked, [("api.example.com.".to_owned(), A), ("api.example.com.".to_owned(), AAAA)]);
}

#[tokio::test]
async fn a_single_label_is_not_searched_for() {
    let server = Server::always(Says::NoSuchName(None)).await;
    assert_eq!(resolve(&resolver(&server), "intranet:443").await, Err(ResolveFault::NoAddress));
    assert!(server.asked().iter().all(|(name, _)| name == "intranet."));
}

#[tokio::test]
async fn a_name_that_rebinds_to_loopback_is_refused_the_second_time() {
    let server = Server::run(|_, _, before| {
        let address = if before < 2 { v4(PUBLIC) } else { v4([127, 0, 0, 1]) };
        Says::Addresses(vec![address], 0)
    })
    .await;
    let resolver = resolver(&server);
    let first = resolve(&resolver, "rebind.example:443").await.unwrap();
    assert_eq!(addresses(&first), ["93.184.215.14:443"]);
    assert_eq!(why(resolve(&resolver, "rebind.example:443").await), Prohibition::OwnAddress);
    assert_eq!(server.times(A), 2, "an answer that lives for zero seconds is not remembered");
}

#[tokio::test]
async fn one_prohibited_address_refuses_the_whole_answer() {
    for (what, says) in [
        ("metadata beside public", Says::Addresses(vec![v4(PUBLIC), ip("169.254.169.254")], 60)),
        ("private in the other family", Says::Addresses(vec![v4(PUBLIC), ip("fd00::1")], 60)),
        ("mapped", Says::Addresses(vec![v4(PUBLIC), ip("::ffff:93.184.215.14")], 60)),
        ("synthesised by DNS64", Says::Addresses(vec![v4(PUBLIC), ip("64:ff9b::5db8:d70e")], 60)),
        ("behind an alias", Says::Alias("inside.example", vec![ip("10.0.0.1")], 60)),
        ("last of many", Says::Addresses(flood(40, ip("192.168.0.1")), 60)),
    ] {
        let server = Server::always(says).await;
        let outcome = resolve(&resolver(&server), "mixed.example:443").await;
        assert!(matches!(outcome, Err(ResolveFault::Prohibited(_))), "{what}: {outcome:?}");
        assert_eq!(outcome.unwrap_err().reason(), Reason::AddressProhibited);
    }
}

fn flood(count: u8, last: IpAddr) -> Vec<IpAddr> {
    (1..count).map(|index| v4([93, 184, 215, index])).chain([last]).collect()
}

#[tokio::test]
async fn an_alias_to_a_public_address_resolves() {
    let server = Server::always(Says::Alias("cdn.example", vec![v4(PUBLIC)], 60)).await;
    let found = resolve(&resolver(&server), "www.example:443").await.unwrap();
    assert_eq!(addresses(&found), ["93.184.215.14:443"]);
}

#[tokio::test]
async fn a_long_answer_is_cut_and_not_remembered() {
    let server = Server::always(Says::Addresses(flood(41, v4(PUBLIC)), 60)).await;
    let resolver = resolver(&server);
    assert_eq!(resolve(&resolver, "many.example:443").await.unwrap().iter().count(), 32);
    assert_eq!(resolve(&resolver, "many.example:443").await.unwrap().iter().count(), 32);
    assert_eq!(server.times(A), 2);
}

#[tokio::test]
async fn internal_names_resolve_inside_internal_networks_only() {
    let server = Server::always(Says::Addresses(vec![ip("10.20.0.7")], 60)).await;
    for (network, passes) in [("10.20.0.0/16", true), ("10.21.0.0/16", false)] {
        let rules = ScreenRules { internal: vec![network.parse().unwrap()], ..ScreenRules::default() };
        let resolver = resolver_with(&settings(&server), Duration::from_secs(5), rules);
        assert_eq!(resolve(&resolver, "api.internal.corp:443").await.is_ok(), passes, "{network}");
    }
}

#[tokio::test]
async fn faults_of_the_name_servers_are_told_apart() {
    for (says, budget, fault, reason) in [
        (Says::NoSuchName(Some(60)), 5000, ResolveFault::NoAddress, Reason::DnsRefused),
        (Says::Addresses(Vec::new(), 60), 5000, ResolveFault::NoAddress, Reason::DnsRefused),
        (Says::Failure, 5000, ResolveFault::Failed, Reason::DnsFailed),
        (Says::Silence, 200, ResolveFault::TimedOut, Reason::DnsTimeout),
    ] {
        let server = Server::always(says.clone()).await;
        let budget = Duration::from_millis(budget);
        let resolver = resolver_with(&settings(&server), budget, ScreenRules::default());
        let outcome = resolve(&resolver, "a.example:443").await;
        assert_eq!(outcome, Err(fault), "{says:?}");
        assert_eq!((fault.reason(), fault.detail()), (reason, None));
    }
}

#[tokio::test]
async fn one_family_that_hangs_or_fails_does_not_hide_the_other() {
    for broken in [Says::Silence, Says::Failure, Says::NoSuchName(None)] {
        let says = broken.clone();
        let server = Server::run(move |_, kind, _| match kind {
            A => Says::Addresses(vec![v4(PUBLIC)], 60),
            _ => says.clone(),
        })
        .await;
        let found = resolve(&resolver(&server), "a.example:443").await;
        assert_eq!(addresses(&found.unwrap()), ["93.184.215.14:443"], "{broken:?}");
    }
}

#[tokio::test]
async fn answers_and_absences_are_remembered() {
    let server = Server::run(|name, _, _| match name {
        "here.example." => Says::Addresses(vec![v4(PUBLIC)], 60),
        _ => Says::NoSuchName(Some(60)),
    })
    .await;
    let resolver = resolver(&server);
    for _ in 0..3 {
        assert!(resolve(&resolver, "here.example:443").await.is_ok());
        assert_eq!(resolve(&resolver, "gone.example:443").await, Err(ResolveFault::NoAddress));
    }
    assert_eq!((server.times(A), server.times(AAAA)), (2, 2));
}

#[tokio::test]
async fn what_is_remembered_is_screened_again_for_every_port() {
    let server = Server::always(Says::Addresses(vec![ip("127.0.0.1")], 60)).await;
    let rules = ScreenRules {
        internal: vec!["127.0.0.0/8".parse().unwrap()],
        listeners: vec!["127.0.0.1:9443".parse().unwrap()],
        ..ScreenRules::default()
    };
    let resolver = resolver_with(&settings(&server), Duration::from_secs(5), rules);
    assert!(resolve(&resolver, "self.example:5432").await.is_ok());
    assert_eq!(why(resolve(&resolver, "self.example:9443").await), Prohibition::OwnListener);
    assert_eq!(server.times(A), 1);
}

#[tokio::test]
async fn fixed_hosts_addresses_and_metadata_names_are_never_asked_for() {
    let server = Server::always(Says::Addresses(vec![v4(PUBLIC)], 60)).await;
    let name = |text| Name::parse_text(text).unwrap();
    let hosts = BTreeMap::from([
        (name("fixed.example"), vec![ip("1.1.1.1")]),
        (name("inside.example"), vec![ip("10.0.0.1")]),
        (name("empty.example"), Vec::new()),
    ]);
    let settings = DnsSettings { hosts, ..settings(&server) };
    let resolver = resolver_with(&settings, Duration::from_secs(5), ScreenRules::default());
    assert_eq!(addresses(&resolve(&resolver, "fixed.example:443").await.unwrap()), ["1.1.1.1:443"]);
    assert!(matches!(why(resolve(&resolver, "inside.example:443").await), Prohibition::SpecialPurpose(_)));
    assert_eq!(resolve(&resolver, "empty.example:443").await, Err(ResolveFault::NoAddress));
    assert_eq!(addresses(&resolve(&resolver, "9.9.9.9:53").await.unwrap()), ["9.9.9.9:53"]);
    assert_eq!(why(resolve(&resolver, "[fd00:ec2::254]:80").await), Prohibition::Metadata);
    let metadata = resolve(&resolver, "metadata.google.internal:80").await;
    assert_eq!(metadata, Err(ResolveFault::ProhibitedName));
    assert_eq!(server.asked(), []);
}

#[tokio::test]
async fn many_sessions_share_one_question() {
    let server = Server::always(Says::Addresses(vec![v4(PUBLIC)], 0)).await;
    server.hold(true);
    let resolver = resolver(&server);
    let sessions: Vec<_> = (0..50).map(|number| ask(&resolver, number, "busy.example:443")).collect();
    server.until(|asked| asked.len() >= 2).await;
    server.hold(false);
    for session in sessions {
        assert!(session.await.unwrap().is_ok());
    }
    assert_eq!((server.times(A), server.times(AAAA)), (1, 1));
}

fn ask(
    resolver: &Arc<Resolver>,
    number: usize,
    text: &'static str,
) -> tokio::task::JoinHandle<Result<ScreenedAddrs, ResolveFault>> {
    let resolver = Arc::clone(resolver);
    tokio::spawn(async move { resolver.addresses_of(&destination(text), &device(number)).await })
}

#[tokio::test]
async fn a_session_that_goes_away_leaves_its_question_to_the_others() {
    let server = Server::always(Says::Addresses(vec![v4(PUBLIC)], 0)).await;
    server.hold(true);
    let resolver = resolver(&server);
    let first = ask(&resolver, 1, "busy.example:443");
    server.until(|asked| asked.len() >= 2).await;
    let second = ask(&resolver, 2, "busy.example:443");
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    server.hold(false);
    assert!(second.await.unwrap().is_ok());
    assert_eq!(server.times(A), 1);
}

#[tokio::test]
async fn a_device_with_many_hanging_questions_holds_up_only_itself() {
    let server = Server::run(|name, _, _| match name {
        "popular.example." => Says::Addresses(vec![v4(PUBLIC)], 60),
        _ => Says::Silence,
    })
    .await;
    let resolver = resolver(&server);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let hanging = names.map(|name| {
        let resolver = Arc::clone(&resolver);
        tokio::spawn(async move {
            resolver.addresses_of(&destination(&format!("{name}.example:443")), &device(1)).await
        })
    });
    server.until(|asked| asked.len() >= 16).await;
    let own = ask(&resolver, 1, "popular.example:443");
    let other = ask(&resolver, 2, "popular.example:443").await.unwrap();
    assert!(other.is_ok(), "another device is served at once");
    own.abort();
    let mut distinct: Vec<_> = server.asked().into_iter().map(|(name, _)| name).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 9, "eight of the hanging ten, and the popular one: {distinct:?}");
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
}
