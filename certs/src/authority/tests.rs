use std::os::unix::fs::PermissionsExt;

use super::*;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn new() -> (tempfile::TempDir, Authority) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::init(&dir.path().join("ca"), "example.org", YEAR).unwrap();
    (dir, authority)
}

fn device(text: &str) -> DeviceId {
    text.parse().unwrap()
}

#[test]
fn keys_are_private_and_an_authority_is_never_overwritten() {
    let (_dir, authority) = new();
    let mode = fs::metadata(authority.dir().join("ca.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = Authority::init(authority.dir(), "example.org", YEAR);
    assert!(matches!(again, Err(AuthorityFault::Exists(_))));
    assert_eq!(Authority::open(authority.dir()).unwrap().certificate_pem(), authority.certificate_pem());
}

#[test]
fn issued_files_are_whole_and_the_key_is_private() {
    let (dir, authority) = new();
    let issued = authority.issue_device(&device("d-1"), None, YEAR).unwrap();
    let (chain, key) = (dir.path().join("d.pem"), dir.path().join("d.key"));
    issued.write(&chain, &key).unwrap();
    assert_eq!(fs::read_to_string(&chain).unwrap(), issued.chain_pem());
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{issued:?}").contains("PRIVATE"));
}

#[test]
fn everything_issued_is_in_the_index() {
    let (_dir, authority) = new();
    let agent: AgentName = "cowork-v1.0".parse().unwrap();
    let one = authority.issue_device(&device("d-1"), Some(&agent), YEAR).unwrap();
    authority.issue_gateway("gw-1", &["localhost"], &[], YEAR).unwrap();
    let records = authority.issued().unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].device.as_deref(), Some("d-1"));
    assert_eq!(records[0].agent.as_deref(), Some("cowork-v1.0"));
    assert_eq!(records[0].serial, issued::hex(one.serial()));
    assert_eq!(records[1].device, None);
}

#[test]
fn a_certificate_does_not_outlive_its_authority() {
    let (_dir, authority) = new();
    authority.issue_device(&device("d-1"), None, 10 * YEAR).unwrap();
    assert_eq!(authority.issued().unwrap()[0].not_after, authority.not_after);
}

#[test]
fn revoking_names_by_serial_device_or_certificate_and_counts_once() {
    let (_dir, authority) = new();
    let one = authority.issue_device(&device("d-1"), None, YEAR).unwrap();
    let two = authority.issue_device(&device("d-1"), None, YEAR).unwrap();
    let three = authority.issue_device(&device("d-2"), None, YEAR).unwrap();
    assert_eq!(authority.revoke(Revocable::Serial(one.serial())).unwrap().len(), 1);
    assert_eq!(authority.revoke(Revocable::Serial(one.serial())).unwrap().len(), 0);
    let rest = authority.revoke(Revocable::Device(&device("d-1"))).unwrap();
    assert_eq!(rest[0].serial, issued::hex(two.serial()));
    assert_eq!(rest.len(), 1);
    assert_eq!(authority.revoke(Revocable::Certificate(three.certificate_pem())).unwrap().len(), 1);
    let nobody = authority.revoke(Revocable::Device(&device("d-9")));
    assert!(matches!(nobody, Err(AuthorityFault::NotIssued)));
    assert_eq!(authority.revoked().unwrap().len(), 3);
}

#[test]
fn another_authoritys_certificate_cannot_be_revoked_here() {
    let ((_a, authority), (_b, other)) = (new(), new());
    let foreign = other.issue_device(&device("d-1"), None, YEAR).unwrap();
    let refused = authority.revoke(Revocable::Certificate(foreign.certificate_pem()));
    assert!(matches!(refused, Err(AuthorityFault::NotIssued)));
}

#[test]
fn a_crl_number_is_never_used_twice() {
    let (_dir, authority) = new();
    for expected in 1..=3_u64 {
        authority.crl(YEAR).unwrap();
        let number = fs::read_to_string(authority.dir().join("crl-number")).unwrap();
        assert_eq!(number.trim(), expected.to_string());
    }
    // As after a crash between the number and the signature: the number is gone, not reused.
    fs::remove_file(authority.dir().join("crl.pem")).unwrap();
    let reopened = Authority::open(authority.dir()).unwrap();
    reopened.crl(YEAR).unwrap();
    assert_eq!(fs::read_to_string(authority.dir().join("crl-number")).unwrap().trim(), "4");
}

#[test]
fn processes_that_issue_crls_at_once_get_different_numbers() {
    let (_dir, authority) = new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let own = Authority::open(authority.dir()).unwrap();
                for _ in 0..5 {
                    own.crl(YEAR).unwrap();
                }
            });
        }
    });
    assert_eq!(fs::read_to_string(authority.dir().join("crl-number")).unwrap().trim(), "20");
}

#[test]
fn a_spoilt_list_of_revocations_is_a_fault_not_an_empty_list() {
    let (_dir, authority) = new();
    fs::write(authority.dir().join("revoked.jsonl"), "not a record\n").unwrap();
    assert!(matches!(authority.crl(YEAR), Err(AuthorityFault::Malformed { .. })));
}

#[test]
fn an_intermediate_is_an_authority_with_its_way_up() {
    let (_dir, authority) = new();
    let below = authority.issue_intermediate("emea", YEAR).unwrap();
    let issued = below.issue_device(&device("d-1"), None, YEAR).unwrap();
    assert_eq!(issued.chain().len(), 2);
    assert_eq!(below.crl(YEAR).unwrap().matches("BEGIN X509 CRL").count(), 1);
    assert_eq!(authority.intermediate("emea").unwrap().certificate_pem(), below.certificate_pem());
    for name in ["../x", "", "a/b"] {
        assert!(matches!(authority.issue_intermediate(name, YEAR), Err(AuthorityFault::Name(_))));
    }
}
