//! Manifests and other entries: judged, written down, found again.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_taken_once_and_an_older_one_not_at_all() {
    let site = Site::new();
    let plane = site.plane().await;
    let (old, new) = (site.manifest("cm-1", "device-1", 20), site.manifest("cm-2", "device-1", 10));
    let first = plane.submit(new.clone(), "alice").await.unwrap();
    assert_eq!((first.sequence, first.repeated), (1, false));
    let again = plane.submit(new, "bob").await.unwrap();
    assert_eq!((again.sequence, again.repeated), (1, true));
    assert!(matches!(plane.submit(old, "alice").await, Err(SubmitFault::NotAdmitted(_))));
    let note = plane.with_state(|state| {
        let live = state.policy().manifest(&"cm-2".parse().unwrap()).unwrap();
        state.manifest(&live.digest).unwrap().clone()
    });
    assert_eq!((&*note.by, note.sequence), ("alice", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_by_the_right_roles_is_refused() {
    let site = Site::new();
    let plane = site.plane().await;
    let draft = Draft::default().read();
    let forged = sign_manifest(draft, Timestamp::now().as_second(), site.key(Role::Revoker)).to_json();
    let refused = plane.submit(Entry::Manifest(forged.clone().into()), "eve").await;
    assert!(matches!(refused, Err(SubmitFault::Refused(_))));
    assert!(matches!(plane.submit(Entry::Lift(forged.into()), "eve").await, Err(SubmitFault::Refused(_))));
    let no_crl = plane.submit(Entry::Crl(Bytes::from_static(&[0x30, 1, 0])), "eve").await;
    assert!(matches!(no_crl, Err(SubmitFault::Crl(_))));
    let withdrawal = Entry::Withdrawal { id: "cm-1".parse().unwrap(), digest: [7; 32] };
    assert!(matches!(plane.submit(withdrawal, "eve").await, Err(SubmitFault::Unknown)));
    assert_eq!(plane.with_state(|state| state.position().sequence), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rivals_of_the_same_second_that_wait_together_do_not_both_get_through() {
    let site = Site::new();
    let plane = site.plane().await;
    let issued_at = Timestamp::now().as_second();
    let rivals = (0..16).map(|number| {
        let id = format!("cm-{number}");
        let draft = Draft { id: &id, ..Draft::default() }.read();
        let envelope = sign_manifest(draft, issued_at, site.key(Role::Author)).to_json();
        let plane = plane.clone();
        tokio::spawn(async move { plane.submit(Entry::Manifest(envelope.into()), "alice").await })
    });
    let mut taken = 0;
    for rival in rivals.collect::<Vec<_>>() {
        taken += usize::from(rival.await.unwrap().is_ok());
    }
    assert_eq!(taken, 1);
    assert_eq!(plane.with_state(|state| state.policy().manifest_count()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_envelope_of_a_live_manifest_is_found_in_its_record_and_in_a_snapshot() {
    let site = Site::new();
    let plane = site.plane().await;
    let entry = site.manifest("cm-1", "device-1", 0);
    let Entry::Manifest(envelope) = entry.clone() else { unreachable!() };
    plane.submit(entry, "alice").await.unwrap();
    let digest = plane.with_state(|state| state.policy().manifest(&"cm-1".parse().unwrap()).unwrap().digest);
    assert_eq!(plane.manifest_envelope(&digest).await.unwrap(), Some(envelope.clone()));
    plane.take_snapshot().await.unwrap();
    site.log.forget_records();
    assert_eq!(plane.manifest_envelope(&digest).await.unwrap(), Some(envelope.clone()));
    let again = site.over(site.log.clone()).plane().await;
    assert_eq!(again.manifest_envelope(&digest).await.unwrap(), Some(envelope));
    assert_eq!(again.manifest_envelope(&[0; 32]).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_crl_takes_the_place_of_an_earlier_one_and_not_the_other_way_round() {
    let site = Site::new();
    let plane = site.plane().await;
    let hour = Duration::from_secs(3600);
    let directory = tempfile::tempdir().unwrap();
    let authority = certs::authority::Authority::init(directory.path(), "a.test", hour).unwrap();
    let crl = || {
        use rustls_pki_types::pem::PemObject as _;
        let pem = authority.crl(hour).unwrap();
        let der = rustls_pki_types::CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap();
        Entry::Crl(Bytes::copy_from_slice(&der))
    };
    let (one, two) = (crl(), crl());
    assert_eq!(plane.submit(two.clone(), "alice").await.unwrap().sequence, 1);
    assert!(plane.submit(two, "alice").await.unwrap().repeated);
    assert!(matches!(plane.submit(one, "alice").await, Err(SubmitFault::OldCrl { .. })));
    assert_eq!(plane.submit(crl(), "alice").await.unwrap().sequence, 2);
    assert_eq!(plane.with_state(|state| state.crls().iter().count()), 1);
}
