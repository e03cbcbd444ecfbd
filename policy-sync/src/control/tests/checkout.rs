//! A directory that feeds the log.

use std::fs;
use std::path::{Path, PathBuf};

use certs::authority::Authority;

use super::super::checkout::{BY, Checkout};
use super::*;
use crate::envelope::Envelope;
use crate::signed::{sign_lift, sign_revocation};
use crate::source::dir::{write_crl, write_manifest, write_revocation};

struct Fed {
    site: Site,
    plane: Arc<Plane>,
    place: PathBuf,
    registry: Registry,
    checkout: Option<Checkout>,
}

impl Fed {
    async fn new() -> Self {
        let site = Site::new();
        let plane = site.plane().await;
        let place = site.directory.path().join("policy");
        fs::create_dir_all(place.join("manifests")).unwrap();
        Self { site, plane, place, registry: Registry::new(), checkout: None }
    }

    fn watch(&mut self) {
        self.stop();
        self.registry = Registry::new();
        let runtime = tokio::runtime::Handle::current();
        let checkout = Checkout::start(&self.place, self.plane.clone(), runtime, &self.registry);
        self.checkout = Some(checkout.unwrap());
    }

    fn stop(&mut self) {
        if let Some(checkout) = self.checkout.take() {
            tokio::task::block_in_place(|| drop(checkout));
        }
    }

    fn manifest(&self, id: &str, agent: &str, ago: i64) -> Envelope {
        let draft = Draft { id, agent, ..Draft::default() }.read();
        sign_manifest(draft, Timestamp::now().as_second() - ago, self.site.key(Role::Author))
    }

    fn live(&self) -> Vec<String> {
        let mut live: Vec<_> = self.plane.with_state(|state| {
            state.policy().manifests().map(|live| live.manifest.id.to_string()).collect()
        });
        live.sort();
        live
    }

    fn sequence(&self) -> u64 {
        self.plane.with_state(|state| state.position().sequence)
    }

    async fn until_live(&self, expected: &[&str]) {
        until(|| self.live() == expected).await;
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        self.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_become_records_as_they_come_and_withdrawals_as_they_go() {
    let mut fed = Fed::new().await;
    let first = write_manifest(&fed.place, &fed.manifest("cm-1", "a", 100)).unwrap();
    fed.watch();
    fed.until_live(&["cm-1"]).await;
    let by = fed.plane.with_state(|state| {
        let live = state.policy().manifest(&"cm-1".parse().unwrap()).unwrap().digest;
        state.manifest(&live).unwrap().by.to_string()
    });
    assert_eq!(by, BY);
    // Beside it, in its place, and gone.
    write_manifest(&fed.place, &fed.manifest("cm-2", "b", 100)).unwrap();
    fed.until_live(&["cm-1", "cm-2"]).await;
    write_manifest(&fed.place, &fed.manifest("cm-3", "b", 50)).unwrap();
    fed.until_live(&["cm-1", "cm-3"]).await;
    fs::remove_file(first).unwrap();
    fed.until_live(&["cm-3"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_liftings_and_crls_are_brought_and_their_files_may_go() {
    let mut fed = Fed::new().await;
    fed.watch();
    let (revoker, approver) = (fed.site.key(Role::Revoker), fed.site.key(Role::Approver));
    let at = Timestamp::now();
    let (envelope, revocation) = sign_revocation(device("device-1"), "lost", at, revoker).unwrap();
    let (other, _) = sign_revocation(device("device-2"), "lost", at, revoker).unwrap();
    let lift = sign_lift(&revocation, "found", at, approver).unwrap();
    let revoked =
        |name: &str| fed.plane.with_state(|state| state.policy().revocations().contains(&device(name)));
    let file = write_revocation(&fed.place, &envelope).unwrap();
    write_revocation(&fed.place, &other).unwrap();
    until(|| revoked("device-1") && revoked("device-2")).await;
    fs::remove_file(file).unwrap();
    write_revocation(&fed.place, &lift).unwrap();
    until(|| !revoked("device-1")).await;
    assert!(revoked("device-2"), "a file that goes lifts nothing");
    let life = Duration::from_secs(86_400);
    let authority = Authority::init(&fed.site.directory.path().join("ca"), "example.com", life).unwrap();
    write_crl(&fed.place, "ca.pem", authority.crl(life).unwrap().as_bytes()).unwrap();
    until(|| fed.plane.with_state(|state| state.crls().iter().count() == 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_while_nobody_looks_is_withdrawn_at_the_next_start_and_nothing_of_others_is() {
    let mut fed = Fed::new().await;
    let files = [("cm-1", "a"), ("cm-2", "b")]
        .map(|(id, agent)| write_manifest(&fed.place, &fed.manifest(id, agent, 100)).unwrap());
    fed.watch();
    fed.until_live(&["cm-1", "cm-2"]).await;
    fed.stop();
    let by_api = Entry::Manifest(fed.manifest("cm-3", "c", 100).to_json().into());
    fed.plane.submit(by_api, "alice").await.unwrap();
    fs::remove_file(&files[0]).unwrap();
    let sequence = fed.sequence();
    fed.watch();
    fed.until_live(&["cm-2", "cm-3"]).await;
    assert_eq!(fed.sequence(), sequence + 1, "what is in force already is not written down again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_under_another_name_is_the_same_manifest_throughout() {
    let mut fed = Fed::new().await;
    let file = write_manifest(&fed.place, &fed.manifest("cm-1", "a", 100)).unwrap();
    fed.watch();
    fed.until_live(&["cm-1"]).await;
    let sequence = fed.sequence();
    fs::rename(&file, file.with_file_name("renamed.json")).unwrap();
    write_manifest(&fed.place, &fed.manifest("cm-2", "b", 100)).unwrap();
    fed.until_live(&["cm-1", "cm-2"]).await;
    fs::remove_file(file.with_file_name("renamed.json")).unwrap();
    fed.until_live(&["cm-2"]).await;
    assert_eq!(fed.sequence(), sequence + 2, "one manifest more, and one withdrawn in the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_in_order_is_refused_alone_and_taken_once_its_key_is_known() {
    let mut fed = Fed::new().await;
    let unknown = key("author-2");
    let draft = Draft { id: "cm-1", agent: "a", ..Draft::default() }.read();
    let envelope = sign_manifest(draft, Timestamp::now().as_second() - 10, &unknown);
    write_manifest(&fed.place, &envelope).unwrap();
    fs::write(fed.place.join("manifests/broken.json"), "{").unwrap();
    write_manifest(&fed.place, &fed.manifest("cm-2", "b", 100)).unwrap();
    fed.watch();
    fed.until_live(&["cm-2"]).await;
    let refused = || {
        let families = fed.registry.gather();
        let family =
            families.iter().find(|family| family.name().ends_with("directory_refused_files")).cloned();
        family.map_or(0.0, |family| {
            family.get_metric().iter().map(|metric| metric.get_gauge().get_value()).sum()
        })
    };
    until(|| (refused() - 2.0).abs() < 0.1).await;
    let mut ring = fed.site.ring.clone();
    ring.add(TrustedKey::new(unknown.id().clone(), unknown.public(), &[Role::Author])).unwrap();
    let (approvals, anybody) = (Approvals::default(), certs::CrlIssuers::anybody());
    fed.plane.reload(ring, approvals, anybody, PolicyBounds::default());
    fed.checkout.as_ref().unwrap().reconsider();
    fed.until_live(&["cm-1", "cm-2"]).await;
    until(|| (refused() - 1.0).abs() < 0.1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_is_brought_again() {
    let mut fed = Fed::new().await;
    fed.site.log.fail(Some("the disk is full"));
    write_manifest(&fed.place, &fed.manifest("cm-1", "a", 100)).unwrap();
    fed.watch();
    until(|| fed.plane.trouble().is_some()).await;
    assert!(fed.live().is_empty());
    fed.site.log.fail(None);
    fed.until_live(&["cm-1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_away_withdraws_nothing_and_is_read_when_it_comes_back() {
    let mut fed = Fed::new().await;
    write_manifest(&fed.place, &fed.manifest("cm-1", "a", 100)).unwrap();
    fed.watch();
    fed.until_live(&["cm-1"]).await;
    let away: &Path = &fed.place.with_file_name("away");
    fs::rename(&fed.place, away).unwrap();
    let up = || {
        let families = fed.registry.gather();
        families
            .iter()
            .find(|family| family.name().ends_with("directory_up"))
            .map(|family| family.get_metric()[0].get_gauge().get_value() > 0.5)
    };
    until(|| up() == Some(false)).await;
    assert_eq!(fed.live(), ["cm-1"]);
    write_manifest(away, &fed.manifest("cm-2", "b", 100)).unwrap();
    fs::rename(away, &fed.place).unwrap();
    fed.until_live(&["cm-1", "cm-2"]).await;
}
