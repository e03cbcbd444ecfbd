//! Whose word it is: certificate paths and signatures. What is cryptography's share depends on the processor, so the
//! whole verifications are reported and not judged.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use certs::authority::Authority;
use certs::{CRL_MAX_ENTRIES, DeviceVerifier, Document, HighWater, IdentityRule, Trust, TrustSettings};
use jiff::Timestamp;
use policy_sync::log::{Entry, Position, Record};
use policy_sync::{Envelope, KeyId, KeyRing, PayloadType, Role, SigningKey, TrustedKey, sign_manifest};
use rustls::pki_types::CertificateDer;

use crate::instructions;
use crate::policy::{NOW, manifest};

const DAY: Duration = Duration::from_secs(86_400);

/// A device's certificate: verified from the beginning, as in a handshake, and checked again, as for every request.
pub(crate) fn paths() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = Authority::init(&directory.path().join("ca"), "example.org", 30 * DAY).expect("an authority");
    let settings = TrustSettings {
        authorities: vec![Document::new("ca.pem", root.certificate_pem())],
        crls: vec![Document::new("ca.crl", root.crl(7 * DAY).expect("a list"))],
        rule: IdentityRule::Spiffe(root.trust_domain().clone()),
        crl_max_entries: CRL_MAX_ENTRIES,
    };
    let device = root.issue_device(&"device-1".parse().expect("a name"), None, DAY).expect("a certificate");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let now = i64::try_from(now).expect("before the end of time");
    let trust = Trust::load(&settings, &HighWater::default(), now).expect("a trust");
    let verifier = DeviceVerifier::new(trust, None);
    let chain = device.chain();
    let verified = verifier.identify(&chain, now).expect("a good certificate");
    let mut number = 0_u32;
    instructions("reported_verify_device_path", 20, || {
        // What was presented before is remembered; a byte more of what is not looked at makes it new.
        number += 1;
        let unread = CertificateDer::from(number.to_be_bytes().to_vec());
        let presented: Vec<_> = chain.iter().cloned().chain([unread]).collect();
        verifier.identify(&presented, now).is_ok()
    });
    let trust = verifier.trust();
    instructions("recheck_device_path", 1000, || assert!(trust.recheck(&verified, now).is_ok()));
}

/// A signed manifest, and the record of the log that carries it.
pub(crate) fn signatures() {
    let key = SigningKey::generate(KeyId::new("key-1").expect("a name")).expect("a key");
    let mut ring = KeyRing::default();
    ring.add(TrustedKey::new(key.id().clone(), key.public(), &[Role::Author, Role::Control]))
        .expect("one key");
    let signed = sign_manifest(manifest().manifest.into(), NOW, &key);
    let json = signed.to_json();
    instructions("read_envelope", 100, || Envelope::read(&json).expect("an envelope"));
    instructions("reported_verify_envelope", 20, || signed.verify(PayloadType::Manifest, &ring).is_ok());
    let after = Position { epoch: 1, sequence: 1, digest: [7; 32] };
    let at = Timestamp::from_second(NOW).expect("a time");
    let record = Record::seal(&after, &Entry::Manifest(json.into()), "alice", at, &key).expect("a record");
    instructions("reported_open_record", 20, || Record::open(&record.envelope, &ring).expect("a record"));
    instructions("read_own_record", 100, || Record::read_own(&record.envelope).expect("a record"));
}
