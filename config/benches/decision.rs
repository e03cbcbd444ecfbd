//! How long a decision takes among many manifests, and what a compiled manifest weighs.
//!
//! `cargo bench -p portcullis-config` prints times, and the allocations of each operation beside them. 10,000 manifests
//! of 100 entries each are held at once, and every decision asks another one, so that caches help as little as they
//! do in a gateway.

use std::hint::black_box;

use config::{AllowEntry, DefaultPorts, Destination, Match, Network, Pattern, Rules};
use divan::{AllocProfiler, Bencher, counter::ItemsCount};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const MANIFESTS: usize = 10_000;
const ENTRIES: usize = 100;

fn main() {
    divan::main();
}

/// A manifest of names, wildcards, networks and denials, such as people write.
fn network(manifest: usize) -> Network {
    let entry = |at: usize| {
        let text = match at % 10 {
            0 => format!("*.team{at}.m{manifest}.example.com"),
            1 => format!("10.{}.{}.0/24:*", manifest % 256, at),
            2 => format!("git{at}.m{manifest}.example.com:22"),
            _ => format!("service-{at}.m{manifest}.example.com"),
        };
        let pattern = Pattern::parse(&text, DefaultPorts::Https).expect("a pattern");
        AllowEntry { pattern, upload_bytes_per_session: None, upload_bytes: None, tls: None }
    };
    let deny = ["*", "secrets.example.com"]
        .map(|text| Pattern::parse(text, DefaultPorts::Every).expect("a pattern"));
    Network { allow: (0..ENTRIES - deny.len()).map(entry).collect(), deny: deny.into(), ..Network::default() }
}

/// Each manifest with a destination that the closure makes for it.
fn population(destination: impl Fn(usize) -> String) -> Vec<(Rules, Destination)> {
    (0..MANIFESTS)
        .map(|manifest| {
            let asked = destination(manifest).parse().expect("a destination");
            (Rules::compile(&network(manifest)), asked)
        })
        .collect()
}

fn decisions(bencher: Bencher<'_, '_>, destination: impl Fn(usize) -> String) {
    let population = population(destination);
    let mut next = population.iter().cycle();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let (rules, asked) = next.next().expect("the cycle never ends");
        black_box(matches!(rules.matching(black_box(asked)), Match::Allow(_)))
    });
}

#[divan::bench(sample_size = 1000)]
fn an_exact_name(bencher: Bencher<'_, '_>) {
    decisions(bencher, |manifest| format!("service-57.m{manifest}.example.com:443"));
}

#[divan::bench(sample_size = 1000)]
fn a_wildcard(bencher: Bencher<'_, '_>) {
    decisions(bencher, |manifest| format!("a.b.team50.m{manifest}.example.com:443"));
}

#[divan::bench(sample_size = 1000)]
fn an_address(bencher: Bencher<'_, '_>) {
    decisions(bencher, |manifest| format!("10.{}.51.7:443", manifest % 256));
}

#[divan::bench(sample_size = 1000)]
fn an_unlisted_name(bencher: Bencher<'_, '_>) {
    decisions(bencher, |manifest| format!("www.site{manifest}.example.org:443"));
}

#[divan::bench(sample_size = 1000)]
fn the_longest_name(bencher: Bencher<'_, '_>) {
    decisions(bencher, |_| format!("{}example.com:443", "a.".repeat(121)));
}

#[divan::bench]
fn parsing_an_authority(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench(|| Destination::parse_authority(black_box(b"Service-57.M123.example.com:443")));
}

#[divan::bench]
fn compiling_a_manifest(bencher: Bencher<'_, '_>) {
    let network = network(1);
    bencher.counter(ItemsCount::new(1_usize)).bench(|| Rules::compile(black_box(&network)));
}
